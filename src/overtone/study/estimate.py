"""What cells cost: relative costs for a display's time left, timed steps for ``overtone check``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from overtone.models import build
from overtone.study.build import Built, StudyContext, views_of
from overtone.study.cells import Cell
from overtone.tap import macs, parameters
from overtone.teachers import memory_bytes
from overtone.types import Progress, Seen, names_of, shape_of

OVERHEAD_MACS = 200_000
"""A sample's cost besides its convolutions (rendering, optimiser, Python), in multiply-accumulates."""


def costs(context: StudyContext, cells: list[Cell]) -> dict[str, float]:
    """Relative cost of training each cell for one epoch, by key: samples times multiply-accumulates."""
    per_sample: dict[tuple[str, Seen], int] = {}
    costs_by_key = {}
    for cell in cells:
        if cell.baseline is not None:
            costs_by_key[cell.key] = 0.0  # seconds at most, which no epoch measures
            continue
        kind = (cell.model, cell.view)
        if kind not in per_sample:
            samples = context.samples(cell.fold)
            example = samples.batch(torch.tensor([0]), names_of(cell.view)).input(cell.view)
            task = context.plan.windows.task
            model = build(cell.model, shape_of(example), task.outputs, cell.options, task.plain)
            model = model.to(samples.target.device)
            per_sample[kind] = macs(model, example)
        train = len(context.plan.folds[cell.fold].train)
        costs_by_key[cell.key] = float(train * (per_sample[kind] + OVERHEAD_MACS))
    return costs_by_key


@dataclass(frozen=True)
class Measured:
    """A kind of cell, tried: seconds a training step, bytes of a model file, bytes of remembered teachers' outputs."""

    step: float
    file: int
    outputs: int


def kind_of(cell: Cell) -> str:
    """What a cell is, whichever its fold and seed."""
    return cell.title.partition(" · fold")[0]


def measure(context: StudyContext, cell: Cell, built: Built, steps: int = 3) -> Measured:
    """Time a few training steps (the fastest counts); the cell's modules are of no use afterwards.

    A cell with given weights takes none.
    """
    file = 4 * parameters(built.distillation.student)
    if cell.given is not None:
        return Measured(0.0, file, 0)
    torch.set_num_threads(cell.train.threads)
    samples, index = context.samples(cell.fold), torch.from_numpy(context.plan.folds[cell.fold].train)
    optimizer = torch.optim.SGD(built.distillation.parameters(), 1e-6)
    batch = samples.batch(index[: cell.train.batch], views_of(cell, built))
    outputs = {name: teacher(batch) for name, teacher in built.teachers.items()}
    taken = []
    for _ in range(steps):
        started = time.perf_counter()
        samples.batch(index[: cell.train.batch], names_of(cell.view))
        step = built.distillation(batch, outputs, Progress(1, 1))
        optimizer.zero_grad()
        step.total.backward()
        optimizer.step()
        taken.append(time.perf_counter() - started)
    kept = [] if cell.train.augment.active else [n for n in built.teachers if samples.task.remembers(built.needs[n])]
    outputs_bytes = sum(memory_bytes(outputs[name], built.needs[name], len(index)) for name in kept)
    return Measured(min(taken), file, outputs_bytes)
