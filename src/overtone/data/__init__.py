"""Real recordings in: sources, windows, splits, standardisation. One small file per source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overtone import tasks
from overtone.data.aeon import Aeon
from overtone.data.base import Material, Recordings, Source, Windows
from overtone.data.cifar import Cifar10, Cifar100
from overtone.data.csv import Csv, Folder
from overtone.data.image_files import ImageFiles
from overtone.data.image_folder import ImageFolder, ImageNet
from overtone.data.npz import Npz
from overtone.data.sp_sw_har import SpSwHar
from overtone.data.split import Fold, check_learnable, check_sides, fold_numbers, leaks, split
from overtone.data.standardise import Standardiser
from overtone.data.uci_har import UciHar
from overtone.data.watch import Watch
from overtone.data.windows import cut
from overtone.errors import InputError, nearest, told
from overtone.lookup import import_class
from overtone.recipe import DataSettings, validation_message

SOURCES: dict[str, type[Source]] = {
    "watch": Watch,
    "npz": Npz,
    "csv": Csv,
    "folder": Folder,
    "uci_har": UciHar,
    "sp_sw_har": SpSwHar,
    "aeon": Aeon,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "imagefolder": ImageFolder,
    "imagenet": ImageNet,
}


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
    try:
        return kind.model_validate({**settings.settings, **({"set": of} if aeon else {})})
    except ValidationError as error:
        raise InputError(validation_message(error, kind, "data")) from error


def remembered(settings: DataSettings) -> dict[str, Any]:
    """A recipe's ``data`` as a student file keeps it, to read other data the same way: without places on disk."""
    source = make_source(settings)
    places = {name for name, value in source if isinstance(value, Path)}
    return {
        name: value
        for name, value in settings.model_dump(mode="json", exclude_unset=True).items()
        if name not in places
    }


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
    recordings = source.load()
    if isinstance(recordings, Windows):
        if settings.target:
            raise InputError("data.target names channels of recordings; this data holds images")
        if settings.window is not None or settings.stride is not None:
            raise InputError(f"data {settings.name!r} holds images, which have no window or stride")
        return task.take(recordings)
    recordings.check()
    task, recordings = task.labelled(recordings, settings.target)
    kind = type(source)
    window = settings.window if settings.window is not None else kind.WINDOW
    stride = settings.stride if settings.stride is not None else (kind.STRIDE if settings.window is None else None)
    return replace(task.take(cut(recordings, window, stride, task)), material=kind.MATERIAL)


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
    "remembered",
    "split",
]
