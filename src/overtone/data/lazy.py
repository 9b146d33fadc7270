"""Windows that are cut when they are asked for, so that overlapping windows of long recordings need no copy."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.base import FloatArray
from overtone.formats.items import data_offset, read_member


class LazyWindows:
    """Looks like an array (N, C, T) of float32; indexing it reads the recordings, which may be memory-mapped.

    Args:
        signals: recordings (C, T_i), of any floating type.
        recording: (N,) which recording each window is in.
        start: (N,) its first sample there.
        size: T.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, signals: Sequence[Any], recording: npt.NDArray[Any], start: npt.NDArray[Any], size: int) -> None:
        self.signals, self.recording, self.start = signals, recording, start
        self.shape = (len(recording), signals[0].shape[0], size)
        self.nbytes = int(np.prod(self.shape)) * 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> FloatArray:
        """One window (C, T), or those of a slice or an array of numbers (n, C, T)."""
        if isinstance(index, (int, np.integer)):
            return self._cut(int(index))
        numbers = np.arange(len(self))[index]
        out = np.empty((len(numbers), *self.shape[1:]), dtype=np.float32)
        for row, number in enumerate(numbers):
            out[row] = self._cut(int(number))
        return out

    def _cut(self, number: int) -> FloatArray:
        first = int(self.start[number])
        part = self.signals[self.recording[number]][:, first : first + self.shape[2]]
        return np.asarray(part, dtype=np.float32)


def map_npz(path: Path, name: str) -> npt.NDArray[Any] | None:
    """An array of an ``.npz`` mapped into memory instead of read; None where it is compressed."""
    with zipfile.ZipFile(path) as archive:
        member = read_member(archive, archive.getinfo(f"{name}.npy"))
    if member.info.compress_type != zipfile.ZIP_STORED or member.fortran or member.dtype.hasobject:
        return None
    return np.memmap(path, dtype=member.dtype, mode="r", offset=data_offset(path, member), shape=member.shape)
