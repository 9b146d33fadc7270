"""New images: in files, or in a ``.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from overtone.data import (
    SOURCES,
    ImageFiles,
    Source,
    Windows,
    make_source,
)
from overtone.data.base import IMAGES
from overtone.data.boxes.sources import Boxes, BoxSource
from overtone.data.image_files import check_torchvision, check_unpacked, image_names
from overtone.errors import InputError
from overtone.files import no_file
from overtone.formats.items import Items
from overtone.header import Header
from overtone.new_data.arrays import arrays_in, labels_in
from overtone.new_data.fitting import kept_data
from overtone.new_data.given import Given
from overtone.recipe import DataSettings


def image_windows(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """Images of 0 to 255, (N, C, H, W), or images in files."""
    settings = kept_data(header)
    if settings is not None and issubclass(SOURCES.get(settings.name, Source), BoxSource):
        return _with_boxes(path, settings, header, labelled)
    if path.suffix != ".npz":
        return _image_files(path, header, labelled, where)
    x, y = arrays_in(path, "images", labelled, where)
    wanted = (len(header.channels), *header.size)
    if x.shape[1:] != wanted:
        raise InputError(f"{where}: X must be (N, {', '.join(map(str, wanted))}), images of 0 to 255; got {x.shape}")
    labels, notes = labels_in(y, len(x), header.task.task(), where)
    return Given(_of_images(x, labels, header, where, tuple(notes)), None)


def _with_boxes(path: Path, settings: DataSettings, header: Header, labelled: bool) -> Given:
    """Images scaled as in training; labelled, with boxes in any format, of the student's classes."""
    said = settings.model_dump(exclude_unset=True)
    kept = {name: said[name] for name in ("size", "max_size", "rename", "classes", "drop") if name in said}
    source = make_source(DataSettings.model_validate({**kept, "name": Boxes.NAME, "path": str(path)}))
    assert isinstance(source, Boxes)
    windows = source.load_as(header.task.task().names) if labelled else source.load_unlabelled()
    return Given(windows, windows.recordings)


def _image_files(path: Path, header: Header, labelled: bool, where: str) -> Given:
    """An image, or all below a folder; the folder that an image lies in names its class."""
    channels, (height, width) = len(header.channels), header.size
    if channels != 3 or height != width:
        raise InputError(
            f"{where}: this student takes images of {height} x {width} pixels and {channels} channels; give a .npz "
            "with X (N, C, H, W)"
        )
    if not path.exists():
        raise InputError(f"{where} {no_file(path)}")
    check_torchvision(where)
    folder, names = (path, image_names(path, where)) if path.is_dir() else (path.parent, [path.name])
    if not names or path.is_file():
        check_unpacked(path, where, "then give the folder that it leaves")
    if not names:
        raise InputError(
            f"{where}: there is no image; this student takes an image, a folder of them, or a .npz with X (N, C, H, W)"
        )
    y: npt.NDArray[Any] = np.zeros(len(names), dtype=np.int64)
    if labelled:
        names, labels = _chosen(names, [(folder / name).parent.name for name in names], header, where)
        y = header.task.task().targets_of(np.asarray(labels), where)[0]
    return Given(_of_images(ImageFiles(folder, names, height, where), y, header, where, ()), tuple(names))


def _chosen(names: list[str], labels: list[str], header: Header, where: str) -> tuple[list[str], list[str]]:
    """Images and their labels, renamed as in training, without those of classes that were left out there."""
    settings = kept_data(header)
    if settings is None:
        return names, labels
    labels = [settings.rename.get(label, label) for label in labels]
    only = header.task.task().names if isinstance(settings.classes, list) else None
    rows = [n for n, own in enumerate(labels) if own not in settings.drop and (only is None or own in only)]
    if not rows:
        raise InputError(f"{where}: no image is of the student's classes, {', '.join(header.task.task().names)}")
    return [names[row] for row in rows], [labels[row] for row in rows]


def _of_images(
    x: Items | ImageFiles, y: npt.NDArray[Any], header: Header, where: str, notes: tuple[str, ...]
) -> Windows:
    zeros, numbers = np.zeros(len(x), dtype=np.int64), np.arange(len(x))
    return Windows(
        x=cast(Any, x),
        y=y,
        group=zeros,
        recording=numbers,
        start=zeros,
        groups=("-",),
        classes=(),
        channels=header.channels,
        rate=None,
        where=where,
        stride=1,
        notes=notes,
        material=IMAGES,
    )
