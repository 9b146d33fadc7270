"""Matching a hidden vector: the simplest transfer of features between modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.methods.base import MethodConfig
from overtone.methods.per_teacher import PerTeacher
from overtone.types import DataInfo, Spec


class Hidden(PerTeacher):
    """Term ``vector.TEACHER``: mean squared error of embeddings, behind a linear map where their widths differ."""

    NAME: ClassVar[str] = "hidden"
    SOURCE: ClassVar[str] = "Romero et al. 2015, at the embedding"
    SEES: ClassVar[str] = "embeddings"
    STUDENT: ClassVar[str] = "any student with an embedding"
    SUMMARY: ClassVar[str] = "the student's embedding is the teacher's, up to a linear map where widths differ"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "vector": 1.0}
    BRANCH: ClassVar[str | None] = "signal"  # as the notes on wearables have it
    TERMS: ClassVar[tuple[str, ...]] = ("vector",)
    READS: ClassVar[str] = "embedding"

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        width = student.embedding
        assert width is not None
        self.project = nn.ModuleDict(
            {n: nn.Linear(width, t.embedding) for n, t in teachers.items() if t.embedding not in (None, width)}
        )

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """The mean squared error."""
        return (F.mse_loss(self.project[name](student) if name in self.project else student, teacher),)
