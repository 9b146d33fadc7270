"""Contrastive losses against a memory of all training samples."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-7


def noise_contrast(scores: Tensor, samples: int) -> Tensor:
    r"""Noise-contrastive estimation: the first score is of the true pair, the others of K pairs drawn at random.

    .. math:: L = -\frac1B \sum_b \Big[\log\frac{s_{b0}}{s_{b0} + K/N + \epsilon}
              + \sum_{j \ge 1} \log\frac{K/N}{s_{bj} + K/N + \epsilon}\Big]

    Args:
        scores: (B, K + 1), above 0, normalised so that they average about 1 / N.
        samples: N, how many there are to draw from.

    Returns:
        A scalar >= 0.

    Source: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, eq. 18, and its code.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1, 0.1]])  # the true pair, and two that were drawn from 10
        >>> noise_contrast(scores, samples=10)
        tensor(1.0116)
        >>> noise_contrast(scores.flip(1), samples=10)  # the true pair scores low
        tensor(3.2088)
    """
    noise = (scores.shape[1] - 1) / samples
    positive, negative = scores[:, 0], scores[:, 1:]
    true = (positive / (positive + noise + EPS)).log()
    drawn = torch.log(noise / (negative + noise + EPS)).sum(1)
    return -(true + drawn).mean()
