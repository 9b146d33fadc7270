"""PAMAP2: eighteen activities of nine people with a heart rate belt and three inertial units, 100 Hz.

Source: Reiss and Stricker, "Introducing a New Dataset for Physical Activity Monitoring", ISWC 2012; UCI repository
entry 231, CC BY 4.0 there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks
from overtone.data.har.members import members
from overtone.data.har.pieces import HarSource, NullClass, Pieces, codes
from overtone.data.har.rows import BadRows, read_numbers
from overtone.data.missing import Filling, Missing, MissingSettings

Floats = npt.NDArray[np.float64]
RATE = 100.0
COLUMNS = 54
UNITS = ("hand", "chest", "ankle")
UNIT_WIDTH, UNIT_FIRST = 17, 3
UNIT = ("temp", *(f"{kind}_{axis}" for kind in ("acc16", "acc6", "gyro", "mag") for axis in "xyz"))
"""Of a unit's 17 columns; the last four, its orientation, are invalid in this set."""
CHANNELS = ("heart_rate", *(f"{unit}_{name}" for unit in UNITS for name in UNIT))
TAKEN = (2, *(UNIT_FIRST + UNIT_WIDTH * u + c for u in range(len(UNITS)) for c in range(len(UNIT))))
TRANSIENT = 0
PROTOCOL = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "Nordic walking",
    12: "ascending stairs",
    13: "descending stairs",
    16: "vacuum cleaning",
    17: "ironing",
    24: "rope jumping",
}
OPTIONAL = {
    9: "watching TV",
    10: "computer work",
    11: "car driving",
    18: "folding laundry",
    19: "house cleaning",
    20: "playing soccer",
}
LONGEST_GAP = 0.05
"""Seconds between two rows that are still neighbours: five samples."""

EVERY, LENGTH, STRIDE, FIRST = 3, 100, 22, 22
"""Published windows: every third row, 100 of them, 22 apart, from the 22nd on."""
ORDER = (24, 1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17)
"""Published class numbers 0 to 11."""
LOWEST = (
    *(0.0, 0.0, -114.755, -104.301, -73.0384, -61.1938, -61.8086, -61.4193, -27.8044, -17.8495, -14.2647),
    *(-103.941, -200.043, -163.608, 0.0, -29.0888, -38.1657, -57.2366, -32.9627, -39.7561, -56.0108, -10.1563),
    *(-5.06858, -3.99487, -70.0627, -122.48, -66.6847, 0.0, -155.068, -155.617, -156.179, -60.3067, -61.9064),
    *(-62.2629, -14.162, -13.0401, -14.0196, -172.865, -137.908, -102.232),
)
HIGHEST = (
    *(202.0, 35.5, 47.6314, 155.532, 157.76, 45.5484, 62.2598, 61.728, 21.8452, 13.1222, 14.2184),
    *(137.544, 109.181, 100.543, 38.5625, 26.386, 153.582, 37.2936, 23.9101, 61.9328, 36.9676, 15.5171),
    *(5.97964, 2.94183, 80.4739, 39.7391, 95.8415, 35.4375, 157.232, 157.293, 150.99, 61.9509, 62.0461),
    *(60.9357, 17.4204, 13.5882, 13.9617, 91.4247, 92.867, 146.651),
)
"""What published windows scale each channel by."""


class Pamap2(HarSource):
    """Heart rate and 13 channels of each unit: temperature, accelerations of two scales, gyroscope, magnetometer.

    The transient class 0 is cut out. The heart rate, at about 9 Hz, is held, and lost samples of the units are
    interpolated, both over one second at most; what is missing for longer is cut out. ``missing`` changes that.

    Attributes:
        path: the folder ``PAMAP2_Dataset``, its zip, or a folder with either; else looked for in ``OVERTONE_DATA``.
        optional: also the six activities of the folder ``Optional``.
        null_class: ``keep`` the transient class.
        published: windows as published comparisons cut them: of the twelve activities of the protocol, rows of others
            removed and the rest glued together, every third row, 100 rows each, 22 apart, with the label of their
            first and last row, channels scaled to [0, 1] by fixed ranges.
    """

    SOURCE: ClassVar[str] = (
        "activities with three units and heart rate, Reiss and Stricker 2012, UCI 231 (PAMAP2_Dataset)"
    )
    NAMES: ClassVar[tuple[str, ...]] = ("pamap2", "PAMAP2_Dataset")
    FILES: ClassVar[str] = "Protocol/subject101.dat to subject109.dat"
    WINDOW: ClassVar[str] = "5.12 s"
    STRIDE: ClassVar[str] = "1 s"

    path: Path | None = None
    optional: bool = False
    null_class: NullClass = "drop"
    published: bool = False
    missing: Missing = MissingSettings(fill="interpolate")

    def cutting(self) -> tuple[str | None, str | int]:
        """Published windows come cut: whole recordings, of which this says how far apart they are."""
        return (None, STRIDE) if self.published else (self.WINDOW, self.STRIDE)

    def load(self) -> Recordings:
        """Every file as a recording; with ``published`` every window."""
        return self._published() if self.published else self._sound()

    def _sound(self) -> Recordings:
        bad, clocks = self.bad(), Clocks(LONGEST_GAP)
        heart = self.missing.model_copy(update={"fill": "hold"}) if self.missing.fill == "interpolate" else self.missing
        filling = Filling(heart, CHANNELS[:1], self.where), Filling(self.missing, CHANNELS[1:], self.where)
        kept = {TRANSIENT: "transient"} if self.null_class == "keep" else {}
        classes = kept | PROTOCOL | (OPTIONAL if self.optional else {})
        pieces = Pieces(self.where, classes, CHANNELS, RATE)
        for person, name, seconds, labels, values in self._files(bad):
            number = pieces.begin(name)
            for stretch in clocks.follow(seconds):
                time, held = seconds[stretch], []
                for part, columns in zip(filling, (slice(0, 1), slice(1, None)), strict=True):
                    held.append(part.add(name, values[stretch][:, columns], time, RATE))
                filled = np.concatenate([one.values for one in held], axis=1)
                offset = round((time[0] - seconds[0]) * RATE)
                pieces.add(number, person, filled, labels[stretch], offset, held[0].kept & held[1].kept)
        if not pieces.names:
            self.none_found(self.path)
        notes = [*bad.notes(), *clocks.notes(), *(note for part in filling for note in part.notes())]
        return pieces.recordings(notes, {TRANSIENT: "0, transient", **OPTIONAL})

    def _published(self) -> Recordings:
        bad = self.bad()
        pieces = Pieces(self.where, PROTOCOL, CHANNELS, RATE / EVERY)
        lowest, highest = np.array(LOWEST), np.array(HIGHEST)
        signals, labels, people, origin, offset = [], [], [], [], []
        for person, name, _, codes_, values in self._files(bad, protocol_only=True):
            number = pieces.begin(name)
            glued = np.isin(codes_, ORDER)
            rows, own = values[glued], codes_[glued][::EVERY]
            rows[:, 0] = _last_known(rows[:, 0])
            scaled = (np.nan_to_num(rows[::EVERY].astype(np.float64), nan=0.0) - lowest) / (highest - lowest)
            scaled = np.where(scaled > 1, 0.99, np.maximum(scaled, 0)).astype(np.float32)
            for start in range(FIRST, len(scaled) - LENGTH + 1, STRIDE):
                if own[start] == own[start + LENGTH - 1]:
                    signals.append(scaled[start : start + LENGTH].T)
                    labels.append(ORDER.index(int(own[start])))
                    people.append(person)
                    origin.append(number)
                    offset.append(start)
        if not pieces.names:
            self.none_found(self.path)
        return Recordings(
            signals=signals,
            labels=np.array(labels, dtype=np.int64),
            groups=people,
            classes=tuple(PROTOCOL[code] for code in ORDER),
            channels=CHANNELS,
            rate=RATE / EVERY,
            where=self.where,
            notes=(
                *bad.notes(),
                "windows as published: rows of other activities were removed before cutting, so windows can span a gap",
            ),
            origin=origin,
            offset=offset,
            names=tuple(pieces.names),
        )

    def _files(
        self, bad: BadRows, protocol_only: bool = False
    ) -> Iterator[tuple[str, str, Floats, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Of each file: person, name, seconds, labels, and channels (T, C), NaN where missing."""
        folders = "Protocol|Optional" if self.optional and not protocol_only else "Protocol"
        for member in members(self.root(self.path), rf"({folders})/subject(\d+)\.dat", self.where):
            folder, person = (str(part) for part in member.parts)
            seconds, labels, values = [], [], []
            for block in read_numbers(member.stream, COLUMNS, member.name, bad):
                seconds.append(block[:, 0])
                labels.append(codes(block[:, 1]))
                values.append(block[:, TAKEN].astype(np.float32))
            if values:
                yield (
                    person,
                    f"subject{person}" + (" (optional)" if folder.lower() == "optional" else ""),
                    np.concatenate(seconds),
                    np.concatenate(labels),
                    np.concatenate(values),
                )


def _last_known(column: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each sample's last known value; NaN before the first."""
    known = np.flatnonzero(~np.isnan(column))
    at = np.searchsorted(known, np.arange(len(column)), side="right") - 1
    return np.where(at < 0, np.nan, column[known[np.maximum(at, 0)]]) if len(known) else column
