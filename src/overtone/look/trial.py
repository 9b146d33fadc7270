"""A draft tried: the data loaded as its recipe would, with a window and a split that fit them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone import tasks
from overtone.data import Recordings, Windows, check_learnable, check_sides, cut, make_source, prepared, split
from overtone.errors import InputError, told
from overtone.formats.cells import MISSING
from overtone.look.draft import Draft, Setting, Trial
from overtone.look.others import MOST_BYTES, size_of
from overtone.look.sets import SETS
from overtone.recipe import DataSettings, SplitSettings

SECONDS = 2.0
LEAST, UNKNOWN, MOST = 16, 128, 512
"""Samples of a window: at least, where the rate is not known, and at most."""
WHOLE = 1024
"""Samples of recordings that are used whole, where all are equally long."""
ENOUGH = 10
"""Windows of each class that shorter windows should make."""
MANY_GROUPS = 10


def try_out(draft: Draft) -> Trial:
    """Loads the data by the draft's settings and finds window and split. What cannot be used becomes a problem of it.

    Nothing is loaded where arrays or a published set are so large that it would take minutes.
    """
    if draft.problems:
        return Trial()
    if draft.kind.name not in ("table", "tables", "images") and size_of(draft.path) > MOST_BYTES:
        return _unseen(draft)
    try:
        trial = _loaded(draft)
    except InputError as error:
        draft.problems.append(_named(str(error), draft))
        return Trial()
    except Exception as error:  # files that are not what their names say can fail in any way
        draft.problems.append(_named(told(error), draft))
        return Trial()
    return trial


def _named(message: str, draft: Draft) -> str:
    """A message about what was given, not about the parts of it that were read in its place."""
    sample = draft.sample
    return message if sample is None else message.replace(str(sample.path), str(draft.path))


def _unseen(draft: Draft) -> Trial:
    """What can be said of data that are too large to be loaded now."""
    draft.notes.append("too large to be loaded now; overtone check reads all of it")
    known = SETS.get(draft.kind.source)
    if known is not None and known.official:
        return Trial(split=Setting({"scheme": "official"}, "the set has its own split"))
    return Trial(split=_by_groups(known.people if known is not None else 0, "people"))


def _read_settings(draft: Draft) -> dict[str, Any]:
    """The draft's settings, with parts of the data in their place where they are too large."""
    data = dict(draft.data)
    sample = draft.sample
    if sample is not None and sample.share < 1:
        whole_folder = draft.kind.name == "tables" or data["name"] == "csv"
        data["path"] = str(sample.path if whole_folder else sample.path.parent)
    return data


def _loaded(draft: Draft) -> Trial:
    settings = DataSettings.model_validate(_read_settings(draft))
    source = make_source(settings)
    kind = type(source)
    task = kind.TASK if settings.task is None else tasks.make(settings.task)
    loaded = source.load()
    trial = Trial()
    if isinstance(loaded, Windows):
        trial.windows = task.take(loaded)
        check_learnable(trial.windows)
        if (lacking := _split(trial, trial.windows, draft.parted)) is not None:
            raise _no_split(trial.windows, lacking)
        return trial
    if any(np.isnan(signal).any() for signal in loaded.signals) and "missing" not in draft.settings:
        draft.settings["missing"] = Setting("interpolate", "values are missing; refuse, drop, hold or interpolate")
        return _loaded(draft)
    unlabelled = [name for name in loaded.classes if name in MISSING and name.lower() != "null"]
    if unlabelled and "drop" not in draft.settings and task.ONE_CLASS:
        draft.settings["drop"] = Setting(unlabelled, "samples without a label")
        return _loaded(draft)
    if loaded.signals and not loaded.classes and task.ONE_CLASS:
        draft.settings["task"] = Setting("regression", "labels are real numbers")
        return _loaded(draft)
    if len(set(loaded.groups)) < 2 and loaded.official_test is None:
        draft.notes.append("all of it is one group: nobody is left to be tested on")
    task, recordings = task.labelled(prepared(loaded, source, settings), settings.target)
    trial.recordings = recordings
    window = None if kind.WINDOW is not None else propose_window(recordings)
    if window is not None:
        trial.window = Setting(_length(window.size, recordings.rate), window.why)
    strides = {2: "half a window", 1: "no overlap, as windows of one recording are on both sides"}
    for share, why in strides.items():
        if window is None:
            windows = task.take(cut(recordings, kind.WINDOW, kind.STRIDE, task))
        else:
            step = max(window.size // share, 1)
            windows = task.take(cut(recordings, window.size, step, task))
            trial.stride = Setting(_length(step, recordings.rate), why)
        check_learnable(windows)
        trial.windows = windows
        lacking = _split(trial, windows, draft.parted, last=share == 1 or window is None)
        if lacking is None:
            return trial
    raise _no_split(windows, lacking)


def _no_split(windows: Windows, lacking: str | None) -> InputError:
    return InputError(
        f"{windows.where}: no split into training and test leaves at least two classes to learn and something to test "
        f"(the best: {lacking}); more recordings, or people, are needed"
    )


@dataclass(frozen=True)
class Window:
    """A window's length in samples, and why."""

    size: int
    why: str


def propose_window(recordings: Recordings) -> Window | None:
    """A sensible window; None where recordings are short, equally long and of one label each.

    About two seconds where the rate is known; never longer than half of a class's samples allow, and shorter where
    there would be few windows.
    """
    lengths = {signal.shape[1] for signal in recordings.signals}
    labels = [np.asarray(own) for own in recordings.labels]
    single = all(own.ndim == 0 or (not recordings.classes and own.ndim == 1) for own in labels)
    if single and len(lengths) == 1 and max(lengths) <= WHOLE:
        return None
    rate = recordings.rate
    if rate is not None:
        size, why = round(SECONDS * rate), "usual for movements"
        if not LEAST <= size <= MOST:
            size = min(max(size, LEAST), MOST)
            why = f"{size} samples, as {SECONDS:g} s would be {round(SECONDS * rate)}"
    else:
        size, why = UNKNOWN, f"{UNKNOWN} samples, as the rate is not known"
    stretches = _stretches(recordings)
    usual = min(_half(np.asarray(own)) for own in stretches.values())
    if usual < size:
        size, why = max(usual, 1), f"{usual} samples, as labels often change after that"
    while size > LEAST and any(_count(own, size) < ENOUGH for own in stretches.values()):
        size = max(size // 2, LEAST)
        why = f"{size} samples, as longer ones would be few"
    while size > 1 and any(_count(own, size) == 0 for own in stretches.values()):
        size //= 2
        why = f"{size} samples, as stretches of one label are short"
    return Window(size, f"{why}; what is to be learned should happen within it")


def _count(stretches: Sequence[int], size: int) -> int:
    return sum(max(0, (length - size) // max(size // 2, 1) + 1) for length in stretches if length >= size)


def _half(lengths: npt.NDArray[np.int64]) -> int:
    """The length such that half of all samples lie in stretches of at least that."""
    ordered = np.sort(lengths)[::-1]
    return int(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)])


def _stretches(recordings: Recordings) -> dict[int, list[int]]:
    """Lengths for which the label stays the same, by class; of real numbers those of whole recordings."""
    found: dict[int, list[int]] = {}
    for signal, own in zip(recordings.signals, recordings.labels, strict=True):
        label = np.asarray(own)
        if label.ndim == 0 or not recordings.classes:
            found.setdefault(int(label) if recordings.classes else 0, []).append(signal.shape[1])
            continue
        ends = np.flatnonzero(np.diff(label)) + 1
        for part in np.split(label, ends):
            found.setdefault(int(part[0]), []).append(len(part))
    return found


def _length(size: int, rate: float | None) -> int | str:
    """A length as one would write it: in seconds where these are a short number."""
    if rate is None:
        return size
    seconds = size / rate
    text = f"{seconds:.4g}"
    return f"{text} s" if len(text) <= 4 and round(float(text) * rate) == size else size


# --- the split


def _split(trial: Trial, windows: Windows, parted: str, last: bool = True) -> str | None:
    """The first split that leaves every fold something to learn and to test; where there is none, why not the best."""
    lacking = ""
    for setting, halves in _splits(windows, parted):
        if not halves and not last:
            continue
        try:
            settings = SplitSettings.model_validate(setting.value)
            check_sides(windows, split(windows, settings))
        except InputError as error:
            lacking = lacking or str(error)
            continue
        trial.split = setting
        return None
    return lacking


def _splits(windows: Windows, parted: str) -> Iterator[tuple[Setting, bool]]:
    """Splits from the best to the least; and whether windows may overlap with it."""
    if windows.official_test is not None:
        by_window = windows.material.of_images and len(windows.groups) < 3
        by = {"by": "window"} if by_window else {}
        yield Setting({**by, "scheme": "official"}, "the data have a test side of their own"), True
        yield Setting({**by, "scheme": "official", "val": 0}, "the data have a test side of their own"), True
    if windows.material.of_images:
        why = "pictures are dealt at random, as there is no test side and no groups"
        yield Setting({"by": "window", "scheme": "kfold", "test": 5}, why), True
        return
    groups = len(windows.groups)
    if groups > 1:
        yield _by_groups(groups, windows.material.groups, parted), True
        if groups >= 3:
            yield _by_groups(groups, windows.material.groups, parted, val=False), True
    recordings = len(np.unique(windows.recording))
    honest = "the same people are in training and test, which flatters"
    for folds in (5, 3, 2):
        if recordings >= max(folds, 3) and recordings > groups:
            why = f"by recording, as groups do not allow more: {honest}"
            yield (
                Setting({"by": "recording", "scheme": "kfold", "test": folds, "val": 1 if folds > 2 else 0}, why),
                True,
            )
    for folds in (5, 3, 2):
        why = (
            "windows are dealt at random, as other splits leave too little to learn or test: windows of one recording "
        )
        why += "are on both sides, which flatters much"
        yield Setting({"by": "window", "scheme": "kfold", "test": folds, "val": 1 if folds > 2 else 0}, why), False


def _by_groups(groups: int, noun: str, parted: str = "", val: bool = True) -> Setting:
    """By people: each alone where they are few; ``parted`` says what groups are where people are not known."""
    apart = "nobody is in training and test"
    if parted:
        noun, apart = f"{parted}s", f"by {parted}; whether one person is in several is not known"
    if groups >= MANY_GROUPS or not groups:
        value: dict[str, Any] = {"scheme": "kfold", "test": 5, "val": 0.2 if val else 0}
        return Setting(value, f"{groups or 'unknown'} {noun}, in five parts; {apart}")
    value = {"scheme": "leave_groups_out", "test": 1, "val": 1 if val and groups >= 3 else 0}
    none = "" if value["val"] else "; with val: 0 nothing chooses an epoch"
    return Setting(value, f"{groups} {noun}, each tested once; {apart}{none}")
