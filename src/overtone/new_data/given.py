"""What is given to a student: windows of a file, and which column of a table is what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from overtone.data import (
    Windows,
)
from overtone.formats.clock import TimeUnit

Watch = Callable[[str, int, int], None]
"""Hears what is under way, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Columns:
    """Which column of a text table is what, where it is not as in training; channels have the student's own names."""

    recording: str | None = None
    time: str | None = None
    label: str | None = None
    time_unit: TimeUnit | None = None


@dataclass(frozen=True)
class Given:
    """A file's windows, and their labels where asked for (as its task has them).

    Attributes:
        windows: their ``x`` is read when it is asked for, from front to back.
        recordings: names of what ``windows.recording`` counts; None where their numbers are their names.
        streamed: samples of a recording that nobody has looked through yet; None where somebody has.
    """

    windows: Windows
    recordings: Sequence[str] | None
    streamed: int | None = None
