"""New data for a student, read with the settings that it was trained with."""

from __future__ import annotations

from pathlib import Path

from overtone.data import SOURCES, Recordings, Windows, cut
from overtone.data.har.pieces import HarSource
from overtone.errors import InputError, told
from overtone.header import Header
from overtone.new_data.arrays import npz_windows
from overtone.new_data.fitting import for_student, kept_data, source_at
from overtone.new_data.given import Columns, Given, Watch
from overtone.new_data.images import image_windows
from overtone.new_data.tables import table_recordings
from overtone.recipe import DataSettings
from overtone.student import Student
from overtone.tasks import DEFAULT


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
        return image_windows(path, header, labelled, where)
    if path.suffix in (".npz", ".npy"):  # the second is told what to do
        return npz_windows(path, header, stride, labelled, where)
    settings = kept_data(header)
    if settings is not None and _reads_itself(path, settings, trust, where):
        recordings = _own_source(path, settings, header, labelled, where)
    else:
        recordings = table_recordings(path, header, columns, labelled, where, watch)
    task = header.task.task() if labelled else DEFAULT
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


def _own_source(path: Path, settings: DataSettings, header: Header, labelled: bool, where: str) -> Recordings:
    """Recordings that the training's own source reads."""
    source = source_at(settings, path, where)
    try:
        loaded = source.load() if labelled else source.load_unlabelled()
    except InputError as error:
        if isinstance(source, HarSource) and path.is_file():
            raise InputError(
                f"{error}; a table (.csv or .parquet) with the columns {', '.join(header.channels)} can be given "
                "as well"
            ) from error
        raise
    except Exception as error:  # files that are not what their names say can fail in any way
        raise InputError(f"{where}: cannot be used by data {settings.name!r}: {told(error)}") from error
    if isinstance(loaded, Windows):
        raise InputError(
            f"{where}: data {settings.name!r} gives windows, not recordings; save them as .npz with X and y"
        )
    return for_student(loaded, source, settings, header, labelled, where)


__all__ = ["Columns", "Given", "Watch", "read_windows"]
