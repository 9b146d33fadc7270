"""Data sets of the UEA and UCR archives through the package aeon (an extra)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from overtone.data.base import Recordings, Source
from overtone.errors import InputError


class Aeon(Source):
    """``aeon:NAME``, such as ``aeon:BasicMotions``; official split, every case a group of its own.

    Unless ``split.val`` says otherwise, a fifth of the training cases, of every class alike, choose the best epoch.

    Sets that aeon ships are read from it; aeon downloads others from the archive's site.

    Attributes:
        set: the set's name (the part behind ``aeon:``).
        rate: Hz, where known to you.
    """

    SOURCE: ClassVar[str] = "UEA and UCR archive sets through aeon, as aeon:NAME (pip install overtone[aeon])"

    set: str
    rate: float | None = Field(default=None, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Training and test cases.

        Raises:
            InputError: if aeon is missing, does not know the set, or the set's cases differ in length.
        """
        where = f"data 'aeon:{self.set}'"
        try:
            from aeon.datasets import load_classification
        except ImportError:
            raise InputError(f"{where} needs the package aeon: pip install overtone[aeon]") from None
        parts = []
        for side in ("train", "test"):
            try:
                x, y = load_classification(self.set, split=side)
            except Exception as error:  # aeon raises many kinds, from its reader to the network
                raise InputError(f"{where}: aeon cannot load it: {type(error).__name__}: {error}") from error
            if not isinstance(x, np.ndarray):
                raise InputError(f"{where}: its cases differ in length or channels, which is not supported")
            parts.append((x, [str(label) for label in y]))
        signals = [case.astype(np.float32) for x, _ in parts for case in x]
        labels = [label for _, y in parts for label in y]
        classes = tuple(sorted(set(labels)))
        width = len(str(len(signals)))
        return Recordings(
            signals=signals,
            labels=np.asarray([classes.index(label) for label in labels], dtype=np.int64),
            groups=[f"case {number:0{width}d}" for number in range(len(signals))],
            classes=classes,
            channels=tuple(f"channel {c}" for c in range(signals[0].shape[0])),
            rate=self.rate,
            where=where,
            official_test=[False] * len(parts[0][0]) + [True] * len(parts[1][0]),
        )
