"""Folders of pictures, a folder a class: anyone's own, and ImageNet.

Source of ImageNet: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015. Its terms: research
and education, not commercial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import Field

from overtone.data.base import IntArray, Source, Windows
from overtone.data.choice import chosen_classes, some_of_each
from overtone.data.pictures import PictureFiles, check_torchvision
from overtone.data.places import VARIABLE, folders
from overtone.errors import InputError, nearest

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation")
TEST = ("test", "testing")


@dataclass(frozen=True)
class _Side:
    """Files below the set's folder, and the class of each by name."""

    names: list[str]
    labels: list[str]


class ImageFolder(Source):
    """Pictures of one class in a folder, such folders in ``train`` and ``val`` (or ``test``), or all in one.

    With ``train`` and one other side, that side is the official test side. With three, ``test`` is it, and sides are
    groups: ``split: {scheme: official, val: [val]}`` takes ``val`` for validation.

    Attributes:
        path: the folder.
        size: side of what models see, in pixels. Pictures are scaled to 8/7 of it and their middle is cut out; in
            training, ``train.augment.resized_crop`` cuts elsewhere.
        classes: only these classes, by name, or the first so many.
        train_per_class, test_per_class: only the first so many pictures of each class.
    """

    path: Path | None = None
    size: int = Field(default=224, ge=8, le=2048)
    classes: int | list[str] | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)

    SOURCE: ClassVar[str] = "your own pictures: folder/train/CLASS/*.jpg, folder/val/CLASS/*.jpg (torchvision)"
    NAME: ClassVar[str] = "imagefolder"
    SCALE: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None

    def load(self) -> Windows:
        """All pictures' names, side by side; none is decoded yet.

        Raises:
            InputError: for a missing folder or package, sides that differ in their classes, or settings that leave
                nothing.
        """
        where = f"data {self.NAME!r}"
        root = self._root(where)
        where = f"{where}: {root}"
        found = {name: _read(root / name if name else root, root, where) for name in self._sides(root)}
        names = sorted({label for side in found.values() for label in side.labels})
        tested = next((name for name in (*TEST, *VAL) if name in found), None)
        kept = chosen_classes(self.classes, names, where)
        groups: list[IntArray] = []
        files: list[str] = []
        labels: list[IntArray] = []
        for number, (name, side) in enumerate(found.items()):
            _same_classes(side, names, name, where)
            y = np.asarray([names.index(label) for label in side.labels], dtype=np.int64)
            most = self.test_per_class if name == tested else self.train_per_class
            rows, own = some_of_each(y, kept, most)
            files += [side.names[row] for row in rows]
            labels.append(own)
            groups.append(np.full(len(rows), number))
        group, y = np.concatenate(groups), np.concatenate(labels)
        count, sides = len(files), list(found)
        return Windows(
            x=cast(Any, PictureFiles(root, files, self.size, where)),
            y=y,
            group=group if len(sides) > 2 else np.zeros(count, dtype=np.int64),
            recording=np.arange(count),
            start=np.zeros(count, dtype=np.int64),
            groups=tuple(sides) if len(sides) > 2 else ("all images",),
            classes=tuple(names[c] for c in kept),
            channels=("red", "green", "blue"),
            rate=None,
            where=where,
            stride=self.size,
            official_test=None if tested is None else group == sides.index(tested),
            recordings=tuple(files),
            scale=self.SCALE,
        )

    def _root(self, where: str) -> Path:
        """The folder of the sides, or of the classes."""
        places = [self.path] if self.path is not None else []
        if self.path is None or not _folders(self.path):
            places = folders(self.path, self.NAME)
        root = next((place for place in places if place.is_dir() and _folders(place)), None)
        if root is None:
            looked = ", ".join(map(str, places)) or "nowhere"
            raise InputError(
                f"{where}: no folder with a folder a class was found (looked: {looked}); set data.path"
                + ("" if self.NAME == ImageFolder.NAME else f", or {VARIABLE} to the folder above {self.NAME}")
            )
        return root

    def _sides(self, root: Path) -> list[str]:
        """Training and test side, or all three. A folder of classes is one side without a name.

        Of three, validation comes first: where a recipe names no validation group, it is the one that follows the test
        group, round the end.
        """
        there = _folders(root)
        train, val, test = ([name for name in names if name in there] for names in (TRAIN, VAL, TEST))
        if not train or not val + test:
            return [""]
        return [*val, *train, *test] if val and test else [*train, *val, *test]


class ImageNet(ImageFolder):
    """ImageNet (ILSVRC 2012) with a folder a class in ``train`` and ``val``, as torchvision unpacks it.

    Attributes:
        path: the folder of ``train`` and ``val``, or one that holds it as ``imagenet``; else ``OVERTONE_DATA`` is.
    """

    SOURCE: ClassVar[str] = "ImageNet (ILSVRC 2012), 1,281,167 pictures of 1,000 classes; for research only"
    NAME: ClassVar[str] = "imagenet"
    SCALE: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (123.675, 116.28, 103.53),  # 0.485, 0.456, 0.406 of 255: what published weights were trained with
        (58.395, 57.12, 57.375),  # 0.229, 0.224, 0.225 of 255
    )

    def _sides(self, root: Path) -> list[str]:
        missing = [side for side in ("train", "val") if not (root / side).is_dir() or not _folders(root / side)]
        if missing:
            raise InputError(
                f"data 'imagenet': {root}: {' and '.join(missing)} must hold a folder a class; torchvision unpacks the "
                'published archives so: torchvision.datasets.ImageNet(folder, split="val")'
            )
        return ["train", "val"]


def _folders(place: Path) -> list[str]:
    """Names of the folders in a folder, without hidden ones."""
    if not place.is_dir():
        return []
    return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read(folder: Path, root: Path, where: str) -> _Side:
    """One side's pictures, class by class, as torchvision finds them."""
    check_torchvision(where)
    from torchvision.datasets import ImageFolder as Folder

    try:
        held = Folder(str(folder))
    except FileNotFoundError as error:
        raise InputError(f"{where}: {error}") from error
    names = [str(Path(path).relative_to(root)) for path, _ in held.samples]
    return _Side(names, [held.classes[label] for _, label in held.samples])


def _same_classes(side: _Side, names: Sequence[str], name: str, where: str) -> None:
    gone = [label for label in names if label not in set(side.labels)]
    if gone:
        told = nearest(gone[0], sorted(set(side.labels)))
        raise InputError(
            f"{where}: {len(gone)} of {len(names)} classes are not in {name}, such as {gone[0]!r} ({told}); every side "
            "needs every class"
        )
