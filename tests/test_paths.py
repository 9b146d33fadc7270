"""Paths as users write them: ``~`` and variables, a folder for a file and the other way round, what is not there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from overtone import data, recipe
from overtone.cli import app
from overtone.data.paths import find_file
from overtone.data.uci_har import UciHar
from overtone.errors import InputError
from overtone.files import expanded, no_file, no_folder
from overtone.header import Header, SeenView
from overtone.models import build
from overtone.student import save_student
from overtone.study import execute, make_plan

RECIPE: dict[str, Any] = {
    "name": "mine",
    "data": {"name": "npz", "path": "$PLACE/x.npz"},
    "split": {"test": 1, "val": 1, "folds": [0]},
    "teachers": {"t": {"model": "dscnn-4", "pretrained": "~/w.pth"}},
    "student": {"model": "dscnn-4", "epochs": 1},
    "train": {"batch": 2},
    "methods": [{"name": "kd", "teachers": ["t"]}],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a recipe, data, weights and a student; the working directory is another one."""
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(6, 2, 20)).astype(np.float32), np.array(["run", "walk"] * 3)
    np.savez(home / "x.npz", X=x, y=y, group=np.array([0, 0, 1, 1, 2, 2]))
    state = build("dscnn-4", (2, 20), 2).state_dict()
    torch.save(state, home / "w.pth")
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 20),
        classes=("run", "walk"),
        channels=("0", "1"),
        rate=None,
        window=20,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=[SeenView(type="signal", settings={}, state={})],
    )
    save_student(home / "student.safetensors", state, header)
    (home / "mine.yaml").write_text(yaml.safe_dump(RECIPE))
    (home / "table.csv").write_text("a,label\n1,x\n")
    (home / "empty").write_bytes(b"")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PLACE", str(home))
    monkeypatch.delenv("NOWHERE", raising=False)
    return home


def overtone(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert "Traceback" not in result.stdout + result.stderr
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def test_expanded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PART", "b")
    for written, wanted in {
        "~": place,
        "~/a": place / "a",
        "$PLACE/a": place / "a",
        "${PLACE}/a$PART.csv": place / "ab.csv",
        "a~b": Path("a~b"),
        "a/~": Path("a/~"),
        "cost$": Path("cost$"),
        "$5": Path("$5"),
        "/x": Path("/x"),
    }.items():
        assert expanded(written, "data.path") == wanted
        assert expanded(Path(written), "data.path") == wanted
    for written in ("$NOWHERE/a", "b/${NOWHERE}"):
        with pytest.raises(InputError, match=r"^data\.path: .*: the environment has no variable NOWHERE; set it, or"):
            expanded(written, "data.path")
    with pytest.raises(InputError, match=r"^data\.path: ~nobody-x/a: there is no such user"):
        expanded("~nobody-x/a", "data.path")
    Path("$NOWHERE").touch()
    assert expanded("$NOWHERE", "data.path") == Path("$NOWHERE")  # a file of that name


def test_a_study_by_such_paths(place: Path) -> None:
    code, text = overtone("run", "~/mine.yaml", "--out", "$PLACE/out", "--jobs", "1")
    assert code == 0, text
    assert (place / "out" / "report.html").is_file()
    assert not list(Path.cwd().iterdir())
    for words in (
        ("report", "~/out"),
        ("explain", "$PLACE/out"),
        ("predict", "~/student.safetensors", "${PLACE}/x.npz", "--out", "~/p.csv"),
        ("evaluate", "$PLACE/student.safetensors", "~/x.npz"),
    ):
        code, text = overtone(*words)
        assert code == 0, text
    assert (place / "p.csv").is_file()
    assert not list(Path.cwd().iterdir())


def test_keys_hold_no_path(place: Path) -> None:
    def keys(values: dict[str, Any]) -> set[str]:
        study = recipe.validate(values)
        return set(make_plan(study, data.load(study.data)).cells)

    elsewhere = place / "folder" / "elsewhere"
    elsewhere.mkdir()
    values = copy.deepcopy(RECIPE)
    values["data"]["path"] = str((place / "x.npz").rename(elsewhere / "y.npz"))
    values["teachers"]["t"]["pretrained"] = str((place / "w.pth").rename(elsewhere / "v.pth"))
    moved = keys(values)
    (elsewhere / "y.npz").rename(place / "x.npz")
    (elsewhere / "v.pth").rename(place / "w.pth")
    assert keys(RECIPE) == moved


def test_the_folder_of_data_sets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERTONE_DATA", "~/folder")
    (place / "folder" / "a.npz").touch()
    assert find_file(None, "a.npz", "x") == place / "folder" / "a.npz"
    monkeypatch.setenv("OVERTONE_DATA", "$NOWHERE")
    with pytest.raises(InputError, match=r"OVERTONE_DATA: .* no variable NOWHERE"):
        find_file(None, "a.npz", "x")
    assert UciHar.model_validate({"path": "~/folder"}).path == place / "folder"


@pytest.mark.parametrize(
    "words",
    [
        ("check", "$NOWHERE/a.yaml"),
        ("run", "$NOWHERE/a.yaml"),
        ("run", "~/mine.yaml", "--out", "$NOWHERE/a"),
        ("check", "~/mine.yaml", "--set", "data.path=$NOWHERE/a"),
        ("check", "~/mine.yaml", "--set", "teachers.t.pretrained=$NOWHERE/a"),
        ("report", "$NOWHERE/a"),
        ("explain", "$NOWHERE/a"),
        ("predict", "$NOWHERE/a", "~/x.npz"),
        ("predict", "~/student.safetensors", "$NOWHERE/a"),
        ("predict", "~/student.safetensors", "~/x.npz", "--out", "$NOWHERE/a"),
        ("evaluate", "~/student.safetensors", "$NOWHERE/a"),
    ],
    ids=" ".join,
)
def test_a_variable_that_is_not_set_is_told(place: Path, words: tuple[str, ...]) -> None:
    code, text = overtone(*words)
    assert (code, "the environment has no variable NOWHERE; set it, or write the path" in text) == (2, True), text
    assert not list(Path.cwd().iterdir())


def test_why_there_is_no_file_or_folder(place: Path) -> None:
    assert no_file(place).endswith("name a file in it (empty, mine.yaml, student.safetensors and 3 more)")
    assert no_file(place, ".npz") == "is a folder; name a file in it (x.npz)"
    assert no_file(place / "folder") == "is a folder; name a file in it"
    assert no_file(place / "mime.yaml").endswith("; did you mean 'mine.yaml'?")
    assert no_file(place / "x.npz" / "y") == f"does not exist: {place / 'x.npz'} is a file"
    assert "does not exist: there is no folder none (looked from " in no_file(Path("none/x"))
    assert no_folder(place / "x.npz") == f"is a file; give a folder, such as {place}"
    assert no_folder(place / "folders").endswith("; did you mean 'folder'?")
    assert no_file(Path("/dev/null")) == no_folder(Path("/dev/null"))
    assert "is a pipe or a device" in no_file(Path("/dev/null"))


STUDENT = "~/student.safetensors"
WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "a folder as a recipe": (("check", "~"), "is a folder; give the YAML file in it (mine.yaml)"),
    "a folder without recipes": (("run", "~/folder"), "is a folder without a YAML file; give a recipe's file or name"),
    "no recipe": (("run", "~/mime.yaml"), "mime.yaml' does not exist"),
    "data as a recipe": (("check", "~/x.npz"), "a recipe is a text file of YAML"),
    "an empty recipe": (("check", "~/empty"), "got an empty file"),
    "a file for the study": (("run", "~/mine.yaml", "--out", "~/empty"), "empty is a file; give a folder"),
    "a file as a study": (("report", "~/empty"), "empty is a file; give the folder of an overtone run"),
    "a student as a study": (("explain", STUDENT), "is a file; give the folder of an overtone run"),
    "no study": (("report", "~/fold"), "fold does not exist (looked from"),
    "another folder": (("report", "~/folder"), "holds no study (there is no study.json in it); give the folder of"),
    "a folder as a student": (("predict", "~", "~/x.npz"), "is a folder; name a file in it (student.safetensors)"),
    "no student": (("evaluate", "~/students.safetensors", "~/x.npz"), "did you mean 'student.safetensors'?"),
    "data as a student": (("evaluate", "~/x.npz", STUDENT), "cannot be read, it is cut short or no safetensors file"),
    "an empty student": (("predict", "~/empty", "~/x.npz"), "cannot be read, it is cut short or no safetensors file"),
    "no data": (("predict", STUDENT, "~/y.npz"), "y.npz does not exist (looked from"),
    "empty data": (("predict", STUDENT, "~/empty"), "the file is empty (0 bytes)"),
    "a folder for the predictions": (("predict", STUDENT, "~/x.npz", "--out", "~/folder"), "it is a folder; choose"),
    "a folder as npz": (("check", "~/mine.yaml", "--set", "data.path=~/"), "is a folder; name a file in it (empty"),
    "a folder as weights": (("check", "~/mine.yaml", "--set", "teachers.t.pretrained=~/"), "is a folder; name a file"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_kind_of_place_is_told(name: str, place: Path) -> None:
    words, message = WRONG[name]
    code, text = overtone(*words)
    assert (code, message in text) == (2, True), text


@pytest.mark.parametrize("name", ["folder", "imagefolder", "imagenet", "cifar10"])
def test_a_file_where_a_source_needs_a_folder(name: str, place: Path) -> None:
    values = {**RECIPE, "data": {"name": name, "path": "~/table.csv"}}
    with pytest.raises(
        InputError,
        match=r"is a file; (for one long table|give a folder)|data\.path is the archive, the folder",
    ):
        data.load(recipe.validate(values).data)


def test_what_lies_in_a_study_names_the_study(place: Path) -> None:
    study = recipe.validate({**RECIPE, "methods": ["none"], "teachers": {}})
    plan = make_plan(study, data.load(study.data))
    assert execute(plan, place / "out") == {}
    (key,) = plan.cells
    for inside in ("study.json", f"cells/{key}", f"cells/{key}/student.safetensors"):
        code, text = overtone("report", f"~/out/{inside}")
        assert (code, f"did you mean {place / 'out'}, the study it lies in?" in text) == (2, True), text
    code, text = overtone("predict", "~/out", "~/x.npz")
    assert (code, "is a folder; name a file in it; a study's students are cells/*/student.safetensors" in text) == (
        2,
        True,
    )
