"""Real recordings in: sources, windows, splits, standardisation. One small file per source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overtone import tasks
from overtone.data.aeon import Aeon
from overtone.data.base import Material, Recordings, Source, Windows
from overtone.data.boxes.sources import Bccd, Boxes, Coco
from overtone.data.cifar import Cifar10, Cifar100
from overtone.data.classes import Choice, choose, choose_images, one_writing
from overtone.data.csv import Csv, Folder
from overtone.data.har.daphnet import Daphnet
from overtone.data.har.dsads import Dsads
from overtone.data.har.hhar import Hhar
from overtone.data.har.mhealth import MHealth
from overtone.data.har.opportunity import Opportunity
from overtone.data.har.pamap2 import Pamap2
from overtone.data.har.realworld import RealWorld
from overtone.data.har.sho import Sho
from overtone.data.har.unimib import UniMib
from overtone.data.har.wisdm import Wisdm
from overtone.data.har.wisdm2019 import Wisdm2019
from overtone.data.image_files import ImageFiles
from overtone.data.image_folder import ImageFolder, ImageNet
from overtone.data.mat import Mat
from overtone.data.npz import Npz
from overtone.data.parts import padded, without_missing
from overtone.data.sp_sw_har import SpSwHar
from overtone.data.split import Fold, check_learnable, check_sides, fold_numbers, leaks, split
from overtone.data.standardise import Standardiser
from overtone.data.ts import Ts
from overtone.data.uci_har import UciHar
from overtone.data.watch import Watch
from overtone.data.windows import cut
from overtone.errors import InputError, nearest, told
from overtone.lookup import import_class
from overtone.recipe import DataSettings, validation_message

SOURCES: dict[str, type[Source]] = {
    "watch": Watch,
    "npz": Npz,
    "mat": Mat,
    "csv": Csv,
    "folder": Folder,
    "uci_har": UciHar,
    "sp_sw_har": SpSwHar,
    "pamap2": Pamap2,
    "mhealth": MHealth,
    "wisdm": Wisdm,
    "wisdm2019": Wisdm2019,
    "daphnet": Daphnet,
    "opportunity": Opportunity,
    "dsads": Dsads,
    "unimib": UniMib,
    "sho": Sho,
    "hhar": Hhar,
    "realworld": RealWorld,
    "aeon": Aeon,
    "ts": Ts,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "imagefolder": ImageFolder,
    "imagenet": ImageNet,
    "boxes": Boxes,
    "coco": Coco,
    "bccd": Bccd,
}


FOR_ALL = ("pad", "rename", "classes", "drop")
"""Settings of every source's data; a source that has one of these names itself gets it instead."""


def make_source(settings: DataSettings) -> Source:
    """The source that a recipe's ``data`` names, with its settings.

    Raises:
        InputError: for an unknown source or setting.
    """
    name, colon, of = settings.name.partition(":")
    aeon = bool(colon) and name == "aeon"
    if colon and not aeon:
        kind: type[Source] = import_class(settings.name, Source, "data")
    elif name in SOURCES:
        kind = SOURCES[name]
    else:
        raise InputError(f"unknown data {name!r}; {nearest(name, [*SOURCES, 'package.module:Class'])}")
    its = {key: getattr(settings, key) for key in _own(kind, settings)}
    try:
        return kind.model_validate({**settings.settings, **its, **({"set": of} if aeon else {})})
    except ValidationError as error:
        raise InputError(validation_message(error, kind, "data")) from error


def _own(kind: type[Source], settings: DataSettings) -> list[str]:
    """Which of the settings for all sources this one gets itself; not classes by name that are renamed first."""
    own = [key for key in FOR_ALL if key in kind.model_fields and key in settings.model_fields_set]
    renamed = settings.rename and "rename" not in kind.model_fields and isinstance(settings.classes, list)
    return [key for key in own if not (key == "classes" and renamed)]


def remembered(settings: DataSettings) -> dict[str, Any]:
    """A recipe's ``data`` as a student file keeps it, to read other data the same way: without places on disk."""
    source = make_source(settings)
    places = {name for name, value in source if isinstance(value, Path)}
    places |= {name for name, value in settings.settings.items() if isinstance(value, str) and _on_disk(value)}
    written = settings.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in written.items() if name not in places}


def _on_disk(value: str) -> bool:
    """Whether a setting of somebody's own source names a file or folder."""
    try:
        return "/" in value and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a path, or no path at all
        return False


def load(settings: DataSettings) -> Windows:
    """The windows that a recipe's ``data`` describes.

    Raises:
        InputError: for an unknown source or setting, or data that cannot be used.
    """
    source = make_source(settings)
    try:
        windows = _windows(source, settings)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"data {settings.name!r} do not fit into memory: {error}") from error
    except Exception as error:  # files that are not what their names say can fail in any way
        raise InputError(f"data {settings.name!r} cannot be used: {told(error)}") from error
    check_learnable(windows)
    return windows


def _windows(source: Source, settings: DataSettings) -> Windows:
    task = type(source).TASK if settings.task is None else tasks.make(settings.task)
    loaded = source.load()
    if isinstance(loaded, Windows):
        _check_of_images(source, settings)
        return task.take(choose_images(loaded, _choice(source, settings)))
    recordings = prepared(loaded, source, settings)
    task, recordings = task.labelled(recordings, settings.target)
    own_window, own_stride = source.cutting()
    window = settings.window if settings.window is not None else own_window
    stride = settings.stride if settings.stride is not None else (own_stride if settings.window is None else None)
    return replace(task.take(cut(recordings, window, stride, task)), material=source.material)


def prepared(recordings: Recordings, source: Source, settings: DataSettings) -> Recordings:
    """What a source has loaded with all done to it that comes before windows: missing values, classes, lengths.

    What the source has done itself is not done again.

    Raises:
        InputError: for recordings that cannot be cut into windows, or classes that are not there.
    """
    task = type(source).TASK if settings.task is None else tasks.make(settings.task)
    recordings = without_missing(recordings, source.missing)
    if task.ONE_CLASS:
        recordings = one_writing(recordings)
    choice = _choice(source, settings)
    if choice.asked or task.ONE_CLASS:
        recordings = choose(recordings, choice)
    recordings.check()
    return padded(recordings) if pads(source, settings) else recordings


def pads(source: Source, settings: DataSettings) -> bool:
    """Whether recordings are used whole and padded to one length, which the source does not do itself."""
    kind = type(source)
    pad = kind.PAD if settings.pad is None else settings.pad
    whole = settings.window is None and source.cutting()[0] is None
    return pad and whole and "pad" not in _own(kind, settings)


def _choice(source: Source, settings: DataSettings) -> Choice:
    """Which classes are chosen here, and not by the source itself.

    Raises:
        InputError: for a number of classes where the source takes none, or both those wanted and those not.
    """
    own = _own(type(source), settings)
    classes = None if "classes" in own else settings.classes
    if classes is not None and settings.drop and "drop" not in own:
        raise InputError("data.classes are those wanted, data.drop those not; give one of them")
    if isinstance(classes, int):
        raise InputError(f"data.classes: {settings.name!r} takes a list of classes' names, got {classes}")
    return Choice({} if "rename" in own else settings.rename, classes, [] if "drop" in own else settings.drop)


def _check_of_images(source: Source, settings: DataSettings) -> None:
    if settings.target:
        raise InputError("data.target names channels of recordings; this data holds images")
    if settings.window is not None or settings.stride is not None:
        raise InputError(f"data {settings.name!r} holds images, which have no window or stride")
    if settings.pad is not None and "pad" not in type(source).model_fields:
        raise InputError(f"data {settings.name!r} holds images, which are not padded; leave data.pad out")
    if source.missing.fill != "refuse":
        raise InputError(f"data {settings.name!r} holds images, which have no missing values; leave data.missing out")


__all__ = [
    "SOURCES",
    "Csv",
    "Fold",
    "Folder",
    "ImageFiles",
    "Material",
    "Recordings",
    "Source",
    "Standardiser",
    "Windows",
    "check_learnable",
    "check_sides",
    "cut",
    "fold_numbers",
    "leaks",
    "load",
    "make_source",
    "pads",
    "prepared",
    "remembered",
    "split",
]
