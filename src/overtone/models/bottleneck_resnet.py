"""ResNet-50 with bottlenecks for small images, the teacher of the literature's cross-family pairs; signals too.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; a 3-wide stem without
pooling for small images, as in the distillation literature (RepDistiller).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from overtone.models.base import Staged, through
from overtone.models.family import Family
from overtone.models.layers import CONV, NORM

WIDTHS, BLOCKS, EXPANSION = (64, 128, 256, 512), (3, 4, 6, 3), 4


class _Bottleneck(nn.Module):
    """1, 3 and 1 wide convolutions and a shortcut; ends before a ReLU."""

    def __init__(self, inputs: int, inner: int, stride: int, dims: int) -> None:
        super().__init__()
        conv, norm, outputs = CONV[dims], NORM[dims], inner * EXPANSION
        self.layers = nn.Sequential(
            *(conv(inputs, inner, 1, bias=False), norm(inner), nn.ReLU()),
            *(conv(inner, inner, 3, stride=stride, padding=1, bias=False), norm(inner), nn.ReLU()),
            *(conv(inner, outputs, 1, bias=False), norm(outputs)),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            None if same else nn.Sequential(conv(inputs, outputs, 1, stride=stride, bias=False), norm(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + (x if self.shortcut is None else self.shortcut(x))


class BottleneckResNet(Staged):
    """A stem, four stages of 3, 4, 6 and 3 bottlenecks with 256, 512, 1,024 and 2,048 channels; the last three halve.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 2, 2, 2)

    def __init__(self, channels: int, classes: int, dims: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            CONV[dims](channels, WIDTHS[0], 3, padding=1, bias=False), NORM[dims](WIDTHS[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        inputs = WIDTHS[0]
        for number, (inner, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
            blocks = nn.Sequential()
            for position in range(count):
                blocks.append(_Bottleneck(inputs, inner, 2 if position == 0 and number > 0 else 1, dims))
                inputs = inner * EXPANSION
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
    return BottleneckResNet(shape[0], classes, len(shape) - 1)


FAMILY = Family(
    "bottleneck",
    r"resnet50-b",
    "resnet50-b",
    "resnet50-b",
    "He et al. 2016: ResNet-50 of bottlenecks, for small images",
    _make,
)
