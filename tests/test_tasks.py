"""Tasks of somebody's own, ``my_tasks.py``, from a recipe to table, page, explanation and student file; what any task
must hold; and that nobody but tasks and methods knows what a classifier's metrics are.
"""

from __future__ import annotations

import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import broken_tasks
import my_tasks
import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from torch import nn
from typer.testing import CliRunner

import overtone
from overtone import data, recipe
from overtone.cli import app
from overtone.data import Fold, Recordings, Windows
from overtone.engine import Samples
from overtone.engine.guard import not_finite
from overtone.engine.mixup import Mixup
from overtone.errors import InputError
from overtone.explain import saliency
from overtone.header import SeenTask
from overtone.methods import check_distillable, configure, make, pair_stages
from overtone.models import build
from overtone.student import Header, SeenView, save_student
from overtone.study import make_plan
from overtone.tap import Tap, probe
from overtone.tasks import TASKS, Classification, Detection, Place, Predictions, Regression, Task
from overtone.teachers import Teacher
from overtone.testing import check_task
from overtone.types import Batch, DataInfo, Output, Progress
from overtone.views import VIEWS

HERE, SRC = Path(__file__).parent, Path(overtone.__file__).parent
LENGTH = 32
STUDY: dict[str, Any] = {
    "teachers": {
        "one": {"model": "my_tasks:Finder", "arguments": {"width": 16}, "epochs": 2},
        "two": {"model": "my_tasks:Finder", "epochs": 2},
    },
    "student": {"model": "my_tasks:Finder", "epochs": 2},
    "train": {"batch": 16, "lr": 0.1, "threads": 1},
}
BOXES = {
    **STUDY,
    "data": {"name": "npz", "path": "boxes.npz", "task": {"name": "my_tasks:Boxes", "least": 0.4}},
    "split": {"test": 1, "val": 1, "folds": [0]},
    "methods": ["none", {"name": "kd", "teachers": ["one"]}, "mimic"],
}
ODD = {
    **json.loads(json.dumps(STUDY).replace("Finder", "Rebuilder")),
    "data": {"name": "npz", "path": "odd.npz", "task": "my_tasks:Odd"},
    "split": {"scheme": "holdout", "test": ["0"], "val": 1},
    "methods": ["none", "mimic", {"name": "at", "teachers": ["one"], "weights": {"at": 1}}],
}


def write_boxes(path: Path) -> None:
    """One or two events in each window, where both channels are higher."""
    random, count = np.random.default_rng(0), 96
    x = 0.3 * random.normal(size=(count, 2, LENGTH)).astype(np.float32)
    y = np.full((count, 2, 2), np.nan, dtype=np.float32)
    for window in range(count):
        for event in range(1 + window % 2):
            begin = random.integers(0, 6) + 16 * event
            end = begin + random.integers(5, 10)
            x[window, :, begin:end] += 2
            y[window, event] = begin / LENGTH, end / LENGTH
    np.savez(path, X=x, y=y, group=np.arange(count) // 24)


def write_odd(path: Path) -> None:
    """Waves, those of the first person with a stretch of noise; nobody else's are labelled."""
    random, count = np.random.default_rng(0), 96
    wave = np.sin(np.arange(LENGTH) * 0.5 + random.uniform(0, 6, size=(count, 1, 1)))
    x = (wave + 0.05 * random.normal(size=(count, 2, LENGTH))).astype(np.float32)
    y = np.full((count, LENGTH), np.nan, dtype=np.float32)
    for window in range(24):
        at = random.integers(0, LENGTH - 4)
        y[window] = 0
        y[window, at : at + 3] = 1
        x[window, :, at : at + 3] += 3 * random.normal(size=(2, 3))
    np.savez(path, X=x, y=y, group=np.arange(count) // 24)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's folder, with their tasks in a file and their data."""
    shutil.copy(HERE / "my_tasks.py", tmp_path)
    write_boxes(tmp_path / "boxes.npz")
    write_odd(tmp_path / "odd.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def ran(values: dict[str, Any], folder: Path, jobs: int) -> dict[str, Path]:
    """A whole study's cells by title."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    result = told("run", "mine.yaml", "--out", "out", "--jobs", str(jobs))
    assert result.exit_code == 0, result.stdout + result.stderr
    results = [json.loads(path.read_text()) for path in (folder / "out" / "cells").glob("*/result.json")]
    return {own["title"].partition(" ·")[0]: folder / "out" / "cells" / own["key"] for own in results}


# --- a detector's shape


def test_models_of_lists_with_losses_of_their_own_are_distilled_side_by_side(folder: Path) -> None:
    cells = ran(BOXES, folder, jobs=2)
    assert set(cells) == {"teacher one", "none", "kd from one", "mimic from one, two"}  # the other teacher is none
    heads = (folder / "out" / "table.csv").read_text().splitlines()[0].split(",")
    assert {"ap_best_mean", "hits_last_mean"} <= set(heads)
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "average precision over all groups" in page
    assert "highest validation AP" in page
    assert re.search(r"Group \d, [12] events, recording", page)
    assert "Targets by group" in page
    words = re.sub(r"<style.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)
    assert "class " not in words.replace("class activation map", "")
    rows = [json.loads(line) for line in (cells["kd from one"] / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]["terms"]) == {"place", "score", "kd.kl"}
    assert set(rows[0]["val"]) == {"ap", "hits", "loss"}
    held = np.load(cells["none"] / "predictions.npz")
    lengths = held["best.lengths of events"]
    assert len(lengths) == len(held["index"]) == 24
    assert set(lengths) <= {1, 2, 3}
    assert len(held["best.events"]) == lengths.sum() == len(held["best.scores"])
    assert "recording" not in held  # this task asks for no time line
    ensemble = json.loads((folder / "out" / "table.json").read_text())[-1]
    assert ensemble["kind"] == "ensemble"
    assert ensemble["ap_best"] is not None

    file = str(cells["kd from one"] / "student.safetensors")
    assert "would import and run 'my_tasks:Finder', 'my_tasks:Boxes'" in told("predict", file, "boxes.npz").stderr
    assert "96 windows -> p.csv" in told("predict", file, "boxes.npz", "--trust", "--out", "p.csv").stdout
    head, *lines = (folder / "p.csv").read_text().splitlines()
    assert head == "recording,start,start_seconds,begin,end,score"
    found = overtone.load_student(file, trust=True).output(np.load("boxes.npz")["X"]).prediction
    events = [
        f"{window},0,,{begin:.4f},{end:.4f},{score:.4f}"
        for window, (places, scores) in enumerate(zip(found["events"], found["scores"], strict=True))
        for (begin, end), score in zip(places.tolist(), scores.tolist(), strict=True)
        if score > 0.5
    ]
    assert lines == events
    scored = told("evaluate", file, "boxes.npz", "--trust")
    assert re.search(r"96 windows: AP [\d.]+ %, found [\d.]+ %", scored.stdout), scored.stdout + scored.stderr
    explained = told("explain", "out", "--trust")
    assert re.search(r"finds \d", explained.stdout), explained.stderr
    assert told("report", "out").exit_code == 0  # without trust: all but the ensembles


def test_models_see_no_target_but_in_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, set[bool]] = {True: set(), False: set()}
    forward = my_tasks.Finder.forward

    def watched(self: my_tasks.Finder, samples: list[dict[str, Any]]) -> dict[str, Any]:
        seen[self.training and torch.is_grad_enabled()].add(samples[0]["events"] is None)
        return forward(self, samples)

    monkeypatch.setattr(my_tasks.Finder, "forward", watched)
    from overtone.engine import evaluate, make_accelerator
    from overtone.study.build import StudyContext, build_cell

    study = recipe.validate(BOXES)
    plan = make_plan(study, data.load(study.data))
    context = StudyContext(plan, folder / "out", make_accelerator())
    cell = next(iter(plan.cells.values()))
    built = build_cell(context.inputs(cell), cell)
    seen[False].clear()
    samples, test = context.samples(0), torch.from_numpy(plan.folds[0].test)
    evaluate(built.distillation.student, samples, test, cell.view, context.accelerator)
    assert seen[False] == {True}
    built.distillation.student.train()(samples.batch(test[:2], ["signal"]).input("signal"))
    assert seen[True] == {False}


def test_the_teacher_answers_to_what_the_student_found(folder: Path) -> None:
    """In one's own loop too, whose batches are collated."""
    torch.manual_seed(0)
    held = np.load("boxes.npz")
    x, y = torch.from_numpy(held["X"][:8]), torch.from_numpy(held["y"][:8])
    student, teacher = my_tasks.Finder(2, 1), my_tasks.Finder(2, 1, width=4)
    loop = overtone.Distillation.between(student, teacher, "mimic", example=x, task=my_tasks.Boxes())
    step = loop(x, y)
    assert set(step.terms) == {"place", "score", "mimic.output.teacher"}
    places = torch.cat(step.output.prediction["events"])
    with torch.no_grad():
        apart = (student.rank(places) - teacher.rank(places)).square().mean()
    torch.testing.assert_close(step.terms["mimic.output.teacher"].detach(), apart)
    step.total.backward()
    assert student.rank.weight.grad is not None
    assert teacher.rank.weight.grad is None


def test_a_task_names_parts_that_only_its_models_have(folder: Path) -> None:
    """And says to methods what it knows of the data."""
    torch.manual_seed(0)
    held = np.load("boxes.npz")
    x, y = torch.from_numpy(held["X"][:8]), torch.from_numpy(held["y"][:8])
    models = my_tasks.Finder(2, 1), my_tasks.Finder(2, 1, width=4)
    loop = overtone.Distillation.between(*models, my_tasks.Regions, example=x, task=my_tasks.Boxes(least=0.25))
    assert loop.distillation.methods["regions"].least == 0.25
    step = loop(x, y)
    places = torch.cat(step.output.prediction["events"])
    ranks = [model.rank(places).sigmoid() for model in models]
    torch.testing.assert_close(step.terms["regions.apart"], 0.25 * (ranks[0] - ranks[1]).square().mean())
    with pytest.raises(InputError, match="method 'Regions' compares regions, and task odd has none"):
        check_distillable(my_tasks.Regions, configure(my_tasks.Regions, {}), my_tasks.Odd())


class Pyramid(nn.Module):
    """Maps of three sizes, the smallest first, as a feature pyramid makes them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv1d(2, width, 3, 2**n, 1) for n in (3, 2, 1))
        self.fc = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.stack([conv(x).mean(2) for conv in self.down]).sum(0))


def test_stages_of_a_pyramid_are_paired_by_depth() -> None:
    x = torch.randn(4, 2, LENGTH)
    names = [
        {"p4": "down.0", "p3": "down.1", "p2": "down.2"},
        {"level10": "down.0", "level9": "down.1", "level8": "down.2"},
    ]
    specs = [probe(Tap(Pyramid(width), at), x, [("time",)]) for width, at in zip((4, 8), names, strict=True)]
    assert specs[0].order == ("p2", "p3", "p4")
    assert pair_stages(*specs) == [("p2", "level8"), ("p3", "level9"), ("p4", "level10")]
    review = make("review", configure("review", {}), specs[0], {"one": specs[1]}, DataInfo())[0]
    assert [level.student for level in review.levels["one"]] == ["embedding", "p4", "p3", "p2"]
    unnamed = probe(Tap(Pyramid(4), {"deep": "down.0", "shallow": "down.2"}), x, [("time",)])
    with pytest.raises(InputError, match=r"teacher 'one' has stages \(deep, shallow\) whose names do not say which"):
        pair_stages(specs[0], unnamed, name="one")


def test_what_is_not_finite_in_lists_is_named(folder: Path) -> None:
    held = np.load("boxes.npz")
    x, y = torch.from_numpy(held["X"][:8]), torch.from_numpy(held["y"][:8])
    student, teacher, task = my_tasks.Finder(2, 1), my_tasks.Finder(2, 1), my_tasks.Boxes()
    distillation = overtone.Distillation.between(student, teacher, "mimic", example=x, task=task).distillation
    theirs = Teacher("one", Tap(teacher, task=task), "x")

    def said(views: torch.Tensor) -> str | None:
        batch = task.collate(Batch({"x": views}, y, torch.arange(40, 48)))
        outputs = {"teacher": theirs(batch)}
        step = distillation(batch, outputs, Progress(1, 1))
        return not_finite(step, distillation, batch, outputs, Progress(1, 1))

    assert said(x) is None
    wrong = x.clone()
    wrong[3, 0, 5] = torch.nan
    assert "view 'x' already is not finite in samples 43" in str(said(wrong))
    with torch.no_grad():
        for weight in (teacher.body[2].weight, teacher.rank.weight):
            weight.fill_(torch.nan)
    assert "teacher 'teacher' is not finite in samples 40, 41" in str(said(x))


# --- an anomaly detector's shape


def test_time_steps_are_judged_and_no_label_is_seen_before_the_test(folder: Path) -> None:
    cells = ran(ODD, folder, jobs=1)
    rows = [json.loads(line) for line in (cells["mimic from one, two"] / "metrics.jsonl").read_text().splitlines()]
    assert [set(row["val"]) for row in rows] == [{"loss"}] * 2
    result = json.loads((cells["none"] / "result.json").read_text())
    lines = (cells["none"] / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["val"]["loss"] for line in lines]
    assert result["val"]["best"] == min(losses)
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "lowest validation loss" in page
    ensemble = json.loads((folder / "out" / "table.json").read_text())[-1]
    assert ensemble["kind"] == "ensemble"
    assert ensemble["auc_best"] is not None
    held = np.load(cells["none"] / "predictions.npz")
    assert held["best.errors"].shape == held["target"].shape == (24, LENGTH)
    assert held["recording"].shape == held["start"].shape == (24,)
    from sklearn.metrics import roc_auc_score

    assert result["test"]["best"]["auc"] == pytest.approx(
        roc_auc_score(held["target"].ravel() > 0.5, held["best.errors"].ravel()), abs=1e-6
    )
    explained = told("explain", "out", "--trust")
    assert "oddest at" in explained.stdout, explained.stderr
    assert told("report", "out", "--trust").exit_code == 0
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    timeline = page.partition('<section id="timeline"')[2].partition("</section>")[0]
    assert timeline.count("<figure") == len(json.loads((folder / "out" / "table.json").read_text()))  # one of each row
    assert "Errors over time" in timeline
    assert "Maps for the errors at odd time steps over what each model sees" in page
    assert "the true class" not in page
    file = str(cells["none"] / "student.safetensors")
    assert told("predict", file, "odd.npz", "--trust", "--out", "p.csv").exit_code == 0
    lines = (folder / "p.csv").read_text().splitlines()
    assert lines[0] == "recording,start,start_seconds,step,error"
    assert len(lines) == 1 + 96 * LENGTH
    errors = overtone.load_student(file, trust=True).output(np.load("odd.npz")["X"][3:4]).logits[0]
    assert lines[1 + 3 * LENGTH + 7] == f"3,0,,7,{errors[7]:.6g}"
    some = {name: array[:24] for name, array in np.load("odd.npz").items()}
    np.savez(folder / "some.npz", **some)
    assert "24 windows: AUC" in told("evaluate", file, "some.npz", "--trust").stdout


# --- a class for each time step


def test_logits_without_one_class_per_sample() -> None:
    """A task may have either without the other: softmax is told, methods that read a sample's class are refused."""
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Conv1d(2, w, 5, padding=2), nn.ReLU(), nn.Conv1d(w, 3, 1)) for w in (4, 8))
    x, y, task = torch.randn(8, 2, LENGTH), torch.randint(3, (8, LENGTH)), my_tasks.Steps(classes=("a", "b", "c"))
    loop = overtone.Distillation.between(student, teacher, "mimic", example=x, task=task)
    step = loop(x, y)
    assert set(step.terms) == {"ce", "mimic.output.teacher"}
    step.total.backward()
    with pytest.raises(InputError, match="method 'crd' compares embedding, and task steps has none"):
        overtone.Distillation.between(student, teacher, "crd", example=x, task=task)
    with pytest.warns(UserWarning, match="teacher 'teacher' .*softmax"):
        overtone.Distillation.between(student, nn.Sequential(teacher, nn.Softmax(1)), "mimic", example=x, task=task)


def test_a_task_says_how_targets_are_mixed_and_what_sides_hold_evenly() -> None:
    x = np.random.default_rng(0).normal(size=(8, 2, LENGTH)).astype(np.float32)
    y = np.repeat(np.arange(8) % 2, LENGTH).reshape(8, LENGTH)
    task, numbers = my_tasks.Steps(classes=("a", "b")), np.arange(8)
    windows = Windows(
        x, y, numbers, numbers, 0 * numbers, tuple("abcdefgh"), ("a", "b"), ("x", "y"), 1.0, "x", 1, task=task
    )
    assert windows.strata.tolist() == [0, 1] * 4
    fold = Fold(0, numbers[:4], numbers[4:6], numbers[6:], ("a",), ("b",), ("c",))
    samples = Samples.fit(windows, fold, {"signal": VIEWS["signal"]()}, torch.device("cpu"))
    index = torch.arange(4)
    (batch,) = samples.batches([index], ["signal"], mixed=[Mixup(index.flip(0), 0.75)])
    assert batch.target.shape == (4, 2, LENGTH)
    assert batch.target[0, :, 0].tolist() == [0.75, 0.25]
    with pytest.raises(InputError, match="task regression does not say what the target of mixed samples is"):
        Regression().mixed(batch.target, batch.target, 0.5)


# --- what is written and shown of any task


def student_file(folder: Path, task: Task, model: str) -> str:
    """An untrained student of a task; a finder finds none to three."""
    torch.manual_seed(0)
    header = Header(
        builder=model,
        input_shape=(2, LENGTH),
        task=SeenTask.of(task),
        channels=("x", "y"),
        rate=10.0,
        window=LENGTH,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=(SeenView(type="signal", settings={}, state={}),),
    )
    built = build(model, (2, LENGTH), task.outputs, tried=False)
    if model == "my_tasks:Finder":
        built.body[2].bias.data[0] -= 0.38
    save_student(folder / "student.safetensors", built.state_dict(), header)
    return str(folder / "student.safetensors")


def test_a_window_may_have_no_line_or_many(folder: Path) -> None:
    file = student_file(folder, my_tasks.Boxes(), "my_tasks:Finder")
    assert told("predict", file, "boxes.npz", "--trust").exit_code == 0
    head, *lines = (folder / "predictions.csv").read_text().splitlines()
    assert head == "recording,start,start_seconds,begin,end,score"
    assert set(np.bincount([int(line.split(",")[0]) for line in lines], minlength=96)) == {0, 1, 2, 3}
    scored = told("evaluate", file, "boxes.npz", "--trust")
    assert re.search(r"96 windows: AP [\d.]+ %, found [\d.]+ %", scored.stdout), scored.stderr


def test_a_task_may_write_another_form(folder: Path) -> None:
    file = student_file(folder, my_tasks.Listed(), "my_tasks:Finder")
    assert "96 windows -> predictions.json" in told("predict", file, "boxes.npz", "--trust").stdout
    found = json.loads((folder / "predictions.json").read_text())
    assert set(found[0]) == {"window", "event", "score"}
    assert told("predict", file, "boxes.npz", "--trust").exit_code == 2  # the file exists
    assert json.loads(told("predict", file, "boxes.npz", "--trust", "--out", "-").stdout) == found


def test_what_a_task_does_not_say_is_refused_in_a_sentence(folder: Path) -> None:
    """A task near to classification, whose answers and question are another's."""
    (folder / "steps.py").write_text(
        "from torch import nn\n"
        "def Each(channels, classes):\n"
        "    return nn.Sequential(nn.Conv1d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, classes, 1))\n"
    )
    task = my_tasks.Steps(classes=("a", "b"))
    file = student_file(folder, task, "steps:Each")
    refused = told("predict", file, "odd.npz", "--trust")
    assert refused.exit_code == 2
    assert re.search(
        r"task steps predicts logits \(\(96, 2, 32\) of float32\), which is no row .* give it answers, ", refused.stderr
    ), refused.stderr
    assert not (folder / "predictions.csv").exists()
    student = overtone.load_student(file, trust=True)
    x, y = torch.randn(3, 2, LENGTH), torch.zeros(3, LENGTH, dtype=torch.long)
    with pytest.raises(InputError, match="task steps predicts logits"):
        saliency(student, x, y)
    student.task = Answering(classes=("a", "b"))
    with pytest.raises(InputError, match=r"task steps: its asked does not fit what it predicts \(IndexError"):
        saliency(student, x, y)
    student.task = Silent()
    with pytest.raises(InputError, match=r"task silent does not say what saliency looks for; .* models' maps"):
        saliency(student, x, y)


def test_lines_that_do_not_fit_are_told() -> None:
    rising = {"logits": torch.tensor([[-1.0], [1.0]]) * torch.arange(-5, LENGTH - 5)[None, None]}
    with pytest.raises(InputError, match=r"task steps: its lines does not fit what it predicts \(IndexError"):
        Answering(classes=("a", "b")).write(BytesIO(), [([Place("x", 0)], rising)])
    with pytest.raises(
        InputError, match=r"task silent has 2 columns \(0, 1\) and a line of 32 cells; give it columns and"
    ):
        Silent(channels=2).write(BytesIO(), [([Place("x", 0)], {"maps": torch.zeros(1, LENGTH)})])


class Answering(my_tasks.Steps):
    """Says what an answer is, and not what saliency looks for."""

    def answers(self, predictions: Predictions) -> list[Any]:
        return predictions["logits"].argmax(1).tolist()


class Silent(my_tasks.Odd):
    """Gives no logits, and does not say what saliency looks for."""

    NAME = "silent"
    asked, columns, lines = Task.asked, Task.columns, Task.lines

    def read(self, given: Any) -> dict[str, Any]:
        return {"maps": given}

    def predict(self, output: Output) -> Predictions:
        return {"maps": output.prediction["maps"].mean(1)}


# --- what the plan knows of a task


@pytest.mark.parametrize(
    ("values", "change", "message"),
    [
        (BOXES, {"methods": ["sp"]}, "method 'sp' compares maps, and task boxes has none; .* mimic"),
        (ODD, {"methods": ["aver"]}, "method 'aver' compares logits, and task odd has none"),
        (ODD, {"methods": ["crd"]}, "method 'crd' reads each sample's class, and task"),
        (
            ODD,
            {"train": {"batch": 16, "augment": {"time_warp": 0.1}}},
            "time_warp moves what is in a window",
        ),
        (ODD, {"train": {"batch": 16, "augment": {"mixup": 0.2}}}, "augment.mixup mixes targets, and task odd cannot"),
        (ODD, {"train": {"batch": 16, "label_smoothing": 0.1}}, "label_smoothing smooths classes, and task odd has no"),
        (BOXES, {"data": {**BOXES["data"], "task": {"name": "my_tasks:Boxes", "most": 1}}}, "unknown key 'most'"),
        (BOXES, {"data": {**BOXES["data"], "task": "my_tasks:Finder"}}, "data.task 'my_tasks:Finder' is no Task"),
        (BOXES, {"data": {**BOXES["data"], "task": "classifcation"}}, "unknown task 'classifcation'; did you mean"),
        (BOXES, {"data": {**BOXES["data"], "task": "classification"}}, "labels must be class numbers or names"),
        (BOXES, {"data": {**BOXES["data"], "target": "x"}}, r"task boxes takes the data's labels, leave it out"),
        (BOXES, {"student": {"model": "my_tasks:Rebuilder", "epochs": 1}}, "This is in code of yours"),
    ],
)
def test_what_does_not_fit_a_task_is_refused(
    folder: Path, values: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump({**values, **change}))
    result = told("check", "mine.yaml")
    assert result.exit_code == 2, result.stdout
    assert re.search(message, " ".join(result.stderr.split())), result.stderr


def test_a_changed_task_makes_new_cells(folder: Path) -> None:
    def keys(values: dict[str, Any]) -> set[str]:
        study = recipe.validate(values)
        return set(make_plan(study, data.load(study.data)).cells)

    before = keys(BOXES)
    assert keys(BOXES) == before
    other = {**BOXES, "data": {**BOXES["data"], "task": {"name": "my_tasks:Boxes", "least": 0.5}}}
    assert not keys(other) & before


# --- the contract


def recordings(name: str) -> Recordings:
    """Somebody's windows, for the check."""
    with np.load(f"{name}.npz") as held:
        x, y, group = list(held["X"][:72]), list(held["y"][:72]), [f"p{n}" for n in held["group"][:72]]
    if name == "odd":  # whose labelled person is tested
        x, y, group = x[::-1], y[::-1], [f"p{2 - int(who[1:])}" for who in group[::-1]]
    return Recordings(x, y, group, (), ("x", "y"), 10.0, name)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(Classification, {}), (Regression, {}), (Regression, {"term": "mae"}), (Regression, {"targets": ["speed"]})],
)
def test_our_tasks_hold_the_contract(kind: type[Task], settings: dict[str, Any]) -> None:
    assert set(TASKS.values()) == {Classification, Regression, Detection}  # the last in test_detection.py
    check_task(kind, settings)


def test_somebodys_tasks_hold_the_contract(folder: Path) -> None:
    check_task(my_tasks.Boxes, {"least": 0.4}, recordings("boxes"), "my_tasks:Finder")
    check_task(my_tasks.Odd, {}, recordings("odd"), "my_tasks:Rebuilder")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Incomplete", "Incomplete lacks check, loss, losses, outputs, predict, scores, take"),
        ("Nameless", "needs a NAME for messages"),
        ("Metricless", "METRICS must be a tuple of Metric"),
        ("Blind", "watched must be one of its metrics"),
        ("Odd", r"DISTILLABLE holds \['thoughts'\]"),
        ("Forgetful", "take must return the windows with the task in them"),
        ("Shapeless", "after a student file's header"),
        ("Twice", "metrics must hold those of METRICS, each key once"),
        ("Peeking", "knows something of the validation or test side's targets"),
        ("Undeclared", "losses must return one value for each of its terms"),
        ("Vector", r"the term mse must be one number in float32, such as a mean; got \(8,\)"),
        ("Infinite", "the term mse is (inf|-inf) on the example"),
        ("Detached", "the term mse gives the model no gradient"),
        ("Counting", "training_scores gives samples, which is none of its metrics"),
        ("Short", r"for each of 12 samples; got {'values': 11}"),
        ("Coupled", "in evaluation samples must not interact"),
        ("Drawing", "predicts other things"),
        ("Fewer", "scores must give every one of its metrics, mae, rmse, r2, and no other; got mae"),
        ("Lost", "scores must give finite numbers of Python; r2 is nan"),
        ("Unwatched", "on_validation must give loss, which watched says chooses the epoch"),
        ("Lineless", "scores fails without context .*set CONTEXT = True"),
        ("Heavy", "details must give what JSON can hold"),
        ("Painted", "shown must give objects of overtone.shown by name, .*got "),
        ("Moody", "scores gives other numbers when it is asked again"),
        ("Loose", "predictions .*file of arrays"),
        ("Listed", "lists of unequal length have no mean"),
        ("Doubled", "ensemble of one model's predictions must score as that model does"),
        ("Wordless", "called must say a sample's truth in words"),
        ("Wide", r"lines must give a cell for each of its columns, target, more; got \[1\]"),
        ("Silent", "verdict must give a sentence and True, False or None; got True"),
        (
            "Untold",
            r"predicts values \(list\), which is no row of numbers .* give it answers, columns, lines and verdict",
        ),
        ("Weighty", "answers must give kinds that JSON has"),
        ("Asking", r"asked must give a scalar that depends on the output, .* got \(2,\) of float32"),
        ("Missing", "asked fails: task regression does not say what saliency looks for"),
    ],
)
def test_a_broken_task_is_told_what_to_do(kind: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_task(getattr(broken_tasks, kind))


def test_every_broken_task_is_tried() -> None:
    kinds = {n for n, own in vars(broken_tasks).items() if getattr(own, "__module__", "") == broken_tasks.__name__}
    (tried,) = (m.args[1] for m in test_a_broken_task_is_told_what_to_do.pytestmark)  # type: ignore[attr-defined]
    assert {kind for kind, _ in tried} == kinds


def test_own_loop_of_the_page() -> None:
    page = (HERE.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
    assert set(names["step"].terms) == {"mse", "mimic.output.teacher"}
    assert names["values"].shape == (32, 2)


def test_recipe_of_the_page() -> None:
    page = (HERE.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    shown = recipe.validate(yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[0]))
    shipped = recipe.load("sp_sw_har-rotation")
    for part in ("data", "split", "teachers", "student", "seeds"):
        assert getattr(shown, part) == getattr(shipped, part)


# --- nobody else knows a classifier


ALLOWED = (
    "tasks/classification.py",
    "methods/",
    "losses/",
    "look/writing.py",
)  # a classifier's losses as pure functions; a recipe that is written
NAMED = ("tasks/", "data/", "header.py", "study/plan.py")
"""Who names the task: those that make one from what is on disk or in a recipe, or hash it."""
FORMER = '    "accuracy": "value",\n'
"""The one word that stays: a key of recipes as it was called once, so that its new name can be told."""


def test_only_classification_and_methods_know_its_metrics_and_terms() -> None:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        if not name.startswith(ALLOWED):
            text = path.read_text(encoding="utf-8")
            text = text.replace(FORMER, "") if name == "recipe/messages.py" else text
            text = re.sub(r"val_?accuracy", "", text, flags=re.IGNORECASE)  # a recipe's word for a fusion
            for number, line in enumerate(text.splitlines(), start=1):
                if re.search(r"accuracy|macro.?f1|confusion|cross.?entropy|\bce\b", line, flags=re.IGNORECASE):
                    found.append(f"{name}:{number}: {line.strip()}")
            if not name.startswith(NAMED) and re.search(r"import.*\bClassification\b", text):
                found.append(f"{name} imports Classification")
    assert found == []
