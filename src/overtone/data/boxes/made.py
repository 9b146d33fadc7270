"""Images with boxes as windows: sides put together, classes chosen, boxes checked, clipped and scaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from overtone.data.base import IMAGES, FloatArray, IntArray, Windows
from overtone.data.boxes.headers import file_sizes
from overtone.data.boxes.listed import Findings, Found, Listed, Places, in_order
from overtone.data.canvas import CanvasFiles, fitted
from overtone.data.classes import Choice, chosen_numbers
from overtone.errors import InputError, few, nearest
from overtone.tasks import Detection
from overtone.tasks.boxes import AREA, CLASS, COLUMNS, CROWD, packed

Chosen = npt.NDArray[np.bool_]
SCALE = (
    (123.675, 116.28, 103.53),  # 0.485, 0.456, 0.406 of 255: ImageNet's, which published backbones were trained with
    (58.395, 57.12, 57.375),  # 0.229, 0.224, 0.225 of 255
)
ALL = "all images"
A_PIXEL = 1
"""That a box may reach beyond its image untold: rounding does that."""


@dataclass(frozen=True)
class Fit:
    """How large images become: pixels of their shorter side, or less where the longer one would exceed ``max_size``."""

    size: int
    max_size: int


@dataclass(frozen=True)
class _Rows:
    """Boxes of all images, one after the other.

    Attributes:
        image: (B,) each one's image by number.
        boxes: (B, 4) corners in pixels of the file.
        classes, crowd, area: (B,).
    """

    image: IntArray
    boxes: Places
    classes: IntArray
    crowd: Chosen
    area: Places

    def of(self, kept: Chosen) -> _Rows:
        return _Rows(self.image[kept], self.boxes[kept], self.classes[kept], self.crowd[kept], self.area[kept])


def windows_of(
    found: Found,
    fit: Fit,
    choice: Choice,
    most: tuple[int | None, int | None],
    findings: Findings,
    where: str,
    known: Sequence[str] | None = None,
) -> Windows:
    """A set's images with their boxes.

    Args:
        found: what annotations say.
        fit: how large images become.
        choice: which classes are kept.
        most: images that are kept of a side that is not tested, and of the tested one.
        findings: what is wrong so far.
        where: the source, for messages.
        known: a student's classes in their order, of which the set may have some; else the set says them.

    Raises:
        InputError: for all that is wrong with the set, in one message.
    """
    order, tested = in_order(list(found.sides), where)
    sides = [found.sides[side][: most[side == tested]] for side in order]
    listed = [own for side in sides for own in side]
    group = np.repeat(np.arange(len(order)), [len(side) for side in sides])
    names = [own.name for own in listed]
    _check_once(names, findings)
    if not listed:
        findings.check(where)
        raise InputError(f"{where}: there is no image in it")
    originals = np.asarray(file_sizes(found.root, names, findings), dtype=np.int64)
    _check_stated(listed, originals, findings)
    findings.check(where)
    rows = _rows(listed, originals)
    if known is None:
        known, number, notes = chosen_numbers(found.names, choice, where)
    else:
        number, notes = _as_known(known, found.names, choice, rows, where), []
    rows, left = _chosen(rows, number, found.names)
    sizes = _scaled(originals, fit)
    rows, scaled = _inside(rows, originals, sizes, names, findings)
    if not len(rows.image):
        raise InputError(f"{where}: no image in it has a box" + "".join(f"; {note}" for note in left))
    several = len(order) > 2 or (len(order) > 1 and tested is None)
    return replace(
        _windows(found.root, names, packed(_both(sizes, originals), _apart(rows, scaled, len(names))), where),
        classes=tuple(known),
        group=group if several else np.zeros(len(names), dtype=np.int64),
        groups=tuple(order) if several else (ALL,),
        official_test=None if tested is None else group == order.index(tested),
        notes=(f"annotations: {found.format}", *findings.notes, *notes, *left),
    )


def windows_of_images(folder: Path, names: Sequence[str], fit: Fit, where: str) -> Windows:
    """Images without annotations, as they are given to a student; none has a box.

    Raises:
        InputError: for images that cannot be read.
    """
    findings = Findings()
    originals = np.asarray(file_sizes(folder, names, findings), dtype=np.int64)
    findings.check(where)
    none = [np.zeros((0, COLUMNS), dtype=np.float32)] * len(names)
    windows = _windows(folder, names, packed(_both(_scaled(originals, fit), originals), none), where)
    return replace(windows, notes=tuple(findings.notes))


def _windows(root: Path, names: Sequence[str], y: FloatArray, where: str) -> Windows:
    """Images of no group and no class, whose sizes stand in their targets."""
    count, sizes = len(names), y[:, 0, :4].astype(np.int64)
    files = CanvasFiles(root, names, sizes[:, :2], where)
    return Windows(
        x=cast(Any, files),
        y=y,
        group=np.zeros(count, dtype=np.int64),
        recording=np.arange(count),
        start=np.zeros(count, dtype=np.int64),
        groups=(ALL,),
        classes=(),
        channels=("red", "green", "blue"),
        rate=None,
        where=where,
        stride=files.shape[2],
        recordings=tuple(names),
        scale=SCALE,
        material=IMAGES,
        task=Detection(),
        sizes=sizes,
    )


def _check_once(names: Sequence[str], findings: Findings) -> None:
    """Keep images that stand twice among the findings: two lists of boxes for one image, or one on two sides."""
    counts = Counter(names)
    findings.refuse("images that are listed twice", [name for name, count in counts.items() if count > 1])


def _check_stated(listed: Sequence[Listed], originals: IntArray, findings: Findings) -> None:
    """Keep images among the findings whose annotation is of another size: its boxes would be somewhere else."""
    wrong = []
    for own, (height, width) in zip(listed, originals.tolist(), strict=True):
        if own.size is not None and own.size != (height, width):
            turned = "; EXIF may turn it, save it turned" if own.size == (width, height) else ""
            wrong.append(f"{own.name}: {own.size[1]} x {own.size[0]} stated, {width} x {height} in the file{turned}")
    findings.refuse("images of another size than their annotation states", wrong)


def _rows(listed: Sequence[Listed], originals: IntArray) -> _Rows:
    """All boxes, in pixels of their files."""
    image = np.repeat(np.arange(len(listed)), [len(own.boxes) for own in listed])
    boxes = np.concatenate([own.boxes for own in listed])
    shares = np.asarray([own.shares for own in listed])[image]
    height, width = originals[image].T
    boxes[shares] *= np.stack([width, height, width, height], 1)[shares]
    classes = np.concatenate([own.classes for own in listed])
    crowd, area = np.concatenate([own.crowd for own in listed]), np.concatenate([own.area for own in listed])
    return _Rows(image, boxes, classes, crowd, area)


def _as_known(known: Sequence[str], names: Sequence[str], choice: Choice, rows: _Rows, where: str) -> IntArray:
    """A student's number of each of the set's classes; -1 where training left it out.

    Raises:
        InputError: for boxes of a class that training neither knew nor left out.
    """
    new = [choice.rename.get(name, name) for name in names]
    foreign = [name not in (*known, *choice.drop) and choice.classes is None for name in new]
    found = sorted({names[number] for number in np.unique(rows.classes) if foreign[number]})
    if found:
        raise InputError(
            f"{where}: boxes are of class {few(found)}, which the student does not know; {nearest(found[0], known)}"
        )
    return np.asarray([known.index(name) if name in known else -1 for name in new], dtype=np.int64)


def _chosen(rows: _Rows, number: IntArray, names: Sequence[str]) -> tuple[_Rows, list[str]]:
    """The boxes of the classes that are wanted, under their new numbers, and what was left out."""
    sizes = np.bincount(rows.classes, minlength=len(names))
    gone = np.flatnonzero((number < 0) & (sizes > 0))
    notes = []
    if len(gone):
        which = few([names[own] for own in gone])
        notes.append(f"boxes of classes that were left out ({which}): {sizes[gone].sum()} of {len(rows.image)}")
    rows = replace(rows, classes=number[rows.classes])
    return rows.of(rows.classes >= 0), notes


def _inside(
    rows: _Rows, originals: IntArray, sizes: IntArray, names: Sequence[str], findings: Findings
) -> tuple[_Rows, FloatArray]:
    """The boxes that have an area inside of their image, clipped to it, and their corners (B, 4) on the canvas."""
    height, width = originals[rows.image].T.astype(np.float64)
    limits = np.stack([width, height, width, height], 1)
    clipped = np.clip(rows.boxes, 0, limits)
    beyond: Chosen = np.any(np.abs(clipped - rows.boxes) > A_PIXEL, axis=1)
    bare: Chosen = np.any(rows.boxes[:, 2:] <= rows.boxes[:, :2], axis=1)
    scaled = (clipped * (sizes[rows.image] / originals[rows.image])[:, [1, 0, 1, 0]]).astype(np.float32)
    flat: Chosen = np.any(
        scaled[:, 2:] <= scaled[:, :2], axis=1
    )  # as models will see them: float32 may make two edges one
    outside: Chosen = ~bare & np.any(clipped[:, 2:] <= clipped[:, :2], axis=1)

    def named(which: Chosen) -> list[str]:
        return [names[number] for number in rows.image[which]]

    findings.tell("boxes clipped that reached beyond their image", named(beyond & ~flat))
    findings.tell("boxes left out that lay outside of their image", named(outside))
    findings.tell("boxes left out that had no area", named(flat & ~outside))
    own = (clipped[:, 2:] - clipped[:, :2]).prod(1)
    area = np.where(np.isfinite(rows.area) & (rows.area > 0), rows.area, own)
    return replace(rows, boxes=clipped, area=area).of(~flat), scaled[~flat]


def _apart(rows: _Rows, scaled: FloatArray, count: int) -> list[FloatArray]:
    """The rows (n, 7) of each image."""
    table = np.zeros((len(scaled), COLUMNS), dtype=np.float32)
    table[:, :4], table[:, CLASS], table[:, CROWD], table[:, AREA] = scaled, rows.classes, rows.crowd, rows.area
    return np.split(table, np.searchsorted(rows.image, np.arange(1, count)))


def _scaled(originals: IntArray, fit: Fit) -> IntArray:
    every = [fitted(height, width, fit.size, fit.max_size) for height, width in originals.tolist()]
    return np.asarray(every, dtype=np.int64)


def _both(sizes: IntArray, originals: IntArray) -> list[tuple[int, int, int, int]]:
    return [tuple(own) for own in np.concatenate([sizes, originals], 1).tolist()]
