"""A cell's predictions of its test side, on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overtone.errors import InputError
from overtone.files import write_npz
from overtone.sealed import DamagedError, read_npz
from overtone.tasks import Context, Predictions, to_arrays

FILE = "predictions.npz"


def write_predictions(
    folder: Path, index: Any, target: Any, predictions: Mapping[str, Predictions], context: Context | None = None
) -> None:
    """Write them, by checkpoint (and part: ``signal.best``), with the samples' numbers and targets.

    Where they come from is written for a task that needs it, whose ensembles are scored from these files alone.
    """
    arrays = {name: x for which, values in predictions.items() for name, x in to_arrays(values, which).items()}
    origin = {} if context is None else {"recording": context.recording, "start": context.start}
    write_npz(folder / FILE, {"index": np.asarray(index), "target": np.asarray(target), **origin, **arrays})


def read_predictions(folder: Path) -> dict[str, Any]:
    """A done cell's arrays, for :func:`overtone.tasks.from_arrays`, with ``index`` and ``target``, and, where the task
    needs them, ``recording`` and ``start``.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        return read_npz(folder / FILE)
    except DamagedError as error:
        raise InputError(f"{folder}: {error}; run the study again, which runs this cell again") from error


def context_of(arrays: Mapping[str, Any]) -> Context | None:
    """Where the samples of :func:`read_predictions` come from; None where that was not needed."""
    return Context(arrays["recording"], arrays["start"]) if "recording" in arrays else None
