"""Torch's layers by the number of a map's dimensions: 1 for signals (B, C, T), 2 for images (B, C, H, W)."""

from __future__ import annotations

from torch import nn

CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
NORM: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
