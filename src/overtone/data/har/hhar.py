"""HHAR: six activities of nine people with eight phones around the waist and four watches, 50 to 200 Hz.

Source: Stisen et al., "Smart Devices are Different: Assessing and Mitigating Mobile Sensing Heterogeneities for
Activity Recognition", SenSys 2015; UCI repository entry 344, CC BY 4.0 there.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, ClassVar, Literal

import numpy as np
from pydantic import Field

from overtone.data.base import Recordings
from overtone.data.har.clocks import Clocks, Sensor, counted, on_one_clock, runs
from overtone.data.har.members import members
from overtone.data.har.pieces import NO_LABEL, HarSource, NullClass, Pieces, Several
from overtone.data.har.rows import BadRows, read_fields

ACTIVITIES = ("bike", "sit", "stand", "walk", "stairsup", "stairsdown")
NULL = len(ACTIVITIES)
LABELS = {**{name.encode(): number for number, name in enumerate(ACTIVITIES)}, b"null": NULL}
FIELDS = [
    *(("index", "S1"), ("arrival", "S1"), ("creation", "f8"), ("x", "f4"), ("y", "f4"), ("z", "f4")),
    *(("user", "S8"), ("model", "S1"), ("device", "S16"), ("gt", "S16")),
]
LONGEST_GAP = 1.0
"""Seconds."""
SensorName = Literal["accelerometer", "gyroscope"]


class Hhar(HarSource):
    """Three channels a sensor, brought onto an even grid of 50 Hz by the time that the sensor wrote; null is cut out.

    Attributes:
        path: the folder ``Activity recognition exp``, its zip, or a folder with either; else looked for in
            ``OVERTONE_DATA``.
        null_class: ``keep`` the label null.
        devices: phones or watches.
        sensors: one, or both on one clock.
        rate: Hz of the grid.
    """

    SOURCE: ClassVar[str] = "many phones and watches, Stisen et al. 2015, UCI 344 (Activity recognition exp)"
    NAMES: ClassVar[tuple[str, ...]] = ("hhar", "Activity recognition exp")
    FILES: ClassVar[str] = "Phones_accelerometer.csv and so on"
    WINDOW: ClassVar[str] = "2.56 s"
    STRIDE: ClassVar[str] = "1.28 s"

    path: Path | None = None
    null_class: NullClass = "drop"
    devices: Literal["phones", "watches"] = "phones"
    sensors: Several[SensorName] = ("accelerometer",)
    rate: float = Field(default=50.0, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Every person's device as a recording."""
        bad, clocks = self.bad(), Clocks(LONGEST_GAP)
        device = {"phones": "Phones", "watches": "Watch"}[self.devices]
        strange: dict[str, int] = {}
        found: dict[tuple[str, str], dict[str, list[Sensor]]] = {}
        for member in members(self.root(self.path), rf"{device}_({'|'.join(self.sensors)})\.csv", self.where):
            sensor = str(member.parts[0]).lower()
            for key, chunks in _by_device(member.stream, member.name, bad, strange).items():
                found.setdefault(key, {})[sensor] = _stretches(chunks, clocks)
        if not found:
            self.none_found(self.path)
        streams, alone = [], 0
        for (user, name), by_sensor in sorted(found.items()):
            sensors = [by_sensor.pop(sensor, []) for sensor in self.sensors]
            joined = on_one_clock(f"{user} {name}", sensors, LONGEST_GAP)
            streams += [(user, stream) for stream in joined]
            alone += not joined
        channels = [
            f"{'acc' if sensor == 'accelerometer' else 'gyro'}_{axis}" for sensor in self.sensors for axis in "xyz"
        ]
        classes = dict(enumerate((*ACTIVITIES, "null") if self.null_class == "keep" else ACTIVITIES))
        pieces = Pieces(self.where, classes, channels, self.rate)
        notes = pieces.add_streams(streams)
        if alone:
            notes.append(
                f"left out without {' and '.join(self.sensors)} at one time: {alone} of {len(found)} people's devices"
            )
        notes += [f"{counted(count)} labelled {label!r}, no activity" for label, count in sorted(strange.items())]
        return pieces.recordings([*bad.notes(), *clocks.notes(), *notes], {NULL: "null"})


def _by_device(
    stream: IO[bytes], name: str, bad: BadRows, strange: dict[str, int]
) -> dict[tuple[str, str], list[Sensor]]:
    """A file's samples by person and device, as they follow in the file."""
    found: dict[tuple[str, str], list[Sensor]] = {}
    for block in read_fields(stream, FIELDS, name, bad, ",", header=1):
        values = np.stack([block[axis] for axis in "xyz"], axis=1)
        for run in runs(block["user"], block["device"], block["gt"]):
            first = block[run.start]
            label = LABELS.get(first["gt"].strip(), NO_LABEL)
            if label == NO_LABEL:
                text = first["gt"].decode("latin-1")
                strange[text] = strange.get(text, 0) + run.stop - run.start
            key = first["user"].decode("latin-1"), first["device"].decode("latin-1")
            labels = np.full(run.stop - run.start, label, dtype=np.int64)
            found.setdefault(key, []).append(Sensor(block["creation"][run] / 1e9, values[run], labels))
    return found


def _stretches(chunks: list[Sensor], clocks: Clocks) -> list[Sensor]:
    """Samples of one device in the order of their time, split where its clock was set anew or left a gap."""
    time = np.concatenate([chunk.time for chunk in chunks])
    values = np.concatenate([chunk.values for chunk in chunks])
    labels = np.concatenate([chunk.labels for chunk in chunks])
    return [Sensor(time[part], values[part], labels[part]) for part in clocks.follow(time, values)]
