"""Fusions that know more than logits, students that keep parts of a method, adapters with a phase, soft targets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from fusions import fused
from torch import Tensor, nn

import overtone
from overtone import data, fusion, recipe
from overtone.errors import InputError
from overtone.methods import configure
from overtone.study import Plan, execute, make_plan
from overtone.study.build import StudyContext, score
from overtone.study.plan import Link
from overtone.types import Batch, DataInfo, Output


def plan_of(methods: list[Any], **changes: Any) -> Plan:
    """A study of a few seconds with these rows."""
    values = {**copy.deepcopy(TINY), "methods": methods, **changes}
    values["data"]["stride"] = 600
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


# --- fusions

SCORES = DataInfo(teacher_scores={"0": 0.9, "1": 0.3, "2": 0.6})
HERE = Path(__file__).parent


class Surest:
    """Weights by a teacher's highest probability; a fusion of one's own."""

    def __call__(self, student: Output, teachers: dict[str, Output], batch: Batch, info: DataInfo) -> Tensor:
        sure = torch.stack([teacher.logits.softmax(1).amax(1) for teacher in teachers.values()])  # (K, B)
        return sure / sure.sum(0)


class Scored(Surest):
    """Says that it reads scores."""

    needs_scores = True


def test_teachers_are_weighed_by_their_scores() -> None:
    teachers, target = torch.randn(3, 4, 5), torch.arange(4)
    weights = fused(fusion.val_accuracy, teachers[0], teachers, target, SCORES)
    torch.testing.assert_close(weights, torch.tensor([[0.5], [1 / 6], [1 / 3]]).expand(-1, 4))
    none = DataInfo(teacher_scores=dict.fromkeys("012", 0.0))
    torch.testing.assert_close(
        fused(fusion.val_accuracy, teachers[0], teachers, target, none), torch.full((3, 4), 1 / 3)
    )
    below = DataInfo(teacher_scores={"0": 0.9, "1": -0.1, "2": 0.1})
    with pytest.raises(InputError, match=r"scores are 0 or more, teacher '1' has -0\.1"):
        fused(fusion.val_accuracy, teachers[0], teachers, target, below)
    with pytest.raises(InputError, match="the score of teacher 'a' must be finite"):
        DataInfo(teacher_scores={"a": float("nan")})


def own(method: Any, info: DataInfo | None = None, **settings: Any) -> Any:
    """A loop of one's own with two teachers of three classes."""
    student, *teachers = (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)) for _ in range(3))
    example = torch.randn(4, 2, 6)
    named = dict(zip("ab", teachers, strict=True))
    return overtone.Distillation.between(student, named, method, example=example, data=info, **settings), example


def test_fused_is_the_weighted_sum_of_losses() -> None:
    loop, x = own("fused", DataInfo(teacher_scores={"a": 0.8, "b": 0.2}))
    weighted, _ = own("weighted", teacher_weights={"a": 4, "b": 1}, reduction="batchmean")
    weighted.distillation.student, weighted._teachers = loop.distillation.student, loop._teachers
    y = torch.arange(4) % 3
    assert torch.equal(loop(x, y).terms["fused.kl"], weighted(x, y).terms["weighted.kl"])


def test_a_fusion_of_ones_own_sees_outputs() -> None:
    loop, x = own("fused", fusion="test_new_methods:Surest")
    step = loop(x, torch.arange(4) % 3)
    assert bool(step.total.isfinite())
    changed = configure("fused", {"fusion": "test_new_methods:Surest"})
    assert len(changed.fingerprint) == 16
    assert configure("fused", {}).fingerprint == ""


@pytest.mark.parametrize("name", ["val_accuracy", "test_new_methods:Scored"])
def test_scores_must_be_there(name: str) -> None:
    with pytest.raises(InputError, match=r"scores on the validation side, and there is none; give split\.val above 0"):
        own("fused", fusion=name)
    with pytest.raises(InputError, match="needs a score of teacher 'b', teacher_scores lacks it"):
        own("fused", DataInfo(teacher_scores={"a": 0.8}), fusion=name)
    with pytest.raises(InputError, match="unknown fusion 'val_acuracy'; did you mean 'val_accuracy'"):
        own("fused", fusion="val_acuracy")


def test_without_a_validation_side_scores_are_refused_while_planning() -> None:
    with pytest.raises(InputError, match=r"gaf: fold 0: fused: fusion val_accuracy weighs teachers by their scores"):
        plan_of(["fused"], split={"test": 3, "val": 0, "folds": [0]})
    plan_of([{"name": "fused", "fusion": "mean"}], split={"test": 3, "val": 0, "folds": [0]})


def test_scores_are_those_of_the_checkpoint_that_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of([{"name": "fused", "checkpoint": "epoch:1"}, "fused"])
    seen = []
    weigh = fusion.ValAccuracy.__call__
    monkeypatch.setattr(
        fusion.ValAccuracy, "__call__", lambda self, *given: seen.append(given[3].teacher_scores) or weigh(self, *given)
    )
    assert execute(plan, tmp_path) == {}
    context = StudyContext(plan, tmp_path, None)
    links = next(cell for cell in plan.cells.values() if cell.title.startswith("fused")).teachers
    expected = []
    for which in ("epoch:1", "best"):
        scores = {}
        for name, link in links.items():
            folder = context.cell_folder(link.key)
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            accuracy = [row["val"]["accuracy"] for row in rows]
            scores[name] = accuracy[0] if which == "epoch:1" else max(accuracy)
            assert score(context, Link(link.key, which)) == scores[name]
            assert score(context, Link(link.key, "last")) == accuracy[-1]
        expected.append(scores)
    checked = dict.fromkeys(TINY["teachers"], 1.0)  # untrained ones, before training
    assert [s for s in seen if s != checked]
    assert all(s in (checked, *expected) for s in seen)
    assert all(s in seen for s in expected)
