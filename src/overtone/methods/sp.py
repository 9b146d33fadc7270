"""Similarity preserving: the student's batch Gram matrix matches the teachers' (Tung and Mori 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from overtone.errors import InputError
from overtone.fusion import teacher_weights_of
from overtone.losses import similarity_preserving, similarity_preserving_merged
from overtone.methods.base import Method, MethodConfig, pair_stages
from overtone.methods.points import PointsConfig, published_point, read_at
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class SPConfig(PointsConfig):
    """Settings of ``sp``.

    Attributes:
        stages: ``last`` as in the paper, or ``all`` (the mean over the stages) as in the wearables literature.
        pairs: student stage -> teacher stage, where depth does not pair them; all of them count.
        teachers: ``each`` gives one term per teacher, ``merged`` one term against the sum of their Gram matrices.
        teacher_weights: weights of that sum, by teacher.
    """

    stages: Literal["last", "all"] = "last"
    pairs: dict[str, str] | None = None
    teachers: Literal["each", "merged"] = "each"
    teacher_weights: dict[str, float] | None = None


class SP(Method):
    """Terms ``gram.TEACHER`` (each) or ``gram`` (merged); modalities and widths may differ."""

    NAME: ClassVar[str] = "sp"
    VERSION: ClassVar[int] = 3
    SOURCE: ClassVar[str] = "Tung & Mori 2019; merged: Jeon et al. 2024"
    STUDENT: ClassVar[str] = "any student with stages"
    SEES: ClassVar[str] = "maps of any kind"
    READS: ClassVar[str] = "maps"
    SUMMARY: ClassVar[str] = "samples that are alike to the teachers are alike to the student"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "gram": 3000.0}
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    Config: ClassVar[type[MethodConfig]] = SPConfig

    @classmethod
    def _pairs(cls, config: SPConfig, student: Spec, teachers: Mapping[str, Spec]) -> dict[str, list[tuple[str, str]]]:
        deepest = config.stages == "last" and config.pairs is None
        by_teacher = {
            name: pair_stages(student, spec, _deepest(student, spec) if deepest else config.pairs, name)
            for name, spec in teachers.items()
        }
        images = student.dims == 2

        def student_stage(stage: str) -> str:
            return read_at(student, stage, config.student_at, published_point(student, stage, images), "student")

        def teacher_stage(spec: Spec, stage: str) -> str:
            return read_at(spec, stage, config.teacher_at, published_point(spec, stage, images), "teacher")

        return {
            name: [(student_stage(s), teacher_stage(teachers[name], t)) for s, t in pairs]
            for name, pairs in by_teacher.items()
        }

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The paired stages."""
        assert isinstance(config, SPConfig)
        pairs = cls._pairs(config, student, teachers)
        stages = frozenset(s for paired in pairs.values() for s, _ in paired)
        return Needs(stages, {name: frozenset(t for _, t in paired) for name, paired in pairs.items()})

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, SPConfig)
        self.pairs = self._pairs(config, student, teachers)
        self.merged = config.teachers == "merged"
        if config.teacher_weights is not None and not self.merged:
            raise InputError(
                "sp: teacher_weights are for teachers: merged; give each teacher's weight as weights.sp.gram.NAME"
            )
        self.teacher_weights = teacher_weights_of(config.teacher_weights, list(teachers))
        self.terms = ("gram",) if self.merged else tuple(f"gram.{name}" for name in teachers)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The mean over the paired stages."""
        if self.merged:
            levels = zip(*self.pairs.values(), strict=True)
            losses = [
                similarity_preserving_merged(
                    student.stages[level[0][0]],
                    [teachers[name].stages[t] for name, (_, t) in zip(self.pairs, level, strict=True)],
                    self.teacher_weights,
                )
                for level in levels
            ]
            return {"gram": torch.stack(losses).mean()}
        return {
            f"gram.{name}": torch.stack(
                [similarity_preserving(student.stages[s], teachers[name].stages[t]) for s, t in paired]
            ).mean()
            for name, paired in self.pairs.items()
        }


def _deepest(student: Spec, teacher: Spec) -> dict[str, str] | None:
    """The deepest stages of both, however many there are; None where one has none."""
    student_stages, teacher_stages = student.depth_stages(), teacher.depth_stages()
    return {student_stages[-1]: teacher_stages[-1]} if student_stages and teacher_stages else None
