"""What a terminal shows of data, of scores, and of a study without a result."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import TINY
from rich.console import Console

from overtone import data, recipe
from overtone.display import table
from overtone.overview import show, show_evaluation
from overtone.predict import Evaluation
from overtone.study import make_plan
from overtone.study.collect import TableRow
from overtone.study.records import RowKind
from overtone.tasks import Classification


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=200), text


def test_channels_beyond_the_first_are_counted(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 14, 16))
    np.savez(tmp_path / "m.npz", X=x, y=np.arange(60) % 2, group=np.repeat(["a", "b", "c"], 20))
    values = {
        "name": "many",
        "data": {"name": "npz", "path": str(tmp_path / "m.npz"), "rate": 20},
        "split": {"test": 1, "val": 1, "folds": [0]},
        "student": TINY["student"],
        "train": {**TINY["train"], "batch": 10},
        "methods": ["none"],
    }
    study = recipe.validate(values)
    on, text = console()
    show(on, make_plan(study, data.load(study.data)))
    assert "14 channels (channel 0, " in text.getvalue()
    assert "channel 11 and 2 more)" in text.getvalue()


def test_the_head_of_short_classes_stays_on_a_line() -> None:
    task = Classification(classes=("a", "b"))
    details = {"confusion": [[3, 1], [0, 4]]}
    scores = {metric.key: 0.5 for metric in task.metrics}
    on, text = console()
    show_evaluation(on, task, Evaluation(8, "window", scores, details), ())
    assert "confusion (rows: truth)" in text.getvalue()


def test_a_row_without_a_result_has_no_folds() -> None:
    metric = Classification.METRICS[0]
    row = TableRow("none", RowKind.METHOD, "none", (), "dscnn-4", {}, metric, None, None, None, None, 1, [])
    on, text = console()
    on.print(table([row, replace(row, id="b")], 140, Classification.METRICS, "people"))
    assert "none -1" in text.getvalue()
    assert "0 × 0" not in text.getvalue()
