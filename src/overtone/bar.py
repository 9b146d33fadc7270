"""A progress bar for a command that turns out to take its time."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PATIENCE = 2.0
"""Seconds before there is a bar."""


class Bar:
    """Shows how much is done, on a terminal and after two seconds only. Use it as a context manager.

    Args:
        console: where; nothing is shown where that is no terminal.
        shown: show it at all.
    """

    def __init__(self, console: Console, shown: bool = True) -> None:
        self.console, self.shown = console, shown and console.is_terminal
        self.started = time.monotonic()
        self.progress: Progress | None = None
        self.task = TaskID(0)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress:
            self.progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """So much of ``what`` is done."""
        if self.progress is None:
            if not self.shown or time.monotonic() - self.started < PATIENCE:
                return
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            # Standard output may be a pipe that rows go to.
            self.progress = Progress(
                *columns, console=self.console, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self.task = self.progress.add_task(what, total=total)
            self.progress.start()
        self.progress.update(self.task, description=what, completed=done, total=total)
