"""Tasks that break the contract, each in one way. See ``test_tasks.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from overtone.tasks import LOSS, Classification, Context, Metric, Predictions, Regression, Task
from overtone.types import Batch, Output


class Incomplete(Task):
    NAME = "incomplete"


class Nameless(Regression):
    NAME = ""


class Metricless(Regression):
    METRICS: ClassVar[Any] = ("mae",)


class Blind(Regression):
    @property
    def watched(self) -> Metric:
        return Metric("other", "other")


class Odd(Regression):
    DISTILLABLE: ClassVar[frozenset[str]] = frozenset({"outputs", "thoughts"})


class Forgetful(Regression):
    def take(self, windows: Any) -> Any:
        return Classification(classes=windows.classes).take(windows) if windows.classes else windows


class Shapeless(Regression):
    """Keeps what no header holds."""

    kept: Any = None

    def fit(self, target: Tensor) -> Shapeless:
        return super().fit(target).model_copy(update={"kept": (1, 2)})


class Twice(Regression):
    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (*super().metrics, *super().metrics)


class Peeking(Regression):
    """Knows the mean of all targets."""

    all_mean: float = 0.0

    def take(self, windows: Any) -> Any:
        found = super().take(windows)
        task = found.task.model_copy(update={"all_mean": float(np.mean(found.y))})
        return type(found)(**{**vars(found), "task": task})


class Undeclared(Regression):
    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {**super().losses(output, batch), "more": output.logits.mean()}


class Vector(Regression):
    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"mse": (output.logits - batch.target).square().mean(1)}


class Infinite(Regression):
    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"mse": output.logits.mean() / 0}


class Detached(Regression):
    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return super().losses(output.map(torch.detach), batch)


class Counting(Regression):
    def training_scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"samples": torch.tensor(len(batch.index))}


class Short(Regression):
    def predict(self, output: Output) -> Predictions:
        return {"values": super().predict(output)["values"][1:]}


class Coupled(Regression):
    def predict(self, output: Output) -> Predictions:
        return {"values": super().predict(output)["values"] - len(output.logits)}


class Drawing(Regression):
    def predict(self, output: Output) -> Predictions:
        return {"values": super().predict(output)["values"] + 1e-2 * torch.rand(1)}


class Fewer(Regression):
    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        found = super().scores(predictions, truth, context)
        return {"mae": found["mae"]}


class Lost(Regression):
    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        return {**super().scores(predictions, truth, context), "r2": float("nan")}


class Unwatched(Regression):
    @property
    def watched(self) -> Metric:
        return LOSS

    def on_validation(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        return self.scores(predictions, truth)


class Lineless(Regression):
    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        assert len(context.start) == len(truth)  # type: ignore[union-attr]
        return super().scores(predictions, truth)


class Heavy(Regression):
    def details(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, Any]:
        return {"values": predictions["values"]}


class Painted(Regression):
    def shown(self, details: Sequence[Mapping[str, Any]]) -> Any:
        return "a picture"


class Moody(Regression):
    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        found = super().scores(predictions, truth, context)
        return {name: value + float(torch.rand(1)) for name, value in found.items()}


class Loose(Regression):
    """Keeps lists of numbers, which have no rows."""

    def predict(self, output: Output) -> Predictions:
        return {**super().predict(output), "sure": list(output.logits[:, 0].abs())}


class Listed(Regression):
    """Predicts lists, and says nothing of ensembles."""

    def predict(self, output: Output) -> Predictions:
        return {"values": list(super().predict(output)["values"])}

    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        values = torch.stack([own.reshape(-1) for own in predictions["values"]])
        return super().scores({"values": values}, truth, context)

    def loss(self, predictions: Predictions, truth: Any) -> float:
        return super().loss({"values": torch.stack(predictions["values"])}, truth)

    def details(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, Any]:
        return {}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {}


class Doubled(Regression):
    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        return {"values": 2 * sum(own["values"] for own in several)}


class Wordless(Regression):
    def called(self, truth: Any) -> Any:
        return truth


class Wide(Regression):
    def columns(self) -> list[str]:
        return [*super().columns(), "more"]


class Silent(Regression):
    def verdict(self, answer: Sequence[float], truth: Any) -> Any:
        return True


class Untold(Listed):
    """Predicts lists, and does not say what they mean of one sample."""

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        return several[0]


class Weighty(Regression):
    def answers(self, predictions: Predictions) -> list[Any]:
        return list(predictions["values"])


class Asking(Regression):
    def asked(self, output: Output, target: Tensor) -> Tensor:
        return output.logits.sum(1)


class Missing(Regression):
    def asked(self, output: Output, target: Tensor) -> Tensor:
        return super().asked(Output({}), target)
