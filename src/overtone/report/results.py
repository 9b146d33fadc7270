"""What came out: the headline, and the table with a strip of dots for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overtone.report.folder import Folder
from overtone.report.html import Html, escape, join, note, plural, scroll, section, tag
from overtone.study import Estimate, TableRow, spread_over
from overtone.study.collect import apart, by_fold

GROUPS = {
    "method": "Students, by method",
    "branch": "Two-branch students with the signal alone",
    "teacher": "Teachers alone",
    "ensemble": "Teachers together",
}

MANY_DOTS = 20


@dataclass(frozen=True)
class Paired:
    """A row's accuracy minus the baseline's, over the folds and seeds that both have; ``higher`` counts of its n."""

    figure: Estimate
    higher: int

    @classmethod
    def of(cls, row: TableRow, base: TableRow) -> Paired | None:
        """None without a common fold and seed."""
        theirs = {(v["fold"], v["seed"]): v for v in base.values}
        both = [(v, theirs[v["fold"], v["seed"]]) for v in row.values if (v["fold"], v["seed"]) in theirs]
        # Rounded, so that equal scores differ by exactly nothing.
        pairs = [
            {
                "fold": mine["fold"],
                "cells": mine["cells"] + other["cells"],
                "gain": round(mine[row.shown]["accuracy"] - other[base.shown]["accuracy"], 9),
            }
            for mine, other in both
        ]
        gains = by_fold(pairs, lambda pair: float(pair["gain"]))
        figure = Estimate.of(gains)
        return cls(figure, sum(gain > 0 for gain in apart(gains))) if figure else None


def headline(folder: Folder) -> Html:
    """Facts in one line, then what came of it in two or three sentences."""
    study, data = folder.study, folder.study["data"]
    facts = [
        plural(len(study["folds"]), "fold"),
        plural(len(study["seeds"]), "seed"),
        None if folder.of_images else plural(len(data["groups"]), folder.material.group, folder.material.groups),
        plural(data["windows"], folder.noun),
        plural(len(data["classes"]), "class", "classes"),
        plural(len(data["channels"]), "channel") + (f" at {data['rate']:g} Hz" if data["rate"] else ""),
    ]
    totals = [sum(column) for column in zip(*data["counts"], strict=True)]
    most = max(range(len(totals)), key=totals.__getitem__)
    share = f"always guessing {data['classes'][most]} would be right for {100 * totals[most] / sum(totals):.0f} %"
    return join(
        tag("p", " · ".join([*filter(None, facts), share]), class_="facts"),
        tag("p", join(*(join(s, " ") for s in _sentences(folder))), class_="headline"),
    )


def _sentences(folder: Folder) -> list[Html]:
    base = folder.baseline()
    found = [_best_distilled(folder.rows, base)]
    teachers = [row for row in folder.rows if row.kind == "teacher" and row.accuracy]
    if teachers:
        best = max(teachers, key=_mean)
        student = next((r for r in folder.rows if r.kind == "method" and r.parameters), None)
        size = ""
        if student and student.parameters and best.parameters:
            size = f" and has {best.parameters / student.parameters:.3g} times the student’s parameters"
        name = tag("strong", best.method.removeprefix("teacher "))
        found.append(join("The best teacher alone, ", name, ", reaches ", _score(best), size, "."))
    missing = sum(folder.result(key) is None for key in folder.study["cells"])
    if missing:
        cells = f"{missing} of {plural(len(folder.study['cells']), 'cell')}"
        verb = "has" if missing == 1 else "have"
        found.append(join(tag("a", f"{cells} {verb} no result", href="#cells"), ", so some rows have a smaller n."))
    return found


def _best_distilled(rows: Sequence[TableRow], base: TableRow | None) -> Html:
    distilled = [row for row in rows if row.kind == "method" and row is not base]
    scored = [row for row in distilled if row.accuracy]
    if not distilled:
        text = f"The student alone reaches {_score(base)}. " if base and base.accuracy else ""
        return join(text, "This study distils nothing: its recipe has no row but ", tag("code", "none"), ".")
    if not scored:
        return join("No distilled row has a result yet.")
    if base is None or base.accuracy is None:
        best = max(scored, key=_mean)
        why = "the recipe has no row none" if base is None else "none has no result"
        return join("Best distilled row: ", _name(best), ", ", _score(best), f". Nothing to compare it with: {why}.")
    pairs = [(row, paired) for row in scored if (paired := Paired.of(row, base))]
    if not pairs:
        return join("No distilled row shares a fold and seed with the student alone, so nothing can be compared.")
    best, difference = max(pairs, key=lambda pair: pair[1].figure.mean)
    above = sum(paired.figure.mean > 0 for _, paired in pairs)
    score = base.accuracy
    alone = join("the student alone (", tag("code", base.method), f": {score} %, {score.counted})")
    apart = len(scored) - len(pairs)
    left = f" {plural(apart, 'row')} without a common fold and seed could not be compared." if apart else ""
    if not above:
        return join(
            "No distilled row beats ", alone, ". The nearest, ", _name(best), ", reaches ", _score(best),
            ": ", _difference(difference), ".", left,
        )  # fmt: skip
    several = ""
    if len(pairs) > 1:
        several = (
            f" It is the best of {len(pairs)} rows by this very number, which flatters it. {above} of them lie above "
            "the student alone on average."
        )
    return join(
        "Best distilled row: ", _name(best), ", ", _score(best), ", against ", alone, ": ",
        _difference(difference), ".", several, left,
    )  # fmt: skip


def _difference(paired: Paired) -> str:
    figure = paired.figure
    if figure.n == 1:
        return f"a difference of {signed(figure)} points in one run, from which no spread can be told"
    return f"a paired difference of {signed(figure)} points ({figure.counted}, higher in {paired.higher} of {figure.n})"


def _mean(row: TableRow) -> float:
    return row.accuracy.mean if row.accuracy else -1.0


def _name(row: TableRow) -> Html:
    teachers = f" from {', '.join(row.teachers)}" if row.teachers else ""
    return tag("strong", f"{row.method}{teachers}")


def _score(row: TableRow) -> str:
    figure = row.accuracy
    return f"{figure} % ({figure.counted})" if figure else "no result"


def signed(figure: Estimate) -> str:
    """A difference in points: ``+3.1 ± 1.2``, with a true minus sign."""
    spread = "" if figure.std is None else f" ± {100 * figure.std:.1f}"
    mean = f"{100 * figure.mean:+.1f}".replace("-", "−") if figure.mean else "0.0"
    return mean + spread


def table(folder: Folder) -> Html:
    """Every row of the study, in three groups."""
    alone = folder.baseline()
    scale = Scale.of(folder.rows)
    costly = any(row.adapters for row in folder.rows)
    sources = _sources(folder.rows)
    width = 13 + costly + bool(sources) - 2 * (not folder.validated)
    bodies = []
    for kind, title in GROUPS.items():
        rows = [row for row in folder.rows if row.kind == kind]
        if rows:
            head = tag("tr", tag("th", title, colspan=width, scope="rowgroup"), class_="group")
            bodies.append(
                tag(
                    "tbody",
                    head,
                    "\n",
                    *[_line(row, _same_part(folder.rows, alone, row), scale, folder, costly, sources) for row in rows],
                )
            )
    caption = tag("caption", "Test scores of every row", class_="unseen")
    side = folder.material.groups
    last: list[Html | str] = [tag("b", "ratio"), ": parameters of the biggest teacher over this row’s."]
    if costly:
        last = [tag("b", "adapters"), ": parameters trained besides the model and thrown away. "]
        last += [tag("b", "seconds"), ": training time of one cell, which other work on the machine lengthens."]
    single = all(row.accuracy is None or row.accuracy.std is None for row in folder.rows)
    whole = tag(
        "table",
        caption,
        _head(scale, costly, bool(sources), folder),
        *bodies,
        class_=" ".join(["results", *["single"] * single, *["costly"] * costly]),
    )
    return section(
        "results",
        "Results",
        scroll(whole, "Table of results"),
        note(
            f"Scores on the test {side}, mean ± standard deviation {spread_over(folder.rows, side)}. ",
            *_not_independent(folder),
            tag("b", "macro-F1"),
            f": F1 averaged over the classes that occur among a fold’s test {side}. ",
            *(
                [tag("b", "best"), ": the epoch with the highest validation accuracy (the earlier on ties); "]
                if folder.validated
                else ["There is no validation side, so no epoch was chosen. "]
            ),
            tag("b", "last"),
            ": the last epoch. ",
            f"Each dot is one fold and seed {folder.at}; the line over them mean ± standard deviation, the dashed line "
            "the student alone. ",
            tag("b", "difference"),
            f": accuracy {folder.at} minus the student alone’s in points, paired by fold and seed. ",
            *last,
        ),
        _source_note(sources),
    )


def _not_independent(folder: Folder) -> list[str]:
    """What the deviation does not say."""
    if all(row.folds < 2 for row in folder.rows):
        several = any(row.seeds > 1 for row in folder.rows)
        return ["Seeds repeat the training on one split; other test data would spread the scores further. "] * several
    return (
        []
        if folder.of_images
        else [f"Folds share training {folder.material.groups}, so the values are not independent. "]
    )


def _source_note(sources: dict[str, int]) -> Html | None:
    """What the numbers in the column of published figures mean."""
    if not sources:
        return None
    said = "; ".join(f"{number}: {source}" for source, number in sources.items())
    return note(tag("b", "published"), f": top-1 accuracy in the literature, by its own protocol. {said}.")


def _head(scale: Scale, costly: bool, published: bool, folder: Folder) -> Html:
    best = ["best"] if folder.validated else []

    def spread(text: str, columns: int) -> Html:
        return tag("th", text, colspan=columns, scope="colgroup")

    def column(text: str, number: bool = True) -> Html:
        return tag("th", text, scope="col", class_="number" if number else "names")

    first = [
        tag("td"),
        *[tag("td", class_="names")] * 2,
        spread("Test accuracy, %", 3 + published + len(best)),
        spread("Macro-F1, %", 1 + len(best)),
        tag("th", "folds ×", scope="col", class_="number"),
        *([spread("Size", 2), spread("Training", 2)] if costly else [spread("Size", 3)]),
    ]
    second = [tag("th", "Method", scope="col"), column("Teachers", False), column("Model", False)]
    unseen = tag("span", f"{folder.at}, every fold and seed", class_="unseen")
    second.append(tag("th", unseen, scale.axis(), scope="col"))
    names = [*best, "last", "difference", *["published"] * published]
    names += [*best, "last", "seeds", "params", "MACs"]
    second += [column(name) for name in names]
    second += [column(name) for name in (("adapters", "seconds") if costly else ("ratio",))]
    return tag("thead", tag("tr", *first, class_="over"), tag("tr", *second))


def _sources(rows: Sequence[TableRow]) -> dict[str, int]:
    """Where published figures were read, numbered from 1."""
    found = dict.fromkeys(row.reference["source"] for row in rows if row.reference)
    return {source: number for number, source in enumerate(found, start=1)}


def _published(row: TableRow, sources: dict[str, int]) -> list[Html]:
    """A cell with the published figure, where the table has such a column."""
    if not sources:
        return []
    if row.reference is None:
        return [tag("td", "–", class_="number")]
    mark = tag("sup", sources[row.reference["source"]])
    return [tag("td", f"{row.reference['accuracy']:g}", mark, class_="number")]


def _line(
    row: TableRow, base: TableRow | None, scale: Scale, folder: Folder, costly: bool, sources: dict[str, int]
) -> Html:
    chosen = folder.validated

    def number(content: Html | str) -> Html:
        return tag("td", content, class_="number")

    name = row.method.removeprefix("teacher ") if row.kind == "teacher" else row.method
    model = {"signal": f"{row.student}, signal branch"}.get(row.part, ", ".join(filter(None, (row.student, row.part))))
    teachers, long = ", ".join(row.teachers), "long" if len(name) > 16 else None
    paired = Paired.of(row, base) if base and row is not base else None
    reference = base.accuracy.mean if base and base.accuracy else None
    done = len(row.values)
    count = join(f"{row.folds} × {row.seeds}")
    if row.missing:
        count = tag("span", f"{done} of {done + row.missing}", class_="warn")
    seconds = folder.seconds(row) if costly else None
    last = ["–" if row.size_ratio is None else f"{row.size_ratio:.3g}\u202f×"]
    if costly:  # in place of the ratio, which parameters tell as well
        last = [short(row.adapters), "–" if seconds is None else f"{seconds:.0f}"]
    line = tag(
        "tr",
        tag(
            "th",
            name,
            tag("span", " · ".join(t for t in (teachers, model) if t), class_="narrow"),
            scope="row",
            class_=long,
        ),
        tag("td", teachers or "–", class_="names"),
        tag("td", model or "–", class_="names"),
        tag("td", scale.strip(row, reference), class_="strip"),
        *([number(_figure(row.accuracy_best))] if chosen else []),
        number(_figure(row.accuracy_last)),
        number(_paired_cell(paired, row)),
        *_published(row, sources),
        *([number(_figure(row.macro_f1_best))] if chosen else []),
        number(_figure(row.macro_f1_last)),
        number(count),
        number(short(row.parameters)),
        number(short(row.macs)),
        *[number(cost) for cost in last],
    )
    return join(line, "\n")


def _same_part(rows: Sequence[TableRow], alone: TableRow | None, row: TableRow) -> TableRow | None:
    """The student alone, in the part of it that a row is about."""
    if alone is None or not row.part:
        return alone
    return next((other for other in rows if other.id == f"{alone.id}.{row.part}"), None)


def _figure(figure: Estimate | None) -> Html | str:
    if figure is None:
        return "–"
    spread = "" if figure.std is None else f"± {100 * figure.std:.1f}"
    return join(f"{100 * figure.mean:.1f} ", tag("span", spread, class_="sd"))


def _paired_cell(paired: Paired | None, row: TableRow) -> Html | str:
    if paired is None:
        return "–"
    mean, _, spread = signed(paired.figure).partition(" ")
    own = row.accuracy_best
    fewer = "" if own and paired.figure.counted == own.counted else paired.figure.counted
    below = tag("span", fewer, class_="pairs") if fewer and spread else None
    return join(f"{mean} ", tag("span", spread or fewer, class_="sd"), below)


def short(count: int | None) -> str:
    """A count in three digits: ``28.4 k``, ``1.16 M``."""
    if count is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}\u202f{unit}" if count / size < 999.5 else f"{count / size:.0f}\u202f{unit}"
    return str(count)


@dataclass(frozen=True)
class Scale:
    """The common horizontal axis of the strips, in percent."""

    low: float
    high: float
    step: int

    WIDTH, HEIGHT, MARGIN = 196, 30, 12

    @classmethod
    def of(cls, rows: Sequence[TableRow]) -> Scale:
        """Round ends that hold every row's values."""
        values = [100 * v[row.shown]["accuracy"] for row in rows for v in row.values] or [0.0, 100.0]
        span = max(values) - min(values)
        step = next(s for s in (1, 2, 5, 10, 20, 25) if span / s <= 5 or s == 25)
        low, high = int(min(values) // step) * step, -int(-max(values) // step) * step
        if high - low <= step:  # room on both sides of values that hardly differ
            low, high = low - step, high + step
        return cls(max(0, low), min(100, high), step)

    def at(self, value: float) -> float:
        """Where a value in percent lies."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(self.MARGIN + share * (self.WIDTH - 2 * self.MARGIN), 1)

    def axis(self) -> Html:
        """The numbers over the strips."""
        ticks = range(int(self.low), int(self.high) + 1, self.step)
        texts = "".join(f'<text x="{self.at(tick):g}" y="13">{tick}</text>' for tick in ticks)
        return Html(f'<svg class="axis" width="{self.WIDTH}" height="18" aria-hidden="true">{texts}</svg>')

    def strip(self, row: TableRow, reference: float | None) -> Html:
        """One row's values as dots over its mean and standard deviation."""
        figure, middle = row.accuracy, self.HEIGHT / 2
        parts = [f'<path class="rule" d="M{self.at(self.low)} {middle}H{self.at(self.high)}"/>']
        if reference is not None:
            parts.append(f'<path class="reference" d="M{self.at(100 * reference)} 0V{self.HEIGHT}"/>')
        label = "no result"
        if figure:
            label = f"accuracy {figure} %, {figure.counted}"
            dots, spread = self._dots(row), []
            if figure.std is not None:
                left, x, right = (self.at(100 * (figure.mean + sign * figure.std)) for sign in (-1, 0, 1))
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
        for value in sorted(row.values, key=lambda v: (v[row.shown]["accuracy"], v["fold"], v["seed"])):
            percent = 100 * value[row.shown]["accuracy"]
            x = self.at(percent)
            level = next((level for level, last in levels.items() if x - last >= 2 * radius), 0)
            levels[level] = x
            title = escape(f"fold {value['fold']}, seed {value['seed']}: {percent:.1f} %")
            y = self.HEIGHT / 2 + level
            dots.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}"><title>{title}</title></circle>')
        return dots
