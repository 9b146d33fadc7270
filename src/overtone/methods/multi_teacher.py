"""One path for every method that distils the logits of K teachers; the methods differ in their fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from overtone.fusion import Fusion, logits_in, mean
from overtone.losses import kd, kd_per_sample, kd_to_probabilities
from overtone.methods.base import Method, MethodConfig
from overtone.types import Batch, DataInfo, Output, Progress, Spec

Average = Literal["loss", "prob", "logit"]
Reduction = Literal["batchmean", "mean"]


class SoftConfig(MethodConfig):
    """``temperature`` softens logits."""

    temperature: float = Field(default=4.0, gt=0, le=1e9)


class MultiTeacherConfig(SoftConfig):
    """Settings that every method with a KL divergence to fused teachers shares.

    Attributes:
        reduction: ``batchmean`` sums over the classes, as in most code; ``mean`` averages over them, which is C times
            smaller.
    """

    reduction: Reduction = "batchmean"


class MultiTeacherKD(Method):
    """KL divergence from the student to K teachers, weighted per sample by a fusion (term ``kl``).

    Subclasses set ``fusion`` and, where it is a setting, ``average``; ``scale`` where published code has another one.
    """

    fusion: Fusion
    average: Average = "loss"
    scale: float = 1.0

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, MultiTeacherConfig)
        self.temperature = config.temperature
        self.per_class = 1 / student.classes if config.reduction == "mean" else 1.0
        self.names = tuple(teachers)
        self.data = data
        self.terms = ("kl",)
        self.fusion = mean

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The term ``kl``."""
        teachers = {name: teachers[name] for name in self.names}
        logits = logits_in(teachers)  # (K, B, C)
        weights = self.fusion(student, teachers, batch, self.data)  # (K, B)
        return {"kl": self.scale * self.per_class * self.divergence(student.logits, logits, weights)}

    def divergence(self, student: Tensor, teachers: Tensor, weights: Tensor) -> Tensor:
        """Of logits (B, C) to (K, B, C) with weights (K, B), summed over the classes."""
        return average_kd(student, teachers, weights, self.temperature, self.average)


def average_kd(student: Tensor, teachers: Tensor, weights: Tensor, temperature: float, average: Average) -> Tensor:
    """KD to K weighted teachers, averaging their losses, their softened probabilities or their logits.

    The first two have equal gradients and differ by a constant; the third is another target (METHODS: You et al. 2017
    average the probabilities, most code the losses).

    Args:
        student: logits (B, C).
        teachers: logits (K, B, C).
        weights: (K, B), summing to 1 over K.
        temperature: T > 0.
        average: ``loss``, ``prob`` or ``logit``.

    Returns:
        A scalar.
    """
    if average == "loss":
        return (weights * kd_per_sample(student, teachers, temperature)).sum(0).mean()
    if average == "prob":
        mixture = (weights.unsqueeze(-1) * (teachers / temperature).softmax(-1)).sum(0)  # (B, C)
        return kd_to_probabilities(student, mixture, temperature)
    return kd(student, (weights.unsqueeze(-1) * teachers).sum(0), temperature)
