"""Standardisation of channels by the training windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overtone.data.base import FloatArray


@dataclass(frozen=True)
class Standardiser:
    """Per-channel mean and standard deviation of the training windows, in the recording's own units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, windows: FloatArray) -> Standardiser:
        """From training windows (N, C, T). A channel that never changes keeps its scale (std 1)."""
        mean = windows.mean(axis=(0, 2), dtype=np.float64)
        std = windows.std(axis=(0, 2), dtype=np.float64)
        return cls(tuple(map(float, mean)), tuple(float(s) if s > 0 else 1.0 for s in std))

    def __call__(self, windows: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T) with training mean 0 and standard deviation 1."""
        mean = torch.tensor(self.mean, dtype=windows.dtype, device=windows.device)[:, None]
        std = torch.tensor(self.std, dtype=windows.dtype, device=windows.device)[:, None]
        return (windows - mean) / std
