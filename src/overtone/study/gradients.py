"""One training batch through a row of the table: each term's size, and its share of the student's gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from overtone.engine.guard import not_finite
from overtone.engine.schedule import reseed
from overtone.errors import InputError
from overtone.methods import Method
from overtone.study.build import Built, StudyContext, views_of
from overtone.study.cells import Cell
from overtone.study.doubts import coupled
from overtone.tap import Tap, parameters
from overtone.types import Batch, Input, Output, Progress


@dataclass(frozen=True)
class TermCheck:
    """One term on one batch: its weight in full (past its warm-up), its size, its share of the gradient.

    ``inward``: it trains its method only, by design. ``share``: norm of the weighted term's gradient in the student's
    parameters, over the sum of all terms' norms.
    """

    name: str
    weight: float
    size: float
    share: float
    inward: bool = False


@dataclass(frozen=True)
class RowCheck:
    """One row of the table to come."""

    label: str
    teachers: tuple[str, ...]
    terms: tuple[TermCheck, ...]
    student: int
    adapters: int
    unreachable: tuple[str, ...] = ()
    """Sentences about teachers' maps that a method cannot reach."""
    notes: tuple[str, ...] = ()
    """What methods say of settings that the first fold's training samples decided."""

    @property
    def title(self) -> str:
        """The row as messages name it."""
        return f"{self.label} from {', '.join(self.teachers)}" if self.teachers else self.label


def check_row(context: StudyContext, label: str, cell: Cell, built: Built) -> RowCheck:
    """One training batch forward and backward through a row of the table.

    Raises:
        InputError: for a term, or a gradient, that is not finite.
    """
    samples, fold = context.samples(cell.fold), context.plan.folds[cell.fold]
    index = torch.from_numpy(fold.train)
    reseed(cell.seed, "check")
    chosen = index[torch.randperm(len(index))[: cell.train.batch]]
    batch = samples.batch(chosen, views_of(cell, built))
    for name, teacher in built.teachers.items():
        if context.plan.cells[cell.teachers[name].key].given is None:
            _settle(teacher.tap, batch.input(teacher.view))
    teachers = {name: teacher(batch) for name, teacher in built.teachers.items()}
    terms = _terms(cell, built, batch, teachers)
    methods = [cast(Method, method) for method in built.distillation.methods.values()]
    student = parameters(built.distillation.student)
    return RowCheck(
        label,
        tuple(cell.teachers),
        terms,
        student,
        parameters(built.distillation) - student,
        tuple(sentence for method in methods for sentence in method.doubts(teachers)),
        (
            *(note for method in methods for note in method.notes()),
            *coupled(cell.methods, cell.train.batch, context.accelerator.num_processes),
        ),
    )


def _terms(cell: Cell, built: Built, batch: Batch, teachers: Mapping[str, Output]) -> tuple[TermCheck, ...]:
    """Every term's size and share of the gradient, each at the epoch in which its weight is at its fullest, so that
    none hides behind its warm-up.
    """
    distillation = built.distillation.train()
    terms, norms = [], []
    for term, schedule in distillation.weights.items():
        weight, last = max((schedule.at(epoch, cell.epochs), -epoch) for epoch in range(1, cell.epochs + 1))
        progress = Progress(-last, cell.epochs)
        step = distillation(batch, teachers, progress)
        value = step.terms[term] if term in step.terms else step.total.new_zeros(())
        norm = weight * _gradient_norm(value, distillation.student)
        said = not_finite(step, distillation, batch, teachers, progress)
        if said is None and not math.isfinite(norm):
            said = f"the gradient of {term} is not finite"
        if said is not None:
            raise InputError(f"{cell.title.partition(' · ')[0]}: on the first batch, {said}")
        norms.append(norm)
        terms.append((term, weight, float(value.detach())))
    methods = {n: cast(Method, method) for n, method in distillation.methods.items()}
    inward = {f"{name}.{term}" for name, method in methods.items() for term in method.INWARD}
    whole = sum(norms) or 1.0
    return tuple(
        TermCheck(*term, share=norm / whole, inward=term[0] in inward) for term, norm in zip(terms, norms, strict=True)
    )


def _settle(tap: Tap, x: Input) -> None:
    """Give an untrained teacher's batch normalisation the statistics of a batch, as training would.

    With those it starts with, the maps of a deep residual network grow a thousandfold from stage to stage, and terms
    on maps would look as if they outweighed all others.
    """
    for module in tap.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    tap.train()
    with torch.no_grad():
        tap(x)
    tap.eval()


def _gradient_norm(value: Tensor, student: torch.nn.Module) -> float:
    if not value.requires_grad:
        return 0.0
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, trained, allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None) ** 0.5)
