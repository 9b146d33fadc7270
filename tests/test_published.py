"""Shipped values against those of published code, and what shipped recipes say of how they train."""

from __future__ import annotations

import pytest

from overtone import recipe
from overtone.methods import find
from overtone.study.rows import resolve_row
from overtone.tasks import Classification

LOGIT_STD = {"cifar100-vgg13-vgg8": 3, "cifar100-r50-mbv2": 3, "cifar100-r56-r20": 2, "cifar100-r32x4-r8x4": 2}
ROWS = [
    *((name, "logit_std", t, (0.1, 9)) for name, t in LOGIT_STD.items()),
    *((name, "dist", 1, (1, 2)) for name in ("imagenet-r34-r18", "imagenet-r50-mbv1")),
    *((name, "kd", 1, (0.5, 0.5)) for name in ("imagenet-r34-r18", "imagenet-r50-mbv1")),
    ("cifar100-r56-r20", "dist", 4, (1, 2)),
    ("cifar100-r56-r20", "kd", 4, (0.1, 0.9)),
]


@pytest.mark.parametrize(("name", "method", "temperature", "weights"), ROWS)
def test_a_pair_has_its_published_values(
    name: str, method: str, temperature: float, weights: tuple[float, float]
) -> None:
    study = recipe.load(name)
    row = resolve_row(next(m for m in study.methods if m.name == method), list(study.teachers), Classification())
    assert row.methods[method].temperature == temperature  # type: ignore[attr-defined]
    (own,) = {weight.value for term, weight in row.weights.items() if term != "ce"}
    assert (row.weights["ce"].value, own) == weights


def test_who_trains_with_nesterov() -> None:
    """Tables of ours were made with it, published ones are of plain momentum."""
    ours = ("watch", "uci_har", "fam-ablation", "cifar100-mini")
    for name in recipe.shipped():
        assert recipe.load(name).train.nesterov == name.startswith(ours), name


@pytest.mark.parametrize("name", ["watch", "uci_har", "watch-methods", "watch-methods-mini", "uci_har-methods"])
def test_tables_that_were_made_before_keep_their_proportions(name: str) -> None:
    rows = [resolve_row(row, ["signal", "gaf", "pi"], Classification()) for row in recipe.load(name).methods]
    fused = [row.methods["weighted"] for row in rows if "weighted" in row.methods]
    assert {config.reduction for config in fused} == {"batchmean"}  # type: ignore[attr-defined]
    alone = [row.weights["ce"].value for row in rows if "logit_std" in row.methods]
    assert set(alone) <= {1.0}
    assert find("weighted").VERSION == 2
