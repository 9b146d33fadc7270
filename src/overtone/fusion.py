"""Fusion: how much each of K teachers counts, per sample. Weights sum to 1 over the teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from overtone.errors import InputError, nearest


class Fusion(Protocol):
    """Weights of K teachers for each sample of a batch."""

    def __call__(self, student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
        """Student logits (B, C), teacher logits (K, B, C), class numbers (B,) -> weights (K, B)."""
        ...


def mean(student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
    """Every teacher counts 1/K: (K, B)."""
    count, batch, _ = teachers.shape
    return teachers.new_full((count, batch), 1 / count)


class Fixed:
    """Weights set by hand, the same for every sample.

    Args:
        shares: one number >= 0 a teacher, in the teachers' order; scaled to sum to 1.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        total = sum(shares)
        self.shares = [share / total for share in shares]

    def __call__(self, student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
        """(K, B)."""
        return teachers.new_tensor(self.shares).unsqueeze(1).expand(-1, teachers.shape[1])


def entropy(student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
    r"""A teacher counts more where its own output is sharper: (K, B).

    .. math:: w_k = \frac{1 - H_k / \sum_j H_j}{K - 1},\quad H_k = -\sum_c p_k[c] \log p_k[c]

    with p at temperature 1; equal weights where every teacher is certain, and 1 for a single teacher.

    Source: Kwon et al., "Adaptive Knowledge Distillation Based on Entropy", ICASSP 2020. Published code leaves out the
    division by K - 1.
    """
    log_p = F.log_softmax(teachers, dim=-1)
    entropies = -(log_p.exp() * log_p).sum(-1)  # (K, B)
    total = entropies.sum(0)
    certain = total <= 1e-12
    return _unlike(torch.where(certain, 1 / len(teachers), entropies / total.masked_fill(certain, 1)))


def confidence(student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
    r"""A teacher counts more where its cross-entropy with the truth is lower: (K, B).

    .. math:: w_k = \frac{1 - \exp(CE_k) / \sum_j \exp(CE_j)}{K - 1}

    and 1 for a single teacher.

    Source: Zhang, Chen, Wang, "Confidence-Aware Multi-Teacher Knowledge Distillation", ICASSP 2022, eq. 2.
    """
    losses = torch.stack([F.cross_entropy(logits, target, reduction="none") for logits in teachers])  # (K, B)
    return _unlike(losses.softmax(0))


def _unlike(shares: Tensor) -> Tensor:
    """Of shares (K, B) that sum to 1 their complements, which are made to sum to 1 too."""
    count = len(shares)
    return torch.ones_like(shares) if count == 1 else (1 - shares) / (count - 1)


class GradientSpace:
    r"""Weights for which the teachers' gradients at the student's logits agree best, one set a batch: (K, B).

    .. math:: \min_w \tfrac12 \lVert \sum_k w_k g_k \rVert^2,\quad \sum_k w_k = 1,\ 0 \le w_k \le C

    with :math:`g_k = T (p^T_s - p^T_k) / B`, the gradient of teacher k's loss, averaged over the batch. It is known in
    closed form, so there is no backward pass.

    Args:
        temperature: T.
        tolerance: C, from 1 / K (all equal) to 1.

    Source: Du et al., "Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space", NeurIPS 2020.
    """

    def __init__(self, temperature: float, tolerance: float) -> None:
        self.temperature, self.tolerance = temperature, tolerance

    @torch.no_grad()
    def __call__(self, student: Tensor, teachers: Tensor, target: Tensor) -> Tensor:
        """(K, B), the same for every sample."""
        batch = self.gradients(student, teachers).mean(1).double()  # (K, C)
        weights = least_norm((batch @ batch.T).tolist(), max(self.tolerance, 1 / len(teachers)))
        return teachers.new_tensor(weights).unsqueeze(1).expand(-1, teachers.shape[1])

    def gradients(self, student: Tensor, teachers: Tensor) -> Tensor:
        """Of every teacher's mean loss, at the student's logits: (K, B, C)."""
        T = self.temperature
        return T * ((student / T).softmax(-1) - (teachers / T).softmax(-1)) / len(student)


def least_norm(gram: list[list[float]], most: float) -> list[float]:
    """Weights w that minimise ``w' G w`` with sum 1 and 0 <= w <= most, moving weight between the worst pair.

    Args:
        gram: (K, K), positive semidefinite.
        most: at least 1 / K.
    """
    count = len(gram)
    weights = [1 / count] * count
    scale = max(gram[k][k] for k in range(count)) or 1.0
    for _ in range(1000):
        slope = [sum(g * w for g, w in zip(row, weights, strict=True)) for row in gram]
        gain = min((k for k in range(count) if weights[k] < most), key=slope.__getitem__, default=None)
        lose = max((k for k in range(count) if weights[k] > 0), key=slope.__getitem__)
        if gain is None or (excess := slope[lose] - slope[gain]) <= 1e-12 * scale:
            break
        curvature = gram[gain][gain] + gram[lose][lose] - 2 * gram[gain][lose]
        step = excess / curvature if curvature > 0 else most
        step = min(step, most - weights[gain], weights[lose])
        weights[gain], weights[lose] = weights[gain] + step, weights[lose] - step
    return weights


def shares_of(given: Mapping[str, float] | None, names: Sequence[str]) -> list[float]:
    """Fixed shares in the teachers' order; equal ones where none are given.

    Raises:
        InputError: for an unknown teacher, a teacher without a share, a negative share, or none above 0.
    """
    if given is None:
        return [1 / len(names)] * len(names)
    for name, share in given.items():
        if name not in names:
            raise InputError(f"shares: unknown teacher {name!r}; {nearest(name, names)}")
        if not 0 <= share < float("inf"):
            raise InputError(f"shares: {name} must be 0 or more, got {share}")
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(f"shares: no share for {', '.join(missing)}; give one for each of {', '.join(names)}")
    if sum(given.values()) <= 0:
        raise InputError(f"shares: at least one must be above 0, got {dict(given)}")
    return [given[name] for name in names]
