"""DSADS: nineteen daily and sports activities of eight people with five units, 25 Hz.

Source: Barshan and Yueksek, "Recognizing Daily and Sports Activities in Two Open Source Machine Learning Environments
Using Body-Worn Sensor Units", The Computer Journal 2014; UCI repository entry 256, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import counted
from overtone.data.har.members import members
from overtone.data.har.pieces import HarSource, Pieces
from overtone.data.har.rows import read_numbers

RATE = 25.0
LENGTH = 125
CHANNELS = tuple(
    f"{place}_{kind}_{axis}"
    for place in ("torso", "right_arm", "left_arm", "right_leg", "left_leg")
    for kind in ("acc", "gyro", "mag")
    for axis in "xyz"
)
CLASSES = dict(
    enumerate(
        [
            *("sitting", "standing", "lying on back", "lying on right side", "ascending stairs", "descending stairs"),
            *("standing in an elevator", "moving around in an elevator", "walking in a parking lot"),
            *("walking on a treadmill, flat", "walking on a treadmill, inclined", "running on a treadmill"),
            *("exercising on a stepper", "exercising on a cross trainer", "cycling, horizontal", "cycling, vertical"),
            *("rowing", "jumping", "playing basketball"),
        ],
        1,
    )
)


class Dsads(HarSource):
    """45 channels. A person's five minutes of an activity, given out in sixty files of 5 s, are one recording.

    Windows as published: each file, 5 s.

    Attributes:
        path: the folder ``data`` with ``a01/p1/s01.txt``, its zip, or a folder with either; else looked for in
            ``OVERTONE_DATA``.
    """

    SOURCE: ClassVar[str] = (
        "daily and sports activities with five units, Barshan and Yueksek 2014, UCI 256 (a01/p1/s01.txt)"
    )
    NAMES: ClassVar[tuple[str, ...]] = ("dsads", "daily+and+sports+activities")
    FILES: ClassVar[str] = "a01/p1/s01.txt to a19/p8/s60.txt"
    WINDOW: ClassVar[int] = LENGTH

    path: Path | None = None

    def load(self) -> Recordings:
        """Every person's activity as a recording, split where a file is missing."""
        bad = self.bad()
        found: dict[tuple[int, int], dict[int, np.ndarray]] = {}
        for member in members(self.root(self.path), r"a(\d\d)/p(\d)/s(\d\d)\.txt", self.where):
            activity, person, segment = (int(str(part)) for part in member.parts)
            blocks = list(read_numbers(member.stream, len(CHANNELS), member.name, bad, ","))
            if blocks:
                rows = np.concatenate(blocks).astype(np.float32)
                found.setdefault((activity, person), {})[segment] = rows
        if not found:
            self.none_found(self.path)
        notes, pieces = bad.notes(), Pieces(self.where, CLASSES, CHANNELS, RATE)
        cut = 0
        for (activity, person), segments in sorted(found.items()):
            number = pieces.begin(f"a{activity:02d} p{person}")
            numbers = sorted(segments)
            cut += sum(len(rows) != LENGTH for rows in segments.values())
            apart = [
                at
                for at in range(1, len(numbers))
                if numbers[at] != numbers[at - 1] + 1 or len(segments[numbers[at - 1]]) != LENGTH
            ]
            for part in np.split(np.array(numbers), apart):
                values = np.concatenate([segments[int(segment)] for segment in part])
                labels = np.full(len(values), activity, dtype=np.int64)
                pieces.add(number, f"p{person}", values, labels, (int(part[0]) - 1) * LENGTH)
        if cut:
            files = counted(cut, "file")
            notes.append(f"recordings split behind {files} with another number of rows than {LENGTH}")
        return pieces.recordings(notes)
