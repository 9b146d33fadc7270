"""Folders of images, a folder per class: anyone's own, and ImageNet.

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

from overtone.data.base import IMAGES, IntArray, Material, Source, Windows
from overtone.data.image_files import ImageFiles, check_torchvision, check_unpacked, hidden
from overtone.data.paths import VARIABLE, folders
from overtone.data.subset import chosen_classes, some_of_each
from overtone.errors import InputError, close, nearest
from overtone.files import no_folder

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation")
TEST = ("test", "testing")


@dataclass(frozen=True)
class _Side:
    """Files below the set's folder, and the class of each by name."""

    names: list[str]
    labels: list[str]


class ImageFolder(Source):
    """Images of one class in a folder, such folders in ``train`` and ``val`` (or ``test``), or all in one.

    With ``train`` and one other side, that side is the official test side. With three, ``test`` is it, and sides are
    groups: ``split: {scheme: official, val: [val]}`` takes ``val`` for validation. Sides' names may be capitalised, and
    ``training``, ``valid``, ``validation`` and ``testing`` are known too. Hidden folders and files are left out.

    Attributes:
        path: the folder.
        size: side of what models see, in pixels. Images are scaled to 8/7 of it and their middle is cut out; in
            training, ``train.augment.resized_crop`` cuts elsewhere.
        classes: only these classes, by name, or the first so many. Every side needs each of them.
        train_per_class, test_per_class: only the first so many images of each class.
    """

    path: Path | None = None
    size: int = Field(default=224, ge=8, le=2048)
    classes: int | list[str] | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)

    MATERIAL: ClassVar[Material] = IMAGES
    SOURCE: ClassVar[str] = "your own images: folder/train/CLASS/*.jpg, folder/val/CLASS/*.jpg (torchvision)"
    NAME: ClassVar[str] = "imagefolder"
    SCALE: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None
    UNPACK: ClassVar[str] = "then set data.path to the folder that it leaves"

    def load(self) -> Windows:
        """All images' names, side by side; none is decoded yet.

        Raises:
            InputError: for a missing folder or package, sides that differ in their classes, or settings that leave
                nothing.
        """
        where = f"data {self.NAME!r}"
        root = self._root(where)
        where = f"{where}: {root}"
        check_torchvision(where)
        sides = self._sides(root)
        there = {side: _folders(root / side) for side in sides}
        for side in sides:
            if not there[side]:
                check_unpacked(root / side, where, self.UNPACK)
                raise InputError(f"{where}: {side} must hold a folder per class, but holds none; sort its images so")
        names = sorted({name for inside in there.values() for name in inside})
        tested = next((side for known in (TEST, VAL) for side in sides if side.lower() in known), None)
        kept = chosen_classes(self.classes, names, where)
        numbers = {names[c]: c for c in kept}
        groups: list[IntArray] = []
        files: list[str] = []
        labels: list[IntArray] = []
        for number, side in enumerate(sides):
            _same_classes(there[side], list(numbers), side, where)
            images = _read(root / side, root, list(numbers), where)
            y = np.asarray([numbers[label] for label in images.labels], dtype=np.int64)
            most = self.test_per_class if side == tested else self.train_per_class
            rows, chosen = some_of_each(y, kept, most)
            files += [images.names[row] for row in rows]
            labels.append(chosen)
            groups.append(np.full(len(rows), number))
        group, y = np.concatenate(groups), np.concatenate(labels)
        count = len(files)
        return Windows(
            x=cast(Any, ImageFiles(root, files, self.size, where)),
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
            material=self.MATERIAL,
        )

    def _root(self, where: str) -> Path:
        """The folder of the sides, or of the classes."""
        places = folders(self.path, self.NAME)
        with_folders = [place for place in places if _folders(place)]
        with_sides = [place for place in with_folders if any(name.lower() in TRAIN for name in _folders(place))]
        if with_folders:
            return [*with_sides, *with_folders][0]
        if not places:
            raise InputError(
                f"{where}: neither data.path nor {VARIABLE} is set; set data.path to the folder of train and val, or "
                f"{VARIABLE} to the folder above {self.NAME}"
            )
        for place in places:
            check_unpacked(place, where, self.UNPACK)
        if self.path is not None and self.path.is_file():
            raise InputError(f"{where}: {self.path} {no_folder(self.path)}")
        raise InputError(
            f"{where}: no folder with a folder per class was found (looked: {', '.join(map(str, places))}); set "
            "data.path" + ("" if self.NAME == ImageFolder.NAME else f", or {VARIABLE} to the folder above {self.NAME}")
        )

    def _sides(self, root: Path) -> list[str]:
        """Training and test side, or all three. A folder of classes is one side without a name.

        Of three, validation comes first: where a recipe names no validation group, it is the one that follows the test
        group, round the end.

        Raises:
            InputError: for two folders of one side, or a side without its partner. A folder that is called like a side
                but holds no folders is no side without partner: there are images of trains.
        """
        there = _folders(root)
        train, val, test = ([name for name in there if name.lower() in known] for known in (TRAIN, VAL, TEST))
        where = f"data {self.NAME!r}: {root}"
        for same in (train, val, test):
            if len(same) > 1:
                raise InputError(f"{where}: {' and '.join(same)} are the same side; keep one of them")
        if train and val + test:
            return [*val, *train, *test] if val and test else [*train, *val, *test]
        alone = [name for name in (*train, *val, *test) if _folders(root / name)]
        if alone:
            wanted = (*VAL, *TEST) if train else TRAIN
            others = [name for name in there if name not in alone]
            near = next((name for name in (close(side, others) for side in wanted) if name), None)
            raise InputError(
                f"{where}: {' and '.join(alone)} needs {'val or test' if train else 'train'} beside it; "
                + (f"is that {near!r}? " if near else "")
                + f"found: {', '.join(there)}. Rename the other side's folder, or set data.path to {root / alone[0]} "
                "and deal its images"
            )
        return [""]


class ImageNet(ImageFolder):
    """ImageNet (ILSVRC 2012) with a folder per class in ``train`` and ``val``, as torchvision unpacks it.

    Attributes:
        path: the folder of ``train`` and ``val``, or one that holds it as ``imagenet``; else ``OVERTONE_DATA`` is.
    """

    SOURCE: ClassVar[str] = "ImageNet (ILSVRC 2012), 1,281,167 images of 1,000 classes; for research only"
    NAME: ClassVar[str] = "imagenet"
    SCALE: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (123.675, 116.28, 103.53),  # 0.485, 0.456, 0.406 of 255: what published weights were trained with
        (58.395, 57.12, 57.375),  # 0.229, 0.224, 0.225 of 255
    )
    UNPACK: ClassVar[str] = (
        'torchvision unpacks the published archives so: torchvision.datasets.ImageNet(folder, split="val")'
    )

    def _sides(self, root: Path) -> list[str]:
        there = {name.lower(): name for name in _folders(root)}
        missing = [side for side in ("train", "val") if side not in there or not _folders(root / there[side])]
        if missing:
            raise InputError(
                f"data 'imagenet': {root}: {' and '.join(missing)} must hold a folder per class; {self.UNPACK}"
            )
        return [there["train"], there["val"]]


def _folders(place: Path) -> list[str]:
    """Names of the folders in a folder, without hidden ones."""
    if not place.is_dir():
        return []
    return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not hidden(entry.name))


def _read(folder: Path, root: Path, classes: Sequence[str], where: str) -> _Side:
    """One side's images of some classes, class by class, as torchvision finds them, without hidden ones."""
    from torchvision.datasets import ImageFolder as Folder

    class Chosen(Folder):  # type: ignore[misc]
        def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
            return list(classes), {name: number for number, name in enumerate(classes)}

    try:
        dataset = Chosen(str(folder))
    except FileNotFoundError as error:
        raise InputError(f"{where}: {error}") from error
    images = [(str(Path(path).relative_to(root)), classes[label]) for path, label in dataset.samples]
    images = [(name, label) for name, label in images if not hidden(name)]
    bare = sorted(set(classes) - {label for _, label in images})
    if bare:
        raise InputError(f"{where}: only hidden files are in {folder / bare[0]}; put images there, or delete it")
    return _Side([name for name, _ in images], [label for _, label in images])


def _same_classes(there: Sequence[str], chosen: Sequence[str], side: str, where: str) -> None:
    gone = [name for name in chosen if name not in there]
    if gone:
        raise InputError(
            f"{where}: {len(gone)} of {len(chosen)} classes are not in {side}, such as {gone[0]!r} "
            f"({nearest(gone[0], there)}); every side needs every class. data.classes takes some of them only"
        )
