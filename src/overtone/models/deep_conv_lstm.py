"""DeepConvLSTM for signals.

Source: Ordonez and Roggen, "Deep Convolutional and LSTM Recurrent Neural Networks for Multimodal Wearable Activity
Recognition", Sensors 2016: four convolutions of 64 filters over 5 samples, two LSTM layers of 128 units. Here
convolutions are padded, so that maps keep the window's length; the LSTM's outputs are averaged over time in place of
the last one; there is no dropout.

With 6 channels, 128 samples and 6 classes ``deepconvlstm-64`` has 458,054 parameters and 97,764,096 MACs.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import OverTime, apart, together

CONVOLUTIONS, KERNEL = 4, 5


class DeepConvLSTM(Staged):
    """``deepconvlstm-W``: four convolutions of W filters, two LSTM layers of 2W units, average over time, linear.

    The convolutions see each channel by itself, with the same filters, so the first recurrent layer has C W inputs and
    most of the parameters. The stem is the first convolution, stage 1 the last, stages 2 and 3 are the LSTM's layers.

    Args:
        channels: input channels.
        classes: number of classes.
        width: filters of each convolution; 64 in the paper.

    Raises:
        ValueError: for fewer than one filter.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 1, 1)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"a DeepConvLSTM's width must be at least 1, got {width}")
        self.channels = channels
        self.convolutions = nn.ModuleList(
            nn.Conv1d(1 if n == 0 else width, width, KERNEL, padding=KERNEL // 2) for n in range(CONVOLUTIONS)
        )
        self.recurrent = nn.ModuleList(
            OverTime(nn.LSTM(inputs, 2 * width, batch_first=True)) for inputs in (channels * width, 2 * width)
        )
        self.classifier = nn.Linear(2 * width, classes)
        for conv in self.convolutions:
            nn.init.kaiming_normal_(cast(nn.Conv1d, conv).weight, nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        first, *others = self.convolutions
        maps = {"stem": together(F.relu(first(apart(x, self.channels))), self.channels)}  # (B, C W, T)
        x = apart(maps["stem"], self.channels)  # (B C, W, T)
        for conv in others:
            x = F.relu(conv(x))
        x = maps["stage1"] = together(x, self.channels)
        for number, layer in enumerate(self.recurrent, start=2):
            x = maps[f"stage{number}"] = layer(x)
        maps["final"] = x
        maps["embedding"] = self.pool(x)
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return DeepConvLSTM(shape[0], classes, width=int(match[1]))


FAMILY = Family(
    "deepconvlstm",
    r"deepconvlstm-(\d+)",
    "deepconvlstm-64",
    "deepconvlstm-4",
    "Ordonez & Roggen 2016: filters; 64 in the paper",
    _make,
    dims=(1,),
)
