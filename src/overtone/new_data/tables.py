"""New data in a table, or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from overtone.data import (
    Csv,
    Folder,
    Recordings,
)
from overtone.data.csv import File, Roles
from overtone.data.resample import IfNeeded, Resample
from overtone.errors import InputError
from overtone.formats.table import ColumnName, open_table
from overtone.header import Header
from overtone.new_data.fitting import for_student, kept_data, source_at
from overtone.new_data.given import Columns, Watch
from overtone.recipe import DataSettings

TABLES = (".csv", ".tsv", ".txt", ".dat", ".log", ".parquet", ".pq")
"""What tables are called, where a folder may hold other files as well."""


def table_recordings(
    path: Path, header: Header, named: Columns, labelled: bool, where: str, watch: Watch | None
) -> Recordings:
    """Recordings of a table, or of all in a folder, as the student was trained on them."""
    settings = kept_data(header)
    trained = settings is not None and settings.name in ("csv", "folder")
    if settings is None or not trained:
        settings = DataSettings(name="csv")
    source = source_at(settings, path, where)
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
        restart="name the column that tells recordings apart: --recording COLUMN",
    )

    def read(done: int) -> None:
        if watch is not None and len(files) == 1:
            watch("bytes read", done, files[0].path.stat().st_size)

    recordings = source.read(files, roles, where, read)
    recordings = replace(recordings, notes=(*notes, *recordings.notes))
    return for_student(recordings, source, settings, header, labelled, where)


def _files(path: Path, source: Csv | Folder, where: str) -> list[File]:
    """The tables in a folder."""
    if isinstance(source, Folder):
        return [File(file, str(file), name) for file, name in source.paths(where)]
    paths = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in TABLES)
    if not paths:
        raise InputError(f"{where}: there is no table in this folder; looked for {', '.join(TABLES)}")
    return [File(file, str(file), file.name) for file in paths]


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
