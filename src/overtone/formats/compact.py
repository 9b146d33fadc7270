"""A long text table as numbers: a tenth of the memory that its text would take."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.formats.cells import Decimal, Signs, grouping, numbers
from overtone.formats.clock import FORM, STAMP, Clock
from overtone.formats.table import Read, Table
from overtone.sheets import unguarded


@dataclass
class Names:
    """A column of text: each row's number, and the names in the order in which they first occur."""

    names: dict[str, int] = field(default_factory=dict)
    rows: array[int] = field(default_factory=lambda: array("i"))
    _cells: dict[str, int] = field(default_factory=dict)  # as they stand in the file

    def add(self, cells: Sequence[str]) -> None:
        """The next rows."""
        numbers = list(map(self._cells.get, cells))
        if None in numbers:
            for cell in dict.fromkeys(cells):
                if cell not in self._cells:
                    self._cells[cell] = self.names.setdefault(unguarded(cell.strip()), len(self.names))
            numbers = list(map(self._cells.get, cells))
        self.rows.frombytes(np.asarray(numbers, dtype=np.intc).tobytes())

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """(N,) the place of each row's text in ``names``."""
        return np.frombuffer(self.rows, dtype=np.intc)


@dataclass(frozen=True)
class Compact:
    """Some columns of a table.

    Attributes:
        values: (N, C) of the channels, NaN where a cell is empty.
        time: (N,) since the first row, where there is such a column: seconds of dates, else the stamps' own unit.
        dates: whether time stamps are dates.
        texts: columns of text by name.
        lines: (N,) of the file.
    """

    values: npt.NDArray[np.float32]
    time: npt.NDArray[np.float64] | None
    dates: bool
    texts: dict[str, Names]
    lines: npt.NDArray[np.int32]


def compact(
    table: Table,
    channels: Sequence[str],
    texts: dict[str, str],
    time: str | None,
    decimal: Decimal | None = None,
    may_be_empty: str | None = None,
    read: Read = lambda done: None,
) -> Compact:
    """Columns of a table that is read block by block. Rows that cannot be used are left out, and told by ``table.bad``.

    Args:
        table: the table.
        channels: columns of numbers.
        texts: columns of text, and what each is, for messages.
        time: the column of time stamps, if there is one.
        decimal: the sign before fractions; None: found.
        may_be_empty: a column of text whose empty cells are names.
        read: hears how many bytes are read.

    Raises:
        InputError: as the table's blocks do; for decimal signs that contradict each other, dates with and without a
            time zone, or no row that can be used.
    """
    values, clock_values, lines = array("f"), array("d"), array("i")  # they grow without a second copy
    place = {name: number for number, name in enumerate(table.names)}
    columns = {name: Names() for name in texts}
    signs = {name: Signs(f"{name!r} (channel)", decimal) for name in channels}
    clock = None if time is None else Clock(Signs(f"{time!r} (time)", decimal), table.where)
    form = FORM
    for block in table.blocks(read):
        cells = {name: block.columns[place[name]] for name in (*channels, *texts, *([time] if time else []))}
        bad: dict[int, tuple[str, str]] = {}  # what is wrong with a row, before and after its number
        rows = np.empty((len(block.lines), len(channels)), dtype=np.float32)
        for number, name in enumerate(channels):
            converted = numbers(cells[name], block.lines, signs[name])
            with np.errstate(over="ignore"):  # what is infinite as float32 is refused later
                rows[:, number] = converted.values
            for row in converted.wrong:
                bad.setdefault(
                    row, (f"column {name!r} (channel) holds {_cell(cells[name], row)}", "which is no number")
                )
        stamps = np.empty(len(rows))
        if clock is not None and time is not None:
            stamps, wrong = clock.read(cells[time], block.lines)
            for row in (row for row in wrong if row not in bad):
                bad[row] = (f"column {time!r} (time) holds {_cell(cells[time], row)}", f"which is no {form}")
                form = STAMP  # what one looks like is said once
        words = {name: _texts(cells[name]) for name in texts}
        for name, role in texts.items():
            if name != may_be_empty and not all(map(str.strip, set(words[name]))):
                for row in (row for row, cell in enumerate(words[name]) if not cell.strip()):
                    bad.setdefault(row, (f"column {name!r} ({role}) is empty", ""))
        lines_kept: Sequence[int] = block.lines
        if bad:
            for row in sorted(bad):
                table.bad.add(", ".join(filter(None, (f"{bad[row][0]} in row {block.lines[row]}", bad[row][1]))))
            kept = [row for row in range(len(rows)) if row not in bad]
            rows, stamps = rows[kept], stamps[kept]
            words = {name: [column[row] for row in kept] for name, column in words.items()}
            lines_kept = [block.lines[row] for row in kept]
        values.frombytes(rows.data.cast("B") if rows.size else b"")
        if clock is not None:
            clock_values.frombytes(stamps.tobytes())
        lines.frombytes(np.asarray(lines_kept, dtype=np.intc).tobytes())
        for name, column in words.items():
            columns[name].add(column)
    every = [*signs.values(), *([clock.signs] if clock is not None else [])]
    if (told := grouping(every)) is not None:  # what was read took them for decimal signs
        table.notes.append(told)
        return compact(table, channels, texts, time, ".", may_be_empty, read)
    for own in every:
        own.check(table.where, every)
    if not lines:
        raise InputError(f"{table.where}: no row can be used: {table.bad}")
    since = np.frombuffer(clock_values, dtype=np.float64)
    since -= float(since[0]) if clock is not None else 0.0  # the buffer is ours
    return Compact(
        np.frombuffer(values, dtype=np.float32).reshape(-1, len(channels)),
        None if clock is None else since,
        clock is not None and bool(clock.dates),
        columns,
        np.frombuffer(lines, dtype=np.intc),
    )


def _cell(cells: Sequence[Any] | npt.NDArray[Any], row: int) -> str:
    return repr(cells[row].strip() if isinstance(cells[row], str) else str(cells[row]))


def _texts(cells: Sequence[str] | npt.NDArray[Any]) -> Sequence[str]:
    """A column as text; whole numbers of a typed file have no fraction."""
    if not isinstance(cells, np.ndarray):
        return cells
    if not np.issubdtype(cells.dtype, np.floating):
        return [str(cell) for cell in cells.tolist()]
    return ["" if cell != cell else str(int(cell)) if cell.is_integer() else repr(cell) for cell in cells.tolist()]
