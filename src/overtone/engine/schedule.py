"""Seeds, the order of samples and the learning rate as pure functions, so that a resumed run repeats itself."""

from __future__ import annotations

import hashlib
import math
import random

import numpy as np
import torch
from torch import Tensor

from overtone.recipe import TrainSettings


def mix(*parts: int | str) -> int:
    """A 63-bit seed from several parts; unlike a sum, (1, 2) and (2, 1) differ."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def reseed(*parts: int | str) -> None:
    """Set every generator from the given parts."""
    seed = mix(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (users' own code may draw from the global generator)
    torch.manual_seed(seed)


def steps_in(samples: int, train: TrainSettings) -> int:
    """Steps of an epoch."""
    return -(-samples // train.batch) if train.last_batch == "keep" else samples // train.batch


def epoch_order(index: Tensor, batch: int, seed: int, epoch: int, keep: bool = False) -> tuple[Tensor, ...]:
    """The epoch's batches: a permutation of the sample numbers in pieces of (batch,).

    The last incomplete batch is left out unless it is to be kept: its samples differ from epoch to epoch, and losses
    that couple a batch see batches of one size without it.
    """
    generator = torch.Generator().manual_seed(mix(seed, epoch, "order"))
    order = index[torch.randperm(len(index), generator=generator)]
    whole = len(index) // batch * batch
    return order[: None if keep else whole].split(batch) if keep or whole else ()


def epochs_of(train: TrainSettings, samples: int, epochs: int) -> int:
    """Epochs of a training; the last of those that ``steps`` take may be incomplete."""
    return epochs if train.steps is None else -(-train.steps // max(1, steps_in(samples, train)))


def learning_rate(train: TrainSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step, counted from 0 over all epochs."""
    total = steps_per_epoch * epochs if train.steps is None else train.steps

    def in_steps(point: int | float) -> float:
        if train.steps is not None:
            return point * train.steps if isinstance(point, float) else point
        return (point * epochs if isinstance(point, float) else point) * steps_per_epoch

    warmup = in_steps(train.warmup)
    if step < warmup:
        return train.lr * min((step + 1) / warmup, 1.0)
    if train.schedule == "cosine":
        return train.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    if train.schedule == "step":
        return train.lr * train.gamma ** sum(step >= in_steps(point) for point in train.milestones)
    return train.lr
