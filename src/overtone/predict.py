"""Using a student: windows of a file through a student file, to what its task writes of them or to scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from overtone.data.seen import Flat, Seen
from overtone.new_data import Given, Watch
from overtone.student import Student
from overtone.tasks import Context, Place, joined
from overtone.tasks import Predictions as Predicted

BATCH, BATCH_VALUES = 256, 2**22
"""Windows at a time, fewer where they hold more values than this; large images would take gigabytes inside a model."""


class Predictions:
    """What a student predicts of windows, batch by batch, and what was noticed of them on the way.

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

    def __iter__(self) -> Iterator[tuple[slice, Predicted]]:
        """Which windows, and what its task keeps of these (``Task.predict``).

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
            sizes = None if windows.sizes is None else torch.from_numpy(windows.sizes[part, :2])
            with torch.no_grad():
                predicted = self.student.task.predict(self.student.output(torch.from_numpy(x), sizes).map(Tensor.cpu))
            yield part, predicted
            if self.watch is not None:
                self.watch(f"{windows.noun}s", part.stop, len(windows))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, once all windows are through."""
        return (*self.given.windows.notes, *(self.flat.notes if self.flat else ()), *self.seen.notes)


def write_predictions(file: BinaryIO, predictions: Predictions) -> None:
    """What the student's task writes of each window, or image, and its place.

    Raises:
        InputError: for a task that does not say how its predictions are written.
    """
    predictions.student.task.write(file, _placed(predictions))


def _placed(predictions: Predictions) -> Iterator[tuple[list[Place], Predicted]]:
    """Batches with their windows' places: recording, first sample and seconds, or an image."""
    given, rate = predictions.given, predictions.student.header.rate
    windows = given.windows
    of_images = windows.noun == "image"
    for part, predicted in predictions:
        places = []
        for recording, start in zip(windows.recording[part].tolist(), windows.start[part].tolist(), strict=True):
            name = str(recording) if given.recordings is None else given.recordings[recording]
            places.append(Place(name) if of_images else Place(name, start, start / rate if rate else None))
        if windows.sizes is not None:
            scales = (windows.sizes[part, 2:] / windows.sizes[part, :2]).tolist()
            places = [
                replace(place, scale=(across, down)) for place, (down, across) in zip(places, scales, strict=True)
            ]
        yield places, predicted


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
    predicted = joined([batch for _, batch in predictions])
    truth = torch.from_numpy(np.asarray(windows.y))
    context = Context(windows.recording, windows.start)
    scores, details = task.scores(predicted, truth, context), task.details(predicted, truth, context)
    return Evaluation(len(windows), windows.noun, scores, details)
