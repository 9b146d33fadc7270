"""The recipe that fits some data: models by their number, every guess as a comment."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from overtone.look.draft import Draft, Setting, Trial

if TYPE_CHECKING:
    from overtone.data import Windows

NO_CLASS = frozenset(("null", "none", "other", "others", "unknown", "unlabeled", "unlabelled", "undefined"))
NO_CLASS |= {"transition", "기타", "없음", "미분류"}
"""Names of classes that often stand for no class."""
RARE = 3
"""How many times smaller a class is that is told."""
LINE = 100
"""Characters up to which a comment stands behind its setting."""
LARGEST_IMAGE, SMALLEST_IMAGE = 32, 8
MOST_CHANNELS = 32
"""Channels up to which a persistence image is made of each."""


@dataclass(frozen=True)
class Size:
    """Models for so many windows.

    Attributes:
        most: windows up to which these are taken.
        teacher, image: of the signal, and of images made from it.
        student: the student.
        epochs: of the teachers; the student has twice as many.
        words: how many these are called.
    """

    most: float
    teacher: str
    image: str
    student: str
    epochs: int
    words: str


SIZES = (
    Size(1_000, "wrn10-1", "wrn10-1", "dscnn-8", 10, "few"),
    Size(10_000, "wrn16-2", "wrn10-1", "dscnn-8", 15, "some"),
    Size(100_000, "wrn16-3", "wrn16-1", "dscnn-16", 15, "many"),
    Size(float("inf"), "wrn16-3", "wrn16-1", "dscnn-16", 5, "very many"),
)
PICTURES = Size(0, "", "wrn16-2", "resnet8", 15, "")


def write_recipe(draft: Draft, trial: Trial) -> str:
    """A recipe's text, which ``overtone check`` accepts as it is."""
    windows = trial.windows
    data = dict(draft.settings)
    data |= {name: s for name, s in (("window", trial.window), ("stride", trial.stride)) if s is not None}
    lines = [
        f"# Written by overtone look for {_one_line(str(draft.path))}. Comments say what was guessed, and why.",
        *(f"# {_one_line(note)}" for note in draft.notes),
        *([f"# Only {100 * draft.share:.2g} % of it was looked at; numbers below are of that."] * (draft.share < 1)),
        "data:",
        *(line for name, setting in data.items() for line in _entry(f"  {name}", setting)),
    ]
    lines += _unwanted(draft, windows)
    assert trial.split is not None
    lines += _entry("split", trial.split)
    count = round(len(windows) / draft.share) if windows is not None else 10_000
    pictures = windows is not None and windows.material.of_images
    lines += _pictures(count) if pictures else _signals(windows, count)
    lines += _imbalance(windows)
    return "\n".join(lines) + "\n"


def _unwanted(draft: Draft, windows: Windows | None) -> list[str]:
    """How classes that may be none are left out."""
    classes = [] if windows is None or windows.material.of_images else [str(name) for name in windows.classes]
    words = [name for name in classes if not name.lstrip("-").isdigit()]
    none = [name for name in classes if name.lower() in NO_CLASS or (name in ("0", "-1") and words)]
    if not none or len(classes) - len(none) < 2 or draft.kind.name not in ("table", "tables") or "drop" in draft.data:
        return []
    return [f"  # drop: {_plain(none)}  # if samples of this class are of none that you want"]


def _imbalance(windows: Windows | None) -> list[str]:
    """How rare classes are weighed more, where some are."""
    if windows is None or not windows.classes:
        return []
    counts = np.bincount(windows.y, minlength=len(windows.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] < RARE * counts[least]:
        return []
    large, small = (f"{counts[place]:,} {windows.noun}s of {windows.classes[place]!r}" for place in (most, least))
    seen = f"{large}, but {small}"
    return [f"# {_one_line(seen)}: class_weights: balanced in train weighs rare classes more"]


def _signals(windows: Windows | None, count: int) -> list[str]:
    size = next(size for size in SIZES if count <= size.most)
    length = windows.size[0] if windows is not None else LARGEST_IMAGE
    side = min(LARGEST_IMAGE, length)
    regression = windows is not None and not windows.classes
    teachers = {"signal": size.teacher}
    views: dict[str, dict[str, Any]] = {}
    if side >= SMALLEST_IMAGE:
        views["gaf"] = {"size": side, "kind": "difference"}
        teachers["gaf"] = size.image
        if windows is None or len(windows.channels) <= MOST_CHANNELS:
            views["pi"] = {"size": side}
            teachers["pi"] = size.image
    why = f"{count:,} windows are {size.words}; larger models and more epochs where time allows"
    lines = []
    if views:
        lines += ["views:", *(f"  {name}: {_plain(value)}" for name, value in views.items())]
    lines += [f"teachers:  # guessed: {why}"]
    for name, model in teachers.items():
        lines.append(f"  {name}: {{view: {name}, model: {model}, epochs: {size.epochs}}}")
    lines.append(f"student: {{view: signal, model: {size.student}, epochs: {2 * size.epochs}}}")
    lines += _train(count)
    lines.append("methods:")
    lines.append("  - none # the student alone")
    if regression:
        lines.append("  - {name: mimic, teachers: [signal]}")
    else:
        lines.append("  - {name: kd, teachers: [signal], weights: {ce: 0.1, kd: 0.9}}")
        if len(teachers) > 1:
            lines.append("  - {name: aver, weights: {ce: 0.1, aver: 0.9}} # all teachers")
    return [*lines, "seeds: [0]"]


def _pictures(count: int) -> list[str]:
    return [
        f"teachers:  # guessed: small, for {count:,} pictures; larger models and more epochs where time allows",
        f"  image: {{view: image, model: {PICTURES.image}, epochs: {PICTURES.epochs}}}",
        f"student: {{view: image, model: {PICTURES.student}, epochs: {2 * PICTURES.epochs}}}",
        *_train(count),
        "methods:",
        "  - none # the student alone",
        "  - {name: kd, weights: {ce: 0.1, kd: 0.9}}",
        "seeds: [0]",
    ]


def _train(count: int) -> list[str]:
    """A batch that leaves an epoch several steps."""
    batch = 64
    while batch > 2 and batch * 8 > count:
        batch //= 2
    return [f"train: {{batch: {batch}, lr: 0.05, nesterov: true, schedule: cosine}}"]


def _entry(key: str, setting: Setting) -> list[str]:
    """A setting with its guess behind it, or above it where that would be long."""
    line = f"{key}: {_plain(setting.value)}"
    if not setting.guess:
        return [line]
    comment = f"# guessed: {_one_line(setting.guess)}"
    if len(line) + len(comment) + 2 <= LINE:
        return [f"{line}  {comment}"]
    indent = line[: len(line) - len(line.lstrip())]
    return [*textwrap.wrap(comment, LINE, initial_indent=indent, subsequent_indent=f"{indent}#   "), line]


def _one_line(text: str) -> str:
    """Text as a comment can hold it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+", " ", text)


def _plain(value: Any) -> str:
    """A value as YAML on one line, quoted where it has to be."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
