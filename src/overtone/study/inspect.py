"""Whether what lies in a study's folder still is what was written; what is not is made again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from overtone import disk
from overtone.engine import checkpoint
from overtone.engine.store import check_stored
from overtone.epochs import ROWS, checked_epochs
from overtone.errors import InputError
from overtone.sealed import DamagedError, check_digests, read_npz
from overtone.study.build import StudyContext
from overtone.study.predictions import FILE as PREDICTIONS
from overtone.study.records import RESULT, RUN, CellResult, CellRun, checked_record, is_done
from overtone.study.write import VISUALISATIONS

OLD = "came before files had hashes and cannot be verified"


def checked_result(folder: Path) -> tuple[CellResult, bool] | None:
    """What a done cell's ``result.json`` says, with every file that it names compared with its hash.

    Returns:
        The result, and whether it was verified: cells from before there were hashes have none, and are only looked at
        for whether their files can be read. None where the cell is not done.

    Raises:
        DamagedError: for a file that is missing or not what was written.
    """
    if not is_done(folder):
        return None
    result, verified = checked_record(folder / RESULT, CellResult)
    if result.key != folder.name:
        raise DamagedError(f"{RESULT} belongs to another cell")
    ran, _ = checked_record(folder / RUN, CellRun)
    if verified:
        if ran.key != folder.name:
            raise DamagedError(f"{RUN} belongs to another cell")
        check_digests(folder, result.files)
    elif result.files:
        raise DamagedError(f"{RESULT} is not what was written")
    else:
        _look(folder)
    return result, verified


def _look(folder: Path) -> None:
    """Whether the files of a cell without hashes can be read at all."""
    read_npz(folder / PREDICTIONS)
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise DamagedError(f"{path.name} cannot be read") from error
    try:
        checked_epochs(folder)
    except (OSError, ValueError) as error:
        raise DamagedError(f"{ROWS} cannot be read") from error


def damaged_cells(out: Path, keys: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Look at every file of a study's done cells.

    Returns:
        What is damaged, by key, and the keys of cells that could not be verified.
    """
    damaged, old = {}, []
    for key in keys:
        try:
            result = checked_result(out / "cells" / key)
        except DamagedError as error:
            damaged[key] = str(error)
        else:
            old += [key] if result is not None and not result[1] else []
    return damaged, old


def mend(context: StudyContext) -> list[str]:
    """Remove what is damaged in a study's folder, so that it is made again. Call it once, before anything is read.

    Returns:
        What was found, one sentence for each cell, checkpoint or folder of diagrams.

    Raises:
        InputError: for a file that may not be read or removed.
    """
    plan, out = context.plan, context.folder
    damaged, old = damaged_cells(out, plan.cells)
    damaged = {**_without_weights(context, damaged), **damaged}
    notes = []
    for key, how in damaged.items():
        for name in (RESULT, VISUALISATIONS):  # the others are written anew by whoever runs it again
            _remove(context.paths.cell(key) / name, out)
        notes.append(f"{plan.cells[key].title}: {how}; it is run again")
    notes += [note for key in plan.cells if key not in damaged for note in _mend_checkpoint(context, key)]
    notes += _mend_diagrams(out)
    old = [key for key in old if key not in damaged]
    return notes + ([f"{len(old)} of {len(plan.cells)} cells {OLD}; they are taken as they are"] if old else [])


def _without_weights(context: StudyContext, damaged: Mapping[str, str]) -> dict[str, str]:
    """Done cells whose weights are gone, where no hash tells."""
    missing = {}
    for key in context.plan.cells:
        if context.plan.cells[key].baseline is not None:
            continue  # it has none
        files = [context.paths.weights(key, checkpoint) for checkpoint in ("best", "last")]
        if key not in damaged and is_done(context.paths.cell(key)):
            absent = [path.name for path in files if not path.exists()]
            missing.update({key: f"{absent[0]} is missing"} if absent else {})
    return missing


def _mend_checkpoint(context: StudyContext, key: str) -> list[str]:
    path = context.paths.cell(key) / checkpoint.FILE
    if is_done(context.paths.cell(key)):
        return []
    try:
        checkpoint.load(path, key)
    except InputError:
        _remove(path, context.folder)
        return [f"{context.plan.cells[key].title}: {path.name} is damaged; it starts anew"]
    return []


def _mend_diagrams(out: Path) -> list[str]:
    cache, notes = out / "cache", []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else ():
        if not re.fullmatch("[0-9a-f]{20}", folder.name):
            continue
        try:
            check_stored(folder)
        except DamagedError as error:
            _remove(folder, out)
            notes.append(f"cache/{folder.name}: {error}; what views keep in it is made again where it is needed")
    return notes


def _remove(path: Path, out: Path) -> None:
    """Remove a file or folder of a study; nothing behind a link in it.

    Raises:
        InputError: if it cannot be.
    """
    linked = next((place for place in [path, *path.parents] if out in place.parents and place.is_symlink()), None)
    if linked is not None:
        raise InputError(
            f"damage is mended by removing {path}, but {linked} is a link, which is not followed; remove it yourself"
        )
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} is damaged and cannot be removed ({error.strerror or error}); remove it") from error


def sweep(out: Path) -> None:
    """Remove what a kill left half written, and checkpoints of cells that are done; nothing behind a link."""
    cells = [] if (out / "cells").is_symlink() else [path for path in out.glob("cells/*") if not path.is_symlink()]
    for folder in [out, *cells]:
        for path in folder.glob(".*.tmp"):
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
    for folder in cells:
        disk.sweep(folder)
        for path in folder.glob("memory-*"):  # as they were called before
            shutil.rmtree(path, ignore_errors=True)
        if is_done(folder):
            (folder / checkpoint.FILE).unlink(missing_ok=True)
    disk.sweep(out / "cache")
