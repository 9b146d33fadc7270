"""MobileNet (V1) for the sizes of ImageNet and, from the same definition, signals.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from overtone.models.base import Staged, through
from overtone.models.family import Family
from overtone.models.layers import CONV, NORM

STEM = 32
STAGES = (((64, 1), (128, 2), (128, 1)), ((256, 2), (256, 1)), ((512, 2), *((512, 1),) * 5), ((1024, 2), (1024, 1)))
"""Groups of (channels, stride) of depthwise separable convolutions."""


class _Separable(nn.Module):
    """A depthwise and a pointwise convolution; ends before a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dims: int) -> None:
        super().__init__()
        conv, norm = CONV[dims], NORM[dims]
        self.layers = nn.Sequential(
            *(conv(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False), norm(inputs), nn.ReLU()),
            *(conv(inputs, outputs, 1, bias=False), norm(outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MobileNetV1(Staged):
    """A strided stem and four stages of separable convolutions, each halving the map; average pooling, a linear layer.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        width: a factor of all channels.

    Raises:
        ValueError: for a width that is not positive.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)

    def __init__(self, channels: int, classes: int, dims: int, width: float = 1) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"a MobileNet's width must be positive, got {width}")
        inputs = max(1, round(STEM * width))
        self.stem = nn.Sequential(
            CONV[dims](channels, inputs, 3, stride=2, padding=1, bias=False), NORM[dims](inputs), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        for layers in STAGES:
            blocks = nn.ModuleList()
            for base, stride in layers:
                outputs = max(1, round(base * width))
                blocks.append(_Separable(inputs, outputs, stride, dims))
                inputs = outputs
            self.stages.append(blocks)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps = through(cast(list[nn.Sequential], self.stages), self.stem(x))
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return MobileNetV1(shape[0], classes, len(shape) - 1, float(match[1] or 1))


FAMILY = Family(
    "mobilenetv1",
    r"mobilenetv1(?:-(\d+(?:\.\d+)?))?",
    "mobilenetv1",
    "mobilenetv1-0.125",
    "Howard et al. 2017: width, 1 unless given",
    _make,
)
