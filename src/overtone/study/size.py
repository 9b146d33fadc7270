"""How large a study is, told before its plan is made: a slip of two digits asks for a million cells."""

from __future__ import annotations

from dataclasses import dataclass

from overtone.data import Windows, fold_numbers
from overtone.recipe import ModelSettings, Recipe
from overtone.study.cells import Plan
from overtone.study.plan import make_plan

MANY_CELLS, MANY_STEPS = 10_000, 20_000_000
"""Beyond either, a study is looked at more closely; the largest that are shipped have 500 cells, or 6 million steps."""

LONG = 30 * 24 * 3600.0
"""Seconds of training that are asked about."""


@dataclass(frozen=True)
class Size:
    """A study that may be larger than was meant.

    Attributes:
        one: its plan for the first fold and seed alone.
        folds, seeds: how many there are.
    """

    one: Plan
    folds: int
    seeds: int

    @property
    def repeats(self) -> int:
        """How often the first fold and seed are repeated, itself included."""
        return self.folds * self.seeds

    @property
    def cells(self) -> int:
        """Of the whole study; teachers with given weights are the same for every seed, and counted for each."""
        return len(self.one.cells) * self.repeats

    def asks(self, seconds: float) -> bool:
        """Whether a study that trains so long, all of it, is run only with the user's word."""
        return self.cells > MANY_CELLS or seconds > LONG


def large(recipe: Recipe, windows: Windows) -> Size | None:
    """A study's size where it may be worth a question; None for others. Counted from the recipe, without its plan.

    Raises:
        InputError: for a recipe that cannot be built.
    """
    folds, seeds = fold_numbers(windows, recipe.split), recipe.seeds
    repeats = len(folds) * len(seeds)
    models = [recipe.student] * len(recipe.methods) + list(recipe.teachers.values())
    steps = sum(_steps(recipe, model, len(windows)) for model in models)
    if repeats * len(models) <= MANY_CELLS and repeats * steps <= MANY_STEPS:
        return None
    split = recipe.split.model_copy(update={"folds": folds[:1]})
    one = make_plan(recipe.model_copy(update={"split": split, "seeds": seeds[:1]}), windows)
    return Size(one, len(folds), len(seeds))


def _steps(recipe: Recipe, model: ModelSettings, windows: int) -> int:
    given = model.train.get("steps", recipe.train.steps)
    return given if isinstance(given, int) else model.epochs * max(1, windows // _batch(recipe, model.train))


def _batch(recipe: Recipe, train: dict[str, object]) -> int:
    batch = train.get("batch")
    return batch if isinstance(batch, int) and batch > 0 else recipe.train.batch
