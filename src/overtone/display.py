"""What a person sees while a study runs: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import Tensor

from overtone.study import Cell, StudyListener, TableRow
from overtone.types import Progress

PLAIN_SECONDS = 10.0
"""Without a terminal, a line about a running cell at most this often."""


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Clock:
    """How much of a study is done, judged by the cells' relative costs, and how long the rest will take."""

    def __init__(self) -> None:
        self.total = self.done = self.current = 0.0
        self.started = time.monotonic()
        self.left: dict[str, float] = {}

    def plan(self, cells: list[Cell], done: set[str], costs: Mapping[str, float]) -> None:
        """Start counting."""
        self.started = time.monotonic()
        self.left = {cell.key: costs[cell.key] * cell.epochs for cell in cells if cell.key not in done}
        self.total = sum(self.left.values())

    def finish(self, key: str, trained: bool) -> None:
        """A cell has ended; one that failed no longer counts at all."""
        cost = self.left.pop(key, 0.0)
        self.current = 0.0
        if trained:
            self.done += cost
        else:
            self.total -= cost

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def remaining(self) -> float | None:
        """Seconds left, None until enough is done to tell."""
        worked = self.done + self.current
        if worked <= 0.01 * self.total or self.elapsed < 2:
            return None
        return self.elapsed * (self.total - worked) / worked


class Display(StudyListener):
    """A study's listener. Use it as a context manager; it is live where the console is a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.clock = Clock()
        self.cells: list[Cell] = []
        self.position = 0
        self.cell: Cell | None = None
        self.progress: Progress | None = None
        self.terms: dict[str, float] = {}
        self.row: Mapping[str, Any] | None = None
        self.best = 0.0
        self.said = 0.0
        self.live = (
            Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def study(self, cells: list[Cell], done: set[str], costs: Mapping[str, float]) -> None:
        """Say how much there is to do."""
        self.cells, self.position = cells, len(done)
        self.clock.plan(cells, done, costs)
        todo = len(cells) - len(done)
        self.console.print(
            f"[bold]{escape(self.title)}[/bold]: {len(cells)} cells, {len(done)} done, "
            + (f"{todo} to train" if todo else "nothing to train")
        )

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""
        self.position += 1
        self.cell, self.progress, self.row, self.terms, self.best = cell, None, None, {}, 0.0
        self.said = time.monotonic()

    def step(self, progress: Progress, terms: Mapping[str, Tensor]) -> None:
        """Remember the latest losses; the display asks for them when it draws."""
        self.progress = progress
        self.terms = {name: float(value.detach()) for name, value in terms.items()}
        self._advance(progress.step + 1, progress.steps)
        if not self.live and time.monotonic() - self.said > PLAIN_SECONDS:
            self.said = time.monotonic()
            self.console.print("  " + self._state(), markup=False, highlight=False)

    def epoch(self, progress: Progress, row: Mapping[str, Any]) -> None:
        """An epoch has ended."""
        self.row, self.progress = row, progress
        self.best = max(self.best, row["val"]["accuracy"])
        self._advance(progress.step, progress.steps)

    def cell_done(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """One line for a finished cell."""
        self.clock.finish(cell.key, trained=True)
        test = result["test"]["best"]["accuracy"]
        line = Text.assemble(
            self._count(),
            f"{cell.title}  ",
            (f"test {100 * test:.1f} %", "bold"),
            (f"  best epoch {result['best_epoch']}/{cell.epochs}{self._time_left()}", "dim"),
        )
        self.console.print(line)
        self.cell = None

    def cell_failed(self, cell: Cell, message: str) -> None:
        """A line for a failed cell; the run goes on."""
        self.clock.finish(cell.key, trained=False)
        if self.cell is not cell:  # it was never started: a cell it needs failed
            self.position += 1
        self.console.print(Text.assemble(self._count(), f"{cell.title}  ", ("failed: ", "bold red"), message))
        self.cell = None

    def _count(self) -> str:
        width = len(str(len(self.cells)))
        return f"[{self.position:>{width}}/{len(self.cells)}] "

    def _advance(self, step: int, steps: int) -> None:
        if self.cell:
            self.clock.current = self.clock.left.get(self.cell.key, 0.0) * step / steps

    def _time_left(self) -> str:
        remaining = self.clock.remaining()
        return f"  about {duration(remaining)} left" if remaining and remaining >= 1 else ""

    def _state(self) -> str:
        if not self.cell or not self.progress:
            return f"{self.cell.title}: preparing" if self.cell else "preparing"
        losses = "  ".join(f"{name} {value:.3g}" for name, value in self.terms.items())
        val = f"  val {100 * self.row['val']['accuracy']:.1f} %" if self.row else ""
        return (
            f"{self.cell.title}  epoch {self.progress.epoch}/{self.progress.epochs}  {losses}{val}{self._time_left()}"
        )

    def _render(self) -> Group:
        """The live part: overall bar, current cell with its bar, losses by term, accuracy."""
        clock = self.clock
        bars = Table.grid(padding=(0, 1))
        bars.add_column(width=5, style="bold")
        bars.add_column(width=30)
        bars.add_column(overflow="fold")
        overall = (
            f"{self.position - bool(self.cell)}/{len(self.cells)} cells  {duration(clock.elapsed)}{self._time_left()}"
        )
        bars.add_row("study", ProgressBar(clock.total or 1, clock.done + clock.current), overall)
        if not self.cell:
            return Group(bars)
        if not self.progress:
            bars.add_row("cell", ProgressBar(1, 0, pulse=True), f"{self.cell.title}: preparing")
            return Group(bars)
        progress = self.progress
        bars.add_row(
            "cell",
            ProgressBar(progress.steps, progress.step + 1),
            f"{self.cell.title}  epoch {progress.epoch}/{progress.epochs}",
        )
        losses = Text("      loss ", style="dim")
        losses.append("  ".join(f"{name} {value:.4f}" for name, value in self.terms.items()), style="cyan")
        lines: list[Any] = [bars, losses]
        if self.row:
            accuracy = self.row["val"]["accuracy"]
            lines.append(
                Text.assemble(
                    ("      accuracy ", "dim"),
                    (f"train {100 * self.row['accuracy']:.1f} %  val {100 * accuracy:.1f} %", "green"),
                    (f"  best {100 * self.best:.1f} %", "dim"),
                )
            )
        return Group(*lines)


def short(number: int | None) -> str:
    """``1.2 k``, ``3.4 M``."""
    if number is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def table(rows: list[TableRow], width: int) -> Table:
    """The study's table for a terminal; a narrow one shows best and last epoch one above the other."""
    wide = width >= 132
    shown = Table(
        title="test accuracy and macro-F1 in %: mean ± standard deviation over folds and seeds",
        title_style="dim",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("method", overflow="fold")
    shown.add_column("model", no_wrap=True)
    best, last = "best on val", "last epoch"
    heads = [f"accuracy\n{best}", f"macro-F1\n{best}", f"accuracy\n{last}", f"macro-F1\n{last}"]
    for head in heads if wide else ["accuracy\nbest, last", "macro-F1\nbest, last"]:
        shown.add_column(head, justify="right", no_wrap=True)
    for head in ("n", "param.", "MACs", "times\nsmaller"):
        shown.add_column(head, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        if number and row.kind != rows[number - 1].kind:
            shown.add_section()
        name = f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method
        both = [row.accuracy_best, row.macro_f1_best, row.accuracy_last, row.macro_f1_last]
        figures = [str(figure) if figure else "" for figure in both]
        if not wide:
            figures = [f"{figures[0]}\n[dim]{figures[2]}[/dim]", f"{figures[1]}\n[dim]{figures[3]}[/dim]"]
        count = f"{row.n}" + (f" [red]-{row.missing}[/red]" if row.missing else "")
        ratio = f"{row.size_ratio:.3g}" if row.size_ratio else ""
        shown.add_row(escape(name), escape(row.student), *figures, count, short(row.parameters), short(row.macs), ratio)
    return shown
