"""The student file: one ``safetensors`` file that plain torch loads, with everything needed to use it in its header.

Every trained model of a study is written in this form, teachers too: its keys are the bare model's own, and no
adapter, optimiser state or teacher is ever in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from overtone.data import Standardiser, TableColumns
from overtone.errors import InputError
from overtone.files import write_atomic
from overtone.lookup import make_view
from overtone.models import Tapped, branch_names, build
from overtone.recipe import ModelOptions
from overtone.views import View

HEADER = "overtone"
"""The key of the header in a safetensors file's metadata."""
OLD_NAMES = {"type": "view", "settings": "view_settings", "state": "view_state"}


class SeenView(BaseModel):
    """A view in a student file: its type, settings and fitted state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    settings: dict[str, Any]
    state: dict[str, Any]


class Header(BaseModel):
    """What a student file says about itself.

    Attributes:
        builder: the model's name, as in a recipe.
        input_shape: one sample as the model sees it, after its view; the shapes of both inputs of a two-branch model.
        classes, channels: names, in order.
        rate: Hz, if known.
        window: samples in a window; height and width of images.
        mean, std: standardisation of each channel, in the recording's units.
        options: how the model was varied.
        views: how a standardised window becomes the model's input, or inputs.
        columns: which column was what, where it was trained on text tables.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    builder: str
    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate: float | None
    window: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: ModelOptions = ModelOptions()
    views: tuple[SeenView, ...]
    columns: TableColumns | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_view(cls, value: Any) -> Any:
        """Files written before models with two branches name their view beside everything else."""
        if isinstance(value, dict) and "view" in value:
            own = {new: value[old] for new, old in OLD_NAMES.items() if old in value}
            return {**{k: v for k, v in value.items() if k not in OLD_NAMES.values()}, "views": [own]}
        return value

    @property
    def size(self) -> tuple[int, ...]:
        """Of one window, without its channels."""
        return (self.window,) if isinstance(self.window, int) else self.window


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

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.header.classes

    def forward(self, windows: Tensor | npt.NDArray[Any]) -> Tensor:
        """Windows (B, C, T) in the recording's units, or images (B, C, H, W) of 0 to 255 -> logits (B, classes).

        An array of numpy is taken as well, onto the model's device.

        Raises:
            InputError: for windows of another shape than the student was trained on.
        """
        inputs = self.inputs(windows)
        return self.model(inputs if self.branches else inputs[0])

    def inputs(self, windows: Tensor | npt.NDArray[Any]) -> tuple[Tensor | None, ...]:
        """What the model sees of windows: one view, or two for a two-branch student (None where it is missing).

        Raises:
            InputError: for windows of another shape than the student was trained on.
        """
        if not isinstance(windows, Tensor):
            device = next((parameter.device for parameter in self.model.parameters()), None)
            windows = torch.as_tensor(np.ascontiguousarray(windows), device=device)
        wanted = (len(self.header.channels), *self.header.size)
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
        """Windows (B, C, T), or images (B, C, H, W), of torch or numpy -> class probabilities (B, classes)."""
        return self(windows).softmax(1)


def branch_header(header: Header, number: int) -> Header:
    """What a branch of a two-branch student says about itself, as a student of its own."""
    shape = header.input_shape[number]
    assert not isinstance(shape, int)
    return header.model_copy(
        update={
            "builder": branch_names(header.builder)[number],
            "input_shape": shape,
            "options": header.options.model_copy(update={"modality_dropout": 0.0}),
            "views": (header.views[number],),
        }
    )


def save_student(path: Path, state: dict[str, Tensor], header: Header) -> None:
    """Write a student file atomically, from a bare model's state dict."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_atomic(path, save(tensors, metadata={HEADER: header.model_dump_json()}))


def read_header(path: Path) -> Header:
    """A student file's header.

    Raises:
        InputError: for a missing, cut or foreign file.
    """
    if not path.is_file():
        raise InputError(f"student file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read, it is cut short or no safetensors file ({error})") from error
    if HEADER not in metadata:
        raise InputError(f"{path} is a safetensors file, but Overtone did not write it (its header is missing)")
    try:
        return Header.model_validate(json.loads(metadata[HEADER]))
    except (ValidationError, ValueError) as error:
        raise InputError(f"{path}: its header was written by another version of Overtone ({error})") from error


def load_student(path: str | Path) -> Student:
    """A trained model from its file, in eval mode.

    Args:
        path: ``student.safetensors`` of a study's cell, or a copy.

    Raises:
        InputError: for a missing, cut or foreign file.
    """
    path = Path(path)
    header = read_header(path)
    model = build(header.builder, header.input_shape, len(header.classes), header.options)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit model {header.builder!r}: {error}") from error
    views = [make_view(view.type, view.settings, f"{path}: view") for view in header.views]
    return Student(model, header, views).eval()
