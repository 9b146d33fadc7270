"""What a plan is made of: cells, rows of the table, and the whole study before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from overtone.baselines import Baseline
from overtone.data import Fold, Windows
from overtone.methods import MethodConfig
from overtone.recipe import ModelOptions, PhaseSettings, Recipe, ReferenceSettings, TrainSettings, WeightSettings
from overtone.study.records import RowKind
from overtone.types import DataInfo, Seen
from overtone.views import View
from overtone.weights import GivenWeights


@dataclass(frozen=True)
class Link:
    """A teacher of a cell: which cell made it, and which of its weights are used."""

    key: str
    checkpoint: str


@dataclass(frozen=True)
class Cell:
    """One training run, a model whose weights are ``given``, or a ``baseline``, which is fitted without a gradient.

    ``key`` hashes everything that decides its numbers. ``backbone`` is what a part of its model begins with.
    """

    key: str
    title: str
    fold: int
    seed: int
    view: Seen
    model: str
    options: ModelOptions
    at: Mapping[str, str] | None
    epochs: int
    train: TrainSettings
    methods: Mapping[str, MethodConfig]
    weights: Mapping[str, WeightSettings]
    teachers: Mapping[str, Link]
    start: str | None
    phases: tuple[PhaseSettings, ...] = ()
    given: GivenWeights | None = None
    baseline: Baseline | None = None
    backbone: GivenWeights | None = None

    @property
    def untrained(self) -> str | None:
        """Why it has no epochs, in words; None of a training run."""
        if self.baseline is not None:
            return "fitted without a gradient"
        return None if self.given is None else self.given.said

    @property
    def needs(self) -> list[str]:
        """Keys of the cells that must be done before."""
        return [link.key for link in self.teachers.values()] + ([self.start] if self.start else [])


@dataclass(frozen=True)
class Row:
    """One line of the table: a method's, a part's of a two-branch student, a teacher's own, the ensemble, a baseline's.

    ``cells`` maps (fold, seed) to the keys whose result it is; an ensemble has several keys. ``part`` of a row of kind
    ``branch`` is what of the student it is about: ``signal``, or ``without image``.
    """

    id: str
    kind: RowKind
    label: str
    teachers: tuple[str, ...]
    student: str
    checkpoints: tuple[str, ...] = ()
    part: str = ""
    reference: ReferenceSettings | None = None
    cells: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A whole study, before anything runs."""

    recipe: Recipe
    windows: Windows
    folds: Mapping[int, Fold]
    views: Mapping[str, View]
    cells: Mapping[str, Cell]
    rows: tuple[Row, ...]
    keep: Mapping[str, frozenset[int]]


def data_info(windows: Windows, fold: Fold) -> DataInfo:
    """What methods may know of a fold's training side; teachers' scores are to come, unless nothing can tell them."""
    target = torch.from_numpy(windows.y[fold.train])
    scores: dict[str, float] | None = {} if len(fold.val) else None
    facts = windows.task.fit(target).facts
    return DataInfo(windows.classes, torch.from_numpy(fold.train), target, windows.rate, scores, facts)
