"""A study: cells planned from a recipe, executed, collected into a table."""

from overtone.study.callbacks import StudyCallback
from overtone.study.cells import Cell, Plan, Row
from overtone.study.collect import (
    Estimate,
    TableRow,
    collect,
    mixed_environments,
    spread_over,
    write_tables,
)
from overtone.study.execute import claim, execute
from overtone.study.inspect import OLD, damaged_cells
from overtone.study.plan import make_plan
from overtone.study.records import CellResult, RowKind, StudyDescription, read_study
from overtone.study.size import Size, large
from overtone.study.workers import default_jobs

__all__ = [
    "OLD",
    "Cell",
    "CellResult",
    "Estimate",
    "Plan",
    "Row",
    "RowKind",
    "Size",
    "StudyCallback",
    "StudyDescription",
    "TableRow",
    "claim",
    "collect",
    "damaged_cells",
    "default_jobs",
    "execute",
    "large",
    "make_plan",
    "mixed_environments",
    "read_study",
    "spread_over",
    "write_tables",
]
