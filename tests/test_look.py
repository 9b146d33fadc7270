"""A first look at one's own data: what it says, the recipe that it writes, and what it refuses in one sentence."""

from __future__ import annotations

import os
import signal as signal_numbers
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import har_files
import mat_files
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from overtone import data, look
from overtone.cli import app
from overtone.data.har.realworld import POSITIONS
from overtone.errors import InputError
from overtone.formats.table import TextFormat, open_table
from overtone.look import sample
from overtone.look import tables as reading
from overtone.look.columns import Column, scan
from overtone.look.draw import braille, examples
from overtone.look.folders import read_names
from overtone.look.guess import guess_roles
from overtone.look.timing import hertz
from overtone.look.words import speaks
from overtone.recipe import load as load_recipe
from overtone.study import make_plan

GOLDEN = Path(__file__).parent / "golden" / "look"
ACTIVITIES = {"walk": (2.0, 1.0), "run": (3.0, 3.0), "sit": (0.1, 0.05)}
NAMES = ("person", "trial", "t", "acc_x", "acc_y", "acc_z", "activity")


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def said(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


def signal(activity: str, samples: int, rate: float = 50.0, seed: int = 0) -> Any:
    """(T, 3)."""
    rng = np.random.default_rng(seed)
    time, (hertz, size) = np.arange(samples) / rate, ACTIVITIES[activity]
    waves = [size * np.sin(2 * np.pi * hertz * time + phase) for phase in range(3)]
    return np.stack(waves, axis=1) + 0.05 * rng.normal(size=(samples, 3))


def rows(people: int = 3, samples: int = 200, unit: float = 1.0) -> list[list[str]]:
    """Person, trial, time, three axes, activity."""
    found = []
    for person in range(people):
        for number, activity in enumerate(ACTIVITIES):
            for at, values in enumerate(signal(activity, samples, seed=person)):
                cells = [f"p{person}", str(3 * person + number), f"{at / 50 * unit:.6g}"]
                found.append([*cells, *(f"{value:.4f}" for value in values), activity])
    return found


def table(
    path: Path, body: Sequence[Sequence[str]], names: Sequence[str] = NAMES, sign: str = ",", end: str = ""
) -> Path:
    lines = ([sign.join(names)] if names else []) + [sign.join(row) + end for row in body]
    path.write_text("\n".join(lines) + "\n")
    return path


# --- one of each kind, and what its recipe must say


def long_table(folder: Path) -> tuple[Path, dict[str, Any]]:
    wanted = {"channels": ["acc_x", "acc_y", "acc_z"], "label": "activity", "group": "person", "recording": "trial"}
    return table(folder / "long.csv", rows()), {**wanted, "time": "t", "window": "1 s", "stride": "0.5 s"}


def korean(folder: Path) -> tuple[Path, dict[str, Any]]:
    names = ("대상자", "시행", "시간", "가속도x", "가속도y", "가속도z", "활동")
    path = table(folder / "기록.csv", rows(unit=1000), names)
    path.write_bytes(path.read_text().encode("cp949"))
    return path, {"label": "활동", "group": "대상자", "recording": "시행", "time": "시간", "time_unit": "ms"}


def logger(folder: Path) -> tuple[Path, dict[str, Any]]:
    """No header, a semicolon at each end, stamps in ns with a little jitter."""
    rng, body, stamp = np.random.default_rng(0), [], 49_105_962_326_000
    for person in (33, 17, 20):
        for activity in ACTIVITIES:
            for values in signal(activity, 200, 20):
                stamp += 50_000_000 + int(rng.integers(-1_000_000, 1_000_000))
                body.append([str(person), activity, str(stamp), *(f"{value:.5f}" for value in values)])
    wanted = {"channels": [4, 5, 6], "label": 2, "group": 1, "time": 3, "time_unit": "ns"}
    return table(folder / "raw.txt", body, (), end=";"), wanted


def holes(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A slow channel beside fast ones, and a few empty cells."""
    body = []
    for n, row in enumerate(rows()):
        heart, x = f"{80 + n % 5}.5" if n % 9 == 0 else "", "" if n % 97 == 0 else row[3]
        body.append([row[0], f"{n % 600 / 50}", heart, x, *row[4:]])
    names = ("user", "time", "heart", "ax", "ay", "az", "class")
    return table(folder / "holes.csv", body, names), {"missing": "hold", "channels": ["heart", "ax", "ay", "az"]}


def uneven(folder: Path) -> tuple[Path, dict[str, Any]]:
    rng, body = np.random.default_rng(0), []
    for person in range(3):
        at = 0.0
        for row in rows()[:600]:
            at += float(rng.uniform(0.012, 0.028))
            body.append([str(person), f"{at:.4f}", *row[3:]])
    path = table(folder / "uneven.tsv", body, ("subject", "seconds", "x", "y", "z", "label"), "\t")
    return path, {"time": "seconds", "resample": True}


def one_person(folder: Path) -> tuple[Path, dict[str, Any]]:
    body = [[f"{n / 50}", *row[3:]] for n, row in enumerate(rows(4))]
    path = table(folder / "one.csv", body, ("t", "x", "y", "z", "label"))
    return path, {"name": "folder", "files": "one.csv", "label": "label", "window": "2 s", "stride": "2 s"}


def numbers(folder: Path) -> tuple[Path, dict[str, Any]]:
    body = []
    for n, row in enumerate(rows()):
        body.append([row[0], f"{n % 600 / 50}", *row[3:6], f"{60 + 20 * np.sin(n / 90):.3f}"])
    path = table(folder / "pulse.csv", body, ("subject", "t", "x", "y", "z", "target"))
    return path, {"task": "regression", "label": "target"}


def tables(folder: Path) -> tuple[Path, dict[str, Any]]:
    below = folder / "recordings"
    below.mkdir()
    for person in range(3):
        for activity in ACTIVITIES:
            values = enumerate(signal(activity, 300, seed=person))
            body = [[str(20 * n), *(f"{value:.4f}" for value in row)] for n, row in values]
            table(below / f"s{person:02d}_{activity}_1.csv", body, ("time_ms", "ax", "ay", "az"))
    return below, {"name": "folder", "time": "time_ms", "time_unit": "ms", "channels": ["ax", "ay", "az"]}


def logs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Tabs, no header, the label a number in the last column, people in files' names."""
    (folder / "logs").mkdir()
    for person in range(1, 4):
        body = [
            [*(f"{value:.4f}" for value in row), str(number)]
            for number, activity in enumerate(ACTIVITIES)
            for row in signal(activity, 300, seed=person)
        ]
        table(folder / "logs" / f"rec_subject{person}.log", body, (), "\t")
    return folder / "logs", {"files": "*.log", "channels": [1, 2, 3], "label": 4}


def parquet(folder: Path) -> tuple[Path, dict[str, Any]]:
    csv = import_module("pyarrow.csv")
    written = import_module("pyarrow.parquet")
    written.write_table(csv.read_csv(table(folder / "long.csv", rows())), folder / "long.parquet")
    return folder / "long.parquet", {"name": "csv", "label": "activity", "group": "person", "time": "t"}


def arrays() -> dict[str, Any]:
    x = np.concatenate([np.stack([signal(a, 64, seed=n).T for n in range(12)]) for a in ACTIVITIES]).astype(np.float32)
    return {"X": x, "y": np.repeat(list(ACTIVITIES), 12), "group": np.tile(np.arange(3), 12)}


def npz(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.savez(folder / "mine.npz", **arrays())
    return folder / "mine.npz", {"name": "npz"}


def other_names(folder: Path) -> tuple[Path, dict[str, Any]]:
    given, whole = arrays(), np.zeros((4, 3, 64))
    own = {"data": given["X"], "labels": given["y"], "subjects": given["group"], "weight": np.ones(36)}
    np.savez(folder / "own.npz", **own, calibration=whole)
    return folder / "own.npz", {"x": "data", "y": "labels", "group": "subjects"}


def turned(folder: Path) -> tuple[Path, dict[str, Any]]:
    given = arrays()
    np.savez(folder / "turned.npz", **{**given, "X": np.tile(given["X"].transpose(0, 2, 1), (1, 1, 3))})
    return folder / "turned.npz", {"layout": "NTC"}


def measured(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.savez(folder / "measured.npz", **{**arrays(), "y": np.linspace(0.0, 9.5, 36)})
    return folder / "measured.npz", {"task": "regression"}


def mat(folder: Path, write: Callable[[Path, dict[str, Any]], None] = mat_files.old) -> tuple[Path, dict[str, Any]]:
    given = arrays()
    values = {"signals": given["X"], "activity": np.repeat([1.0, 2.0, 3.0], 12), "subject": np.tile(np.arange(3.0), 12)}
    write(folder / "mine.mat", values)
    return folder / "mine.mat", {"name": "mat", "x": "signals", "y": "activity", "group": "subject"}


def mat73(folder: Path) -> tuple[Path, dict[str, Any]]:
    return mat(folder, mat_files.new)


def series(folder: Path) -> tuple[Path, dict[str, Any]]:
    import_module("aeon")
    head = "@problemName mine\n@timeStamps false\n@univariate true\n@equalLength true\n@seriesLength 40\n"
    for side in ("TRAIN", "TEST"):
        lines = []
        for n in range(12):
            lines += [
                ",".join(f"{v:.3f}" for v in signal(name, 40, seed=n)[:, 0]) + f":{name}" for name in ("walk", "run")
            ]
        body = "\n".join(lines)
        (folder / f"Mine_{side}.ts").write_text(f"{head}@classLabel true walk run\n@data\n{body}\n")
    return folder / "Mine_TRAIN.ts", {"name": "ts", "test": str(folder / "Mine_TEST.ts")}


def pictures(folder: Path) -> tuple[Path, dict[str, Any]]:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        below = folder / "pictures" / name
        below.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(below / f"{number}.png")
    return folder / "pictures", {"name": "imagefolder", "size": 64}


Made = Callable[[Path], tuple[Path, dict[str, Any]]]
KINDS: list[Made] = [
    *(long_table, korean, logger, holes, uneven, one_person, numbers, tables, logs),
    *(parquet, npz, other_names, turned, measured, mat, mat73, series, pictures),
]


def drafted(path: Path, folder: Path) -> look.Draft:
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    return look.describe(path, parts)


@pytest.mark.parametrize("make", KINDS)
def test_the_recipe_for_each_kind_is_accepted_as_it_is(make: Made, tmp_path: Path) -> None:
    path, wanted = make(tmp_path)
    draft = drafted(path, tmp_path)
    text = look.recipe_for(draft, look.try_out(draft))
    assert text is not None, draft.problems
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    written = yaml.safe_load(text)["data"]
    assert {key: written.get(key) for key in wanted} == wanted
    assert len(written) <= 12
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    windows = data.load(recipe.data)
    assert make_plan(recipe, windows).cells
    if windows.classes:
        assert np.bincount(windows.y).min() >= 5


@pytest.mark.parametrize("make", [pytest.param(long_table), pytest.param(npz, marks=pytest.mark.slow)])
def test_look_then_run(make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = overtone("look", path.name, "--write", "mine.yaml", "--html", "page.html")
    assert done.exit_code == 0, done.output
    assert "overtone check mine.yaml" in said(done)
    page = Path("page.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "No recipe yet" not in page
    assert "<svg" in page
    again = overtone("look", path.name, "--write", "mine.yaml")
    assert again.exit_code == 2
    assert "mine.yaml exists; choose another --write" in said(again)
    short = ["split.folds=[0]", "teachers={signal: {model: wrn10-1, epochs: 2}}", "student.epochs=2"]
    done = overtone("run", "mine.yaml", "--jobs", "1", *(word for each in short for word in ("--set", each)))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("width", [40, 80])
def test_the_screen(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long_table(tmp_path)
    draft = drafted(Path("long.csv"), tmp_path)
    trial = look.try_out(draft)
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        look.show_draft(console, draft)
        look.show_trial(console, draft, trial)
    shown = "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    golden = GOLDEN / f"long-{width}.txt"
    assert max(map(len, shown.splitlines())) <= width
    assert shown == golden.read_text(encoding="utf-8")


# --- what cannot be looked at, or learned from


def _study(folder: Path) -> Path:
    (folder / "study.json").write_text("{}")
    return folder


def _written(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.csv", "there is no such file or folder"),
        (lambda folder: Path("watch"), "watch is a source's name"),
        (_written("empty.csv", b""), "the file is empty (0 bytes)"),
        (_written("blank.csv", b"\n\n \n"), "the file is empty"),
        (_written("junk.bin", bytes(range(256)) * 9), "is neither text nor a format that is known here"),
        (_written("junk.npz", b"PK\x03\x04 nothing"), "it is cut short or no .npz file"),
        (_written("junk.mat", b"MATLAB 5.0 MAT-file" * 20), "it is cut short or no .mat file"),
        (_written("junk.parquet", b"PAR1 nothing"), "it is cut short or"),
        (_written("mine.yaml", b"data: {name: watch}"), "overtone check"),
        (_written("student.safetensors", b"0" * 64), "overtone predict"),
        (_written("mine.zip", b"no zip"), "it is cut short or no zip"),
        (_written("one.png", b"0" * 64), "is one picture"),
        (_study, "overtone report"),
        (lambda folder: folder, "there is no table, array or picture in this folder (found: nothing)"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    done = overtone("look", make(tmp_path))
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("names", "cells", "message"),
    [
        (("person", "t", "x"), (0, 2, 3), "no column looks like a label"),
        (("person", "t", "x", "label"), (0, 2, 3, 0), "there is one class only"),
        (("person", "activity"), (0, 6), "no column of numbers is left for a signal"),
    ],
)
def test_nothing_to_learn_is_told_with_what_is_needed(
    names: Sequence[str], cells: Sequence[int], message: str, tmp_path: Path
) -> None:
    path = table(tmp_path / "mine.csv", [[row[cell] for cell in cells] for row in rows(1)], names)
    done = overtone("look", path, "--write", tmp_path / "mine.yaml")
    assert done.exit_code == 2
    assert message in said(done)
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": ["a", "b"], "group": [0, 1]}, "no array has three axes (N, C, T)"),
        ({"X": np.zeros((2, 3, 9)), "y": ["a", "b"]}, "no array with 2 values looks like groups, whose each item is"),
        ({"x": np.zeros((2, 3, 9)), "user": [0, 1]}, "no array with 2 values looks like classes; a recipe names it"),
        ({"X": np.zeros((2, 3, 9)), "y": np.array(["a", 1], dtype=object), "group": [0, 1]}, "never unpickled"),
    ],
)
def test_arrays_that_are_missing_are_told(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **given)
    done = overtone("look", tmp_path / "mine.npz")
    assert done.exit_code == 0
    assert "No recipe yet" in said(done)
    assert message in said(done)


def test_too_few_pictures_are_told_with_the_reason(tmp_path: Path) -> None:
    path, _ = pictures(tmp_path)
    for picture in sorted(path.glob("*/*.png"))[1:-1]:
        picture.unlink()
    done = overtone("look", path, "--write", tmp_path / "mine.yaml")
    assert done.exit_code == 2
    assert "leaves at least two classes to learn and something to test (the best: split: fold 0" in said(done)


@pytest.mark.parametrize("option", ["--write", "--html"])
def test_a_place_that_cannot_be_written_is_told_with_its_option(option: str, tmp_path: Path) -> None:
    path, _ = npz(tmp_path)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "mine", tmp_path / ("n" * 250), tmp_path):
        done = overtone("look", path, option, place)
        assert done.exit_code == 2
        assert "cannot write" in said(done)
        assert "--out" not in said(done)
        assert option in said(done) or "Choose a shorter name" in said(done)


# --- guesses


def test_rows_that_say_nothing_are_dropped_and_their_number_told(tmp_path: Path) -> None:
    body = [
        ["" if n % 50 == 0 else row[0], *row[1:6], "NaN" if n % 200 > 150 else row[6]] for n, row in enumerate(rows())
    ]
    draft = drafted(table(tmp_path / "a.csv", body), tmp_path)
    text = look.recipe_for(draft, look.try_out(draft))
    assert text is not None, draft.problems
    written = yaml.safe_load(text)["data"]
    assert (written["bad_rows"], written["drop"], written["recording"]) == ("drop", ["NaN"], "trial")
    assert "person is empty in 36 rows" in text


def test_columns_that_are_neither_are_told(tmp_path: Path) -> None:
    body = [[str(n), "7", row[0], *row[3:], str(n // 200)] for n, row in enumerate(rows())]
    path = table(tmp_path / "a.csv", body, ("index", "gain", "user", "x", "y", "z", "activity", "session"))
    roles = guess_roles(scan(open_table(path, "a", TextFormat()), lambda done: None).columns)
    assert roles.time is None
    assert roles.neither == {"index": "a row number", "gain": "constant (7)"}
    assert [roles.of(name) for name in ("user", "activity", "session")] == ["group", "label", "recording"]


def test_recordings_whose_numbers_repeat_are_not_named(tmp_path: Path) -> None:
    body = [[row[0], str(int(row[1]) % 3), *row[3:]] for row in rows()]
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "trial", "x", "y", "z", "activity")), tmp_path)
    assert "recording" not in draft.settings
    assert "'trial' has the same names for several people" in draft.notes[0]


def test_stamps_that_do_not_rise_are_left_out_for_their_rate(tmp_path: Path) -> None:
    body = [[row[0], f"{n % 600 // 2 / 25}", *row[3:]] for n, row in enumerate(rows())]  # each stamp twice
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "time", "x", "y", "z", "label")), tmp_path)
    assert "time" not in draft.settings
    assert "not later than the one before" in draft.settings["rate"].guess


def restarting(code: bool) -> list[list[str]]:
    """A clock that starts anew in each trial; two neighbouring trials of a person are of one class."""
    body = []
    for n, row in enumerate(rows()):
        cells = [str(20 * (n % 100)), *row[3:6], "run" if n % 600 >= 400 else "walk"]
        body.append([row[0], *([str(n // 100)] if code else []), *cells])
    return body


def test_a_code_that_changes_where_the_clock_restarts_is_the_recording(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", restarting(True), ("id", "block", "t", "x", "y", "z", "activity"))
    draft = drafted(path, tmp_path)
    assert (draft.settings["recording"].value, draft.settings["time"].value) == ("block", "t")
    assert "changes wherever the clock starts anew, 18 different numbers" in draft.settings["recording"].guess
    assert not draft.notes


@pytest.mark.parametrize("label", ["activity", "what"])
@pytest.mark.parametrize("name", ["b{}", "{}"])
def test_a_name_that_changes_where_the_clock_restarts_is_the_recording(name: str, label: str, tmp_path: Path) -> None:
    body = [[row[0], name.format(n // 100 + 7), *row[2:]] for n, row in enumerate(restarting(True))]
    draft = drafted(table(tmp_path / "a.csv", body, ("who", "xyz", "t", "x", "y", "z", label)), tmp_path)
    found = {role: draft.settings[role].value for role in ("group", "recording", "time", "label")}
    assert found == {"group": "who", "recording": "xyz", "time": "t", "label": label}


@pytest.mark.parametrize("name", ["r{:04d}", "{}"])
def test_a_clock_that_restarts_between_the_parts_of_a_large_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a person's several recordings each part holds one."""
    body = []
    for recording in range(130):
        for at, values in enumerate(signal(list(ACTIVITIES)[recording % 3], 60, seed=recording)):
            cells = [f"p{recording % 5}", name.format(recording), f"{at / 50:.2f}", *(f"{v:.4f}" for v in values)]
            body.append([*cells, list(ACTIVITIES)[recording % 3]])
    path = table(tmp_path / "long.csv", body, ("who", "xyz", "t", "x", "y", "z", "activity"))
    monkeypatch.setattr(sample, "PARTS", 12)
    monkeypatch.setattr(sample, "PART_BYTES", 2**10)
    monkeypatch.setattr(reading, "sample_file", lambda path, into: sample.sample_file(path, into, 2**15, 2**10))
    draft = drafted(path, tmp_path)
    assert draft.settings["recording"].value == "xyz"
    assert draft.settings["channels"].value == ["x", "y", "z"]
    assert look.recipe_for(draft, look.try_out(draft)) is not None, draft.problems


def test_a_clock_that_restarts_within_recordings_is_told(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", restarting(False), ("id", "t", "x", "y", "z", "activity"))
    draft = drafted(path, tmp_path)
    assert "time" not in draft.settings
    assert draft.roles is not None
    assert draft.roles.of("t") == "-"
    assert "only its rate is used" in draft.roles.neither["t"]
    assert "not split where the clock in 't' restarts (15 places)" in draft.notes[0]


def test_a_korean_trial_is_a_recording() -> None:
    assert all(speaks(name, "recording") == 2 for name in ("시도", "시행", "회차", "세션", "녹화"))


@pytest.mark.parametrize("day", ["01/05/2024 ", "", "0 days "])
def test_times_not_in_iso_8601_are_told_and_give_the_rate(day: str, tmp_path: Path) -> None:
    body = [[row[0], f"{day}10:01:{n % 600 / 20:06.3f}", *row[3:]] for n, row in enumerate(rows())]
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "t", "x", "y", "z", "label")), tmp_path)
    assert draft.roles is not None
    assert draft.roles.neither["t"] == "looks like time, but not in ISO 8601, so it is not used"
    assert draft.settings["rate"].value == 20
    assert "20 Hz by its steps" in draft.notes[0]


def test_stamps_that_go_up_by_one_may_be_a_counter(tmp_path: Path) -> None:
    body = [[row[0], str(n % 600), *row[3:]] for n, row in enumerate(rows())]
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "t", "x", "y", "z", "label")), tmp_path)
    assert "may as well be a sample counter, or ms: 1,000 Hz" in draft.settings["time_unit"].guess


def test_numbers_with_commas_are_told_either_way(tmp_path: Path) -> None:
    body = [[row[0], *(f"{1 + n % 7},{100 + n % 800}" for _ in range(2)), row[6]] for n, row in enumerate(rows())]
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "x", "y", "label"), ";"), tmp_path)
    assert draft.settings["decimal"].value == ","
    assert "could be read either way" in draft.settings["decimal"].guess


@pytest.mark.parametrize(
    ("other", "sign", "decimal", "why"),
    [
        ("0.5", ",", ".", "'0.5' in row 2 of 'z' has a decimal point"),
        ("0.5", ";", ".", "'0.5' in row 2 of 'z' has a decimal point"),
        ("5", ",", ".", "could be read either way"),
        ("5", ";", ",", "could be read either way"),
    ],
)
def test_commas_are_told_as_loading_tells_them(other: str, sign: str, decimal: str, why: str, tmp_path: Path) -> None:
    body = [[row[0], f'"{1 + n % 7},{100 + n % 800}"', other, str(n % 9), row[6]] for n, row in enumerate(rows())]
    draft = drafted(table(tmp_path / "a.csv", body, ("person", "x", "z", "i", "label"), sign), tmp_path)
    assert draft.settings["decimal"].value == decimal
    assert why in draft.settings["decimal"].guess
    trial = look.try_out(draft)
    assert trial.recordings is not None, draft.problems
    assert float(trial.recordings.signals[0][0, 0]) == (1100.0 if decimal == "." else np.float32(1.1))


@pytest.mark.parametrize(
    ("files", "groups", "labels"),
    [
        (["ann_walk.csv", "ann_run.csv", "bob_walk.csv", "bob_run.csv"], {"ann", "bob"}, {"walk", "run"}),
        (["walk/s1.csv", "walk/s2.csv", "run/s1.csv", "run/s2.csv"], {"s1", "s2"}, {"walk", "run"}),
        (["S01-walk3.txt", "S01-run3.txt", "S02-walk4.txt", "S02-run4.txt"], {"S01", "S02"}, {"walk", "run"}),
        (
            ["걷기_피험자1.csv", "앉기_피험자1.csv", "걷기_피험자2.csv", "앉기_피험자2.csv"],
            {"피험자1", "피험자2"},
            {"걷기", "앉기"},
        ),
    ],
)
def test_files_names(files: list[str], groups: set[str], labels: set[str]) -> None:
    names = read_names(files, label_known=False)
    assert (set(names.groups), set(names.labels)) == (groups, labels)
    source = data.Folder(path=Path(), pattern=names.pattern)
    assert {source.told_by(name, "group") for name in files} == groups
    assert {source.told_by(name, "label") for name in files} == labels


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("uci_har", "UCI HAR Dataset/train/Inertial Signals/body_acc_x_train.txt"),
        ("pamap2", "Protocol/subject101.dat"),
        ("mhealth", "mHealth_subject1.log"),
        ("daphnet", "dataset/S01R01.txt"),
        ("opportunity", "dataset/S1-ADL1.dat"),
        ("dsads", "data/a01/p1/s01.txt"),
        ("wisdm2019", "raw/phone/accel/data_1600_accel_phone.txt"),
        ("hhar", "Phones_accelerometer.csv"),
        ("realworld", "proband1/data/acc_walking_csv.zip"),
        ("sho", "Participant_1.csv"),
        ("unimib", "data/acc_data.mat"),
        ("sp_sw_har", "sp_sw_har.npz"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_published_sets_are_known_by_their_files(source: str, name: str, zipped: bool, tmp_path: Path) -> None:
    if source not in data.SOURCES:
        pytest.skip("no such source")
    path = tmp_path / ("set.zip" if zipped else "set")
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "0")
    else:
        (path / name).parent.mkdir(parents=True)
        (path / name).write_text("0")
    assert drafted(path, tmp_path).data == {"name": source, "path": str(path)}


def test_own_tables_come_before_a_set_below(tmp_path: Path) -> None:
    path, _ = tables(tmp_path)
    (path / "old" / "Protocol").mkdir(parents=True)
    (path / "old" / "Protocol" / "subject101.dat").write_text("0")
    draft = drafted(path, tmp_path)
    assert draft.kind.name == "tables"
    assert "pamap2 in old" in draft.notes[0]
    assert draft.settings.get("files") is None  # not those of folders below


def test_the_folder_of_a_set_is_named_and_others_are_listed(tmp_path: Path) -> None:
    for name in ("a/b/Protocol/subject101.dat", "c/mHealth_subject1.log"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("0")
    draft = drafted(tmp_path, tmp_path)
    assert draft.data == {"name": "mhealth", "path": str(tmp_path / "c")}
    assert str(tmp_path / "c") in dict(draft.facts)["what"]
    assert "pamap2 in a/b" in draft.notes[0]


@pytest.mark.parametrize("name", ["mHealth_subject1.log", "Protocol/subject101.dat"])
def test_one_file_of_a_set_is_a_table(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    table(path, [[*row[3:6], str(len(row[6]) % 2)] for row in rows()], (), " ")
    draft = drafted(path, tmp_path)
    assert draft.kind.name == "table"
    assert "one file of the published set" in draft.notes[0]


def test_classes_that_are_none_and_rare_ones_are_hinted_at(tmp_path: Path) -> None:
    body = rows(4, 800) + [[*row[:6], "0"] for row in rows(4, 60)]
    draft = drafted(table(tmp_path / "a.csv", [[row[0], *row[3:]] for row in body], (NAMES[0], *NAMES[3:])), tmp_path)
    text = look.recipe_for(draft, look.try_out(draft))
    assert text is not None, draft.problems
    assert "# drop: ['0']" in text
    assert "class_weights: balanced" in text
    assert "drop" not in yaml.safe_load(text)["data"]


def test_files_that_name_no_people_are_not_called_people(tmp_path: Path) -> None:
    below = tmp_path / "recordings"
    below.mkdir()
    for number in range(4):
        table(below / f"rec{number:02d}.csv", [row[2:] for row in rows(1)], NAMES[2:])
    draft = drafted(below, tmp_path)
    trial = look.try_out(draft)
    assert trial.split is not None, draft.problems
    assert "by file; whether one person is in several is not known" in trial.split.guess


def test_numbers_are_written_as_one_would() -> None:
    assert [hertz(rate) for rate in (20_000.0, 49.99, 0.02)] == ["20,000", "49.99", "0.02"]
    stamps = Column("t", 1_700_000_100_000.0 + 50 * np.arange(9))
    assert stamps.range == "1700000100000 to 1700000100400"


def test_what_is_missing_is_said_once_and_folders_that_are_made(tmp_path: Path) -> None:
    path = table(tmp_path / "one.csv", [row[:6] for row in rows(1)], NAMES[:6])
    done = overtone("look", path, "--write", tmp_path / "mine.yaml")
    assert said(done).count("no column looks like a label") == 1
    assert "what its recipe needs is said above" in said(done)
    whole, _ = long_table(tmp_path)
    assert f"made {tmp_path / 'new'}" in said(overtone("look", whole, "--write", tmp_path / "new" / "mine.yaml"))
    assert "choose another --html" in said(overtone("look", whole, "--html", whole))


def test_plots_name_the_group_of_each_recording_or_of_none(tmp_path: Path) -> None:
    body = [[str(int(row[0][1:])), *row[1:]] for row in rows()]
    trial = look.try_out(drafted(table(tmp_path / "a.csv", body), tmp_path))
    assert trial.recordings is not None
    assert trial.windows is not None
    assert all(example.place.startswith("group 0, recording ") for example in examples(trial.recordings, trial.windows))


@pytest.mark.parametrize("write", [mat_files.old, mat_files.new])
def test_structs_and_cells_of_matlab_are_opened(write: Callable[[Path, dict[str, Any]], None], tmp_path: Path) -> None:
    signals = [signal(name, 200 + 10 * n, seed=n) for n in range(4) for name in ACTIVITIES]
    values = {
        "acc": {"data": mat_files.cell(signals)},
        "labels": mat_files.cell(list(ACTIVITIES) * 4),
        "subject": np.repeat(np.arange(4.0), 3),
    }
    write(tmp_path / "mine.mat", values)
    draft = drafted(tmp_path / "mine.mat", tmp_path)
    text = look.recipe_for(draft, look.try_out(draft))
    assert text is not None, draft.problems
    wanted = {"x": "acc.data", "y": "labels", "group": "subject", "layout": "NTC"}
    assert wanted.items() <= yaml.safe_load(text)["data"].items()


# --- large files, and any file


def test_a_large_file_is_read_in_parts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "long.csv", rows(12, 400))
    monkeypatch.setattr(sample, "PARTS", 8)
    monkeypatch.setattr(reading, "sample_file", lambda path, into: sample.sample_file(path, into, 2**17, 2**10))
    draft = drafted(path, tmp_path)
    text = look.recipe_for(draft, look.try_out(draft))
    assert text is not None, draft.problems
    assert 0.1 < draft.share < 0.5
    assert f"Only {100 * draft.share:.2g} % of it was looked at" in text
    told = int(dict(draft.facts)["size"].split("about ")[1].split(" rows")[0].replace(",", ""))
    assert told == pytest.approx(14_400, rel=0.1)
    assert str(tmp_path / "parts") not in text
    assert draft.timing is not None
    assert draft.timing.gaps == 0
    assert draft.sample is not None
    assert set(draft.sample.path.read_text().splitlines()) <= set(path.read_text().splitlines())


def test_a_large_folder_is_read_by_some_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = tables(tmp_path)
    (tmp_path / "parts").mkdir()
    monkeypatch.setattr(sample, "WHOLE_BYTES", 2**15)
    monkeypatch.setattr(sample, "LEAST_FILES", 4)
    names = sorted(file.name for file in path.iterdir())
    part, chosen = sample.sample_folder(path, names, tmp_path / "parts")
    assert set(chosen) < set(names)
    assert sorted(file.name for file in part.path.iterdir()) == chosen
    whole = sum(file.stat().st_size for file in path.iterdir())
    assert part.share == pytest.approx(sum(file.stat().st_size for file in part.path.iterdir()) / whole, rel=0.01)


ODD = ["", "walk", "run", "2024-05-01T13:45:00", "1,5", '"', "'", "\x0b", "1e400", "라벨", "{a: b}", "NaN", "=1+1"]
CELL = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-5, 5).map(str),
    st.sampled_from(ODD),
    st.text(max_size=5),
)
NAME = st.sampled_from(["t", "x", "label", "person", "trial", "id", "", "1", "y z", "시간"])
ANY_TABLE = st.builds(
    lambda names, body, sign: "\n".join(sign.join(row) for row in [names, *body]),
    st.lists(NAME, min_size=1, max_size=5),
    st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=30),
    st.sampled_from([",", ";", "\t", " ", "|"]),
)


COLUMN = st.sampled_from(["rises", "codes", "words", "signal", "holes", "constant", "odd", "dates", "blocks"])


def _cell(kind: str, row: int, rng: np.random.Generator) -> str:
    return {
        "rises": f"{row * 20}",
        "codes": f"{row // 7 % 3}",
        "words": ("walk", "run", "")[row // 30 % 3],
        "signal": f"{rng.normal():.3f}",
        "holes": "" if rng.random() < 0.4 else f"{rng.normal():.3f}",
        "constant": "7",
        "odd": str(rng.choice(ODD)),
        "dates": f"2024-05-01T13:{row // 60 % 60:02d}:{row % 60:02d}",
        "blocks": f"p{row // 60}",
    }[kind]


@st.composite
def likely_table(draw: st.DrawFn) -> str:
    """Columns of any kind under any names, as long as a few windows."""
    names = draw(st.lists(NAME, min_size=1, max_size=6, unique=True))
    kinds = [draw(COLUMN) for _ in names]
    count, sign = draw(st.integers(1, 400)), draw(st.sampled_from([",", ";", "\t"]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return "\n".join([sign.join(names), *(sign.join(_cell(k, row, rng) for k in kinds) for row in range(count))])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(ANY_TABLE, likely_table()))
def test_any_table_ends_in_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "any.csv"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        draft = drafted(path, tmp_path)
    except InputError:
        return
    trial = look.try_out(draft)
    recipe = look.recipe_for(draft, trial)
    console = Console(width=60)
    with console.capture():
        look.show_draft(console, draft)
        look.show_trial(console, draft, trial)
    look.page(draft, trial, recipe)
    assert recipe is not None or draft.problems


@pytest.mark.parametrize("size", [20_000, 33_000, 70_000, 300_000])
def test_parts_of_a_file_are_whole_lines_in_order(size: int, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{number:09d}\n" for number in range(size // 10)))
    (tmp_path / "parts").mkdir()
    part = sample.sample_file(path, tmp_path / "parts", 2**14, 2**14)
    found = [int(line) for line in part.path.read_text().splitlines()]
    assert found == sorted(set(found))
    assert part.share == pytest.approx(10 * len(found) / size)
    jumps = [number + 2 for number, pair in enumerate(pairwise(found)) if pair[1] != pair[0] + 1]
    assert set(jumps) <= set(part.starts)


def test_a_line_of_braille_follows_its_signal() -> None:
    lines = braille(np.linspace(0.0, 1.0, 80), 10, 0.0, 1.0)
    assert [len(line) for line in lines] == [10, 10]
    assert (lines[0][0], lines[1][-1]) == ("⠀", "⠀")  # the upper line is empty at first, the lower in the end
    assert (lines[0][-1], lines[1][0]) != ("⠀", "⠀")
    assert braille(np.full(5, np.nan), 3, 0.0, 1.0) == ["⠀⠀⠀", "⠀⠀⠀"]


def runs_with_nothing_changed_but_its_epochs(path: Path) -> list[str]:
    """Looks, writes a recipe and runs it, in the working folder; the lines of its table."""
    done = overtone("look", path.name, "--write", "mine.yaml")
    assert done.exit_code == 0, done.output
    written = yaml.safe_load(Path("mine.yaml").read_text(encoding="utf-8"))
    short = ["student.epochs=2", *(f"teachers.{name}.epochs=2" for name in written.get("teachers", {}))]
    words = (word for each in short for word in ("--set", each))
    done = overtone("run", "mine.yaml", "--jobs", "1", "--out", "out", *words)
    assert done.exit_code == 0, done.output
    return Path("out/table.csv").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("make", KINDS)
def test_a_written_recipe_runs_with_nothing_changed_but_its_epochs(
    make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(runs_with_nothing_changed_but_its_epochs(path)) > 2  # the student alone, and what it learns from


# --- torch takes seconds to import


def test_the_first_screen_needs_no_torch(tmp_path: Path) -> None:
    path, _ = long_table(tmp_path)
    (tmp_path / "parts").mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom rich.console import Console\nfrom overtone import look\n"
        "look.show_draft(Console(), look.describe(Path(sys.argv[1]), Path(sys.argv[2])))\nprint('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(path), str(tmp_path / "parts")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_ctrl_c_while_torch_is_imported_leaves_nothing_behind(tmp_path: Path) -> None:
    path, _ = long_table(tmp_path)
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-m", "overtone", "look", str(path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        while not running.stdout.readline().startswith("rate"):  # the first screen's last line
            pass
        time.sleep(0.1)
        running.send_signal(signal_numbers.SIGINT)
        shown, said_last = running.communicate()
    assert running.returncode == 130
    assert said_last.strip() == "Interrupted."
    assert "windows" not in shown
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", har_files.MAKERS)
def test_a_recipe_written_for_a_published_set_runs_with_nothing_changed_but_its_epochs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "realworld":
        har_files.realworld(tmp_path, POSITIONS)
    else:
        har_files.MAKERS[name](tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    monkeypatch.chdir(tmp_path)
    assert len(runs_with_nothing_changed_but_its_epochs(folder)) > 2
    assert yaml.safe_load(Path("mine.yaml").read_text(encoding="utf-8"))["data"]["name"] == name
