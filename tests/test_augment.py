"""Augmentation: off by default, repeatable by sample, followed by views that can, refused by those that cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from overtone import data, recipe
from overtone.data import Standardiser
from overtone.engine.augment import Augment
from overtone.errors import InputError
from overtone.recipe import AugmentSettings
from overtone.study import execute, make_plan

KINDS = {"jitter": 0.1, "scaling": 0.2, "rotation": 40, "time_warp": 0.5, "channel_dropout": 0.5}
X = torch.randn(5, 6, 40, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([3, 9, 4, 7, 1])


def augment(**settings: float) -> Augment:
    return Augment(AugmentSettings(**settings), Standardiser((0.5,) * 6, (2.0,) * 6), seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_windows_and_repeats_itself(kind: str) -> None:
    change = augment(**{kind: KINDS[kind]})
    once = change(X, INDEX, epoch=2)
    assert once.shape == X.shape
    assert not torch.equal(once, X)
    assert torch.equal(once, change(X, INDEX, epoch=2))
    assert not torch.equal(once, change(X, INDEX, epoch=3))
    other = torch.tensor([4, 1, 3])  # other neighbours in the batch, in another order
    torch.testing.assert_close(change(X[[2, 4, 0]], other, epoch=2), once[[2, 4, 0]])


def test_rotation_keeps_lengths_in_the_recordings_units() -> None:
    turned = augment(rotation=90)(X, INDEX, epoch=1)

    def lengths(x: torch.Tensor) -> torch.Tensor:
        return (x * 2.0 + 0.5).unflatten(1, (2, 3)).norm(dim=2)

    torch.testing.assert_close(lengths(turned), lengths(X))


def test_time_warp_keeps_the_ends_and_a_constant() -> None:
    warped = augment(time_warp=0.5)(X, INDEX, epoch=1)
    torch.testing.assert_close(warped[..., 0], X[..., 0])
    torch.testing.assert_close(warped[..., -1], X[..., -1])
    flat = torch.ones(5, 6, 40)
    torch.testing.assert_close(augment(time_warp=0.5)(flat, INDEX, epoch=1), flat)


def test_dropout_silences_whole_channels() -> None:
    dropped = augment(channel_dropout=0.5)(X, INDEX, epoch=1)
    silent = (dropped == 0).all(2)
    assert 0 < silent.sum() < silent.numel()
    torch.testing.assert_close(dropped[~silent], X[~silent])


def test_a_study_with_augmentation(tiny: dict[str, Any], tmp_path: Any) -> None:
    tiny["train"]["augment"] = {"jitter": 0.05, "rotation": 10}
    study = recipe.validate(tiny)
    plan = make_plan(study, data.load(study.data))
    assert execute(plan, tmp_path / "out") == {}
    tiny["teachers"]["gaf"]["view"] = "pi"
    with pytest.raises(InputError, match="view 'pi' is computed once from the recorded window"):
        make_plan(recipe.validate(tiny), plan.windows)


def test_rotation_needs_triads(tiny: dict[str, Any]) -> None:
    tiny["train"]["augment"] = {"rotation": 10}
    study = recipe.validate(tiny)
    windows = data.load(study.data)
    windows = type(windows)(**{**vars(windows), "x": windows.x[:, :5], "channels": windows.channels[:5]})
    with pytest.raises(InputError, match="turns triads x, y, z, but the data has 5 channels"):
        make_plan(study, windows)
