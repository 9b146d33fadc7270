"""How much of a map lies at each frequency, whatever its direction."""

from __future__ import annotations

import torch
from torch import Tensor


def radial_spectrum(x: Tensor) -> Tensor:
    """Mean amplitude by distance from frequency 0, in as many rings as the shorter side has frequencies from 0 up.

    Frequencies count as shares of Nyquist, per axis; those of the corners beyond 1 go into the last ring.

    Args:
        x: maps (B, C, T) or (B, C, H, W).

    Returns:
        (B, R) with R = min(size) // 2 + 1: the mean over channels and the ring's frequencies of the amplitude |FFT|
        (orthonormal).

    Example:
        >>> radial_spectrum(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]]))  # all of it at Nyquist
        tensor([[0., 0., 2.]])
    """
    size = x.shape[2:]
    rings = min(size) // 2 + 1
    amplitude = torch.fft.fftn(x.float(), dim=tuple(range(2, x.dim())), norm="ortho").abs().mean(1)  # (B, *size)
    squares = torch.zeros(size, device=x.device)
    for axis, length in enumerate(size):
        shape = [1] * len(size)
        shape[axis] = length
        squares = squares + (2 * torch.fft.fftfreq(length, device=x.device)).square().view(shape)
    ring = (squares.sqrt() * (rings - 1)).round().long().clamp(max=rings - 1).flatten()  # (positions,)
    sums = torch.zeros(len(x), rings, device=x.device).index_add_(1, ring, amplitude.flatten(1))
    return sums / torch.bincount(ring, minlength=rings)
