"""What the readers of published sets share: rows out of text files, time stamps, files in zips."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import har_files
import numpy as np
import pytest
from har_files import load, recordings
from hypothesis import given
from hypothesis import strategies as st

from overtone.data.har import members as members_module
from overtone.data.har import rows as rows_module
from overtone.data.har.clocks import Clocks, Sensor, on_one_clock
from overtone.data.har.members import members
from overtone.data.har.rows import BadRows, read_fields, read_numbers
from overtone.errors import InputError


@given(
    st.lists(st.integers(-40, 40), min_size=0, max_size=60),
    st.sampled_from([3.0, 10.0, 1000.0]),
)
def test_stretches_rise_and_every_sample_is_told_of(stamps: list[int], longest: float) -> None:
    clocks = Clocks(longest)
    time = np.array(stamps, dtype=np.float64)
    stretches = clocks.follow(time)
    kept = np.concatenate([*stretches, np.array([], dtype=np.int64)])
    assert len(kept) == len(set(kept.tolist())) == len(time) - clocks.repeated
    for stretch in stretches:
        steps = np.diff(time[stretch])
        assert ((steps > 0) & (steps <= longest)).all()


def test_samples_without_a_neighbour_in_the_other_sensor_are_left_out() -> None:
    def sensor(time: list[float]) -> Sensor:
        stamps = np.array(time)
        return Sensor(stamps, stamps[:, None].astype(np.float32), np.zeros(len(stamps), dtype=np.int64))

    (stream,) = on_one_clock("a", [[sensor([0, 1, 2, 3, 4, 5, 6])], [sensor([0.5, 1.5, 2]), sensor([4.5, 5.5])]], 1.0)
    assert stream.time is not None
    assert stream.time.tolist() == [1, 2, 5]
    np.testing.assert_allclose(stream.values[:, 0], stream.values[:, 1])
    assert on_one_clock("a", [[sensor([0, 1])], [sensor([3, 4])]], 1.0) == []
    assert on_one_clock("a", [[sensor([0, 1])], []], 1.0) == []


@pytest.mark.parametrize("block", [7, 64, 2**20])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rows_are_the_same_however_blocks_fall(block: int, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", block)
    lines = ["a,b,c", "1,2,3", "4,,NaN", "", "7,8", "1_0,2,3", "nine,8,7", "-1e3,?,0.5"]
    bad = BadRows("drop", "mine")
    stream = io.BytesIO(("\ufeff" + ends.join(lines)).encode())
    found = np.concatenate(list(read_numbers(stream, 3, "f.csv", bad, ",", header=1)))
    np.testing.assert_array_equal(found, [[1, 2, 3], [4, np.nan, np.nan], [-1000, np.nan, 0.5]])
    assert bad.files == {"f.csv": 3}
    assert bad.first == ["line 5 of f.csv: '7,8'", "line 6 of f.csv: '1_0,2,3'", "line 7 of f.csv: 'nine,8,7'"]


@given(
    st.lists(
        st.tuples(st.integers(-99, 99), st.sampled_from(["a", "walk", ""]), st.floats(-1e6, 1e6, width=32)), max_size=20
    ),
    st.booleans(),
)
def test_fast_and_slow_reading_agree(rows: list[tuple[int, str, float]], broken: bool) -> None:
    fields = [("n", "f8"), ("name", "S8"), ("v", "f4")]
    text = "".join(f"{n},{name},{v!r};\n" for n, name, v in rows) + ("cut;\n" if broken else "")
    bad = BadRows("drop", "mine")
    blocks = list(read_fields(io.BytesIO(text.encode()), fields, "f", bad, ",", semicolons=True))
    found = np.concatenate(blocks).tolist() if blocks else []
    assert found == [(float(n), name.encode(), float(np.float32(v))) for n, name, v in rows]
    assert sum(bad.files.values()) == broken


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "BOMB_BYTES", 2**20)
    (tmp_path / "x.zip").write_bytes(har_files.zipped({"mHealth_subject1.log": b"0 " * 2**20}))
    with pytest.raises(InputError, match=r"unpacks to 2097152 bytes from \d+, over 200 times"):
        load("mhealth", tmp_path)
    monkeypatch.setattr(members_module, "MOST_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(InputError, match="holds more than 3 files"):
        list(members(tmp_path, "x", "mine"))


@pytest.mark.slow
def test_a_large_set_is_read_fast_and_in_little_memory(tmp_path: Path) -> None:
    """A file of PAMAP2's longest, 447,000 rows; memory by numpy's own count."""
    rows = har_files.pamap2_rows(0, ((1, 1000), (4, 1000)))
    lines = [" ".join(map(str, row[1:])) for row in rows]
    (tmp_path / "Protocol").mkdir()
    with (tmp_path / "Protocol" / "subject101.dat").open("w") as file:
        for n in range(447_000):
            file.write(f"{8.38 + n / 100:.2f} {lines[n % 2000]}\n")
    tracemalloc.start()
    found = recordings("pamap2", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(signal.shape[1] for signal in found.signals) > 446_000
    assert peak < 600 * 2**20
