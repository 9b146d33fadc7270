"""Views: Gramian fields and persistence against slow loops and by property; the view objects of a recipe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overtone.errors import InputError
from overtone.student import make_view
from overtone.testing import check_view
from overtone.views import (
    GAF,
    VIEWS,
    PersistenceImage,
    gramian_angular_field,
    paa,
    persistence_image,
    sublevel_diagram,
)

few = settings(max_examples=50, deadline=None)
DTYPES = [torch.float32, torch.float64]
KINDS = ["summation", "difference"]


@st.composite
def windows(draw, dtype="float64", longest=30):
    """Some windows (N, T) of multiples of 1/8, and an image size that fits."""
    length = draw(st.integers(1, longest))
    eighths = draw(arrays("int64", (draw(st.integers(1, 3)), length), elements=st.integers(-8000, 8000)))
    return torch.from_numpy(eighths.astype(dtype) / 8), draw(st.integers(1, length))


@st.composite
def series(draw):
    """Integer-valued series (N, T) of length 1 to 40, with many ties and plateaus."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 40)))
    x = draw(arrays("int64", shape, elements=st.integers(0, draw(st.integers(0, 6)))))
    return torch.from_numpy(x).double()


# --- Gramian angular fields


@few
@given(windows())
def test_paa_equals_the_loop(case):
    x, size = case
    length = x.shape[1]
    slow = [
        [sum(part) / len(part) for part in (row[k * length // size : (k + 1) * length // size] for k in range(size))]
        for row in x.tolist()
    ]
    torch.testing.assert_close(paa(x, size), torch.tensor(slow, dtype=torch.float64), rtol=1e-12, atol=1e-10)
    assert paa(x, size).shape == (len(x), size)


@pytest.mark.parametrize("size", [0, -1, 11])
@pytest.mark.parametrize("function", [paa, gramian_angular_field])
def test_a_size_beyond_the_window_is_refused(function, size):
    with pytest.raises(
        ValueError,
        match=f"size {size} is larger than the window's 10 samples" if size > 0 else f"at least 1, got {size}",
    ):
        function(torch.zeros(2, 10), size)


def slow_field(points, kind):
    """From the definition, by angles."""
    low, high = min(points), max(points)
    angles = [math.acos(max(-1.0, min(1.0, 2 * (p - low) / (high - low) - 1))) for p in points]
    if kind == "summation":
        return [[math.cos(a + b) for b in angles] for a in angles]
    return [[math.sin(a - b) for b in angles] for a in angles]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("length", "size"), [(20, 20), (21, 8), (7, 3)])
def test_the_field_equals_the_loop(kind, length, size):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, length)))
    image = gramian_angular_field(x, size, kind)
    slow = [[slow_field(row, kind) for row in sample] for sample in paa(x, size).tolist()]
    torch.testing.assert_close(image, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-7)


@few
@given(windows("float32"))
def test_summation_is_symmetric_with_its_diagonal(case):
    x, size = case
    image = gramian_angular_field(x, size, "summation")
    points = paa(x, size)
    low, high = points.amin(-1, keepdim=True), points.amax(-1, keepdim=True)
    varies = (high - low > 1e-3 * x.abs().amax(-1, keepdim=True)).squeeze(-1)  # far from a constant window
    cos = (2 * (points - low) / (high - low) - 1)[varies]
    assert torch.equal(image, image.transpose(-1, -2))
    diagonal = image[varies].diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal, 2 * cos**2 - 1, rtol=0, atol=1e-5)


@few
@given(windows("float32"))
def test_difference_is_antisymmetric_with_a_zero_diagonal(case):
    image = gramian_angular_field(*case, "difference")
    assert torch.equal(image, -image.transpose(-1, -2))
    assert (image.diagonal(dim1=-2, dim2=-1) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@few
@given(case=windows("float32"))
def test_the_field_stays_between_minus_one_and_one(kind, case):
    assert gramian_angular_field(*case, kind).abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@few
@given(case=windows(), scale=st.sampled_from([0.5, 4.0, 1024.0]))
def test_the_field_does_not_see_the_scale(kind, case, scale):
    x, size = case
    assert torch.equal(gramian_angular_field(scale * x, size, kind), gramian_angular_field(x, size, kind))


@pytest.mark.parametrize("dtype", DTYPES)
@few
@given(value=st.floats(-100, 100, width=32), length=st.integers(1, 100), data=st.data())
def test_a_constant_window_is_documented(dtype, value, length, data):
    size = data.draw(st.integers(1, length))
    flat = torch.full((1, 2, length), value, dtype=dtype)
    assert (gramian_angular_field(flat, size, "summation") == 1).all()
    assert (gramian_angular_field(flat, size, "difference") == 0).all()


def test_a_flat_channel_does_not_disturb_the_others():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 12)))
    x[0, 1] = 5.0
    image = gramian_angular_field(x, 5)
    torch.testing.assert_close(image[1], gramian_angular_field(x[1], 5))
    torch.testing.assert_close(image[0, 0], gramian_angular_field(x[0, 0], 5))
    assert (image[0, 1] == 1).all()


# --- sub-level-set persistence


def slow_diagram(x):
    """Union-find: samples appear by rising value, and of two valleys that meet the shallower dies."""
    parent, pairs = {}, []

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in sorted(range(len(x)), key=lambda i: (x[i], i)):
        parent[i] = i
        for neighbour in (i - 1, i + 1):
            if neighbour not in parent or root(neighbour) == root(i):
                continue
            older, younger = sorted((root(i), root(neighbour)), key=lambda r: (x[r], r))
            if x[younger] < x[i]:
                pairs.append([x[younger], x[i]])
            parent[younger] = older
    return sorted(pairs)


def pairs_of(diagram):
    """One series' diagram as a list, its padding checked and dropped."""
    absent = diagram.isnan().any(dim=1)
    assert diagram[absent].isnan().all()
    assert not absent[: len(absent) - int(absent.sum())].any()  # padding comes last
    return diagram[~absent].tolist()


@settings(max_examples=100, deadline=None)
@given(series())
def test_the_diagram_equals_union_find(x):
    diagram = sublevel_diagram(x)
    slow = [slow_diagram(row) for row in x.tolist()]
    assert [pairs_of(d) for d in diagram] == slow
    assert diagram.shape == (len(x), max(1, *map(len, slow), 1), 2)
    assert diagram.dtype == x.dtype


@few
@given(arrays("float64", st.integers(1, 40), elements=st.floats(-1e6, 1e6)))
def test_the_diagram_of_real_numbers_equals_union_find(x):
    assert pairs_of(sublevel_diagram(torch.from_numpy(x))) == slow_diagram(x.tolist())


@few
@given(series(), st.integers(-1000, 1000))
def test_the_diagram_moves_with_a_constant_and_ignores_the_direction_of_time(x, constant):
    diagram = sublevel_diagram(x)
    assert torch.equal((diagram + constant).nan_to_num(), sublevel_diagram(x + constant).nan_to_num())
    assert torch.equal(diagram.nan_to_num(), sublevel_diagram(x.flip(-1)).nan_to_num())


@few
@given(series())
def test_every_valley_but_the_lowest_dies(x):
    for row, diagram in zip(x.tolist(), sublevel_diagram(x), strict=True):
        steps = [value for i, value in enumerate(row) if i == 0 or value != row[i - 1]]  # a plateau is one sample
        walled = [math.inf, *steps, math.inf]
        valleys = [b for a, b, c in zip(walled, walled[1:], walled[2:], strict=False) if a > b < c]
        pairs = pairs_of(diagram)
        assert len(pairs) == len(valleys) - 1
        assert sorted([min(valleys), *(birth for birth, _ in pairs)]) == sorted(valleys)
        assert all(birth < death for birth, death in pairs)


@pytest.mark.parametrize(
    "x", [[5.0], [2.0] * 9, [1.0, 2.0, 2.0, 3.0], [3.0, 2.0, 2.0, -1.0]], ids=["one", "flat", "rising", "falling"]
)
def test_windows_without_a_second_valley_have_no_pairs(x):
    diagram = sublevel_diagram(torch.tensor([[x, x]]))
    assert diagram.shape == (1, 2, 1, 2)
    assert diagram.isnan().all()


def test_a_window_does_not_depend_on_its_batch():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 25)))
    together = sublevel_diagram(x)
    assert together.shape[:2] == (4, 3)
    for n in range(4):
        for c in range(3):
            assert pairs_of(together[n, c]) == slow_diagram(x[n, c].tolist())


# --- persistence images

BIRTHS, LIVES = (-2.0, 3.0), (0.0, 4.0)


@st.composite
def diagrams(draw):
    """A diagram (P, 2) with some slots empty; points may lie outside the ranges."""
    count = draw(st.integers(1, 6))
    births = draw(arrays("float64", count, elements=st.floats(-4, 5)))
    lives = draw(arrays("float64", count, elements=st.floats(0, 6)))
    found = torch.from_numpy(np.stack([births, births + lives], 1))
    found[torch.from_numpy(draw(arrays("bool", count)))] = torch.nan
    return found


def image_of(diagram, kind="persim", size=6, sigma=0.8):
    return persistence_image(diagram, size, BIRTHS, LIVES, sigma, kind)


def slow_image(diagram, size, sigma, kind):
    image = [[0.0] * size for _ in range(size)]
    for birth, death in diagram.tolist():
        if math.isnan(birth):
            continue
        for row in range(size):
            for column in range(size):
                value = death - birth
                for at, (low, high), k in ((birth, BIRTHS, column), (death - birth, LIVES, row)):
                    if kind == "gudhi":
                        z = (low + (high - low) * k / (size - 1) - at) / sigma
                        value *= math.exp(-z * z / 2) / (sigma * math.sqrt(2 * math.pi))
                    else:
                        edges = [low + (high - low) * e / size for e in (k, k + 1)]
                        below, above = (0.5 * math.erfc(-(e - at) / sigma / math.sqrt(2)) for e in edges)
                        value *= above - below
                image[row][column] += value
    return torch.tensor(image, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["persim", "gudhi"])
@settings(max_examples=25, deadline=None)
@given(diagram=diagrams(), sigma=st.floats(0.2, 3))
def test_the_image_equals_the_loop(kind, diagram, sigma):
    found = image_of(diagram, kind, 5, sigma)
    torch.testing.assert_close(found, slow_image(diagram, 5, sigma, kind), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["persim", "gudhi"])
@few
@given(diagram=diagrams())
def test_the_image_is_never_negative(kind, dtype, diagram):
    image = image_of(diagram.to(dtype), kind)
    assert image.dtype == dtype
    assert (image >= 0).all()


@few
@given(diagrams())
def test_the_mass_is_at_most_the_sum_of_the_weights(diagram):
    weights = (diagram[:, 1] - diagram[:, 0]).nansum()
    assert image_of(diagram).sum() <= weights + 1e-9


def test_all_the_mass_is_there_where_the_ranges_are_wide():
    diagram = torch.tensor([[0.0, 2.0], [1.0, 2.5]], dtype=torch.float64)
    image = persistence_image(diagram, 16, (-20, 20), (-20, 20), 0.5)
    torch.testing.assert_close(image.sum(), torch.tensor(3.5, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["persim", "gudhi"])
@few
@given(one=diagrams(), two=diagrams())
def test_images_add_up_and_ignore_order_and_padding(kind, one, two):
    both = image_of(one, kind) + image_of(two, kind)
    torch.testing.assert_close(image_of(torch.cat([one, two]), kind), both)
    torch.testing.assert_close(image_of(torch.cat([two.flip(0), one]), kind), both)


@pytest.mark.parametrize("kind", ["persim", "gudhi"])
def test_rows_are_persistence_and_columns_birth(kind):
    low_and_long = torch.tensor([[-1.9, 1.6]], dtype=torch.float64)  # birth -1.9, persistence 3.5
    image = image_of(low_and_long, kind, size=8, sigma=0.2)
    row, column = divmod(int(image.argmax()), 8)
    assert (row, column) in {(6, 0), (7, 0)}


@pytest.mark.parametrize("kind", ["persim", "gudhi"])
def test_an_empty_diagram_gives_zeros(kind):
    empty = torch.full((2, 3, 4, 2), torch.nan)
    assert torch.equal(image_of(empty, kind), torch.zeros(2, 3, 6, 6))


@pytest.mark.parametrize(
    ("births", "lives", "sigma", "message"),
    [
        ((1.0, 1.0), LIVES, 1.0, "birth_range must rise"),
        (BIRTHS, (4.0, 0.0), 1.0, "persistence_range must rise"),
        (BIRTHS, LIVES, 0.0, "sigma must be positive"),
        (BIRTHS, LIVES, (1.0, -1.0), "sigma must be positive"),
    ],
)
def test_an_image_that_cannot_be_is_refused(births, lives, sigma, message):
    with pytest.raises(ValueError, match=message):
        persistence_image(torch.zeros(1, 2), 4, births, lives, sigma)


# --- view objects

CHOICES = {
    "signal": [{}, {"channels": (0, 2)}],
    "gaf": [{"size": 16, "kind": "summation"}, {"size": 64, "kind": "difference"}],
    "pi": [{"size": 8}, {"size": 9, "sigma": 0.5, "kind": "gudhi"}, {"size": 8, "ranges": "quantiles"}],
    "mtf": [{"size": 8}],
    "recurrence": [{"size": 8}, {"size": None, "dimension": 2, "delay": 3}],
    "spectrogram": [{"length": 16}],
    "image": [{}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1)}],
}


def test_every_view_is_here():
    assert set(CHOICES) == set(VIEWS)
    assert all(kind.SOURCE for kind in VIEWS.values())


@pytest.mark.parametrize(("name", "chosen"), [(name, chosen) for name, every in CHOICES.items() for chosen in every])
def test_a_view_holds_its_contract(name, chosen):
    check_view(VIEWS[name], chosen)


def train_windows(dtype=torch.float64, count=12):
    return torch.from_numpy(np.random.default_rng(1).normal(size=(count, 3, 40))).to(dtype)


def test_the_extreme_ranges_are_those_of_all_channels_together():
    view = PersistenceImage(size=8, ranges="extremes")
    stored = view.prepare(train_windows())
    state = view.fit(stored)
    births = stored[..., 0][stored[..., 0].isfinite()]
    lives = (stored[..., 1] - stored[..., 0]).nan_to_num(0)
    assert state["birth_range"] == [births.min().item(), births.max().item()]
    assert state["persistence_range"] == [0.0, lives.max().item()]
    torch.testing.assert_close(view.render(stored, state).std(unbiased=False).item(), 1.0)


def test_each_channel_has_its_quantiles_as_ranges_and_its_own_scale():
    view = PersistenceImage(size=8, ranges="quantiles")
    stored = view.prepare(train_windows() * torch.tensor([1.0, 10.0, 0.1])[:, None])
    state = view.fit(stored)
    for channel, (low, high) in enumerate(state["birth_range"]):
        births, deaths = stored[:, channel][stored[:, channel, :, 0].isfinite()].unbind(1)
        ranks = [(births < low).sum(), (births > high).sum()]
        none, longest = state["persistence_range"][channel]
        assert none == 0
        for rank in (*ranks, (deaths - births > longest).sum()):
            assert abs(rank.item() - 0.01 * len(births)) <= 1
        assert low in births
        assert high in births
    spread = view.render(stored, state).std((0, 2, 3), unbiased=False)
    torch.testing.assert_close(spread, torch.ones_like(spread))


def test_points_beyond_the_quantiles_lie_on_the_edge_and_weigh_as_much_as_it():
    """One far point in a hundred would take every pixel from the others; here it moves nothing but itself."""
    view = PersistenceImage(size=8, ranges="quantiles")
    state = {"birth_range": [[0.0, 1.0]], "persistence_range": [[0.0, 2.0]], "scale": [1.0]}

    def image(birth, lifetime):
        return view.render(torch.tensor([[[[birth, birth + lifetime]]]]), state)

    for beyond, edge in (((0.5, 9.0), (0.5, 2.0)), ((-7.0, 1.0), (0.0, 1.0)), ((4.0, 30.0), (1.0, 2.0))):
        assert image(*edge).sum() > 0
        torch.testing.assert_close(image(*beyond), image(*edge))


@pytest.mark.parametrize("kind", ["persim", "gudhi"])
def test_ranges_of_a_channel_are_the_published_image_over_them(kind):
    """Inside its ranges, each channel's image is that of :func:`persistence_image`, but for one factor."""
    view = PersistenceImage(size=6, kind=kind, sigma=1.5, ranges="quantiles")
    ranges = [((-3.0, 2.0), (0.0, 4.0)), ((-1.0, 9.0), (0.0, 0.5))]
    points = torch.tensor([[-1.0, 1.5], [0.5, 0.75]]).double().expand(1, 2, 2, 2)
    points = torch.stack([points[:, 0], torch.tensor([[[2.0, 2.25], [8.0, 8.5]]]).double()], 1)
    state = {"birth_range": [list(b) for b, _ in ranges], "persistence_range": [list(p) for _, p in ranges]}
    found = view.render(points, {**state, "scale": [1.0, 1.0]})
    for channel, (births, lives) in enumerate(ranges):
        sigma = (1.5 * (births[1] - births[0]) / 6, 1.5 * (lives[1] - lives[0]) / 6)
        plain = persistence_image(points[:, channel], 6, births, lives, sigma, kind)
        own = found[:, channel]
        torch.testing.assert_close(own / own.sum(), plain / plain.sum())


@pytest.mark.parametrize("settings", [{}, {"ranges": "quantiles"}, {"ranges": "extremes"}])
def test_a_state_from_before_there_were_two_kinds_gives_the_images_it_gave(settings):
    """A student file's state decides, whatever the default has become: one range and one scale for all channels."""
    view = PersistenceImage(size=8, **settings)
    stored = view.prepare(train_windows())
    state = {"birth_range": [-2.0, 3.0], "persistence_range": [0.0, 4.0], "scale": 0.05}
    expected = persistence_image(stored, 8, (-2.0, 3.0), (0.0, 4.0), (5 / 8, 4 / 8)) / 0.05
    torch.testing.assert_close(view.render(stored, state), expected, rtol=0, atol=0)


def test_a_field_larger_than_the_window_is_refused_when_fitted():
    with pytest.raises(ValueError, match="size 41 is larger than the window's 40 samples"):
        GAF(size=41).fit(train_windows())


@pytest.mark.parametrize(
    ("kind", "chosen", "message"),
    [
        ("gasf", {}, "unknown view 'gasf'; did you mean 'gaf'"),
        ("gaf", {"sise": 3}, "unknown key 'sise'; did you mean 'size'"),
        ("gaf", {"kind": "sum"}, "kind: 'summation' or 'difference' is needed, got 'sum'"),
        ("pi", {"sigma": 0}, "sigma: a number above 0 is needed, got 0"),
        ("pi", {"size": 1}, "size: a whole number of at least 2 is needed, got 1"),
        ("signal", {"size": 3}, "unknown key 'size'"),
    ],
)
def test_a_view_that_cannot_be_is_refused(kind, chosen, message):
    with pytest.raises(InputError, match=message):
        make_view(kind, chosen)
