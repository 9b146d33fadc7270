"""WISDM 2011: six activities of 36 people with a phone in the front pocket of the trousers, accelerations at 20 Hz.

Source: Kwapisz, Weiss and Moore, "Activity Recognition using Cell Phone Accelerometers", SIGKDD Explorations 2011; the
WISDM lab's activity prediction set v1.1, to be cited so.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks, runs
from overtone.data.har.members import members
from overtone.data.har.pieces import NO_LABEL, HarSource, Pieces, codes
from overtone.data.har.rows import BadRowsPolicy, read_fields
from overtone.data.missing import Filling, Missing, MissingSettings

RATE = 20.0
CHANNELS = ("acc_x", "acc_y", "acc_z")
FIELDS = [("person", "f8"), ("activity", "S16"), ("time", "f8"), ("x", "f4"), ("y", "f4"), ("z", "f4")]
ACTIVITIES = (b"Walking", b"Jogging", b"Upstairs", b"Downstairs", b"Sitting", b"Standing")
CLASSES = {number: name.decode() for number, name in enumerate(ACTIVITIES)}
LONGEST_GAP = 0.5
"""Seconds, ten samples; stamps inside a recording are mostly 30 to 110 ms apart."""


class Wisdm(HarSource):
    """Three channels in m/s^2. The set's damaged rows are left out, unless ``bad_rows: refuse``.

    Samples are taken as evenly spaced, as published comparisons do: time stamps were written when a sample was
    delivered. Where they go back or leave a gap, recordings are split. Windows as in the article: 10 s without
    overlap.

    Attributes:
        path: ``WISDM_ar_v1.1_raw.txt``, a folder or zip with it; else looked for in ``OVERTONE_DATA``.
    """

    SOURCE: ClassVar[str] = "phone in the pocket, Kwapisz et al. 2011 (WISDM_ar_v1.1_raw.txt)"
    NAMES: ClassVar[tuple[str, ...]] = ("wisdm", "WISDM_ar_v1.1")
    FILES: ClassVar[str] = "WISDM_ar_v1.1_raw.txt"
    WINDOW: ClassVar[str] = "10 s"

    path: Path | None = None
    bad_rows: BadRowsPolicy = "drop"
    missing: Missing = MissingSettings(fill="drop")

    def load(self) -> Recordings:
        """Every run of rows of one person and activity as a recording."""
        bad, clocks, filling = self.bad(), Clocks(LONGEST_GAP), Filling(self.missing, CHANNELS, self.where)
        pieces = Pieces(self.where, CLASSES, CHANNELS, RATE)
        blocks = []
        for member in members(self.root(self.path), r"(WISDM_ar_v1\.1_raw)\.txt", self.where):
            blocks += list(read_fields(member.stream, FIELDS, member.name, bad, ",", semicolons=True))
        if not blocks:
            self.none_found(self.path)
        rows = np.concatenate(blocks)
        people, labels = codes(rows["person"]), np.full(len(rows), NO_LABEL)
        for number, activity in enumerate(ACTIVITIES):
            labels[rows["activity"] == activity] = number
        labels[people == NO_LABEL] = NO_LABEL
        values = np.stack([rows[axis] for axis in "xyz"], axis=1)
        for run in runs(people, labels):
            recording = pieces.begin(
                f"{people[run][0]} {CLASSES.get(int(labels[run][0]), 'none')} from row {run.start + 1}"
            )
            seconds = rows["time"][run] / 1e9
            for stretch in clocks.follow(seconds):
                at = run.start + stretch
                offset = int(stretch[0])
                filled = filling.add(pieces.names[recording], values[at], seconds[stretch], RATE)
                pieces.add(recording, str(people[run][0]), filled.values, labels[at], offset, filled.kept)
        return pieces.recordings([*bad.notes(), *filling.notes(), *clocks.notes()])
