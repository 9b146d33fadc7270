"""A depthwise-separable 1-D network for microcontrollers.

Source: after the DS-CNN of Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, with time as the
only axis. Every operation (convolution, folded batch norm, ReLU, average, linear) has an int8 kernel on such devices.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family


class _Separable(nn.Module):
    """Depthwise convolution over time, then a pointwise mix of channels, each with batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(inputs, inputs, 5, stride=stride, padding=2, groups=inputs, bias=False)
        self.norm1 = nn.BatchNorm1d(inputs)
        self.pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Before the last activation: (B, c, T) -> (B, c', T / stride)."""
        return self.norm2(self.pointwise(self.norm1(self.depthwise(x)).relu()))


class DSCNN(Staged):
    """``dscnn-W``: a strided stem, three separable stages of W, 2W and 2W channels, average pooling, a linear layer.

    Args:
        channels: input channels.
        classes: number of classes.
        width: channels of the first stage; 8 to 64 are sensible.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"a DS-CNN's width must be at least 1, got {width}")
        self.stem = nn.Sequential(
            nn.Conv1d(channels, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            [
                _Separable(width, width, 1),
                _Separable(width, 2 * width, 2),
                _Separable(2 * width, 2 * width, 2),
            ]
        )
        self.classifier = nn.Linear(2 * width, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps = {"stem": self.stem(x)}
        x = maps["stem"]
        for number, stage in enumerate(self.stages, start=1):
            before = stage(x)
            x = before.relu()
            maps[f"stage{number}.pre"] = before
            maps[f"stage{number}"] = x
        maps["final"] = x
        maps["embedding"] = self.pool(x)
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return DSCNN(shape[0], classes, width=int(match[1]))


FAMILY = Family(
    "dscnn",
    r"dscnn-(\d+)",
    "dscnn-16",
    "dscnn-4",
    "Zhang et al. 2017 (Hello Edge), in 1-D: width",
    _make,
    dims=(1,),
)
