"""New data as a student was trained on them: its settings, channels and targets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from overtone.data import (
    Recordings,
    Source,
    make_source,
    pads,
    prepared,
)
from overtone.data.parts import padded
from overtone.errors import InputError, nearest
from overtone.formats.clock import UNEVEN
from overtone.header import Header
from overtone.recipe import DataSettings, validation_message

NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")


def kept_data(header: Header) -> DataSettings | None:
    """The training's data, without its place.

    Raises:
        InputError: where the header holds no such settings.
    """
    try:
        return None if header.data is None else DataSettings.model_validate(header.data)
    except ValidationError as error:
        raise InputError(validation_message(error, DataSettings, "the student's header: data")) from error


def source_at(settings: DataSettings, path: Path, where: str) -> Source:
    """The training's source, which reads another place and nothing beside it.

    Raises:
        InputError: for settings that are none, or a header that names places on disk.
    """
    source = make_source(DataSettings.model_validate({**settings.model_dump(exclude_unset=True), "path": str(path)}))
    others = [name for name, value in source if isinstance(value, Path) and name != "path"]
    if others:
        raise InputError(f"{where}: the student's header names a place on disk (data.{others[0]}), which is not read")
    return source


def for_student(
    recordings: Recordings, source: Source, settings: DataSettings, header: Header, labelled: bool, where: str
) -> Recordings:
    """The recordings with the student's channels, in its order, and its targets.

    Raises:
        InputError: for a channel, a label or a rate that does not fit the student.
    """
    recordings = prepared(recordings, source, _choices(settings, recordings, labelled))
    if pads(source, settings):
        recordings = padded(recordings, header.size[0])
    task = header.task.task()
    if labelled and settings.target:
        task, recordings = task.labelled(recordings, settings.target)
    missing = [name for name in header.channels if name not in recordings.channels]
    if missing:
        raise InputError(f"{where}: there is no channel {missing[0]!r}; {nearest(missing[0], recordings.channels)}")
    if header.rate and recordings.rate and abs(recordings.rate / header.rate - 1) > UNEVEN:
        raise InputError(f"{where}: has {recordings.rate:g} Hz, the student was trained at {header.rate:g} Hz")
    rows = [recordings.channels.index(name) for name in header.channels]
    same = rows == list(range(len(recordings.channels)))
    labels: Any = recordings.labels
    if not labelled:
        labels = [np.broadcast_to(np.int64(0), (signal.shape[1],)) for signal in recordings.signals]
    elif recordings.classes:
        targets = task.targets_of(np.asarray(_alike(recordings.classes, task.names)), where)[0]
        labels = [targets[own] for own in recordings.labels]
    return replace(
        recordings,
        signals=recordings.signals if same else [signal[rows] for signal in recordings.signals],
        labels=labels,
        classes=(),
        channels=header.channels,
    )


def _choices(settings: DataSettings, recordings: Recordings, labelled: bool) -> DataSettings:
    """The training's choice of classes, as far as they occur: a file need not have all. Nothing is padded."""
    changes: dict[str, Any] = {"rename": {}, "classes": None, "drop": [], "pad": False}
    if labelled and recordings.classes:
        names = set(recordings.classes)
        changes["rename"] = {old: new for old, new in settings.rename.items() if old in names}
        names = {settings.rename.get(name, name) for name in names}
        changes["drop"] = [name for name in settings.drop if name in names]
        if isinstance(settings.classes, list):
            changes["classes"] = [name for name in settings.classes if name in names] or settings.classes
    return settings.model_copy(update=changes)


def _alike(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Labels as the student writes them: 1.0 is its class 1."""
    numbers = {float(name): name for name in classes if NUMBER.fullmatch(name)}
    return [numbers.get(float(label), label) if NUMBER.fullmatch(label) else label for label in labels]
