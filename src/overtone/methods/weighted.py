"""Fixed-weight multi-teacher distillation, the wearables literature's base recipe (Jeon et al. 2022-2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from overtone.fusion import Fixed, shares_of
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec


class WeightedConfig(MultiTeacherConfig):
    """``shares``: how much each teacher counts, by name; scaled to sum to 1. Without it, all count the same."""

    shares: dict[str, float] | None = None


class Weighted(MultiTeacherKD):
    """The shares-weighted sum over teachers of their KD losses."""

    NAME: ClassVar[str] = "weighted"
    SOURCE: ClassVar[str] = "Jeon et al. 2024 (TPKD), base form"
    SUMMARY: ClassVar[str] = "the student matches several teachers with shares set by hand"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.3, "kl": 0.7}  # lambda = 0.7, GENEActiv
    Config: ClassVar[type[MethodConfig]] = WeightedConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, WeightedConfig)
        self.fusion = Fixed(shares_of(config.shares, self.names))
