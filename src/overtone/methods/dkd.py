"""Decoupled distillation (Zhao et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from overtone.losses import decoupled_kd
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import SoftConfig
from overtone.methods.per_teacher import PerTeacher
from overtone.types import DataInfo, Spec


class DKD(PerTeacher):
    """Terms ``target.TEACHER`` (how sure of the true class) and ``rest.TEACHER`` (how the rest is spread)."""

    NAME: ClassVar[str] = "dkd"
    SOURCE: ClassVar[str] = "Zhao et al. 2022 (DKD)"
    SUMMARY: ClassVar[str] = "KD split into true class and rest, with weights of their own"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "target": 1.0, "rest": 8.0}
    hard_labels: ClassVar[bool] = True
    TERMS: ClassVar[tuple[str, ...]] = ("target", "rest")
    Config: ClassVar[type[MethodConfig]] = SoftConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, SoftConfig)
        self.temperature = config.temperature

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """See :func:`overtone.losses.decoupled_kd`."""
        return decoupled_kd(student, teacher, target, self.temperature)
