"""Regression: real numbers from labels or channels, through recipe, table, page, student file and one's own loop."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from typer.testing import CliRunner

import overtone
from overtone import data, recipe
from overtone.cli import app
from overtone.data import Recordings, cut
from overtone.errors import InputError
from overtone.methods import METHODS
from overtone.models import build
from overtone.student import Header, load_student, read_header
from overtone.study import make_plan
from overtone.tasks import Regression
from overtone.tasks.values import from_channels
from overtone.types import Batch, Output

COUNT, LENGTH = 80, 24
STUDY: dict[str, Any] = {
    "data": {"name": "npz", "path": "mine.npz", "rate": 10, "task": "regression"},
    "split": {"test": 1, "val": 1, "folds": [0]},
    "teachers": {
        "one": {"view": "signal", "model": "wrn10-0.5", "epochs": 2},
        "two": {"view": "signal", "model": "dscnn-8", "epochs": 2},
    },
    "student": {"model": "dscnn-4", "epochs": 2},
    "train": {"batch": 16, "threads": 1},
    "methods": ["none", "mimic", {"name": "hidden", "teachers": ["one"]}, {"name": "at", "teachers": ["one"]}],
}


def waves(targets: int = 1) -> dict[str, Any]:
    """Waves whose height, and then speed, is to be found."""
    random, time = np.random.default_rng(0), np.arange(LENGTH)
    y = np.stack([random.uniform(0.5, 3, COUNT), random.uniform(10, 30, COUNT)][:targets], 1)
    speed = y[:, -1:] / 30 if targets > 1 else np.full((COUNT, 1), 0.5)
    x = y[:, :1, None] * np.sin(speed[..., None] * time + random.uniform(0, 6, (COUNT, 1, 1)))
    x = np.concatenate([x, 0.1 * random.normal(size=x.shape)], 1).astype(np.float32)
    return {"X": x, "y": y[:, 0] if targets == 1 else y, "group": np.arange(COUNT) // 20}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.savez(tmp_path / "mine.npz", **waves())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def written(values: dict[str, Any]) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    return "mine.yaml"


def ran(values: dict[str, Any], out: str = "out") -> dict[str, Path]:
    """A study's cells by title."""
    result = told("run", written(values), "--out", out, "--jobs", "1")
    assert result.exit_code == 0, result.stdout + result.stderr
    results = [json.loads(path.read_text()) for path in Path(out).glob("cells/*/result.json")]
    return {own["title"].partition(" ·")[0]: Path(out) / "cells" / own["key"] for own in results}


def loaded(**changes: Any) -> data.Windows:
    return data.load(recipe.DataSettings(**{**STUDY["data"], **changes}))


def planned(**changes: Any) -> Any:
    study = recipe.validate({**STUDY, **changes})
    return make_plan(study, data.load(study.data))


# --- metrics


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_errors_are_scikit_learns(samples: int, targets: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, values = random.normal(3, 5, size=(2, samples, targets))
    task = Regression(targets=tuple("abc"[:targets])).fit(torch.from_numpy(truth))
    found = task.scores({"values": torch.from_numpy(values)}, torch.from_numpy(truth))
    scale = 1.0 if targets == 1 else np.asarray(task.std)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth / scale, values / scale), rel=1e-9)
    assert found["rmse"] == pytest.approx(mean_squared_error(truth / scale, values / scale) ** 0.5, rel=1e-9)
    assert found["r2"] == pytest.approx(r2_score(truth, values), rel=1e-9)
    by_target = task.details({"values": torch.from_numpy(values)}, torch.from_numpy(truth))["by_target"]
    for k, name in enumerate(task.targets):
        assert by_target[name]["mae"] == pytest.approx(mean_absolute_error(truth[:, k], values[:, k]), rel=1e-9)
        assert by_target[name]["r2"] == pytest.approx(r2_score(truth[:, k], values[:, k]), rel=1e-9)


@pytest.mark.parametrize(("term", "power"), [("mse", 2), ("mae", 1)])
def test_the_loss_is_in_deviations_of_the_training_targets(term: Any, power: int) -> None:
    y = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 80.0]])
    task = Regression(targets=("a", "b"), term=term).fit(y)
    assert task.terms == (term,)
    assert task.mean == (3.0, 40.0)
    outputs = torch.randn(3, 2, requires_grad=True)
    value = task.losses(Output.of(outputs), Batch({}, y, torch.arange(3)))[term]
    expected = ((outputs.detach() - (y - y.mean(0)) / y.std(0, correction=0)).abs() ** power).mean()
    torch.testing.assert_close(value.detach(), expected)
    torch.testing.assert_close(task.answer((y - y.mean(0)) / y.std(0, correction=0)), y)
    assert task.loss(task.predict(Output.of(outputs.detach())), y) == pytest.approx(float(expected), rel=1e-5)


def test_units_and_words() -> None:
    one = Regression(targets=("effort",), units=("kcal",), mean=(2.0,), std=(0.5,))
    assert [metric.head for metric in one.metrics] == ["MAE, kcal", "RMSE, kcal", "R²"]
    assert one.verdict([3.14159], [3.0]) == ("says 3.14 kcal; the truth is 3 kcal", None)
    two = Regression(targets=("a", "b"), units=("m", ""), mean=(0.0, 0.0), std=(1.0, 2.0))
    assert [metric.unit for metric in two.metrics] == ["sd", "sd", ""]
    assert two.called([1.0, 2.0]) == "a 1 m, b 2"
    assert two.columns() == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"targets": ("a", "a")}, "a target is named twice"),
        ({"targets": ("a",), "units": ("m", "s")}, "units: one for each of 1 targets, got 2"),
        ({"targets": ("a",), "mean": (0.0,), "std": (0.0,)}, "std is above 0"),
        ({"targets": ("a",), "mean": (float("nan"),), "std": (1.0,)}, "mean and std are finite"),
        ({"term": "huber"}, "'mse' or 'mae'"),
    ],
)
def test_a_task_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regression(**values)


# --- targets


@pytest.mark.parametrize("numbers", [[1.0, 2.0], [1, 2], [0.5, 1.5]])
def test_labels_of_an_npz_are_numbers(folder: Path, numbers: list[float]) -> None:
    y = np.asarray(numbers)[np.arange(COUNT) % 2]
    np.savez("mine.npz", **{**waves(), "y": y})
    windows = loaded()
    assert windows.y.dtype == np.float32
    assert np.array_equal(windows.y, y[:, None].astype(np.float32))
    assert (windows.classes, windows.task.names) == ((), ("target",))
    if numbers == [0.5, 1.5]:
        with pytest.raises(InputError, match=r"must be class numbers or names, got fractions.*task: regression"):
            loaded(task=None)
    else:
        assert loaded(task=None).classes == tuple(str(int(number)) for number in numbers)


def test_several_targets_of_an_npz(folder: Path) -> None:
    held = waves(2)
    np.savez("mine.npz", **held)
    windows = loaded(task={"name": "regression", "targets": ["height", "speed"], "units": ["m", "1/s"]})
    assert np.array_equal(windows.y, held["y"].astype(np.float32))
    assert windows.task.names == ("height", "speed")
    assert loaded(window=12).y.shape == (2 * COUNT, 2)
    assert loaded().task.names == ("target 0", "target 1")
    with pytest.raises(InputError, match="2 numbers for each window, but 1 targets are named: height"):
        loaded(task={"name": "regression", "targets": ["height"]})


def test_labels_of_a_table_are_numbers(folder: Path) -> None:
    rows = [["group", "x", "label"]]
    for person in range(3):
        rows += [[f"p{person}", f"{np.sin(t):.4f}", f"{1.0 + (t >= 20):.1f}"] for t in range(40)]
    with Path("long.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    chosen = {"name": "csv", "path": "long.csv", "channels": ["x"], "rate": 10, "window": 10}
    windows = data.load(recipe.DataSettings(**chosen, task="regression"))
    assert windows.y.ravel().tolist() == [1.0, 1.0, 2.0, 2.0] * 3
    assert data.load(recipe.DataSettings(**chosen, task="regression", stride=15)).y[1:2].ravel() == pytest.approx([1.5])
    assert data.load(recipe.DataSettings(**chosen)).classes == ("1.0", "2.0")
    Path("long.csv").write_text(Path("long.csv").read_text().replace("2.0", "walk"))
    with pytest.raises(InputError, match="label 'walk' is no number, which task regression needs"):
        data.load(recipe.DataSettings(**chosen, task="regression"))


CHANNELS = ("acc_x", "acc_y", "gyr_x", "gyr_y")


def recorded() -> Recordings:
    signals = [np.random.default_rng(n).normal(size=(4, 20)).astype(np.float32) for n in range(2)]
    return Recordings(signals, np.asarray([0, 1]), ["a", "b"], ("sit", "run"), CHANNELS, 10.0, "mine")


def chosen(**given: Any) -> dict[str, Any]:
    return recipe.DataSettings(name="npz", target=given).target


def test_channels_become_targets_and_are_no_input_any_more() -> None:
    whole = recorded()
    target = chosen(
        turn={"channels": ["gyr_*"], "combine": "magnitude"}, gyr_x={}, acc={"channels": ["acc_x", "gyr_y"]}
    )
    found = from_channels(whole, target)
    assert found.channels == ("acc_y",)
    assert found.classes == ()
    windows = cut(found, 10, None, Regression(targets=tuple(target)))
    signal = whole.signals[1][:, 10:].astype(np.float64)
    wanted = [np.hypot(signal[2], signal[3]).mean(), signal[2].mean(), (signal[0] + signal[3]).mean() / 2]
    assert windows.y[3] == pytest.approx(wanted, abs=1e-6)
    assert np.array_equal(windows.x[3], whole.signals[1][1:2, 10:])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"gyr_z": {}}, "data.target.gyr_z: no channel fits 'gyr_z'; did you mean 'gyr_[xy]'"),
        ({"turn": {"channels": ["gyro*"]}}, r"data.target.turn: no channel fits 'gyro\*'"),
        ({"all": {"channels": ["*"]}}, "data.target: all take all channels, so none is left to learn from"),
    ],
)
def test_channels_that_cannot_be_targets(target: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_channels(recorded(), chosen(**target))


def test_a_target_in_a_recipe_is_named_in_short(folder: Path) -> None:
    assert set(recipe.DataSettings(name="npz", target="channel 1").target) == {"channel 1"}
    windows = loaded(target=["channel 1"], window=12)
    assert windows.channels == ("channel 0",)
    assert windows.y[0] == pytest.approx(waves()["X"][0, 1, :12].mean(), abs=1e-6)
    np.savez("mine.npz", **{**waves(), "y": np.arange(COUNT) % 2})
    with pytest.raises(InputError, match="task classification takes the data's labels, leave it out"):
        loaded(task=None, target="channel 1")


def test_targets_from_which_nothing_can_be_learned(folder: Path) -> None:
    y = waves()["y"]
    y[3] = np.nan
    np.savez("mine.npz", **{**waves(), "y": y})
    with pytest.raises(InputError, match="1 targets are not finite"):
        loaded()
    flat = np.where(np.arange(COUNT) < 40, waves()["y"], 1.5)  # in the training people of fold 0
    np.savez("mine.npz", **{**waves(), "y": flat})
    message = "fold 0: target 'target' is the same in all 40 training windows, so there is nothing to learn"
    with pytest.raises(InputError, match=message):
        planned()


# --- methods


def test_methods_that_need_logits_or_classes_are_refused_while_planning(folder: Path) -> None:
    fit = {"mimic", "hidden", "rkd", "sp", "fitnet", "at", "review", "fam_layer", "fam_review", "freekd", "ft", "simkd"}
    for name in fit - {"freekd", "ft"}:  # whose phases need more epochs
        planned(methods=[{"name": name, "teachers": ["one"]}])
    for name in METHODS.keys() - fit - {"progressive"}:  # which needs a student of two branches
        crd = "method 'crd' reads each sample's class, and task regression has none"
        reads = f"method '{name}' compares {METHODS[name].READS}, and task regression has none; .* fit: mimic, hidden"
        teachers = {} if METHODS[name].TEACHERS[1] is None else {"teachers": ["one"]}
        with pytest.raises(InputError, match=crd if name == "crd" else reads):
            planned(methods=[{"name": name, **teachers}])


# --- a study


def test_a_study_from_recipe_to_table_page_and_student_file(folder: Path) -> None:
    np.savez("mine.npz", **waves(2))
    values = {**STUDY, "methods": STUDY["methods"][:2]}
    values["data"] = {**STUDY["data"], "task": {"name": "regression", "targets": ["height", "speed"]}}
    checked = told("check", written(values))
    assert "height mean" in checked.stdout, checked.stdout + checked.stderr
    assert "mimic.output.two" in checked.stdout
    cells = ran(values)
    rows = {row["method"]: row for row in csv.DictReader(Path("out/table.csv").read_text().splitlines())}
    assert {"mae_best_mean", "rmse_last_mean", "r2_best_std"} <= set(rows["none"])
    assert set(rows) == {"none", "mimic", "teacher one", "teacher two", "ensemble"}
    held = [np.load(cells[title] / "predictions.npz") for title in ("teacher one", "teacher two")]
    mean = (held[0]["best.values"].astype(float) + held[1]["best.values"]) / 2
    assert float(rows["ensemble"]["r2_best_mean"]) == pytest.approx(r2_score(held[0]["target"], mean), abs=1e-5)
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("Predictions against the truth", "lowest validation MAE", "MAE, sd", "height"))
    explained = told("explain", "out")
    assert "the truth is" in " ".join(explained.stdout.replace("│", " ").split()), explained.stdout + explained.stderr

    file = cells["mimic from one, two"] / "student.safetensors"
    header = read_header(file)
    assert header.task.name == "regression"
    assert len(header.task.facts["mean"]) == 2
    x, y = (torch.from_numpy(waves(2)[name]).float() for name in ("X", "y"))
    values_of = load_student(file).predict(x)
    assert told("predict", str(file), "mine.npz").exit_code == 0
    lines = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert [float(line["speed"]) for line in lines] == pytest.approx(values_of[:, 1].tolist(), rel=1e-4)
    scores = load_student(file).task.scores({"values": values_of}, y)
    assert f"80 windows: MAE {scores['mae']:.3f} sd, RMSE" in told("evaluate", str(file), "mine.npz").stdout
    np.savez("other.npz", X=waves(2)["X"], y=waves(1)["y"])
    refused = told("evaluate", str(file), "other.npz").stderr
    assert "this student predicts height, speed; y must hold 2 finite numbers for each window" in refused


def test_a_students_errors_on_a_table(folder: Path) -> None:
    file = ran({**STUDY, "methods": ["none"], "teachers": {}})["none"] / "student.safetensors"
    held = waves()
    table = [["channel 0", "channel 1", "effort", "trial"]]
    for n in range(6):
        table += [[*map(str, sample), str(held["y"][n]), f"t{n}"] for sample in held["X"][n].T]
    with Path("long.csv").open("w", newline="") as file_of:
        csv.writer(file_of).writerows(table)
    student = load_student(file)
    scores = student.task.scores(
        {"values": student.predict(held["X"][:6])}, torch.from_numpy(held["y"][:6, None]).float()
    )
    result = told("evaluate", str(file), "long.csv", "--label", "effort", "--recording", "trial")
    assert f"6 windows: MAE {scores['mae']:.3f}, RMSE {scores['rmse']:.3f}" in result.stdout, result.stderr
    assert "targets are numbers" in told("evaluate", str(file), "long.csv", "--label", "trial").stderr


def test_given_weights_a_warm_start_and_no_validation_side(folder: Path) -> None:
    given = ran({**STUDY, "methods": ["none"], "student": {"model": "dscnn-8", "epochs": 1}, "teachers": {}}, "first")
    values = {
        **STUDY,
        "split": {"test": 1, "val": 0, "folds": [0]},
        "teachers": {"given": {"model": "dscnn-8", "pretrained": str(given["none"] / "student.safetensors")}},
        "student": {"model": "dscnn-4", "epochs": 1, "warm_start": True},
        "methods": ["none", "mimic"],
    }
    cells = ran(values)
    assert set(cells) == {"none", "mimic from given", "teacher given"}
    results = {title: json.loads((cell / "result.json").read_text()) for title, cell in cells.items()}
    assert {title: set(own["test"]) for title, own in results.items()} == {title: {"last"} for title in cells}
    assert results["teacher given"]["epochs"] == 0
    assert "There is no validation side" in Path("out/report.html").read_text(encoding="utf-8")


# --- one's own loop


def test_in_ones_own_loop() -> None:
    torch.manual_seed(0)
    held = waves(2)
    x, y = torch.from_numpy(held["X"]), torch.from_numpy(held["y"]).float()
    task = Regression(targets=("height", "speed")).fit(y)
    models = [build("dscnn-4", (2, LENGTH), 2), build("wrn10-0.25", (2, LENGTH), 2)]
    loop = overtone.Distillation.between(*models, ["mimic", "hidden"], example=x[:8], task=task)
    assert loop.distillation.terms == ("mse", "mimic.output.teacher", "hidden.vector.teacher")
    optimizer = torch.optim.Adam(loop.parameters(), 0.02)
    losses = []
    for _ in range(12):
        step = loop(x, y)
        losses.append(float(step.terms["mse"].detach()))
        optimizer.zero_grad()
        step.total.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(InputError, match=r"targets of a regression are \(B, 2\), as the outputs; got \(80,\)"):
        loop(x, y[:, 0])
    with pytest.raises(InputError, match="method 'kd' compares logits, and task regression has none"):
        overtone.Distillation.between(*models, "kd", example=x[:8], task=task)
    with pytest.raises(InputError, match="a model of 1 targets gives"):
        overtone.Distillation.between(*models, "mimic", example=x[:8], task=Regression(targets=("height",)))
    unfitted = overtone.Distillation.between(*models, "mimic", example=x[:8], task=Regression(targets=("a", "b")))
    with pytest.raises(InputError, match=r"task\.fit\(y\) finds them"):
        unfitted(x, y)
    with pytest.raises(InputError, match="target 'a' is the same in all 4 training samples"):
        Regression(targets=("a",)).fit(torch.ones(4, 1))


@pytest.mark.parametrize("facts", [{}, {"targets": ["a"], "mean": [0.0], "std": [-1.0]}, {"targets": "a"}, {"x": 1}])
def test_a_header_that_no_training_wrote_is_refused(tmp_path: Path, facts: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    header = Header(
        builder="dscnn-4",
        input_shape=(2, LENGTH),
        task={"name": "regression", "facts": facts},
        channels=("a", "b"),
        rate=None,
        window=LENGTH,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=({"type": "signal", "settings": {}, "state": {}},),
    )
    path = tmp_path / "s.safetensors"
    save_file(build("dscnn-4", (2, LENGTH), 1).state_dict(), path, metadata={"overtone": header.model_dump_json()})
    with pytest.raises(InputError):
        load_student(path)
