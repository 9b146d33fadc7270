"""Markov transition fields: how likely the step from one moment's level to another's is within the window."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overtone.views.base import LARGEST, Shown, State, View
from overtone.views.gaf import averaging, check_size


def markov_transition_field(x: Tensor, size: int, bins: int = 8) -> Tensor:
    r"""Markov transition field of each channel.

    Samples are sorted into ``bins`` levels by the window's own quantiles; with W the row-normalised counts of
    transitions between the levels of neighbouring samples, :math:`M_{ij} = W[q(x_i), q(x_j)]`, averaged in blocks to
    ``size``. A level that is never left has an empty row; a constant window has a single level.

    Args:
        x: (..., T), any floating type.
        size: side of the image, at most T.
        bins: number of levels, at least 2.

    Returns:
        (..., size, size), probabilities in [0, 1].

    Raises:
        ValueError: for a size outside 1..T or fewer than 2 bins.

    Source: Wang and Oates, "Encoding Time Series as Images", AAAI workshop 2015; conventions of pyts.

    Example:
        >>> markov_transition_field(torch.tensor([0.0, 1.0, 0.0, 1.0]), 2, bins=2)
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    if bins < 2:
        raise ValueError(f"a Markov transition field needs at least 2 bins, got {bins}")
    length = x.shape[-1]
    average = averaging(length, size, x)  # (size, T)
    flat = x.reshape(-1, length)  # (N, T)
    levels = torch.linspace(0, 1, bins + 1, dtype=x.dtype, device=x.device)[1:-1]
    edges = torch.quantile(flat, levels, dim=1).T.contiguous()  # (N, bins - 1)
    level = torch.searchsorted(edges, flat.contiguous())  # (N, T)
    one_hot = torch.nn.functional.one_hot(level, bins).to(x.dtype)  # (N, T, bins)
    counts = one_hot[:, :-1].transpose(1, 2) @ one_hot[:, 1:]  # (N, bins, bins)
    transition = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    # Averaging over blocks commutes with looking up W, so the T x T field is never made.
    share = average @ one_hot  # (N, size, bins)
    return (share @ transition @ share.transpose(1, 2)).reshape(*x.shape[:-1], size, size)


class MTF(View):
    """Markov transition field of each channel: (B, C, T) -> (B, C, size, size).

    Attributes:
        size: side of the image; at most the window's length.
        bins: number of levels.

    Example:
        >>> view, windows = MTF(size=2, bins=2), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
        >>> view.render(windows, view.fit(windows))
        tensor([[[[0.5000, 0.5000],
                  [0.0000, 1.0000]]]])
    """

    AXES: ClassVar[tuple[str, ...]] = ("time", "time")
    SOURCE: ClassVar[str] = "Markov transition field, Wang & Oates 2015; conventions of pyts"
    SHOWN: ClassVar[Shown] = Shown(
        caption="Markov transition field: how likely the step from one moment’s level to another’s is"
    )

    size: int = Field(default=32, ge=2, le=LARGEST)
    bins: int = Field(default=8, ge=2, le=LARGEST)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (size, size)."""
        check_size(size[0], self.size)
        return self.size, self.size

    def cost(self, size: tuple[int, ...]) -> int:
        """Levels of samples and of blocks, transitions, and the image."""
        return (size[0] + self.size) * (self.size + self.bins) + self.bins**2

    def fit(self, stored: Tensor) -> State:
        """Nothing is fitted; a size the window cannot give is refused here."""
        averaging(stored.shape[-1], self.size, stored)
        return {}

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, size, size)."""
        return markov_transition_field(stored, self.size, self.bins)
