"""A study: cells planned from a recipe, executed, collected into a table."""

from overtone.study.collect import Figure, TableRow, collect, mixed_environments, write_tables
from overtone.study.execute import StudyListener, execute
from overtone.study.plan import Cell, Plan, Row, make_plan

__all__ = [
    "Cell",
    "Figure",
    "Plan",
    "Row",
    "StudyListener",
    "TableRow",
    "collect",
    "execute",
    "make_plan",
    "mixed_environments",
    "write_tables",
]
