"""UCI-HAR as it is published: ``UCI HAR Dataset/`` with ``train/Inertial Signals/body_acc_x_train.txt`` and so on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from overtone.data.har.members import members
from overtone.data.har.rows import BadRows, read_numbers
from overtone.errors import InputError

CHANNELS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
CLASSES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
"""As the set's ``activity_labels.txt`` numbers them, from 1."""
LENGTH = 128
PATTERN = (
    r"(train|test)/(?:Inertial Signals/)?"
    r"((?:body_acc|body_gyro|total_acc)_[xyz]|y|subject)_(?:train|test)\.txt"
)
SIDES = ("train", "test")


def read_text(root: Path, where: str) -> dict[str, Any] | None:
    """The arrays that ``uci_har.npz`` holds, from the set's own folder or zip; None where its files are not there.

    Raises:
        InputError: for a set that is not whole.
    """
    bad = BadRows("refuse", where)
    found: dict[tuple[str, str], Any] = {}
    for member in members(root, PATTERN, where):
        side, what = (str(part).lower() for part in member.parts)
        columns = LENGTH if what in CHANNELS else 1
        blocks = list(read_numbers(member.stream, columns, member.name, bad))
        found[side, what] = np.concatenate(blocks or [np.empty((0, columns))])
    if not found:
        return None
    bad.notes()
    lacking = [f"{what}_{side}.txt" for side, what in _files() if (side, what) not in found]
    if lacking:
        raise InputError(f"{where}: {root} lacks {', '.join(lacking[:4])}{' and more' if len(lacking) > 4 else ''}")
    arrays: dict[str, Any] = {"channels": CHANNELS, "classes": CLASSES}
    for side in SIDES:
        counts = {what: len(found[side, what]) for _, what in _files() if (side, what) in found}
        if len(set(counts.values())) > 1:
            raise InputError(f"{where}: the files of the {side} side differ in length: {counts}")
        signals = [found[side, channel].astype(np.float32) for channel in CHANNELS]
        arrays[f"X_{side}"] = np.stack(signals, axis=1)  # (N, C, T)
        labels, people = found[side, "y"][:, 0], found[side, "subject"][:, 0]
        if not np.isin(labels, np.arange(1, len(CLASSES) + 1)).all() or not np.isfinite(people).all():
            raise InputError(f"{where}: y_{side}.txt must hold 1 to {len(CLASSES)}, subject_{side}.txt whole numbers")
        arrays[f"y_{side}"], arrays[f"subject_{side}"] = labels.astype(np.int64) - 1, people.astype(np.int64)
    return arrays


def _files() -> Iterator[tuple[str, str]]:
    for side in SIDES:
        for what in (*CHANNELS, "y", "subject"):
            yield side, what
