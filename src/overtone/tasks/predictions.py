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
        else [sample for batch in batches for sample in batch[name]]
        for name, first in batches[0].items()
    }


def count(predictions: Predictions) -> int:
    """Of how many samples."""
    return len(next(iter(predictions.values())))


def picked(predictions: Predictions, first: int) -> Predictions:
    """Those of the first samples."""
    return {name: values[:first] for name, values in predictions.items()}


def to_arrays(predictions: Predictions, prefix: str) -> dict[str, Array]:
    """As named arrays; lists as one array of all rows, with the samples' lengths beside it."""
    arrays: dict[str, Array] = {}
    for name, values in predictions.items():
        if isinstance(values, Tensor):
            arrays[f"{prefix}.{name}"] = values.cpu().numpy()
            continue
        arrays[f"{prefix}.{name}"] = torch.cat([sample.cpu() for sample in values]).numpy()
        arrays[f"{prefix}.{LENGTHS}{name}"] = np.asarray([len(sample) for sample in values], dtype=np.int64)
    return arrays


def from_arrays(arrays: Mapping[str, Any], prefix: str) -> Predictions:
    """What :func:`to_arrays` was given, from all of a file's arrays."""
    tensors = {
        name.removeprefix(f"{prefix}."): torch.from_numpy(np.asarray(x))
        for name, x in arrays.items()
        if name.startswith(f"{prefix}.")
    }
    return {
        name: list(x.split(tensors[LENGTHS + name].tolist())) if LENGTHS + name in tensors else x
        for name, x in tensors.items()
        if not name.startswith(LENGTHS)
    }
