"""High-pass masks as functions of frequency, so that they are symmetric and mean the same on a map of any size."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from overtone.frequency.checks import map_size, mask_radius, one_of
from overtone.frequency.transforms import wave_frequencies

Shape = Literal["box", "disc", "butterworth", "gaussian", "none"]
ORDER = 2
"""Of the Butterworth filter: how steep its edge is."""
SHAPE: Shape = "box"
RADIUS = 0.1


def high_pass(frequencies: Tensor, shape: Shape = SHAPE, radius: float = RADIUS) -> Tensor:
    r"""How much of each frequency passes.

    ``box`` removes :math:`\max_d |f_d| \le r`, ``disc`` :math:`\lVert f \rVert \le r`, both wholly. ``butterworth``
    lets :math:`1 / \sqrt{1 + (r / \lVert f \rVert)^{2n}}` pass, n = 2, and ``gaussian``
    :math:`1 - \exp(-\lVert f \rVert^2 / 2 r^2)`; both remove frequency 0 wholly.

    Args:
        frequencies: (n, dims), as fractions of the Nyquist frequency, from -1 to 1.
        shape: of the edge.
        radius: r, as a fraction of the Nyquist frequency.

    Returns:
        (n,) from 0 to 1; all 1 where there is only one frequency, which a high-pass filter would leave nothing of.

    Raises:
        ValueError: for an unknown shape, or a radius below 0 or not finite.

    Example:
        >>> high_pass(torch.tensor([[0.0], [0.1], [0.5], [-1.0]]), radius=0.2)
        tensor([0., 0., 1., 1.])
        >>> high_pass(torch.tensor([[0.0], [0.2]]), "gaussian", radius=0.2)
        tensor([0.0000, 0.3935])
    """
    one_of("shape", shape, get_args(Shape))
    radius = mask_radius(radius)
    if len(frequencies) == 1 or shape == "none":
        return frequencies.new_ones(len(frequencies))
    distance = frequencies.norm(dim=1)
    if shape == "box":
        return (frequencies.abs().amax(1) > radius).to(frequencies)
    if shape == "disc":
        return (distance > radius).to(frequencies)
    if shape == "butterworth":
        return distance**ORDER / (distance ** (2 * ORDER) + radius ** (2 * ORDER)).sqrt().clamp(min=1e-12)
    return 1 - torch.exp(-(distance**2) / (2 * max(radius, 1e-12) ** 2))


def dense_mask(size: tuple[int, ...], shape: Shape = SHAPE, radius: float = RADIUS) -> Tensor:
    """:func:`high_pass` at every bin of a map's Fourier spectrum.

    Args:
        size: of the map.
        shape, radius: of the mask.

    Returns:
        From 0 to 1, of shape ``size``, with frequency 0 first (unshifted).

    Raises:
        ValueError: for an empty map, an unknown shape, or a radius below 0 or not finite.

    Example:
        >>> dense_mask((6,), radius=0.4)  # frequencies 0, 1, 2, 3, -2, -1 of Nyquist's 3
        tensor([0., 0., 1., 1., 1., 0.])
    """
    size = map_size(size)
    bins = torch.stack(torch.meshgrid(*[torch.arange(n) for n in size], indexing="ij")).flatten(1)
    return high_pass(wave_frequencies(bins, size), shape, radius).reshape(size)


def published_mask(size: tuple[int, ...]) -> Tensor:
    """The mask of the official FAM-KD code, bin for bin: its half-width is ``int(0.1 * int(n / 2))`` bins around the
    centre of the shifted spectrum, ``[c - r, c + r)``. It is empty for sizes below 20 and lopsided above.

    Args:
        size: of the map.

    Returns:
        0 and 1, of shape ``size``, with frequency 0 first (unshifted).

    Raises:
        ValueError: for an empty map.

    Example:
        >>> published_mask((20,)).logical_not().nonzero().flatten()  # what it removes: 0 and one of two neighbours
        tensor([ 0, 19])
        >>> published_mask((16, 16)).min()
        tensor(1.)
    """
    size = map_size(size)
    inside = torch.ones((), dtype=torch.bool)
    for length in size:
        centre = length // 2
        half = int(0.1 * centre)
        position = torch.arange(length)
        band = (position >= centre - half) & (position < centre + half)
        inside = inside.unsqueeze(-1) & torch.fft.ifftshift(band)
    return (~inside).float()
