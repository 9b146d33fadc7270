"""What a cell is built of, and building it: its student, its methods and its teachers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.data import Fold, Windows, remembered
from overtone.distill import Distillation
from overtone.engine import Samples
from overtone.engine.phases import trained
from overtone.engine.prefetch import num_workers
from overtone.engine.schedule import reseed
from overtone.epochs import read_epochs
from overtone.errors import InputError
from overtone.methods import keep
from overtone.methods import make as make_method
from overtone.models import build
from overtone.student import load_student
from overtone.study.cells import Cell, Plan, data_info
from overtone.study.records import is_done, read_result
from overtone.tap import Tap, probe
from overtone.tasks import Metric, Task
from overtone.teachers import Teacher
from overtone.trial import auxiliary, rehearse, squashed
from overtone.trust import named_in
from overtone.types import DataInfo, Input, Seen, Spec, names_of, shape_of

FEW_CHANNELS = 16
WITHOUT_AUXILIARY = "arguments: {aux_logits: false, init_weights: true}"
"""What torchvision's googlenet and inception_v3 take."""


@dataclass(frozen=True)
class Paths:
    """Where a study's files are."""

    folder: Path

    def cell(self, key: str) -> Path:
        """A cell's folder."""
        return self.folder / "cells" / key

    def weights(self, key: str, checkpoint: str) -> Path:
        """The file of a cell's weights: best, last or epoch:N."""
        name = {"best": "student", "last": "last"}.get(checkpoint, checkpoint.replace(":", "-"))
        return self.cell(key) / f"{name}.safetensors"


@dataclass(frozen=True)
class CellInputs:
    """All that a cell is built of, trained and tested on.

    Attributes:
        windows: the study's; only what they are called and made of is asked of these.
        samples: the fold's, in every view.
        fold: who is on which side.
        paths: where files are.
        accelerator: the device and the processes.
        makers: the cells that made its teachers, and their teachers, by key.
        trust: what a teacher's file may import: what the recipe names.
        keep: epochs whose weights are wanted besides best and last.
        data: the recipe's, for the student's header.
        examples: windows that its methods show something of; none of most cells.
    """

    windows: Windows
    samples: Samples
    fold: Fold
    paths: Paths
    accelerator: Accelerator
    makers: Mapping[str, Cell]
    trust: frozenset[str]
    keep: frozenset[int] = frozenset()
    data: dict[str, Any] | None = None
    examples: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.accelerator.device

    @property
    def info(self) -> DataInfo:
        """What methods may know of the fold's training side."""
        return data_info(self.windows, self.fold)


@dataclass
class StudyContext:
    """What cells share while a study runs: the plan, where files go, and one fold's samples at a time."""

    plan: Plan
    folder: Path
    accelerator: Accelerator
    _fold: int | None = None
    _samples: Samples | None = None

    @property
    def paths(self) -> Paths:
        """Where files go."""
        return Paths(self.folder)

    def samples(self, fold: int) -> Samples:
        """A fold's samples; only the latest fold's are kept."""
        if self._samples is None or self._fold != fold:
            train = self.plan.recipe.train
            self._samples = Samples.fit(
                self.plan.windows,
                self.plan.folds[fold],
                self.plan.views,
                self.accelerator.device,
                train.memory_mb * 2**20,
                self.folder / "cache",
                num_workers(train.num_workers, train.threads, self.accelerator.num_processes),
            )
            self._fold = fold
        return self._samples

    def inputs(self, cell: Cell) -> CellInputs:
        """What one cell needs of the study."""
        plan = self.plan
        first = (next(iter(plan.folds)), plan.recipe.seeds[0])
        return CellInputs(
            windows=plan.windows,
            samples=self.samples(cell.fold),
            fold=plan.folds[cell.fold],
            paths=self.paths,
            accelerator=self.accelerator,
            makers=_makers(plan, cell),
            trust=named_in(plan.recipe),
            keep=plan.keep.get(cell.key, frozenset()),
            data=remembered(plan.recipe.data),
            examples=example_numbers(plan) if (cell.fold, cell.seed) == first else (),
        )

    def done(self, key: str) -> bool:
        """Whether a cell has its result and all weights that somebody wants of it."""
        if not is_done(self.paths.cell(key)):
            return False
        kept = [self.paths.weights(key, f"epoch:{epoch}") for epoch in self.plan.keep.get(key, ())]
        verified = read_result(self.paths.cell(key)).files if kept else {}
        return all(path.exists() and (not verified or path.name in verified) for path in kept)


def _makers(plan: Plan, cell: Cell) -> dict[str, Cell]:
    """The cells that made a cell's teachers, and those of teachers that are distilled themselves."""
    makers: dict[str, Cell] = {}
    for link in cell.teachers.values():
        makers |= {link.key: plan.cells[link.key], **_makers(plan, plan.cells[link.key])}
    return makers


EXAMPLES = 3


def example_numbers(plan: Plan) -> tuple[int, ...]:
    """Test windows of the first fold to look at: the middle one of each of the first classes that it has."""
    fold = next(iter(plan.folds.values()))
    strata = plan.windows.strata[fold.test]
    if len(np.unique(strata)) == 1:  # nothing but order tells them apart
        return tuple(int(part[len(part) // 2]) for part in np.array_split(fold.test, EXAMPLES) if len(part))
    by_stratum = [fold.test[strata == label] for label in np.unique(strata)[:EXAMPLES]]
    return tuple(int(numbers[len(numbers) // 2]) for numbers in by_stratum)


@dataclass(frozen=True)
class Built:
    """A cell's modules, ready to train or to be checked."""

    distillation: Distillation
    teachers: Mapping[str, Teacher]
    needs: Mapping[str, frozenset[str]]
    student_spec: Spec
    teacher_specs: Mapping[str, Spec]
    example: Input
    doubts: tuple[str, ...] = ()
    """Sentences on how the student behaves, worth a warning."""


def build_cell(inputs: CellInputs, cell: Cell, fresh_teachers: bool = False) -> Built:
    """Student, adapters and teachers of a cell, seeded.

    Args:
        inputs: what it is built of.
        cell: which.
        fresh_teachers: teachers as they are before training instead of those on disk, for ``overtone check``.
    """
    samples, device = inputs.samples, inputs.device
    task = samples.task
    first = torch.from_numpy(inputs.fold.train[:2])

    def example(view: Seen) -> Input:
        return samples.batch(first, names_of(view)).input(view)

    def axes(view: Seen) -> list[tuple[str, ...]]:
        return [samples.views[name].view.axes for name in names_of(view)]

    reseed(cell.seed, "initialise")
    student = Tap(placed(device, _initial(cell, example(cell.view), task)), cell.at, task)
    if cell.start is not None and not fresh_teachers:
        twin = load_student(inputs.paths.weights(cell.start, "best"), inputs.trust)
        student.model.load_state_dict(twin.model.state_dict())
    teachers = {}
    for name, link in cell.teachers.items():
        made = inputs.makers[link.key]
        if fresh_teachers:
            model = (
                build_cell(inputs, made, fresh_teachers=True).distillation.student.model
                if made.methods  # which may leave parts in it
                else _initial(made, example(made.view), task)
            )
        else:
            # A file may import no more than the recipe does.
            model = load_student(inputs.paths.weights(link.key, link.checkpoint), inputs.trust).model
        teachers[name] = Teacher(name, Tap(placed(device, model), made.at, task), made.view)
    spec, doubts = _probed(cell, student, example(cell.view), axes(cell.view))
    teacher_specs = {name: probe(t.tap, example(t.view), axes(t.view)) for name, t in teachers.items()}
    info = inputs.info
    if info.teacher_scores is not None:
        scores = {
            name: 1.0 if fresh_teachers else score(inputs.paths.cell(link.key), link.checkpoint, task.watched)
            for name, link in cell.teachers.items()
        }
        info = replace(info, teacher_scores=scores)
    try:
        reseed(cell.seed, "adapters")  # a stream of their own: the student starts as one without adapters does
        models = {name: teacher.tap.model for name, teacher in teachers.items()}
        kept = keep(cell.methods, student.model, spec, models, teacher_specs)
        if kept is not student.model:
            student = Tap(kept, task=task)
            spec = probe(student, example(cell.view), axes(cell.view))
        if cell.given is None and cell.train.class_weights is not None:
            task = task.weighted(cell.train.class_weights, samples.target[torch.from_numpy(inputs.fold.train)])
        distillation, needs = _distillation(cell, student, spec, teacher_specs, info, task)
    except InputError as error:
        raise InputError(f"{cell.title.partition(' · ')[0]}: {error}") from error
    for phase in cell.phases:
        trained(student.model, phase)  # a pattern that fits nothing is told now
    return Built(distillation.to(device), teachers, needs, spec, teacher_specs, example(cell.view), doubts)


def score(folder: Path, checkpoint: str, watched: Metric) -> float:
    """How a finished cell did on the validation side with these of its weights; the higher, the better."""
    if checkpoint.startswith("epoch:"):
        row = read_epochs(folder)[int(checkpoint.removeprefix("epoch:")) - 1]
        return watched.gain((row.val or {})[watched.key])
    return watched.gain((read_result(folder).val or {})["last" if checkpoint == "last" else "best"])


def _probed(cell: Cell, student: Tap, example: Input, axes: list[tuple[str, ...]]) -> tuple[Spec, tuple[str, ...]]:
    """A cell's model in evaluation and, where it is trained, in training mode.

    Raises:
        InputError: for a model that cannot be trained, or has auxiliary outputs that an argument leaves out.
    """
    hint = f"; leave its auxiliary outputs out with {WITHOUT_AUXILIARY}" if auxiliary(student.model) else ""
    try:
        spec = probe(student, example, axes)
        more = None if cell.given is not None else rehearse(student, spec, example)
    except InputError as error:
        raise InputError(f"model {cell.model!r}: {error}{hint}") from error
    if more is not None and hint:
        raise InputError(f"model {cell.model!r} {more}{hint}")
    return spec, tuple(f"model {cell.model!r} {said}" for said in (squashed(spec), more) if said is not None)


def _distillation(
    cell: Cell, student: Tap, spec: Spec, teachers: Mapping[str, Spec], info: DataInfo, task: Task
) -> tuple[Distillation, dict[str, frozenset[str]]]:
    """The student with the cell's methods, and what these read of each teacher."""
    methods, needs = {}, {name: frozenset[str]() for name in teachers}
    for name, config in cell.methods.items():
        method, read = make_method(name, config, spec, teachers, info)
        methods[method.NAME] = method
        for teacher, parts in read.teachers.items():
            needs[teacher] |= parts
    smoothing = cell.train.label_smoothing
    return Distillation(student, methods, cell.weights, cell.view, task, label_smoothing=smoothing), needs


def _initial(cell: Cell, example: Input, task: Task) -> torch.nn.Module:
    """A cell's model as it is before training, or with the weights that are given."""
    model = build(cell.model, shape_of(example), task.outputs, cell.options, task.plain)
    if cell.given is not None:
        cell.given.load_into(model, cell.model, task.names)
    if cell.backbone is not None:
        cell.backbone.load_body(model, cell.model)
    return model


def views_of(cell: Cell, built: Built) -> tuple[str, ...]:
    """Every view that the student or a teacher of a cell sees."""
    teachers = (name for teacher in built.teachers.values() for name in names_of(teacher.view))
    return tuple(dict.fromkeys([*names_of(cell.view), *teachers]))


def placed(device: torch.device, model: torch.nn.Module) -> torch.nn.Module:
    """The model on its device; image convolutions run 1.2 to 1.5 times faster with channels last, on CPUs too.

    But for strided 1x1 convolutions of few channels on a CPU: in the gradient of one that has fewer channels than a
    vector register holds, torch 2.14 writes beyond its memory when channels come last. Seen with up to 6 channels where
    a register holds 8; it is 16 where there is AVX-512.
    """
    model = model.to(device).to(memory_format=torch.channels_last)
    for conv in model.modules() if device.type == "cpu" else ():
        if (
            isinstance(conv, torch.nn.Conv2d)
            and conv.kernel_size == (1, 1)
            and max(conv.stride) > 1
            and conv.in_channels < FEW_CHANNELS
        ):
            conv.to(memory_format=torch.contiguous_format)
            conv.register_forward_pre_hook(_channels_first)
    return model


def _channels_first(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in args)
