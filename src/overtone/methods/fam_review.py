"""Frequency attention distillation by knowledge review (Pham et al. 2024, the form with published code)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.errors import InputError, nearest
from overtone.frequency import resize
from overtone.frequency.layers import CONV, NORM
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Level, LevelsConfig
from overtone.methods.frequency import FrequencyConfig, FrequencyMethod, Head, check_filters, make_local_attention
from overtone.methods.points import without_point
from overtone.types import Spec


class FamReviewConfig(FrequencyConfig):
    """Settings of the review form.

    Attributes:
        compared: the student's stages, ``embedding`` among them, whose maps meet the teacher's; the others only hand on
            what they have to the shallower ones, as the deepest does in the published code for ImageNet. All unless
            given.
        published: besides the filter's mask, starting values and steps, the starting values of the projections between
            stages: uniform, of variance 1 / channels.
    """

    compared: list[str] | None = None


class FamReview(FrequencyMethod):
    """Term ``map.TEACHER``: from deep to shallow, each stage fused with the deeper ones matches the teacher's stage."""

    NAME: ClassVar[str] = "fam_review"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Pham et al. 2024 (FAM-KD), knowledge review"
    SUMMARY: ClassVar[str] = (
        "stages are fused deep to shallow by cross-attention, then matched through frequency attention"
    )
    Config: ClassVar[type[MethodConfig]] = FamReviewConfig

    @classmethod
    def find(cls, config: LevelsConfig, student: Spec, teacher: Spec, name: str) -> list[Level]:
        """See :class:`LevelMethod`; those that ``compared`` names are compared.

        Raises:
            InputError: for a stage in ``compared`` that is no level, or where the shallowest is not among them, which
                would hand on to nobody.
        """
        levels = super().find(config, student, teacher, name)
        assert isinstance(config, FamReviewConfig)
        if config.compared is None:
            return levels
        stages = [without_point(level.student) for level in levels]
        for stage in config.compared:
            if stage not in stages:
                raise InputError(f"compared: the student has no stage {stage!r} to match; {nearest(stage, stages)}")
        if stages[0] not in config.compared:
            raise InputError(
                f"compared: {stages[0]}, the shallowest stage, must be among them, since it hands on to none; got "
                f"{', '.join(config.compared) or 'none'}. Leave it out with stages or pairs"
            )
        return [replace(level, compared=stage in config.compared) for level, stage in zip(levels, stages, strict=True)]

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; what is handed on is the fused map."""
        assert isinstance(config, FamReviewConfig)
        check_filters(config, levels)
        deeper = [None, *(level.student_shape[0] for level in levels)]
        return nn.ModuleList(
            _ReviewAdapter(config, level, channels) for level, channels in zip(levels, deeper, strict=False)
        )


class _ReviewAdapter(nn.Module):
    """Student's map and what comes from the deeper level -> the teacher's form, and what goes on to the shallower.

    Args:
        config: the method's.
        level: this one.
        deeper: channels of what comes from the deeper level; None at the deepest.
    """

    def __init__(self, config: FamReviewConfig, level: Level, deeper: int | None) -> None:
        super().__init__()
        channels, *size = level.student_shape
        dims = len(size)
        self.project: nn.Module = nn.Identity()
        self.local_attention = None
        if deeper is not None and deeper != channels:
            convolution = CONV[dims](deeper, channels, 1, bias=False)
            if config.published:
                nn.init.kaiming_uniform_(convolution.weight, a=1)
            self.project = nn.Sequential(convolution, NORM[dims](channels), nn.ReLU())
        if deeper is not None and config.attention:
            self.local_attention = make_local_attention(channels, dims, level.student)
        self.head = Head(config, channels, level) if level.compared else None

    def forward(self, x: Tensor, residual: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if residual is not None:
            residual = F.interpolate(self.project(residual), x.shape[2:], mode="nearest")
            x = (
                x + residual if self.local_attention is None else self.local_attention(x, residual)
            )  # the query is the deeper one
        x = resize(x, size)
        return (x if self.head is None else self.head(x)), x
