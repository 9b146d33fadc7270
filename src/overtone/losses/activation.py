"""Losses on where a model looks: class activation maps, and evidence over the positions of two views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-8
"""Below this sum a map shows no evidence at all, and every position counts the same."""


def class_map_distance(
    student: Tensor, teacher: Tensor, target: Tensor | None = None, size: int | None = None, normalise: bool = False
) -> Tensor:
    r"""Class activation maps agree, of the true class or of all classes.

    .. math:: L = mean_{b,c,p}\big(\phi(CAM_s)[b,c,p] - \phi(CAM_t)[b,c,p]\big)^2

    with \(\phi\) an average pooling to ``size`` positions per axis (the smaller of both maps unless given) and, where
    asked for, an L2 normalisation over the positions of each class.

    Args:
        student, teacher: maps (B, C, T) or (B, C, H, W), of one number of axes, of any sizes.
        target: class numbers (B,); only the true class' map is compared. None compares all C.
        size: positions per axis after pooling, at least 1.
        normalise: scale each class' map to length 1.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: for maps of different kinds, batches or classes.

    Source: all classes: Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023,
    in the order of its published code, pooling before normalisation.

    Example:
        >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 1.0], [0.0, 2.0, 2.0, 0.0]]])  # one sample, two classes
        >>> class_map_distance(maps, 0 * maps)
        tensor(1.2500)
        >>> class_map_distance(maps, 0 * maps, target=torch.tensor([1]))  # the true class alone
        tensor(2.)
    """
    if student.dim() != teacher.dim() or student.dim() not in (3, 4) or student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            "class_map_distance: maps (B, C, T) or (B, C, H, W) of the same samples and classes are compared; got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    smaller = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    grid = smaller if size is None else [size] * len(smaller)

    def seen(maps: Tensor) -> Tensor:
        if target is not None:
            maps = maps[torch.arange(len(target), device=target.device), target].unsqueeze(1)  # (B, 1, ...)
        pooled = to_grid(maps, grid).flatten(2)  # (B, C or 1, P)
        return F.normalize(pooled, dim=2) if normalise else pooled

    return F.mse_loss(seen(student), seen(teacher))


def to_grid(maps: Tensor, size: list[int] | tuple[int, ...]) -> Tensor:
    """Maps (B, C, ...) averaged to fewer positions along each axis, or interpolated to more.

    Example:
        >>> to_grid(torch.tensor([[[0.0, 2.0, 4.0, 6.0]]]), [2])
        tensor([[[1., 5.]]])
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    fewer = [min(length, wanted) for length, wanted in zip(maps.shape[2:], size, strict=True)]
    if len(size) == 1:
        maps = F.adaptive_avg_pool1d(maps, fewer[0])
    else:
        maps = F.adaptive_avg_pool2d(maps, (fewer[0], fewer[1]))
    if fewer == list(size):
        return maps
    return F.interpolate(maps, list(size), mode="linear" if len(size) == 1 else "bilinear")


def evidence(maps: Tensor) -> Tensor:
    """Maps as shares of evidence: negative values count as 0, and each sample's values sum to 1.

    Args:
        maps: (B, ...).

    Returns:
        (B, P), the positions flattened; all equal where a map has no positive value.

    Example:
        >>> evidence(torch.tensor([[3.0, -1.0, 1.0], [-1.0, -1.0, -1.0]]))
        tensor([[0.7500, 0.0000, 0.2500],
                [0.3333, 0.3333, 0.3333]])
    """
    positive = maps.flatten(1).clamp(min=0)  # (B, P)
    total = positive.sum(1, keepdim=True)
    none = total <= LEAST
    return torch.where(none, 1 / positive.shape[1], positive / total.masked_fill(none, 1))


def joint_evidence(signal: Tensor, images: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Evidence over the pairs of a signal's and an image's positions, summing to 1 per sample.

    Without weights their outer product, \(s_i g_j\). With weights w over the signal and the K images the weighted mean
    of all, each spread evenly over the positions it says nothing about: \(w_0 s_i / J + \sum_k w_k g^k_j / I\).

    Args:
        signal: (B, I), summing to 1.
        images: (K, B, J), each summing to 1.
        weights: (1 + K,), summing to 1; the outer product, with the images' mean, where it is None.

    Returns:
        (B, I, J).

    Example:
        >>> signal, image = torch.tensor([[0.5, 0.5]]), torch.tensor([[[0.25, 0.75]]])
        >>> joint_evidence(signal, image)
        tensor([[[0.1250, 0.3750],
                 [0.1250, 0.3750]]])
        >>> joint_evidence(signal, image, torch.tensor([1.0, 0.0]))  # the signal's alone
        tensor([[[0.2500, 0.2500],
                 [0.2500, 0.2500]]])
    """
    if weights is None:
        return signal.unsqueeze(2) * images.mean(0).unsqueeze(1)
    along = signal.unsqueeze(2) / images.shape[2]  # (B, I, 1)
    across = torch.einsum("k,kbj->bj", weights[1:], images).unsqueeze(1) / signal.shape[1]  # (B, 1, J)
    return weights[0] * along + across


def evidence_distance(student: Tensor, target: Tensor, distance: str = "mse") -> Tensor:
    r"""How far a student's attention is from the evidence; both are shares that sum to 1 per sample.

    .. math:: mse: mean_{b,p}\,(P s_p - P t_p)^2 \qquad kl: mean_b \sum_p t_p (\log t_p - \log s_p)

    The squared error is taken in multiples of an even share, 1 / P: otherwise it would shrink with the square of the
    number of positions P and no weight would fit two sizes.

    Args:
        student, target: (B, ...) of one shape.
        distance: ``mse`` or ``kl``.

    Returns:
        A scalar >= 0.

    Example:
        >>> student, target = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])
        >>> evidence_distance(student, target)
        tensor(1.)
        >>> evidence_distance(student, target, "kl")  # log 2
        tensor(0.6931)
    """
    if student.shape != target.shape:
        raise ValueError(
            f"evidence_distance: two batches of one shape are compared; got {tuple(student.shape)} and "
            f"{tuple(target.shape)}"
        )
    s, t = student.flatten(1), target.flatten(1)
    if distance == "mse":
        return (s.shape[1] * (s - t)).square().mean()
    return F.kl_div(s.clamp(min=LEAST).log(), t, reduction="batchmean")
