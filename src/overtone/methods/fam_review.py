"""Frequency attention distillation by knowledge review (Pham et al. 2024, the form with published code)."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.frequency import resize
from overtone.frequency.layers import CONV, NORM
from overtone.methods.base import MethodConfig
from overtone.methods.frequency import FrequencyConfig, FrequencyMethod, Head, check_filters, make_local_attention
from overtone.methods.levels import Level, LevelsConfig


class FamReview(FrequencyMethod):
    """Term ``map.TEACHER``: from deep to shallow, each stage fused with the deeper ones matches the teacher's stage."""

    NAME: ClassVar[str] = "fam_review"
    SOURCE: ClassVar[str] = "Pham et al. 2024 (FAM-KD), knowledge review"
    SUMMARY: ClassVar[str] = (
        "stages are fused deep to shallow by cross-attention, then matched through frequency attention"
    )
    Config: ClassVar[type[MethodConfig]] = FrequencyConfig

    def make(self, config: LevelsConfig, own: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; what is handed on is the fused map."""
        assert isinstance(config, FrequencyConfig)
        check_filters(config, own)
        deeper = [None, *(level.student_shape[0] for level in own)]
        return nn.ModuleList(
            _ReviewAdapter(config, level, channels) for level, channels in zip(own, deeper, strict=False)
        )


class _ReviewAdapter(nn.Module):
    """Student's map and what comes from the deeper level -> the teacher's form, and what goes on to the shallower.

    Args:
        config: the method's.
        level: this one.
        deeper: channels of what comes from the deeper level; None at the deepest.
    """

    def __init__(self, config: FrequencyConfig, level: Level, deeper: int | None) -> None:
        super().__init__()
        channels, *size = level.student_shape
        dims = len(size)
        self.project: nn.Module = nn.Identity()
        self.local_attention = None
        if deeper is not None and deeper != channels:
            self.project = nn.Sequential(CONV[dims](deeper, channels, 1, bias=False), NORM[dims](channels), nn.ReLU())
        if deeper is not None and config.attention:
            self.local_attention = make_local_attention(channels, dims, level.student)
        self.head = Head(config, channels, level)
        self.size = level.teacher_shape[1:]

    def forward(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        if residual is not None:
            residual = F.interpolate(self.project(residual), x.shape[2:], mode="nearest")
            x = (
                x + residual if self.local_attention is None else self.local_attention(x, residual)
            )  # the query is the deeper one
        x = resize(x, self.size)
        return self.head(x), x
