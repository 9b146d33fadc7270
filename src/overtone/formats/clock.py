"""Time stamps of text: numbers in some unit, or dates of ISO 8601."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from overtone.errors import InputError
from overtone.formats.cells import Numbers, Signs, numbers

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
SLOWEST, USUAL, FASTEST = 0.5, 50.0, 20_000.0
"""Hz: signals slower than the first are taken for time stamps in a smaller unit; the usual one decides which."""
LEAST_FIT, MOST_FIT = 0.25, 50.0
"""Times the wanted rate: what lies between is brought to it without a doubt."""
UNEVEN = 0.1
"""Intervals may differ from their median by this share before sampling counts as uneven."""
GAP = 2.5
"""An interval of more than so many median intervals is a gap."""
STAMP = "time stamp"
FORM = f"{STAMP} (a number, or a date in ISO 8601 such as 2024-05-01T13:45:00.250)"


class Clock:
    """Time stamps of a column, block by block: dates where most of the first block are, else numbers."""

    def __init__(self, signs: Signs, where: str) -> None:
        self.signs, self.where = signs, where
        self.dates: bool | None = None
        self.start: datetime | None = None
        self.first: int | None = None  # of typed dates, ns

    def read(self, cells: Sequence[str] | Numbers, lines: Sequence[int]) -> tuple[Numbers, list[int]]:
        """A block's time stamps (seconds since the first, of dates), and the places of those that are none."""
        if isinstance(cells, np.ndarray):
            self.dates = np.issubdtype(cells.dtype, np.datetime64)
            if self.dates:
                stamps = cells.astype("datetime64[ns]").astype(np.int64)
                self.first = int(stamps[0]) if self.first is None else self.first
                values = np.where(np.isnat(cells), np.nan, (stamps - self.first) * 1e-9)
            else:
                values = cells.astype(np.float64)
            return values, np.flatnonzero(~np.isfinite(values)).tolist()
        if self.dates is None:
            dates = sum(_date(cell) is not None for cell in cells)
            self.dates = dates > 0 and 2 * dates >= len(cells)
        if not self.dates:
            converted = numbers(cells, lines, self.signs)
            return converted.values, np.flatnonzero(~np.isfinite(converted.values)).tolist()
        read = [_date(cell) for cell in cells]
        self.start = self.start or next((stamp for stamp in read if stamp is not None), None)
        start: Any = self.start
        try:
            seconds = [math.nan if stamp is None else (stamp - start).total_seconds() for stamp in read]
        except TypeError:
            raise InputError(
                f"{self.where}: column {self.signs.name} mixes times with and without a time zone"
            ) from None
        return np.asarray(seconds), [place for place, stamp in enumerate(read) if stamp is None]


def _date(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None


@dataclass(frozen=True)
class Unit:
    """The unit of numeric time stamps.

    Attributes:
        given: None: judged.
        rate: Hz, what is to come out, if that is known.
        option: how a user says the unit, for messages.
    """

    given: TimeUnit | None
    rate: float | None
    option: str = "data.time_unit:"

    def seconds(self, intervals: Sequence[float], where: str) -> float:
        """How many seconds a unit has: seconds, unless something else is given.

        Args:
            intervals: a recording's median interval each, in the stamps' own unit.
            where: the source, for messages.

        Raises:
            InputError: where seconds are implausible, and another unit is not; it is proposed.
        """
        steps = [step for step in intervals if step > 0]
        if self.given is not None or not steps:
            return UNITS[self.given or "s"]
        step = float(np.median(steps))
        rates = {unit: 1 / (step * size) for unit, size in UNITS.items()}
        aim = self.rate or USUAL
        best = min(rates, key=lambda unit: abs(math.log(rates[unit] / aim)))
        slow = rates["s"] < min(SLOWEST, aim / 4)
        if not slow or best == "s" or not SLOWEST <= rates[best] <= max(FASTEST, 4 * aim):
            return 1.0
        others = ", ".join(
            f"{unit} {rates[unit]:.6g} Hz" for unit in ("ms", "us", "ns") if SLOWEST <= rates[unit] <= 1e6
        )
        raise InputError(
            f"{where}: the time stamps are {step:.6g} apart, which makes {rates['s']:.3g} Hz in seconds"
            + (f", far from {self.rate:g} Hz" if self.rate else "")
            + f"; {best} is likely: say {self.option} {best} ({others}), or {self.option} s if they are seconds"
        )

    def check(self, intervals: Sequence[float], upsample: bool, advice: str, where: str) -> None:
        """Refuse a unit in which a rate is far from the wanted one, where another unit makes it fit.

        Args:
            intervals: as :meth:`seconds` takes them; each is looked at.
            upsample: rates far below the wanted one are meant.
            advice: what to do about one that is far below it, in the right unit.
            where: the source, for messages.

        Raises:
            InputError: for such a unit; the other one is proposed.
        """
        steps = [step for step in intervals if step > 0]
        aim = self.rate
        if aim is None or not steps:
            return
        used = self.given or "s"
        for step in (min(steps), max(steps)):
            rates = {unit: 1 / (step * size) for unit, size in UNITS.items()}
            best = min(rates, key=lambda unit: abs(math.log(rates[unit] / aim)))
            share = rates[used] / aim
            doubtful = share >= MOST_FIT or (share < LEAST_FIT and not upsample)
            if best == used or not doubtful or not LEAST_FIT <= rates[best] / aim <= MOST_FIT:
                continue
            raise InputError(
                f"{where}: time stamps {step:.6g} apart make {rates[used]:,.6g} Hz in {used}, and {aim:g} Hz are "
                f"wanted; {best} is likely ({rates[best]:,.6g} Hz): say {self.option} {best}. Otherwise "
                + (advice if share < 1 else "lower their rate before Overtone reads them")
            )
