"""The reused teacher classifier (Chen et al. 2022): the student's last map becomes the teacher's, with whose head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.losses import to_grid
from overtone.methods.activation import check_positions
from overtone.methods.base import Method, MethodConfig
from overtone.models import Reheaded, ReheadedSettings, Staged
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class SimKDConfig(MethodConfig):
    """``reduction``: how many times narrower than the teacher's last map the projector is inside."""

    reduction: int = Field(default=2, ge=1, le=1024)


class SimKD(Method):
    """Term ``map``: the squared error between the student's projected last map and the teacher's.

    The student keeps the projector and the teacher's pool and classifier, which stay as they are.
    """

    NAME: ClassVar[str] = "simkd"
    SOURCE: ClassVar[str] = "Chen et al. 2022 (SimKD)"
    SEES: ClassVar[str] = "last maps"
    READS: ClassVar[str] = "maps"
    SUMMARY: ClassVar[str] = "the last map, behind a projector, is the teacher's, whose classifier the student keeps"
    STUDENT: ClassVar[str] = "a built-in student, which keeps the projector"
    TEACHERS: ClassVar[tuple[int, int | None]] = (1, 1)
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.0, "map": 1.0}
    Config: ClassVar[type[MethodConfig]] = SimKDConfig

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The last maps."""
        return Needs(frozenset({"final"}), dict.fromkeys(teachers, frozenset({"final"})))

    @classmethod
    def kept(
        cls,
        config: MethodConfig,
        student: nn.Module,
        spec: Spec,
        teachers: Mapping[str, nn.Module],
        specs: Mapping[str, Spec],
    ) -> nn.Module | None:
        """The student with a projector and the teacher's head.

        Raises:
            InputError: for models that are not built in, or see what cannot be compared.
        """
        assert isinstance(config, SimKDConfig)
        ((name, teacher),) = teachers.items()
        teacher_spec = specs[name]
        if spec.branches or teacher_spec.branches:
            raise InputError(
                "simkd: a student or teacher of two branches has no last map of its own; name one of one view"
            )
        for who, model, model_spec in (("the student", student, spec), (f"teacher {name!r}", teacher, teacher_spec)):
            if not isinstance(model, Staged) or not model_spec.has_head or "final" not in model_spec.stages:
                raise InputError(f"simkd: {who} must be a built-in model, whose last map and head are known")
        check_positions("simkd", name, teacher_spec, spec)
        final = teacher_spec.stages["final"]
        assert isinstance(teacher, Staged)
        settings = ReheadedSettings(
            channels=final.channels,
            middle=max(1, final.channels // config.reduction),
            size=final.size,
            pool="average" if teacher.attend is None else "attention",
        )
        try:
            reheaded = Reheaded(student, spec.classes, settings).take_head(teacher)
        except InputError as error:
            raise InputError(f"simkd: the student or teacher {name!r} cannot be used: {error}") from error
        return reheaded.to(next(student.parameters()))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        (self.teacher,) = teachers
        self.terms = ("map",)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The term ``map``."""
        projected = student.stages["final"]  # (B, c, ...), behind the projector
        return {"map": F.mse_loss(projected, to_grid(teachers[self.teacher].stages["final"], projected.shape[2:]))}
