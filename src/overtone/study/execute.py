"""Running a study here: every cell that is missing, in order; one that fails does not stop the others."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from overtone.engine import make_accelerator
from overtone.errors import FitError, InputError, NotFiniteError
from overtone.study.build import StudyContext, build_cell
from overtone.study.callbacks import OneCell, StudyCallback
from overtone.study.cell import run_cell
from overtone.study.cells import Cell, Plan
from overtone.study.describe import describe, write_example
from overtone.study.estimate import costs
from overtone.study.fitted import check_baseline
from overtone.study.inspect import mend, sweep
from overtone.study.records import STUDY, CellError, name_of_study, read_result, write_error, write_study
from overtone.study.workers import Workers, message_of

CELL = re.compile("[0-9a-f]{20}")
OURS = {".lock", "cells", "cache", "example.npz", STUDY}
"""What a run that was killed at once may have left in its folder."""


def execute(
    plan: Plan,
    out: Path,
    callback: StudyCallback | None = None,
    only: str | None = None,
    jobs: int = 1,
    accelerator: Accelerator | None = None,
) -> dict[str, str]:
    """Run what is missing.

    Args:
        plan: the study.
        out: its folder.
        callback: a display; nothing is shown without one.
        only: run this cell (the beginning of its key) and what it needs, nothing else.
        jobs: cells trained side by side, in processes of their own where that is more than 1. The numbers are the same.
        accelerator: where to run; made here unless given.

    Returns:
        The failed cells' messages by key; empty if all went well.

    Raises:
        InputError: for wrong wiring, a folder that holds another study, ``only`` that fits no cell, or a full disk.
    """
    accelerator = accelerator or make_accelerator()
    torch.set_num_threads(plan.recipe.train.threads)
    context = StudyContext(plan, out, accelerator)
    wanted = _wanted(plan, only)
    heard = (callback or StudyCallback()) if accelerator.is_main_process else StudyCallback()
    if accelerator.is_main_process:
        claim(out, plan.recipe.name)
        sweep(out)
        for note in mend(context):
            heard.note(note)
    done = _agreed(accelerator, wanted, context)
    todo = [cell for cell in wanted if cell.key not in done]
    doubts = _wire(context, todo)
    if accelerator.is_main_process:
        write_study(out, describe(plan))
        write_example(plan, context, out)
    jobs = 1 if accelerator.num_processes > 1 else max(1, min(jobs, len(todo)))
    heard.study(wanted, done, costs(context, todo) if accelerator.is_main_process else {}, jobs)
    book = _Book(context, heard)
    for doubt in doubts:
        heard.note(doubt)
    if jobs == 1:
        _run_here(context, todo, book)
    else:
        with Workers(context, jobs, heard) as workers:
            _run_beside(workers, todo, done, book)
    if accelerator.is_main_process:
        sweep(out)  # once more: what a run killed a moment ago left may still have been held at the start
    return book.failed


class _Book:
    """Keeps what failed, writes it down, and tells the display."""

    def __init__(self, context: StudyContext, heard: StudyCallback) -> None:
        self.context, self.heard = context, heard
        self.failed: dict[str, str] = {}

    def blocked(self, cell: Cell) -> bool:
        """Mark a cell whose needs failed."""
        broken = [key for key in cell.needs if key in self.failed]
        if broken:
            title = self.context.plan.cells[broken[0]].title
            self.failed[cell.key] = f"not run: it needs {title}, which failed"
            self.heard.cell_failed(cell, self.failed[cell.key])
        return bool(broken)

    def ended(self, cell: Cell, message: str | None, trace: str) -> None:
        """Note how a cell ended; no message means that all went well."""
        main = self.context.accelerator.is_main_process
        if message is None:
            if main:
                self.heard.cell_done(cell, read_result(self.context.paths.cell(cell.key)))
            return
        self.failed[cell.key] = message
        if main:
            error = CellError(title=cell.title, message=message, traceback=trace)
            write_error(self.context.paths.cell(cell.key), error)
        self.heard.cell_failed(cell, message)


def _run_here(context: StudyContext, todo: list[Cell], book: _Book) -> None:
    """One cell after the other in this process (or in the processes of one launch, together)."""
    for cell in todo:
        if book.blocked(cell):
            continue
        book.heard.cell_started(cell)
        try:
            run_cell(context.inputs(cell), cell, OneCell(cell, book.heard))
        except InputError:
            raise  # a full disk, a foreign checkpoint: for the user to mend, and no later cell would do better
        except Exception as error:
            if context.accelerator.num_processes > 1 and not isinstance(error, (NotFiniteError, FitError)):
                raise  # the other processes wait for this one: end, so that the launcher ends them
            book.ended(cell, message_of(error), traceback.format_exc())
        else:
            book.ended(cell, None, "")


def _run_beside(workers: Workers, todo: list[Cell], done: set[str], book: _Book) -> None:
    """Every cell as soon as what it needs is done and a worker is idle."""
    waiting, ready = list(todo), set(done)
    while waiting or workers.busy:
        for cell in list(waiting):
            if book.blocked(cell):
                waiting.remove(cell)
            elif workers.idle and all(key in ready for key in cell.needs):
                waiting.remove(cell)
                workers.start(cell)
        for cell, message, trace in workers.results():
            book.ended(cell, message, trace)
            if message is None:
                ready.add(cell.key)


def claim(out: Path, name: str) -> None:
    """Refuse a folder that holds something else; nothing is written.

    A study whose ``study.json`` is damaged or gone is known by its cells: what the recipe does not want of them stays.

    Args:
        out: the folder; need not be there yet.
        name: the study's.

    Raises:
        InputError: for a file, a name that is no UTF-8, a folder with other things in it, or another study's folder.
    """
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError:
        raise InputError(f"--out {str(out)!a} is no UTF-8, so no page could name it; choose another") from None
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    name_there = name_of_study(out)
    if name_there is not None and name_there != name:
        raise InputError(f"{out} holds the study {name_there!r}, not {name!r}; choose another --out")
    others = [path.name for path in (out.iterdir() if name_there is None and out.exists() else ()) if not _ours(path)]
    if others and not any(CELL.fullmatch(path.name) for path in out.glob("cells/*")):
        raise InputError(f"{out} is not empty and holds no study; choose another --out")


def _ours(path: Path) -> bool:
    return path.name in OURS or path.name.endswith(".tmp")


def _wire(context: StudyContext, missing: list[Cell]) -> list[str]:
    """Build every kind of cell once, with untrained teachers, so that bad wiring is told before the first epoch.

    Returns:
        What is worth a warning, a sentence each.
    """
    doubts: dict[str, None] = {}
    kinds: set[str] = set()
    for cell in missing:
        if cell.baseline is not None:
            if cell.fold == missing[0].fold:
                check_baseline(context.inputs(cell), cell, cell.baseline)
            continue
        what = (cell.view, cell.model, cell.options, cell.at, cell.methods, cell.weights, cell.phases, [*cell.teachers])
        if cell.fold == missing[0].fold and repr(what) not in kinds:
            kinds.add(repr(what))
            doubts.update(dict.fromkeys(build_cell(context.inputs(cell), cell, fresh_teachers=True).doubts))
    return list(doubts)


def _wanted(plan: Plan, only: str | None) -> list[Cell]:
    if only is None:
        return list(plan.cells.values())
    keys = [key for key in plan.cells if key.startswith(only)]
    if len(keys) != 1:
        raise InputError(f"--only {only!r} fits {len(keys)} of this recipe's {len(plan.cells)} cells, it must fit one")
    needed: list[str] = []

    def add(key: str) -> None:
        for other in plan.cells[key].needs:
            add(other)
        if key not in needed:
            needed.append(key)

    add(keys[0])
    return [plan.cells[key] for key in needed]


def _agreed(accelerator: Accelerator, wanted: list[Cell], context: StudyContext) -> set[str]:
    """The main process' view of what is done, on every process: their clocks and disks may differ."""
    done = {cell.key for cell in wanted if context.done(cell.key)} if accelerator.is_main_process else set()
    if accelerator.num_processes == 1:
        return done
    message = [json.dumps(sorted(done))]
    broadcast_object_list(message)
    return set(json.loads(message[0]))
