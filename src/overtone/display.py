"""What a person sees while a study runs: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from overtone.epochs import EpochRow
from overtone.study import Cell, CellResult, RowKind, StudyCallback, TableRow, spread_over
from overtone.tasks import Metric, Task
from overtone.types import Progress

PLAIN_SECONDS = 10.0
"""Without a terminal, a line about a running cell at most this often."""


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``, ``12 days``, ``3.1 years``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    if minutes < 100 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    days = minutes // (24 * 60)
    return f"{days} days" if days < 730 else f"{days / 365.25:.3g} years"


@dataclass
class Running:
    """A cell under way, as last heard of."""

    cell: Cell
    progress: Progress | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    row: EpochRow | None = None
    best: float | None = None
    said: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.progress.step / self.progress.steps if self.progress else 0.0


class Display(StudyCallback):
    """A study's callback. Use it as a context manager; it is live where the console is a terminal."""

    def __init__(self, console: Console, title: str, task: Task) -> None:
        self.console, self.title, self.task = console, title, task
        self.cells: list[Cell] = []
        self.ended = 0
        self.running: dict[str, Running] = {}
        self.left: dict[str, float] = {}  # relative cost of what is not done yet, by key
        self.total = 0.0
        self.started = time.monotonic()
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

    def study(self, cells: list[Cell], done: set[str], costs: Mapping[str, float], jobs: int) -> None:
        """Say how much there is to do."""
        self.cells, self.ended = cells, len(done)
        self.left = {cell.key: costs[cell.key] * cell.epochs for cell in cells if cell.key in costs}
        self.total = sum(self.left.values())
        self.started = time.monotonic()
        left = [cell for cell in cells if cell.key in costs]
        given = sum(cell.given is not None for cell in left)
        fitted = sum(cell.baseline is not None for cell in left)
        trained = len(left) - given - fitted
        todo = f"{trained} to train" if trained else "nothing to train"
        todo += f", {given} with given weights to score" if given else ""
        todo += f", {fitted} to fit without a gradient" if fitted else ""
        beside = f", {jobs} side by side" if jobs > 1 else ""
        self.console.print(
            f"[bold]{escape(self.title)}[/bold]: {len(cells)} cells, {len(done)} done, {todo}{beside}", highlight=False
        )

    def note(self, message: str) -> None:
        """One line."""
        self.console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""
        self.running[cell.key] = Running(cell)

    def cell_step(self, cell: Cell, progress: Progress, terms: Mapping[str, float]) -> None:
        """Remember the latest losses; without a terminal, say them now and then."""
        now = self.running[cell.key]
        now.progress, now.terms = progress, terms
        if not self.live and time.monotonic() - now.said > PLAIN_SECONDS:
            now.said = time.monotonic()
            losses = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
            val = self._watched(now.row)
            val = f"  val {val}" if val else ""
            where = f"  {cell.title}  epoch {progress.epoch}/{progress.epochs}  "
            self.console.print(f"{where}{losses}{val}{self._time_left()}", markup=False, highlight=False)

    def cell_epoch(self, cell: Cell, progress: Progress, row: EpochRow) -> None:
        """An epoch has ended."""
        now = self.running[cell.key]
        now.row, now.progress = row, progress
        watched = self.task.watched
        value = (row.val or {}).get(watched.key)
        if value is not None and (now.best is None or watched.gain(value) > watched.gain(now.best)):
            now.best = value

    def _watched(self, row: EpochRow | None) -> str:
        """What chooses the best epoch, on the validation side; empty without one."""
        metric = self.task.watched
        value = None if row is None else (row.val or {}).get(metric.key)
        return "" if value is None else metric.with_unit(value)

    def cell_done(self, cell: Cell, result: CellResult) -> None:
        """One line for a finished cell."""
        self._end(cell)
        chosen = result.best_epoch is not None
        metric = self.task.headline
        test = metric.with_unit(result.test["best" if chosen else "last"][metric.key])
        how = f"best epoch {result.best_epoch}/{cell.epochs}" if chosen else f"last epoch, {cell.epochs}"
        how = cell.untrained or how
        how += f": {result.told}" if result.told else ""
        about = (f"  {how}{self._time_left()}", "dim")
        line = Text.assemble(self._count(), f"{cell.title}  ", (f"test {test}", "bold"), about)
        self.console.print(line)

    def cell_failed(self, cell: Cell, message: str) -> None:
        """A line for a failed cell; the run goes on."""
        self.total -= self.left.get(cell.key, 0.0)
        self._end(cell)
        self.console.print(Text.assemble(self._count(), f"{cell.title}  ", ("failed: ", "bold red"), message))

    def _end(self, cell: Cell) -> None:
        self.ended += 1
        self.running.pop(cell.key, None)
        self.left.pop(cell.key, None)

    def _count(self) -> str:
        width = len(str(len(self.cells)))
        return f"[{self.ended:>{width}}/{len(self.cells)}] "

    def _worked(self) -> float:
        """The relative cost of what is done."""
        under_way = sum(self.left.get(key, 0.0) * now.done for key, now in self.running.items())
        return self.total - sum(self.left.values()) + under_way

    def _time_left(self) -> str:
        worked, elapsed = self._worked(), time.monotonic() - self.started
        if elapsed < 2 or worked <= 0.01 * self.total:
            return ""
        remaining = elapsed * (self.total - worked) / worked
        return f"  about {duration(remaining)} left" if remaining >= 1 else ""

    def _render(self) -> Group:
        """The live part: an overall bar, and for each running cell its bar, losses by term and scores."""
        bars = Table.grid(padding=(0, 1))
        bars.add_column(width=24)
        bars.add_column(overflow="fold")
        elapsed = duration(time.monotonic() - self.started)
        overall = f"{self.ended}/{len(self.cells)} cells  {elapsed}{self._time_left()}"
        bars.add_row(ProgressBar(self.total or 1, self._worked()), Text(overall, style="bold"))
        for now in list(self.running.values()):
            bars.add_row(*self._lines(now))
        return Group(bars)

    def _lines(self, now: Running) -> tuple[ProgressBar, Text]:
        """A running cell: its bar, and up to three lines."""
        if not now.progress:
            return ProgressBar(1, 0, pulse=True), Text(
                f"{now.cell.title}: {'preparing' if now.cell.baseline is None else 'fitting'}"
            )
        text = Text(f"{now.cell.title}  epoch {now.progress.epoch}/{now.progress.epochs}")
        losses = "  ".join(f"{name} {value:.4f}" for name, value in now.terms.items())
        text.append(f"\n  loss {losses}", style="cyan")
        if now.row:
            metric = self.task.watched
            train = now.row.train.get(metric.key)
            scores = f"  train {metric.with_unit(train)}" if train is not None else ""
            if now.best is not None:
                scores += f"  val {self._watched(now.row)}  best {metric.with_unit(now.best)}"
            text.append(f"\n  {metric.title}{scores}" if scores else "", style="green")
        return ProgressBar(1, now.done), text


def short(number: int | None) -> str:
    """``1.2 k``, ``3.4 M``."""
    if number is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


MOST_METRICS = 3
"""In a terminal's table; page and files have all."""


def table(rows: list[TableRow], width: int, metrics: Sequence[Metric], groups: str) -> Table:
    """The study's table for a terminal; a narrow one shows best and last epoch one above the other, and of many metrics
    the first ones.

    ``groups`` is what the data calls its groups.

    Without a validation side there is no best epoch to show.
    """
    metrics = metrics[:MOST_METRICS]
    chosen = not any(row.shown == "last" for row in rows)
    where = "" if chosen else ", last epoch (no validation side)"
    shown = Table(
        title=f"test {_titles(metrics)}{where}: mean ± standard deviation {spread_over(rows, groups)}",
        title_style="dim",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("method", overflow="fold")
    shown.add_column("model", no_wrap=True)
    wide = width >= 76 + 28 * len(metrics)
    for head in _heads(metrics, chosen, wide):
        shown.add_column(head, justify="right", no_wrap=True)
    adapters = any(row.adapters for row in rows)
    for head in ("folds ×\nseeds", "param.", "MACs", "times\nsmaller", *(["adapters"] if adapters else [])):
        shown.add_column(head, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        if number and row.kind != rows[number - 1].kind:
            shown.add_section()
        if row.kind == RowKind.BASELINE and (not number or rows[number - 1].kind != row.kind):
            shown.add_row("[dim]without a gradient[/dim]")
        name = f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method
        model = {"signal": f"{row.student} (signal branch)"}.get(row.part, f"{row.student} {row.part}".strip())
        count = f"{row.folds} × {row.seeds}" if row.folds else "none"
        count += f" [red]-{row.missing}[/red]" if row.missing else ""
        ratio = f"{row.size_ratio:.3g}" if row.size_ratio else ""
        sizes = [short(size) if row.kind != RowKind.BASELINE else "–" for size in (row.parameters, row.macs)]
        costs = [*sizes, ratio, *([short(row.adapters)] if adapters else [])]
        shown.add_row(escape(name), escape(model), *_estimates(row, metrics, chosen, wide), count, *costs)
    return shown


def _titles(metrics: Sequence[Metric]) -> str:
    """``MAE and RMSE in kcal``, ``MAE, RMSE and R²``."""
    names = [metric.title for metric in metrics]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    units = {metric.unit for metric in metrics}
    return f"{listed} in {units.pop()}" if len(units) == 1 and units != {""} else listed


def _heads(metrics: Sequence[Metric], chosen: bool, wide: bool) -> list[str]:
    """Of the columns with scores."""
    if chosen and not wide:
        return [f"{metric.title}\nbest, last" for metric in metrics]
    columns = [*(["best on val"] if chosen else []), "last epoch"]
    return [f"{metric.title}\n{column}" for column in columns for metric in metrics]


def _estimates(row: TableRow, metrics: Sequence[Metric], chosen: bool, wide: bool) -> list[str]:
    """A row's scores in these columns."""
    texts = {
        which: [estimate.text(m) if (estimate := row.estimates.get((m.key, which))) else "" for m in metrics]
        for which in ("best", "last")
    }
    if not chosen:
        return texts["last"]
    if wide:
        return [*texts["best"], *texts["last"]]
    return [f"{best}\n[dim]{last}[/dim]" for best, last in zip(texts["best"], texts["last"], strict=True)]
