"""Cells side by side: worker processes on this machine, each training one cell at a time.

A worker makes the plan anew from the recipe and talks through one pipe. If the main process dies, however it dies, the
pipe breaks and the worker ends; if a worker dies, its cell has failed and another worker takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from overtone import data
from overtone.epochs import EpochRow
from overtone.errors import InputError, OvertoneError, told
from overtone.processes import end_with_parent
from overtone.recipe import Recipe
from overtone.study.build import StudyContext
from overtone.study.callbacks import OneCell, StudyCallback
from overtone.study.cell import run_cell
from overtone.study.cells import Cell
from overtone.study.plan import make_plan
from overtone.types import Progress

STEP_SECONDS = 0.2
MOST_JOBS = 8


def default_jobs(threads: int) -> int:
    """As many cells side by side as there are cores for, at most 8 (each holds the data in memory)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // threads, MOST_JOBS))


class _Pipe(StudyCallback):
    """A worker's callback: sends what happens, steps at most every fifth of a second."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.sent = pipe, 0.0

    def cell_step(self, cell: Cell, progress: Progress, terms: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.sent >= STEP_SECONDS:
            self.sent = now
            self.pipe.send(("cell_step", progress, terms))

    def cell_epoch(self, cell: Cell, progress: Progress, row: EpochRow) -> None:
        self.pipe.send(("cell_epoch", progress, row))


def _work(pipe: Connection, recipe: dict[str, Any], folder: str) -> None:
    """A worker's life: receive a key, train the cell, say how it went; end when the pipe does."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    try:
        study = Recipe.model_validate(recipe)
        context = StudyContext(make_plan(study, data.load(study.data)), Path(folder), Accelerator())
        while True:
            key = pipe.recv()
            if key not in context.plan.cells:
                pipe.send(("input", "the data or the installed Overtone changed while the study ran; run it again"))
                return
            cell = context.plan.cells[key]
            try:
                run_cell(context.inputs(cell), cell, OneCell(cell, _Pipe(pipe)))
            except (BrokenPipeError, ConnectionError):
                return
            except InputError as error:
                pipe.send(("input", str(error)))
            except Exception as error:
                pipe.send(("failed", message_of(error), traceback.format_exc()))
            else:
                pipe.send(("done",))
    except (EOFError, BrokenPipeError, ConnectionError, KeyboardInterrupt):
        return  # the main process is gone


def message_of(error: Exception) -> str:
    """An error as one message; the kind is named where the message is not one of ours."""
    return str(error) if isinstance(error, OvertoneError) else told(error)


class Workers:
    """A few worker processes. Use as a context manager: leaving it ends them at once."""

    def __init__(self, context: StudyContext, jobs: int, heard: StudyCallback) -> None:
        self.context, self.heard = context, heard
        self.spawning = multiprocessing.get_context("spawn")
        self.recipe = context.plan.recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
        self.workers: dict[Connection, BaseProcess] = {}
        self.busy: dict[Connection, Cell] = {}
        self.jobs = jobs

    def __enter__(self) -> Workers:
        for _ in range(self.jobs):
            self._hire()
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self.workers.items():
            pipe.close()
            process.terminate()
        for process in self.workers.values():
            process.join()

    def _hire(self) -> None:
        mine, theirs = self.spawning.Pipe()
        process = self.spawning.Process(target=_work, args=(theirs, self.recipe, str(self.context.folder)), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: a child is deaf from its first moment
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        self.workers[mine] = process

    @property
    def idle(self) -> bool:
        """Whether a worker waits for a cell."""
        return len(self.busy) < len(self.workers)

    def start(self, cell: Cell) -> None:
        """Give a cell to an idle worker."""
        pipe = next(pipe for pipe in self.workers if pipe not in self.busy)
        self.busy[pipe] = cell
        self.heard.cell_started(cell)
        pipe.send(cell.key)

    def results(self) -> list[tuple[Cell, str | None, str]]:
        """Wait for news, pass on what is for the display, and return cells that ended: (cell, message, traceback).

        The message is None for a cell that is done.

        Raises:
            InputError: from a worker.
        """
        ended: list[tuple[Cell, str | None, str]] = []
        for pipe in wait(list(self.busy), timeout=0.5):
            assert isinstance(pipe, Connection)
            cell = self.busy[pipe]
            try:
                kind, *rest = pipe.recv()
            except (EOFError, ConnectionError):
                process = self.workers.pop(pipe)
                process.join()
                del self.busy[pipe]
                ended.append((cell, f"its process died (exit code {process.exitcode}); out of memory?", ""))
                self._hire()
                continue
            if kind in ("cell_step", "cell_epoch"):
                getattr(self.heard, kind)(cell, *rest)
                continue
            del self.busy[pipe]
            if kind == "input":
                raise InputError(rest[0])
            ended.append((cell, None, "") if kind == "done" else (cell, rest[0], rest[1]))
        return ended
