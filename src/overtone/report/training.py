"""How training went: curves by term."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from overtone.epochs import EpochRow
from overtone.report.figures import Line, dot_key, figure_box, legend, line_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, plural, section, tag
from overtone.report.plot import FloatArray, Panel
from overtone.study import RowKind, TableRow
from overtone.study.records import ScalarDescription
from overtone.tasks import Metric

Epochs = list[EpochRow]


def curves(folder: Folder) -> Html:
    """Scores and terms by epoch, a group of panels for every row that was trained."""
    shown = [row for row in folder.rows if row.kind in (RowKind.METHOD, RowKind.TEACHER)]
    distilled = [row for row in shown if row.kind == RowKind.METHOD and row is not folder.baseline() and row.estimate]
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
