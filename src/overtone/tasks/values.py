"""Real numbers as targets of recordings: channels that are taken out of the input, or labels read as numbers."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from overtone.errors import InputError, nearest
from overtone.tasks.base import Array

if TYPE_CHECKING:
    from overtone.data import Recordings
    from overtone.recipe import TargetSettings


def from_channels(recordings: Recordings, target: Mapping[str, TargetSettings]) -> Recordings:
    """Labels (T, K) of each recording, a column per target; their channels are no input any more.

    Raises:
        InputError: for a channel that is not there, or where none is left to learn from.
    """
    chosen = {name: _channels(recordings, settings.channels or [name], name) for name, settings in target.items()}
    taken = {number for numbers in chosen.values() for number in numbers}
    left = [number for number in range(len(recordings.channels)) if number not in taken]
    if not left:
        raise InputError(f"data.target: {', '.join(target)} take all channels, so none is left to learn from")
    rows = [
        np.stack([_combined(signal[numbers], target[name].combine) for name, numbers in chosen.items()], axis=1)
        for signal in recordings.signals
    ]
    return replace(
        recordings,
        signals=[signal[left] for signal in recordings.signals],
        labels=rows,
        classes=(),
        channels=tuple(recordings.channels[number] for number in left),
    )


def _combined(channels: Array, how: str) -> Array:
    """Channels (C, T) as one (T,)."""
    values = channels.astype(np.float64)
    return np.asarray(np.sqrt((values**2).sum(0)) if how == "magnitude" else values.mean(0))


def _channels(recordings: Recordings, patterns: list[str], name: str) -> list[int]:
    known = recordings.channels
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise InputError(f"data.target.{name}: no channel fits {pattern!r}; {nearest(pattern, known)}")
    return [n for n, channel in enumerate(known) if any(fnmatch.fnmatchcase(channel, p) for p in patterns)]


def from_labels(recordings: Recordings) -> Recordings:
    """Labels as numbers: those that the source holds, or names of classes that are numbers.

    Raises:
        InputError: for a class whose name is no finite number.
    """
    if not recordings.classes:
        labels = [np.atleast_1d(np.asarray(label, dtype=np.float64)) for label in recordings.labels]
        return replace(recordings, labels=labels)
    values = np.asarray([_number(name, recordings.where) for name in recordings.classes])
    labels = [
        values[np.asarray(label)].reshape(-1, 1) if np.ndim(label) else values[[label]] for label in recordings.labels
    ]
    return replace(recordings, labels=labels, classes=())


def _number(name: str, where: str) -> float:
    try:
        value = float(name)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(
            f"{where}: label {name!r} is no number, which task regression needs; give data.target (channels to be "
            "predicted), or leave data.task out"
        )
    return value
