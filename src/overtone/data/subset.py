"""Some classes, and some images of each, of a set of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overtone.data.base import IntArray
from overtone.errors import InputError, nearest


def chosen_classes(wanted: int | list[str] | None, names: Sequence[str], where: str) -> list[int]:
    """Numbers of the chosen classes: all, the first so many, or the named ones.

    Raises:
        InputError: for an unknown class, or fewer than two.
    """
    if wanted is None:
        return list(range(len(names)))
    if isinstance(wanted, int):
        if not 2 <= wanted <= len(names):
            raise InputError(f"{where}: classes must be 2 to {len(names)}, got {wanted}")
        return list(range(wanted))
    for name in wanted:
        if name not in names:
            raise InputError(f"{where}: unknown class {name!r}; {nearest(name, names)}")
    if len(set(wanted)) < 2:
        raise InputError(f"{where}: a classifier needs at least two classes, got {wanted}")
    return [names.index(name) for name in dict.fromkeys(wanted)]


def some_of_each(y: IntArray, chosen: Sequence[int], most: int | None) -> tuple[IntArray, IntArray]:
    """Which images are kept, in their order, and their classes numbered as chosen; at most so many of each class."""
    kept = np.zeros(len(y), dtype=bool)
    for number in chosen:
        kept[np.flatnonzero(y == number)[:most]] = True
    new = np.full(max(int(y.max(initial=0)), *chosen) + 1, -1)
    new[list(chosen)] = np.arange(len(chosen))
    return np.flatnonzero(kept), new[y[kept]]
