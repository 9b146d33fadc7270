"""What both forms of frequency attention distillation share: their settings, and the head behind each level."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.frequency import FrequencyAttention, LocalAttention
from overtone.frequency.attention import Branches
from overtone.frequency.layers import NORM
from overtone.frequency.masks import Shape
from overtone.frequency.transforms import Name
from overtone.methods.levels import DistanceConfig, Level


class FrequencyConfig(DistanceConfig):
    """Settings of ``fam_layer`` and ``fam_review``.

    Attributes:
        attention: local attention in front of the frequency attention module.
        final_relu: end each head in a ReLU, as the review form's published code does; maps that may be negative then
            cannot be reached.
        transform, shape, radius, form, branches, published: of :class:`overtone.FrequencyAttention`.
    """

    attention: bool = True
    final_relu: bool = True
    transform: Name = "fft"
    shape: Shape = "box"
    radius: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    form: str = "full"
    branches: Branches = "both"
    published: bool = False

    @field_validator("form")
    @classmethod
    def _known_form(cls, value: str) -> str:
        kind, _, rank = value.partition(":")
        if value not in ("full", "depthwise") and not (kind == "low_rank" and rank.isdecimal() and int(rank) > 0):
            raise ValueError(f"form is full, depthwise or low_rank:RANK, got {value!r}")
        return value

    def module_settings(self) -> dict[str, Any]:
        """What :class:`overtone.FrequencyAttention` takes."""
        names = ("transform", "shape", "radius", "form", "branches", "published")
        return {name: getattr(self, name) for name in names}


class Head(nn.Module):
    """Frequency attention, batch normalisation and, unless switched off, ReLU: to the teacher's map."""

    def __init__(self, config: FrequencyConfig, in_channels: int, level: Level) -> None:
        super().__init__()
        out_channels, *size = level.teacher_shape
        try:
            self.attention = FrequencyAttention(in_channels, out_channels, size, **config.module_settings())
        except ValueError as error:
            raise InputError(f"{level.student}: {error}") from error
        self.norm = NORM[len(size)](out_channels)
        self.relu = nn.ReLU() if config.final_relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, *size) -> (B, teacher's channels, *size)."""
        return self.relu(self.norm(self.attention(x)))


def local_attention(channels: int, dims: int, stage: str) -> LocalAttention:
    """Local attention on a stage.

    Raises:
        InputError: for a number of channels that relative embeddings cannot split.
    """
    try:
        return LocalAttention(channels, dims)
    except ValueError as error:
        raise InputError(f"{stage}: {error}; use attention: false, or other stages") from error
