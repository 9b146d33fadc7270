"""What each epoch of a cell's training gave: the type of a row of ``metrics.jsonl``, written and read here alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from overtone.files import write_atomic

ROWS = "metrics.jsonl"


class EpochRow(BaseModel):
    """One epoch.

    Attributes:
        epoch: from 1 on.
        phase: the recipe's, where it has phases.
        lr: at the epoch's first step.
        total: the loss, its mean over the epoch.
        train, val: scores by name; without a validation side no ``val``.
        terms, weights: each term's mean, unweighted, and its weight.
        scalars: learned numbers of methods, where they have some.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int
    phase: str | None = None
    lr: float
    total: float
    train: dict[str, float] = {}
    val: dict[str, float] | None = None
    terms: dict[str, float]
    weights: dict[str, float]
    scalars: dict[str, float] = {}


def write_epochs(folder: Path, rows: Sequence[EpochRow]) -> None:
    """Write a line per epoch, the file anew each time, so that a resumed run leaves no line twice."""
    lines = (json.dumps(row.model_dump(exclude_unset=True), sort_keys=True) + "\n" for row in rows)
    write_atomic(folder / ROWS, "".join(lines))


def checked_epochs(folder: Path) -> list[EpochRow]:
    """A cell's rows; none where there is no file.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: for one that is not what was written.
    """
    if not (folder / ROWS).exists():
        return []
    return [
        EpochRow.model_validate(json.loads(line)) for line in (folder / ROWS).read_text(encoding="utf-8").splitlines()
    ]


def read_epochs(folder: Path) -> list[EpochRow]:
    """A cell's rows; none where the file is missing or damaged."""
    try:
        return checked_epochs(folder)
    except (OSError, ValueError):
        return []
