"""From cells to the table: mean over folds and seeds at best and at last epoch, and how far folds lie apart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from overtone.files import write_atomic, write_json
from overtone.sheets import csv_line
from overtone.study.inspect import damaged_cells
from overtone.study.predictions import context_of, read_predictions
from overtone.study.records import (
    CHECKPOINTS,
    CellResult,
    Checkpoint,
    Reference,
    RowCells,
    RowDescription,
    RowKind,
    is_done,
    read_result,
    read_run,
    read_study,
)
from overtone.tasks import Metric, Task, from_arrays
from overtone.trust import Trust

V = TypeVar("V", bound="Counted")
Scores = dict[Checkpoint, dict[str, float]]


@dataclass(frozen=True)
class Estimate:
    """Mean and sample standard deviation of values.

    Seeds are averaged inside a fold, and the deviation is that of the folds' means: seeds of one fold share its test
    people and are no further samples of people. With a single fold the deviation is that of its seeds, which says how
    much training varies on this one split and nothing of other people.

    Attributes:
        mean, std: the deviation is None for a single value.
        folds, seeds: how many there are; a model that no seed decides (given weights) counts as one seed.
    """

    mean: float
    std: float | None
    folds: int
    seeds: int

    @classmethod
    def of(cls, values: Mapping[int, list[float]]) -> Estimate | None:
        """From values by fold, one per seed; None without values."""
        if not values:
            return None
        numbers = apart(values)
        std = statistics.stdev(numbers) if len(numbers) > 1 else None
        return cls(statistics.fmean(numbers), std, len(values), max(map(len, values.values())))

    def text(self, metric: Metric) -> str:
        """As the metric is shown: ``81.2 ± 3.4``."""
        return metric.text(self.mean) + (f" ± {metric.text(self.std)}" if self.std is not None else "")

    @property
    def n(self) -> int:
        """How many values the deviation is of: folds, or the seeds of a single one."""
        return self.folds if self.folds > 1 else self.seeds

    @property
    def counted(self) -> str:
        """What those are: ``n = 5 folds of 3 seeds``, ``n = 3 seeds of one split``."""
        if self.folds > 1:
            return f"n = {self.folds} folds" + (f" of {self.seeds} seeds" if self.seeds > 1 else "")
        return f"n = {self.seeds} seeds of one split" if self.seeds > 1 else "n = 1"


def apart(values: Mapping[int, list[float]]) -> list[float]:
    """Of values by fold those that a deviation is of: each fold's mean, or each of a single fold's values."""
    return (
        next(iter(values.values())) if len(values) == 1 else [statistics.fmean(in_fold) for in_fold in values.values()]
    )


@dataclass(frozen=True)
class Counted:
    """Something that a row has for a fold and seed; ``cells`` made it."""

    fold: int
    seed: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class RowValue(Counted):
    """A row's scores for a fold and seed, by checkpoint and metric."""

    scores: Scores = field(default_factory=dict)


def by_fold(values: Iterable[V], number: Callable[[V], float]) -> dict[int, list[float]]:
    """A number of each of a row's values, by fold; seeds that share their cells (given weights) are one value."""
    numbers: dict[int, dict[str, float]] = {}
    for value in values:
        numbers.setdefault(value.fold, {})["+".join(value.cells)] = number(value)
    return {fold: list(by_cells.values()) for fold, by_cells in numbers.items()}


@dataclass(frozen=True)
class TableRow:
    """One line of the table; ``missing`` cells have no result (failed, or not run yet).

    ``estimates``: by metric and checkpoint. ``size_ratio``: parameters of the biggest teacher over this row's.
    ``adapters``: parameters that the methods train besides the student, and that no student file holds. ``part``: of a
    two-branch student, what the row is about. A cell that serves several seeds (a teacher of a fixed seed, or with
    given weights) counts once. Without a validation side nothing is known at best.
    ``reference``: what others published. ``values`` holds every fold and seed. ``metric`` heads the table.
    """

    id: str
    kind: RowKind
    method: str
    teachers: tuple[str, ...]
    student: str
    estimates: Mapping[tuple[str, Checkpoint], Estimate]
    metric: Metric
    parameters: int | None
    macs: int | None
    adapters: int | None
    size_ratio: float | None
    missing: int
    values: list[RowValue]
    part: str = ""
    reference: Reference | None = None

    @property
    def n(self) -> int:
        """How many values its deviation is of."""
        return self._last.n if self._last else 0

    @property
    def folds(self) -> int:
        """How many folds have a result."""
        return self._last.folds if self._last else 0

    @property
    def seeds(self) -> int:
        """How many seeds were averaged in a fold; where some are missing, in the fold that has most."""
        return self._last.seeds if self._last else 0

    @property
    def _last(self) -> Estimate | None:
        return self.estimates.get((self.metric.key, "last"))

    @property
    def shown(self) -> Checkpoint:
        """Which epoch stands for the row: ``best``, or ``last`` where no validation side chose one."""
        return "best" if all("best" in value.scores for value in self.values) else "last"

    @property
    def estimate(self) -> Estimate | None:
        """The headline metric, at that epoch."""
        return self.estimates.get((self.metric.key, self.shown))

    @property
    def merit(self) -> float:
        """The larger, the better the row; of a row without a result less than of any other."""
        return self.metric.gain(self.estimate.mean) if self.estimate else float("-inf")

    def score(self, value: RowValue) -> float:
        """The headline metric of one fold and seed, at that epoch."""
        return value.scores[self.shown][self.metric.key]


def collect(out: Path, damaged: Container[str] | None = None, trust: Trust = False) -> list[TableRow]:
    """The table of a study's folder, from ``study.json`` and the cells alone.

    Args:
        out: the folder.
        damaged: keys of cells that count as missing; every cell's files are looked at unless given.
        trust: whether a task that is not built in may be imported; without it ensembles of one are missing.

    Raises:
        InputError: if the folder holds no study.
    """
    study = read_study(out)
    if damaged is None:
        damaged = damaged_cells(out, study.cells)[0]
    table = _Table(out, damaged, study.task.metrics, study.task.task(trust))
    rows = [table.row(row) for row in study.rows]
    biggest = max((r.parameters for r in rows if r.kind == RowKind.TEACHER and r.parameters), default=None)
    if biggest is None:
        return rows
    return [replace(row, size_ratio=biggest / row.parameters if row.parameters else None) for row in rows]


@dataclass(frozen=True)
class _Table:
    """What making rows needs to know."""

    out: Path
    damaged: Container[str]
    metrics: Sequence[Metric]
    task: Task | None

    def row(self, row: RowDescription) -> TableRow:
        """A line, from the cells that are there."""
        values: list[RowValue] = []
        sizes: tuple[int | None, int | None, int | None] = (None, None, None)
        missing = 0
        for entry in _once(row.cells):
            folders = [self.out / "cells" / key for key in entry.keys]
            if any(folder.name in self.damaged or not is_done(folder) for folder in folders):
                missing += 1
                continue
            results = [read_result(folder) for folder in folders]
            parts = [result.part(row.part) for result in results]
            test = dict(parts[0].test) if len(parts) == 1 else self._ensemble(folders, results)
            if not test:
                missing += 1
                continue
            sizes = (
                _sum(part.parameters for part in parts),
                _sum(part.macs for part in parts),
                sum(result.adapters for result in results),
            )
            values.append(RowValue(entry.fold, entry.seed, tuple(entry.keys), test))
        estimates: dict[tuple[str, Checkpoint], Estimate] = {
            (metric.key, which): estimate
            for which in CHECKPOINTS
            for metric in self.metrics
            if (estimate := _estimate(values, which, metric.key)) is not None
        }
        return TableRow(
            row.id, row.kind, row.label, tuple(row.teachers), row.student, estimates, self.metrics[0], *sizes,
            size_ratio=None, missing=missing, values=values, part=row.part, reference=row.reference,
        )  # fmt: skip

    def _ensemble(self, folders: list[Path], results: list[CellResult]) -> Scores:
        """Scores of the models together, each at its best epoch, if it has one, and each at its last."""
        if self.task is None:
            return {}
        task = type(self.task).model_validate({**dict(self.task), **results[0].facts})
        files = [read_predictions(folder) for folder in folders]
        truth, context = torch.from_numpy(files[0]["target"]), context_of(files[0])
        scores: Scores = {}
        for which in CHECKPOINTS:
            several = [predictions for arrays in files if (predictions := from_arrays(arrays, which))]
            if len(several) == len(files):
                scores[which] = task.scores(task.ensemble(several), truth, context)
        return scores


def _estimate(values: Sequence[RowValue], which: Checkpoint, metric: str) -> Estimate | None:
    """Over the folds and seeds that have the checkpoint."""
    scored = [value for value in values if which in value.scores]
    return Estimate.of(by_fold(scored, lambda value: value.scores[which][metric]))


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The sum, unknown where one of them is."""
    listed = list(numbers)
    known = [number for number in listed if number is not None]
    return sum(known) if len(known) == len(listed) else None


def _once(entries: Sequence[RowCells]) -> list[RowCells]:
    """Without those that repeat an earlier one's cells."""
    return list({tuple(entry.keys): entry for entry in reversed(entries)}.values())[::-1]


def spread_over(rows: list[TableRow], groups: str) -> str:
    """What ± is over in a table of these rows, in words; ``groups`` is what the data calls its groups."""
    folds, seeds = (max((getattr(row, name) for row in rows), default=0) for name in ("folds", "seeds"))
    if folds == 1 and seeds > 1:
        return f"over seeds of one split, not over {groups}"
    return "over folds" + (", seeds averaged inside each" if seeds > 1 else "")


def write_tables(out: Path, rows: list[TableRow], damaged: Container[str] = ()) -> None:
    """``table.csv`` and ``table.json`` (no times in them), ``cells.csv`` and ``timing.json``."""
    metrics = [(metric.key, which) for which in CHECKPOINTS for metric in read_study(out).task.metrics]
    head = ["method", "teachers", "student", "part", "folds", "seeds", "missing"]
    head += [f"{metric}_{which}_{part}" for metric, which in metrics for part in ("mean", "std")]
    lines: list[list[Any]] = [[*head, "parameters", "macs", "adapters", "size_ratio", "published", "published_by"]]
    for row in rows:
        line: list[Any] = [*_named(row), row.folds, row.seeds, row.missing]
        for column in metrics:
            estimate = row.estimates.get(column)
            line += [
                "" if f is None else f"{f:.6f}" for f in ((estimate.mean, estimate.std) if estimate else (None, None))
            ]
        ratio = "" if row.size_ratio is None else f"{row.size_ratio:.4f}"
        costs = [row.parameters or "", row.macs or "", "" if row.adapters is None else row.adapters]
        published = [row.reference.value, row.reference.source] if row.reference else ["", ""]
        lines.append([*line, *costs, ratio, *published])
    _write_csv(out / "table.csv", lines)
    _write_csv(out / "cells.csv", _cell_lines(rows, metrics))
    write_json(out / "table.json", [_told(row, metrics) for row in rows])
    write_json(out / "timing.json", timing(out, damaged))


def _told(row: TableRow, metrics: Sequence[tuple[str, Checkpoint]]) -> dict[str, Any]:
    """A row for ``table.json``."""
    estimates = {
        f"{metric}_{which}": asdict(row.estimates[metric, which]) if (metric, which) in row.estimates else None
        for metric, which in metrics
    }
    values = [{"fold": v.fold, "seed": v.seed, "cells": list(v.cells), **v.scores} for v in row.values]
    rest = {
        name: value for name, value in vars(row).items() if name not in ("estimates", "values", "metric", "reference")
    }
    reference = None if row.reference is None else row.reference.model_dump()
    return {**rest, **estimates, "values": values, "reference": reference, "folds": row.folds, "seeds": row.seeds}


def _cell_lines(rows: list[TableRow], metrics: Sequence[tuple[str, Checkpoint]]) -> list[list[Any]]:
    """What the table is made of: a line for each row, fold and seed."""
    head = ["method", "teachers", "student", "part", "fold", "seed", *(f"{m}_{w}" for m, w in metrics), "cells"]
    lines: list[list[Any]] = [list(head)]
    for row in rows:
        for value in row.values:
            texts = [f"{value.scores[which][m]:.6f}" if which in value.scores else "" for m, which in metrics]
            lines.append([*_named(row), value.fold, value.seed, *texts, "+".join(value.cells)])
    return lines


def _named(row: TableRow) -> list[Any]:
    return [row.method, "+".join(row.teachers), row.student, row.part]


def _write_csv(path: Path, lines: list[list[Any]]) -> None:
    write_atomic(path, "".join(map(csv_line, lines)))


def timing(out: Path, damaged: Container[str] = ()) -> dict[str, Any]:
    """Seconds of training and the environment by cell that is done and not damaged."""
    cells = {}
    for key, cell in read_study(out).cells.items():
        folder = out / "cells" / key
        if is_done(folder) and key not in damaged:
            ran = read_run(folder)
            cells[key] = {"title": cell.title, **ran.environment, "seconds": ran.seconds}
    return {"seconds": round(sum(c["seconds"] for c in cells.values()), 2), "cells": cells}


def mixed_environments(out: Path, damaged: Container[str] = ()) -> list[str]:
    """Warnings where cells of one study ran under different torch versions, devices, processors or threads."""
    cells = timing(out, damaged)["cells"].values()
    warnings = []
    for name in ("torch", "scikit-learn", "device", "instructions", "threads", "processes"):
        values = sorted({json.dumps(cell[name]) for cell in cells if name in cell})
        if len(values) > 1:
            listed = ", ".join(values)
            warnings.append(
                f"cells of this study ran with different {name}: {listed}; small differences may come from that"
            )
    return warnings
