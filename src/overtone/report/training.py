"""How training went: curves by term, and what the task draws of the test side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from overtone.report.figures import Line, dot_key, figure_box, image_panel, legend, line_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, plural, scroll, section, tag
from overtone.report.plot import FloatArray, Panel
from overtone.study import RowKind, TableRow
from overtone.study.records import EpochRow, ScalarDescription
from overtone.tasks import Matrix, Metric, Points

Epochs = list[EpochRow]
MANY_CLASSES = 10
MOST_CLASSES = 30
MOST_PAIRS = 12
CELLS = 48
"""Rows and columns of a cloud of points."""


def curves(folder: Folder) -> Html:
    """Scores and terms by epoch, a group of panels for every row that was trained."""
    shown = [row for row in folder.rows if row.kind in (RowKind.METHOD, RowKind.TEACHER)]
    distilled = [row for row in shown if row.kind == RowKind.METHOD and row is not folder.baseline() and row.figure]
    first = max(distilled, key=lambda row: row.merit, default=None)
    opened = [row for row in (folder.baseline(), first) if row is not None] or shown[:1]
    parts = [_row_curves(folder, row, row in opened) for row in shown]
    return section(
        "curves",
        "Training, term by term",
        note(
            "Mean over a row’s finished folds and seeds; the band spans their lowest and highest. Terms are shown as "
            "the methods return them and as they enter the loss (weight × term). A vertical axis is logarithmic where "
            "values differ by more than fiftyfold. Rows open at their names.",
        ),
        *parts,
    )


def row_title(row: TableRow) -> Html:
    """A row's name with its teachers and model in small print."""
    teachers = (
        f"from {', '.join(row.teachers)}" if row.teachers and row.kind in (RowKind.METHOD, RowKind.BRANCH) else ""
    )
    model = "all teachers" if row.kind == RowKind.ENSEMBLE else " · ".join(filter(None, (row.student, row.part)))
    return join(tag("b", row.method), tag("span", " · ".join(t for t in (teachers, model) if t), class_="sub"))


def _row_curves(folder: Folder, row: TableRow, opened: bool) -> Html:
    keys = [keys[0] for _, _, keys in folder.cells_of(row) if folder.result(keys[0]) is not None]
    runs = {key: epochs for key in keys if (epochs := folder.epochs(key))}
    if not runs:
        given = next((text for key in keys if (text := folder.given(key))), None)
        why = (given or "the rows of its epochs cannot be read") if keys else "no cell of this row is done"
        return details(row_title(row), note(f"No curves: {why}."), open_=opened)
    best, watched = [], folder.watched
    task_terms = folder.task.terms if folder.task else ()
    of_val = _score(watched, lambda row: row.val)
    for key, epochs in runs.items():
        result = folder.result(key)
        at = None if result is None else result.best_epoch
        best += [(float(r.epoch), value) for r in epochs if r.epoch == at and (value := of_val(r)) is not None]
    count = plural(len(runs), "run")
    lost = f" {plural(len(keys) - len(runs), 'file')} of epochs cannot be read." if len(keys) > len(runs) else ""
    first = folder.result(next(iter(runs)))
    scalars = {} if first is None else first.scalars
    panels = _panels(list(runs.values()), best, row.method, watched, task_terms, scalars)
    summary = join(row_title(row), tag("span", count, class_="count"))
    return details(summary, tag("div", *panels, class_="panels"), note(lost) if lost else None, open_=opened)


def _score(metric: Metric, of: Callable[[EpochRow], dict[str, float] | None]) -> Callable[[EpochRow], float | None]:
    """A score of an epoch, as it is shown; None where it has none."""

    def found(row: EpochRow) -> float | None:
        value = (of(row) or {}).get(metric.key)
        return None if value is None else metric.factor * value

    return found


def _panels(
    runs: Sequence[Epochs],
    best: list[tuple[float, float]],
    name: str,
    watched: Metric,
    task_terms: Sequence[str],
    scalars: Mapping[str, ScalarDescription],
) -> list[Html]:
    terms = list(dict.fromkeys(term for run in runs for row in run for term in row.terms))
    terms.sort(key=lambda term: term not in task_terms)
    validation = _line("validation", runs, _score(watched, lambda row: row.val), 0)
    chosen = any(row.val is not None for run in runs for row in run)
    training = _line("training", runs, _score(watched, lambda row: row.train), 1, dashed=True)
    plain = [_line(term, runs, _unweighted(term), n) for n, term in enumerate(terms)]
    weighted = [_line(term, runs, _weighted(term), n) for n, term in enumerate(terms)]
    total = _line("total", runs, lambda row: row.total, -1, band=False)

    phases = _phases(runs[0])
    marks = [first - 0.5 for first, _, _ in phases[1:]]

    def panel(y: str, what: str) -> Panel:
        return Panel("epoch", y, f"{what} of {name} by epoch")

    title = watched.title[:1].upper() + watched.title[1:]
    frame = panel(watched.head, f"{'Training and validation' if chosen else 'Training'} {watched.title}")
    trained = any(watched.key in row.train for run in runs for row in run)
    drawn = [*([validation] if chosen else []), *([training] if trained else [])]
    dots = [dot_key(validation, "best epoch")] if chosen else []
    boxes = [figure_box(title, legend(drawn, dots), line_panel(frame, drawn, best, whole_x=True, marks=marks))] * bool(
        drawn
    )
    boxes += [
        figure_box(
            "Terms, unweighted" if len(terms) > 1 else "The only term, unweighted",
            legend(plain),
            line_panel(panel("mean of the epoch", "Unweighted terms"), plain, whole_x=True, marks=marks),
        ),
    ]
    # With the task's own term alone at weight 1 this panel would repeat the one before.
    if len(terms) > 1 or any(row.weights.get(t) != 1 for run in runs for row in run for t in terms):
        drawn = [*weighted, total]
        inner = line_panel(panel("weight × mean", "Weighted terms and their total"), drawn, whole_x=True, marks=marks)
        boxes.append(figure_box("Terms as they enter the loss", legend(drawn), inner))
    boxes += _scalar_boxes(runs, scalars, marks)
    if phases:
        listed = "; ".join(f"{name}, epochs {first} to {last}" for first, last, name in phases)
        boxes.append(note(f"Phases, parted by dashed lines: {listed}."))
    return boxes


def _phases(run: Epochs) -> list[tuple[int, int, str]]:
    """First and last epoch and name of each phase; none where training had none."""
    phases: list[tuple[int, int, str]] = []
    for row in run:
        if row.phase is None:
            continue
        if phases and phases[-1][2] == row.phase:
            phases[-1] = (phases[-1][0], row.epoch, row.phase)
        else:
            phases.append((row.epoch, row.epoch, row.phase))
    return phases


def _scalar_boxes(
    runs: Sequence[Epochs], descriptions: Mapping[str, ScalarDescription], marks: Sequence[float]
) -> list[Html]:
    """Numbers that methods follow, those of one method and title in one panel, under that method's own words."""
    keys = dict.fromkeys(key for run in runs for row in run for key in row.scalars)
    panels: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        method, _, name = key.partition(".")
        about = descriptions.get(key) or ScalarDescription(title=name)
        panels.setdefault((method, about.title, about.axis, about.caption), []).append(key)
    boxes = []
    for (_, title, axis, caption), group in panels.items():
        drawn = [_line(key.partition(".")[2], runs, _scalar(key), n) for n, key in enumerate(group)]
        panel = Panel("epoch", axis, f"{title} by epoch")
        inner = line_panel(panel, drawn, whole_x=True, marks=marks)
        boxes.append(figure_box(title, legend(drawn), inner, *([note(caption)] if caption else [])))
    return boxes


def _scalar(key: str) -> Callable[[EpochRow], float | None]:
    return lambda row: row.scalars.get(key)


def _unweighted(term: str) -> Callable[[EpochRow], float | None]:
    return lambda row: row.terms.get(term)


def _weighted(term: str) -> Callable[[EpochRow], float | None]:
    """A term's share of the loss; None in epochs where it has no value."""

    def of(row: EpochRow) -> float | None:
        weight, value = row.weights.get(term), row.terms.get(term)
        return None if weight is None or value is None else weight * value

    return of


def _line(
    name: str,
    runs: Sequence[Epochs],
    of: Callable[[EpochRow], float | None],
    colour: int,
    dashed: bool = False,
    band: bool = True,
) -> Line:
    """Mean, lowest and highest value by epoch over runs; a value that is absent leaves a gap."""
    epochs = sorted({row.epoch for run in runs for row in run})
    place = {epoch: n for n, epoch in enumerate(epochs)}
    values = np.full((len(runs), len(epochs)), np.nan)
    for number, run in enumerate(runs):
        for row in run:
            value = of(row)
            values[number, place[row.epoch]] = np.nan if value is None else value
    known = np.isfinite(values).any(0)
    mean, low, high = (np.full(len(epochs), np.nan) for _ in range(3))
    mean[known], low[known], high[known] = (f(values[:, known], axis=0) for f in (np.nanmean, np.nanmin, np.nanmax))
    x: FloatArray = np.asarray(epochs, dtype=np.float64)
    wide = band and len(runs) > 1
    return Line(name, x, mean, colour, dashed, low if wide else None, high if wide else None)


def drawn_by_task(folder: Folder) -> dict[str, Html]:
    """What the task draws of every row, over folds and seeds, by its name; nothing where it draws nothing."""
    drawn = [(row, folder.shown_of(row)) for row in folder.rows]
    first = next((shown for _, shown in drawn if shown is not None), None)
    if first is None:
        return {}
    if isinstance(first, Points):
        return {first.name: _clouds(folder, first, [(row, one) for row, one in drawn if isinstance(one, Points)])}
    return {
        first.name: _matrices(
            folder, first, [(row, one) for row, one in drawn if one is None or isinstance(one, Matrix)]
        )
    }


def _clouds(folder: Folder, first: Points, drawn: list[tuple[TableRow, Points]]) -> Html:
    every = np.concatenate([points.values for _, points in drawn])
    low, high = (float(edge) for edge in (np.nanmin(every), np.nanmax(every)))
    high = high if high > low else low + 1
    boxes = [figure_box(row_title(row), _cloud(points, low, high)) for row, points in drawn]
    about = f"{first.caption} {folder.at.capitalize()}."
    return section(first.name, first.title, note(about), tag("div", *boxes, class_="panels"))


def _cloud(shown: Points, low: float, high: float) -> Html:
    """How many points lie where, both axes alike, so that the diagonal is where both numbers are equal."""
    counts, _, _ = np.histogram2d(shown.values[:, 1], shown.values[:, 0], bins=CELLS, range=[[low, high], [low, high]])
    panel = Panel(shown.x, shown.y, shown.title, (240, 232))
    return image_panel(panel, counts, (low, high, low, high), "viridis", (0.0, max(1.0, float(counts.max()))), 0.5)


def _matrices(folder: Folder, first: Matrix, drawn: list[tuple[TableRow, Matrix | None]]) -> Html:
    """A matrix for every row; with many classes folded, with very many only the most frequent pairs."""
    size = len(first.labels)
    many, large = size > MANY_CLASSES, size > MOST_CLASSES
    boxes: list[Html] = []
    for row, drawing in drawn:
        if drawing is None:
            boxes.append(tag("figure", tag("figcaption", row_title(row)), note("No result.")))
            continue
        runs = tag("span", plural(len(row.values), "run"), class_="count")
        matrix = scroll((_most_frequent if large else _matrix)(drawing), f"{drawing.title} of {row.method}")
        if many:
            boxes.append(details(join(row_title(row), runs), matrix, open_=not boxes))
        else:
            boxes.append(tag("figure", tag("figcaption", row_title(row), runs), matrix))
    side = f"{folder.noun}s"
    about = f"With {size} classes only {first.off_diagonal[0]} are shown." if large else first.caption
    return section(
        first.name,
        first.title,
        note(f"Numbers of test {side}, summed over folds and seeds, {folder.at}. {about}"),
        tag("div", *boxes, class_=None if many else "matrices", style=f"--columns:{size}"),
    )


def _most_frequent(shown: Matrix) -> Html:
    """The most frequent pairs beside the diagonal, where a whole matrix would be too large to read."""
    counts, labels = shown.counts, shown.labels
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    lines = []
    for truth, guess in zip(*np.unravel_index(order, wrong.shape), strict=True):
        share = f"{100 * wrong[truth, guess] / max(int(counts[truth].sum()), 1):.0f} %"
        cells = (labels[truth], labels[guess], int(wrong[truth, guess]), share)
        lines.append(tag("tr", *[tag("td", cell) for cell in cells]))
    head = tag("tr", *[tag("th", name, scope="col") for name in shown.off_diagonal[1]])
    return tag("table", tag("thead", head), tag("tbody", *lines), class_="plain")


def _matrix(shown: Matrix) -> Html:
    """One matrix as a table; colours in eleven steps of the row's share."""
    counts, labels = shown.counts, shown.labels
    upright = max(len(name) for name in labels) <= 4 and len(labels) <= 12
    heads = [tag("th", tag("span", name), scope="col", title=name) for name in labels]
    lines = [tag("tr", tag("td"), *heads, class_="heads" if upright else "heads turned")]
    totals = counts.sum(1)
    for number, name in enumerate(labels):
        shares = counts[number] / max(int(totals[number]), 1)
        cells = [
            tag("td", int(count), class_=f"c{round(10 * float(share))}" + " hit" * (number == column))
            for column, (count, share) in enumerate(zip(counts[number], shares, strict=True))
        ]
        lines.append(tag("tr", tag("th", name, scope="row", title=name), *cells))
    # Every cell has a class; without quotes they take a sixth less of the page.
    body = re.sub(r'<td class="(c\d+)">', r"<td class=\1>", join(*lines))
    return tag("table", Html(body), class_="matrix")
