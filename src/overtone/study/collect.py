"""From cells to the table: mean over folds and seeds at best and at last epoch, and how far folds lie apart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from overtone.engine import macro_f1, scores
from overtone.errors import InputError
from overtone.files import read_json, write_atomic, write_json
from overtone.sealed import SEAL, DamagedError, read_sealed
from overtone.sheets import csv_line
from overtone.study.build import RESULT, RUN
from overtone.study.inspect import damaged_cells
from overtone.study.write import CHECKPOINTS, read_predictions


@dataclass(frozen=True)
class Estimate:
    """Mean and sample standard deviation of values from 0 to 1.

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
        found = apart(values)
        std = statistics.stdev(found) if len(found) > 1 else None
        return cls(statistics.fmean(found), std, len(values), max(map(len, values.values())))

    def __str__(self) -> str:
        """In percent: ``81.2 ± 3.4``."""
        return f"{100 * self.mean:.1f}" + (f" ± {100 * self.std:.1f}" if self.std is not None else "")

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
    return next(iter(values.values())) if len(values) == 1 else [statistics.fmean(own) for own in values.values()]


def by_fold(values: Iterable[dict[str, Any]], number: Callable[[dict[str, Any]], float]) -> dict[int, list[float]]:
    """A number of each of a row's values, by fold; seeds that share their cells (given weights) are one value."""
    found: dict[int, dict[str, float]] = {}
    for value in values:
        found.setdefault(value["fold"], {})["+".join(value["cells"])] = number(value)
    return {fold: list(own.values()) for fold, own in found.items()}


@dataclass(frozen=True)
class TableRow:
    """One line of the table; ``missing`` cells have no result (failed, or not run yet).

    ``size_ratio``: parameters of the biggest teacher over this row's. ``adapters``: parameters that the methods train
    besides the student, and that no student file holds. ``part``: of a two-branch student, what the row is about.
    A cell that serves several seeds (a teacher of a fixed seed, or with given weights) counts once. Without a
    validation side nothing is known at best.
    ``reference``: what others published, ``accuracy`` in percent and ``source``.
    ``values`` holds every fold and seed.
    """

    id: str
    kind: str
    method: str
    teachers: tuple[str, ...]
    student: str
    accuracy_best: Estimate | None
    macro_f1_best: Estimate | None
    accuracy_last: Estimate | None
    macro_f1_last: Estimate | None
    parameters: int | None
    macs: int | None
    adapters: int | None
    size_ratio: float | None
    missing: int
    values: list[dict[str, Any]]
    part: str = ""
    reference: dict[str, Any] | None = None

    @property
    def n(self) -> int:
        """How many values its deviation is of."""
        return self.accuracy_last.n if self.accuracy_last else 0

    @property
    def folds(self) -> int:
        """How many folds have a result."""
        return self.accuracy_last.folds if self.accuracy_last else 0

    @property
    def shown(self) -> str:
        """Which epoch stands for the row: ``best``, or ``last`` where no validation side chose one."""
        return "best" if all("best" in value for value in self.values) else "last"

    @property
    def accuracy(self) -> Estimate | None:
        """At that epoch."""
        return self.accuracy_best if self.shown == "best" else self.accuracy_last

    @property
    def seeds(self) -> int:
        """How many seeds were averaged in a fold; where some are missing, in the fold that has most."""
        return self.accuracy_last.seeds if self.accuracy_last else 0


def read_study(out: Path) -> dict[str, Any]:
    """What ``study.json`` says.

    Raises:
        InputError: if the folder holds no study, or it is damaged.
    """
    if not (out / "study.json").exists():
        raise InputError(f"{out} holds no study (there is no study.json in it); give the folder of an overtone run")
    try:
        study = read_sealed(out / "study.json")[0]
    except DamagedError as error:
        raise InputError(f"{out}: {error}; run the study again, which writes it anew") from error
    if lacking := {"name", "recipe", "data", "folds", "seeds", "rows", "cells"} - set(study):
        raise InputError(f"{out / 'study.json'} is no study's, it lacks {min(lacking)!r}; run the study again")
    return study


def collect(out: Path, damaged: Container[str] | None = None) -> list[TableRow]:
    """The table of a study's folder, from ``study.json`` and the cells alone.

    Args:
        out: the folder.
        damaged: keys of cells that count as missing; every cell's files are looked at unless given.

    Raises:
        InputError: if the folder holds no study.
    """
    study = read_study(out)
    if damaged is None:
        damaged = damaged_cells(out, study["cells"])[0]
    rows = [_row(out, row, damaged) for row in study["rows"]]
    biggest = max((r.parameters for r in rows if r.kind == "teacher" and r.parameters), default=None)
    if biggest is None:
        return rows
    return [
        TableRow(**{**vars(row), "size_ratio": biggest / row.parameters if row.parameters else None}) for row in rows
    ]


def _row(out: Path, row: dict[str, Any], damaged: Container[str]) -> TableRow:
    values, missing, part = [], 0, row.get("part", "")
    parameters: int | None = None
    macs: int | None = None
    adapters: int | None = None
    for entry in _once(row["cells"]):
        folders = [out / "cells" / key for key in entry["keys"]]
        if any(folder.name in damaged or not (folder / RESULT).exists() for folder in folders):
            missing += 1
            continue
        results = [_of_part(read_json(folder / RESULT), part) for folder in folders]
        parameters, macs = sum(r["parameters"] for r in results), sum(r["macs"] for r in results)
        adapters = sum(r["adapters"] for r in results)
        test = results[0]["test"] if len(results) == 1 else _ensemble(folders)
        values.append({"fold": entry["fold"], "seed": entry["seed"], "cells": entry["keys"], **test})

    def figure(which: str, metric: str) -> Estimate | None:
        return Estimate.of(by_fold([value for value in values if which in value], lambda value: value[which][metric]))

    return TableRow(
        id=row["id"],
        kind=row["kind"],
        method=row["label"],
        teachers=tuple(row["teachers"]),
        student=row["student"],
        accuracy_best=figure("best", "accuracy"),
        macro_f1_best=figure("best", "macro_f1"),
        accuracy_last=figure("last", "accuracy"),
        macro_f1_last=figure("last", "macro_f1"),
        parameters=parameters,
        macs=macs,
        adapters=adapters,
        size_ratio=None,
        missing=missing,
        values=values,
        part=part,
        reference=row.get("reference"),
    )


def _once(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that repeat an earlier one's cells."""
    return list({tuple(entry["keys"]): entry for entry in reversed(entries)}.values())[::-1]


def _of_part(result: dict[str, Any], part: str) -> dict[str, Any]:
    """A cell's result, or that of a part of its two-branch student.

    Macro-F1 is counted anew from the confusion: cells of earlier versions averaged over other classes.
    """
    found = {**result, **result["parts"][part]} if part else result
    test = {
        which: {**own, "macro_f1": macro_f1(torch.tensor(found["confusion"][which]))}
        for which, own in found["test"].items()
    }
    return {**found, "test": test}


def _ensemble(folders: list[Path]) -> dict[str, dict[str, float]]:
    """Scores of the mean of the models' probabilities, each at its best epoch, if it has one, and each at its last."""
    held = [read_predictions(folder) for folder in folders]
    target = torch.from_numpy(held[0]["target"])
    return {
        which: scores(torch.stack([torch.from_numpy(h[which]).softmax(1) for h in held]).mean(0), target)
        for which in CHECKPOINTS
        if which in held[0]
    }


def spread_over(rows: list[TableRow], groups: str) -> str:
    """What ± is over in a table of these rows, in words; ``groups`` is what the data calls its groups."""
    folds, seeds = (max((getattr(row, name) for row in rows), default=0) for name in ("folds", "seeds"))
    if folds == 1 and seeds > 1:
        return f"over seeds of one split, not over {groups}"
    return "over folds" + (", seeds averaged inside each" if seeds > 1 else "")


METRICS = ("accuracy_best", "macro_f1_best", "accuracy_last", "macro_f1_last")


def write_tables(out: Path, rows: list[TableRow], damaged: Container[str] = ()) -> None:
    """``table.csv`` and ``table.json`` (no times in them), ``cells.csv`` and ``timing.json``."""
    head = ["method", "teachers", "student", "part", "folds", "seeds", "missing"]
    head += [f"{metric}_{part}" for metric in METRICS for part in ("mean", "std")]
    lines: list[list[Any]] = [[*head, "parameters", "macs", "adapters", "size_ratio", "published", "published_by"]]
    for row in rows:
        line: list[Any] = [*_named(row), row.folds, row.seeds, row.missing]
        for metric in METRICS:
            figure: Estimate | None = getattr(row, metric)
            line += ["" if f is None else f"{f:.6f}" for f in ((figure.mean, figure.std) if figure else (None, None))]
        ratio = "" if row.size_ratio is None else f"{row.size_ratio:.4f}"
        costs = [row.parameters or "", row.macs or "", "" if row.adapters is None else row.adapters]
        published = [row.reference["accuracy"], row.reference["source"]] if row.reference else ["", ""]
        lines.append([*line, *costs, ratio, *published])
    _write_csv(out / "table.csv", lines)
    _write_csv(out / "cells.csv", _cell_lines(rows))
    told = [{**asdict(row), "folds": row.folds, "seeds": row.seeds} for row in rows]
    write_json(out / "table.json", told)
    write_json(out / "timing.json", timing(out, damaged))


def _cell_lines(rows: list[TableRow]) -> list[list[Any]]:
    """What the table is made of: a line for each row, fold and seed."""
    head = ["method", "teachers", "student", "part", "fold", "seed", *METRICS, "cells"]
    lines: list[list[Any]] = [list(head)]
    for row in rows:
        for value in row.values:
            told = [
                f"{value[which][metric]:.6f}" if which in value else ""
                for which in CHECKPOINTS
                for metric in ("accuracy", "macro_f1")
            ]
            lines.append([*_named(row), value["fold"], value["seed"], *told, "+".join(value["cells"])])
    return lines


def _named(row: TableRow) -> list[Any]:
    return [row.method, "+".join(row.teachers), row.student, row.part]


def _write_csv(path: Path, lines: list[list[Any]]) -> None:
    write_atomic(path, "".join(map(csv_line, lines)))


def timing(out: Path, damaged: Container[str] = ()) -> dict[str, Any]:
    """Seconds of training and the environment by cell that is done and not damaged."""
    cells = {}
    for key, cell in read_study(out)["cells"].items():
        folder = out / "cells" / key
        if (folder / RESULT).exists() and key not in damaged:
            held = {name: value for name, value in read_json(folder / RUN).items() if name not in (SEAL, "key")}
            cells[key] = {"title": cell["title"], **held}
    return {"seconds": round(sum(c["seconds"] for c in cells.values()), 2), "cells": cells}


def mixed_environments(out: Path, damaged: Container[str] = ()) -> list[str]:
    """Warnings where cells of one study ran under different torch versions, devices, processors or threads."""
    cells = timing(out, damaged)["cells"].values()
    found = []
    for name in ("torch", "device", "instructions", "threads", "processes"):
        values = sorted({json.dumps(cell[name]) for cell in cells if name in cell})
        if len(values) > 1:
            listed = ", ".join(values)
            found.append(
                f"cells of this study ran with different {name}: {listed}; small differences may come from that"
            )
    return found
