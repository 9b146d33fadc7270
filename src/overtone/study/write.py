"""What a cell leaves behind: its files."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.data import Windows
from overtone.engine import Fitted, parts_of, without
from overtone.engine.checkpoint import FILE as CHECKPOINT
from overtone.engine.loop import StateDict
from overtone.epochs import ROWS
from overtone.files import remove, write_npz
from overtone.header import SeenTask, kept_notes
from overtone.lookup import view_settings, view_type
from overtone.methods import Method
from overtone.models import Keeping
from overtone.sealed import digests
from overtone.shown import Shown, to_file
from overtone.student import Header, SeenView, branch_header, save_student
from overtone.study.build import Built, CellInputs, views_of
from overtone.study.cells import Cell
from overtone.study.predictions import FILE as PREDICTIONS
from overtone.study.predictions import write_predictions
from overtone.study.records import (
    CHECKPOINTS,
    ERROR,
    CellResult,
    CellRun,
    ScalarDescription,
    Scored,
    write_result,
    write_run,
)
from overtone.tap import macs, parameters
from overtone.tasks import Context, Predictions, Task
from overtone.types import names_of

VISUALISATIONS = "visualisations.npz"
"""What a cell's methods show of themselves on the example windows."""


def write_visualisations(inputs: CellInputs, cell: Cell, built: Built, fitted: Fitted) -> None:
    """What methods show of themselves, in cells of the first fold and seed, with the student at its last epoch.

    The last, because adapters are kept at no other.
    """
    if not inputs.examples:
        return
    distillation = built.distillation.eval()
    distillation.student.model.load_state_dict(fitted.last)
    batch = inputs.samples.batch(torch.tensor(inputs.examples), views_of(cell, built))
    teachers = {name: teacher(batch).float() for name, teacher in built.teachers.items()}
    with torch.no_grad():
        student = distillation.student(batch.input(cell.view)).float()
        all_shown: dict[str, Shown] = {}
        meaning: dict[str, tuple[str, ...]] = {}
        for name, module in distillation.methods.items():
            method = cast(Method, module)
            part = student.branches[method.branch] if method.branch else student
            shown = method.visualisations(*distillation.compared(part, teachers, batch))
            all_shown |= {f"{name}.{key}": one for key, one in shown.items()}
            meaning[name] = method.SHOWS if shown else ()
    if all_shown:
        described, arrays = to_file(all_shown)
        about = np.asarray(json.dumps({"shown": described, "meaning": meaning}))
        index = batch.index.cpu().numpy()
        write_npz(inputs.paths.cell(cell.key) / VISUALISATIONS, {"about": about, "index": index, **arrays})


def _scalars(built: Built) -> dict[str, ScalarDescription]:
    """What the numbers are that methods follow over the epochs, which ``metrics.jsonl`` holds by name."""
    return {
        f"{name}.{key}": ScalarDescription(**scalar.about())
        for name, method in built.distillation.methods.items()
        for key, scalar in cast(Method, method).scalars().items()
    }


def write_cell(
    inputs: CellInputs, cell: Cell, built: Built, fitted: Fitted, predictions: Mapping[str, Predictions]
) -> None:
    """Students, predictions, environment, and last the result, by which the cell is done."""
    folder, test = inputs.paths.cell(cell.key), inputs.fold.test
    files = [PREDICTIONS, *(name for name in (ROWS, VISUALISATIONS) if (folder / name).exists())]
    files += _write_students(inputs, cell, built, fitted)
    truth, context = inputs.samples.truth(torch.from_numpy(test)), inputs.samples.context(torch.from_numpy(test))
    write_predictions(folder, test, inputs.windows.y[test], predictions, context)
    seconds = round(fitted.seconds, 2)
    write_run(folder, CellRun(key=cell.key, seconds=seconds, **environment(cell, inputs.accelerator)))
    model, task = built.distillation.student.model, inputs.samples.task
    last = (fitted.rows[-1].val or {}).get(task.watched.key) if fitted.rows else fitted.best_value
    result = CellResult(
        key=cell.key,
        title=cell.title,
        fold=cell.fold,
        seed=cell.seed,
        epochs=cell.epochs,
        best_epoch=fitted.best_epoch if fitted.best else None,
        told=None if cell.given is None else cell.given.told(model, cell.model, task.names),
        val={"best": fitted.best_value, "last": last} if fitted.best else None,
        **_scores(task, predictions, truth, context),
        parameters=parameters(model),
        adapters=parameters(built.distillation) - parameters(model),
        macs=macs(model, built.example),
        facts=_facts(task, inputs.windows),
        files=digests(folder, files),
        scalars=_scalars(built),
        parts=_parts(built, task, predictions, truth, context) if "signal.last" in predictions else {},
    )
    write_result(folder, result)
    for name in (CHECKPOINT, ERROR):
        remove(folder / name, inputs.paths.folder)


@dataclass(frozen=True)
class Estimates:
    """What a fit without a gradient gives.

    Attributes:
        test: predictions of the test side.
        val: what the task watches, on the validation side; None without one.
        seconds: of fitting.
        told: what a person should know of the fit.
    """

    test: Predictions
    val: float | None
    seconds: float
    told: str | None = None


def write_baseline(inputs: CellInputs, cell: Cell, estimates: Estimates) -> None:
    """Predictions, environment, and last the result; the same stands at best, where a validation side is, and last."""
    folder, test, task = inputs.paths.cell(cell.key), inputs.fold.test, inputs.samples.task
    truth, context = inputs.samples.truth(torch.from_numpy(test)), inputs.samples.context(torch.from_numpy(test))
    which = CHECKPOINTS if estimates.val is not None else CHECKPOINTS[1:]
    predictions: dict[str, Predictions] = dict.fromkeys(which, estimates.test)
    write_predictions(folder, test, inputs.windows.y[test], predictions, context)
    ran = {**environment(cell, inputs.accelerator), "scikit-learn": metadata.version("scikit-learn")}
    write_run(folder, CellRun(key=cell.key, seconds=round(estimates.seconds, 2), **ran))
    result = CellResult(
        key=cell.key,
        title=cell.title,
        fold=cell.fold,
        seed=cell.seed,
        epochs=0,
        best_epoch=None if estimates.val is None else 0,
        told=estimates.told,
        val=None if estimates.val is None else dict.fromkeys(CHECKPOINTS, estimates.val),
        **_scores(task, predictions, truth, context),
        adapters=0,
        facts=_facts(task, inputs.windows),
        files=digests(folder, [PREDICTIONS]),
    )
    write_result(folder, result)
    remove(folder / ERROR, inputs.paths.folder)


def _facts(task: Task, windows: Windows) -> dict[str, Any]:
    """What the task learned from the fold's training targets."""
    return {} if task == windows.task else task.model_dump(mode="json", exclude_defaults=True)


def _write_students(inputs: CellInputs, cell: Cell, built: Built, fitted: Fitted) -> list[str]:
    """The student at each checkpoint, and its branches beside it; the files' names."""
    header = _header(inputs, cell, built)
    states: dict[str, StateDict] = {"best": fitted.chosen, "last": fitted.last}
    states.update({f"epoch:{epoch}": state for epoch, state in fitted.kept.items()})
    names = []
    for checkpoint, state in states.items():
        path = inputs.paths.weights(cell.key, checkpoint)
        save_student(path, state, header)
        names.append(path.name)
        for number, branch in enumerate(built.distillation.student.branches):
            branch_state = {k.removeprefix(f"{branch}."): v for k, v in state.items() if k.startswith(f"{branch}.")}
            beside = path.with_stem(f"{path.stem}-{branch}")
            save_student(beside, branch_state, branch_header(header, number))
            names.append(beside.name)
    return names


def _scores(
    task: Task, predictions: Mapping[str, Predictions], truth: Tensor, context: Context | None
) -> dict[str, Any]:
    """Test scores and details at best, if there is one, and last."""
    by_checkpoint: dict[str, Predictions] = {name: predictions[name] for name in CHECKPOINTS if name in predictions}
    return {
        "test": {name: task.scores(values, truth, context) for name, values in by_checkpoint.items()},
        "details": {name: task.details(values, truth, context) for name, values in by_checkpoint.items()},
    }


def _parts(
    built: Built, task: Task, predictions: Mapping[str, Predictions], truth: Tensor, context: Context | None
) -> dict[str, Scored]:
    """The same for every part of a two-branch student, with the size of the branches."""
    student = built.distillation.student
    scored: dict[str, Scored] = {}
    inputs = dict(zip(student.branches, built.example, strict=True))
    for part in parts_of(student):
        by_checkpoint: dict[str, Predictions] = {
            name: predictions[f"{part}.{name}"] for name in CHECKPOINTS if f"{part}.{name}" in predictions
        }
        if part in student.branches:
            branch = getattr(student.model, part)
            sizes = {"parameters": parameters(branch), "macs": macs(branch, inputs[part])}
        else:
            sizes = {"macs": macs(student.model, without(student, built.example, part))}
        scored[part] = Scored(**_scores(task, by_checkpoint, truth, context), **sizes)
    return scored


def _header(inputs: CellInputs, cell: Cell, built: Built) -> Header:
    windows, samples = inputs.windows, inputs.samples
    fitted = [samples.views[name] for name in names_of(cell.view)]
    return Header(
        builder=cell.model,
        options=cell.options,
        input_shape=built.student_spec.input if samples.size is None else _canvas(inputs, cell),
        task=SeenTask.of(samples.task),
        channels=windows.channels,
        rate=windows.rate,
        window=windows.size[0] if len(windows.size) == 1 else windows.size,
        mean=samples.standardise.mean,
        std=samples.standardise.std,
        views=tuple(
            SeenView(
                type=view_type(fitted_view.view), settings=view_settings(fitted_view.view), state=fitted_view.state
            )
            for fitted_view in fitted
        ),
        data=inputs.data,
        notes=kept_notes(windows.notes),
        kept=model.kept if isinstance(model := built.distillation.student.model, Keeping) else None,
    )


def _canvas(inputs: CellInputs, cell: Cell) -> tuple[int, ...]:
    """What a view shows of images of unequal size, of which each takes a part."""
    (shown,) = inputs.samples.rendered(torch.tensor([0]), names_of(cell.view)).values()
    return tuple(shown.shape[1:])


def environment(cell: Cell, accelerator: Accelerator) -> dict[str, Any]:
    """What a cell ran on; recorded, because numbers may differ between such environments."""
    device = accelerator.device
    # Sums are rounded otherwise by wider vectors, and a short training can end points apart.
    instructions = {"instructions": torch.backends.cpu.get_cpu_capability()} if device.type == "cpu" else {}
    return {
        "overtone": metadata.version("overtone"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "accelerate": metadata.version("accelerate"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": cell.train.threads,
        "processes": accelerator.num_processes,
        "python": platform.python_version(),
        "machine": platform.machine(),
        **instructions,
    }
