"""A table's columns as they were read: numbers, dates or text, with their ranges and what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.formats.cells import MISSING, Converted, Decimal, Signs, numbers
from overtone.formats.clock import Clock
from overtone.formats.compact import Names
from overtone.formats.table import Block, Read, Table

Floats = npt.NDArray[np.float64]
SAMPLE = 200
"""Cells by which a column's kind is judged."""
FEW = 100
"""Different values up to which whole numbers may be codes."""
ROWS_SHOWN = 3
CLOCK = re.compile(
    r"(?:\d{1,4}[/.\- ]\d{1,2}[/.\- ]\d{1,4}[T, ]+|\d+ days? )?"  # a day, or a number of days
    r"(\d{1,2}):(\d{2})(?::(\d{2}(?:[.,:]\d+)?))?(?: ?[AP]M)?",
    re.IGNORECASE,
)
"""Times of day that are not in ISO 8601, with or without a date."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as the table has it.
        values: (N,) numbers, NaN where there is none; seconds since the first of dates; places in ``names`` of text.
        names: what text there is.
        dates: the values are dates.
        missing: cells without a value.
        wrong: cells of a column of numbers that hold something else.
        signs: its decimal signs, where it holds numbers.
    """

    name: str
    values: Floats
    names: tuple[str, ...] = ()
    dates: bool = False
    missing: int = 0
    wrong: int = 0
    signs: Signs | None = None

    @property
    def text(self) -> bool:
        """Whether it holds words."""
        return bool(self.names)

    @cached_property
    def known(self) -> Floats:
        """Values that are there."""
        return self.values[np.isfinite(self.values)]

    @cached_property
    def filled(self) -> npt.NDArray[np.bool_]:
        """(N,) rows with a value."""
        if not self.text:
            return np.isfinite(self.values)
        return np.asarray([name not in MISSING for name in self.names])[self.values.astype(np.int64)]

    @cached_property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.names) if self.text else len(np.unique(self.known))

    @cached_property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        return not self.text and not self.dates and bool((self.known == np.round(self.known)).all())

    @cached_property
    def clock_steps(self) -> Floats | None:
        """Of text that looks like time, seconds from each row to the next one of the same day; None of other text."""
        found = [CLOCK.fullmatch(name.strip()) for name in self.names]
        if 2 * sum(match is not None for match in found) < max(len(found), 1):
            return None
        seconds = [math.nan if match is None else _seconds(match) for match in found]
        steps = np.diff(np.asarray(seconds)[self.values.astype(np.int64)])
        known: Floats = steps[np.isfinite(steps)]
        return known

    @property
    def codes(self) -> bool:
        """Whether it may name classes or people: text, or few whole numbers."""
        return self.text or (self.whole and 0 < self.distinct <= FEW)

    @cached_property
    def stretch(self) -> float:
        """Rows for which a value stays the same, on average."""
        if not len(self.values):
            return 0.0
        filled = np.nan_to_num(self.values, nan=math.inf, posinf=math.inf, neginf=math.inf)
        return len(filled) / (1 + int((filled[1:] != filled[:-1]).sum()))

    @property
    def recurs(self) -> bool:
        """Whether values come back after others, as those of activities do and names of recordings do not."""
        return self.stretch > 0 and round(len(self.values) / self.stretch) > self.distinct + (self.missing > 0)

    @cached_property
    def rising(self) -> float:
        """The share of neighbouring values that rise."""
        steps = np.diff(self.known)
        return float((steps > 0).mean()) if len(steps) else 0.0

    @property
    def holds(self) -> str:
        """What it holds, in a word or two."""
        if not len(self.known):
            return "nothing"
        if self.dates:
            return "dates"
        if self.distinct == 1:
            return "constant"
        if self.text:
            return "text"
        return "codes" if self.whole and self.distinct <= 20 else "whole numbers" if self.whole else "numbers"

    @property
    def labels(self) -> tuple[str, ...]:
        """Its different values as text, in order."""
        return tuple(sorted(self.names)) if self.text else tuple(f"{value:g}" for value in np.unique(self.known))

    @property
    def range(self) -> str:
        """The least and the largest number, or the first few texts."""
        if not len(self.known):
            return ""
        if self.dates:
            return f"over {float(np.ptp(self.known)):,.6g} s"
        if self.text or (self.whole and self.distinct <= 6):
            shown = [label or '""' for label in self.labels[:4]]
            more = self.distinct - len(shown)
            return ", ".join(text if len(text) <= 20 else text[:19] + "…" for text in shown) + (
                f" and {more:,} more" if more else ""
            )
        least, most = float(self.known.min()), float(self.known.max())
        if f"{least:.6g}" == f"{most:.6g}" and self.whole:  # stamps since 1970
            return f"{least:.0f} to {most:.0f}"
        return f"{least:.6g} to {most:.6g}" if f"{least:.6g}" != f"{most:.6g}" else f"{least:.12g} to {most:.12g}"


@dataclass
class _Growing:
    """A column while it is read."""

    name: str
    decimal: Decimal | None
    kind: str = ""  # number, date or text, once a cell tells
    parts: list[Floats] = field(default_factory=list)
    names: Names = field(default_factory=Names)
    clock: Clock | None = None
    missing: int = 0
    wrong: int = 0

    def __post_init__(self) -> None:
        self.signs = Signs(repr(self.name), self.decimal)

    def add(self, cells: Sequence[str] | npt.NDArray[Any], lines: Sequence[int], where: str) -> None:
        """The next rows."""
        if not self.kind:
            self.kind = _kind(cells)
            if not self.kind:
                self.parts.append(np.full(len(cells), np.nan))
                self.missing += len(cells)
                return
            if self.kind == "text" and self.parts:
                self.names.add([""] * sum(map(len, self.parts)))
        if self.kind == "text":
            self.names.add([str(cell) for cell in cells] if isinstance(cells, np.ndarray) else cells)
        elif self.kind == "date":
            self.clock = self.clock or Clock(self.signs, where)
            values, wrong = self.clock.read(cells, lines)
            self.parts.append(values)
            self.missing += len(wrong)
        else:
            converted: Converted = numbers(cells, lines, self.signs)
            self.parts.append(converted.values)
            self.wrong += len(converted.wrong)
            self.missing += int(np.isnan(converted.values).sum()) - len(converted.wrong)

    def column(self) -> Column:
        """All of it."""
        if self.kind == "text":
            names, numbers_of = tuple(self.names.names), self.names.numbers
            empty = np.asarray([name in MISSING for name in names])
            return Column(self.name, numbers_of.astype(np.float64), names, missing=int(empty[numbers_of].sum()))
        values = np.concatenate(self.parts) if self.parts else np.empty(0)
        dates = self.kind == "date"
        return Column(self.name, values, (), dates, self.missing, self.wrong, None if dates else self.signs)


def _kind(cells: Sequence[str] | npt.NDArray[Any]) -> str:
    """What most cells that hold anything are; nothing where none does."""
    if isinstance(cells, np.ndarray):
        return "date" if np.issubdtype(cells.dtype, np.datetime64) else "number"
    some = []
    for cell in cells:
        if cell.strip() not in MISSING:
            some.append(cell)
            if len(some) == SAMPLE:
                break
    if not some:
        return ""
    if 2 * len(numbers(some, range(len(some)), Signs("", None)).wrong) < len(some):
        return "number"
    return "date" if 2 * sum(map(_is_date, some)) >= len(some) else "text"


def _seconds(match: re.Match[str]) -> float:
    """Seconds since midnight; a colon before the fraction is read as a point."""
    hours, minutes, rest = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float((rest or "0").replace(",", ".").replace(":", "."))


def _is_date(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell.strip())
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Scan:
    """What was read of a table.

    Attributes:
        columns: all of them.
        lines: (N,) of each row in the file.
        first: the first rows as text.
    """

    columns: tuple[Column, ...]
    lines: npt.NDArray[np.int64]
    first: tuple[tuple[str, ...], ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.lines)


def scan(table: Table, read: Read, decimal: Decimal | None = None) -> Scan:
    """Read a table into memory, column by column.

    Args:
        table: the table.
        read: hears how many bytes are read.
        decimal: the sign before fractions; None: found.

    Raises:
        InputError: as the table's blocks do; for dates with and without a time zone.
    """
    growing = [_Growing(name, decimal) for name in table.names]
    lines: list[npt.NDArray[np.int64]] = []
    first: list[tuple[str, ...]] = []
    for block in table.blocks(read):
        lines.append(np.asarray(block.lines, dtype=np.int64))
        first = first or _first(block)
        for column, cells in zip(growing, block.columns, strict=True):
            column.add(cells, block.lines, table.where)
    if not lines:
        raise InputError(f"{table.where}: there is no row in it")
    return Scan(tuple(column.column() for column in growing), np.concatenate(lines), tuple(first))


def _first(block: Block) -> list[tuple[str, ...]]:
    count = min(ROWS_SHOWN, len(block.lines))
    return [tuple(str(column[row]).strip() for column in block.columns) for row in range(count)]
