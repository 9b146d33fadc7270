"""Standardisation of channels by the training windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from overtone.data.base import IntArray

CHUNK = 4096
VALUES = 2**24
"""Windows, and values, summed up at a time."""


@dataclass(frozen=True)
class Standardiser:
    """Per-channel mean and standard deviation of the training windows, in the recording's own units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, windows: npt.NDArray[Any], train: IntArray | None = None) -> Standardiser:
        """From training windows, read in chunks. A channel that never changes keeps its scale (std 1).

        Args:
            windows: all windows, (N, C, T), or images (N, C, H, W).
            train: numbers of those that count; all unless given.
        """
        train = np.arange(len(windows)) if train is None else train
        size = max(1, min(CHUNK, VALUES // math.prod(windows.shape[1:])))
        chunks = np.array_split(train, -(-len(train) // size))
        count = len(train) * math.prod(windows.shape[2:])
        parts = (windows[chunk].reshape(len(chunk), windows.shape[1], -1) for chunk in chunks)
        mean = sum(part.sum(axis=(0, 2), dtype=np.float64) for part in parts) / count
        parts = (windows[chunk].reshape(len(chunk), windows.shape[1], -1) for chunk in chunks)
        squares = sum(np.square(part - mean[:, None], dtype=np.float64).sum(axis=(0, 2)) for part in parts)
        std = np.sqrt(squares / count)
        return cls(tuple(map(float, mean)), tuple(float(s) if s > 0 else 1.0 for s in std))

    def __call__(self, windows: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...) with training mean 0 and standard deviation 1; bytes become float32."""
        windows = windows if windows.is_floating_point() else windows.float()
        shape = (-1, *[1] * (windows.dim() - 2))
        mean, std = windows.new_tensor(self.mean).view(shape), windows.new_tensor(self.std).view(shape)
        return (windows - mean) / std
