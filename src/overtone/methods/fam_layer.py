"""Frequency attention distillation, layer to layer (Pham et al. 2024, the form without published code)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from overtone.errors import InputError
from overtone.frequency import lift, resize
from overtone.frequency.lift import Lift
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Level, LevelsConfig
from overtone.methods.frequency import FrequencyConfig, FrequencyMethod, Head, check_filters, make_local_attention
from overtone.types import DataInfo, Spec


class FamLayerConfig(FrequencyConfig):
    """``lift``: how a signal student's map becomes an image where the teacher sees images.

    Unlike the review form's published code, heads do not end in a ReLU.
    """

    final_relu: bool = False
    lift: Lift = "outer"


class FamLayer(FrequencyMethod):
    """Term ``map.TEACHER``: at every stage, D(teacher's map, FAM(local attention(student's map))), summed."""

    NAME: ClassVar[str] = "fam_layer"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Pham et al. 2024 (FAM-KD), layer to layer"
    SEES: ClassVar[str] = "maps; an image teacher's too for a signal student"
    one_kind: ClassVar[bool] = False
    SUMMARY: ClassVar[str] = "each stage, seen through frequency attention, matches the teacher's stage"
    Config: ClassVar[type[MethodConfig]] = FamLayerConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, FamLayerConfig)
        if "lift" in config.model_fields_set and all(student.dims == spec.dims for spec in teachers.values()):
            raise InputError(
                f"fam_layer: lift: {config.lift} makes a signal's map an image's, but the student sees what "
                f"{'its teacher sees' if len(teachers) == 1 else 'its teachers see'}; leave lift out"
            )

    def check(self, name: str, student: Spec, teacher: Spec) -> None:
        """Refuse an image student beside a signal teacher."""
        if student.dims > teacher.dims:
            raise InputError(
                f"fam_layer: the student sees images, teacher {name!r} signals; a signal's map can be lifted to an "
                "image's, but there is no rule for the other way"
            )

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; nothing is handed on."""
        assert isinstance(config, FamLayerConfig)
        check_filters(config, levels)
        return nn.ModuleList(_LayerAdapter(config, level) for level in levels)


class _LayerAdapter(nn.Module):
    """Student's map -> the form of the teacher's."""

    def __init__(self, config: FamLayerConfig, level: Level) -> None:
        super().__init__()
        channels, *size = level.student_shape
        attends = config.attention and max(size) > 1
        self.local_attention = make_local_attention(channels, len(size), level.student) if attends else nn.Identity()
        self.head = Head(config, channels, level)
        self.lift = config.lift

    def forward(self, x: Tensor, deeper: None, size: tuple[int, ...]) -> tuple[Tensor, None]:
        x = self.local_attention(x)
        if x.dim() - 2 < len(size):
            # A vector has no time to lift.
            x = x.unsqueeze(3) if x.shape[2] == 1 else lift(x, self.lift, (size[0], size[1]))
        return self.head(resize(x, size)), None
