"""Relational distillation (Park et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from overtone.losses import relational_angle, relational_distance
from overtone.methods.per_teacher import PerTeacher


class RKD(PerTeacher):
    """Terms ``distance.TEACHER`` and ``angle.TEACHER`` on embeddings; modalities and widths may differ."""

    NAME: ClassVar[str] = "rkd"
    SOURCE: ClassVar[str] = "Park et al. 2019 (RKD)"
    SEES: ClassVar[str] = "embeddings"
    STUDENT: ClassVar[str] = "any student with an embedding"
    SUMMARY: ClassVar[str] = "distances and angles among the batch's embeddings match the teacher's"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "distance": 25.0, "angle": 50.0}
    TERMS: ClassVar[tuple[str, ...]] = ("distance", "angle")
    READS: ClassVar[str] = "embedding"
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 3  # over its mean, the one distance of two samples is always 1

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """See :mod:`overtone.losses.relations`."""
        return relational_distance(student, teacher), relational_angle(student, teacher)
