"""A user's recordings as tables: one long table, or a folder with one file per recording."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from overtone.data.base import IntArray, OwnSource, Recordings
from overtone.data.missing import Filling
from overtone.data.resample import ADVICE, IfNeeded, Resample, Stream, regular
from overtone.errors import InputError, nearest
from overtone.files import no_folder
from overtone.formats.clock import TimeUnit, Unit
from overtone.formats.compact import Compact, compact
from overtone.formats.table import BadRows, ColumnName, Read, Table, TextFormat, column, open_table
from overtone.recipe.messages import Said

Column = Annotated[ColumnName, Field(union_mode="left_to_right"), Said("a column's name, or its number from 1")]
FILES_NAMED = 5
"""Files whose bad rows a message tells."""


@dataclass(frozen=True)
class File:
    """A table to be read.

    Attributes:
        path: the file.
        where: what messages call it.
        name: its recording's, where no column tells recordings apart.
        group, label: where its name tells them.
        table: where it is open already.
    """

    path: Path
    where: str
    name: str = "0"
    group: str | None = None
    label: str | None = None
    table: Table | None = None


@dataclass(frozen=True)
class Roles:
    """Which columns are what, beside channels; and how a user says so.

    Attributes:
        recording, group, label: columns of text; None: there is none, or a file's name tells.
        time_option, advice: what messages say about the unit of time, and about rates that are far apart.
        restart: what they say where the clock starts again inside a recording.
        rate, resample: as :func:`~overtone.data.resample.regular` takes them.
    """

    recording: ColumnName | None
    group: ColumnName | None
    label: ColumnName | None
    rate: float | None
    resample: Resample | IfNeeded
    time_option: str = "data.time_unit:"
    advice: str = ADVICE
    restart: str = ""


class Text(TextFormat, OwnSource):
    """What both forms share: which column is what.

    Attributes:
        path: the file, or the folder.
        channels: the signal's columns, as names, patterns such as ``acc_*``, or numbers from 1.
        label: the column of class names or numbers, one per sample.
        time: the column of time stamps; without it samples are taken as evenly spaced, ``rate`` apart.
        time_unit: of numeric time stamps, seconds unless that is implausible; ISO 8601 dates need none.
        rate: Hz; what to resample to, or what the data has where it has no time stamps.
        resample: interpolate onto an even grid; ``upsample`` also to more than four times a recording's own rate.
    """

    path: Path
    channels: Annotated[list[Column], Field(min_length=1)] | None = None
    label: Column | None = "label"
    time: Column | None = None
    time_unit: TimeUnit | None = None
    rate: float | None = Field(default=None, gt=0, le=1e9)
    resample: Resample = False

    def read(self, files: Sequence[File], roles: Roles, where: str, read: Read = lambda done: None) -> Recordings:
        """The recordings in some tables, as they are in training and for prediction.

        Args:
            files: the tables, which have the same channels.
            roles: which columns are what.
            where: the source, for messages.
            read: hears how many bytes of a table are read.

        Raises:
            InputError: for anything wrong, with column and row; bad rows of all files at once.
        """
        tables, parts, channels = [], [], None
        for file in files:
            table = file.table or open_table(file.path, file.where, self)
            own = self._fitting(table, roles)
            if channels is not None and set(own) != set(channels):
                raise InputError(
                    f"{table.where}: data.channels fits {', '.join(own)} there, but {', '.join(channels)} in "
                    f"{files[0].where}"
                )
            channels = channels or own
            tables.append(table)
            parts.append(self._part(file, table, channels, roles, read))
        assert channels is not None
        notes = [*_told(tables), *_bad_rows(files, tables, self.bad_rows, where)]
        classes, numbers = _class_numbers(parts)
        streams, groups, in_units = [], [], []
        for part, labels in zip(parts, numbers, strict=True):
            for name, rows in part.recordings():
                time = None if part.table.time is None else part.table.time[rows]
                lines: Any = part.table.lines[rows]
                streams.append(Stream(name, time, part.table.values[rows], labels[rows], lines))
                groups.append(part.group_of(name, rows, where))
                in_units.append(time is not None and not part.table.dates)
        streams = self._in_seconds(streams, in_units, roles, where)
        del parts, part, numbers, labels
        filling = Filling(self.missing, channels, where)
        stretches, rate, told = regular(
            streams, roles.rate, roles.resample, where, filling, roles.advice, roles.restart
        )
        return Recordings(
            signals=[np.ascontiguousarray(stretch.values) for stretch in stretches],
            labels=[stretch.labels for stretch in stretches],
            groups=[groups[stretch.stream] for stretch in stretches],
            classes=classes,
            channels=tuple(channels),
            rate=rate,
            where=where,
            notes=(*notes, *told),
            origin=[stretch.stream for stretch in stretches],
            offset=[stretch.offset for stretch in stretches],
            names=tuple(stream.name for stream in streams),
        )

    def _part(self, file: File, table: Table, channels: list[str], roles: Roles, read: Read) -> _Part:
        """One table's columns."""

        def named(name: ColumnName | None, role: str) -> str | None:
            return None if name is None else column(name, table.names, role, table.where)

        recording, group = named(roles.recording, "recording"), named(roles.group, "group")
        label = named(roles.label, "label") if file.label is None else None
        texts = {name: role for name, role in ((label, "label"), (recording, "recording"), (group, "group")) if name}
        time = named(self.time, "time")
        held = compact(table, channels, texts, time, self.decimal, label, read)
        return _Part(file, held, recording, group, label)

    def _in_seconds(self, streams: list[Stream], in_units: list[bool], roles: Roles, where: str) -> list[Stream]:
        """Recordings with their time stamps in seconds; ``in_units`` says which were in some unit."""
        times = [s.time for s, numeric in zip(streams, in_units, strict=True) if numeric and s.time is not None]
        intervals = [float(np.median(np.diff(time))) for time in times if len(time) > 1]
        clock = Unit(self.time_unit, roles.rate, roles.time_option)
        unit = clock.seconds(intervals, where)
        if roles.resample:
            clock.check(intervals, roles.resample == "upsample", roles.advice, where)
        if unit == 1:
            return streams
        return [
            replace(stream, time=stream.time * unit) if numeric and stream.time is not None else stream
            for stream, numeric in zip(streams, in_units, strict=True)
        ]

    def _others(self, roles: Roles) -> list[ColumnName]:
        """Columns that are no channels."""
        return [name for name in (roles.label, self.time, roles.recording, roles.group) if name is not None]

    def _fitting(self, table: Table, roles: Roles) -> list[str]:
        """A table's channels: names as they were given, those of a pattern in the order of the table.

        Raises:
            InputError: where none are named, or one fits no column; the message lists the columns.
        """
        others = self._others(roles)
        free = [name for n, name in enumerate(table.names, 1) if name not in others and n not in others]
        if self.channels is None:
            raise InputError(
                f"{table.where}: data.channels is missing; name the signal's columns, or give patterns such as acc_*. "
                f"Besides the other named columns there are: {', '.join(free) or 'none'}"
            )
        names: list[str] = []
        for pattern in self.channels:
            plain = isinstance(pattern, int) or pattern in table.names or not any(sign in pattern for sign in "*?[")
            if plain:
                fit = [column(pattern, table.names, "channel", table.where)]
            else:
                fit = [name for name in free if fnmatch.fnmatchcase(name, str(pattern))]
            if not fit:
                raise InputError(f"{table.where}: no channel column fits {pattern!r}; {nearest(str(pattern), free)}")
            names += [name for name in fit if name not in names]
        return names


@dataclass(frozen=True)
class _Part:
    """What was read of one file, and which of its columns are what."""

    file: File
    table: Compact
    recording: str | None
    group: str | None
    label: str | None

    @property
    def labels(self) -> list[str]:
        """Names of labels, of the file or in its column."""
        if self.label is not None:
            return list(self.table.texts[self.label].names)
        return [] if self.file.label is None else [self.file.label]

    def recordings(self) -> Iterator[tuple[str, Any]]:
        """Each recording's name and its rows in their order: a slice, which copies nothing, where they follow."""
        if self.recording is None:
            yield self.file.name, slice(None)
            return
        names = self.table.texts[self.recording]
        numbers = names.numbers
        prefix = "" if self.file.name == "0" else f"{self.file.name}/"
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        if len(cuts) + 1 == len(names.names):
            ends = [0, *cuts.tolist(), len(numbers)]
            rows: list[Any] = [slice(*pair) for pair in pairwise(ends)]
        else:
            rows = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
        yield from zip((prefix + name for name in names.names), rows, strict=True)

    def group_of(self, name: str, rows: Any, where: str) -> str:
        """Whose recording it is.

        Raises:
            InputError: for one that belongs to several.
        """
        if self.group is None:
            return "-" if self.file.group is None else self.file.group
        names = self.table.texts[self.group]
        numbers = names.numbers[rows]
        people = [list(names.names)[number] for number in np.unique([numbers.min(), numbers.max()])]
        if len(people) > 1:
            people = sorted(list(names.names)[number] for number in np.unique(numbers))
            raise InputError(
                f"{where}: recording {name!r} belongs to several groups ({', '.join(people[:5])}); "
                "a recording is of one"
            )
        return people[0]


def _told(tables: Sequence[Table]) -> list[str]:
    """What was found of the files' form; what is the same of many is told once."""
    notes = [note for table in tables for note in table.notes]
    return notes if len(notes) <= 3 else [*notes[:2], f"and {len(notes) - 2} more files like these"]


def _bad_rows(files: Sequence[File], tables: Sequence[Table], what: str, where: str) -> list[str]:
    """A note on rows that were dropped.

    Raises:
        InputError: where they are refused.
    """
    bad: list[tuple[str, BadRows]] = [
        (file.path.name if file.name == "0" else file.name, table.bad)
        for file, table in zip(files, tables, strict=True)
        if table.bad.count
    ]
    if not bad:
        return []
    total = sum(rows.count for _, rows in bad)
    if len(tables) == 1:
        told = str(bad[0][1])
    else:
        shown = [f"{name} has {rows.count} ({rows})" for name, rows in bad[:FILES_NAMED]]
        rest = sum(rows.count for _, rows in bad[FILES_NAMED:])
        told = ", ".join(shown) + (f", and {len(bad) - FILES_NAMED} more files have {rest}" if rest else "")
    count = f"{total} row{'s' * (total > 1)}" + (f" in {len(bad)} of {len(tables)} files" if len(tables) > 1 else "")
    if what == "drop":
        return [f"{count} could not be used and {'were' if total > 1 else 'was'} left out: {told}"]
    head = f"{count} cannot be used: " if total > 1 else ""
    raise InputError(f"{where}: {head}{told}. Correct {'them' if total > 1 else 'it'}, or set data.bad_rows: drop")


def _class_numbers(parts: Sequence[_Part]) -> tuple[tuple[str, ...], list[IntArray]]:
    """Class names, numbers in numeric and others in alphabetic order, and each file's labels as numbers."""
    classes = tuple(sorted({name for part in parts for name in part.labels}, key=_as_number))
    number = {name: place for place, name in enumerate(classes)}
    labels = []
    for part in parts:
        places = np.asarray([number[name] for name in part.labels] or [0], dtype=np.int64)
        if part.label is not None:
            labels.append(places[part.table.texts[part.label].numbers])
        else:
            labels.append(np.broadcast_to(places[0], (len(part.table.lines),)))
    return classes, labels


def _as_number(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


class Csv(Text):
    """One long table with a row per sample.

    Attributes:
        recording: the column that tells recordings apart; without it, the group's.
        group: the column that says who a sample is from.
    """

    SOURCE: ClassVar[str] = "your own long table: recording, time, channels, label, group (any names)"

    recording: Column | None = None
    group: Column = "group"
    label: Column = "label"

    def load(self) -> Recordings:
        """Read the table; rows of one recording stay in their order, wherever they stand.

        Raises:
            InputError: for anything wrong, with column and row.
        """
        where = f"data 'csv': {self.path}"
        table = open_table(self.path, where, self)
        names = table.names
        if self.group not in names and not isinstance(self.group, int):
            raise InputError(
                f"{where}: there is no group column {self.group!r}; {nearest(self.group, names)}. A group is "
                "who a sample is from, so that nobody is on two sides of the split; name its column with data.group"
            )
        roles = Roles(
            self.recording or self.group,
            self.group,
            self.label,
            self.rate,
            self.resample,
            restart="name the column that tells recordings apart: data.recording",
        )
        return self.read([File(self.path, where, table=table)], roles, where)


class Folder(Text):
    """One file per recording.

    Attributes:
        files: which files, as a pattern; ``**/*.csv`` looks into folders below.
        pattern: a regular expression on the file's path below the folder, with a part named ``group`` and perhaps one
            named ``label``: ``(?P<group>[^/_]+)_(?P<label>[^.]+)``.
        label: the column of labels, needed where the pattern has no such part.
    """

    SOURCE: ClassVar[str] = "your own folder, one file per recording; group and label from the file's name"

    files: str = "*.csv"
    pattern: str = r"(?P<group>[^/_.]+)"

    @field_validator("files")
    @classmethod
    def _below(cls, value: str) -> str:
        if not value or Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError(f"a pattern of files below the folder, such as **/*.csv, got {value!r}")
        return value

    @field_validator("pattern")
    @classmethod
    def _has_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"no regular expression: {error}, got {value!r}") from error
        if "group" not in groups:
            raise ValueError(
                f"a part named group is needed, such as (?P<group>[^_]+): who a recording is from, got {value!r}"
            )
        return value

    def load(self) -> Recordings:
        """Read every file that fits.

        Raises:
            InputError: for no such folder or file, a name that does not fit the pattern, or anything in a file.
        """
        where = f"data 'folder': {self.path}"
        files = []
        for path, name in self.paths(where):
            match = re.match(self.pattern, name)
            if match is None:
                raise InputError(
                    f"{where}: the name {name!r} does not fit the pattern {self.pattern!r}. The pattern's part named "
                    "group says who a recording is from, so that nobody is on two sides of the split; set data.pattern "
                    "to fit your names, such as (?P<group>[^_]+)_(?P<label>[^.]+) for ann_walk.csv"
                )
            label = match.groupdict().get("label")
            if label is None and self.label is None:
                raise InputError(
                    f"{where}: there is no label; name its column with data.label, or a part of data.pattern label"
                )
            files.append(File(path, f"data 'folder': {path}", name, match["group"], label))
        return self.read(files, Roles(None, None, self.label, self.rate, self.resample), where)

    def told_by(self, name: str, part: str) -> str | None:
        """What a file's name tells of its group or label; None where it does not."""
        match = re.match(self.pattern, name)
        return None if match is None else match.groupdict().get(part)

    def paths(self, where: str) -> list[tuple[Path, str]]:
        """The files that fit, and their names below the folder.

        Raises:
            InputError: for no such folder, or no such file in it.
        """
        if self.path.is_file():
            raise InputError(f"{where}: this is a file; for one long table write name: csv, else name its folder")
        if not self.path.is_dir():
            raise InputError(f"{where} {no_folder(self.path)}")
        paths = sorted(path for path in self.path.glob(self.files) if path.is_file())
        if not paths:
            raise InputError(
                f"{where}: no file fits {self.files!r}; data.files says which, such as '*.txt' or '**/*.csv'"
            )
        return [(path, path.relative_to(self.path).as_posix()) for path in paths]
