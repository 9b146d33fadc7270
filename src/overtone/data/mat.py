"""A user's own recordings in one of MATLAB's ``.mat`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from overtone.data.arrays import Layout, from_arrays
from overtone.data.base import OwnSource, Recordings
from overtone.errors import InputError
from overtone.formats.mat_file import read_mat


class Mat(OwnSource):
    """Variables of a ``.mat`` file, of any version: signals, classes, and whose each recording is.

    Signals are an array (N, C, T), or a cell (or the field of a struct array) with one matrix (C, T) a recording.
    Classes and groups are vectors of numbers, or cells of text. ``acc.x`` is the field ``x`` of the struct ``acc``.

    Attributes:
        path: the file.
        x, y, group: names of the variables.
        layout: ``NTC`` where signals are (N, T, C), or cells of (T, C).
        rate: sampling rate in Hz, needed where windows are given in seconds.
    """

    SOURCE: ClassVar[str] = "your own variables x (N,C,T), y, group in a MATLAB .mat (v7.3: pip install overtone[mat])"

    path: Path
    x: str = "X"
    y: str = "y"
    group: str = "group"
    layout: Layout | None = None
    rate: float | None = Field(default=None, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Read and check the variables.

        Raises:
            InputError: for anything that :func:`~overtone.formats.mat_file.read_mat` refuses, or variables that do not
                fit each other.
        """
        where = f"data 'mat': {self.path}"
        read = read_mat(self.path, (self.x, self.y, self.group), where)
        vectors = {name: self._vector(read[name], name, where) for name in (self.y, self.group)}
        x = self._signals(read[self.x], where)
        return from_arrays(x, vectors[self.y], vectors[self.group], self.layout, self.rate, where)

    def load_unlabelled(self) -> Recordings:
        """The signals alone.

        Raises:
            InputError: as :meth:`load`, of the signals.
        """
        where = f"data 'mat': {self.path}"
        x = self._signals(read_mat(self.path, (self.x,), where)[self.x], where)
        none = np.zeros(len(x), dtype=np.int64)
        return from_arrays(x, none, none, self.layout, self.rate, where)

    def _signals(self, x: Any, where: str) -> Any:
        """An array of three axes, or a list of matrices; MATLAB drops a last axis of one."""
        if isinstance(x, list) or x.ndim == 3:
            return x
        if self.layout == "NTC":
            return x[:, :, None]
        raise InputError(
            f"{where}: {self.x!r} has the axes {x.shape}; needed are three (N, C, T), or a cell of matrices (C, T). If "
            "its rows are recordings of one channel, set data.layout: NTC"
        )

    def _vector(self, values: Any, name: str, where: str) -> Any:
        """(N,) of MATLAB's (N, 1) or (1, N)."""
        if isinstance(values, list):
            raise InputError(f"{where}: {name!r} holds an array for each recording; needed is one number or name")
        return values.ravel() if values.ndim > 1 and values.size == max(values.shape) else np.asarray(values)
