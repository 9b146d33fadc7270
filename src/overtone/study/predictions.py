"""A cell's predictions of its test side, on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overtone.errors import InputError
from overtone.files import write_npz
from overtone.sealed import DamagedError, read_npz
from overtone.tasks import Predictions, to_arrays

FILE = "predictions.npz"


def write_predictions(folder: Path, index: Any, target: Any, predictions: Mapping[str, Predictions]) -> None:
    """Write them, by checkpoint (and part: ``signal.best``), with the samples' numbers and targets."""
    arrays = {name: x for which, values in predictions.items() for name, x in to_arrays(values, which).items()}
    write_npz(folder / FILE, {"index": np.asarray(index), "target": np.asarray(target), **arrays})


def read_predictions(folder: Path) -> dict[str, Any]:
    """A done cell's arrays, for :func:`overtone.tasks.from_arrays`, with ``index`` and ``target``.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        return read_npz(folder / FILE)
    except DamagedError as error:
        raise InputError(f"{folder}: {error}; run the study again, which runs this cell again") from error
