"""Using a student: windows of a file through a student file, to probabilities or to scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from overtone.data import PictureFiles, Recordings, TableColumns, Windows, cut
from overtone.data.base import FloatArray, IntArray
from overtone.data.npz import read_arrays
from overtone.data.pictures import check_torchvision, check_unpacked, picture_names
from overtone.data.resample import Stream, regular
from overtone.data.table import Table, TimeUnit, read_table
from overtone.errors import InputError, nearest
from overtone.files import write_atomic
from overtone.student import Header, Student

BATCH = 256


@dataclass(frozen=True)
class Columns:
    """Which column of a text table is what, where it is not as in training; channels have the student's own names."""

    recording: str | None = None
    time: str | None = None
    label: str | None = None
    time_unit: TimeUnit | None = None


@dataclass(frozen=True)
class Given:
    """A file's windows, and their labels where asked for (numbers of the student's classes)."""

    windows: Windows
    recordings: tuple[str, ...]


def read_windows(path: Path, student: Student, columns: Columns, stride: str | None, labelled: bool) -> Given:
    """Windows of a ``.npz`` (``X`` (N, C, T), ``y`` if labelled), a text table, or pictures, as the student was
    trained on.

    Items of X that are longer than a window are cut further. A table's samples are brought to the student's rate where
    it has a time column.

    Args:
        path: the file, or a folder of pictures.
        student: says channels, rate and window.
        columns: of a text table; what is not given is as in training.
        stride: samples or ``1 s``; windows follow each other without overlap unless given.
        labelled: read labels, which must be among the student's classes.

    Raises:
        InputError: for anything that does not fit the student.
    """
    header = student.header
    where = str(path)
    if not isinstance(header.window, int):
        return _images(path, header, labelled, where)
    if path.suffix == ".npz":
        recordings, names = _npz(path, header, labelled, where)
    else:
        recordings, names = _table(read_table(path, where), header, columns, labelled, where)
    recordings.check()
    return Given(cut(recordings, header.window, stride), names)


def _images(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """Images of 0 to 255, (N, C, H, W), or pictures in files."""
    if path.suffix != ".npz":
        return _pictures(path, header, labelled, where)
    held = read_arrays(path, ("X", "y") if labelled else ("X",), where)
    x = _filled(held["X"], "images", where)
    wanted = (len(header.channels), *header.size)
    if x.shape[1:] != wanted:
        raise InputError(f"{where}: X must be (N, {', '.join(map(str, wanted))}), images of 0 to 255; got {x.shape}")
    if not np.isfinite(x.astype(np.float32)).all():
        raise InputError(f"{where}: X holds values that are not finite")
    notes = []
    if x.max() <= 1:
        notes.append(f"{where}: X looks as if it were scaled to 0..1; this student takes 0 to 255")
    y, told = _labels(held["y"], len(x), header, where) if labelled else (np.zeros(len(x), dtype=np.int64), [])
    names = tuple(str(number) for number in range(len(x)))
    return Given(_of_images(x, y, header, where, (*notes, *told)), names)


def _pictures(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """A picture, or all below a folder; the folder that a picture lies in names its class."""
    channels, (height, width) = len(header.channels), header.size
    if channels != 3 or height != width:
        raise InputError(
            f"{where}: this student takes images of {height} x {width} pixels and {channels} channels; give a .npz "
            "with X (N, C, H, W)"
        )
    if not path.exists():
        raise InputError(f"{where}: there is no such file or folder")
    check_torchvision(where)
    folder, names = (path, picture_names(path, where)) if path.is_dir() else (path.parent, [path.name])
    if not names or path.is_file():
        check_unpacked(path, where, "then give the folder that it leaves")
    if not names:
        raise InputError(
            f"{where}: there is no picture; this student takes a picture, a folder of them, or a .npz with X "
            "(N, C, H, W)"
        )
    labels = _numbers([(folder / name).parent.name for name in names], header, where) if labelled else None
    y = np.zeros(len(names), dtype=np.int64) if labels is None else labels
    return Given(_of_images(cast(Any, PictureFiles(folder, names, height, where)), y, header, where, ()), tuple(names))


def _of_images(x: npt.NDArray[Any], y: IntArray, header: Header, where: str, notes: tuple[str, ...]) -> Windows:
    zeros, numbers = np.zeros(len(x), dtype=np.int64), np.arange(len(x))
    return Windows(
        x=x,
        y=y,
        group=zeros,
        recording=numbers,
        start=zeros,
        groups=("-",),
        classes=header.classes,
        channels=header.channels,
        rate=None,
        where=where,
        stride=1,
        notes=notes,
    )


def _npz(path: Path, header: Header, labelled: bool, where: str) -> tuple[Recordings, tuple[str, ...]]:
    held = read_arrays(path, ("X", "y") if labelled else ("X",), where)
    x = _filled(held["X"], "windows", where)
    if x.ndim != 3 or x.shape[1] != len(header.channels):
        raise InputError(
            f"{where}: X must be (N, {len(header.channels)}, T) for this student's channels "
            f"{', '.join(header.channels)}; got {x.shape}"
        )
    labels, notes = _labels(held["y"], len(x), header, where) if labelled else (np.zeros(len(x), dtype=np.int64), [])
    names = tuple(str(number) for number in range(len(x)))
    recordings = _recordings(list(x.astype(np.float32)), list(labels), header, where)
    return replace(recordings, notes=tuple(notes)), names


def _filled(x: npt.NDArray[Any], what: str, where: str) -> npt.NDArray[Any]:
    """X, if it holds numbers and any at all."""
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise InputError(f"{where}: X must hold numbers, got {x.dtype}")
    if x.shape[:1] == (0,):
        raise InputError(f"{where}: there are no {what} in X; its shape is {x.shape}")
    if not x.size:
        raise InputError(f"{where}: X holds nothing, its shape is {x.shape}")
    return x


def _labels(y: npt.NDArray[Any], count: int, header: Header, where: str) -> tuple[IntArray, list[str]]:
    """Numbers of the student's classes, and a note where y itself is taken as such, not as names."""
    if y.shape != (count,):
        raise InputError(f"{where}: X and y must be equally long, got {count} and {y.shape}")
    if np.issubdtype(y.dtype, np.floating) and np.isfinite(y).all() and (y == np.round(y)).all():
        y = y.astype(np.int64)  # as in training
    if not np.issubdtype(y.dtype, np.integer) or any(_is_number(name) for name in header.classes):
        return _numbers([str(label) for label in y], header, where), []
    last = len(header.classes) - 1
    wrong = (y < 0) | (y > last)
    if wrong.any():
        raise InputError(
            f"{where}: y holds {y[wrong][0]}, but the student's classes have names; give these "
            f"({nearest('', header.classes)}) or their numbers, 0 to {last}"
        )
    return y.astype(np.int64), [
        f"{where}: y holds numbers, taken as the student's classes in their order: 0 is {header.classes[0]}, {last} is "
        f"{header.classes[last]}"
    ]


def _is_number(name: str) -> bool:
    try:
        int(name)
    except ValueError:
        return False
    return True


def _table(
    table: Table, header: Header, given: Columns, labelled: bool, where: str
) -> tuple[Recordings, tuple[str, ...]]:
    columns, notes = _columns(table, header, given, where)
    values = np.stack([table.numbers(name, "channel") for name in header.channels], axis=1).astype(np.float32)
    texts = table.text(columns.label or "label", "label") if labelled else []
    labels = _numbers(texts, header, where) if labelled else np.zeros(len(table), dtype=np.int64)
    time = table.seconds(columns.time, columns.time_unit) if columns.time else None
    names = table.text(columns.recording, "recording") if columns.recording else ["0"] * len(table)
    rows: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        rows.setdefault(name, []).append(number)
    streams = [
        Stream(name, None if time is None else time[own], values[own], labels[own], [table.lines[row] for row in own])
        for name, own in rows.items()
    ]
    stretches, _, told = regular(streams, header.rate, time is not None and header.rate is not None, where)
    recordings = replace(
        _recordings([s.values for s in stretches], [s.labels for s in stretches], header, where),
        origin=[stretch.stream for stretch in stretches],
        offset=[stretch.offset for stretch in stretches],
        notes=(*notes, *told),
    )
    return recordings, tuple(stream.name for stream in streams)


def _columns(table: Table, header: Header, given: Columns, where: str) -> tuple[TableColumns, list[str]]:
    """The columns to read, those given before those of the training; and what had to be assumed without any."""
    trained = header.columns or TableColumns()

    def there(name: str | None) -> str | None:
        return name if name in table.columns else None

    columns = TableColumns(
        recording=given.recording or there(trained.recording),
        time=given.time or there(trained.time),
        time_unit=given.time_unit or trained.time_unit,
        label=given.label or trained.label,
    )
    even = f"evenly sampled at {header.rate:g} Hz" if header.rate else "evenly sampled"
    assumed = {"recording": "one recording", "time": even}
    # A folder's file is one recording, and a table without time stamps was trained on as such: nothing is assumed.
    left = [
        role
        for role in assumed
        if not getattr(columns, role) and (header.columns is None or getattr(trained, role) is not None)
    ]
    if not left:
        return columns, []
    missing = [repr(getattr(trained, role)) for role in left if getattr(trained, role)]
    why = f"column {' and '.join(missing)} of the training is not in it; " if missing else ""
    options = " and ".join(f"--{role} COLUMN" for role in left)
    return columns, [
        f"{where}: {why}taken as {', '.join(assumed[role] for role in left)}; {options} "
        f"{'says' if len(left) == 1 else 'say'} otherwise"
    ]


def _recordings(signals: list[FloatArray], labels: list[IntArray], header: Header, where: str) -> Recordings:
    return Recordings(signals, labels, ["-"] * len(signals), header.classes, header.channels, header.rate, where)


def _numbers(labels: Sequence[str], header: Header, where: str) -> IntArray:
    """Labels as numbers of the student's classes."""
    number = {name: n for n, name in enumerate(header.classes)}
    for label in labels:
        if label not in number:
            raise InputError(f"{where}: label {label!r} is not among the student's classes; {nearest(label, number)}")
    return np.asarray([number[label] for label in labels], dtype=np.int64)


def probabilities(student: Student, windows: Windows) -> Tensor:
    """Class probabilities of every window, (N, classes)."""
    parts = [windows.x[first : first + BATCH] for first in range(0, len(windows), BATCH)]
    return torch.cat([student.predict(torch.from_numpy(part)) for part in parts])


def write_predictions(path: Path, given: Given, student: Student, found: Tensor) -> None:
    """A CSV with each window's place (recording, first sample, seconds) or image, its class, and every probability."""
    rate = student.header.rate
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_images = given.windows.noun == "image"
    place = ["image"] if of_images else ["recording", "start", "start_seconds"]
    writer.writerow([*place, "class", *(f"p({name})" for name in student.classes)])
    for recording, start, row in zip(given.windows.recording, given.windows.start, found, strict=True):
        seconds = f"{start / rate:.4f}" if rate else ""
        name = student.classes[int(row.argmax())]
        where = [given.recordings[recording], *([] if of_images else [start, seconds])]
        writer.writerow([*where, name, *(f"{float(p):.6f}" for p in row)])
    write_atomic(path, text.getvalue())


@dataclass(frozen=True)
class Evaluation:
    """How a student does on labelled windows or images (``noun``); ``confusion`` rows are the truth."""

    windows: int
    noun: str
    accuracy: float
    macro_f1: float
    confusion: list[list[int]]


def evaluate(student: Student, windows: Windows) -> Evaluation:
    """Accuracy, macro-F1 and confusion of a student."""
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score  # slow to import

    guess = probabilities(student, windows).argmax(1).numpy()
    return Evaluation(
        len(windows),
        windows.noun,
        float(accuracy_score(windows.y, guess)),
        float(f1_score(windows.y, guess, average="macro", zero_division=0)),
        confusion_matrix(windows.y, guess, labels=range(len(student.classes))).tolist(),
    )
