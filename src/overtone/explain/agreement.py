"""Which teacher is right where others are wrong, and what the students make of it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overtone.study.predictions import read_predictions
from overtone.study.records import RowDescription, RowKind, is_done, read_study
from overtone.tasks import Task, from_arrays


@dataclass(frozen=True)
class Agreement:
    """Counts over all test windows of the folds and seeds that every teacher has.

    Attributes:
        windows: how many there are.
        teachers: their names.
        right: windows a teacher gets right, by teacher.
        alone: windows that only this teacher gets right.
        all_right, some_right, none_right: windows that every teacher, several but not all, or no teacher gets right.
        students: by row, how many windows it gets right: of those in ``alone`` (one number per teacher), then of
            ``all_right``, ``some_right`` and ``none_right``. Rows that lack one of the cells are left out.
    """

    windows: int
    teachers: tuple[str, ...]
    right: tuple[int, ...]
    alone: tuple[int, ...]
    all_right: int
    some_right: int
    none_right: int
    students: Mapping[str, tuple[int, ...]]


def agreement(out: Path, students: Sequence[str], damaged: Container[str] = ()) -> Agreement | None:
    """Compare teachers' and students' predictions on the test sides, at best (at last without a validation side).

    Args:
        out: a study's folder.
        students: ids of the rows to compare.
        damaged: keys of cells that count as missing.

    Returns:
        None with fewer than two teachers that have results, where no fold and seed has them all, or of a task whose
        samples are not simply right or wrong.
    """
    study = read_study(out)
    task = study.task.task()
    if task is None:
        return None
    rows = {row.id: row for row in study.rows if row.kind in (RowKind.TEACHER, RowKind.METHOD)}
    by_row = {name: _right(out, row, damaged, task) for name, row in rows.items()}
    teachers = [name for name, row in rows.items() if row.kind == RowKind.TEACHER and by_row[name]]
    cells = [cell for cell in by_row[teachers[0]] if all(cell in by_row[name] for name in teachers)] if teachers else []
    if len(teachers) < 2 or not cells:
        return None
    compared = [name for name in students if all(cell in by_row.get(name, {}) for cell in cells)]
    right = {name: np.concatenate([by_row[name][cell] for cell in cells]) for name in (*teachers, *compared)}
    votes = np.stack([right[name] for name in teachers])  # (K, N)
    count = votes.sum(0)
    some = (count > 1) & (count < len(teachers))
    groups = [*(vote & (count == 1) for vote in votes), count == len(teachers), some, count == 0]
    sizes = [int(group.sum()) for group in groups]
    return Agreement(
        windows=len(count),
        teachers=tuple(name.removeprefix("teacher-") for name in teachers),
        right=tuple(int(vote.sum()) for vote in votes),
        alone=tuple(sizes[:-3]),
        all_right=sizes[-3],
        some_right=sizes[-2],
        none_right=sizes[-1],
        students={name: tuple(int((right[name] & group).sum()) for group in groups) for name in compared},
    )


def _right(
    out: Path, row: RowDescription, damaged: Container[str], task: Task
) -> dict[tuple[int, int], npt.NDArray[np.bool_]]:
    """Which test windows a row gets right, by fold and seed, in the order of their numbers."""
    by_cell = {}
    for cell in row.cells:
        folder = out / "cells" / cell.keys[0]
        if is_done(folder) and folder.name not in damaged:
            arrays = read_predictions(folder)
            predictions = from_arrays(arrays, "best") or from_arrays(arrays, "last")
            right = task.right(predictions, arrays["target"])
            if right is not None:
                by_cell[cell.fold, cell.seed] = right
    return by_cell
