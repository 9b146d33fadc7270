"""What a model must do: its targets, its own terms, its predictions and how they are scored.

Everything else (recipe, loop, cells, tables, page) asks the task and knows none by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from overtone.errors import InputError
from overtone.types import Batch, Output, logits_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from overtone.data import Fold, Recordings, Windows
    from overtone.recipe import TargetSettings

Array = npt.NDArray[Any]
Estimators = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Classes with ``fit`` and ``predict`` by a short name: ``package.module:Class``, and arguments other than its own."""
Predictions = dict[str, Any]
"""Named predictions of some samples: tensors (N, ...), or lists of N tensors where samples have unequal numbers."""


@dataclass(frozen=True)
class Metric:
    """One number by which predictions are judged.

    Attributes:
        key: its name in files, ``rmse``.
        title: its name in tables.
        unit: of what is shown, ``%``; empty without.
        better: which way is better.
        factor: what is shown is the value times this, 100 for shares in percent.
        digits: after the point.
        ends: the least and the largest value that can be shown; None without.
        about: what it is, for the page; ``{side}`` stands for what the test side is made of.
    """

    key: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    factor: float = 1.0
    digits: int = 3
    ends: tuple[float | None, float | None] = (None, None)
    about: str = ""

    @property
    def head(self) -> str:
        """Its title with its unit, ``MAE, kcal``."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def points(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit == "%" else self.unit

    def text(self, value: float) -> str:
        """A value as it is shown, without its unit: a share of 0.8123 is ``81.2``."""
        return f"{self.factor * value:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """``81.2 %``."""
        return f"{self.text(value)} {self.unit}".rstrip()

    def gain(self, value: float) -> float:
        """The value, or its negative where lower is better: the larger the better."""
        return value if self.better == "higher" else -value


@dataclass(frozen=True)
class Context:
    """Where samples come from: the number of each one's recording, and its first sample there, (N,) each."""

    recording: Array
    start: Array


LOSS = Metric("loss", "loss", better="lower")
"""Watched where a validation side has no labels."""


@dataclass(frozen=True)
class Matrix:
    """Counts of pairs of names, for the page to draw.

    Attributes:
        name: of the part of the page.
        title, caption: what it is.
        labels: of rows and columns.
        counts: (n, n), row x column.
        off_diagonal: title and four heads of the list of the most frequent pairs, which stands for a large matrix.
    """

    name: str
    title: str
    caption: str
    labels: tuple[str, ...]
    counts: Array
    off_diagonal: tuple[str, tuple[str, str, str, str]]


@dataclass(frozen=True)
class Points:
    """Two numbers of each of some samples, for the page to draw against each other.

    Attributes:
        name, title, caption: as a :class:`Matrix`'s.
        x, y: names of the axes.
        values: (N, 2).
    """

    name: str
    title: str
    caption: str
    x: str
    y: str
    values: Array


@dataclass(frozen=True)
class Summary:
    """How targets are spread over groups, as a table: a line per group, then one for all."""

    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]
    total: tuple[Any, ...]
    counts: bool = False


class Task(BaseModel):
    """What a model must do. An object holds what the data and the recipe say (names of classes); it never changes.

    Attributes:
        NAME: in recipes and student files.
        VERSION: raised whenever the same data and predictions give other numbers.
        METRICS: by which the test side is judged; the first heads the table.
        WATCHED: what chooses the best epoch: one of these, or :data:`LOSS`.
        TERMS: the task's own terms, which are there without any method.
        DISTILLABLE: what methods may compare (``Method.READS``); the plan refuses one that compares something else.
        LOGITS: whether a model's last layer gives logits, so that one that ends in a softmax is told.
        REMEMBERED: whether teachers' outputs are tensors of one shape per sample, which may be kept.
        ESTIMATORS: what can be fitted without a gradient, by name; a task that has none takes no others either.
        PLACED: whether targets are places in a sample, so that augmentation that moves these is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    METRICS: ClassVar[tuple[Metric, ...]]
    WATCHED: ClassVar[Metric]
    TERMS: ClassVar[tuple[str, ...]] = ()
    DISTILLABLE: ClassVar[frozenset[str]] = frozenset({"outputs", "logits", "embedding", "maps", "class maps"})
    LOGITS: ClassVar[bool] = False
    REMEMBERED: ClassVar[bool] = True
    ESTIMATORS: ClassVar[Estimators] = {}
    PLACED: ClassVar[bool] = False

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that a model's last layer gives."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of these numbers: classes, or what is measured."""
        return tuple(map(str, range(self.outputs)))

    @property
    def plain(self) -> bool:
        """Whether models take tensors and return numbers (B, outputs), so that one can be tried without data."""
        return type(self).collate is Task.collate and type(self).read is Task.read

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """:attr:`METRICS`, with units that the data decide."""
        return self.METRICS

    @property
    def headline(self) -> Metric:
        """The metric that heads the table."""
        return self.metrics[0]

    @property
    def terms(self) -> tuple[str, ...]:
        """:attr:`TERMS`, or those that settings choose."""
        return self.TERMS

    # --- data

    def labelled(self, recordings: Recordings, target: Mapping[str, TargetSettings]) -> tuple[Self, Recordings]:
        """The task and the recordings with the labels that the recipe's ``data.target`` describes.

        Raises:
            InputError: for a target where the task has none, or labels of another kind.
        """
        if target:
            raise InputError(f"data.target: task {self.NAME} takes the data's labels, leave it out; got {list(target)}")
        return self, recordings

    def window_targets(self, labels: Any, start: Array, size: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """The targets (n, ...) of the windows of one recording, and which windows have one.

        Args:
            labels: the recording's: one for all, or one per sample, (T,).
            start: first samples of the windows, (n,) int64.
            size: samples in a window.
        """
        if not np.ndim(labels):
            return np.full(len(start), labels, dtype=np.int64), np.ones(len(start), dtype=bool)
        own = np.asarray(labels, dtype=np.int64)
        changes = np.concatenate([[0], np.cumsum(own[1:] != own[:-1])])  # up to each sample
        single = changes[start + size - 1] == changes[start] if len(start) else np.zeros(0, dtype=bool)
        return own[start[single]], single

    @abstractmethod
    def take(self, windows: Windows) -> Windows:
        """The windows with this task in them, which then knows what it needs of them (names of classes)."""

    @abstractmethod
    def check(self, windows: Windows, folds: Sequence[Fold] = ()) -> None:
        """Refuse data, or training sides of folds, that nothing can be learned from.

        Raises:
            InputError: with what was found.
        """

    def doubts(self, windows: Windows, sides: Mapping[str, Mapping[int, tuple[Fold, Array]]]) -> list[str]:
        """What a reader should know of the targets on the sides, a sentence each; ``sides`` by name and fold."""
        return []

    def warnings(self, windows: Windows) -> list[str]:
        """What ``overtone check`` warns of in the targets."""
        return []

    def summary(self, target: Array, group: Array, groups: int) -> Summary:
        """How targets (N, ...) are spread over the groups (N,), numbers from 0."""
        sizes = np.bincount(group, minlength=groups)
        return Summary(("number",), tuple((int(size),) for size in sizes), (int(sizes.sum()),), True)

    def fact(self, summary: Summary) -> str:
        """A sentence's part on how well one does without looking, for the page's head; empty without."""
        return ""

    def fit(self, target: Tensor) -> Self:
        """The task with what it learns from a fold's training targets (N, ...), and from no others."""
        return self

    def collate(self, batch: Batch) -> Batch:
        """A batch as the models take it, such as a list of samples, with their targets in training.

        ``target`` is None wherever models are asked, not trained, and in a student file a view has no name of its own.
        """
        return batch

    # --- training

    def read(self, given: Any) -> Mapping[str, Any]:
        """The prediction in what a model that is not built in returned.

        Raises:
            InputError: for anything that is not clear.
        """
        return {"logits": logits_of(given)}

    def smoothed(self, batch: Batch, output: Output, share: float) -> Batch:
        """The batch as :meth:`losses` sees it where a share of the truth is smoothed over all classes.

        Raises:
            InputError: for a task without classes.
        """
        raise InputError(f"task {self.NAME} has no classes, so label_smoothing has nothing to smooth; leave it out")

    def weighted(self, weights: Literal["balanced"] | Mapping[str, float], target: Tensor) -> Self:
        """The task with samples weighted by their class in :meth:`losses`, for training alone.

        Args:
            weights: by name, 1 for a class that is not named; ``balanced`` weighs each by one over its size.
            target: the training targets (N, ...), over which the weights' mean is made 1.

        Raises:
            InputError: for a task without classes, or classes that it does not have.
        """
        raise InputError(f"task {self.NAME} has no classes, so class_weights has nothing to weigh; leave it out")

    @property
    def class_weights(self) -> dict[str, float]:
        """What :meth:`weighted` made of them, by class; nothing without."""
        return {}

    def check_output(self, output: Output, samples: int) -> None:
        """Refuse a model whose output for so many samples is not what the task takes.

        Raises:
            InputError: says what was given.
        """

    @abstractmethod
    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """One scalar per term of :attr:`terms`, in float32, with gradient."""

    def compared(self, student: Output, teacher: Output, batch: Batch) -> tuple[Output, Output, Batch]:
        """Student's and teacher's output and the batch as methods compare them."""
        return student, teacher, batch

    def training_scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Sums over the batch of metrics that can be followed while training, without gradient; none by default."""
        return {}

    # --- what is fitted without a gradient

    def fit_estimator(self, estimator: Any, features: Array, target: Tensor) -> None:
        """Fit one of :attr:`ESTIMATORS`, or somebody's own, to features (N, F) and targets (N, ...)."""
        estimator.fit(features, target.numpy())

    def estimate(self, estimator: Any, features: Array) -> Output:
        """What it says of samples with features (N, F), as a model's output would say it.

        Raises:
            InputError: for what cannot be an answer, or of a task without :attr:`ESTIMATORS`.
        """
        raise InputError(f"task {self.NAME} takes nothing that is fitted without a gradient")

    # --- predictions

    @abstractmethod
    def predict(self, output: Output) -> Predictions:
        """What is kept of some samples: named tensors (B, ...), or lists of B tensors."""

    @abstractmethod
    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        """Every metric's value by its key."""

    @abstractmethod
    def loss(self, predictions: Predictions, truth: Any) -> float:
        """The task's own loss of predictions."""

    def on_validation(self, predictions: Predictions, truth: Any) -> dict[str, float]:
        """Scores and loss on the validation side; ``WATCHED`` is among them."""
        return {**self.scores(predictions, truth), LOSS.key: self.loss(predictions, truth)}

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        """Several models' predictions of the same samples as one; their mean by default."""
        return {name: sum(found[name] for found in several) / len(several) for name in several[0]}

    def details(self, predictions: Predictions, truth: Any) -> dict[str, Any]:
        """What is kept of the test side beside scores: plain values, such as errors by target."""
        return {}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Matrix | Points | None:
        """What the page draws of a row, from the details of its cells; nothing by default."""
        return None

    def right(self, predictions: Predictions, truth: Array) -> npt.NDArray[np.bool_] | None:
        """Which samples a model gets right, (N,); None where no sample is simply right or wrong."""
        return None

    def targets_of(self, labels: Array, where: str) -> tuple[Array, list[str]]:
        """Labels of a file (N, ...), text or numbers, as targets; and notes on how they were read.

        Raises:
            InputError: for labels that cannot be.
        """
        return labels, []

    # --- one sample, for people

    def answer(self, logits: Tensor) -> Tensor:
        """What a model says: probabilities, or values in their own units, (B, outputs)."""
        return logits

    def asked(self, output: Output, target: Tensor) -> Tensor:
        """The scalar that saliency explains, summed over the batch."""
        return output.logits.sum()

    def verdict(self, answer: Sequence[float], truth: Any) -> tuple[str, bool | None]:
        """What a model says of one sample in words, and whether it is right (None: neither)."""
        return ", ".join(f"{name} {value:.3g}" for name, value in zip(self.names, answer, strict=True)), None

    def called(self, truth: Any) -> str:
        """A sample's truth in words."""
        return str(truth)

    def columns(self) -> list[str]:
        """Of the file that ``overtone predict`` writes, after a sample's place."""
        return list(self.names)

    def cells(self, answer: Sequence[float]) -> list[str]:
        """One sample's answer in these columns."""
        return [f"{value:.6g}" for value in answer]
