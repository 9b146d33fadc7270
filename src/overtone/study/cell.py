"""Running one cell: build it, load or remember its teachers, train, test, write its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from overtone.disk import check_disk, own_folder
from overtone.engine import Callback, Fitted, Job, evaluate, fit, parts_of
from overtone.study.build import Built, CellInputs, build_cell
from overtone.study.cells import Cell
from overtone.study.fitted import run_baseline
from overtone.study.write import write_cell, write_visualisations
from overtone.tasks import Predictions
from overtone.teachers import TeacherMemory, memory_bytes
from overtone.types import Batch, Output, names_of


def remember(
    inputs: CellInputs, cell: Cell, built: Built, room: Path
) -> tuple[dict[str, Callable[[Batch], Output]], tuple[str, ...]]:
    """Each teacher, remembered where its outputs fit into the budgets, and the views that batches then need.

    First memory, then disk, else the teacher runs beside the student; so it does where windows are augmented, which
    are new each time. ``room`` is a folder for what goes to disk.
    """
    samples = inputs.samples
    index = torch.from_numpy(inputs.fold.train).to(inputs.device)
    memory, disk = cell.train.memory_mb * 2**20, cell.train.spill_mb * 2**20
    sources: dict[str, Callable[[Batch], Output]] = {}
    views = [*names_of(cell.view)]
    for name, teacher in built.teachers.items():
        seen, needs = names_of(teacher.view), built.needs[name]
        spill: Path | None = None
        keeps = samples.task.remembers(needs) and not cell.train.augment.active
        size = memory_bytes(teacher(samples.batch(index[:1], seen)), needs, len(index)) if keeps else 0
        if not keeps or size > max(memory, disk):
            sources[name] = teacher
            views += seen
            continue
        if size <= memory:
            memory -= size
        else:
            disk -= size
            spill = room / name
            check_disk(spill, size, f"outputs of teacher {name!r}")
        fetch = partial(samples.batch, views=seen)
        sources[name] = TeacherMemory(teacher, index, fetch, needs, spill=spill)
    return sources, tuple(dict.fromkeys(views))


def run_cell(inputs: CellInputs, cell: Cell, callback: Callback) -> None:
    """Train, test and write a cell. Its ``result.json`` is written last: a cell with one is done."""
    torch.set_num_threads(cell.train.threads)
    if cell.baseline is not None:
        run_baseline(inputs, cell, cell.baseline)
        return
    built = build_cell(inputs, cell)
    if cell.given is None:
        with own_folder(inputs.paths.cell(cell.key) / "memory") as room:
            fitted = _trained(inputs, cell, built, callback, room)
    else:
        fitted = _given(inputs, cell, built)
    predictions = _tested(inputs, cell, built, fitted)
    if inputs.accelerator.is_main_process:
        write_visualisations(inputs, cell, built, fitted)
        write_cell(inputs, cell, built, fitted, predictions)
    inputs.accelerator.wait_for_everyone()
    inputs.accelerator.free_memory()


def _given(inputs: CellInputs, cell: Cell, built: Built) -> Fitted:
    """What training would leave: the given weights as best and last, and how they do on the validation side."""
    samples, val = inputs.samples, torch.from_numpy(inputs.fold.val)
    student = built.distillation.student
    state = {name: tensor.detach().cpu().clone() for name, tensor in student.model.state_dict().items()}
    if not len(val):
        return Fitted(last=state)
    scores = samples.task.on_validation(
        evaluate(student, samples, val, cell.view, inputs.accelerator), samples.truth(val), samples.context(val)
    )
    return Fitted(best=state, best_value=scores[samples.task.watched.key], last=state)


def _tested(inputs: CellInputs, cell: Cell, built: Built, fitted: Fitted) -> dict[str, Predictions]:
    """Predictions of the test side at best, if there is one, and last, of the whole and of its parts.

    Given weights, which are both, are asked once.
    """
    samples, test = inputs.samples, torch.from_numpy(inputs.fold.test)
    student = built.distillation.student
    predictions: dict[str, Predictions] = {}
    states = {"last": fitted.last} if cell.given is not None else {"best": fitted.best, "last": fitted.last}
    for name, state in states.items():
        if not state:
            continue
        student.model.load_state_dict(state)
        predictions[name] = evaluate(student, samples, test, cell.view, inputs.accelerator)
        for part in parts_of(student):
            predictions[f"{part}.{name}"] = evaluate(student, samples, test, cell.view, inputs.accelerator, part)
    if cell.given is not None and fitted.best:
        predictions |= {f"{name.removesuffix('last')}best": values for name, values in predictions.items()}
    return predictions


def _trained(inputs: CellInputs, cell: Cell, built: Built, callback: Callback, room: Path) -> Fitted:
    teachers, views = remember(inputs, cell, built, room)
    job = Job(
        key=cell.key,
        folder=inputs.paths.cell(cell.key),
        distillation=built.distillation,
        teachers=teachers,
        views=views,
        samples=inputs.samples,
        fold=inputs.fold,
        train=cell.train,
        epochs=cell.epochs,
        seed=cell.seed,
        keep=inputs.keep,
        phases=cell.phases,
    )
    return fit(job, inputs.accelerator, callback)
