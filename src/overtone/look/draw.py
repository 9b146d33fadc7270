"""Signals as small lines of braille characters, two values a character wide and four levels a line high."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from overtone.data import Recordings, Windows

Values = npt.NDArray[np.floating]
LEFT, RIGHT = (0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)
"""Dots of a braille character from below, in its left and its right column."""
ROWS = 2
"""Lines that a signal takes."""
SHOWN_SECONDS, SHOWN_SAMPLES = 10.0, 500
"""Of a recording, where the rate is known and where it is not."""


@dataclass(frozen=True)
class Example:
    """A piece of one recording of a class.

    Attributes:
        name: the class, or what the recording is called.
        values: (C, T).
        place: which recording, and where in it.
        rate: Hz, where known.
    """

    name: str
    values: npt.NDArray[np.float32]
    place: str
    rate: float | None

    @property
    def length(self) -> str:
        """In seconds where these are known."""
        samples = self.values.shape[1]
        return f"{samples / self.rate:.3g} s" if self.rate is not None else f"{samples} samples"


def examples(recordings: Recordings, windows: Windows) -> list[Example]:
    """Of each class the longest stretch, at most ten seconds from its beginning; of real numbers the first recording.

    Only classes that have windows are shown, in their order.
    """
    most = SHOWN_SAMPLES if recordings.rate is None else max(round(SHOWN_SECONDS * recordings.rate), 2)
    if not recordings.classes:
        return [_example(recordings, 0, 0, min(most, recordings.signals[0].shape[1]), "first recording")]
    best: dict[int, tuple[int, int, int]] = {}  # length, recording, start
    for number, own in enumerate(recordings.labels):
        label = np.asarray(own)
        if label.ndim == 0:
            label = np.full(recordings.signals[number].shape[1], label)
        edges = [0, *(np.flatnonzero(np.diff(label)) + 1).tolist(), len(label)]
        for start, end in pairwise(edges):
            if end - start > best.get(int(label[start]), (0,))[0]:
                best[int(label[start])] = (end - start, number, start)
    known = set(windows.classes)
    return [
        _example(recordings, number, start, min(length, most), recordings.classes[own])
        for own, (length, number, start) in sorted(best.items())
        if recordings.classes[own] in known
    ]


def _example(recordings: Recordings, number: int, start: int, length: int, name: str) -> Example:
    values = np.asarray(recordings.signals[number][:, start : start + length], dtype=np.float32)
    whole = number if recordings.origin is None else recordings.origin[number]
    called = recordings.names[whole] if recordings.names else str(whole)
    offset = start + (0 if recordings.offset is None else recordings.offset[number])
    at = f"from {offset / recordings.rate:.4g} s" if recordings.rate else f"from sample {offset}"
    group = recordings.groups[number]
    named = recordings.names and all(  # recordings that are called as their groups say nothing besides
        recordings.names[number if recordings.origin is None else recordings.origin[number]] == own
        for number, own in enumerate(recordings.groups)
    )
    who = f"group {group}, " if group != "-" and not named else ""
    return Example(name, values, f"{who}recording {called}, {at}", recordings.rate)


def braille(values: Values, width: int, low: float, high: float) -> list[str]:
    """A signal as lines of braille characters, each column from its least to its largest value.

    Args:
        values: (T,).
        width: in characters.
        low, high: at the lower and the upper edge.
    """
    columns, levels = 2 * width, 4 * ROWS
    edges = np.linspace(0, len(values), columns + 1).astype(int)
    span = high - low or 1.0
    cells = np.zeros((ROWS, width), dtype=np.int64)
    before: int | None = None
    for column in range(columns):
        part = values[edges[column] : max(edges[column + 1], edges[column] + 1)]
        part = part[np.isfinite(part)]
        if not len(part):
            before = None
            continue
        least, most = (int(np.clip(round((v - low) / span * (levels - 1)), 0, levels - 1)) for v in _ends(part))
        first, last = least, most
        if before is not None:  # joined to the column before
            first, last = min(least, before), max(most, before)
        for level in range(first, last + 1):
            row = ROWS - 1 - level // 4
            cells[row, column // 2] |= (RIGHT if column % 2 else LEFT)[level % 4]
        before = (least + most) // 2
    return ["".join(chr(0x2800 + int(cell)) for cell in row) for row in cells]


def _ends(part: Values) -> tuple[float, float]:
    return float(part.min()), float(part.max())
