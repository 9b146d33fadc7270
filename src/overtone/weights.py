"""Weights that were trained elsewhere: read from a file without running code that is in it, and put into a model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from overtone.errors import InputError, close
from overtone.student import HEADER, read_header

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net")
"""Keys under which training scripts put a state dict beside other things."""
PREFIX = "module."
"""What wrappers for several GPUs leave in front of every name."""
FEW = 3


@dataclass(frozen=True)
class GivenWeights:
    """A file of weights, as a recipe names it.

    Attributes:
        where: the recipe's key, for messages.
        path: the file.
        content: hash of its bytes.
    """

    where: str
    path: Path
    content: str

    @property
    def said(self) -> str:
        """What is said of such a model where others have epochs."""
        return f"given weights ({self.path.name})"

    @classmethod
    def find(cls, place: str, where: str) -> GivenWeights:
        """The file at a place, relative to the working directory.

        Raises:
            InputError: for a file that does not exist (the nearest in its folder is named), that cannot be read, or of
                another kind.
        """
        path = Path(place)
        try:
            if not path.is_file():
                raise InputError(f"{where}: {_absent(path)}")
            if path.suffix.lower() not in SUFFIXES:
                raise InputError(f"{where}: {path} is none of the known kinds, {', '.join(SUFFIXES)}")
            return cls(where, path, _content(path))
        except OSError as error:
            raise InputError(f"{where}: {place} cannot be read ({error.strerror or error})") from error

    def load_into(self, model: nn.Module, name: str, classes: Sequence[str]) -> None:
        """Give a model these weights.

        Args:
            model: a classifier, as built for the data.
            name: the model's, for messages.
            classes: the data's, in the order of the logits.

        Raises:
            InputError: for a file that has changed since it was found, or holds no weights; for weights of another
                model, of other classes, or that are not finite.
        """
        if _content(self.path) != self.content:
            raise InputError(f"{self.where}: {self.path} changed while the study ran; run it again")
        try:
            state = _state_of(_read(self.path))
            _check_classes(self.path, classes)
            _check_fit(state, model, name, len(classes))
        except InputError as error:
            raise InputError(f"{self.where}: {self.path} {error}") from error
        model.load_state_dict(state, strict=False)  # old files lack a count of batches, which has no effect here


def _absent(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} (looked from {Path.cwd()})"
    near = close(path.name, (other.name for other in path.parent.iterdir() if other.is_file()))
    hint = f"; did you mean {near!r}?" if near else ""
    return f"there is no file {path} (looked from {Path.cwd()}){hint}"


def _content(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _read(path: Path) -> Any:
    """What is in a file; nothing in it is run."""
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            return load_file(path)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as held:
                return {name: torch.from_numpy(held[name]) for name in held.files}
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise nearly anything for a foreign or damaged file
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise InputError(
                f"holds more than tensors ({asked[1]}), which would run code when it is read; save "
                "model.state_dict() alone"
            ) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be read as weights; it is cut short, or of another kind ({first[:100]})") from error


def _state_of(value: Any) -> dict[str, Tensor]:
    """The state dict in what a file held."""
    for key in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict) or not value or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        keys = (
            f"a mapping with the keys {_few(list(map(str, value)))}"
            if isinstance(value, dict)
            else type(value).__name__
        )
        raise InputError(
            f"holds no state dict but {keys}; needed is a mapping from names to tensors, itself or under "
            f"{', '.join(WRAPPERS)}"
        )
    names = [str(name) for name in value]
    cut = len(PREFIX) if all(name.startswith(PREFIX) for name in names) else 0
    return {name[cut:]: tensor for name, tensor in zip(names, value.values(), strict=True)}


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    """A student file says which classes its logits are; other files do not."""
    if path.suffix.lower() != ".safetensors":
        return
    with safe_open(path, framework="pt") as file:
        if HEADER not in (file.metadata() or {}):
            return
    own = read_header(path).classes
    if own != tuple(classes):
        pairs = enumerate(zip(own, classes, strict=False))
        differ = next(
            (f"class {n} is {mine!r} there, {theirs!r} in the data" for n, (mine, theirs) in pairs if mine != theirs),
            f"it has {len(own)}, the data {len(classes)}",
        )
        raise InputError(
            f"was trained for the classes {_few(own)}, the data's are {_few(classes)}, in this order: {differ}"
        )


def _check_fit(state: dict[str, Tensor], model: nn.Module, name: str, classes: int) -> None:
    own = model.state_dict()
    lacks = [key for key in own if key not in state and not key.endswith(".num_batches_tracked")]
    more = [key for key in state if key not in own]
    if lacks or more:
        said = [f"lacks {_few(lacks)}"] if lacks else []
        said += [f"holds {_few(more)}, which the model does not have"] if more else []
        raise InputError(f"does not fit model {name!r}: it {' and '.join(said)}")
    other = [key for key in state if state[key].shape != own[key].shape]
    for key in other:
        got, wanted = tuple(state[key].shape), tuple(own[key].shape)
        if wanted[:1] == (classes,) and got[1:] == wanted[1:]:
            continue
        raise InputError(f"does not fit model {name!r}: {key} is {got} in the file, {wanted} in the model")
    if other:
        layer = other[0].rpartition(".")[0]
        raise InputError(
            f"is of a classifier of {len(state[other[0]])} classes ({layer}), the data has {classes}; a teacher must "
            "tell the data's classes apart, in the data's order"
        )
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"holds values that are not finite, in {key}")


def _few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + rest
