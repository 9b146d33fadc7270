"""Lengths of time as a recipe gives them: samples or seconds."""

from __future__ import annotations

import re
from typing import Literal

from overtone.errors import InputError


def parse_length(length: int | str, name: str) -> tuple[float, Literal["s", "samples"]]:
    """A length's number and unit: samples (``100`` or ``"100 samples"``, a whole number) or seconds (``"2 s"``).

    Raises:
        InputError: for any other text.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|seconds?|samples?)?\s*", str(length))
    if match is None or isinstance(length, bool):
        raise InputError(f"data.{name}: a length is samples (100) or seconds ('2 s'), got {length!r}")
    if len(match[1]) > 18:
        raise InputError(f"data.{name}: {str(length)[:24]!r}... is longer than any recording")
    number, unit = float(match[1]), match[2] or "samples"
    if not unit.startswith("sample"):
        return number, "s"
    if number != int(number):
        raise InputError(f"data.{name}: {length!r} is no whole number of samples; for seconds write '{length} s'")
    return number, "samples"


def in_samples(length: int | str, rate: float | None, name: str) -> int:
    """A length in samples.

    Raises:
        InputError: for text that is no length, one below one sample, or seconds without a known rate.
    """
    number, unit = parse_length(length, name)
    if unit == "s":
        if rate is None:
            raise InputError(f"data.{name}: {length!r} is in seconds, but the data's rate is unknown; set data.rate")
        number = round(min(number * rate, 1e18))
    if number < 1:
        raise InputError(f"data.{name}: {length!r} is less than one sample")
    return int(number)
