"""RealWorld: eight activities of fifteen people with seven phones on the body, 50 Hz.

Source: Sztyler and Stuckenschmidt, "On-body Localization of Wearable Devices: An Investigation of Position-Aware
Activity Recognition", PerCom 2016; given out by the University of Mannheim, to be cited so.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks, Sensor, on_one_clock
from overtone.data.har.members import Member, members
from overtone.data.har.pieces import HarSource, Pieces, Several
from overtone.data.har.rows import BadRows, read_numbers
from overtone.errors import InputError

RATE = 50.0
COLUMNS = 5
ACTIVITIES = ("walking", "running", "sitting", "standing", "lying", "climbingup", "climbingdown", "jumping")
SensorName = Literal["acc", "gyr", "mag"]
FILES_OF = {"acc": "acc", "gyr": "Gyroscope", "mag": "MagneticField"}
Position = Literal["chest", "forearm", "head", "shin", "thigh", "upperarm", "waist"]
POSITIONS: tuple[Position, ...] = ("chest", "forearm", "head", "shin", "thigh", "upperarm", "waist")
LONGEST_GAP = 0.5
"""Seconds, 25 samples."""


class RealWorld(HarSource):
    """Three channels for each sensor and position, brought onto the clock of the first and an even grid.

    Zips are read one file at a time, without unpacking them to disk. A recording that lacks one of the positions is
    left out and counted: ask for fewer positions to have more recordings.

    Attributes:
        path: the folder ``realworld2016_dataset`` with ``proband1/data/acc_walking_csv.zip``, its zip, or a folder with
            either; else looked for in ``OVERTONE_DATA``.
        positions: of the phones.
        sensors: acceleration, gyroscope and magnetic field.
    """

    SOURCE: ClassVar[str] = "seven phones on the body, Sztyler and Stuckenschmidt 2016 (realworld2016_dataset)"
    NAMES: ClassVar[tuple[str, ...]] = ("realworld", "realworld2016_dataset")
    FILES: ClassVar[str] = "proband1/data/acc_walking_csv.zip and so on"
    WINDOW: ClassVar[str] = "2.56 s"
    STRIDE: ClassVar[str] = "1.28 s"

    path: Path | None = None
    positions: Several[Position] = POSITIONS
    sensors: Several[SensorName] = ("acc",)

    def load(self) -> Recordings:
        """Every activity of a person as a recording, or as two where the set has two parts of it."""
        bad, clocks = self.bad(), Clocks(LONGEST_GAP)
        wanted: list[tuple[str, str]] = [(sensor, position) for sensor in self.sensors for position in self.positions]
        found: dict[tuple[int, str, str], dict[tuple[str, str], list[Sensor]]] = {}
        by_file = {name.lower(): sensor for sensor, name in FILES_OF.items()}
        for member in members(self.root(self.path), self._pattern(), self.where, self._zips(), mixed=True):
            person, file, activity, part, position = ((text or "").lower() for text in member.parts)
            one = found.setdefault((int(person), activity, part), {})
            one[by_file[file], position] = _stretches(member, ACTIVITIES.index(activity), bad, clocks)
        if not found:
            self.none_found(self.path)
        streams, lacking = [], dict.fromkeys(wanted, 0)
        for (number, activity, part), sensors in sorted(found.items()):
            for pair in wanted:
                lacking[pair] += not sensors.get(pair)
            name = f"proband{number} {activity} {part}".strip()
            joined = on_one_clock(name, [sensors.pop(pair, []) for pair in wanted], LONGEST_GAP)
            streams += [(f"proband{number}", stream) for stream in joined]
        told = [f"{count} without {sensor} at {position}" for (sensor, position), count in lacking.items() if count]
        if not streams:
            raise InputError(
                f"{self.where}: none of {len(found)} recordings has all that is wanted at one time "
                f"({', '.join(told)}); data.positions and data.sensors name what is wanted"
            )
        channels = [f"{sensor}_{position}_{axis}" for sensor, position in wanted for axis in "xyz"]
        pieces = Pieces(self.where, dict(enumerate(ACTIVITIES)), channels, RATE)
        notes = pieces.add_streams(streams)
        if told:
            notes.append(f"left out of {len(found)} recordings: {', '.join(told)}")
        return pieces.recordings([*bad.notes(), *clocks.notes(), *notes])

    def _pattern(self) -> str:
        files = "|".join(FILES_OF[sensor] for sensor in self.sensors)
        return rf"proband(\d+)/(?:.*/)?({files})_({'|'.join(ACTIVITIES)})(?:_(\d+))?_({'|'.join(self.positions)})\.csv"

    def _zips(self) -> str:
        """Of the wanted sensors, of a part of one, of a person, or of the whole set."""
        sensors = "|".join({*self.sensors, *(FILES_OF[sensor] for sensor in self.sensors)})
        return rf"(?:^|/)(?:(?:{sensors})_[^/]*|proband\d+|real[^/]*)\.zip$"


def _stretches(member: Member, label: int, bad: BadRows, clocks: Clocks) -> list[Sensor]:
    """A file's samples, in stretches whose time stamps rise; columns id, attr_time, attr_x, attr_y, attr_z."""
    blocks = list(read_numbers(member.stream, COLUMNS, member.name, bad, ",", header=1))
    if not blocks:
        return []
    rows = np.concatenate(blocks)
    time, values = rows[:, 1] / 1000, rows[:, 2:].astype(np.float32)
    labels = np.full(len(rows), label, dtype=np.int64)
    return [Sensor(time[part], values[part], labels[part]) for part in clocks.follow(time, values)]
