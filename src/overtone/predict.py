"""Using a student: windows of a file through a student file, to probabilities or to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from overtone.data import ImageFiles, Recordings, TableColumns, Windows, cut
from overtone.data.base import IMAGES, FloatArray, IntArray
from overtone.data.compact import Compact, compact
from overtone.data.image_files import check_torchvision, check_unpacked, image_names
from overtone.data.items import Items
from overtone.data.lazy import LazyWindows
from overtone.data.npz import read_arrays
from overtone.data.resample import Stream, regular
from overtone.data.seen import Flat, Seen
from overtone.data.table import Table, TimeUnit, read_blocks
from overtone.data.windows import in_samples
from overtone.errors import InputError
from overtone.files import no_file
from overtone.sheets import csv_line
from overtone.student import Header, Student
from overtone.tasks import Classification, Context, Task, joined
from overtone.types import Output

CLASSES = Classification()

BATCH, BATCH_VALUES = 256, 2**22
"""Windows at a time, fewer where they hold more values than this; large images would take gigabytes inside a model."""

Watch = Callable[[str, int, int], None]
"""Hears what is under way, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Columns:
    """Which column of a text table is what, where it is not as in training; channels have the student's own names."""

    recording: str | None = None
    time: str | None = None
    label: str | None = None
    time_unit: TimeUnit | None = None


@dataclass(frozen=True)
class Given:
    """A file's windows, and their labels where asked for (as its task has them).

    Attributes:
        windows: their ``x`` is read when it is asked for, from front to back.
        recordings: names of what ``windows.recording`` counts; None where their numbers are their names.
        streamed: samples of a recording that nobody has looked through yet; None where somebody has.
    """

    windows: Windows
    recordings: Sequence[str] | None
    streamed: int | None = None


def read_windows(
    path: Path, student: Student, columns: Columns, stride: str | None, labelled: bool, watch: Watch | None = None
) -> Given:
    """Windows of a ``.npz`` (``X`` (N, C, T), ``y`` if labelled), a text table, or images, as the student was
    trained on.

    Items of X that are longer than a window are cut further. A table's samples are brought to the student's rate where
    it has a time column.

    Args:
        path: the file, or a folder of images.
        student: says channels, rate and window.
        columns: of a text table; what is not given is as in training.
        stride: samples or ``1 s``; windows follow each other without overlap unless given.
        labelled: read labels, which must be ones that the student can give.
        watch: hears how much of a text table is read.

    Raises:
        InputError: for anything that does not fit the student.
    """
    header = student.header
    where = str(path)
    if not isinstance(header.window, int):
        return _images(path, header, labelled, where)
    if path.suffix == ".npz":
        return _npz(path, header, stride, labelled, where)
    recordings, names = _table(path, header, columns, labelled, where, watch)
    recordings.check()
    task = header.task.task() if labelled else CLASSES
    return Given(cut(recordings, header.window, stride, task), names)


def _images(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """Images of 0 to 255, (N, C, H, W), or images in files."""
    if path.suffix != ".npz":
        return _image_files(path, header, labelled, where)
    x, y = _arrays(path, "images", labelled, where)
    wanted = (len(header.channels), *header.size)
    if x.shape[1:] != wanted:
        raise InputError(f"{where}: X must be (N, {', '.join(map(str, wanted))}), images of 0 to 255; got {x.shape}")
    labels, notes = _labels(y, len(x), header.task.task(), where)
    return Given(_of_images(x, labels, header, where, tuple(notes)), None)


def _image_files(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """An image, or all below a folder; the folder that an image lies in names its class."""
    channels, (height, width) = len(header.channels), header.size
    if channels != 3 or height != width:
        raise InputError(
            f"{where}: this student takes images of {height} x {width} pixels and {channels} channels; give a .npz "
            "with X (N, C, H, W)"
        )
    if not path.exists():
        raise InputError(f"{where} {no_file(path)}")
    check_torchvision(where)
    folder, names = (path, image_names(path, where)) if path.is_dir() else (path.parent, [path.name])
    if not names or path.is_file():
        check_unpacked(path, where, "then give the folder that it leaves")
    if not names:
        raise InputError(
            f"{where}: there is no image; this student takes an image, a folder of them, or a .npz with X (N, C, H, W)"
        )
    y: npt.NDArray[Any] = np.zeros(len(names), dtype=np.int64)
    if labelled:
        y = header.task.task().targets_of(np.asarray([(folder / name).parent.name for name in names]), where)[0]
    return Given(_of_images(ImageFiles(folder, names, height, where), y, header, where, ()), tuple(names))


def _of_images(
    x: Items | ImageFiles, y: npt.NDArray[Any], header: Header, where: str, notes: tuple[str, ...]
) -> Windows:
    zeros, numbers = np.zeros(len(x), dtype=np.int64), np.arange(len(x))
    return Windows(
        x=cast(Any, x),
        y=y,
        group=zeros,
        recording=numbers,
        start=zeros,
        groups=("-",),
        classes=(),
        channels=header.channels,
        rate=None,
        where=where,
        stride=1,
        notes=notes,
        material=IMAGES,
    )


def _npz(path: Path, header: Header, stride: str | None, labelled: bool, where: str) -> Given:
    """Windows of X (N, C, T), where each item is a recording of its own."""
    x, y = _arrays(path, "windows", labelled, where)
    if len(x.shape) != 3 or x.shape[1] != len(header.channels):
        raise InputError(
            f"{where}: X must be (N, {len(header.channels)}, T) for this student's channels "
            f"{', '.join(header.channels)}; got {x.shape}"
        )
    labels, notes = _labels(y, len(x), header.task.task(), where)
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


def _arrays(path: Path, what: str, labelled: bool, where: str) -> tuple[Items, npt.NDArray[Any] | None]:
    """X, if it holds numbers and any at all, and y where it is asked for."""
    arrays = read_arrays(path, ("X", "y") if labelled else ("X",), where, streamed="X")
    x: Items = arrays["X"]
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise InputError(f"{where}: X must hold numbers, got {x.dtype}")
    if x.shape[:1] == (0,):
        raise InputError(f"{where}: there are no {what} in X; its shape is {x.shape}")
    if not x.size:
        raise InputError(f"{where}: X holds nothing, its shape is {x.shape}")
    return x, arrays.get("y")


def _labels(y: npt.NDArray[Any] | None, count: int, task: Task, where: str) -> tuple[npt.NDArray[Any], list[str]]:
    """The targets in y (zeros without it), and a note on how they were read."""
    if y is None:
        return np.zeros(count, dtype=np.int64), []
    if y.shape[:1] != (count,) or (task.LOGITS and y.ndim != 1):
        raise InputError(f"{where}: X and y must be equally long, got {count} and {y.shape}")
    return task.targets_of(y, where)


def _table(
    path: Path, header: Header, named: Columns, labelled: bool, where: str, watch: Watch | None
) -> tuple[Recordings, tuple[str, ...]]:
    def read(done: int) -> None:
        if watch is not None:
            watch("bytes read", done, path.stat().st_size)

    blocks = read_blocks(path, where, read)
    first = next(blocks)
    columns, notes = _columns(first, header, named, where)
    task = header.task.task()
    label = (columns.label or ("label" if task.LOGITS else task.names[0])) if labelled else None
    texts = {name: role for name, role in ((label, "label"), (columns.recording, "recording")) if name is not None}
    table = compact(chain([first], blocks), header.channels, texts, columns.time, columns.time_unit)
    count = len(table.lines)
    labels: npt.NDArray[Any] = np.broadcast_to(np.int64(0), (count,))
    if label is not None:
        column = table.texts[label]
        labels = task.targets_of(np.asarray(list(column.names)), where)[0][column.numbers]
    names = tuple(table.texts[columns.recording].names) if columns.recording else ("0",)
    streams = [
        Stream(
            name,
            None if table.time is None else table.time[rows],
            table.values[rows],
            labels[rows],
            cast(Any, table.lines[rows]),
        )
        for name, rows in zip(names, _rows(table, columns.recording), strict=True)
    ]
    stretches, _, gaps = regular(streams, header.rate, table.time is not None and header.rate is not None, where)
    recordings = replace(
        _recordings([s.values for s in stretches], [s.labels for s in stretches], header, where),
        origin=[stretch.stream for stretch in stretches],
        offset=[stretch.offset for stretch in stretches],
        notes=(*notes, *gaps),
    )
    return recordings, names


def _rows(table: Compact, recording: str | None) -> list[Any]:
    """Each recording's rows, in their order: a slice, which copies nothing, where they follow each other."""
    if recording is None:
        return [slice(None)]
    numbers = table.texts[recording].numbers
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    if len(cuts) + 1 == len(table.texts[recording].names):
        return [slice(*ends) for ends in zip([0, *cuts], [*cuts, len(numbers)], strict=True)]
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def _columns(table: Table, header: Header, named: Columns, where: str) -> tuple[TableColumns, list[str]]:
    """The columns to read, those given before those of the training; and what had to be assumed without any."""
    trained = header.columns or TableColumns()

    def there(name: str | None) -> str | None:
        return name if name in table.columns else None

    columns = TableColumns(
        recording=named.recording or there(trained.recording),
        time=named.time or there(trained.time),
        time_unit=named.time_unit or trained.time_unit,
        label=named.label or trained.label,
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
    return Recordings(signals, labels, ["-"] * len(signals), (), header.channels, header.rate, where)


class Predictions:
    """What a student's last layer gives for windows, batch by batch, and what was noticed of them on the way.

    Args:
        student: the student.
        given: the windows; they are read once, from front to back.
        watch: hears how many are done.
    """

    def __init__(self, student: Student, given: Given, watch: Watch | None = None) -> None:
        self.student, self.given, self.watch = student, given, watch
        windows, header = given.windows, student.header
        images = windows.noun == "image"
        self.seen = Seen(header.mean, header.std, header.channels, images, windows.where)
        self.flat = None if given.streamed is None else Flat(header.channels, given.streamed)

    def __iter__(self) -> Iterator[tuple[slice, Output]]:
        """Which windows, and what the model gives of these.

        Raises:
            InputError: for values that are not finite, or a file that turns out to be damaged.
        """
        windows = self.given.windows
        size = max(1, min(BATCH, BATCH_VALUES // max(1, int(np.prod(windows.x.shape[1:])))))
        for first in range(0, len(windows), size):
            part = slice(first, min(first + size, len(windows)))
            x = windows.x[part]
            with np.errstate(over="ignore"):  # what is infinite as float32 is refused next
                x = np.array(x, dtype=np.uint8 if x.dtype == np.uint8 else np.float32)
            self.seen.add(x, windows.recording[part], windows.start[part])
            if self.flat is not None:
                self.flat.add(x, windows.recording[part])
            with torch.no_grad():
                yield part, self.student.output(torch.from_numpy(x))
            if self.watch is not None:
                self.watch(f"{windows.noun}s", part.stop, len(windows))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, once all windows are through."""
        return (*self.given.windows.notes, *(self.flat.notes if self.flat else ()), *self.seen.notes)


def write_predictions(file: BinaryIO, predictions: Predictions) -> None:
    """A CSV with each window's place (recording, first sample, seconds) or image, and what the task says of it: a class
    and every probability, or values.

    Raises:
        InputError: for a task whose models give no row of numbers per window.
    """
    given, task, rate = predictions.given, predictions.student.task, predictions.student.header.rate
    windows = given.windows
    of_images = windows.noun == "image"
    place = ["image"] if of_images else ["recording", "start", "start_seconds"]

    def write(cells: Iterable[object]) -> None:
        file.write(csv_line(cells).encode(errors="backslashreplace"))  # names of files may be any bytes

    for part, output in predictions:
        answers = task.answer(output.logits).tolist()
        if not part.start:
            write([*place, *task.columns()])
        for recording, start, row in zip(
            windows.recording[part].tolist(), windows.start[part].tolist(), answers, strict=True
        ):
            name = str(recording) if given.recordings is None else given.recordings[recording]
            where = [name] if of_images else [name, start, f"{start / rate:.4f}" if rate else ""]
            write([*where, *task.cells(row)])
        file.flush()


@dataclass(frozen=True)
class Evaluation:
    """How a student does on labelled windows or images (``noun``): its task's metrics, and what it keeps beside."""

    windows: int
    noun: str
    scores: dict[str, float]
    details: dict[str, Any]


def evaluate(predictions: Predictions) -> Evaluation:
    """A student's scores."""
    windows, task = predictions.given.windows, predictions.student.task
    predicted = joined([task.predict(output.map(Tensor.cpu)) for _, output in predictions])
    truth = torch.from_numpy(np.asarray(windows.y))
    context = Context(windows.recording, windows.start)
    scores, details = task.scores(predicted, truth, context), task.details(predicted, truth, context)
    return Evaluation(len(windows), windows.noun, scores, details)
