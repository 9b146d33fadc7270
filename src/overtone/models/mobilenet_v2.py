"""MobileNetV2 for small images and, from the same definition, signals.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018;
strides for small images as in the distillation literature (RepDistiller).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import CONV, NORM

STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Groups of (expansion, channels, blocks, stride of the first block)."""
STEM, LAST = 32, 1280


class _Inverted(nn.Module):
    """Expansion, depthwise convolution, linear projection, and a shortcut where the shape stays."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, dims: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        conv, norm, inner = CONV[dims], NORM[dims], inputs * expansion
        self.same = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *(conv(inputs, inner, 1, bias=False), norm(inner), activation()),
            *(conv(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False), norm(inner), activation()),
            *(conv(inner, outputs, 1, bias=False), norm(outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.same else self.layers(x)


class MobileNetV2(Staged):
    """A strided stem, four stages of inverted residuals (the last three halve the map), a wide last convolution.

    Stages end in linear bottlenecks, so their maps may be negative; there is no ``stageK.pre``.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        width: a factor of all channels, 0.5 in the distillation literature; the last convolution keeps its 1,280.
        relu6: cut activations off at 6, as in the paper; the distillation literature has plain ReLUs.

    Raises:
        ValueError: for a width that is not positive.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 2, 2, 2)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, dims: int, width: float = 0.5, relu6: bool = False) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"a MobileNetV2's width must be positive, got {width}")
        activation = nn.ReLU6 if relu6 else nn.ReLU
        inputs = max(1, round(STEM * width))
        self.stem = nn.Sequential(
            CONV[dims](channels, inputs, 3, stride=2, padding=1, bias=False), NORM[dims](inputs), activation()
        )
        self.stages = nn.ModuleList()
        for groups in STAGES:
            blocks = nn.Sequential()
            for expansion, base, count, first in groups:
                outputs = max(1, round(base * width))
                for number in range(count):
                    blocks.append(_Inverted(inputs, outputs, first if number == 0 else 1, expansion, dims, activation))
                    inputs = outputs
            self.stages.append(blocks)
        last = round(LAST * max(width, 1))
        self.last = nn.Sequential(CONV[dims](inputs, last, 1, bias=False), NORM[dims](last), activation())
        self.classifier = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps = {"stem": self.stem(x)}
        x = maps["stem"]
        for number, stage in enumerate(self.stages, start=1):
            x = maps[f"stage{number}"] = cast(nn.Sequential, stage)(x)
        maps["final"] = self.last(x)
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return MobileNetV2(shape[0], classes, len(shape) - 1, float(match[1]), relu6=bool(match[2]))


FAMILY = Family(
    "mobilenetv2",
    r"mobilenetv2-(\d+(?:\.\d+)?)(-relu6)?",
    "mobilenetv2-0.5",
    "mobilenetv2-0.25",
    "Sandler et al. 2018: width; plain ReLUs as in the distillation literature, -relu6: ReLU6 as in the paper",
    _make,
    version=2,
)
