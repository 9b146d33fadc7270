"""Weights that were trained elsewhere: read from a file without running code that is in it, and put into a model."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard, cast

from safetensors import safe_open
from torch import nn

from overtone.checkpoint import SUFFIXES, Checkpoint, State, read_checkpoint
from overtone.errors import InputError, few
from overtone.files import expanded, no_file
from overtone.models import Tapped
from overtone.models.detector_files import check_layout, is_detectron2, ordered, renamed
from overtone.student import HEADER, read_header
from overtone.weight_names import COUNTERS, matched, matched_part

UNORDERED = ".safetensors"
"""Such a file sorts its tensors, so that their order says nothing."""


@dataclass(frozen=True)
class GivenWeights:
    """A file of weights, as a recipe names it.

    Attributes:
        where: the recipe's key, for messages.
        path: the file.
        content: hash of its bytes.
        key: which of several networks in the file is meant.
        classes: a detector's in the order of its outputs, where the recipe says them.
    """

    where: str
    path: Path
    content: str
    key: str | None = None
    classes: tuple[str, ...] | None = None

    @property
    def decides(self) -> str:
        """What of it decides numbers, for the key of a cell."""
        more = [*([] if self.key is None else [self.key]), *([] if self.classes is None else [repr(self.classes)])]
        return " ".join([self.content, *more])

    @property
    def said(self) -> str:
        """What is said of such a model where others have epochs."""
        return f"given weights ({self.path.name})"

    @classmethod
    def find(cls, place: str, where: str, key: str | None = None, classes: Sequence[str] | None = None) -> GivenWeights:
        """The file at a place, relative to the working directory; ``~`` and ``$VAR`` are expanded.

        Raises:
            InputError: for a file that does not exist (the nearest in its folder is named), that cannot be read, or of
                another kind.
        """
        path = expanded(place, where)
        try:
            if not path.is_file():
                raise InputError(f"{where}: {path} {no_file(path)}")
            if path.suffix.lower() not in SUFFIXES:
                raise InputError(f"{where}: {path} is none of the known kinds, {', '.join(SUFFIXES)}")
            return cls(where, path, _content(path), key, None if classes is None else tuple(classes))
        except OSError as error:
            raise InputError(f"{where}: {place} cannot be read ({error.strerror or error})") from error

    def load_into(self, model: nn.Module, name: str, classes: Sequence[str]) -> None:
        """Give a model these weights.

        Args:
            model: a classifier or a detector, as built for the data.
            name: the model's, for messages.
            classes: the data's, in the order of the logits. A detector's file may have further ones, and any order.

        Raises:
            InputError: for a file that has changed since it was found, or holds no weights; for weights of another
                model, of other classes, or that are not finite, or whose names fit in no clear way.
        """
        state, _ = self._fitted(model, name, classes)
        model.load_state_dict(state, strict=False)  # old files lack a count of batches

    def told(self, model: nn.Module, name: str, classes: Sequence[str]) -> str:
        """How the file's names were made the model's, in one line; empty where they are the same."""
        return self._fitted(model, name, classes)[1]

    def load_body(self, model: nn.Module, name: str) -> None:
        """Give a model's body, such as a detector's backbone, these weights; a classifier's file has more.

        Args:
            model: one with a body (``Tapped.BODY``).
            name: the model's, for messages.

        Raises:
            InputError: for a model without one, and as :meth:`load_into`.
        """
        body, state, _ = self._body(model, name)
        body.load_state_dict(state, strict=False)

    def body_told(self, model: nn.Module, name: str) -> str:
        """What of the file became the model's body, in one line."""
        return self._body(model, name)[2]

    def _body(self, model: nn.Module, name: str) -> tuple[nn.Module, State, str]:
        if not _has_body(model):
            raise InputError(
                f"{self.where}: model {name!r} has no backbone to give weights to; that is for detectors "
                "(fasterrcnn-resnet18)"
            )
        body = model.get_submodule(model.BODY)
        wanted = body.state_dict()
        try:
            stored = _for_detectors(self._read(), [f"{model.BODY}.{key}" for key in wanted])
            state, note = matched_part(stored, wanted, self._ordered, self.key)
            for key, tensor in state.items():
                if tensor.shape != wanted[key].shape:
                    got, wants = tuple(tensor.shape), tuple(wanted[key].shape)
                    raise InputError(f"does not fit model {name!r}: {key} is {got} in the file, {wants} in the model")
            _check_finite(state)
        except InputError as error:
            raise InputError(f"{self.where}: {self.path} {error}") from error
        return body, state, note

    def _fitted(self, model: nn.Module, name: str, classes: Sequence[str]) -> tuple[State, str]:
        model_state = model.state_dict()
        try:
            stored, more = self._read(), []
            of_file = _classes_of(self.path)
            if _has_body(model):
                for state in stored.states.values():
                    check_layout(state, cast(Any, model).settings.layout)
                if any(map(is_detectron2, stored.states.values())):
                    more.append("Detectron2's names and order of outputs")
                stored = _for_detectors(stored, model_state)
            elif self.classes is not None:
                raise InputError("is no detector's, whose classes alone may be named and taken in another order")
            elif of_file is not None:
                _check_classes(of_file, classes)
            state, note = matched(stored, model_state, self._ordered, self.key)
            if _has_body(model):
                state, by_name = ordered(state, classes, self.classes or of_file)
                more.append(by_name)
            _check_fit(state, model_state, name, len(classes))
        except InputError as error:
            raise InputError(f"{self.where}: {self.path} {error}") from error
        return state, "; ".join(filter(None, [note, *more]))

    @property
    def _ordered(self) -> bool:
        """Whether the order of its tensors says anything."""
        return self.path.suffix.lower() != UNORDERED

    def _read(self) -> Checkpoint:
        if _content(self.path) != self.content:
            raise InputError("changed while the study ran; run it again")
        return read_checkpoint(self.path)


def _has_body(model: nn.Module) -> TypeGuard[Tapped]:
    return isinstance(model, Tapped) and bool(model.BODY)


def _for_detectors(stored: Checkpoint, wanted: Collection[str]) -> Checkpoint:
    """A file with torchvision's names for what others call otherwise."""
    return replace(stored, states={keys: renamed(state, wanted) for keys, state in stored.states.items()})


def _content(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def _classes_of(path: Path) -> tuple[str, ...] | None:
    """A student file says which classes its logits are; other files do not."""
    if path.suffix.lower() != ".safetensors":
        return None
    with safe_open(path, framework="pt") as file:
        if HEADER not in (file.metadata() or {}):
            return None
    task = read_header(path).task
    return None if ":" in task.name else task.task().names  # that only the caller's word lets us import


def _check_classes(names: Sequence[str], classes: Sequence[str]) -> None:
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
            f"was trained for the classes {few(names)}, the data's are {few(classes)}, in this order: {differ}"
        )


def _check_fit(state: State, model_state: State, name: str, classes: int) -> None:
    lacks = [key for key in model_state if key not in state and not key.endswith(COUNTERS)]
    more = [key for key in state if key not in model_state]
    if lacks or more:
        faults = [f"lacks {few(lacks)}"] if lacks else []
        faults += [f"holds {few(more)}, which the model does not have"] if more else []
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
    _check_finite(state)


def _check_finite(state: State) -> None:
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"holds values that are not finite, in {key}")
