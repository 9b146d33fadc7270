"""What is fitted without a gradient: a class with ``fit`` and ``predict``, such as scikit-learn's, and its features."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from overtone.errors import InputError, nearest, told
from overtone.lookup import import_library, import_object, source_hash
from overtone.recipe import BaselineSettings
from overtone.tasks import TASKS, Array, Task

VERSION = 1
"""Raised whenever the same data, class and arguments give other numbers."""
LIBRARY = "sklearn"
"""Its classes are known by their names; of others a hash of their file is part of the key."""
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
STATISTICS = (
    "least", "lower quartile", "median", "upper quartile", "greatest", "mean", "standard deviation",
    "mean absolute difference", "energy",
)  # fmt: skip
"""Of a channel, in the order in which :func:`statistics` gives them."""


def statistics(x: Tensor) -> Array:
    """A few numbers of each channel: (B, C, ...) -> (B, 9 C), channel by channel, float64.

    The difference is that of neighbours along the last axis (time, mostly), the energy the mean square. All are taken
    of what the view gives, so of standardised signals.
    """
    values = x.detach().cpu().double().numpy()
    steps = np.abs(np.diff(values, axis=-1)).reshape(*values.shape[:2], -1)
    values = values.reshape(*values.shape[:2], -1)  # (B, C, P)
    quarters = np.quantile(values, QUARTERS, axis=2)  # (5, B, C)
    change = steps.sum(2) / max(1, steps.shape[2])
    found = np.stack([*quarters, values.mean(2), values.std(2), change, np.square(values).mean(2)], axis=2)  # (B, C, 9)
    return found.reshape(len(found), -1)


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each feature over the training side; a feature that never changes keeps its scale."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, features: Array) -> Scale:
        """From features (N, F)."""
        std = features.std(0)
        return cls(features.mean(0), np.where(std > 0, std, 1.0))

    def __call__(self, features: Array) -> Array:
        """(N, F) -> (N, F) float32."""
        return np.asarray((features - self.mean) / self.std, dtype=np.float32)


@dataclass(frozen=True)
class Baseline:
    """One of a recipe's baselines, with its name resolved.

    Attributes:
        name: in the recipe.
        path: its class, ``package.module:Class``.
        view: what its features are taken from.
        features: :func:`statistics`, which are standardised over the training side, or the view's values as they are.
        arguments: of the class; the task's own for a short name, with the recipe's on top.
    """

    name: str
    path: str
    view: str
    features: Literal["statistics", "flat"]
    arguments: Mapping[str, Any]

    @classmethod
    def find(cls, name: str, settings: BaselineSettings, task: Task) -> Baseline:
        """A recipe's baseline; its class is imported and made once, so that what is wrong with it is told now.

        Raises:
            InputError: for a task without baselines, an unknown name, a class without ``fit`` or ``predict``, and
                arguments that it does not take.
        """
        where, known = f"baselines.{name}", task.ESTIMATORS
        if not known:
            raise InputError(f"{where}: task {task.NAME} takes nothing that is fitted without a gradient")
        if ":" not in settings.model and settings.model not in known:
            near = nearest(settings.model, [*known, "package.module:Class"])
            raise InputError(f"{where}: unknown model {settings.model!r}; {near}")
        path, own = known.get(settings.model, (settings.model, {}))
        found = cls(name, path, settings.view, settings.features, {**own, **settings.arguments})
        found._check(where)
        return found

    def _check(self, where: str) -> None:
        kind = self.kind
        lacking = [part for part in ("fit", "predict") if not callable(getattr(kind, part, None))]
        if not isinstance(kind, type) or lacking:
            raise InputError(
                f"{where}: {self.path} has no {' and no '.join(lacking) or 'fit of its own, it is no class'}; a class "
                "with fit(X, y) and predict(X), or predict_proba(X) beside it, is needed"
            )
        for argument in self.arguments:
            if not self.takes(argument):
                raise InputError(
                    f"{where}.arguments: {self.kind.__name__} takes no {argument!r}; "
                    f"{nearest(argument, _parameters(kind))}"
                )
        try:
            kind(**self.arguments)
        except Exception as error:  # a class of somebody's own may raise anything
            raise InputError(f"{where}: {self.path} cannot be made: {told(error)}") from error

    @property
    def kind(self) -> Any:
        """The class.

        Raises:
            InputError: if it cannot be imported.
        """
        if self.path.startswith(f"{LIBRARY}."):
            import_library(LIBRARY)
        return import_object(self.path, f"baselines.{self.name}")

    @property
    def decides(self) -> list[Any]:
        """What of it decides a cell's numbers."""
        own = [] if self.path.startswith(f"{LIBRARY}.") else [source_hash(self.path, f"baselines.{self.name}")]
        return [VERSION, self.path, *own, self.features, dict(self.arguments)]

    @property
    def title(self) -> str:
        """The class' name."""
        return self.path.rpartition(":")[2]

    def takes(self, argument: str) -> bool:
        """Whether the class takes an argument of that name."""
        known = _parameters(self.kind)
        return argument in known or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())

    def make(self, seed: int, threads: int) -> Any:
        """An estimator that is not fitted yet, with the seed and the threads where its class takes them."""
        known = _parameters(self.kind)
        given: dict[str, Any] = {"random_state": seed % 2**32} if "random_state" in known else {}
        given |= {"n_jobs": threads} if "n_jobs" in known and threads > 1 else {}
        return self.kind(**{**given, **self.arguments})

    def of(self, x: Tensor) -> Array:
        """Features (B, F) of samples in its view (B, ...)."""
        if self.features == "statistics":
            return statistics(x)
        return np.asarray(x.detach().cpu().float().numpy().reshape(len(x), -1))


def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    """A class' parameters by name; any name of one that is written in C and does not tell."""
    try:
        return inspect.signature(kind).parameters
    except ValueError:
        return {"arguments": inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)}


def listed() -> list[tuple[str, str]]:
    """The short names, with the classes that they stand for in each task."""
    names = dict.fromkeys(name for task in TASKS.values() for name in task.ESTIMATORS)
    found = []
    for name in names:
        held = [(t.NAME, t.ESTIMATORS[name][0].rpartition(":")[2]) for t in TASKS.values() if name in t.ESTIMATORS]
        found.append((name, "scikit-learn's " + ", ".join(f"{kind} ({task})" for task, kind in held)))
    return found
