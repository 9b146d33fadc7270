"""What a whole study will take, judged by a few timed steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from overtone.engine.schedule import steps_in
from overtone.study.build import StudyContext
from overtone.study.estimate import Measured, kind_of
from overtone.study.workers import default_jobs


@dataclass(frozen=True)
class Cost:
    """What the whole study will take: seconds (judged by a few timed steps), bytes of memory per job, bytes on disk."""

    seconds: float
    jobs: int
    windows: int
    diagrams: int
    outputs: int
    disk: int


def cost_of(context: StudyContext, measured: Mapping[str, Measured]) -> Cost:
    """Time, memory and disk of all cells, from what was measured of each kind of them."""
    plan = context.plan
    jobs = min(default_jobs(plan.recipe.train.threads), len(plan.cells))
    least = min((m for m in measured.values() if m.step), key=lambda m: m.step)
    seconds, disk = 0.0, 0
    for cell in plan.cells.values():
        if cell.baseline is not None:
            disk += len(plan.folds[cell.fold].test) * plan.windows.task.outputs * 8
            continue
        of_kind = measured.get(kind_of(cell), least)  # a warm-start twin has no row of its own
        steps = steps_in(len(plan.folds[cell.fold].train), cell.train)
        seconds += of_kind.step * steps * cell.epochs
        disk += of_kind.file * (2 + len(plan.keep.get(cell.key, ())))
        disk += len(plan.folds[cell.fold].test) * plan.windows.task.outputs * 8
    samples = context.samples(next(iter(plan.folds)))
    kept = [view.stored for view in samples.views.values() if not view.view.FOLLOWS]
    diagrams = sum(x.numel() * x.element_size() for x in kept if isinstance(x, Tensor))
    whole = plan.windows.x.nbytes
    windows = whole if whole <= plan.recipe.train.memory_mb * 2**20 else 0
    return Cost(seconds / jobs, jobs, windows, diagrams, max(m.outputs for m in measured.values()), disk)
