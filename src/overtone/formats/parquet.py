"""Tables in Parquet files, whose columns have types; read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.formats.table import BLOCK, BadRows, Block, Read


class ParquetTable:
    """A Parquet file's rows; "lines" are their numbers from 1."""

    def __init__(self, path: Path, where: str) -> None:
        try:
            from pyarrow import parquet
        except ImportError:
            raise InputError(f'{where}: a Parquet file needs pyarrow: pip install "overtone[parquet]"') from None
        self.where = where
        self.notes: list[str] = []
        self.bad = BadRows()
        try:
            self._file = parquet.ParquetFile(path)
        except Exception as error:  # damaged files fail in many ways
            raise InputError(f"{where}: cannot be read, it is cut short or no Parquet file ({error})") from error
        self.names = tuple(self._file.schema_arrow.names)
        if not self._file.metadata.num_rows:
            raise InputError(f"{where}: there is no row in it")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"{where}: two columns have the same name")
        self._bytes = path.stat().st_size

    def blocks(self, read: Read = lambda done: None) -> Iterator[Block]:
        """All rows, in blocks.

        Raises:
            InputError: for a damaged file.
        """
        self.bad = BadRows()
        done, total = 0, self._file.metadata.num_rows
        try:
            for batch in self._file.iter_batches(batch_size=16 * BLOCK):
                columns = [_column(batch.column(number)) for number in range(batch.num_columns)]
                yield Block(columns, range(done + 1, done + batch.num_rows + 1))
                done += batch.num_rows
                read(self._bytes * done // total)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{self.where}: cannot be read, it is cut short or damaged ({error})") from error


def _column(column: Any) -> Sequence[str] | npt.NDArray[Any]:
    """Numbers, dates, and durations in seconds as arrays; anything else as text, empty where there is nothing."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pa.types.is_duration(kind):  # NaN where there is none
        return np.asarray(column.to_numpy(zero_copy_only=False) / np.timedelta64(1, "s"))
    return ["" if cell is None else cell if isinstance(cell, str) else str(cell) for cell in column.to_pylist()]
