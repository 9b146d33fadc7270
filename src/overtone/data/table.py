"""Reading tables of text: delimiters, decimal commas and encodings as spreadsheets write them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError, nearest
from overtone.files import no_file
from overtone.sheets import unguarded

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
BLOCK = 2**14
"""Rows read at a time."""


@dataclass(frozen=True)
class Table:
    """A table with a header: columns of text by name. ``lines`` is each row's line in the file."""

    where: str
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def text(self, name: str, role: str) -> list[str]:
        """A column as text.

        Raises:
            InputError: for a column that does not exist (the nearest is named), or an empty cell.
        """
        if name not in self.columns:
            raise InputError(f"{self.where}: there is no {role} column {name!r}; {nearest(name, self.columns)}")
        column = self.columns[name]
        if "" in column:
            raise InputError(f"{self.where}: column {name!r} ({role}) is empty in row {self.lines[column.index('')]}")
        return column

    def numbers(self, name: str, role: str) -> npt.NDArray[np.float64]:
        """A column as numbers; a decimal comma is understood where no decimal point occurs.

        Raises:
            InputError: for a cell that is no number (column and row are named).
        """
        column = self.text(name, role)
        if any("," in cell for cell in column) and not any("." in cell for cell in column):
            column = [cell.replace(",", ".") for cell in column]
        try:
            return np.asarray(column, dtype=np.float64)
        except ValueError:
            pass
        for line, cell in zip(self.lines, column, strict=True):
            try:
                float(cell)
            except ValueError:
                raise InputError(
                    f"{self.where}: column {name!r} ({role}) holds {cell!r} in row {line}, which is no number"
                ) from None
        raise InputError(f"{self.where}: column {name!r} ({role}) holds numbers that cannot be read")

    def seconds(self, name: str, unit: str) -> npt.NDArray[np.float64]:
        """A time column in seconds since its first value; numbers in ``unit``, or ISO 8601 dates."""
        column = self.text(name, "time")
        try:
            stamps = [datetime.fromisoformat(cell) for cell in column]
        except ValueError:
            time = self.numbers(name, "time")
            if not np.isfinite(time).all():
                first = int(np.argmin(np.isfinite(time)))
                raise InputError(
                    f"{self.where}: column {name!r} (time) holds {column[first]!r} in row {self.lines[first]}"
                ) from None
            return (time - time[0]) * UNITS[unit]
        try:
            return np.asarray([(stamp - stamps[0]).total_seconds() for stamp in stamps])
        except TypeError:
            raise InputError(f"{self.where}: column {name!r} mixes times with and without a time zone") from None


def read_table(path: Path, where: str) -> Table:
    """A delimited text file with a header line, whole.

    Raises:
        InputError: as in :func:`read_blocks`.
    """
    first, *others = read_blocks(path, where)
    for block in others:
        first.lines.extend(block.lines)
        for column, more in zip(first.columns.values(), block.columns.values(), strict=True):
            column.extend(more)
    return first


def read_blocks(path: Path, where: str, read: Callable[[int], None] = lambda done: None) -> Iterator[Table]:
    """A delimited text file with a header line, some thousand rows at a time.

    The encoding is told by its byte order mark (UTF-8 unless there is one), the delimiter by the header line.

    Args:
        path: the file.
        where: the source, for messages.
        read: hears how many bytes are read.

    Raises:
        InputError: for a missing, empty or binary file, a header without columns, a column named twice, or a row of
            another length than the header (its row is named).
    """
    if not path.is_file():
        raise InputError(f"{where} {no_file(path)}")
    with path.open(encoding=_encoding(path, where), newline="\n") as file:
        first = (file.readline().splitlines() or [""])[0]
        file.seek(0)
        delimiter = max(";\t,|", key=first.count)
        rows = csv.reader(file, delimiter=delimiter)
        try:
            header = [unguarded(name.strip()) for name in next(rows)]
            if len(set(header)) < len(header):
                twice = next(name for name in header if header.count(name) > 1)
                raise InputError(f"{where}: two columns are called {twice!r}")
            there = False
            while lines := _rows(rows, header, delimiter, where):
                there = True
                yield Table(where, dict(zip(header, lines[1], strict=True)), lines[0])
                read(cast(Any, file).buffer.tell())
        except csv.Error as error:
            raise InputError(f"{where}: row {rows.line_num} cannot be read: {error}") from error
    if not there:
        raise InputError(f"{where}: there is a header but no row below it")


def _rows(rows: Any, header: list[str], delimiter: str, where: str) -> tuple[list[int], list[list[str]]] | None:
    """The next rows' lines and columns; None where there are no more."""
    columns: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    for row in rows:
        if not row or not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"{where}: row {rows.line_num} has {len(row)} cells, the header has {len(header)} "
                f"(delimiter {delimiter!r})"
            )
        lines.append(rows.line_num)
        for column, cell in zip(columns, row, strict=True):
            column.append(unguarded(cell.strip()))
        if len(lines) == BLOCK:
            break
    return (lines, columns) if lines else None


def _encoding(path: Path, where: str) -> str:
    """What decodes the file, which is looked through once."""
    with path.open("rb") as file:
        marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    filled = False
    for encoding in ("utf-16" if marked else "utf-8-sig", "latin-1"):
        try:
            with path.open(encoding=encoding, newline="\n") as text:
                while part := text.read(2**20):
                    if "\0" in part:
                        raise InputError(
                            f"{where}: this is no text file (it holds zero bytes); save it as CSV in UTF-8"
                        )
                    filled = filled or not part.isspace()
        except UnicodeDecodeError:
            continue  # what older spreadsheets write is latin-1, where every byte is a character
        break
    if not filled:
        raise InputError(f"{where}: the file is empty ({path.stat().st_size} bytes)")
    return encoding


def class_numbers(labels: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[npt.NDArray[np.int64]]]:
    """Class names, numbers in numeric and others in alphabetic order, and each recording's labels as numbers."""
    distinct = {label for part in labels for label in part}
    names = tuple(sorted(distinct, key=_as_number))
    number = {name: n for n, name in enumerate(names)}
    return names, [np.asarray([number[label] for label in part], dtype=np.int64) for part in labels]


def _as_number(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
