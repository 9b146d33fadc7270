"""Haar wavelets of maps of any size, a few scales deep: a coarse map and, for each scale, its bands of detail."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def haar_bands(x: Tensor, scales: int) -> tuple[Tensor, list[Tensor]]:
    """A map's orthonormal Haar transform; a side of odd length gets one 0 at its end, at every scale.

    Args:
        x: (B, C, T) or (B, C, H, W).
        scales: how often the map is halved.

    Returns:
        The coarse map, (B, C, T') or (B, C, H', W'), and the details from fine to coarse, (B, C, 1, T') or
        (B, C, 3, H', W'): differences along the width, along the height, along both.

    Example:
        >>> coarse, (fine,) = haar_bands(torch.tensor([[[[5.0, 1.0], [3.0, 1.0]]]]), 1)
        >>> coarse.round(), fine.flatten().round()
        (tensor([[[[5.]]]]), tensor([3., 1., 1.]))
    """
    details = []
    for _ in range(scales):
        added = [amount for side in reversed(x.shape[2:]) for amount in (0, side % 2)]
        x = F.pad(x, added) if any(added) else x
        if x.dim() == 3:
            bands = torch.einsum("bcti,ki->bckt", x.unflatten(2, (-1, 2)), _waves(x))
        else:
            blocks = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
            bands = torch.einsum("bchiwj,kij->bckhw", blocks, _waves(x))
        x = bands[:, :, 0]
        details.append(bands[:, :, 1:])
    return x, details


def haar_map(coarse: Tensor, details: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The map (B, C, *size) of such bands, the inverse of :func:`haar_bands`; what stands in added 0s is cut off.

    Example:
        >>> x = torch.arange(5.0).view(1, 1, 5)
        >>> torch.allclose(haar_map(*haar_bands(x, 2), (5,)), x, atol=1e-6)
        True
    """
    sizes = [tuple(size), *(bands.shape[3:] for bands in details[:-1])]
    for bands, wanted in zip(reversed(details), reversed(sizes), strict=True):
        whole = torch.cat([coarse[:, :, None], bands], dim=2)
        if coarse.dim() == 3:
            coarse = torch.einsum("bckt,ki->bcti", whole, _waves(coarse)).flatten(2)
        else:
            coarse = torch.einsum("bckhw,kij->bchiwj", whole, _waves(coarse)).flatten(4).flatten(2, 3)
        for axis, side in enumerate(wanted, start=2):
            coarse = coarse.narrow(axis, 0, side)
    return coarse


def _waves(like: Tensor) -> Tensor:
    """The Haar wavelets on 2 or 2 x 2 positions, the mean first: (2, 2) or (4, 2, 2)."""
    pair = like.new_tensor([[1.0, 1.0], [1.0, -1.0]]) * 0.5**0.5
    return pair if like.dim() == 3 else torch.einsum("ai,bj->abij", pair, pair).flatten(0, 1)
