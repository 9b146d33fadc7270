"""What a study is, on disk: enough to remake tables and page without the recipe, the data or a model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from overtone.data import leaks
from overtone.data.split import doubts
from overtone.files import write_npz
from overtone.lookup import view_settings
from overtone.sealed import DamagedError, read_npz
from overtone.study.build import StudyContext
from overtone.study.plan import Plan
from overtone.types import names_of


def describe(plan: Plan) -> dict[str, Any]:
    """``study.json``: recipe, data, folds, rows and cells by name."""
    windows = plan.windows
    counts = np.zeros((len(windows.groups), len(windows.classes)), dtype=int)
    np.add.at(counts, (windows.group, windows.y), 1)
    return {
        "name": plan.recipe.name,
        "about": plan.recipe.about,
        "recipe": plan.recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "data": {
            "where": windows.where,
            "material": asdict(windows.material),
            "content": windows.content,
            "windows": len(windows),
            "window": windows.size[0] if len(windows.size) == 1 else windows.size,
            "stride": windows.stride,
            "rate": windows.rate,
            "channels": windows.channels,
            "classes": windows.classes,
            "groups": windows.groups,
            "counts": counts.tolist(),
            "notes": [
                *windows.notes,
                *leaks(windows, plan.recipe.split),
                *doubts(windows, list(plan.folds.values()), plan.recipe.split),
            ],
        },
        "folds": [
            {
                "number": fold.number,
                "train": {"groups": fold.train_groups, "windows": len(fold.train)},
                "val": {"groups": fold.val_groups, "windows": len(fold.val)},
                "test": {"groups": fold.test_groups, "windows": len(fold.test)},
            }
            for fold in plan.folds.values()
        ],
        "seeds": plan.recipe.seeds,
        "rows": [
            {
                "id": row.id,
                "kind": row.kind,
                "label": row.label,
                "teachers": row.teachers,
                "student": row.student,
                "checkpoints": row.checkpoints,
                "part": row.part,
                "reference": None if row.reference is None else row.reference.model_dump(),
                "cells": [{"fold": fold, "seed": seed, "keys": keys} for (fold, seed), keys in row.cells.items()],
            }
            for row in plan.rows
        ],
        "cells": {
            key: {
                "title": cell.title,
                "needs": cell.needs,
                "views": names_of(cell.view),
                **({} if cell.given is None else {"given": cell.given.said}),
            }
            for key, cell in plan.cells.items()
        },
    }


def write_example(plan: Plan, context: StudyContext, out: Path) -> None:
    """``example.npz``: one test window of the first fold in all views, for the page to draw."""
    made_from = repr((plan.windows.content, {name: view_settings(view) for name, view in plan.views.items()}))
    if _made_from(out / "example.npz") == made_from:
        return
    fold = next(iter(plan.folds.values()))
    number = int(fold.test[len(fold.test) // 2])
    samples = context.samples(fold.number)
    batch = samples.batch(torch.tensor([number]), plan.views)
    views = {f"view.{name}": view[0].cpu().numpy() for name, view in batch.views.items()}
    windows = plan.windows
    origin = {
        "window": windows.x[number],
        "label": np.asarray(windows.y[number]),
        "group": np.asarray(windows.groups[windows.group[number]]),
        "recording": np.asarray(windows.recording[number]),
        "start": np.asarray(windows.start[number]),
        "made_from": np.asarray(made_from),
    }
    states = {name: fitted.state for name, fitted in samples.views.items()}
    extents = {
        f"extent.{name}": np.concatenate([state["birth_range"], state["persistence_range"]], axis=-1)
        for name, state in states.items()
        if "birth_range" in state
    }
    write_npz(out / "example.npz", {**origin, **views, **extents})


def _made_from(path: Path) -> str | None:
    """What an example on disk was made from; None without one, or where it cannot be read."""
    try:
        return str(read_npz(path)["made_from"])
    except (DamagedError, KeyError):
        return None
