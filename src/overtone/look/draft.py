"""What is known of some data before it is loaded: facts for the screen, and a recipe's ``data`` with its guesses.

And what came out when these were tried. Nothing here needs torch, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone.look.columns import Scan
from overtone.look.guess import Roles
from overtone.look.kinds import Kind
from overtone.look.sample import Sample
from overtone.look.timing import Timing

if TYPE_CHECKING:
    from overtone.data import Recordings, Windows

Watch = Callable[[str, int, int], None]
"""Hears what is being done, how much of it, and of how much."""


def unwatched(what: str, done: int, total: int) -> None:
    """Nobody hears."""


@dataclass(frozen=True)
class Setting:
    """A value in a recipe, and where it was guessed, why and what to change."""

    value: Any
    guess: str = ""


@dataclass
class Draft:
    """What was found.

    Attributes:
        path: as it was given.
        kind: what it is.
        facts: lines of what it is made of, such as ``("encoding", "utf-8")``.
        settings: a recipe's ``data``, without window and stride.
        sample: what stands for the data, where they are too large.
        scan, roles, timing: of tables.
        parted: what groups are where it is not known whether one person is in several: ``file`` or ``recording``.
        problems: why nothing can be learned from it, or what is needed; empty where a recipe can be written.
        notes: what a reader should know besides.
    """

    path: Path
    kind: Kind
    facts: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    sample: Sample | None = None
    scan: Scan | None = None
    roles: Roles | None = None
    timing: Timing | None = None
    parted: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the data that was looked at."""
        return 1.0 if self.sample is None else self.sample.share

    @property
    def data(self) -> dict[str, Any]:
        """A recipe's ``data``, as plain values."""
        return {name: setting.value for name, setting in self.settings.items()}


@dataclass
class Trial:
    """What came out.

    Attributes:
        recordings: as they were read, or a part of them.
        windows: cut from them.
        window, stride: settings, where any is needed.
        split: settings, with the reason and what a reader must know.
    """

    recordings: Recordings | None = None
    windows: Windows | None = None
    window: Setting | None = None
    stride: Setting | None = None
    split: Setting | None = None
