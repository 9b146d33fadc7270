"""Lines of CSV that a spreadsheet can open: no text in them runs as a formula, and reading gives every text back."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A spreadsheet runs a cell that begins with = + - @ or their full-width forms, spaces before them or not, unless it is
# a plain number; an apostrophe in front makes text of it. A cell may begin at the start of the text, and behind
# whatever is taken for the delimiter. Apostrophes of the text's own get one more, so that reading takes none of them.
_SPACES = r"[^\S\t\r\n]*"
_NUMBER = rf"{_SPACES}[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?{_SPACES}(?:\Z|[,;|\t\r\n])"
_RUNS = rf"'*(?!{_NUMBER}){_SPACES}[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FIRST, _INNER = rf"(?={_RUNS}|'*[\t\r\n])", r"(?<=[,;|\t\r\n])"
_BARE = re.compile(rf"\A{_FIRST}|{_INNER}(?={_RUNS})")
_GUARDED = re.compile(rf"\A'{_FIRST}|{_INNER}'(?={_RUNS})")


def guarded(text: str) -> str:
    """Text that no spreadsheet runs: an apostrophe where it would. Plain numbers are left alone.

    Source of the kinds: OWASP, "CSV Injection".
    """
    return _BARE.sub("'", text)


def unguarded(text: str) -> str:
    """The text that :func:`guarded` was given."""
    return _GUARDED.sub("", text) if "'" in text else text


def csv_line(cells: Iterable[object]) -> str:
    """One line of a CSV, with its end; text is guarded, and quoted where it holds a comma, a quote or a line's end."""
    return ",".join(_quoted(guarded(cell) if isinstance(cell, str) else str(cell)) for cell in cells) + "\n"


def _quoted(cell: str) -> str:
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(sign in cell for sign in ',"\r\n') else cell
