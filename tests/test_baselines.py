"""What is fitted without a gradient: numbers as scikit-learn's, keys, what a kill leaves, what is refused."""

from __future__ import annotations

import copy
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, mean_absolute_error
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from overtone import baselines, data, display, explain, recipe, report
from overtone.engine import Samples
from overtone.errors import FitError, InputError
from overtone.recipe import Recipe
from overtone.report.folder import Folder
from overtone.report.sections import recipe_text
from overtone.study import Plan, RowKind, StudyCallback, collect, damaged_cells, execute, make_plan, write_tables
from overtone.study import fitted as running
from overtone.study.check import check
from overtone.study.predictions import read_predictions
from overtone.study.records import read_result, read_run
from overtone.tasks import Classification
from overtone.trust import check_recipe, named_in

FEW: dict[str, Any] = {
    "name": "few",
    "data": {"name": "watch", "window": 64, "stride": 600},
    "split": {"test": 3, "val": 3, "folds": [0]},
    "student": {"model": "dscnn-4", "epochs": 1},
    "train": {"batch": 32, "threads": 1},
    "methods": ["none"],
}
THREE = {
    "zforest": {"model": "forest", "arguments": {"n_estimators": 12}},
    "linear": "linear",
    "constant": "constant",
    "mine": {"model": "sklearn.svm:SVC", "features": "flat", "arguments": {"C": 2.0}},
    "near": {"model": "sklearn.neighbors:KNeighborsClassifier", "arguments": {"weights": "distance"}},
}


def plan_of(values: dict[str, Any], **more: Any) -> Plan:
    study = recipe.validate({**copy.deepcopy(values), **more})
    return make_plan(study, data.load(study.data))


def cell_of(plan: Plan, name: str) -> str:
    return next(row.cells[0, 0][0] for row in plan.rows if row.id == f"baseline-{name}")


def samples_of(plan: Plan) -> Samples:
    return Samples.fit(plan.windows, plan.folds[0], plan.views, torch.device("cpu"))


def by_hand(x: np.ndarray) -> np.ndarray:
    """The statistics of windows (N, C, T), one channel after the other."""
    rows = []
    for window in x.astype(np.float64):
        row: list[float] = []
        for channel in window:
            ends = np.percentile(channel, [0, 25, 50, 75, 100])
            change = sum(abs(b - a) for a, b in itertools.pairwise(channel)) / (len(channel) - 1)
            row += [*ends, channel.mean(), channel.std(), change, (channel**2).sum() / len(channel)]
        rows.append(row)
    return np.asarray(rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    out = tmp_path_factory.mktemp("baselines") / "out"
    plan = plan_of(FEW, baselines=THREE)
    assert execute(plan, out) == {}
    write_tables(out, collect(out))
    return plan, out


# --- numbers


def test_features_are_what_they_are_called() -> None:
    x = torch.randn(5, 3, 20, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(baselines.statistics(x), by_hand(x.numpy()), rtol=1e-12)
    assert baselines.statistics(x).shape[1] == 3 * len(baselines.STATISTICS)
    images = torch.randn(4, 3, 6, 5)
    assert baselines.statistics(images).shape == (4, 27)
    across = (images.double()[..., 1:] - images.double()[..., :-1]).abs().mean((2, 3))
    np.testing.assert_allclose(baselines.statistics(images)[:, 7::9], across.numpy(), rtol=1e-12)


def test_numbers_are_scikit_learns(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    fold, y = plan.folds[0], plan.windows.y
    x = plan.windows.x[:].astype(np.float64)
    mean, std = x[fold.train].mean((0, 2), keepdims=True), x[fold.train].std((0, 2), keepdims=True)
    x = ((x - mean) / std).astype(np.float32)
    scale = StandardScaler().fit(by_hand(x[fold.train]))
    features, flat = scale.transform(by_hand(x)).astype(np.float32), x.reshape(len(x), -1)
    expected = {
        "zforest": (RandomForestClassifier(12, random_state=0), features),
        "linear": (LogisticRegression(max_iter=1000), features),
        "mine": (SVC(C=2.0), flat),
        "near": (KNeighborsClassifier(weights="distance"), features),
    }
    for name, (model, own) in expected.items():
        model.fit(own[fold.train], y[fold.train])
        held = read_predictions(out / "cells" / cell_of(plan, name))
        assert (held["best.logits"] == held["last.logits"]).all()
        guess = held["last.logits"].argmax(1)
        assert (guess == model.predict(own[fold.test])).mean() > 0.98  # single precision of the windows
        if hasattr(model, "predict_proba"):
            shares, near = np.exp(held["last.logits"]), 0.01 if name == "linear" else 0.09  # of a forest one tree
            np.testing.assert_allclose(shares, model.predict_proba(own[fold.test]), atol=near)
        result = read_result(out / "cells" / cell_of(plan, name))
        assert result.test["last"]["accuracy"] == pytest.approx(accuracy_score(y[fold.test], guess))
        assert np.sum(result.details["best"]["confusion"]) == len(fold.test)
    constant = read_result(out / "cells" / cell_of(plan, "constant"))
    assert constant.test["last"]["accuracy"] == (y[fold.test] == np.bincount(y[fold.train]).argmax()).mean()
    assert constant.val is not None
    assert constant.val["best"] == (y[fold.val] == np.bincount(y[fold.train]).argmax()).mean()


def test_exactly_scikit_learns_on_the_same_features(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    samples, fold = samples_of(plan), plan.folds[0]

    def features(index: Any) -> np.ndarray:
        return baselines.statistics(samples.batch(torch.from_numpy(index), ["signal"]).views["signal"])

    scale = baselines.Scale.of(features(fold.train))
    model = RandomForestClassifier(12, random_state=0).fit(scale(features(fold.train)), plan.windows.y[fold.train])
    expected = np.log(model.predict_proba(scale(features(fold.test))).clip(1e-7)).astype(np.float32)
    assert (read_predictions(out / "cells" / cell_of(plan, "zforest"))["last.logits"] == expected).all()


def test_regression_is_fitted_and_scored_in_its_own_units(tmp_path: Path) -> None:
    target = {"name": "watch", "window": 64, "stride": 600, "task": "regression", "target": ["wx", "wy"]}
    named = {"forest": {"model": "forest", "arguments": {"n_estimators": 5}}, "linear": "linear", "mean": "constant"}
    plan = plan_of(FEW, data=target, baselines=named)
    assert execute(plan, tmp_path / "out") == {}
    fold, y, samples = plan.folds[0], plan.windows.y, samples_of(plan)
    own = baselines.Scale.of(
        baselines.statistics(samples.batch(torch.from_numpy(fold.train), ["signal"]).views["signal"])
    )
    x = own(baselines.statistics(samples.batch(torch.arange(len(y)), ["signal"]).views["signal"]))
    for name, model in (("forest", RandomForestRegressor(5, random_state=0)), ("linear", Ridge())):
        spread = y[fold.train].std(0)
        model.fit(x[fold.train], (y[fold.train] - y[fold.train].mean(0)) / spread)
        expected = model.predict(x[fold.test]) * spread + y[fold.train].mean(0)
        held = read_predictions(tmp_path / "out" / "cells" / cell_of(plan, name))
        np.testing.assert_allclose(held["last.values"], expected, rtol=2e-3, atol=1e-3 * float(spread.max()))
        found = read_result(tmp_path / "out" / "cells" / cell_of(plan, name))
        error = mean_absolute_error(y[fold.test] / spread, expected / spread)
        assert found.test["last"]["mae"] == pytest.approx(error, rel=2e-3)
        assert set(found.details["last"]["by_target"]) == {"wx", "wy"}
    assert collect(tmp_path / "out")[-1].estimate is not None


def test_one_target_is_a_vector_and_a_class_that_takes_no_several_fails(tmp_path: Path) -> None:
    named = {"svr": {"model": "sklearn.svm:SVR"}}
    one = {"name": "watch", "window": 64, "stride": 600, "task": "regression", "target": "wx"}
    assert execute(plan_of(FEW, data=one, baselines=named), tmp_path / "one") == {}
    failed = execute(plan_of(FEW, data={**one, "target": ["wx", "wy"]}, baselines=named), tmp_path / "two")
    assert [message.startswith("fitting SVR fails: ValueError: ") for message in failed.values()] == [True]


def test_without_a_validation_side_there_is_no_best(tmp_path: Path) -> None:
    plan = plan_of(FEW, split={"test": 3, "val": 0, "folds": [0]}, baselines={"linear": "linear"})
    assert execute(plan, tmp_path / "out", only=cell_of(plan, "linear")) == {}
    found = read_result(tmp_path / "out" / "cells" / cell_of(plan, "linear"))
    assert (list(found.test), found.best_epoch, found.val) == (["last"], None, None)


@pytest.mark.parametrize("features", ["statistics", "flat"])
def test_images_are_fitted_too(tmp_path: Path, features: str) -> None:
    draw = np.random.default_rng(0)
    for side in ("train", "val"):
        for label, colour in (("dark", 40), ("light", 200)):
            (tmp_path / "set" / side / label).mkdir(parents=True)
            for number in range(6):
                pixels = (colour + draw.integers(-30, 30, (10, 10, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / side / label / f"{number}.png")
    values = {
        "data": {"name": "imagefolder", "path": str(tmp_path / "set"), "size": 8},
        "split": {"scheme": "official", "by": "window", "val": 2},
        "student": {"view": "image", "model": "wrn10-0.25", "epochs": 1},
        "train": {"batch": 4},
        "methods": ["none"],
        "baselines": {"b": {"model": "linear", "view": "image", "features": features}},
    }
    plan = plan_of(values)
    assert execute(plan, tmp_path / "out", only=cell_of(plan, "b")) == {}
    found = read_result(tmp_path / "out" / "cells" / cell_of(plan, "b"))
    assert found.test["last"]["accuracy"] == 1.0
    assert found.epochs == 0


# --- keys


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"baselines": {"f": {"model": "forest", "arguments": {"n_estimators": 9}}}}, False),
        ({"baselines": {"f": {"model": "forest", "features": "flat"}}}, False),
        ({"baselines": {"f": {"model": "forest", "view": "gaf"}}, "views": {"gaf": {"size": 8}}}, False),
        ({"baselines": {"f": {"model": "sklearn.ensemble:ExtraTreesClassifier"}}}, False),
        ({"seeds": [1]}, False),
        ({"data": {"name": "watch", "window": 64, "stride": 599}}, False),
        ({"split": {"test": 3, "val": 2, "folds": [0]}}, False),
        ({"train": {"batch": 16, "lr": 0.01, "threads": 2}}, True),
        ({"student": {"model": "dscnn-8", "epochs": 2}}, True),
        ({"baselines": {"f": {"model": "sklearn.ensemble:RandomForestClassifier"}}}, True),
    ],
)
def test_a_key_holds_what_decides_a_fit(change: dict[str, Any], same: bool) -> None:
    before, now = plan_of(FEW, baselines={"f": "forest"}), plan_of(FEW, **{"baselines": {"f": "forest"}, **change})
    first, second = (next(iter(plan.rows[-1].cells.values())) for plan in (before, now))
    assert (first == second) is same
    assert before.rows[-1].kind == RowKind.BASELINE
    untouched = [key for key, cell in plan_of(FEW).cells.items() if cell.baseline is None]
    assert set(untouched) <= set(before.cells), "a baseline leaves other cells alone"


def test_versions_and_somebodys_source_are_in_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = cell_of(plan_of(FEW, baselines={"f": "forest"}), "f")
    monkeypatch.setattr(baselines, "VERSION", 99)
    assert cell_of(plan_of(FEW, baselines={"f": "forest"}), "f") != before
    found = []
    for name, more in (("one", ""), ("two", "# changed\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fits_here.py").write_text(OWN + more)
        monkeypatch.chdir(tmp_path / name)
        sys.modules.pop("fits_here", None)
        found.append(cell_of(plan_of(FEW, baselines={"f": "fits_here:Guess"}), "f"))
    sys.modules.pop("fits_here", None)
    assert found[0] != found[1]


# --- a stranger's class

OWN = """
import os, time
import numpy as np

class Guess:
    def __init__(self, always=2):
        self.always = always
    def fit(self, X, y):
        open("fitting", "w").close()
        if os.path.exists("wait"):
            time.sleep(60)
        return self
    def predict(self, X):
        return np.full(len(X), self.always)

class Raises(Guess):
    def fit(self, X, y):
        raise RuntimeError("no luck")

class Nothing(Guess):
    def predict_proba(self, X):
        return np.full((len(X), 7), np.nan)

class Narrow(Guess):
    def predict_proba(self, X):
        return np.ones((len(X), 3)) / 3

class Draws(Guess):
    def predict(self, X):
        return np.random.randint(0, 7, len(X))

class NoPredict:
    def fit(self, X, y):
        return self

def function():
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "strangers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("strangers", None)
    return tmp_path


def test_a_strangers_class_and_those_that_fail(own: Path) -> None:
    names = ("Guess", "Raises", "Nothing", "Narrow", "Draws")
    given: dict[str, Any] = {name: f"strangers:{name}" for name in names}
    given["Wrong"] = {"model": "strangers:Guess", "arguments": {"always": 7}}
    plan = plan_of(FEW, baselines=given)
    failed = {plan.cells[key].title.partition(" ")[0]: message for key, message in execute(plan, own / "out").items()}
    assert set(failed) == {"Raises", "Nothing", "Narrow", "Wrong"}
    assert failed["Raises"].startswith("fitting Raises fails: RuntimeError: no luck (strangers.py, line ")
    assert "predictions (logits) are not finite" in failed["Nothing"]
    assert "probabilities (" in failed["Narrow"]
    assert "it says 7, which is none of the classes 0 to 6" in failed["Wrong"]
    rows = {row.method: row for row in collect(own / "out")}
    y = plan.windows.y[plan.folds[0].test]
    assert rows["Guess"].values[0].scores["last"]["accuracy"] == (y == 2).mean()
    assert (rows["Raises"].folds, rows["Raises"].missing) == (0, 1)
    assert (
        "RuntimeError: no luck"
        in json.loads((own / "out" / "cells" / cell_of(plan, "Raises") / "error.json").read_text())["traceback"]
    )
    again = plan_of(FEW, baselines={"Draws": "strangers:Draws"})
    execute(again, own / "twice", only=cell_of(again, "Draws"))
    two = [(place / "cells" / cell_of(again, "Draws") / "predictions.npz") for place in (own / "out", own / "twice")]
    assert two[0].read_bytes() == two[1].read_bytes(), "the global generators are seeded"
    report.write_page(own / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("forrest", "baselines.b: unknown model 'forrest'; did you mean 'forest'?"),
        ("strangers:NoPredict", "strangers:NoPredict has no predict;"),
        ("strangers:function", "strangers:function has no fit and no predict"),
        ("strangers:Gues", "there is no 'Gues' in strangers; did you mean 'Guess'?"),
        ("nowhere:Class", "there is no module 'nowhere'"),
        ({"model": "forest", "arguments": {"n_estimator": 5}}, "takes no 'n_estimator'; did you mean 'n_estimators'?"),
        ({"model": "sklearn.ensemble:VotingClassifier"}, "cannot be made: TypeError"),
        ({"model": "forest", "view": "sginal"}, "unknown view 'sginal'"),
        ({"model": "forest", "feature": "flat"}, "unknown key 'feature'; did you mean 'features'?"),
        ({"model": "forest", "features": "all"}, "'statistics' or 'flat' is needed, got 'all'"),
        ({"model": "forest", "arguments": {"class_weight": {0: 1}}}, "arguments are numbers, text"),
        ({"model": "forest", "arguments": {"max_depth": float("nan")}}, "arguments are numbers, text"),
        ({"view": "signal"}, "baselines.b.model: missing"),
    ],
)
def test_what_cannot_be_is_told_while_planning(own: Path, settings: Any, message: str) -> None:
    with pytest.raises(InputError) as told:
        plan_of(FEW, baselines={"b": settings})
    assert message in str(told.value)


def test_a_task_without_estimators_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "ESTIMATORS", {})
    with pytest.raises(InputError, match="task classification takes nothing that is fitted without a gradient"):
        plan_of(FEW, baselines={"b": "forest"})


def test_a_teacher_is_no_baseline() -> None:
    with pytest.raises(InputError, match="unknown teacher 'b'"):
        plan_of(FEW, baselines={"b": "forest"}, methods=[{"name": "kd", "teachers": ["b"]}])


def test_features_that_memory_cannot_hold_are_refused_before_any_training(tmp_path: Path) -> None:
    wide = {"wide": {"model": "linear", "features": "flat"}}
    plan = plan_of(FEW, train={"memory_mb": 0, "batch": 32}, baselines=wide)
    for look in (lambda: check(plan), lambda: execute(plan, tmp_path / "out")):
        with pytest.raises(InputError, match=r"baselines\.wide: 384 features of .* use features: statistics"):
            look()
    assert not list(tmp_path.rglob("result.json"))


def test_names_count_as_what_a_recipe_would_import(own: Path) -> None:
    named = recipe.validate(
        {**FEW, "baselines": {"a": "strangers:Guess", "b": {"model": "forest", "view": "own:view"}}}
    )
    assert {"strangers:Guess", "own:view"} <= named_in(named)
    assert "strangers" not in sys.modules
    with pytest.raises(InputError, match="it would import and run 'own:view', 'strangers:Guess'"):
        check_recipe(named, "somebody's", False)
    check_recipe(recipe.validate({**FEW, "baselines": {"a": "forest"}}), "somebody's", False)


# --- a study's life


class Heard(StudyCallback):
    def __init__(self) -> None:
        self.started: list[str] = []
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def cell_started(self, cell: Any) -> None:
        self.started.append(cell.title)


def test_what_is_done_stays_and_damage_is_fitted_again(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    heard = Heard()
    assert execute(plan, out, heard) == {}
    assert (heard.started, heard.notes) == ([], [])
    path = out / "cells" / cell_of(plan, "zforest") / "predictions.npz"
    before = path.read_bytes()
    path.write_bytes(before[:-40] + b"x" * 40)
    assert set(damaged_cells(out, plan.cells)[0]) == {path.parent.name}
    assert execute(plan, out, heard) == {}
    assert heard.started == ["zforest · fold 0 · seed 0"]
    assert "it is run again" in heard.notes[0]
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["predictions.npz", "result.json", "run.json"]


def test_a_kill_while_fitting_leaves_nothing_in_the_way(own: Path) -> None:
    values = {**FEW, "baselines": {"slow": "strangers:Guess"}}
    (own / "few.yaml").write_text(json.dumps(values))
    plan = plan_of(values)
    (own / "wait").touch()
    command = [sys.executable, "-m", "overtone", "run", "few.yaml", "--out", "out", "--only", cell_of(plan, "slow")]
    process = subprocess.Popen(command, cwd=own, env={**os.environ}, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (own / "fitting").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (own / "wait").unlink()
    assert not list(own.rglob("result.json"))
    assert execute(plan, own / "out", only=cell_of(plan, "slow")) == {}
    assert read_result(own / "out" / "cells" / cell_of(plan, "slow")).test


def test_a_worker_plans_the_same(finished: tuple[Plan, Path]) -> None:
    plan = finished[0]
    sent = plan.recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert list(make_plan(Recipe.model_validate(sent), plan.windows).cells) == list(plan.cells)


@pytest.mark.slow
def test_two_jobs_give_the_same_files(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, out = finished
    assert execute(plan, tmp_path / "out", jobs=2) == {}
    write_tables(tmp_path / "out", collect(tmp_path / "out"))
    for name in ("table.csv", "cells.csv", *(f"cells/{key}/result.json" for key in plan.cells)):
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes(), name


def test_threads_change_no_digit(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    out = finished[1]
    more = plan_of(FEW, train={"batch": 32, "threads": 2}, baselines=THREE)
    key = cell_of(more, "zforest")
    assert execute(more, tmp_path / "out", only=key) == {}
    files = [place / "cells" / key / "predictions.npz" for place in (out, tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("said", [None, "no luck"])
def test_of_several_processes_the_main_one_fits_and_all_fail_with_it(
    monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    """Another process fits nothing, and raises what the main one tells it."""

    def broadcast(held: list[Any]) -> None:
        held[0] = said

    monkeypatch.setattr(running, "broadcast_object_list", broadcast)
    inputs: Any = SimpleNamespace(accelerator=SimpleNamespace(is_main_process=False, num_processes=2))
    if said is None:
        running.run_baseline(inputs, None, None)  # type: ignore[arg-type]
        return
    with pytest.raises(FitError, match=said):
        running.run_baseline(inputs, None, None)  # type: ignore[arg-type]


# --- what people see


def test_rows_in_tables_page_and_terminal(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    rows = collect(out)
    assert [row.method for row in rows] == ["none", *THREE]
    forest = rows[1]
    assert (forest.kind, forest.student) == (RowKind.BASELINE, "RandomForestClassifier")
    assert (forest.parameters, forest.macs, forest.size_ratio) == (None, None, None)
    line = next(x for x in (out / "table.csv").read_text().splitlines() if x.startswith("zforest"))
    assert line.endswith(",,,0,,,")
    assert any(x.startswith("mine,,SVC,") for x in (out / "cells.csv").read_text().splitlines())
    page = report.write_page(out).read_text()
    assert "Without a gradient" in page
    assert "fitted once on the training side" in page
    assert "Confusion" in page
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(display.table(rows, 160, plan.windows.task.metrics, "people"))
    shown = console.export_text()
    assert "without a gradient" in shown
    assert next(x for x in shown.splitlines() if "zforest" in x).count("–") == 2
    assert read_run(out / "cells" / cell_of(plan, "mine")).environment["scikit-learn"]
    text = recipe_text(Folder.read(out))
    assert text.index("zforest") < text.index("linear:") < text.index("mine:"), "the order of the rows"


def test_models_that_look_somewhere_are_explained_and_no_others(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    explain.refresh(plan, out)
    found = explain.read(out)
    assert found is not None
    assert [model["title"] for model in found.about["models"]] == ["none"]


def test_check_lists_them_and_what_a_class_warns_of_is_told(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, _ = finished
    found = check(plan)
    assert [(one.name, one.features) for one in found.baselines][:2] == [("zforest", 54), ("linear", 54)]
    assert [one.features for one in found.baselines if one.kind == "flat"] == [6 * 64]
    hasty = plan_of(FEW, baselines={"hasty": {"model": "linear", "arguments": {"max_iter": 1}}})
    assert execute(hasty, tmp_path / "out", only=cell_of(hasty, "hasty")) == {}
    told = read_result(tmp_path / "out" / "cells" / cell_of(hasty, "hasty")).told
    assert told is not None
    assert told.startswith("lbfgs failed to converge after 1 iteration")
