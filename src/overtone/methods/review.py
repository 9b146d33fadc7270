"""ReviewKD: stages fused from deep to shallow match the teacher's (Chen et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.frequency.layers import CONV, NORM
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Distance, DistanceConfig, Level, LevelMethod, LevelsConfig
from overtone.methods.points import Point

WIDEST = 512


class ReviewConfig(DistanceConfig):
    """``distance``: ``hcl`` as published, ``mse`` or ``spectrum``."""

    distance: Distance = "hcl"


class Review(LevelMethod):
    """Term ``map.TEACHER``: the hierarchical context loss of all levels behind attention-based fusion.

    The student's feature maps meet the teacher's in front of their last activation, as in the published code.
    """

    NAME: ClassVar[str] = "review"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Chen et al. 2021 (ReviewKD)"
    zero_when_equal: ClassVar[bool] = False
    SUMMARY: ClassVar[str] = "stages are fused deep to shallow by learned gates and match the teacher's"
    TEACHER_AT: ClassVar[Point | None] = "before"
    Config: ClassVar[type[MethodConfig]] = ReviewConfig

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; what is handed on is the fused map, of one width at all levels."""
        width = min(WIDEST, levels[0].student_shape[0])
        return nn.ModuleList(
            AttentionFusion(
                level.student_shape[0], width, level.teacher_shape[0], len(level.teacher_shape) - 1, number > 0
            )
            for number, level in enumerate(levels)
        )


class AttentionFusion(nn.Module):
    """Attention-based fusion: a level's map and the deeper residual, weighed at every position by two learned gates.

    Args:
        inputs: channels of the student's map.
        width: inner channels, those of the residual too.
        outputs: channels of the teacher's map.
        dims: 1 for signals' maps, 2 for images'.
        fuse: False at the deepest level, which has no residual.

    Source: Chen et al. 2021, figure 3 (ABF).
    """

    def __init__(self, inputs: int, width: int, outputs: int, dims: int, fuse: bool) -> None:
        super().__init__()
        conv, norm = CONV[dims], NORM[dims]
        self.enter = nn.Sequential(conv(inputs, width, 1, bias=False), norm(width))
        self.leave = nn.Sequential(conv(width, outputs, 3, padding=1, bias=False), norm(outputs))
        self.gates = nn.Sequential(conv(2 * width, 2, 1), nn.Sigmoid()) if fuse else None
        for part in (self.enter, self.leave):
            nn.init.kaiming_uniform_(part[0].weight, a=1)  # type: ignore[arg-type]

    def forward(self, x: Tensor, residual: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(B, inputs, ...), (B, width, ...) -> (B, outputs, *size) and the residual for the next level."""
        x = self.enter(x)
        if self.gates is not None:
            assert residual is not None
            residual = F.interpolate(residual, x.shape[2:], mode="nearest")
            first, second = self.gates(torch.cat([x, residual], dim=1)).chunk(2, dim=1)
            x = x * first + residual * second
        if tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="nearest")
        return self.leave(x), x
