"""Missing values: filled as a slow loop fills them, counted, and cut out where they stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from overtone.data.missing import Filling, MissingSettings, fill
from overtone.errors import InputError

NAN = float("nan")


def by_loop(values: Any, clock: Any, limit: float, how: str) -> Any:
    """What :func:`fill` leaves, value by value."""
    out = values.copy()
    count, channels = values.shape
    for c in range(channels):
        known = [t for t in range(count) if not np.isnan(values[t, c])]
        for t in range(count):
            if t in known or how == "drop":
                continue
            before = [k for k in known if k < t]
            after = [k for k in known if k > t]
            if how == "hold" and before and clock[t] - clock[before[-1]] <= limit * (1 + 1e-6):
                out[t, c] = values[before[-1], c]
            if how == "interpolate" and before and after:
                a, b = before[-1], after[0]
                if clock[b] - clock[a] <= limit * (1 + 1e-6):
                    share = (clock[t] - clock[a]) / (clock[b] - clock[a])
                    out[t, c] = (1 - share) * values[a, c] + share * values[b, c]
    return out


@st.composite
def recordings(draw: st.DrawFn) -> Any:
    count, channels = draw(st.integers(1, 25)), draw(st.integers(1, 3))
    cells = st.one_of(st.just(NAN), st.integers(-50, 50).map(float))
    values = draw(st.lists(cells, min_size=count * channels, max_size=count * channels))
    steps = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    return np.asarray(values, dtype=np.float32).reshape(count, channels), np.cumsum(steps) / 10


@settings(max_examples=150, deadline=None)
@given(recordings(), st.sampled_from(["drop", "hold", "interpolate"]), st.integers(1, 12), st.booleans())
def test_fills_as_a_slow_loop_does(given: Any, how: str, limit: int, in_samples: bool) -> None:
    values, seconds = given
    before = values.copy()
    chosen = MissingSettings(fill=how, limit=limit if in_samples else f"{limit / 10} s")
    names = [str(c) for c in range(values.shape[1])]
    filled = fill(values, seconds, None, chosen, names)
    clock, reach = (np.arange(len(values)), float(limit)) if in_samples else (seconds, limit / 10)
    wanted = by_loop(values, clock, reach, how)
    np.testing.assert_allclose(filled.values, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(filled.kept, ~np.isnan(wanted).any(axis=1))
    np.testing.assert_array_equal(filled.missing, np.isnan(before).sum(0))
    np.testing.assert_array_equal(filled.filled, np.isnan(before).sum(0) - np.isnan(wanted).sum(0))
    np.testing.assert_array_equal(values, before)  # what was given stays as it was
    again = fill(filled.values[filled.kept], None, 10.0, chosen, names)
    assert not again.missing.any()
    assert again.kept.all()


def test_9_hz_beside_100_hz() -> None:
    """A heart rate every 0.11 s: held from its first value on, interpolated between first and last."""
    values = np.stack([np.arange(100), np.full(100, NAN)], axis=1).astype(np.float32)
    values[5::11, 1] = 100 + np.arange(len(values[5::11]))
    held = fill(values, None, 100.0, MissingSettings(fill="hold"), ["acc", "hr"])
    assert held.kept.tolist() == [False] * 5 + [True] * 95
    assert held.values[[5, 15, 16, 26, 99], 1].tolist() == [100, 100, 101, 101, 108]
    drawn = fill(values, None, 100.0, MissingSettings(fill="interpolate"), ["acc", "hr"])
    assert drawn.kept.tolist() == [False] * 5 + [True] * 89 + [False] * 6
    assert drawn.values[16 + 3, 1] == pytest.approx(101 + 3 / 11)
    short = fill(values, None, 100.0, MissingSettings(fill="hold", limit="0.05 s"), ["acc", "hr"])
    assert short.kept[5:27].tolist() == ([True] * 6 + [False] * 5) * 2


def test_time_stamps_decide_over_the_number_of_samples() -> None:
    values = np.asarray([[1.0], [NAN], [NAN], [4.0]], dtype=np.float32)
    seconds = np.asarray([0.0, 0.5, 2.5, 3.0])
    held = fill(values, seconds, 1.0, MissingSettings(fill="hold"), ["x"])
    assert held.kept.tolist() == [True, True, False, True]
    drawn = fill(values, seconds, None, MissingSettings(fill="interpolate", limit="3 s"), ["x"])
    assert drawn.values[:, 0].tolist() == [1.0, 1.5, 3.5, 4.0]


def test_default_limits() -> None:
    values = np.asarray([[1.0], *[[NAN]] * 200], dtype=np.float32)
    assert fill(values, None, 50.0, MissingSettings(fill="hold"), ["x"]).kept.sum() == 51
    assert fill(values, None, None, MissingSettings(fill="hold"), ["x"]).kept.sum() == 11


def test_what_is_told() -> None:
    values = np.ones((200, 2), dtype=np.float32)
    values[10:20, 0] = NAN
    values[:, 1] = NAN
    values[0, 1] = 3
    filling = Filling(MissingSettings(fill="hold", limit=60), ["acc", "hr"], "data 'x'")
    filling.add("ann", values, None, 50.0)
    filling.add("bob", np.full((10, 2), NAN, dtype=np.float32), None, 50.0)
    filling.add("carl", np.ones((190, 2), dtype=np.float32), None, 50.0)
    assert filling.notes() == [
        "229 values are missing (hr: 209, 52 %; acc: 20, 5 %); 70 were held, within 60 samples; 149 of 400 samples "
        "(37 %) were cut out, and recordings split there; recording 'bob' has none at all of acc, hr",
        "1 of 3 recordings had no sample left and were left out",
    ]
    assert Filling(MissingSettings(fill="drop"), ["a"], "x").notes() == []


def test_refused_with_place_counts_and_what_helps() -> None:
    values = np.ones((40, 12), dtype=np.float32)
    values[7, 3] = values[9, 3] = values[9, 5] = NAN
    filling = Filling(MissingSettings(), [f"c{n}" for n in range(12)], "data 'csv': t.csv")
    assert filling.add("ann", values, None, None, lambda sample: f"row {sample + 2}").kept.all()
    with pytest.raises(InputError) as error:
        filling.notes()
    assert str(error.value) == (
        "data 'csv': t.csv: 3 values are missing (c3: 2, 5 %; c5: 1, 2.5 %); the first is in recording 'ann', channel "
        "'c3', row 9. Set data.missing: drop cuts such samples out, hold repeats a channel's last value, interpolate "
        "fills between neighbours; or leave such channels out"
    )


def test_nothing_left_is_refused() -> None:
    filling = Filling(MissingSettings(fill="interpolate"), ["acc", "hr"], "w")
    values = np.ones((40, 2), dtype=np.float32)
    values[:, 1] = NAN
    filling.add("ann", values, None, None)
    with pytest.raises(InputError, match=r"no sample is left.*hr: 40, 100 %.*recording 'ann' has none at all of hr"):
        filling.notes()


@pytest.mark.parametrize(
    ("limit", "said"),
    [("soon", "got 'soon'"), ("1.5", "for seconds write '1.5 s'"), (0, "above 0"), (True, "limit")],
)
def test_limits_are_lengths(limit: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MissingSettings(fill="hold", limit=limit)


def test_seconds_need_a_rate() -> None:
    values = np.asarray([[1.0], [NAN]], dtype=np.float32)
    with pytest.raises(InputError, match=r"'2 s' is in seconds.*set data.rate, or give a number of samples"):
        fill(values, None, None, MissingSettings(fill="hold", limit="2 s"), ["x"])
