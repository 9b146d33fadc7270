"""Using a student from the command line and from Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from overtone import data, load_student, recipe
from overtone.cli import app
from overtone.header import SeenTask
from overtone.models import build
from overtone.student import Header, SeenView, read_header, save_student
from overtone.study import execute, make_plan
from overtone.tasks import Classification

CLASSES = ("run", "walk")


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def everything(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    """A student of two channels at 10 Hz, 20 samples per window."""
    torch.manual_seed(0)
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 20),
        classes=CLASSES,
        channels=("ax", "ay"),
        rate=10.0,
        window=20,
        mean=(1.0, -1.0),
        std=(2.0, 0.5),
        views=[SeenView(type="signal", settings={}, state={})],
    )
    save_student(tmp_path / "student.safetensors", build("dscnn-4", (2, 20), 2).state_dict(), header)
    return tmp_path / "student.safetensors"


X = np.random.default_rng(0).normal(size=(6, 2, 45)).astype(np.float32)


def table(path: Path, label: bool = True) -> Path:
    """X as a long table, one recording per item, ten samples per second."""
    lines = ["who,t,ax,ay" + (",activity" if label else "")]
    for number, item in enumerate(X):
        for sample, (a, b) in enumerate(item.T):
            lines.append(f"r{number},{sample / 10},{a:.7g},{b:.7g}" + (f",{CLASSES[number % 2]}" if label else ""))
    path.write_text("\n".join(lines))
    return path


def test_predictions_of_an_npz(student_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=X)
    out = tmp_path / "p.csv"
    result = overtone("predict", student_file, tmp_path / "x.npz", "--out", out)
    assert result.exit_code == 0, everything(result)
    rows = list(csv.DictReader(out.open()))
    assert [(row["recording"], row["start"], row["start_seconds"]) for row in rows[:3]] == [
        ("0", "0", "0.0000"),
        ("0", "20", "2.0000"),
        ("1", "0", "0.0000"),
    ]
    expected = load_student(student_file).predict(torch.from_numpy(X[:, :, :20]))
    np.testing.assert_allclose([float(row["p(run)"]) for row in rows[::2]], expected[:, 0], atol=1e-5)
    assert all(row["class"] == ("run" if float(row["p(run)"]) > 0.5 else "walk") for row in rows)
    again = overtone("predict", student_file, tmp_path / "x.npz", "--out", out)
    assert again.exit_code == 2
    assert "exists; choose another --out" in everything(again)
    assert overtone("predict", student_file, tmp_path / "x.npz", "--out", out, "--force").exit_code == 0


def test_a_table_gives_the_same(student_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=X)
    path = table(tmp_path / "x.csv", label=False)
    overtone("predict", student_file, tmp_path / "x.npz", "--out", tmp_path / "a.csv", "--stride", "5")
    words = ["--stride", "5", "--recording", "who", "--time", "t"]
    result = overtone("predict", student_file, path, "--out", tmp_path / "b.csv", *words)
    assert result.exit_code == 0, everything(result)
    a, b = (list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in "ab")
    assert len(a) == len(b) == 6 * 6
    np.testing.assert_allclose([float(r["p(run)"]) for r in a], [float(r["p(run)"]) for r in b], atol=1e-5)
    assert [r["recording"] for r in b[::6]] == [f"r{n}" for n in range(6)]


def remembering(path: Path, **kept: Any) -> Path:
    """The same student, trained on data of these settings."""
    header = read_header(path).model_copy(update={"data": kept})
    save_student(path, load_student(path).model.state_dict(), header)
    return path


def places(path: Path) -> list[tuple[str, str]]:
    return [(row["recording"], row["start"]) for row in csv.DictReader(path.open())]


def test_a_table_of_the_trained_form_needs_no_option(student_file: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv")
    words = ["--recording", "who", "--time", "t", "--label", "activity"]
    expected = overtone("evaluate", student_file, path, *words)
    overtone("predict", student_file, path, "--out", tmp_path / "a.csv", *words[:4])
    remembering(student_file, name="csv", recording="who", time="t", label="activity")
    result = overtone("predict", student_file, path, "--out", tmp_path / "b.csv")
    assert result.exit_code == 0, everything(result)
    assert "taken as" not in everything(result)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    resampled = " resampled to 10 Hz by linear interpolation"  # which the table of the training was not
    assert everything(overtone("evaluate", student_file, path)) + resampled == everything(expected)


def test_what_is_assumed_of_a_table_is_told(student_file: Path, tmp_path: Path) -> None:
    path, out = table(tmp_path / "x.csv"), tmp_path / "p.csv"

    def said(*words: str) -> str:
        result = overtone("predict", student_file, path, "--out", out, "--force", *words)
        assert result.exit_code == 0, everything(result)
        return everything(result)

    text = "taken as one recording, evenly sampled at 10 Hz; --recording COLUMN and --time COLUMN say otherwise"
    assert text in said()
    assert {name for name, _ in places(out)} == {"0"}
    assert "taken as" not in said("--recording", "who", "--time", "t")
    assert "taken as evenly sampled at 10 Hz; --time COLUMN says otherwise" in said("--recording", "who")
    remembering(student_file, name="csv", recording="rec", time="t")
    path.write_text(path.read_text().replace("who,t,", "who,clock,", 1))
    missing = "column 'rec' and 't' of the training is not in it; taken as one recording, evenly sampled at 10 Hz"
    assert missing in said()
    assert "taken as" not in said("--recording", "who", "--time", "clock")
    assert {name for name, _ in places(out)} == {f"r{n}" for n in range(6)}
    wrong = overtone("predict", student_file, path, "--out", out, "--force", "--recording", "woh")
    assert "no recording column 'woh'; did you mean 'who'?" in everything(wrong)
    remembering(
        student_file, name="folder"
    )  # a folder without time stamps: a file is a recording, and nothing is assumed
    assert "taken as" not in said()


def test_units_of_time(student_file: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    slow = [lines[0], *([who, str(round(float(t) * 1000)), *rest] for who, t, *rest in lines[1:])]
    (tmp_path / "ms.csv").write_text("\n".join(map(",".join, slow)))
    columns = ["--recording", "who", "--time", "t", "--force", "--out"]
    overtone("predict", student_file, path, *columns, tmp_path / "a.csv")
    result = overtone("predict", student_file, tmp_path / "ms.csv", *columns, tmp_path / "b.csv", "--time-unit", "ms")
    assert result.exit_code == 0, everything(result)
    remembering(student_file, name="csv", recording="who", time="t", time_unit="ms")
    overtone("predict", student_file, tmp_path / "ms.csv", "--out", tmp_path / "c.csv")
    overtone("predict", student_file, path, "--out", tmp_path / "d.csv", "--time-unit", "s")
    assert len({(tmp_path / f"{name}.csv").read_text() for name in "abcd"}) == 1
    wrong = overtone("predict", student_file, path, *columns, tmp_path / "e.csv", "--time-unit", "sec")
    assert wrong.exit_code == 2
    assert "--time-unit: unknown unit 'sec'; did you mean 's'? known: s, ms, us, ns" in everything(wrong)


def rewritten(path: Path, **changes: Any) -> None:
    """The same file, as another version of Overtone wrote it."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["overtone"])
    header.pop("data", None)
    save_file(load_file(path), path, metadata={"overtone": json.dumps({**header, **changes})})


def test_files_of_earlier_versions_are_read(student_file: Path, tmp_path: Path) -> None:
    """Those without any word of their data, and those with the columns of their table."""
    rewritten(student_file)
    assert load_student(student_file).header.data is None
    rewritten(student_file, columns=None)
    assert load_student(student_file).header.data is None
    rewritten(student_file, columns={"recording": None, "time": None, "time_unit": "s", "label": None})
    assert load_student(student_file).header.data == {
        "name": "folder",
        "time_unit": "s",
        "label": None,
        "resample": True,
    }
    path = table(tmp_path / "x.csv")
    words = ["--recording", "who", "--time", "t", "--label", "activity"]
    expected = everything(overtone("evaluate", student_file, path, *words))
    rewritten(student_file, columns={"recording": "who", "time": "t", "time_unit": "s", "label": "activity"})
    assert everything(overtone("evaluate", student_file, path)) == expected
    assert "12 windows" in expected


def test_a_study_on_a_table_remembers_its_columns(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv")
    given = {"name": "csv", "path": str(path), "group": "who", "time": "t", "label": "activity"}
    tiny["data"] = {**given, "channels": ["a?"], "window": 20, "stride": 5}
    tiny["split"] = {"scheme": "holdout", "test": ["r4", "r5"], "val": ["r2", "r3"]}
    tiny["teachers"], tiny["methods"] = {}, ["none"]
    tiny["student"] = {"model": "dscnn-4", "epochs": 1}
    tiny["train"] = {"batch": 4}
    study = recipe.validate(tiny)
    assert execute(make_plan(study, data.load(study.data)), tmp_path / "out") == {}
    (student,) = (tmp_path / "out").glob("cells/*/student.safetensors")
    assert read_header(student).data == {key: value for key, value in tiny["data"].items() if key != "path"}
    result = overtone("evaluate", student, path)
    assert result.exit_code == 0, everything(result)
    assert "12 windows" in everything(result)
    assert "taken as" not in everything(result)


def test_evaluation(student_file: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv")
    words = ["--recording", "who", "--time", "t", "--label", "activity"]
    result = overtone("evaluate", student_file, path, *words)
    assert result.exit_code == 0, everything(result)
    student = load_student(student_file)
    windows = torch.from_numpy(np.concatenate([X[:, :, :20], X[:, :, 20:40]]))
    truth = np.tile(np.arange(6) % 2, 2)
    accuracy = (student.predict(windows).argmax(1).numpy() == truth).mean()
    assert f"12 windows: accuracy {100 * accuracy:.1f} %" in everything(result)
    np.savez(tmp_path / "x.npz", X=X, y=np.asarray(CLASSES)[np.arange(6) % 2])
    assert f"accuracy {100 * accuracy:.1f} %" in everything(overtone("evaluate", student_file, tmp_path / "x.npz"))


def test_misfits_are_told(student_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "three.npz", X=np.zeros((4, 3, 20)))
    np.savez(tmp_path / "short.npz", X=np.zeros((4, 2, 9)))
    np.savez(tmp_path / "labels.npz", X=X, y=np.asarray(["fly"] * 6))
    (tmp_path / "t.csv").write_text("ax,az\n1,2\n")
    cases = [
        (["predict", student_file, tmp_path / "three.npz"], "X must be (N, 2, T) for this student's channels ax, ay"),
        (["predict", student_file, tmp_path / "short.npz"], "longer than every recording"),
        (["predict", student_file, tmp_path / "t.csv"], "no channel column 'ay'; did you mean 'az'?"),
        (["evaluate", student_file, tmp_path / "labels.npz"], "label 'fly' is not among the student's classes"),
        (["predict", tmp_path / "no.safetensors", tmp_path / "t.csv"], "does not exist"),
        (["predict", tmp_path / "t.csv", tmp_path / "t.csv"], "no safetensors file"),
    ]
    for words, message in cases:
        out = ["--out", tmp_path / "never.csv"] if words[0] == "predict" else []
        result = overtone(*words, *out)
        assert result.exit_code == 2, everything(result)
        assert message in everything(result)
    assert not (tmp_path / "never.csv").exists()


@pytest.fixture
def image_student(tmp_path: Path) -> Path:
    """A student of 8 x 8 images of three classes."""
    header = Header(
        builder="resnet8",
        input_shape=(3, 8, 8),
        classes=("apple", "bear", "cloud"),
        channels=("red", "green", "blue"),
        rate=None,
        window=(8, 8),
        mean=(120.0, 120.0, 120.0),
        std=(60.0, 60.0, 60.0),
        views=[SeenView(type="image", settings={}, state={})],
    )
    torch.manual_seed(0)
    save_student(tmp_path / "images.safetensors", build("resnet8", (3, 8, 8), 3).state_dict(), header)
    return tmp_path / "images.safetensors"


IMAGES = np.random.default_rng(1).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)


def test_images_of_another_scale_are_told(image_student: Path, tmp_path: Path) -> None:
    def said(x: np.ndarray[Any, Any], command: str = "predict") -> str:
        np.savez(tmp_path / "x.npz", X=x, y=np.zeros(len(x), dtype=int))
        out = ["--out", tmp_path / "p.csv", "--force"] if command == "predict" else []
        result = overtone(command, image_student, tmp_path / "x.npz", *out)
        assert result.exit_code == 0, everything(result)
        return everything(result)

    warning = "x.npz: X looks as if it were scaled to 0..1; this student takes 0 to 255"
    scaled = IMAGES.astype(np.float32) / 255
    assert warning in said(scaled)
    assert warning in said(scaled, "evaluate")
    assert "scaled" not in said(IMAGES)
    assert "scaled" not in said(IMAGES.astype(np.float64))


def test_no_windows_and_no_numbers(student_file: Path, image_student: Path, tmp_path: Path) -> None:
    for student, x, message in [
        (image_student, IMAGES[:0], "there are no images in X"),
        (student_file, X[:0], "there are no windows in X"),
        (student_file, X[:, :, :0], "X holds nothing"),
        (student_file, X.astype(str), "X must hold numbers"),
        (image_student, IMAGES.astype(complex), "X must hold numbers"),
        (image_student, np.array(3.0), "X must be (N, 3, 8, 8)"),
    ]:
        np.savez(tmp_path / "x.npz", X=x)
        result = overtone("predict", student, tmp_path / "x.npz", "--out", tmp_path / "never.csv")
        assert result.exit_code == 2, everything(result)
        assert message in everything(result)


def test_numbers_of_classes_as_labels(student_file: Path, image_student: Path, tmp_path: Path) -> None:
    """Where classes have names, numbers of an .npz are their places; where a class is called 1, they are names."""

    def score(student: Path, x: Any, y: Any) -> Result:
        np.savez(tmp_path / "x.npz", X=x, y=y)
        return overtone("evaluate", student, tmp_path / "x.npz")

    def scores(result: Result) -> str:
        assert result.exit_code == 0, everything(result)
        return everything(result).split(str(tmp_path))[0].strip()

    numbers = np.arange(6) % 3
    note = "y holds numbers, taken as the student's classes in their order: 0 is apple, 2 is cloud"
    named = score(image_student, IMAGES, np.array(["apple", "bear", "cloud"])[numbers])
    assert "y holds numbers" not in everything(named)
    for y in (numbers, numbers.astype(np.uint8), numbers.astype(float)):
        found = score(image_student, IMAGES, y)
        assert scores(found) == scores(named)
        assert note in everything(found)
    found = score(student_file, X, np.arange(6) % 2)
    assert scores(found) == scores(score(student_file, X, np.array(CLASSES)[np.arange(6) % 2]))
    assert "0 is run, 1 is walk" in everything(found)
    for y in (numbers + 1, numbers - 1):
        wrong = score(image_student, IMAGES, y)
        assert wrong.exit_code == 2
        assert "(known: apple, bear, cloud) or their numbers, 0 to 2" in everything(wrong)
    for bad in (numbers + 0.5, numbers.reshape(3, 2), np.array(0), numbers[:4]):
        assert score(image_student, IMAGES, bad).exit_code == 2
    header = read_header(image_student).model_copy(
        update={"task": SeenTask.of(Classification(classes=("1", "2", "3")))}
    )
    save_student(image_student, load_student(image_student).model.state_dict(), header)
    shifted = score(image_student, IMAGES, numbers + 1)
    assert shifted.exit_code == 0, everything(shifted)
    assert "y holds numbers" not in everything(shifted)
    assert "label '0' is not among the student's classes" in everything(score(image_student, IMAGES, numbers))


def test_arrays_of_numpy(student_file: Path, image_student: Path) -> None:
    for path, x in ((student_file, X[:, :, :20]), (image_student, IMAGES)):
        student = load_student(path)
        assert torch.equal(student.predict(x), student.predict(torch.from_numpy(x.copy())))
        assert torch.equal(student(x.astype(np.float64)), student(torch.from_numpy(x.astype(np.float64))))
        backwards = student.predict(x[::-1])  # strides that torch does not have
        torch.testing.assert_close(backwards, student.predict(x).flip(0))


def test_a_name_is_no_emoji(student_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a:100:b:smile:.npz"
    result = overtone("predict", student_file, path)
    assert result.exit_code == 2
    assert ":100:b:smile:" in everything(result)
    np.savez(path, X=X)
    out = tmp_path / "p:100:.csv"
    assert "p:100:.csv" in everything(overtone("predict", student_file, path, "--out", out))
    header = read_header(student_file).model_copy(
        update={"task": SeenTask.of(Classification(classes=(":100:", ":smile:")))}
    )
    save_student(student_file, load_student(student_file).model.state_dict(), header)
    np.savez(path, X=X, y=np.arange(6) % 2)
    text = everything(overtone("evaluate", student_file, path))
    assert text.count(":100:") >= 3
    assert text.count(":smile:") >= 3
