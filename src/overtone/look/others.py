"""Arrays, series, pictures and published sets before any recipe: what is in them, and how a source reads them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overtone.disk import in_units
from overtone.errors import InputError
from overtone.formats import mat5
from overtone.formats.items import read_member
from overtone.formats.mat_file import HDF5, USER_BLOCK
from overtone.look.draft import Draft, Setting
from overtone.look.kinds import IMAGES, Kind
from overtone.look.sets import SETS
from overtone.look.words import speaks, words

PICTURE_SIDE = 64
"""Pixels that pictures are looked at with, so that a first run is not long."""
SIGNAL = frozenset(("x", "data", "signal", "signals", "sensor", "sensors", "windows", "segments"))
"""Words in the names of arrays of signals."""
MOST_BYTES = 2**28
"""Arrays and sets up to so many bytes are loaded."""


@dataclass(frozen=True)
class Array:
    """An array in a file: its name, its axes, what it holds (one letter, as numpy has it), and a cell's own shapes."""

    name: str
    shape: tuple[int, ...]
    kind: str
    cells: tuple[tuple[int, ...], ...] = ()


def draft_npz(kind: Kind) -> Draft:
    """An ``.npz`` file.

    Raises:
        InputError: for a damaged file.
    """
    draft = Draft(kind.path, kind, [("what", "arrays of numpy")])
    arrays = []
    try:
        with zipfile.ZipFile(kind.path) as archive:
            for info in archive.infolist():
                with suppress(ValueError):
                    member = read_member(archive, info)
                    arrays.append(Array(info.filename.removesuffix(".npy"), member.shape, member.dtype.kind))
    except Exception as error:  # damaged archives fail in many ways
        raise InputError(f"{kind.path}: cannot be read, it is cut short or no .npz file ({error})") from error
    _list(draft, arrays)
    draft.settings = {"name": Setting("npz"), "path": Setting(str(kind.path))}
    signals = [array for array in arrays if len(array.shape) == 3 or array.name == "X"]
    if not signals:
        draft.problems.append(
            "no array has three axes (N, C, T); needed are X (N, C, T), y (N,) and group (N,), whose each item is"
        )
        return draft
    x = max(signals, key=lambda array: (array.name == "X", _says_signal(array), np.prod(array.shape)))
    _roles(draft, arrays, x, x.shape[0] if x.shape else 0, "array")
    _layout(draft, x)
    return draft


def draft_mat(kind: Kind) -> Draft:
    """A ``.mat`` file, whose variables have any names.

    Raises:
        InputError: for a damaged file.
    """
    draft = Draft(kind.path, kind, [("what", "variables of MATLAB")])
    with kind.path.open("rb") as file:
        start = file.read(USER_BLOCK + len(HDF5))
    new = HDF5 in (start[: len(HDF5)], start[USER_BLOCK:]) or start.startswith(b"MATLAB 7.3")
    try:
        arrays = _new_variables(kind.path) if new else _old_variables(kind.path)
    except ImportError:
        raise InputError(f'{kind.path}: a .mat file of version 7.3 needs h5py: pip install "overtone[mat]"') from None
    except Exception as error:  # both readers fail on a damaged file in many ways
        raise InputError(f"{kind.path}: cannot be read, it is cut short or no .mat file ({error})") from error
    _list(draft, arrays)
    draft.settings = {"name": Setting("mat"), "path": Setting(str(kind.path))}
    signals = [array for array in arrays if len(array.shape) == 3 or (array.kind == "O" and max(array.shape) > 1)]
    if not signals:
        draft.problems.append("no variable has three axes (N, C, T), nor is a cell of matrices (C, T)")
        return draft
    x = max(
        signals,
        key=lambda array: (array.name == "X", len(array.shape) == 3, _says_signal(array), np.prod(array.shape)),
    )
    items = x.shape[0] if len(x.shape) == 3 else max(x.shape)
    _roles(draft, arrays, x, items, "variable")
    if len(x.shape) == 3:
        _layout(draft, x)
    elif x.cells and all(len(own) == 2 and own[0] > own[1] for own in x.cells):
        why = f"its cells would have {x.cells[0][0]} channels of {x.cells[0][1]} samples; NCT if it is so"
        draft.settings["layout"] = Setting("NTC", why)
    return draft


def _says_signal(array: Array) -> bool:
    """Whether its name is one that signals often have."""
    return not SIGNAL.isdisjoint(words(array.name))


def _roles(draft: Draft, arrays: Sequence[Array], x: Array, items: int, noun: str) -> None:
    """Which array holds signals, which classes or real numbers, and which whose each of so many items is."""
    others = [array for array in arrays if array is not x and array.shape and (array.kind != "O" or noun == "array")]
    vectors = [array for array in others if items in (array.shape[0], int(np.prod(array.shape)))]
    group = _said(vectors, "group", "group")
    y = _said([array for array in vectors if array is not group], "label", "y")
    if y is not None and y.name != "y" and not speaks(y.name, "label") and int(np.prod(y.shape)) != items:
        y = None  # several values an item, and nothing says that they are what is to be learned
    for role, array, exact in (("x", x, "X"), ("y", y, "y"), ("group", group, "group")):
        if array is None:
            meant = "classes" if role == "y" else "groups, whose each item is"
            draft.problems.append(
                f"no {noun} with {items} values looks like {meant}; a recipe names it, data.{role}: NAME; where there "
                "is none, save one beside the signals"
            )
        elif array.name != exact:
            draft.settings[role] = Setting(array.name, f"by its name and axes {array.shape}; another {noun} if not")


def _said(arrays: Sequence[Array], role: str, exact: str) -> Array | None:
    """The vector whose name says what it is; the only one that is left says it too."""
    named = [array for array in arrays if array.name == exact or speaks(array.name, role)]
    if named:
        return max(named, key=lambda array: (array.name == exact, speaks(array.name, role)))
    return arrays[0] if role == "label" and len(arrays) == 1 else None


def _old_variables(path: Path) -> list[Array]:
    found = []
    for own in mat5.variables(path).values():
        opened = mat5.value(path, own) if own.kind in ("cell", "struct") and own.size <= MOST_BYTES else None
        if isinstance(opened, dict):  # a recipe names a struct's fields
            for name, elements in opened.items():
                found.append(_old_array(f"{own.name}.{name}", elements[0] if len(elements) == 1 else elements))
        else:
            kinds = {"cell": "O", "struct": "O", "char": "U"}
            kind = "U" if opened is not None and _of_text(opened) else kinds.get(own.kind, "f")
            cells = _old_array(own.name, opened).cells if kind == "O" else ()
            found.append(Array(own.name, own.shape, kind, cells))
    return found


def _old_array(name: str, value: mat5.Value) -> Array:
    if isinstance(value, np.ndarray):
        return Array(name, value.shape, value.dtype.kind)
    shape = (len(value),) if isinstance(value, list) else ()
    cells = tuple(own.shape for own in value if isinstance(own, np.ndarray)) if isinstance(value, list) else ()
    return Array(name, shape, "U" if _of_text(value) else "O", cells)


def _of_text(value: mat5.Value) -> bool:
    """Whether it is a cell of names."""
    return isinstance(value, list) and all(isinstance(cell, np.ndarray) and cell.dtype.kind == "U" for cell in value)


def _new_variables(path: Path) -> list[Array]:
    import h5py

    def array(name: str, item: Any) -> Array:
        kind = item.dtype.kind
        cell = h5py.check_ref_dtype(item.dtype) is not None and item.size
        first = item.file[item[()].ravel()[0]] if cell else item
        if first.attrs.get("MATLAB_class") == b"char":
            kind = "U"
        inside = [item.file[own].shape for own in item[()].ravel()] if cell and kind == "O" else []
        return Array(name, tuple(reversed(item.shape)), kind, tuple(tuple(reversed(own)) for own in inside))

    found = []
    with h5py.File(path, "r") as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset):
                found.append(array(name, item))
            elif not name.startswith("#"):  # a struct; what cells hold lies in #refs#
                found += [array(f"{name}.{own}", at) for own, at in item.items() if isinstance(at, h5py.Dataset)]
    return found


def _list(draft: Draft, arrays: Sequence[Array]) -> None:
    draft.facts.append(("size", in_units(draft.path.stat().st_size)))
    kinds = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "U": "text", "S": "text", "b": "yes or no"}
    draft.facts += [
        (array.name, f"{' × '.join(map(str, array.shape)) or 'a single value'}, {kinds.get(array.kind, 'objects')}")
        for array in arrays[:20]
    ]


def _layout(draft: Draft, x: Array) -> None:
    """More channels than samples are rarely meant."""
    if len(x.shape) != 3:
        return
    _, channels, samples = x.shape
    if channels > samples:
        from overtone.data.arrays import MANY_CHANNELS  # sources need torch, which takes seconds to import

        sure = channels >= MANY_CHANNELS and channels > 2 * samples
        why = f"X {x.shape} would have {channels} channels of {samples} samples; NCT if it is so"
        draft.settings["layout"] = Setting("NTC", why if sure else f"{why}, which may well be")


def draft_series(kind: Kind) -> Draft:
    """A ``.ts`` or ``.arff`` file; a file with the other side's name beside it is the test side."""
    draft = Draft(kind.path, kind, [("what", "series of the time series archives")])
    draft.facts.append(("size", in_units(kind.path.stat().st_size)))
    draft.settings = {"name": Setting("ts"), "path": Setting(str(kind.path))}
    stem = kind.path.stem
    if stem.upper().endswith("_TRAIN"):
        test = next(
            (
                p
                for p in kind.path.parent.iterdir()
                if p.stem.upper() == stem.upper()[:-5] + "TEST" and p.suffix == kind.path.suffix
            ),
            None,
        )
        if test is not None:
            draft.settings["test"] = Setting(str(test), "the file beside it, as the official test side")
    return draft


def draft_images(kind: Kind) -> Draft:
    """A folder of pictures, a folder for each class."""
    count, size = 0, 0
    for folder, _, files in os.walk(kind.path):
        for name in files:
            if Path(name).suffix.lower() in IMAGES:
                count += 1
                size += (Path(folder) / name).stat().st_size if count <= 10_000 else 0
    draft = Draft(kind.path, kind, [("what", "folder of pictures"), ("size", f"{count:,} pictures, {in_units(size)}")])
    draft.settings = {
        "name": Setting("imagefolder"),
        "path": Setting(str(kind.path)),
        "size": Setting(PICTURE_SIDE, "pixels, small so that a first run is short; 224 is usual for large models"),
    }
    return draft


def draft_set(kind: Kind) -> Draft:
    """A published set, which a source reads."""
    known = SETS[kind.source]
    draft = Draft(
        kind.path, kind, [("what", f"the published set {kind.source} in {kind.path}, by the names of its files")]
    )
    draft.facts.append(("people", f"{known.people} as published" + (", with an official split" * known.official)))
    draft.settings = {"name": Setting(kind.source), "path": Setting(str(kind.path))}
    return draft


def size_of(path: Path) -> int:
    """Bytes of a file, or below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum((Path(folder) / name).stat().st_size for folder, _, files in os.walk(path) for name in files)


def draft_boxes(kind: Kind) -> Draft:
    """Pictures with boxes."""
    from overtone.look.boxes import draft_boxes as draft  # sources need torch, which takes seconds to import

    return draft(kind)


DRAFTS: dict[str, Callable[[Kind], Draft]] = {
    "npz": draft_npz,
    "mat": draft_mat,
    "series": draft_series,
    "images": draft_images,
    "boxes": draft_boxes,
    "set": draft_set,
}
