"""Standardisation of channels by the training windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overtone.data.base import FloatArray, IntArray

CHUNK = 4096


@dataclass(frozen=True)
class Standardiser:
    """Per-channel mean and standard deviation of the training windows, in the recording's own units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, windows: FloatArray, train: IntArray | None = None) -> Standardiser:
        """From training windows, read in chunks. A channel that never changes keeps its scale (std 1).

        Args:
            windows: all windows, (N, C, T).
            train: numbers of those that count; all unless given.
        """
        train = np.arange(len(windows)) if train is None else train
        chunks = np.array_split(train, -(-len(train) // CHUNK))
        mean = sum(windows[chunk].sum(axis=(0, 2), dtype=np.float64) for chunk in chunks) / (
            len(train) * windows.shape[2]
        )
        squares = sum(np.square(windows[chunk] - mean[:, None], dtype=np.float64).sum(axis=(0, 2)) for chunk in chunks)
        std = np.sqrt(squares / (len(train) * windows.shape[2]))
        return cls(tuple(map(float, mean)), tuple(float(s) if s > 0 else 1.0 for s in std))

    def __call__(self, windows: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T) with training mean 0 and standard deviation 1."""
        mean = torch.tensor(self.mean, dtype=windows.dtype, device=windows.device)[:, None]
        std = torch.tensor(self.std, dtype=windows.dtype, device=windows.device)[:, None]
        return (windows - mean) / std
