"""Text tables, folders, public sets: read as people have them, refused with the place of the mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA

from overtone import data
from overtone.data import split
from overtone.errors import InputError
from overtone.recipe import DataSettings, SplitSettings

HEADER = ["who", "rec", "t", "ax", "ay", "activity"]


def rows(recordings: int = 3, samples: int = 40, rate: float = 20) -> list[list[Any]]:
    """A long table: person, recording, seconds, two channels, label (changing half way in recording 2)."""
    generator = np.random.default_rng(0)
    found = []
    for r in range(recordings):
        for s in range(samples):
            label = "walk" if r % 2 == 0 or s < samples // 2 else "run"
            found.append([f"p{r}", f"r{r}", round(s / rate, 4), *generator.normal(size=2).round(4), label])
    return found


def write(
    path: Path, table: list[list[Any]], delimiter: str = ",", decimal: str = ".", encoding: str = "utf-8"
) -> Path:
    lines = [delimiter.join(HEADER)]
    for row in table:
        lines.append(delimiter.join(str(c).replace(".", decimal) if isinstance(c, float) else str(c) for c in row))
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def settings(path: Path, **changes: Any) -> DataSettings:
    given = {
        "name": "csv",
        "path": str(path),
        "recording": "rec",
        "group": "who",
        "time": "t",
        "label": "activity",
        "channels": ["ax", "ay"],
        "window": 10,
        **changes,
    }
    return DataSettings.model_validate(given)


def test_a_long_table(tmp_path: Path) -> None:
    windows = data.load(settings(write(tmp_path / "x.csv", rows())))
    assert windows.classes == ("run", "walk")
    assert windows.groups == ("p0", "p1", "p2")
    assert windows.channels == ("ax", "ay")
    assert windows.rate == pytest.approx(20)
    assert len(windows) == 12
    table = np.asarray([row[3:5] for row in rows()], dtype=np.float32)
    np.testing.assert_allclose(windows.x[5], table[50:60].T)


def test_channels_by_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", rows())
    named = data.load(settings(path))
    for channels in (["a*"], ["ax", "a?"], ["*"]):  # who, rec, t and activity are no channels
        assert data.load(settings(path, channels=channels)).content == named.content
    assert data.load(settings(path, channels=["ay", "a*"])).channels == ("ay", "ax")
    with pytest.raises(InputError, match=r"no channel column fits 'gyro_\*'; known: ax, ay"):
        data.load(settings(path, channels=["gyro_*"]))
    with pytest.raises(InputError, match=r"data.channels is missing; .* there are: ax, ay"):
        data.load(settings(path, channels=None))


def test_a_column_named_like_a_pattern_is_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", rows())
    path.write_text(path.read_text().replace("ax", "a[0]", 1))
    assert data.load(settings(path, channels=["a[0]", "ay"])).channels == ("a[0]", "ay")


def test_a_missing_group_says_what_a_group_is(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", rows())
    with pytest.raises(InputError, match=r"no group column 'group'; .*who a sample is from.*data.group"):
        data.load(settings(path, group="group"))


@pytest.mark.parametrize(
    ("delimiter", "decimal", "encoding"),
    [(";", ",", "utf-8"), ("\t", ".", "utf-16"), (",", ".", "utf-8-sig"), (";", ",", "latin-1"), ("|", ".", "utf-8")],
)
def test_as_spreadsheets_write_it(delimiter: str, decimal: str, encoding: str, tmp_path: Path) -> None:
    plain = data.load(settings(write(tmp_path / "plain.csv", rows())))
    other = data.load(settings(write(tmp_path / "other.csv", rows(), delimiter, decimal, encoding)))
    np.testing.assert_array_equal(plain.x, other.x)
    assert plain.content == other.content


def test_windows_with_two_labels_are_dropped_and_counted(tmp_path: Path) -> None:
    windows = data.load(settings(write(tmp_path / "x.csv", rows()), window=16, stride=8))
    assert any("windows were dropped because the label changes" in note for note in windows.notes)
    in_second = windows.y[windows.recording == 1]
    assert list(in_second) == [1, 0]  # of starts 0, 8, 16 and 24 only 0 and 24 have one label


def test_time_in_other_units_and_dates(tmp_path: Path) -> None:
    plain = data.load(settings(write(tmp_path / "x.csv", rows())))
    milli = [[*row[:2], round(row[2] * 1000), *row[3:]] for row in rows()]
    assert data.load(settings(write(tmp_path / "ms.csv", milli), time_unit="ms")).content == plain.content
    dates = [[*row[:2], f"2026-01-01T00:00:{row[2]:09.6f}", *row[3:]] for row in rows()]
    assert data.load(settings(write(tmp_path / "iso.csv", dates))).content == plain.content


def test_gaps_split_and_resampling_evens(tmp_path: Path) -> None:
    gapped = [row if row[2] < 1.0 else [*row[:2], row[2] + 5, *row[3:]] for row in rows()]
    windows = data.load(settings(write(tmp_path / "gap.csv", gapped), window=12))
    assert any("3 gaps" in note for note in windows.notes)
    assert len(windows) == 6  # each recording is two stretches of 20
    assert sorted(set(windows.recording.tolist())) == [0, 1, 2]  # still three recordings,
    assert sorted(set(windows.start.tolist())) == [0, 120]  # whose second part starts six seconds in
    assert split(windows, SplitSettings(by="recording", test=1, val=1))[0].test_groups == ("r0",)
    generator = np.random.default_rng(1)
    uneven = [[*row[:2], row[2] + generator.uniform(0, 0.03), *row[3:]] for row in rows()]
    path = write(tmp_path / "uneven.csv", uneven)
    with pytest.raises(InputError, match=r"sampled unevenly.*set data.rate and data.resample"):
        data.load(settings(path))
    even = data.load(settings(path, rate=10, resample=True))
    assert even.rate == 10
    assert any("resampled to 10 Hz" in note for note in even.notes)


def test_resampling_a_line_gives_the_line(tmp_path: Path) -> None:
    table = [["p0" if s < 50 else "p1", "r", 0.0, 0.0, 0.0, "a" if s < 50 else "b"] for s in range(100)]
    generator = np.random.default_rng(0)
    for part in (table[:50], table[50:]):
        times = np.cumsum(generator.uniform(0.08, 0.12, size=50)).round(4)
        for row, time in zip(part, times, strict=True):
            row[2], row[3], row[4] = float(time), float(round(3 * time, 5)), 1.0
    path = write(tmp_path / "x.csv", table)
    windows = data.load(settings(path, recording="who", rate=20, resample=True, window=5))
    slope = np.diff(windows.x[:, 0]) * 20
    np.testing.assert_allclose(slope, 3, atol=2e-3)


def _damaged(kind: str) -> tuple[list[list[Any]], dict[str, Any], str]:
    table = rows()
    if kind == "backward":
        table[7][2] = 0.1
        return table, {}, "recording 'r0': the time stamp in row 9 is earlier than the one before"
    if kind == "twice":
        table[7][2] = table[6][2]
        return table, {}, "the time stamp in row 9 is the same as the one before"
    if kind == "text":
        table[3][4] = "oops"
        return table, {}, "column 'ay' (channel) holds 'oops' in row 5, which is no number"
    if kind == "empty cell":
        table[3][5] = ""
        return table, {}, "column 'activity' (label) is empty in row 5"
    if kind == "column":
        return table, {"label": "activty"}, "there is no label column 'activty'; did you mean 'activity'?"
    if kind == "nan":
        table[3][3] = "nan"
        return table, {}, "1 values are not finite; the first is nan in recording 0, channel 'ax', sample 3"
    if kind == "ragged":
        table[3].append("more")
        return table, {}, "row 5 has 7 cells, the header has 6"
    if kind == "rates":
        table = [[*row[:2], row[2] * (2 if row[1] == "r2" else 1), *row[3:]] for row in table]
        return table, {}, "sampling rates differ: 20 Hz in recording 'r0', 10 Hz in 'r2'"
    table[3][0] = "p9"
    return table, {}, "recording 'r0' belongs to several groups (p0, p9)"


KINDS = ["backward", "twice", "text", "empty cell", "column", "nan", "ragged", "rates", "groups"]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_with_its_place(kind: str, tmp_path: Path) -> None:
    table, changes, message = _damaged(kind)
    with pytest.raises(InputError) as caught:
        data.load(settings(write(tmp_path / "x.csv", table), **changes))
    assert message in str(caught.value)
    assert "x.csv" in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"a,b\n", "no row below"), (b"\0\1\2\n", "no text")])
def test_files_that_are_no_tables(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        data.load(settings(tmp_path / "x.csv"))


def test_a_class_without_a_window_is_left_out_and_told(tmp_path: Path) -> None:
    table = rows()
    table[45][5] = "jump"  # a single sample
    windows = data.load(settings(write(tmp_path / "x.csv", table)))
    assert windows.classes == ("run", "walk")
    assert "class jump has no window left and was left out" in windows.notes
    assert set(windows.y.tolist()) == {0, 1}


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    for person in ("ann", "bob", "cy"):
        for activity in ("walk", "run"):
            lines = ["ax,ay", *(f"{s},{s * 2}" for s in range(30))]
            (tmp_path / f"{person}_{activity}.csv").write_text("\n".join(lines))
    given = {"name": "folder", "path": str(tmp_path), "channels": ["ax", "ay"], "rate": 10, "window": "1 s"}
    pattern = r"(?P<group>[^_]+)_(?P<label>[^.]+)"
    windows = data.load(DataSettings.model_validate({**given, "pattern": pattern}))
    assert (len(windows), windows.groups, windows.classes) == (18, ("ann", "bob", "cy"), ("run", "walk"))
    with pytest.raises(InputError, match="a part named group is needed"):
        data.load(DataSettings.model_validate({**given, "pattern": "(.*)"}))
    with pytest.raises(InputError, match=r"'ann_run.csv' does not fit the pattern .*says who a recording is from"):
        data.load(DataSettings.model_validate({**given, "pattern": r"(?P<group>\d+)_(?P<label>[^.]+)"}))
    assert data.load(DataSettings.model_validate({**given, "pattern": pattern, "channels": ["a*"]})).x.shape[1] == 2
    (tmp_path / "cy_run.csv").write_text("ax,ay,az\n" + "1,2,3\n" * 30)
    with pytest.raises(InputError, match=r"cy_run.csv: data.channels fits ax, ay, az there, but ax, ay in .*ann_run"):
        data.load(DataSettings.model_validate({**given, "pattern": pattern, "channels": ["a*"]}))
    with pytest.raises(InputError, match="no file fits"):
        data.load(DataSettings.model_validate({**given, "pattern": pattern, "files": "*.txt"}))


def test_random_split_of_overlapping_windows_needs_a_word(tmp_path: Path) -> None:
    windows = data.load(settings(write(tmp_path / "x.csv", rows()), stride=5))
    random = {"by": "window", "scheme": "kfold", "test": 3, "val": 1}
    with pytest.raises(InputError, match="deals overlapping windows"):
        split(windows, SplitSettings.model_validate(random))
    allowed = SplitSettings.model_validate({**random, "allow_overlap": True})
    folds = split(windows, allowed)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(windows)))
    assert len(data.leaks(windows, allowed)) == 2
    by_recording = SplitSettings.model_validate({"by": "recording", "test": 1, "val": 1})
    assert split(windows, by_recording)[0].test_groups == ("r0",)


@pytest.mark.data
def test_uci_har_has_its_official_split() -> None:
    windows = data.load(DataSettings.model_validate({"name": "uci_har", "path": str(DATA)}))
    assert windows.x.shape == (10299, 9, 128)
    (fold,) = split(windows, SplitSettings(scheme="official", val=4))
    assert (len(fold.test), len(fold.train) + len(fold.val)) == (2947, 7352)
    assert len(fold.test_groups) == 9
    assert len(fold.val_groups) == 4
    assert not set(fold.test_groups) & {*fold.train_groups, *fold.val_groups}


@pytest.mark.data
def test_sp_sw_har_joins_phone_and_watch() -> None:
    both = data.load(DataSettings.model_validate({"name": "sp_sw_har", "path": str(DATA)}))
    assert both.x.shape[1:] == (12, 50)
    assert both.channels[0] == "phone_acc_x"
    assert both.channels[6] == "watch_acc_x"
    assert len(both.groups) == 23
    watch = data.load(DataSettings.model_validate({"name": "sp_sw_har", "path": str(DATA), "positions": "watch"}))
    assert watch.x.shape[1:] == (6, 50)


def test_files_are_looked_for_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERTONE_DATA", str(tmp_path))
    with pytest.raises(
        InputError, match=r"uci_har/uci_har.npz was not found \(looked: .*set data.path, or OVERTONE_DATA"
    ):
        data.load(DataSettings.model_validate({"name": "uci_har"}))
