"""Using a student: windows of a file through a student file, to probabilities or to scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from overtone.data import (
    SOURCES,
    Csv,
    Folder,
    ImageFiles,
    Recordings,
    Source,
    Windows,
    cut,
    make_source,
    pads,
    prepared,
)
from overtone.data.arrays import from_arrays
from overtone.data.base import IMAGES
from overtone.data.clock import TimeUnit
from overtone.data.csv import File, Roles
from overtone.data.image_files import check_torchvision, check_unpacked, image_names
from overtone.data.items import Items, Swapped
from overtone.data.lazy import LazyWindows
from overtone.data.lengths import in_samples
from overtone.data.npz import Npz, read_arrays
from overtone.data.parts import padded
from overtone.data.resample import UNEVEN, IfNeeded, Resample
from overtone.data.seen import Flat, Seen
from overtone.data.table import ColumnName, open_table
from overtone.errors import InputError, nearest, told
from overtone.files import no_file
from overtone.recipe import DataSettings, validation_message
from overtone.sheets import csv_line
from overtone.student import Header, Student
from overtone.tasks import Classification, Context, Task, joined
from overtone.types import Output

CLASSES = Classification()

BATCH, BATCH_VALUES = 256, 2**22
"""Windows at a time, fewer where they hold more values than this; large images would take gigabytes inside a model."""

TABLES = (".csv", ".tsv", ".txt", ".dat", ".log", ".parquet", ".pq")
"""What tables are called, where a folder may hold other files as well."""
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")

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
    path: Path,
    student: Student,
    columns: Columns,
    stride: str | None,
    labelled: bool,
    watch: Watch | None = None,
    trust: bool = False,
) -> Given:
    """Windows of a ``.npz`` (``X`` (N, C, T), ``y`` if labelled), a table or a folder of tables, images, or whatever
    else the source reads that the student was trained on.

    Items of X that are longer than a window are cut further. A table's samples are brought to the student's rate where
    it has a time column.

    Args:
        path: the file, or a folder of images or tables.
        student: says channels, rate and window.
        columns: of a text table; what is not given is as in training.
        stride: samples or ``1 s``; windows follow each other without overlap unless given.
        labelled: read labels, which must be ones that the student can give.
        watch: hears how much of a text table is read.
        trust: import a source of somebody's own, which the student was trained on.

    Raises:
        InputError: for anything that does not fit the student.
    """
    header = student.header
    where = str(path)
    if not isinstance(header.window, int):
        return _images(path, header, labelled, where)
    if path.suffix == ".npz":
        return _npz(path, header, stride, labelled, where)
    settings = kept_data(header)
    if settings is not None and _reads_itself(path, settings, trust, where):
        recordings = _own_source(path, settings, header, labelled, where)
    else:
        recordings = _table(path, header, columns, labelled, where, watch)
    task = header.task.task() if labelled else CLASSES
    return Given(cut(recordings, header.window, stride, task), recordings.names or None)


def _reads_itself(path: Path, settings: DataSettings, trust: bool, where: str) -> bool:
    """Whether the source that the student was trained on reads this path, and not the reader of tables.

    Raises:
        InputError: for somebody's own source without trust.
    """
    if settings.name in ("csv", "folder", "npz") or path.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq"):
        return False
    if ":" in settings.name and not settings.name.startswith("aeon:"):
        if not trust:
            raise InputError(
                f"{where}: the student was trained on data of somebody's own, {settings.name}, which would be imported "
                "to read it; if you trust whoever made the student, say so: --trust. A table (.csv) or .npz needs none"
            )
        return True
    kind = SOURCES.get(settings.name)
    return kind is not None and "path" in kind.model_fields


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
        names, labels = _chosen(names, [(folder / name).parent.name for name in names], header, where)
        y = header.task.task().targets_of(np.asarray(labels), where)[0]
    return Given(_of_images(ImageFiles(folder, names, height, where), y, header, where, ()), tuple(names))


def _chosen(names: list[str], labels: list[str], header: Header, where: str) -> tuple[list[str], list[str]]:
    """Images and their labels, renamed as in training, without those of classes that were left out there."""
    settings = kept_data(header)
    if settings is None:
        return names, labels
    labels = [settings.rename.get(label, label) for label in labels]
    only = header.task.task().names if isinstance(settings.classes, list) else None
    rows = [n for n, own in enumerate(labels) if own not in settings.drop and (only is None or own in only)]
    if not rows:
        raise InputError(f"{where}: no image is of the student's classes, {', '.join(header.task.task().names)}")
    return [names[row] for row in rows], [labels[row] for row in rows]


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
    """Windows of X (N, C, T), or with its axes as in training, where each item is a recording of its own."""
    x, y = _arrays(path, "windows", labelled, where)
    settings = kept_data(header)
    source = None if settings is None or settings.name != "npz" else cast(Npz, _source_at(settings, path, where))
    turned = source is not None and source.layout == "NTC"
    if len(x.shape) != 3 or x.shape[2 if turned else 1] != len(header.channels):
        wanted = f"(N, T, {len(header.channels)}), as in training," if turned else f"(N, {len(header.channels)}, T)"
        raise InputError(
            f"{where}: X must be {wanted} for this student's channels {', '.join(header.channels)}; got {x.shape}"
        )
    x = Swapped(x) if turned else x
    if settings is not None and source is not None and _changes(settings, source, labelled):
        recordings = _changed(x, y, source, settings, header, where)
        return Given(cut(recordings, header.size[0], stride, header.task.task() if labelled else CLASSES), None)
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
    return _for_student(recordings, source, settings, header, y is not None, where)


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
    if y.shape[:1] != (count,) or (task.ONE_CLASS and y.ndim != 1):
        raise InputError(f"{where}: X and y must be equally long, got {count} and {y.shape}")
    return task.targets_of(y, where)


def _own_source(path: Path, settings: DataSettings, header: Header, labelled: bool, where: str) -> Recordings:
    """Recordings that the training's own source reads."""
    source = _source_at(settings, path, where)
    try:
        loaded = source.load() if labelled else source.load_unlabelled()
    except InputError:
        raise
    except Exception as error:  # files that are not what their names say can fail in any way
        raise InputError(f"{where}: cannot be used by data {settings.name!r}: {told(error)}") from error
    if isinstance(loaded, Windows):
        raise InputError(
            f"{where}: data {settings.name!r} gives windows, not recordings; save them as .npz with X and y"
        )
    return _for_student(loaded, source, settings, header, labelled, where)


def _table(path: Path, header: Header, named: Columns, labelled: bool, where: str, watch: Watch | None) -> Recordings:
    """Recordings of a table, or of all in a folder, as the student was trained on them."""
    settings = kept_data(header)
    trained = settings is not None and settings.name in ("csv", "folder")
    if settings is None or not trained:
        settings = DataSettings(name="csv")
    source = _source_at(settings, path, where)
    assert isinstance(source, (Csv, Folder))
    files = _files(path, source, where) if path.is_dir() else [File(path, where)]
    first = open_table(files[0].path, files[0].where, source)
    files[0], names = replace(files[0], table=first), first.names
    source, recording, notes = _columns(source, names, header, named, trained, where)
    label: ColumnName | None = None
    by_target = labelled and bool(settings.target)
    if labelled and not by_target:
        task = header.task.task()
        label = _asked(named.label, names) or (source.label if trained else None)
        label = label or ("label" if task.ONE_CLASS else task.names[0])
        if named.label is None and isinstance(source, Folder):
            files = [replace(file, label=source.told_by(file.path.name, "label")) for file in files]
    if not by_target:
        source = source.model_copy(update={"channels": list(header.channels)})
    resample: Resample | IfNeeded = False
    if source.time is not None and header.rate is not None:
        resample = source.resample or ("if needed" if trained else True)
    roles = Roles(
        recording=recording,
        group=None,
        label=label,
        rate=header.rate,
        resample=resample,
        time_option="--time-unit",
        advice="look at the time stamps and --time-unit; a student does not learn from a few samples what many show",
    )

    def read(done: int) -> None:
        if watch is not None and len(files) == 1:
            watch("bytes read", done, files[0].path.stat().st_size)

    recordings = source.read(files, roles, where, read)
    recordings = replace(recordings, notes=(*notes, *recordings.notes))
    return _for_student(recordings, source, settings, header, labelled, where)


def _files(path: Path, source: Csv | Folder, where: str) -> list[File]:
    """The tables in a folder."""
    if isinstance(source, Folder):
        return [File(file, str(file), name) for file, name in source.paths(where)]
    paths = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in TABLES)
    if not paths:
        raise InputError(f"{where}: there is no table in this folder; looked for {', '.join(TABLES)}")
    return [File(file, str(file), file.name) for file in paths]


def _for_student(
    recordings: Recordings, source: Source, settings: DataSettings, header: Header, labelled: bool, where: str
) -> Recordings:
    """The recordings with the student's channels, in its order, and its targets.

    Raises:
        InputError: for a channel, a label or a rate that does not fit the student.
    """
    recordings = prepared(recordings, source, _choices(settings, recordings, labelled))
    if pads(source, settings):
        recordings = padded(recordings, header.size[0])
    task = header.task.task()
    if labelled and settings.target:
        task, recordings = task.labelled(recordings, settings.target)
    missing = [name for name in header.channels if name not in recordings.channels]
    if missing:
        raise InputError(f"{where}: there is no channel {missing[0]!r}; {nearest(missing[0], recordings.channels)}")
    if header.rate and recordings.rate and abs(recordings.rate / header.rate - 1) > UNEVEN:
        raise InputError(f"{where}: has {recordings.rate:g} Hz, the student was trained at {header.rate:g} Hz")
    rows = [recordings.channels.index(name) for name in header.channels]
    same = rows == list(range(len(recordings.channels)))
    labels: Any = recordings.labels
    if not labelled:
        labels = [np.broadcast_to(np.int64(0), (signal.shape[1],)) for signal in recordings.signals]
    elif recordings.classes:
        targets = task.targets_of(np.asarray(_alike(recordings.classes, task.names)), where)[0]
        labels = [targets[own] for own in recordings.labels]
    return replace(
        recordings,
        signals=recordings.signals if same else [signal[rows] for signal in recordings.signals],
        labels=labels,
        classes=(),
        channels=header.channels,
    )


def _choices(settings: DataSettings, recordings: Recordings, labelled: bool) -> DataSettings:
    """The training's choice of classes, as far as they occur: a file need not have all. Nothing is padded."""
    changes: dict[str, Any] = {"rename": {}, "classes": None, "drop": [], "pad": False}
    if labelled and recordings.classes:
        names = set(recordings.classes)
        changes["rename"] = {old: new for old, new in settings.rename.items() if old in names}
        names = {settings.rename.get(name, name) for name in names}
        changes["drop"] = [name for name in settings.drop if name in names]
        if isinstance(settings.classes, list):
            changes["classes"] = [name for name in settings.classes if name in names] or settings.classes
    return settings.model_copy(update=changes)


def _alike(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Labels as the student writes them: 1.0 is its class 1."""
    numbers = {float(name): name for name in classes if NUMBER.fullmatch(name)}
    return [numbers.get(float(label), label) if NUMBER.fullmatch(label) else label for label in labels]


def kept_data(header: Header) -> DataSettings | None:
    """The training's data, without its place.

    Raises:
        InputError: where the header holds no such settings.
    """
    try:
        return None if header.data is None else DataSettings.model_validate(header.data)
    except ValidationError as error:
        raise InputError(validation_message(error, DataSettings, "the student's header: data")) from error


def _source_at(settings: DataSettings, path: Path, where: str) -> Source:
    """The training's source, which reads another place and nothing beside it.

    Raises:
        InputError: for settings that are none, or a header that names places on disk.
    """
    source = make_source(DataSettings.model_validate({**settings.model_dump(exclude_unset=True), "path": str(path)}))
    others = [name for name, value in source if isinstance(value, Path) and name != "path"]
    if others:
        raise InputError(f"{where}: the student's header names a place on disk (data.{others[0]}), which is not read")
    return source


def _asked(name: str | None, names: Sequence[str]) -> ColumnName | None:
    """A column as it is given on the command line, by name or number."""
    return int(name) if name is not None and name not in names and name.isdecimal() else name


def _columns(
    source: Csv | Folder, names: Sequence[str], header: Header, named: Columns, trained: bool, where: str
) -> tuple[Csv | Folder, ColumnName | None, list[str]]:
    """The source with its columns of time, and the recordings' column: those given before those of the training; and
    what had to be assumed without any.
    """
    usual: dict[str, ColumnName | None] = {"recording": None, "time": source.time}
    if isinstance(source, Csv) and trained:
        usual["recording"] = source.recording or source.group

    def there(name: ColumnName | None) -> ColumnName | None:
        return name if name in names or (isinstance(name, int) and name <= len(names)) else None

    used = {role: _asked(getattr(named, role), names) or there(name) for role, name in usual.items()}
    unit = named.time_unit or source.time_unit
    source = source.model_copy(update={"time": used["time"], "time_unit": unit})
    even = f"evenly sampled at {header.rate:g} Hz" if header.rate else "evenly sampled"
    assumed = {"recording": "one recording", "time": even}
    # A folder's file is one recording, and a table without time stamps was trained on as such: nothing is assumed.
    left = [role for role in assumed if not used[role] and (not trained or usual[role] is not None)]
    if not left:
        return source, used["recording"], []
    missing = [repr(usual[role]) for role in left if usual[role]]
    why = f"column {' and '.join(missing)} of the training is not in it; " if missing else ""
    options = " and ".join(f"--{role} COLUMN" for role in left)
    note = (
        f"{where}: {why}taken as {', '.join(assumed[role] for role in left)}; {options} "
        f"{'says' if len(left) == 1 else 'say'} otherwise"
    )
    return source, used["recording"], [note]


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
