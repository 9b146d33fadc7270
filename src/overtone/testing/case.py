"""A method on a tiny student and tiny teachers, as the contract and many tests need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from overtone.distill import Distillation
from overtone.methods import Method, MethodConfig, configure, find, keep
from overtone.methods import make as make_method
from overtone.models import branch_names, build
from overtone.recipe import ModelOptions, WeightSettings
from overtone.tap import Tap, probe
from overtone.teachers import Teacher
from overtone.types import Batch, DataInfo, Input, Needs, Output, Progress, Seen, Spec, names_of, select, shape_of
from overtone.views import VIEWS, gramian_angular_field

CLASSES, CHANNELS, LENGTH, IMAGE = 5, 3, 32, 8
PROGRESS = Progress(epoch=1, epochs=2, step=0, steps=8)
STUDENT, TWO_BRANCH, TEACHER = "dscnn-4", "two_branch-wrn10-0.25", "wrn10-0.25"
INFO = DataInfo(tuple("abcde"), torch.arange(64), torch.arange(64) % CLASSES, 50.0, {"signal": 0.9, "gaf": 0.6})
"""What is known of the training data: 64 windows of five classes."""


@dataclass
class Case:
    """A method built and ready: its class, its distillation, its teachers, and what it says that it reads of them."""

    kind: type[Method]
    settings: dict[str, Any]
    config: MethodConfig
    distillation: Distillation
    teachers: dict[str, Teacher]
    needs: Needs

    @property
    def method(self) -> Method:
        """The method's module."""
        module = self.distillation.methods[self.kind.NAME]
        assert isinstance(module, Method)
        return module

    def outputs(self, batch: Batch) -> dict[str, Output]:
        """Every teacher's."""
        return {name: teacher(batch) for name, teacher in self.teachers.items()}

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


def make(
    kind: str | type[Method],
    settings: Mapping[str, Any],
    student: str | None = None,
    seed: int = 0,
    teachers: Mapping[str, str] | None = None,
) -> Case:
    """Student, teachers and one method, seeded.

    Args:
        kind: the method's name or class.
        settings: its own.
        student: a model of a signal, or of two branches; what the method needs unless given.
        seed: of all weights.
        teachers: the view, ``signal`` or ``gaf``, of each teacher by name; what the method takes unless given.
    """
    torch.manual_seed(seed)
    kind = find(kind)
    example = batch_of(2)
    pool: Literal["attention", "average"] = "attention" if kind.READS == "class maps" else "average"
    seen = views_of(kind) if teachers is None else teachers
    theirs = {name: Teacher(name, _tap(TEACHER, example.input(view), pool), view) for name, view in seen.items()}
    model = student or (TWO_BRANCH if kind.two_branches or "branch" in settings else STUDENT)
    mine: Seen = ("signal", "gaf") if branch_names(model) else "signal"
    tap = _tap(model, example.input(mine), pool)
    spec = _spec(tap, example, mine)
    specs = {name: _spec(teacher.tap, example, teacher.view) for name, teacher in theirs.items()}
    config = configure(kind, dict(settings))
    models = {name: teacher.tap.model for name, teacher in theirs.items()}
    tap = Tap(keep({kind: config}, tap.model, spec, models, specs))
    spec = _spec(tap, example, mine)
    method, needs = make_method(kind, config, spec, specs, INFO)
    weights = {term: WeightSettings(value=0.5) for term in tap.task.terms}
    weights[kind.NAME] = WeightSettings(value=2.0)
    distillation = Distillation(tap, {kind.NAME: method}, weights, mine)
    return Case(kind, dict(settings), config, distillation, theirs, needs)


def views_of(kind: type[Method]) -> dict[str, str]:
    """Teachers that a method takes, by name, with the view that each sees: a signal's and an image's where it can."""
    least, most = kind.TEACHERS
    count = max(least, 1 if kind.one_kind else 2)
    count = count if most is None else min(count, most)
    views = ["signal" if kind.one_kind or number % 2 == 0 else "gaf" for number in range(count)]
    return {view if view not in views[:number] else f"{view}{number}": view for number, view in enumerate(views)}


def _spec(tap: Tap, example: Batch, seen: Seen) -> Spec:
    return probe(tap, example.input(seen), [VIEWS[name].AXES for name in names_of(seen)])


def _tap(model: str, example: Input, pool: Literal["attention", "average"]) -> Tap:
    return Tap(build(model, shape_of(example), CLASSES, ModelOptions(pool=pool)))
