"""Running a study here: every cell that is missing, in order; one that fails does not stop the others."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from overtone.engine import Listener
from overtone.errors import InputError, OvertoneError
from overtone.files import read_json, write_json
from overtone.study.cell import RESULT, Workshop, build_cell, run_cell
from overtone.study.describe import describe, write_example
from overtone.study.estimate import costs
from overtone.study.plan import Cell, Plan


class StudyListener(Listener):
    """Hears how a study goes; this one says nothing."""

    def study(self, cells: list[Cell], done: set[str], costs: Mapping[str, float]) -> None:
        """Once, before the first cell; ``costs`` is each missing cell's relative cost of an epoch."""

    def cell_started(self, cell: Cell) -> None:
        """A cell begins (or goes on from its checkpoint)."""

    def cell_done(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """A cell is done."""

    def cell_failed(self, cell: Cell, message: str) -> None:
        """A cell failed, or cannot run because a cell it needs failed."""


def execute(
    plan: Plan,
    out: Path,
    listener: StudyListener | None = None,
    only: str | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, str]:
    """Run what is missing.

    Args:
        plan: the study.
        out: its folder.
        listener: a display; nothing is shown without one.
        only: run this cell (the beginning of its key) and what it needs, nothing else.
        accelerator: where to run; made here unless given.

    Returns:
        The failed cells' messages by key; empty if all went well.

    Raises:
        InputError: if the folder holds another study, or ``only`` fits no cell.
    """
    accelerator = accelerator or Accelerator()
    listener = listener or StudyListener()
    shop = Workshop(plan, out, accelerator)
    wanted = _wanted(plan, only)
    _wire(shop, wanted)
    if accelerator.is_main_process:
        claim(out, plan)
        write_json(out / "study.json", describe(plan))
        write_example(plan, shop, out)
    done = _agreed(accelerator, {cell.key for cell in wanted if shop.done(cell.key)})
    if accelerator.is_main_process:
        listener.study(wanted, done, costs(shop, [cell for cell in wanted if cell.key not in done]))
    heard = listener if accelerator.is_main_process else StudyListener()
    failed: dict[str, str] = {}
    for cell in wanted:
        if cell.key in done:
            continue
        broken = [key for key in cell.needs if key in failed]
        if broken:
            failed[cell.key] = f"not run: it needs {plan.cells[broken[0]].title}, which failed"
            heard.cell_failed(cell, failed[cell.key])
            continue
        heard.cell_started(cell)
        try:
            run_cell(shop, cell, heard)
        except InputError:
            raise  # a full disk, a foreign checkpoint: for the user to mend, and no later cell would do better
        except Exception as error:
            message = str(error) if isinstance(error, OvertoneError) else f"{type(error).__name__}: {error}"
            failed[cell.key] = message
            if accelerator.is_main_process:
                write_json(
                    shop.cell_folder(cell.key) / "error.json",
                    {"title": cell.title, "message": message, "traceback": traceback.format_exc()},
                )
            heard.cell_failed(cell, message)
        else:
            if accelerator.is_main_process:
                heard.cell_done(cell, read_json(shop.cell_folder(cell.key) / RESULT))
    return failed


def claim(out: Path, plan: Plan) -> None:
    """Make the folder, or refuse one that holds something else.

    Raises:
        InputError: for a file, a folder with other things in it, or another study's folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    if (out / "study.json").exists():
        name = read_json(out / "study.json").get("name")
        if name != plan.recipe.name:
            raise InputError(f"{out} holds the study {name!r}, not {plan.recipe.name!r}; choose another --out")
    elif out.exists() and any(path.name != ".lock" for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no study; choose another --out")


def _wire(shop: Workshop, cells: list[Cell]) -> None:
    """Build every kind of cell once, with untrained teachers, so that bad wiring is told before the first epoch."""
    first = [cell for cell in cells if (cell.fold, cell.seed) == (cells[0].fold, cells[0].seed)]
    for cell in first:
        if not shop.done(cell.key):
            build_cell(shop, cell, fresh_teachers=True)


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


def _agreed(accelerator: Accelerator, done: set[str]) -> set[str]:
    """The main process' view of what is done, on every process: their clocks and disks may differ."""
    if accelerator.num_processes == 1:
        return done
    held = [json.dumps(sorted(done))]
    broadcast_object_list(held)
    return set(json.loads(held[0]))
