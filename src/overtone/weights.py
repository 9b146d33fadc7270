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

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".npz")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net")
"""Keys under which training scripts put a state dict beside other things."""
UNORDERED = ".safetensors"
"""Such a file sorts its tensors, so that their order says nothing."""
COUNTER = "num_batches_tracked"
"""Batches that a normalisation has seen: without effect here, and missing in old files."""
FEW = 3
NUMPY = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar", "numpy.dtype")
"""What a pickled number of numpy names (a score beside the weights)."""

State = dict[str, Tensor]


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
                model, of other classes, or that are not finite, or whose names fit in no clear way.
        """
        state, _ = self._fitted(model, name, classes)
        model.load_state_dict(state, strict=False)  # old files lack a count of batches

    def told(self, model: nn.Module, name: str, classes: Sequence[str]) -> str:
        """How the file's names were made the model's, in one line; empty where they are the same."""
        return self._fitted(model, name, classes)[1]

    def _fitted(self, model: nn.Module, name: str, classes: Sequence[str]) -> tuple[State, str]:
        if _content(self.path) != self.content:
            raise InputError(f"{self.where}: {self.path} changed while the study ran; run it again")
        model_state = model.state_dict()
        try:
            file_state = _state_of(_read(self.path))
            _check_classes(self.path, classes)
            state, note = _matched(file_state, model_state, self.path.suffix.lower() != UNORDERED)
            _check_fit(state, model_state, name, len(classes))
        except InputError as error:
            raise InputError(f"{self.where}: {self.path} {error}") from error
        return state, note


def _absent(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} (looked from {Path.cwd()})"
    near = close(path.name, (other.name for other in path.parent.iterdir() if other.is_file()))
    hint = f"; did you mean {near!r}?" if near else ""
    return f"there is no file {path} (looked from {Path.cwd()}){hint}"


def _content(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def _read(path: Path) -> Any:
    """What is in a file; nothing in it is run."""
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            return load_file(path)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        with torch.serialization.safe_globals([(_Number, name) for name in NUMPY]):
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


class _Number:
    """Stands for a number of numpy, or its type, that lies beside the weights: nobody needs it, and nothing of numpy is
    called.
    """

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _state_of(value: Any) -> State:
    """The state dict in what a file held."""
    for key in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if isinstance(value, dict):
        value = {name: entry for name, entry in value.items() if not isinstance(entry, _Number)}
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
    return {str(name): tensor for name, tensor in value.items()}


def _matched(file_state: State, model_state: State, ordered: bool) -> tuple[State, str]:
    """A file's tensors under the model's names, and in one line what had to be done for it.

    As they are; else without the first words that all names share (``module.``, ``student.``); else, where the file
    keeps its tensors in the order of the network, by order: see :func:`_by_order`. What does not fit is returned under
    its own names, for :func:`_check_fit` to tell.

    Raises:
        InputError: where the weights of two networks fit, or order alone does not decide.
    """
    bare = _bare(file_state)
    fits = {prefix: state for prefix, state in bare.items() if _names(state) == _names(model_state)}
    if not fits and ordered:
        fits = {prefix: renamed for prefix, state in bare.items() if (renamed := _by_order(state, model_state))}
    if len(fits) > 1:
        raise InputError(
            f"holds several networks of this kind, under {', '.join(fits)}; save the one that is meant by itself"
        )
    if not fits:
        return next(iter(bare.values())) if len(bare) == 1 else file_state, ""
    (prefix, state), *_ = fits.items()
    notes = [f"{prefix!r} taken off all names"] if prefix else []
    file_names = list(_without_counters(bare[prefix]))
    model_names = list(_without_counters(model_state))
    pairs = (
        [(a, b) for a, b in zip(file_names, model_names, strict=True) if a != b]
        if set(file_names) != set(model_names)
        else []
    )
    if pairs:
        few = [pairs[0], pairs[-1]]
        notes.append(
            f"{len(pairs)} of {len(model_names)} tensors mapped by their order and shapes, "
            + ", ..., ".join(f"{a} to {b}" for a, b in few)
        )
    return state, "; ".join(notes)


def _bare(tensors: State) -> dict[str, State]:
    """What is left of a state without the first words that all its names share, by what was taken off.

    Where a file holds a student and a teacher beside each other, each by itself.
    """
    prefix = ""
    while len(first := {name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        word = f"{first.pop()}."
        prefix, tensors = prefix + word, {name.removeprefix(word): tensor for name, tensor in tensors.items()}
    if first and first <= {"student", "teacher"}:
        parts = {
            part: {n.removeprefix(f"{part}."): x for n, x in tensors.items() if n.startswith(f"{part}.")}
            for part in sorted(first)
        }
        return {
            f"{prefix}{part}.{more}": state for part, inner in parts.items() for more, state in _bare(inner).items()
        }
    return {prefix: tensors}


def _by_order(file_state: State, model_state: State) -> State | None:
    """The file's tensors under the model's names, the n-th under the n-th; None where that does not go.

    It goes where each has the other's shape (but for the number of classes, which :func:`_check_fit` tells), the last
    word of the name is the same (``weight``, ``running_var``), what lies in one layer of the file lies in one layer of
    the model, and no name of the file is another tensor's of the model.
    """
    file_tensors, model_tensors = _without_counters(file_state), _without_counters(model_state)
    pairs = list(zip(file_tensors, model_tensors, strict=False))
    if len(file_tensors) != len(model_tensors) or not all(
        _alike(file_tensors[a], model_tensors[b], last=b in list(model_tensors)[-2:]) for a, b in pairs
    ):
        return None
    layers = {(a.rpartition(".")[0], b.rpartition(".")[0]) for a, b in pairs}
    one_to_one = len(layers) == len({a for a, _ in layers}) == len({b for _, b in layers})
    if not one_to_one or any(a.rpartition(".")[2] != b.rpartition(".")[2] for a, b in pairs):
        return None
    if any(a != b and a in model_tensors for a, b in pairs):
        return None
    return {b: file_tensors[a] for a, b in pairs}


def _alike(stored: Tensor, wanted: Tensor, last: bool) -> bool:
    return stored.shape == wanted.shape or (
        last and stored.dim() == wanted.dim() and stored.shape[1:] == wanted.shape[1:]
    )


def _names(state: State) -> set[str]:
    return set(_without_counters(state))


def _without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    """A student file says which classes its logits are; other files do not."""
    if path.suffix.lower() != ".safetensors":
        return
    with safe_open(path, framework="pt") as file:
        if HEADER not in (file.metadata() or {}):
            return
    task = read_header(path).task
    if ":" in task.name:  # which only the caller's word lets us import
        return
    names = task.task().names
    if names != tuple(classes):
        pairs = enumerate(zip(names, classes, strict=False))
        differ = next(
            (
                f"class {n} is {file_class!r} there, {data_class!r} in the data"
                for n, (file_class, data_class) in pairs
                if file_class != data_class
            ),
            f"it has {len(names)}, the data {len(classes)}",
        )
        raise InputError(
            f"was trained for the classes {_few(names)}, the data's are {_few(classes)}, in this order: {differ}"
        )


def _check_fit(state: State, model_state: State, name: str, classes: int) -> None:
    lacks = [key for key in model_state if key not in state and not key.endswith(COUNTER)]
    more = [key for key in state if key not in model_state]
    if lacks or more:
        faults = [f"lacks {_few(lacks)}"] if lacks else []
        faults += [f"holds {_few(more)}, which the model does not have"] if more else []
        raise InputError(f"does not fit model {name!r}: it {' and '.join(faults)}")
    other = [key for key in state if state[key].shape != model_state[key].shape]
    for key in other:
        got, wanted = tuple(state[key].shape), tuple(model_state[key].shape)
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
