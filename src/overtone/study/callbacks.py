"""Who hears how a study goes: displays, and the pipes of worker processes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from overtone.engine import Callback
from overtone.epochs import EpochRow
from overtone.study.cells import Cell
from overtone.study.records import CellResult
from overtone.types import Progress


class StudyCallback:
    """Hears how a study goes; this one says nothing, displays override what they want to hear."""

    def study(self, cells: list[Cell], done: set[str], costs: Mapping[str, float], jobs: int) -> None:
        """Once, before the first cell; ``costs`` is each missing cell's relative cost of an epoch."""

    def note(self, message: str) -> None:
        """Something that a person should know."""

    def cell_started(self, cell: Cell) -> None:
        """A cell begins (or goes on from its checkpoint)."""

    def cell_step(self, cell: Cell, progress: Progress, terms: Mapping[str, float]) -> None:
        """A cell has made a step; not every step is told."""

    def cell_epoch(self, cell: Cell, progress: Progress, row: EpochRow) -> None:
        """A cell has ended an epoch."""

    def cell_done(self, cell: Cell, result: CellResult) -> None:
        """A cell is done."""

    def cell_failed(self, cell: Cell, message: str) -> None:
        """A cell failed, or cannot run because a cell it needs failed."""


class OneCell(Callback):
    """The engine's callback for one cell, passing on to a study's."""

    def __init__(self, cell: Cell, heard: StudyCallback) -> None:
        self.cell, self.heard = cell, heard

    def step(self, progress: Progress, terms: Mapping[str, Tensor]) -> None:
        """Pass on."""
        self.heard.cell_step(self.cell, progress, {name: float(value.detach()) for name, value in terms.items()})

    def epoch(self, progress: Progress, row: EpochRow) -> None:
        """Pass on."""
        self.heard.cell_epoch(self.cell, progress, row)
