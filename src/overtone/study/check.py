"""A study looked at before any training: one batch forward and backward through every row, nothing kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.engine.schedule import reseed
from overtone.errors import InputError
from overtone.study.cell import Built, Workshop, build_cell
from overtone.study.plan import Cell, Plan
from overtone.tap import macs, parameters, probe
from overtone.types import Progress, Spec


@dataclass(frozen=True)
class TermCheck:
    """One term on one batch: its weight in full (past its warm-up), its size, its share of the gradient.

    ``share``: norm of the weighted term's gradient in the student's parameters, over the sum of all terms' norms.
    """

    name: str
    weight: float
    size: float
    share: float


@dataclass(frozen=True)
class RowCheck:
    """One row of the table to come."""

    label: str
    teachers: tuple[str, ...]
    terms: tuple[TermCheck, ...]
    student: int
    adapters: int
    teacher_parameters: int


@dataclass(frozen=True)
class ModelCheck:
    """A teacher or the student: what it sees and what it costs."""

    role: str
    model: str
    view: str
    spec: Spec
    parameters: int
    macs: int


@dataclass(frozen=True)
class Check:
    """What ``overtone check`` shows."""

    views: dict[str, tuple[int, ...]]
    models: tuple[ModelCheck, ...]
    rows: tuple[RowCheck, ...]


def check(plan: Plan) -> Check:
    """Build everything once, with untrained teachers, and run one training batch through every row.

    Raises:
        InputError: for anything that could not be trained.
    """
    shop = Workshop(plan, Path(), Accelerator())
    fold, seed = next(iter(plan.folds)), plan.recipe.seeds[0]
    samples = shop.samples(fold)
    one = torch.tensor([int(plan.folds[fold].train[0])])
    views = {name: tuple(x.shape[1:]) for name, x in samples.batch(one, plan.views).views.items()}
    rows, models = [], {}
    for row in plan.rows:
        if row.kind == "ensemble":
            continue
        cell = plan.cells[row.cells[fold, seed][0]]
        _check_batch(shop, cell)
        built = build_cell(shop, cell, fresh_teachers=True)
        role = row.label if row.kind == "teacher" else "student"
        if role not in models:
            models[role] = _model(role, cell, built)
        if row.kind == "method":
            rows.append(_row(shop, row.label, cell, built))
    return Check(views, tuple(models.values()), tuple(rows))


def _check_batch(shop: Workshop, cell: Cell) -> None:
    for fold in shop.plan.folds.values():
        if len(fold.train) < cell.train.batch:
            raise InputError(
                f"fold {fold.number} has {len(fold.train)} training windows, fewer than one batch of "
                f"{cell.train.batch}; set train.batch lower"
            )


def _model(role: str, cell: Cell, built: Built) -> ModelCheck:
    model = built.distillation.student.model
    spec = probe(built.distillation.student, built.example)
    return ModelCheck(role, cell.model, cell.view, spec, parameters(model), macs(model, built.example))


def _row(shop: Workshop, label: str, cell: Cell, built: Built) -> RowCheck:
    samples, fold = shop.samples(cell.fold), shop.plan.folds[cell.fold]
    index = torch.from_numpy(fold.train)
    reseed(cell.seed, "check")
    chosen = index[torch.randperm(len(index))[: cell.train.batch]]
    views = dict.fromkeys([cell.view, *(teacher.view for teacher in built.teachers.values())])
    batch = samples.batch(chosen, views)
    teachers = {name: teacher(batch) for name, teacher in built.teachers.items()}
    distillation = built.distillation.train()
    # The epoch at which every weight is at its fullest, so that no term hides behind its warm-up.
    terms, norms = [], []
    for term, schedule in distillation.weights.items():
        weight, last = max((schedule.at(epoch, cell.epochs), -epoch) for epoch in range(1, cell.epochs + 1))
        step = distillation(batch, teachers, Progress(-last, cell.epochs))
        value = step.terms[term] if term in step.terms else step.total.new_zeros(())
        norms.append(weight * _gradient_norm(value, distillation.student))
        terms.append((term, weight, float(value.detach())))
    whole = sum(norms) or 1.0
    student = parameters(distillation.student)
    return RowCheck(
        label,
        tuple(cell.teachers),
        tuple(TermCheck(*term, share=norm / whole) for term, norm in zip(terms, norms, strict=True)),
        student,
        parameters(distillation) - student,
        sum(parameters(teacher.tap) for teacher in built.teachers.values()),
    )


def _gradient_norm(value: Tensor, student: torch.nn.Module) -> float:
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, list(student.parameters()), allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None) ** 0.5)
