"""From time stamps to evenly sampled stretches: checks, gaps, resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overtone.data.base import FloatArray, IntArray
from overtone.errors import InputError

UNEVEN = 0.1
"""Intervals may differ from their median by this share before sampling counts as uneven."""
GAP, GAP_RESAMPLED = 2.5, 10.0
"""An interval of more than so many median intervals is a gap; resampling bridges longer ones."""
MOST_SAMPLES = 100_000_000
"""Of one recording: six days at 200 Hz; a time stamp in the wrong unit makes more."""


@dataclass(frozen=True)
class Stream:
    """One recording as it was read.

    Attributes:
        name: what messages call it.
        time: (T,) seconds, None where the data has no time stamps.
        values: (T, C).
        labels: (T,) class numbers.
        rows: (T,) line of each sample in its file, for messages.
    """

    name: str
    time: npt.NDArray[np.float64] | None
    values: FloatArray
    labels: IntArray
    rows: Sequence[int] | None = None

    def where(self, sample: int) -> str:
        """A sample's place: its line where known."""
        return f"row {self.rows[sample]}" if self.rows is not None else f"sample {sample}"


@dataclass(frozen=True)
class Stretch:
    """An evenly sampled part of a recording.

    Attributes:
        values: (C, T).
        labels: (T,) class numbers.
        stream: the recording's number.
        offset: samples from the recording's start to this part's, by its time stamps.
    """

    values: FloatArray
    labels: IntArray
    stream: int
    offset: int = 0


def regular(
    streams: Sequence[Stream], rate: float | None, resample: bool, where: str
) -> tuple[list[Stretch], float | None, list[str]]:
    """Even stretches of all recordings.

    Args:
        streams: recordings; time stamps rise.
        rate: Hz; the target of resampling, or what the data is said to have where it has no time stamps.
        resample: interpolate linearly onto an even grid of ``rate``; labels are taken from the nearest sample.
        where: the source, for messages.

    Returns:
        The stretches (recordings are cut at gaps), the common rate, and notes for the page.

    Raises:
        InputError: for duplicate or backward time stamps, uneven sampling or mixed rates without ``resample``.
    """
    if any(stream.time is None for stream in streams):
        return [Stretch(s.values.T, s.labels, i) for i, s in enumerate(streams)], rate, []
    if resample and rate is None:
        raise InputError(f"{where}: resample needs data.rate, the rate to resample to")
    medians = {}
    for stream in streams:
        assert stream.time is not None
        _check_rising(stream, where)
        if len(stream.time) > 1:
            medians[stream.name] = float(np.median(np.diff(stream.time)))
    if not medians:
        raise InputError(f"{where}: every recording has a single sample")
    if not resample:
        rate = _common_rate(medians, where)
    assert rate is not None
    stretches, gaps = [], 0
    for number, stream in enumerate(streams):
        longest = (GAP_RESAMPLED if resample else GAP) * medians.get(stream.name, 1 / rate)
        assert stream.time is not None
        cuts = np.flatnonzero(np.diff(stream.time) > longest) + 1
        gaps += len(cuts)
        for part in np.split(np.arange(len(stream.labels)), cuts):
            if resample:
                stretches.append(_interpolate(stream, part, rate, number))
            else:
                _check_even(stream, part, medians[stream.name], where)
                offset = round((stream.time[part[0]] - stream.time[0]) * rate)
                stretches.append(Stretch(stream.values[part].T, stream.labels[part], number, offset))
    notes = [f"{gaps} gaps in the time stamps; windows never cross one"] if gaps else []
    if resample:
        notes.append(f"resampled to {rate:g} Hz by linear interpolation")
    return stretches, rate, notes


def _check_rising(stream: Stream, where: str) -> None:
    assert stream.time is not None
    steps = np.diff(stream.time)
    if (steps <= 0).any():
        first = int(np.argmax(steps <= 0)) + 1
        kind = "the same as" if steps[first - 1] == 0 else "earlier than"
        raise InputError(
            f"{where}: recording {stream.name!r}: the time stamp in {stream.where(first)} is {kind} the one before "
            f"({stream.time[first]:g} after {stream.time[first - 1]:g}; {int((steps <= 0).sum())} such); sort or "
            "remove them"
        )


def _common_rate(medians: dict[str, float], where: str) -> float:
    values = sorted(medians.items(), key=lambda item: item[1])
    (fast, least), (slow, most) = values[0], values[-1]
    if most > least * (1 + UNEVEN):
        raise InputError(
            f"{where}: sampling rates differ: {1 / least:.4g} Hz in recording {fast!r}, {1 / most:.4g} Hz in {slow!r}; "
            "set data.rate and data.resample: true"
        )
    return float(f"{1 / float(np.median(list(medians.values()))):.6g}")


def _check_even(stream: Stream, part: npt.NDArray[np.int64], median: float, where: str) -> None:
    assert stream.time is not None
    if len(part) < 2:
        return
    off = np.abs(np.diff(stream.time[part]) - median) > UNEVEN * median
    if off.mean() > 0.01:
        first = int(part[int(np.argmax(off)) + 1])
        raise InputError(
            f"{where}: recording {stream.name!r} is sampled unevenly: {100 * off.mean():.0f} % of its intervals differ "
            f"by more than {100 * UNEVEN:.0f} % from their median {median:g} s (first in {stream.where(first)}); "
            "set data.rate and data.resample: true"
        )


def _interpolate(stream: Stream, part: npt.NDArray[np.int64], rate: float, number: int) -> Stretch:
    assert stream.time is not None
    time = stream.time[part]
    count = int(np.floor(min((time[-1] - time[0]) * rate, 1e18) + 1e-9)) + 1
    if count > MOST_SAMPLES:
        raise InputError(
            f"recording {stream.name!r}: {time[-1] - time[0]:g} s at {rate:g} Hz are {count} samples, more than "
            f"{MOST_SAMPLES}; use a lower data.rate, or look at the time stamps"
        )
    grid = time[0] + np.arange(count) / rate
    values = np.stack([np.interp(grid, time, channel) for channel in stream.values[part].T])
    right = np.searchsorted(time, grid).clip(1, max(len(time) - 1, 1))
    nearest = right - (grid - time[right - 1] < time[right % len(time)] - grid) if len(time) > 1 else right * 0
    offset = round((time[0] - stream.time[0]) * rate)
    return Stretch(values.astype(np.float32), stream.labels[part][nearest], number, offset)
