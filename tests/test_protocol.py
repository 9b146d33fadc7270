"""The protocol of published tables: no validation side, one teacher for all seeds, every training sample used."""

from __future__ import annotations

import copy
import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from safetensors.torch import load_file
from test_engine_pieces import job_of
from test_images import study, write_archive
from test_study import plan_of, run

from overtone import data, recipe
from overtone.data import split
from overtone.display import Display, table
from overtone.engine import Callback, fit
from overtone.errors import InputError
from overtone.explain import collect_study
from overtone.recipe import SplitSettings
from overtone.report import write_page
from overtone.study import Plan, collect, execute
from overtone.study.check import check
from overtone.tasks import Classification

PUBLISHED: dict[str, Any] = {"split": {"test": 3, "val": 0, "folds": [0]}, "seeds": [0, 1]}


def published(values: dict[str, Any]) -> dict[str, Any]:
    """The tiny study without validation, with teachers of seed 7, and with the last batch kept."""
    values = {**copy.deepcopy(values), **copy.deepcopy(PUBLISHED)}
    values["data"]["stride"] = 900
    values["train"]["last_batch"] = "keep"
    for teacher in values["teachers"].values():
        teacher |= {"seed": 7, "epochs": 1}
    values["student"]["epochs"] = 2
    values["methods"] = ["none", {"name": "kd", "teachers": ["signal"]}, "annsp"]
    return values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    from conftest import TINY

    out = tmp_path_factory.mktemp("published") / "out"
    return run(published(TINY), out), out


def test_nothing_is_said_at_best(finished: tuple[Plan, Path]) -> None:
    """Only the last epoch has scores, in the cells, the tables and the predictions."""
    plan, out = finished
    for key, cell in plan.cells.items():
        folder = out / "cells" / key
        result = json.loads((folder / "result.json").read_text())
        assert (result["best_epoch"], result["val"]) == (None, None)
        assert set(result["test"]) == set(result["details"]) == {"last"}
        assert not any("val" in json.loads(line) for line in (folder / "metrics.jsonl").open())
        assert set(np.load(folder / "predictions.npz").files) == {"index", "target", "last.logits"}
        student, last = (load_file(folder / f"{name}.safetensors") for name in ("student", "last"))
        assert all(torch.equal(student[name], last[name]) for name in last), cell.title
    for row in csv.DictReader((out / "table.csv").open()):
        assert {row[key] for key in row if "_best_" in key} == {""}
        assert float(row["accuracy_last_mean"]) > 0


def test_one_teacher_serves_all_seeds_and_counts_once(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    rows = {row.id: row for row in collect(out)}
    assert {name: row.n for name, row in rows.items()} == {
        "none": 2,
        "kd-signal": 2,
        "annsp-signal-gaf": 2,
        "teacher-signal": 1,
        "teacher-gaf": 1,
        "ensemble": 1,
    }
    teachers = {cell.key: cell.seed for cell in plan.cells.values() if cell.title.startswith("teacher")}
    assert list(teachers.values()) == [7, 7]
    taught = [cell for cell in plan.cells.values() if cell.title.startswith("kd")]
    assert {link.key for cell in taught for link in cell.teachers.values()} < set(teachers)
    assert {link.checkpoint for cell in taught for link in cell.teachers.values()} == {"last"}
    warm = [cell for cell in plan.cells.values() if cell.title.startswith("annsp")]
    assert len({cell.start for cell in warm}) == 2  # the student's twin is of the student's seed


def test_terminal_and_page_say_so(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    for width in (100, 160):
        console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
        console.print(table(collect(out), width, Classification.METRICS, "people"))
        said = " ".join(console.export_text().split())
        assert "last epoch (no validation side)" in said
        assert "best" not in said
    collect_study(plan, out)
    page = write_page(out).read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "There is no validation side, so no epoch was chosen." in text
    assert "There is no validation side: nothing chooses an epoch, the last is taken" in text
    assert "at best" not in text
    assert "best epoch" not in text
    assert "at the last epoch" in text
    head = page[page.index('class="results') :]
    assert "best</th>" not in head[: head.index("</thead>")]


def test_progress_and_check_say_so(tiny: dict[str, Any], tmp_path: Path) -> None:
    values = published(tiny)
    values["methods"], values["teachers"], values["seeds"] = ["none"], {}, [0]
    plan = plan_of(values)
    assert any("there is no validation side" in warning for warning in check(plan).warnings)
    with (
        (tmp_path / "said").open("w") as file,
        Display(Console(file=file, width=140), "study", plan.windows.task) as display,
    ):
        assert execute(plan, tmp_path / "out", display) == {}
    assert "last epoch, 2" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"teachers.gaf.checkpoint": "best"},
            "teacher 'gaf': checkpoint best is .*split.val is 0; use checkpoint: last",
        ),
        (
            {"methods": [{"name": "kd", "teachers": ["signal"], "checkpoint": "best"}]},
            "kd: teacher 'signal': checkpoint",
        ),
        ({"methods": [{"name": "eskd", "teachers": ["signal"]}]}, "eskd: teacher 'signal': checkpoint best"),
        (
            {"train.batch": 233},
            r"keep leaves 1 of fold 0's 234 training samples .*needs 2 or more; use last_batch: drop",
        ),
    ],
)
def test_what_the_protocol_does_not_allow(tiny: dict[str, Any], change: dict[str, Any], message: str) -> None:
    values = published(tiny)
    for path, value in change.items():
        *parents, last = path.split(".")
        at = values
        for part in parents:
            at = at[part]
        at[last] = value
    with pytest.raises(InputError, match=message):
        plan_of(values)


def test_an_epoch_of_a_teacher_and_the_last_can_be_used(tiny: dict[str, Any]) -> None:
    values = published(tiny)
    values["teachers"]["signal"]["checkpoint"] = "epoch:1"
    values["methods"] = ["none", {"name": "full_kd", "teachers": ["gaf"]}]
    plan = plan_of(values)
    assert {row.id: row.checkpoints for row in plan.rows if row.kind == "teacher"} == {
        "teacher-signal": ("epoch:1",),
        "teacher-gaf": ("last",),
    }


@pytest.mark.parametrize(
    "settings", [{"test": 3}, {"scheme": "kfold", "test": 2}, {"scheme": "holdout", "test": ["01"]}], ids=str
)
def test_no_validation_side_trains_on_all_the_others(settings: dict[str, Any]) -> None:
    windows = data.load(recipe.validate({"data": {"name": "watch"}, "student": {"model": "dscnn-4"},
                                         "methods": ["none"]}).data)  # fmt: skip
    for fold in split(windows, SplitSettings.model_validate({**settings, "val": 0})):
        assert len(fold.val) == 0 == len(fold.val_groups)
        assert sorted([*fold.train, *fold.test]) == list(range(len(windows)))


def test_another_number_of_validation_windows_is_another_cell(tmp_path: Path) -> None:
    """Where no group tells who is on which side, the number does."""
    images = write_archive(tmp_path)

    def keys(val: Any) -> set[str]:
        values = study(images)
        values["split"]["val"] = val
        return set(plan_of(values).cells)

    found = [keys(val) for val in (0, 8, 16, 0.2)]
    assert not found[0] & found[1] | found[1] & found[2] | found[0] & found[2]
    assert found[2] == found[3]  # a fifth of 80


def test_a_last_batch_of_unequal_shares_is_refused(tmp_path: Path) -> None:
    """Several processes take equal shares; a cell's own check comes before anything of it runs."""
    job = job_of(tmp_path, torch.nn.Linear(4, 3))
    kept = replace(job, train=job.train.model_copy(update={"batch": 6, "last_batch": "keep"}))  # 8 samples
    with pytest.raises(InputError, match=r"keep leaves 2 samples for the last batch of 2 processes.*2 or more"):
        fit(kept, SimpleNamespace(num_processes=2), Callback())  # type: ignore[arg-type]
    rows = fit(replace(kept, epochs=1), Accelerator(cpu=True), Callback()).rows
    assert [round(8 * row.train["accuracy"], 9) % 1 for row in rows] == [0]  # of all 8
