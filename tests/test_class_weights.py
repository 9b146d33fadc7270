"""Weights of classes in the cross-entropy: by hand, with shares of classes, in a study, and refused where unknown."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from rich.console import Console

from overtone import data, recipe
from overtone.engine import make_accelerator
from overtone.errors import InputError
from overtone.overview import show
from overtone.study import execute, make_plan
from overtone.study.build import StudyContext, build_cell
from overtone.tasks import Classification, Regression
from overtone.types import Batch, Output

CLASSES = ("fall", "run", "walk")
TARGET = torch.tensor([0] * 1 + [1] * 4 + [2] * 5)
LOGITS = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [0.0, math.log(6), 0.0]])
"""Probabilities 1/3 each; 1/2, 1/4, 1/4; 1/8, 3/4, 1/8."""


def loss(task: Classification, target: torch.Tensor) -> float:
    batch = Batch({}, target, torch.arange(len(target)))
    return float(task.losses(Output.of(LOGITS), batch)["ce"])


def test_balanced_by_hand() -> None:
    """Ten samples of three classes: 10 / (3 x 1), 10 / (3 x 4) and 10 / (3 x 5)."""
    task = Classification(classes=CLASSES).weighted("balanced", TARGET)
    assert task.class_weights == pytest.approx({"fall": 10 / 3, "run": 10 / 12, "walk": 10 / 15})
    expected = (10 / 3 * math.log(3) + 10 / 12 * math.log(4) + 10 / 15 * math.log(8)) / 3
    assert loss(task, torch.tensor([0, 1, 2])) == pytest.approx(expected, rel=1e-6)
    assert loss(Classification(classes=CLASSES), torch.tensor([0, 1, 2])) == pytest.approx(math.log(3 * 4 * 8) / 3)


def test_a_mapping_keeps_the_mean_over_the_training_side_at_one() -> None:
    """Weights 10, 1, 1 of 1, 4 and 5 samples have the mean 1.9."""
    task = Classification(classes=CLASSES).weighted({"fall": 10}, TARGET)
    assert task.class_weights == pytest.approx({"fall": 10 / 1.9, "run": 1 / 1.9, "walk": 1 / 1.9})
    expected = (10 * math.log(3) + math.log(4) + math.log(8)) / 1.9 / 3
    assert loss(task, torch.tensor([0, 1, 2])) == pytest.approx(expected, rel=1e-6)


def test_shares_of_mixup_and_smoothing() -> None:
    """Half of two classes, then a tenth of it spread over all three: each share has the weight of its class."""
    task = Classification(classes=CLASSES).weighted("balanced", TARGET)
    w = np.asarray([10 / 3, 10 / 12, 10 / 15])
    shares = torch.tensor([[0.5, 0.5, 0.0]] * 3)
    minus_log_p = np.log([[3, 3, 3], [2, 4, 4], [8, 4 / 3, 8]])
    assert loss(task, shares) == pytest.approx((0.5 * w[:2] * minus_log_p[:, :2]).sum(1).mean(), rel=1e-6)
    batch = Batch({}, shares, torch.arange(3))
    smoothed = task.smoothed(batch, Output.of(LOGITS), 0.1)
    spread = 0.9 * np.asarray([0.5, 0.5, 0]) + 0.1 / 3
    expected = (spread * w * minus_log_p).sum(1).mean()
    assert float(task.losses(Output.of(LOGITS), smoothed)["ce"]) == pytest.approx(expected, rel=1e-6)


def test_a_class_without_training_samples() -> None:
    task = Classification(classes=CLASSES).weighted("balanced", torch.tensor([1, 1, 1, 2]))
    assert task.class_weights == pytest.approx({"fall": 1, "run": 4 / 6, "walk": 2})


def test_other_tasks_and_losses_refuse() -> None:
    with pytest.raises(InputError, match="task regression has no classes"):
        Regression(targets=("x",)).weighted("balanced", torch.zeros(3, 1))

    class Own(Classification):
        def losses(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
            return {"ce": output.logits.sum()}

    with pytest.raises(InputError, match="losses of its own"):
        Own(classes=CLASSES).weighted("balanced", TARGET)


def unbalanced(tmp_path: Path, **train: Any) -> dict[str, Any]:
    """Three people with 4 windows of falls and 16 of walking each."""
    rng = np.random.default_rng(0)
    y = np.asarray((["fall"] * 4 + ["walk"] * 16) * 3)
    np.savez(tmp_path / "u.npz", X=rng.normal(size=(60, 2, 32)), y=y, group=np.repeat(["a", "b", "c"], 20))
    return {
        **TINY,
        "data": {"name": "npz", "path": str(tmp_path / "u.npz"), "rate": 20},
        "split": {"test": 1, "val": 1, "folds": [0]},
        "train": {**TINY["train"], "batch": 10, **train},
        "methods": ["none", {"name": "kd", "teachers": ["signal"]}],
    }


def planned(values: dict[str, Any]) -> Any:
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


def test_in_a_study(tmp_path: Path) -> None:
    """The first batch's term is the weighted one; keys change with it alone; it trains and is shown."""
    plain = planned(unbalanced(tmp_path))
    assert planned(unbalanced(tmp_path, class_weights=None)).cells.keys() == plain.cells.keys()
    plan = planned(unbalanced(tmp_path, class_weights="balanced", label_smoothing=0.1))
    assert not plan.cells.keys() & plain.cells.keys()
    context = StudyContext(plan, tmp_path / "out", make_accelerator())
    cell = next(iter(plan.cells.values()))
    built = build_cell(context.inputs(cell), cell, fresh_teachers=True)
    assert built.distillation.task.class_weights == pytest.approx({"fall": 2.5, "walk": 0.625})
    assert not context.samples(0).task.class_weights  # nothing else is weighted, and nothing of it is written
    assert execute(plan, tmp_path / "out") == {}
    console = Console(file=io.StringIO(), width=200)
    show(console, plan)
    assert "class weights in the first fold: fall: 2.5, walk: 0.625" in console.file.getvalue()


def test_shown_and_refused(tmp_path: Path) -> None:
    values = unbalanced(tmp_path, class_weights={"fell": 2})
    wrong = r"^method 'none': train.class_weights: unknown class 'fell'; did you mean 'fall'\?"
    with pytest.raises(InputError, match=wrong):
        planned(values)
    with pytest.raises(InputError, match=r"train.class_weights"):
        recipe.validate({**TINY, "train": {"class_weights": {"fall": 0}}})
    with pytest.raises(InputError, match="balanced, or a mapping from classes to weights"):
        recipe.validate({**TINY, "train": {"class_weights": "even"}})
