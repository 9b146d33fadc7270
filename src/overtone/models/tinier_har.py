"""TinierHAR: separable convolutions with shortcuts, a recurrent layer in both directions, attention over time.

Source: after Bian, Liu, Rey, Geissler, Lukowicz, "TinierHAR: Towards Ultra-Lightweight Deep Learning Models for
Efficient Human Activity Recognition on Edge Devices", ISWC 2025: 43.3 times fewer parameters and 58.6 times fewer
multiplications than DeepConvLSTM on 14 data sets. Here attention over time is the library's own
(:class:`~overtone.models.base.AttentionPool`), one layer deeper than the paper's; there is no dropout.

With 6 channels, 128 samples and 6 classes ``tinierhar-8`` has 12,563 parameters and 611,520 MACs.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from overtone.models.base import AttentionPool, Staged
from overtone.models.family import Family
from overtone.models.layers import OverTime, apart, together

KERNEL = 5


class _Separable(nn.Module):
    """A depthwise and a pointwise convolution beside a shortcut, both halved in time where ``halve`` says so."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        pooling = [nn.MaxPool1d(2, ceil_mode=True)] if halve else []
        self.layers = nn.Sequential(
            nn.Conv1d(inputs, inputs, KERNEL, padding=KERNEL // 2, groups=inputs, bias=False),
            *(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(), *pooling),
        )
        changed = [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)] if inputs != outputs else []
        self.shortcut = nn.Sequential(*changed, *pooling)

    def forward(self, x: Tensor) -> Tensor:
        """(B C, c, T) -> (B C, c', T or T / 2)."""
        return cast(Tensor, self.layers(x)) + cast(Tensor, self.shortcut(x))


class TinierHAR(Staged):
    """``tinierhar-W``: blocks of W, 2W, 2W and 2W filters, a recurrent layer of 2W units each way, attention, linear.

    The blocks see each channel by itself, with the same filters; the first two halve the length. The stem is the first
    block, stage 1 the second, stage 2 the last, stage 3 the recurrent layer. Its pooling is by attention, whatever
    ``pool`` says.

    Args:
        channels: input channels.
        classes: number of classes.
        width: filters of the first block; 4 to 16 are sensible.

    Raises:
        ValueError: for fewer than one filter.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (2, 1, 1)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, width: int = 8) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"a TinierHAR's width must be at least 1, got {width}")
        self.channels, inner = channels, 2 * width
        self.stem, self.widen = _Separable(1, width, halve=True), _Separable(width, inner, halve=True)
        self.blocks = nn.Sequential(*(_Separable(inner, inner, halve=False) for _ in range(2)))
        self.recurrent = OverTime(nn.GRU(channels * inner, inner, batch_first=True, bidirectional=True))
        self.attend = AttentionPool(2 * inner)
        self.classifier = nn.Linear(2 * inner, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps: dict[str, Tensor] = {}
        for name, blocks in (("stem", self.stem), ("stage1", self.widen), ("stage2", self.blocks)):
            out = blocks(apart(x, self.channels))  # (B C, W, T / 2), later (B C, 2 W, T / 4)
            x = maps[name] = together(out, self.channels)
        maps["stage3"] = maps["final"] = self.recurrent(x)  # (B, 4 W, T / 4)
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return TinierHAR(shape[0], classes, width=int(match[1]))


FAMILY = Family(
    "tinierhar",
    r"tinierhar-(\d+)",
    "tinierhar-8",
    "tinierhar-2",
    "after Bian et al. 2025: filters of the first block; pools by attention",
    _make,
    dims=(1,),
)
