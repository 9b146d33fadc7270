"""What came out, in a few sentences, and how rows are compared with the student alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overtone.report.folder import Folder
from overtone.report.html import Html, join, plural, tag
from overtone.study import Estimate, RowKind, TableRow
from overtone.study.collect import Counted, apart, by_fold
from overtone.tasks import Metric


@dataclass(frozen=True)
class _Gain(Counted):
    """A row's score minus the baseline's, positive where better."""

    gain: float = 0.0


@dataclass(frozen=True)
class Paired:
    """A row's score minus the baseline's, over the folds and seeds that both have; ``better`` counts of its n."""

    estimate: Estimate
    better: int

    @classmethod
    def of(cls, row: TableRow, base: TableRow) -> Paired | None:
        """None without a common fold and seed."""
        of_base = {(v.fold, v.seed): v for v in base.values}
        both = [(v, of_base[v.fold, v.seed]) for v in row.values if (v.fold, v.seed) in of_base]
        # Rounded, so that equal scores differ by exactly nothing.
        pairs = [
            _Gain(value.fold, value.seed, value.cells + other.cells, round(row.score(value) - base.score(other), 9))
            for value, other in both
        ]
        gains = by_fold(pairs, lambda pair: pair.gain)
        estimate = Estimate.of(gains)
        better = sum(row.metric.gain(gain) > 0 for gain in apart(gains))
        return cls(estimate, better) if estimate else None


def headline(folder: Folder) -> Html:
    """Facts in one line, then what came of it in two or three sentences."""
    study, data = folder.study, folder.study.data
    facts = [
        plural(len(study.folds), "fold"),
        plural(len(study.seeds), "seed"),
        None if folder.of_images else plural(len(data.groups), folder.material.group, folder.material.groups),
        plural(data.windows, folder.noun),
        plural(len(data.targets.columns), *data.targets.column) if data.targets.column[0] else None,
        plural(len(data.channels), "channel") + (f" at {data.rate:g} Hz" if data.rate else ""),
    ]
    return join(
        tag("p", " · ".join(filter(None, [*facts, data.targets.fact])), class_="facts"),
        tag("p", join(*(join(s, " ") for s in _sentences(folder))), class_="headline"),
    )


def _sentences(folder: Folder) -> list[Html]:
    base = folder.baseline()
    sentences = [_best_distilled(folder.rows, base)]
    teachers = [row for row in folder.rows if row.kind == RowKind.TEACHER and row.estimate]
    if teachers:
        best = max(teachers, key=lambda row: row.merit)
        student = next((r for r in folder.rows if r.kind == RowKind.METHOD and r.parameters), None)
        size = ""
        if student and student.parameters and best.parameters:
            size = f" and has {best.parameters / student.parameters:.3g} times the student’s parameters"
        name = tag("strong", best.method.removeprefix("teacher "))
        sentences.append(join("The best teacher alone, ", name, ", reaches ", _score(best), size, "."))
    missing = sum(folder.result(key) is None for key in folder.study.cells)
    if missing:
        cells = f"{missing} of {plural(len(folder.study.cells), 'cell')}"
        verb = "has" if missing == 1 else "have"
        sentences.append(join(tag("a", f"{cells} {verb} no result", href="#cells"), ", so some rows have a smaller n."))
    return sentences


def _best_distilled(rows: Sequence[TableRow], base: TableRow | None) -> Html:
    distilled = [row for row in rows if row.kind == RowKind.METHOD and row is not base]
    scored = [row for row in distilled if row.estimate]
    if not distilled:
        text = f"The student alone reaches {_score(base)}. " if base and base.estimate else ""
        return join(text, "This study distils nothing: its recipe has no row but ", tag("code", "none"), ".")
    if not scored:
        return join("No distilled row has a result yet.")
    if base is None or base.estimate is None:
        best = max(scored, key=lambda row: row.merit)
        why = "the recipe has no row none" if base is None else "none has no result"
        return join("Best distilled row: ", _name(best), ", ", _score(best), f". Nothing to compare it with: {why}.")
    pairs = [(row, paired) for row in scored if (paired := Paired.of(row, base))]
    if not pairs:
        return join("No distilled row shares a fold and seed with the student alone, so nothing can be compared.")
    metric = base.metric
    best, difference = max(pairs, key=lambda pair: metric.gain(pair[1].estimate.mean))
    above = sum(metric.gain(paired.estimate.mean) > 0 for _, paired in pairs)
    alone = join("the student alone (", tag("code", base.method), f": {_score(base, ', ')})")
    apart = len(scored) - len(pairs)
    left = f" {plural(apart, 'row')} without a common fold and seed could not be compared." if apart else ""
    if not above:
        return join(
            "No distilled row beats ", alone, ". The nearest, ", _name(best), ", reaches ", _score(best),
            ": ", _difference(difference, metric), ".", left,
        )  # fmt: skip
    several = ""
    if len(pairs) > 1:
        several = (
            f" It is the best of {len(pairs)} rows by this very number, which flatters it. {above} of them lie "
            f"{_above(metric)} the student alone on average."
        )
    return join(
        "Best distilled row: ", _name(best), ", ", _score(best), ", against ", alone, ": ",
        _difference(difference, metric), ".", several, left,
    )  # fmt: skip


def _above(metric: Metric) -> str:
    return "above" if metric.better == "higher" else "below"


def _difference(paired: Paired, metric: Metric) -> str:
    estimate = paired.estimate
    difference = f"{signed(estimate, metric)} {metric.points}".rstrip()
    if estimate.n == 1:
        return f"a difference of {difference} in one run, from which no spread can be told"
    return (
        f"a paired difference of {difference} ({estimate.counted}, {metric.better} in {paired.better} of {estimate.n})"
    )


def _name(row: TableRow) -> Html:
    teachers = f" from {', '.join(row.teachers)}" if row.teachers else ""
    return tag("strong", f"{row.method}{teachers}")


def _score(row: TableRow, between: str = " (") -> str:
    """``81.2 ± 3.4 % (n = 5 folds)``."""
    estimate = row.estimate
    if estimate is None:
        return "no result"
    end = ")" if between == " (" else ""
    return f"{estimate.text(row.metric)} {row.metric.unit}".rstrip() + f"{between}{estimate.counted}{end}"


def signed(estimate: Estimate, metric: Metric) -> str:
    """A difference as the metric is shown: ``+3.1 ± 1.2``, with a true minus sign."""
    spread = "" if estimate.std is None else f" ± {metric.text(estimate.std)}"
    mean = (
        f"{metric.factor * estimate.mean:+.{metric.digits}f}".replace("-", "−") if estimate.mean else metric.text(0.0)
    )
    return mean + spread
