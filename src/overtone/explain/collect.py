"""Collects, for a few test windows of a study, where its models look; kept in one file for the page to draw."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from overtone.data import Windows
from overtone.errors import InputError
from overtone.explain.saliency import Saliency, saliency
from overtone.files import write_npz
from overtone.sealed import DamagedError, read_npz
from overtone.shown import Shown, from_file
from overtone.student import load_student
from overtone.study.build import example_numbers
from overtone.study.cells import Plan
from overtone.study.collect import TableRow, collect
from overtone.study.records import RowKind, StudyDescription, is_done, read_study
from overtone.study.write import VISUALISATIONS
from overtone.tasks import suited
from overtone.trust import Trust, named_in

FILE = "explain.npz"
FORMAT = 2
"""Of the file; one of another is collected anew."""
Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
MOST_SHOWN = 3
"""Rows besides the best one whose methods' own visualisations are drawn."""


@dataclass(frozen=True)
class Explained:
    """What the images are made of.

    Attributes:
        about: JSON's kinds only: ``samples`` (number, label, group, side of each, and marks to draw over it),
            ``models`` (title, answers and marks by sample, branches with their view and maps, ``shown``, descriptions
            of what its methods show of themselves, ``meaning``, what that means by method, and ``lost``, why it cannot
            be read), and ``fold`` and ``seed``.
        arrays: ``pixels`` (S, 3, H, W) where there are marks, ``view/VIEW`` (S, C, ...), ``MODEL/BRANCH/MAP`` (S, ...),
            ``MODEL/cross`` (S, T', H', W'), and ``MODEL/shown/NAME``, to which descriptions refer by NAME; MODEL is a
            number.
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, Array]

    def shown(self, model: int) -> dict[str, Shown | str]:
        """What a model's methods show, by name: objects for all samples, or a sentence on why one cannot be read."""
        prefix = f"{model}/shown/"
        arrays = {key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)}
        shown: dict[str, Shown | str] = {}
        for number, about in enumerate(self.about["models"][model]["shown"]):
            try:
                shown[about["name"]] = from_file(about, arrays)
            except Exception as error:  # of another version, or damaged: anything can be wrong with it
                name = about.get("name") if isinstance(about, dict) else None
                shown[str(name or number)] = f"cannot be read: {error if isinstance(error, ValueError) else 'damaged'}"
        return shown


def collect_explained(
    out: Path,
    windows: Windows,
    numbers: Sequence[int],
    sides: Mapping[str, IntArray],
    trust: Trust = False,
    damaged: Container[str] | None = None,
) -> Explained:
    """Every teacher, the student alone and the best distilled student, on some windows.

    Args:
        out: a study's folder; models of its first fold and seed are used, at their best epoch (the last
            without a validation side).
        windows: the study's.
        numbers: of the windows.
        sides: numbers of the first fold's training, validation and test windows.
        trust: what the study's student files may import, as in :func:`load_student`.
        damaged: keys of cells that count as missing; every cell's files are looked at unless given.

    Raises:
        InputError: for a number that the data does not have, or a study without a finished cell.
    """
    numbers = list(dict.fromkeys(numbers))
    for number in numbers:
        if not 0 <= number < len(windows):
            raise InputError(f"--sample {number}: the data holds {len(windows)} windows, numbered from 0")
    study = read_study(out)
    fold, seed = study.folds[0].number, study.seeds[0]
    x = torch.from_numpy(np.asarray(windows.x[numbers]))
    target = torch.from_numpy(windows.y[numbers])
    sizes = None if windows.sizes is None else torch.from_numpy(windows.sizes[numbers, :2])
    truths = windows.y[numbers].tolist()
    arrays: dict[str, Array] = {}
    models: list[dict[str, Any]] = []
    for row in _chosen(out, collect(out, damaged, trust), (fold, seed)):
        key = _key(row, (fold, seed))
        if key is None:
            continue
        student = load_student(out / "cells" / key / "student.safetensors", trust)
        found = saliency(student, x, target, sizes)
        names = study.cells[key].views or [""]
        entry = _model(row, found, names, str(len(models)), arrays)
        with suited(student.task, "verdict"):
            entry["verdicts"] = [student.task.verdict(*pair) for pair in zip(found.answers, truths, strict=True)]
        entry["marks"] = [student.task.marks(answer) for answer in found.answers]
        models.append(entry | _shown(out / "cells" / key, numbers, str(len(models)), arrays))
    if not models:
        raise InputError(f"{out}: no cell of fold {fold}, seed {seed} is done yet; run the study first")
    if any(map(windows.task.true_marks, windows.y[numbers])):
        arrays["pixels"] = np.asarray(windows.x[numbers])
    samples = [
        {
            "number": n,
            "called": windows.task.called(windows.y[n]),
            "marks": windows.task.true_marks(windows.y[n]),
            "size": (windows.size if windows.sizes is None else windows.sizes[n, :2].tolist()),
            "group": windows.groups[windows.group[n]],
            "side": next((side for side, members in sides.items() if n in members), "no"),
        }
        for n in numbers
    ]
    about = {
        "format": FORMAT,
        "samples": samples,
        "models": models,
        "fold": fold,
        "seed": seed,
        "cells": _done(out, study),
    }
    return Explained(about, arrays)


def _key(row: TableRow, where: tuple[int, int]) -> str | None:
    """The row's cell of a fold and seed, if it is done."""
    return next((v.cells[0] for v in row.values if (v.fold, v.seed) == where), None)


def _chosen(out: Path, rows: Sequence[TableRow], where: tuple[int, int]) -> list[TableRow]:
    """The teachers, the student alone, the best distilled student, and those whose methods show something."""
    teachers = [row for row in rows if row.kind == RowKind.TEACHER]
    methods = [row for row in rows if row.kind == RowKind.METHOD and row.estimate is not None]
    alone = next((row for row in methods if row.method == "none"), None)
    others = [row for row in methods if row is not alone]
    best = max(others, key=lambda row: row.merit, default=None)
    rest = [row for row in others if row is not best]
    shown = [row for row in rest if (out / "cells" / (_key(row, where) or "-") / VISUALISATIONS).exists()]
    return [*teachers, *(row for row in (alone, best) if row is not None), *shown[:MOST_SHOWN]]


def _model(
    row: TableRow, found: Saliency, views: Sequence[str], number: str, arrays: dict[str, Array]
) -> dict[str, Any]:
    """What is said of a model; its maps go into ``arrays``."""
    branches = []
    for (branch, seen), view in zip(found.seen.items(), views, strict=True):
        arrays[f"view/{view}"] = seen.numpy().astype(np.float32)
        for kind, values in found.maps[branch].items():
            arrays[f"{number}/{branch}/{kind}"] = values.numpy().astype(np.float32)
        branches.append({"name": branch, "view": view, "maps": list(found.maps[branch])})
    if found.cross is not None:
        arrays[f"{number}/cross"] = found.cross.numpy().astype(np.float32)
    title = f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method
    return {
        "title": title,
        "kind": row.kind.value,
        "model": row.student,
        "answers": found.answers,
        "branches": branches,
    }


def _shown(folder: Path, numbers: Sequence[int], model: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """What the cell's methods showed of themselves on these windows, if it kept that; arrays go into ``arrays``."""
    nothing: dict[str, Any] = {"shown": [], "meaning": {}}
    if not (folder / VISUALISATIONS).exists():
        return nothing
    try:
        content = read_npz(folder / VISUALISATIONS)
        about = json.loads(str(content.pop("about")))
        places = {int(n): place for place, n in enumerate(content.pop("index"))}
        if not all(n in places for n in numbers):
            return nothing
        rows = [places[n] for n in numbers]
        shown = [{**one, "caption": _of(one["caption"], rows)} for one in about["shown"]]
        arrays.update({f"{model}/shown/{name}": values[rows] for name, values in content.items()})
        return {"shown": shown, "meaning": dict(about["meaning"])}
    except (DamagedError, KeyError, IndexError, TypeError, ValueError):
        return {**nothing, "lost": f"{VISUALISATIONS} of cell {folder.name} cannot be read, or is of another version"}


def _of(caption: str | list[str], rows: Sequence[int]) -> str | list[str]:
    """A caption for all samples, or those of some samples."""
    return caption if isinstance(caption, str) else [caption[row] for row in rows]


def _done(out: Path, study: StudyDescription) -> list[str]:
    """Cells with a result: images made from others are out of date."""
    return sorted(key for key in study.cells if is_done(out / "cells" / key))


def collect_study(
    plan: Plan,
    out: Path,
    numbers: Sequence[int] | None = None,
    trust: Trust = False,
    damaged: Container[str] | None = None,
) -> Explained:
    """Collect; the study's own example windows, whose maps are then kept for its page, unless others are named.

    Raises:
        InputError: as :func:`collect_explained`.
    """
    fold = next(iter(plan.folds.values()))
    sides = {"training": fold.train, "validation": fold.val, "test": fold.test}
    maps = collect_explained(out, plan.windows, numbers or example_numbers(plan), sides, trust, damaged)
    if not numbers:
        write_npz(out / FILE, {"about": np.asarray(json.dumps(maps.about)), **maps.arrays})
    return maps


def refresh(plan: Plan, out: Path) -> None:
    """Collect again if other cells are done than when the file was made.

    The run that calls this has looked for damage already, so it is not looked for again. Nothing is collected before
    the first fold and seed have a cell that is done.
    """
    earlier = read(out)
    if earlier is None or earlier.about.get("cells") != _done(out, read_study(out)):
        with contextlib.suppress(InputError):
            collect_study(plan, out, trust=named_in(plan.recipe), damaged=())


def read(out: Path) -> Explained | None:
    """What was collected for a study's page; None without it, or where it cannot be read."""
    try:
        arrays = read_npz(out / FILE)
        about = json.loads(str(arrays.pop("about")))
        return Explained(about, arrays) if about.get("format") == FORMAT else None
    except (DamagedError, KeyError, ValueError):
        return None
