"""What a cell is built of: the study's workshop, the cell's student, its methods and its teachers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.distill import Distillation
from overtone.engine import Samples
from overtone.engine.loop import ROWS
from overtone.engine.phases import trained
from overtone.engine.prefetch import num_workers
from overtone.engine.schedule import reseed
from overtone.errors import InputError
from overtone.files import read_json
from overtone.methods import keep
from overtone.methods import make as make_method
from overtone.models import build
from overtone.student import load_student
from overtone.study.plan import Cell, Link, Plan, data_info
from overtone.tap import Tap, probe
from overtone.teachers import Teacher
from overtone.trial import auxiliary, rehearse, squashed
from overtone.trust import named_in
from overtone.types import DataInfo, Input, Seen, Spec, names_of, shape_of

RESULT = "result.json"
"""Written last (``write.py``), with the other files' hashes: a cell with one is done."""
PREDICTIONS, RUN = "predictions.npz", "run.json"
VISUALISATIONS = "visualisations.npz"
"""What a cell's methods show of themselves on the example windows."""
FEW_CHANNELS = 16
WITHOUT_AUXILIARY = "arguments: {aux_logits: false, init_weights: true}"
"""What torchvision's googlenet and inception_v3 take."""


@dataclass
class StudyContext:
    """What cells share while a study runs: the plan, where files go, and one fold's samples at a time."""

    plan: Plan
    folder: Path
    accelerator: Accelerator
    _fold: int | None = None
    _samples: Samples | None = None

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

    def cell_folder(self, key: str) -> Path:
        """Where a cell's files are."""
        return self.folder / "cells" / key

    def weights_file(self, key: str, checkpoint: str) -> Path:
        """The file of a cell's weights: best, last or epoch:N."""
        name = {"best": "student", "last": "last"}.get(checkpoint, checkpoint.replace(":", "-"))
        return self.cell_folder(key) / f"{name}.safetensors"

    def done(self, key: str) -> bool:
        """Whether a cell has its result and all weights that somebody wants of it."""
        if not (self.cell_folder(key) / RESULT).exists():
            return False
        kept = [self.weights_file(key, f"epoch:{epoch}") for epoch in self.plan.keep.get(key, ())]
        verified = read_json(self.cell_folder(key) / RESULT).get("files") if kept else None
        return all(path.exists() and (verified is None or path.name in verified) for path in kept)


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


def build_cell(context: StudyContext, cell: Cell, fresh_teachers: bool = False) -> Built:
    """Student, adapters and teachers of a cell, seeded.

    Args:
        context: the study.
        cell: which.
        fresh_teachers: teachers as they are before training instead of those on disk, for ``overtone check``.
    """
    samples = context.samples(cell.fold)
    classes = context.plan.windows.classes
    first = torch.from_numpy(context.plan.folds[cell.fold].train[:2])
    device = context.accelerator.device

    def example(view: Seen) -> Input:
        return samples.batch(first, names_of(view)).input(view)

    def axes(view: Seen) -> list[tuple[str, ...]]:
        return [context.plan.views[name].axes for name in names_of(view)]

    reseed(cell.seed, "initialise")
    student = Tap(placed(device, _initial(cell, example(cell.view), classes)), cell.at)
    if cell.start is not None and not fresh_teachers:
        twin = load_student(context.weights_file(cell.start, "best"), named_in(context.plan.recipe))
        student.model.load_state_dict(twin.model.state_dict())
    teachers = {}
    for name, link in cell.teachers.items():
        made = context.plan.cells[link.key]
        if fresh_teachers:
            model = (
                build_cell(context, made, fresh_teachers=True).distillation.student.model
                if made.methods  # which may leave parts in it
                else _initial(made, example(made.view), classes)
            )
        else:
            # A file may import no more than the recipe does.
            model = load_student(context.weights_file(link.key, link.checkpoint), named_in(context.plan.recipe)).model
        teachers[name] = Teacher(name, Tap(placed(device, model), made.at), made.view)
    spec, doubts = _probed(cell, student, example(cell.view), axes(cell.view))
    teacher_specs = {name: probe(t.tap, example(t.view), axes(t.view)) for name, t in teachers.items()}
    info = data_info(context.plan.windows, context.plan.folds[cell.fold])
    if info.teacher_scores is not None:
        scores = {name: 1.0 if fresh_teachers else score(context, link) for name, link in cell.teachers.items()}
        info = replace(info, teacher_scores=scores)
    try:
        reseed(cell.seed, "adapters")  # a stream of their own: the student starts as one without adapters does
        models = {name: teacher.tap.model for name, teacher in teachers.items()}
        kept = keep(cell.methods, student.model, spec, models, teacher_specs)
        if kept is not student.model:
            student = Tap(kept)
            spec = probe(student, example(cell.view), axes(cell.view))
        distillation, needs = _distillation(cell, student, spec, teacher_specs, info)
    except InputError as error:
        raise InputError(f"{cell.title.partition(' · ')[0]}: {error}") from error
    for phase in cell.phases:
        trained(student.model, phase)  # a pattern that fits nothing is told now
    return Built(distillation.to(device), teachers, needs, spec, teacher_specs, example(cell.view), doubts)


def score(context: StudyContext, link: Link) -> float:
    """How a finished cell did on the validation side, with the weights that are used of it."""
    folder, checkpoint = context.cell_folder(link.key), link.checkpoint
    if not checkpoint.startswith("epoch:"):
        return float(read_json(folder / RESULT)["val"][checkpoint])
    rows = (folder / ROWS).read_text(encoding="utf-8").splitlines()
    return float(json.loads(rows[int(checkpoint.removeprefix("epoch:")) - 1])["val"]["accuracy"])


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
    cell: Cell, student: Tap, spec: Spec, teachers: Mapping[str, Spec], info: DataInfo
) -> tuple[Distillation, dict[str, frozenset[str]]]:
    """The student with the cell's methods, and what these read of each teacher."""
    methods, needs = {}, {name: frozenset[str]() for name in teachers}
    for name, config in cell.methods.items():
        methods[name], read = make_method(name, config, spec, teachers, info)
        for teacher, parts in read.teachers.items():
            needs[teacher] |= parts
    return Distillation(student, methods, cell.weights, cell.view, cell.train.label_smoothing), needs


def _initial(cell: Cell, example: Input, classes: tuple[str, ...]) -> torch.nn.Module:
    """A cell's model as it is before training, or with the weights that are given."""
    model = build(cell.model, shape_of(example), len(classes), cell.options)
    if cell.given is not None:
        cell.given.load_into(model, cell.model, classes)
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
