"""The student file: one ``safetensors`` file that plain torch loads, with everything needed to use it in its header.

Every trained model of a study is written in this form, teachers too: its keys are the bare model's own, and no
adapter, optimiser state or teacher is ever in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from overtone.data import Standardiser, TableColumns
from overtone.errors import InputError
from overtone.files import write_atomic
from overtone.lookup import make_view
from overtone.models import build
from overtone.views import View


class Header(BaseModel):
    """What a student file says about itself.

    Attributes:
        builder: the model's name, as in a recipe.
        input_shape: one sample as the model sees it, after its view.
        classes, channels: names, in order.
        rate: Hz, if known.
        window: samples in a window; height and width of images.
        mean, std: standardisation of each channel, in the recording's units.
        view, view_settings, view_state: how a standardised window becomes the model's input.
        columns: which column was what, where it was trained on text tables.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    builder: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate: float | None
    window: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view: str
    view_settings: dict[str, Any]
    view_state: dict[str, Any]
    columns: TableColumns | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Of one window, without its channels."""
        return (self.window,) if isinstance(self.window, int) else self.window


class Student(nn.Module):
    """A trained model that takes windows as they were recorded.

    Attributes:
        model: the bare model.
        header: what the file said.
        view: the view object.
    """

    def __init__(self, model: nn.Module, header: Header, view: View) -> None:
        super().__init__()
        self.model, self.header, self.view = model, header, view
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
        if not isinstance(windows, Tensor):
            device = next((parameter.device for parameter in self.model.parameters()), None)
            windows = torch.as_tensor(np.ascontiguousarray(windows), device=device)
        wanted = (len(self.header.channels), *self.header.size)
        if tuple(windows.shape[1:]) != wanted:
            raise InputError(
                f"this student takes (B, {', '.join(map(str, wanted))}), channels {', '.join(self.header.channels)}; "
                f"got {tuple(windows.shape)}"
            )
        stored = self.view.prepare(self.view.pick(self.standardise(windows.float())))
        return self.model(self.view.render(stored, self.header.view_state))

    @torch.no_grad()
    def predict(self, windows: Tensor | npt.NDArray[Any]) -> Tensor:
        """Windows (B, C, T), or images (B, C, H, W), of torch or numpy -> class probabilities (B, classes)."""
        return self(windows).softmax(1)


def save_student(path: Path, state: dict[str, Tensor], header: Header) -> None:
    """Write a student file atomically, from a bare model's state dict."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_atomic(path, save(tensors, metadata={"overtone": header.model_dump_json()}))


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
    if "overtone" not in metadata:
        raise InputError(f"{path} is a safetensors file, but Overtone did not write it (its header is missing)")
    try:
        return Header.model_validate(json.loads(metadata["overtone"]))
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
    model = build(header.builder, header.input_shape, len(header.classes))
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit model {header.builder!r}: {error}") from error
    view = make_view(header.view, header.view_settings, f"{path}: view")
    return Student(model, header, view).eval()
