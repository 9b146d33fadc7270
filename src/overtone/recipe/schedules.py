"""What of a recipe changes while a model trains: points in training, weights over time, phases."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from overtone.recipe.base import NOT_ALLOWED, Section
from overtone.recipe.messages import Said


def _point(value: Any) -> Any:
    if isinstance(value, str):  # YAML reads 2e1 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= (1 if isinstance(value, float) else math.inf):
        raise PydanticCustomError(NOT_ALLOWED, "a point in training is needed")
    return value


Point = Annotated[
    int | float,
    BeforeValidator(_point),
    Field(ge=0, description="epochs, or a fraction of them"),
    Said("a point in training (a whole number of epochs, or a fraction from 0.0 to 1.0)"),
]


def _epochs_in(point: int | float, epochs: int) -> int:
    """Whole epochs up to a point; 0.29 of 100 is 29, whatever binary fractions say."""
    return math.floor(point * epochs + 1e-9) if isinstance(point, float) else point


class WeightSettings(Section):
    """A term's weight over time.

    ``warmup`` raises it linearly, ``min(epoch / warmup, 1)``; before ``from`` and after ``until`` it is 0. Whole
    numbers are epochs (``until: 10`` still holds in epoch 10), numbers with a point are fractions of all epochs.
    """

    value: float = Field(ge=0, le=1e9)  # float32 holds its square
    warmup: Point = 0
    from_: Point = Field(default=0, alias="from")
    until: Point | None = None

    def at(self, epoch: int, epochs: int) -> float:
        """The weight in an epoch, counted from 1."""
        start = _epochs_in(self.from_, epochs) + 1 if isinstance(self.from_, float) else self.from_
        if epoch < start or (self.until is not None and epoch > _epochs_in(self.until, epochs)):
            return 0.0
        warmup = self.warmup * epochs if isinstance(self.warmup, float) else self.warmup
        return self.value * (min(epoch / warmup, 1.0) if warmup > 0 else 1.0)


class PhaseSettings(Section):
    """A stretch of training in which only a part of the student is trained.

    Attributes:
        name: shown beside the curves.
        until: its last epoch, or a fraction of all; the next phase follows. Without it, until the end.
        trainable: patterns of the student's parameters' names (``signal.*``); all unless given, none with ``[]``, where
            only a method's own parts are trained.
    """

    name: str = ""
    until: Point | None = None
    trainable: list[str] = Field(default=["*"])

    def ends(self, epochs: int) -> int:
        """Its last epoch, of so many."""
        return epochs if self.until is None else min(_epochs_in(self.until, epochs), epochs)


def phase_at(phases: Sequence[PhaseSettings], epoch: int, epochs: int) -> PhaseSettings | None:
    """The phase of an epoch, counted from 1; None after the last one, where all is trained."""
    return next((phase for phase in phases if epoch <= phase.ends(epochs)), None)
