"""Fusion: how much each of K teachers counts, per sample. Weights sum to 1 over the teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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
