"""Losses on the relations inside a batch: they compare B x B matrices, so widths, sizes and modalities may differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Similarity of every pair of samples: ``A Aᵀ`` of the flattened features.

    Args:
        features: (B, ...).

    Returns:
        (B, B), not normalised.
    """
    flat = features.flatten(1)  # (B, D)
    return flat @ flat.T


def _compare(student: Tensor, teacher: Tensor) -> Tensor:
    batch = student.shape[0]
    if batch < 2:
        raise ValueError(f"similarity needs a batch of at least 2 samples, got {batch}")
    difference = F.normalize(teacher, dim=1) - F.normalize(student, dim=1)  # (B, B), rows of length 1
    return difference.square().sum() / batch**2


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving loss: row-normalised batch Gram matrices of student and teacher agree.

    .. math:: L = \frac{1}{B^2} \lVert norm(A_t A_t^T) - norm(A_s A_s^T) \rVert_F^2

    Args:
        student: (B, ...).
        teacher: (B, ...), of any other width.

    Returns:
        A scalar >= 0; unchanged by a positive scaling of either side.

    Raises:
        ValueError: for a batch of one sample.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, eq. 4.
    """
    return _compare(gram(student), gram(teacher))


def similarity_preserving_merged(student: Tensor, teachers: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    r"""Similarity-preserving loss against the shares-weighted sum of the teachers' raw Gram matrices.

    .. math:: G_t = \sum_k a_k A_k A_k^T, \quad L = \frac{1}{B^2}\lVert norm(G_t) - norm(A_s A_s^T) \rVert_F^2

    The Gram matrices are merged before they are normalised, so a teacher with larger features weighs more.

    Args:
        student: (B, ...).
        teachers: K tensors (B, ...).
        shares: K weights >= 0.

    Returns:
        A scalar >= 0.

    Source: Jeon et al., topology-guided distillation (ICML workshop 2024), the published training code.
    """
    merged = sum((a * gram(t) for a, t in zip(shares, teachers, strict=True)), start=gram(teachers[0]) * 0)
    return _compare(gram(student), merged)
