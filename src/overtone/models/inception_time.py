"""InceptionTime for signals.

Source: Ismail Fawaz et al., "InceptionTime: Finding AlexNet for Time Series Classification", Data Mining and Knowledge
Discovery 2020 (one network of its ensemble).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family

KERNELS = (39, 19, 9)
"""Odd, so that padding is the same on both sides; the paper has 40, 20 and 10."""
MODULES = 6
BOTTLENECK = 32


class _Inception(nn.Module):
    """Three long convolutions behind a bottleneck, beside a pooled one; before the activation."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        inner = min(BOTTLENECK, filters)
        self.bottleneck = nn.Conv1d(inputs, inner, 1, bias=False) if inputs > 1 else nn.Identity()
        source = inner if inputs > 1 else inputs
        self.convolutions = nn.ModuleList(
            nn.Conv1d(source, filters, kernel, padding="same", bias=False) for kernel in KERNELS
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(inputs, filters, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * filters)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)
        return self.norm(torch.cat([*(conv(narrow) for conv in self.convolutions), self.pooled(x)], dim=1))


class InceptionTime(Staged):
    """Six inception modules with a shortcut over each three, average pooling, a linear layer.

    The length never changes. Stages end behind modules 2, 4 and 6.

    Args:
        channels: input channels.
        classes: number of classes.
        filters: of each of a module's four branches; 32 in the paper.

    Raises:
        ValueError: for fewer than one filter.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 1, 1)
    STEM: ClassVar[bool] = False

    def __init__(self, channels: int, classes: int, filters: int = 32) -> None:
        super().__init__()
        if filters < 1:
            raise ValueError(f"InceptionTime needs at least 1 filter, got {filters}")
        width = 4 * filters
        self.blocks = nn.ModuleList(_Inception(channels if n == 0 else width, filters) for n in range(MODULES))
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, width, 1, bias=False), nn.BatchNorm1d(width))
            for inputs in (channels, width)
        )
        self.classifier = nn.Linear(width, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps: dict[str, Tensor] = {}
        start = x
        for number, block in enumerate(self.blocks, start=1):
            before = cast(_Inception, block)(x)
            if number % 3 == 0:
                before = before + self.shortcuts[number // 3 - 1](start)
            x = before.relu()
            if number % 3 == 0:
                start = x
            if number % 2 == 0:
                maps[f"stage{number // 2}.pre"], maps[f"stage{number // 2}"] = before, x
        maps["final"] = x
        maps["embedding"] = self.pool(x)
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return InceptionTime(shape[0], classes, int(match[1] or 32))


FAMILY = Family(
    "inceptiontime",
    r"inceptiontime(?:-(\d+))?",
    "inceptiontime-32",
    "inceptiontime-4",
    "Ismail Fawaz et al. 2020: filters",
    _make,
    dims=(1,),
)
