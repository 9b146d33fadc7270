"""Data sets of the UEA and UCR archives through the package aeon (an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from overtone.data.base import FloatArray, Recordings, Source
from overtone.errors import InputError


class Aeon(Source):
    """``aeon:NAME``, such as ``aeon:BasicMotions``; official split, every case a group of its own.

    Unless ``split.val`` says otherwise, a fifth of the training cases, of every class alike, choose the best epoch.
    Cases of unequal length are padded to the longest, unless a window is cut from them.

    Sets that aeon ships are read from it; aeon downloads others from the archive's site.

    Attributes:
        set: the set's name (the part behind ``aeon:``).
        rate: Hz, where known to you.
    """

    SOURCE: ClassVar[str] = "UEA and UCR archive sets through aeon, as aeon:NAME (pip install overtone[aeon])"

    PAD: ClassVar[bool] = True

    set: str
    rate: float | None = Field(default=None, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Training and test cases.

        Raises:
            InputError: if aeon is missing, or does not know the set.
        """
        where = f"data 'aeon:{self.set}'"
        try:
            from aeon.datasets import load_classification
        except ImportError:
            raise InputError(f"{where} needs the package aeon: pip install overtone[aeon]") from None
        sides = []
        for side in ("train", "test"):
            try:
                x, y = load_classification(self.set, split=side)
            except Exception as error:  # aeon raises many kinds, from its reader to the network
                raise InputError(f"{where}: aeon cannot load it: {type(error).__name__}: {error}") from error
            sides.append((x, [str(label) for label in y]))
        return from_cases(sides, self.rate, where)


def from_cases(sides: Sequence[tuple[Sequence[Any], list[str]]], rate: float | None, where: str) -> Recordings:
    """Cases of one side, or of a training and a test side, as recordings whose groups are themselves.

    A case whose channels all end in missing values has ended before these: so files of equal length hold cases that are
    not, and it is told.

    Args:
        sides: cases (C, T_i) and the class of each.
        rate: Hz, if known.
        where: the source, for messages.

    Raises:
        InputError: for cases that differ in their channels.
    """
    whole = [np.asarray(case, dtype=np.float32) for cases, _ in sides for case in cases]
    signals = [case[:, : _end(case)] for case in whole]
    ended = sum(after.shape != before.shape for after, before in zip(signals, whole, strict=True))
    note = f"{ended} of {len(signals)} series end in missing values, which were taken as their end"
    labels = [label for _, y in sides for label in y]
    channels = {len(signal) for signal in signals}
    if len(channels) > 1:
        raise InputError(f"{where}: its cases have {min(channels)} to {max(channels)} channels; all need the same")
    classes = tuple(sorted(set(labels)))
    number = {name: place for place, name in enumerate(classes)}
    width = len(str(len(signals)))
    tested = [side == 1 for side, (cases, _) in enumerate(sides) for _ in cases]
    return Recordings(
        signals=signals,
        labels=np.asarray([number[label] for label in labels], dtype=np.int64),
        groups=[f"case {case:0{width}d}" for case in range(len(signals))],
        classes=classes,
        channels=tuple(f"channel {c}" for c in range(max(channels, default=0))),
        rate=rate,
        where=where,
        official_test=tested if len(sides) == 2 else None,
        notes=(note,) if ended else (),
    )


def _end(case: FloatArray) -> int:
    """Samples up to the last one in which any channel has a value; all of them where there is none."""
    known = np.flatnonzero(~np.isnan(case).all(axis=0))
    return int(known[-1]) + 1 if len(known) else case.shape[1]
