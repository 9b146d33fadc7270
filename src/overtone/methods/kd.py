"""Knowledge distillation from one teacher's logits (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD


class KD(MultiTeacherKD):
    """The K-teacher path with K = 1, bit for bit."""

    NAME: ClassVar[str] = "kd"
    SOURCE: ClassVar[str] = "Hinton et al. 2015"
    SUMMARY: ClassVar[str] = "the student matches one teacher's softened class probabilities"
    TEACHERS: ClassVar[tuple[int, int | None]] = (1, 1)
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.1, "kl": 0.9}  # RepDistiller, mdistiller
    Config: ClassVar[type[MethodConfig]] = MultiTeacherConfig
