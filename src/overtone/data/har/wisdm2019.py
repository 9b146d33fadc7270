"""WISDM 2019: eighteen activities of 51 people with a phone in the pocket and a watch, 20 Hz.

Source: Weiss, Yoneda and Hayajneh, "Smartphone and Smartwatch-Based Biometrics Using Activities of Daily Living", IEEE
Access 2019; UCI repository entry 507, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, ClassVar, Literal

import numpy as np

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks, Sensor, counted, on_one_clock
from overtone.data.har.members import members
from overtone.data.har.pieces import NO_LABEL, HarSource, Pieces, Several
from overtone.data.har.rows import BadRows, read_fields

RATE = 20.0
FIELDS = [("person", "f8"), ("activity", "S8"), ("time", "f8"), ("x", "f4"), ("y", "f4"), ("z", "f4")]
NAMES = (
    *("walking", "jogging", "stairs", "sitting", "standing", "typing", "teeth", "soup", "chips", "pasta", "drinking"),
    *("sandwich", "kicking", "catch", "dribbling", "writing", "clapping", "folding"),
)
LETTERS = "ABCDEFGHIJKLMOPQRS"
"""There is no N."""
KEY = dict(zip(LETTERS, NAMES, strict=True))
"""As the set's ``activity_key.txt`` names them; its own names are taken where it is there."""
LONGEST_GAP = 0.5
"""Seconds, ten samples."""
SensorName = Literal["accel", "gyro"]


class Wisdm2019(HarSource):
    """Accelerometer and gyroscope of one device, brought onto one clock and an even grid by their time stamps.

    Attributes:
        path: the folder ``wisdm-dataset``, its zip, or a folder with either; else looked for in ``OVERTONE_DATA``.
        device: phone or watch; their clocks differ.
        sensors: one or both.
    """

    SOURCE: ClassVar[str] = "phone and watch, 18 activities, Weiss et al. 2019, UCI 507 (wisdm-dataset)"
    NAMES: ClassVar[tuple[str, ...]] = ("wisdm2019", "wisdm-dataset")
    FILES: ClassVar[str] = "raw/phone/accel/data_1600_accel_phone.txt and so on"
    WINDOW: ClassVar[str] = "10 s"

    path: Path | None = None
    device: Literal["phone", "watch"] = "phone"
    sensors: Several[SensorName] = ("accel", "gyro")

    def load(self) -> Recordings:
        """Every person's activity as a recording."""
        bad, clocks = self.bad(), Clocks(LONGEST_GAP)
        key, found = dict(KEY), dict[tuple[str, str], dict[str, list[Sensor]]]()
        pattern = rf"(?:activity_key\.txt|data_(\d+)_({'|'.join(self.sensors)})_{self.device}\.txt)"
        for member in members(self.root(self.path), pattern, self.where):
            person, sensor = member.parts
            if person is None or sensor is None:
                key.update(_key(member.stream))
                continue
            for letter, parts in _activities(member.stream, member.name, bad, clocks).items():
                found.setdefault((person, letter), {})[sensor.lower()] = parts
        if not found:
            self.none_found(self.path)
        streams, alone, strange = [], 0, 0
        for (person, letter), by_sensor in sorted(found.items()):
            if letter not in key:
                strange += sum(len(part.time) for parts in by_sensor.values() for part in parts)
                continue
            sensors = [by_sensor.get(sensor, []) for sensor in self.sensors]
            joined = on_one_clock(f"{person} {key[letter]}", sensors, LONGEST_GAP)
            streams += [(person, stream) for stream in joined]
            alone += not joined
        channels = [f"{self.device}_{sensor}_{axis}" for sensor in self.sensors for axis in "xyz"]
        pieces = Pieces(self.where, {ord(letter): key[letter] for letter in LETTERS}, channels, RATE)
        notes = pieces.add_streams(streams)
        if alone:
            notes.append(
                f"left out without {' and '.join(self.sensors)} at one time: {alone} of {len(found)} recordings"
            )
        if strange:
            notes.append(f"{counted(strange)} left out with a letter that the key does not know")
        return pieces.recordings([*bad.notes(), *clocks.notes(), *notes])


def _key(stream: IO[bytes]) -> dict[str, str]:
    """Names of activities by letter: lines ``walking = A``."""
    pairs = [line.split("=") for line in stream.read(2**16).decode("latin-1").splitlines() if line.count("=") == 1]
    return {letter.strip(): name.strip() for name, letter in pairs if letter.strip() in KEY and name.strip()}


def _activities(stream: IO[bytes], name: str, bad: BadRows, clocks: Clocks) -> dict[str, list[Sensor]]:
    """A file's samples by letter, in stretches whose time stamps rise."""
    blocks = list(read_fields(stream, FIELDS, name, bad, ",", semicolons=True))
    if not blocks:
        return {}
    rows = np.concatenate(blocks)
    values = np.stack([rows[axis] for axis in "xyz"], axis=1)
    found = {}
    for letter in np.unique(rows["activity"]):
        own = np.flatnonzero(rows["activity"] == letter)
        seconds = rows["time"][own] / 1e9
        stretches = clocks.follow(seconds, values[own])
        label = letter.decode("latin-1").strip()
        number = ord(label) if label in KEY else NO_LABEL
        found[label] = [
            Sensor(seconds[part], values[own[part]], np.full(len(part), number, dtype=np.int64)) for part in stretches
        ]
    return found
