"""What a filter's settings may be, and what they decide before one is made: which coefficients pass, its parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from torch import Tensor

from overtone.frequency.checks import grid_size, map_size, mask_radius, one_of, whole
from overtone.frequency.masks import RADIUS, SHAPE, Shape, high_pass, published_mask
from overtone.frequency.transforms import Name, Transform, make_transform


def parameter_count(
    in_channels: int,
    out_channels: int,
    size: int | Sequence[int],
    *,
    transform: Name = "fft",
    shape: Shape = SHAPE,
    radius: float = RADIUS,
    form: str = "full",
    published: bool = False,
    grid: int | Sequence[int] | None = None,
) -> int:
    """How many parameters a :class:`SpectralFilter` of these settings would have; none is made to find out.

    Raises:
        ValueError: as :class:`SpectralFilter`.

    Example:
        >>> parameter_count(2, 4, 16)
        128
        >>> parameter_count(2, 4, 16, form="depthwise")
        72
        >>> parameter_count(2, 4, (200, 336), grid=4)  # whatever the map's size
        160
    """
    check_settings(in_channels, out_channels, size, transform, shape, radius, form, published, grid)
    sizes = map_size(size)
    used = make_transform(transform, sizes if grid is None else grid_size(grid, len(sizes)))
    kept = len(used.kept) if grid is not None else int((gain_of(used, shape, radius, published) > 0).sum())
    numbers = kept * used.parts
    if form == "full":
        return numbers * in_channels * out_channels
    if form == "depthwise":
        return numbers * out_channels + (in_channels * out_channels if in_channels != out_channels else 0)
    return numbers * int(form.partition(":")[2]) * (in_channels + out_channels)


def check_settings(
    in_channels: Any,
    out_channels: Any,
    size: Any,
    transform: Any,
    shape: Any,
    radius: Any,
    form: Any,
    published: bool,
    grid: Any = None,
) -> None:
    """Refuse settings of a filter that are unknown or do not go together.

    Raises:
        ValueError: with what was received.
    """
    smaller = min(whole("in_channels", in_channels), whole("out_channels", out_channels))
    sizes = map_size(size)
    one_of("transform", transform, get_args(Name))
    one_of("shape", shape, get_args(Shape))
    mask_radius(radius)
    rank = re.fullmatch(r"low_rank:([0-9]+)", form) if isinstance(form, str) else None
    if form not in ("full", "depthwise") and not rank:
        raise ValueError(f"form is full, depthwise or low_rank:RANK; got {form!r}")
    if rank and not 1 <= int(rank[1]) <= smaller:
        raise ValueError(
            f"form {form}: the rank must be 1 to {smaller}, the smaller of {in_channels} input and {out_channels} "
            "output channels"
        )
    if published and (transform != "fft" or form != "full"):
        raise ValueError(f"published needs transform fft and form full; got {transform} and {form}")
    if published and (shape != SHAPE or radius != RADIUS):
        raise ValueError(
            f"published has a mask of its own; leave shape and radius out, or at {SHAPE} and {RADIUS}; got {shape} and "
            f"{radius}"
        )
    if grid is not None:
        grid_size(grid, len(sizes))
        if transform != "fft" or published:
            raise ValueError(
                f"a grid is of transform fft's frequencies, and not published; got grid {grid} with transform "
                f"{transform}{' and published' if published else ''}"
            )


def gain_of(transform: Transform, shape: Shape, radius: float, published: bool) -> Tensor:
    """How much of each of a transform's coefficients passes, (n,)."""
    if not published:
        return high_pass(transform.frequencies, shape, radius)
    mask = published_mask(transform.size)  # lopsided, so that of some pairs u, -u only one is removed
    dense = (mask + mirrored(mask, len(transform.size))) / 2
    return dense[(..., slice(transform.size[-1] // 2 + 1))].flatten()[transform.kept]


def mirrored(x: Tensor, dims: int) -> Tensor:
    """x at -u, where its last dimensions stand for frequency."""
    last = tuple(range(-dims, 0))
    return x.flip(last).roll((1,) * dims, last)
