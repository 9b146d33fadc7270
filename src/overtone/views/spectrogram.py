"""Spectrograms: which frequencies a window holds, moment by moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overtone.views.base import Shown, State, View


def spectrogram(x: Tensor, length: int = 32, hop: int = 4) -> Tensor:
    r"""Logarithmic power of the short-time Fourier transform of each channel, :math:`\log(1 + |STFT|^2)`.

    Args:
        x: (..., T).
        length: samples in a Hann window, even, at most T.
        hop: samples between windows.

    Returns:
        (..., length // 2 + 1, T // hop + 1): row 0 is the mean, the last row half the sampling rate. The window's ends
        are mirrored.

    Raises:
        ValueError: if the transform's window is longer than the signal.

    Example:
        >>> spectrogram(torch.zeros(1, 64), length=16, hop=8).shape
        torch.Size([1, 9, 9])
    """
    _check_length(length, x.shape[-1])
    hann = torch.hann_window(length, dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, x.shape[-1])
    transformed = torch.stft(flat, length, hop, window=hann, center=True, normalized=True, return_complex=True)
    power = transformed.abs().square()
    return torch.log1p(power).reshape(*x.shape[:-1], *power.shape[1:])


def _check_length(length: int, samples: int) -> None:
    if length > samples:
        raise ValueError(f"a spectrogram of length {length} needs a window of that many samples, got {samples}")


class Spectrogram(View):
    """Spectrogram of each channel, standardised by the training windows: (B, C, T) -> (B, C, F, T').

    Attributes:
        length: samples in the transform's window; F = length // 2 + 1.
        hop: samples between them; T' = T // hop + 1.

    Example:
        >>> view, windows = Spectrogram(length=8, hop=4), torch.arange(16.0).expand(2, 1, 16)
        >>> view.render(windows, view.fit(windows)).shape
        torch.Size([2, 1, 5, 5])
    """

    AXES: ClassVar[tuple[str, ...]] = ("frequency", "time")
    STATE: ClassVar[Mapping[str, int]] = {"mean": 1, "std": 1}
    SOURCE: ClassVar[str] = "log power of torch.stft, Hann window"
    SHOWN: ClassVar[Shown] = Shown(caption="spectrogram: which frequencies are strong, moment by moment")

    length: int = Field(default=32, ge=4, multiple_of=2)
    hop: int = Field(default=4, ge=1)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (F, T')."""
        _check_length(self.length, size[0])
        return self.length // 2 + 1, size[0] // self.hop + 1

    def cost(self, size: tuple[int, ...]) -> int:
        """The windows of the transform."""
        return self.length * (size[0] // self.hop + 1)

    def fit(self, stored: Tensor) -> State:
        """Mean and standard deviation of all training pixels."""
        total, squares, count = 0.0, 0.0, 0
        for chunk in stored.split(256):
            image = spectrogram(chunk, self.length, self.hop).cpu().double()
            total, squares = total + float(image.sum()), squares + float(image.square().sum())
            count += image.numel()
        mean = total / count
        spread = max(squares / count - mean**2, 0.0) ** 0.5
        return {"mean": mean, "std": spread if spread > 0 else 1.0}

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, F, T')."""
        return (spectrogram(stored, self.length, self.hop) - state["mean"]) / state["std"]
