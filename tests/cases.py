"""Every method with settings worth checking, on a tiny student and tiny teachers; used by the contract suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from overtone import methods
from overtone.distill import Distillation
from overtone.methods import METHODS, Method, configure
from overtone.models import branch_names, build
from overtone.recipe import ModelOptions, WeightSettings
from overtone.tap import Tap, probe
from overtone.teachers import Teacher
from overtone.types import Batch, DataInfo, Input, Output, Progress, Seen, names_of, shape_of
from overtone.views import VIEWS, gramian_angular_field

CLASSES, CHANNELS, LENGTH, IMAGE = 5, 3, 32, 8
PROGRESS = Progress(epoch=1, epochs=2, step=0, steps=8)

DEEPEST: dict[str, Any] = {"pairs": {"stage3": "stage3"}}
"""Embedding and one stage: forms of frequency attention need no more; the case without settings has all stages."""
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("kd", {}),
    ("aver", {"average": "loss"}),
    ("aver", {"average": "prob"}),
    ("aver", {"average": "logit"}),
    ("weighted", {"teacher_weights": {"signal": 3, "gaf": 1}}),
    ("weighted", {"published": True}),
    ("sp", {}),
    ("sp", {"stages": "all"}),
    ("sp", {"stages": "all", "teachers": "merged", "teacher_weights": {"signal": 1, "gaf": 2}}),
    ("dkd", {}),
    ("dist", {}),
    ("logit_std", {}),
    ("ebkd", {}),
    ("ebkd", {"published": True}),
    ("ca_mkd", {"features": False}),
    ("ca_mkd", {}),
    ("ca_mkd", {"published": True}),
    ("aekd", {}),
    ("hidden", {}),
    ("rkd", {}),
    ("crd", {"negatives": 8}),
    ("crd", {"positives": "relaxed"}),
    ("ft", {}),
    ("ft", {"rate": 2.0}),
    ("simkd", {}),
    ("simkd", {"reduction": 4}),
    ("fitnet", {}),
    ("at", {}),
    ("review", {}),
    ("fam_layer", {}),
    ("fam_layer", {"lift": "gramian", "distance": "hcl", "shape": "gaussian", **DEEPEST}),
    ("fam_layer", {"lift": "repeat", "distance": "spectrum", "transform": "dct", "form": "low_rank:2", **DEEPEST}),
    ("fam_layer", {"transform": "haar", "form": "depthwise", "attention": False, "final_relu": True, **DEEPEST}),
    ("fam_review", {}),
    ("fam_review", {"branches": "global", "published": True}),
    ("pskd", {}),
    ("fused", {}),
    ("fused", {"fusion": "entropy", "average": "prob"}),
    ("cam", {}),
    ("cam", {"classes": "all"}),
    ("cam", {"branch": "signal", "time": "diagonal", "classes": "all", "normalise": True}),
    ("cam", {"branch": "image", "size": 3}),
    ("evidence", {}),
    ("evidence", {"fusion": "mean", "distance": "kl"}),
    ("evidence", {"fusion": "learned"}),
    ("progressive", {}),
    ("kd", {"branch": "fused"}),
    ("hidden", {"branch": "image"}),
    ("at", {"branch": "signal"}),
]
ONE_KIND = {"fitnet", "at", "review", "fam_review"}
"""Methods that refuse an image teacher beside a signal student; ``ca_mkd`` does with its features."""
TWO_BRANCH = "two_branch-wrn10-0.25"
OF_TWO_BRANCHES = {"evidence", "progressive"}
"""Methods for a student with two branches only; others have one where their settings name a branch."""
NAMES = [f"{name}-{'-'.join(f'{v}' for v in settings.values() if isinstance(v, str))}" for name, settings in SETTINGS]


@dataclass
class Case:
    """A method built and ready: its distillation, its teachers, the class."""

    kind: type[Method]
    settings: dict[str, Any]
    distillation: Distillation
    teachers: dict[str, Teacher]

    @property
    def method(self) -> Method:
        return self.distillation.methods[self.kind.NAME]

    def outputs(self, batch: Batch) -> dict[str, Output]:
        return {name: teacher(batch) for name, teacher in self.teachers.items()}


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


def make(name: str, settings: dict[str, Any], student: str | None = None, seed: int = 0) -> Case:
    """Student, teachers and one method, seeded."""
    torch.manual_seed(seed)
    example = batch_of(2)
    pool = "attention" if name in ("cam", "evidence") else "average"
    seen = _teachers(name, settings)
    teachers = {view: Teacher(view, _tap("wrn10-0.25", example.input(view), pool), view) for view in seen}
    two = name in OF_TWO_BRANCHES or "branch" in settings
    model = student or (TWO_BRANCH if two else "dscnn-4")
    mine: Seen = ("signal", "gaf") if branch_names(model) else "signal"
    tap = _tap(model, example.input(mine))
    spec = probe(tap, example.input(mine), _axes(mine))
    specs = {view: probe(teacher.tap, example.input(view), _axes(view)) for view, teacher in teachers.items()}
    info = DataInfo(tuple("abcde"), torch.arange(64), torch.arange(64) % CLASSES, 50.0, {"signal": 0.9, "gaf": 0.6})
    models = {view: teacher.tap.model for view, teacher in teachers.items()}
    tap = Tap(methods.keep({name: configure(name, settings)}, tap.model, spec, models, specs))
    spec = probe(tap, example.input(mine), _axes(mine))
    method, _ = methods.make(name, configure(name, settings), spec, specs, info)
    weights = {"ce": WeightSettings(value=0.5), name: WeightSettings(value=2.0)}
    return Case(METHODS[name], settings, Distillation(tap, {name: method}, weights, mine), teachers)


def _teachers(name: str, settings: dict[str, Any]) -> list[str]:
    """The views of the teachers that a method takes."""
    if name == "cam" and "branch" in settings:
        return ["gaf"] if settings["branch"] == "image" else ["signal", "gaf"]
    features = name == "ca_mkd" and settings.get("features", True)
    one = METHODS[name].TEACHERS[1] == 1 or name in {"cam", *ONE_KIND} or features
    return ["signal"] if one else ["signal", "gaf"]


def _axes(seen: Seen) -> list[tuple[str, ...]]:
    return [VIEWS[name].AXES for name in names_of(seen)]


def _tap(model: str, example: Input, pool: Any = "average") -> Tap:
    return Tap(build(model, shape_of(example), CLASSES, ModelOptions(pool=pool)))
