"""What there is, and what a recipe will do, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from overtone import baselines, data, methods, models, recipe, views
from overtone.disk import in_units
from overtone.display import duration, short
from overtone.errors import InputError
from overtone.explain import Explained
from overtone.predict import Evaluation
from overtone.shown import Array, Curve, Matrix, Shown
from overtone.study import Plan, Size
from overtone.study.check import Check, check
from overtone.study.cost import Cost
from overtone.study.size import LONG
from overtone.tasks import Task
from overtone.types import Spec

BARS = "▁▂▃▄▅▆▇█"
CHANNELS_NAMED = 12


def _recipes() -> list[tuple[str, str]]:
    rows = []
    for name in recipe.shipped():
        try:
            rows.append((name, recipe.load(name).about))
        except InputError as error:  # a broken recipe must not hide the others
            rows.append((name, f"cannot be read: {error}"))
    return rows


def _methods() -> list[tuple[str, str]]:
    rows = [("none", f"the student alone, the task's own terms only\n{_needed(0, 0)}")]
    for name, kind in methods.METHODS.items():
        needed = f"{_needed(*kind.TEACHERS)} · {kind.STUDENT}"
        rows.append((name, f"{kind.SUMMARY}\n{needed} · {kind.SEES} · {kind.SOURCE}"))
    for name, (settings, about, source) in methods.PRESETS.items():
        kind = methods.METHODS[settings["name"]]
        rows.append((name, f"{about}\npreset · {_needed(*kind.TEACHERS)} · {kind.STUDENT} · {source}"))
    rows.append(("package.module:Class", "your own, a class that inherits from overtone.methods.Method"))
    about = "the teachers' mean probabilities, in every study with several teachers"
    return [*rows, ("ensemble", f"{about}\nno method but a row of its own · no student")]


def _needed(least: int, most: int | None) -> str:
    count = str(least) if most == least else f"{least} or more"
    return "no teacher" if most == 0 else f"{count} teacher{'' if most == 1 else 's'}"


LISTS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "recipes": _recipes,
    "data": lambda: [
        *((name, kind.SOURCE) for name, kind in data.SOURCES.items()),
        ("package.module:Class", "your own, a class that inherits from overtone.data.Source"),
    ],
    "views": lambda: [
        *((name, kind.SOURCE) for name, kind in views.VIEWS.items()),
        ("package.module:function", views.CustomView.SOURCE),
        ("package.module:Class", "your own, a class that inherits from overtone.views.View"),
    ],
    "models": lambda: [
        *((family.example, family.source) for family in models.FAMILIES.values()),
        (
            "two_branch-wrn16-1",
            "a signal and an image branch with cross-attention; two_branch-SIGNAL+IMAGE for two models",
        ),
        ("torchvision:NAME", "any classifier of torchvision for an image view (pip install overtone[torchvision])"),
        ("timm:NAME", "any classifier of timm for an image view (pip install overtone[timm])"),
        ("package.module:Class", "your own, called with the numbers of channels and classes"),
    ],
    "methods": _methods,
    "baselines": lambda: [
        *baselines.listed(),
        ("package.module:Class", "any class with fit(X, y) and predict(X), such as sklearn.svm:SVC"),
    ],
}


def show_list(console: Console, what: str) -> None:
    """What there is of a kind; what it needs on a second line, but in a pipe, where a thing has one line."""
    rows = LISTS[what]()
    if not console.is_terminal:
        width = max(len(name) for name, _ in rows)
        lines = "\n".join(f"{name:<{width}}  {about.replace(chr(10), ' · ')}" for name, about in rows)
        console.print(f"{what}\n{lines}", highlight=False, markup=False, soft_wrap=True)
        return
    grid = Table(
        title=what,
        title_justify="left",
        title_style="bold",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        about, _, needs = text.partition("\n")
        grid.add_row(escape(name), escape(about) + (f"\n[dim]{escape(needs)}[/dim]" if needs else ""))
    console.print(grid)


def show_evaluation(console: Console, task: Task, evaluation: Evaluation, notes: Sequence[str]) -> None:
    """A student's scores, and what it takes for what."""
    scores = ", ".join(
        f"{metric.title} [bold]{metric.with_unit(evaluation.scores[metric.key])}[/bold]" for metric in task.metrics
    )
    console.print(f"{evaluation.windows} {evaluation.noun}s: {scores}", highlight=False)
    for what, drawing in task.shown([evaluation.details]).items():
        if isinstance(drawing, Matrix):
            console.print(f"[bold]{escape(what)} (rows: truth)[/bold]")  # a title would be no wider than the table
            table = _table("", ("", *drawing.labels), drawing.labels)
            for name, row in zip(drawing.labels, drawing.counts.tolist(), strict=True):
                table.add_row(escape(name), *map(str, row))
            console.print(table)
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/yellow]")


def show(console: Console, plan: Plan, whole: Size | None = None) -> None:
    """Everything about a study before it runs; raises where it could not run.

    Args:
        console: where to.
        plan: the study, or the first fold and seed of one that is too large to plan.
        whole: then, how large that is.
    """
    _show_data(console, plan)
    _show_split(console, plan)
    checked = check(plan)
    _show_models(console, checked)
    _show_rows(console, checked)
    _show_baselines(console, plan, checked)
    for warning in checked.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]", highlight=False)
    _show_cost(console, plan, checked.cost)
    seconds = checked.cost.seconds * (whole.repeats if whole else 1)
    if whole or seconds > LONG:
        size = size_of(whole, seconds) if whole else duration(seconds)
        first = "This was its first fold and seed. " if whole else ""
        console.print(f"[yellow]{first}The whole study: {size}; overtone run asks for --yes[/yellow]", highlight=False)


def size_of(whole: Size, seconds: float) -> str:
    """A large study in one phrase."""
    models = len(whole.one.cells)
    return (
        f"{whole.cells} cells ({whole.folds} folds x {whole.seeds} seeds x {models} models), about {duration(seconds)} "
        "of training"
    )


def _show_cost(console: Console, plan: Plan, cost: Cost) -> None:
    """Cells, time, memory and disk of the whole study."""
    folds, seeds = len(plan.folds), len(plan.recipe.seeds)
    time = "less than a second" if cost.seconds < 1 else f"about {duration(cost.seconds)}"
    given = sum(cell.given is not None for cell in plan.cells.values())
    fitted = sum(cell.baseline is not None for cell in plan.cells.values())
    scored = f" and {given} with given weights to score" if given else ""
    scored += f" and {fitted} to fit, which no time is counted for" if fitted else ""
    trained = len(plan.cells) - given - fitted
    console.print(
        f"\n{trained} cells to train{scored}: {folds} folds x {seeds} seeds, {time} of training with "
        f"{cost.jobs} side by side\nmemory per job, besides the program: {plan.windows.noun}s "
        f"{in_units(cost.windows)}, diagrams {in_units(cost.diagrams)}, teachers' outputs {in_units(cost.outputs)}; "
        f"disk {in_units(cost.disk)}\n"
        "Everything fits; nothing was trained.",
        highlight=False,
    )


def _table(title: str, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _show_data(console: Console, plan: Plan) -> None:
    windows = plan.windows
    more = len(windows.channels) - CHANNELS_NAMED
    named = ", ".join(windows.channels[:CHANNELS_NAMED]) + (f" and {more} more" if more > 0 else "")
    channels = f"{len(windows.channels)} channel{'s' * (len(windows.channels) != 1)} ({escape(named)})"
    if windows.material.of_images:
        what = f"{len(windows)} images of {windows.size[0]} x {windows.size[1]} pixels; {channels}"
    else:
        seconds = f" ({windows.size[0] / windows.rate:g} s at {windows.rate:g} Hz)" if windows.rate else ""
        what = (
            f"{len(windows)} windows of {windows.size[0]} samples{seconds}, every {windows.stride} samples; "
            f"{channels}; {len(windows.groups)} {windows.material.groups}"
        )
    console.print(f"[bold]{escape(windows.where)}[/bold]: {what}", highlight=False)
    summary = windows.task.summary(windows.y, windows.group, len(windows.groups))
    what = summary.column[1] or "targets"
    console.print(
        f"{what}: " + ", ".join(f"{escape(str(n))} {v}" for n, v in zip(summary.columns, summary.total, strict=True)),
        highlight=False,
    )
    for note in [*windows.notes, *data.leaks(windows, plan.recipe.split)]:
        console.print(f"[yellow]{escape(note)}[/yellow]")


def _show_split(console: Console, plan: Plan) -> None:
    table = _table("who is where", ("fold", "train", "val", "test"))
    for fold in plan.folds.values():
        sides = [
            f"{len(index)} {plan.windows.noun}s of {_some(groups)}" if groups else "none"
            for index, groups in (
                (fold.train, fold.train_groups),
                (fold.val, fold.val_groups),
                (fold.test, fold.test_groups),
            )
        ]
        table.add_row(str(fold.number), *map(escape, sides))
    console.print(table)


def _some(groups: Sequence[str]) -> str:
    """Names; where there are very many, the first of them."""
    return ", ".join(groups) if len(groups) <= 40 else f"{', '.join(groups[:10])} and {len(groups) - 10} more"


def _stages(spec: Spec) -> str:
    names = [name for name in spec.stages if not name.endswith((".pre", ".raw")) and name != "final"]
    return " → ".join(f"{name} {'x'.join(map(str, spec.stages[name].shape))}" for name in names)


def _show_models(console: Console, checked: Check) -> None:
    shapes = ", ".join(f"{escape(name)} {'x'.join(map(str, shape))}" for name, shape in checked.views.items())
    console.print(f"[bold]views[/bold] {shapes}", highlight=False)
    console.print("[bold]models[/bold]")
    for model in checked.models:
        parts = list(model.spec.branches.values()) or [model.spec]
        shape = ", ".join("x".join(map(str, part.input)) for part in parts)
        given = f", {escape(model.given)}" if model.given else ""
        console.print(
            f"  [cyan]{escape(model.role)}[/cyan]: {escape(model.model)} on {escape(model.view)} {shape}{given}, "
            f"{short(model.parameters)} parameters, {short(model.macs)} MACs",
            highlight=False,
        )
        if model.class_weights:
            weights = ", ".join(f"{name}: {weight:.3g}" for name, weight in model.class_weights.items())
            console.print(f"    [dim]class weights in the first fold: {escape(weights)}[/dim]", highlight=False)
        for name, part in (model.spec.branches or {"": model.spec}).items():
            console.print(f"    [dim]{name + ': ' if name else ''}{_stages(part)}[/dim]", highlight=False)


def _show_rows(console: Console, checked: Check) -> None:
    console.print()
    table = _table(
        "terms on one training batch (teachers untrained or given)",
        ("row", "term", "weight", "size", "gradient", "adapters"),
        ("weight", "size", "gradient", "adapters"),
    )
    for row in checked.rows:
        for number, term in enumerate(row.terms):
            table.add_row(
                escape(row.title) if number == 0 else "",
                escape(term.name),
                f"{term.weight:g}",
                f"{term.size:.4g}",
                f"{100 * term.share:.0f} %",
                short(row.adapters) if number == 0 else "",
                end_section=number == len(row.terms) - 1,
            )
    console.print(table)
    console.print("[dim]gradient: the weighted term's share of the student's gradient; adapters: parameters[/dim]")
    for row in checked.rows:
        for note in row.notes:
            console.print(f"[dim]{escape(row.title)}: {escape(note)}[/dim]", highlight=False)


def _show_baselines(console: Console, plan: Plan, checked: Check) -> None:
    if checked.baselines:
        console.print("[bold]without a gradient[/bold]")
    for one in checked.baselines:
        console.print(
            f"  [cyan]{escape(one.name)}[/cyan]: {escape(one.model)} on {escape(one.view)}, {one.features} features "
            f"({one.kind}), {in_units(one.size)} for {len(plan.windows)} {plan.windows.noun}s",
            highlight=False,
        )


def show_explained(console: Console, maps: Explained, noun: str) -> None:
    """What each model says of the explained windows or images (``noun``)."""
    samples = maps.about["samples"]
    names = [f"{noun} {s['number']}: {s['called']}" for s in samples]
    _show_shown(console, maps, names[0])
    table = _table("what each model says", ("model", *names), ())
    for model in maps.about["models"]:
        cells = []
        for text, right in model["verdicts"]:
            colour = {True: "green", False: "red", None: "default"}[right]
            cells.append(f"[{colour}]{escape(text.removeprefix('says '))}[/{colour}]")
        table.add_row(escape(model["title"]), *cells)
    console.print(table)


def _show_shown(console: Console, maps: Explained, sample: str) -> None:
    """What methods show of themselves on the first sample."""
    table = _table(f"what methods show of {sample}", ("model", "what", "values", "from", "to"), ("from", "to"))
    for place, model in enumerate(maps.about["models"]):
        title = escape(model["title"])
        for name, one in maps.shown(place).items():
            for what, values in _rows_of(name, one):
                table.add_row(title, escape(what), *_outline(values))
                title = ""
        if "lost" in model:
            table.add_row(title, escape(model["lost"]), "", "", "")
    if table.rows:
        console.print(table)


def _rows_of(name: str, one: Shown | str) -> list[tuple[str, Array]]:
    """An object's values of the first sample, by what they are called; a curve's line by line."""
    name = name.partition(".")[2] or name
    if isinstance(one, str):
        return [(f"{name} {one}", np.zeros(0))]
    if isinstance(one, Curve):
        return [(f"{name}, {line}", np.asarray(values)[0]) for line, values in one.lines.items()]
    return [(name, np.asarray(one.values)[0])]


def _outline(values: Array) -> tuple[str, str, str]:
    """Values as a row of bars, or their size where they have two axes, and the least and the greatest of them."""
    if not values.size or not np.isfinite(values).all():
        return "", "", ""
    low, high = float(values.min()), float(values.max())
    if values.ndim == 1:
        blocks = np.array_split(values, min(len(values), 24))
        share = np.asarray([(block.mean() - low) / max(high - low, 1e-12) for block in blocks])
        form = "".join(BARS[round(level)] for level in (len(BARS) - 1) * share)
    else:
        form = " x ".join(map(str, values.shape))
    return form, f"{low:.3g}", f"{high:.3g}"
