"""From a recipe to cells: which models are trained, in which order, and which rows of the table they make.

A cell is one training run. Teachers, distilled teachers, warm-start twins and students are all cells of the same kind,
found by a hash of everything that matters, so whatever two rows share is trained once.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from overtone import engine, models, tap
from overtone.baselines import Baseline
from overtone.data import Fold, Windows, check_learnable, check_sides, split
from overtone.engine.schedule import epochs_of
from overtone.errors import InputError, nearest
from overtone.lookup import make_view, source_hash, view_type
from overtone.methods import MethodConfig
from overtone.methods import find as find_method
from overtone.recipe import (
    ModelOptions,
    ModelSettings,
    Recipe,
    TeacherSettings,
    TrainSettings,
    WeightSettings,
    validation_message,
)
from overtone.study.cells import Cell, Link, Plan, Row, data_info
from overtone.study.preflight import (
    check_augment,
    check_batch,
    check_class_weights,
    check_data,
    check_mixed,
    check_weights,
)
from overtone.study.records import RowKind
from overtone.study.rows import RowSettings, distinct_labels, resolve_row
from overtone.tasks import Classification, named
from overtone.types import names_of
from overtone.views import VIEWS, View
from overtone.weights import GivenWeights


def make_plan(recipe: Recipe, windows: Windows) -> Plan:
    """Every cell and row of a study; nothing is trained, but all names and settings are checked.

    Raises:
        InputError: for anything in the recipe that cannot be built.
    """
    return _Planner(recipe, windows).plan()


TWIN = "warm-start twin"
"""Title of the student trained with labels only that another starts from, where no row is that already."""


class _Planner:
    def __init__(self, recipe: Recipe, windows: Windows) -> None:
        self.recipe, self.windows = recipe, windows
        check_learnable(windows)
        self.folds = {fold.number: fold for fold in split(windows, recipe.split)}
        check_sides(windows, list(self.folds.values()))
        self.validated = all(len(fold.val) for fold in self.folds.values())
        self.infos = {number: data_info(windows, fold) for number, fold in self.folds.items()}
        self.views: dict[str, View] = {}
        self.cells: dict[str, Cell] = {}
        self.keep: dict[str, set[int]] = {}
        self.names = list(recipe.teachers)
        self.given = {
            name: GivenWeights.find(
                teacher.pretrained.file,
                f"teachers.{name}.pretrained",
                teacher.pretrained.key,
                teacher.pretrained.classes,
            )
            for name, teacher in recipe.teachers.items()
            if teacher.pretrained is not None
        }
        self.backbones: dict[tuple[str, str | None], GivenWeights] = {}
        places = {"student": recipe.student, **{f"teachers.{name}": m for name, m in recipe.teachers.items()}}
        for where, model in places.items():
            if (settings := model.pretrained_backbone) is not None:
                found = GivenWeights.find(settings.file, f"{where}.pretrained_backbone", settings.key)
                self.backbones.setdefault((settings.file, settings.key), found)
        self.baselines = {
            name: Baseline.find(name, settings, windows.task) for name, settings in recipe.baselines.items()
        }
        for name in recipe.views:
            self._view(name)
        self.used: set[str] = set()
        self.rows = [resolve_row(row, self.names, windows.task) for row in recipe.methods]

    def plan(self) -> Plan:
        methods = self._method_rows()
        rows = [*methods, *self._branch_rows(methods), *self._teacher_rows(), *self._baseline_rows()]
        for fold in self.folds.values():
            for seed in self.recipe.seeds:
                for row in rows:
                    row.cells[fold.number, seed] = self._cells_of(row, fold, seed)
        keep = {key: frozenset(epochs) for key, epochs in self.keep.items()}
        views = {name: view for name, view in self.views.items() if name in self.used}
        return Plan(self.recipe, self.windows, self.folds, views, self.cells, tuple(rows), keep)

    def _method_rows(self) -> list[Row]:
        rows: list[Row] = []
        taken = {"ensemble", *(f"teacher-{name}" for name in self.names), *map(_baseline_id, self.baselines)}
        self.settings: dict[str, RowSettings] = {}
        labels = distinct_labels(self.rows, self.recipe.methods)
        for settings, label in zip(self.rows, labels, strict=True):
            base = "-".join([label, *settings.teachers]).replace(" + ", "+").replace(" ", "_").replace("/", "_")
            number = next(n for n in range(1, len(self.rows) + 2) if (base if n == 1 else f"{base}.{n}") not in taken)
            identity = base if number == 1 else f"{base}.{number}"
            taken.add(identity)
            self.settings[identity] = settings
            student = self.recipe.student.model
            rows.append(Row(identity, RowKind.METHOD, label, settings.teachers, student, reference=settings.reference))
        return rows

    def _branch_rows(self, methods: list[Row]) -> list[Row]:
        """What a two-branch student does with the signal alone: its signal branch, and the whole without an image."""
        student = self.recipe.student
        branches = models.branch_names(student.model)
        if not branches:
            return []
        parts = {"signal": branches[0]}
        if student.modality_dropout:
            parts["without image"] = student.model
        rows = []
        for part, model in parts.items():
            for row in methods:
                rows.append(
                    replace(
                        row,
                        id=f"{row.id}.{part}",
                        kind=RowKind.BRANCH,
                        student=model,
                        part=part,
                        reference=None,
                        cells={},
                    )
                )
                self.settings[rows[-1].id] = self.settings[row.id]
        return rows

    def _teacher_rows(self) -> list[Row]:
        """The teachers that some row uses, in the recipe's order, and their ensemble."""
        teachers = self.recipe.teachers
        rows = [
            Row(
                f"teacher-{name}",
                RowKind.TEACHER,
                f"teacher {name}",
                self._taught_by(name),
                teachers[name].model,
                (self._checkpoint(name),),
                reference=teachers[name].reference,
            )
            for name in self.names
        ]
        if len(self.names) > 1:
            checkpoints = tuple(self._checkpoint(name) for name in self.names)
            rows.append(Row("ensemble", RowKind.ENSEMBLE, "ensemble", tuple(self.names), "", checkpoints))
        return rows

    def _baseline_rows(self) -> list[Row]:
        return [
            Row(_baseline_id(name), RowKind.BASELINE, name, (), baseline.title)
            for name, baseline in self.baselines.items()
        ]

    def _checkpoint(self, name: str, row: RowSettings | None = None) -> str:
        """Which of a teacher's weights are used: the row's choice, the teacher's own, or best where there is one."""
        asked = (row.checkpoint if row else None) or self.recipe.teachers[name].checkpoint
        if asked == "best" and not self.validated:
            who = f"{row.label}: " if row and row.checkpoint else ""
            raise InputError(
                f"{who}teacher {name!r}: checkpoint best is the epoch that a validation side chooses, and split.val is "
                "0; use checkpoint: last or epoch:N, or give a validation side"
            )
        return asked or ("best" if self.validated else "last")

    def _taught_by(self, name: str) -> tuple[str, ...]:
        """The teachers of a teacher that is itself distilled."""
        method = self.recipe.teachers[name].method
        return () if method is None else resolve_row(method, self._undistilled(name), self.windows.task).teachers

    def _undistilled(self, name: str) -> list[str]:
        return [other for other in self.names if other != name and self.recipe.teachers[other].method is None]

    def _cells_of(self, row: Row, fold: Fold, seed: int) -> tuple[str, ...]:
        if row.kind == RowKind.TEACHER:
            return (self._teacher(row.id.removeprefix("teacher-"), fold, seed, ()),)
        if row.kind == RowKind.ENSEMBLE:
            return tuple(self._teacher(name, fold, seed, ()) for name in row.teachers)
        if row.kind == RowKind.BASELINE:
            return (self._baseline(self.baselines[row.label], fold, seed),)
        student = self.recipe.student
        settings = self.settings[row.id]
        warm = student.warm_start if settings.warm_start is None else settings.warm_start
        title = " ".join([settings.label, *(["from", ", ".join(settings.teachers)] if settings.teachers else [])])
        start = self._cell(TWIN, student, None, fold, seed, (), None) if warm and settings.methods else None
        return (self._cell(title, student, settings, fold, seed, (), start),)

    def _teacher(self, name: str, fold: Fold, seed: int, path: tuple[str, ...]) -> str:
        if name in path:
            raise InputError(f"teachers distil each other in a circle: {' -> '.join([*path, name])}")
        teacher: TeacherSettings = self.recipe.teachers[name]
        settings, given = None, self.given.get(name)
        seed = seed if teacher.seed is None else teacher.seed
        if given is not None:
            teacher = teacher.model_copy(update={"epochs": 0})
        if teacher.method is not None:
            settings = resolve_row(teacher.method, self._undistilled(name), self.windows.task)
        warm = settings is not None and bool(settings.warm_start)
        start = self._cell(TWIN, teacher, None, fold, seed, (), None) if warm else None
        return self._cell(f"teacher {name}", teacher, settings, fold, seed, (*path, name), start, given)

    def _cell(
        self,
        title: str,
        model: ModelSettings,
        settings: RowSettings | None,
        fold: Fold,
        seed: int,
        path: tuple[str, ...],
        start: str | None,
        given: GivenWeights | None = None,
    ) -> str:
        seen = names_of(model.view)
        views = [self._view(name) for name in seen]
        self.used.update(seen)
        train = self._train(model)
        if train.steps is not None and given is None and "epochs" in model.model_fields_set:
            raise InputError(
                f"{title}: epochs: {model.epochs} and train.steps: {train.steps} both say how long to train; leave "
                "one out"
            )
        epochs = epochs_of(train, len(fold.train), model.epochs) if given is None else model.epochs
        methods = dict(settings.methods) if settings else {}
        alone = {term: WeightSettings(value=1.0) for term in self.windows.task.terms}
        weights = dict(settings.weights) if settings else alone
        phases = settings.phases if settings else ()
        who = title if settings is None or path else f"method {title!r}"
        ends = [phase.ends(epochs) for phase in phases]
        if ends != sorted(set(ends)) or ends[:1] == [0]:
            raise InputError(f"{who}: phases end in epochs {', '.join(map(str, ends))} of {epochs}; each needs one")
        if model.at is not None and models.branch_names(model.model):
            raise InputError(f"model {model.model!r} names its own stages; leave at out")
        links = {}
        for name in settings.teachers if settings else ():
            key = self._teacher(name, fold, seed, path)
            checkpoint = self._checkpoint(name, settings)
            self._keep(key, checkpoint, name)
            links[name] = Link(key, checkpoint)
        if given is None:
            check_weights(who, weights, epochs)
            check_batch(who, train, methods, fold)
            check_data(who, methods, fold, self.infos[fold.number])
            check_mixed(who, train, methods, self.windows.task)
            check_class_weights(who, train, self.windows, fold)
        shown = [*seen, *(view for name in links for view in names_of(self.recipe.teachers[name].view))]
        if given is None:
            check_augment(train, self.windows, {name: self._view(name) for name in shown})
        what: dict[str, Any] = {
            "engine": engine.VERSION,
            "data": self.windows.content,
            "split": [fold.train_groups, fold.val_groups, fold.test_groups],
            "seed": seed,
            "view": _views_facts(views),
            "model": [model.model, models.fingerprint(model.model), model.at, epochs, *_varied(model)],
            "train": _own(train, exclude={"threads", "num_workers"}),
            "methods": [[n, find_method(n).VERSION, _own(c), *_source(n, c)] for n, c in methods.items()],
            "weights": {term: _own(w) for term, w in sorted(weights.items())},
            "teachers": [[name, link.key, link.checkpoint] for name, link in links.items()],
            "start": start,
            **({"phases": [_own(phase) for phase in phases]} if phases else {}),
        }
        what |= self._task_facts()
        begins = model.pretrained_backbone
        backbone = None if begins is None else self.backbones[begins.file, begins.key]
        if backbone is not None:
            what["pretrained_backbone"] = backbone.decides
        if given is not None:  # whose numbers neither a seed nor training settings decide
            decides = ("engine", "data", "split", "view", "model", "task")
            what = {**{part: what[part] for part in decides if part in what}, "given": given.decides}
        key = _hash(what)
        if key not in self.cells:
            self.cells[key] = Cell(
                key=key,
                title=f"{title} · fold {fold.number}" + (f" · seed {seed}" if given is None else ""),
                fold=fold.number,
                seed=seed,
                view=model.view,
                model=model.model,
                options=model.options,
                at=model.at,
                epochs=epochs,
                train=train,
                methods=methods,
                weights=weights,
                teachers=links,
                start=start,
                phases=phases,
                given=given,
                backbone=backbone,
            )
        return key

    def _task_facts(self) -> dict[str, Any]:
        """What of the task decides a cell's numbers; nothing of the plain one, which keys from before tasks had."""
        task = self.windows.task
        if task == Classification(classes=self.windows.classes) and task.VERSION == 1:
            return {}
        source = [source_hash(named(task), "data.task")] if ":" in named(task) else []
        return {"task": [named(task), task.VERSION, task.model_dump(mode="json", exclude_defaults=True), *source]}

    def _baseline(self, baseline: Baseline, fold: Fold, seed: int) -> str:
        """A cell without epochs, whose estimator is all that decides it besides the data."""
        view = self._view(baseline.view)
        self.used.add(baseline.view)
        key = _hash(
            {
                "baseline": baseline.decides,
                "data": self.windows.content,
                "split": [fold.train_groups, fold.val_groups, fold.test_groups],
                "seed": seed,
                "view": _views_facts([view]),
                **self._task_facts(),
            }
        )
        if key not in self.cells:
            self.cells[key] = Cell(
                key=key,
                title=f"{baseline.name} · fold {fold.number} · seed {seed}",
                fold=fold.number,
                seed=seed,
                view=baseline.view,
                model=baseline.title,
                options=ModelOptions(),
                at=None,
                epochs=0,
                train=self.recipe.train,
                methods={},
                weights={},
                teachers={},
                start=None,
                baseline=baseline,
            )
        return key

    def _keep(self, key: str, checkpoint: str, name: str) -> None:
        if not checkpoint.startswith("epoch:"):
            return
        if self.cells[key].given is not None:
            raise InputError(f"teacher {name!r}: checkpoint {checkpoint} does not exist, its weights are given")
        epoch = int(checkpoint.removeprefix("epoch:"))
        if epoch > self.cells[key].epochs:
            raise InputError(
                f"teacher {name!r}: checkpoint {checkpoint} does not exist, it trains {self.cells[key].epochs} epochs"
            )
        self.keep.setdefault(key, set()).add(epoch)

    def _view(self, name: str) -> View:
        if name not in self.views:
            given = self.recipe.views.get(name)
            kind = (given.type if given else None) or name
            if kind not in VIEWS and ":" not in kind:
                raise InputError(f"unknown view {kind!r}; {nearest(kind, [*VIEWS, 'package.module:Class'])}")
            settings = given.settings if given else {}
            if given and given.channels:
                settings["channels"] = self._channels(given.channels, f"views.{name}.channels")
            view = make_view(kind, settings, f"views.{name}")
            if len(self.windows.size) != view.DIMS:
                made, present = ("signals", "images") if view.DIMS == 1 else ("images", "signals")
                raise InputError(
                    f"view {name!r} is made from {made}, but {self.windows.where} holds {present}; use view: "
                    f"{'image' if present == 'images' else 'signal'}"
                )
            self.views[name] = view
        return self.views[name]

    def _channels(self, patterns: list[str], where: str) -> tuple[int, ...]:
        """Numbers of the channels that fit the names or patterns, in the data's order."""
        known = self.windows.channels
        for pattern in patterns:
            if not fnmatch.filter(known, pattern):
                raise InputError(f"{where}: no channel fits {pattern!r}; {nearest(pattern, known)}")
        return tuple(n for n, name in enumerate(known) if any(fnmatch.fnmatchcase(name, p) for p in patterns))

    def _train(self, model: ModelSettings) -> TrainSettings:
        """The study's training settings with the model's own on top."""
        given = {**self.recipe.train.model_dump(), **model.train}
        try:
            return TrainSettings.model_validate(given)
        except ValidationError as error:
            raise InputError(validation_message(error, TrainSettings, f"model {model.model!r}: train")) from error


def _hash(what: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:20]


def _views_facts(views: Sequence[View]) -> list[Any]:
    return [x for v in views for x in (view_type(v), v.VERSION, _own(v), v.fingerprint)]


def _baseline_id(name: str) -> str:
    return f"baseline-{name}"


def _own(settings: BaseModel, exclude: set[str] | None = None) -> dict[str, Any]:
    """Settings that differ from their defaults: a setting that comes later leaves finished cells alone.

    A default that changes raises the VERSION beside it, the engine's or that of a view or method.
    """
    return settings.model_dump(mode="json", exclude=exclude, exclude_defaults=True)


def _source(method: str, config: MethodConfig) -> list[str]:
    """What stands for the source of a method of somebody's own, and of what its settings name."""
    return [*([source_hash(method, "method")] if ":" in method else []), *filter(None, [config.fingerprint])]


def _varied(model: ModelSettings) -> list[Any]:
    """Options that are set, and how a foreign model's stages are found where the recipe does not name them."""
    options = _own(model.options)
    return [*([tap.VERSION] if ":" in model.model and model.at is None else []), *([options] if options else [])]
