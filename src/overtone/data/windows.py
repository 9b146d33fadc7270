"""Cutting recordings into windows. A window never crosses from one recording into another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import numpy as np

from overtone.data.base import FloatArray, IntArray, Recordings, Windows
from overtone.data.lazy import LazyWindows
from overtone.data.lengths import in_samples
from overtone.errors import InputError
from overtone.tasks import Classification, Task

MOST_WINDOWS = 5_000_000
"""Four times ImageNet; a slip of the stride over long recordings makes more."""

CLASSES = Classification()

MOST_NAMED = 10
"""Groups that a note names."""

LAZY_BYTES = 2**28
"""Windows that would take more are cut on demand."""


def cut(recordings: Recordings, window: int | str | None, stride: int | str | None, task: Task = CLASSES) -> Windows:
    """Windows of equal length, starting every ``stride`` samples in each recording.

    Args:
        recordings: checked recordings.
        window: samples or seconds; None uses whole recordings, which must then be equally long.
        stride: samples or seconds; None means one window after the other, without overlap.
        task: says what a window's target is.

    Raises:
        InputError: if recordings differ in length and no window is given, or none is long enough for one window.
    """
    lengths = [signal.shape[1] for signal in recordings.signals]
    if window is None:
        if len(set(lengths)) > 1:
            raise InputError(
                f"{recordings.where}: recordings have {min(lengths)} to {max(lengths)} samples; set data.window, "
                "or data.pad: true, which pads all to the longest"
            )
        size = lengths[0]
    else:
        size = in_samples(window, recordings.rate, "window")
    step = size if stride is None else in_samples(stride, recordings.rate, "stride")
    many = sum(len(range(0, length - size + 1, step)) for length in lengths)
    if many > MOST_WINDOWS:
        raise InputError(
            f"{recordings.where}: a stride of {step} samples makes {many} windows, more than {MOST_WINDOWS}; use a "
            "larger data.stride"
        )
    origin, start, y, mixed = _starts(recordings, size, step, task)
    short = sum(length < size for length in lengths)
    before = "".join(f"; {note}" for note in recordings.notes)  # what was cut out may be why
    if mixed and not len(y):
        raise InputError(
            f"{recordings.where}: the label changes inside every window of {size} samples; use shorter ones{before}"
        )
    if not len(y):
        raise InputError(
            f"{recordings.where}: a window of {size} samples is longer than every recording (the longest has "
            f"{max(lengths)}){before}"
        )
    left = {recordings.groups[number] for number in np.unique(origin)}
    names = sorted(left, key=lambda n: (_natural(n), n))
    number_of = {name: number for number, name in enumerate(names)}
    group = np.asarray([number_of.get(g, -1) for g in recordings.groups], dtype=np.int64)
    notes = [*recordings.notes, *_flat_channels(recordings)]
    if short:
        notes.append(f"{short} of {len(lengths)} recordings are shorter than a window and were left out")
    gone = sorted(set(recordings.groups) - left)
    if gone:
        more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
        notes.append(f"group {', '.join(gone[:MOST_NAMED])}{more} has no window left and was left out")
    if mixed:
        notes.append(f"{mixed} of {mixed + len(y)} windows were dropped because the label changes inside them")
    official = recordings.official_test
    x = LazyWindows(recordings.signals, origin, start, size)
    return Windows(
        x=x[:] if x.nbytes <= LAZY_BYTES else cast(FloatArray, x),
        y=y,
        group=group[origin],
        recording=origin if recordings.origin is None else np.asarray(recordings.origin, dtype=np.int64)[origin],
        start=start + (0 if recordings.offset is None else np.asarray(recordings.offset)[origin]),
        groups=tuple(names),
        classes=recordings.classes,
        channels=recordings.channels,
        rate=recordings.rate,
        where=recordings.where,
        stride=step,
        notes=tuple(notes),
        recordings=recordings.names,
        official_test=None if official is None else np.asarray(official)[origin],
    )


def _starts(recordings: Recordings, size: int, step: int, task: Task) -> tuple[IntArray, IntArray, FloatArray, int]:
    """Of every window with a target: its recording's number, its first sample and the target; how many had none."""
    origins, starts, targets, mixed = [], [], [], 0
    for number, (signal, labels) in enumerate(zip(recordings.signals, recordings.labels, strict=True)):
        start = np.arange(0, signal.shape[1] - size + 1, step, dtype=np.int64)
        values, kept = task.window_targets(labels, start, size)
        mixed += int((~kept).sum())
        origins.append(np.full(len(values), number, dtype=np.int64))
        starts.append(start[kept])
        targets.append(values)
    return np.concatenate(origins), np.concatenate(starts), np.concatenate(targets), mixed


def _flat_channels(recordings: Recordings) -> list[str]:
    """Notes on channels that never change, in any recording or in some."""
    flat = np.asarray([[float(np.ptp(channel)) == 0 for channel in signal] for signal in recordings.signals])
    return flat_notes(recordings.channels, flat.sum(0), len(flat), recordings.signals[0].shape[1])


def flat_notes(channels: Sequence[str], flat: IntArray, recordings: int, samples: int) -> list[str]:
    """Notes on channels that never change.

    Args:
        channels: their names.
        flat: in how many recordings each never changes.
        recordings: how many there are.
        samples: of a recording; one alone cannot change.
    """
    notes = []
    for name, count in zip(channels, flat, strict=True):
        if count == recordings:
            notes.append(f"channel {name!r} never changes{' within a recording' * (recordings > 1)}")
        elif count and samples > 1:
            notes.append(f"channel {name!r} never changes in {int(count)} of {recordings} recordings")
    return notes if len(notes) <= 8 else [*notes[:8], f"and {len(notes) - 8} more channels like these"]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts ``p2`` before ``p10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]
