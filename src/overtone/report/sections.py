"""The other parts of the page: cells without a result, notes, the split, what it ran on, the recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from overtone.recipe import Recipe
from overtone.report.folder import Folder, Trouble
from overtone.report.html import Html, details, join, note, plural, scroll, section, tag
from overtone.study import RowKind

MOST_FOLDS_IN_WORDS = 12


def cells(folder: Folder) -> Html:
    """Failed and missing cells with what to do, and everything a reader should be warned of."""
    total, troubles = len(folder.study.cells), folder.troubles()
    failed = [trouble for trouble in troubles if trouble.failed]
    waiting = [trouble for trouble in troubles if not trouble.failed]
    parts: list[Html] = []
    if not troubles:
        parts.append(
            tag("p", f"All {total} cells of the study are done." if total > 1 else "The study’s one cell is done.")
        )
    else:
        counted = f"{total - len(troubles)} of {plural(total, 'cell')} are done, {len(failed)} failed"
        parts.append(tag("p", f"{counted}, {len(waiting)} did not run to the end."))
        parts.append(
            note(
                "In the commands, RECIPE stands for the study’s recipe and DIR for this page’s folder. A cell runs "
                "together with what it needs; running the study again goes on with all of them.",
            )
        )
    parts += [_failed(trouble) for trouble in failed]
    if waiting:
        items = [tag("li", tag("b", t.title), " ", t.message, tag("br"), tag("code", command(t.key))) for t in waiting]
        summary = f"{plural(len(waiting), 'cell')} without a result and without an error"
        parts.append(details(summary, tag("ul", *items, class_="waiting"), open_=len(waiting) <= 8))
    notes = [*folder.warnings, *folder.study.data.notes]
    if notes:
        parts.append(tag("h3", "Warnings and notes"))
        parts.append(tag("ul", *[tag("li", text) for text in notes], class_="notes"))
    else:
        parts.append(note("No warnings: all cells ran in one environment, and the data has no notes."))
    return section("cells", "Cells and warnings", *parts)


def command(key: str) -> str:
    """How to run one cell alone."""
    return f"overtone run RECIPE --out DIR --only {key}"


def _failed(trouble: Trouble) -> Html:
    after = f"after {plural(trouble.epochs, 'finished epoch')}" if trouble.epochs else "before its first epoch ended"
    return tag(
        "div",
        tag("p", tag("b", trouble.title), tag("span", f"failed {after}", class_="sub")),
        tag("pre", trouble.message),
        tag("p", "Run it alone: ", tag("code", command(trouble.key))),
        details("Traceback", tag("pre", trouble.traceback)) if trouble.traceback else None,
        class_="failed",
    )


def split(folder: Folder) -> Html:
    """Who is on which side in which fold, and what the windows are."""
    data = folder.study.data
    if folder.of_images:
        return section("split", "Who is where", _image_sides(folder))
    length = data.window
    seconds = f" ({folder.length / data.rate:g} s)" if data.rate else ""
    groups = folder.material.groups
    nobody = "Nobody" if groups == "people" else f"No {folder.material.group}"
    return section(
        "split",
        "Who is where",
        note(
            f"{nobody} is on two sides of a fold. {_chooses(folder, groups)}; test {groups} are reported. ",
            f"A window is {length} samples{seconds}, cut every {data.stride} samples.",
        ),
        tag("div", _sides(folder), _windows(folder), class_="beside"),
    )


def _chooses(folder: Folder, who: str) -> str:
    if folder.validated:
        return f"Validation {who} choose the best epoch"
    return "There is no validation side: nothing chooses an epoch, the last is taken"


def _image_sides(folder: Folder) -> Html:
    """How many images each side has, and what they are."""
    data = folder.study.data
    height, width = folder.size
    totals, targets = data.targets.total, ""
    if data.targets.counts and totals and data.targets.column[0]:
        each = str(totals[0]) if len(set(totals)) == 1 else f"{min(totals)} to {max(totals)}"
        targets = f"{plural(len(totals), *data.targets.column)} of {each} images. "
    about = note(
        f"Images of {height} × {width} pixels and {plural(len(data.channels), 'channel')}; {targets}"
        f"{_chooses(folder, 'images')}; test images are reported."
    )
    rows = [
        tag(
            "tr",
            tag("th", f"fold {fold.number}, {side}" if len(folder.study.folds) > 1 else side, scope="row"),
            tag("td", ", ".join(fold.side(side).groups)),
            tag("td", fold.side(side).windows),
        )
        for fold in folder.study.folds
        for side in ("train", "val", "test")
    ]
    head = tag("tr", *[tag("th", name, scope="col") for name in ("side", "what", "images")])
    return join(about, scroll(tag("table", tag("thead", head), tag("tbody", *rows), class_="sides"), "Sides"))


def _sides(folder: Folder) -> Html:
    study = folder.study
    folds, words = study.folds, len(study.folds) <= MOST_FOLDS_IN_WORDS
    side = [
        {str(group): name for name in ("train", "val", "test") for group in fold.side(name).groups} for fold in folds
    ]

    def cell(name: str | None) -> Html:
        shown = name if words else (name or "")[:2]
        return tag("td", shown or "–", class_=name)

    names = [f"fold {f.number}" if words else str(f.number) for f in folds]
    head = tag(
        "tr",
        tag("th", folder.material.group, scope="col", class_="corner"),
        *[tag("th", name, scope="col") for name in names],
    )
    body = [
        tag("tr", tag("th", group, scope="row"), *[cell(where.get(str(group))) for where in side])
        for group in study.data.groups
    ]
    sums = [
        tag("tr", tag("th", f"{name} windows", scope="row"), *[tag("td", fold.side(name).windows) for fold in folds])
        for name in ("train", "val", "test")
    ]
    title = f"Sides by {folder.material.group} and fold"
    caption = tag("caption", title, None if words else " (tr: train, va: val, te: test)")
    whole = tag("table", caption, tag("thead", head), tag("tbody", *body), tag("tfoot", *sums), class_="sides")
    return scroll(whole, title)


def _windows(folder: Folder) -> Html:
    data, targets = folder.study.data, folder.study.data.targets
    columns, counts = targets.columns, targets.counts
    largest = max((count for line in targets.lines for count in line), default=0) if counts else 0
    turned = "" if max(len(name) for name in columns) <= 4 and len(columns) <= 12 else " turned"
    head = tag(
        "tr",
        tag("th", folder.material.group, scope="col", class_="corner"),
        *[tag("th", tag("span", name), scope="col", title=name) for name in columns],
        tag("th", tag("span", "all"), scope="col") if counts else None,
        class_=f"heads{turned}",
    )

    def cell(value: Any) -> Html:
        shade = ("none" if not value else f"c{round(4 * value / (largest or 1))}") if counts else None
        return tag("td", value, class_=shade)

    body = [
        tag(
            "tr",
            tag("th", group, scope="row"),
            *map(cell, line),
            tag("td", sum(line), class_="sum") if counts else None,
        )
        for group, line in zip(data.groups, targets.lines, strict=True)
    ]
    whole = tag("td", sum(targets.total)) if counts else None
    foot = tag("tr", tag("th", "all", scope="row"), *[tag("td", t) for t in targets.total], whole)
    group, column = folder.material.group, targets.column[0]
    text = f"{folder.noun.capitalize()}s by {group} and {column}" if counts and column else f"Targets by {group}"
    table = tag(
        "table",
        tag("caption", text),
        tag("thead", head),
        tag("tbody", *body),
        tag("tfoot", foot),
        class_="matrix counts",
    )
    return scroll(table, text)


def environment(folder: Folder) -> Html:
    """What the cells ran on, and how long they took."""
    cells = folder.timing["cells"]
    kinds: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for cell in cells.values():
        about = tuple((k, str(v)) for k, v in sorted(cell.items()) if k not in ("title", "seconds"))
        kinds.setdefault(about, []).append(float(cell["seconds"]))
    names = list(dict.fromkeys(name for about in kinds for name, _ in about))
    head = [*names, "cells", "seconds of training"]
    lines = [
        [*(dict(about).get(n, "–") for n in names), str(len(seconds)), f"{sum(seconds):.1f}"]
        for about, seconds in kinds.items()
    ]
    seeds = ", ".join(str(seed) for seed in folder.study.seeds)
    where, content = folder.study.data.where, folder.study.data.content[:16]
    every = [
        [
            cell["title"],
            key,
            folder.given(key) or _dash(_best_epoch(folder, key)),
            f"{cell['seconds']:.1f}",
        ]
        for key, cell in cells.items()
    ]
    chosen = "best epoch" if folder.validated else "chosen epoch"
    return section(
        "environment",
        "What it ran on",
        tag(
            "p",
            f"Seeds: {seeds}. {folder.noun.capitalize()}s from {where}; hash of their content ",
            tag("code", content),
            ".",
        ),
        scroll(_plain_table(head, lines), "Environments") if lines else note("No cell has run yet."),
        details(
            f"Seconds of {plural(len(every), 'cell')}",
            scroll(_plain_table(["cell", "key", chosen, "seconds of training"], every), "Seconds by cell"),
        )
        if every
        else None,
    )


def _best_epoch(folder: Folder, key: str) -> int | None:
    result = folder.result(key)
    return None if result is None else result.best_epoch


def _dash(value: Any) -> Any:
    return "–" if value is None else value


def _plain_table(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> Html:
    return tag(
        "table",
        tag("thead", tag("tr", *[tag("th", name, scope="col") for name in head])),
        tag("tbody", *[join(tag("tr", *[tag("td", value) for value in line]), Html("\n")) for line in lines]),
        class_="plain",
    )


def recipe(folder: Folder) -> Html:
    """The recipe as YAML, ready to be run again."""
    text = recipe_text(folder)
    return section(
        "recipe",
        "Recipe",
        note("As it was run; what is not written has its default."),
        tag("pre", text, class_="code", tabindex=0),
    )


def recipe_text(folder: Folder) -> str:
    """The recipe in the order people write it; the same study when it is read again.

    ``study.json`` has sorted keys, but the order of teachers and baselines matters: it is that of the table's rows.
    """
    recipe = dict(folder.study.recipe)
    for part, kind in (("teachers", RowKind.TEACHER), ("baselines", RowKind.BASELINE)):
        order = [row.id.partition("-")[2] for row in folder.study.rows if row.kind == kind]
        if part in recipe:
            recipe[part] = {name: recipe[part][name] for name in order} | recipe[part]
    known = [*Recipe.model_fields, *recipe]
    ordered = {key: _name_first(recipe[key]) for key in dict.fromkeys(known) if key in recipe}
    text: str = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    return text


def _name_first(value: Any) -> Any:
    """Mappings with ``name``, ``view`` and ``model`` in front."""
    if isinstance(value, list):
        return [_name_first(item) for item in value]
    if not isinstance(value, dict):
        return value
    front = [key for key in ("name", "label", "view", "model") if key in value]
    return {key: _name_first(value[key]) for key in dict.fromkeys([*front, *value])}
