"""Losses between bands of wavelets, under masks (FreeKD)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def band_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    r"""Mean absolute difference of bands, each position weighted by its masks' mean; summed over scales.

    .. math:: L = \sum_j mean\big( M_j\,|s_j - t_j| \big)

    Args:
        student, teacher: of each scale the bands, (B, C, bands, ...).
        masks: of each scale T masks >= 0, (B, T, ...), which count alike in all channels and bands.

    Returns:
        A scalar >= 0.

    Source: Zhang et al., "FreeKD: Knowledge Distillation via Semantic Frequency Prompt", CVPR 2024, in the form of its
    code.

    Example:
        >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]])
        >>> band_distance([student], [teacher], [torch.tensor([[[1.0, 0.0]]])])  # the second position is masked out
        tensor(0.5000)
    """
    scales = [
        (mask.mean(1)[:, None, None] * (s - t).abs()).mean() for s, t, mask in zip(student, teacher, masks, strict=True)
    ]
    return torch.stack(scales).sum()


def mask_overlap(masks: Tensor) -> Tensor:
    r"""How alike masks are: the Dice coefficient of two of a sample's masks, averaged over all pairs and the batch.

    .. math:: L = mean_{b,\,i \ne j} \frac{2 \langle M_i, M_j \rangle}
              {\lVert M_i \rVert^2 + \lVert M_j \rVert^2}

    Args:
        masks: (B, T, ...), T at least 2.

    Returns:
        A scalar from 0, where no two masks share a position, to 1.

    Raises:
        ValueError: for a single mask.

    Source: as :func:`band_distance`.

    Example:
        >>> mask_overlap(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])), mask_overlap(torch.ones(1, 2, 2))
        (tensor(0.), tensor(1.))
    """
    if masks.dim() < 3 or masks.shape[1] < 2:
        raise ValueError(f"mask_overlap: two masks or more are compared, (B, T, ...); got {tuple(masks.shape)}")
    flat = masks.flatten(2)  # (B, T, N)
    products = flat @ flat.transpose(1, 2)  # (B, T, T)
    squares = products.diagonal(dim1=1, dim2=2)
    dice = 2 * products / (squares[:, :, None] + squares[:, None, :]).clamp(min=1e-12)
    count = flat.shape[1]
    apart = 1 - torch.eye(count, dtype=flat.dtype, device=flat.device)
    return (dice * apart).sum((1, 2)).mean() / (count * (count - 1))
