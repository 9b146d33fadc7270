"""ShuffleNet V1 and V2 for small images and, from the same definition, signals.

Sources: Zhang, Zhou, Lin, Sun, "ShuffleNet", CVPR 2018; Ma, Zhang, Zheng, Sun, "ShuffleNet V2", ECCV 2018. Stems and
strides for small images as in the distillation literature (RepDistiller).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.models.base import Staged, through
from overtone.models.family import Family
from overtone.models.layers import AVERAGE_POOL, CONV, NORM

STEM = 24
V1_GROUPS, V1_WIDTHS, V1_BLOCKS = 3, (240, 480, 960), (4, 8, 4)
V2_WIDTHS, V2_BLOCKS, V2_LAST = (116, 232, 464), (3, 7, 3), 1024


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups in turn: of two groups a1 a2 b1 b2 becomes a1 b1 a2 b2."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def _pointwise(inputs: int, outputs: int, dims: int, groups: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [CONV[dims](inputs, outputs, 1, groups=groups, bias=False), NORM[dims](outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


def _depthwise(channels: int, stride: int, dims: int) -> nn.Sequential:
    conv = CONV[dims](channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(conv, NORM[dims](channels))


class _V1Block(nn.Module):
    """Grouped, shuffled, depthwise, grouped; beside it the input, added or (halved) appended. Ends before a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dims: int) -> None:
        super().__init__()
        width = outputs - inputs if stride == 2 else outputs
        inner = width // 4  # as the code of the literature has it; the paper takes a quarter of all outputs
        self.groups = 1 if inputs == STEM else V1_GROUPS
        self.first = _pointwise(inputs, inner, dims, self.groups)
        self.middle = _depthwise(inner, stride, dims)
        self.last = _pointwise(inner, width, dims, V1_GROUPS, relu=False)
        self.beside = AVERAGE_POOL[dims](3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.last(F.relu(self.middle(shuffle(self.first(x), self.groups))))
        return out + x if self.beside is None else torch.cat([out, self.beside(x)], 1)


class ShuffleNetV1(Staged):
    """A 1x1 stem, three stages of 4, 8 and 4 blocks with 240, 480 and 960 channels, each halving the map, in 3 groups.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
    """

    STRIDES: ClassVar[tuple[int, ...]] = (2, 2, 2)

    def __init__(self, channels: int, classes: int, dims: int) -> None:
        super().__init__()
        self.stem = _pointwise(channels, STEM, dims)
        self.stages = nn.ModuleList()
        inputs = STEM
        for outputs, count in zip(V1_WIDTHS, V1_BLOCKS, strict=True):
            blocks = [_V1Block(inputs if n == 0 else outputs, outputs, 2 if n == 0 else 1, dims) for n in range(count)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.classifier = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps = through(cast(list[nn.Sequential], self.stages), self.stem(x))
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


class _V2Block(nn.Module):
    """Half of the channels pass, half go through three convolutions; or, halving the map, all go through both ways."""

    def __init__(self, inputs: int, outputs: int, stride: int, dims: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left: nn.Module | None = None
        if stride == 2:
            self.left = nn.Sequential(_depthwise(inputs, 2, dims), _pointwise(inputs, half, dims))
        entering = inputs if stride == 2 else half
        self.right = nn.Sequential(
            _pointwise(entering, half, dims), _depthwise(half, stride, dims), _pointwise(half, half, dims)
        )

    def forward(self, x: Tensor) -> Tensor:
        passed, worked = (self.left(x), x) if self.left is not None else x.chunk(2, 1)
        return shuffle(torch.cat([passed, self.right(worked)], 1), 2)


class ShuffleNetV2(Staged):
    """A 1x1 stem, three stages of 4, 8 and 4 blocks with 116, 232 and 464 channels, each halving the map, a last 1,024.

    Stages have no activation of their own behind them, so there is no ``stageK.pre``.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
    """

    STRIDES: ClassVar[tuple[int, ...]] = (2, 2, 2)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, dims: int) -> None:
        super().__init__()
        self.stem = _pointwise(channels, STEM, dims)
        self.stages = nn.ModuleList()
        inputs = STEM
        for outputs, count in zip(V2_WIDTHS, V2_BLOCKS, strict=True):
            blocks = [_V2Block(inputs, outputs, 2, dims)]
            blocks += [_V2Block(outputs, outputs, 1, dims) for _ in range(count)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.last = _pointwise(inputs, V2_LAST, dims)
        self.classifier = nn.Linear(V2_LAST, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps = {"stem": self.stem(x)}
        x = maps["stem"]
        for number, stage in enumerate(self.stages, start=1):
            x = maps[f"stage{number}"] = stage(x)
        maps["final"] = self.last(x)
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return (ShuffleNetV1 if match[1] == "1" else ShuffleNetV2)(shape[0], classes, len(shape) - 1)


FAMILY = Family(
    "shufflenet",
    r"shufflenetv([12])",
    "shufflenetv2",
    "shufflenetv2",
    "Zhang et al. 2018 (v1), Ma et al. 2018 (v2), for small images",
    _make,
)
