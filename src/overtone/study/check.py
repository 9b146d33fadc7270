"""A study looked at before any training: one batch forward and backward through every row, nothing kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from torch import Tensor

from overtone.data.split import doubts
from overtone.engine import make_accelerator
from overtone.engine.guard import not_finite
from overtone.engine.schedule import reseed, steps_in
from overtone.errors import InputError
from overtone.methods import Method, find
from overtone.methods.feature_maps import LevelMethod
from overtone.study.build import Built, StudyContext, build_cell, views_of
from overtone.study.estimate import Measured, kind_of, measure
from overtone.study.plan import Cell, Plan
from overtone.study.workers import default_jobs
from overtone.tap import Tap, macs, parameters, probe
from overtone.types import Input, Output, Progress, Spec, names_of

NEARLY_ALL, NEARLY_NONE = 0.97, 0.005
"""Shares of the gradient that are worth a warning, where a row has several terms."""
IMBALANCE = 5
NEGATIVE = 0.01
"""Share of negative values in a teacher's map that is worth a warning, where a method's last ReLU cannot reach them."""


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


@dataclass(frozen=True)
class ModelCheck:
    """A teacher or the student: what it sees and what it costs; ``given`` says so where it is not trained."""

    role: str
    model: str
    view: str
    spec: Spec
    parameters: int
    macs: int
    given: str = ""


@dataclass(frozen=True)
class Cost:
    """What the whole study will take: seconds (judged by a few timed steps), bytes of memory a job, bytes on disk."""

    seconds: float
    jobs: int
    windows: int
    diagrams: int
    outputs: int
    disk: int


@dataclass(frozen=True)
class Check:
    """What ``overtone check`` shows."""

    views: dict[str, tuple[int, ...]]
    models: tuple[ModelCheck, ...]
    rows: tuple[RowCheck, ...]
    cost: Cost
    warnings: tuple[str, ...]


def check(plan: Plan) -> Check:
    """Build everything once, with teachers that are untrained or given, and run one training batch through every row.

    Raises:
        InputError: for anything that could not be trained.
    """
    fold, seed = next(iter(plan.folds)), plan.recipe.seeds[0]
    rows, models, measured = [], {}, {}
    about_models: list[str] = []
    torch.set_num_threads(plan.recipe.train.threads)
    with TemporaryDirectory() as folder:
        context = StudyContext(plan, Path(folder), make_accelerator())
        samples = context.samples(fold)
        one = torch.tensor([int(plan.folds[fold].train[0])])
        views = {name: tuple(x.shape[1:]) for name, x in samples.batch(one, plan.views).views.items()}
        for row in plan.rows:
            if row.kind in ("ensemble", "branch"):
                continue
            cell = plan.cells[row.cells[fold, seed][0]]
            built = build_cell(context, cell, fresh_teachers=True)
            about_models += built.doubts
            role = row.label if row.kind == "teacher" else "student"
            if role not in models:
                models[role] = _model(role, cell, built, plan.windows.classes)
            if row.kind == "method":
                rows.append(_row(context, row.label, cell, built))
            measured[kind_of(cell)] = measure(context, cell, built)
        cost = _cost(context, measured)
    about_sides = doubts(plan.windows, list(plan.folds.values()), plan.recipe.split)
    about_rows = (warning for row in rows for warning in _warnings(row))
    warnings = dict.fromkeys([*about_sides, *class_warnings(plan), *about_models, *about_rows])
    return Check(views, tuple(models.values()), tuple(rows), cost, tuple(warnings))


def _cost(context: StudyContext, measured: dict[str, Measured]) -> Cost:
    plan = context.plan
    jobs = min(default_jobs(plan.recipe.train.threads), len(plan.cells))
    least = min((m for m in measured.values() if m.step), key=lambda m: m.step)
    seconds, disk = 0.0, 0
    for cell in plan.cells.values():
        found = measured.get(kind_of(cell), least)  # a warm-start twin has no row of its own
        steps = steps_in(len(plan.folds[cell.fold].train), cell.train)
        seconds += found.step * steps * cell.epochs
        disk += found.file * (2 + len(plan.keep.get(cell.key, ())))
        disk += len(plan.folds[cell.fold].test) * len(plan.windows.classes) * 8
    samples = context.samples(next(iter(plan.folds)))
    kept = [view.stored for view in samples.views.values() if not view.view.FOLLOWS]
    diagrams = sum(x.numel() * x.element_size() for x in kept if isinstance(x, Tensor))
    whole = plan.windows.x.nbytes
    windows = whole if whole <= plan.recipe.train.memory_mb * 2**20 else 0
    return Cost(seconds / jobs, jobs, windows, diagrams, max(m.outputs for m in measured.values()), disk)


def class_warnings(plan: Plan) -> list[str]:
    """Classes of very different size, over all windows."""
    sizes = np.bincount(plan.windows.y, minlength=len(plan.windows.classes))
    least, most = int(sizes.argmin()), int(sizes.argmax())
    if sizes[most] < IMBALANCE * max(sizes[least], 1):
        return []
    names = plan.windows.classes
    return [
        f"classes differ in size: {names[most]} has {sizes[most]} {plan.windows.noun}s, {names[least]} {sizes[least]}; "
        "accuracy hides small classes, macro-F1 does not"
    ]


def _warnings(row: RowCheck) -> list[str]:
    name, found = row.title, []
    weighed = sum(term.weight > 0 for term in row.terms)
    for term in row.terms:
        if weighed > 1 and term.share > NEARLY_ALL:
            found.append(f"{name}: {term.name} carries {100 * term.share:.0f} % of the gradient; weigh it less")
        if len(row.terms) > 1 and term.weight > 0 and term.share < NEARLY_NONE and not term.inward:
            found.append(f"{name}: {term.name} carries next to none of the gradient ({100 * term.share:.2g} %)")
    if row.adapters > row.student:
        found.append(f"{name}: its adapters have {row.adapters} parameters, the student only {row.student}")
    return found + [f"{name}: {sentence}" for sentence in row.unreachable]


def _unreachable(cell: Cell, built: Built, teachers: Mapping[str, Output]) -> list[str]:
    """Matched maps of teachers that hold negative values, where each adapter ends in a ReLU."""
    found = []
    for name, method in built.distillation.methods.items():
        if not isinstance(method, LevelMethod) or not getattr(cell.methods[name], "final_relu", False):
            continue
        for teacher, levels in method.levels.items():
            shares = {
                level.teacher: float((level.map_of_teacher(teachers[teacher]) < 0).float().mean())
                for level in reversed(levels)
                if level.compared
            }
            shares = {stage: share for stage, share in shares.items() if share > NEGATIVE}
            if shares:
                one = len(shares) == 1
                percent = ", ".join(f"{100 * share:.0f}" for share in shares.values())
                found.append(
                    f"{', '.join(shares)} of teacher {teacher} {'is' if one else 'are'} negative in {percent} % of "
                    f"{'its' if one else 'their'} values, which the last ReLU of {name} cannot reach; use "
                    "final_relu: false"
                )
    return found


def _model(role: str, cell: Cell, built: Built, classes: tuple[str, ...]) -> ModelCheck:
    model = built.distillation.student.model
    spec = probe(built.distillation.student, built.example)
    seen = ", ".join(names_of(cell.view))
    given = ""
    if cell.given is not None:
        told = cell.given.told(model, cell.model, classes)
        given = cell.given.said + (f": {told}" if told else "")
    return ModelCheck(role, cell.model, seen, spec, parameters(model), macs(model, built.example), given)


def _row(context: StudyContext, label: str, cell: Cell, built: Built) -> RowCheck:
    samples, fold = context.samples(cell.fold), context.plan.folds[cell.fold]
    index = torch.from_numpy(fold.train)
    reseed(cell.seed, "check")
    chosen = index[torch.randperm(len(index))[: cell.train.batch]]
    batch = samples.batch(chosen, views_of(cell, built))
    for name, teacher in built.teachers.items():
        if context.plan.cells[cell.teachers[name].key].given is None:
            _settle(teacher.tap, batch.input(teacher.view))
    teachers = {name: teacher(batch) for name, teacher in built.teachers.items()}
    distillation = built.distillation.train()
    # The epoch at which every weight is at its fullest, so that no term hides behind its warm-up.
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
    method_of = {
        f"{n}.{term}": cast(Method, m) for n, m in distillation.methods.items() for term in cast(Method, m).terms
    }
    whole = sum(norms) or 1.0
    student = parameters(distillation.student)
    return RowCheck(
        label,
        tuple(cell.teachers),
        tuple(
            TermCheck(*term, share=norm / whole, inward=_inward(term[0], method_of))
            for term, norm in zip(terms, norms, strict=True)
        ),
        student,
        parameters(distillation) - student,
        tuple(_unreachable(cell, built, teachers)),
        (
            *(note for method in distillation.methods.values() for note in cast(Method, method).notes()),
            *coupled(cell.methods, cell.train.batch, context.accelerator.num_processes),
        ),
    )


def coupled(methods: Iterable[str], batch: int, processes: int) -> list[str]:
    """A note on methods that compare samples of a batch with each other, where several processes share a batch."""
    found = [name for name in methods if find(name).couples_batch]
    if processes == 1 or not found:
        return []
    return [
        f"{', '.join(found)} couple{'s' * (len(found) == 1)} the samples of a batch; each of the {processes} processes "
        f"sees its share of {batch // processes} of {batch}, so the numbers are not those of one process"
    ]


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


def _inward(term: str, methods: Mapping[str, Method]) -> bool:
    return term in methods and term.partition(".")[2] in methods[term].INWARD


def _gradient_norm(value: Tensor, student: torch.nn.Module) -> float:
    if not value.requires_grad:
        return 0.0
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, trained, allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None) ** 0.5)
