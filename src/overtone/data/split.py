"""Who is trained on, who chooses the best epoch, who is tested. Groups (people) are never on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overtone.data.base import IntArray, Windows
from overtone.errors import InputError, nearest
from overtone.recipe import SplitSettings


@dataclass(frozen=True)
class Fold:
    """One split: window numbers, and the groups' names, of the three sides."""

    number: int
    train: IntArray
    val: IntArray
    test: IntArray
    train_groups: tuple[str, ...]
    val_groups: tuple[str, ...]
    test_groups: tuple[str, ...]


def split(windows: Windows, settings: SplitSettings) -> list[Fold]:
    """The folds of a study, the same for every method and seed.

    Groups are taken in the natural order of their names. Validation groups are those that follow the fold's test
    groups in that order (round the end), so they depend on the fold only and every group serves in turn.

    Raises:
        InputError: for fewer groups than the folds and validation need, an unknown group, a group on both sides of the
            data's own split, overlapping windows dealt at random, or a side that is empty.
    """
    units = _units(windows, settings)
    if settings.scheme == "official":
        held_out = [_official(windows, units)]
    else:
        held_out = _test_groups(units.names, settings)
    for number in settings.folds or []:
        if number >= len(held_out):
            raise InputError(
                f"split.folds: there is no fold {number}; this split has {len(held_out)} (0 to {len(held_out) - 1})"
            )
    chosen = settings.folds if settings.folds is not None else range(len(held_out))
    return [_fold(units, number, held_out[number], settings) for number in dict.fromkeys(chosen)]


@dataclass(frozen=True)
class _Units:
    """What is never divided: groups, recordings, or random parts. ``of`` is each window's unit, by number."""

    names: tuple[str, ...]
    of: IntArray


def _units(windows: Windows, settings: SplitSettings) -> _Units:
    if settings.by == "group":
        return _Units(windows.groups, windows.group)
    if settings.by == "recording":
        found, of = np.unique(windows.recording, return_inverse=True)
        names = [windows.recordings[n] if windows.recordings else f"recording {n}" for n in found]
        return _Units(tuple(names), of.astype(np.int64))
    overlap = windows.stride < windows.x.shape[2] and len(np.unique(windows.recording)) < len(windows)
    if overlap and not settings.allow_overlap:
        raise InputError(
            f"split: by: window deals overlapping windows (every {windows.stride} of {windows.x.shape[2]} samples) to "
            "both sides, so the test side is known from training; use by: group, a stride without overlap, or "
            "allow it with split.allow_overlap: true"
        )
    assert isinstance(settings.test, int)
    order = np.random.default_rng(0).permutation(len(windows))
    of = np.empty(len(windows), dtype=np.int64)
    of[order] = np.arange(len(windows)) % settings.test
    return _Units(tuple(f"part {number}" for number in range(settings.test)), of)


def leaks(windows: Windows, settings: SplitSettings) -> list[str]:
    """What a reader must know about a split that lets something of the test side into training."""
    if settings.by == "group":
        return []
    found = [f"split by {settings.by}: the same people may be in training and test, which flatters every row"]
    if settings.by == "window" and settings.allow_overlap:
        found.append(
            "overlapping windows were dealt at random to training and test (allow_overlap), which flatters more"
        )
    return found


def _official(windows: Windows, units: _Units) -> list[str]:
    """The groups that the data's own split tests."""
    if windows.official_test is None:
        raise InputError(f"{windows.where}: there is no official split in it; use another split.scheme")
    tested = {units.names[u] for u in np.unique(units.of[windows.official_test])}
    trained = {units.names[u] for u in np.unique(units.of[~windows.official_test])}
    both = sorted(tested & trained)
    if both:
        raise InputError(f"{windows.where}: groups {both} are on both sides of the official split")
    return [name for name in units.names if name in tested]


def _test_groups(names: Sequence[str], settings: SplitSettings) -> list[list[str]]:
    """The groups each fold tests."""
    if settings.scheme == "holdout":
        assert isinstance(settings.test, list)
        return [[_known(name, names, "test") for name in settings.test]]
    assert isinstance(settings.test, int)
    if settings.scheme == "leave_groups_out":
        size = settings.test
        return [list(names[first : first + size]) for first in range(0, len(names), size)]
    folds = settings.test
    if folds < 2:
        raise InputError(f"split.test: k-fold needs at least 2 folds, got {folds}")
    if len(names) < folds:
        raise InputError(
            f"split: {folds} folds need at least {folds} groups, the data has {len(names)}: {_listed(names)}"
        )
    return [[str(name) for name in part] for part in np.array_split(np.asarray(names), folds)]


def _fold(units: _Units, number: int, test: list[str], settings: SplitSettings) -> Fold:
    names = units.names
    after = names.index(test[-1]) + 1
    rest = [name for name in [*names[after:], *names[:after]] if name not in test]
    if isinstance(settings.val, int):
        val = rest[: settings.val]
    else:
        val = [_known(name, names, "val") for name in settings.val]
        both = sorted(set(val) & set(test))
        if both:
            raise InputError(f"split: groups {both} are in test and in val of fold {number}")
    train = [name for name in names if name not in test and name not in val]
    wanted = settings.val if isinstance(settings.val, int) else len(settings.val)
    if len(val) < wanted or not train:
        raise InputError(
            f"split: fold {number} tests {len(test)} and validates on {wanted} of {len(names)} groups, which leaves "
            f"none to train on; use fewer test or val groups. Groups: {_listed(names)}"
        )

    def of(groups: Sequence[str]) -> IntArray:
        return np.flatnonzero(np.isin(units.of, [names.index(g) for g in groups]))

    return Fold(number, of(train), of(val), of(test), tuple(train), tuple(val), tuple(test))


def check_classes(windows: Windows, folds: Sequence[Fold]) -> None:
    """Refuse a fold that tests or validates a class nobody could learn.

    Raises:
        InputError: names the fold, the classes and who has them.
    """
    for fold in folds:
        known = np.unique(windows.y[fold.train])
        for side, index in (("test", fold.test), ("val", fold.val)):
            unknown = np.setdiff1d(np.unique(windows.y[index]), known)
            if len(unknown):
                names = [windows.classes[c] for c in unknown]
                owners = sorted({windows.groups[g] for g in windows.group[np.isin(windows.y, unknown)]})
                raise InputError(
                    f"split: fold {fold.number}: class {', '.join(names)} is in {side} but in no training window; only "
                    f"{_listed(owners)} have it. Use other folds, or leave these classes out"
                )


def _known(name: int | str, names: Sequence[str], side: str) -> str:
    """A group's name as the data has it; numbers may be written without their leading zeros."""
    if str(name) in names:
        return str(name)
    for known in names:
        if known.isdecimal() and str(name).isdecimal() and int(known) == int(name):
            return known
    raise InputError(f"split.{side}: unknown group {str(name)!r}; {nearest(str(name), names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
