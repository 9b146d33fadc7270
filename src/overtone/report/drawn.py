"""What the task draws of the test side: a section for each of its drawings, with one of every row."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from overtone.report import shown
from overtone.report.figures import figure_box, image_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, plural, scroll, section, tag
from overtone.report.plot import Panel
from overtone.report.training import row_title
from overtone.shown import Drawing, Matrix, Numbers, Points
from overtone.study import TableRow

MANY_CLASSES = 10
MOST_CLASSES = 30
MOST_PAIRS = 12
CELLS = 48
"""Rows and columns of a cloud of points."""
WIDE = (540, 220)
"""Of panels that a task draws."""


def drawn_by_task(folder: Folder) -> dict[str, Html]:
    """A section for each drawing, over folds and seeds, by its name; nothing where the task draws nothing."""
    drawings = [(row, folder.shown_of(row)) for row in folder.rows]
    names = dict.fromkeys(name for _, by_name in drawings for name in by_name)
    return {name: _section(folder, name, [(row, by_name.get(name)) for row, by_name in drawings]) for name in names}


def _section(folder: Folder, name: str, drawings: Sequence[tuple[TableRow, Drawing | None]]) -> Html:
    """One section; rows without such a drawing have no result."""
    first = next(drawing for _, drawing in drawings if drawing is not None)
    if isinstance(first, Points):
        return _clouds(folder, name, first, [(row, one) for row, one in drawings if isinstance(one, Points)])
    if isinstance(first, Numbers):
        return _numbers(folder, name, first, [(row, one) for row, one in drawings if isinstance(one, Numbers)])
    if isinstance(first, Matrix):
        alike = [(row, one) for row, one in drawings if one is None or isinstance(one, Matrix)]
        return _matrices(folder, name, first, alike)
    boxes = []
    for row, one in drawings:
        if one is None or isinstance(one, (Matrix, Points, Numbers)):
            boxes.append(figure_box(row_title(row), note("No result.")))
        else:
            boxes += [shown.box(folder, row_title(row), one, number, WIDE) for number in range(shown.count(one))]
    about = f"Of test {folder.noun}s, {folder.at}."
    return section(name, first.title, note(about), tag("div", *boxes, class_="panels"))


def _clouds(folder: Folder, name: str, first: Points, drawn: list[tuple[TableRow, Points]]) -> Html:
    every = np.concatenate([points.values for _, points in drawn])
    low, high = (float(edge) for edge in (np.nanmin(every), np.nanmax(every)))
    high = high if high > low else low + 1
    boxes = [figure_box(row_title(row), _cloud(points, low, high)) for row, points in drawn]
    about = f"{first.caption} {folder.at.capitalize()}."
    return section(name, first.title, note(about), tag("div", *boxes, class_="panels"))


def _numbers(folder: Folder, name: str, first: Numbers, drawn: list[tuple[TableRow, Numbers]]) -> Html:
    """One table: a line for each name, a column for each row of the study."""
    titles = [" from ".join(filter(None, (row.method, ", ".join(row.teachers)))) for row, _ in drawn]
    head = tag("tr", *[tag("th", title, scope="col") for title in (first.head, *titles)])
    names = dict.fromkeys(key for _, one in drawn for key in one.values)
    lines = [
        tag("tr", tag("th", key, scope="row"), *[tag("td", one.values.get(key) or "–") for _, one in drawn])
        for key in names
    ]
    about = f"{first.caption} {folder.at.capitalize()}."
    table = scroll(tag("table", tag("thead", head), tag("tbody", *lines), class_="plain"), first.title)
    return section(name, first.title, note(about), table)


def _cloud(shown: Points, low: float, high: float) -> Html:
    """How many points lie where, both axes alike, so that the diagonal is where both numbers are equal."""
    counts, _, _ = np.histogram2d(shown.values[:, 1], shown.values[:, 0], bins=CELLS, range=[[low, high], [low, high]])
    panel = Panel(shown.x, shown.y, shown.title, (240, 232))
    return image_panel(panel, counts, (low, high, low, high), "viridis", (0.0, max(1.0, float(counts.max()))), 0.5)


def _matrices(folder: Folder, name: str, first: Matrix, drawn: list[tuple[TableRow, Matrix | None]]) -> Html:
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
        name,
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
