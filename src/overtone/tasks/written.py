"""What is written of predictions: a table of places and lines, as a task says them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from overtone.errors import InputError, told
from overtone.sheets import csv_line

if TYPE_CHECKING:
    from overtone.tasks.base import Task


@dataclass(frozen=True)
class Place:
    """Where a sample lies that ``overtone predict`` was given.

    Attributes:
        name: the recording's, or the image's.
        start: a window's first sample in its recording; None of an image.
        seconds: when that is, where the rate is known.
        scale: of an image that was scaled, pixels of its file in one of it, across and down.
    """

    name: str
    start: int | None = None
    seconds: float | None = None
    scale: tuple[float, float] = (1.0, 1.0)

    @property
    def cells(self) -> dict[str, object]:
        """Of a table, by column."""
        if self.start is None:
            return {"image": self.name}
        seconds = "" if self.seconds is None else f"{self.seconds:.4f}"
        return {"recording": self.name, "start": self.start, "start_seconds": seconds}


def write_table(task: Task, file: BinaryIO, batches: Iterable[tuple[Sequence[Place], dict[str, Any]]]) -> None:
    """A CSV with the lines that the task makes of each sample, behind the sample's place; see ``Task.write``.

    Raises:
        InputError: for a task that does not say how its predictions are written.
    """

    def put(cells: Iterable[object]) -> None:
        file.write(csv_line(cells).encode(errors="backslashreplace"))  # names of files may be any bytes

    columns: list[str] | None = None
    for places, predictions in batches:
        answers = task.answers(predictions)
        if columns is None:
            columns = task.columns()
            put([*places[0].cells, *columns])
        for place, answer in zip(places, answers, strict=True):
            with suited(task, "lines"):
                lines = task.lines(answer)
            for line in lines:
                if len(line) != len(columns):
                    raise InputError(
                        f"task {task.NAME} has {len(columns)} columns ({', '.join(columns[:4])}) and a line of "
                        f"{len(line)} cells; give it columns and lines that fit each other (docs/tasks.md)"
                    )
                put([*place.cells.values(), *line])
        file.flush()


@contextmanager
def suited(task: Task, method: str) -> Iterator[None]:
    """Says which method a task lacks, where one that it took over from another task fails on what it predicts.

    Raises:
        InputError: instead of what the method raised.
    """
    try:
        yield
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"task {task.NAME}: its {method} does not fit what it predicts ({told(error)}); give it one of its own "
            "(docs/tasks.md)"
        ) from error
