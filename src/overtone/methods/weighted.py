"""Fixed-weight multi-teacher distillation, the wearables literature's base recipe (Jeon et al. 2022-2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import model_validator
from torch import Tensor

from overtone.fusion import Fixed, teacher_weights_of
from overtone.losses import unit_deviation
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD, Reduction, average_kd
from overtone.types import DataInfo, Spec


class WeightedConfig(MultiTeacherConfig):
    """Settings of ``weighted``.

    Attributes:
        teacher_weights: how much each teacher counts, by name; scaled to sum to 1. Without it, all count the same.
        published: train as the published code for wearables does: the student's and the teachers' logits are divided by
            their deviation in each sample, cross-entropy sees the student's so, the divergence takes twice these, T
            leaves its square only, and the weights are those for PAMAP2.
    """

    reduction: Reduction = "mean"  # to which the weights belong
    teacher_weights: dict[str, float] | None = None
    published: bool = False

    @model_validator(mode="after")
    def _whole(self) -> WeightedConfig:
        if self.published and self.reduction != "mean":
            raise ValueError(f"published: true has reduction: mean; got {self.reduction}")
        return self


class Weighted(MultiTeacherKD):
    """The teacher_weights-weighted sum over teachers of their KD losses."""

    NAME: ClassVar[str] = "weighted"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Jeon et al. 2024 (TPKD), base form"
    SUMMARY: ClassVar[str] = "the student matches several teachers with teacher_weights set by hand"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.3, "kl": 0.7}  # lambda = 0.7, GENEActiv
    PUBLISHED: ClassVar[Mapping[str, float]] = {"ce": 0.01, "kl": 0.99}  # in the code, PAMAP2
    SHARPENED: ClassVar[float] = 2.0
    Config: ClassVar[type[MethodConfig]] = WeightedConfig

    @classmethod
    def default_weights(cls, config: MethodConfig) -> Mapping[str, float]:
        """Those of the published code where it is followed."""
        assert isinstance(config, WeightedConfig)
        return cls.PUBLISHED if config.published else cls.WEIGHTS

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, WeightedConfig)
        self.fusion = Fixed(teacher_weights_of(config.teacher_weights, self.names))
        self.published = config.published

    def judged(self, logits: Tensor) -> Tensor:
        """Over their deviation, as published, or as they are."""
        return unit_deviation(logits) if self.published else logits

    def divergence(self, student: Tensor, teachers: Tensor, weights: Tensor) -> Tensor:
        """As published: of sharpened logits at T = 1, times the T² of the temperature that it does not use."""
        if not self.published:
            return super().divergence(student, teachers, weights)
        z_s, z_t = (self.SHARPENED * unit_deviation(z) for z in (student, teachers))
        return self.temperature**2 * average_kd(z_s, z_t, weights, 1.0, self.average)
