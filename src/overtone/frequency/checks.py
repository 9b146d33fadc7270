"""Checks of what the modules are given. Every message quotes what was received."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor


def is_whole(value: object, least: int = 1) -> bool:
    """Whether a value is an integer (numpy's too, no bool) of at least ``least``."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def whole(name: str, value: Any) -> int:
    """An integer of at least 1.

    Raises:
        ValueError: for anything else.
    """
    if not is_whole(value):
        raise ValueError(f"{name} is a whole number of at least 1; got {value!r}")
    return int(value)


def map_size(size: Any) -> tuple[int, ...]:
    """A map's size, (T,) or (H, W), from a number or a sequence of one or two.

    Raises:
        ValueError: for anything else.
    """
    sizes = (size,) if is_whole(size) else size
    if (
        not isinstance(sizes, Sequence)
        or isinstance(sizes, str | bytes)
        or len(sizes) not in (1, 2)
        or not all(is_whole(n) for n in sizes)
    ):
        raise ValueError(f"a map's size is T, (T,) or (H, W), whole numbers of at least 1; got {size!r}")
    return tuple(int(n) for n in sizes)


def grid_size(grid: Any, dims: int) -> tuple[int, ...]:
    """How many frequencies a grid has along each of ``dims`` axes, from a number or a sequence of so many.

    Raises:
        ValueError: for anything else.
    """
    sizes = (grid,) * dims if is_whole(grid) else grid
    if (
        not isinstance(sizes, Sequence)
        or isinstance(sizes, str | bytes)
        or len(sizes) != dims
        or not all(is_whole(n) for n in sizes)
    ):
        raise ValueError(
            f"a grid is a number of frequencies, or {'one' if dims == 1 else 'two'} for maps of {dims} dimension"
            f"{'s' if dims > 1 else ''}, whole numbers of at least 1; got {grid!r}"
        )
    return tuple(int(n) for n in sizes)


def one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        ValueError: with all that are.
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {', '.join(known[:-1])} or {known[-1]}; got {value!r}")


def mask_radius(value: Any) -> float:
    """A finite number of at least 0.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise ValueError(f"radius is a fraction of the Nyquist frequency, a finite number, 0 or more; got {value!r}")
    return float(value)


def fits(x: Any, channels: int, dims: int, wanted: str) -> None:
    """Refuse what is no map (B, channels, ...) of floating-point numbers with ``dims`` sides of at least 1.

    Raises:
        ValueError: with ``wanted`` and what was received.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"made for floating-point maps {wanted}; got {x!r}")
    if x.dim() != dims + 2 or x.shape[1] != channels or min(x.shape[2:]) < 1 or not x.dtype.is_floating_point:
        raise ValueError(f"made for floating-point maps {wanted}; got {tuple(x.shape)} in {x.dtype}")
