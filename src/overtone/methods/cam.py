"""Class activation maps: the student looks where the teacher looks (the notes' CAMKD; CAT-KD with all classes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from overtone.class_maps import class_maps
from overtone.errors import InputError
from overtone.losses import class_map_distance, kd
from overtone.methods.activation import Time, check_map, onto
from overtone.methods.base import Method, MethodConfig
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class CAMConfig(MethodConfig):
    """Settings of ``cam``.

    Attributes:
        branch: whose maps are compared, of a two-branch student: ``image`` unless given.
        classes: the true class' map, or all classes' (CAT-KD).
        size: positions per axis after pooling; the smaller of both maps unless given.
        normalise: each class' map is scaled to length 1, so that only its form counts.
        time: how an image of two moments (a Gramian field) gives a map over time, for a signal student.
        temperature: of the term ``kd``.
    """

    branch: Literal["signal", "image"] | None = None  # type: ignore[assignment]
    classes: Literal["target", "all"] = "target"
    size: int | None = Field(default=None, ge=1, le=2048)
    normalise: bool = False
    time: Time = "mean"
    temperature: float = Field(default=4.0, gt=0, le=1e9)


class CAM(Method):
    """Terms ``kd.TEACHER`` at the (fused) logits and ``map.TEACHER`` on class activation maps."""

    NAME: ClassVar[str] = "cam"
    SOURCE: ClassVar[str] = "Zhou et al. 2016 for the maps; Guo et al. 2023 (CAT-KD) with classes: all"
    STUDENT: ClassVar[str] = "any student with an average in front of its classifier"
    SEES: ClassVar[str] = "class activation maps and logits"
    READS: ClassVar[str] = "class maps"
    one_kind: ClassVar[bool] = True  # or images that end in time
    SUMMARY: ClassVar[str] = "the student's class activation map is the teacher's, besides kd"
    BRANCH: ClassVar[str | None] = None  # kd is at the whole student's logits
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kd": 1.0, "map": 1.0}
    Config: ClassVar[type[MethodConfig]] = CAMConfig

    @classmethod
    def needs_classes(cls, config: MethodConfig) -> bool:
        """Where the true class' map is compared."""
        assert isinstance(config, CAMConfig)
        return config.classes == "target"

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The last maps, and the attention that weighs their positions."""
        read = frozenset({"logits", "final", "head", "attention"})
        return Needs(read, dict.fromkeys(teachers, read))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, CAMConfig)
        self.config = config
        self.part: str | None = (config.branch or "image") if student.branches else None
        if config.branch and not student.branches:
            raise InputError(f"cam: branch {config.branch!r}: the student has no branches; a two_branch model has")
        looking = student.branches[self.part] if self.part else student
        check_map("cam", looking, "the student")
        for name, teacher in teachers.items():
            check_map("cam", teacher, f"teacher {name!r}")
        self.onto = {name: onto("cam", name, teacher, looking, config.time) for name, teacher in teachers.items()}
        self.terms = tuple(f"{part}.{name}" for name in teachers for part in ("kd", "map"))

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """Both terms of each teacher."""
        student_maps, _ = class_maps(student.branches[self.part] if self.part else student)
        target = batch.target if self.config.classes == "target" else None
        terms = {}
        for name, teacher in teachers.items():
            teacher_maps = self.onto[name](class_maps(teacher)[0].detach())
            terms[f"kd.{name}"] = kd(student.logits, teacher.logits, self.config.temperature)
            terms[f"map.{name}"] = class_map_distance(
                student_maps, teacher_maps, target, self.config.size, self.config.normalise
            )
        return terms
