"""VGG networks with batch normalisation, for small images and, from the same definition, signals.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; depths,
pooling and the single linear layer as in the distillation literature (RepDistiller).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import CONV, MAX_POOL, NORM

WIDTHS = (64, 128, 256, 512, 512)
LAYERS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each of the five stages, by depth."""


class VGG(Staged):
    """Five stages of 3-wide convolutions, the first three halved behind, average pooling, a linear layer.

    Published code lists the first stage where other networks have their stem, and so compares the other four.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        depth: 8, 11, 13, 16 or 19.
        width: a factor of the stages' 64, 128, 256, 512 and 512 channels.

    Raises:
        ValueError: for another depth, or a width that is not positive.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 2, 2, 2, 1)
    STEM: ClassVar[bool] = False
    FIRST: ClassVar[int] = 2

    def __init__(self, channels: int, classes: int, dims: int, depth: int = 8, width: float = 1) -> None:
        super().__init__()
        if depth not in LAYERS:
            raise ValueError(f"a VGG's depth is one of {', '.join(map(str, LAYERS))}, got {depth}")
        if width <= 0:
            raise ValueError(f"a VGG's width must be positive, got {width}")
        self.pooling = MAX_POOL[dims](2)
        self.blocks = nn.ModuleList()
        inputs = channels
        for layers, base in zip(LAYERS[depth], WIDTHS, strict=True):
            outputs = max(1, round(base * width))
            block: list[nn.Module] = []
            for _ in range(layers):
                block += [CONV[dims](inputs, outputs, 3, padding=1), NORM[dims](outputs), nn.ReLU()]
                inputs = outputs
            self.blocks.append(
                nn.Sequential(*block[:-1])
            )  # the last ReLU is applied outside, as a stage ends before it
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage, in front of the pooling that follows it."""
        maps: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            before = cast(nn.Sequential, block)(x)
            x = before.relu()
            maps[f"stage{number}.pre"], maps[f"stage{number}"] = before, x
            if number <= 3 and min(x.shape[2:]) > 1:
                x = self.pooling(x)
        maps["final"] = x
        maps["embedding"] = self.pool(x)
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return VGG(shape[0], classes, len(shape) - 1, int(match[1]), float(match[2] or 1))


FAMILY = Family(
    "vgg",
    r"vgg(\d+)(?:-(\d+(?:\.\d+)?))?",
    "vgg8",
    "vgg8-0.125",
    "Simonyan & Zisserman 2015: depth 8, 11, 13, 16 or 19; vgg8-0.25 for a quarter of the width",
    _make,
)
