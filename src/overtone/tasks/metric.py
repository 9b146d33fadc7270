"""A number by which predictions are judged, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One number by which predictions are judged.

    Attributes:
        key: its name in files, ``rmse``.
        title: its name in tables.
        unit: of what is shown, ``%``; empty without.
        better: which way is better.
        factor: what is shown is the value times this, 100 for shares in percent.
        digits: after the point.
        ends: the least and the largest value that can be shown; None without.
        about: what it is, for the page; ``{side}`` stands for what the test side is made of.
    """

    key: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    factor: float = 1.0
    digits: int = 3
    ends: tuple[float | None, float | None] = (None, None)
    about: str = ""

    @property
    def head(self) -> str:
        """Its title with its unit, ``MAE, kcal``."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def points(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit == "%" else self.unit

    def text(self, value: float) -> str:
        """A value as it is shown, without its unit: a share of 0.8123 is ``81.2``."""
        return f"{self.factor * value:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """``81.2 %``."""
        return f"{self.text(value)} {self.unit}".rstrip()

    def gain(self, value: float) -> float:
        """The value, or its negative where lower is better: the larger the better."""
        return value if self.better == "higher" else -value


LOSS = Metric("loss", "loss", better="lower")
"""Watched where a validation side has no labels."""
