"""What a cell leaves behind: its files, written and read again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from overtone.data import table_columns
from overtone.engine import Fitted, parts_of, scores, without
from overtone.engine.checkpoint import FILE as CHECKPOINT
from overtone.engine.loop import ROWS, StateDict
from overtone.errors import InputError
from overtone.files import remove, write_npz
from overtone.lookup import view_settings, view_type
from overtone.methods import Method
from overtone.models import Keeping
from overtone.sealed import DamagedError, digests, read_npz, write_sealed
from overtone.student import Header, SeenView, branch_header, save_student
from overtone.study.build import PREDICTIONS, RESULT, RUN, VISUALISATIONS, Built, StudyContext, views_of
from overtone.study.plan import Cell, Plan
from overtone.tap import macs, parameters
from overtone.types import names_of

EXAMPLES = 3
CHECKPOINTS = ("best", "last")


def example_numbers(plan: Plan) -> tuple[int, ...]:
    """Test windows of the first fold for visualisations: the middle one of each of the first classes that it has."""
    fold = next(iter(plan.folds.values()))
    classes = plan.windows.y[fold.test]
    found = [fold.test[classes == label] for label in np.unique(classes)[:EXAMPLES]]
    return tuple(int(own[len(own) // 2]) for own in found)


def write_visualisations(context: StudyContext, cell: Cell, built: Built, fitted: Fitted) -> None:
    """What methods show of themselves, in cells of the first fold and seed, with the student at its last epoch.

    The last, because adapters are kept at no other.
    """
    if (cell.fold, cell.seed) != (next(iter(context.plan.folds)), context.plan.recipe.seeds[0]):
        return
    distillation = built.distillation.eval()
    distillation.student.model.load_state_dict(fitted.last)
    batch = context.samples(cell.fold).batch(torch.tensor(example_numbers(context.plan)), views_of(cell, built))
    teachers = {name: teacher(batch).float() for name, teacher in built.teachers.items()}
    with torch.no_grad():
        student = distillation.student(batch.input(cell.view)).float()
        found: dict[str, Any] = {}
        for name, module in distillation.methods.items():
            method = cast(Method, module)
            part = student.branches[method.branch] if method.branch else student
            shown = method.visualisations(part, teachers, batch)
            found.update({f"{name}.{key}": held.float().cpu().numpy() for key, held in shown.items()})
    if found:
        write_npz(context.cell_folder(cell.key) / VISUALISATIONS, {"index": batch.index.cpu().numpy(), **found})


def write_cell(context: StudyContext, cell: Cell, built: Built, fitted: Fitted, logits: Mapping[str, Tensor]) -> None:
    """Students, predictions, environment, and last the result, by which the cell is done."""
    folder, windows = context.cell_folder(cell.key), context.plan.windows
    test = context.plan.folds[cell.fold].test
    header = _header(context, cell, built)
    states: dict[str, StateDict] = {"best": fitted.chosen, "last": fitted.last}
    states.update({f"epoch:{epoch}": state for epoch, state in fitted.kept.items()})
    files = [PREDICTIONS, *(name for name in (ROWS, VISUALISATIONS) if (folder / name).exists())]
    for checkpoint, state in states.items():
        path = context.weights_file(cell.key, checkpoint)
        save_student(path, state, header)
        files.append(path.name)
        for number, branch in enumerate(built.distillation.student.branches):
            own = {k.removeprefix(f"{branch}."): v for k, v in state.items() if k.startswith(f"{branch}.")}
            beside = path.with_stem(f"{path.stem}-{branch}")
            save_student(beside, own, branch_header(header, number))
            files.append(beside.name)
    target = torch.from_numpy(windows.y[test])
    arrays = {"index": test, "target": windows.y[test], **{name: x.numpy() for name, x in logits.items()}}
    write_npz(folder / PREDICTIONS, arrays)
    write_sealed(folder / RUN, {"key": cell.key, **environment(context, cell), "seconds": round(fitted.seconds, 2)})
    model = built.distillation.student.model
    write_sealed(
        folder / RESULT,
        {
            "key": cell.key,
            "title": cell.title,
            "fold": cell.fold,
            "seed": cell.seed,
            "epochs": cell.epochs,
            "best_epoch": fitted.best_epoch if fitted.best else None,
            **({} if cell.given is None else {"told": cell.given.told(model, cell.model, windows.classes)}),
            "val": {"best": fitted.best_accuracy, "last": fitted.last_accuracy} if fitted.best else None,
            **_scores(logits, target, len(windows.classes)),
            "parameters": parameters(model),
            "adapters": parameters(built.distillation) - parameters(model),
            "macs": macs(model, built.example),
            "files": digests(folder, files),
            **({"parts": _parts(built, logits, target, len(windows.classes))} if "signal.last" in logits else {}),
        },
    )
    for name in (CHECKPOINT, "error.json"):
        remove(folder / name, context.folder)


def _scores(logits: Mapping[str, Tensor], target: Tensor, classes: int) -> dict[str, Any]:
    """Test scores and confusion at best, if there is one, and last."""
    from sklearn.metrics import confusion_matrix  # slow to import

    held = {name: logits[name] for name in CHECKPOINTS if name in logits}
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
        own = {name: logits[f"{part}.{name}"] for name in CHECKPOINTS if f"{part}.{name}" in logits}
        found[part] = _scores(own, target, classes)
        if part in student.branches:
            branch = getattr(student.model, part)
            found[part] |= {"parameters": parameters(branch), "macs": macs(branch, inputs[part])}
        else:
            found[part]["macs"] = macs(student.model, without(student, built.example, part))
    return found


def _header(context: StudyContext, cell: Cell, built: Built) -> Header:
    windows, samples = context.plan.windows, context.samples(cell.fold)
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
        columns=table_columns(context.plan.recipe.data),
        kept=model.kept if isinstance(model := built.distillation.student.model, Keeping) else None,
    )


def environment(context: StudyContext, cell: Cell) -> dict[str, Any]:
    """What a cell ran on; recorded, because numbers may differ between such environments."""
    device = context.accelerator.device
    # Sums are rounded otherwise by wider vectors, and a short training can end points apart.
    instructions = {"instructions": torch.backends.cpu.get_cpu_capability()} if device.type == "cpu" else {}
    return {
        "overtone": metadata.version("overtone"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "accelerate": metadata.version("accelerate"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": cell.train.threads,
        "processes": context.accelerator.num_processes,
        "python": platform.python_version(),
        "machine": platform.machine(),
        **instructions,
    }


def read_predictions(folder: Path) -> dict[str, Any]:
    """A done cell's test logits at best, if there is one, and last, with sample numbers and classes.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        return read_npz(folder / PREDICTIONS)
    except DamagedError as error:
        raise InputError(f"{folder}: {error}; run the study again, which runs this cell again") from error
