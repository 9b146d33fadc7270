"""AVER: every teacher counts the same (You et al. 2017, without its triplet part)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import Average, MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec


class AverConfig(MultiTeacherConfig):
    """``average``: what is averaged, the teachers' losses, probabilities or logits."""

    average: Average = "loss"


class Aver(MultiTeacherKD):
    """The mean over teachers, of losses, probabilities or logits."""

    NAME: ClassVar[str] = "aver"
    SOURCE: ClassVar[str] = "You et al. 2017"
    SUMMARY: ClassVar[str] = "the student matches the plain average of several teachers"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0}  # the CA-MKD repository
    Config: ClassVar[type[MethodConfig]] = AverConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, AverConfig)
        self.average = config.average
