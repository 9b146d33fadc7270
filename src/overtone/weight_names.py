"""Which tensors of a file are which of a model: by name, behind any prefix, or by order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from overtone.checkpoint import Checkpoint, State
from overtone.errors import InputError, few, nearest

COUNTERS = ("num_batches_tracked", "n_averaged")
"""Batches that a normalisation has seen, models that were averaged: without effect here, and missing in old files."""
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)")
"""What keys of averaged weights say: ``state_dict_ema``, ``ema_model.module``."""
COMPILED = "_orig_mod."
"""What torch.compile puts before the names of what it has compiled, a model or a part of one."""


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


def matched(stored: Checkpoint, model_state: State, ordered: bool, key: str | None) -> tuple[State, str]:
    """A file's tensors under the model's names, and in one line what had to be done for it.

    The model's names are looked for behind any prefix (``module.``, ``model.``) in any mapping of the file, if need be
    without what torch.compile puts between; else, where the file keeps its tensors in the order of the network, as many
    tensors that fit by order: see :func:`_by_order`. What does not fit is returned under its own names, for
    the caller to tell.

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
    if beside := [name for name in without_counters(states[fit.keys]) if name not in claimed]:
        notes.append(f"{len(beside)} tensor{'s' * (len(beside) != 1)} beside it left out ({few(beside)})")
    notes += _renamed(fit, model_state)
    if stored.unread:
        notes.append(f"objects left unread ({few(stored.unread)})")
    return fit.state, "; ".join(notes)


def matched_part(stored: Checkpoint, part_state: State, ordered: bool, key: str | None) -> tuple[State, str]:
    """The tensors of a file that are a part of a model, such as a detector's backbone in a classifier's file.

    As :func:`matched`, but what else lies behind the same prefix, or comes after it, is left out.

    Raises:
        InputError: where the part is not in the file, or in several places, or the file's layers hold more than the
            part's.
    """
    states = {keys: _uncompiled(s) for keys, s in (stored.states if key is None else _under(stored, key)).items()}
    wanted = without_counters(part_state)
    fits = []
    for keys, state in states.items():
        for prefix, found in _parts(state, wanted):
            fits.append(_Fit(keys, prefix, tuple(prefix + name for name in wanted), found))
    note = ""
    if not fits and ordered:
        for keys, state in states.items():
            first = dict(list(without_counters(state).items())[: len(wanted)])
            if mapped := _by_order(first, part_state):
                fits.append(_Fit(keys, "", tuple(first), mapped))
                note = "mapped by order and shapes"
    if not fits:
        largest = max(states.values(), key=len)
        lacks = [name for name in wanted if name not in largest]
        raise InputError(f"holds no such network: it lacks {few(lacks)}, and holds {few(list(largest))}")
    fit = _chosen(fits, stored.main)
    beside = [name for name in without_counters(states[fit.keys]) if name not in fit.names]
    left = f"{len(beside)} tensor{'s' * (len(beside) != 1)} beside it left out ({few(beside)})" if beside else ""
    return fit.state, "; ".join(filter(None, [note, left]))


def _parts(state: State, wanted: State) -> list[tuple[str, State]]:
    """By prefix, wherever all wanted names lie behind one.

    Raises:
        InputError: for layers that hold more there: a group norm must not take a batch norm's weights.
    """
    probe, layers = min(wanted), {name.rpartition(".")[0] for name in wanted}
    found = []
    for prefix in sorted({n.removesuffix(probe) for n in state if n == probe or n.endswith(f".{probe}")}):
        part = without_counters({n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)})
        if wanted.keys() <= part.keys():
            more = [name for name in part if name not in wanted and name.rpartition(".")[0] in layers]
            if more:
                raise InputError(
                    f"holds {few(more)}, which the model does not have; weights with batch statistics need norm: batch "
                    "or frozen"
                )
            found.append((prefix, {name: part[name] for name in wanted}))
    return found


def _renamed(fit: _Fit, model_state: State) -> list[str]:
    """Which tensors came to their names by order, in words; nothing where the names are the model's."""
    file_names = [name.removeprefix(fit.prefix) for name in fit.names]
    model_names = list(without_counters(model_state))
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
                fits.append(_Fit(keys, prefix, tuple(prefix + n for n in without_counters(part)), part))
                rest = {n: tensor for n, tensor in rest.items() if not n.startswith(prefix)}
    return fits


def _by_orders(states: Mapping[str, State], model_state: State) -> list[_Fit]:
    """Wherever a prefix holds as many tensors as the model, and they fit by order."""
    fits = []
    for keys, state in states.items():
        names = list(without_counters(state))
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

    It goes where each has the other's shape (but for the number of classes, which the caller tells), the last
    word of the name is the same (``weight``, ``running_var``), what lies in one layer of the file lies in one layer of
    the model, and no name of the file is another tensor's of the model.
    """
    file_tensors, model_tensors = without_counters(file_state), without_counters(model_state)
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
    return set(without_counters(state))


def without_counters(state: State) -> State:
    """A state without counts that decide nothing."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(COUNTERS)}
