"""Weights that were trained elsewhere: read from a file without running code that is in it, and put into a model."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from overtone.checkpoint import SUFFIXES, Checkpoint, State, read_checkpoint
from overtone.errors import InputError, few, nearest
from overtone.files import expanded, no_file
from overtone.student import HEADER, read_header

UNORDERED = ".safetensors"
"""Such a file sorts its tensors, so that their order says nothing."""
COUNTERS = ("num_batches_tracked", "n_averaged")
"""Batches that a normalisation has seen, models that were averaged: without effect here, and missing in old files."""
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)")
"""What keys of averaged weights say: ``state_dict_ema``, ``ema_model.module``."""
COMPILED = "_orig_mod."
"""What torch.compile puts before the names of what it has compiled, a model or a part of one."""


@dataclass(frozen=True)
class GivenWeights:
    """A file of weights, as a recipe names it.

    Attributes:
        where: the recipe's key, for messages.
        path: the file.
        content: hash of its bytes.
        key: which of several networks in the file is meant.
    """

    where: str
    path: Path
    content: str
    key: str | None = None

    @property
    def decides(self) -> str:
        """What of it decides numbers, for the key of a cell."""
        return self.content if self.key is None else f"{self.content} {self.key}"

    @property
    def said(self) -> str:
        """What is said of such a model where others have epochs."""
        return f"given weights ({self.path.name})"

    @classmethod
    def find(cls, place: str, where: str, key: str | None = None) -> GivenWeights:
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
            return cls(where, path, _content(path), key)
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
            stored = read_checkpoint(self.path)
            _check_classes(self.path, classes)
            state, note = _matched(stored, model_state, self.path.suffix.lower() != UNORDERED, self.key)
            _check_fit(state, model_state, name, len(classes))
        except InputError as error:
            raise InputError(f"{self.where}: {self.path} {error}") from error
        return state, note


def _content(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


@dataclass(frozen=True)
class _Fit:
    """Tensors of a file that are the model's.

    Attributes:
        keys: those of the mapping that they lie in.
        prefix: what their names there begin with.
        names: their names there.
        state: the tensors under the model's names.
    """

    keys: str
    prefix: str
    names: tuple[str, ...]
    state: State

    @property
    def place(self) -> str:
        """Where they lie, as a recipe's ``key`` names it."""
        return ".".join(filter(None, [self.keys, self.prefix.removesuffix(".")]))


def _matched(stored: Checkpoint, model_state: State, ordered: bool, key: str | None) -> tuple[State, str]:
    """A file's tensors under the model's names, and in one line what had to be done for it.

    The model's names are looked for behind any prefix (``module.``, ``model.``) in any mapping of the file, if need be
    without what torch.compile puts between; else, where the file keeps its tensors in the order of the network, as many
    tensors that fit by order: see :func:`_by_order`. What does not fit is returned under its own names, for
    :func:`_check_fit` to tell.

    Raises:
        InputError: where the weights of two networks fit, or nothing lies under ``key``.
    """
    states = stored.states if key is None else _under(stored, key)
    notes: list[str] = []
    fits = _by_names(states, model_state)
    if not fits and (compiled := sum(COMPILED in name for state in states.values() for name in state)):
        states = {keys: _uncompiled(state) for keys, state in states.items()}
        fits = _by_names(states, model_state)
        notes = [f"{COMPILED!r} taken out of {compiled} names"]
    if not fits and ordered:
        fits = _by_orders(states, model_state)
    if not fits:
        largest = max(states, key=lambda keys: (keys == stored.main, len(states[keys])))
        return _bare(states[largest]), ""
    fit = _chosen(fits, stored.main)
    others = [f"{other.place!r}" for other in fits if other is not fit]
    if fit.keys != stored.main or others or key is not None:
        notes.append(f"taken from {fit.place!r}" if fit.place else "taken from the file's own names")
    elif fit.prefix:
        whole = len(fit.names) == len(_names(states[fit.keys]))
        notes.append(f"{fit.prefix!r} taken off {'all' if whole else 'the'} names")
    if others:
        notes.append(f"other weights of the same model lie under {few(others)} (choose by key)")
    claimed = {name for other in fits if other.keys == fit.keys for name in other.names}
    if beside := [name for name in _without_counters(states[fit.keys]) if name not in claimed]:
        notes.append(f"{len(beside)} tensor{'s' * (len(beside) != 1)} beside it left out ({few(beside)})")
    notes += _renamed(fit, model_state)
    if stored.unread:
        notes.append(f"objects left unread ({few(stored.unread)})")
    return fit.state, "; ".join(notes)


def _renamed(fit: _Fit, model_state: State) -> list[str]:
    """Which tensors came to their names by order, in words; nothing where the names are the model's."""
    file_names = [name.removeprefix(fit.prefix) for name in fit.names]
    model_names = list(_without_counters(model_state))
    if set(file_names) == set(model_names):
        return []
    pairs = [(a, b) for a, b in zip(file_names, model_names, strict=True) if a != b]
    return [
        f"{len(pairs)} of {len(model_names)} tensors mapped by their order and shapes, "
        + ", ..., ".join(f"{a} to {b}" for a, b in (pairs[0], pairs[-1]))
    ]


def _under(stored: Checkpoint, key: str) -> dict[str, State]:
    """What of a file lies under a key, or behind a prefix of its names; the main key may be left out."""
    for asked in (key, f"{stored.main}.{key}"):
        chosen = {
            keys: {n: tensor for n, tensor in state.items() if f"{keys}.{n}".lstrip(".").startswith(f"{asked}.")}
            for keys, state in stored.states.items()
        }
        if any(chosen.values()):
            return {keys: state for keys, state in chosen.items() if state}
    first_words = {
        (keys, name.rpartition(".")[0].partition(".")[0]) for keys, state in stored.states.items() for name in state
    }
    places = sorted(".".join(filter(None, words)) for words in first_words)
    raise InputError(f"holds no tensors under {key!r}; {nearest(key, filter(None, places))}")


def _uncompiled(state: State) -> State:
    """Names without what torch.compile puts into them; as they are where two would become one."""
    plain = {f".{name}".replace(f".{COMPILED}", ".")[1:]: tensor for name, tensor in state.items()}
    return plain if len(plain) == len(state) else state


def _by_names(states: Mapping[str, State], model_state: State) -> list[_Fit]:
    """Wherever names are the model's behind some prefix, and nothing else lies behind that prefix."""
    wanted = _names(model_state)
    probe = min(wanted, default="")
    fits = []
    for keys, state in states.items():
        rest = dict(state)
        prefixes = {n.removesuffix(probe) for n in state if n == probe or n.endswith(f".{probe}")}
        for prefix in sorted(
            prefixes, key=lambda p: (-len(p), p)
        ):  # so that a copy of the model leaves the model behind
            part = {n.removeprefix(prefix): tensor for n, tensor in rest.items() if n.startswith(prefix)}
            part = {n: tensor for n, tensor in part.items() if n in model_state or not n.endswith(COUNTERS)}
            if _names(part) == wanted:
                fits.append(_Fit(keys, prefix, tuple(prefix + n for n in _without_counters(part)), part))
                rest = {n: tensor for n, tensor in rest.items() if not n.startswith(prefix)}
    return fits


def _by_orders(states: Mapping[str, State], model_state: State) -> list[_Fit]:
    """Wherever a prefix holds as many tensors as the model, and they fit by order."""
    fits = []
    for keys, state in states.items():
        names = list(_without_counters(state))
        sizes = Counter(n[: dot.end()] for n in names for dot in re.finditer(r"^|\.", n))
        whole = [prefix for prefix, size in sizes.items() if size == len(_names(model_state))]
        for prefix in whole:
            if any(other != prefix and other.startswith(prefix) for other in whole):  # the same, without a word less
                continue
            part = {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}
            if renamed := _by_order(part, model_state):
                fits.append(_Fit(keys, prefix, tuple(n for n in names if n.startswith(prefix)), renamed))
    return fits


def _chosen(fits: Sequence[_Fit], main: str) -> _Fit:
    """The one that is meant: where scripts put the model, and there not an averaged copy, if there is the model itself.

    Raises:
        InputError: for several of one rank.
    """
    ranks = [(fit.keys != main, AVERAGED.search(fit.place) is not None) for fit in fits]
    first = [fit for fit, rank in zip(fits, ranks, strict=True) if rank == min(ranks)]
    if len(first) > 1:
        places = [fit.place or "the file's own names" for fit in first]
        raise InputError(
            f"holds several networks of this kind, under {', '.join(places)}; choose one, such as pretrained: {{file: "
            f"..., key: {places[-1]}}}"
        )
    return first[0]


def _bare(state: State) -> State:
    """A state without the first words that all its names share."""
    while all("." in name for name in state) and len({name.partition(".")[0] for name in state}) == 1:
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    return state


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
    return {name: tensor for name, tensor in state.items() if not name.endswith(COUNTERS)}


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
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"holds values that are not finite, in {key}")
