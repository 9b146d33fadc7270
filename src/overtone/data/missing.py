"""Missing values of recordings: refused, cut out, held, or interpolated; and always counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from overtone.data.lengths import parse_length
from overtone.errors import InputError
from overtone.recipe.messages import Said

Values = npt.NDArray[Any]
LIMIT_SECONDS, LIMIT_SAMPLES = 1.0, 10.0
"""How far a value is carried unless the recipe says: seconds where time or rate is known, else samples."""
NAMED = 8
"""Channels, or recordings, that a note names one by one."""


class MissingSettings(BaseModel):
    """What becomes of missing values (NaN).

    Attributes:
        fill: ``refuse`` them; ``drop`` cuts out every sample in which a channel has none; ``hold`` repeats the
            channel's last value; ``interpolate`` draws a line between its values before and after.
        limit: how far a held value is carried, and how far apart the values on both sides of an interpolated one may
            be: samples, or seconds ("1 s"). 1 s unless given, 10 samples where neither time nor rate is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fill: Literal["refuse", "drop", "hold", "interpolate"] = "refuse"
    limit: Annotated[int, Field(strict=True)] | str | None = None

    @field_validator("limit")
    @classmethod
    def _is_length(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            try:
                number, _ = parse_length(value, "missing.limit")
            except InputError as error:
                raise ValueError(str(error).removeprefix("data.missing.limit: ")) from error
            if not number:
                raise ValueError(f"a limit is above 0, got {value!r}")
        return value


Missing = Annotated[
    MissingSettings,
    BeforeValidator(lambda value: {"fill": value} if isinstance(value, str) else value),
    Said("refuse, drop, hold, interpolate, or a mapping such as {fill: hold, limit: 1 s}"),
]
"""As a recipe may write it: one word, or a mapping."""


@dataclass(frozen=True)
class Filled:
    """A recording whose missing values were looked at.

    Attributes:
        values: (T, C); the array that was given where nothing was filled. What remains missing is NaN.
        kept: (T,) samples with a value in every channel; the others are to be cut out, and the recording split there.
            Where missing values are refused, all are kept, since nothing was decided.
        missing: (C,) how many values each channel lacked.
        filled: (C,) how many of these have one now.
    """

    values: Values
    kept: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]


def fill(
    values: Values,
    seconds: npt.NDArray[np.float64] | None,
    rate: float | None,
    settings: MissingSettings,
    channels: Sequence[str],
) -> Filled:
    """Fill a recording's missing values, as far as its settings allow.

    Nothing is known before a channel's first value, and when interpolating nothing after its last: what is missing
    there stays so.

    Args:
        values: (T, C), NaN where missing; infinite values are none that are missing.
        seconds: (T,) rising time stamps, where there are any; they need not be even.
        rate: Hz, if known.
        settings: what to do.
        channels: their names, for messages.

    Raises:
        InputError: for a limit in seconds where neither time stamps nor a rate are known.
    """
    if values.shape[1] != len(channels):
        raise ValueError(f"{values.shape[1]} channels, but {len(channels)} names")
    absent = np.isnan(values)
    missing = absent.sum(axis=0, dtype=np.int64)
    filled = np.zeros_like(missing)
    if settings.fill == "refuse" or not missing.any():
        return Filled(values, np.ones(len(values), dtype=bool), missing, filled)
    if settings.fill != "drop":
        clock, limit = _clock(len(values), seconds, rate, settings)
        values = values.copy()
        for channel in np.flatnonzero((missing > 0) & (missing < len(values))):
            rows, new = _fillable(values[:, channel], absent[:, channel], clock, limit, settings.fill == "hold")
            values[rows, channel] = new
            absent[rows, channel] = False
            filled[channel] = len(rows)
    return Filled(values, np.asarray(~absent.any(axis=1)), missing, filled)


def _clock(
    samples: int, seconds: npt.NDArray[np.float64] | None, rate: float | None, settings: MissingSettings
) -> tuple[npt.NDArray[np.float64], float]:
    """Each sample's time, in seconds or samples, and the limit in the same unit."""
    in_time = seconds is not None or rate is not None
    if settings.limit is None:
        limit, unit = (LIMIT_SECONDS, "s") if in_time else (LIMIT_SAMPLES, "samples")
    else:
        limit, unit = parse_length(settings.limit, "missing.limit")
    numbers = np.arange(samples, dtype=np.float64)
    if unit == "samples":
        return numbers, limit
    if seconds is not None:
        return seconds, limit
    if rate is None:
        raise InputError(
            f"data.missing.limit: {settings.limit!r} is in seconds, but the data's rate is unknown; set data.rate, or "
            "give a number of samples"
        )
    return numbers / rate, limit


def _fillable(
    channel: Values, absent: npt.NDArray[np.bool_], clock: npt.NDArray[np.float64], limit: float, hold: bool
) -> tuple[npt.NDArray[np.int64], Values]:
    """Which samples of a channel can be filled within the limit, and their values."""
    limit *= 1 + 1e-6  # time stamps are rounded
    known, rows = np.flatnonzero(~absent), np.flatnonzero(absent)
    after = np.searchsorted(known, rows)  # each row lies between known values after - 1 and after
    if hold:
        rows, after = rows[after > 0], after[after > 0]
        before = known[after - 1]
        near = clock[rows] - clock[before] <= limit
        return rows[near], channel[before[near]]
    inside = (after > 0) & (after < len(known))
    rows, before, behind = rows[inside], known[after[inside] - 1], known[after[inside]]
    near = clock[behind] - clock[before] <= limit
    rows = rows[near]
    return rows, np.interp(clock[rows], clock[known], channel[known]).astype(channel.dtype)


class Filling:
    """Fills recordings one after the other, and knows in the end what is to be told of all.

    Args:
        settings: what to do.
        channels: their names.
        where: the source, for messages.
    """

    def __init__(self, settings: MissingSettings, channels: Sequence[str], where: str) -> None:
        self.settings, self.channels, self.where = settings, channels, where
        self.samples = self.cut = 0
        self.missing = np.zeros(len(channels), dtype=np.int64)
        self.filled = np.zeros(len(channels), dtype=np.int64)
        self.lacking: dict[str, list[str]] = {}  # channels without any value, by recording
        self.whole = 0  # recordings, and how many of them are cut out whole
        self.gone = 0
        self.timed = False
        self.first = ""

    def add(
        self,
        name: str,
        values: Values,
        seconds: npt.NDArray[np.float64] | None,
        rate: float | None,
        place: Callable[[int], str] = "sample {}".format,
    ) -> Filled:
        """A recording's values (T, C), filled as :func:`fill` does.

        Args:
            name: what messages call the recording.
            values, seconds, rate: as :func:`fill` takes them.
            place: calls a sample by its place, such as its line in a file.
        """
        result = fill(values, seconds, rate, self.settings, self.channels)
        self.whole += 1
        self.timed = self.timed or seconds is not None or rate is not None
        self.gone += not result.kept.any()
        self.samples += len(values)
        self.cut += int((~result.kept).sum())
        self.missing += result.missing
        self.filled += result.filled
        if not self.first and result.missing.any():
            sample, channel = np.argwhere(np.isnan(values))[0]
            self.first = f"recording {name!r}, channel {self.channels[channel]!r}, {place(int(sample))}"
        empty = [self.channels[channel] for channel in np.flatnonzero(result.missing == len(values)) if len(values)]
        if empty:
            self.lacking[name] = empty
        return result

    def notes(self) -> list[str]:
        """What to tell once all recordings are through; nothing where no value was missing.

        Raises:
            InputError: where missing values are refused, or where none of the recordings has a sample left.
        """
        if not self.missing.any():
            return []
        count = int(self.missing.sum())
        if self.settings.fill == "refuse":
            raise InputError(
                f"{self.where}: {count} values are missing ({self._by_channel()}); the first is in {self.first}. "
                + HELP
                + self._lacking()
            )
        if self.cut == self.samples:
            raise InputError(
                f"{self.where}: no sample is left, since values are missing in all of them ({self._by_channel()}); "
                f"data.missing is {self.settings.fill}. {HELP}{self._lacking()}"
            )
        said = f"{count} values are missing ({self._by_channel()})"
        if self.settings.fill != "drop":
            how = "held" if self.settings.fill == "hold" else "interpolated"
            said += f"; {int(self.filled.sum())} were {how}, within {self._limit()}"
        if self.cut:
            share = _percent(self.cut, self.samples)
            said += f"; {self.cut} of {self.samples} samples ({share}) were cut out, and recordings split there"
        gone = [f"{self.gone} of {self.whole} recordings had no sample left and were left out"] if self.gone else []
        return [said + self._lacking(), *gone]

    def _by_channel(self) -> str:
        """``hr: 400, 91 %; acc_x: 12, 0.3 %``."""
        order = [c for c in np.argsort(-self.missing, kind="stable") if self.missing[c]]
        shown = order if len(order) <= NAMED else order[: NAMED - 1]
        named = [f"{self.channels[c]}: {self.missing[c]}, {_percent(self.missing[c], self.samples)}" for c in shown]
        return "; ".join(named) + (f"; and {len(order) - len(shown)} more channels" if len(order) > len(shown) else "")

    def _lacking(self) -> str:
        if not self.lacking:
            return ""
        named = [f"{name!r} has none at all of {', '.join(them)}" for name, them in list(self.lacking.items())[:NAMED]]
        more = f" and {len(self.lacking) - NAMED} more such" if len(self.lacking) > NAMED else ""
        return f"; recording {', recording '.join(named)}{more}"

    def _limit(self) -> str:
        limit = self.settings.limit
        if limit is None:
            return f"{LIMIT_SECONDS:g} s" if self.timed else f"{LIMIT_SAMPLES:g} samples"
        number, unit = parse_length(limit, "missing.limit")
        return f"{number:g} {unit}"


HELP = (
    "Set data.missing: drop cuts such samples out, hold repeats a channel's last value, interpolate fills between "
    "neighbours; or leave such channels out"
)
"""Which settings help against missing values."""


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return "under 0.1 %" if share < 0.1 else f"{share:.2g} %" if share < 99 else f"{share:.3g} %"
