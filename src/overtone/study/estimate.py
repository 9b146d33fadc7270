"""A guess at what each cell costs, so that a display can say how long a study will still take."""

from __future__ import annotations

import torch

from overtone.models import build
from overtone.study.cell import Workshop
from overtone.study.plan import Cell
from overtone.tap import macs

OVERHEAD_MACS = 200_000
"""A sample's cost besides its convolutions (rendering, optimiser, Python), in multiply-accumulates."""


def costs(shop: Workshop, cells: list[Cell]) -> dict[str, float]:
    """Relative cost of training each cell for one epoch, by key: samples times multiply-accumulates."""
    per_sample: dict[tuple[str, str], int] = {}
    found = {}
    for cell in cells:
        kind = (cell.model, cell.view)
        if kind not in per_sample:
            samples = shop.samples(cell.fold)
            example = samples.batch(torch.tensor([0]), [cell.view]).views[cell.view]
            model = build(cell.model, example.shape[1:], len(shop.plan.windows.classes)).to(example.device)
            per_sample[kind] = macs(model, example)
        train = len(shop.plan.folds[cell.fold].train)
        found[cell.key] = float(train * (per_sample[kind] + OVERHEAD_MACS))
    return found
