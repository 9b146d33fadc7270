"""A study looked at before any training: one batch forward and backward through every row, nothing kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from overtone.baselines import Baseline
from overtone.data.split import doubts
from overtone.engine import make_accelerator
from overtone.study.build import Built, StudyContext, build_cell
from overtone.study.cells import Cell, Plan
from overtone.study.cost import Cost, cost_of
from overtone.study.doubts import row_warnings
from overtone.study.estimate import kind_of, measure
from overtone.study.fitted import check_baseline
from overtone.study.gradients import RowCheck, check_row
from overtone.study.records import RowKind
from overtone.tap import macs, parameters, probe
from overtone.types import Spec, names_of, shape_of_one


@dataclass(frozen=True)
class ModelCheck:
    """A teacher or the student: what it sees and what it costs; ``given`` says what of it is given.

    ``class_weights`` are those of its samples in the task's own terms, in the first fold; none where all weigh alike.
    """

    role: str
    model: str
    view: str
    spec: Spec
    parameters: int
    macs: int
    given: str = ""
    class_weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineCheck:
    """What is fitted without a gradient: to how many features, and the bytes that those of all windows take."""

    name: str
    model: str
    view: str
    kind: str
    features: int
    size: int


@dataclass(frozen=True)
class Check:
    """What ``overtone check`` shows."""

    views: dict[str, tuple[int, ...]]
    models: tuple[ModelCheck, ...]
    rows: tuple[RowCheck, ...]
    baselines: tuple[BaselineCheck, ...]
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
    baselines: list[BaselineCheck] = []
    torch.set_num_threads(plan.recipe.train.threads)
    with TemporaryDirectory() as folder:
        context = StudyContext(plan, Path(folder), make_accelerator())
        samples = context.samples(fold)
        one = torch.tensor([int(plan.folds[fold].train[0])])
        views = {name: shape_of_one(x) for name, x in samples.batch(one, plan.views).views.items()}
        for row in plan.rows:
            if row.kind in (RowKind.ENSEMBLE, RowKind.BRANCH):
                continue
            cell = plan.cells[row.cells[fold, seed][0]]
            if cell.baseline is not None:
                baselines.append(_baseline(context, cell, cell.baseline))
                continue
            built = build_cell(context.inputs(cell), cell, fresh_teachers=True)
            about_models += built.doubts
            role = row.label if row.kind == RowKind.TEACHER else "student"
            if role not in models:
                models[role] = _model(role, cell, built, plan.windows.task.names)
            if row.kind == RowKind.METHOD:
                rows.append(check_row(context, row.label, cell, built))
            measured[kind_of(cell)] = measure(context, cell, built)
        cost = cost_of(context, measured)
    about_sides = doubts(plan.windows, list(plan.folds.values()), plan.recipe.split)
    about_rows = (warning for row in rows for warning in row_warnings(row))
    warnings = dict.fromkeys([*about_sides, *plan.windows.task.warnings(plan.windows), *about_models, *about_rows])
    return Check(views, tuple(models.values()), tuple(rows), tuple(baselines), cost, tuple(warnings))


def _baseline(context: StudyContext, cell: Cell, baseline: Baseline) -> BaselineCheck:
    features, size = check_baseline(context.inputs(cell), cell, baseline)
    return BaselineCheck(baseline.name, baseline.title, baseline.view, baseline.features, features, size)


def _model(role: str, cell: Cell, built: Built, classes: tuple[str, ...]) -> ModelCheck:
    model = built.distillation.student.model
    spec = probe(built.distillation.student, built.example)
    seen = ", ".join(names_of(cell.view))
    given = ""
    if cell.given is not None:
        mapped = cell.given.told(model, cell.model, classes)
        given = cell.given.said + (f": {mapped}" if mapped else "")
    if cell.backbone is not None:
        taken = cell.backbone.body_told(model, cell.model)
        given = f"backbone from {cell.backbone.path.name}" + (f" ({taken})" if taken else "")
    weights = built.distillation.task.class_weights
    return ModelCheck(role, cell.model, seen, spec, parameters(model), macs(model, built.example), given, weights)
