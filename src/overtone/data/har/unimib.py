"""UniMiB SHAR: nine daily activities and eight kinds of falls of 30 people with a phone in the pocket, 50 Hz.

Source: Micucci, Mobilio and Napoletano, "UniMiB SHAR: A Dataset for Human Activity Recognition Using Acceleration Data
from Smartphones", Applied Sciences 2017; given out by its authors, to be cited so.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.members import Member, members
from overtone.data.har.pieces import HarSource
from overtone.errors import InputError
from overtone.formats.mat_file import read_mat

RATE = 50.0
LENGTH, EARLY = 151, 51
"""Samples of a window; those of the set's first edition, which has an axis a row instead of three in a row."""
DAILY = (
    *("StandingUpFS", "StandingUpFL", "Walking", "Running", "GoingUpS", "Jumping", "GoingDownS", "LyingDownFS"),
    "SittingDown",
)
FALLS = (
    *("FallingForw", "FallingRight", "FallingBack", "HittingObstacle", "FallingWithPS", "FallingBackSC", "Syncope"),
    "FallingLeft",
)
CLASSES = {"acc": DAILY + FALLS, "adl": DAILY, "fall": FALLS}


class UniMib(HarSource):
    """Windows of three channels in m/s^2, each cut by the set's authors around a peak; they can overlap.

    Attributes:
        path: the folder ``UniMiB-SHAR`` or ``data`` with ``acc_data.mat``, its zip, or a folder with either; else
            looked for in ``OVERTONE_DATA``.
        part: ``acc``, all 17 classes; ``adl``, the nine of daily life; ``fall``, the eight kinds of falls.
    """

    SOURCE: ClassVar[str] = "phone in the pocket, activities and falls, Micucci et al. 2017 (UniMiB-SHAR)"
    NAMES: ClassVar[tuple[str, ...]] = ("unimib", "UniMiB-SHAR")
    FILES: ClassVar[str] = "data/acc_data.mat and data/acc_labels.mat"

    path: Path | None = None
    part: Literal["acc", "adl", "fall"] = "acc"

    def load(self) -> Recordings:
        """Every window as a recording of its own."""
        root, found = self.root(self.path), dict[str, Any]()
        for member in members(root, rf"{self.part}_(data|labels)\.mat", self.where):
            what = str(member.parts[0]).lower()
            found[what] = _table(member, f"{self.part}_{what}", f"{self.where}: {member.name}")
        if not found:
            self.none_found(self.path)
        for what in ("data", "labels"):
            if what not in found:
                raise InputError(f"{self.where}: {root} lacks {self.part}_{what}.mat")
        windows, labels = self._shaped(found["data"], found["labels"])
        classes = CLASSES[self.part]
        if not np.isin(labels[:, 0], np.arange(1, len(classes) + 1)).all():
            raise InputError(f"{self.where}: {self.part}_labels.mat must hold classes 1 to {len(classes)}")
        return Recordings(
            signals=list(windows),
            labels=labels[:, 0] - 1,
            groups=[str(person) for person in labels[:, 1]],
            classes=classes,
            channels=("acc_x", "acc_y", "acc_z"),
            rate=RATE,
            where=self.where,
        )

    def _shaped(self, data: Any, labels: Any) -> tuple[Any, Any]:
        """Windows (N, 3, T) and labels (N, 2 or 3) of either edition."""
        if data.shape[1] == 3 * LENGTH and len(labels) == len(data):
            return data.reshape(-1, 3, LENGTH).astype(np.float32), labels.astype(np.int64)
        if data.shape[1] == EARLY and len(labels) == len(data) and len(data) % 3 == 0:
            return data.reshape(-1, 3, EARLY).astype(np.float32), labels[::3].astype(np.int64)
        raise InputError(
            f"{self.where}: {self.part}_data.mat must hold (windows, {3 * LENGTH}) numbers with a row of labels each, "
            f"got {data.shape} and labels {labels.shape}"
        )


def _table(member: Member, name: str, where: str) -> Any:
    """A table of finite numbers out of a ``.mat`` file, which may lie in a zip."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table.mat")
        with file.open("wb") as copy:
            shutil.copyfileobj(member.stream, copy)
        table = read_mat(file, [name], where)[name]
    if (
        not isinstance(table, np.ndarray)
        or table.ndim != 2
        or table.dtype.kind not in "iuf"
        or not np.isfinite(table).all()
    ):
        raise InputError(f"{where}: {name!r} must be a table of finite numbers")
    return table
