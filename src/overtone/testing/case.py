"""A method on a tiny student and tiny teachers, as the contract and many tests need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from overtone.data import Recordings, Windows, cut
from overtone.distill import Distillation
from overtone.methods import Method, MethodConfig, check_distillable, configure, find, keep
from overtone.methods import make as make_method
from overtone.models import branch_names, build
from overtone.recipe import ModelOptions, WeightSettings
from overtone.tap import Tap, probe
from overtone.tasks import DEFAULT, Task
from overtone.teachers import Teacher
from overtone.types import Batch, DataInfo, Input, Needs, Output, Progress, Seen, Spec, names_of, select, shape_of
from overtone.views import VIEWS, gramian_angular_field

CLASSES, CHANNELS, LENGTH, IMAGE = 5, 3, 32, 8
PROGRESS = Progress(epoch=1, epochs=2, step=0, steps=8)
STUDENT, TWO_BRANCH, TEACHER = "dscnn-4", "two_branch-wrn10-0.25", "wrn10-0.25"
COUNT = 64
INFO = DataInfo(tuple("abcde"), torch.arange(COUNT), torch.arange(COUNT) % CLASSES, 50.0, {"signal": 0.9, "gaf": 0.6})
"""What is known of the training data: 64 windows of five classes."""


@dataclass(frozen=True)
class Setting:
    """What a method is tried on.

    Attributes:
        task: what student and teachers must do, as a recipe names it; it learns the rest from the windows.
        labels: of recordings, as :class:`~overtone.data.Recordings` holds them, repeated as needed; at random 0 to 4,
            which are classes or numbers, unless given.
        model: of student and teachers; built-in ones unless given.
    """

    task: Task = DEFAULT
    labels: Sequence[Any] | None = None
    model: str | None = None


PLAIN = Setting()


@dataclass
class Case:
    """A method built and ready: its class, its distillation, its teachers, and what it says that it reads of them."""

    kind: type[Method]
    settings: dict[str, Any]
    config: MethodConfig
    distillation: Distillation
    teachers: dict[str, Teacher]
    needs: Needs
    target: Tensor

    @property
    def task(self) -> Task:
        """What the models must do."""
        return self.distillation.task

    def batch(self, size: int) -> Batch:
        """Random windows with the task's targets, not collated."""
        return replace(batch_of(size), target=self.target[:size])

    def collated(self, batch: Batch) -> Batch:
        """As models and methods see it."""
        return self.task.collate(batch)

    @property
    def method(self) -> Method:
        """The method's module."""
        module = self.distillation.methods[self.kind.NAME]
        assert isinstance(module, Method)
        return module

    def outputs(self, batch: Batch) -> dict[str, Output]:
        """Every teacher's on a batch that is not collated."""
        return {name: teacher(self.collated(batch)) for name, teacher in self.teachers.items()}

    def read(self, outputs: Mapping[str, Output]) -> dict[str, Output]:
        """Only what the method says that it reads of them."""
        # A memory of teachers has their heads too.
        named = {name: self.needs.teachers.get(name, frozenset()) | {"head"} for name in outputs}
        return {name: select(output, named[name]) for name, output in outputs.items()}

    def mine(self, output: Output) -> Output:
        """The part of the student's output that the method sees, in float32."""
        return (output.branches[self.method.branch] if self.method.branch else output).float()


def batch_of(size: int, seed: int = 0) -> Batch:
    """Random windows as signal and as images."""
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(size, CHANNELS, LENGTH, generator=generator)
    target = torch.randint(0, CLASSES, (size,), generator=generator)
    views = {"signal": signal, "gaf": gramian_angular_field(signal, IMAGE)}
    return Batch(views, target, torch.arange(size))


def part_of(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch."""
    return Batch({name: x[rows] for name, x in batch.views.items()}, batch.target[rows], batch.index[rows])


def windows_of(on: Setting, count: int) -> Windows:
    """Random windows of five groups with their targets, as a study has them.

    Raises:
        InputError: from the task, for labels that it cannot read.
    """
    batch = batch_of(count)
    own = batch.target.numpy() if on.labels is None else [on.labels[n % len(on.labels)] for n in range(count)]
    groups = [str(number * 5 // count) for number in range(count)]
    classes = tuple(map(str, range(CLASSES))) if on.labels is None else ()
    signals = list(batch.views["signal"].numpy())
    recordings = Recordings(signals, own, groups, classes, tuple("xyz"), None, "the example")
    task, recordings = on.task.labelled(recordings, {})
    return task.take(cut(recordings, None, None, task))


def make(
    kind: str | type[Method],
    settings: Mapping[str, Any],
    student: str | None = None,
    seed: int = 0,
    teachers: Mapping[str, str] | None = None,
    on: Setting = PLAIN,
) -> Case:
    """Student, teachers and one method, seeded.

    Args:
        kind: the method's name or class.
        settings: its own.
        student: a model of a signal, or of two branches; what the method needs unless given.
        seed: of all weights.
        teachers: the view, ``signal`` or ``gaf``, of each teacher by name; what the method takes unless given.
        on: the task, with labels and a model that fit it.

    Raises:
        InputError: for a method that the task's outputs do not serve.
    """
    torch.manual_seed(seed)
    kind = find(kind)
    config = configure(kind, dict(settings))
    check_distillable(kind, config, on.task)
    windows = windows_of(on, COUNT)
    target = torch.from_numpy(np.asarray(windows.y))
    task = windows.task.fit(target)
    example = task.collate(replace(batch_of(2), target=None))
    pool: Literal["attention", "average"] = "attention" if kind.READS == "class maps" else "average"

    def tapped(model: str, x: Input) -> Tap:
        return Tap(build(model, shape_of(x), task.outputs, ModelOptions(pool=pool), task.plain), task=task)

    chosen = views_of(kind, config) if teachers is None else teachers
    theirs = {
        name: Teacher(name, tapped(on.model or TEACHER, example.input(view)), view) for name, view in chosen.items()
    }
    model = student or on.model or (TWO_BRANCH if kind.two_branches or config.branch else STUDENT)
    mine: Seen = ("signal", "gaf") if branch_names(model) else "signal"
    tap = tapped(model, example.input(mine))
    spec = _spec(tap, example, mine)
    specs = {name: _spec(teacher.tap, example, teacher.view) for name, teacher in theirs.items()}
    models = {name: teacher.tap.model for name, teacher in theirs.items()}
    tap = Tap(keep({kind: config}, tap.model, spec, models, specs), task=task)
    spec = _spec(tap, example, mine)
    info = INFO if on == PLAIN else replace(INFO, classes=windows.classes, train_target=target)
    method, needs = make_method(kind, config, spec, specs, info)
    weights = {term: WeightSettings(value=0.5) for term in task.terms}
    weights[kind.NAME] = WeightSettings(value=2.0)
    distillation = Distillation(tap, {kind.NAME: method}, weights, mine)
    return Case(kind, dict(settings), config, distillation, theirs, needs, target)


def views_of(kind: type[Method], config: MethodConfig) -> dict[str, str]:
    """Teachers that a method takes, by name, with the view that each sees: a signal's and an image's where it can."""
    least, most = kind.TEACHERS
    places = kind.compares_places(config)
    count = max(least, 1 if places else 2)
    count = count if most is None else min(count, most)
    same_kind = "gaf" if config.branch == "image" else "signal"
    views = [same_kind if places else ("signal", "gaf")[number % 2] for number in range(count)]
    return {view if view not in views[:number] else f"{view}{number}": view for number, view in enumerate(views)}


def _spec(tap: Tap, example: Batch, seen: Seen) -> Spec:
    return probe(tap, example.input(seen), [VIEWS[name].AXES for name in names_of(seen)])
