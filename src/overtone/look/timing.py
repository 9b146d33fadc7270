"""What time stamps tell: their unit, the rate, gaps, and whether samples are evenly spaced."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overtone.formats.clock import FASTEST, GAP, SLOWEST, UNEVEN, UNITS, USUAL, TimeUnit
from overtone.look.columns import Column
from overtone.look.words import words

EPOCH = {"s": (5e8, 5e9), "ms": (5e11, 5e12), "us": (5e14, 5e15), "ns": (5e17, 5e18)}
"""Between which numbers dates since 1970 lie, in each unit."""
NAMED: dict[str, TimeUnit] = {"s": "s", "sec": "s", "secs": "s", "seconds": "s", "ms": "ms", "msec": "ms"}
NAMED |= {"millis": "ms", "us": "us", "usec": "us", "micros": "us", "ns": "ns", "nanos": "ns"}
UNEVEN_SHARE = 0.01


@dataclass(frozen=True)
class Timing:
    """What a column of time stamps tells.

    Attributes:
        unit: of numbers; None of dates.
        why: the reason for the unit.
        rate: Hz, by the median interval.
        gaps: intervals of more than 2.5 median ones.
        longest: seconds, the longest of these.
        uneven: the largest share of a recording's intervals that differ by more than a tenth from its median.
        spread: the largest median interval of a recording over the smallest.
        backward: time stamps that are not later than the one before.
        restarts: of these, the ones that fall far enough for the clock to have started anew.
    """

    unit: TimeUnit | None
    why: str
    rate: float
    gaps: int
    longest: float
    uneven: float
    spread: float
    backward: int
    restarts: int

    @property
    def resample(self) -> bool:
        """Whether an even grid has to be made."""
        return self.uneven > UNEVEN_SHARE or self.spread > 1 + UNEVEN


def look_at_time(time: Column, recordings: npt.NDArray[np.int64]) -> Timing | None:
    """What the stamps tell; None where there is no interval.

    Args:
        time: the column.
        recordings: (N,) the number of each row's recording.
    """
    gaps, backward, restarts, longest, uneven, medians = 0, 0, 0, 0.0, 0.0, []
    order = np.argsort(recordings, kind="stable")
    cuts = np.flatnonzero(np.diff(recordings[order])) + 1
    for stamps in np.split(time.values[order], cuts):
        steps = np.diff(stamps[np.isfinite(stamps)])
        forward = steps[steps > 0]
        backward += len(steps) - len(forward)
        if not len(forward):
            continue
        median = float(np.median(forward))
        restarts += int((steps < -GAP * median).sum())
        late = forward > GAP * median
        gaps += int(late.sum())
        longest = max(longest, float(forward[late].max(initial=0.0)))
        close = forward[~late]
        uneven = max(uneven, float((np.abs(close - median) > UNEVEN * median).mean()))
        medians.append(median)
    if not medians:
        return None
    step = float(np.median(medians))
    unit, why = (None, "dates") if time.dates else _unit(time, step)
    seconds = UNITS[unit or "s"]
    rate = 1 / (step * seconds)
    if not math.isfinite(rate) or not 0 < rate <= 1e9:
        return None
    spread = max(medians) / min(medians)
    return Timing(unit, why, rate, gaps, longest * seconds, uneven, spread, backward, restarts)


def _unit(time: Column, step: float) -> tuple[TimeUnit, str]:
    """The unit of numeric stamps, by the column's name, by their size, else by the rate that comes out."""
    named = {NAMED[word] for word in words(time.name) if word in NAMED}
    if len(named) == 1:
        return named.pop(), "by the column's name"
    units: list[TimeUnit] = ["s", "ms", "us", "ns"]
    middle = float(np.median(time.known))
    for unit in units:
        if EPOCH[unit][0] <= middle <= EPOCH[unit][1] and SLOWEST / 10 <= 1 / (step * UNITS[unit]) <= 1e6:
            return unit, "counted since 1970"
    rates = {unit: 1 / (step * UNITS[unit]) for unit in units}
    if step == 1:
        return "s", "which makes 1 Hz; stamps go up by 1, so it may as well be a sample counter, or ms: 1,000 Hz"
    if SLOWEST <= rates["s"] <= FASTEST:
        return "s", f"which makes {rates['s']:.4g} Hz"
    best = min(units, key=lambda unit: abs(math.log(rates[unit] / USUAL)))
    best = best if SLOWEST <= rates[best] <= FASTEST else "s"
    others = ", ".join(f"{hertz(rates[unit])} Hz in {unit}" for unit in units if unit != best and rates[unit] < 1e6)
    return best, f"which makes {rates[best]:.4g} Hz, not {others}"


def hertz(rate: float) -> str:
    """A rate in four digits, never as a power of ten where it is large."""
    return f"{float(f'{rate:.4g}'):,.0f}" if rate >= 1000 else f"{rate:.4g}"


def nice(rate: float) -> float:
    """A rate as one would write it."""
    return float(round(rate)) if rate >= 9.5 else float(f"{rate:.2g}")
