"""What came out: the table, with a strip of dots for every row."""

from __future__ import annotations

from collections.abc import Sequence

from overtone.report.folder import Folder
from overtone.report.headline import Paired, signed
from overtone.report.html import Html, join, note, scroll, section, tag
from overtone.report.strips import Scale
from overtone.study import Estimate, RowKind, TableRow, spread_over
from overtone.study.records import Checkpoint
from overtone.tasks import Metric

MOST_WIDE = 2
"""Metrics that are shown at best and at last."""
GROUPS = {
    RowKind.METHOD: "Students, by method",
    RowKind.BRANCH: "Two-branch students with the signal alone",
    RowKind.TEACHER: "Teachers alone",
    RowKind.ENSEMBLE: "Teachers together",
    RowKind.BASELINE: "Without a gradient",
}


def table(folder: Folder) -> Html:
    """Every row of the study, in three groups."""
    alone = folder.baseline()
    scale = Scale.of(folder.rows, folder.headline)
    costly = any(row.adapters for row in folder.rows)
    sources = _sources(folder.rows)
    metrics = folder.metrics
    width = 9 + costly + bool(sources) + sum(len(_columns(folder, number)) for number in range(len(metrics)))
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
    single = all(row.estimate is None or row.estimate.std is None for row in folder.rows)
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
        _about(folder, costly),
        _source_note(sources, metrics[0]),
    )


def _about(folder: Folder, costly: bool) -> Html:
    """What the columns mean."""
    side, headline = folder.material.groups, folder.headline
    last: list[Html | str] = [tag("b", "ratio"), ": parameters of the biggest teacher over this row’s."]
    if costly:
        last = [tag("b", "adapters"), ": parameters trained besides the model and thrown away. "]
        last += [tag("b", "seconds"), ": training time of one cell, which other work on the machine lengthens."]
    return note(
        f"Scores on the test {side}, mean ± standard deviation {spread_over(folder.rows, side)}. ",
        *_not_independent(folder),
        *[
            text
            for metric in folder.metrics
            if metric.about
            for text in (tag("b", metric.title), f": {metric.about.format(side=side)}. ")
        ],
        *(
            [tag("b", "best"), f": the epoch with the {_chosen_by(folder)} (the earlier on ties); "]
            if folder.validated
            else ["There is no validation side, so no epoch was chosen. "]
        ),
        tag("b", "last"),
        ": the last epoch. ",
        f"Each dot is one fold and seed {folder.at}; the line over them mean ± standard deviation, the dashed line "
        "the student alone. ",
        tag("b", "difference"),
        f": {headline.title} {folder.at} minus the student alone’s{_in(headline.points)}, paired by fold and seed. ",
        *last,
        *_fitted(folder.rows),
    )


def _fitted(rows: Sequence[TableRow]) -> list[Html | str]:
    """What stands in the columns of a row that has no epochs."""
    if all(row.kind != RowKind.BASELINE for row in rows):
        return []
    about = ": fitted once on the training side; nothing is chosen on another, so what it gives stands in every column."
    return [" ", tag("b", "without a gradient"), about]


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def _chosen_by(folder: Folder) -> str:
    """``lowest validation loss``."""
    watched = folder.watched
    return f"{watched.better.replace('lower', 'low')}est validation {watched.title}".replace("higherest", "highest")


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


def _source_note(sources: dict[str, int], metric: Metric) -> Html | None:
    """What the numbers in the column of published values mean."""
    if not sources:
        return None
    listed = "; ".join(f"{number}: {source}" for source, number in sources.items())
    return note(tag("b", "published"), f": {metric.title} in the literature, by its own protocol. {listed}.")


def _head(scale: Scale, costly: bool, published: bool, folder: Folder) -> Html:
    best = ["best"] if folder.validated else []

    def spread(text: str, columns: int) -> Html:
        return tag("th", text, colspan=columns, scope="colgroup")

    def column(text: str, number: bool = True) -> Html:
        return tag("th", text, scope="col", class_="number" if number else "names")

    first = [
        tag("td"),
        *[tag("td", class_="names")] * 2,
        spread(f"Test {folder.headline.head}", 3 + published + len(best)),
        *[spread(_capital(m.head), len(_columns(folder, n))) for n, m in enumerate(folder.metrics) if n],
        tag("th", "folds ×", scope="col", class_="number"),
        *([spread("Size", 2), spread("Training", 2)] if costly else [spread("Size", 3)]),
    ]
    second = [tag("th", "Method", scope="col"), column("Teachers", False), column("Model", False)]
    unseen = tag("span", f"{folder.at}, every fold and seed", class_="unseen")
    second.append(tag("th", unseen, scale.axis(), scope="col"))
    names = [*best, "last", "difference", *["published"] * published]
    names += [which for n in range(1, len(folder.metrics)) for which in _columns(folder, n)]
    names += ["seeds", "params", "MACs"]
    second += [column(name) for name in names]
    second += [column(name) for name in (("adapters", "seconds") if costly else ("ratio",))]
    return tag("thead", tag("tr", *first, class_="over"), tag("tr", *second))


def _columns(folder: Folder, number: int) -> tuple[Checkpoint, ...]:
    """The checkpoints at which a metric is shown; behind the first of many only one, for all would be too wide."""
    if not folder.validated:
        return ("last",)
    return ("best",) if number and len(folder.metrics) > MOST_WIDE else ("best", "last")


def _sources(rows: Sequence[TableRow]) -> dict[str, int]:
    """Where published values were read, numbered from 1."""
    unique = dict.fromkeys(row.reference.source for row in rows if row.reference)
    return {source: number for number, source in enumerate(unique, start=1)}


def _published(row: TableRow, sources: dict[str, int]) -> list[Html]:
    """A cell with the published value, where the table has such a column."""
    if not sources:
        return []
    if row.reference is None:
        return [tag("td", "–", class_="number")]
    mark = tag("sup", sources[row.reference.source])
    return [tag("td", f"{row.reference.value:g}", mark, class_="number")]


def _line(
    row: TableRow, base: TableRow | None, scale: Scale, folder: Folder, costly: bool, sources: dict[str, int]
) -> Html:
    def number(content: Html | str) -> Html:
        return tag("td", content, class_="number")

    name = row.method.removeprefix("teacher ") if row.kind == RowKind.TEACHER else row.method
    model = {"signal": f"{row.student}, signal branch"}.get(row.part, ", ".join(filter(None, (row.student, row.part))))
    teachers, long = ", ".join(row.teachers), "long" if len(name) > 16 else None
    paired = Paired.of(row, base) if base and row is not base else None
    reference = base.estimate.mean if base and base.estimate else None
    done = len(row.values)
    count = join(f"{row.folds} × {row.seeds}")
    if row.missing:
        count = tag("span", f"{done} of {done + row.missing}", class_="warn")
    seconds = folder.seconds(row) if costly else None
    last = ["–" if row.size_ratio is None else f"{row.size_ratio:.3g}\u202f×"]
    if costly:  # in place of the ratio, which parameters tell as well
        last = [short(row.adapters), "–" if seconds is None else f"{seconds:.0f}"]
    estimates = [
        [number(_estimate(row.estimates.get((metric.key, which)), metric)) for which in _columns(folder, n)]
        for n, metric in enumerate(folder.metrics)
    ]
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
        *estimates[0],
        number(_paired_cell(paired, row)),
        *_published(row, sources),
        *[cell for cells in estimates[1:] for cell in cells],
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


def _estimate(estimate: Estimate | None, metric: Metric) -> Html | str:
    if estimate is None:
        return "–"
    spread = "" if estimate.std is None else f"± {metric.text(estimate.std)}"
    return join(f"{metric.text(estimate.mean)} ", tag("span", spread, class_="sd"))


def _paired_cell(paired: Paired | None, row: TableRow) -> Html | str:
    if paired is None:
        return "–"
    mean, _, spread = signed(paired.estimate, row.metric).partition(" ")
    estimate = row.estimates.get((row.metric.key, "best"))
    fewer = "" if estimate and paired.estimate.counted == estimate.counted else paired.estimate.counted
    below = tag("span", fewer, class_="pairs") if fewer and spread else None
    return join(f"{mean} ", tag("span", spread or fewer, class_="sd"), below)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def short(count: int | None) -> str:
    """A count in three digits: ``28.4 k``, ``1.16 M``."""
    if count is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}\u202f{unit}" if count / size < 999.5 else f"{count / size:.0f}\u202f{unit}"
    return str(count)
