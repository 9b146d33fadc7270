"""What models must do. One small file per task; everything else asks the task and knows none by name."""

from __future__ import annotations

from pydantic import ValidationError

from overtone.errors import InputError, nearest
from overtone.lookup import import_class
from overtone.recipe import TaskSettings, validation_message
from overtone.tasks.base import PARTS, Array, Context, Estimators, Predictions, Summary, Task
from overtone.tasks.classification import Classification
from overtone.tasks.detection import Detection
from overtone.tasks.metric import LOSS, Metric
from overtone.tasks.predictions import count, from_arrays, joined, picked, to_arrays
from overtone.tasks.regression import Regression
from overtone.tasks.written import Place, suited

DEFAULT: Task = Classification()
"""What models do unless the data or the recipe says otherwise; its classes are the data's."""
TASKS: dict[str, type[Task]] = {task.NAME: task for task in (Classification, Regression, Detection)}


def find(name: str) -> type[Task]:
    """A task's class by name, or by ``package.module:Class``.

    Raises:
        InputError: for an unknown name; the nearest is given.
    """
    if ":" in name:
        kind: type[Task] = import_class(name, Task, "data.task")
        return kind
    if name not in TASKS:
        raise InputError(f"data.task: unknown task {name!r}; {nearest(name, [*TASKS, 'package.module:Class'])}")
    return TASKS[name]


def make(settings: TaskSettings) -> Task:
    """The task that a recipe names, with its settings; it knows nothing of the data yet.

    Raises:
        InputError: for an unknown task or setting.
    """
    kind = find(settings.name)
    try:
        return kind.model_validate(settings.settings)
    except ValidationError as error:
        raise InputError(validation_message(error, kind, "data.task")) from error


def named(task: Task) -> str:
    """The name that :func:`find` takes for a task."""
    kind = type(task)
    return kind.NAME if TASKS.get(kind.NAME) is kind else f"{kind.__module__}:{kind.__qualname__}"


__all__ = [
    "DEFAULT",
    "LOSS",
    "PARTS",
    "TASKS",
    "Array",
    "Classification",
    "Context",
    "Detection",
    "Estimators",
    "Metric",
    "Place",
    "Predictions",
    "Regression",
    "Summary",
    "Task",
    "count",
    "find",
    "from_arrays",
    "joined",
    "make",
    "named",
    "picked",
    "suited",
    "to_arrays",
]
