"""Gramian angular fields: a window as the image of its pairwise trigonometric sums or differences."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overtone.views.base import LARGEST, Shown, State, View


def paa(x: Tensor, size: int) -> Tensor:
    """Piecewise aggregate approximation: the mean of ``size`` consecutive, nearly equal segments.

    Segment k runs from ``floor(k T / size)`` to ``floor((k+1) T / size)``, so where ``size`` does not divide T
    segments differ by one sample (the convention of pyts).

    Args:
        x: (..., T).
        size: 1 <= size <= T.

    Returns:
        (..., size).

    Raises:
        ValueError: if ``size`` is larger than T (there is nothing to average) or below 1.

    Example:
        >>> paa(torch.tensor([0.0, 2.0, 4.0, 6.0]), 2)
        tensor([1., 5.])
    """
    length = x.shape[-1]
    if size == length:
        return x
    # A product with an averaging matrix is deterministic on every device, unlike a scatter.
    return x @ averaging(length, size, x).T


def averaging(length: int, size: int, like: Tensor) -> Tensor:
    """The matrix (size, length) whose product with a series is its PAA, in ``like``'s type and on its device.

    Raises:
        ValueError: if ``size`` is larger than ``length`` (there is nothing to average) or below 1.
    """
    check_size(length, size)
    edges = torch.arange(size + 1, device=like.device) * length // size  # (size + 1,)
    sample = torch.arange(length, device=like.device)
    inside = (sample >= edges[:-1, None]) & (sample < edges[1:, None])  # (size, length)
    return inside.to(like.dtype) / inside.sum(1, keepdim=True)


def check_size(length: int, size: int) -> None:
    """Refuse a size that averaging cannot give.

    Raises:
        ValueError: if ``size`` is larger than ``length`` (there is nothing to average) or below 1.
    """
    if size > length:
        raise ValueError(f"size {size} is larger than the window's {length} samples; use size <= {length}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")


def gramian_angular_field(x: Tensor, size: int, kind: Literal["summation", "difference"] = "summation") -> Tensor:
    r"""Gramian angular field of each channel.

    The window is averaged to ``size`` points, then scaled per window and channel to [-1, 1], and read as
    :math:`x_i = \cos\varphi_i`:

    .. math:: GASF_{ij} = \cos(\varphi_i + \varphi_j) = x_i x_j - \sqrt{1-x_i^2}\sqrt{1-x_j^2}
    .. math:: GADF_{ij} = \sin(\varphi_i - \varphi_j) = \sqrt{1-x_i^2}\, x_j - x_i \sqrt{1-x_j^2}

    A constant window has no range; it is taken as -1 everywhere, which gives a summation field of ones and a
    difference field of zeros.

    Args:
        x: (..., T), any floating type; the result keeps it.
        size: side of the image, at most T.
        kind: ``summation`` (symmetric, diagonal 2x²-1) or ``difference`` (antisymmetric, diagonal 0).

    Returns:
        (..., size, size), values in [-1, 1].

    Raises:
        ValueError: for a size outside 1..T.

    Source: Wang and Oates, "Imaging Time-Series to Improve Classification and Imputation", IJCAI 2015, eq. 1-5.

    Example:
        >>> gramian_angular_field(torch.tensor([0.0, 1.0]), 2)
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    x = paa(x - x[..., :1], size)  # shifted, so that a constant window stays exactly constant under rounding
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    span = high - low
    flat = span <= 0
    cos = torch.where(flat, -1.0, 2 * (x - low) / torch.where(flat, 1.0, span) - 1).to(x.dtype)
    sin = (1 - cos * cos).clamp(0, 1).sqrt()
    outer = (cos.unsqueeze(-1), cos.unsqueeze(-2), sin.unsqueeze(-1), sin.unsqueeze(-2))
    cos_i, cos_j, sin_i, sin_j = outer
    if kind == "summation":
        return cos_i * cos_j - sin_i * sin_j
    return sin_i * cos_j - cos_i * sin_j


class GAF(View):
    """Gramian angular field of each channel: (B, C, T) -> (B, C, size, size).

    Attributes:
        size: side of the image; at most the window's length.
        kind: ``summation`` or ``difference``.

    Example:
        >>> view, windows = GAF(size=4), torch.linspace(0, 1, 8).expand(2, 3, 8)
        >>> view.render(windows, view.fit(windows)).shape
        torch.Size([2, 3, 4, 4])
        >>> view.shape((8,))
        (4, 4)
    """

    AXES: ClassVar[tuple[str, ...]] = ("time", "time")
    SOURCE: ClassVar[str] = "Wang & Oates 2015; conventions of pyts"
    SHOWN: ClassVar[Shown] = Shown(
        caption="Gramian angular field: cosine of the sum (or sine of the difference) of two moments’ angles",
        low=-1.0,
        high=1.0,
    )

    size: int = Field(default=32, ge=2, le=LARGEST)
    kind: Literal["summation", "difference"] = "summation"

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (size, size)."""
        check_size(size[0], self.size)
        return self.size, self.size

    def cost(self, size: tuple[int, ...]) -> int:
        """The averaging, and the image."""
        return self.size * (size[0] + self.size)

    def fit(self, stored: Tensor) -> State:
        """Nothing is fitted (each window is scaled by itself); a size the window cannot give is refused here."""
        averaging(stored.shape[-1], self.size, stored)
        return {}

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, size, size)."""
        return gramian_angular_field(stored, self.size, self.kind)
