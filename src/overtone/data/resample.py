"""From time stamps to evenly sampled stretches: checks, gaps, resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from overtone.data.base import FloatArray, IntArray
from overtone.data.missing import Filling
from overtone.errors import InputError
from overtone.formats.clock import GAP, UNEVEN

Resample = bool | Literal["upsample"]
IfNeeded = Literal["if needed"]
UNEVENLY = 0.01
"""Share of such intervals that is put up with."""
GAP_RESAMPLED = 10.0
"""Median intervals that make a gap where resampling is done, which bridges longer ones."""
SAME_RATE = 0.02
"""Share by which a recording's rate may differ from the wanted one where resampling is done if needed."""
MOST_UPSAMPLED = 4.0
"""Times a recording's own rate that resampling goes to unless asked; a time stamp in the wrong unit makes more."""
MOST_VALUES = 2**30
"""Of all resampled recordings: 4 GiB."""
ADVICE = "look at the time stamps and data.time_unit, or set data.resample: upsample"


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
    streams: Sequence[Stream],
    rate: float | None,
    resample: Resample | IfNeeded,
    where: str,
    filling: Filling | None = None,
    advice: str = ADVICE,
    restart: str = "",
) -> tuple[list[Stretch], float | None, list[str]]:
    """Even stretches of all recordings.

    Args:
        streams: recordings; time stamps rise.
        rate: Hz; the target of resampling, or what the data is said to have where it has no time stamps.
        resample: interpolate linearly onto an even grid of ``rate``; labels are taken from the nearest sample. More
            than four times a recording's own rate is refused, unless ``upsample``. ``if needed``: not where all are
            even and have that rate.
        where: the source, for messages.
        filling: what becomes of missing values, before anything is interpolated; without it they are values.
        advice: what to do about a recording of a much lower rate.
        restart: what to do where time stamps go back, besides sorting or removing them.

    Returns:
        The stretches (recordings are cut at gaps, and where missing samples are cut out), the common rate, and notes
        for the page.

    Raises:
        InputError: for duplicate or backward time stamps, uneven sampling or mixed rates without ``resample``, missing
            values that are refused.
    """
    timed = not any(stream.time is None for stream in streams)
    if timed and resample and rate is None:
        raise InputError(f"{where}: resample needs data.rate, the rate to resample to")
    medians = {}
    if timed:
        for stream in streams:
            _check_rising(stream, where, restart)
            if stream.time is not None and len(stream.time) > 1:
                medians[stream.name] = float(np.median(np.diff(stream.time)))
        if not medians:
            raise InputError(f"{where}: every recording has a single sample")
        if resample == "if needed":
            resample = not _fits(streams, medians, rate)
        if not resample:
            rate = _common_rate(medians, where)
    streams, kept, notes = _filled(streams, None if timed else rate, filling)
    if not timed:
        pairs = [(n, part) for n, s in enumerate(streams) for part in _parts(s, kept[n], np.inf)[0]]
        return [_taken(streams[n], part, n, part.start) for n, part in pairs], rate, notes
    assert rate is not None
    parts: list[tuple[int, slice]] = []
    gaps = 0
    for number, stream in enumerate(streams):
        longest = (GAP_RESAMPLED if resample else GAP) * medians.get(stream.name, 1 / rate)
        own, own_gaps = _parts(stream, kept[number], longest)
        parts += [(number, part) for part in own]
        gaps += own_gaps
    if resample:
        if resample != "upsample":
            _check_upsampling(medians, rate, where, advice)
        _check_size(streams, parts, rate, where)
    stretches = []
    for number, part in parts:
        stream = streams[number]
        assert stream.time is not None
        if resample:
            stretches.append(_interpolate(stream, part, rate, number))
        else:
            if stream.name in medians:
                _check_even(stream, part, medians[stream.name], where)
            offset = round((stream.time[part.start] - stream.time[0]) * rate)
            stretches.append(_taken(stream, part, number, offset))
    if gaps:
        notes.append(f"{gaps} gaps in the time stamps; windows never cross one")
    if resample:
        notes.append(f"resampled to {rate:g} Hz by linear interpolation")
    return stretches, rate, notes


def _filled(
    streams: Sequence[Stream], rate: float | None, filling: Filling | None
) -> tuple[list[Stream], list[npt.NDArray[np.bool_] | None], list[str]]:
    """The recordings without missing values, which of their samples are kept (None: all), and what to tell."""
    if filling is None:
        return list(streams), [None] * len(streams), []
    streams, kept = list(streams), []
    for number, stream in enumerate(streams):
        filled = filling.add(stream.name, stream.values, stream.time, rate, stream.where)
        streams[number] = replace(stream, values=filled.values)
        kept.append(None if filled.kept.all() else filled.kept)
    return streams, kept, filling.notes()


def _parts(stream: Stream, kept: npt.NDArray[np.bool_] | None, longest: float) -> tuple[list[slice], int]:
    """Stretches without a gap or a sample that is cut out; and how many gaps there are."""
    cuts = np.zeros(len(stream.labels) + 1, dtype=bool)
    cuts[[0, -1]] = True
    gaps = 0
    if stream.time is not None:
        late = np.diff(stream.time) > longest
        gaps = int(late.sum())
        cuts[1:-1] |= late
    if kept is not None:
        cuts[1:-1] |= kept[1:] != kept[:-1]
    ends = np.flatnonzero(cuts).tolist()
    parts = [slice(*pair) for pair in pairwise(ends)]
    return [part for part in parts if kept is None or kept[part.start]], gaps


def _taken(stream: Stream, part: slice, number: int, offset: int) -> Stretch:
    return Stretch(stream.values[part].T, stream.labels[part], number, offset)


def _check_upsampling(medians: dict[str, float], rate: float, where: str, advice: str) -> None:
    slow, step = max(medians.items(), key=lambda item: item[1])
    if rate * step > MOST_UPSAMPLED * (1 + UNEVEN):
        raise InputError(
            f"{where}: recording {slow!r} has {1 / step:.3g} Hz, so that {rate:g} Hz would be {rate * step:.4g} times "
            f"as many samples, nearly all of them made up; {advice}"
        )


def _check_size(streams: Sequence[Stream], parts: Sequence[tuple[int, slice]], rate: float, where: str) -> None:
    total = 0.0
    for number, part in parts:
        time = streams[number].time
        assert time is not None
        total += ((time[part.stop - 1] - time[part.start]) * rate + 1) * streams[number].values.shape[1]
    if not total <= MOST_VALUES:
        raise InputError(
            f"{where}: at {rate:g} Hz these are {total:.3g} values, more than {MOST_VALUES}; use a lower data.rate, or "
            "look at the time stamps and data.time_unit"
        )


def _check_rising(stream: Stream, where: str, restart: str) -> None:
    assert stream.time is not None
    steps = np.diff(stream.time)
    if (steps <= 0).any():
        first = int(np.argmax(steps <= 0)) + 1
        kind = "the same as" if steps[first - 1] == 0 else "earlier than"
        back = int((steps < 0).sum())
        split = f"; or, as the clock goes back {back} time{'s' * (back > 1)}, {restart}" if restart and back else ""
        raise InputError(
            f"{where}: recording {stream.name!r}: the time stamp in {stream.where(first)} is {kind} the one before "
            f"({stream.time[first]:g} after {stream.time[first - 1]:g}; {int((steps <= 0).sum())} such); sort or "
            f"remove them{split}"
        )


def _fits(streams: Sequence[Stream], medians: dict[str, float], rate: float | None) -> bool:
    """Whether all recordings are even, but for gaps, and have this rate."""
    if rate is None or any(abs(rate * median - 1) > SAME_RATE for median in medians.values()):
        return False
    for stream in streams:
        if stream.time is not None and stream.name in medians:
            steps = np.diff(stream.time) / medians[stream.name]
            if (np.abs(steps[steps <= GAP] - 1) > UNEVEN).mean() > UNEVENLY:
                return False
    return True


def _common_rate(medians: dict[str, float], where: str) -> float:
    values = sorted(medians.items(), key=lambda item: item[1])
    (fast, least), (slow, most) = values[0], values[-1]
    if most > least * (1 + UNEVEN):
        raise InputError(
            f"{where}: sampling rates differ: {1 / least:.4g} Hz in recording {fast!r}, {1 / most:.4g} Hz in {slow!r}; "
            "set data.rate and data.resample: true"
        )
    return float(f"{1 / float(np.median(list(medians.values()))):.6g}")


def _check_even(stream: Stream, part: slice, median: float, where: str) -> None:
    assert stream.time is not None
    if part.stop - part.start < 2:
        return
    off = np.abs(np.diff(stream.time[part]) - median) > UNEVEN * median
    if off.mean() > UNEVENLY:
        first = part.start + int(np.argmax(off)) + 1
        raise InputError(
            f"{where}: recording {stream.name!r} is sampled unevenly: {100 * off.mean():.0f} % of its intervals differ "
            f"by more than {100 * UNEVEN:.0f} % from their median {median:g} s (first in {stream.where(first)}); "
            "set data.rate and data.resample: true"
        )


def _interpolate(stream: Stream, part: slice, rate: float, number: int) -> Stretch:
    assert stream.time is not None
    time = stream.time[part]
    count = int(np.floor((time[-1] - time[0]) * rate + 1e-9)) + 1
    grid = time[0] + np.arange(count) / rate
    values = np.stack([np.interp(grid, time, channel).astype(np.float32) for channel in stream.values[part].T])
    right = np.searchsorted(time, grid).clip(1, max(len(time) - 1, 1))
    nearest = right - (grid - time[right - 1] < time[right % len(time)] - grid) if len(time) > 1 else right * 0
    offset = round((time[0] - stream.time[0]) * rate)
    return Stretch(values, stream.labels[part][nearest], number, offset)
