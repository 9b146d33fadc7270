"""A user's recordings as text: one long table, or a folder with one file per recording."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from overtone.data.base import Recordings, Source
from overtone.data.resample import Stream, regular
from overtone.data.table import Table, TimeUnit, class_numbers, read_table
from overtone.errors import InputError, nearest
from overtone.files import no_folder


class TableColumns(BaseModel):
    """Which column of a table was what in training, remembered for tables to come.

    Attributes:
        recording: tells recordings apart; None: a file is one recording.
        time, time_unit: time stamps; None: samples are evenly spaced.
        label: class names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recording: str | None = None
    time: str | None = None
    time_unit: TimeUnit = "s"
    label: str | None = None


class Text(Source):
    """What both forms share: which column is what.

    Attributes:
        path: the file, or the folder.
        channels: the signal's columns, as names or patterns such as ``acc_*``.
        label: the column of class names or numbers, one per sample.
        time: the column of time stamps; without it samples are taken as evenly spaced, ``rate`` apart.
        time_unit: of numeric time stamps; ISO 8601 dates need none.
        rate: Hz; what to resample to, or what the data has where it has no time stamps.
        resample: interpolate onto an even grid.
    """

    path: Path
    channels: list[str] | None = Field(default=None, min_length=1)
    label: str | None = "label"
    time: str | None = None
    time_unit: TimeUnit = "s"
    rate: float | None = Field(default=None, gt=0, le=1e9)
    resample: bool = False

    def _recordings(self, parts: list[tuple[str, Table, list[int], str, str | None]], where: str) -> Recordings:
        """From (recording, table, its rows, group, label or None) to recordings."""
        channels = self._channels({id(part[1]): part[1] for part in parts}.values())
        texts = []
        for _, table, rows, _, label in parts:
            if label is not None:
                texts.append([label] * len(rows))
            else:
                assert self.label is not None
                column = table.text(self.label, "label")
                texts.append([column[row] for row in rows])
        classes, labels = class_numbers(texts)
        converted: dict[int, tuple[Any, Any]] = {}  # a long table's columns are turned into numbers once
        streams = []
        for (name, table, rows, _, _), numbers in zip(parts, labels, strict=True):
            if id(table) not in converted:
                values = np.stack([table.numbers(channel, "channel") for channel in channels], axis=1)
                converted[id(table)] = values, table.seconds(self.time, self.time_unit) if self.time else None
            values, time = converted[id(table)]
            times = None if time is None else time[rows]
            lines = [table.lines[row] for row in rows]
            streams.append(Stream(name, times, values[rows].astype(np.float32), numbers, lines))
        stretches, rate, notes = regular(streams, self.rate, self.resample, where)
        return Recordings(
            signals=[np.ascontiguousarray(stretch.values) for stretch in stretches],
            labels=[stretch.labels for stretch in stretches],
            groups=[parts[stretch.stream][3] for stretch in stretches],
            classes=classes,
            channels=channels,
            rate=rate,
            where=where,
            notes=tuple(notes),
            origin=[stretch.stream for stretch in stretches],
            offset=[stretch.offset for stretch in stretches],
            names=tuple(part[0] for part in parts),
        )

    @property
    def columns(self) -> TableColumns:
        """Which column is what."""
        return TableColumns(time=self.time, time_unit=self.time_unit, label=self.label)

    def _others(self) -> list[str | None]:
        """Columns that are no channels."""
        return [self.label, self.time]

    def _channels(self, tables: Iterable[Table]) -> tuple[str, ...]:
        """The channels' columns, the same in every table.

        Raises:
            InputError: where tables differ in what a pattern fits, or as in :meth:`_fitting`.
        """
        first, *others = tables
        channels = self._fitting(first)
        for table in others:
            names = self._fitting(table)
            if set(names) != set(channels):
                raise InputError(
                    f"{table.where}: data.channels fits {', '.join(names)} there, but {', '.join(channels)} in "
                    f"{first.where}"
                )
        return tuple(channels)

    def _fitting(self, table: Table) -> list[str]:
        """A table's channels: names as they were given, those of a pattern in the order of the table.

        Raises:
            InputError: where none are named, or one fits no column; the message lists the columns.
        """
        free = [name for name in table.columns if name not in self._others()]
        if self.channels is None:
            raise InputError(
                f"{table.where}: data.channels is missing; name the signal's columns, or give patterns such as acc_*. "
                f"Besides the other named columns there are: {', '.join(free) or 'none'}"
            )
        names: list[str] = []
        for pattern in self.channels:
            plain = pattern in table.columns or not any(sign in pattern for sign in "*?[")
            fit = [pattern] if plain else [name for name in free if fnmatch.fnmatchcase(name, pattern)]
            if not fit:
                raise InputError(f"{table.where}: no channel column fits {pattern!r}; {nearest(pattern, free)}")
            names += [name for name in fit if name not in names]
        return names


class Csv(Text):
    """One long table with a row per sample.

    Attributes:
        recording: the column that tells recordings apart; without it, the group's.
        group: the column that says who a sample is from.
    """

    SOURCE: ClassVar[str] = "your own long table: recording, time, channels, label, group (any names)"

    recording: str | None = None
    group: str = "group"
    label: str = "label"

    @property
    def columns(self) -> TableColumns:
        """Which column is what."""
        return super().columns.model_copy(update={"recording": self.recording or self.group})

    def _others(self) -> list[str | None]:
        return [*super()._others(), self.recording, self.group]

    def load(self) -> Recordings:
        """Read the table; rows of one recording stay in their order, wherever they stand.

        Raises:
            InputError: for anything wrong, with column and row.
        """
        where = f"data 'csv': {self.path}"
        table = read_table(self.path, where)
        if self.group not in table.columns:
            raise InputError(
                f"{where}: there is no group column {self.group!r}; {nearest(self.group, table.columns)}. A group is "
                "who a sample is from, so that nobody is on two sides of the split; name its column with data.group"
            )
        groups = table.text(self.group, "group")
        names = table.text(self.recording, "recording") if self.recording else groups
        rows: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            rows.setdefault(name, []).append(number)
        parts: list[tuple[str, Table, list[int], str, str | None]] = []
        for name, indices in rows.items():
            people = sorted({groups[row] for row in indices})
            if len(people) > 1:
                raise InputError(
                    f"{where}: recording {name!r} belongs to several groups ({', '.join(people[:5])}); "
                    "a recording is of one"
                )
            parts.append((name, table, indices, people[0], None))
        return self._recordings(parts, where)


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

    @property
    def columns(self) -> TableColumns:
        """Which column is what; none is the label's where it is in the file's name."""
        named = "label" in re.compile(self.pattern).groupindex
        return super().columns.model_copy(update={"label": None}) if named else super().columns

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
        if not self.path.is_dir():
            raise InputError(f"{where} {no_folder(self.path)}")
        paths = sorted(path for path in self.path.glob(self.files) if path.is_file())
        if not paths:
            raise InputError(f"{where}: no file fits {self.files!r}")
        parts: list[tuple[str, Table, list[int], str, str | None]] = []
        for path in paths:
            name = path.relative_to(self.path).as_posix()
            match = re.match(self.pattern, name)
            if match is None:
                raise InputError(
                    f"{where}: the name {name!r} does not fit the pattern {self.pattern!r}. The pattern's part named "
                    "group says who a recording is from, so that nobody is on two sides of the split; set data.pattern "
                    "to fit your names, such as (?P<group>[^_]+)_(?P<label>[^.]+) for ann_walk.csv"
                )
            table = read_table(path, f"data 'folder': {path}")
            label = match.groupdict().get("label")
            if label is None and self.label is None:
                raise InputError(
                    f"{where}: there is no label; name its column with data.label, or a part of data.pattern label"
                )
            parts.append((name, table, list(range(len(table))), match["group"], label))
        return self._recordings(parts, where)
