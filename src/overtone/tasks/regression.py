"""One or several real numbers per sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from overtone.errors import InputError
from overtone.shown import Points
from overtone.tasks.base import Array, Context, Estimators, Predictions, Summary, Task
from overtone.tasks.metric import Metric
from overtone.tasks.values import from_channels, from_labels
from overtone.types import Batch, Output, described

if TYPE_CHECKING:
    from typing_extensions import Self

    from overtone.data import Fold, Recordings, Windows
    from overtone.recipe import TargetSettings

MAE = Metric("mae", "MAE", better="lower", ends=(0, None), about="mean absolute error")
RMSE = Metric("rmse", "RMSE", better="lower", ends=(0, None), about="root of the mean squared error")
R2 = Metric(
    "r2",
    "R²",
    digits=2,
    ends=(None, 1),
    about="1 minus the mean squared error over the variance of a fold’s test {side}",
)
DEVIATIONS = "sd"
"""The unit of errors over several targets: each target's standard deviation on the training side."""
MOST_POINTS = 4000
"""Samples whose prediction and truth are kept for the page, evenly spaced."""


class Regression(Task):
    """Real numbers: energy spent, heart rate, speed of gait.

    Targets are (N, K) float32 in their own units. A model's outputs (B, K) are in units of the targets' standard
    deviations around their means, both of the training side; so teachers of the same fold can be compared with the
    student. With several targets, errors are averaged over them in standard deviations, R² over the targets.

    Attributes:
        term: the model's own loss, mean squared or mean absolute error.
        targets: what is measured, one name per output.
        units: of each, for tables; empty where not known.
        mean, std: of each on the training side.
    """

    NAME: ClassVar[str] = "regression"
    METRICS: ClassVar[tuple[Metric, ...]] = (MAE, RMSE, R2)
    TERMS: ClassVar[tuple[str, ...]] = ("mse", "mae")
    DISTILLABLE: ClassVar[frozenset[str]] = frozenset({"outputs", "embedding", "maps"})
    ESTIMATORS: ClassVar[Estimators] = {
        "forest": ("sklearn.ensemble:RandomForestRegressor", {}),
        "linear": ("sklearn.linear_model:Ridge", {}),
        "constant": ("sklearn.dummy:DummyRegressor", {}),
    }

    term: Literal["mse", "mae"] = "mse"
    targets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _equally_many(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"a target is named twice: {', '.join(self.targets)}")
        for name in ("units", "mean", "std"):
            if len(getattr(self, name)) not in (0, len(self.targets)):
                raise ValueError(f"{name}: one for each of {len(self.targets)} targets, got {len(getattr(self, name))}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std, default=1) <= 0:
            raise ValueError("mean and std are finite, and std is above 0")
        return self

    @property
    def terms(self) -> tuple[str, ...]:
        """``mse`` or ``mae``, as :attr:`term` says."""
        return (self.term,)

    @property
    def outputs(self) -> int:
        """As many as there are targets."""
        return len(self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """The targets'."""
        return self.targets

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """With the unit of a single target."""
        unit = (self.units[0] if self.units else "") if self.outputs == 1 else DEVIATIONS
        return (replace(MAE, unit=unit), replace(RMSE, unit=unit), R2)

    # --- data

    def labelled(self, recordings: Recordings, target: Mapping[str, TargetSettings]) -> tuple[Self, Recordings]:
        """Channels that are taken out of the input become targets; without any, labels are read as numbers.

        Raises:
            InputError: for a channel that is not there, no channel left to learn from, or a label that is no number.
        """
        if not target:
            return self, from_labels(recordings)
        named = {"targets": tuple(target), "units": tuple(settings.unit for settings in target.values())}
        return self.model_copy(update=named), from_channels(recordings, target)

    def window_targets(self, labels: Array, start: Array, size: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """The mean of the labels (T, K) over each window; labels (K,) hold for all."""
        if labels.ndim == 1:
            return np.tile(labels, (len(start), 1)), np.ones(len(start), dtype=bool)
        total = np.concatenate([np.zeros((1, labels.shape[1])), np.cumsum(labels, axis=0, dtype=np.float64)])
        mean = (total[start + size] - total[start]) / size  # (n, K)
        return mean.astype(np.float32), np.ones(len(start), dtype=bool)

    def take(self, windows: Windows) -> Windows:
        """Targets (N, K), with names where the recipe gives none.

        Raises:
            InputError: for another number of targets than the recipe names.
        """
        y = np.asarray(windows.y, dtype=np.float32).reshape(len(windows), -1)
        if self.targets and len(self.targets) != y.shape[1]:
            raise InputError(
                f"{windows.where}: {y.shape[1]} numbers for each {windows.noun}, but {len(self.targets)} targets are "
                f"named: {', '.join(self.targets)}"
            )
        numbered = tuple("target" if y.shape[1] == 1 else f"target {k}" for k in range(y.shape[1]))
        names, units = self.targets or numbered, self.units if any(self.units) else ()
        task = type(self).model_validate({**dict(self), "targets": names, "units": units, "mean": (), "std": ()})
        return replace(windows, y=y, classes=(), task=task)

    def check(self, windows: Windows, folds: Sequence[Fold] = ()) -> None:
        """Refuse targets that are not finite, or never change on a training side.

        Raises:
            InputError: names the target, and the fold.
        """
        bad = ~np.isfinite(windows.y)
        if bad.any():
            raise InputError(f"{windows.where}: {int(bad.sum())} targets are not finite")
        for fold in folds:
            flat = np.ptp(windows.y[fold.train], axis=0) == 0
            if flat.any():
                name = self.targets[int(flat.argmax())]
                raise InputError(
                    f"split: fold {fold.number}: target {name!r} is the same in all {len(fold.train)} training "
                    f"{windows.noun}s, so there is nothing to learn"
                )

    def fit(self, target: Tensor) -> Self:
        """Mean and standard deviation of the training targets (N, K).

        Raises:
            InputError: for a target that is always the same.
        """
        values = target.double().reshape(len(target), -1)
        mean, std = values.mean(0).tolist(), values.std(0, correction=0).tolist()
        if not all(std):
            raise InputError(f"target {self.targets[std.index(0)]!r} is the same in all {len(values)} training samples")
        return self.model_copy(update={"mean": tuple(mean), "std": tuple(std)})

    def summary(self, target: Array, group: Array, groups: int) -> Summary:
        """Number of samples, and mean and standard deviation of each target, by group."""
        columns = ("number", *(f"{name} {what}" for name in self.targets for what in ("mean", "sd")))
        lines = tuple(_spread(target[group == number]) for number in range(groups))
        return Summary(columns, lines, _spread(target))

    def fact(self, summary: Summary) -> str:
        """How far one is off who always says the mean."""
        if self.outputs > 1:
            return ""
        unit = f" {self.units[0]}" if self.units else ""
        return f"always saying the mean would have an RMSE of {summary.total[2]}{unit}"

    # --- training

    def check_output(self, output: Output, samples: int) -> None:
        """One number (B, K) for each target.

        Raises:
            InputError: for anything else.
        """
        values = output.logits
        if values.dim() != 2 or len(values) != samples or values.shape[1] != self.outputs:
            raise InputError(
                f"a model of {self.outputs} targets gives (B, {self.outputs}), got {described(values)} for a batch of "
                f"{samples}"
            )

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Mean squared or absolute error, in standard deviations of the training targets.

        Raises:
            InputError: for targets of another shape.
        """
        if batch.target.shape != output.logits.shape:  # they would be broadcast
            raise InputError(
                f"targets of a regression are (B, {self.outputs}), as the outputs; got {described(batch.target)}"
            )
        error = F.mse_loss if self.term == "mse" else F.l1_loss
        return {self.term: error(output.logits, self._standardised(batch.target))}

    def _standardised(self, target: Tensor) -> Tensor:
        mean, std = self._scaling(target)
        return (target - mean) / std

    def _scaling(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training targets, (K,) each.

        Raises:
            InputError: where they are not known.
        """
        if not self.mean or not self.std:
            raise InputError("a regression's mean and std are those of its training targets; task.fit(y) finds them")
        return like.new_tensor(self.mean), like.new_tensor(self.std)

    def training_scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Absolute errors."""
        errors = (self.answer(output.logits.float()) - batch.target).abs()
        return {MAE.key: (errors * self._scale(errors)).mean(1).sum()}

    def _scale(self, like: Tensor) -> Tensor:
        """What errors are multiplied by: one target's unit stays, several are counted in standard deviations."""
        return like.new_ones(1) if self.outputs == 1 else 1 / self._scaling(like)[1]

    # --- what is fitted without a gradient

    def fit_estimator(self, estimator: Any, features: Array, target: Tensor) -> None:
        """Fit it to targets in their standard deviations: (N,) of a single one, as most take it, else (N, K)."""
        values = self._standardised(target).numpy()
        estimator.fit(features, values[:, 0] if self.outputs == 1 else values)

    def estimate(self, estimator: Any, features: Array) -> Output:
        """The values that it predicts."""
        values = np.asarray(estimator.predict(features), dtype=np.float32)
        return Output.of(torch.from_numpy(values.reshape(len(features), -1)))

    # --- predictions

    def predict(self, output: Output) -> Predictions:
        """The values, in their own units."""
        return {"values": self.answer(output.logits.float())}

    def scores(self, predictions: Predictions, truth: Tensor, context: Context | None = None) -> dict[str, float]:
        """MAE, RMSE and R²."""
        mae, rmse, r2 = self._errors(predictions, truth)
        scale = self._scale(mae)
        return {
            MAE.key: float((mae * scale).mean()),
            RMSE.key: float((rmse * scale).square().mean().sqrt()),
            R2.key: float(r2.mean()),
        }

    def _errors(self, predictions: Predictions, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """MAE, RMSE and R² of each target, (K,) each."""
        values, truth = predictions["values"].double().cpu(), truth.double().cpu()
        error = values - truth
        squared = error.square().mean(0)
        spread = (truth - truth.mean(0)).square().mean(0)
        r2 = torch.where(spread > 0, 1 - squared / spread.clamp(min=1e-300), torch.nan)
        return error.abs().mean(0), squared.sqrt(), r2

    def loss(self, predictions: Predictions, truth: Tensor) -> float:
        """The own term."""
        error = F.mse_loss if self.term == "mse" else F.l1_loss
        return float(error(self._standardised(predictions["values"]), self._standardised(truth)))

    def details(self, predictions: Predictions, truth: Tensor, context: Context | None = None) -> dict[str, Any]:
        """Errors of each target, in its unit, and some samples' first target: prediction and truth."""
        mae, rmse, r2 = self._errors(predictions, truth)
        by_target = {
            name: {"mae": float(mae[k]), "rmse": float(rmse[k]), "r2": float(r2[k])}
            for k, name in enumerate(self.targets)
        }
        step = -(-len(truth) // MOST_POINTS)
        points = torch.stack([truth[::step, 0].cpu(), predictions["values"][::step, 0].cpu()], 1)
        return {"by_target": by_target, "points": [[round(v, 6) for v in line] for line in points.tolist()]}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Mapping[str, Points]:
        """Predictions against the truth."""
        if not details:
            return {}
        unit = f", {self.units[0]}" if self.units else ""
        points = Points(
            "Predictions against the truth",
            f"{self.targets[0]} of test samples, all folds and seeds; a right prediction lies on the diagonal.",
            f"truth{unit}",
            f"prediction{unit}",
            np.asarray([pair for detail in details for pair in detail["points"]], dtype=np.float64),
        )
        return {"predictions": points}

    def targets_of(self, labels: Array, where: str) -> tuple[Array, list[str]]:
        """Numbers, or text that is numbers, (N,) or (N, K), as (N, K).

        Raises:
            InputError: for text that is no number, or another number of targets.
        """
        try:
            values = np.asarray(labels, dtype=np.float32).reshape(len(labels), -1)
        except ValueError as error:
            raise InputError(f"{where}: targets are numbers ({error})") from error
        if values.shape[1] != self.outputs or not np.isfinite(values).all():
            raise InputError(
                f"{where}: this student predicts {', '.join(self.targets)}; y must hold {self.outputs} finite numbers "
                f"for each window, got {labels.shape} of {labels.dtype}"
            )
        return values, []

    # --- one sample, for people

    def answer(self, logits: Tensor) -> Tensor:
        """Values in their own units."""
        mean, std = self._scaling(logits)
        return logits * std + mean

    def verdict(self, answer: Sequence[float], truth: Sequence[float]) -> tuple[str, None]:
        """``says 3.1, the truth is 2.9``."""
        return f"says {self._text(answer)}; the truth is {self._text(truth)}", None

    def called(self, truth: Sequence[float]) -> str:
        """The values."""
        return self._text(truth)

    def _text(self, values: Sequence[float]) -> str:
        units = self.units or ("",) * self.outputs
        texts = [f"{value:.3g} {unit}".rstrip() for value, unit in zip(values, units, strict=True)]
        return texts[0] if len(texts) == 1 else ", ".join(f"{n} {t}" for n, t in zip(self.targets, texts, strict=True))


def _spread(target: Array) -> tuple[Any, ...]:
    """Number, then mean and standard deviation of each target."""
    if not len(target):
        return (0, *[""] * (2 * target.shape[1]))
    pairs = zip(target.mean(0), target.std(0), strict=True)
    return (len(target), *(f"{value:.3g}" for pair in pairs for value in pair))
