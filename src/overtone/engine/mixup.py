"""Mixup of a batch's samples in training, a pure function of (seed, epoch, step) so that a resumed run repeats it.

Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018; one proportion
per batch and partners within it, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overtone.engine.schedule import mix


@dataclass(frozen=True)
class Mixup:
    """What the samples of a batch are mixed with.

    Attributes:
        partner: numbers of the other samples, (B,).
        proportion: of each sample itself, from 0 to 1; the partner has the rest.
    """

    partner: Tensor
    proportion: float

    def __call__(self, samples: Tensor, partners: Tensor) -> Tensor:
        """The samples and their partners, (B, ...) each, mixed."""
        return self.proportion * samples + (1 - self.proportion) * partners


def draw(numbers: Tensor, alpha: float, seed: int, epoch: int, step: int) -> Mixup:
    """How a step's batch is mixed.

    Args:
        numbers: of all samples of the batch, (B,).
        alpha: of the Beta distribution that the proportion is drawn from.
        seed, epoch, step: the cell's, counted from 1, counted from 0 within the epoch.
    """
    generator = np.random.default_rng(mix(seed, epoch, step, "mixup"))
    proportion = float(generator.beta(alpha, alpha))
    return Mixup(numbers[torch.from_numpy(generator.permutation(len(numbers)))], proportion)


def mixups(
    order: Sequence[Tensor], alpha: float, seed: int, epoch: int, first: int, mine: Callable[[Tensor], Tensor]
) -> list[Mixup] | None:
    """How an epoch's batches are mixed from a step on; None where alpha is 0.

    Drawn for whole batches, of which a process takes what is ``mine``: how many there are changes nothing.
    """
    if not alpha:
        return None
    drawn = (draw(numbers, alpha, seed, epoch, step) for step, numbers in enumerate(order) if step >= first)
    return [Mixup(mine(each.partner), each.proportion) for each in drawn]
