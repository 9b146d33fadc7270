"""How a text table is written, judged by its first lines: where it starts, what separates cells, and its header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

BLANKS = " "
"""The delimiter of cells that any number of blanks and tabs separate."""
_NUMBER = re.compile(r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?")
_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)
"""The line that Excel writes before a table and shows nobody."""


def separator(line: str) -> str | None:
    """The delimiter that a line ``sep=;`` names; None of any other line."""
    found = _SEPARATOR.fullmatch(line)
    return found[1] if found else None


def lines_before(lines: Sequence[str], delimiter: str | None) -> int:
    """How many of some lines, none of which is empty, stand before a table: comments, or what a logger says of itself.

    Args:
        lines: the first ones of a file.
        delimiter: as given; None: found.
    """
    rows, usual = _widths(lines, delimiter or find_delimiter(lines))
    if lines[0].lstrip().startswith("#"):
        after = next((place for place, line in enumerate(lines) if not line.lstrip().startswith("#")), 0)
        if after:
            names = [cell.strip().lstrip("# ") for cell in rows[after - 1]]
            rows, usual = _widths(lines[after:], delimiter or find_delimiter(lines[after:]))
            heads = 1 < len(names) == usual and is_header(names) and not is_header(rows[0])  # names in a comment
            return after - 1 if heads else after + _preamble(rows, usual)
    if len(rows[0]) == usual:
        return 0
    return _preamble(*_widths(lines, delimiter or find_delimiter(lines[len(lines) // 2 :])))


def _widths(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], int]:
    """Lines as cells, without an empty last one, and how many most have."""
    rows = [_cells(line, delimiter) for line in lines]
    return rows, usual_length(rows)


def _preamble(rows: Sequence[Sequence[str]], usual: int) -> int:
    """How many rows come before the first of the usual length, if they are shorter and cannot be rows that are cut."""
    start = next(place for place, row in enumerate(rows) if len(row) == usual)
    before = rows[:start]
    if 2 * sum(len(row) == usual for row in rows) <= len(rows) or any(len(row) > usual for row in before):
        return 0
    if any(all(_NUMBER.fullmatch(cell) for cell in row) for row in before):
        return 0
    if start and len(before[-1]) > 1 and not is_header(rows[start]):  # a header with a name too few
        return 0
    return start


def _cells(line: str, delimiter: str) -> list[str]:
    """A line's cells, without an empty last one."""
    if delimiter == BLANKS:
        return line.split()
    try:
        cells = next(csv.reader([line.rstrip().removesuffix(";") if delimiter == "," else line], delimiter=delimiter))
    except csv.Error:
        return [line]
    cells = [cell.strip() for cell in cells]
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def is_header(cells: Sequence[str]) -> bool:
    """Names: not numbers, unless they count from 0 or 1."""
    if any(list(cells) == [str(n + first) for n in range(len(cells))] for first in (0, 1)) and len(cells) > 1:
        return True
    return not any(_NUMBER.fullmatch(cell) for cell in cells)


def usual_length(rows: Sequence[Sequence[str]]) -> int:
    """How many cells most rows have, without an empty last one."""
    lengths = Counter(len(row) - (len(row) > 1 and not row[-1].strip()) for row in rows)
    return lengths.most_common(1)[0][0]


def find_delimiter(lines: Sequence[str]) -> str:
    """What separates cells: of a header what occurs most in it, else what occurs equally often in all lines."""
    counts = {sign: lines[0].count(sign) for sign in ";\t,|"}
    most = max(counts, key=lambda sign: counts[sign])
    if counts[most] and not any(_NUMBER.fullmatch(cell.strip()) for cell in lines[0].split(most)):
        return most
    for sign in ";\t|":
        usual, alike = Counter(line.rstrip().removesuffix(";").count(sign) for line in lines).most_common(1)[0]
        if usual and alike >= 0.9 * len(lines):
            return sign
    words = lines[-1].split()
    if 1 < len(words) == len(lines[0].split()) and ("," not in lines[-1] or all(map(_NUMBER.fullmatch, words))):
        return BLANKS
    return ","
