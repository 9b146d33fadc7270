"""A panel's frame as SVG: two axes with ticks and words, and where values lie between them.

Colours are CSS variables, so that figures follow the page's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import LogLocator, MaxNLocator

from overtone.report.html import Content, Html, escape, join

FloatArray: TypeAlias = npt.NDArray[np.float64]
MARGIN = 10
"""Round a panel, in CSS pixels, where no axis needs more."""
LETTER = 7
"""About how wide a digit is, in CSS pixels; axes' names keep clear of them."""


@dataclass(frozen=True)
class Panel:
    """The frame of a panel: what its axes say and what it is, for those who cannot see it."""

    x: str
    y: str
    alt: str
    size: tuple[int, int] = (380, 240)


@dataclass(frozen=True)
class Axis:
    """The values at an axis' two ends, and where its ticks are; equal steps are equal factors on a logarithmic one."""

    low: float
    high: float
    ticks: FloatArray
    log: bool = False

    @classmethod
    def over(cls, low: float, high: float, locator: MaxNLocator | LogLocator | None, log: bool = False) -> Axis:
        """From one value to another, with the ticks that a locator places; none without."""
        ticks = np.zeros(0) if locator is None else np.asarray(locator.tick_values(low, high))
        edge = 1e-9 * (high - low)
        return cls(low, high, ticks[(ticks >= low - edge) & (ticks <= high + edge)], log)

    @classmethod
    def around(cls, values: FloatArray, margin: float, locator: MaxNLocator | LogLocator, log: bool = False) -> Axis:
        """Over all finite values, with a margin beyond them that is a fraction of their range."""
        usable = values[np.isfinite(values) & ((values > 0) | (not log))]
        low, high = (float(usable.min()), float(usable.max())) if len(usable) else (0.0, 1.0)
        if low == high:
            low, high = low - (0.05 * abs(low) or 0.05), high + (0.05 * abs(high) or 0.05)
        if not log:
            return cls.over(low - margin * (high - low), high + margin * (high - low), locator)
        more = (high / low) ** margin
        return cls.over(low / more, high * more, locator, log)

    def position(self, values: FloatArray) -> FloatArray:
        """Where values lie, from 0 at the low end to 1 at the high one."""
        if self.log:
            return np.log(values / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    @property
    def labels(self) -> list[str]:
        """The ticks' numbers, all with as many digits behind the point as any needs, and with a true minus sign."""
        step = float(np.diff(self.ticks).min()) if len(self.ticks) > 1 else 1.0
        large = bool((np.abs(self.ticks) >= 1e5).any())
        digits = next((d for d in range(9) if np.abs(self.ticks - self.ticks.round(d)).max(initial=0) < step / 100), 9)
        if self.log or large or digits > 5:
            return [f"{tick:g}".replace("-", "−") for tick in self.ticks]
        return [f"{round(float(tick), digits) + 0.0:.{digits}f}".replace("-", "−") for tick in self.ticks]  # no -0


class Plot:
    """Where values lie in a panel; margins are fixed, so that panels of one row line up."""

    def __init__(self, panel: Panel, x: Axis, y: Axis) -> None:
        self.panel, self.x, self.y = panel, x, y
        width, height = panel.size
        self.left, self.right = 52 if width > 300 or panel.y else MARGIN, width - MARGIN
        self.top, self.bottom = MARGIN, height - (40 if panel.x or panel.y else MARGIN)

    def place(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values in CSS pixels from the panel's left and upper edge."""
        along = self.left + self.x.position(x) * (self.right - self.left)
        return along, self.bottom - self.y.position(y) * (self.bottom - self.top)

    def path(self, x: FloatArray, y: FloatArray) -> str:
        """A line through points, with a gap where one is not finite; a pen's moves as ``<path d>`` has them."""
        finite = np.isfinite(x) & np.isfinite(y)
        along, up = self.place(np.where(finite, x, self.x.low), np.where(finite, y, self.y.low))
        moves, down = [], False
        for here, px, py in zip(finite, along, up, strict=True):
            if here:
                moves.append(f"{'L' if down else 'M'}{px:.1f} {py:.1f}")
            down = bool(here)
        return "".join(moves)

    def svg(self, *inside: Content, grid: bool = False) -> Html:
        """The panel: what is inside, its frame, and the axes' ticks, numbers and names."""
        width, height = self.panel.size
        return Html(
            f'<svg class="panel" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(self.panel.alt)}">{self._grid() if grid else ""}{join(*inside)}'
            f'<path class="frame" d="M{self.left} {self.top}V{self.bottom}H{self.right}{self._ticks()}"/>'
            f"{self._words()}</svg>\n"
        )

    def _at(self) -> tuple[FloatArray, FloatArray]:
        """Where the ticks of both axes are, in pixels along each."""
        middle = np.asarray([self.y.low]), np.asarray([self.x.low])
        return self.place(self.x.ticks, middle[0])[0], self.place(middle[1], self.y.ticks)[1]

    def _grid(self) -> str:
        lines = "".join(f"M{self.left} {y:.1f}H{self.right}" for y in self._at()[1])
        return f'<path class="grid" d="{lines}"/>'

    def _ticks(self) -> str:
        x, y = self._at()
        below = "".join(f"M{at:.1f} {self.bottom}v3" for at in x)
        return below + "".join(f"M{self.left} {at:.1f}h-3" for at in y)

    def _words(self) -> str:
        x, y = self._at()
        middle, level = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        words = [_word(at, self.bottom + 15, label) for at, label in zip(x, self.x.labels, strict=True)]
        words += [_word(self.left - 6, at + 4, label, anchor="end") for at, label in zip(y, self.y.labels, strict=True)]
        words.append(_word(middle, self.bottom + 30, self.panel.x))
        side = (
            self.left - 12 - max((LETTER * (len(label) - label.count(".") / 2) for label in self.y.labels), default=0)
        )
        if side >= 0:  # wide numbers leave no room for the axis' name
            words.append(_word(max(side, 9), level, self.panel.y, turned=True))
        return "".join(words)


def _word(x: float, y: float, text: str, anchor: str = "", turned: bool = False) -> str:
    if not text:
        return ""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    side = f' style="text-anchor:{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{side}{turn}>{escape(text)}</text>'


def all_values(parts: Sequence[FloatArray | None]) -> FloatArray:
    """Everything that an axis must hold, in one array."""
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts if part is not None])
