"""What is done to whole recordings before they are cut into windows: parts cut out, gaps filled, ends padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.base import Recordings
from overtone.data.missing import Filling, MissingSettings
from overtone.errors import InputError

MOST_PADDED = 2**30
"""Values of all recordings together once they are padded: 4 GiB."""


def keep_samples(recordings: Recordings, kept: Sequence[npt.NDArray[np.bool_]]) -> Recordings:
    """The recordings without some samples, split where these were; windows never cross such a place.

    Args:
        recordings: whole, or parts already.
        kept: (T_i,) of each recording, which samples stay; a recording of which none does is left out.
    """
    if all(mask.all() for mask in kept):
        return recordings
    parts = [(number, first, last) for number, mask in enumerate(kept) for first, last in _runs(mask)]
    origin, offset = recordings.origin, recordings.offset
    official = recordings.official_test
    labels: Any = [
        recordings.labels[number][first:last] if per_sample(recordings, number) else recordings.labels[number]
        for number, first, last in parts
    ]
    return replace(
        recordings,
        signals=[recordings.signals[number][:, first:last] for number, first, last in parts],
        labels=np.asarray(labels, dtype=np.int64) if isinstance(recordings.labels, np.ndarray) else labels,
        groups=[recordings.groups[number] for number, _, _ in parts],
        official_test=None if official is None else [official[number] for number, _, _ in parts],
        origin=[number if origin is None else origin[number] for number, _, _ in parts],
        offset=[first + (0 if offset is None else offset[number]) for number, first, _ in parts],
    )


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First sample and end of each stretch that is kept."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def per_sample(recordings: Recordings, number: int) -> bool:
    """Whether a recording has a label for each of its samples, (T,) class numbers or (T, K) numbers, not one for all.

    Real numbers (K,) of a whole recording are told from classes by the recordings' having no classes.
    """
    return np.ndim(recordings.labels[number]) == (1 if recordings.classes else 2)


def without_missing(recordings: Recordings, settings: MissingSettings) -> Recordings:
    """The recordings with missing values filled, or cut out, and that told. Where they are refused, nothing is done.

    Raises:
        InputError: where no sample is left, or a limit in seconds meets an unknown rate.
    """
    if settings.fill == "refuse" or not recordings.channels:
        return recordings
    filling = Filling(settings, recordings.channels, recordings.where)
    signals, kept = [], []
    for number, signal in enumerate(recordings.signals):
        filled = filling.add(name_of(recordings, number), signal.T, None, recordings.rate)
        signals.append(signal if not filled.filled.any() else np.ascontiguousarray(filled.values.T))
        kept.append(filled.kept)
    notes = filling.notes()
    if not notes:
        return recordings
    return keep_samples(replace(recordings, signals=signals, notes=(*recordings.notes, *notes)), kept)


def name_of(recordings: Recordings, number: int) -> str:
    """What messages call a recording, or the whole one that it is a part of."""
    whole = number if recordings.origin is None else recordings.origin[number]
    return recordings.names[whole] if recordings.names else str(whole)


def padded(recordings: Recordings, length: int | None = None) -> Recordings:
    """Recordings of one length, the shorter ones padded at their end with their last value (and label), which is told.

    Args:
        recordings: without missing values.
        length: samples; that of the longest unless given. Longer recordings stay as they are.

    Raises:
        InputError: for what would take more than 4 GiB.
    """
    lengths = [signal.shape[1] for signal in recordings.signals]
    size = max(lengths, default=0) if length is None else length
    short = [number for number, own in enumerate(lengths) if own < size]
    if not short:
        return recordings
    if size * len(lengths) * len(recordings.channels) > MOST_PADDED:
        raise InputError(
            f"{recordings.where}: {len(lengths)} recordings of {min(lengths)} to {max(lengths)} samples are too large "
            f"to be padded to {size} each; set data.window instead"
        )
    signals, labels = list(recordings.signals), list(recordings.labels)
    for number in short:
        more = size - lengths[number]
        signals[number] = np.pad(signals[number], ((0, 0), (0, more)), mode="edge")
        if per_sample(recordings, number):
            own = np.asarray(labels[number])
            labels[number] = np.concatenate([own, np.repeat(own[-1:], more, axis=0)])
    note = (
        f"{len(short)} of {len(lengths)} recordings, of {min(lengths)} samples or more, were padded at their end with "
        f"their last values to {size} samples, " + ("the longest" if length is None else "as the student takes them")
    )
    return replace(
        recordings,
        signals=signals,
        labels=recordings.labels if isinstance(recordings.labels, np.ndarray) else labels,
        notes=(*recordings.notes, note),
    )
