"""A filter whose parameters lie on a fixed grid of frequencies, interpolated to the frequencies of a map of any size.

The interpolated filter itself, a matrix for each of a map's frequencies, is never made. All frequencies in one cell of
the grid lie between the same four matrices, so that a cell takes one product: of all its coefficients, each times its
shares of the four, with the four matrices under one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from overtone.frequency.transforms import Fourier

CHUNK, DEVICE_CHUNK = 2**21, 2**24
"""Complex numbers worked on at a time beside a map's spectra: on a CPU, elsewhere."""


class Grid:
    """The frequencies of a grid, and how a filter on them acts on the half spectrum of a map of any size.

    The grid is that of a Fourier transform of its size, periodic and Hermitian. What is interpolated between its
    frequencies, linearly along each axis, is so too, and the output is real.

    Args:
        transform: of a map of the grid's size, with all its coefficients kept.
    """

    def __init__(self, transform: Fourier) -> None:
        rows, columns = self.size = _as_image(transform.size)
        half = columns // 2 + 1
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        mirrored = (column >= half).flatten()
        opposite = (-row % rows) * half + columns - column
        place = torch.where(mirrored, opposite.flatten(), (row * half + column).flatten())
        # Of every frequency of the grid, row by row: which parameter it is, and what its real and imaginary part are
        # multiplied by.
        self.source = transform.source[place]  # (frequencies,)
        self.sign = transform.sign[place, 0, 0].clone()  # (frequencies, 2)
        self.sign[mirrored, 1] *= -1

    def product(self, spectrum: Tensor, weight: Tensor, size: tuple[int, ...], gain: Tensor | None = None) -> Tensor:
        """Every coefficient times the matrix at its frequency.

        Args:
            spectrum: half spectrum of a map, (n, B, inputs), complex.
            weight: parameters, (N, inputs, outputs, 2).
            size: the map's.
            gain: by what each coefficient is multiplied besides, (n,), on the CPU.

        Returns:
            (n, B, outputs).
        """
        out: Tensor = _Product.apply(spectrum, weight, self._cells(size, gain).to(weight))
        return out

    def values(self, weight: Tensor, size: tuple[int, ...]) -> Tensor:
        """Parameters (N, C, 2) interpolated to the half spectrum of a map of a size: its two parts, (2, C, n)."""
        signed = weight[self.source.to(weight.device)] * self.sign[:, None].to(weight)
        rows, columns = (self._between(axis, size).to(weight) for axis in (0, 1))
        return (rows @ signed.permute(2, 1, 0).unflatten(2, self.size) @ columns.T).flatten(2)

    def _between(self, axis: int, size: tuple[int, ...]) -> Tensor:
        """Linear interpolation along an axis as a matrix, (a map's frequencies, the grid's)."""
        left, share = self._positions(axis, size)
        each, matrix = torch.arange(len(left)), torch.zeros(len(left), self.size[axis], dtype=torch.float64)
        matrix[each, left] += 1 - share
        matrix[each, (left + 1) % self.size[axis]] += share
        return matrix

    def _positions(self, axis: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Of a map's frequencies along an axis: the grid's frequency to the left, and how far it is to the next one."""
        length, grid = _as_image(size)[axis], self.size[axis]
        bins = torch.arange(length // 2 + 1 if axis else length) * grid
        left = bins // length
        if axis:  # Nyquist ends the last cell of the half spectrum; it is no cell of its own
            left = left.clamp(max=(grid + 1) // 2 - 1)
        return left, (bins - left * length).double() / length

    def _cells(self, size: tuple[int, ...], gain: Tensor | None) -> _Cells:
        (rows, columns), width = (_Line.of(*self._positions(axis, size)) for axis in (0, 1)), size[-1] // 2 + 1
        inside = _crossed(torch.mul, rows.inside, columns.inside)
        index = _crossed(torch.add, rows.index * width, columns.index)
        shares, corners = [], []
        for below, right in product((0, 1), (0, 1)):
            shares.append(_crossed(torch.mul, rows.share(below), columns.share(right)))
            row, column = (rows.left + below) % self.size[0], (columns.left + right) % self.size[1]
            corners.append(_crossed(torch.add, row[:, None] * self.size[1], column[:, None]))
        counted = inside if gain is None else inside * gain[index]
        corner = torch.cat(corners, 1)  # (C, 4)
        count = width * (size[0] if len(size) == 2 else 1)
        return _Cells(
            index.masked_fill(~inside, count),
            torch.stack(shares, 2) * counted[:, :, None],
            self.source[corner],
            self.sign[corner],
        )


def _as_image(size: tuple[int, ...]) -> tuple[int, int]:
    """(T,) as (1, T)."""
    return (size[0], size[1]) if len(size) == 2 else (1, size[0])


def _crossed(operation: Callable[[Tensor, Tensor], Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Of every row with every column, (r, s) and (c, t) -> (r c, s t)."""
    return operation(rows[:, None, :, None], columns[None, :, None, :]).flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class _Line:
    """A map's frequencies along one axis, by the cell of the grid that they lie in: c cells of at most s frequencies.

    left: the grid's frequency to the left of each cell, (c,). index: the cell's frequencies, (c, s). inside: whether
    there are so many. right: how far each is to the next frequency of the grid.
    """

    left: Tensor
    index: Tensor
    inside: Tensor
    right: Tensor

    @classmethod
    def of(cls, left: Tensor, share: Tensor) -> _Line:
        """From each frequency's (n,) left neighbour and how far it is to the right one."""
        cells, counts = torch.unique_consecutive(left, return_counts=True)
        ends = counts.cumsum(0)
        index = (ends - counts)[:, None] + torch.arange(int(counts.max()))
        inside = index < ends[:, None]
        index = index.clamp(max=len(left) - 1)
        return cls(cells, index, inside, share[index])

    def share(self, right: int) -> Tensor:
        """How much the neighbour to the left (0) or right (1) counts, (c, s)."""
        return self.right if right else 1 - self.right


@dataclass(frozen=True)
class _Cells:
    """Cells of a grid with the frequencies of a map in them: C cells of at most S frequencies.

    index: the frequencies, (C, S), and n where a cell has fewer. shares: how much each corner of the cell counts,
    (C, S, 4), 0 where a cell has fewer. source: which parameter stands at each corner, (C, 4), and by what its real and
    imaginary part are multiplied: sign (C, 4, 2), on the CPU.
    """

    index: Tensor
    shares: Tensor
    source: Tensor
    sign: Tensor

    def to(self, like: Tensor) -> _Cells:
        """In a tensor's precision and on its device, but for the signs."""
        index, source = (x.to(like.device) for x in (self.index, self.source))
        return _Cells(index, self.shares.to(like), source, self.sign)

    def parts(self, samples: int, inputs: int, outputs: int) -> Iterator[_Cells]:
        """So many cells at a time that the work on them takes no more than a chunk, but at least one."""
        each = 4 * inputs * outputs + self.index.shape[1] * samples * (4 * inputs + outputs)
        step = max(1, (CHUNK if self.index.device.type == "cpu" else DEVICE_CHUNK) // each)
        for first in range(0, len(self.index), step):
            yield _Cells(*(x[first : first + step] for x in (self.index, self.shares, self.source, self.sign)))

    def gathered(self, spectrum: Tensor) -> Tensor:
        """The cells' coefficients, (n, B, C) -> (cells, S, B, C); those of any frequency where a cell has fewer."""
        return spectrum[self.index.clamp(max=len(spectrum) - 1)]

    def weighed(self, spectrum: Tensor) -> Tensor:
        """Coefficients times the four shares, (n, B, inputs) -> (cells, S B, 4 inputs)."""
        return (self.gathered(spectrum).unsqueeze(3) * self.shares[:, :, None, :, None]).flatten(3).flatten(1, 2)

    def matrices(self, weight: Tensor) -> Tensor:
        """The four corners' matrices under one another, (N, inputs, outputs, 2) -> (cells, 4 inputs, outputs)."""
        pairs = self.signed(weight.index_select(0, self.source.flatten()))
        return torch.view_as_complex(pairs).unflatten(0, (-1, 4)).flatten(1, 2)

    def signed(self, pairs: Tensor) -> Tensor:
        """Real and imaginary parts at every corner, (4 cells, inputs, outputs, 2), times their signs, in place."""
        sign = self.sign.flatten(0, 1)
        at = (sign != 1).any(1).nonzero().squeeze(1)  # at the edges of the grid only
        if len(at):
            at_device = at.to(pairs.device)
            pairs[at_device] = pairs[at_device] * sign[at, None, None].to(pairs)
        return pairs


class _Product(torch.autograd.Function):
    """Coefficients (n, B, inputs) times interpolated matrices; only the coefficients are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, weight: Tensor, cells: _Cells) -> Tensor:
        ctx.save_for_backward(spectrum, weight)
        ctx.cells = cells
        (count, samples, inputs), outputs = spectrum.shape, weight.shape[2]
        out = spectrum.new_empty(count + 1, samples, outputs)  # the last row takes what stands for no frequency
        for part in cells.parts(samples, inputs, outputs):
            out[part.index] = torch.bmm(part.weighed(spectrum), part.matrices(weight)).unflatten(1, (-1, samples))
        return out[:count]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        spectrum, weight = ctx.saved_tensors
        (count, samples, inputs), outputs = spectrum.shape, weight.shape[2]
        to_spectrum, to_weight = spectrum.new_empty(count + 1, samples, inputs), torch.zeros_like(weight)
        for part in ctx.cells.parts(samples, inputs, outputs):
            own = part.gathered(gradient).flatten(1, 2)  # (cells, S B, outputs)
            to_weighed = torch.bmm(own, part.matrices(weight).mH).unflatten(2, (4, inputs)).unflatten(1, (-1, samples))
            to_spectrum[part.index] = (to_weighed * part.shares[:, :, None, :, None]).sum(3)
            to_matrices = torch.bmm(part.weighed(spectrum).mH, own).unflatten(1, (4, inputs)).flatten(0, 1)
            to_weight.index_add_(0, part.source.flatten(), part.signed(torch.view_as_real(to_matrices)))
        return to_spectrum[:count], to_weight, None
