"""Opportunity: four people's mornings in a kitchen, with units on the body, 30 Hz; locomotion or gestures.

Source: Roggen et al., "Collecting complex activity datasets in highly rich networked sensor environments", INSS 2010;
UCI repository entry 226, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks
from overtone.data.har.members import members
from overtone.data.har.pieces import HarSource, NullClass, Pieces, codes
from overtone.data.har.rows import read_numbers
from overtone.data.missing import Filling, Missing, MissingSettings

RATE = 30.0
COLUMNS = 250
PLACES = ("RKN^", "HIP", "LUA^", "RUA_", "LH", "BACK", "RKN_", "RWR", "RUA^", "LUA_", "LWR", "RH")
UNITS = ("BACK", "RUA", "RLA", "LUA", "LLA")
UNIT_WIDTH = 13
"""Acceleration, gyroscope and magnetometer, then a quaternion, which comparisons leave out."""
SHOE = (
    *("EuX", "EuY", "EuZ", "Nav_Ax", "Nav_Ay", "Nav_Az", "Body_Ax", "Body_Ay", "Body_Az"),
    *(f"AngVel{frame}Frame{axis}" for frame in ("Body", "Nav") for axis in "XYZ"),
    "Compass",
)
WIRELESS = {1 + 3 * n + a: f"acc_{place}_{axis}" for n, place in enumerate(PLACES) for a, axis in enumerate("xyz")}
"""Columns from 0 and channels: twelve accelerometers, whose radio loses many samples."""
WIRED = {
    **{
        37 + UNIT_WIDTH * n + 3 * k + a: f"{unit}_{kind}_{axis}"
        for n, unit in enumerate(UNITS)
        for k, kind in enumerate(("acc", "gyro", "mag"))
        for a, axis in enumerate("xyz")
    },
    **{
        102 + len(SHOE) * n + c: f"{shoe}_{name}"
        for n, shoe in enumerate(("L-SHOE", "R-SHOE"))
        for c, name in enumerate(SHOE)
    },
}
"""The jacket's five units and the shoes."""
LOCOMOTION = {1: "stand", 2: "walk", 4: "sit", 5: "lie"}
GESTURES = {
    406516: "open door 1",
    406517: "open door 2",
    404516: "close door 1",
    404517: "close door 2",
    406520: "open fridge",
    404520: "close fridge",
    406505: "open dishwasher",
    404505: "close dishwasher",
    406519: "open drawer 1",
    404519: "close drawer 1",
    406511: "open drawer 2",
    404511: "close drawer 2",
    406508: "open drawer 3",
    404508: "close drawer 3",
    408512: "clean table",
    407521: "drink from cup",
    405506: "toggle switch",
}
LABEL_COLUMNS = {"locomotion": 243, "gestures": 249}
LONGEST_GAP = 0.2
"""Seconds, six samples; stamps are whole milliseconds."""


class Opportunity(HarSource):
    """77 channels of the wired units, or 113 with the wireless accelerometers, as in the set's challenge.

    Lost samples are interpolated over one second at most, longer stretches cut out; so the wireless accelerometers cost
    much of the recordings. Windows as in published comparisons: 24 samples, half overlapping.

    Attributes:
        path: the folder ``OpportunityUCIDataset``, its zip, or a folder with either; else looked for in
            ``OVERTONE_DATA``.
        labels: of locomotion or of gestures.
        null_class: ``drop`` or ``keep``; unless given that of locomotion is dropped and that of gestures kept, as
            comparisons do.
        channels: ``wired`` or ``all``.
    """

    SOURCE: ClassVar[str] = "locomotion and gestures in a kitchen, Roggen et al. 2010, UCI 226 (OpportunityUCIDataset)"
    NAMES: ClassVar[tuple[str, ...]] = ("opportunity", "OpportunityUCIDataset")
    FILES: ClassVar[str] = "S1-ADL1.dat to S4-Drill.dat"
    WINDOW: ClassVar[int] = 24
    STRIDE: ClassVar[int] = 12

    path: Path | None = None
    missing: Missing = MissingSettings(fill="interpolate")
    null_class: NullClass | None = None
    labels: Literal["locomotion", "gestures"] = "locomotion"
    channels: Literal["wired", "all"] = "wired"

    def load(self) -> Recordings:
        """Every file as a recording."""
        taken = WIRELESS | WIRED if self.channels == "all" else WIRED
        names = tuple(taken.values())
        named = LOCOMOTION if self.labels == "locomotion" else GESTURES
        kept = self.null_class == "keep" or (self.null_class is None and self.labels == "gestures")
        classes = ({0: "null"} if kept else {}) | named
        bad, clocks, filling = self.bad(), Clocks(LONGEST_GAP), Filling(self.missing, names, self.where)
        pieces = Pieces(self.where, classes, names, RATE)
        for member in members(self.root(self.path), r"(S\d)-(ADL\d|Drill)\.dat", self.where):
            times, labels, values = [], [], []
            for block in read_numbers(member.stream, COLUMNS, member.name, bad):
                times.append(block[:, 0] / 1000)
                labels.append(codes(block[:, LABEL_COLUMNS[self.labels]]))
                values.append(block[:, list(taken)].astype(np.float32))
            if not times:
                continue
            person, run = (str(part) for part in member.parts)
            seconds, own, held = np.concatenate(times), np.concatenate(labels), np.concatenate(values)
            number = pieces.begin(f"{person}-{run}")
            for stretch in clocks.follow(seconds):
                filled = filling.add(f"{person}-{run}", held[stretch], seconds[stretch], RATE)
                offset = max(round(float(seconds[stretch[0]] - seconds[0]) * RATE), 0)
                pieces.add(number, person, filled.values, own[stretch], offset, filled.kept)
        if not pieces.names:
            self.none_found(self.path)
        return pieces.recordings([*bad.notes(), *clocks.notes(), *filling.notes()], {0: "0, null"})
