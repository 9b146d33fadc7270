"""Predictions of many samples: joined from batches, cut, and as arrays for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overtone.tasks.base import Array, Predictions

LENGTHS = "lengths of "
"""Begins the name of an array that says how many rows of another belong to each sample."""


def joined(batches: Sequence[Predictions]) -> Predictions:
    """Predictions of several batches, one after the other."""
    return {
        name: torch.cat([batch[name] for batch in batches])
        if isinstance(first, Tensor)
        else [own for batch in batches for own in batch[name]]
        for name, first in batches[0].items()
    }


def count(predictions: Predictions) -> int:
    """Of how many samples."""
    return len(next(iter(predictions.values())))


def picked(predictions: Predictions, first: int) -> Predictions:
    """Those of the first samples."""
    return {name: held[:first] for name, held in predictions.items()}


def to_arrays(predictions: Predictions, prefix: str) -> dict[str, Array]:
    """As named arrays; lists as one array of all rows, with the samples' lengths beside it."""
    found: dict[str, Array] = {}
    for name, held in predictions.items():
        if isinstance(held, Tensor):
            found[f"{prefix}.{name}"] = held.cpu().numpy()
            continue
        found[f"{prefix}.{name}"] = torch.cat([own.cpu() for own in held]).numpy()
        found[f"{prefix}.{LENGTHS}{name}"] = np.asarray([len(own) for own in held], dtype=np.int64)
    return found


def from_arrays(arrays: Mapping[str, Any], prefix: str) -> Predictions:
    """What :func:`to_arrays` was given, from all of a file's arrays."""
    held = {
        name.removeprefix(f"{prefix}."): torch.from_numpy(np.asarray(x))
        for name, x in arrays.items()
        if name.startswith(f"{prefix}.")
    }
    return {
        name: list(x.split(held[LENGTHS + name].tolist())) if LENGTHS + name in held else x
        for name, x in held.items()
        if not name.startswith(LENGTHS)
    }
