"""New data in a ``.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from overtone.data import (
    Recordings,
    Windows,
    cut,
    pads,
)
from overtone.data.arrays import from_arrays
from overtone.data.lazy import LazyWindows
from overtone.data.lengths import in_samples
from overtone.data.npz import Npz, read_arrays
from overtone.errors import InputError
from overtone.formats.items import Items, Swapped
from overtone.header import Header
from overtone.new_data.fitting import for_student, kept_data, source_at
from overtone.new_data.given import Given
from overtone.recipe import DataSettings
from overtone.tasks import DEFAULT, Task


def npz_windows(path: Path, header: Header, stride: str | None, labelled: bool, where: str) -> Given:
    """Windows of X (N, C, T), or with its axes as in training, where each item is a recording of its own."""
    settings = kept_data(header)
    source = None if settings is None or settings.name != "npz" else cast(Npz, source_at(settings, path, where))
    names = ("X", "y") if source is None else (source.x, source.y)
    x, y = arrays_in(path, "windows", labelled, where, names)
    turned = source is not None and source.layout == "NTC"
    if len(x.shape) != 3 or x.shape[2 if turned else 1] != len(header.channels):
        wanted = f"(N, T, {len(header.channels)}), as in training," if turned else f"(N, {len(header.channels)}, T)"
        raise InputError(
            f"{where}: {names[0]} must be {wanted} for this student's channels {', '.join(header.channels)}; got "
            f"{x.shape}"
        )
    x = Swapped(x) if turned else x
    if settings is not None and source is not None and _changes(settings, source, labelled):
        recordings = _changed(x, y, source, settings, header, where)
        return Given(cut(recordings, header.size[0], stride, header.task.task() if labelled else DEFAULT), None)
    labels, notes = labels_in(y, len(x), header.task.task(), where)
    (size,), samples = header.size, x.shape[2]
    step = size if stride is None else in_samples(stride, header.rate, "stride")
    starts = np.arange(0, samples - size + 1, step)
    if not len(starts):
        raise InputError(
            f"{where}: a window of {size} samples is longer than every recording (the longest has {samples})"
        )
    recording, start = np.repeat(np.arange(len(x)), len(starts)), np.tile(starts, len(x))
    whole = samples == size
    windows = Windows(
        x=cast(Any, x if whole else LazyWindows(cast(Any, x), recording, start, size)),
        y=labels[recording],
        group=np.zeros(len(recording), dtype=np.int64),
        recording=recording,
        start=start,
        groups=("-",),
        classes=(),
        channels=header.channels,
        rate=header.rate,
        where=where,
        stride=step,
        notes=tuple(notes),
    )
    return Given(windows, None, streamed=samples)


def _changes(settings: DataSettings, source: Npz, labelled: bool) -> bool:
    """Whether anything is done to recordings before they are cut, for which all of them have to be read first."""
    chosen = labelled and (settings.rename or settings.drop or settings.classes is not None)
    return bool(chosen) or source.missing.fill != "refuse" or pads(source, settings)


def _changed(
    x: Items, y: npt.NDArray[Any] | None, source: Npz, settings: DataSettings, header: Header, where: str
) -> Recordings:
    """Items (N, C, T) with missing values, classes and lengths as in training."""
    none = np.zeros(len(x), dtype=np.int64)
    recordings = from_arrays(x[0 : len(x)], none if y is None else y, none, "NCT", header.rate, where)
    return for_student(recordings, source, settings, header, y is not None, where)


def arrays_in(
    path: Path, what: str, labelled: bool, where: str, names: tuple[str, str] = ("X", "y")
) -> tuple[Items, npt.NDArray[Any] | None]:
    """X, if it holds numbers and any at all, and y where it is asked for; ``names`` are the arrays' in the file."""
    name = names[0]
    arrays = read_arrays(path, names if labelled else names[:1], where, streamed=name)
    x: Items = arrays[name]
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise InputError(f"{where}: {name} must hold numbers, got {x.dtype}")
    if x.shape[:1] == (0,):
        raise InputError(f"{where}: there are no {what} in {name}; its shape is {x.shape}")
    if not x.size:
        raise InputError(f"{where}: {name} holds nothing, its shape is {x.shape}")
    return x, arrays.get(names[1])


def labels_in(y: npt.NDArray[Any] | None, count: int, task: Task, where: str) -> tuple[npt.NDArray[Any], list[str]]:
    """The targets in y (zeros without it), and a note on how they were read."""
    if y is None:
        return np.zeros(count, dtype=np.int64), []
    if y.shape[:1] != (count,) or (task.ONE_CLASS and y.ndim != 1):
        raise InputError(f"{where}: X and y must be equally long, got {count} and {y.shape}")
    return task.targets_of(y, where)
