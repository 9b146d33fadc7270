"""A first look as a page: one file that needs no network."""

from __future__ import annotations

from importlib import resources

import numpy as np

from overtone.data import Windows
from overtone.look.draft import Draft, Trial
from overtone.look.draw import Example, examples
from overtone.look.timing import hertz
from overtone.report.figures import Line, line_panel
from overtone.report.html import Content, Html, join, note, plural, scroll, section, tag
from overtone.report.plot import Panel

MOST_LINES = 8
"""Channels of a figure, as many as the page has colours."""
POINTS = 600
MOST_SCALE = 40
"""Times a channel's deviation that one axis for all may span."""
MOST_ROWS = 300
"""Columns, or classes, that a table lists."""


def page(draft: Draft, trial: Trial, recipe: str | None) -> Html:
    """The whole page.

    Args:
        draft, trial: what was found.
        recipe: its text, where one can be written.
    """
    title = draft.path.name or str(draft.path)
    header = tag(
        "header",
        tag("p", "Overtone look", class_="kind"),
        tag("h1", title),
        tag("ul", [tag("li", tag("b", name), " ", fact) for name, fact in draft.facts], class_="notes facts"),
    )
    parts: list[Html] = []
    if draft.problems:
        parts.append(
            section("problems", "No recipe yet", [tag("p", problem, class_="warn") for problem in draft.problems])
        )
    if draft.scan is not None:
        parts.append(_columns(draft))
    if trial.windows is not None:
        parts.append(_windows(draft, trial, trial.windows))
        if trial.recordings is not None:
            parts.append(_signals(examples(trial.recordings, trial.windows), trial.windows))
    if recipe is not None:
        parts.append(section("recipe", "Recipe", tag("pre", recipe, class_="code", tabindex=0)))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · Overtone look"),
        tag("style", Html((resources.files("overtone.report") / "page.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", header, "\n", tag("main", [join(part, "\n") for part in parts]))
    return join(Html("<!DOCTYPE html>\n"), tag("html", head, "\n", body, lang="en"), "\n")


def _columns(draft: Draft) -> Html:
    scan, roles = draft.scan, draft.roles
    assert scan is not None
    assert roles is not None
    why = {guess.column: guess.why for guess in roles.guesses} | roles.neither
    lacking = any(column.missing or column.wrong for column in scan.columns)
    heads = ["column", "taken as", "holds", "range", *(["missing"] if lacking else []), "why"]
    rows = []
    for column in scan.columns[:MOST_ROWS]:
        missing = f"{column.missing:,}" if column.missing else ""
        missing += f" ({column.wrong:,} no number)" if column.wrong else ""
        role = roles.of(column.name)
        because = why.get(column.name, roles.why("channels") if role == "channel" else "")
        cells = [role, column.holds, column.range, *([missing] if lacking else []), because]
        rows.append(tag("tr", tag("th", column.name, scope="row"), [tag("td", cell) for cell in cells]))
    table = tag(
        "table",
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", rows),
        class_="plain",
    )
    names = [column.name for column in scan.columns]
    first = tag(
        "table",
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])),
        tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in scan.first]),
        class_="plain",
    )
    outside = [guess for guess in roles.guesses if guess.column == "files' names"]
    told = [note(tag("b", guess.role), f" from the files' names: {guess.why}") for guess in outside]
    return section(
        "columns", "Columns", scroll(table, "Columns"), told, tag("h3", "First rows"), scroll(first, "First rows")
    )


def _windows(draft: Draft, trial: Trial, windows: Windows) -> Html:
    about = "about " if draft.share < 1 else ""
    timing = draft.timing
    lines: list[Content] = []
    if timing is not None:
        gaps = f"{plural(timing.gaps, 'gap')}, the longest {timing.longest:.3g} s" if timing.gaps else "no gaps"
        lines.append(f"Time stamps in {timing.unit or 'dates'}, {hertz(timing.rate)} Hz, {gaps}.")
    for name, setting in (("Window", trial.window), ("Stride", trial.stride), ("Split", trial.split)):
        if setting is not None:
            value = "" if name == "Split" else f"{setting.value}, "
            lines.append(f"{name}: {value}{setting.guess}.")
    lines += [f"{name}." for name in (*draft.notes, *(windows.notes if draft.share == 1 else ()))]
    count = round(len(windows) / draft.share)
    groups = plural(len(windows.groups), windows.material.group, windows.material.groups)
    content: list[Content] = [
        tag("p", f"{about}{plural(count, windows.noun)} from {groups}.", class_="headline"),
        [note(line) for line in lines],
    ]
    if windows.classes:
        counts = np.bincount(windows.y, minlength=len(windows.classes))
        most = int(counts.max())
        rows = [
            tag(
                "tr",
                tag("th", name or '""', scope="row"),
                tag("td", f"{round(own / draft.share):,}", class_="number"),
                tag(
                    "td",
                    Html(
                        f'<svg width="200" height="10" aria-hidden="true"><rect width="{200 * own / most:.1f}" '
                        'height="10" fill="var(--series-0)"/></svg>'
                    ),
                ),
            )
            for name, own in list(zip(windows.classes, counts.tolist(), strict=True))[:MOST_ROWS]
        ]
        table = tag("table", tag("tbody", rows), class_="plain")
        content += [tag("h3", f"{windows.noun.capitalize()}s of each class"), scroll(table, "Windows of each class")]
    return section("windows", "As recordings", content)


def _signals(shown: list[Example], windows: Windows) -> Html:
    """One figure a class."""
    figures = []
    drawn = [example.values[:MOST_LINES].astype(np.float64) for example in shown]
    spread, middle = np.nanstd(np.hstack(drawn), axis=1), np.nanmean(np.hstack(drawn), axis=1)
    whole = float(np.nanmax(np.hstack(drawn)) - np.nanmin(np.hstack(drawn)))
    alike = bool((spread[spread > 0] * MOST_SCALE >= whole).all())
    scale, zero = (np.ones_like(spread), 0 * middle) if alike else (np.where(spread > 0, spread, 1.0), middle)
    for example, values in zip(shown, drawn, strict=True):
        samples = example.values.shape[1]
        time = np.arange(samples) / (example.rate or 1.0)
        lines = [
            Line(name, time, (values[number] - zero[number]) / scale[number], number)
            for number, name in enumerate(windows.channels[:MOST_LINES])
        ]
        axis = "seconds" if example.rate else "samples"
        panel = Panel(axis, "", f"Signals of one recording of {example.name}", (380, 200))
        caption = tag(
            "figcaption",
            tag("b", example.name or '""'),
            tag("span", f"{example.length}, {example.place}", class_="sub"),
        )
        figures.append(tag("figure", caption, line_panel(panel, lines, most=POINTS)))
    names = windows.channels[:MOST_LINES]
    legend = tag(
        "ul",
        [
            tag(
                "li",
                Html(
                    f'<svg width="16" height="8" aria-hidden="true"><path d="M0 4H16" stroke="var(--series-{n})" '
                    'stroke-width="2"/></svg>'
                ),
                name,
            )
            for n, name in enumerate(names)
        ],
        class_="legend",
    )
    more = len(windows.channels) - len(names)
    notes = [note(f"{plural(more, 'more channel')} not drawn.")] if more else []
    if not alike:
        notes.append(note("Channels differ much in scale, so each is drawn in its own standard deviations."))
    return section("signals", "One recording of each class", legend, notes, tag("div", figures, class_="panels"))
