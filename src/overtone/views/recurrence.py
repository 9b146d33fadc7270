"""Recurrence plots: how far apart the states of a window are, moment against moment."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overtone.views.base import LARGEST, Shown, State, View
from overtone.views.gaf import averaging, check_size


def recurrence_plot(x: Tensor, dimension: int = 1, delay: int = 1) -> Tensor:
    r"""Distances between the delay vectors of each channel.

    .. math:: R_{ij} = \lVert v_i - v_j \rVert_2, \quad v_i = (x_i, x_{i+\tau}, \dots, x_{i+(m-1)\tau})

    Args:
        x: (..., T), any floating type.
        dimension: m >= 1, length of a delay vector.
        delay: tau >= 1, samples between its entries.

    Returns:
        (..., n, n) with n = T - (m - 1) tau; symmetric, zero diagonal, not thresholded.

    Raises:
        ValueError: if the window is too short for one pair of vectors.

    Source: Eckmann, Kamphorst, Ruelle, "Recurrence Plots of Dynamical Systems", 1987; conventions of pyts.

    Example:
        >>> recurrence_plot(torch.tensor([0.0, 1.0, 3.0]))
        tensor([[0., 1., 3.],
                [1., 0., 2.],
                [3., 2., 0.]])
    """
    count = vectors_in(x.shape[-1], dimension, delay)
    vectors = torch.stack([x[..., k * delay : k * delay + count] for k in range(dimension)], dim=-1)  # (..., n, m)
    difference = vectors.unsqueeze(-2) - vectors.unsqueeze(-3)  # (..., n, n, m)
    return difference.square().sum(-1).sqrt()


def vectors_in(length: int, dimension: int, delay: int) -> int:
    """How many delay vectors a window has.

    Raises:
        ValueError: if there is no pair of them.
    """
    count = length - (dimension - 1) * delay
    if count < 2:
        raise ValueError(
            f"dimension {dimension} with delay {delay} spans {(dimension - 1) * delay + 1} samples; "
            f"a window of {length} is too short"
        )
    return count


class Recurrence(View):
    """Recurrence plot of each channel: (B, C, T) -> (B, C, size, size).

    Attributes:
        dimension, delay: of the delay vectors.
        size: side of the image, by averaging blocks; None keeps every moment.

    Example:
        >>> view, windows = Recurrence(size=None), torch.tensor([[[0.0, 1.0, 3.0]]])
        >>> view.render(windows, view.fit(windows))
        tensor([[[[0., 1., 3.],
                  [1., 0., 2.],
                  [3., 2., 0.]]]])
    """

    AXES: ClassVar[tuple[str, ...]] = ("time", "time")
    SOURCE: ClassVar[str] = "recurrence plot (distances), Eckmann et al. 1987; conventions of pyts"
    SHOWN: ClassVar[Shown] = Shown(caption="recurrence plot: which two moments look alike")

    dimension: int = Field(default=1, ge=1)
    delay: int = Field(default=1, ge=1)
    size: int | None = Field(default=32, ge=2, le=LARGEST)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (size, size)."""
        count = vectors_in(size[0], self.dimension, self.delay)
        if self.size is None:
            return count, count
        check_size(count, self.size)
        return self.size, self.size

    def cost(self, size: tuple[int, ...]) -> int:
        """The differences of all pairs of delay vectors."""
        return vectors_in(size[0], self.dimension, self.delay) ** 2 * self.dimension

    def fit(self, stored: Tensor) -> State:
        """Nothing is fitted; settings the window cannot give are refused here."""
        if self.size is None and stored.shape[-1] > LARGEST:
            raise ValueError(
                f"a plot of {stored.shape[-1]} samples has as many pixels per side; set size, at most {LARGEST}"
            )
        self.render(stored[:1], {})
        return {}

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, size, size)."""
        plot = recurrence_plot(stored, self.dimension, self.delay)
        if self.size is None:
            return plot
        average = averaging(plot.shape[-1], self.size, plot)
        return average @ plot @ average.T
