"""CIFAR-10 and CIFAR-100: 60,000 photographs of 32 x 32 pixels, with the official split.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. No licence is stated.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from overtone.data.base import IMAGES, Material, Source, Windows
from overtone.data.image_files import check_regular, opened
from overtone.data.npz import read_arrays
from overtone.data.paths import VARIABLE, folders
from overtone.data.subset import chosen_classes, some_of_each
from overtone.errors import InputError, nearest
from overtone.plain_pickle import read_plain

SIDE = 32
LABELS = "labels.npz"
MOST_BYTES = 2**28
"""Of one file in an archive; CIFAR-100's training file has 155,261,506."""

SHEET = (25, 40)
"""Rows and columns of images in one sheet."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Side:
    """Training or test images (N, 32, 32, 3) and their labels (N,)."""

    images: Images
    labels: npt.NDArray[np.int64]


class _Cifar(Source):
    """What both sets share.

    Class attributes: the archive's name, the folder in it, its training, test and meta files, and which keys hold the
    labels and the classes' names.

    Attributes:
        path: the archive (``.tar.gz``), its unpacked folder, a folder of lossless sheets with ``labels.npz``, or a
            folder that holds one of these (in a folder of the set's name or not); else ``OVERTONE_DATA`` is such a
            folder.
        classes: only these classes, by name, or the first so many.
        train_per_class, test_per_class: only the first so many images of each class.
    """

    MATERIAL: ClassVar[Material] = IMAGES

    path: Path | None = None
    classes: int | list[str] | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)

    NAME: ClassVar[str]
    ARCHIVE: ClassVar[str]
    INNER: ClassVar[str]
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]]
    KEYS: ClassVar[dict[str, tuple[str, str]]]

    def load(self) -> Windows:
        """All images, training before test."""
        where = f"data {self.NAME!r}"
        place = self._place(where)
        if (place / LABELS).is_file():
            train, test, names = self._sheets(place, f"{where}: {place}")
        else:
            train, test, names = self._archive(place, f"{where}: {place}")
        chosen = chosen_classes(self.classes, names, where)
        train, test = _some(train, chosen, self.train_per_class), _some(test, chosen, self.test_per_class)
        count = len(train.labels) + len(test.labels)
        return Windows(
            x=np.concatenate([train.images, test.images]).transpose(0, 3, 1, 2).copy(),
            y=np.concatenate([train.labels, test.labels]),
            group=np.zeros(count, dtype=np.int64),
            recording=np.arange(count),
            start=np.zeros(count, dtype=np.int64),
            groups=("all images",),
            classes=tuple(names[c] for c in chosen),
            channels=("red", "green", "blue"),
            rate=None,
            where=where,
            stride=SIDE,
            official_test=np.arange(count) >= len(train.labels),
            material=self.MATERIAL,
        )

    def _place(self, where: str) -> Path:
        """The packed archive, its unpacked folder, or the folder of sheets."""
        if self.path is not None and self.path.is_file():
            return self.path
        places = folders(self.path, self.NAME)
        direct = places if self.path is not None else places[:1]  # OVERTONE_DATA itself holds folders and archives only
        for place in places:
            for inside in (place / self.INNER, place / self.ARCHIVE):
                if inside.exists():
                    return inside
            if place in direct and any((place / file).is_file() for file in (LABELS, *self.FILES[1], self.FILES[2])):
                return place
        looked = ", ".join(map(str, places)) or "nowhere"
        raise InputError(
            f"{where}: {self.NAME} was not found: no folder {self.INNER}, no {self.ARCHIVE}, no {LABELS} with sheets "
            f"(looked in: {looked}); set data.path, or {VARIABLE} to the folder above it"
        )

    @property
    def _kind(self) -> str:
        """Which labels are used, where there are several."""
        return "fine"

    def _sheets(self, folder: Path, where: str) -> tuple[_Side, _Side, list[str]]:
        kind = self._kind
        arrays = read_arrays(folder / LABELS, (f"{kind}_train", f"{kind}_test", f"{kind}_names"), where)
        names = _names(arrays[f"{kind}_names"].tolist(), f"{where}: {LABELS}: {kind}_names")
        sides = []
        for side in ("train", "test"):
            files = sorted(folder.glob(f"{side}_*.webp"))
            if not files:
                raise InputError(f"{where}: there are no sheets {side}_*.webp beside {LABELS}")
            labels = _labels(arrays[f"{kind}_{side}"], len(names), f"{where}: {LABELS}: {kind}_{side}")
            images = np.concatenate([_sheet(file, where) for file in files])
            sides.append(_side(images, labels, f"{where}: {side}"))
        return sides[0], sides[1], names

    def _archive(self, place: Path, where: str) -> tuple[_Side, _Side, list[str]]:
        read = _reader(place, self.INNER, where)
        train_files, test_files, meta_file = self.FILES
        label_key, names_key = self.KEYS[self._kind]
        names = _names(_held(read(meta_file), names_key, f"{where}: {meta_file}"), f"{where}: {meta_file}: {names_key}")
        sides = []
        for files in (train_files, test_files):
            parts = []
            for file in files:
                content, here = read(file), f"{where}: {file}"
                labels = _labels(_held(content, label_key, here), len(names), f"{here}: {label_key}")
                parts.append(_side(_images(_held(content, "data", here), here), labels, here))
            images = np.concatenate([part.images for part in parts])
            sides.append(_Side(images, np.concatenate([part.labels for part in parts])))
        return sides[0], sides[1], names


class Cifar10(_Cifar):
    """Ten classes, 5,000 training and 1,000 test images of each."""

    SOURCE: ClassVar[str] = "32 x 32 photographs of 10 classes, Krizhevsky 2009 (archive cifar-10-python.tar.gz)"
    NAME: ClassVar[str] = "cifar10"
    ARCHIVE: ClassVar[str] = "cifar-10-python.tar.gz"
    INNER: ClassVar[str] = "cifar-10-batches-py"
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]] = (
        tuple(f"data_batch_{n}" for n in range(1, 6)),
        ("test_batch",),
        "batches.meta",
    )
    KEYS: ClassVar[dict[str, tuple[str, str]]] = {"fine": ("labels", "label_names")}


class Cifar100(_Cifar):
    """A hundred classes, 500 training and 100 test images of each.

    Attributes:
        labels: the 100 fine classes, or the 20 coarse ones.
    """

    SOURCE: ClassVar[str] = "32 x 32 photographs of 100 classes, Krizhevsky 2009 (archive cifar-100-python.tar.gz)"
    NAME: ClassVar[str] = "cifar100"
    ARCHIVE: ClassVar[str] = "cifar-100-python.tar.gz"
    INNER: ClassVar[str] = "cifar-100-python"
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]] = (("train",), ("test",), "meta")
    KEYS: ClassVar[dict[str, tuple[str, str]]] = {
        "fine": ("fine_labels", "fine_label_names"),
        "coarse": ("coarse_labels", "coarse_label_names"),
    }

    labels: Literal["fine", "coarse"] = "fine"

    @property
    def _kind(self) -> str:
        return self.labels


def _reader(place: Path, inner: str, where: str) -> Callable[[str], dict[str, Any]]:
    """Reads one file of the archive, packed or unpacked."""
    if place.is_dir():
        return lambda name: read_plain(_bytes(place / name, where), f"{where}: {name}")

    def read(name: str) -> dict[str, Any]:
        try:
            with tarfile.open(place) as archive:
                info = archive.getmember(f"{inner}/{name}")
                if info.size > MOST_BYTES:
                    raise ValueError(f"it unpacks to {info.size} bytes; the published ones have at most {MOST_BYTES}")
                member = archive.extractfile(info)
                content = b"" if member is None else member.read()
        except Exception as error:  # a damaged archive can fail in any way
            why = f"{error}:".splitlines()[0].rstrip(":")  # tarfile says more for each way of packing
            raise InputError(
                f"{where}: {name} cannot be read from the archive ({why}); data.path is the archive, the folder that "
                "it unpacks to, or a folder with one of them"
            ) from error
        return read_plain(content, f"{where}: {name}")

    return read


def _held(content: dict[str, Any], key: str, where: str) -> Any:
    if key not in content:
        raise InputError(f"{where}: {key!r} is missing; {nearest(key, content)}")
    return content[key]


def _images(value: Any, where: str) -> Images:
    """``data`` of one file as (N, 32, 32, 3)."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape[1:] != (3 * SIDE * SIDE,):
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{where}: data must be an array of bytes (N, {3 * SIDE * SIDE}), got {got}")
    return value.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _names(value: Any, where: str) -> list[str]:
    """Names of classes, as texts."""
    if not isinstance(value, list) or not all(isinstance(name, (bytes, str)) for name in value) or not value:
        raise InputError(f"{where} must be a list of texts, the classes' names, got {_quoted(value)}")
    names = [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in value]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where} must name each class once, but {name!r} stands there {names.count(name)} times")
    return names


def _labels(value: Any, classes: int, where: str) -> npt.NDArray[np.int64]:
    """Numbers of classes, (N,)."""
    wanted = f"{where} must be whole numbers from 0 to {classes - 1}, since {classes} classes are named; got"
    try:
        labels = np.asarray(value)
    except Exception as error:  # a list may hold anything
        raise InputError(f"{wanted} {_quoted(value)}") from error
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or isinstance(value, (bytes, str)):
        raise InputError(f"{wanted} {_quoted(value)}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise InputError(f"{wanted} {labels[wrong][0]} at place {int(wrong.argmax())}")
    return labels.astype(np.int64)


def _quoted(value: Any) -> str:
    """The beginning of a value, and what it is."""
    text = " ".join(f"{value!r:.200}".split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _bytes(path: Path, where: str) -> bytes:
    try:
        check_regular(path)
        return path.read_bytes()
    except (ValueError, OSError) as error:
        raise InputError(f"{where}: {path.name} cannot be read ({error})") from error


def _sheet(file: Path, where: str) -> Images:
    """The images of one sheet, row by row: (N, 32, 32, 3)."""
    rows, columns = SHEET
    try:
        with opened(file) as image:
            sheet = np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged image can fail in any way
        raise InputError(f"{where}: {file.name} cannot be read ({error})") from error
    if sheet.shape != (rows * SIDE, columns * SIDE, 3):
        raise InputError(f"{where}: {file.name} must be {columns * SIDE} x {rows * SIDE} pixels, got {sheet.shape}")
    return sheet.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)


def _side(images: Images, labels: npt.NDArray[np.int64], where: str) -> _Side:
    if not len(images) or len(images) != len(labels):
        raise InputError(f"{where}: there must be as many images as labels, got {len(images)} and {len(labels)}")
    return _Side(images, labels)


def _some(side: _Side, chosen: list[int], most: int | None) -> _Side:
    """Only the chosen classes, numbered in their order, and at most so many images of each; the order stays."""
    rows, labels = some_of_each(side.labels, chosen, most)
    return _Side(side.images[rows], labels)
