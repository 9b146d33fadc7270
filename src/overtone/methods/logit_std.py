"""Distillation of standardised logits (Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from overtone.losses import standardised_kd
from overtone.methods.base import MethodConfig
from overtone.methods.per_teacher import PerTeacher
from overtone.types import DataInfo, Spec


class LogitStdConfig(MethodConfig):
    """``temperature`` divides standardised logits, so it is smaller than elsewhere."""

    temperature: float = Field(default=2.0, gt=0, le=1e9)


class LogitStd(PerTeacher):
    """Term ``kl.TEACHER``: KD on logits of mean 0 and deviation 1."""

    NAME: ClassVar[str] = "logit_std"
    SOURCE: ClassVar[str] = "Sun et al. 2024"
    SUMMARY: ClassVar[str] = "kd on standardised logits, which leaves the student their scale"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.1, "kl": 9.0}  # the official code, CIFAR-100
    TERMS: ClassVar[tuple[str, ...]] = ("kl",)
    Config: ClassVar[type[MethodConfig]] = LogitStdConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, LogitStdConfig)
        self.temperature = config.temperature

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """See :func:`overtone.losses.standardised_kd`."""
        return (standardised_kd(student, teacher, self.temperature),)
