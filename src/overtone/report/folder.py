"""What a study's folder holds, read once for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from overtone.data import Material
from overtone.epochs import EpochRow, read_epochs
from overtone.sealed import DamagedError, read_npz
from overtone.shown import Drawing
from overtone.study import (
    CellResult,
    RowKind,
    StudyDescription,
    TableRow,
    collect,
    damaged_cells,
    mixed_environments,
    read_study,
)
from overtone.study.collect import timing
from overtone.study.predictions import context_of, read_predictions
from overtone.study.records import (
    ERROR,
    Checkpoint,
    is_done,
    read_error,
    read_result,
    read_run,
)
from overtone.tasks import Metric, Task, from_arrays
from overtone.trust import Trust

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trouble:
    """A cell without a result: it failed, stopped half way, or was not run."""

    key: str
    title: str
    message: str
    failed: bool
    traceback: str
    epochs: int


@dataclass(frozen=True)
class Folder:
    """A study as it lies on disk, finished or not.

    Attributes:
        damaged: what is wrong of cells, which count as missing.
        task: what its models do; None of one that is not built in and not trusted, which draws nothing.
    """

    out: Path
    study: StudyDescription
    rows: list[TableRow]
    warnings: list[str]
    timing: dict[str, Any]
    damaged: Mapping[str, str] = field(default_factory=dict)
    task: Task | None = None
    _results: dict[str, CellResult | None] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path, damaged: Mapping[str, str] | None = None, trust: Trust = False) -> Folder:
        """Read a study's folder; every cell's files are looked at unless it is given what is damaged.

        Raises:
            InputError: if it holds no study, or its ``study.json`` is damaged.
        """
        study = read_study(out)
        if damaged is None:
            damaged = damaged_cells(out, study.cells)[0]
        rows, warnings = collect(out, damaged, trust), mixed_environments(out, damaged)
        return cls(out, study, rows, warnings, timing(out, damaged), damaged, study.task.task(trust))

    @property
    def metrics(self) -> list[Metric]:
        """The task's; the first heads the table."""
        return self.study.task.metrics

    @property
    def headline(self) -> Metric:
        """The metric that heads the table."""
        return self.metrics[0]

    @property
    def watched(self) -> Metric:
        """What chooses the best epoch."""
        return self.study.task.watched or self.headline

    def result(self, key: str) -> CellResult | None:
        """A cell's ``result.json``; None where it is not done."""
        if key not in self._results:
            folder = self.out / "cells" / key
            self._results[key] = read_result(folder) if is_done(folder) and key not in self.damaged else None
        return self._results[key]

    def given(self, key: str) -> str | None:
        """``given weights (FILE)``; None for a cell that is trained."""
        return self.study.cells[key].given

    def epochs(self, key: str) -> list[EpochRow]:
        """A cell's rows of ``metrics.jsonl``; none where the file is missing or damaged."""
        return read_epochs(self.out / "cells" / key)

    def seconds(self, row: TableRow) -> float | None:
        """Mean seconds of training a row's cells took, its teachers' not counted; None for an ensemble."""
        keys = [keys[0] for _, _, keys in self.cells_of(row) if len(keys) == 1 and self.result(keys[0]) is not None]
        seconds = [read_run(self.out / "cells" / key).seconds for key in keys]
        return sum(seconds) / len(seconds) if seconds else None

    def cells_of(self, row: TableRow) -> Iterator[tuple[int, int, list[str]]]:
        """Fold, seed and keys of a row's cells."""
        description = next(one for one in self.study.rows if one.id == row.id)
        for cell in description.cells:
            yield cell.fold, cell.seed, list(cell.keys)

    @property
    def material(self) -> Material:
        """What the data are made of."""
        return self.study.data.material

    @property
    def of_images(self) -> bool:
        """Whether the data are images, which have no time."""
        return self.material.of_images

    @property
    def size(self) -> tuple[int, ...]:
        """Of one window: samples, or height and width."""
        window = self.study.data.window
        return window if isinstance(window, tuple) else (window,)

    @property
    def length(self) -> int:
        """Samples of a window."""
        return self.size[0]

    @property
    def noun(self) -> str:
        """What one of the data is called."""
        return self.material.noun

    @property
    def validated(self) -> bool:
        """Whether a validation side chose epochs; without one only the last epoch is known."""
        return any(fold.val.windows for fold in self.study.folds)

    @property
    def shown(self) -> Checkpoint:
        """Which epoch stands for a model: ``best``, or ``last`` without a validation side."""
        return "best" if self.validated else "last"

    @property
    def at(self) -> str:
        """The same in words."""
        return "at best" if self.validated else "at the last epoch"

    def baseline(self) -> TableRow | None:
        """The row of the student alone: the first method ``none`` without anything added."""
        methods = [row for row in self.rows if row.kind == RowKind.METHOD]
        recipe = self.study.recipe.get("methods", [])
        for row, settings in zip(methods, recipe, strict=False):
            if isinstance(settings, dict) and settings.get("name") == "none" and not settings.get("extras"):
                return row
        return next((row for row in methods if row.method == "none"), None)

    def shown_of(self, row: TableRow) -> Mapping[str, Drawing]:
        """What the task draws of a row, from all its folds and seeds, at best or at the last epoch, by name."""
        if self.task is None:
            return {}
        details = []
        for _, _, keys in self.cells_of(row):
            results = [result for key in keys if (result := self.result(key)) is not None]
            if len(results) < len(keys):
                continue
            if len(results) == 1:
                details.append(results[0].part(row.part).details[self.shown])
                continue
            task = type(self.task).model_validate({**dict(self.task), **results[0].facts})
            predictions = [read_predictions(self.out / "cells" / key) for key in keys]
            together = task.ensemble([from_arrays(arrays, self.shown) for arrays in predictions])
            truth, context = torch.from_numpy(predictions[0]["target"]), context_of(predictions[0])
            details.append(task.details(together, truth, context))
        return self.task.shown(details)

    def troubles(self) -> list[Trouble]:
        """Every cell without a result, failed ones first."""
        troubles = [self._trouble(key) for key in self.study.cells if self.result(key) is None]
        return sorted(troubles, key=lambda trouble: not trouble.failed)

    def _trouble(self, key: str) -> Trouble:
        cell, folder = self.study.cells[key], self.out / "cells" / key
        epochs = len(self.epochs(key))
        if key in self.damaged:
            message = f"Damaged: {self.damaged[key]}. Run the study again, which runs this cell again."
            return Trouble(key, cell.title, message, False, "", epochs)
        error = read_error(folder)
        if error is not None:
            return Trouble(key, cell.title, error.message, True, error.traceback, epochs)
        blocking = self._failed_need(key)
        if blocking is not None:
            message = f"Not run: it needs {self.study.cells[blocking].title}, which failed."
        elif epochs or (folder / "progress.pt").exists():
            message = "Not finished: it was stopped, or is still running. Run the study again to go on from there."
        else:
            message = "Not run yet."
        return Trouble(key, cell.title, message, False, "", epochs)

    def _failed_need(self, key: str) -> str | None:
        """The first failed cell among those that a cell needs, directly or through others."""
        for need in self.study.cells[key].needs:
            if self.result(need) is not None:
                continue
            if (self.out / "cells" / need / ERROR).exists():
                return need
            deeper = self._failed_need(need)
            if deeper is not None:
                return deeper
        return None

    def example(self) -> dict[str, Array] | None:
        """The one window in all its views; None where it was not written."""
        try:
            return read_npz(self.out / "example.npz")
        except DamagedError:
            return None
