"""Transforms between a map and its coefficients over frequency: Fourier, cosine, Haar, behind one interface.

All three keep energy: the sum of squares of a map equals the weighted sum of squares of its coefficients.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from overtone.frequency.checks import map_size, one_of

Name = Literal["fft", "dct", "haar"]
SMALL = 64
"""Up to so many values, a Fourier transform written as one matrix is faster than an FFT."""


class Transform(nn.Module):
    """A linear transform of maps (B, C, *size) to coefficients (n, B, C), and back.

    Attributes:
        size: of the map, (T,) or (H, W).
        parts: real numbers per coefficient: 1, or 2 where it is complex.
        frequencies: (n, dims), of each coefficient, as fractions of the Nyquist frequency.
    """

    parts: int
    frequencies: Tensor
    kept: Tensor

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = map_size(size)

    @abstractmethod
    def keep(self, which: Tensor) -> None:
        """From now on use only these coefficients, (n,) true or false; the others count as 0."""

    @abstractmethod
    def analyse(self, x: Tensor) -> Tensor:
        """(B, C, *size) -> (n, B, C), complex where ``parts`` is 2."""

    @abstractmethod
    def synthesise(self, coefficients: Tensor) -> Tensor:
        """(n, B, C) -> (B, C, *size)."""


class Fourier(Transform):
    """The discrete Fourier transform of real maps (unitary).

    A real map's spectrum is Hermitian, F(-u) = conj F(u), so of every pair u, -u one is enough. Coefficients are those
    in the half spectrum of ``rfft`` that are not the mirror image of another there. Where u = -u (frequency 0, and the
    Nyquist frequency of even sizes) a coefficient is real. Frequency: that of the wave, up to n // 2 cycles per map.
    """

    parts = 2
    source: Tensor
    sign: Tensor
    forward_matrix: Tensor | None
    inverse_matrix: Tensor | None

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__(size)
        self.half_size = (*size[:-1], size[-1] // 2 + 1)
        axes = [torch.arange(n) for n in self.half_size]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # (dims, bins)
        mirror = torch.stack([-u % n for u, n in zip(grid, size, strict=True)])
        position = torch.arange(grid.shape[1])
        inside = mirror[-1] < self.half_size[-1]  # whether the mirror image is in the half spectrum too
        number = mirror[-1] + (mirror[0] * self.half_size[-1] if len(size) == 2 else 0)
        # Of a pair u, -u that are both there, the first stands for both.
        self.origin = torch.where(inside, torch.minimum(position, number), position)
        self.real = (grid == mirror).all(0)
        self.all_frequencies = wave_frequencies(grid, size)
        for name in ("frequencies", "kept", "source", "sign", "forward_matrix", "inverse_matrix"):
            self.register_buffer(name, None, persistent=False)
        self.keep(torch.ones(len(self.origin.unique()), dtype=torch.bool))

    def keep(self, which: Tensor) -> None:
        """See :class:`Transform`."""
        kept = self.origin.unique()[which]
        position = torch.full((len(self.origin),), -1)
        position[kept] = torch.arange(len(kept))
        position = position[self.origin]
        mirrored = self.origin != torch.arange(len(self.origin))
        self.kept = kept
        self.source = position.clamp(min=0)
        # What a coefficient's real and imaginary part are multiplied by on their way into each bin.
        imaginary = torch.where(self.real, 0.0, torch.where(mirrored, -1.0, 1.0))
        self.sign = (torch.stack([torch.ones(len(imaginary)), imaginary], 1) * (position >= 0)[:, None])[:, None, None]
        self.frequencies = self.all_frequencies[kept]
        self.forward_matrix = self.inverse_matrix = None
        values, count = math.prod(self.size), len(kept)
        if values <= SMALL and count:
            waves = self.analyse(torch.eye(values).reshape(values, 1, *self.size))[..., 0]  # (n, values)
            units = torch.cat([torch.eye(count), 1j * torch.eye(count)], dim=1).unsqueeze(2)  # (n, 2 n, 1)
            self.inverse_matrix = self.synthesise(units).reshape(2 * count, values)
            self.forward_matrix = torch.cat([waves.real, waves.imag])  # (2 n, values)

    def analyse(self, x: Tensor) -> Tensor:
        """See :class:`Transform`."""
        if self.forward_matrix is not None and x.dtype != torch.float64:  # the matrices are exact to float32 only
            planes = self.forward_matrix.to(x.dtype) @ x.reshape(-1, self.forward_matrix.shape[1]).T  # (2 n, B C)
            real, imaginary = planes.unflatten(1, x.shape[:2]).chunk(2)
            return torch.complex(real, imaginary)
        dims = tuple(range(2, x.dim()))
        spectrum = torch.fft.rfftn(x, dim=dims, norm="ortho").flatten(2)  # (B, C, bins)
        return spectrum.permute(2, 0, 1)[self.kept]

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """See :class:`Transform`. Every bin is filled, Hermitian, so that the inverse is defined on every device."""
        if self.inverse_matrix is not None and coefficients.dtype != torch.complex128:
            planes = torch.view_as_real(coefficients).permute(1, 2, 3, 0).flatten(2)  # (B, C, 2 n)
            return (planes @ self.inverse_matrix.to(planes.dtype)).unflatten(2, self.size)
        spectrum = self.spread(coefficients)
        if len(self.size) == 2:
            spectrum = torch.fft.ifft(spectrum, dim=2, norm="ortho")
        return torch.fft.irfft(spectrum, n=self.size[-1], dim=-1, norm="ortho")

    def spread(self, coefficients: Tensor) -> Tensor:
        """Every bin of the half spectrum from the coefficients: (n, A, B) -> (A, B, *half)."""
        if not len(coefficients):
            nothing = coefficients.sum(0).unsqueeze(2)  # zeros through which every parameter still has a gradient
            return nothing.repeat(1, 1, math.prod(self.half_size)).unflatten(2, self.half_size)
        spectrum = coefficients.index_select(0, self.source)
        return (
            torch.view_as_complex(torch.view_as_real(spectrum) * self.sign)
            .permute(1, 2, 0)
            .unflatten(2, self.half_size)
        )


def wave_frequencies(bins: Tensor, size: tuple[int, ...]) -> Tensor:
    """Frequencies (n, dims) of a Fourier transform's bins (dims, n), as fractions of the Nyquist frequency."""
    waves = torch.stack([torch.where(u > n // 2, u - n, u) for u, n in zip(bins, size, strict=True)], dim=1)
    return waves * 2 / torch.tensor(size)


class Orthogonal(Transform):
    """A separable transform by one orthogonal matrix a dimension; coefficients are real."""

    parts = 1

    def __init__(self, size: tuple[int, ...], basis: Callable[[int], tuple[Tensor, Tensor]]) -> None:
        super().__init__(size)
        frequencies = []
        for dim, length in enumerate(size):
            matrix, frequency = basis(length)
            self.register_buffer(f"matrix{dim}", matrix.float(), persistent=False)
            frequencies.append(frequency.float())
        self.all_frequencies = torch.tensor(list(product(*[f.tolist() for f in frequencies])))
        for name in ("frequencies", "kept"):
            self.register_buffer(name, None, persistent=False)
        self.keep(torch.ones(math.prod(size), dtype=torch.bool))

    def _matrices(self, like: Tensor) -> list[Tensor]:
        return [getattr(self, f"matrix{dim}").to(like.dtype) for dim in range(len(self.size))]

    def keep(self, which: Tensor) -> None:
        """See :class:`Transform`."""
        self.kept = torch.nonzero(which).squeeze(1)
        self.frequencies = self.all_frequencies[self.kept]

    def analyse(self, x: Tensor) -> Tensor:
        """See :class:`Transform`."""
        matrices = self._matrices(x)
        x = x @ matrices[-1].T
        if len(matrices) == 2:
            x = matrices[0] @ x
        return x.flatten(2).permute(2, 0, 1)[self.kept]

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """See :class:`Transform`."""
        matrices = self._matrices(coefficients)
        whole = coefficients.new_zeros(math.prod(self.size), *coefficients.shape[1:])
        x = whole.index_copy(0, self.kept, coefficients).permute(1, 2, 0).unflatten(2, self.size) @ matrices[-1]
        return matrices[0].T @ x if len(matrices) == 2 else x


def cosine_basis(length: int) -> tuple[Tensor, Tensor]:
    """The orthonormal cosine transform (DCT-II): its matrix (n, n), and frequencies k / n of the Nyquist frequency.

    Every size is alike; the map counts as continued by its mirror image, so there is no jump at its border.
    """
    k = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(math.pi / length * k[:, None] * (k + 0.5)) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix, k / length


def haar_basis(length: int) -> tuple[Tensor, Tensor]:
    """The orthonormal Haar wavelets down to a single mean: their matrix (n, n), coarse to fine, and frequencies.

    A wavelet's frequency is the centre of its octave: 3/4 of the Nyquist frequency for differences of neighbours, 3/8
    one level up, and so on; 0 for the mean. At an odd length the last value has no partner and is passed on to the
    next level as it is, which keeps the transform orthonormal.
    """
    scaling = torch.eye(length, dtype=torch.float64)
    details: list[Tensor] = []
    frequencies: list[Tensor] = []
    octave = 0.75
    while len(scaling) > 1:
        pairs = len(scaling) // 2
        first, second = scaling[0 : 2 * pairs : 2], scaling[1 : 2 * pairs : 2]
        details.insert(0, (first - second) / math.sqrt(2))
        frequencies.insert(0, torch.full((pairs,), octave))
        scaling = torch.cat([(first + second) / math.sqrt(2), scaling[2 * pairs :]])
        octave /= 2
    return torch.cat([scaling, *details]), torch.cat([torch.zeros(1), *frequencies])


def make_transform(name: Name, size: tuple[int, ...]) -> Transform:
    """A transform by name.

    Raises:
        ValueError: for an unknown name or an empty map.

    Example:
        >>> transform, x = make_transform("dct", (4,)), torch.arange(8.0).view(1, 2, 4)
        >>> torch.allclose(transform.synthesise(transform.analyse(x)), x, atol=1e-5)
        True
    """
    one_of("transform", name, get_args(Name))
    size = map_size(size)
    if name == "fft":
        return Fourier(size)
    if name == "dct":
        return Orthogonal(size, cosine_basis)
    return Orthogonal(size, haar_basis)
