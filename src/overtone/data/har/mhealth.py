"""MHEALTH: twelve activities of ten people with units at chest, left ankle and right lower arm, 50 Hz.

Source: Banos et al., "mHealthDroid: a novel framework for agile development of mobile health applications", IWAAL 2014;
UCI repository entry 319, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.members import members
from overtone.data.har.pieces import HarSource, NullClass, Pieces, codes
from overtone.data.har.rows import read_numbers
from overtone.data.missing import Filling, Missing, MissingSettings

RATE = 50.0
COLUMNS = 24
CHANNELS = (
    *("chest_acc_x", "chest_acc_y", "chest_acc_z", "ecg_1", "ecg_2"),
    *(f"{place}_{kind}_{axis}" for place in ("ankle", "arm") for kind in ("acc", "gyro", "mag") for axis in "xyz"),
)
CLASSES = dict(
    enumerate(
        [
            *("standing still", "sitting and relaxing", "lying down", "walking", "climbing stairs"),
            *("waist bends forward", "frontal elevation of arms", "knees bending", "cycling", "jogging", "running"),
            "jump front and back",
        ],
        1,
    )
)


class MHealth(HarSource):
    """23 channels; the null class 0 is cut out.

    Attributes:
        path: the folder ``MHEALTHDATASET``, its zip, or a folder with either; else looked for in ``OVERTONE_DATA``.
        null_class: ``keep`` the null class.
    """

    SOURCE: ClassVar[str] = "activities with three units and ECG, Banos et al. 2014, UCI 319 (MHEALTHDATASET)"
    NAMES: ClassVar[tuple[str, ...]] = ("mhealth", "MHEALTHDATASET")
    FILES: ClassVar[str] = "mHealth_subject1.log to mHealth_subject10.log"
    WINDOW: ClassVar[str] = "2.56 s"
    STRIDE: ClassVar[str] = "1.28 s"

    path: Path | None = None
    null_class: NullClass = "drop"
    missing: Missing = MissingSettings(fill="interpolate")

    def load(self) -> Recordings:
        """Every file as a recording."""
        bad, filling = self.bad(), Filling(self.missing, CHANNELS, self.where)
        pieces = Pieces(self.where, ({0: "null"} if self.null_class == "keep" else {}) | CLASSES, CHANNELS, RATE)
        for member in members(self.root(self.path), r"mHealth_subject(\d+)\.log", self.where):
            blocks = list(read_numbers(member.stream, COLUMNS, member.name, bad, holes=True))
            if blocks:
                name = f"subject{member.parts[0]}"
                labels = codes(np.concatenate([block[:, -1] for block in blocks]))
                values = np.concatenate([block[:, :-1].astype(np.float32) for block in blocks])
                filled = filling.add(name, values, None, RATE)
                pieces.add(pieces.begin(name), str(member.parts[0]), filled.values, labels, kept=filled.kept)
        if not pieces.names:
            self.none_found(self.path)
        return pieces.recordings([*bad.notes(), *filling.notes()], {0: "0, null"})
