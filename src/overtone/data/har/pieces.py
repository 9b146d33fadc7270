"""From samples with labels to recordings: classes that are not wanted are cut out, and recordings split there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from overtone.data.base import PEOPLE, FloatArray, IntArray, Material, Recordings, Source
from overtone.data.har.clocks import counted
from overtone.data.har.members import find_root
from overtone.data.har.rows import BadRows, BadRowsPolicy
from overtone.data.resample import Stream, regular
from overtone.errors import InputError

NullClass = Literal["drop", "keep"]
"""What becomes of samples that are of no activity."""
Name = TypeVar("Name")


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"each may stand once, got {', '.join(map(str, values))}")
    return values


Several = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]
"""One or more of a few names, each once."""


class HarSource(Source):
    """What readers of published sets share: people are the groups, rows that are none are refused or dropped.

    Attributes:
        NAMES: what the set's folder is called in ``OVERTONE_DATA``, the first of them in messages.
        FILES: which files it is made of, for messages.
    """

    MATERIAL: ClassVar[Material] = PEOPLE
    NAMES: ClassVar[tuple[str, ...]] = ()
    FILES: ClassVar[str] = ""

    bad_rows: BadRowsPolicy = "refuse"

    @property
    def where(self) -> str:
        """What the source calls itself in messages."""
        return f"data {self.NAMES[0]!r}"

    def root(self, path: Path | None) -> Path:
        """Where the set lies."""
        return find_root(path, self.NAMES, self.where)

    def none_found(self, path: Path | None) -> NoReturn:
        """Refuse a place without the set's files.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.where}: {self.root(path)} holds no file of the set with a row in it; it is made of {self.FILES}"
        )

    def bad(self) -> BadRows:
        """Takes the rows that are none."""
        return BadRows(self.bad_rows, self.where)


NO_LABEL = -1
MOST_CODE = 1_000_000
"""Above any label that a set writes; Opportunity's have six digits."""


def codes(column: npt.NDArray[np.float64]) -> IntArray:
    """Labels (T,) that a file writes as numbers; :data:`NO_LABEL` where a cell is missing or no small whole number."""
    with np.errstate(invalid="ignore"):
        whole = (column >= 0) & (column < MOST_CODE) & (column == np.round(column))
    return np.where(whole, column, NO_LABEL).astype(np.int64)


SLOWEST = 4
"""Times the grid's interval that a recording's samples may be apart, in the median."""


def _interval(stream: Stream) -> float:
    """Median seconds between samples; endless for a single one."""
    return float(np.median(np.diff(stream.time))) if stream.time is not None and len(stream.time) > 1 else np.inf


class Pieces:
    """Recordings of people, gathered one after the other.

    Args:
        where: the source, for messages.
        classes: what each label that is wanted is called. Samples with any other label are cut out.
        channels: their names.
        rate: Hz.
    """

    def __init__(self, where: str, classes: Mapping[int, str], channels: Iterable[str], rate: float) -> None:
        self.where, self.classes, self.channels, self.rate = where, dict(classes), tuple(channels), rate
        self.signals: list[FloatArray] = []
        self.labels: list[IntArray] = []
        self.origin: list[int] = []
        self.offset: list[int] = []
        self.groups: list[str] = []
        self.names: list[str] = []
        self.dropped: dict[int, int] = {}
        self.single = 0

    def begin(self, name: str) -> int:
        """A new recording; its number."""
        self.names.append(name)
        return len(self.names) - 1

    def add(
        self,
        recording: int,
        person: str,
        values: npt.NDArray[np.float32],
        labels: IntArray,
        offset: int = 0,
        kept: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """An evenly sampled stretch of a recording.

        Args:
            recording: its number.
            person: who it is from.
            values: (T, C).
            labels: (T,) as the set writes them.
            offset: samples of the recording before the stretch.
            kept: (T,) which samples to keep; all unless given.
        """
        wanted = np.isin(labels, list(self.classes))
        for label, count in zip(*np.unique(labels[~wanted], return_counts=True), strict=True):
            self.dropped[int(label)] = self.dropped.get(int(label), 0) + int(count)
        keep = wanted if kept is None else wanted & kept
        edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
        for first, end in edges.reshape(-1, 2):
            if end - first < 2:
                self.single += 1
                continue
            self.signals.append(np.ascontiguousarray(values[first:end].T, dtype=np.float32))
            self.labels.append(labels[first:end])
            self.origin.append(recording)
            self.offset.append(offset + int(first))
            self.groups.append(person)

    def add_streams(self, streams: list[tuple[str, Stream]]) -> list[str]:
        """Recordings brought onto an even grid of the set's rate by their time stamps; notes on that.

        Args:
            streams: person and recording.
        """
        fast = [(person, stream) for person, stream in streams if _interval(stream) <= SLOWEST / self.rate]
        if not fast:
            raise InputError(f"{self.where}: there are no recordings in it")
        slow, streams = len(streams) - len(fast), fast
        stretches, _, notes = regular([stream for _, stream in streams], self.rate, True, self.where)
        if slow:
            share = f"less than a quarter of {self.rate:g} samples a second"
            notes.append(f"{counted(slow, 'recording')} left out with {share}")
        numbers = [self.begin(stream.name) for _, stream in streams]
        for stretch in stretches:
            person = streams[stretch.stream][0]
            self.add(numbers[stretch.stream], person, stretch.values.T, stretch.labels, stretch.offset)
        return notes

    def recordings(self, notes: Iterable[str], unwanted: Mapping[int, str] | None = None) -> Recordings:
        """All of them.

        Args:
            notes: what a reader of the page should know.
            unwanted: what labels that were cut out are called.

        Raises:
            InputError: where nothing is left.
        """
        if not self.signals:
            raise InputError(f"{self.where}: there are no recordings of a wanted class in it")
        there = np.unique(np.concatenate([np.unique(labels) for labels in self.labels]))
        order = [label for label in self.classes if label in there]
        names = list(dict.fromkeys(self.classes[label] for label in order))
        number = np.full(int(max(order)) + 1, -1, dtype=np.int64)
        for label in order:
            number[label] = names.index(self.classes[label])
        called = {NO_LABEL: "none", **(unwanted or {})}
        told = [
            f"{counted(count)} of class {called.get(label, str(label))!r} cut out, and recordings split there"
            for label, count in sorted(self.dropped.items())
        ]
        if self.single:
            told.append(f"{counted(self.single, 'single sample')} between such places left out")
        return Recordings(
            signals=self.signals,
            labels=[number[labels] for labels in self.labels],
            groups=self.groups,
            classes=tuple(names),
            channels=self.channels,
            rate=self.rate,
            where=self.where,
            notes=(*notes, *told),
            origin=self.origin,
            offset=self.offset,
            names=tuple(self.names),
        )
