"""Files of tensors that others wrote: read without running anything that is in them.

Training scripts put much beside the weights: an optimiser's state, arguments, configurations, callbacks. A pickle
names the classes of these and would import them. Here torch's reader for weights alone reads the file, which imports
nothing and calls only its own functions that build tensors; every other name in the file becomes a stand-in, a class
of ours that takes whatever it is given and does nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from overtone.errors import InputError, few
from overtone.plain_pickle import read_plain

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt", ".npz", ".pkl")
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net")
"""Keys under which training scripts put a state dict beside other things."""
DEEPEST = 4
"""Mappings in mappings that are looked into."""
MOST = 200
"""Names of other packages that a file may hold beside its tensors; old files are begun anew for each."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What of a file is tensors.

    Attributes:
        states: mappings from names to tensors, by the keys that lead to them, joined by dots; the file's own is ``""``.
        main: the key of the one that scripts mean by the model.
        unread: classes and functions whose objects lie beside the tensors; numbers and arrays of numpy go without
            saying.
    """

    states: dict[str, State]
    main: str = ""
    unread: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a file; nothing in it is run.

    Raises:
        InputError: for a file that cannot be read as tensors, or holds none; the message goes on where the caller has
            named the file.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            return Checkpoint({"": load_file(path)})
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return Checkpoint({"": {name: torch.from_numpy(archive[name]) for name in archive.files}})
        value, stand_ins = (_plain(path), {}) if kind == ".pkl" else _load(path)
    except InputError:
        raise
    except Exception as error:  # readers raise nearly anything for a foreign or damaged file
        asked = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"call reduce for unrecognized (.*)", str(error))
        if asked:
            raise InputError(
                f"holds more than tensors ({asked[1][:100]}), which would run code when it is read; save "
                "model.state_dict() alone"
            ) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be read as weights; it is cut short, or of another kind ({first[:100]})") from error
    states = dict(_states(value))
    if not states:
        raise InputError(
            f"holds no state dict but {_described(value)}; needed is a mapping from names to tensors, itself or under "
            f"{', '.join(WRAPPERS)}: save model.state_dict()"
        )
    unread = sorted(n for n, kind in stand_ins.items() if issubclass(kind, _Unread) and not n.startswith("numpy."))
    return Checkpoint(states, _main(value), tuple(unread))


# ---- stand-ins ---------------------------------------------------------------------------------------------------


class _Unread(list[Any]):
    """An object that lies beside the weights, of a class that is never imported: it can be made of anything, take any
    state and any items, and does nothing.
    """

    def __new__(cls, *parts: object) -> _Unread:
        return super().__new__(cls)

    def __init__(self, *parts: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key, or lie in a set


class _UnreadMapping:
    """An object of a class that is a mapping: becomes a plain one, which torch's reader fills."""

    def __new__(cls, *parts: object) -> Any:
        return OrderedDict()


def _load(path: Path) -> tuple[Any, dict[str, type]]:
    """What a file of torch holds, and what stands for which name."""
    stand_ins: dict[str, type] = {}
    with contextlib.suppress(Exception):  # of older files torch does not list the names; those are met one by one
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(path):
            _stand_in(stand_ins, name, _Unread)
    while True:
        try:
            with torch.serialization.safe_globals([(kind, name) for name, kind in stand_ins.items()]):
                return torch.load(path, map_location="cpu", weights_only=True), stand_ins
        except UnpicklingError as error:
            if not _another(str(error), stand_ins):
                raise


def _another(message: str, stand_ins: dict[str, type]) -> bool:
    """Add the stand-in that torch's reader lacked, by what it says; False where nothing can be added.

    Names of some modules (``os``, ``sys``) it refuses whatever stands for them.
    """
    if asked := re.search(r"Unsupported global: GLOBAL (\S+)", message):
        name = asked[1] if "." in asked[1] else f"builtins.{asked[1]}"  # which its message leaves out
        return _stand_in(stand_ins, name, _Unread)
    if filled := re.search(rf"SETITEMS? for .* but got <class '{re.escape(__name__)}\.(\S+)'>", message):
        return _stand_in(stand_ins, filled[1], _UnreadMapping)
    return False


def _stand_in(stand_ins: dict[str, type], name: str, kind: type) -> bool:
    """Let a class of this kind stand for a name; False where it does already."""
    if issubclass(stand_ins.get(name, object), kind):
        return False
    if len(stand_ins) >= MOST:
        raise InputError(f"names more than {MOST} classes and functions beside its tensors; save model.state_dict()")
    stand_ins[name] = type(name, (kind,), {})
    return True


def _plain(path: Path) -> Any:
    """A pickle of arrays of numpy, as Detectron2 publishes its models, with tensors in their place."""
    try:
        return _as_tensors(read_plain(path.read_bytes(), "it"))
    except InputError as error:
        raise InputError(
            f"is no pickle of plain arrays: {error}; one of torch.save has another ending, such as .pth"
        ) from error


def _as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    if not isinstance(value, dict):
        return value
    names = {key: key.decode("latin-1") if isinstance(key, bytes) else key for key in value}
    return {name: _as_tensors(value[key]) for key, name in names.items()}


# ---- where the tensors are ---------------------------------------------------------------------------------------


def _states(value: Any) -> Iterator[tuple[str, State]]:
    """Every mapping from names to tensors in a file, by the keys that lead to it."""
    seen: set[int] = set()
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for keys, mapping in level:
            if not isinstance(mapping, dict) or id(mapping) in seen:
                continue
            seen.add(id(mapping))
            entries = list(dict.items(mapping))  # a file may give one of its mappings an attribute of that name
            if state := {str(name): entry for name, entry in entries if isinstance(entry, Tensor)}:
                yield keys, state
            below += [(f"{keys}.{key}" if keys else key, entry) for key, entry in entries if isinstance(key, str)]
        level = below


def _main(value: Any) -> str:
    """The keys under which the model's own state lies, as scripts name it."""
    keys = []
    for key in WRAPPERS:
        if isinstance(value, dict) and isinstance(dict.get(value, key), dict):
            value = dict.get(value, key)
            keys.append(key)
    return ".".join(keys)


def _described(value: Any) -> str:
    """What a file holds that has no tensors in mappings, in words."""
    if not isinstance(value, dict):
        return f"an object of {type(value).__name__}" if isinstance(value, _Unread) else type(value).__name__
    keys = [
        f"{key} (an object of {type(entry).__name__})" if isinstance(entry, _Unread) else str(key)
        for key, entry in dict.items(value)
    ]
    return f"a mapping with the keys {few(keys)}"
