"""Distillation: a student, the methods of one row, and the weights of their terms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from overtone.between import (
    MethodName,
    axes_of,
    check_classes,
    probed,
    probed_student,
    probed_teachers,
    seen,
    settings_of,
    weights_of,
)
from overtone.errors import InputError, nearest
from overtone.given import (
    Kinds,
    check_apart,
    check_device,
    check_kind,
    check_labels,
    check_names,
    check_views,
    model_of,
    models_of,
    views_of,
)
from overtone.methods import (
    Method,
    check_distillable,
    configure,
    default_weights,
    find,
    keep,
    make,
)
from overtone.recipe import WeightSettings
from overtone.tap import Tap
from overtone.tasks import DEFAULT, Task
from overtone.teachers import Teacher
from overtone.trial import squashed
from overtone.types import Batch, DataInfo, Output, Progress, Seen, Step, described, names_of

Views = Tensor | Mapping[str, Tensor]
"""A batch of inputs, or several views of it by name."""


class Distillation(nn.Module):
    """One call is one training step's forward pass: ``distillation(batch, teacher_outputs, progress) -> Step``.

    Its parameters are the student's and the adapters', never a teacher's.

    Args:
        student: the tapped student.
        methods: by name; their terms are called ``name.term``. The task's own (``mse``) are always there, and once
            more for each branch of a two-branch student, as ``mse.BRANCH``.
        weights: by term, or by a term's beginning (``sp.gram`` for ``sp.gram.signal``); the longest fits. Every term
            needs one.
        view: which view the student sees, or views.
        task: what the student must do; that of its tap unless given.
        label_smoothing: how much of the truth is spread over all classes, in the task's own terms.

    Raises:
        InputError: for a weight that fits no term, a term without a weight, or a method without one above 0.
    """

    def __init__(
        self,
        student: Tap,
        methods: Mapping[str, Method],
        weights: Mapping[str, WeightSettings],
        view: Seen = "signal",
        task: Task | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.methods = nn.ModuleDict(methods)
        self.view, self.label_smoothing = view, label_smoothing
        self.task = task or student.task
        terms = [*self.task.terms, *(f"{term}.{branch}" for branch in student.branches for term in self.task.terms)]
        terms += [f"{name}.{term}" for name, method in methods.items() for term in method.terms]
        self.weights = _resolve(terms, weights)
        for name, method in methods.items():
            if not any(self.weights[f"{name}.{term}"].value for term in method.terms):
                raise InputError(
                    f"every weight of {name} is 0 ({', '.join(method.terms)}), which leaves none of its terms; leave "
                    "the method out"
                )

    @staticmethod
    def between(
        student: nn.Module,
        teachers: nn.Module | Mapping[str, nn.Module],
        method: MethodName | Sequence[MethodName] | Mapping[Any, Mapping[str, Any]] = "kd",
        *,
        example: Views,
        view: str | Sequence[str] | None = None,
        axes: Mapping[str, Sequence[str]] | None = None,
        weights: Mapping[str, float | WeightSettings] | None = None,
        data: DataInfo | None = None,
        task: Task | None = None,
        **settings: Any,
    ) -> OwnLoop:
        """Distillation for one's own training loop: no recipe, no engine, no study.

        Args:
            student: any classifier.
            teachers: one, or several by name; frozen and in evaluation mode from here on, at each call.
            method: a method's name, or a class of your own; ``settings`` are its own (``temperature=2``). Several
                together as a list of them, or as a mapping from them to settings: ``{"kd": {"temperature": 2}, "sp":
                {"teachers": "merged"}}``.
            example: a batch of inputs, from which every shape is found. A mapping of views where teachers see other
                views than the student: a teacher sees the view of its own name if there is one, else the student's,
                which is the first.
            view: the view that the student sees, or the views of a two-branch student, ``("signal", "gaf")``.
            axes: what the axes of a view's maps mean, ``{"wrist": ("time",)}``, for methods that compare places; a view
                that is called as a built-in one has that one's.
            weights: by term, as in a recipe; the method's published ones unless given.
            data: class names, numbers and labels of the training samples, for methods with a memory; the teachers'
                validation scores, for those that weigh by them.
            task: what the models do, ``Regression(targets=("speed",)).fit(y)``; classes unless given.

        Returns:
            A module to call with ``(x, y)``; give its ``parameters()`` to the optimiser.

        Raises:
            InputError: for an unknown method or setting, models that do not fit each other or the example, or what is
                no model.

        Warns:
            UserWarning: for a model that gives probabilities instead of logits, or a student that returns more than
                logits in training.
        """
        model_of("the student", student)
        check_kind("data", data, DataInfo)
        check_kind("weights", weights, Mapping)
        teacher_models = models_of(teachers)
        check_apart(student, teacher_models)
        chosen = settings_of(method, settings)
        views = views_of(example)
        mine = seen(view, views)
        check_names(names_of(mine), views, "view: the example holds no view")
        first = views[names_of(mine)[0]]
        check_device("the example", first, student)
        task = DEFAULT if task is None else task
        asked = task.collate(Batch(views, None, torch.arange(len(first)))).views
        meant = axes_of(views, axes)
        tap, spec, more = probed_student(student, asked, mine, meant, task)
        made, specs = probed_teachers(teacher_models, spec.classes, asked, names_of(mine)[0], meant, task)
        sentences = {
            "the student": squashed(spec),
            **{f"teacher {name!r}": squashed(teacher_spec) for name, teacher_spec in specs.items()},
        }
        for who, sentence in [*sentences.items(), ("the student", more)]:
            if sentence is not None:
                warnings.warn(f"overtone: {who} {sentence}", stacklevel=2)
        models = {"student": student, **{f"teacher {name!r}": model for name, model in teacher_models.items()}}
        check_classes(models, data, spec.classes)
        info = data or DataInfo()
        if not info.classes and task.ONE_CLASS:
            info = replace(info, classes=tuple(str(c) for c in range(spec.classes)))
        info = info if info.facts else replace(info, facts=task.facts)
        configs = {name: configure(name, method_settings) for name, method_settings in chosen.items()}
        for name, config in configs.items():
            check_distillable(name, config, task)
        kept = keep(configs, student, spec, {name: teacher.tap.model for name, teacher in made.items()}, specs)
        if kept is not student:
            tap = Tap(kept, task=task)
            spec = probed("the student", tap, views, mine, meant)
        modules = {find(name).NAME: make(name, config, spec, specs, info)[0] for name, config in configs.items()}
        distillation = Distillation(tap, modules, default_weights(configs, weights_of(weights or {}), task), mine)
        kinds = {name: (tuple(x.shape), x.dtype) for name, x in views.items()}
        return OwnLoop(distillation.to(first.device), made, spec.classes, kinds)

    @property
    def terms(self) -> tuple[str, ...]:
        """Every term's key, the task's own first."""
        return tuple(self.weights)

    def forward(self, batch: Batch, teachers: Mapping[str, Output], progress: Progress) -> Step:
        """Run the student and every method, and weight the terms.

        Methods without adapters whose weights are all 0 in this epoch are not run; their terms are then absent.
        """
        output = self.student(batch.input(self.view))
        weights = {term: w.at(progress.epoch, progress.epochs) for term, w in self.weights.items()}
        # Losses in float32 under autocast: half precision loses small differences of probabilities.
        with torch.autocast(batch.index.device.type, enabled=False):
            mine = output.float()
            theirs = {name: teacher.float() for name, teacher in teachers.items()}
            truth = self.task.smoothed(batch, mine, self.label_smoothing) if self.label_smoothing else batch
            terms = self.task.losses(self._judged(mine, None), truth)
            for name, branch in mine.branches.items():
                losses = self.task.losses(self._judged(branch, name), truth)
                terms.update({f"{term}.{name}": value for term, value in losses.items()})
            for name, method in self.methods.items():
                keys = [f"{name}.{term}" for term in method.terms]  # type: ignore[union-attr]
                if not any(weights[key] for key in keys) and next(method.parameters(), None) is None:
                    continue
                part = mine.branches[method.branch] if method.branch else mine  # type: ignore[index]
                counting = frozenset(term for term, key in zip(method.terms, keys, strict=True) if weights[key])  # type: ignore[arg-type]
                losses = method(*self.compared(part, theirs, batch), replace(progress, counting=counting))
                terms.update({f"{name}.{term}": value for term, value in losses.items()})
            if more := terms.keys() - weights.keys():
                raise InputError(f"{', '.join(sorted(more))}: not among the terms that the method declares")
            total = torch.stack([weights[key] * value for key, value in terms.items()]).sum()
        return Step(total, terms, output)

    def compared(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch
    ) -> tuple[Output, dict[str, Output], Batch]:
        """What methods compare; of several teachers each sees what the task made of the ones before."""
        theirs = dict(teachers)
        for name, teacher in teachers.items():
            student, theirs[name], batch = self.task.compared(student, teacher, batch)
        return student, theirs, batch

    def _judged(self, output: Output, branch: str | None) -> Output:
        """The whole's output, or a branch's, as the task's own terms see it: methods may change its logits."""
        for method in self.methods.values():
            term_method = cast(Method, method)
            if term_method.branch == branch and type(term_method).judged is not Method.judged:
                logits = term_method.judged(output.logits)
                output = replace(output, prediction={**output.prediction, "logits": logits})
        return output


class OwnLoop(nn.Module):
    """What :meth:`overtone.Distillation.between` returns: called with a batch, it gives the loss and its terms.

    Its parameters are the student's and the adapters'. Teachers are frozen, follow the input's device, and are no part
    of this module, so ``state_dict``, optimisers and DDP never see them.
    """

    def __init__(self, distillation: Distillation, teachers: dict[str, Teacher], classes: int, kinds: Kinds) -> None:
        super().__init__()
        self.distillation = distillation
        self._teachers = teachers
        self._classes, self._kinds = classes, dict(kinds)
        self._steps = 0

    def forward(self, x: Views, y: Tensor, index: Tensor | None = None, progress: Progress | None = None) -> Step:
        """One training step's forward pass.

        Args:
            x: the batch, or its views by name where teachers see other ones than the student.
            y: class numbers, (B,), or the targets of another task.
            index: the samples' numbers in the training set; methods that remember each sample need it.
            progress: where training is, for weights that change over time; the first of one epoch unless given, with
                calls in training counted as steps for methods that draw samples anew at each.

        Returns:
            ``step.total`` to call ``backward`` on, ``step.terms`` unweighted for the log, ``step.output``.

        Raises:
            InputError: for a view that is missing or of another kind than the example's, y or index of another type,
                length or device, classes that are not there, no index where a method remembers each sample, or fewer
                samples than a method can be trained on.
        """
        check_kind("progress", progress, Progress)
        seen = names_of(self.distillation.view)
        views = x if isinstance(x, Mapping) else dict.fromkeys(seen[:1], x)
        check_names(seen, views, "the student sees the view")
        for name, teacher in self._teachers.items():
            check_names(names_of(teacher.view), views, f"teacher {name!r} sees the view")
        asked = [*seen, *(view for teacher in self._teachers.values() for view in names_of(teacher.view))]
        check_views(views, asked, self._kinds, self.distillation.student)
        if self.distillation.task.ONE_CLASS:
            check_labels(y, index, views[seen[0]], self._classes)
        for name, method in self.distillation.methods.items():
            if method.reads_classes and y.dim() == 2:
                raise InputError(f"method {name!r} needs one class per sample, y (B,), got {described(y)}")
            if method.training and len(y) < method.min_batch:  # type: ignore[operator]
                raise InputError(
                    f"method {name!r} needs {method.min_batch} samples or more in a training batch, got {len(y)}; "
                    "leave out the last incomplete batch (drop_last=True of a DataLoader)"
                )
        if index is None:
            for name, method in self.distillation.methods.items():
                if method.has_memory_bank:
                    raise InputError(
                        f"method {name!r} remembers each training sample and must know which ones these are; call with "
                        "index, their numbers in the training set: (x, y, index)"
                    )
            index = torch.arange(len(y), device=y.device)  # read by no method
        batch = self.distillation.task.collate(Batch(views, y, index))
        outputs = {name: teacher(batch) for name, teacher in self._teachers.items()}
        if progress is None:
            progress = Progress(1, 1, self._steps)
            if self.training and any(method.has_memory_bank for method in self.distillation.methods.values()):
                self._steps += 1
        step: Step = self.distillation(batch, outputs, progress)
        return step

    @property
    def student(self) -> nn.Module:
        """The model to use after training: yours, or around its parts what a method leaves in it (``simkd``)."""
        return self.distillation.student.model

    def student_only(self) -> dict[str, Tensor]:
        """The state dict of :attr:`student`, under its own keys: without adapters, with parts that stay in it."""
        return self.student.state_dict()


def _resolve(terms: list[str], weights: Mapping[str, WeightSettings]) -> dict[str, WeightSettings]:
    def fits(term: str, key: str) -> bool:
        return term == key or term.startswith(key + ".")

    for key in weights:
        if not any(fits(term, key) for term in terms):
            raise InputError(f"weights: no term is called {key!r}; {nearest(key, terms)}")
    resolved = {}
    for term in terms:
        keys = [key for key in weights if fits(term, key)]
        if not keys:
            raise InputError(f"weights: the term {term!r} has none")
        resolved[term] = weights[max(keys, key=len)]
    if not any(weight.value > 0 for weight in resolved.values()):
        raise InputError(f"weights: at least one of {', '.join(terms)} must be above 0")
    return resolved
