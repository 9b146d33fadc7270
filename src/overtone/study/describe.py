"""What a study is, on disk: enough to remake tables and page without the recipe, the data or a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from overtone.data import leaks
from overtone.data.split import doubts
from overtone.files import write_npz
from overtone.lookup import view_settings
from overtone.sealed import DamagedError, read_npz
from overtone.study.build import StudyContext
from overtone.study.cells import Plan
from overtone.study.records import (
    FORMAT,
    CellDescription,
    DataDescription,
    FoldDescription,
    Reference,
    RowCells,
    RowDescription,
    Side,
    StudyDescription,
    TargetSummary,
    TaskDescription,
    ViewDescription,
)
from overtone.tasks import named
from overtone.types import names_of


def describe(plan: Plan) -> StudyDescription:
    """``study.json``: recipe, data, folds, rows and cells by name."""
    return StudyDescription(
        format=FORMAT,
        name=plan.recipe.name,
        about=plan.recipe.about,
        recipe=plan.recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        task=TaskDescription(
            name=named(plan.windows.task),
            metrics=list(plan.windows.task.metrics),
            watched=plan.windows.task.watched,
            truth=plan.windows.task.TRUTH,
            asked=plan.windows.task.ASKED,
            facts=plan.windows.task.model_dump(mode="json", exclude_defaults=True),
        ),
        data=_data(plan),
        folds=[
            FoldDescription(
                number=fold.number,
                train=Side(groups=list(fold.train_groups), windows=len(fold.train)),
                val=Side(groups=list(fold.val_groups), windows=len(fold.val)),
                test=Side(groups=list(fold.test_groups), windows=len(fold.test)),
            )
            for fold in plan.folds.values()
        ],
        views={name: ViewDescription(axes=list(view.axes), shown=view.SHOWN) for name, view in plan.views.items()},
        seeds=plan.recipe.seeds,
        rows=[
            RowDescription(
                id=row.id,
                kind=row.kind,
                label=row.label,
                teachers=list(row.teachers),
                student=row.student,
                checkpoints=list(row.checkpoints),
                part=row.part,
                reference=None if row.reference is None else Reference(**row.reference.model_dump()),
                cells=[RowCells(fold=fold, seed=seed, keys=list(keys)) for (fold, seed), keys in row.cells.items()],
            )
            for row in plan.rows
        ],
        cells={
            key: CellDescription(
                title=cell.title,
                needs=cell.needs,
                views=list(names_of(cell.view)),
                given=cell.untrained,
            )
            for key, cell in plan.cells.items()
        },
    )


def _data(plan: Plan) -> DataDescription:
    windows, task = plan.windows, plan.windows.task
    summary = task.summary(windows.y, windows.group, len(windows.groups))
    return DataDescription(
        where=windows.where,
        material=windows.material,
        content=windows.content,
        windows=len(windows),
        window=windows.size[0] if len(windows.size) == 1 else (windows.size[0], windows.size[1]),
        stride=windows.stride,
        rate=windows.rate,
        channels=list(windows.channels),
        groups=list(windows.groups),
        targets=TargetSummary(
            columns=list(summary.columns),
            lines=[list(line) for line in summary.lines],
            total=list(summary.total),
            column=summary.column,
            counts=summary.counts,
            fact=task.fact(summary),
        ),
        notes=[
            *windows.notes,
            *leaks(windows, plan.recipe.split),
            *doubts(windows, list(plan.folds.values()), plan.recipe.split),
        ],
    )


def write_example(plan: Plan, context: StudyContext, out: Path) -> None:
    """``example.npz``: one test window of the first fold in all views, for the page to draw."""
    made_from = repr((plan.windows.content, {name: view_settings(view) for name, view in plan.views.items()}))
    if _made_from(out / "example.npz") == made_from:
        return
    fold = next(iter(plan.folds.values()))
    number = int(fold.test[len(fold.test) // 2])
    samples = context.samples(fold.number)
    rendered = samples.rendered(torch.tensor([number]), plan.views)
    views = {f"view.{name}": view[0].cpu().numpy() for name, view in rendered.items()}
    windows = plan.windows
    origin = {
        "window": windows.x[number],
        "called": np.asarray(windows.task.called(windows.y[number])),
        "group": np.asarray(windows.groups[windows.group[number]]),
        "recording": np.asarray(windows.recording[number]),
        "start": np.asarray(windows.start[number]),
        "made_from": np.asarray(made_from),
    }
    spans = {name: fitted.view.extents(fitted.state) for name, fitted in samples.views.items()}
    extents = {f"extent.{name}": np.asarray(span) for name, span in spans.items() if span}
    write_npz(out / "example.npz", {**origin, **views, **extents})


def _made_from(path: Path) -> str | None:
    """What an example on disk was made from; None without one, or where it cannot be read."""
    try:
        return str(read_npz(path)["made_from"])
    except (DamagedError, KeyError):
        return None
