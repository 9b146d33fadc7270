"""From a signal's feature map to an image's, so that a 2-D teacher can be matched stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from overtone.frequency.checks import map_size, one_of
from overtone.frequency.filter import resize

Lift = Literal["outer", "gramian", "repeat"]


def lift(x: Tensor, kind: Lift, size: int | Sequence[int] | None = None) -> Tensor:
    r"""A map over time as a map over pairs of times, (B, C, T) -> (B, C, *size).

    ``outer``: :math:`f_i f_j`, large where both moments are active. ``repeat``: f along every row. Both equal the lift
    of the whole signal, averaged (or repeated) to ``size`` afterwards. That large map is never made: the average of a
    product over a rectangle is the product of the averages over its sides, so only the sides are averaged.

    ``gramian``: the summation field :math:`\cos(\phi_i + \phi_j)` of f scaled to [-1, 1] for each sample and channel; a
    channel that does not change counts as -1. As a Gramian angular field of a long signal does, it averages first:
    time goes to the larger side of ``size``, then comes the field, which is averaged along the smaller side. That is
    not the average of the whole signal's field, because the cosine is taken of averages.

    Args:
        x: the map.
        kind: which lift.
        size: of the image: (H, W), n for (n, n), None for (T, T).

    Raises:
        ValueError: for an unknown kind, a map that has no time axis, or no size of an image.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0]]])
        >>> lift(x, "outer")
        tensor([[[[1., 2.],
                  [2., 4.]]]])
        >>> lift(x, "repeat", (3, 2)).shape
        torch.Size([1, 1, 3, 2])
    """
    one_of("lift", kind, get_args(Lift))
    if x.dim() != 3 or x.shape[2] < 1:
        raise ValueError(f"a map (B, C, T) is lifted, got {tuple(x.shape)}")
    sizes = map_size(x.shape[2] if size is None else size)
    height, width = sizes if len(sizes) == 2 else sizes * 2
    if kind == "repeat":
        return resize(x, (width,)).unsqueeze(2).expand(-1, -1, height, -1)
    if kind == "outer":
        rows = resize(x, (height,))
        columns = rows if width == height else resize(x, (width,))
        return rows.unsqueeze(3) * columns.unsqueeze(2)
    x = resize(x, (max(height, width),))
    low, high = x.amin(2, keepdim=True), x.amax(2, keepdim=True)
    span = high - low
    flat = span <= 1e-6 * high.abs().clamp(min=1e-6)
    scaled = ((x - low) / span.masked_fill(flat, 1) * 2 - 1).masked_fill(flat, -1)
    # sqrt(1 - x^2) has no finite slope at -1 and 1, which the smallest and largest values always take.
    sine = (1 - scaled.square()).clamp(min=1e-4).sqrt()
    image = scaled.unsqueeze(3) * scaled.unsqueeze(2) - sine.unsqueeze(3) * sine.unsqueeze(2)
    return resize(image, (height, width))
