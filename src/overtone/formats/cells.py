"""Cells of text as numbers: decimal signs, groups of thousands, missing values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.sheets import unguarded

Numbers = npt.NDArray[np.float64]
Decimal = Literal[".", ","]
MISSING = frozenset(["", "?", "NA", "N/A", "n/a", "na", "null", "NULL", "Null", "NaN", "nan", "NAN"])
"""Cells without a value."""

_GROUPED = {sign: re.compile(rf"[+-]?\d{{1,3}}(?:[{sign}]\d{{3}})+") for sign in ",."}
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})")
"""A decimal comma with three digits behind it, or a comma between thousands."""
_POINT = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
"""The same of a point."""


@dataclass
class Signs:
    """Decimal signs of a column, told of its cells block by block.

    Attributes:
        name: the column's, and its role, for messages.
        decimal: as given; None: found.
        comma: line and text of the first cell with a comma that can only be decimal.
        either: of the first cell whose comma may stand between thousands as well.
        point: whether a decimal point occurs.
        fraction: line and text of the first cell whose point can only be decimal.
    """

    name: str
    decimal: Decimal | None
    comma: tuple[int, str] | None = None
    either: tuple[int, str] | None = None
    point: bool = False
    fraction: tuple[int, str] | None = None

    def see_points(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """Note the decimal points of some numbers; each is looked at only until one tells."""
        if self.fraction is None and "." in "".join(cells):
            self.point = True
            pairs = zip(lines, map(str.strip, cells), strict=True)
            self.fraction = next(((n, cell) for n, cell in pairs if "." in cell and not _POINT.fullmatch(cell)), None)

    def check(self, where: str, others: Sequence[Signs]) -> None:
        """Refuse a column of decimal commas and points, or one whose commas may be either.

        Raises:
            InputError: names the column, a cell and its row, and the setting that decides.
        """
        if self.decimal is not None:
            return
        odd = self.comma or self.either
        if odd is not None and self.point:
            raise InputError(
                f"{where}: column {self.name} holds {odd[1]!r} in row {odd[0]}, which is no number beside others with "
                'a decimal point; if commas group thousands set data.decimal: ".", if points do set data.decimal: ","'
            )
        if self.either is not None and not any(signs.comma for signs in others):
            raise InputError(
                f"{where}: column {self.name} holds {self.either[1]!r} in row {self.either[0]}, and its every comma "
                f'may be a decimal sign or stand between thousands; set data.decimal: "." if {self.either[1]} is '
                f'{self.either[1].replace(",", "")}, or "," if it is {self.either[1].replace(",", ".")}'
            )


def doubtful(columns: Sequence[Signs]) -> tuple[int, str, str] | None:
    """Line, text and column of the first cell whose comma may be either, where no other comma of the table tells."""
    if any(signs.comma for signs in columns):
        return None
    return next(((*own.either, own.name) for own in columns if own.decimal is None and own.either is not None), None)


def grouping(columns: Sequence[Signs]) -> str | None:
    """Why commas that may be either group thousands in a table: elsewhere in it a point can only be decimal.

    None where no comma may be either, one can only be decimal, or nothing tells.
    """
    either = doubtful(columns)
    fraction = next((signs for signs in columns if signs.fraction is not None), None)
    if either is None or fraction is None or fraction.fraction is None:
        return None
    (line, cell, name), (other, number) = either, fraction.fraction
    return (
        f"commas were taken to group thousands ({cell} in row {line} of {name} is {cell.replace(',', '')}), as "
        f'{number!r} in row {other} of {fraction.name} has a decimal point; data.decimal: "," says otherwise'
    )


@dataclass
class Converted:
    """Numbers of some cells, NaN where there is none; which cells are neither a number nor missing."""

    values: Numbers
    wrong: list[int] = field(default_factory=list)


def numbers(cells: Sequence[str] | Numbers, lines: Sequence[int], signs: Signs) -> Converted:
    """Cells of a column as numbers, the usual ones without looking at each by itself."""
    if isinstance(cells, np.ndarray):
        return Converted(cells.astype(np.float64))
    if signs.decimal != ",":
        try:
            converted = Converted(_floats(cells))
        except ValueError:
            pass
        else:
            signs.see_points(cells, lines)
            return converted
    if (signs.comma or signs.decimal == ",") and "." not in "".join(cells):
        try:
            return Converted(_floats([cell.replace(",", ".") for cell in cells]))
        except ValueError:
            pass
    return _one_by_one(cells, lines, signs)


def _floats(cells: Sequence[str]) -> Numbers:
    """Numbers as Python writes them, and missing ones.

    Raises:
        ValueError: for anything else.
    """
    try:
        return np.asarray(list(map(float, cells)))
    except ValueError:
        return np.asarray([np.nan if cell in MISSING else float(cell) for cell in cells])


def _one_by_one(cells: Sequence[str], lines: Sequence[int], signs: Signs) -> Converted:
    converted = Converted(np.full(len(cells), np.nan))
    for place, (line, text) in enumerate(zip(lines, cells, strict=True)):
        cell = unguarded(text.strip())
        if cell in MISSING:
            continue
        try:
            converted.values[place] = float(_plain(cell, line, signs))
        except ValueError:
            converted.wrong.append(place)
    return converted


def _plain(cell: str, line: int, signs: Signs) -> str:
    """A number as Python writes it.

    Raises:
        ValueError: where its signs cannot be.
    """
    if signs.decimal is not None:
        group = "," if signs.decimal == "." else "."
        whole, sign, rest = cell.partition(signs.decimal)
        if group in rest or (group in whole and not _GROUPED[group].fullmatch(whole)):
            raise ValueError(cell)
        return whole.replace(group, "") + sign.replace(",", ".") + rest
    if "," not in cell:
        signs.see_points([cell], [line])
        return cell
    if "." in cell:  # one of each: the last is the decimal sign
        decimal, group = (".", ",") if cell.rindex(".") > cell.rindex(",") else (",", ".")
        whole, _, rest = cell.rpartition(decimal)
        if not _GROUPED[group].fullmatch(whole):
            raise ValueError(cell)
        signs.point = signs.point or decimal == "."
        signs.comma = signs.comma or ((line, cell) if decimal == "," else None)
        return f"{whole.replace(group, '')}.{rest}"
    if _EITHER.fullmatch(cell):
        signs.either = signs.either or (line, cell)
    elif cell.count(",") == 1:
        signs.comma = signs.comma or (line, cell)
    elif _GROUPED[","].fullmatch(cell):  # several commas group
        signs.point = True
        return cell.replace(",", "")
    return cell.replace(",", ".")
