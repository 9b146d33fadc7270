"""Losses on logits: Hinton's temperature-softened KL divergence, in three forms that share one scale.

Reduction everywhere: sum over classes, mean over the batch ("batchmean"). Some published code uses the mean over
both, which is C times smaller; weights tuned there do not carry over.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kd_per_sample(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    r"""KL divergence from the softened student to the softened teacher, one value a sample.

    .. math:: \ell_b = T^2 \sum_c p^T_{t}[b,c] (\log p^T_{t}[b,c] - \log p^T_{s}[b,c]),\quad p^T = softmax(z/T)

    Args:
        student: logits (..., B, C); leading axes broadcast against the teacher's.
        teacher: logits (..., B, C), for instance (K, B, C) for K teachers.
        temperature: T > 0; 4 in most of the literature.

    Returns:
        (..., B), each >= 0, and 0 where both distributions agree.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
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
    """
    log_s = F.log_softmax(student / temperature, dim=-1)
    return F.kl_div(log_s, target, reduction="batchmean") * temperature**2
