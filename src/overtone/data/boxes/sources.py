"""Sources of images with boxes: one's own, COCO and BCCD.

Source of COCO: Lin et al., "Microsoft COCO: Common Objects in Context", 2014; annotations CC BY 4.0, images under their
authors' terms. Of BCCD: Shenggan, "BCCD Dataset", MIT.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from overtone.data.base import IMAGES, Material, Source, Windows
from overtone.data.boxes.coco_json import coco_files, image_place, json_side, read_coco
from overtone.data.boxes.listed import Findings, Found, Listed, below
from overtone.data.boxes.made import Fit, windows_of, windows_of_images
from overtone.data.boxes.voc import read_voc
from overtone.data.boxes.yolo import read_yolo
from overtone.data.classes import Choice
from overtone.data.image_files import check_torchvision, check_unpacked, image_names
from overtone.data.paths import VARIABLE, folders
from overtone.errors import InputError, few
from overtone.files import no_file
from overtone.recipe.schema import ClassName, ClassNames
from overtone.tasks import Detection, Task

Format = Literal["coco", "voc", "yolo"]
FORMATS = "COCO JSON (*.json), Pascal VOC (*.xml) or YOLO (data.yaml or classes.txt, and labels/*.txt)"


class BoxSource(Source):
    """Images with boxes, scaled to one size with their proportions kept.

    Attributes:
        path: the set's folder.
        size: pixels of an image's shorter side.
        max_size: pixels of its longer side at most; where the shorter one's ``size`` would make it longer, this counts.
        rename, classes, drop: which classes are found; an image whose boxes are all left out stays, without any.
        train_images, test_images: only the first so many images of a side that is trained on, and of the tested one.
    """

    path: Path | None = None
    size: int = Field(default=800, ge=16, le=4096)
    max_size: int = Field(default=1333, ge=16, le=8192)
    rename: dict[ClassName, ClassName] = Field(default={})
    classes: ClassNames | None = None
    drop: list[ClassName] = Field(default=[])
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)

    MATERIAL: ClassVar[Material] = IMAGES
    TASK: ClassVar[Task] = Detection()
    NAME: ClassVar[str]

    @model_validator(mode="after")
    def _fits(self) -> BoxSource:
        if self.max_size < self.size:
            raise ValueError(f"max_size ({self.max_size}) is of the longer side, so at least size ({self.size})")
        return self

    @abstractmethod
    def found(self, findings: Findings, where: str) -> Found:
        """What the annotations say.

        Raises:
            InputError: if there are none.
        """

    def load(self) -> Windows:
        """All images with their boxes; none is decoded yet.

        Raises:
            InputError: for all that is wrong with the set at once: images that are missing, cut short or of another
                size than stated, boxes of unknown classes or without numbers, ids that stand twice.
        """
        return self._load(Choice(self.rename, self.classes, self.drop))

    def load_as(self, names: Sequence[str]) -> Windows:
        """The same with given classes in their order, of which a set need not have all.

        Raises:
            InputError: as :meth:`load`, or for boxes of another class that the recipe did not leave out.
        """
        return self._load(Choice(self.rename, self.classes, self.drop), names)

    def load_unlabelled(self) -> Windows:
        """All images below the folder, or the one that ``path`` is; annotations are not looked at.

        Raises:
            InputError: for no image, or images that cannot be read.
        """
        where = f"data {self.NAME!r}: {self.path}"
        if self.path is None or not self.path.exists():
            raise InputError(f"{where} {no_file(self.path) if self.path else 'is not set'}")
        check_torchvision(where)
        of_files = self.path.is_dir()
        folder, names = (self.path, image_names(self.path, where)) if of_files else (self.path.parent, [self.path.name])
        if not names:
            raise InputError(f"{where}: there is no image in it")
        return windows_of_images(folder, names, Fit(self.size, self.max_size), where)

    def _load(self, choice: Choice, names: Sequence[str] | None = None) -> Windows:
        where = f"data {self.NAME!r}" + (f": {self.path}" if self.path is not None else "")
        check_torchvision(where)
        if choice.classes is not None and choice.drop:
            raise InputError("data.classes are those wanted, data.drop those not; give one of them")
        findings = Findings()
        found = self.found(findings, where)
        most = (self.train_images, self.test_images)
        return windows_of(found, Fit(self.size, self.max_size), choice, most, findings, where, names)


class Boxes(BoxSource):
    """Your own images with boxes, annotated as COCO JSON, Pascal VOC XML or YOLO text, whichever is found.

    Sides are told by the names of files and folders (``train``, ``val``, ``test``). With two, the other one than
    ``train`` is the official test side. With three, ``test`` is it, and sides are groups: ``split: {scheme: official}``
    takes ``val`` for validation. A file of annotations alone, or a folder without sides, is one side, which is dealt.

    Attributes:
        format: of the annotations, where several are there.
    """

    format: Format | None = None

    SOURCE: ClassVar[str] = "your own images with boxes: COCO JSON, Pascal VOC XML or YOLO text"
    NAME: ClassVar[str] = "boxes"

    def found(self, findings: Findings, where: str) -> Found:
        """What the annotations say."""
        path = self.path
        if path is None:
            raise InputError(f"{where}: set data.path to the folder of images and annotations")
        if not path.exists():
            raise InputError(f"{where} {no_file(path)}")
        if path.is_file() and path.suffix.lower() not in (".json", ".yaml", ".yml"):
            check_unpacked(path, where, "then set data.path to the folder that it leaves")
            raise InputError(f"{where}: is neither a folder, nor COCO JSON or a data.yaml; found are {FORMATS}")
        there = formats_in(path)
        kind = self.format or next(iter(there), None)
        if kind is None or (kind not in there and (kind == "coco" or path.is_file())):
            check_unpacked(path, where, "then set data.path to the folder that it leaves")
            raise InputError(f"{where}: no annotations of {kind or 'a known format'} were found; read are {FORMATS}")
        if len(there) > 1 and self.format is None:
            findings.tell(f"other annotations, not read (data.format names them instead of {kind})", list(there)[1:])
        if kind == "coco":
            return _from_json(path, coco_files(path), findings, where)
        if kind == "voc":
            return read_voc(path, findings, where)
        return read_yolo(path if path.is_dir() else path.parent, _yaml(path), findings, where)


class Coco(BoxSource):
    """MS COCO 2017, as published: ``annotations/instances_train2017.json`` and ``_val2017``, and folders of images.

    ``val2017`` is the official test side; validation images come out of the training side
    (``split: {by: window, scheme: official}``).
    """

    SOURCE: ClassVar[str] = "MS COCO 2017, 118,287 and 5,000 images, 80 classes; annotations CC BY 4.0"
    NAME: ClassVar[str] = "coco"
    FILES: ClassVar[tuple[str, ...]] = ("instances_train2017.json", "instances_val2017.json")
    FOLDERS: ClassVar[tuple[str, ...]] = ("coco", "coco2017")

    def found(self, findings: Findings, where: str) -> Found:
        """What the annotations say."""
        places = [place for name in self.FOLDERS for place in folders(self.path, name)]
        for place in dict.fromkeys(places):
            files = [place / "annotations" / name for name in self.FILES]
            there = [file for file in files if file.is_file()]
            if there and len(there) < len(files):
                gone = next(file for file in files if file not in there)
                raise InputError(f"{where}: {gone} is missing; data {Boxes.NAME!r} reads one side alone")
            if there:
                return _from_json(place, files, findings, where)
        looked = ", ".join(map(str, dict.fromkeys(places))) or "nowhere"
        raise InputError(
            f"{where}: annotations/{self.FILES[0]} was not found (looked in: {looked}); set data.path to the "
            f"folder above annotations, or {VARIABLE} to the one that holds it as {self.FOLDERS[0]}"
        )


class Bccd(Coco):
    """BCCD: blood cells (red, white, platelets) in microscopy photographs of 640 x 480 pixels.

    Its sides are groups: ``split: {scheme: official}`` takes ``val`` for validation.
    """

    SOURCE: ClassVar[str] = "BCCD, blood cells in 364 photographs, 3 classes, as COCO JSON, MIT"
    NAME: ClassVar[str] = "bccd"
    FILES: ClassVar[tuple[str, ...]] = ("instances_train.json", "instances_val.json", "instances_test.json")
    FOLDERS: ClassVar[tuple[str, ...]] = ("bccd",)


def formats_in(path: Path) -> dict[Format, Path]:
    """Formats of annotations that lie at a path, the first found of each, in the order in which one is preferred."""
    if path.is_file():
        return {"coco": path} if path.suffix.lower() == ".json" else {"yolo": path}
    there: dict[Format, Path] = {}
    for kind, first in (
        ("coco", next(iter(coco_files(path)), None)),
        ("voc", next((file for file in path.rglob("*.xml") if not file.name.startswith(".")), None)),
        ("yolo", _yaml(path) or next(path.rglob("labels/**/*.txt"), None) or next(path.glob("classes.txt"), None)),
    ):
        if first is not None:
            there[kind] = first  # type: ignore[index]
    return there


def _yaml(path: Path) -> Path | None:
    """YOLO's description of a set: the file itself, or the one in a folder."""
    if path.is_file():
        return path
    names = [path / "data.yaml", path / "data.yml", path / "dataset.yaml"]
    alone = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    return next((name for name in names if name.is_file()), alone[0] if len(alone) == 1 else None)


def _from_json(root: Path, files: Sequence[Path], findings: Findings, where: str) -> Found:
    """Sides from COCO's JSON files, whose names or folders say which they are."""
    sided = {file: json_side(file) if len(files) > 1 else "" for file in files}
    if len(set(sided.values())) < len(files) or (len(files) > 1 and "" in sided.values()):
        named = [str(file.relative_to(root)) for file in files]
        raise InputError(
            f"{where}: which of {few(named)} is which side cannot be told by their names; keep one for each of train, "
            "val and test, or set data.path to one of them"
        )
    names: dict[str, int] = {}
    sides: dict[str, list[Listed]] = {}
    for file, side in sided.items():
        listed = read_coco(file, names, findings, where)
        place = image_place([own.name for own in listed], file, f"{where}: {file.name}") if listed else root
        root = root if len(files) > 1 else place
        above = below(place, root)
        sides[side] = [replace(own, name=os.path.normpath(os.path.join(above, own.name))) for own in listed]  # noqa: PTH118
    return Found(root, tuple(names), sides, "COCO JSON")
