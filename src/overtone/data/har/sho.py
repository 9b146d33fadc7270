"""SHO: seven activities of ten people with five phones on the body, 50 Hz.

Source: Shoaib et al., "Fusion of Smartphone Motion Sensors for Physical Activity Recognition", Sensors 2014; given out
by the University of Twente, to be cited so.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import counted, runs
from overtone.data.har.members import members
from overtone.data.har.pieces import NO_LABEL, HarSource, Pieces
from overtone.data.har.rows import read_fields
from overtone.data.missing import Filling, Missing, MissingSettings

RATE = 50.0
PLACES = ("left_pocket", "right_pocket", "wrist", "upper_arm", "belt")
SENSORS = ("acc", "linear_acc", "gyro", "mag")
CHANNELS = tuple(f"{place}_{sensor}_{axis}" for place in PLACES for sensor in SENSORS for axis in "xyz")
ACTIVITIES = ("walking", "standing", "jogging", "sitting", "biking", "upstairs", "downstairs")
MISSPELT = {"upsatirs": "upstairs"}
"""As it stands in some of the files."""
FIELDS = [
    field
    for place in PLACES
    for field in [
        (f"{place}_time", "S16"),  # written as 1.39E+12, which tells no sample from the next
        *((channel, "f4") for channel in CHANNELS if channel.startswith(f"{place}_")),
        (f"{place}_blank", "S16"),
    ]
]
"""70 columns; the last, behind the fifth place, holds the activity."""


class Sho(HarSource):
    """60 channels: acceleration, the same without gravity, gyroscope and magnetometer of five places.

    Attributes:
        path: the folder ``DataSet`` that the set's ``.rar`` unpacks to, or one above it; else looked for in
            ``OVERTONE_DATA``.
    """

    SOURCE: ClassVar[str] = "five phones on the body, Shoaib et al. 2014 (DataSet/Participant_1.csv)"
    NAMES: ClassVar[tuple[str, ...]] = ("sho", "sensors-activity-recognition-dataset-shoaib")
    FILES: ClassVar[str] = "Participant_1.csv to Participant_10.csv, which its .rar unpacks to"
    WINDOW: ClassVar[str] = "2.56 s"
    STRIDE: ClassVar[str] = "1.28 s"

    path: Path | None = None
    missing: Missing = MissingSettings(fill="interpolate")

    def load(self) -> Recordings:
        """Every file as a recording, split where the activity changes."""
        bad, filling = self.bad(), Filling(self.missing, CHANNELS, self.where)
        pieces = Pieces(self.where, dict(enumerate(ACTIVITIES)), CHANNELS, RATE)
        strange: dict[str, int] = {}
        for member in members(self.root(self.path), r"Participant_(\d+)\.csv", self.where):
            blocks = list(read_fields(member.stream, FIELDS, member.name, bad, ",", header=2, holes=True))
            if not blocks:
                continue
            rows, name = np.concatenate(blocks), f"Participant_{member.parts[0]}"
            labels = _labels(rows[FIELDS[-1][0]], strange)
            values = np.stack([rows[channel] for channel in CHANNELS], axis=1)
            number = pieces.begin(name)
            for run in runs(labels):  # activities were recorded one by one, and stand one below the other
                filled = filling.add(f"{name} from row {run.start + 1}", values[run], None, RATE)
                pieces.add(number, str(member.parts[0]), filled.values, labels[run], run.start, filled.kept)
        if not pieces.names:
            self.none_found(self.path)
        notes = [
            f"{counted(count)} labelled {name!r}, "
            + (f"read as {MISSPELT[name]!r}" if name in MISSPELT else "no activity")
            for name, count in sorted(strange.items())
        ]
        return pieces.recordings([*bad.notes(), *filling.notes(), *notes])


def _labels(column: np.ndarray, strange: dict[str, int]) -> np.ndarray:
    """Class numbers (T,); names that are none of the set's are counted."""
    written, number = np.unique(column, return_inverse=True)
    codes = np.full(len(written), NO_LABEL)
    for at, text in enumerate(written):
        name = text.decode("latin-1").strip().lower()
        if name not in ACTIVITIES:
            strange[name] = strange.get(name, 0) + int((number == at).sum())
        name = MISSPELT.get(name, name)
        codes[at] = ACTIVITIES.index(name) if name in ACTIVITIES else NO_LABEL
    return codes[number]
