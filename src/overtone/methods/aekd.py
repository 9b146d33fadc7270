"""Adaptive ensemble distillation in gradient space (Du et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from overtone.fusion import GradientSpace
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec


class AEKDConfig(MultiTeacherConfig):
    """Settings of ``aekd``.

    Attributes:
        tolerance: the largest weight of a teacher; raised to 1 / K where that is more.
        published: the published code's solver, a support vector machine that often stops where it starts.
    """

    tolerance: float = Field(default=0.6, gt=0, le=1)
    published: bool = False


class AEKD(MultiTeacherKD):
    """The teachers' weights, one set per batch, for which their gradients at the student's logits agree best."""

    NAME: ClassVar[str] = "aekd"
    VERSION: ClassVar[int] = 3
    SOURCE: ClassVar[str] = "Du et al. 2020 (AE-KD)"
    SUMMARY: ClassVar[str] = "teachers weigh so that their gradients at the student's logits agree best"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.1, "kl": 0.9}
    couples_batch: ClassVar[bool] = True
    Config: ClassVar[type[MethodConfig]] = AEKDConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, AEKDConfig)
        self.fusion = GradientSpace(config.temperature, config.tolerance, config.published)
