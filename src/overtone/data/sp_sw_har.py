"""SP-SW-HAR: 23 people with a smartphone in the pocket and a smartwatch, five activities, about 100 Hz.

Source: Matey-Sanz et al., "Dataset for inertial human activity recognition with smartphones and smartwatches", Data in
Brief 2023 (10.1016/j.dib.2023.109809), CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from overtone.data.base import PEOPLE, Material, Recordings, Source
from overtone.data.npz import read_arrays
from overtone.data.paths import find_file
from overtone.data.resample import Stream, regular
from overtone.errors import InputError

ARRAYS = (
    *("signal", "timestamp_ms", "label", "recording", "rec_subject", "rec_execution", "rec_is_watch", "rec_length"),
    *("channels", "classes"),
)


class SpSwHar(Source):
    """Phone and watch of one execution, brought onto one clock, as twelve channels ``phone_*`` and ``watch_*``.

    For a view of one position, name its channels: ``views: {phone: {type: signal, channels: ["phone_*"]}}``.

    Attributes:
        path: ``sp_sw_har.npz`` or its folder; else it is looked for in ``OVERTONE_DATA``.
        positions: both, or one alone (six channels).
        rate: Hz that both are resampled to.
    """

    SOURCE: ClassVar[str] = "phone and watch activities, Matey-Sanz et al. 2023, CC BY 4.0 (file sp_sw_har.npz)"
    MATERIAL: ClassVar[Material] = PEOPLE
    WINDOW: ClassVar[str] = "1 s"
    STRIDE: ClassVar[str] = "0.5 s"

    path: Path | None = None
    positions: Literal["both", "phone", "watch"] = "both"
    rate: float = Field(default=50.0, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Every execution; stretches that only one of the two recorded are left out."""
        where = "data 'sp_sw_har'"
        file = find_file(self.path, "sp_sw_har/sp_sw_har.npz", where)
        arrays = read_arrays(file, ARRAYS, f"{where}: {file}")
        executions: dict[tuple[int, int], dict[str, Stream]] = {}
        ends = np.cumsum(arrays["rec_length"])
        for number, end in enumerate(ends):
            part = slice(int(end - arrays["rec_length"][number]), int(end))
            position = "watch" if arrays["rec_is_watch"][number] else "phone"
            key = int(arrays["rec_subject"][number]), int(arrays["rec_execution"][number])
            executions.setdefault(key, {})[position] = _stream(arrays, part, f"{key[0]}/{key[1]} {position}")
        wanted = ("phone", "watch") if self.positions == "both" else (self.positions,)
        streams, people, alone = [], [], 0
        for (person, _), by_position in sorted(executions.items()):
            if any(position not in by_position for position in wanted):
                alone += 1
                continue
            streams.append(_joined([by_position[position] for position in wanted], self.rate))
            people.append(f"{person:02d}")
        if not streams:
            raise InputError(f"{where}: no execution has {' and '.join(wanted)}")
        stretches, rate, notes = regular(streams, self.rate, True, where)
        if alone:
            notes.append(f"{alone} executions lack one of the positions and were left out")
        return Recordings(
            signals=[stretch.values for stretch in stretches],
            labels=[stretch.labels for stretch in stretches],
            groups=[people[stretch.stream] for stretch in stretches],
            classes=tuple(str(name) for name in arrays["classes"]),
            channels=tuple(f"{position}_{name}" for position in wanted for name in arrays["channels"]),
            rate=rate,
            where=where,
            notes=tuple(notes),
            origin=[stretch.stream for stretch in stretches],
            offset=[stretch.offset for stretch in stretches],
            names=tuple(stream.name for stream in streams),
        )


def _stream(arrays: dict[str, Any], part: slice, name: str) -> Stream:
    """One device's recording; samples whose time stamp does not rise (the devices repeat some) are left out."""
    time = arrays["timestamp_ms"][part].astype(np.float64) / 1000
    rising = np.concatenate([[True], time[1:] > np.maximum.accumulate(time)[:-1]])
    labels = arrays["label"][part].astype(np.int64)
    return Stream(name, time[rising], arrays["signal"][part][rising].astype(np.float32), labels[rising])


def _joined(streams: list[Stream], rate: float) -> Stream:
    """Several devices on the clock of the first, over the time that all cover; its labels are used."""
    first = streams[0]
    if len(streams) == 1 or first.time is None:
        return first
    times = [stream.time for stream in streams if stream.time is not None]
    begin, end = max(time[0] for time in times), min(time[-1] for time in times)
    inside = (first.time >= begin) & (first.time <= end)
    clock = first.time[inside]
    values = [first.values[inside]]
    for stream, time in zip(streams[1:], times[1:], strict=True):
        values.append(np.stack([np.interp(clock, time, channel) for channel in stream.values.T], axis=1))
    return Stream(first.name, clock, np.concatenate(values, axis=1).astype(np.float32), first.labels[inside])
