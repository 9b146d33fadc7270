"""``predict`` and ``evaluate`` read arrays and series as training did: axes, missing values, classes, lengths."""

from __future__ import annotations

import csv
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mat_files import cell, new, old
from typer.testing import CliRunner

from overtone import data, recipe
from overtone.cli import app
from overtone.study import execute, make_plan

RNG = np.random.default_rng(1)
X = RNG.normal(size=(36, 2, 24)).astype(np.float32)
Y = np.asarray(["run", "walk", "zero"] * 12)
GROUP = np.repeat(["ann", "bob", "carl"], 12)
LEFT = Y != "zero"


def trained(
    folder: Path, given: dict[str, Any], split: dict[str, Any] | None = None
) -> tuple[Path, Any, dict[str, Any]]:
    """A student's file, its plan, and its predictions of the test side."""
    values = {
        "name": "told",
        "data": given,
        "split": split or {"test": 1, "val": 1, "folds": [0]},
        "student": {"model": "dscnn-4", "epochs": 1},
        "train": {"batch": 4},
        "methods": ["none"],
    }
    study = recipe.validate(yaml.safe_load(yaml.safe_dump(values)))
    plan = make_plan(study, data.load(study.data))
    assert execute(plan, folder / "out") == {}
    (key,) = plan.cells
    with np.load(folder / "out" / "cells" / key / "predictions.npz") as arrays:
        held = {name: arrays[name] for name in arrays.files}
    return folder / "out" / "cells" / key / "student.safetensors", plan, held


def predicted(student: Path, path: Path, folder: Path) -> list[dict[str, str]]:
    done = CliRunner().invoke(app, ["predict", str(student), str(path), "--out", str(folder / "p.csv"), "--force"])
    assert done.exit_code == 0, done.output
    return list(csv.DictReader((folder / "p.csv").read_text().splitlines()))


def said(held: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    return [classes[number] for number in held["best.logits"].argmax(1)]


def accuracy(held: dict[str, Any]) -> str:
    return f"accuracy {100 * (held['best.logits'].argmax(1) == held['target']).mean():.1f} %"


def test_npz_with_other_axes_missing_values_and_classes(tmp_path: Path) -> None:
    x = X.transpose(0, 2, 1).copy()
    x[::3, 4:6, 1] = np.nan
    np.savez(tmp_path / "a.npz", X=x, y=Y, group=GROUP)
    given = {
        "name": "npz",
        "path": str(tmp_path / "a.npz"),
        "layout": "NTC",
        "missing": "hold",
        "rename": {"run": "jog"},
        "drop": ["zero"],
    }
    student, plan, held = trained(tmp_path, given)
    test = GROUP == "ann"
    np.savez(tmp_path / "b.npz", X=x[test], y=Y[test])
    rows = predicted(student, tmp_path / "b.npz", tmp_path)
    assert len(rows) == 12  # without labels nothing is known to be of a class that was dropped
    kept = [row["class"] for row, left in zip(rows, LEFT[test], strict=True) if left]
    assert kept == said(held, plan.windows.classes)
    done = CliRunner().invoke(app, ["evaluate", str(student), str(tmp_path / "b.npz")])
    assert done.exit_code == 0, done.output
    assert f"8 windows: {accuracy(held)}" in done.output


def test_npz_with_other_axes_is_turned_as_it_is_read(tmp_path: Path) -> None:
    turned = X.transpose(0, 2, 1)
    np.savez(tmp_path / "a.npz", X=turned[LEFT], y=Y[LEFT], group=GROUP[LEFT])
    student, plan, held = trained(tmp_path, {"name": "npz", "path": str(tmp_path / "a.npz"), "layout": "NTC"})
    test = LEFT & (GROUP == "ann")
    np.savez(tmp_path / "b.npz", X=turned[test])
    rows = predicted(student, tmp_path / "b.npz", tmp_path)
    assert [row["class"] for row in rows] == said(held, plan.windows.classes)
    np.savez(tmp_path / "b.npz", X=X)
    done = CliRunner().invoke(app, ["predict", str(student), str(tmp_path / "b.npz")])
    assert done.exit_code == 2
    assert "X must be (N, T, 2), as in training, for this student's" in " ".join((done.output + done.stderr).split())


@pytest.mark.parametrize("write", [old, new])
def test_mat_with_and_without_labels(tmp_path: Path, write: Any) -> None:
    lengths = [20 + n % 5 for n in range(36)]
    cells = cell([x[:, :length] for x, length in zip(X, lengths, strict=True)])
    write(tmp_path / "a.mat", {"s": {"x": cells}, "y": cell(Y), "group": cell(GROUP)})
    student, plan, held = trained(
        tmp_path, {"name": "mat", "path": str(tmp_path / "a.mat"), "x": "s.x", "pad": True, "drop": ["zero"]}
    )
    assert plan.windows.x.shape == (24, 2, 24)
    test = np.flatnonzero(LEFT & (GROUP == "ann"))
    some = cell([x for x, length in zip(cells[test], np.asarray(lengths)[test], strict=True) if length])
    write(tmp_path / "b.mat", {"s": {"x": some}})
    rows = predicted(student, tmp_path / "b.mat", tmp_path)
    assert [row["class"] for row in rows] == said(held, plan.windows.classes)
    write(tmp_path / "b.mat", {"s": {"x": some}, "y": cell(Y[test]), "group": cell(GROUP[test])})
    done = CliRunner().invoke(app, ["evaluate", str(student), str(tmp_path / "b.mat")])
    assert done.exit_code == 0, done.output
    assert f"8 windows: {accuracy(held)}" in done.output


def test_series_of_unequal_length(tmp_path: Path) -> None:
    """Shorter ones are padded to what the student takes, also where none of a file is as long."""
    import_module("aeon")
    head = "@univariate true\n@equalLength false\n@classLabel true a b\n@data\n"
    lines = [",".join(f"{value:.3f}" for value in x[0, : 12 + n % 9]) + f":{'ab'[n % 2]}" for n, x in enumerate(X)]
    (tmp_path / "train.ts").write_text(head + "\n".join(lines[:24]) + "\n")
    tested = [line for line in lines[24:] if line.count(",") < 20]
    (tmp_path / "test.ts").write_text(head + "\n".join(tested) + "\n")
    given = {"name": "ts", "path": str(tmp_path / "train.ts"), "test": str(tmp_path / "test.ts")}
    student, plan, held = trained(tmp_path, {**given, "rate": 10}, {"scheme": "official"})
    assert plan.windows.size == (20,)
    done = CliRunner().invoke(app, ["evaluate", str(student), str(tmp_path / "test.ts")])
    assert done.exit_code == 0, done.output
    assert f"{len(tested)} windows: {accuracy(held)}" in done.output
