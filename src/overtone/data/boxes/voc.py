"""Annotations as Pascal VOC's XML, a file per image. Boxes are corners in whole pixels counted from 1, both inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from overtone.data.boxes.listed import Findings, Found, Listed, below, plain, side_of
from overtone.data.image_files import check_regular, hidden
from overtone.errors import InputError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
LARGEST = 2**24
"""Bytes of one image's annotation; VOC's have a few thousand."""
PICTURES = ("JPEGImages", "images", "Images", "")
"""Folders beside that of the annotations in which images may be; "" is the folder above."""


def read_voc(root: Path, findings: Findings, where: str) -> Found:
    """A folder of VOC's layout, or one of XML files beside images, in folders of sides or not.

    Raises:
        InputError: if it holds no annotation, or sides name ones that are not there.
    """
    names: dict[str, int] = {}
    places = _Places(root)
    sides = {
        side: [own for file in files if (own := _read(file, places, names, findings)) is not None]
        for side, files in _sides(root, findings)
    }
    if not any(sides.values()):
        findings.check(where)
        raise InputError(f"{where}: there is no annotation (.xml) of an image in it")
    order = sorted(names)
    number = np.asarray([order.index(name) for name in names], dtype=np.int64)  # by the number as first met
    return Found(
        root,
        tuple(order),
        {side: [replace(own, classes=number[own.classes]) for own in listed] for side, listed in sides.items()},
        "Pascal VOC XML",
    )


def _sides(root: Path, findings: Findings) -> Iterator[tuple[str, list[Path]]]:
    """Annotations of each side: by the lists in ``ImageSets/Main``, else by folders, else all as one."""
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    lists = {
        stem: path for stem, path in lists.items() if side_of(stem) and not (stem == "trainval" and "train" in lists)
    }
    if lists:
        for stem, path in lists.items():
            ids = [words[0] for line in path.read_text(encoding="utf-8").splitlines() if (words := line.split())]
            files = [root / "Annotations" / f"{own}.xml" for own in ids]
            there = [file for file in files if file.is_file()]
            if len(there) < len(files):
                gone = sorted(set(files) - set(there))
                findings.refuse(f"annotations that {path.name} lists and that are missing", (f.name for f in gone))
            yield stem, there
        return
    folders = [place.name for place in sorted(root.iterdir()) if place.is_dir() and side_of(place.name)]
    for side in folders or [""]:
        found = sorted((root / side).rglob("*.xml"))
        yield side, [file for file in found if not hidden(str(file.relative_to(root)))]


class _Places:
    """Where images are, folder by folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, annotation: Path, filename: str) -> str | None:
        """The image of an annotation, below the root: called as it says, or as itself."""
        beside = annotation.parent
        for place in (beside, *(beside.parent / name for name in PICTURES)):
            there = self._listed(place)
            if filename in there.values():
                return below(place / filename, self.root)
            if annotation.stem in there:
                return below(place / there[annotation.stem], self.root)
        return None

    def _listed(self, place: Path) -> dict[str, str]:
        """Files that are no XML, by their names without ending."""
        if place not in self._folders:
            files = sorted(place.iterdir()) if place.is_dir() else []
            self._folders[place] = {f.stem: f.name for f in files if f.suffix.lower() not in (".xml", ".txt", "")}
        return self._folders[place]


def _read(file: Path, places: _Places, names: dict[str, int], findings: Findings) -> Listed | None:
    """An annotation; None where it cannot be used, which is kept among the findings."""
    name = file.relative_to(places.root).as_posix()
    try:
        if check_regular(file) > LARGEST:
            raise ValueError("it is too large")
        content = file.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("it defines entities, as no annotation needs")
        root = ElementTree.fromstring(content)
    except (ValueError, OSError, ElementTree.ParseError, LookupError) as error:
        findings.refuse("files that are no XML, or are cut short", [f"{name}: {error}"])
        return None
    if root.tag != "annotation":
        findings.refuse("XML files that are no annotation of Pascal VOC", [f"{name}: <{root.tag}>"])
        return None
    filename = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
    image = places.find(file, filename)
    if image is None:
        findings.refuse("listed images that are missing", [filename or file.stem])
        return None
    return _listed(root, image, name, names, findings)


def _listed(root: ElementTree.Element, image: str, name: str, names: dict[str, int], findings: Findings) -> Listed:
    boxes: list[Sequence[float]] = []
    classes, crowd = [], []
    for thing in root.iter("object"):
        try:
            corners = [float(thing.findtext(f"bndbox/{corner}") or "") for corner in CORNERS]
            if not np.isfinite(corners).all():
                raise ValueError
        except ValueError:
            written = [thing.findtext(f"bndbox/{corner}") for corner in CORNERS]
            findings.refuse("objects whose bndbox is not four finite numbers", [f"{name}: {written}"])
            continue
        called = (thing.findtext("name") or "").strip()
        if not called:
            findings.refuse("objects without a name", [name])
            continue
        boxes.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
        classes.append(names.setdefault(called, len(names)))
        crowd.append((thing.findtext("difficult") or "0").strip() == "1")
    if any(crowd):
        findings.tell("boxes marked difficult, treated like crowds (not learned, not counted)", [name] * sum(crowd))
    size = [root.findtext(f"size/{side}") or "" for side in ("height", "width")]
    stated = all(side.strip().isdecimal() and int(side) > 0 for side in size)
    return plain(image, boxes, classes, crowd, (int(size[0]), int(size[1])) if stated else None)
