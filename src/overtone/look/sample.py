"""Parts of what is too large to be read whole, spread over it and put beside each other in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.formats.table import BLOCK

WHOLE_BYTES = 2**24
"""Tables up to so many bytes are read whole."""
TAKEN_BYTES, PARTS = 2**23, 32
"""Of a larger one: how much in all, and in how many parts."""
PART_BYTES = 2**14
"""Of a part, at least."""
LEAST_FILES, MOST_FILES = 24, 1000
"""Of a folder that is too large."""
MOST_ROWS = 2**18
"""Of a Parquet file, that are read."""
WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Sample:
    """What is read in place of a path.

    Attributes:
        path: the path itself, or what holds parts of it.
        share: of the bytes that are looked at, 1 for all.
        starts: lines at which a part begins that does not follow the one before in the file.
    """

    path: Path
    share: float = 1.0
    starts: tuple[int, ...] = ()

    def parts(self, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(N,) the part that each line is in."""
        return np.searchsorted(np.asarray(self.starts, dtype=np.int64), lines, side="right").astype(np.int64)


def sample_file(path: Path, into: Path, taken: int = TAKEN_BYTES, whole: int = WHOLE_BYTES) -> Sample:
    """A text file itself, or, where it is large, whole lines of it from its beginning to its end.

    Args:
        path: the file.
        into: the folder that parts are put into.
        taken: bytes of them, at most as many as ``whole``.
        whole: bytes up to which a file is no large one.
    """
    size = path.stat().st_size
    if size <= whole:
        return Sample(path)
    target = into / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = max(min(PARTS, taken // PART_BYTES), 1)
    length = taken // parts
    with path.open("rb") as file, target.open("wb") as out:
        if file.read(2) in WIDE:  # its line ends are no single bytes: its beginning alone
            file.seek(0)
            out.write(file.read(taken // 2 * 2))
            return Sample(target, taken / size)
        starts, lines, done = [], 0, 0
        for part in range(parts):
            start = part * (size - length) // max(parts - 1, 1)
            file.seek(start)
            if start:
                file.readline(length)
            content = file.read(max(start + length - file.tell(), 0))
            end = content.rfind(b"\n") + 1
            if not end:
                continue
            if part:
                starts.append(lines + 1)
            out.write(content[:end])
            lines += content.count(b"\n", 0, end)
            done += end
    return Sample(target, done / size, tuple(starts))


def sample_folder(path: Path, files: Sequence[str], into: Path) -> tuple[Sample, list[str]]:
    """A folder itself and all its tables, or a folder with parts of some; and their names."""
    sizes = [(path / name).stat().st_size for name in files]
    if sum(sizes) <= WHOLE_BYTES and len(files) <= MOST_FILES:
        return Sample(path), list(files)
    fitting = WHOLE_BYTES * len(files) // max(sum(sizes), 1)
    count = min(max(fitting, LEAST_FILES), MOST_FILES, len(files))
    chosen = [files[number * len(files) // count] for number in range(count)]
    read = 0.0
    for name in chosen:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        each = WHOLE_BYTES // count
        if target.suffix.lower() in (".parquet", ".pq"):
            shutil.copyfile(path / name, target)
            read += target.stat().st_size
            continue
        part = sample_file(path / name, target.parent, each, each)
        if part.path != target:
            shutil.copyfile(part.path, target)
        read += part.share * (path / name).stat().st_size
    return Sample(into, min(read / max(sum(sizes), 1), 1.0)), chosen


def sample_parquet(path: Path, into: Path) -> Sample:
    """A Parquet file itself, or a file with blocks of its rows, evenly spread.

    Raises:
        InputError: for a damaged file.
    """
    from pyarrow import Table, parquet

    try:
        file = parquet.ParquetFile(path)
        every = -(-file.metadata.num_rows // MOST_ROWS)
        if every <= 1:
            return Sample(path)
        target = into / path.name
        batches = [batch for n, batch in enumerate(file.iter_batches(BLOCK)) if n % every == 0]
        parquet.write_table(Table.from_batches(batches), target)
    except Exception as error:  # damaged files fail in many ways
        raise InputError(f"{path}: cannot be read, it is cut short or damaged ({error})") from error
    starts = np.cumsum([len(batch) for batch in batches])[:-1] + 1
    taken = sum(len(batch) for batch in batches)
    return Sample(target, taken / file.metadata.num_rows, tuple(starts.tolist()))
