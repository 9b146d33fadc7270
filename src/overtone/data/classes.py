"""Which classes are learned: renamed, merged, chosen, dropped; and names that mean the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from overtone.data.base import IntArray, Recordings, Windows
from overtone.data.image_files import ImageFiles
from overtone.data.parts import keep_samples, per_sample
from overtone.errors import InputError, nearest

NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
"""As a class may be written; 01 is a code, not a number."""
SHOWN = 8
"""Names that a note gives one by one."""
BYTES = re.compile(r"b(['\"])(.*)\1", re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """What a recipe says of classes.

    Attributes:
        rename: new names by old ones; several may become one.
        classes: those wanted, in the order in which they are numbered; all unless given.
        drop: those not wanted.
    """

    rename: Mapping[str, str]
    classes: Sequence[str] | None
    drop: Sequence[str]

    @property
    def asked(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.rename or self.drop) or self.classes is not None


def one_writing(recordings: Recordings) -> Recordings:
    """Class names that mean the same as one class, and names of bytes as text, both told.

    ``1`` and ``1.0`` are the same number; ``b'run'`` is what Python writes for the bytes of ``run``.
    """
    plain = {name: _text(name) for name in recordings.classes}
    numbers: dict[float, str] = {}
    for name in plain.values():
        if NUMBER.fullmatch(name):
            known = numbers.get(float(name), name)
            numbers[float(name)] = min(name, known, key=lambda text: (len(text), text))
    new = {old: numbers[float(text)] if NUMBER.fullmatch(text) else text for old, text in plain.items()}
    if all(old == name for old, name in new.items()):
        return recordings
    other = [f"{old} as {name}" for old, name in new.items() if old != name]
    more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
    return _renamed(recordings, new, f"labels that mean the same are one class: {', '.join(other[:SHOWN])}{more}")


def _text(name: str) -> str:
    match = BYTES.fullmatch(name)
    return match[2] if match else name


def choose(data: Recordings, choice: Choice) -> Recordings:
    """The recordings of the classes that are wanted, cut out where the label is of another, and that told.

    Raises:
        InputError: for a class that is not there (the nearest is named), samples without a label that nobody dropped,
            or data without classes.
    """
    if not data.classes:
        if choice.asked:
            raise InputError(f"{data.where}: its labels are numbers, no classes, so that none can be chosen")
        return data
    if choice.rename:
        _check_known(choice.rename, data.classes, "rename", data.where)
        new = {name: choice.rename.get(name, name) for name in data.classes}
        data = _renamed(data, new, _said(choice.rename))
    wanted = _wanted(choice, data.classes, data.where)
    if wanted == list(data.classes) and "" not in wanted:
        return data
    counts = _counts(data)
    _check_named(wanted, dict(zip(data.classes, counts.tolist(), strict=True)), "samples", data.where)
    place = {name: number for number, name in enumerate(wanted)}
    number = np.asarray([place.get(name, -1) for name in data.classes])
    one_each = isinstance(data.labels, np.ndarray)
    labels = number[data.labels] if one_each else [number[own] for own in cast(Any, data.labels)]
    total = int(counts.sum())
    notes = [
        f"class {_shown(name)} was left out: {count} of {total} samples"
        for name, count in zip(data.classes, counts.tolist(), strict=True)
        if count and name not in place
    ]
    kept = []
    for own, signal in zip(labels, data.signals, strict=True):
        kept.append(np.broadcast_to(np.asarray(own) >= 0, (signal.shape[1],)))
    if not any(mask.any() for mask in kept):
        raise InputError(f"{data.where}: no sample is of the classes wanted, {', '.join(wanted)}")
    data = replace(data, labels=labels, classes=tuple(wanted), notes=(*data.notes, *notes))
    return keep_samples(data, kept)


def choose_images(windows: Windows, choice: Choice) -> Windows:
    """Images, or windows that their source has cut, of the classes that are wanted.

    Raises:
        InputError: as :func:`choose`.
    """
    if not choice.asked:
        return windows
    if not windows.classes:
        raise InputError(f"{windows.where}: there are no classes in it that could be chosen")
    names, y, notes = list(windows.classes), windows.y, list(windows.notes)
    if choice.rename:
        _check_known(choice.rename, names, "rename", windows.where)
        merged = list(dict.fromkeys(choice.rename.get(name, name) for name in names))
        y = np.asarray([merged.index(choice.rename.get(name, name)) for name in names])[y]
        names = merged
        notes.append(_said(choice.rename))
    wanted = _wanted(choice, names, windows.where)
    counts = np.bincount(y, minlength=len(names)).tolist()
    _check_named(wanted, dict(zip(names, counts, strict=True)), f"{windows.noun}s", windows.where)
    y = np.asarray([wanted.index(name) if name in wanted else -1 for name in names])[y]
    rows = np.flatnonzero(y >= 0)
    if not len(rows):
        raise InputError(f"{windows.where}: no {windows.noun} is of the classes wanted, {', '.join(wanted)}")
    notes += [
        f"class {_shown(name)} was left out: {count} of {len(y)} {windows.noun}s"
        for name, count in zip(names, counts, strict=True)
        if count and name not in wanted
    ]
    return replace(_rows(windows, rows), y=y[rows].astype(np.int64), classes=tuple(wanted), notes=tuple(notes))


def chosen_numbers(names: Sequence[str], choice: Choice, where: str) -> tuple[list[str], IntArray, list[str]]:
    """The classes that are wanted, the new number of each old one (-1 where it is not wanted), and notes.

    Raises:
        InputError: for a class that is not there (the nearest is named).
    """
    _check_known(choice.rename, names, "rename", where)
    new = [choice.rename.get(name, name) for name in names]
    wanted = _wanted(choice, list(dict.fromkeys(new)), where)
    number = np.asarray([wanted.index(name) if name in wanted else -1 for name in new], dtype=np.int64)
    return wanted, number, [_said(choice.rename)] if choice.rename else []


def _rows(windows: Windows, rows: Any) -> Windows:
    """Some of the windows; groups that have none are gone."""
    if len(rows) == len(windows):
        return windows
    files = windows.files
    used, group = np.unique(windows.group[rows], return_inverse=True)
    if files is None:
        picked: Any = windows.x[rows]
    else:
        picked = ImageFiles(files.folder, [files.names[row] for row in rows], files.side, files.where)
    official = windows.official_test
    return replace(
        windows,
        x=picked,
        y=windows.y[rows],
        group=group.astype(np.int64),
        groups=tuple(windows.groups[number] for number in used),
        recording=windows.recording[rows],
        start=windows.start[rows],
        official_test=None if official is None else official[rows],
    )


def _renamed(data: Recordings, new: Mapping[str, str], note: str) -> Recordings:
    """Classes under new names, in the order of the first old one; several may have become one."""
    names = {name: place for place, name in enumerate(dict.fromkeys(new[name] for name in data.classes))}
    number = np.asarray([names[new[name]] for name in data.classes])
    one_each = isinstance(data.labels, np.ndarray)
    labels: Any = number[data.labels] if one_each else [number[own] for own in cast(Any, data.labels)]
    return replace(data, labels=labels, classes=tuple(names), notes=(*data.notes, note))


def _wanted(choice: Choice, names: Sequence[str], where: str) -> list[str]:
    if choice.classes is not None:
        _check_known(choice.classes, names, "classes", where)
        return list(dict.fromkeys(choice.classes))
    _check_known(choice.drop, names, "drop", where)
    return [name for name in names if name not in choice.drop]


def _check_known(chosen: Any, names: Sequence[str], key: str, where: str) -> None:
    for name in chosen:
        if name not in names:
            raise InputError(f"{where}: data.{key}: there is no class {name!r}; {nearest(name, map(_shown, names))}")


def _check_named(wanted: Sequence[str], counts: Mapping[str, int], what: str, where: str) -> None:
    """Refuse samples whose label is empty: they are of no class, and would be learned as one of their own."""
    if "" in wanted and counts[""]:
        raise InputError(
            f'{where}: {counts[""]} of {sum(counts.values())} {what} have an empty label; data.drop: [""] cuts them '
            'out, data.rename: {"": none} makes them a class'
        )


def _counts(data: Recordings) -> Any:
    """Samples of each class."""
    counts = np.zeros(len(data.classes), dtype=np.int64)
    for number, (own, signal) in enumerate(zip(data.labels, data.signals, strict=True)):
        if per_sample(data, number):
            counts += np.bincount(own, minlength=len(counts))
        else:
            counts[own] += signal.shape[1]
    return counts


def _said(rename: Mapping[str, str]) -> str:
    return "classes renamed: " + ", ".join(f"{_shown(old)} to {_shown(new)}" for old, new in rename.items())


def _shown(name: str) -> str:
    return name or '""'
