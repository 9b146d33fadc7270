"""Residual networks for small images (and, from the same definition, signals): ResNet-8, -20, -56, -110, -8x4, -32x4.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from __future__ import annotations

import re
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.models.base import Staged, through
from overtone.models.family import Family
from overtone.models.layers import CONV, NORM

Shortcut = Literal["projection", "padding"]
WIDTHS = (16, 32, 64)


class _Padding(nn.Module):
    """A shortcut without parameters: every second value, new channels of zeros on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        every = slice(None, None, self.stride)
        x = x[..., every] if x.dim() == 3 else x[..., every, every]
        before = self.more // 2
        return F.pad(x, [*[0] * (2 * (x.dim() - 2)), before, self.more - before])


class _Block(nn.Module):
    """Two convolutions and a shortcut; the caller applies the ReLU behind, because a stage may end in front of it."""

    def __init__(self, inputs: int, outputs: int, stride: int, dims: int, shortcut: Shortcut) -> None:
        super().__init__()
        conv, norm = CONV[dims], NORM[dims]
        self.conv1 = conv(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = norm(outputs)
        self.shortcut: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.shortcut = (
                _Padding(inputs, outputs, stride)
                if shortcut == "padding"
                else nn.Sequential(conv(inputs, outputs, 1, stride=stride, bias=False), norm(outputs))
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return out + (x if self.shortcut is None else self.shortcut(x))


class CifarResNet(Staged):
    """A stem, three stages of ``(depth - 2) / 6`` blocks of 16, 32 and 64 channels, average pooling, a linear layer.

    Stages 2 and 3 halve the resolution. With ``width`` 4 (resnet8x4, resnet32x4) stages have four times the channels
    and the stem 32, as in the distillation literature.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        depth: 8, 14, 20, 26, 32, 44, 56, 110 ...
        width: a factor of the stages' channels.
        shortcut: where the shape changes: ``projection``, a 1x1 convolution, as in the distillation literature; or
            ``padding``, without parameters, as in the paper.

    Raises:
        ValueError: for a depth that is not 6n + 2.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        dims: int,
        depth: int = 20,
        shortcut: Shortcut = "projection",
        width: int = 1,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"a residual network for small images has a depth of 6n + 2 (8, 14, 20, 32, 56, 110), got {depth}; for "
                "those of ImageNet write torchvision:resnet18"
            )
        inputs = WIDTHS[0] if width == 1 else 8 * width
        self.conv1 = CONV[dims](channels, inputs, 3, padding=1, bias=False)
        self.bn1 = NORM[dims](inputs)
        for number, outputs in enumerate((base * width for base in WIDTHS), start=1):
            blocks = nn.Sequential()
            for position in range((depth - 2) // 6):
                stride = 2 if position == 0 and number > 1 else 1
                blocks.append(_Block(inputs, outputs, stride, dims, shortcut))
                inputs = outputs
            self.add_module(f"layer{number}", blocks)
        self.linear = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        stages = [cast(nn.Sequential, getattr(self, f"layer{number}")) for number in range(1, len(WIDTHS) + 1)]
        maps = through(stages, F.relu(self.bn1(self.conv1(x))))
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.linear(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    shortcut: Shortcut = "padding" if match[3] else "projection"
    return CifarResNet(shape[0], classes, len(shape) - 1, int(match[1]), shortcut, int(match[2] or 1))


FAMILY = Family(
    "resnet",
    r"resnet(\d+)(?:x([2-9]))?(-a)?",
    "resnet20",
    "resnet8",
    "He et al. 2016 for CIFAR: depth 8 to 110; resnet8x4 is four times as wide; -a: shortcuts without parameters",
    _make,
    deep=True,
)
