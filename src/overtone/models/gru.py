"""A gated recurrent network for signals.

Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
EMNLP 2014 (the unit); three layers and their average over time in place of the last step, so that every sample of the
window has its share in the logits.

With 6 channels, 128 samples and 6 classes ``gru-64`` has 64,134 parameters and 8,012,160 MACs.
"""

from __future__ import annotations

import re
from typing import ClassVar

from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import OverTime


class GRU(Staged):
    """``gru-W``: three recurrent layers of W units, average over time, a linear layer.

    Each layer is a stage of the input's length. They look back only, so a device can run them sample by sample.

    Args:
        channels: input channels.
        classes: number of classes.
        width: units of each layer; 16 to 128 are sensible.

    Raises:
        ValueError: for fewer than one unit.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 1, 1)
    STEM: ClassVar[bool] = False
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"a GRU's width must be at least 1, got {width}")
        self.layers = nn.ModuleList(
            OverTime(nn.GRU(channels if n == 0 else width, width, batch_first=True)) for n in range(len(self.STRIDES))
        )
        self.classifier = nn.Linear(width, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage."""
        maps: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers, start=1):
            x = maps[f"stage{number}"] = layer(x)
        maps["final"] = x
        maps["embedding"] = self.pool(x)
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return GRU(shape[0], classes, width=int(match[1]))


FAMILY = Family("gru", r"gru-(\d+)", "gru-64", "gru-8", "Cho et al. 2014, three layers: width", _make, dims=(1,))
