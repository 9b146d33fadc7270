"""Losses on the relations inside a batch: they compare B x B matrices, so widths, sizes and modalities may differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Similarity of every pair of samples: ``A Aᵀ`` of the flattened features.

    Args:
        features: (B, ...).

    Returns:
        (B, B), not normalised.

    Example:
        >>> gram(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        tensor([[1., 1.],
                [1., 2.]])
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

    Example:
        >>> teacher = torch.eye(2)  # two samples, unlike
        >>> similarity_preserving(7 * teacher, teacher)
        tensor(0.)
        >>> similarity_preserving(torch.ones(2, 5), teacher)  # two samples, alike
        tensor(0.2929)
    """
    return _compare(gram(student), gram(teacher))


def similarity_preserving_merged(
    student: Tensor, teachers: Sequence[Tensor], teacher_weights: Sequence[float]
) -> Tensor:
    r"""Similarity-preserving loss against the weighted sum of the teachers' raw Gram matrices.

    .. math:: G_t = \sum_k a_k A_k A_k^T, \quad L = \frac{1}{B^2}\lVert norm(G_t) - norm(A_s A_s^T) \rVert_F^2

    The Gram matrices are merged before they are normalised, so a teacher with larger features weighs more.

    Args:
        student: (B, ...).
        teachers: K tensors (B, ...).
        teacher_weights: K weights >= 0.

    Returns:
        A scalar >= 0.

    Source: Jeon et al., topology-guided distillation (ICML workshop 2024), the published training code.

    Example:
        >>> student, teachers = torch.eye(2), [torch.eye(2), torch.ones(2, 3)]
        >>> similarity_preserving_merged(student, teachers, [1.0, 0.0])
        tensor(0.)
        >>> similarity_preserving_merged(student, teachers, [1.0, 1.0])
        tensor(0.2000)
    """
    merged = sum((a * gram(t) for a, t in zip(teacher_weights, teachers, strict=True)), start=gram(teachers[0]) * 0)
    return _compare(gram(student), merged)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The batch's pairwise distances, in units of their mean, agree (smooth L1).

    Args:
        student, teacher: embeddings (B, D), of widths that may differ.

    Returns:
        A scalar >= 0, unchanged by moving, turning or positive scaling of either side.

    Raises:
        ValueError: for a batch of one sample.

    Source: Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, eq. 5.

    Example:
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> bool(relational_distance(3 * teacher + 1, teacher) < 1e-6)  # moved and scaled
        True
        >>> relational_distance(torch.tensor([[0.0], [1.0], [2.0]]), teacher)
        tensor(0.0717)
    """
    if len(student) < 2:
        raise ValueError(f"distances need a batch of at least 2 samples, got {len(student)}")
    return F.smooth_l1_loss(_distances(student), _distances(teacher))


def _distances(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    apart = (squares[:, None] + squares[None] - 2 * x @ x.T).clamp(min=1e-12)  # a root's slope at 0 is infinite
    between = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    distances = torch.where(between, apart, 1).sqrt() * between  # (B, B), 0 on the diagonal
    # Those of equal samples are tiny but positive, so that all pairs count, as in published code.
    return distances / distances[between].mean()


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The angles of the batch's triplets agree (smooth L1): at sample j, between the ways to samples i and k.

    Args:
        student, teacher: embeddings (B, D), of widths that may differ.

    Returns:
        A scalar >= 0; B³ angles are compared.

    Source: Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, eq. 7.

    Example:
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> bool(relational_angle(3 * teacher + 1, teacher) < 1e-6)  # moved and scaled
        True
        >>> relational_angle(torch.tensor([[0.0], [1.0], [2.0]]), teacher)
        tensor(0.1296)
    """
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def _angles(x: Tensor) -> Tensor:
    ways = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)  # (B, B, D)
    return ways @ ways.transpose(1, 2)  # (B, B, B)
