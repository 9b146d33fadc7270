"""Running one cell: build it, load or remember its teachers, train, test, write its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from overtone.disk import check_disk, own_folder
from overtone.engine import Callback, Fitted, Job, evaluate, fit, parts_of, scores
from overtone.study.build import Built, StudyContext, build_cell
from overtone.study.plan import Cell
from overtone.study.write import write_cell, write_visualisations
from overtone.teachers import TeacherMemory, memory_bytes
from overtone.types import Batch, Output, names_of


def remember(
    context: StudyContext, cell: Cell, built: Built, room: Path
) -> tuple[dict[str, Callable[[Batch], Output]], tuple[str, ...]]:
    """Each teacher, remembered where its outputs fit into the budgets, and the views that batches then need.

    First memory, then disk, else the teacher runs beside the student; so it does where windows are augmented, which
    are new each time. ``room`` is a folder for what goes to disk.
    """
    samples, fold = context.samples(cell.fold), context.plan.folds[cell.fold]
    index = torch.from_numpy(fold.train).to(context.accelerator.device)
    memory, disk = cell.train.memory_mb * 2**20, cell.train.spill_mb * 2**20
    sources: dict[str, Callable[[Batch], Output]] = {}
    views = [*names_of(cell.view)]
    for name, teacher in built.teachers.items():
        seen, needs = names_of(teacher.view), built.needs[name]
        size = memory_bytes(teacher(samples.batch(index[:1], seen)), needs, len(index))
        spill: Path | None = None
        if cell.train.augment.active or size > max(memory, disk):
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


def run_cell(context: StudyContext, cell: Cell, callback: Callback) -> None:
    """Train, test and write a cell. Its ``result.json`` is written last: a cell with one is done."""
    torch.set_num_threads(cell.train.threads)
    built = build_cell(context, cell)
    if cell.given is None:
        with own_folder(context.cell_folder(cell.key) / "memory") as room:
            fitted = _trained(context, cell, built, callback, room)
    else:
        fitted = _given(context, cell, built)
    logits = _tested(context, cell, built, fitted)
    if context.accelerator.is_main_process:
        write_visualisations(context, cell, built, fitted)
        write_cell(context, cell, built, fitted, logits)
    context.accelerator.wait_for_everyone()
    context.accelerator.free_memory()


def _given(context: StudyContext, cell: Cell, built: Built) -> Fitted:
    """What training would leave: the given weights as best and last, and how they do on the validation side."""
    samples, val = context.samples(cell.fold), torch.from_numpy(context.plan.folds[cell.fold].val)
    student = built.distillation.student
    state = {name: tensor.detach().cpu().clone() for name, tensor in student.model.state_dict().items()}
    if not len(val):
        return Fitted(last=state)
    logits = evaluate(student, samples, val, cell.view, context.accelerator)
    accuracy = scores(logits, samples.target[val.to(samples.target.device)].cpu())["accuracy"]
    return Fitted(best=state, best_accuracy=accuracy, last=state)


def _tested(context: StudyContext, cell: Cell, built: Built, fitted: Fitted) -> dict[str, Tensor]:
    """Test logits at best, if there is one, and last, of the whole and of its parts.

    Given weights, which are both, are scored once.
    """
    samples, test = context.samples(cell.fold), torch.from_numpy(context.plan.folds[cell.fold].test)
    student = built.distillation.student
    logits = {}
    states = {"last": fitted.last} if cell.given is not None else {"best": fitted.best, "last": fitted.last}
    for name, state in states.items():
        if not state:
            continue
        student.model.load_state_dict(state)
        logits[name] = evaluate(student, samples, test, cell.view, context.accelerator)
        for part in parts_of(student):
            logits[f"{part}.{name}"] = evaluate(student, samples, test, cell.view, context.accelerator, part)
    if cell.given is not None and fitted.best:
        logits |= {f"{name.removesuffix('last')}best": held for name, held in logits.items()}
    return logits


def _trained(context: StudyContext, cell: Cell, built: Built, callback: Callback, room: Path) -> Fitted:
    teachers, views = remember(context, cell, built, room)
    job = Job(
        key=cell.key,
        folder=context.cell_folder(cell.key),
        distillation=built.distillation,
        teachers=teachers,
        views=views,
        samples=context.samples(cell.fold),
        fold=context.plan.folds[cell.fold],
        train=cell.train,
        epochs=cell.epochs,
        seed=cell.seed,
        keep=context.plan.keep.get(cell.key, frozenset()),
        phases=cell.phases,
    )
    return fit(job, context.accelerator, callback)
