"""Classes renamed, merged, chosen and dropped; missing values and lengths of recordings of any source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from overtone import data, load_student
from overtone.cli import app
from overtone.data import Recordings, Source
from overtone.data.base import IMAGES, Material, Windows
from overtone.data.parts import keep_samples
from overtone.data.windows import cut
from overtone.errors import InputError
from overtone.recipe import DataSettings
from overtone.testing import check_source


def recordings(labels: Any, **more: Any) -> Recordings:
    """One recording of 60 samples for each person, whose first channel counts from 100 times its number."""
    signals = [np.stack([100 * n + np.arange(60), np.arange(60) % 7]).astype(np.float32) for n in range(4)]
    groups = ["ann", "bob", "carl", "dora"]
    return Recordings(signals, labels, groups, ("", "null", "run", "walk"), ("a", "b"), 10.0, "data 'made'", **more)


PER_SAMPLE = [np.repeat([1, 2, 3, 2, 1, 3], 10) for _ in range(4)]


class PerSample(Source):
    holes: int = 0

    def load(self) -> Recordings:
        made = recordings([own.copy() for own in PER_SAMPLE])
        for signal in made.signals:
            signal[1, 35 : 35 + self.holes] = np.nan
        return made


class OneEach(Source):
    empty: bool = False

    def load(self) -> Recordings:
        return recordings(np.asarray([2, 3, 2, 0 if self.empty else 3]), official_test=[False, False, True, True])


class Numbers(Source):
    def load(self) -> Recordings:
        return replace(recordings([np.asarray([0.5])] * 4), classes=())


class Pictures(Source):
    MATERIAL: ClassVar[Material] = IMAGES

    def load(self) -> Windows:
        x = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), dtype=np.uint8)
        y, zeros = np.arange(12) % 4, np.zeros(12, dtype=np.int64)
        names, group = ("cat", "dog", "fox", "owl"), np.repeat([0, 1], 6)
        places = np.arange(12)
        return Windows(
            x, y, group, places, zeros, ("left", "right"), names, ("r", "g", "b"), None, "w", 1,
            official_test=places > 7, material=IMAGES,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("per_sample", PerSample), ("one_each", OneEach), ("pictures", Pictures), ("numbers", Numbers)):
        monkeypatch.setitem(data.SOURCES, name, kind)


def loaded(**values: Any) -> Windows:
    return data.load(DataSettings(**values))


def test_samples_of_dropped_classes_are_cut_out_and_recordings_split() -> None:
    windows = loaded(name="per_sample", window=5, drop=["null", ""])
    assert windows.classes == ("run", "walk")
    assert windows.start[windows.recording == 1].tolist() == [10, 15, 20, 25, 30, 35, 50, 55]
    np.testing.assert_array_equal(windows.x[:, 0, 0], 100 * windows.recording + windows.start)
    assert windows.y[:8].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert windows.notes == ("class null was left out: 80 of 240 samples",)
    across = loaded(name="per_sample", window=7, stride=1, drop=["null", ""])
    inside = [*range(10, 14), *range(20, 24), *range(30, 34), *range(50, 54)]
    assert across.start[across.recording == 0].tolist() == inside


def test_classes_are_numbered_as_they_are_listed() -> None:
    windows = loaded(name="per_sample", window=5, classes=["walk", "run"])
    assert windows.classes == ("walk", "run")
    assert windows.y[:4].tolist() == [1, 1, 0, 0]


def test_renaming_comes_first_and_may_merge() -> None:
    windows = loaded(name="per_sample", window=10, rename={"run": "move", "walk": "move", "": "null"})
    assert windows.classes == ("null", "move")
    assert windows.y[:6].tolist() == [0, 1, 1, 1, 0, 1]
    assert windows.notes == ('classes renamed: run to move, walk to move, "" to null',)
    merged = loaded(name="per_sample", window=10, stride=1, rename={"run": "move", "walk": "move"}, drop=[""])
    assert merged.start[merged.recording == 0].tolist() == [0, *range(10, 31), 40, 50]  # one stretch of both


def test_one_label_a_recording() -> None:
    windows = loaded(name="one_each", drop=["", "null"])
    assert windows.x.shape == (4, 2, 60)
    assert windows.official_test is not None
    windows = loaded(name="one_each", rename={"run": 1, "walk": 2, "": 3}, classes=[2, 1, 3])
    assert (windows.classes, windows.y.tolist()) == (("2", "1"), [1, 0, 1, 0])
    assert (
        loaded(name="one_each", window=20, classes=["walk", "run"]).y.tolist() == [1] * 3 + [0] * 3 + [1] * 3 + [0] * 3
    )


def test_unknown_names_are_told_the_nearest() -> None:
    for key, value in (("drop", ["nul"]), ("classes", ["nul"]), ("rename", {"nul": "x"})):
        with pytest.raises(InputError, match=rf"data.{key}: there is no class 'nul'; did you mean 'null'"):
            loaded(name="per_sample", window=5, **{key: value})
    with pytest.raises(InputError, match=r"there is no class 'run'; .*jog"):  # renaming came first
        loaded(name="per_sample", window=5, rename={"run": "jog"}, classes=["run", "walk"])


def test_empty_labels_are_refused_unless_dropped() -> None:
    with pytest.raises(InputError, match=r'60 of 240 samples have an empty label; data.drop: \[""\] cuts them'):
        loaded(name="one_each", empty=True)
    assert loaded(name="one_each", empty=True, drop=[""]).groups == ("ann", "bob", "carl")


def test_nothing_left_and_too_few_are_refused() -> None:
    with pytest.raises(InputError, match="no sample is of the classes wanted, null"):
        loaded(name="one_each", classes=["null"])
    with pytest.raises(InputError, match="at least two classes"):
        loaded(name="one_each", classes=["run"])


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"data.classes are those wanted, data.drop those not; give one"):
        loaded(name="per_sample", classes=["run", "walk"], drop=["null"])
    with pytest.raises(ValidationError, match="put quotes around it, got True"):
        DataSettings(name="npz", drop=[True])
    with pytest.raises(InputError, match=r"data.classes: 'per_sample' takes a list of classes' names, got 2"):
        loaded(name="per_sample", classes=2)
    with pytest.raises(InputError, match="its labels are numbers, no classes"):
        loaded(name="numbers", task="regression", drop=["x"])


def test_classes_of_images() -> None:
    windows = loaded(name="pictures", rename={"fox": "dog"}, classes=["owl", "dog"])
    assert windows.classes == ("owl", "dog")
    assert windows.x[:, 0, 0, 0].tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert windows.y.tolist() == [1, 1, 0] * 3
    assert windows.group.tolist() == [0] * 4 + [1] * 5
    assert windows.official_test is not None
    assert windows.official_test.tolist() == [False] * 6 + [True] * 3
    assert windows.notes == ("classes renamed: fox to dog", "class cat was left out: 3 of 12 images")
    assert loaded(name="pictures").content == Pictures().load().content
    for settings_ in ({"pad": True}, {"missing": "hold"}):
        with pytest.raises(InputError, match="holds images"):
            loaded(name="pictures", **settings_)


def test_a_source_with_a_setting_of_its_own_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Source):
        classes: int = 9
        drop: tuple[str, ...] = ()

        def load(self) -> Recordings:
            assert (self.classes, self.drop) == (2, ("lines",))
            return recordings(np.asarray([2, 3, 2, 3]))

    monkeypatch.setitem(data.SOURCES, "own", Own)
    assert loaded(name="own", classes=2, drop=["lines"]).classes == ("run", "walk")


def test_missing_values_of_any_source() -> None:
    plain = {"name": "per_sample", "window": 5, "classes": ["run", "walk", "null"]}
    with pytest.raises(
        InputError, match=r"8 values are not finite; .*sample 35\. Missing are 8 \(b: 8\)\. Set data.mis"
    ):
        loaded(**plain, holes=2)
    held = loaded(**plain, holes=2, missing="hold")
    assert held.notes[0] == "8 values are missing (b: 8, 3.3 %); 8 were held, within 1 s"
    assert held.x[7, 1].tolist() == [34 % 7, 34 % 7, 37 % 7, 38 % 7, 39 % 7]
    drawn = loaded(**plain, holes=2, missing={"fill": "interpolate", "limit": "0.3 s"})
    assert drawn.x[7, 1, :2].tolist() == pytest.approx([6 + (2 - 6) / 3, 6 + 2 * (2 - 6) / 3])
    gone = loaded(**plain, holes=12, missing={"fill": "hold", "limit": 3})
    assert gone.start[gone.recording == 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 52]
    assert "36 of 240 samples (15 %) were cut out, and recordings split there" in gone.notes[0]


def test_where_no_window_is_left_what_was_cut_out_is_told() -> None:
    with pytest.raises(InputError, match=r"longer than every recording \(the longest has \d+\); .*were cut out"):
        loaded(name="per_sample", window=38, holes=12, missing="drop")


def test_a_channel_that_differs_between_recordings_does_not_never_change() -> None:
    constant = [np.full((1, 20), float(n), np.float32) for n in range(2)]
    labels = [np.arange(20) // 10] * 2
    both = Recordings(constant, labels, ["g", "h"], ("run", "walk"), ("hr",), None, "w")
    assert cut(both, 5, None).notes == ("channel 'hr' never changes within a recording",)
    one = Recordings(constant[:1], labels[:1], ["g"], ("run", "walk"), ("hr",), None, "w")
    assert cut(one, 5, None).notes == ("channel 'hr' never changes",)


def test_a_source_whose_values_are_missing_meets_the_contract() -> None:
    class Held(Source):
        missing: Any = PerSample.model_fields["missing"].default.model_copy(update={"fill": "hold"})
        WINDOW: ClassVar[int] = 5

        def load(self) -> Recordings:
            return PerSample(holes=2).load()

    check_source(Held)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=4), st.booleans())
def test_parts_know_where_they_were(masks: list[list[bool]], one_each: bool) -> None:
    """Every kept sample is found again at its origin and offset, in parts that touch no sample cut out."""
    signals = [np.arange(len(mask), dtype=np.float32)[None] + 100 * n for n, mask in enumerate(masks)]
    labels: Any = np.arange(len(masks)) if one_each else [np.arange(len(mask)) for mask in masks]
    names = tuple(str(n) for n in range(20))
    whole = Recordings(signals, labels, [f"g{n}" for n in range(len(masks))], names, ("a",), None, "w")
    parts = keep_samples(whole, [np.asarray(mask) for mask in masks])
    found = []
    for number, signal in enumerate(parts.signals):
        origin = number if parts.origin is None else parts.origin[number]
        offset = 0 if parts.offset is None else parts.offset[number]
        assert signal[0].tolist() == [100 * origin + offset + t for t in range(signal.shape[1])]
        assert parts.groups[number] == f"g{origin}"
        wanted = origin if one_each else list(range(offset, offset + signal.shape[1]))
        assert np.asarray(parts.labels[number]).tolist() == wanted
        found += signal[0].tolist()
    kept = [100 * n + t for n, mask in enumerate(masks) for t, stays in enumerate(mask) if stays]
    assert found == kept
    again = keep_samples(parts, [np.ones(signal.shape[1], dtype=bool) for signal in parts.signals])
    assert again is parts


def test_notes_stand_in_check_on_the_page_and_in_the_students_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(48, 2, 24))
    x[5, 1, 10:13] = np.nan
    y = np.asarray(["run", "walk", "zero"] * 16)
    np.savez(tmp_path / "a.npz", X=x, y=y, group=np.repeat(["ann", "bob", "carl"], 16))
    values = {
        "name": "told",
        "data": {
            "name": "npz",
            "path": str(tmp_path / "a.npz"),
            "missing": "interpolate",
            "rename": {"zero": "null"},
            "drop": ["null"],
        },
        "split": {"test": 1, "val": 1, "folds": [0]},
        "student": {"model": "dscnn-4", "epochs": 1},
        "train": {"batch": 8},
        "methods": ["none"],
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    told = [
        "3 values are missing (channel 1: 3, 0.26 %); 3 were interpolated, within 10 samples",
        "classes renamed: zero to null",
        "class null was left out: 384 of 1152 samples",
    ]
    run = CliRunner()
    done = run.invoke(app, ["check", str(tmp_path / "r.yaml")])
    assert done.exit_code == 0, done.output
    seen = " ".join(done.output.split())
    assert all(note in seen for note in told)
    done = run.invoke(app, ["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f"<li>{note}</li>" in page for note in told)
    (student,) = (tmp_path / "out").glob("cells/*/student.safetensors")
    assert load_student(student).header.notes == tuple(told)


def test_without_these_settings_windows_are_as_before(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((6, 2, 10)) + np.arange(10), y=np.arange(6) % 2, group=np.arange(6) // 2)
    content = loaded(name="npz", path=tmp_path / "a.npz").content
    assert content == "7a97f00f19e0b8549676cad1f4f2d5bb3db43c6a9cd2d2fd145c2f583fc64b3d"
    assert loaded(name="npz", path=tmp_path / "a.npz", pad=False, missing="hold", drop=[], rename={}).content == content
