"""Filters on a grid of frequencies against a dense one, made by loops; methods on maps that change size."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from overtone.errors import InputError
from overtone.frequency import FrequencyAttention, LocalAttention, SpectralFilter, dense_mask, parameter_count
from overtone.frequency import grid as grid_module
from overtone.frequency import local as local_module
from overtone.frequency.transforms import Fourier
from overtone.methods import configure, find
from overtone.models import Tapped, build
from overtone.tap import Tap, probe
from overtone.types import DataInfo, Output, Spec, StageSpec

FORMS = ["full", "depthwise", "low_rank:2"]
MAPS = [  # of a map and of a grid: larger, smaller, equal, odd, even, a single value
    ((1,), (4,)),
    ((7,), (4,)),
    ((8,), (1,)),
    ((9,), (13,)),
    ((16,), (5,)),
    ((1, 1), (4, 4)),
    ((2, 3), (3, 2)),
    ((5, 4), (8, 9)),
    ((6, 5), (1, 2)),
    ((6, 8), (6, 8)),
    ((9, 12), (4, 6)),
    ((9, 12), (5, 7)),
    ((1, 10), (3, 4)),
]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the slow version: every parameter at its place in the whole grid, every frequency by a loop ------------------


@functools.cache
def kept_bins(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of each parameter, at which frequency of the grid it stands."""
    half = (*grid[:-1], grid[-1] // 2 + 1)
    return [tuple(int(n) for n in torch.unravel_index(k, half)) for k in Fourier(grid).kept]


def node(weight: Tensor, grid: tuple[int, ...], bin: tuple[int, ...]) -> Tensor:
    """The complex matrix (or vector) at a frequency of the grid, from the parameters of its half spectrum."""
    kept = kept_bins(grid)
    bin = tuple(k % n for k, n in zip(bin, grid, strict=True))
    opposite = tuple(-k % n for k, n in zip(bin, grid, strict=True))
    if bin == opposite:
        return torch.complex(weight[kept.index(bin)][..., 0], torch.zeros_like(weight[0, ..., 0]))
    if bin in kept:
        return torch.view_as_complex(weight[kept.index(bin)])
    return torch.view_as_complex(weight[kept.index(opposite)]).conj()


def interpolated(weight: Tensor, grid: tuple[int, ...], size: tuple[int, ...]) -> dict[tuple[int, ...], Tensor]:
    """By frequency of the map, all of its spectrum: a weighted mean of the grid's frequencies around it."""
    found = {}
    nodes = {bin: node(weight, grid, bin) for bin in itertools.product(*map(range, grid))}
    for bin in itertools.product(*map(range, size)):
        places = [u * k / n for u, n, k in zip(bin, size, grid, strict=True)]
        value: Any = 0
        for sides in itertools.product((0, 1), repeat=len(size)):
            corner = tuple((math.floor(p) + s) % k for p, s, k in zip(places, sides, grid, strict=True))
            share = math.prod(p % 1 if s else 1 - p % 1 for p, s in zip(places, sides, strict=True))
            value = value + share * nodes[corner]
        found[bin] = value
    return found


def slow(module: SpectralFilter, x: Tensor, grid: tuple[int, ...]) -> Tensor:
    size, dims = tuple(x.shape[2:]), tuple(range(2, x.dim()))
    if module.form == "depthwise" and module.mix is not None:
        x = torch.einsum("bi...,io->bo...", x, module.mix[..., 0])
    spectrum = torch.fft.fftn(x.to(torch.complex128), dim=dims, norm="ortho")
    mask = dense_mask(size, module.shape, module.radius).double()
    parts = [module.weight] if module.form != "low_rank:2" else [module.down, module.up]
    filters = [interpolated(part, grid, size) for part in parts]
    columns = []
    for bin in itertools.product(*map(range, size)):
        y = spectrum[(..., *bin)] * mask[bin]
        for own in filters:
            y = y * own[bin] if module.form == "depthwise" else y @ own[bin]
        columns.append(y)
    whole = torch.stack(columns, 2).unflatten(2, size)
    out = torch.fft.ifftn(whole, dim=dims, norm="ortho")
    assert float(out.imag.detach().abs().max()) < 1e-9  # conjugate symmetric, so that nothing is thrown away
    return out.real


@pytest.mark.parametrize("chunk", [1, 2**21])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("size", "grid"), MAPS, ids=str)
def test_a_grid_equals_the_dense_filter_of_a_loop(
    size: tuple[int, ...], grid: tuple[int, ...], form: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output and all gradients, cell by cell and all cells at once."""
    monkeypatch.setattr(grid_module, "CHUNK", chunk)
    torch.manual_seed(0)
    module = SpectralFilter(2, 3, size, grid=grid, form=form, shape="gaussian", radius=0.3).double()
    for parameter in module.parameters():
        parameter.data = numbers(*parameter.shape, seed=parameter.numel())
    goal = numbers(2, 3, *size, seed=1)
    found = []
    for run in (lambda x: module(x), lambda x: slow(module, x, grid)):
        module.zero_grad()
        x = numbers(2, 2, *size, seed=2).requires_grad_()
        y = run(x)
        (y * goal).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in module.parameters())])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("size", "grid"), [((5,), (3,)), ((3, 4), (2, 5))], ids=str)
def test_gradients(size: tuple[int, ...], grid: tuple[int, ...], form: str) -> None:
    torch.manual_seed(0)
    module = SpectralFilter(2, 2, size, grid=grid, form=form).double()
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (numbers(1, 2, *size).requires_grad_(), *module.parameters()), fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(6,), (7,), (6, 8), (5, 7)], ids=str)
def test_on_a_map_of_the_grids_size_nothing_is_interpolated(size: tuple[int, ...], form: str) -> None:
    plain = SpectralFilter(2, 3, size, form=form, shape="none")
    own = SpectralFilter(2, 3, 40 if len(size) == 1 else (40, 30), form=form, shape="none", grid=size)
    if form == "low_rank:2":  # on a grid both matrices are real where u = -u
        real = plain.transform.real[plain.transform.kept]
        for parameter in plain.parameters():
            parameter.data[real, ..., 1] = 0
    own.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, *size)
    torch.testing.assert_close(own(x), plain(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.dense(), plain.dense())
    if form == "full":
        other = SpectralFilter(2, 3, size, shape="none", grid=size)
        other.from_dense(plain.dense())
        torch.testing.assert_close(other(x), plain(x), rtol=1e-4, atol=1e-5)
    assert own.mask().shape == size


@pytest.mark.parametrize("form", FORMS)
def test_a_grid_of_equal_values_is_the_mask_alone(form: str) -> None:
    """Whatever the map's size: the values between equal ones are these."""
    module = SpectralFilter(2, 2, (9, 9), grid=(4, 3), form=form, radius=0.3)
    for parameter in module.parameters():
        ones = torch.ones(parameter.shape[1:-1]) if form == "depthwise" else torch.eye(2)
        parameter.data = torch.stack([ones, 0 * ones], -1).expand_as(parameter).clone()
    for size in [(9, 9), (20, 3), (2, 2), (1, 1)]:
        x = torch.randn(2, 2, *size)
        masked = torch.fft.ifft2(torch.fft.fft2(x) * dense_mask(size, radius=0.3)).real
        torch.testing.assert_close(module(x), masked, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_state_knows_no_map(form: str) -> None:
    """State, copies and counts are of the grid alone, and one module takes maps of all sizes, in float32."""
    torch.manual_seed(0)
    one, other = (FrequencyAttention(4, 6, size, grid=[5, 4], form=form) for size in [(200, 336), (3, 2)])
    other.load_state_dict(one.state_dict())
    twin = copy.deepcopy(one)
    counted = sum(p.numel() for p in one.filter.parameters())
    assert counted == parameter_count(4, 6, (200, 336), grid=[5, 4], form=form)
    assert not any(p.is_complex() for p in one.parameters())
    for size in [(3, 2), (1, 1), (17, 10)]:
        x = torch.randn(2, 4, *size)
        want = one(x)
        assert want.shape == (2, 6, *size)
        assert torch.equal(other(x), want)
        assert torch.equal(twin(x), want)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(one(x), want)
            assert one(x.bfloat16()).dtype == torch.float32
    assert one(torch.randn(0, 4, 5, 5)).shape == (0, 6, 5, 5)
    assert one.filter.to("meta")(torch.zeros(1, 4, 9, 8, device="meta")).shape == (1, 6, 9, 8)
    assert "grid (5, 4)" in repr(one)


class _Largest(TorchDispatchMode):
    """The most values of any tensor that an operation gives."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (list, tuple)) else [out]:
            self.most = max(self.most, x.numel()) if isinstance(x, Tensor) else self.most
        return out


@pytest.mark.parametrize("form", FORMS)
def test_the_dense_filter_is_never_made(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor, forward or backward, is larger than the map, the parameters or a chunk."""
    monkeypatch.setattr(grid_module, "CHUNK", 2**13)
    size = (40, 48)
    module = FrequencyAttention(16, 16, size, grid=4, form=form)
    x = torch.randn(1, 16, *size, requires_grad=True)
    with _Largest() as seen:
        module(x).square().sum().backward()
    allowed = 2.2 * x.numel()
    assert seen.most <= allowed < 16 * 16 * 40 * 25 / 2


def test_attention_on_large_maps_goes_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows of any number, with the same outputs and gradients."""
    torch.manual_seed(0)
    module = LocalAttention(4, 2, 5).double()
    found = []
    for tile, whole in ((2**17, 2**20), (1, 0), (4 * 6 * 3, 0)):
        monkeypatch.setattr(local_module, "TILE", tile)
        monkeypatch.setattr(local_module, "WHOLE", whole)
        module.zero_grad()
        x = numbers(2, 4, 7, 6).requires_grad_()
        y = module(x)
        (y * numbers(2, 4, 7, 6, seed=1)).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in module.parameters())])
    for other in found[1:]:
        for got, want in zip(other, found[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_grids_that_are_none_are_refused() -> None:
    for grid in (0, -1, 2.5, True, "32", [4], [4, 4, 4], [4, 0]):
        with pytest.raises(ValueError, match="a grid is a number of frequencies, or two for maps of 2 dimensions"):
            FrequencyAttention(2, 2, (8, 8), grid=grid)
    for settings in ({"transform": "dct"}, {"transform": "haar"}, {"published": True}):
        with pytest.raises(ValueError, match="a grid is of transform fft's frequencies, and not published; got grid 4"):
            SpectralFilter(2, 2, (8, 8), grid=4, **settings)
    with pytest.warns(UserWarning, match="lets nothing of a map of size"):
        SpectralFilter(2, 2, (8, 8), grid=4, radius=3)


# ---- methods on maps that change size ----------------------------------------------------------------------------

INFO = DataInfo(tuple("abcde"), torch.arange(4), torch.arange(4), None)
FIRST = {"p2": (12, 8), "p3": (6, 4), "p4": (3, 2)}
SECOND = {"p2": (10, 20), "p3": (5, 10), "p4": (3, 5)}


def pyramid(channels: int, sizes: dict[str, tuple[int, int]], varies: bool = True, scale: int = 1) -> Spec:
    stages = {n: StageSpec((channels, *(scale * length for length in size)), (1.0, 1.0)) for n, size in sizes.items()}
    return Spec((3, 48, 32), 5, stages, order=tuple(sizes), varies=varies)


def outputs(channels: int, sizes: dict[str, tuple[int, int]], seed: int, scale: int = 1) -> Output:
    of_chance = torch.Generator().manual_seed(seed)
    stages = {n: torch.randn(3, channels, h * scale, w * scale, generator=of_chance) for n, (h, w) in sizes.items()}
    for x in stages.values():
        x.requires_grad_()
    return Output({}, stages)


def made(name: str, student: Spec, teacher: Spec, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return find(name)(configure(name, settings), student, {"big": teacher}, INFO)


METHODS = [
    ("review", {}),
    ("fitnet", {"stages": ["p2", "p4"]}),
    ("at", {}),
    ("sp", {"stages": "all"}),
    ("ft", {}),
    ("fam_layer", {}),
    ("fam_layer", {"distance": "spectrum", "masked": True, "form": "depthwise"}),
    ("fam_layer", {"branches": "local"}),
    ("fam_review", {"grid": [4, 6], "form": "low_rank:2"}),
    ("fam_review", {"compared": ["p2", "p4"]}),
]


@pytest.mark.parametrize("twice", [False, True], ids=["as large", "twice as large"])
@pytest.mark.parametrize(("name", "settings"), METHODS, ids=str)
def test_maps_of_another_size_are_as_if_made_for_it(name: str, settings: dict[str, Any], twice: bool) -> None:
    """The same weights in a method that was made for these sizes give the same terms and gradients."""
    scale = 2 if twice else 1
    made_for = [made(name, pyramid(4, sizes, scale=scale), pyramid(6, sizes), settings) for sizes in (FIRST, SECOND)]
    made_for[0].load_state_dict(made_for[1].state_dict())
    for sizes in (SECOND, FIRST, SECOND):
        found = []
        for method in made_for:
            student, teacher = outputs(4, sizes, 1, scale), outputs(6, sizes, 2)
            terms = method(student, {"big": teacher}, None, None)
            sum(terms.values()).backward()
            maps = [x.grad for x in student.stages.values() if x.grad is not None]
            assert maps
            assert all(bool(x.isfinite().all()) for x in maps)
            found.append([*(term.detach() for term in terms.values()), *maps])
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_compiled_methods_take_every_size() -> None:
    settings = {"stages": ["p3", "p4"], "attention": False}
    method = made("fam_review", pyramid(4, FIRST), pyramid(6, FIRST), settings).eval()
    compiled = torch.compile(method, backend="eager")
    for sizes in (FIRST, SECOND):
        student, teachers = outputs(4, sizes, 1), {"big": outputs(6, sizes, 2)}
        want, got = (run(student, teachers, None, None)["map.big"] for run in (method, compiled))
        torch.testing.assert_close(got, want)


def test_where_maps_change_size_filters_lie_on_a_grid_by_default() -> None:
    varying, fixed = pyramid(4, FIRST), pyramid(4, FIRST, varies=False)
    for name in ("fam_layer", "fam_review"):
        for student, teacher in ((varying, fixed), (fixed, varying)):
            method = made(name, student, teacher, {"stages": ["p3"]})
            (adapter,) = method.adapters["big"]
            assert adapter.head.frequency_attention.filter.grid_size == (32, 32)
            count = parameter_count(4, 4, (6, 4), grid=32)
            assert method.notes() == (
                f"maps change their size from batch to batch, so the filters of {name} lie on 32 frequencies along "
                f"each axis (grid): {count:,} parameters, 192.8 KiB in training with gradients and momentum",
            )
        assert made(name, varying, varying, {"grid": 4}).notes() == ()
        assert made(name, varying, varying, {"branches": "local"}).notes() == ()
        (own,) = made(name, fixed, fixed, {"stages": ["p3"]}).adapters["big"]
        assert own.head.frequency_attention.filter.grid is None
        with pytest.raises(
            InputError, match=r"p\d: maps change their size .* filters of transform dct .* transform: fft"
        ):
            made(name, varying, varying, {"transform": "dct"})
        with pytest.raises(InputError, match=r"published filters are made for one size; use published: false"):
            made(name, varying, varying, {"published": True})
        with pytest.raises(InputError, match=r"form: low_rank:1 \(\d"):
            made(name, varying, varying, {"max_parameters": 30000})


def test_an_embedding_takes_no_grid() -> None:
    """It has one frequency, of a grid of 32 x 32 one would be of use."""
    spec = replace(pyramid(4, FIRST, varies=False), embedding=8)
    deepest, *_ = made("fam_layer", spec, spec, {"grid": 4}).adapters["big"]
    assert deepest.head.frequency_attention.filter.grid is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 4, "transform": "dct"}, "transform: dct"),
        ({"grid": 4, "published": True}, "published: true"),
        ({"grid": 4, "branches": "local"}, "branches: local has no filter, so leave out grid"),
        ({"grid": 0}, "grid"),
        ({"grid": []}, "grid"),
        ({"grid": "32x32"}, "grid"),
    ],
    ids=str,
)
def test_settings_of_grids_are_refused(settings: dict[str, Any], message: str) -> None:
    for name in ("fam_layer", "fam_review"):
        with pytest.raises(InputError, match=message):
            configure(name, settings)
    with pytest.raises(InputError, match="p4: a grid is a number of frequencies, or two for maps of 2 dimensions"):
        made("fam_layer", pyramid(4, FIRST), pyramid(4, FIRST), {"grid": [4]})


def test_a_model_says_whether_its_maps_change_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("resnet8", (3, 16, 16), 4)
    assert not probe(Tap(model), torch.zeros(2, 3, 16, 16)).varies
    monkeypatch.setattr(type(model), "VARIES", True)
    assert not Tapped.VARIES
    assert probe(Tap(model), torch.zeros(2, 3, 16, 16)).varies
