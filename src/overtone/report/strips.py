"""A strip of dots for every row of the table, all on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from overtone.report.html import Html, escape
from overtone.study import TableRow
from overtone.tasks import Metric

MANY_DOTS = 20
MOST_TICKS = 5


def _step(span: float, metric: Metric) -> float:
    """Between two ticks: 1, 2, 5, 10, 20 or 25 percent, or as round in other units."""
    if metric.unit == "%":
        return next(s for s in (1, 2, 5, 10, 20, 25) if span / s <= MOST_TICKS or s == 25)
    if span <= 0:
        return 10.0**-metric.digits
    unit = 10.0 ** math.floor(math.log10(span))
    return next(s for s in (0.2 * unit, 0.5 * unit, unit, 2 * unit, 5 * unit) if span / s <= MOST_TICKS)


@dataclass(frozen=True)
class Scale:
    """The common horizontal axis of the strips, in what the metric shows."""

    metric: Metric
    low: float
    high: float
    step: float

    WIDTH, HEIGHT, MARGIN = 196, 30, 12

    @classmethod
    def of(cls, rows: Sequence[TableRow], metric: Metric) -> Scale:
        """Round ends that hold every row's values."""
        values = [metric.factor * row.score(v) for row in rows for v in row.values]
        values = [value for value in values if math.isfinite(value)] or [0.0, 100.0]
        span = max(values) - min(values)
        step = _step(span, metric)
        low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
        if high - low <= step:  # room on both sides of values that hardly differ
            low, high = low - step, high + step
        least, most = metric.ends
        return cls(metric, low if least is None else max(least, low), high if most is None else min(most, high), step)

    def at(self, value: float) -> float:
        """Where a shown value lies."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(self.MARGIN + share * (self.WIDTH - 2 * self.MARGIN), 1)

    def axis(self) -> Html:
        """The numbers over the strips."""
        count = int(round((self.high - self.low) / self.step, 6))
        ticks = [self.low + number * self.step for number in range(count + 1)]
        texts = "".join(f'<text x="{self.at(tick):g}" y="13">{tick:g}</text>' for tick in ticks)
        return Html(f'<svg class="axis" width="{self.WIDTH}" height="18" aria-hidden="true">{texts}</svg>')

    def strip(self, row: TableRow, reference: float | None) -> Html:
        """One row's values as dots over its mean and standard deviation."""
        estimate, middle = row.estimate, self.HEIGHT / 2
        parts = [f'<path class="rule" d="M{self.at(self.low)} {middle}H{self.at(self.high)}"/>']
        if reference is not None:
            parts.append(f'<path class="reference" d="M{self.at(self.metric.factor * reference)} 0V{self.HEIGHT}"/>')
        label = "no result"
        if estimate:
            label = f"{self.metric.title} {estimate.text(self.metric)} {self.metric.unit}, {estimate.counted}".replace(
                " ,", ","
            )
            dots, spread = self._dots(row), []
            if estimate.std is not None:
                left, x, right = (
                    self.at(self.metric.factor * (estimate.mean + sign * estimate.std)) for sign in (-1, 0, 1)
                )
                spread = [f'<path class="interval" d="M{left} {middle}H{right}"/>']
                dots.append(f'<path class="mean" d="M{x} {middle - 7}V{middle + 7}"/>')
            # Few dots lie on the line; many would hide it.
            parts += [*spread, *dots] if len(row.values) <= MANY_DOTS else [*dots, *spread]
        return Html(
            f'<svg width="{self.WIDTH}" height="{self.HEIGHT}" class="{escape(row.kind)}" role="img" '
            f'aria-label="{label}">{"".join(parts)}</svg>'
        )

    def _dots(self, row: TableRow) -> list[str]:
        """Dots that would cover each other go to a neighbouring level, by value and not by chance."""
        radius, step = (2.8, 5) if len(row.values) <= MANY_DOTS else (1.8, 4)
        levels = {level * step: -99.0 for level in (0, -1, 1, -2, 2, *((-3, 3) if len(row.values) > MANY_DOTS else ()))}
        dots = []
        for value in sorted(row.values, key=lambda v: (row.score(v), v.fold, v.seed)):
            score = row.score(value)
            x = self.at(self.metric.factor * score)
            level = next((level for level, last in levels.items() if x - last >= 2 * radius), 0)
            levels[level] = x
            title = escape(f"fold {value.fold}, seed {value.seed}: {self.metric.with_unit(score)}")
            y = self.HEIGHT / 2 + level
            dots.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}"><title>{title}</title></circle>')
        return dots
