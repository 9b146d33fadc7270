"""A long text table as numbers: a tenth of the memory that its text would take."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.base import FloatArray, IntArray
from overtone.data.table import UNITS, Table
from overtone.errors import InputError


@dataclass
class Names:
    """A column of text: each row's number, and the names in the order in which they first occur."""

    names: dict[str, int] = field(default_factory=dict)
    rows: array[int] = field(default_factory=lambda: array("i"))

    def add(self, texts: list[str]) -> None:
        """The next rows."""
        self.rows.extend(self.names.setdefault(text, len(self.names)) for text in texts)

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """(N,) the place of each row's text in ``names``."""
        return np.frombuffer(self.rows, dtype=np.intc)


@dataclass(frozen=True)
class Compact:
    """Some columns of a table.

    Attributes:
        values: (N, C) of the channels.
        time: (N,) seconds since the first row, where there is such a column.
        texts: columns of text by name.
        lines: (N,) of the file.
    """

    values: FloatArray
    time: npt.NDArray[np.float64] | None
    texts: dict[str, Names]
    lines: IntArray


def compact(
    blocks: Iterable[Table], channels: tuple[str, ...], texts: dict[str, str], time: str | None, unit: str
) -> Compact:
    """Columns of a table that is read block by block.

    Args:
        blocks: the table's.
        channels: columns of numbers.
        texts: columns of text, and what each is, for messages.
        time: the column of time stamps, if there is one.
        unit: of numeric ones.

    Raises:
        InputError: as :class:`Table` does of the whole table.
    """
    values, lines = array("f"), array("q")  # they grow without a second copy
    columns = {name: Names() for name in texts}
    marks = {name: _Marks() for name in (*channels, *([time] if time else []))}
    clock = _Clock(unit)
    for block in blocks:
        rows = np.stack([_numbers(block, name, "channel", marks[name]) for name in channels], axis=1)
        values.frombytes(rows.astype(np.float32).tobytes())
        lines.extend(block.lines)
        for name, role in texts.items():
            columns[name].add(block.text(name, role))
        if time is not None:
            clock.add(block, time, marks[time])
    return Compact(
        np.frombuffer(values, dtype=np.float32).reshape(-1, len(channels)),
        None if time is None else clock.seconds,
        columns,
        np.frombuffer(lines, dtype=np.int64),
    )


@dataclass
class _Marks:
    """Decimal signs seen in a column: a comma is one only where no point occurs in the whole column."""

    comma: tuple[int, str] | None = None
    point: bool = False


def _numbers(block: Table, name: str, role: str, marks: _Marks) -> npt.NDArray[np.float64]:
    numbers = block.numbers(name, role)
    column = block.columns[name]
    marks.point = marks.point or any("." in cell for cell in column)
    if marks.comma is None:
        marks.comma = next(((n, cell) for n, cell in zip(block.lines, column, strict=True) if "," in cell), None)
    if marks.comma is not None and marks.point:
        line, cell = marks.comma
        raise InputError(f"{block.where}: column {name!r} ({role}) holds {cell!r} in row {line}, which is no number")
    return numbers


def _finite(block: Table, name: str, time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    odd = np.flatnonzero(~np.isfinite(time))
    if len(odd):
        cell, line = block.columns[name][odd[0]], block.lines[odd[0]]
        raise InputError(f"{block.where}: column {name!r} (time) holds {cell!r} in row {line}")
    return time


class _Clock:
    """Time stamps in seconds since the first: dates where all of them are, else numbers."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.start: datetime | None = None
        self.dates, self.numbers = array("d"), array("d")
        self.all_dates = True
        self.wrong: InputError | None = None  # why they are not all numbers

    def add(self, block: Table, name: str, marks: _Marks) -> None:
        column = block.text(name, "time")
        try:
            stamps = [datetime.fromisoformat(cell) for cell in column] if self.all_dates else []
        except ValueError:
            self.all_dates = False
        else:
            self._dates(stamps, name, block.where)
        if self.wrong is None:
            try:
                self.numbers.extend(_finite(block, name, _numbers(block, name, "time", marks)).tolist())
            except InputError as error:
                self.wrong = error
        if self.wrong is not None and not self.all_dates:
            raise self.wrong

    def _dates(self, stamps: list[datetime], name: str, where: str) -> None:
        if self.start is None and stamps:
            self.start = stamps[0]
        start: Any = self.start
        try:
            self.dates.extend((stamp - start).total_seconds() for stamp in stamps)
        except TypeError:
            raise InputError(f"{where}: column {name!r} mixes times with and without a time zone") from None

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        if self.all_dates:
            return np.frombuffer(self.dates, dtype=np.float64)
        numbers = np.frombuffer(self.numbers, dtype=np.float64)
        return (numbers - numbers[0]) * UNITS[self.unit]
