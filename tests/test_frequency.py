"""Frequency attention against plain versions of it, written here: dense complex filters, unfolded neighbours, loops."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import time
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from cases import IMAGE, batch_of
from torch import Tensor, nn
from torch.func import functional_call

from overtone import Distillation, FrequencyAttention
from overtone.errors import InputError
from overtone.frequency import (
    LocalAttention,
    SpectralFilter,
    dense_mask,
    high_pass,
    lift,
    local,
    make_transform,
    parameter_count,
    published_mask,
    resize,
)
from overtone.frequency import attention as attention_module
from overtone.frequency import filter as filter_module
from overtone.frequency.transforms import Fourier
from overtone.losses import attention_transfer, hierarchical_context, spectrum_distance
from overtone.methods import configure, find, pair_stages
from overtone.models import build
from overtone.types import DataInfo, Output, Spec, StageSpec

SIZES_1D = [(1,), (2,), (3,), (8,), (21,), (40,), (65,)]
SIZES_2D = [(1, 1), (1, 6), (5, 1), (2, 3), (4, 4), (5, 6), (6, 5), (7, 9), (9, 12), (21, 24), (24, 20)]
SIZES = SIZES_1D + SIZES_2D
TRANSFORMS = ["fft", "dct", "haar"]
# Their matrices are kept in float32, so that in float64 too results agree to about seven digits.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def complex_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.complex(numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1))


def close(got: Tensor, want: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(got.detach(), want.detach(), **{**TOLERANCE, **tolerance})


def quiet(*args: Any, **settings: Any) -> SpectralFilter:
    """A filter in float64, whatever its mask removes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return SpectralFilter(*args, **settings).double()


# ---- plain versions ---------------------------------------------------------------------------------------------


def dense_filter(x: Tensor, filter: Tensor, mask: Tensor | float = 1.0) -> Tensor:
    """All of the spectrum, times the mask, times a matrix at each frequency; the real part of the inverse."""
    dims = tuple(range(2, x.dim()))
    spectrum = torch.fft.fftn(x.to(torch.complex128), dim=dims, norm="ortho")
    product = torch.einsum("bi...,io...->bo...", spectrum, filter * mask)
    return torch.fft.ifftn(product, dim=dims, norm="ortho").real


def wave(u: int, length: int) -> float:
    """Frequency of bin u as a fraction of the Nyquist frequency."""
    return 2 * (u if u <= length // 2 else u - length) / length


def slow_mask(size: tuple[int, ...], shape: str, radius: float) -> Tensor:
    """Bin by bin, frequency 0 first."""
    mask = torch.ones(size, dtype=torch.float64)
    for bin in itertools.product(*map(range, size)):
        waves = [wave(u, n) for u, n in zip(bin, size, strict=True)]
        far = math.hypot(*waves)
        if math.prod(size) == 1 or shape == "none":
            value = 1.0
        elif shape == "box":
            value = float(max(abs(f) for f in waves) > radius)
        elif shape == "disc":
            value = float(far > radius)
        elif shape == "butterworth":
            value = 0.0 if far == 0 else 1 / math.sqrt(1 + (radius / far) ** 4)
        else:
            value = 1 - math.exp(-(far**2) / (2 * radius**2))
        mask[bin] = value
    return mask


def slow_published_mask(size: tuple[int, ...]) -> Tensor:
    """Shift frequency 0 to the centre, remove the block of the official code, shift back; each step by counting."""
    mask = torch.ones(size, dtype=torch.float64)
    for bin in itertools.product(*map(range, size)):
        inside = True
        for u, length in zip(bin, size, strict=True):
            centre = int(length / 2)
            half = int(0.1 * centre)
            shifted = (u + centre) % length
            inside = inside and shifted in range(centre - half, centre + half)
        mask[bin] = float(not inside)
    return mask


def opposite(bin: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-u % n for u, n in zip(bin, size, strict=True))


def kept_bins(module: SpectralFilter) -> list[tuple[int, ...]]:
    """Of each parameter, where it stands in the spectrum."""
    half = (*module.size[:-1], module.size[-1] // 2 + 1)
    return [tuple(int(u) for u in np.unravel_index(int(k), half)) for k in module.transform.kept]


def spread_out(matrices: Tensor, module: SpectralFilter) -> Tensor:
    """Matrices (n, in, out) at the kept bins as a dense Hermitian filter (in, out, *size)."""
    dense = torch.zeros(*matrices.shape[1:], *module.size, dtype=torch.complex128)
    for matrix, bin in zip(matrices, kept_bins(module), strict=True):
        other = opposite(bin, module.size)
        dense[(..., *bin)] = matrix.real.to(dense) if other == bin else matrix
        dense[(..., *other)] = dense[(..., *bin)].conj()
    return dense


class PlainAttention(nn.Module):
    """Local attention with one unfolded copy of keys and values for each neighbour."""

    def __init__(self, twin: LocalAttention) -> None:
        super().__init__()
        twin = copy.deepcopy(twin)
        self.query, self.key, self.value, self.relative = twin.query, twin.key, twin.value, twin.relative
        self.dims, self.kernel = twin.dims, twin.kernel

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        near = self.kernel // 2
        padded = F.pad(x, [near] * 2 * self.dims)
        query, keys, values = self.query(x if y is None else y), self.key(padded), self.value(padded)
        for dim in range(2, 2 + self.dims):
            keys, values = keys.unfold(dim, self.kernel, 1), values.unfold(dim, self.kernel, 1)
        if self.dims == 1:
            keys = keys + self.relative[None, :, None, :]
        else:
            rows, columns = keys.chunk(2, dim=1)
            by_row, by_column = self.relative.chunk(2)
            rows = rows + by_row[None, :, None, None, :, None]
            columns = columns + by_column[None, :, None, None, None, :]
            keys = torch.cat([rows, columns], dim=1)
        keys, values = keys.flatten(2 + self.dims), values.flatten(2 + self.dims)
        return ((query.unsqueeze(-1) * keys).softmax(-1) * values).sum(-1)


# ---- the half spectrum ------------------------------------------------------------------------------------------

MASKS = [("box", 0.33, False), ("disc", 0.6, False), ("butterworth", 0.4, False), ("box", 0.1, True)]


@pytest.mark.parametrize(("shape", "radius", "published"), MASKS, ids=["box", "disc", "butterworth", "published"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_half_spectrum_equals_dense(size: tuple[int, ...], shape: Any, radius: float, published: bool) -> None:
    """Output, gradient in x, and the filter's gradient as the projection that ``from_dense`` states."""
    module = quiet(2, 3, size, shape=shape, radius=radius, published=published)
    mask = slow_published_mask(size) if published else slow_mask(size, shape, radius)
    filter = complex_numbers(2, 3, *size, seed=1).requires_grad_()
    module.from_dense(filter.detach())
    x = numbers(4, 2, *size, seed=3).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    goal = numbers(4, 3, *size, seed=4)
    got, want = module(x), dense_filter(twin, filter, mask)
    close(got, want)
    ((got - goal) ** 2).sum().backward()
    ((want - goal) ** 2).sum().backward()
    close(x.grad, twin.grad, rtol=1e-4, atol=1e-4)
    found = torch.view_as_complex(module.weight.grad)
    expected = torch.zeros_like(found)
    for number, bin in enumerate(kept_bins(module)):
        other = opposite(bin, size)
        own = filter.grad[(..., *bin)] + filter.grad[(..., *other)].conj()
        expected[number] = own / 2 if bin == other else own
        if published and bin != other and bool(mask[bin] and mask[other]):
            expected[number] *= math.sqrt(1 / 2)
    close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1,), (7,), (8,), (21,), (4, 4), (5, 6), (24, 20)], ids=str)
def test_a_published_filter_trains_as_a_dense_one(size: tuple[int, ...]) -> None:
    """Twenty steps with momentum and weight decay: what acts of the dense filter stays equal to ours."""
    module, mask = quiet(2, 3, size, published=True), slow_published_mask(size)
    filter = complex_numbers(2, 3, *size, seed=1).requires_grad_()
    module.from_dense(filter.detach())
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    ours, theirs = torch.optim.SGD([module.weight], **settings), torch.optim.SGD([filter], **settings)
    start = module.weight.detach().clone()
    for step in range(20):
        x, goal = numbers(4, 2, *size, seed=2 * step), numbers(4, 3, *size, seed=2 * step + 1)
        losses = []
        for optimizer, y in ((ours, module(x)), (theirs, dense_filter(x, filter, mask))):
            optimizer.zero_grad()
            loss = (y - goal).square().mean()
            loss.backward()
            losses.append(loss.detach())
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=0)
        ours.step()
        theirs.step()
    masked = mask * filter.detach()
    mirrored = torch.empty_like(masked)
    for bin in itertools.product(*map(range, size)):
        mirrored[(..., *bin)] = masked[(..., *opposite(bin, size))].conj()
    torch.testing.assert_close(module.dense().detach(), (masked + mirrored) / 2, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(module.weight, start, rtol=0.01)


def test_a_published_filter_starts_as_the_dense_one() -> None:
    """Uniform in [0, 1) / (C_in C_out), both parts; of a pair u, -u the mean acts, of a masked one half."""
    size, bound = (24, 24), 1 / (8 * 9)
    torch.manual_seed(0)
    filter = quiet(8, 9, size, published=True).dense().detach()
    mask = slow_published_mask(size)
    both = [bin for bin in itertools.product(range(1, 24), range(1, 12)) if mask[bin] and mask[opposite(bin, size)]]
    held = torch.stack([filter[(..., *bin)] for bin in both])
    assert 0 < float(held.real.min()) < float(held.real.max()) < bound
    assert float(held.real.mean()) == pytest.approx(bound / 2, rel=0.02)
    assert float(held.real.std()) == pytest.approx(bound / math.sqrt(24), rel=0.05)
    assert float(held.imag.std()) == pytest.approx(bound / math.sqrt(24), rel=0.05)  # the difference of two
    assert float(held.imag.mean()) == pytest.approx(0, abs=bound / 50)


@pytest.mark.parametrize("size", [(12,), (5, 6)], ids=str)
def test_the_whole_module_is_its_two_branches(size: tuple[int, ...]) -> None:
    module = FrequencyAttention(2, 3, size).double()
    filter, x = complex_numbers(2, 3, *size), numbers(2, 2, *size, seed=5)
    module.from_dense(filter)
    with torch.no_grad():
        module.rate_global.fill_(0.7)
        module.rate_local.fill_(-1.2)
    weight, bias = module.local.weight.flatten(1), module.local.bias
    local_branch = torch.einsum("oi,bi...->bo...", weight, x) + bias.reshape(1, -1, *[1] * len(size))
    close(module(x), 0.7 * dense_filter(x, filter, slow_mask(size, "box", 0.1)) - 1.2 * local_branch)


def test_branches() -> None:
    x = torch.randn(2, 3, 6)
    both = FrequencyAttention(3, 4, 6)
    state = both.state_dict()
    parts = []
    for branch in ("global", "local"):
        one = FrequencyAttention(3, 4, 6, branches=branch)
        one.load_state_dict({name: value for name, value in state.items() if name in one.state_dict()})
        parts.append(one(x))
    torch.testing.assert_close(parts[0] + parts[1], both(x))
    assert set(state) == {"filter.weight", "rate_global", "local.weight", "local.bias", "rate_local"}
    with pytest.raises(ValueError, match="no global branch"):
        FrequencyAttention(3, 4, 6, branches="local").from_dense(torch.zeros(3, 4, 6, dtype=torch.cfloat))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_parameters_stand_for_each_frequency_once(size: tuple[int, ...]) -> None:
    """None at masked frequencies, none twice, and no more than the half spectrum's share of the dense filter."""
    for shape, radius in (("none", 0.1), ("box", 0.33), ("disc", 0.5)):
        module = quiet(2, 3, size, shape=shape, radius=radius)
        bins = kept_bins(module)
        mirrored = [opposite(bin, size) for bin in bins]
        covered = sorted(bins + [o for b, o in zip(bins, mirrored, strict=True) if o != b])
        passing = [tuple(bin) for bin in slow_mask(size, shape, radius).nonzero().tolist()]
        assert covered == passing
        dense = 2 * 2 * 3 * math.prod(size)  # two real numbers for each complex one
        count = sum(p.numel() for p in module.parameters())
        assert count == 2 * 2 * 3 * len(bins)
        assert count <= dense * (size[-1] // 2 + 1) / size[-1]


@pytest.mark.parametrize("size", [s for s in SIZES if math.prod(s) > 1], ids=str)
def test_what_is_inverted_is_hermitian(size: tuple[int, ...]) -> None:
    """The inverse of a half spectrum is defined only if it could be that of a real map; CPUs hide it if not."""
    transform = make_transform("fft", size)
    half = transform.spread(complex_numbers(len(transform.kept), 2, 3))
    for bin in itertools.product(*map(range, half.shape[2:])):
        other = opposite(bin, size)
        if other[-1] < half.shape[-1]:
            torch.testing.assert_close(half[(..., *bin)], half[(..., *other)].conj())


# ---- transforms -------------------------------------------------------------------------------------------------


def energy(transform: Any, coefficients: Tensor) -> Tensor:
    """Sum of squares; a complex coefficient counts for its mirror image too where that is another bin."""
    squares = coefficients.abs().square()
    if transform.parts == 2:
        alone = torch.isin(transform.frequencies.abs(), torch.tensor([0.0, 1.0])).all(1)
        squares = squares * torch.where(alone, 1, 2)[:, None, None]
    return squares.sum()


LARGER = [(97, 3), (2, 97), (31, 64), (33, 20), (13, 13)]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [*((n,) for n in range(1, 98)), *SIZES_2D, *LARGER], ids=str)
def test_round_trip_and_energy(name: Any, size: tuple[int, ...]) -> None:
    transform = make_transform(name, size).double()
    x = numbers(2, 3, *size)
    coefficients = transform.analyse(x)
    assert coefficients.is_complex() == (transform.parts == 2)
    close(transform.synthesise(coefficients), x)
    close(energy(transform, coefficients), x.square().sum())


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [(9,), (66,), (6, 5), (12, 10)], ids=str)
def test_what_a_mask_keeps_and_removes_add_up(name: Any, size: tuple[int, ...]) -> None:
    """A hard mask is a projection: map and energy are the sum of both parts'."""
    x = numbers(2, 3, *size)
    kept = high_pass(make_transform(name, size).frequencies, "box", 0.4) > 0
    parts = []
    for which in (kept, ~kept):
        transform = make_transform(name, size)
        transform.keep(which)
        transform.double()
        parts.append(transform.synthesise(transform.analyse(x)))
        close(transform.synthesise(transform.analyse(parts[-1])), parts[-1])
    close(sum(parts), x)
    close(sum(p.square().sum() for p in parts), x.square().sum())


@pytest.mark.parametrize("size", [(1,), (7,), (12,), (65,), (4, 7)], ids=str)
def test_coefficients_are_those_of_other_packages(size: tuple[int, ...]) -> None:
    x = numbers(2, 3, *size)
    axes = tuple(range(2, x.dim()))
    cosine = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=axes, norm="ortho")).flatten(2).permute(2, 0, 1)
    close(make_transform("dct", size).double().analyse(x), cosine)
    transform = make_transform("fft", size).double()
    fourier = torch.from_numpy(np.fft.rfftn(x.numpy(), axes=axes, norm="ortho")).flatten(2).permute(2, 0, 1)
    close(transform.analyse(x), fourier[transform.kept])


def slow_haar(values: list[float]) -> list[float]:
    """One mean, then differences from coarse to fine; a last value without partner moves up a level."""
    details: list[float] = []
    while len(values) > 1:
        pairs = [(values[i], values[i + 1]) for i in range(0, len(values) - 1, 2)]
        rest = values[2 * len(pairs) :]
        details = [(a - b) / math.sqrt(2) for a, b in pairs] + details
        values = [(a + b) / math.sqrt(2) for a, b in pairs] + rest
    return values + details


@pytest.mark.parametrize("length", [1, 2, 3, 8, 11, 32, 97])
def test_haar_is_differences_of_sums(length: int) -> None:
    x = numbers(2, 3, length)
    found = make_transform("haar", (length,)).double().analyse(x)
    for b, c in itertools.product(range(2), range(3)):
        close(found[:, b, c], torch.tensor(slow_haar(x[b, c].tolist()), dtype=torch.float64))


def test_frequencies_by_hand() -> None:
    def of(name: Any, *size: int) -> list[Any]:
        return make_transform(name, size).frequencies.squeeze(1).tolist()

    assert of("fft", 4) == [0, 0.5, 1]
    assert of("fft", 5) == pytest.approx([0, 0.4, 0.8])  # an odd size has no wave at the Nyquist frequency
    assert of("dct", 4) == [0, 0.25, 0.5, 0.75]
    assert of("haar", 8) == [0, 0.1875, 0.375, 0.375, 0.75, 0.75, 0.75, 0.75]
    assert of("haar", 5) == [0, 0.1875, 0.375, 0.75, 0.75]
    assert of("fft", 2, 3) == [[0, 0], [0, pytest.approx(2 / 3)], [1, 0], [1, pytest.approx(2 / 3)]]
    assert of("dct", 2, 2) == [[0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5]]
    # Of a row's two waves that mirror each other in column 0, the first stands for both.
    assert of("fft", 3, 1) == [[0, 0], [pytest.approx(2 / 3), 0]]


def test_a_pure_wave_passes_or_not() -> None:
    """The output of a filter of ones is the wave itself above the radius and nothing below, at any size."""
    for length, cycles in itertools.product((20, 41, 97), (0, 1, 2, 5, 9)):
        x = torch.cos(2 * math.pi * cycles * torch.arange(length, dtype=torch.float64) / length)[None, None]
        module = quiet(1, 1, (length,), radius=0.3)
        module.from_dense(torch.ones(1, 1, length, dtype=torch.complex128))
        passes = 2 * cycles / length > 0.3
        close(module(x), x if passes else torch.zeros_like(x))


@pytest.mark.parametrize("size", [(), (0,), (3, 0), (2, 2, 2)], ids=str)
def test_impossible_sizes_are_refused(size: tuple[int, ...]) -> None:
    for name in TRANSFORMS:
        with pytest.raises(ValueError, match="a map's size is"):
            make_transform(name, size)


def test_unknown_names_are_refused() -> None:
    for settings, message in (
        ({"transform": "dft"}, "transform is fft, dct or haar; got 'dft'"),
        ({"shape": "ring"}, "shape is box, disc, butterworth, gaussian or none; got 'ring'"),
        ({"radius": -0.1}, "0 or more; got -0.1"),
        ({"other_size": "crop"}, "other_size is resample or pool; got 'crop'"),
        ({"branches": "none"}, "branches is both, global or local; got 'none'"),
        ({"form": "deep"}, "form is full, depthwise or low_rank:RANK; got 'deep'"),
        ({"form": "low_rank:x"}, "got 'low_rank:x'"),
        ({"published": True, "transform": "dct"}, "published needs transform fft and form full; got dct and full"),
        ({"published": True, "form": "depthwise"}, "got fft and depthwise"),
        ({"form": "low_rank:3"}, "the rank must be 1 to 2"),
        ({"form": None}, "form is .*; got None"),
        ({"transform": ["fft"]}, r"transform is .*; got \['fft'\]"),
        ({"published": True, "shape": "disc"}, "published has a mask of its own; .* got disc and 0.1"),
        ({"published": True, "radius": 0.2}, "published has a mask of its own; .* got box and 0.2"),
        *(({"radius": radius}, f"a finite number, 0 or more; got {radius!r}") for radius in BAD_RADII),
    ):
        for size in ((4, 4), (1, 1), 1):
            for branches in ("both", "global", "local"):
                with pytest.raises(ValueError, match=message):
                    FrequencyAttention(2, 3, size, **{"branches": branches, **settings})
        if not set(settings) & {"other_size", "branches"}:
            with pytest.raises(ValueError, match=message):
                SpectralFilter(2, 3, (1, 1), **settings)
    for radius in BAD_RADII:
        with pytest.raises(ValueError, match="a finite number, 0 or more"):
            high_pass(torch.zeros(1, 1), "box", radius)


BAD_RADII = [math.nan, math.inf, -math.inf, "0.1", None, True, -1]
BAD_SIZES = [
    0,
    -1,
    8.0,
    True,
    "8",
    None,
    (),
    (0,),
    (8, 0),
    (8, 8.0),
    (8, True),
    ("8", "8"),
    (8, 8, 8),
    {8},
    np.float64(8),
]


@pytest.mark.parametrize("size", BAD_SIZES, ids=str)
def test_what_is_no_size_is_refused(size: Any) -> None:
    for branches in ("both", "local"):
        with pytest.raises(ValueError, match=r"a map's size is T, \(T,\) or \(H, W\), whole numbers .* got ") as caught:
            FrequencyAttention(2, 3, size, branches=branches)
        assert str(caught.value).endswith(f"got {size!r}")
    with pytest.raises(ValueError, match="a map's size is"):
        SpectralFilter(2, 3, size)
    with pytest.raises(ValueError, match="a map's size is"):
        dense_mask(size)


@pytest.mark.parametrize("channels", [0, -1, 2.0, True, "2", None], ids=str)
def test_what_is_no_number_of_channels_is_refused(channels: Any) -> None:
    for branches in ("both", "local"):
        with pytest.raises(ValueError, match=f"in_channels is a whole number of at least 1; got {channels!r}"):
            FrequencyAttention(channels, 3, 8, branches=branches)
        with pytest.raises(ValueError, match=f"out_channels is a whole number of at least 1; got {channels!r}"):
            FrequencyAttention(3, channels, 8, branches=branches)
    with pytest.raises(ValueError, match=f"channels is a whole number of at least 1; got {channels!r}"):
        LocalAttention(channels, 1)


def test_sizes_may_be_numpys() -> None:
    for size in (np.int64(8), [np.int32(8), 6], torch.Size([8, 6]), range(8, 9)):
        module = FrequencyAttention(np.int64(2), np.int16(3), size, radius=np.float32(0.1))
        assert module.size in ((8,), (8, 6))
        assert all(type(n) is int for n in module.size)
        assert module(torch.randn(2, 2, *module.size)).shape == (2, 3, *module.size)


def test_what_is_shown() -> None:
    shown = [str(FrequencyAttention(2, 3, 8, **settings)) for settings in ({"shape": "disc"}, {"published": True})]
    assert "2 -> 3, size (8,), fft, full, disc 0.1" in shown[0]
    assert "2 -> 3, size (8,), fft, full, published" in shown[1]
    assert "box" not in shown[1]


def test_a_map_of_other_dimensions_is_refused() -> None:
    for branches, other_size in itertools.product(("both", "global", "local"), ("resample", "pool")):
        module = FrequencyAttention(2, 3, 8, branches=branches, other_size=other_size)
        wanted = r"made for floating-point maps \(B, 2, 8\), or of another size of at least 1; got "
        for shape in ((2, 2, 8, 8), (2, 2), (2, 3, 8), (2, 2, 0), (2, 0, 8)):
            with pytest.raises(ValueError, match=wanted + str(shape).replace("(", r"\(").replace(")", r"\)")):
                module(torch.zeros(shape))
        for dtype in (torch.int64, torch.bool, torch.cfloat):
            with pytest.raises(ValueError, match=wanted + rf"\(2, 2, 8\) in {dtype}"):
                module(torch.zeros(2, 2, 8, dtype=dtype))
        with pytest.raises(ValueError, match=wanted + r"\[1\]"):
            module([1])
    with pytest.raises(ValueError, match=r"made for floating-point maps \(B, 2, 8, 6\)"):
        SpectralFilter(2, 3, (8, 6))(torch.zeros(1, 1, 8, 6))


@pytest.mark.parametrize("size", [(8,), (70,), (4, 5), (12, 10)], ids=str)
def test_an_empty_batch_gives_an_empty_batch(size: tuple[int, ...]) -> None:
    x = torch.zeros(0, 2, *size)
    assert FrequencyAttention(2, 3, size)(x).shape == (0, 3, *size)
    assert FrequencyAttention(2, 3, [n + 1 for n in size])(x).shape == (0, 3, *size)


def test_only_complex_filters_of_its_shape_are_taken_over() -> None:
    for filter, got in (
        (torch.zeros(3, 2, 8, dtype=torch.cfloat), r"\(3, 2, 8\) in torch.complex64"),
        (torch.zeros(2, 3, 8), r"\(2, 3, 8\) in torch.float32"),
        (None, "None"),
    ):
        for module in (FrequencyAttention(2, 3, 8), SpectralFilter(2, 3, 8)):
            with pytest.raises(ValueError, match=rf"a dense complex filter \(2, 3, 8\) is needed; got {got}"):
                module.from_dense(filter)


# ---- signals and images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("form", ["full", "depthwise", "low_rank:1"])
@pytest.mark.parametrize("length", [1, 2, 9, 16, 70])
def test_a_signal_is_an_image_of_width_one(name: Any, form: str, length: int) -> None:
    signal = FrequencyAttention(2, 3, length, transform=name, form=form)
    x = torch.randn(4, 2, length)
    want = signal(x)
    for size in ((length, 1), (1, length)):
        image = FrequencyAttention(2, 3, size, transform=name, form=form)
        state = signal.state_dict()
        state["local.weight"] = state["local.weight"].unsqueeze(-1)
        image.load_state_dict(state)
        torch.testing.assert_close(image(x.reshape(4, 2, *size)).reshape(want.shape), want, rtol=1e-4, atol=1e-5)


def test_rows_and_columns_are_alike() -> None:
    """A filter turned by 90 degrees acts on the turned map as the filter on the map."""
    filter, x = complex_numbers(2, 3, 6, 5), numbers(2, 2, 6, 5, seed=7)
    found = []
    for turn in (False, True):
        module = quiet(2, 3, (5, 6) if turn else (6, 5))
        module.from_dense(filter.mT if turn else filter)
        found.append(module(x.mT if turn else x))
    close(found[1].mT, found[0])


# ---- masks ------------------------------------------------------------------------------------------------------

ALL_SHAPES = ["box", "disc", "butterworth", "gaussian", "none"]


def test_masks_by_hand() -> None:
    f = torch.tensor([[0.0, 0.0], [0.3, 0.4], [-0.5, 0.0], [0.5, 0.5], [1.0, -1.0]])
    assert high_pass(f, "none", 0.5).tolist() == [1, 1, 1, 1, 1]
    assert high_pass(f, "box", 0.5).tolist() == [0, 0, 0, 0, 1]  # |f| <= 0.5 along both axes
    assert high_pass(f, "disc", 0.5).tolist() == [0, 0, 0, 1, 1]  # 0.5, 0.5, 0.707, 1.414
    # At the radius 1 / sqrt 2; at sqrt 2 times it 1 / sqrt(1 + 1/4).
    expected = [0, math.sqrt(1 / 2), math.sqrt(1 / 2), math.sqrt(4 / 5), 1 / math.sqrt(1 + 0.5**4 / 4)]
    assert high_pass(f, "butterworth", 0.5).tolist() == pytest.approx(expected)
    expected = [0, 1 - math.exp(-0.5), 1 - math.exp(-0.5), 1 - math.exp(-1), 1 - math.exp(-4)]
    assert high_pass(f, "gaussian", 0.5).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("shape", ALL_SHAPES)
@pytest.mark.parametrize("size", [s for s in SIZES if max(s) < 60], ids=str)
def test_masks_by_loop_and_symmetric(size: tuple[int, ...], shape: Any) -> None:
    bins = list(itertools.product(*map(range, size)))
    frequencies = torch.tensor([[wave(u, n) for u, n in zip(b, size, strict=True)] for b in bins], dtype=torch.float64)
    found = high_pass(frequencies, shape, 0.33).reshape(size)
    close(found, slow_mask(size, shape, 0.33), rtol=1e-9, atol=1e-12)
    for bin in bins:
        assert float(found[bin]) == pytest.approx(float(found[opposite(bin, size)]), rel=1e-12)
    assert torch.equal(high_pass(-frequencies, shape, 0.33).reshape(size), found)


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_a_mask_means_the_same_at_any_size(shape: Any) -> None:
    """A wave of u cycles on a short map is one of 3 u cycles on a map three times as long."""
    for length in (2, 5, 20, 33):
        short = high_pass(make_transform("fft", (length,)).frequencies, shape, 0.25)
        long = high_pass(make_transform("fft", (3 * length,)).frequencies, shape, 0.25)
        torch.testing.assert_close(long[::3][: len(short)], short)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("size", [(1,), (1, 1)], ids=str)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_single_value_keeps_its_only_frequency(size: tuple[int, ...], name: Any, published: bool) -> None:
    for shape in ALL_SHAPES:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            name = "fft" if published else name
            mask = {"published": True} if published else {"shape": shape, "radius": 0.5}
            module = SpectralFilter(2, 3, size, transform=name, **mask)
        x = torch.randn(4, 2, *size)
        torch.testing.assert_close(module(x).flatten(1), x.flatten(1) @ module.weight[0, ..., 0])


@pytest.mark.parametrize("shape", ["box", "disc", "butterworth", "gaussian"])
@pytest.mark.parametrize("size", [(9,), (4, 6)], ids=str)
def test_dense_masks(size: tuple[int, ...], shape: Any) -> None:
    """At every bin, by loop and as the module has it; radii in between and exactly at frequencies."""
    for radius in (0.0, 0.1, 0.33, 0.5, 2 / 3):
        found = dense_mask(size, shape, radius)
        assert found.shape == size
        bins = torch.tensor(list(itertools.product(*map(range, size)))).reshape(-1, len(size))
        waves = torch.tensor([[wave(int(u), n) for u, n in zip(b, size, strict=True)] for b in bins])
        assert torch.equal(found.flatten(), high_pass(waves.float(), shape, radius))
        module = quiet(1, 1, size, shape=shape, radius=radius)
        module.from_dense(torch.ones(1, 1, *size, dtype=torch.complex128))
        close(found.double(), module.dense()[0, 0].real)
    close(dense_mask(size, shape, 0.33).double(), slow_mask(size, shape, 0.33))


@pytest.mark.parametrize("shape", ["box", "disc", "butterworth", "gaussian"])
@pytest.mark.parametrize("size", [(9,), (4, 6)], ids=str)
def test_radius_zero_removes_the_mean_only(size: tuple[int, ...], shape: Any) -> None:
    module = quiet(1, 1, size, shape=shape, radius=0.0)
    module.from_dense(torch.ones(1, 1, *size, dtype=torch.complex128))
    x = numbers(3, 1, *size)
    close(module(x), x - x.mean(dim=tuple(range(2, x.dim())), keepdim=True))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("form", ["full", "depthwise", "low_rank:1"])
@pytest.mark.parametrize("size", [(3,), (70,), (4, 5), (12, 9)], ids=str)
def test_a_mask_that_removes_everything_warns(size: tuple[int, ...], name: Any, form: str) -> None:
    with pytest.warns(UserWarning, match="lets nothing of a map of size") as caught:
        module = FrequencyAttention(2, 3, size, transform=name, radius=1.0, form=form)
    assert caught[0].filename == __file__
    x = torch.randn(2, 2, *size)
    y = module(x)
    torch.testing.assert_close(y, 0.5 * module.local(x))
    y.sum().backward()
    assert all(p.grad is not None for p in module.parameters())  # none is left out, as DDP wants it
    if name == "fft":
        larger = torch.randn(2, 2, *[n + 3 for n in size])
        torch.testing.assert_close(module(larger), 0.5 * module.local(larger))


def test_a_smaller_map_may_keep_nothing() -> None:
    """The mask is that of the map's own size, which may have no frequency as high as a larger one's."""
    module = FrequencyAttention(2, 3, 40, radius=0.7, branches="global")
    assert module(torch.randn(2, 2, 40)).abs().max() > 0
    assert module(torch.randn(2, 2, 3)).abs().max() == 0


@pytest.mark.parametrize(
    "size", [(1,), (8,), (19,), (20,), (33,), (64,), (7, 7), (16, 16), (28, 28), (32, 32), (56, 56), (41, 20)], ids=str
)
def test_published_mask_equals_the_loop(size: tuple[int, ...]) -> None:
    found = published_mask(size)
    assert torch.equal(found.double(), slow_published_mask(size))
    if max(size) < 20:
        assert found.all()


def test_published_mask_by_hand() -> None:
    """At 32 frequencies {-1, 0} x {-1, 0} are removed and +1 stays; at 56 it is four bins per side."""
    removed = (published_mask((32, 32)) == 0).nonzero().tolist()
    assert removed == [[0, 0], [0, 31], [31, 0], [31, 31]]
    assert int((published_mask((56, 56)) == 0).sum()) == 16


def test_at_32_the_published_mask_removes_the_mean_only() -> None:
    """Of a pair u, -u one is left at least, so that a filter can make up for the other: only frequency 0 is gone."""
    module = quiet(1, 1, (32, 32), published=True)
    x = numbers(2, 1, 32, 32)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[..., 0] = 1 / module.gain.sqrt()[:, None, None]
    close(module(x), x - x.mean((2, 3), keepdim=True))


# ---- forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["box", "gaussian"])
@pytest.mark.parametrize("form", ["full", "depthwise", "low_rank:1", "low_rank:2"])
@pytest.mark.parametrize("channels", [(3, 3), (2, 3), (4, 2)], ids=str)
@pytest.mark.parametrize("size", [(9,), (70,), (5, 6), (9, 8)], ids=str)
def test_forms_equal_a_dense_filter(size: tuple[int, ...], channels: tuple[int, int], form: str, shape: Any) -> None:
    torch.manual_seed(0)
    module = quiet(*channels, size, form=form, shape=shape, radius=0.33)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    values = {name: torch.complex(p[..., 0], p[..., -1]) for name, p in module.named_parameters() if p.shape[-1] == 2}
    if form == "full":
        matrices = values["weight"]
    elif form == "depthwise":
        mix = torch.eye(channels[0]) if channels[0] == channels[1] else module.mix[..., 0]
        matrices = torch.stack([mix.to(row) @ torch.diag(row) for row in values["weight"]])
    else:
        matrices = torch.stack([a @ b for a, b in zip(values["down"], values["up"], strict=True)])
    dense = spread_out(matrices, module)
    mask = slow_mask(size, shape, 0.33)
    x = numbers(2, channels[0], *size)
    close(module(x), dense_filter(x, dense, mask))
    close(module.dense(), dense * mask)


@pytest.mark.parametrize("name", ["dct", "haar"])
@pytest.mark.parametrize("form", ["full", "depthwise", "low_rank:2"])
@pytest.mark.parametrize("size", [(9,), (4, 5)], ids=str)
def test_real_transforms_filter_coefficient_by_coefficient(size: tuple[int, ...], name: Any, form: str) -> None:
    torch.manual_seed(0)
    module = quiet(2, 3, size, transform=name, form=form, shape="disc", radius=0.5)
    transform = make_transform(name, size).double()
    x = numbers(2, 2, *size)
    coefficients = transform.analyse(x)
    filtered = torch.zeros(len(coefficients), 2, 3, dtype=torch.float64)
    for number, k in enumerate(module.transform.kept.tolist()):
        if form == "full":
            matrix = module.weight[number, ..., 0]
        elif form == "depthwise":
            matrix = module.mix[..., 0] * module.weight[number, ..., 0]
        else:
            matrix = module.down[number, ..., 0] @ module.up[number, ..., 0]
        filtered[k] = coefficients[k] @ matrix
    far = transform.frequencies.norm(dim=1)
    assert module.transform.kept.tolist() == (far > 0.5).nonzero().squeeze(1).tolist()
    close(module(x), transform.synthesise(filtered))
    with pytest.raises(ValueError, match="only the filter of transform fft"):
        module.dense()
    with pytest.raises(ValueError, match=f"only a filter of transform fft and form full .* {name} and {form}"):
        module.from_dense(torch.zeros(2, 3, *size, dtype=torch.cfloat))


@pytest.mark.parametrize("rank", ["0", "3", "99"])
def test_ranks_out_of_range_are_refused(rank: str) -> None:
    with pytest.raises(
        ValueError, match=f"form low_rank:{rank}: the rank must be 1 to 2, the smaller of 2 input and 5"
    ):
        FrequencyAttention(2, 5, 8, form=f"low_rank:{rank}")


def test_depthwise_starts_as_the_high_pass_filter_alone() -> None:
    x = numbers(2, 3, 10)
    close(quiet(3, 3, (10,), form="depthwise", radius=0)(x), x - x.mean(2, keepdim=True))


def test_a_new_filter_keeps_the_size_of_what_goes_through_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 32, 24, 24)
    for name, form in itertools.product(TRANSFORMS, ["full", "low_rank:8"]):
        y = SpectralFilter(32, 32, (24, 24), transform=name, form=form, shape="none")(x)
        assert float(y.detach().std()) == pytest.approx(1, abs=0.1)


# ---- other sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["full", "depthwise", "low_rank:1"])
@pytest.mark.parametrize("size", [(9,), (70,), (5, 6), (9, 12)], ids=str)
def test_resampling_to_the_same_size_changes_nothing(size: tuple[int, ...], form: str) -> None:
    for settings in ({}, {"shape": "gaussian"}, {"shape": "none"}, {"published": form == "full"}):
        module = quiet(2, 3, size, form=form, **settings)
        x = numbers(2, 2, *size)
        close(module._resampled(x), module(x))


def slow_resampled(response: Tensor, size: tuple[int, ...]) -> Tensor:
    """Linear interpolation of a periodic spectrum, one dimension after the other, bin by bin."""
    for dim, new in enumerate(size, start=2):
        old = response.shape[dim]
        columns = []
        for u in range(new):
            position = u * old / new
            left, share = math.floor(position), position - math.floor(position)
            before, after = response.select(dim, left % old), response.select(dim, (left + 1) % old)
            columns.append((1 - share) * before + share * after)
        response = torch.stack(columns, dim)
    return response


@pytest.mark.parametrize(
    ("old", "new"), [((9,), (14,)), ((14,), (9,)), ((8,), (1,)), ((5, 6), (7, 4)), ((6, 4), (5, 9))], ids=str
)
def test_another_size_interpolates_in_frequency(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Against the dense filter; what it gives is real without taking the real part."""
    module = quiet(2, 3, old, radius=0.2)
    filter = complex_numbers(2, 3, *old)
    module.from_dense(filter)
    masked = filter * slow_mask(old, "box", 0.2)
    mirror = masked
    for dim in range(2, 2 + len(old)):
        mirror = mirror.flip(dim).roll(1, dim)
    response = slow_resampled((masked + mirror.conj()) / 2, new) * slow_mask(new, "box", 0.2)
    x = numbers(2, 2, *new)
    dims = tuple(range(2, x.dim()))
    product = torch.einsum("bi...,io...->bo...", torch.fft.fftn(x + 0j, dim=dims), response)
    whole = torch.fft.ifftn(product, dim=dims)
    assert float(whole.imag.abs().max()) < 1e-12
    got = module(x)
    assert got.dtype == torch.float64
    close(got, whole.real)


@pytest.mark.parametrize("new", [(1, 1), (3, 4), (7, 5), (12, 15), (20, 3)], ids=str)
def test_a_filter_constant_over_frequency_is_so_at_any_size(new: tuple[int, ...]) -> None:
    module = quiet(2, 3, (7, 5), shape="none")
    matrix = numbers(2, 3)
    module.from_dense(matrix[..., None, None].expand(2, 3, 7, 5) + 0j)
    x = numbers(2, 2, *new)
    close(module(x), torch.einsum("bihw,io->bohw", x, matrix))


def test_published_filters_of_another_size_keep_their_own_mask() -> None:
    module = quiet(1, 1, (40,), published=True)
    assert module(numbers(1, 1, 60)).shape == (1, 1, 60)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_pooling_to_the_grid(name: Any) -> None:
    module = FrequencyAttention(2, 3, (4, 6), transform=name, other_size="pool")
    x = torch.randn(2, 2, 9, 13)
    torch.testing.assert_close(module(x), module(F.adaptive_avg_pool2d(x, (4, 6))))
    small = torch.randn(2, 2, 2, 3)
    torch.testing.assert_close(module(small), module(small.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    mixed = torch.randn(2, 2, 2, 12)
    expected = F.avg_pool2d(mixed, (1, 2)).repeat_interleave(2, 2)
    torch.testing.assert_close(module(mixed), module(expected))
    torch.testing.assert_close(resize(mixed, (4, 6)), expected)


@pytest.mark.parametrize("name", ["dct", "haar"])
def test_cosines_and_wavelets_cannot_be_resampled(name: Any) -> None:
    module = FrequencyAttention(2, 3, 8, transform=name)
    with pytest.raises(
        ValueError,
        match=rf"{name} was made for maps of size \(8,\) and cannot be resampled; got \(9,\). Use other_size: pool",
    ):
        module(torch.randn(1, 2, 9))


@pytest.mark.parametrize("branches", ["both", "global", "local"])
def test_pooling_happens_once(branches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    def counted(x: Tensor, size: tuple[int, ...]) -> Tensor:
        calls.append(size)
        return resize(x, size)

    for module in (attention_module, filter_module):
        monkeypatch.setattr(module, "resize", counted)
    FrequencyAttention(2, 3, 8, other_size="pool", branches=branches)(torch.randn(1, 2, 9))
    assert calls == [(8,)]


def test_the_transform_of_another_size_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept for a few sizes, no part of state or copies, and fit for training when it was made in inference."""
    built: list[tuple[int, ...]] = []
    module = FrequencyAttention(2, 3, (8, 9))

    plain = Fourier.__init__

    def counted(self: Fourier, size: tuple[int, ...]) -> None:
        built.append(size)
        plain(self, size)

    monkeypatch.setattr(Fourier, "__init__", counted)
    keys = set(module.state_dict())
    x = torch.randn(2, 2, 11, 10)
    with torch.inference_mode():
        first = module(x)
    again = module(x)
    again.square().sum().backward()
    assert torch.equal(first, again)
    assert module.filter.weight.grad is not None
    assert built == [(11, 10)]
    assert set(module.state_dict()) == keys
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert not twin.filter._others
        assert torch.equal(twin(x), again)
        assert torch.equal(twin(x), again)
    assert len(built) == 3
    torch.testing.assert_close(module.double()(x.double()).float(), again, rtol=1e-4, atol=1e-5)
    for length in range(20, 40):
        module(torch.randn(1, 2, length, 4).double())
    assert len(module.filter._others) == filter_module.SIZES_KEPT
    moved = module.filter.to("meta")(torch.zeros(1, 2, 39, 4, dtype=torch.float64, device="meta"))
    assert moved.shape == (1, 3, 39, 4)


def test_other_sizes_compile_without_breaks_once_they_are_known() -> None:
    module = FrequencyAttention(2, 3, (8, 8))
    x = torch.randn(2, 2, 12, 9)
    want = module(x)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), want)


# ---- as a module ------------------------------------------------------------------------------------------------

KINDS = [
    {},
    {"published": True},
    {"form": "depthwise", "shape": "gaussian"},
    {"form": "low_rank:1"},
    {"transform": "dct"},
    {"transform": "haar", "form": "low_rank:2"},
]


@pytest.mark.parametrize("size", [(6,), (70,), (5, 4), (21, 24)], ids=str)
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_as_a_module(settings: dict[str, Any], size: tuple[int, ...]) -> None:
    """Real parameters; state goes round; copies are equal and independent; float32 under autocast."""
    torch.manual_seed(0)
    module = FrequencyAttention(2, 3, size, **settings)
    assert not any(x.is_complex() for x in module.state_dict().values())
    assert not any(p.is_complex() for p in module.parameters())
    x = torch.randn(2, 2, *size)
    want = module(x)
    other = FrequencyAttention(2, 3, size, **settings)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), want)
    twin = copy.deepcopy(module)
    assert torch.equal(twin(x), want)
    with torch.no_grad():
        twin.rate_global.zero_()
    assert torch.equal(module(x), want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(x), want)
        assert module(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [(5,), (65,), (3, 4), (4, 1), (9, 8)], ids=str)
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_gradients(settings: dict[str, Any], size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    inputs = 2 if math.prod(size) < 20 else 1
    if inputs == 1 and settings.get("form") == "low_rank:2":
        settings = {**settings, "form": "low_rank:1"}
    module = FrequencyAttention(inputs, inputs, size, **settings).double()
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, values, strict=True)), (x,))

    x = numbers(1, inputs, *size).requires_grad_()
    fast = inputs == 1
    assert torch.autograd.gradcheck(run, (x, *module.parameters()), fast_mode=fast, atol=1e-4)


@pytest.mark.parametrize("new", [(8,), (3,)], ids=str)
def test_gradients_at_another_size(new: tuple[int, ...]) -> None:
    module = FrequencyAttention(2, 2, 5).double()
    x = numbers(1, 2, *new).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: functional_call(module, {"filter.weight": w}, (x,)),
        (
            x,
            module.filter.weight,
        ),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("size", [(12,), (70,), (5, 6), (24, 20), (21, 33)], ids=str)
def test_a_gpu_gives_the_same(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for settings in KINDS:
        module = FrequencyAttention(2, 3, size, **settings)
        attention = LocalAttention(2, len(size))
        x = numbers(2, 2, *size)
        found = []
        for device in ("cpu", "cuda"):
            own = [copy.deepcopy(part).double().to(device) for part in (module, attention)]
            moved = x.detach().to(device).requires_grad_()
            y = own[0](own[1](moved))
            y.square().sum().backward()
            grads = [p.grad.cpu() for part in own for p in part.parameters()]
            found.append([y.detach().cpu(), moved.grad.cpu(), *grads])
        for a, b in zip(*found, strict=True):
            close(a, b)


# ---- local attention --------------------------------------------------------------------------------------------

ATTENDED = [(1, 1, 3), (1, 7, 3), (1, 9, 5), (2, (1, 1), 3), (2, (5, 7), 3), (2, (6, 2), 5), (2, (3, 4), 1)]


@pytest.mark.parametrize("tile", [1, 100, 2**17])
@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize(("dims", "size", "kernel"), ATTENDED, ids=str)
def test_attention_equals_the_unfolded_one(
    dims: int, size: Any, kernel: int, cross: bool, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs and all gradients, in parts of the batch of every size."""
    monkeypatch.setattr(local, "TILE", tile)
    torch.manual_seed(0)
    module = LocalAttention(4, dims, kernel).double()
    plain = PlainAttention(module)
    shape = (5, 4, *(size if dims == 2 else (size,)))
    weights = numbers(*shape, seed=9)
    inputs = [numbers(*shape, seed=seed) for seed in ((1, 2) if cross else (1,))]
    found = []
    for own in (module, plain):
        given = [x.clone().requires_grad_() for x in inputs]
        out = own(*given)
        (out * weights).sum().backward()
        gradients = [p.grad for _, p in sorted(own.named_parameters())]
        found.append([out.detach(), *(x.grad for x in given), *gradients])
    assert len(found[0]) == 1 + len(inputs) + 4
    for a, b in zip(*found, strict=True):
        close(a, b, rtol=1e-9, atol=1e-10)


def test_attention_with_large_scores_stays_finite() -> None:
    """The largest score is taken off before the exponential."""
    torch.manual_seed(0)
    module = LocalAttention(4, 2)
    plain = PlainAttention(module)
    x = 60 * torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(module(x), plain(x), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("dims", [1, 2])
def test_attention_gradients(dims: int) -> None:
    torch.manual_seed(0)
    module = LocalAttention(2, dims).double()
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, y: Tensor, *values: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, values, strict=True)), (x, y))

    shape = (2, 2, 4) if dims == 1 else (1, 2, 2, 3)
    x, y = (numbers(*shape, seed=seed).requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(run, (x, y, *module.parameters()))


def test_attention_needs_a_middle_and_channels_to_split() -> None:
    for kernel in (0, 2, -1, 3.0, "3", None, True):
        with pytest.raises(ValueError, match=f"a neighbourhood's side is an odd number, got {kernel!r}"):
            LocalAttention(4, 1, kernel)
    for dims in (0, 3, 1.0, True, None):
        with pytest.raises(ValueError, match=f"dims is 1, for signals, or 2, for images; got {dims!r}"):
            LocalAttention(4, dims)
    with pytest.raises(ValueError, match=r"even number of channels .* got 5"):
        LocalAttention(5, 2)
    assert LocalAttention(5, 1)(torch.randn(2, 5, 4)).shape == (2, 5, 4)


def test_attention_refuses_maps_that_do_not_fit() -> None:
    module = LocalAttention(4, 2)
    x = torch.randn(2, 4, 6, 5)
    for y in (torch.randn(2, 4, 5, 6), torch.randn(1, 4, 6, 5), torch.randn(2, 4, 1, 1), torch.randn(2, 2, 6, 5)):
        with pytest.raises(
            ValueError, match=r"a map y of the same shape as x, .* got \(\d, \d, \d, \d\) and \(2, 4, 6, 5\)"
        ):
            module(x, y)
    for wrong in (torch.randn(2, 4, 6), torch.randn(2, 3, 6, 5), torch.randn(2, 4, 0, 5), x.long()):
        with pytest.raises(ValueError, match=r"made for floating-point maps \(B, 4, H, W\); got \(2, "):
            module(wrong)
    with pytest.raises(ValueError, match=r"made for floating-point maps \(B, 4, T\)"):
        LocalAttention(4, 1)(x)


@pytest.mark.parametrize("dims", [1, 2])
def test_attention_of_an_empty_batch(dims: int) -> None:
    module = LocalAttention(4, dims)
    x = torch.zeros(0, 4, *[5] * dims, requires_grad=True)
    for y in (None, x):
        out = module(x, y)
        assert out.shape == x.shape
        out.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_attention_is_differentiated_once() -> None:
    """A second derivative would be wrong, so it is an error."""
    x = torch.randn(1, 2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(LocalAttention(2, 1)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# ---- lifts ------------------------------------------------------------------------------------------------------


def slow_lift(row: list[float], kind: str) -> list[list[float]]:
    """One channel of one sample, pair by pair."""
    n = range(len(row))
    if kind == "outer":
        return [[row[i] * row[j] for j in n] for i in n]
    if kind == "repeat":
        return [[row[j] for j in n] for _ in n]
    low, high = min(row), max(row)
    scaled = [2 * (v - low) / (high - low) - 1 if high > low else -1.0 for v in row]
    angles = [math.acos(max(-1.0, min(1.0, v))) for v in scaled]
    return [[math.cos(a + b) for b in angles] for a in angles]


@pytest.mark.parametrize("kind", ["outer", "gramian", "repeat"])
@pytest.mark.parametrize("length", [1, 2, 6, 9])
def test_lift_by_loop(kind: Any, length: int) -> None:
    x = numbers(2, 3, length)
    found = lift(x, kind, (length, length))
    rows = [[slow_lift(x[b, c].tolist(), kind) for c in range(3)] for b in range(2)]
    # The gramian's sine is kept from 0, where its slope would be infinite: 0.01 at most off, in products of two.
    close(found, torch.tensor(rows, dtype=torch.float64), atol=1.1e-2 if kind == "gramian" else 1e-9)


@pytest.mark.parametrize("kind", ["outer", "repeat"])
@pytest.mark.parametrize(("length", "side"), [(9, 4), (10, 5), (7, 7), (4, 8), (3, 7), (11, 1)])
def test_lifting_and_averaging_may_be_swapped(kind: Any, length: int, side: int) -> None:
    x = numbers(2, 3, length)
    whole = torch.stack([torch.stack([torch.tensor(slow_lift(r.tolist(), kind)) for r in sample]) for sample in x])
    if side <= length:
        expected = F.adaptive_avg_pool2d(whole.double(), side)
    else:
        expected = F.interpolate(whole.double(), (side, side), mode="nearest")
    close(lift(x, kind, (side, side)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["outer", "gramian", "repeat"])
@pytest.mark.parametrize("length", [12, 13, 5])
@pytest.mark.parametrize("size", [(4, 6), (6, 4), (1, 5), (12, 3), (5, 5)], ids=str)
def test_lifts_to_maps_that_are_not_square(kind: Any, size: tuple[int, int], length: int) -> None:
    """As if lifted at full length and resized then; the gramian is averaged to the larger side in between."""
    x = numbers(2, 3, length)
    found = lift(x, kind, size)
    assert found.shape == (2, 3, *size)
    given = resize(x, (max(size),)) if kind == "gramian" else x
    close(found, resize(lift(given, kind), size), rtol=1e-9, atol=1e-9)
    if kind != "repeat":
        close(lift(x, kind, size[::-1]), found.mT)


@pytest.mark.parametrize("kind", ["outer", "gramian", "repeat"])
def test_lifts_to_squares_by_default(kind: Any) -> None:
    x = torch.randn(2, 3, 9)
    assert torch.equal(lift(x, kind), lift(x, kind, (9, 9)))
    assert torch.equal(lift(x, kind, 4), lift(x, kind, (4, 4)))
    assert torch.equal(lift(x, kind, np.int64(4)), lift(x, kind, [4, 4]))
    for size in (0, (4, 0), (4, 4, 4), "4", 4.0):
        with pytest.raises(ValueError, match=r"a map's size is"):
            lift(x, kind, size)


@pytest.mark.parametrize("kind", ["outer", "gramian", "repeat"])
def test_lifts_have_finite_gradients(kind: Any) -> None:
    """Also of channels that do not change, and at the smallest and largest value."""
    x = torch.randn(2, 4, 8)
    x[:, 0], x[:, 1], x[0, 2] = 0, 5, 1e-30
    x.requires_grad_()
    image = lift(x, kind, (8, 8))
    assert bool(torch.isfinite(image).all())
    image.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    if kind == "gramian":
        torch.testing.assert_close(image[:, :2], torch.ones_like(image[:, :2]), atol=2e-4, rtol=0)  # cos(pi + pi)
        assert float(x.grad[:, :2].abs().max()) == 0


def test_lift_gradients() -> None:
    for kind in ("outer", "gramian", "repeat"):
        x = numbers(1, 2, 6).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, kind=kind: lift(x, kind, (4, 3)), (x,))


def test_lifts_are_refused() -> None:
    with pytest.raises(ValueError, match="lift is outer, gramian or repeat; got 'inner'"):
        lift(torch.randn(1, 2, 3), "inner", (3, 3))
    with pytest.raises(ValueError, match=r"a map \(B, C, T\) is lifted, got \(1, 2\)"):
        lift(torch.randn(1, 2), "outer", (3, 3))
    with pytest.raises(ValueError, match=r"a map \(B, C, T\) is lifted, got \(1, 2, 0\)"):
        lift(torch.randn(1, 2, 0), "outer")


# ---- losses -----------------------------------------------------------------------------------------------------


def slow_average(values: np.ndarray, side: int) -> np.ndarray:
    """One channel's map averaged to ``side`` bins a dimension, bin by bin."""
    edges = [[(math.floor(i * n / side), math.ceil((i + 1) * n / side)) for i in range(side)] for n in values.shape]
    out = np.zeros([side] * values.ndim)
    for bin in itertools.product(range(side), repeat=values.ndim):
        out[bin] = values[tuple(slice(*edges[d][i]) for d, i in enumerate(bin))].mean()
    return out


@pytest.mark.parametrize("size", [(1,), (2,), (4,), (9,), (1, 1), (3, 3), (4, 4), (5, 7), (8, 2), (8, 8)], ids=str)
def test_hierarchical_context_by_loop(size: tuple[int, ...]) -> None:
    student, teacher = numbers(2, 3, *size), numbers(2, 3, *size, seed=1)
    loss = [float(((student - teacher) ** 2).mean())]
    for side in (4, 2, 1):
        if side < min(size):
            gaps = [
                (slow_average(s.numpy(), side) - slow_average(t.numpy(), side)) ** 2
                for s, t in zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True)
            ]
            loss.append(float(np.mean(gaps)))
    weights = [0.5**n for n in range(len(loss))]
    expected = sum(w * v for w, v in zip(weights, loss, strict=True)) / sum(weights)
    assert float(hierarchical_context(student, teacher)) == pytest.approx(expected, rel=1e-9)


def slow_spectrum(values: np.ndarray) -> np.ndarray:
    """Unitary, every bin a sum over every place."""
    out = np.zeros(values.shape, dtype=complex)
    for bin in np.ndindex(values.shape):
        for place in np.ndindex(values.shape):
            angle = sum(u * p / n for u, p, n in zip(bin, place, values.shape, strict=True))
            out[bin] += values[place] * np.exp(-2j * math.pi * angle)
    return out / math.sqrt(values.size)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [(1,), (6,), (3, 4)], ids=str)
def test_spectrum_distance_by_loop(size: tuple[int, ...], masked: bool) -> None:
    student, teacher = numbers(2, 3, *size), numbers(2, 3, *size, seed=1)
    mask = slow_mask(size, "butterworth", 0.4) if masked else None
    gaps = [
        ((abs(slow_spectrum(s.numpy())) - abs(slow_spectrum(t.numpy()))) * (1 if mask is None else mask.numpy())) ** 2
        for s, t in zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True)
    ]
    assert float(spectrum_distance(student, teacher, mask)) == pytest.approx(float(np.mean(gaps)), rel=1e-5)


@pytest.mark.parametrize(("size", "shift"), [((16,), (5,)), ((9,), (4,)), ((6, 7), (2, 3))])
def test_spectrum_distance_does_not_see_shifts(size: tuple[int, ...], shift: tuple[int, ...]) -> None:
    x = numbers(2, 3, *size)
    moved = x.roll(shift, tuple(range(2, x.dim())))
    assert float(spectrum_distance(moved, x)) == pytest.approx(0, abs=1e-12)
    assert float(F.mse_loss(moved, x)) > 0.1


@pytest.mark.parametrize("size", [(9,), (4, 5)], ids=str)
def test_spectrum_distance_is_at_most_the_squared_error(size: tuple[int, ...]) -> None:
    """Parseval: between the complex spectra it would be the mean squared error; amplitudes alone are closer."""
    student, teacher = numbers(2, 3, *size), numbers(2, 3, *size, seed=1)
    dims = tuple(range(2, student.dim()))
    gap = torch.fft.fftn(student - teacher, dim=dims, norm="ortho").abs().square().mean()
    close(gap, F.mse_loss(student, teacher))
    assert 0 < float(spectrum_distance(student, teacher)) < float(gap)


def test_maps_that_cannot_be_compared_are_refused() -> None:
    x = torch.randn(2, 3, 8)
    for other in (torch.randn(2, 3, 9), torch.randn(2, 1, 8), torch.randn(1, 3, 8), torch.randn(2, 3, 1)):
        for name, loss in (("hierarchical_context", hierarchical_context), ("spectrum_distance", spectrum_distance)):
            with pytest.raises(ValueError, match=rf"{name}: both maps have the same shape; got \(2, 3, 8\) and \("):
                loss(x, other)
    for loss in (hierarchical_context, spectrum_distance, attention_transfer):
        for shape in ((2, 3), (2, 3, 0), (2, 3, 2, 2, 2)):
            with pytest.raises(ValueError, match=rf"{loss.__name__}: maps \(B, C, T\) or \(B, C, H, W\) are compared"):
                loss(torch.zeros(shape), torch.zeros(shape))
    for other in (torch.randn(2, 3, 8, 8), torch.randn(1, 3, 8)):
        with pytest.raises(
            ValueError, match=r"attention_transfer: two batches of maps of one kind, .* got \(2, 3, 8\)"
        ):
            attention_transfer(x, other)
    with pytest.raises(ValueError, match=r"the mask has the map's size \(8,\); got \(5,\)"):
        spectrum_distance(x, x, torch.ones(5))


def test_spectrum_distance_of_silent_maps_has_a_gradient() -> None:
    x = torch.zeros(1, 2, 8, requires_grad=True)
    spectrum_distance(x, torch.ones(1, 2, 8)).backward()
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [(3, 3), (2, 5)])
def test_parameters_are_counted_without_a_filter(size: tuple[int, ...], channels: tuple[int, int]) -> None:
    settings: list[dict[str, Any]] = [{"published": True}]
    for transform, form in itertools.product(TRANSFORMS, ("full", "depthwise", "low_rank:2")):
        for mask in ({}, {"radius": 0.4, "shape": "disc"}, {"radius": 0.0}, {"shape": "gaussian"}, {"radius": 2.0}):
            settings.append({"transform": transform, "form": form, **mask})
    for each in settings:
        real = sum(parameter.numel() for parameter in quiet(*channels, size, **each).parameters())
        assert parameter_count(*channels, size, **each) == real, each
    with pytest.raises(ValueError, match="rank must be 1 to"):
        parameter_count(*channels, size, form="low_rank:9")


# ---- methods ----------------------------------------------------------------------------------------------------

ALL = ["fam_layer", "fam_review", "review"]


def spec_of(*shapes: tuple[int, ...], embedding: int | None = 8, given: tuple[int, ...] = (3, 32)) -> Spec:
    """A model with stages of these shapes."""
    stages = {f"stage{number}": StageSpec(shape, ()) for number, shape in enumerate(shapes, start=1)}
    return Spec(given, 5, stages, embedding)


SIGNAL = spec_of((4, 16), (6, 8))
IMAGE_SPEC = spec_of((4, 16, 12), (6, 8, 6), given=(3, 16, 12))
INFO = DataInfo(tuple("abcde"), torch.arange(4), torch.arange(4), None)


def made(name: str, student: Spec, teacher: Spec | dict[str, Spec], **settings: Any) -> Any:
    teachers = teacher if isinstance(teacher, dict) else {"big": teacher}
    config = configure(name, settings)
    kind = find(name)
    needs = kind.needs(config, student, teachers)
    method = kind(config, student, teachers, INFO)
    for own, levels in method.levels.items():
        assert needs.teachers[own] == {level.teacher for level in levels}
    return method


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_stage_names_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match="no stage 'stag2' to match; did you mean 'stage2'"):
        made(name, SIGNAL, SIGNAL, stages=["stag2"])
    with pytest.raises(InputError, match="pairs: teacher 'big' has no stage 'stge1'; did you mean 'stage1'"):
        made(name, SIGNAL, SIGNAL, pairs={"stage1": "stge1"})
    with pytest.raises(InputError, match="pairs: the student has no stage 'stage7'"):
        made(name, SIGNAL, SIGNAL, pairs={"stage7": "stage1"})


@pytest.mark.parametrize("name", ALL)
def test_stages_that_depth_cannot_pair(name: str) -> None:
    short = spec_of((4, 16))
    with pytest.raises(InputError, match=r"the student has 2 .* teacher 'big' 1 .* give pairs"):
        made(name, SIGNAL, short)
    with pytest.raises(InputError, match=r"stage2 6x8x6\), teacher 'big' 1 \(stage1 4x16x12\); give"):
        made(name, IMAGE_SPEC, spec_of((4, 16, 12), given=(3, 16, 12)))
    method = made(name, SIGNAL, short, pairs={"stage2": "stage1"})
    assert [(x.student, x.teacher) for x in method.levels["big"]] == [("embedding",) * 2, ("stage2", "stage1")]


@pytest.mark.parametrize("name", ALL)
def test_which_levels_there_are(name: str) -> None:
    def found(**settings: Any) -> list[str]:
        return [level.student for level in made(name, SIGNAL, SIGNAL, **settings).levels["big"]]

    assert found() == ["embedding", "stage2", "stage1"]
    assert found(stages=["stage1", "embedding"]) == ["embedding", "stage1"]
    assert found(stages=["stage2"]) == ["stage2"]
    # Deep to shallow as the student runs them, in whatever order they are written.
    assert found(pairs={"stage2": "stage2", "stage1": "stage1"}) == ["embedding", "stage2", "stage1"]
    assert found(pairs={"stage1": "stage2", "embedding": "embedding"}) == ["embedding", "stage1"]
    assert found(pairs={"embedding": "embedding"}) == ["embedding"]
    with pytest.raises(InputError, match="no stage is left to match"):
        found(stages=[])


@pytest.mark.parametrize("name", [*ALL, "fitnet", "at"])
def test_settings_of_levels_are_refused(name: str) -> None:
    for settings, message in (
        ({"pairs": {}}, f"method '{name}': pairs: name at least one student stage: teacher stage, or leave"),
        ({"pairs": {"embedding": "stage1"}}, "pairs: the embedding can only be paired .*, got embedding: stage1"),
        ({"pairs": {"stage1": "embedding"}}, "pairs: the embedding can only be paired .*, got stage1: embedding"),
        ({"stages": ["stage1", "stage2", "stage1"]}, r"stages: 'stage1' is named twice, got \['stage1', "),
    ):
        with pytest.raises(InputError, match=message):
            configure(name, settings)
    with pytest.raises(InputError, match="the student has no feature maps"):
        made(name, Spec((3, 32), 5, {}, 8), SIGNAL)


def test_no_pairs_are_refused_by_every_method() -> None:
    with pytest.raises(InputError, match="pairs: name at least one student stage: teacher stage"):
        pair_stages(SIGNAL, SIGNAL, {})
    for student, teacher, who in ((Spec((3, 32), 5), SIGNAL, "student"), (SIGNAL, Spec((3, 32), 5), "teacher")):
        with pytest.raises(InputError, match=f"the {who} has no feature maps"):
            pair_stages(student, teacher)


@pytest.mark.parametrize("name", ALL)
def test_maps_in_front_of_the_last_activation(name: str) -> None:
    """ReviewKD reads the teacher's, frequency attention the ones behind; the student's maps are those behind."""
    stages = {"stage1": StageSpec((4, 16), ()), "stage1.pre": StageSpec((4, 16), ())}
    spec = Spec((3, 32), 5, stages, 8)
    method = made(name, spec, spec)
    assert [level.student for level in method.levels["big"]] == ["embedding", "stage1"]
    assert [level.teacher for level in method.levels["big"]] == [
        "embedding",
        "stage1.pre" if name == "review" else "stage1",
    ]
    assert method.notes() == ()
    both = made(name, spec, spec, student_at="before", teacher_at="after")
    assert [(level.student, level.teacher) for level in both.levels["big"]][1] == ("stage1.pre", "stage1")


@pytest.mark.parametrize("name", ALL)
def test_a_teacher_without_maps_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="teacher 'big' has no feature maps"):
        made(name, SIGNAL, Spec((3, 32), 5, {}, 8))
    flat = Spec((3, 32), 5, {"stage1": StageSpec((4, 16), ()), "stage2": StageSpec((6,), ())}, 8)
    with pytest.raises(InputError, match=r"stage2 of the teacher is no feature map: its shape is \(6,\)"):
        made(name, SIGNAL, flat)
    empty = spec_of((4, 16), (6, 0))
    with pytest.raises(InputError, match=r"stage2 of the student is no feature map: its shape is \(6, 0\)"):
        made(name, empty, SIGNAL)


@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_odd_channels_of_images_are_refused(name: str) -> None:
    odd = spec_of((5, 16, 12), (6, 8, 6), given=(3, 16, 12))
    with pytest.raises(
        InputError,
        match=rf"{name}, teacher 'big', stage1: local attention on images needs an even number .* attention: false",
    ):
        made(name, odd, IMAGE_SPEC)
    made(name, odd, IMAGE_SPEC, attention=False)
    made(name, odd, IMAGE_SPEC, stages=["stage2", "embedding"])
    made(name, spec_of((5, 16), (7, 8)), SIGNAL)  # signals' channels need no halves


@pytest.mark.parametrize("name", ["review", "fam_review"])
def test_reviews_need_maps_of_one_kind(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: the student sees signals, teacher 'big' images; .* Use fam_layer"):
        made(name, SIGNAL, IMAGE_SPEC)
    with pytest.raises(InputError, match="the student sees images, teacher 'big' signals"):
        made(name, IMAGE_SPEC, SIGNAL)


def test_images_do_not_become_signals() -> None:
    with pytest.raises(
        InputError, match=r"the student sees images, teacher 'big' signals; .* no rule for the other way"
    ):
        made("fam_layer", IMAGE_SPEC, SIGNAL)
    made("fam_layer", SIGNAL, IMAGE_SPEC)


@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_settings_of_the_module_are_refused_before_training(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"{name}, teacher 'big', embedding: form low_rank:99: the rank must be 1 to 8"
    ):
        made(name, SIGNAL, SIGNAL, form="low_rank:99")
    with pytest.raises(InputError, match=r"stage2: published needs transform fft and form full; got haar and full"):
        made(name, SIGNAL, SIGNAL, published=True, transform="haar", stages=["stage2"])
    wide = spec_of((9, 16), (9, 8))
    with pytest.raises(InputError, match=rf"{name}, teacher 'b', stage1: form low_rank:5: the rank must be 1 to 4"):
        made(name, wide, {"a": wide, "b": spec_of((4, 16), (9, 8))}, form="low_rank:5")
    with pytest.raises(InputError, match="published has a mask of its own"):
        made(name, SIGNAL, SIGNAL, published=True, radius=0.3)
    for form in ("low_rank:0", "low_rank", "low_rank:1:2", "dense"):
        with pytest.raises(InputError, match="': form: full, depthwise or low_rank:RANK is needed, got "):
            configure(name, {"form": form})
    for setting in (
        {"radius": -1},
        {"radius": float("nan")},
        {"shape": "ring"},
        {"distance": "mae"},
        {"formm": "full"},
    ):
        with pytest.raises(InputError):
            configure(name, setting)


RESNET_50 = spec_of((256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7), embedding=2048, given=(3, 224, 224))
MOBILENET = spec_of((128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7), embedding=1024, given=(3, 224, 224))


@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_filters_that_are_too_large_are_refused_before_they_are_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts are those of ``docs/frequency.md``."""
    with monkeypatch.context() as without:
        without.setattr("overtone.methods.frequency.FrequencyAttention", None)  # no filter can be made
        started = time.perf_counter()
        with pytest.raises(
            InputError,
            match=rf"{name}, teacher 'r50', its filters of form full would have 412,680,192 parameters, 4\.6 GiB in .*"
            r"max_parameters allows 268,435,456\. Use form: low_rank:64 \(144,064,512\) or depthwise \(6,383,104\), or",
        ):
            made(name, MOBILENET, {"r50": RESNET_50})
        assert time.perf_counter() - started < 1
        with pytest.raises(
            InputError, match=r"form low_rank:4 would .* MiB .* Use form: low_rank:1 \(2,251,008\), or raise"
        ):
            made(name, MOBILENET, {"r50": RESNET_50}, form="low_rank:4", max_parameters=3_000_000)
    with pytest.raises(InputError, match=r"GiB in training .* Use fewer stages, or raise max_parameters"):
        made(name, MOBILENET, {"r50": RESNET_50}, published=True)
    for form, count in {"low_rank:8": 18_008_064, "depthwise": 6_383_104}.items():
        with pytest.raises(InputError, match=rf"Use form: .*{form} \({count:,}\)"):
            made(name, MOBILENET, {"r50": RESNET_50}, max_parameters=min(count * 2 - 1, 30_000_000))
        method = made(name, MOBILENET, {"r50": RESNET_50}, max_parameters=count, form=form)
        heads = [adapter.head.frequency_attention.filter for adapter in method.adapters["r50"]]
        assert sum(p.numel() for head in heads for p in head.parameters()) == count
    made(name, MOBILENET, {"r50": RESNET_50}, branches="local")


def test_the_largest_number_of_parameters_is_no_part_of_a_key() -> None:
    assert configure("fam_layer", {"max_parameters": 5}).model_dump() == configure("fam_layer", {}).model_dump()


@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_a_mask_that_removes_everything_is_refused(name: str) -> None:
    """Nothing warns; a map of one value has no mask, and a mask for spectra counts without a global branch too."""
    with pytest.raises(
        InputError,
        match=rf"{name}, teacher 'big', stage2: the high-pass mask lets nothing of stage2's map \(8, 6\) pass; use a",
    ):
        made(name, IMAGE_SPEC, IMAGE_SPEC, radius=1.0)
    made(name, IMAGE_SPEC, IMAGE_SPEC, radius=1.0, stages=["embedding"])
    with pytest.raises(InputError, match="lets nothing"):
        made(name, IMAGE_SPEC, IMAGE_SPEC, radius=1.0, branches="local", distance="spectrum", masked=True)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_spectra_compared_under_the_mask(name: str, published: bool) -> None:
    """The distance of what each adapter gives, under the module's mask at the teacher's size."""
    torch.manual_seed(0)
    spec = spec_of((4, 24), (6, 8))
    settings = {"published": True} if published else {"shape": "butterworth", "radius": 0.4}
    method = made(name, spec, spec, distance="spectrum", masked=True, **settings)
    assert not any(key.endswith("mask") for key in method.state_dict())
    stages = {"stage1": torch.randn(3, 4, 24), "stage2": torch.randn(3, 6, 8)}
    mine = Output.of(torch.zeros(3, 5), stages, torch.randn(3, 8))
    theirs = Output.of(torch.zeros(3, 5), {k: torch.randn_like(v) for k, v in stages.items()}, torch.randn(3, 8))
    method.eval()
    handed, expected = None, 0.0
    for level, adapter in zip(method.levels["big"], method.adapters["big"], strict=True):
        size = level.teacher_shape[1:]
        out, handed = adapter(level.map_of_student(mine), handed, size)
        mask = slow_published_mask(size) if published else slow_mask(size, "butterworth", 0.4)
        expected += float(spectrum_distance(out, level.map_of_teacher(theirs), mask.float()).detach())
    found = method(mine, {"big": theirs}, None, None)["map.big"]
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    method.load_state_dict(made(name, spec, spec, distance="spectrum", **settings).state_dict())


def test_masked_is_for_spectra_only() -> None:
    for distance in ("mse", "hcl"):
        with pytest.raises(
            InputError, match=f"method 'fam_layer': masked: true needs distance: spectrum, .* got {distance}"
        ):
            configure("fam_layer", {"distance": distance, "masked": True})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branches": "local", "form": "depthwise", "radius": 0.2}, "local has no filter, so leave out form, radius"),
        ({"branches": "local", "published": True}, "local has no filter, so leave out published"),
        ({"branches": "local", "masked": True, "distance": "spectrum", "transform": "dct"}, "leave out transform"),
        ({"shape": "none", "radius": 0.1}, "shape: none lets every frequency pass, so leave out radius, got 0.1"),
    ],
)
@pytest.mark.parametrize("name", ["fam_layer", "fam_review"])
def test_settings_without_effect_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"method '{name}': .*{message}"):
        configure(name, settings)
    configure(name, {"branches": "local", "masked": True, "distance": "spectrum", "radius": 0.2})


def test_a_lift_without_anything_to_lift_is_refused() -> None:
    with pytest.raises(InputError, match=r"lift: outer makes a signal's map an image's, .* its teacher sees; leave"):
        made("fam_layer", SIGNAL, SIGNAL, lift="outer")
    made("fam_layer", SIGNAL, {"big": SIGNAL, "gaf": IMAGE_SPEC}, lift="outer")


def test_names_of_adapters() -> None:
    """Local and frequency attention are told apart."""
    for name in ("fam_layer", "fam_review"):
        keys = set(made(name, SIGNAL, SIGNAL).adapters["big"][2].state_dict())
        assert {"local_attention.query.weight", "head.frequency_attention.filter.weight", "head.norm.bias"} <= keys


def test_widths_and_sizes_come_from_the_models() -> None:
    """A student narrower, shorter and of other widths than its teacher, in each method and kind."""
    for student, teacher in (
        (spec_of((4, 16), (6, 8)), spec_of((10, 20), (12, 5), embedding=12)),
        (spec_of((4, 9, 7), (6, 5, 3), given=(3, 16, 12)), spec_of((10, 8, 8), (12, 6, 2), given=(1, 16, 16))),
    ):
        for name, attention in (("fam_layer", True), ("fam_review", True), ("fam_review", False), ("review", None)):
            method = made(name, student, teacher, **({} if attention is None else {"attention": attention}))
            handed = None
            for level, adapter in zip(method.levels["big"], method.adapters["big"], strict=True):
                out, handed = adapter(torch.randn(2, *level.student_shape), handed, level.teacher_shape[1:])
                assert out.shape == (2, *level.teacher_shape)


@pytest.mark.parametrize("final_relu", [False, True])
def test_fam_layer_is_its_parts(final_relu: bool) -> None:
    """Distance of the teacher's map to BN(FAM(attention(map))), behind ReLU if asked for, summed over levels."""
    torch.manual_seed(0)
    student, teacher = build("wrn10-1", (3, 32), 5), build("wrn10-2", (3, 32), 5)
    settings = {"distance": "hcl", "final_relu": final_relu}
    own = Distillation.between(student, teacher, "fam_layer", example=torch.randn(2, 3, 32), **settings)
    x, y = torch.randn(4, 3, 32), torch.tensor([0, 1, 2, 3])
    step = own(x, y)
    method = own.distillation.methods["fam_layer"]
    mine, theirs = step.output, own._teachers["teacher"].tap(x)
    expected = torch.zeros(())
    for level, adapter in zip(method.levels["teacher"], method.adapters["teacher"], strict=True):
        if level.student == "embedding":
            a, b = mine.embedding[:, :, None], theirs.embedding[:, :, None]
        else:
            a, b = adapter.local_attention(mine.stages[level.student]), theirs.stages[level.teacher]
        a = adapter.head.frequency_attention(a)
        mean, variance = a.mean((0, 2), keepdim=True), a.var((0, 2), keepdim=True, correction=0)
        a = (a - mean) / (variance + 1e-5).sqrt()
        a = a.relu() if final_relu else a
        expected = expected + hierarchical_context(a, b)
    torch.testing.assert_close(step.terms["fam_layer.map.teacher"], expected, rtol=1e-4, atol=1e-5)


def test_fam_review_asks_from_the_deeper_map() -> None:
    """Query from the deeper residual, key and value from the student's map, both at the student's size."""
    torch.manual_seed(0)
    method = made("fam_review", spec_of((4, 16), (6, 8)), spec_of((4, 16), (6, 8)), stages=["stage1", "stage2"])
    deep, shallow = method.adapters["big"]
    x, y = torch.randn(2, 6, 8), torch.randn(2, 4, 16)
    _, handed = deep(x, None, (8,))
    assert torch.equal(handed, x)  # the deepest level is matched as it is
    out, fused = shallow(y, handed, (16,))
    residual = shallow.project(x).repeat_interleave(2, 2)
    expected = PlainAttention(shallow.local_attention)(y, residual)
    torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-5)
    assert out.shape == y.shape
    assert bool((out >= 0).all())


@pytest.mark.parametrize("name", ALL)
def test_every_teacher_gives_a_term(name: str) -> None:
    torch.manual_seed(0)
    batch = batch_of(4)
    views = {"signal": batch.views["signal"]}
    teachers: dict[str, nn.Module] = {"one": build("wrn10-0.5", (3, 32), 5), "two": build("wrn10-1", (3, 32), 5)}
    if name == "fam_layer":
        views["gaf"] = batch.views["gaf"]
        teachers["gaf"] = build("wrn10-0.25", (3, IMAGE, IMAGE), 5)
    own = Distillation.between(
        build("wrn10-0.25", (3, 32), 5), teachers, name, example=views, weights={"ce": 1, name: 1}
    )
    step = own(views, batch.target)
    assert list(step.terms) == ["ce", *(f"{name}.map.{teacher}" for teacher in teachers)]
    for value in step.terms.values():
        assert float(value.detach()) > 0
    alone = Distillation.between(
        own.distillation.student.model, {"one": teachers["one"]}, name, example=views, weights={"ce": 1, name: 1}
    )
    state = own.distillation.methods[name].adapters["one"].state_dict()
    alone.distillation.methods[name].adapters["one"].load_state_dict(state)
    again = alone(views, batch.target)
    torch.testing.assert_close(again.terms[f"{name}.map.one"], step.terms[f"{name}.map.one"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_the_bare_student_carries_no_adapter(name: str) -> None:
    student, teacher = build("dscnn-4", (3, 32), 5), build("wrn10-0.25", (3, 32), 5)
    bare = set(student.state_dict())
    own = Distillation.between(student, teacher, name, example=torch.randn(2, 3, 32))
    assert set(own.student_only()) == bare == set(student.state_dict())
    adapters = set(own.distillation.methods[name].state_dict())
    assert adapters
    assert not any(key in own.student_only() for key in adapters)
    assert not any(isinstance(m, FrequencyAttention | LocalAttention) for m in student.modules())
    held = {id(p) for p in student.parameters()} | {id(p) for p in own.distillation.methods.parameters()}
    assert {id(p) for p in own.parameters()} == held


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("torchvision:shufflenet_v2_x0_5", "torchvision:resnet18"),
        ("timm:resnet10t", "torchvision:mobilenet_v2"),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_other_peoples_images_pair(name: str, student: str, teacher: str) -> None:
    torch.manual_seed(0)
    settings = {} if name == "review" else {"form": "depthwise"}
    own = Distillation.between(
        build(student, (3, 32, 32), 5),
        build(teacher, (3, 32, 32), 5),
        name,
        example=torch.randn(2, 3, 32, 32),
        **settings,
    )
    levels = own.distillation.methods[name].levels["teacher"]
    assert [level.student for level in levels] == ["embedding", "stage4", "stage3", "stage2", "stage1"]
    step = own(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))
    step.total.backward()
    for key, parameter in own.named_parameters():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
