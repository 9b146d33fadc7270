"""Hints (Romero et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from overtone.frequency import resize
from overtone.frequency.layers import CONV, NORM
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Level, LevelMethod, LevelsConfig
from overtone.methods.points import has_point
from overtone.types import Spec

TRANSPOSED: dict[int, type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
}


class FitNetConfig(LevelsConfig):
    """``published``: the regressor ends in a ReLU wherever the teacher's map is read, as in the public code; else only
    where it is read behind its activation, since a ReLU cannot reach negative values.
    """

    published: bool = False


class FitNet(LevelMethod):
    """Term ``map.TEACHER``: the student's second stage, behind a convolution, is the teacher's."""

    NAME: ClassVar[str] = "fitnet"
    VERSION: ClassVar[int] = 4
    SOURCE: ClassVar[str] = "Romero et al. 2015 (FitNets), in one stage"
    zero_when_equal: ClassVar[bool] = False
    SUMMARY: ClassVar[str] = "the second stage, behind a learned convolution, is the teacher's (a hint)"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "map": 100.0}
    EMBEDDING: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = FitNetConfig

    @classmethod
    def find(cls, config: LevelsConfig, student: Spec, teacher: Spec, name: str) -> list[Level]:
        """The second, the hint of the published code, unless ``stages`` or ``pairs`` name others."""
        levels = super().find(config, student, teacher, name)
        return levels if config.stages is not None or config.pairs is not None else [levels[min(1, len(levels) - 1)]]

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; nothing is handed on."""
        assert isinstance(config, FitNetConfig)
        return nn.ModuleList(_Regressor(level, config.published or not has_point(level.teacher)) for level in levels)


class _Regressor(nn.Module):
    """A convolution to the teacher's channels and size, batch normalisation and, where asked for, ReLU."""

    def __init__(self, level: Level, relu: bool) -> None:
        super().__init__()
        inputs, *have = level.student_shape
        outputs, *want = level.teacher_shape
        dims = len(want)
        self.convolution: nn.Module
        if all(h == 2 * w for h, w in zip(have, want, strict=True)):
            self.convolution = CONV[dims](inputs, outputs, 3, stride=2, padding=1)
        elif all(2 * h == w for h, w in zip(have, want, strict=True)):
            self.convolution = TRANSPOSED[dims](inputs, outputs, 4, stride=2, padding=1)
        else:
            self.convolution = CONV[dims](inputs, outputs, 1)
        self.norm = NORM[dims](outputs)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor, deeper: None, size: tuple[int, ...]) -> tuple[Tensor, None]:
        return self.relu(self.norm(resize(self.convolution(x), size))), None
