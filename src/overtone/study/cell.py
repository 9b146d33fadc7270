"""Running one cell: build its student, load its teachers, train, test, write its files."""

from __future__ import annotations

import platform
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.data import table_columns
from overtone.distill import Distillation
from overtone.engine import Fitted, Job, Listener, Samples, evaluate, fit, parts_of, scores, without
from overtone.engine.loop import StateDict
from overtone.engine.phases import trained
from overtone.engine.reading import readers
from overtone.engine.schedule import reseed
from overtone.engine.store import check_disk
from overtone.errors import InputError
from overtone.files import write_json, write_npz
from overtone.lookup import view_settings, view_type
from overtone.methods import Method
from overtone.methods import make as make_method
from overtone.models import build
from overtone.student import Header, SeenView, branch_header, load_student, save_student
from overtone.study.plan import Cell, Plan
from overtone.tap import Tap, macs, parameters, probe
from overtone.teachers import Teacher, TeacherMemory, memory_bytes
from overtone.types import Batch, DataInfo, Input, Output, Seen, Spec, names_of, shape_of

RESULT = "result.json"
PICTURES = "pictures.npz"
"""What a cell's methods show of themselves on the example windows."""
EXAMPLES = 3
FEW_CHANNELS = 16


@dataclass
class Workshop:
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
                readers(train.readers, train.threads, self.accelerator.num_processes),
            )
            self._fold = fold
        return self._samples

    def cell_folder(self, key: str) -> Path:
        """Where a cell's files are."""
        return self.folder / "cells" / key

    def spill_folder(self, key: str) -> Path:
        """Where a cell keeps teachers' outputs while it runs; each process has its own."""
        return self.cell_folder(key) / f"memory-{self.accelerator.process_index}"

    def weights_file(self, key: str, checkpoint: str) -> Path:
        """The file of a cell's weights: best, last or epoch:N."""
        name = {"best": "student", "last": "last"}.get(checkpoint, checkpoint.replace(":", "-"))
        return self.cell_folder(key) / f"{name}.safetensors"

    def done(self, key: str) -> bool:
        """Whether a cell has its result and all weights that somebody wants of it."""
        kept = [self.weights_file(key, f"epoch:{epoch}") for epoch in self.plan.keep.get(key, ())]
        return all(path.exists() for path in [self.cell_folder(key) / RESULT, *kept])


@dataclass(frozen=True)
class Built:
    """A cell's modules, ready to train or to be checked."""

    distillation: Distillation
    teachers: Mapping[str, Teacher]
    needs: Mapping[str, frozenset[str]]
    student_spec: Spec
    teacher_specs: Mapping[str, Spec]
    example: Input


def build_cell(shop: Workshop, cell: Cell, fresh_teachers: bool = False) -> Built:
    """Student, adapters and teachers of a cell, seeded.

    Args:
        shop: the study.
        cell: which.
        fresh_teachers: teachers as they are before training instead of those on disk, for ``overtone check``.
    """
    samples = shop.samples(cell.fold)
    classes = shop.plan.windows.classes
    first = torch.from_numpy(shop.plan.folds[cell.fold].train[:2])
    device = shop.accelerator.device

    def example(view: Seen) -> Input:
        return samples.batch(first, names_of(view)).input(view)

    def axes(view: Seen) -> list[tuple[str, ...]]:
        return [shop.plan.views[name].AXES for name in names_of(view)]

    reseed(cell.seed, "initialise")
    student = Tap(_on(device, _initial(cell, example(cell.view), classes)), cell.at)
    if cell.start is not None and not fresh_teachers:
        twin = load_student(shop.weights_file(cell.start, "best"))
        student.model.load_state_dict(twin.model.state_dict())
    teachers = {}
    for name, link in cell.teachers.items():
        made = shop.plan.cells[link.key]
        if fresh_teachers:
            model = _initial(made, example(made.view), classes)
        else:
            model = load_student(shop.weights_file(link.key, link.checkpoint)).model
        teachers[name] = Teacher(name, Tap(_on(device, model), made.at), made.view)
    spec = probe(student, example(cell.view), axes(cell.view))
    teacher_specs = {name: probe(t.tap, example(t.view), axes(t.view)) for name, t in teachers.items()}
    fold, windows = shop.plan.folds[cell.fold], shop.plan.windows
    info = DataInfo(
        windows.classes, torch.from_numpy(fold.train), torch.from_numpy(windows.y[fold.train]), windows.rate
    )
    reseed(
        cell.seed, "adapters"
    )  # their own stream: a method with adapters starts from the same student as one without
    methods, needs = {}, {name: frozenset[str]() for name in teachers}
    for name, config in cell.methods.items():
        try:
            methods[name], read = make_method(name, config, spec, teacher_specs, info)
        except InputError as error:
            raise InputError(f"{cell.title.partition(' · ')[0]}: {error}") from error
        for teacher, parts in read.teachers.items():
            needs[teacher] |= parts
    for phase in cell.phases:
        trained(student.model, phase)  # a pattern that fits nothing is told now
    distillation = Distillation(student, methods, cell.weights, cell.view).to(device)
    return Built(distillation, teachers, needs, spec, teacher_specs, example(cell.view))


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


def _on(device: torch.device, model: torch.nn.Module) -> torch.nn.Module:
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


def remember(shop: Workshop, cell: Cell, built: Built) -> tuple[dict[str, Callable[[Batch], Output]], tuple[str, ...]]:
    """Each teacher, remembered where its outputs fit into the budgets, and the views that batches then need.

    First memory, then disk, else the teacher runs beside the student; so it does where windows are augmented, which
    are new each time.
    """
    samples, fold = shop.samples(cell.fold), shop.plan.folds[cell.fold]
    index = torch.from_numpy(fold.train).to(shop.accelerator.device)
    memory, disk = cell.train.memory_mb * 2**20, cell.train.spill_mb * 2**20
    sources: dict[str, Callable[[Batch], Output]] = {}
    views = [*names_of(cell.view)]
    for name, teacher in built.teachers.items():
        seen, needs = names_of(teacher.view), built.needs[name]
        size = memory_bytes(teacher(samples.batch(index[:1], seen)), needs, len(index))
        spill: Path | None = None
        if cell.train.augment.active or size > max(memory, disk):
            sources[name] = teacher
            views += seen
            continue
        if size <= memory:
            memory -= size
        else:
            disk -= size
            spill = shop.spill_folder(cell.key) / name
            check_disk(spill, size, f"outputs of teacher {name!r}")
        fetch = partial(samples.batch, views=seen)
        sources[name] = TeacherMemory(teacher, index, fetch, needs, spill=spill)
    return sources, tuple(dict.fromkeys(views))


def run_cell(shop: Workshop, cell: Cell, listener: Listener) -> None:
    """Train, test and write a cell. Its ``result.json`` is written last: a cell with one is done."""
    torch.set_num_threads(cell.train.threads)
    built = build_cell(shop, cell)
    fitted = _trained(shop, cell, built, listener) if cell.given is None else _given(shop, cell, built)
    logits = _tested(shop, cell, built, fitted)
    if shop.accelerator.is_main_process:
        _write_pictures(shop, cell, built, fitted)
        _write(shop, cell, built, fitted, logits)
    shutil.rmtree(shop.spill_folder(cell.key), ignore_errors=True)
    shop.accelerator.wait_for_everyone()
    shop.accelerator.free_memory()


def _given(shop: Workshop, cell: Cell, built: Built) -> Fitted:
    """What training would leave: the given weights as best and last, and how they do on the validation side."""
    samples, val = shop.samples(cell.fold), torch.from_numpy(shop.plan.folds[cell.fold].val)
    student = built.distillation.student
    logits = evaluate(student, samples, val, cell.view, shop.accelerator)
    accuracy = scores(logits, samples.target[val.to(samples.target.device)].cpu())["accuracy"]
    state = {name: tensor.detach().cpu().clone() for name, tensor in student.model.state_dict().items()}
    return Fitted(best=state, best_accuracy=accuracy, last=state)


def _tested(shop: Workshop, cell: Cell, built: Built, fitted: Fitted) -> dict[str, Tensor]:
    """Test logits at best and last, of the whole and of its parts; given weights, which are both, are scored once."""
    samples, test = shop.samples(cell.fold), torch.from_numpy(shop.plan.folds[cell.fold].test)
    student = built.distillation.student
    logits = {}
    for name, state in {"best": fitted.best, **({"last": fitted.last} if cell.given is None else {})}.items():
        student.model.load_state_dict(state)
        logits[name] = evaluate(student, samples, test, cell.view, shop.accelerator)
        for part in parts_of(student):
            logits[f"{part}.{name}"] = evaluate(student, samples, test, cell.view, shop.accelerator, part)
    return {**{name.replace("best", "last"): held for name, held in logits.items()}, **logits}


def _trained(shop: Workshop, cell: Cell, built: Built, listener: Listener) -> Fitted:
    teachers, views = remember(shop, cell, built)
    job = Job(
        key=cell.key,
        folder=shop.cell_folder(cell.key),
        distillation=built.distillation,
        teachers=teachers,
        views=views,
        samples=shop.samples(cell.fold),
        fold=shop.plan.folds[cell.fold],
        train=cell.train,
        epochs=cell.epochs,
        seed=cell.seed,
        keep=shop.plan.keep.get(cell.key, frozenset()),
        phases=cell.phases,
    )
    return fit(job, shop.accelerator, listener)


def example_numbers(plan: Plan) -> tuple[int, ...]:
    """Test windows of the first fold for pictures: the middle one of each of the first classes that it has."""
    fold = next(iter(plan.folds.values()))
    classes = plan.windows.y[fold.test]
    found = [fold.test[classes == label] for label in np.unique(classes)[:EXAMPLES]]
    return tuple(int(own[len(own) // 2]) for own in found)


def _write_pictures(shop: Workshop, cell: Cell, built: Built, fitted: Fitted) -> None:
    """What methods show of themselves, in cells of the first fold and seed, with the student at its last epoch.

    The last, because adapters are kept at no other.
    """
    if (cell.fold, cell.seed) != (next(iter(shop.plan.folds)), shop.plan.recipe.seeds[0]):
        return
    distillation = built.distillation.eval()
    distillation.student.model.load_state_dict(fitted.last)
    batch = shop.samples(cell.fold).batch(torch.tensor(example_numbers(shop.plan)), views_of(cell, built))
    teachers = {name: teacher(batch).float() for name, teacher in built.teachers.items()}
    with torch.no_grad():
        student = distillation.student(batch.input(cell.view)).float()
        found: dict[str, Any] = {}
        for name, module in distillation.methods.items():
            method = cast(Method, module)
            part = student.branches[method.branch] if method.branch else student
            shown = method.pictures(part, teachers, batch)
            found.update({f"{name}.{key}": held.float().cpu().numpy() for key, held in shown.items()})
    if found:
        write_npz(shop.cell_folder(cell.key) / PICTURES, {"index": batch.index.cpu().numpy(), **found})


def _write(shop: Workshop, cell: Cell, built: Built, fitted: Fitted, logits: Mapping[str, Tensor]) -> None:
    folder, windows = shop.cell_folder(cell.key), shop.plan.windows
    test = shop.plan.folds[cell.fold].test
    header = _header(shop, cell, built)
    states: dict[str, StateDict] = {"best": fitted.best, "last": fitted.last}
    states.update({f"epoch:{epoch}": state for epoch, state in fitted.kept.items()})
    for checkpoint, state in states.items():
        save_student(shop.weights_file(cell.key, checkpoint), state, header)
        for number, branch in enumerate(built.distillation.student.branches):
            own = {k.removeprefix(f"{branch}."): v for k, v in state.items() if k.startswith(f"{branch}.")}
            path = shop.weights_file(cell.key, checkpoint)
            save_student(path.with_stem(f"{path.stem}-{branch}"), own, branch_header(header, number))
    target = torch.from_numpy(windows.y[test])
    arrays = {"index": test, "target": windows.y[test], **{name: x.numpy() for name, x in logits.items()}}
    write_npz(folder / "predictions.npz", arrays)
    write_json(folder / "run.json", {**environment(shop, cell), "seconds": round(fitted.seconds, 2)})
    model = built.distillation.student.model
    write_json(
        folder / RESULT,
        {
            "key": cell.key,
            "title": cell.title,
            "fold": cell.fold,
            "seed": cell.seed,
            "epochs": cell.epochs,
            "best_epoch": fitted.best_epoch,
            "val": {"best": fitted.best_accuracy, "last": fitted.last_accuracy},
            **_scores(logits, target, len(windows.classes)),
            "parameters": parameters(model),
            "adapters": parameters(built.distillation) - parameters(model),
            "macs": macs(model, built.example),
            **({"parts": _parts(built, logits, target, len(windows.classes))} if "signal.best" in logits else {}),
        },
    )
    for name in ("progress.pt", "error.json"):
        (folder / name).unlink(missing_ok=True)


def _scores(logits: Mapping[str, Tensor], target: Tensor, classes: int) -> dict[str, Any]:
    """Test scores and confusion at best and last."""
    from sklearn.metrics import confusion_matrix  # slow to import

    held = {name: logits[name] for name in ("best", "last")}
    return {
        "test": {name: scores(x, target) for name, x in held.items()},
        "confusion": {
            name: confusion_matrix(target, x.argmax(1), labels=range(classes)).tolist() for name, x in held.items()
        },
    }


def _parts(built: Built, logits: Mapping[str, Tensor], target: Tensor, classes: int) -> dict[str, Any]:
    """The same for every part of a two-branch student, with the size of the branches."""
    student = built.distillation.student
    found: dict[str, Any] = {}
    inputs = dict(zip(student.branches, built.example, strict=True))
    for part in parts_of(student):
        own = {name: logits[f"{part}.{name}"] for name in ("best", "last")}
        found[part] = _scores(own, target, classes)
        if part in student.branches:
            branch = getattr(student.model, part)
            found[part] |= {"parameters": parameters(branch), "macs": macs(branch, inputs[part])}
        else:
            found[part]["macs"] = macs(student.model, without(student, built.example, part))
    return found


def _header(shop: Workshop, cell: Cell, built: Built) -> Header:
    windows, samples = shop.plan.windows, shop.samples(cell.fold)
    fitted = [samples.views[name] for name in names_of(cell.view)]
    return Header(
        builder=cell.model,
        options=cell.options,
        input_shape=built.student_spec.input,
        classes=windows.classes,
        channels=windows.channels,
        rate=windows.rate,
        window=windows.size[0] if len(windows.size) == 1 else windows.size,
        mean=samples.standardise.mean,
        std=samples.standardise.std,
        views=tuple(
            SeenView(type=view_type(own.view), settings=view_settings(own.view), state=own.state) for own in fitted
        ),
        columns=table_columns(shop.plan.recipe.data),
    )


def environment(shop: Workshop, cell: Cell) -> dict[str, Any]:
    """What a cell ran on; recorded, because numbers may differ between such environments."""
    device = shop.accelerator.device
    return {
        "overtone": metadata.version("overtone"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "accelerate": metadata.version("accelerate"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": cell.train.threads,
        "processes": shop.accelerator.num_processes,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def read_predictions(folder: Path) -> dict[str, Any]:
    """A done cell's test logits at best and last, with sample numbers and classes.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = folder / "predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete the folder {folder} to run this cell again"
        ) from error
