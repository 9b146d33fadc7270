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
from PIL import Image
from pydantic import Field

from overtone.data.base import Source, Windows
from overtone.data.npz import read_arrays
from overtone.data.places import find_file
from overtone.data.plain_pickle import read_plain
from overtone.errors import InputError, nearest

SIDE = 32
SHEET = (25, 40)
"""Rows and columns of pictures in one sheet."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Side:
    """Training or test images (N, 32, 32, 3) and their labels (N,)."""

    images: Images
    labels: npt.NDArray[np.int64]


class _Cifar(Source):
    """What both sets share.

    Attributes:
        path: the archive (``.tar.gz``) or its unpacked folder, or a folder of lossless sheets with ``labels.npz``;
            else it is looked for in ``OVERTONE_DATA``.
        classes: only these classes, by name, or the first so many.
        train_per_class, test_per_class: only the first so many images of each class.
    """

    path: Path | None = None
    classes: int | list[str] | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)

    NAME: ClassVar[str]
    ARCHIVE: ClassVar[str]
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]]

    def load(self) -> Windows:
        """All images, training before test."""
        where = f"data {self.NAME!r}"
        place = self._place(where)
        if place.is_dir() and (place / "labels.npz").is_file():
            train, test, names = self._sheets(place, f"{where}: {place}")
        else:
            train, test, names = self._archive(place, f"{where}: {place}")
        chosen = self._chosen(names, where)
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
        )

    def _place(self, where: str) -> Path:
        """The folder or archive."""
        if self.path is not None and self.path.is_file():
            return self.path
        return find_file(self.path, self.NAME, where)

    @property
    def _kind(self) -> str:
        """Which labels are used, where there are several."""
        return "fine"

    def _sheets(self, folder: Path, where: str) -> tuple[_Side, _Side, list[str]]:
        kind = self._kind
        held = read_arrays(folder / "labels.npz", (f"{kind}_train", f"{kind}_test", f"{kind}_names"), where)
        sides = []
        for side in ("train", "test"):
            files = sorted(folder.glob(f"{side}_*.webp"))
            if not files:
                raise InputError(f"{where}: there are no sheets {side}_*.webp beside labels.npz")
            images = np.concatenate([_pictures(file, where) for file in files])
            sides.append(_side(images, held[f"{kind}_{side}"], where))
        return sides[0], sides[1], [str(name) for name in held[f"{kind}_names"]]

    def _archive(self, place: Path, where: str) -> tuple[_Side, _Side, list[str]]:
        read = _reader(place, self.ARCHIVE, where)
        train_files, test_files, meta_file = self.FILES
        meta = read(meta_file)
        sides = []
        for files in (train_files, test_files):
            parts = [read(file) for file in files]
            key = next((k for k in ("labels", f"{self._kind}_labels") if k in parts[0]), None)
            if key is None or any("data" not in part or key not in part for part in parts):
                raise InputError(f"{where}: {files[0]} holds no data and labels, only {', '.join(parts[0])}")
            data = np.concatenate([np.asarray(part["data"]) for part in parts])
            if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE * SIDE:
                raise InputError(f"{where}: data must be bytes (N, 3072), got {data.dtype} {data.shape}")
            images = data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
            sides.append(_side(images, np.concatenate([np.asarray(part[key]) for part in parts]), where))
        names = next((meta[k] for k in ("label_names", f"{self._kind}_label_names") if k in meta), None)
        if names is None:
            raise InputError(f"{where}: {meta_file} holds no class names, only {', '.join(meta)}")
        return sides[0], sides[1], [n.decode("latin-1") if isinstance(n, bytes) else str(n) for n in names]

    def _chosen(self, names: list[str], where: str) -> list[int]:
        if self.classes is None:
            return list(range(len(names)))
        if isinstance(self.classes, int):
            if not 2 <= self.classes <= len(names):
                raise InputError(f"{where}: classes must be 2 to {len(names)}, got {self.classes}")
            return list(range(self.classes))
        for name in self.classes:
            if name not in names:
                raise InputError(f"{where}: unknown class {name!r}; {nearest(name, names)}")
        if len(set(self.classes)) < 2:
            raise InputError(f"{where}: a classifier needs at least two classes, got {self.classes}")
        return [names.index(name) for name in dict.fromkeys(self.classes)]


class Cifar10(_Cifar):
    """Ten classes, 5,000 training and 1,000 test images of each."""

    SOURCE: ClassVar[str] = "32 x 32 photographs of 10 classes, Krizhevsky 2009 (archive cifar-10-python.tar.gz)"
    NAME: ClassVar[str] = "cifar10"
    ARCHIVE: ClassVar[str] = "cifar-10-batches-py"
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]] = (
        tuple(f"data_batch_{n}" for n in range(1, 6)),
        ("test_batch",),
        "batches.meta",
    )


class Cifar100(_Cifar):
    """A hundred classes, 500 training and 100 test images of each.

    Attributes:
        labels: the 100 fine classes, or the 20 coarse ones.
    """

    SOURCE: ClassVar[str] = "32 x 32 photographs of 100 classes, Krizhevsky 2009 (archive cifar-100-python.tar.gz)"
    NAME: ClassVar[str] = "cifar100"
    ARCHIVE: ClassVar[str] = "cifar-100-python"
    FILES: ClassVar[tuple[tuple[str, ...], tuple[str, ...], str]] = (("train",), ("test",), "meta")

    labels: Literal["fine", "coarse"] = "fine"

    @property
    def _kind(self) -> str:
        return self.labels


def _reader(place: Path, folder: str, where: str) -> Callable[[str], dict[str, Any]]:
    """Reads one file of the archive, packed or unpacked."""
    if place.is_file():
        packed = place
    else:
        unpacked = next(
            (p for p in (place, place / folder) if (p / "test").is_file() or (p / "test_batch").is_file()), None
        )
        if unpacked is not None:
            return lambda name: read_plain(_bytes(unpacked / name, where), f"{where}: {name}")
        packed = place / f"{folder.replace('-batches-py', '-python')}.tar.gz"
    if not packed.is_file():
        raise InputError(f"{where}: there is no folder {folder}, no {packed.name}, no labels.npz with sheets")

    def read(name: str) -> dict[str, Any]:
        try:
            with tarfile.open(packed) as archive:
                member = archive.extractfile(f"{folder}/{name}")
                content = b"" if member is None else member.read()
        except (OSError, EOFError, KeyError, tarfile.TarError) as error:
            raise InputError(f"{where}: {name} cannot be read from the archive ({error})") from error
        return read_plain(content, f"{where}: {name}")

    return read


def _bytes(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: {path.name} cannot be read ({error.strerror})") from error


def _pictures(file: Path, where: str) -> Images:
    """The pictures of one sheet, row by row: (N, 32, 32, 3)."""
    rows, columns = SHEET
    try:
        with Image.open(file) as picture:
            sheet = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {file.name} cannot be read ({error})") from error
    if sheet.shape != (rows * SIDE, columns * SIDE, 3):
        raise InputError(f"{where}: {file.name} must be {columns * SIDE} x {rows * SIDE} pixels, got {sheet.shape}")
    return sheet.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)


def _side(images: Images, labels: npt.NDArray[Any], where: str) -> _Side:
    if len(images) != len(labels):
        raise InputError(f"{where}: there are {len(images)} images but {len(labels)} labels")
    return _Side(images, labels.astype(np.int64))


def _some(side: _Side, chosen: list[int], most: int | None) -> _Side:
    """Only the chosen classes, numbered in their order, and at most so many images of each; the order stays."""
    kept = np.zeros(len(side.labels), dtype=bool)
    for number in chosen:
        kept[np.flatnonzero(side.labels == number)[:most]] = True
    new = np.full(max(int(side.labels.max()), *chosen) + 1, -1)
    new[chosen] = np.arange(len(chosen))
    return _Side(side.images[kept], new[side.labels[kept]])
