"""Annotations as COCO's JSON. Boxes are x, y, width and height in pixels, from the image's outer edge."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.base import IntArray
from overtone.data.boxes.listed import Findings, Listed, Places, side_of
from overtone.data.image_files import check_regular
from overtone.errors import InputError

LISTS = ("images", "annotations", "categories")
HEAVY = ("segmentation", "keypoints", "caption")
"""What annotations say besides; of COCO's 450 MB most are outlines."""


def read_coco(path: Path, names: dict[str, int], findings: Findings, where: str) -> list[Listed]:
    """All images of a file, in its order.

    Args:
        path: the file.
        names: classes and their numbers; those that are new are added, in the order of their ids.
        findings: hears what is wrong with single images and boxes.
        where: the source, for messages.

    Raises:
        InputError: for a file that is no such JSON.
    """
    found = _read(path, where)
    number_of = _categories(found["categories"], names, f"{where}: {path.name}")
    images = _images(found["images"], findings, path.name)
    place = {image["id"]: row for row, image in enumerate(images)}
    annotations = _once(found["annotations"], findings, path.name)
    unknown = [a for a in annotations if a.get("category_id") not in number_of]
    if unknown:
        findings.refuse(
            f"annotations of categories that {path.name} does not define",
            (f"{a.get('id', '?')}: {a.get('category_id')}" for a in unknown),
        )
    strays = [a for a in annotations if a.get("image_id") not in place]
    findings.tell(f"boxes left out whose image {path.name} does not list", (str(a.get("id", "?")) for a in strays))
    kept = [a for a in annotations if a.get("image_id") in place and a.get("category_id") in number_of]
    kept, boxes = _boxes(kept, findings, path.name)
    rows = np.asarray([place[a["image_id"]] for a in kept], dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    edges = np.searchsorted(rows[order], np.arange(len(images) + 1))
    classes = np.asarray([number_of[a["category_id"]] for a in kept], dtype=np.int64)
    crowd = np.asarray([bool(a.get("iscrowd")) for a in kept], dtype=bool)
    area = np.asarray([_number(a.get("area")) for a in kept], dtype=np.float64)
    listed = []
    for row, image in enumerate(images):
        own: IntArray = order[edges[row] : edges[row + 1]]
        name = str(image["file_name"]).replace("\\", "/")  # as Windows writes it
        listed.append(Listed(name, boxes[own], classes[own], crowd[own], area[own], _size(image)))
    return listed


def _read(path: Path, where: str) -> dict[str, list[Any]]:
    """The file's lists, without outlines of things."""

    def light(value: dict[str, Any]) -> dict[str, Any]:
        for name in HEAVY:
            value.pop(name, None)
        return value

    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig") as file:
            found = json.load(file, object_hook=light)
    except (ValueError, RecursionError) as error:  # also what is no text
        raise InputError(f"{where}: {path}: is no JSON, or is cut short ({error})") from error
    except OSError as error:
        raise InputError(f"{where}: {path}: cannot be read ({error})") from error
    there = list(found) if isinstance(found, dict) else type(found).__name__
    for name in LISTS:
        entries = found.get(name) if isinstance(found, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(
                f"{where}: {path}: is not COCO's JSON, which holds lists of objects called {', '.join(LISTS)}; got "
                f"{there if isinstance(there, str) else ', '.join(there[:8]) or 'nothing'}"
            )
    return {name: found[name] for name in LISTS}


def _categories(entries: Sequence[dict[str, Any]], names: dict[str, int], where: str) -> dict[Any, int]:
    """Each category's number by its id.

    Raises:
        InputError: for a category without id or name, or one that stands twice.
    """
    if not entries:
        raise InputError(f"{where}: there is no category in it")
    try:
        found = {entry["id"]: str(entry["name"]) for entry in sorted(entries, key=lambda entry: entry["id"])}
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: a category needs an id (a whole number) and a name; got {error}") from error
    called = list(found.values())
    twice = sorted({name for name in called if called.count(name) > 1})
    if len(found) < len(entries) or twice:
        which = f"name {twice[0]!r}" if twice else "id"
        raise InputError(f"{where}: two categories have the same {which}; give each its own")
    return {number: names.setdefault(name, len(names)) for number, name in found.items()}


def _images(entries: Sequence[dict[str, Any]], findings: Findings, file: str) -> list[dict[str, Any]]:
    """Images of one id each; one that is listed twice and the same is one."""
    kept: dict[Any, dict[str, Any]] = {}
    for entry in entries:
        if "id" not in entry or not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            findings.refuse(f"images in {file} without id or file_name", [str(entry)[:60]])
        elif entry["id"] not in kept:
            kept[entry["id"]] = entry
        elif kept[entry["id"]] == entry:
            findings.tell(f"images that {file} lists twice, read once", [entry["file_name"]])
        else:
            findings.refuse(f"image ids in {file} that stand for several images", [str(entry["id"])])
    return list(kept.values())


def _once(annotations: Sequence[dict[str, Any]], findings: Findings, file: str) -> list[dict[str, Any]]:
    """Annotations of one id each; one that stands twice and says the same is one."""
    if len({a.get("id") for a in annotations}) == len(annotations):
        return list(annotations)
    kept: dict[Any, dict[str, Any]] = {}
    nameless = []
    for own in annotations:
        number = own.get("id")
        if number is None:
            nameless.append(own)
        elif number not in kept:
            kept[number] = own
        elif kept[number] == own:
            findings.tell(f"boxes that stand twice in {file}, read once", [str(number)])
        else:
            findings.refuse(f"annotation ids in {file} that stand for several boxes", [str(number)])
    return [*kept.values(), *nameless]


def _boxes(annotations: list[dict[str, Any]], findings: Findings, file: str) -> tuple[list[dict[str, Any]], Places]:
    """Annotations whose boxes are four finite numbers, and their corners (n, 4)."""
    boxes = np.full((len(annotations), 4), np.nan)
    for row, own in enumerate(annotations):
        four = own.get("bbox")
        if isinstance(four, list) and len(four) == 4:
            boxes[row] = [_number(value) for value in four]
    good: npt.NDArray[np.bool_] = np.isfinite(boxes).all(1)
    if not good.all():
        wrong = (annotations[row] for row in np.flatnonzero(~good))
        findings.refuse(
            f"annotations in {file} whose bbox is not four finite numbers",
            (f"{own.get('id', '?')}: {str(own.get('bbox'))[:40]}" for own in wrong),
        )
        annotations, boxes = [annotations[row] for row in np.flatnonzero(good)], boxes[good]
    boxes[:, 2:] += boxes[:, :2]
    return annotations, boxes


def _number(value: Any) -> float:
    """A number as JSON has it; NaN for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(max(-LARGE, min(value, LARGE)))  # whole numbers have no bounds in JSON
    return value if isinstance(value, float) else np.nan


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    stated = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    return (height, width) if stated else None  # type: ignore[return-value]


# --- which file is which side


def coco_files(path: Path) -> list[Path]:
    """JSON files that may hold boxes: the file itself, or those in a folder, in its ``annotations`` and its sides."""
    if path.is_file():
        return [path]
    inside = sorted(place for place in path.iterdir() if place.is_dir() and not place.name.startswith("."))
    files = [
        file for place in (path, *inside) for file in sorted(place.glob("*.json")) if not file.name.startswith(".")
    ]
    instances = [file for file in files if file.name.startswith(INSTANCES)]
    return instances or files


def json_side(file: Path) -> str:
    """Which side a file describes by its name (``instances_val2017.json``), else by its folder's; "" if none says."""
    words = [*re.split("[^A-Za-z]+", file.stem), file.parent.name]
    return next((word for word in words if side_of(word)), "").lower()


def image_place(names: Sequence[str], file: Path, where: str) -> Path:
    """The folder in which most of the images are that a file describes.

    Raises:
        InputError: where none has any.
    """
    own = file.stem.removeprefix(INSTANCES)
    subs = [sub for name in (own, json_side(file)) for sub in (name, f"images/{name}")]
    places = [above / sub for above in (file.parent, file.parent.parent) for sub in (*subs, "images", "")]
    some = names[:: max(1, len(names) // SOME)]
    there = {place: sum((place / name).is_file() for name in some) for place in places}
    best = max(there, key=lambda place: there[place])
    if not there[best]:
        looked = ", ".join(map(str, dict.fromkeys(places)))
        raise InputError(f"{where}: none of its images ({names[0]}, ...) was found (looked in: {looked})")
    return best


INSTANCES = "instances_"
"""How COCO's names of files with boxes begin."""
SOME = 20
"""Images that are looked for to find their folder."""
LARGE = 10**12
"""Pixels: beyond any image."""
