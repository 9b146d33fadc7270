"""A learnable filter over frequency that mixes channels, and the transform and mask it works under."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.frequency.checks import fits, grid_size, map_size
from overtone.frequency.grid import Grid
from overtone.frequency.masks import RADIUS, SHAPE, Shape, dense_mask, published_mask
from overtone.frequency.settings import check_settings, gain_of, mirrored
from overtone.frequency.transforms import Fourier, Name, make_transform

SIZES_KEPT = 8
"""Of how many other sizes the Fourier transform is kept."""


class SpectralFilter(nn.Module):
    r"""``Y(u) = m(u) X(u) K(u)``: at every frequency u its own matrix from input to output channels, under a mask m.

    Only coefficients that the mask lets pass have parameters, and of a real map's Fourier spectrum only those that are
    no mirror image of another: less than (W // 2 + 1) / W of the dense filter. Complex values are pairs of real ones.

    For a map of another size a Fourier filter is resampled in frequency. With ``grid``, parameters lie on a grid of
    frequencies that no map's size changes, all of it, and are interpolated to each map's frequencies (``low_rank``'s
    two matrices each by itself), under the mask at these; the interpolated filter is never made.

    The official code's dense filter stores u and -u as two parameters, and what acts on a real map is their mean. A
    step of gradient descent moves this mean half as far as it would move one parameter, a quarter as far where the mask
    lets only one of the two pass. With ``published`` the filter moves as slowly: what is stored is the acting
    coefficient divided by :math:`\sqrt{1/2}` (by 1/2), so that this factor comes in twice, with the gradient and with
    the step. Decay is the same in both. This holds for SGD with momentum and weight decay.

    Args:
        in_channels, out_channels: of the maps.
        size: of the maps, T, (T,) or (H, W).
        transform: fft, dct or haar; see :mod:`overtone.frequency.transforms`.
        shape, radius: of the high-pass mask; see :func:`overtone.frequency.masks.high_pass`.
        form: ``full``, a matrix at each frequency; ``depthwise``, a factor for each output channel at each frequency,
            behind one mixing of channels for all of them if the numbers of channels differ; ``low_rank:r``, a
            matrix of rank r at each frequency.
        published: the mask and the initial values of the official code instead of ours, and coefficients stored so that
            gradient descent moves the filter as it moves that code's dense one.
        grid: how many frequencies the grid has along each axis, or along all axes alike; of ``fft`` only.

    Attributes:
        grid_size: of the spectrum that parameters belong to: the grid's, or without one the map's.

    Raises:
        ValueError: for settings that are unknown or do not go together, or an empty map.

    Source: Pham et al., "Frequency Attention for Knowledge Distillation", WACV 2024; Rao et al., "Global Filter
    Networks for Image Classification", NeurIPS 2021 (depthwise).

    Example:
        >>> untrained = SpectralFilter(1, 1, 4, form="depthwise")  # passes all but the mean
        >>> untrained(torch.tensor([[[1.0, 2.0, 5.0, 8.0]]])).detach().round()
        tensor([[[-3., -2.,  1.,  4.]]])
    """

    gain: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int | Sequence[int],
        *,
        transform: Name = "fft",
        shape: Shape = SHAPE,
        radius: float = RADIUS,
        form: str = "full",
        published: bool = False,
        grid: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_settings(in_channels, out_channels, size, transform, shape, radius, form, published, grid)
        self.in_channels, self.out_channels, self.size = int(in_channels), int(out_channels), map_size(size)
        self.shape, self.radius, self.form, self.published = shape, float(radius), form, published
        self.transform_name = transform
        self.grid_size = self.size if grid is None else grid_size(grid, len(self.size))
        self.transform = make_transform(transform, self.grid_size)
        self.grid = None if grid is None else Grid(cast(Fourier, self.transform))
        self._others: dict[tuple[tuple[int, ...], torch.device], Fourier] = {}
        if grid is None:
            gain = gain_of(self.transform, shape, self.radius, published)
        else:  # the mask acts at a map's own frequencies
            gain = torch.ones(len(self.transform.kept))
        if not gain.any() or (grid is not None and not dense_mask(self.size, shape, radius).any()):
            warnings.warn(
                f"overtone: the high-pass mask ({shape}, radius {radius}) lets nothing of a map of size {self.size} "
                "pass",
                stacklevel=3,
            )
        self.transform.keep(gain > 0)
        passed = gain[gain > 0]
        if published:  # squares, which are exact in every precision
            passed = torch.where(cast(Fourier, self.transform).real[self.transform.kept], 1.0, passed / 2)
        self.register_buffer("gain", passed if (passed != 1).any() else None, persistent=False)
        self._make_parameters(len(passed), self.transform.parts)

    def _make_parameters(self, count: int, parts: int) -> None:
        inputs, outputs = self.in_channels, self.out_channels
        if self.form == "full":
            self.weight = _normal((count, inputs, outputs), inputs, parts)
            if self.published:
                self.from_dense(torch.rand(inputs, outputs, *self.size, dtype=torch.cfloat) / (inputs * outputs))
        elif self.form == "depthwise":
            self.mix = None if inputs == outputs else _normal((inputs, outputs), inputs, 1)
            self.weight = nn.Parameter(torch.zeros(count, outputs, parts))
            self.weight.data[..., 0] = 1
        else:
            rank = int(self.form.partition(":")[2])
            self.down = _normal((count, inputs, rank), inputs, parts)
            self.up = _normal((count, rank, outputs), rank, parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, *size) -> (B, out_channels, *size); a map of another size keeps its own.

        Raises:
            ValueError: for another number of channels or dimensions, an empty map, or another size where the
                transform is not ``fft``.
        """
        fits(x, self.in_channels, len(self.size), wanted_maps(self.in_channels, self.size))
        if not len(x):  # some releases' Fourier transforms refuse an empty batch
            return x.new_zeros(0, self.out_channels, *x.shape[2:])
        if self.grid is None and tuple(x.shape[2:]) != self.size:
            return self._resampled(x)
        if self.form == "depthwise" and self.mix is not None:
            x = torch.einsum("bi...,io->bo...", x, self.mix[..., 0])
        if self.grid is not None:
            return self._interpolated(x, self.grid)
        coefficients = self.transform.analyse(x)  # (n, B, in_channels)
        return self.transform.synthesise(self._multiply(self._weighed(coefficients)))

    @torch.compiler.disable  # type: ignore[misc, untyped-decorator]
    def _interpolated(self, x: Tensor, grid: Grid) -> Tensor:
        """Filter a map of any size with the filter on a grid."""
        size, dims = tuple(x.shape[2:]), tuple(range(2, x.dim()))
        half = (*size[:-1], size[-1] // 2 + 1)
        spectrum = torch.fft.rfftn(x, dim=dims, norm="ortho").flatten(2)  # (B, in_channels, n)
        gain = dense_mask(size, self.shape, self.radius)[..., : half[-1]].flatten()
        if self.form == "depthwise":
            y = spectrum * torch.complex(*(grid.values(self.weight, size) * gain.to(x)))
        else:
            y = spectrum.permute(2, 0, 1)
            if self.form == "full":
                y = grid.product(y, self.weight, size, gain)
            else:
                y = grid.product(grid.product(y, self.down, size, gain), self.up, size)
            y = y.permute(1, 2, 0)
        y = y.unflatten(2, half)
        if len(size) == 2:
            y = torch.fft.ifft(y, dim=2, norm="ortho")
        return torch.fft.irfft(y, n=size[-1], dim=-1, norm="ortho")

    def _weighed(self, numbers: Tensor) -> Tensor:
        """Times how much of each kept coefficient passes: (n, ...) -> the same shape."""
        if self.gain is None:
            return numbers
        gain = self.gain.to(numbers.real.dtype)
        return numbers * (gain.sqrt() if self.published else gain)[:, None, None]

    def _multiply(self, coefficients: Tensor) -> Tensor:
        """(n, B, in_channels) -> (n, B, out_channels)."""
        if self.form == "full":
            return torch.bmm(coefficients, _numbers(self.weight))
        if self.form == "depthwise":
            return coefficients * _numbers(self.weight).unsqueeze(1)
        return torch.bmm(torch.bmm(coefficients, _numbers(self.down)), _numbers(self.up))

    def _matrices(self) -> Tensor:
        """The filter's matrix at each kept frequency, (n, in_channels, out_channels), without the mask."""
        if self.form == "full":
            return _numbers(self.weight)
        if self.form == "depthwise":
            mix = torch.eye(self.in_channels, device=self.weight.device) if self.mix is None else self.mix[..., 0]
            return mix * _numbers(self.weight).unsqueeze(1)
        down, up = _numbers(self.down), _numbers(self.up)
        if self.grid is not None and isinstance(
            self.transform, Fourier
        ):  # each is real where u = -u, not their product
            real = self.transform.real[self.transform.kept].to(down.device)[:, None, None]
            down, up = (torch.where(real, x.real.to(x.dtype), x) for x in (down, up))
        return torch.bmm(down, up)

    def dense(self) -> Tensor:
        """The whole filter with its mask, Hermitian: (in_channels, out_channels, *grid_size), complex; ``fft`` only.

        Of a filter on a grid, without its mask.

        Raises:
            ValueError: for another transform.
        """
        if not isinstance(self.transform, Fourier):
            raise ValueError("only the filter of transform fft can be written as a dense one")
        matrices = self._weighed(self._matrices())
        half = self.transform.spread(matrices)  # (in, out, *half)
        columns = torch.arange(self.grid_size[-1], device=half.device)
        inside = columns < half.shape[-1]
        mirrored = half[..., (-columns % self.grid_size[-1]).clamp(max=half.shape[-1] - 1)].conj()
        if len(self.grid_size) == 2:
            mirrored = mirrored.flip(-2).roll(1, -2)
        return torch.where(inside, half[..., columns.clamp(max=half.shape[-1] - 1)], mirrored)

    def mask(self) -> Tensor:
        """How much of each frequency of :meth:`dense` the mask lets pass, 0 to 1, of shape ``grid_size``; ``fft`` only.

        Of the published mask, which is lopsided, this is its mean with its mirror image, as it acts on real maps.

        Raises:
            ValueError: for another transform.
        """
        if not isinstance(self.transform, Fourier):
            raise ValueError("only the filter of transform fft has a mask over a dense spectrum")
        if not self.published:
            return dense_mask(self.grid_size, self.shape, self.radius)
        mask = published_mask(self.grid_size)
        return (mask + mirrored(mask, len(self.grid_size))) / 2

    @torch.no_grad()
    def from_dense(self, filter: Tensor) -> None:
        r"""Take over a dense complex filter K (in_channels, out_channels, *grid_size): masked first, then projected.

        Only the Hermitian part of the masked filter acts on real maps if the real part of the output is kept, so
        :math:`P(u) = [M(u) K(u) + \overline{M(-u) K(-u)}] / [M(u) + M(-u)]`. A parameter's gradient is then
        :math:`dL/dK(u) + \overline{dL/dK(-u)}` of the dense filter where the mask is 1 at u and -u (half of that
        where u = -u). With ``published``, P(u) is divided by :math:`\sqrt{1/2}` where both pass and u is not -u, and
        those gradients are multiplied by it.

        Raises:
            ValueError: for another transform, form or shape.
        """
        wanted = (self.in_channels, self.out_channels, *self.grid_size)
        if not isinstance(self.transform, Fourier) or self.form != "full":
            raise ValueError(
                f"only a filter of transform fft and form full can take over a dense one; this one is of "
                f"{self.transform_name} and {self.form}"
            )
        if not isinstance(filter, Tensor) or not filter.is_complex() or tuple(filter.shape) != wanted:
            got = f"{tuple(filter.shape)} in {filter.dtype}" if isinstance(filter, Tensor) else repr(filter)
            raise ValueError(f"a dense complex filter {wanted} is needed; got {got}")
        half = (..., slice(self.grid_size[-1] // 2 + 1))
        mask = published_mask(self.grid_size) if self.published else torch.ones(self.grid_size)
        mask = mask.to(filter.device)
        masked = mask * filter
        hermitian = (masked + mirrored(masked, len(self.grid_size)).conj())[half].flatten(2)[..., self.transform.kept]
        stored = hermitian.permute(2, 0, 1) / 2
        if self.published:
            stored = stored / self._weighed(torch.ones_like(stored[:, :1, :1].real))
        self.weight.copy_(torch.view_as_real(stored.resolve_conj().contiguous()))

    def _resampled(self, x: Tensor) -> Tensor:
        """Filter a map of another size with the filter interpolated linearly in frequency, under that size's mask."""
        size = tuple(x.shape[2:])
        if not isinstance(self.transform, Fourier):
            raise ValueError(
                f"a filter of transform {self.transform_name} was made for maps of size {self.size} and cannot be "
                f"resampled; got {size}. Use other_size: pool"
            )
        response = self.dense()
        for dim, (old, new) in enumerate(zip(self.size, size, strict=True), start=2):
            position = torch.arange(new, device=x.device) * (old / new)  # the spectrum is periodic
            left = position.floor().long()
            share = (position - left).to(x)
            shape = [-1 if d == dim else 1 for d in range(response.dim())]
            before, after = response.index_select(dim, left % old), response.index_select(dim, (left + 1) % old)
            response = before + (after - before) * share.reshape(shape)
        known = self._others.get((size, x.device))
        other = self._other(size, x.device) if known is None else known
        half = response[..., : size[-1] // 2 + 1].flatten(2)[..., other.kept].permute(2, 0, 1)
        return other.synthesise(torch.bmm(other.analyse(x), half))

    @torch.compiler.disable  # type: ignore[misc, untyped-decorator]
    def _other(self, size: tuple[int, ...], device: torch.device) -> Fourier:
        """The Fourier transform of another size under its own mask, kept for the next map of that size."""
        with torch.inference_mode(False):
            other = Fourier(size)
            if not self.published:
                other.keep(gain_of(other, self.shape, self.radius, False) > 0)
            other.to(device)
        while len(self._others) >= SIZES_KEPT:
            del self._others[next(iter(self._others))]
        self._others[size, device] = other
        return other

    def __getstate__(self) -> dict[str, Any]:
        """A copy builds its transforms of other sizes anew."""
        return {**self.__dict__, "_others": {}}

    def extra_repr(self) -> str:
        """What is shown when the module is printed."""
        mask = "published" if self.published else f"{self.shape} {self.radius}"
        channels = f"{self.in_channels} -> {self.out_channels}"
        grid = "" if self.grid is None else f", grid {self.grid_size}"
        return f"{channels}, size {self.size}, {self.transform_name}, {self.form}, {mask}{grid}"


def wanted_maps(channels: int, size: tuple[int, ...]) -> str:
    """Of what form maps are wanted, in words."""
    return f"(B, {channels}, {', '.join(map(str, size))}), or of another size of at least 1"


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map (B, C, ...) at another size: averaged where it shrinks, repeated where it grows.

    Example:
        >>> x = torch.tensor([[[1.0, 3.0]]])
        >>> resize(x, (1,)), resize(x, (4,))
        (tensor([[[2.]]]), tensor([[[1., 1., 3., 3.]]]))
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    smaller = tuple(min(have, want) for have, want in zip(x.shape[2:], size, strict=True))
    if smaller != tuple(x.shape[2:]):
        pool = F.adaptive_avg_pool1d if len(size) == 1 else F.adaptive_avg_pool2d
        x = pool(x, smaller)  # type: ignore[arg-type]
    return x if smaller == tuple(size) else F.interpolate(x, size, mode="nearest")


def _normal(shape: tuple[int, ...], inputs: int, parts: int) -> nn.Parameter:
    """Values of variance 1 / inputs, so that a filter keeps the size of what goes through it."""
    return nn.Parameter(torch.randn(*shape, parts) / math.sqrt(inputs * parts))


def _numbers(pairs: Tensor) -> Tensor:
    """Parameters (..., parts) as real or complex numbers (...)."""
    return torch.view_as_complex(pairs) if pairs.shape[-1] == 2 else pairs[..., 0]
