"""Rows of numbers out of text files of hundreds of megabytes, block by block; rows that a logger cut are counted."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError

BLOCK = 2**23
"""Bytes that become numbers at a time."""
MISSING = {b"", b"?", b"na", b"nan", b"null"}
"""How files write that a value is missing, upper or lower case."""
SHOWN, SHOWN_FILES = 3, 8
"""Bad rows, and files with such, that a message shows."""
BadRowsPolicy = Literal["refuse", "drop"]


class BadRows:
    """Rows that are none, of all files of a set; told together once all are read.

    Args:
        policy: ``refuse`` them, or ``drop`` them and say so.
        where: the source, for messages.
    """

    def __init__(self, policy: BadRowsPolicy, where: str) -> None:
        self.policy, self.where = policy, where
        self.files: dict[str, int] = {}
        self.first: list[str] = []

    def add(self, file: str, line: int, text: bytes) -> None:
        """A row, with its file and its line, from 1."""
        self.files[file] = self.files.get(file, 0) + 1
        if len(self.first) < SHOWN:
            shown = text.decode("latin-1").strip()
            self.first.append(f"line {line} of {file}: {shown[:60]!r}{'...' if len(shown) > 60 else ''}")

    def notes(self) -> list[str]:
        """What to tell; nothing where every row was one.

        Raises:
            InputError: where such rows are refused.
        """
        if not self.files:
            return []
        count = sum(self.files.values())
        by_file = [f"{number} in {name}" for name, number in list(self.files.items())[:SHOWN_FILES]]
        more = len(self.files) - len(by_file)
        said = f"{', '.join(by_file)}{f', and in {more} more files' if more else ''}; {'; '.join(self.first)}"
        rows = "row" if count == 1 else "rows"
        what = f"{count} {rows} with another number of cells than the set's, or one that is no number"
        if self.policy == "refuse":
            raise InputError(f"{self.where}: {what} ({said}). Set data.bad_rows: drop to leave them out")
        return [f"left out: {what} ({said})"]


def read_numbers(
    stream: IO[bytes],
    columns: int,
    name: str,
    bad: BadRows,
    delimiter: str | None = None,
    header: int = 0,
    holes: bool = False,
) -> Iterator[npt.NDArray[np.float64]]:
    """A file's rows as (rows, columns), block by block; NaN where a value is missing.

    Args:
        stream: the file.
        columns: how many a row has.
        name: what messages call the file.
        bad: takes the rows that are none.
        delimiter: between cells; None for blanks and tabs.
        header: so many first lines may be no rows.
        holes: a row that is none leaves one of missing values, where no time stamp would tell of its loss.
    """
    yield from read_fields(stream, [("", "f8")] * columns, name, bad, delimiter, header, holes=holes)


def read_fields(
    stream: IO[bytes],
    fields: Sequence[tuple[str, str]],
    name: str,
    bad: BadRows,
    delimiter: str | None = None,
    header: int = 0,
    semicolons: bool = False,
    holes: bool = False,
) -> Iterator[npt.NDArray[Any]]:
    """A file's rows as records with named fields, block by block; as (rows, columns) where no field has a name.

    Args:
        stream, name, bad, delimiter, header, holes: as :func:`read_numbers` takes them.
        fields: name and numpy type of each column: ``f8``, ``f4``, or text such as ``S16``.
        semicolons: a ``;`` ends a row, wherever it stands; a comma before it is none.
    """
    dtype: Any = np.dtype(list(fields)) if fields[0][0] else np.dtype("f8")
    texts = [kind.startswith("S") for _, kind in fields]
    line = 1
    for block in _blocks(stream):
        if line == 1:
            block, skipped = _without_header(block, delimiter, header)
            line += skipped
        plain = _split_records(block) if semicolons else block
        if plain.strip():
            found = _fast(plain, dtype, len(fields), delimiter)
            yield _slow(block, dtype, texts, name, line, bad, delimiter, semicolons, holes) if found is None else found
        line += block.count(b"\n")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines of about a block's size; line ends of any system become ``\\n``."""
    rest = b""
    first = True
    while block := stream.read(BLOCK):
        block = block.removeprefix(b"\xef\xbb\xbf") if first else block
        first = False
        if b"\r" in block:  # a \r\n may be cut in two by the block's end
            block += stream.read(1) if block.endswith(b"\r") else b""
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head, newline, tail = block.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        elif len(rest) > BLOCK:
            raise InputError(f"a line of more than {BLOCK} bytes: this is no text file of rows")
        else:
            rest += block
    if rest:
        yield rest


def _without_header(block: bytes, delimiter: str | None, header: int) -> tuple[bytes, int]:
    """A block without its first lines, up to so many, that do not begin with a number; how many these were."""
    skipped = 0
    while skipped < header:
        line, _, rest = block.partition(b"\n")
        cells = line.split(delimiter.encode() if delimiter else None)
        if cells and _number(cells[0]) is not None and cells[0].strip().lower() not in MISSING:
            break
        block, skipped = rest, skipped + 1
    return block, skipped


def _split_records(block: bytes) -> bytes:
    return re.sub(rb",?[ \t]*;", b"\n", block)


def _fast(block: bytes, dtype: Any, columns: int, delimiter: str | None) -> npt.NDArray[Any] | None:
    """A block as numpy reads it in one go; None where a row is none."""
    try:
        found = np.loadtxt(
            io.BytesIO(block),
            dtype,
            comments=None,
            delimiter=delimiter,
            ndmin=1 if dtype.names else 2,
            encoding="latin-1",
        )
    except (ValueError, OverflowError):
        return None
    return found if dtype.names or found.shape[1] == columns else None


def _slow(
    block: bytes,
    dtype: Any,
    texts: list[bool],
    name: str,
    line: int,
    bad: BadRows,
    delimiter: str | None,
    semicolons: bool,
    holes: bool,
) -> npt.NDArray[Any]:
    """A block row by row; what is no row is told."""
    separator = delimiter.encode() if delimiter else None
    hole = tuple(b"" if text else float("nan") for text in texts)
    kept: list[tuple[Any, ...]] = []
    for number, whole in enumerate(block.split(b"\n"), line):
        for row in _split_records(whole).split(b"\n") if semicolons else [whole]:
            if not row.strip():
                continue
            cells = row.split(separator)
            values = [c.strip() if text else _number(c) for c, text in zip(cells, texts, strict=False)]
            if len(cells) != len(texts) or None in values:
                bad.add(name, number, row)
                kept += [hole] * holes
            else:
                kept.append(tuple(values))
    return np.array(kept, dtype) if dtype.names else np.array(kept, dtype).reshape(-1, len(texts))


def _number(cell: bytes) -> float | None:
    """A cell's number, NaN where it says that there is none, None for anything else."""
    try:
        return None if b"_" in cell else float(cell)  # Python reads 1_0 as ten
    except ValueError:
        return float("nan") if cell.strip().lower() in MISSING else None
