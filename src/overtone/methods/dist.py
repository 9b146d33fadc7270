"""Correlation instead of divergence (Huang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from overtone.losses import dist
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import SoftConfig
from overtone.methods.per_teacher import PerTeacher
from overtone.types import DataInfo, Spec


class Dist(PerTeacher):
    """Terms ``inter.TEACHER`` (over the classes of a sample) and ``intra.TEACHER`` (over the samples of a class)."""

    NAME: ClassVar[str] = "dist"
    SOURCE: ClassVar[str] = "Huang et al. 2022 (DIST)"
    SUMMARY: ClassVar[str] = "probabilities correlate with the teacher's, over classes and over the batch"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "inter": 2.0, "intra": 2.0}
    TERMS: ClassVar[tuple[str, ...]] = ("inter", "intra")
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 3  # two values correlate fully or not at all, without a gradient
    Config: ClassVar[type[MethodConfig]] = SoftConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, SoftConfig)
        self.temperature = config.temperature

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """See :func:`overtone.losses.dist`."""
        return dist(student, teacher, self.temperature)
