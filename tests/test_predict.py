"""Using a student from the command line and from Python."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from overtone import load_student
from overtone.cli import app
from overtone.models import build
from overtone.student import Header, save_student

CLASSES = ("run", "walk")


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def everything(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    """A student of two channels at 10 Hz, 20 samples a window."""
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
        view="signal",
        view_settings={},
        view_state={},
    )
    save_student(tmp_path / "student.safetensors", build("dscnn-4", (2, 20), 2).state_dict(), header)
    return tmp_path / "student.safetensors"


X = np.random.default_rng(0).normal(size=(6, 2, 45)).astype(np.float32)


def table(path: Path, label: bool = True) -> Path:
    """X as a long table, one recording an item, ten samples a second."""
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
