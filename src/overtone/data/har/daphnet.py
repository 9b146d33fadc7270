"""Daphnet: freezing of gait of ten people with Parkinson's disease, accelerations at ankle, thigh and trunk, 64 Hz.

Source: Baechlin et al., "Wearable Assistant for Parkinson's Disease Patients With the Freezing of Gait Symptom", IEEE
TITB 2010; UCI repository entry 245, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks
from overtone.data.har.members import members
from overtone.data.har.pieces import HarSource, NullClass, Pieces, codes
from overtone.data.har.rows import read_numbers

RATE = 64.0
COLUMNS = 11
CHANNELS = tuple(
    f"{place}_acc_{axis}" for place in ("ankle", "thigh", "trunk") for axis in ("forward", "vertical", "lateral")
)
OUTSIDE = {0: "not part of the experiment"}
CLASSES = {1: "no freeze", 2: "freeze"}
LONGEST_GAP = 0.1
"""Seconds; stamps are whole milliseconds, 15 or 16 apart."""


class Daphnet(HarSource):
    """Nine channels in thousandths of g; class 0, which is no part of the experiment, is cut out.

    Windows as in the article: 4 s, 0.5 s apart.

    Attributes:
        path: the folder ``dataset_fog_release``, its zip, or a folder with either; else looked for in
            ``OVERTONE_DATA``.
        null_class: ``keep`` what is no part of the experiment.
    """

    SOURCE: ClassVar[str] = "freezing of gait, Baechlin et al. 2010, UCI 245 (dataset_fog_release)"
    NAMES: ClassVar[tuple[str, ...]] = ("daphnet", "dataset_fog_release")
    FILES: ClassVar[str] = "S01R01.txt to S10R01.txt"
    WINDOW: ClassVar[str] = "4 s"
    STRIDE: ClassVar[str] = "0.5 s"

    path: Path | None = None
    null_class: NullClass = "drop"

    def load(self) -> Recordings:
        """Every file as a recording."""
        bad, clocks = self.bad(), Clocks(LONGEST_GAP)
        pieces = Pieces(self.where, (OUTSIDE if self.null_class == "keep" else {}) | CLASSES, CHANNELS, RATE)
        for member in members(self.root(self.path), r"(S\d\d)(R\d\d)\.txt", self.where):
            blocks = list(read_numbers(member.stream, COLUMNS, member.name, bad))
            if not blocks:
                continue
            person, run = (str(part) for part in member.parts)
            rows = np.concatenate(blocks)
            seconds, labels = rows[:, 0] / 1000, codes(rows[:, -1])
            number = pieces.begin(person + run)
            for stretch in clocks.follow(seconds):
                offset = max(round(float(seconds[stretch[0]] - seconds[0]) * RATE), 0)
                pieces.add(number, person, rows[stretch, 1:-1].astype(np.float32), labels[stretch], offset)
        if not pieces.names:
            self.none_found(self.path)
        return pieces.recordings([*bad.notes(), *clocks.notes()], {0: "0, not part of the experiment"})
