"""From a signal's feature map to an image's, so that a 2-D teacher can be matched stage by stage."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from overtone.frequency.filter import resize

Lift = Literal["outer", "gramian", "repeat"]


def lift(x: Tensor, kind: Lift, size: tuple[int, int]) -> Tensor:
    r"""A map over time as a map over pairs of times, (B, C, T) -> (B, C, *size).

    ``outer``: :math:`f_i f_j`, large where both moments are active. ``gramian``: the summation field
    :math:`\cos(\phi_i + \phi_j)` of f scaled to [-1, 1] for each sample and channel; a channel that does not change
    counts as -1. ``repeat``: f along every row. Time is first averaged (or repeated) to the larger side of ``size``,
    as a Gramian angular field does; for ``outer`` and ``repeat`` that equals a resizing afterwards.

    Raises:
        ValueError: for an unknown kind or a map that has no time axis.
    """
    if x.dim() != 3:
        raise ValueError(f"a map (B, C, T) is lifted, got {tuple(x.shape)}")
    side = max(size)
    x = resize(x, (side,))
    if kind == "outer":
        image = x.unsqueeze(3) * x.unsqueeze(2)
    elif kind == "gramian":
        low, high = x.amin(2, keepdim=True), x.amax(2, keepdim=True)
        span = high - low
        flat = span <= 1e-6 * high.abs().clamp(min=1e-6)
        scaled = ((x - low) / span.masked_fill(flat, 1) * 2 - 1).masked_fill(flat, -1)
        # sqrt(1 - x^2) has no finite slope at -1 and 1, which the smallest and largest values always take.
        sine = (1 - scaled.square()).clamp(min=1e-4).sqrt()
        image = scaled.unsqueeze(3) * scaled.unsqueeze(2) - sine.unsqueeze(3) * sine.unsqueeze(2)
    elif kind == "repeat":
        image = x.unsqueeze(2).expand(-1, -1, side, -1)
    else:
        raise ValueError(f"lift is outer, gramian or repeat; got {kind!r}")
    return resize(image, size)
