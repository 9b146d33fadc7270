"""Who is trained on, who chooses the best epoch, who is tested. Groups (people) are never on two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overtone.data.base import IntArray, Windows
from overtone.errors import InputError, nearest
from overtone.recipe import SplitSettings

FEW = 20
"""Windows: a side with fewer says little."""

CHUNK = 256
"""Windows that are compared at a time."""

TENTH = 0.1
"""Of the official training windows, for validation where there are no groups."""

SHARE = 0.2
"""Of the training groups, for validation where every group is one window."""

OFFICIAL_TRAIN, OFFICIAL_TEST = "the official training side", "the official test side"
DEALT = "split: {by: window, scheme: kfold, test: 5}"
"""What works for any images."""


@dataclass(frozen=True)
class Fold:
    """One split: window numbers, and the groups' names, of the three sides; validation may be empty."""

    number: int
    train: IntArray
    val: IntArray
    test: IntArray
    train_groups: tuple[str, ...]
    val_groups: tuple[str, ...]
    test_groups: tuple[str, ...]


def split(windows: Windows, settings: SplitSettings) -> list[Fold]:
    """The folds of a study, the same for every method and seed.

    Groups are taken in the natural order of their names. A number of validation groups are those that follow the fold's
    test groups in that order (round the end), so they depend on the fold only and every group serves in turn; a
    fraction is spread over the training groups, see :class:`~overtone.recipe.SplitSettings`.

    Raises:
        InputError: for fewer groups than the folds and validation need, an unknown group, a group on both sides of the
            data's own split, overlapping windows dealt at random, or a side that is empty.
    """
    if settings.scheme == "official" and settings.by == "window":
        return [_official_windows(windows, settings)]
    units, held_out = _held_out(windows, settings)
    return [_fold(units, number, held_out[number], settings) for number in _chosen(held_out, settings)]


def fold_numbers(windows: Windows, settings: SplitSettings) -> list[int]:
    """Numbers of the folds that :func:`split` would make; of ten thousand, each holds numbers of all windows.

    Raises:
        InputError: as :func:`split`, as far as that is known yet.
    """
    if settings.scheme == "official" and settings.by == "window":
        return [0]
    return _chosen(_held_out(windows, settings)[1], settings)


def _held_out(windows: Windows, settings: SplitSettings) -> tuple[_Units, list[list[str]]]:
    """What is never divided, and those of it that each fold tests."""
    if settings.by != "window" and windows.material.of_images and len(windows.groups) == 1:
        known = DEALT if windows.official_test is None else "split: {by: window, scheme: official}"
        raise InputError(f"{windows.where}: these images have no groups; use {known}")
    units = _units(windows, settings)
    if settings.scheme == "official":
        return units, [_official(windows, units)]
    return units, _test_groups(units.names, settings)


def _chosen(held_out: Sequence[object], settings: SplitSettings) -> list[int]:
    """The folds' numbers that the recipe asks for."""
    for number in settings.folds or []:
        if number >= len(held_out):
            raise InputError(
                f"split.folds: there is no fold {number}; this split has {len(held_out)} (0 to {len(held_out) - 1})"
            )
    chosen = settings.folds if settings.folds is not None else range(len(held_out))
    return list(dict.fromkeys(chosen))


@dataclass(frozen=True)
class _Units:
    """What is never divided: groups, recordings, or random parts.

    Attributes:
        names: of the units.
        of: each window's unit, by number.
        kind: the class of a unit that has only one, else -1.
        single: whether every unit is one window.
    """

    names: tuple[str, ...]
    of: IntArray
    kind: IntArray
    single: bool


def _units(windows: Windows, settings: SplitSettings) -> _Units:
    names, of = _dealt(windows, settings)
    least = np.full(len(names), len(windows.classes))
    most = np.full(len(names), -1)
    np.minimum.at(least, of, windows.strata)
    np.maximum.at(most, of, windows.strata)
    single = len(windows) > 0 and int(np.bincount(of).max()) == 1
    return _Units(names, of, np.where(least == most, most, -1), single)


def _dealt(windows: Windows, settings: SplitSettings) -> tuple[tuple[str, ...], IntArray]:
    """The units' names, and each window's unit."""
    if settings.by == "group":
        return windows.groups, windows.group
    if settings.by == "recording":
        recordings, of = np.unique(windows.recording, return_inverse=True)
        names = [windows.recordings[n] if windows.recordings else f"recording {n}" for n in recordings]
        return tuple(names), of.astype(np.int64)
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
    return tuple(f"part {number}" for number in range(settings.test)), of


def leaks(windows: Windows, settings: SplitSettings) -> list[str]:
    """What a reader must know about a split that lets something of the test side into training."""
    if settings.by == "group" or settings.scheme == "official":
        return []
    material = windows.material
    who = "images that belong together" if material.of_images else f"the same {material.groups}"
    notes = [f"split by {settings.by}: {who} may be in training and test, which flatters every row"]
    if settings.by == "window" and settings.allow_overlap:
        notes.append(
            "overlapping windows were dealt at random to training and test (allow_overlap), which flatters more"
        )
    return notes


def _none_official(windows: Windows) -> InputError:
    known = DEALT if windows.material.of_images else "split.scheme: kfold, leave_groups_out or holdout"
    return InputError(f"{windows.where}: there is no official split in it; use {known}")


def _official(windows: Windows, units: _Units) -> list[str]:
    """The groups that the data's own split tests."""
    if windows.official_test is None:
        raise _none_official(windows)
    tested = {units.names[u] for u in np.unique(units.of[windows.official_test])}
    trained = {units.names[u] for u in np.unique(units.of[~windows.official_test])}
    both = sorted(tested & trained)
    if both:
        raise InputError(f"{windows.where}: groups {both} are on both sides of the official split")
    return [name for name in units.names if name in tested]


def _official_windows(windows: Windows, settings: SplitSettings) -> Fold:
    """The data's own split of single windows; those for validation are taken evenly of each class."""
    if windows.official_test is None:
        raise _none_official(windows)
    if windows.material.of_images and len(windows.groups) > 1:  # three folders; the one for validation comes first
        raise InputError(
            f"{windows.where}: its sides are {', '.join(windows.groups)}, and by: window would train on "
            f"{windows.groups[0]} too; use split: {{scheme: official}} (by groups), where {windows.groups[0]} is the "
            "validation side"
        )
    if settings.folds not in (None, [0]):
        raise InputError(f"split.folds: the official split has one fold, 0; got {settings.folds}")
    test, rest = np.flatnonzero(windows.official_test), np.flatnonzero(~windows.official_test)
    assert not isinstance(settings.val, list)
    wanted = TENTH if settings.val is None else settings.val
    count = max(1, round(wanted * len(rest))) if isinstance(wanted, float) else wanted
    if not count:
        return Fold(0, rest, rest[:0], test, (OFFICIAL_TRAIN,), (), (OFFICIAL_TEST,))
    if count >= len(rest):
        raise InputError(f"split.val: {count} windows of {len(rest)} training windows leave none to train on")
    ordered = rest[np.argsort(windows.strata[rest], kind="stable")]
    val = np.sort(ordered[(2 * np.arange(count) + 1) * len(rest) // (2 * count)])
    train = np.setdiff1d(rest, val)
    named = (OFFICIAL_TRAIN,), (f"{count} of it, even over the classes",), (OFFICIAL_TEST,)
    return Fold(0, train, val, test, *named)


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
    at = {name: position for position, name in enumerate(names)}
    tested = set(test)
    after = at[test[-1]] + 1
    rest = [name for name in [*names[after:], *names[:after]] if name not in tested]
    wanted = _val_setting(units, settings)
    if isinstance(wanted, list):
        val = [_known(name, names, "val") for name in wanted]
        both = sorted(set(val) & tested)
        if both:
            raise InputError(f"split: groups {both} are in test and in val of fold {number}")
        count = len(wanted)
    elif isinstance(wanted, int):
        val, count = rest[:wanted], wanted
    else:
        val = _spread(rest, [int(units.kind[at[name]]) for name in rest], wanted)
        count = max(len(val), 1)
    chosen = set(val)
    train = [name for name in names if name not in tested and name not in chosen]
    if len(val) < count or not train:
        raise InputError(
            f"split: fold {number} tests {len(test)} and validates on {count} of {len(names)} groups, which leaves "
            f"none to train on; use fewer test or val groups. Groups: {_listed(names)}"
        )

    def of(groups: Sequence[str]) -> IntArray:
        return np.flatnonzero(np.isin(units.of, [at[g] for g in groups]))

    return Fold(number, of(train), of(val), of(test), tuple(train), tuple(val), tuple(test))


def _val_setting(units: _Units, settings: SplitSettings) -> int | float | list[int | str]:
    """What the recipe says, or what is used where it says nothing."""
    if settings.val is not None:
        return settings.val
    return SHARE if units.single else 1


def _spread(rest: Sequence[str], kinds: Sequence[int], share: float) -> list[str]:
    """A share of the groups, at equal distances after sorting them by class; the last of each class is never taken."""
    wanted = max(1, math.floor(share * len(rest) + 0.5))
    ordered = [name for _, name in sorted(zip(kinds, rest, strict=True), key=lambda pair: pair[0])]
    kinds = sorted(kinds)
    free = [
        name
        for place, name in enumerate(ordered)
        if place + 1 < len(ordered) and (kinds[place] == -1 or kinds[place] == kinds[place + 1])
    ]
    free = free or ordered
    wanted = min(wanted, len(free))
    taken = {free[(2 * turn + 1) * len(free) // (2 * wanted)] for turn in range(wanted)}
    return [name for name in rest if name in taken]


def doubts(windows: Windows, folds: Sequence[Fold], settings: SplitSettings) -> list[str]:
    """What a reader should know about the sides: a default that the data decided, tiny sides, classes not there."""
    lines = []
    if settings.val == 0:
        lines.append("there is no validation side: nothing chooses an epoch, only the last one is reported")
    if settings.val is None and settings.scheme == "official" and settings.by == "window":
        lines.append(
            f"a tenth of the training {windows.noun}s ({len(folds[0].val)}) chooses the best epoch; see split.val"
        )
    elif settings.val is None and _units(windows, settings).single:
        count = ", ".join(dict.fromkeys(str(len(fold.val_groups)) for fold in folds))
        known = settings.by == "group" and not windows.material.of_images  # else these are recordings, or images
        group, groups = (windows.material.group, windows.material.groups) if known else ("group", "groups")
        lines.append(
            f"every {group} is a single {windows.noun}, so {100 * SHARE:.0f} % of the training {groups} ({count}) "
            "choose the best epoch instead of one; split.val says otherwise"
        )
    sides = {"val": {f.number: f.val for f in folds}, "test": {f.number: f.test for f in folds}}
    if settings.val == 0:
        del sides["val"]
    why = {
        "val": "the best epoch is chosen almost by chance (see split.val)",
        "test": f"a single {windows.noun} more or less moves its {windows.task.headline.title} (see split.test)",
    }
    for side, indices in sides.items():
        few = [f"fold {number} ({len(index)})" for number, index in indices.items() if len(index) < FEW]
        if few:
            lines.append(f"{side} has fewer than {FEW} {windows.noun}s in {_some(few)}: {why[side]}")
    by_number = {fold.number: fold for fold in folds}
    by_side = {side: {n: (by_number[n], index) for n, index in of_fold.items()} for side, of_fold in sides.items()}
    lines += windows.task.doubts(windows, by_side)
    return lines


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more folds" if len(texts) > 5 else "")


def check_learnable(windows: Windows) -> None:
    """Refuse what nothing can be learned from, of whichever source, and names that no file could hold.

    Raises:
        InputError: for no window, targets that the task refuses, or a name that is no Unicode (a file's, in another
            encoding).
    """
    if not len(windows):
        raise InputError(f"{windows.where}: there is no {windows.noun} in it")
    windows.task.check(windows)
    names = {"class": windows.classes, "group": windows.groups, "channel": windows.channels}
    for what, values in {**names, "recording": windows.recordings}.items():
        for name in values:
            if not name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in name):
                raise InputError(f"{windows.where}: {what} {name!r} is not named in UTF-8; rename it")


def check_sides(windows: Windows, folds: Sequence[Fold]) -> None:
    """Refuse folds that nothing can be learned from, or that the task cannot judge.

    Raises:
        InputError: names the fold and what it lacks.
    """
    validated = any(len(fold.val) for fold in folds)  # without any, only last epochs are reported
    for fold in folds:
        _check_sides(windows, fold, validated)
        windows.task.check(windows, [fold])


def _check_sides(windows: Windows, fold: Fold, validated: bool) -> None:
    """Every side holds something (no fold need have a validation side); training windows differ."""
    where, noun = f"split: fold {fold.number}", windows.noun
    for side, index in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
        if not len(index) and (side != "val" or validated):
            raise InputError(f"{where}: there is no {noun} in {side}; use other folds")
    first = windows.x[int(fold.train[0])]
    for part in np.array_split(fold.train[1:], np.arange(1, len(fold.train), CHUNK)):  # ends at the first difference
        if (windows.x[part] != first).any():
            return
    raise InputError(
        f"{where}: all {len(fold.train)} training {noun}s are equal, value by value, so none can be told from "
        "another; look at how they were exported"
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
