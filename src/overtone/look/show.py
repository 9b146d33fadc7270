"""A first look in a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from overtone.look.draft import Draft, Trial
from overtone.look.draw import Example, braille, examples
from overtone.look.timing import hertz

if TYPE_CHECKING:
    from overtone.data import Windows

NARROW = 60
"""Characters below which tables have fewer columns."""
MOST_COLUMNS, MOST_NAMED, MOST_CLASSES, MOST_CHANNELS = 40, 8, 6, 3
"""Columns, groups, classes and channels that are shown."""
WIDEST = 100
"""Characters of a plot."""
BAR = 20


def show_draft(console: Console, draft: Draft) -> None:
    """What it is, its columns, a few rows, and what each column is taken as."""
    _lines(console, draft.facts)
    if draft.scan is not None and draft.roles is not None:
        _columns(console, draft)
        _rows(console, draft)
    if draft.roles is not None:
        _guesses(console, draft)
    if draft.timing is not None:
        timing = draft.timing
        told = [
            f"{hertz(timing.rate)} Hz by the median interval",
            f"in {timing.unit} ({timing.why})" if timing.unit else "told by dates",
        ]
        told.append(f"{timing.gaps:,} gaps, the longest {timing.longest:.3g} s" if timing.gaps else "no gaps")
        if timing.backward:
            told.append(f"{timing.backward:,} stamps are not later than the one before")
        if timing.resample:
            told.append("uneven: brought onto an even grid")
        _lines(console, [("rate", "; ".join(told))])


def show_trial(console: Console, draft: Draft, trial: Trial) -> None:
    """What it is as recordings: groups, windows of each class, the split, and one recording of each class."""
    windows = trial.windows
    if windows is not None:
        _windows(console, draft, trial, windows)
    elif trial.split is not None:
        _lines(console, [("split", trial.split.guess)])
    for note in [*draft.notes, *(windows.notes if windows is not None and draft.share == 1 else ())]:
        console.print(Text(note, style="yellow"))
    if windows is not None and trial.recordings is not None:
        _plots(console, examples(trial.recordings, windows), windows)
    for problem in draft.problems:
        console.print(Text(f"No recipe yet: {problem}", style="bold red"), soft_wrap=False)


def _lines(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """A word and what it is, below each other."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=10)
    grid.add_column(overflow="fold")
    for name, fact in facts:
        grid.add_row(escape(name), escape(fact))
    console.print(grid)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _columns(console: Console, draft: Draft) -> None:
    """All columns, one a line; in a narrow terminal without what each holds."""
    scan, roles = draft.scan, draft.roles
    assert scan is not None
    assert roles is not None
    narrow = console.width < NARROW
    lacking = any(column.missing or column.wrong for column in scan.columns)
    heads = ["column", "taken as", *([] if narrow else ["holds"]), "range", *(["missing"] if lacking else [])]
    table = _table(*heads)
    for column in scan.columns[:MOST_COLUMNS]:
        missing = f"{column.missing:,}" if column.missing else ""
        missing += f" ({column.wrong:,} no number)" if column.wrong else ""
        cells = [column.name, roles.of(column.name), *([] if narrow else [column.holds]), column.range]
        table.add_row(*map(escape, [*cells, *([missing] if lacking else [])]))
    console.print()
    console.print(table)
    if len(scan.columns) > MOST_COLUMNS:
        console.print(f"and {len(scan.columns) - MOST_COLUMNS} more columns", style="dim")


def _rows(console: Console, draft: Draft) -> None:
    """The first rows, as wide as the terminal."""
    assert draft.scan is not None
    console.print("\n[dim]first rows[/dim]")
    for row in draft.scan.first:
        console.print(Text("  ".join(cell or "·" for cell in row)), no_wrap=True, overflow="ellipsis", crop=True)
    console.print()


def _guesses(console: Console, draft: Draft) -> None:
    """Each guess with its reason; columns that are nothing."""
    roles = draft.roles
    assert roles is not None
    facts = [(guess.role, f"{_few(guess.column.split(', '))}: {guess.why}") for guess in roles.guesses]
    if roles.neither:
        facts.append(
            (
                "left out",
                "; ".join(f"{name or '(no name)'}: {why}" for name, why in list(roles.neither.items())[:MOST_NAMED]),
            )
        )
    _lines(console, facts)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _windows(console: Console, draft: Draft, trial: Trial, windows: Windows) -> None:
    about, at_least = ("about ", "at least ") if draft.share < 1 else ("", "")
    count = round(len(windows) / draft.share)
    facts = []
    if trial.recordings is not None:
        lengths = [signal.shape[1] for signal in trial.recordings.signals]
        rate = trial.recordings.rate
        scale, unit = (1 / rate, "s") if rate else (1, "samples")
        least, most = min(lengths) * scale, max(lengths) * scale
        shortest, longest = f"{least:,.4g}", f"{most:,.4g}"
        each = f" of {longest} {unit}" if shortest == longest else f" of {shortest} to {longest} {unit}"
        each = each if draft.share == 1 else ""  # parts are shorter than their recordings
        whole = len(set(trial.recordings.origin)) if trial.recordings.origin is not None else len(lengths)
        stretches = f", {len(lengths):,} stretches" if len(lengths) > whole and draft.share == 1 else ""
        channels = len(windows.channels)
        facts.append(("recordings", f"{at_least}{whole:,}{stretches}{each}, {channels} channel{'s' * (channels > 1)}"))
    if trial.window is not None:
        facts.append(("window", f"{trial.window.value}: {trial.window.guess}"))
    if trial.stride is not None:
        facts.append(("stride", f"{trial.stride.value}: {trial.stride.guess}"))
    material = windows.material
    named = _few(windows.groups) if len(windows.groups) > 1 or not material.of_images else ""
    if named:
        facts.append((material.groups, f"{at_least}{len(windows.groups)}: {named}"))
    facts.append((f"{windows.noun}s", f"{about}{count:,} of {' × '.join(map(str, windows.size))} {_unit(windows)}"))
    if trial.split is not None:
        facts.append(("split", trial.split.guess))
    console.print()
    _lines(console, facts)
    if windows.classes:
        _classes(console, draft, windows)
    else:
        y = np.asarray(windows.y, dtype=np.float64)
        _lines(console, [("target", f"{y.min():.4g} to {y.max():.4g}, mean {y.mean():.4g}")])


def _unit(windows: Windows) -> str:
    return "pixels" if windows.material.of_images else "samples"


def _classes(console: Console, draft: Draft, windows: Windows) -> None:
    """Windows of each class, with bars."""
    counts = np.bincount(windows.y, minlength=len(windows.classes))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=max(console.width - BAR - 12, 8))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, count in list(zip(windows.classes, counts.tolist(), strict=True))[:MOST_COLUMNS]:
        bar = "█" * max(round(BAR * count / counts.max()), 1)
        table.add_row(escape(name), f"{round(count / draft.share):,}", f"[blue]{bar}[/blue]")
    console.print(f"\n[dim]{windows.noun}s of each class[/dim]")
    console.print(table)
    if len(counts) > MOST_COLUMNS:
        console.print(f"and {len(counts) - MOST_COLUMNS} more classes", style="dim")


def _plots(console: Console, shown: Sequence[Example], windows: Windows) -> None:
    """One recording of each class: a small line for each of a few channels, on one scale for all classes."""
    varying = np.max([np.ptp(example.values, axis=1) for example in shown], axis=0) > 0
    order = np.argsort(~varying, kind="stable")  # those that never change come last
    channels = sorted(order[:MOST_CHANNELS].tolist())
    name = min(max(cell_len(windows.channels[channel]) for channel in channels), 12)
    width = max(min(console.width, WIDEST) - name - 2, 10)
    low = np.min([np.nanmin(example.values, axis=1) for example in shown], axis=0)
    high = np.max([np.nanmax(example.values, axis=1) for example in shown], axis=0)
    for example in shown[:MOST_CLASSES]:
        heading = Text(example.name or '""', style="bold")
        heading.append(f"  {example.length}, {example.place}", style="dim not bold")
        console.print()
        console.print(heading)
        for channel in channels:
            lines = braille(example.values[channel], width, float(low[channel]), float(high[channel]))
            label = set_cell_size(windows.channels[channel], name)
            for number, line in enumerate(lines):
                before = label if number == len(lines) - 1 else " " * name
                console.print(Text(f"{before}  {line}", no_wrap=True))
    left = []
    if len(shown) > MOST_CLASSES:
        left.append(f"{len(shown) - MOST_CLASSES} of {len(shown)} classes")
    if len(windows.channels) > MOST_CHANNELS:
        left.append(f"{len(windows.channels) - MOST_CHANNELS} of {len(windows.channels)} channels")
    if left:
        console.print(f"\nnot drawn: {' and '.join(left)}; --html PAGE has more", style="dim")
