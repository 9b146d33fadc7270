"""Tables as text, in blocks: encodings, delimiters, headers and line ends as loggers and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import IO, Any, Literal, Protocol, cast

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from overtone.errors import InputError, nearest
from overtone.files import no_file
from overtone.formats.cells import Decimal
from overtone.formats.encodings import LANGUAGES, find_encoding
from overtone.formats.form import BLANKS, find_delimiter, is_header, lines_before, separator, usual_length
from overtone.sheets import unguarded

BLOCK = 2**10
"""Rows read at a time: their text fits into a processor's cache, which makes it faster by half."""
HEAD_CHARACTERS, HEAD_LINES = 2**17, 100
"""By how much of a file its form is judged."""
SHOWN_LINES, SHOWN_CHARACTERS = 3, 40
"""Of lines before a table, in a note."""
ColumnName = str | int
"""A column by its name, or by its number from 1."""
Read = Callable[[int], None]
"""Hears how many bytes are read."""
_LINE_END = re.compile(r"\r\n|\r|\n")


class TextFormat(BaseModel):
    """How a table is written; what is not given is found.

    Attributes:
        encoding: such as ``utf-8`` or ``cp949``.
        delimiter: a character; a blank stands for any number of blanks and tabs.
        decimal: the sign before a number's fraction; the other of ``.`` and ``,`` groups thousands.
        header: whether the first row holds the columns' names. Found: not where one of its cells is a number (numbers
            counted from 0 or 1 are names).
        columns: the columns' names, in order, for files without a header. Without them they are called 1, 2, 3 ...
        skip: lines before the table, whatever they hold. Found: a line ``sep=;``, which names the delimiter, comments
            (``#``), and lines with fewer cells than most have.
        bad_rows: ``refuse`` or ``drop`` rows of another length, or with a cell that is no number where one is needed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    decimal: Decimal | None = None
    header: bool | None = None
    columns: list[str] | None = Field(default=None, min_length=1)
    skip: int | None = Field(default=None, ge=0, le=HEAD_CHARACTERS)
    bad_rows: Literal["refuse", "drop"] = "refuse"

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "".encode(value)
                codecs.lookup(value)
            except (LookupError, UnicodeError) as error:
                raise ValueError(f"no encoding of text such as utf-8, cp949 or latin-1, got {value!r}") from error
        return value

    @field_validator("columns")
    @classmethod
    def _different(cls, value: list[str] | None) -> list[str] | None:
        twice = next((name for name, count in Counter(value or ()).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"two columns are called {twice!r}")
        return value

    @field_validator("delimiter")
    @classmethod
    def _delimits(cls, value: str | None) -> str | None:
        if value is not None and (value in "\r\n\"'." or value.isalnum()):
            raise ValueError(f"a comma, semicolon, tab, bar, blank or the like, got {value!r}")
        return value


@dataclass(frozen=True)
class Block:
    """Some rows: each column's cells, text or (of a file that has types) an array; and each row's line in the file."""

    columns: Sequence[Sequence[str] | npt.NDArray[Any]]
    lines: Sequence[int]


@dataclass
class BadRows:
    """Rows of a file that cannot be used: how many, and why the first ones."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, why: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < 3:
            self.examples.append(why)

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.examples)} more rows" if self.count > len(self.examples) else ""
        return "; ".join(self.examples) + more


class Table(Protocol):
    """A file's rows, in blocks.

    Attributes:
        where: the file, for messages.
        names: of its columns.
        notes: what was found that a reader should know.
        bad: rows that were left out of the blocks so far.
    """

    where: str
    names: tuple[str, ...]
    notes: list[str]
    bad: BadRows

    def blocks(self, read: Read = ...) -> Iterator[Block]:
        """All rows, some thousands at a time."""


def column(name: ColumnName, names: Sequence[str], role: str, where: str) -> str:
    """The name of a column that is given by name or number.

    Raises:
        InputError: where there is none; the nearest is named.
    """
    if isinstance(name, int):
        if not 1 <= name <= len(names):
            raise InputError(f"{where}: there is no {role} column {name}; columns are numbered from 1 to {len(names)}")
        return names[name - 1]
    if name not in names:
        raise InputError(f"{where}: there is no {role} column {name!r}; {nearest(name, names)}")
    return name


def open_table(path: Path, where: str, form: TextFormat) -> Table:
    """A table in a file: text, or Parquet by its name (``.parquet``, ``.pq``).

    Raises:
        InputError: for a missing, empty or binary file, a header without columns, or a column named twice.
    """
    if path.is_dir():
        raise InputError(f"{where}: this is a folder; for one table per recording write name: folder, else name a file")
    if not path.is_file():
        raise InputError(f"{where} {no_file(path)}")
    if path.suffix.lower() in (".parquet", ".pq"):
        from overtone.formats.parquet import ParquetTable

        return ParquetTable(path, where)
    return TextTable(path, where, form)


class TextTable:
    """A table of text. What is not given of its form is judged by its first lines.

    Attributes:
        encoding, delimiter: given or found.
        header: whether the first row holds names.
        record_ends: a ``;`` ends a record, beside the line's end.
        skip: lines of the file before the table.
    """

    def __init__(self, path: Path, where: str, form: TextFormat) -> None:
        self.path, self.where, self.form = path, where, form
        self.notes: list[str] = []
        self.bad = BadRows()
        self.encoding = form.encoding or find_encoding(path, where)
        if form.encoding is None and self.encoding in LANGUAGES:
            self.notes.append(
                f"{path.name} is no UTF-8 and was read as {self.encoding} ({LANGUAGES[self.encoding]}), which its "
                "bytes look like; data.encoding says otherwise"
            )
        head = self._head()
        if not head:
            raise InputError(f"{where}: the file is empty ({path.stat().st_size} bytes)")
        self.skip, lines, separates = self._start(head)
        self.delimiter = form.delimiter or separates or find_delimiter(lines)
        ends = sum(line.rstrip().endswith(";") for line in lines)
        self.record_ends = self.delimiter == "," and 2 * ends > len(lines)
        rows = [row for rows, _ in self._rows(lines) for row in rows if not _blank(row)]
        if not rows:
            raise InputError(f"{where}: there is no row in it")
        first, others = [unguarded(cell.strip()) for cell in rows[0]], rows[1:]
        self.header = is_header(first) if form.header is None else form.header
        if form.columns is not None:
            names = form.columns
        elif self.header:
            trails = len(first) > 1 and not first[-1] and all(not row[-1].strip() for row in others[:1])
            names = first[:-1] if trails else first
        else:
            names = [str(n + 1) for n in range(usual_length(rows))]
        self.names = tuple(names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{where}: two columns are called {twice!r}; data.columns gives them other names")
        if self.header and not others:
            raise InputError(f"{where}: there is a header but no row below it")

    def _open(self) -> IO[str]:
        return self.path.open(encoding=self.encoding, newline="")

    def _start(self, head: Sequence[tuple[int, str]]) -> tuple[int, list[str], str | None]:
        """How many lines stand before the table, its first ones, and the delimiter where a line says it.

        Raises:
            InputError: where nothing is left.
        """
        numbers, lines, separates = [number for number, _ in head], [line for _, line in head], None
        if self.form.skip is not None:
            before = sum(number <= self.form.skip for number in numbers)
            skip = self.form.skip
        else:
            separates = separator(lines[0])
            named = int(separates is not None)
            found = lines_before(lines[named:], self.form.delimiter or separates) if lines[named:] else 0
            before = named + found
            skip = numbers[before - 1] if before else 0
            if found:
                shown = ", ".join(repr(line.strip()[:SHOWN_CHARACTERS]) for line in lines[named:before][:SHOWN_LINES])
                self.notes.append(
                    f"the table in {self.path.name} was taken to start below line {skip}; before it stands "
                    f"{shown}{' ...' if found > SHOWN_LINES else ''}. If it does not, data.skip says how many lines do"
                )
        if not lines[before:]:
            raise InputError(
                f"{self.where}: there is no row below line {skip}, which data.skip or its form says to skip"
            )
        return skip, lines[before:], separates

    def _head(self) -> list[tuple[int, str]]:
        """The first lines that hold anything with their numbers, without one that may be cut."""
        with self._told(), self._open() as file:
            text = file.read(HEAD_CHARACTERS)
            whole = not file.read(1)
        if "\0" in text:
            raise InputError(f"{self.where}: this is no text file (it holds zero bytes); save it as CSV in UTF-8")
        lines = _LINE_END.split(text)
        complete = lines if whole or len(lines) == 1 else lines[:-1]
        return [(number, line) for number, line in enumerate(complete, 1) if line.strip()][:HEAD_LINES]

    def _rows(self, file: Iterable[str], skip: int = 0) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
        """Rows below so many lines, some thousands at a time, and the number of the line that each ends in."""
        latest, lines = skip, islice(file, skip, None)
        reader = csv.reader(lines, delimiter=self.delimiter if self.delimiter != BLANKS else ",")
        while True:
            try:
                if self.delimiter == BLANKS or self.record_ends:
                    texts = list(islice(lines, BLOCK))
                    numbers: Sequence[int] = range(latest + 1, latest + len(texts) + 1)
                    latest += len(texts)
                    if self.record_ends:
                        parts = [(n, part) for n, text in zip(numbers, texts, strict=True) for part in text.split(";")]
                        parts = [(number, part) for number, part in parts if part.strip()]
                        numbers, rows = [number for number, _ in parts], list(csv.reader(part for _, part in parts))
                        numbers = numbers[: len(rows)]  # an open quote joins lines
                    else:
                        rows = [text.split() for text in texts]
                    there = bool(texts)
                else:
                    rows = list(islice(reader, BLOCK))
                    there = bool(rows)
                    numbers = range(latest + 1, skip + reader.line_num + 1)
                    if len(numbers) != len(rows):  # cells with line ends in them
                        ends = [1 + len(_LINE_END.findall("".join(row))) for row in rows]
                        numbers = [latest + end for end in accumulate(ends)]
                    latest = skip + reader.line_num
            except csv.Error as error:
                raise InputError(f"{self.where}: row {skip + reader.line_num} cannot be read: {error}") from error
            if not there:
                return
            yield rows, numbers

    def blocks(self, read: Read = lambda done: None) -> Iterator[Block]:
        """All rows but the header; those of another length are left out and counted.

        Raises:
            InputError: for text that cannot be decoded or split, or no row at all.
        """
        self.bad = BadRows()
        there, header = False, self.header
        with self._told(), self._open() as file:
            for rows, lines in self._rows(file, self.skip):
                if header:
                    first = next((place for place, row in enumerate(rows) if not _blank(row)), len(rows) - 1)
                    header = _blank(rows[first])
                    rows, lines = rows[first + 1 :], lines[first + 1 :]
                block = self._block(rows, lines)
                if block.lines:
                    there = True
                    yield block
                    read(cast(Any, file).buffer.tell())
        if not there:
            raise InputError(
                f"{self.where}: no row can be read: {self.bad}" if self.bad.count else f"{self.where}: there is no row"
            )

    def _block(self, rows: list[list[str]], lines: Sequence[int]) -> Block:
        """The rows of the right length as columns; others are counted."""
        width = len(self.names)
        if set(map(len, rows)) != {width} or not all(row[0] for row in rows):
            kept = []
            for line, row in zip(lines, rows, strict=True):
                if _blank(row):
                    continue
                if len(row) == width + 1 and not row[-1].strip():  # a delimiter at the line's end
                    row.pop()
                if len(row) != width:
                    self.bad.add(f"row {line} has {len(row)} cells, {self._widely()} (delimiter {self.delimiter!r})")
                    continue
                kept.append((line, row))
            rows, lines = [row for _, row in kept], [line for line, _ in kept]
        return Block(list(zip(*rows, strict=True)), lines)

    def _widely(self) -> str:
        """How many cells a row should have."""
        known = "data.columns names" if self.form.columns else "the header has" if self.header else "most have"
        return f"{known} {len(self.names)}"

    def _told(self) -> _Decoding:
        return _Decoding(self.where, self.encoding)


@dataclass(frozen=True)
class _Decoding:
    """Says what cannot be decoded in one sentence."""

    where: str
    encoding: str

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UnicodeError):
            raise InputError(
                f"{self.where}: is not written in {self.encoding} ({error}); set data.encoding, or leave it out and "
                "it is found"
            ) from error


def _blank(row: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in row)
