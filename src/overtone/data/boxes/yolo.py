"""Annotations as YOLO's text: a file per image, a line per box: class, centre, width, height, in shares of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overtone.data.boxes.listed import Findings, Found, Listed, below, plain, side_of
from overtone.data.image_files import check_regular, image_names
from overtone.errors import InputError
from overtone.recipe.text import YAML_ERRORS, parse

LABELS = {"images": "labels", "Images": "Labels", "JPEGImages": "labels"}
"""The folder of annotations, by that of the images."""
NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
LARGEST = 2**24
"""Bytes of one image's annotation; a box takes 40."""
MOST_CLASSES = 10_000
"""Where nothing says how many there are."""
BEYOND = 2
"""Shares that far outside of an image are no shares but pixels."""


def read_yolo(root: Path, description: Path | None, findings: Findings, where: str) -> Found:
    """A folder of YOLO's layout.

    Args:
        root: the folder.
        description: its ``data.yaml``, if it has one.
        findings: hears what is wrong with single images and boxes.
        where: the source, for messages.

    Raises:
        InputError: if it holds no image or no annotation.
    """
    said = {} if description is None else _description(description, where)
    names = _names(said, root, where)
    known = len(names) or MOST_CLASSES
    sides: dict[str, list[Listed]] = {}
    labels: set[Path] = set()
    bare: list[str] = []
    for side, images in _sides(said, root, description, findings, where).items():
        sides[side] = []
        for image in images:
            label = _label(image)
            name = below(image, root)
            if label.is_file():
                labels.add(label)
                sides[side].append(_read(label, name, known, findings))
            else:
                bare.append(name)
                sides[side].append(plain(name, [], [], shares=True))
    if not any(sides.values()):
        findings.check(where)
        raise InputError(f"{where}: there is no image in it")
    if not labels:
        raise InputError(f"{where}: none of its {len(bare)} images has an annotation ({_label(root / bare[0])}, ...)")
    findings.tell("images without a file of labels, taken as images without boxes", bare)
    places = {label.parent for label in labels}
    alone = [file for place in places for file in sorted(place.glob("*.txt")) if file not in labels]
    findings.tell("files of labels without an image, left out", [f.name for f in alone if f.name not in NAMES])
    if not names:
        most = max((int(own.classes.max()) for side in sides.values() for own in side if len(own.classes)), default=0)
        names = [str(number) for number in range(most + 1)]
        findings.tell("classes without names (no data.yaml or classes.txt), called by their numbers", names)
    return Found(root, tuple(names), sides, "YOLO text")


def _description(path: Path, where: str) -> Mapping[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8-sig"))
    except (*YAML_ERRORS, OSError) as error:
        raise InputError(f"{where}: {path}: cannot be read as YAML ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: {path}: must hold names, train and val; got {type(found).__name__}")
    return found


def _names(said: Mapping[str, Any], root: Path, where: str) -> list[str]:
    """Classes by number; none where nothing says them.

    Raises:
        InputError: for names that are none, or one that stands twice.
    """
    found = said.get("names")
    if isinstance(found, dict):
        if sorted(found) != list(range(len(found))):
            raise InputError(f"{where}: names must number classes from 0 to {len(found) - 1}; got {list(found)[:8]}")
        found = [found[number] for number in range(len(found))]
    if found is None:
        file = next((root / name for name in NAMES if (root / name).is_file()), None)
        lines = [] if file is None else file.read_text(encoding="utf-8-sig").splitlines()
        found = [line.strip() for line in lines if line.strip()]
    if not isinstance(found, list) or any(isinstance(name, (list, dict)) or name is None for name in found):
        raise InputError(f"{where}: names must be a list of classes, or a mapping from their numbers; got {found!r}")
    names = [str(name) for name in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{where}: two classes are called {twice[0]!r}; give each its own name")
    return names


def _sides(
    said: Mapping[str, Any], root: Path, description: Path | None, findings: Findings, where: str
) -> dict[str, list[Path]]:
    """Images of each side: as ``data.yaml`` says, else by folders, else all as one."""
    stated = {side: said[side] for side in ("train", "val", "valid", "test") if said.get(side)}
    if description is not None and stated:
        bases = [description.parent / str(said.get("path") or ""), description.parent, root]
        return {
            side: [
                image
                for one in (own if isinstance(own, list) else [own])
                for image in _listed(str(one), bases, findings, where)
            ]
            for side, own in stated.items()
        }
    above = root / "images" if (root / "images").is_dir() else root
    folders = [place for place in sorted(above.iterdir()) if place.is_dir() and side_of(place.name)]
    return {
        place.name if place != above else "": [place / name for name in image_names(place, where)]
        for place in folders or [above]
    }


def _listed(entry: str, bases: Sequence[Path], findings: Findings, where: str) -> list[Path]:
    """Images of a folder, or those that a text names; places are below ``path`` or beside ``data.yaml``."""
    inner = entry.replace("\\", "/")
    while inner.startswith(("../", "./")):  # Roboflow writes ../train/images for a folder beside data.yaml
        inner = inner.split("/", 1)[1]
    places = [base / name for name in (entry, inner) for base in bases]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        findings.refuse("sides that data.yaml names and that are missing", [entry])
        return []
    if place.is_dir():
        return [place / name for name in image_names(place, where)]
    lines = [line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines()]
    images = []
    for line in filter(None, lines):
        options = [base / line for base in (place.parent, *bases)]
        images.append(next((own for own in options if own.is_file()), options[0]))
    return images


def _label(image: Path) -> Path:
    """Where an image's annotation is: in the folder beside that of the images, or beside the image."""
    parts = list(image.parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] in LABELS:
            other = Path(*parts[:number], LABELS[parts[number]], *parts[number + 1 :]).with_suffix(".txt")
            if other.is_file() or not image.with_suffix(".txt").is_file():
                return other
            break
    return image.with_suffix(".txt")


def _read(label: Path, name: str, known: int, findings: Findings) -> Listed:
    """An image's boxes; lines that cannot be used are kept among the findings."""
    boxes: list[Sequence[float]] = []
    classes: list[int] = []
    try:
        if check_regular(label) > LARGEST:
            raise ValueError("it is too large")
        lines = label.read_text(encoding="utf-8-sig").splitlines()
    except (ValueError, OSError) as error:
        findings.refuse("files of labels that cannot be read", [f"{label.name}: {error}"])
        lines = []
    for number, line in enumerate(lines, 1):
        if not (cells := line.split()):
            continue
        place = f"{label.name} line {number}: {line.strip()[:60]}"
        try:
            called, values = float(cells[0]), np.asarray(list(map(float, cells[1:])))
        except ValueError:
            findings.refuse("lines with a value that is no number", [place])
            continue
        outline = len(values) >= 6 and len(values) % 2 == 0
        if not np.isfinite([called, *values]).all() or not (len(values) == 4 or outline):
            findings.refuse("lines that are not a class and four finite numbers (or an outline's corners)", [place])
        elif called != int(called) or not 0 <= called < known:
            findings.refuse(f"lines of classes that are not defined (0 to {known - 1} are)", [place])
        elif np.abs(values).max() > BEYOND:
            findings.refuse("lines whose numbers are no shares of the image (0 to 1)", [place])
        else:
            boxes.append(_corners(values))
            classes.append(int(called))
            if outline:
                findings.tell("outlines of which the box around them was taken", [label.name])
    return plain(name, boxes, classes, shares=True)


def _corners(values: np.typing.NDArray[np.float64]) -> tuple[float, ...]:
    """x1, y1, x2, y2 of a centre with width and height, or of an outline's corners."""
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return values[::2].min(), values[1::2].min(), values[::2].max(), values[1::2].max()
