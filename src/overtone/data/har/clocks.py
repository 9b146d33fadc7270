"""Time stamps that repeat, go back or leave gaps; and sensors that share a clock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.base import IntArray
from overtone.data.resample import Stream

Seconds = npt.NDArray[np.float64]


class Clocks:
    """Brings samples into the order of their time stamps, recording by recording, and knows what is to be told.

    A stamp that goes back by no more than ``longest`` is put in its order; one that goes back further is a clock that
    was set anew, at which the recording is split, as it is at a gap of more than ``longest``. Of samples with the same
    stamp the first is kept.

    Args:
        longest: seconds.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.repeated = self.late = self.restarts = self.gaps = self.none = self.lacking = 0

    def follow(self, time: Seconds, values: npt.NDArray[np.float32] | None = None) -> list[npt.NDArray[np.int64]]:
        """Which samples make up each stretch, in the order of their time, which rises.

        Args:
            time: (T,) seconds.
            values: (T, C); samples that lack one are left out, so that a stretch is not resampled over them unseen.
        """
        timed = np.isfinite(time)
        whole = timed if values is None else timed & ~np.isnan(values).any(axis=1)
        self.none += int((~timed).sum())
        self.lacking += int((timed & ~whole).sum())
        at = np.flatnonzero(whole)
        return [at[stretch] for stretch in self._rising(time[at])]

    def _rising(self, time: Seconds) -> list[npt.NDArray[np.int64]]:
        steps = np.diff(time)
        self.late += int(((steps < 0) & (steps >= -self.longest)).sum())
        breaks = np.flatnonzero(np.abs(steps) > self.longest) + 1
        self.restarts += int((steps < -self.longest).sum())
        stretches = []
        for part in np.split(np.arange(len(time)), breaks):
            order = part[np.argsort(time[part], kind="stable")]
            rising = np.concatenate([[True], np.diff(time[order]) > 0])[: len(order)]
            self.repeated += int((~rising).sum())
            order = order[rising]
            inner = np.flatnonzero(np.diff(time[order]) > self.longest) + 1
            stretches += [stretch for stretch in np.split(order, inner) if len(stretch)]
        self.gaps += max(len(stretches) - 1 - int((steps < -self.longest).sum()), 0)
        return stretches

    def notes(self) -> list[str]:
        """What to tell."""
        told = []
        if self.none:
            told.append(f"{counted(self.none)} left out without a time stamp")
        if self.lacking:
            told.append(f"{counted(self.lacking)} left out without a value in every channel")
        if self.late:
            told.append(f"{counted(self.late)} put in order, written later than the time stamp says")
        if self.repeated:
            told.append(f"{counted(self.repeated)} left out with the time stamp of another one")
        if self.restarts:
            told.append(f"recordings split in {counted(self.restarts, 'place')} where time stamps start anew")
        if self.gaps:
            told.append(
                f"recordings split at {counted(self.gaps, 'gap')} of more than {self.longest:g} s in the time stamps"
            )
        return told


def counted(count: int, noun: str = "sample") -> str:
    """``1 sample``, ``3 samples``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def runs(*columns: npt.NDArray[Any]) -> list[slice]:
    """Stretches over which each of several columns (T,) holds one value."""
    changes = np.zeros(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(columns[0])]
    return [slice(first, end) for first, end in itertools.pairwise(edges) if end > first]


@dataclass(frozen=True)
class Sensor:
    """A stretch of one sensor's samples.

    Attributes:
        time: (T,) seconds, rising.
        values: (T, C).
        labels: (T,) class numbers.
    """

    time: Seconds
    values: npt.NDArray[np.float32]
    labels: IntArray


def on_one_clock(name: str, sensors: Sequence[Sequence[Sensor]], longest: float) -> list[Stream]:
    """Several sensors on the clock of the first, over the time that all cover, with its labels.

    Values are interpolated linearly; samples of the first sensor inside a gap of another, of more than ``longest``
    seconds, are left out, which leaves a gap in the time stamps.

    Args:
        name: of the recording.
        sensors: the stretches of each sensor, one sensor at least.
        longest: seconds.

    Returns:
        A recording for each stretch of the first sensor that the others share two samples with.
    """
    if not all(sensors):
        return []
    others = [_merged(stretches) for stretches in sensors[1:]]
    streams: list[Stream] = []
    for first in sensors[0]:
        inside = np.ones(len(first.time), dtype=bool)
        columns = [first.values]
        for other in others:
            inside &= _covered(first.time, other.time, longest)
            columns.append(np.stack([np.interp(first.time, other.time, channel) for channel in other.values.T], axis=1))
        if inside.sum() > 1:
            values = np.concatenate(columns, axis=1, dtype=np.float32)[inside]
            streams.append(Stream(f"{name}, part {len(streams) + 1}", first.time[inside], values, first.labels[inside]))
    return streams


def _merged(stretches: Sequence[Sensor]) -> Sensor:
    """A sensor's stretches as one, in the order of time."""
    time = np.concatenate([stretch.time for stretch in stretches])
    _, order = np.unique(time, return_index=True)
    values = np.concatenate([stretch.values for stretch in stretches])
    labels = np.concatenate([stretch.labels for stretch in stretches])
    return Sensor(time[order], values[order], labels[order])


def _covered(time: Seconds, other: Seconds, longest: float) -> npt.NDArray[np.bool_]:
    """Which times lie between two of another sensor's stamps that are no gap apart."""
    behind = np.searchsorted(other, time)  # the first stamp that is not earlier
    at, before = other[np.minimum(behind, len(other) - 1)], other[np.maximum(behind - 1, 0)]
    between = (behind > 0) & (behind < len(other)) & (at - before <= longest)
    return np.asarray(between | (at == time))
