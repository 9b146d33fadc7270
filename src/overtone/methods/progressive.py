"""Progressive transfer between modalities, in phases: each branch from the other modality's teacher, then the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.methods.base import Method, MethodConfig
from overtone.recipe import PhaseSettings, WeightSettings
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec

FIRST, SECOND = 0.2, 0.4
"""Where the first and the second phase end, as shares of all epochs."""


class Progressive(Method):
    """Terms ``image.TEACHER``, ``signal.TEACHER``, ``shared.TEACHER``: squared errors of embeddings behind linear maps.

    First the image branch learns the signal teachers' embeddings, then the signal branch the image teachers', then the
    fused embedding all of them while cross-entropy trains the whole student. What is off in a phase is off by its
    weight and by the phase's ``trainable``; both can be set in the recipe.
    """

    NAME: ClassVar[str] = "progressive"
    SOURCE: ClassVar[str] = "ours, after the wearables notes; staged as Ni et al. 2022"
    SEES: ClassVar[str] = "embeddings"
    READS: ClassVar[str] = "embedding"
    zero_when_equal: ClassVar[bool] = False
    two_branches: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = "in phases: signal teacher to image branch, image teacher to signal branch, then the task"
    BRANCH: ClassVar[str | None] = None
    STUDENT: ClassVar[str] = "a student of two branches"
    TEACHERS: ClassVar[tuple[int, int | None]] = (2, None)
    WEIGHTS: ClassVar[Mapping[str, float | WeightSettings]] = {
        "ce": WeightSettings(**{"value": 1, "from": SECOND}),
        "image": WeightSettings(value=1, until=FIRST),
        "signal": WeightSettings(**{"value": 1, "from": FIRST, "until": SECOND}),
        "shared": WeightSettings(**{"value": 1, "from": SECOND}),
    }
    PHASES: ClassVar[tuple[PhaseSettings, ...]] = (
        PhaseSettings(name="signal teacher to image branch", until=FIRST, trainable=["image.*"]),
        PhaseSettings(name="image teacher to signal branch", until=SECOND, trainable=["signal.*"]),
        PhaseSettings(name="shared representation and task"),
    )

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """Embeddings."""
        return Needs(frozenset({"embedding"}), dict.fromkeys(teachers, frozenset({"embedding"})))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        if config.branch is not None:
            raise InputError("progressive uses both branches of the student; leave branch out")
        if set(student.branches) != {"signal", "image"}:
            raise InputError("progressive: the student needs a signal and an image branch; use a two_branch model")
        for name, teacher in teachers.items():
            if teacher.branches:
                raise InputError(f"progressive: teacher {name!r} has two branches; name teachers that see one view")
        if {teacher.dims for teacher in teachers.values()} != {1, 2}:
            raise InputError(
                f"progressive: a signal teacher and an image teacher are needed, got {', '.join(teachers)}"
            )
        self.maps = nn.ModuleDict()
        for name, teacher in teachers.items():
            if teacher.embedding is None:
                raise InputError(
                    f"progressive: teacher {name!r} has no embedding (a vector in front of a linear classifier)"
                )
            other = "image" if teacher.dims == 1 else "signal"
            for part, spec in ((other, student.branches[other]), ("shared", student)):
                assert spec.embedding is not None
                self.maps[f"{part}:{name}"] = nn.Linear(spec.embedding, teacher.embedding)
        self.terms = tuple(key.replace(":", ".", 1) for key in self.maps)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """Every term; weights decide which of them count."""
        terms = {}
        for key, project in self.maps.items():
            part, name = key.split(":", 1)
            student_embedding = student.embedding if part == "shared" else student.branches[part].embedding
            teacher_embedding = teachers[name].embedding
            assert teacher_embedding is not None
            terms[f"{part}.{name}"] = F.mse_loss(project(student_embedding), teacher_embedding)
        return terms
