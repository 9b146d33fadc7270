"""The student file: one ``safetensors`` file that plain torch loads, with everything needed to use it in its header.

Every trained model of a study is written in this form, teachers too: its keys are the bare model's own, and no
adapter, optimiser state or teacher is ever in it, but for parts that a method leaves in its student (``simkd``); the
header names these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from overtone.data import Standardiser
from overtone.errors import InputError
from overtone.files import write_atomic
from overtone.header import HEADER, Header, SeenView, branch_header, check_views, read_header
from overtone.lookup import make_view
from overtone.models import Tapped, around, build, sketch
from overtone.trust import Trust, check_header, named_by
from overtone.types import Batch, Input, Output
from overtone.views import View

FEW = 3


class Student(nn.Module):
    """A trained model that takes windows as they were recorded.

    Attributes:
        model: the bare model.
        header: what the file said.
        views: the view objects, one for each of the model's inputs.
        missing: the branch whose input is left out; see :meth:`without`.
    """

    def __init__(self, model: nn.Module, header: Header, views: Sequence[View], missing: str | None = None) -> None:
        super().__init__()
        self.model, self.header, self.views, self.missing = model, header, tuple(views), missing
        self.standardise = Standardiser(header.mean, header.std)
        self.task = header.task.task()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; names of the targets of another task."""
        return self.task.names

    def forward(self, windows: Tensor | npt.NDArray[Any]) -> Tensor:
        """Windows (B, C, T) in the recording's units, or images (B, C, H, W) of 0 to 255 -> logits (B, classes), or
        what else the model's last layer gives, (B, outputs).

        An array of numpy is taken as well, onto the model's device.

        Raises:
            InputError: for windows of another shape than the student was trained on, or a task whose models give no
                row of numbers per window; :meth:`output` has what these give.
        """
        return self.output(windows).logits

    def output(self, windows: Tensor | npt.NDArray[Any], size: Tensor | None = None) -> Output:
        """What the task reads in what the model gives, without stages.

        Args:
            windows: as :meth:`forward` takes them; images of any size where the task allows it.
            size: (B, 2) height and width of each image, which lies in the upper left corner; the whole unless given.

        Raises:
            InputError: for windows of another shape than the student was trained on.
        """
        return Output(self.task.read(self.model(self.asked(windows, size))))

    def asked(self, windows: Tensor | npt.NDArray[Any], size: Tensor | None = None) -> Input:
        """What the model is called with: its input, or inputs, as the task collates them; see :meth:`output`.

        Raises:
            InputError: for windows of another shape than the student was trained on.
        """
        inputs = self.inputs(windows)
        names = self.branches or ("",)
        batch = Batch(dict(zip(names, inputs, strict=True)), None, torch.arange(len(windows)), size)
        return self.task.collate(batch).input(names if self.branches else "")

    def inputs(self, windows: Tensor | npt.NDArray[Any]) -> tuple[Tensor | None, ...]:
        """What the model sees of windows: one view, or two for a two-branch student (None where it is missing).

        Raises:
            InputError: for windows of another shape than the student was trained on.
        """
        if not isinstance(windows, Tensor):
            device = next((parameter.device for parameter in self.model.parameters()), None)
            windows = np.ascontiguousarray(windows)
            if windows.dtype.kind not in "biuf":
                raise InputError(f"windows are numbers, got an array of {windows.dtype}")
            windows = torch.as_tensor(windows, device=device)
        wanted = (len(self.header.channels), *self.header.size)
        if self.task.ANY_SIZE and windows.dim() == 1 + len(wanted):
            wanted = (wanted[0], *windows.shape[2:])
        if tuple(windows.shape[1:]) != wanted:
            raise InputError(
                f"this student takes (B, {', '.join(map(str, wanted))}), channels {', '.join(self.header.channels)}; "
                f"got {tuple(windows.shape)}"
            )
        standardised = self.standardise(windows.float())
        names = self.branches or ("",)
        return tuple(
            None if name == self.missing else view.render(view.prepare(view.pick(standardised)), seen.state)
            for name, view, seen in zip(names, self.views, self.header.views, strict=True)
        )

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the model's branches; none unless it is a two-branch student."""
        return self.model.BRANCHES if isinstance(self.model, Tapped) else ()

    def branch(self, name: str) -> Student:
        """One branch as a student of its own, which needs only its own view; save it with :func:`save_student`.

        Raises:
            InputError: for a branch that this student does not have.
        """
        number = self._number(name)
        header = branch_header(self.header, number)
        return Student(getattr(self.model, name), header, [self.views[number]]).train(self.training)

    def without(self, name: str) -> Student:
        """The same two-branch student with one input missing; it must have been trained with modality dropout.

        Raises:
            InputError: for a branch that it does not have, or a student that never saw an input missing.
        """
        self._number(name)
        if not self.header.options.modality_dropout:
            raise InputError(
                f"this student was trained without modality_dropout and cannot do without its {name}; take a branch by "
                "itself, branch('signal'), or train it with modality_dropout"
            )
        return Student(self.model, self.header, self.views, missing=name).train(self.training)

    def _number(self, name: str) -> int:
        if name not in self.branches:
            has = f"has the branches {', '.join(self.branches)}" if self.branches else "has no branches"
            raise InputError(f"there is no branch {name!r}; this student, {self.header.builder}, {has}")
        return self.branches.index(name)

    @torch.no_grad()
    def predict(self, windows: Tensor | npt.NDArray[Any]) -> Tensor:
        """Windows (B, C, T), or images (B, C, H, W), of torch or numpy -> probabilities (B, classes), or values."""
        return self.task.answer(self(windows))


def save_student(path: Path, state: dict[str, Tensor], header: Header) -> None:
    """Write a student file atomically, from a bare model's state dict."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    absent = {name for name in ("kept", "data") if getattr(header, name) is None}
    written = header.model_dump_json(exclude=absent)  # as older versions read it
    write_atomic(path, save(tensors, metadata={HEADER: written}))


def load_student(path: str | Path, trust: Trust = False) -> Student:
    """A trained model from its file, in eval mode.

    Without ``trust`` a file is harmless, whoever made it: it is made of built-in models and views, and of models in
    torchvision's and timm's lists with plain arguments (numbers, true and false, lists of them); nothing else is
    imported or run, and no more is allocated than the file can fill. See ``docs/security.md``.

    Args:
        path: ``student.safetensors`` of a study's cell, or a copy.
        trust: True also imports and runs what the file names: models and views of one's own
            (``package.module:Class``), any arguments. A collection of such names allows these.

    Raises:
        InputError: for a missing, cut or foreign file, and for one that needs your trust; it says what would be
            imported.
    """
    if not isinstance(path, (str, Path)):
        raise InputError(f"load_student takes the path of a student file, got {type(path).__name__}")
    path = Path(path)
    trust = {trust} if isinstance(trust, str) else trust
    header = read_header(path)
    named = [*(view.type for view in header.views), header.task.name]
    check_header(header.builder, header.options.arguments, named, str(path), trust)
    views = [make_view(view.type, view.settings, f"{path}: view") for view in header.views]
    check_views(header, views, str(path), bounded=trust is False)
    return Student(_load_model(path, header, trust), header, views).eval()


def _load_model(path: Path, header: Header, trust: Trust) -> nn.Module:
    """The header's model with the file's weights; first without memory, unless it is somebody's own and trusted."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    wanted = (header.builder, header.input_shape, header.task.task().outputs, header.options)
    named = trust is True or (trust is not False and any(name in trust for name in named_by(header.builder)))
    sketched = not (named and ":" in header.builder)
    try:
        if sketched:
            values = sum(map(math.prod, shapes.values()))
            model = sketch(*wanted, tensors=len(shapes), values=values, kept=header.kept)
            _check_fit(model, header.builder, shapes)
            if ":" in header.builder:  # what is in no state dict is made again, this time with memory
                sketched, model = False, build(*wanted, tried=False)
        else:
            model = around(build(*wanted, tried=False), header.kept, *wanted[1:3])
            _check_fit(model, header.builder, shapes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        raise InputError(f"{path}: model {header.builder!r} cannot be made: {type(error).__name__}: {error}") from error
    expected = model.state_dict()
    with safe_open(path, framework="pt") as file:
        # Copies: a tensor of safetensors may be the file itself, mapped into memory.
        state = {name: file.get_tensor(name).to(expected[name].dtype, copy=True) for name in shapes}
    model.load_state_dict(state, assign=sketched)
    return model


def _check_fit(model: nn.Module, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    model_shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    lacks, more = [key for key in model_shapes if key not in shapes], [key for key in shapes if key not in model_shapes]
    other = [
        f"{key} is {shapes[key]} in the file, {shape} in the model"
        for key, shape in model_shapes.items()
        if shapes.get(key, shape) != shape
    ]
    if lacks or more:
        faults = [f"the file {word} {_few(names)}" for word, names in (("lacks", lacks), ("holds", more)) if names]
        raise InputError(f"its weights do not fit model {name!r}: {', '.join(faults)}")
    if other:
        raise InputError(f"its weights do not fit model {name!r}: {other[0]}")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:FEW])
    return shown + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


__all__ = [
    "HEADER",
    "Header",
    "SeenView",
    "Student",
    "branch_header",
    "load_student",
    "read_header",
    "save_student",
]
