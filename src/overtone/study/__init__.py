"""A study: cells planned from a recipe, executed, collected into a table."""

from overtone.study.collect import Figure, TableRow, collect, mixed_environments, write_tables
from overtone.study.execute import execute
from overtone.study.listen import StudyListener
from overtone.study.plan import Cell, Plan, Row, make_plan
from overtone.study.workers import default_jobs

__all__ = [
    "Cell",
    "Figure",
    "Plan",
    "Row",
    "StudyListener",
    "TableRow",
    "collect",
    "default_jobs",
    "execute",
    "make_plan",
    "mixed_environments",
    "write_tables",
]
