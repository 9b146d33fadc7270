"""What a study's folder holds, read once for the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from overtone.data import Material
from overtone.files import read_json
from overtone.sealed import DamagedError, read_npz, read_sealed
from overtone.study import TableRow, collect, damaged_cells, mixed_environments, read_study
from overtone.study.collect import timing
from overtone.study.write import read_predictions

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
    """A study as it lies on disk, finished or not; ``damaged`` cells count as missing, and it says why."""

    out: Path
    study: dict[str, Any]
    rows: list[TableRow]
    warnings: list[str]
    timing: dict[str, Any]
    damaged: Mapping[str, str] = field(default_factory=dict)
    _results: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path, damaged: Mapping[str, str] | None = None) -> Folder:
        """Read a study's folder; every cell's files are looked at unless it is given what is damaged.

        Raises:
            InputError: if it holds no study, or its ``study.json`` is damaged.
        """
        study = read_study(out)
        if damaged is None:
            damaged = damaged_cells(out, study["cells"])[0]
        rows, warnings = collect(out, damaged), mixed_environments(out, damaged)
        return cls(out, study, rows, warnings, timing(out, damaged), damaged)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in label order."""
        return [str(name) for name in self.study["data"]["classes"]]

    def result(self, key: str) -> dict[str, Any] | None:
        """A cell's ``result.json``; None where it is not done."""
        if key not in self._results:
            path = self.out / "cells" / key / "result.json"
            self._results[key] = read_json(path) if path.exists() and key not in self.damaged else None
        return self._results[key]

    def given(self, key: str) -> str | None:
        """``given weights (FILE)``; None for a cell that is trained."""
        found: str | None = self.study["cells"][key].get("given")
        return found

    def epochs(self, key: str) -> list[dict[str, Any]]:
        """A cell's rows of ``metrics.jsonl``; none where the file is missing or damaged."""
        try:
            lines = (self.out / "cells" / key / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []

    def seconds(self, row: TableRow) -> float | None:
        """Mean seconds of training a row's cells took, its teachers' not counted; None for an ensemble."""
        keys = [keys[0] for _, _, keys in self.cells_of(row) if len(keys) == 1 and self.result(keys[0]) is not None]
        found = [read_json(self.out / "cells" / key / "run.json")["seconds"] for key in keys]
        return sum(found) / len(found) if found else None

    def cells_of(self, row: TableRow) -> Iterator[tuple[int, int, list[str]]]:
        """Fold, seed and keys of a row's cells."""
        held = next(r for r in self.study["rows"] if r["id"] == row.id)
        for cell in held["cells"]:
            yield cell["fold"], cell["seed"], list(cell["keys"])

    @property
    def material(self) -> Material:
        """What the data are made of."""
        return Material.read(self.study["data"])

    @property
    def of_images(self) -> bool:
        """Whether the data are images, which have no time."""
        return self.material.of_images

    @property
    def noun(self) -> str:
        """What one of the data is called."""
        return self.material.noun

    @property
    def validated(self) -> bool:
        """Whether a validation side chose epochs; without one only the last epoch is known."""
        return any(fold["val"]["windows"] for fold in self.study["folds"])

    @property
    def shown(self) -> str:
        """Which epoch stands for a model: ``best``, or ``last`` without a validation side."""
        return "best" if self.validated else "last"

    @property
    def at(self) -> str:
        """The same in words."""
        return "at best" if self.validated else "at the last epoch"

    def baseline(self) -> TableRow | None:
        """The row of the student alone: the first method ``none`` without anything added."""
        methods = [row for row in self.rows if row.kind == "method"]
        recipe = self.study["recipe"].get("methods", [])
        for row, settings in zip(methods, recipe, strict=False):
            if isinstance(settings, dict) and settings.get("name") == "none" and not settings.get("extras"):
                return row
        return next((row for row in methods if row.method == "none"), None)

    def confusion(self, row: TableRow) -> Array | None:
        """A row's confusion matrix (true class x predicted class), summed over its folds and seeds.

        At best, or at the last epoch without a validation side.
        """
        total, found = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64), False
        for _, _, keys in self.cells_of(row):
            results = [self.result(key) for key in keys]
            if any(result is None for result in results):
                continue
            found = True
            if len(results) == 1 and results[0] is not None:
                own = results[0]["parts"][row.part] if row.part else results[0]
                total += np.asarray(own["confusion"][self.shown])
                continue
            held = [read_predictions(self.out / "cells" / key) for key in keys]
            mean = torch.stack([torch.from_numpy(h[self.shown]).softmax(1) for h in held]).mean(0)
            np.add.at(total, (held[0]["target"], mean.argmax(1).numpy()), 1)
        return total if found else None

    def troubles(self) -> list[Trouble]:
        """Every cell without a result, failed ones first."""
        found = [self._trouble(key) for key in self.study["cells"] if self.result(key) is None]
        return sorted(found, key=lambda trouble: not trouble.failed)

    def _trouble(self, key: str) -> Trouble:
        cell, folder = self.study["cells"][key], self.out / "cells" / key
        epochs = len(self.epochs(key))
        if key in self.damaged:
            message = f"Damaged: {self.damaged[key]}. Run the study again, which runs this cell again."
            return Trouble(key, cell["title"], message, False, "", epochs)
        if (folder / "error.json").exists():
            try:
                error = {"message": "", "traceback": "", **read_sealed(folder / "error.json")[0]}
            except DamagedError as damage:
                error = {"message": f"What went wrong is not known: {damage}.", "traceback": ""}
            return Trouble(key, cell["title"], str(error["message"]), True, str(error["traceback"]), epochs)
        blocking = self._failed_need(key)
        if blocking is not None:
            message = f"Not run: it needs {self.study['cells'][blocking]['title']}, which failed."
        elif epochs or (folder / "progress.pt").exists():
            message = "Not finished: it was stopped, or is still running. Run the study again to go on from there."
        else:
            message = "Not run yet."
        return Trouble(key, cell["title"], message, False, "", epochs)

    def _failed_need(self, key: str) -> str | None:
        """The first failed cell among those that a cell needs, directly or through others."""
        for need in self.study["cells"][key]["needs"]:
            if self.result(need) is not None:
                continue
            if (self.out / "cells" / need / "error.json").exists():
                return str(need)
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
