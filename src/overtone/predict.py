"""Using a student: windows of a file through a student file, to probabilities or to scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from overtone.data.seen import Flat, Seen
from overtone.new_data import Given, Watch
from overtone.sheets import csv_line
from overtone.student import Student
from overtone.tasks import Context, joined
from overtone.types import Output

BATCH, BATCH_VALUES = 256, 2**22
"""Windows at a time, fewer where they hold more values than this; large images would take gigabytes inside a model."""


class Predictions:
    """What a student's last layer gives for windows, batch by batch, and what was noticed of them on the way.

    Args:
        student: the student.
        given: the windows; they are read once, from front to back.
        watch: hears how many are done.
    """

    def __init__(self, student: Student, given: Given, watch: Watch | None = None) -> None:
        self.student, self.given, self.watch = student, given, watch
        windows, header = given.windows, student.header
        images = windows.noun == "image"
        self.seen = Seen(header.mean, header.std, header.channels, images, windows.where)
        self.flat = None if given.streamed is None else Flat(header.channels, given.streamed)

    def __iter__(self) -> Iterator[tuple[slice, Output]]:
        """Which windows, and what the model gives of these.

        Raises:
            InputError: for values that are not finite, or a file that turns out to be damaged.
        """
        windows = self.given.windows
        size = max(1, min(BATCH, BATCH_VALUES // max(1, int(np.prod(windows.x.shape[1:])))))
        for first in range(0, len(windows), size):
            part = slice(first, min(first + size, len(windows)))
            x = windows.x[part]
            with np.errstate(over="ignore"):  # what is infinite as float32 is refused next
                x = np.array(x, dtype=np.uint8 if x.dtype == np.uint8 else np.float32)
            self.seen.add(x, windows.recording[part], windows.start[part])
            if self.flat is not None:
                self.flat.add(x, windows.recording[part])
            with torch.no_grad():
                yield part, self.student.output(torch.from_numpy(x))
            if self.watch is not None:
                self.watch(f"{windows.noun}s", part.stop, len(windows))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, once all windows are through."""
        return (*self.given.windows.notes, *(self.flat.notes if self.flat else ()), *self.seen.notes)


def write_predictions(file: BinaryIO, predictions: Predictions) -> None:
    """A CSV with each window's place (recording, first sample, seconds) or image, and what the task says of it: a class
    and every probability, or values.

    Raises:
        InputError: for a task whose models give no row of numbers per window.
    """
    given, task, rate = predictions.given, predictions.student.task, predictions.student.header.rate
    windows = given.windows
    of_images = windows.noun == "image"
    place = ["image"] if of_images else ["recording", "start", "start_seconds"]

    def write(cells: Iterable[object]) -> None:
        file.write(csv_line(cells).encode(errors="backslashreplace"))  # names of files may be any bytes

    for part, output in predictions:
        answers = task.answer(output.logits).tolist()
        if not part.start:
            write([*place, *task.columns()])
        for recording, start, row in zip(
            windows.recording[part].tolist(), windows.start[part].tolist(), answers, strict=True
        ):
            name = str(recording) if given.recordings is None else given.recordings[recording]
            where = [name] if of_images else [name, start, f"{start / rate:.4f}" if rate else ""]
            write([*where, *task.cells(row)])
        file.flush()


@dataclass(frozen=True)
class Evaluation:
    """How a student does on labelled windows or images (``noun``): its task's metrics, and what it keeps beside."""

    windows: int
    noun: str
    scores: dict[str, float]
    details: dict[str, Any]


def evaluate(predictions: Predictions) -> Evaluation:
    """A student's scores."""
    windows, task = predictions.given.windows, predictions.student.task
    predicted = joined([task.predict(output.map(Tensor.cpu)) for _, output in predictions])
    truth = torch.from_numpy(np.asarray(windows.y))
    context = Context(windows.recording, windows.start)
    scores, details = task.scores(predicted, truth, context), task.details(predicted, truth, context)
    return Evaluation(len(windows), windows.noun, scores, details)
