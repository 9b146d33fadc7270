"""Losses on logits: Hinton's temperature-softened KL divergence in three forms that share one scale, and what followed.

Reduction everywhere: sum over classes, mean over the batch ("batchmean"). Some published code uses the mean over
both, which is C times smaller: methods that follow it divide by C (``reduction: mean``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kd_per_sample(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    r"""KL divergence from the softened student to the softened teacher, one value per sample.

    .. math:: \ell_b = T^2 \sum_c p^T_{t}[b,c] (\log p^T_{t}[b,c] - \log p^T_{s}[b,c]),\quad p^T = softmax(z/T)

    Args:
        student: logits (..., B, C); leading axes broadcast against the teacher's.
        teacher: logits (..., B, C), for instance (K, B, C) for K teachers.
        temperature: T > 0; 4 in most of the literature.

    Returns:
        (..., B), each >= 0, and 0 where both distributions agree.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.

    Example:
        >>> student, teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> kd_per_sample(student, teacher, temperature=1.0)
        tensor([0.4338, 0.0000])
        >>> kd_per_sample(student, torch.stack([teacher, student])).shape  # two teachers
        torch.Size([2, 2])
    """
    log_s = F.log_softmax(student / temperature, dim=-1)  # (..., B, C)
    log_t = F.log_softmax(teacher / temperature, dim=-1)  # (..., B, C)
    return (log_t.exp() * (log_t - log_s)).sum(-1) * temperature**2  # (..., B)


def kd(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Knowledge distillation: the mean over the batch of :func:`kd_per_sample`.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperature: T > 0.

    Returns:
        A scalar >= 0.

    Example:
        >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> kd(student, teacher, temperature=1.0)
        tensor(0.4338)
        >>> kd(student, student)
        tensor(0.)
    """
    return kd_per_sample(student, teacher, temperature).mean()


def kd_to_probabilities(student: Tensor, target: Tensor, temperature: float = 4.0) -> Tensor:
    r"""KL divergence to given soft targets, for targets that are a mixture and no longer a softmax of logits.

    .. math:: \ell_b = T^2 \sum_c q[b,c] (\log q[b,c] - \log p^T_{s}[b,c]), \quad 0 \log 0 = 0

    Args:
        student: logits (B, C).
        target: probabilities (B, C) that were softened with the same temperature; rows sum to 1.
        temperature: T > 0.

    Returns:
        A scalar >= 0.

    Example:
        >>> student = torch.tensor([[0.0, 0.0]])
        >>> kd_to_probabilities(student, torch.tensor([[1.0, 0.0]]), temperature=1.0)  # log 2
        tensor(0.6931)
        >>> kd_to_probabilities(student, torch.tensor([[0.5, 0.5]]))
        tensor(0.)
    """
    log_s = F.log_softmax(student / temperature, dim=-1)
    return F.kl_div(log_s, target, reduction="batchmean") * temperature**2


def unit_deviation(logits: Tensor) -> Tensor:
    r"""Logits divided by their standard deviation in each sample, without centring, as code for wearables does.

    .. math:: z' = z / std_c(z), \quad std \text{ with } C - 1

    Args:
        logits: (..., C), C >= 2.

    Returns:
        (..., C); unchanged by positive scaling.

    Source: the code of Jeon et al. 2022 (TDA_KD), which adds no small number to the deviation; zeros stay zeros here.

    Example:
        >>> unit_deviation(torch.tensor([[0.0, 2.0], [0.0, 200.0]]))
        tensor([[0.0000, 1.4142],
                [0.0000, 1.4142]])
    """
    return logits / logits.std(-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)


def decoupled_kd(student: Tensor, teacher: Tensor, target: Tensor, temperature: float = 4.0) -> tuple[Tensor, Tensor]:
    r"""KD split into how sure both are of the true class, and how they spread the rest over the other classes.

    .. math::
        TCKD = T^2\,KL(b_t \| b_s),\ b = [p_y,\ 1 - p_y] \qquad
        NCKD = T^2\,KL(\hat p_t \| \hat p_s),\ \hat p = softmax_{c \ne y}(z / T)

    Args:
        student, teacher: logits (B, C).
        target: class numbers (B,).
        temperature: T > 0.

    Returns:
        Both parts, scalars >= 0; the second is 0 with two classes.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7.

    Example:
        >>> teacher, target = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])
        >>> sure, spread = decoupled_kd(torch.tensor([[2.0, 0.0, 1.0]]), teacher, target)
        >>> f"{sure.abs():.4f} {spread:.4f}"  # as sure of the true class, other about the rest
        '0.0000 0.4974'
    """
    truth = F.one_hot(target, student.shape[1]).bool()
    parts = []
    for logits in (student, teacher):
        log_p = F.log_softmax(logits / temperature, dim=1)
        rest = log_p[~truth].view(len(logits), -1)  # (B, C - 1)
        # logsumexp is log(1 - p_y) without the loss of digits that 1 - p_y would have.
        parts.append((log_p[truth], rest.logsumexp(1), F.log_softmax(rest, dim=1)))
    (own_s, other_s, rest_s), (own_t, other_t, rest_t) = parts
    binary = own_t.exp() * (own_t - own_s) + other_t.exp() * (other_t - other_s)  # (B,)
    spread = (rest_t.exp() * (rest_t - rest_s)).sum(1)  # (B,)
    return binary.mean() * temperature**2, spread.mean() * temperature**2


def standardised_kd(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    r"""KD on logits with mean 0 and deviation 1 in each sample, which leaves the student free to choose their scale.

    .. math:: z' = \frac{z - mean_c(z)}{std_c(z) + 10^{-7}}

    Args:
        student, teacher: logits (B, C).
        temperature: T > 0.

    Returns:
        A scalar >= 0, unchanged by shifting and positive scaling of either side.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024.

    Example:
        >>> teacher = torch.tensor([[2.0, 1.0, 0.0]])
        >>> bool(standardised_kd(10 * teacher - 3, teacher).abs() < 1e-6)  # shift and scale are free
        True
        >>> standardised_kd(-teacher, teacher)
        tensor(1.2806)
    """
    z_s, z_t = ((z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7) for z in (student, teacher))
    return kd(z_s, z_t, temperature)


def dist(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> tuple[Tensor, Tensor]:
    r"""One minus Pearson's correlation of the softened probabilities, over the classes and over the batch.

    .. math:: inter = T^2 \frac1B \sum_b (1 - \rho(p_s[b,:], p_t[b,:])),\quad
              intra = T^2 \frac1C \sum_c (1 - \rho(p_s[:,c], p_t[:,c]))

    Args:
        student, teacher: logits (B, C).
        temperature: T > 0.

    Returns:
        Both parts, scalars from 0 to 2 T².

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Example:
        >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> inter, intra = dist(-teacher, teacher, temperature=1.0)
        >>> f"{inter:.4f} {intra:.4f}"  # every correlation is -1
        '2.0000 2.0000'
    """
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    inter, intra = 1 - _pearson(p, q), 1 - _pearson(p.T, q.T)
    return inter.mean() * temperature**2, intra.mean() * temperature**2


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of the rows of two (n, m)."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)
