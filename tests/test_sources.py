"""Text tables, folders, public sets: read as people have them, refused with the place of the mistake."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA
from test_damage import archive
from test_image_files import draw

from overtone import data, recipe
from overtone.data import Windows, check_sides, split
from overtone.errors import InputError
from overtone.recipe import DataSettings, SplitSettings
from overtone.study import make_plan

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
        return table, {}, "1 of 120 samples have an empty label; data.drop"
    if kind == "column":
        return table, {"label": "activty"}, "there is no label column 'activty'; did you mean 'activity'?"
    if kind == "nan":
        table[3][3] = "nan"
        return table, {}, "1 values are missing (ax: 1, 0.83 %); the first is in recording 'r0', channel 'ax', row 5"
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


def one_class(name: str, folder: Path) -> dict[str, Any]:
    """Data of a source in which everything is of one class."""
    if name == "npz":
        np.savez(folder / "x.npz", X=np.random.default_rng(0).normal(size=(8, 2, 6)), y=[3] * 8, group=[0, 1] * 4)
        return {"path": str(folder / "x.npz")}
    if name == "csv":
        table = [[*row[:-1], "walk"] for row in rows()]
        return settings(write(folder / "x.csv", table)).model_dump(exclude_none=True)
    if name == "folder":
        (folder / "a_walk.csv").write_text("ax\n" + "1\n2\n" * 20)
        return {"path": str(folder), "channels": ["ax"], "pattern": "(?P<group>[^_]+)_(?P<label>[^.]+)", "window": 10}
    if name in ("cifar100", "imagefolder"):
        for side in ("train", "val"):
            draw(folder / side / "cat" / "a.png", (20, 20), 0)
        archive(folder / "cifar-100-python", lambda held: {**held, b"fine_labels": [1] * 4})
        return {"path": str(folder), **({"size": 8} if name == "imagefolder" else {})}
    if name == "uci_har":
        sides = {f"{what}_{side}": np.zeros(3, int) for what in ("y", "subject") for side in ("train", "test")}
        x = {f"X_{side}": np.random.default_rng(0).normal(size=(3, 2, 8)) for side in ("train", "test")}
        np.savez(folder / "uci_har.npz", **sides, **x, channels=["a", "b"], classes=["sit", "walk"])
        return {"path": str(folder)}
    held = {"signal": np.random.default_rng(0).normal(size=(300, 2)), "timestamp_ms": 10 * np.arange(300)}
    each = {"recording": 0, "rec_subject": 0, "rec_execution": 0, "rec_is_watch": 0, "rec_length": 300}
    names = {"channels": ["a", "b"], "classes": ["sit", "walk"], "label": np.zeros(300)}
    np.savez(folder / "sp_sw_har.npz", **held, **{key: [value] for key, value in each.items()}, **names)
    return {"path": str(folder / "sp_sw_har.npz"), "positions": "phone"}


@pytest.mark.parametrize("name", ["npz", "csv", "folder", "imagefolder", "cifar100", "uci_har", "sp_sw_har"])
def test_no_source_gives_one_class_only(name: str, tmp_path: Path) -> None:
    given = {**one_class(name, tmp_path), "name": name}
    wanted = "two classes|no window is left of class|no image is left of class"
    with pytest.raises(InputError, match=wanted):
        data.load(DataSettings.model_validate(given))


def test_aeon_gives_no_one_class_either(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = import_module("aeon.datasets")
    monkeypatch.setattr(datasets, "load_classification", lambda *_, **__: (np.zeros((3, 1, 8)), ["a"] * 3))
    with pytest.raises(InputError, match=r"aeon:X'.*needs at least two classes, got \['a'\]; add windows of another"):
        data.load(DataSettings(name="aeon:X"))


def test_a_source_whose_file_holds_something_else_is_told(tmp_path: Path) -> None:
    one_class("uci_har", tmp_path)
    held = dict(np.load(tmp_path / "uci_har.npz"))
    np.savez(tmp_path / "uci_har.npz", **{**held, "y_train": np.array(["sit"] * 3)})
    with pytest.raises(InputError, match="data 'uci_har' cannot be used: ValueError: invalid literal"):
        data.load(DataSettings.model_validate({"name": "uci_har", "path": str(tmp_path)}))


def made(y: list[int], group: list[int], x: np.ndarray | None = None) -> Windows:
    numbers = np.arange(len(y))
    return Windows(
        x=np.random.default_rng(0).normal(size=(len(y), 2, 4)).astype(np.float32) if x is None else x,
        y=np.array(y, dtype=np.int64),
        group=np.array(group, dtype=np.int64),
        recording=numbers,
        start=numbers,
        groups=tuple(f"p{g}" for g in range(max(group, default=-1) + 1)),
        classes=("sit", "walk"),
        channels=("a", "b"),
        rate=None,
        where="mine",
        stride=4,
    )


FLAT = np.full((8, 2, 4), 3, dtype=np.float32)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (made([], [], FLAT[:0]), "mine: there is no window in it"),
        (made([1] * 8, [0, 1, 2, 3] * 2), r"at least two classes, got \['walk'\]"),
        (made([0, 0, 0, 0, 0, 1] * 2, [0, 1, 2, 3, 0, 4] * 2), "fold 3: all 8 training windows are of class 'sit'"),
        (made([0, 1] * 4, [0, 0, 1, 1, 2, 2, 3, 3], FLAT), "fold 0: all 4 training windows are equal, value by value"),
        (made([0, 1] * 4, [0, 0, 1, 1, 3, 3, 4, 4]), "fold 1: there is no window in val"),
    ],
)
def test_nothing_that_none_can_learn_from_is_planned(windows: Windows, message: str) -> None:
    study = recipe.validate({"data": {"name": "npz"}, "student": {"model": "dscnn-4"}, "methods": ["none"],
                             "train": {"batch": 2}})  # fmt: skip
    with pytest.raises(InputError, match=message):
        make_plan(study, windows)


def test_windows_that_differ_in_one_value_are_planned() -> None:
    x = FLAT.copy()
    x[::2, 0, 3] += 1e-3
    windows = made([0, 1] * 4, [0, 0, 1, 1, 2, 2, 3, 3], x)
    check_sides(windows, split(windows, SplitSettings()))
