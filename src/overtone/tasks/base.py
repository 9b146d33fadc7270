"""What a model must do: its targets, its own terms, its predictions and how they are scored.

Everything else (recipe, loop, cells, tables, page) asks the task and knows none by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from overtone.errors import InputError
from overtone.shown import Drawing, Mark
from overtone.tasks.metric import LOSS, Metric
from overtone.tasks.written import Place, write_table
from overtone.types import Batch, Move, Output, described, logits_of

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
class Context:
    """Where samples come from: the number of each one's recording, and its first sample there, (N,) each."""

    recording: Array
    start: Array

    def of(self, index: Array) -> Context:
        """Of some of the samples."""
        return Context(self.recording[index], self.start[index])


PARTS = ("logits", "outputs", "embedding", "maps", "class maps")
"""What methods may compare of any model that has it; a task may name further parts of its own models' predictions."""


@dataclass(frozen=True)
class Summary:
    """How targets are spread over groups, as a table: a line per group, then one for all.

    Attributes:
        columns, lines, total: heads, a line per group, and one for all.
        column: what a column is, one and several: ``("class", "classes")``; empty where columns are of several kinds.
        counts: whether each sample is counted in one column, so that a line's sum is the group's number of samples.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]
    total: tuple[Any, ...]
    column: tuple[str, str] = ("", "")
    counts: bool = False


class Task(BaseModel):
    """What a model must do. An object holds what the data and the recipe say (names of classes); it never changes.

    Attributes:
        NAME: in recipes and student files.
        VERSION: raised whenever the same data and predictions give other numbers.
        METRICS: by which the test side is judged; the first heads the table.
        TERMS: the task's own terms, which are there without any method.
        DISTILLABLE: what methods may compare (``Method.READS``): some of :data:`PARTS`, and names in what
            :meth:`compared` gives as ``Output.prediction``, such as ``regions``. The plan refuses methods on others.
        LOGITS: whether a model's outputs are logits of classes, so that one that ends in a softmax is told.
        ONE_CLASS: whether a target is the number of one class, (N,) int64, which methods with ``hard_labels`` read.
        COMPARES_CLASSES: whether what :meth:`compared` gives as target is that too, where a sample's own is not.
        REMEMBERED: whether teachers' outputs are tensors of one shape per sample, which may be kept.
        ESTIMATORS: what can be fitted without a gradient, by name; a task that has none takes no others either.
        CONTEXT: whether scores and details need a :class:`Context`, such as for a time line.
        ANY_SIZE: whether models take images of any size, not only of that which they were trained on.
        PLACED: whether targets are places in a sample, so that augmentation that moves these is refused, unless
            :meth:`moved` follows it.
        TRUTH: a word in front of what :meth:`called` says: ``class``; empty where that needs none.
        ASKED: what :meth:`asked` is, for the page: ``the true class``.
        ENDING: of the file that :meth:`write` writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    METRICS: ClassVar[tuple[Metric, ...]]
    TERMS: ClassVar[tuple[str, ...]] = ()
    DISTILLABLE: ClassVar[frozenset[str]] = frozenset(PARTS)
    LOGITS: ClassVar[bool] = False
    ONE_CLASS: ClassVar[bool] = False
    COMPARES_CLASSES: ClassVar[bool] = False
    REMEMBERED: ClassVar[bool] = True
    ESTIMATORS: ClassVar[Estimators] = {}
    CONTEXT: ClassVar[bool] = False
    ANY_SIZE: ClassVar[bool] = False
    PLACED: ClassVar[bool] = False
    TRUTH: ClassVar[str] = ""
    ASKED: ClassVar[str] = "what the model says"
    ENDING: ClassVar[str] = ".csv"

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
    def watched(self) -> Metric:
        """What chooses the best epoch: one of the metrics, by default the headline, or :data:`LOSS`."""
        return self.headline

    @property
    def facts(self) -> Mapping[str, Any]:
        """What methods may know of the data besides targets (``DataInfo.facts``), by name: its fields, by default."""
        return dict(self)

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

        By default the recording's labels are each window's, whatever their shape.

        Args:
            labels: the recording's.
            start: first samples of the windows, (n,) int64.
            size: samples in a window.
        """
        every = np.repeat(np.asarray(labels)[None], len(start), axis=0)
        return every, np.ones(len(start), dtype=bool)

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

    def strata(self, target: Array) -> npt.NDArray[np.int64]:
        """Numbers of kinds, (N,), of which the sides of a split should hold alike many; one kind by default.

        Args:
            target: (N, ...).
        """
        return np.zeros(len(target), dtype=np.int64)

    def summary(self, target: Array, group: Array, groups: int) -> Summary:
        """How targets (N, ...) are spread over the groups (N,), numbers from 0."""
        sizes = np.bincount(group, minlength=groups)
        return Summary(("number",), tuple((int(size),) for size in sizes), (int(sizes.sum()),))

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

    @property
    def follows(self) -> bool:
        """Whether images may be mirrored and scaled in training: whether :meth:`moved` says where targets are then."""
        return type(self).moved is not Task.moved

    def moved(self, target: Tensor, move: Move) -> Tensor:
        """Targets (B, ...) as they are in images that augmentation moved.

        Raises:
            InputError: for a task whose targets cannot follow.
        """
        raise InputError(f"task {self.NAME} does not say where targets of moved images are; leave augmentation out")

    # --- training

    def read(self, given: Any) -> Mapping[str, Any]:
        """The prediction in what a model that is not built in returned.

        Raises:
            InputError: for anything that is not clear.
        """
        return {"logits": logits_of(given)}

    @property
    def mixes(self) -> bool:
        """Whether samples may be mixed in training: whether :meth:`mixed` says what a mixture's target is."""
        return type(self).mixed is not Task.mixed

    def mixed(self, own: Tensor, other: Tensor, proportion: float) -> Tensor:
        """Targets of samples mixed with others (mixup).

        Args:
            own, other: targets of the samples and of their partners, (B, ...) each.
            proportion: of each sample itself, from 0 to 1; the partner has the rest.

        Raises:
            InputError: for a task whose targets cannot be mixed.
        """
        raise InputError(f"task {self.NAME} does not say what the target of mixed samples is; leave mixup out")

    @property
    def smooths(self) -> bool:
        """Whether targets can be smoothed, by :meth:`smoothed`."""
        return type(self).smoothed is not Task.smoothed

    def smoothed(self, batch: Batch, output: Output, smoothing: float) -> Batch:
        """The batch as :meth:`losses` sees it where so much of the truth, from 0 to 1, is spread over all classes.

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

    def remembers(self, needs: frozenset[str]) -> bool:
        """Whether what methods read of a teacher (``Needs``) is the same for a sample each time and may be kept."""
        return self.REMEMBERED

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
        """Every metric's value by its key; of a task with :attr:`CONTEXT` that is always given."""

    @abstractmethod
    def loss(self, predictions: Predictions, truth: Any) -> float:
        """The task's own loss of predictions."""

    def on_validation(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        """Scores and loss on the validation side; :attr:`watched` is among them."""
        return {**self.scores(predictions, truth, context), LOSS.key: self.loss(predictions, truth)}

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        """Several models' predictions of the same samples as one; their mean by default."""
        return {name: sum(predictions[name] for predictions in several) / len(several) for name in several[0]}

    def details(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, Any]:
        """What is kept of the test side beside scores: plain values, such as errors by target."""
        return {}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Mapping[str, Drawing]:
        """What the page draws of a row, from the details of its cells, by name; nothing by default.

        Each name becomes a section, in which every row has its drawing. Of those whose first axis counts samples
        (:class:`~overtone.shown.Curve`) every sample is drawn, such as a stretch of a recording.
        """
        return {}

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
        """What a model says that gives a row of numbers per sample: probabilities, or values in their own units,
        (B, outputs).
        """
        return logits

    def answers(self, predictions: Predictions) -> list[Any]:
        """What a model says of each sample, in kinds that JSON has, for :meth:`lines` and :meth:`verdict`.

        By default a row of numbers, where the only prediction is (N, K): :meth:`answer` of logits, others as they are.

        Raises:
            InputError: for other predictions, of which a task says itself what an answer is.
        """
        if len(predictions) == 1:
            ((name, values),) = predictions.items()
            if isinstance(values, Tensor) and values.dim() == 2:
                rows: list[Any] = (self.answer(values) if name == "logits" else values).tolist()
                return rows
        held = ", ".join(f"{name} ({described(values)})" for name, values in predictions.items())
        raise InputError(
            f"task {self.NAME} predicts {held}, which is no row of numbers for each sample, and does not say what that "
            "means of one; give it answers, columns, lines and verdict (docs/tasks.md)"
        )

    def asked(self, output: Output, target: Tensor) -> Tensor:
        """The scalar whose gradient saliency shows, summed over the batch; by default of all logits.

        Raises:
            InputError: for an output without logits, of which a task says itself what is looked for.
        """
        if "logits" not in output.prediction:
            raise InputError(
                f"task {self.NAME} does not say what saliency looks for; give it asked, a scalar of the models' "
                f"{', '.join(output.prediction)}"
            )
        return output.logits.sum()

    def verdict(self, answer: Any, truth: Any) -> tuple[str, bool | None]:
        """One of :meth:`answers` in words, and whether it is right (None: neither)."""
        return ", ".join(f"{name} {value:.3g}" for name, value in zip(self.names, answer, strict=True)), None

    def called(self, truth: Any) -> str:
        """A sample's truth in words."""
        return str(truth)

    def marks(self, answer: Any) -> list[Mark]:
        """What to draw over an image of one of :meth:`answers`; nothing by default."""
        return []

    def true_marks(self, truth: Any) -> list[Mark]:
        """The same of a sample's truth."""
        return []

    # --- the file that ``overtone predict`` writes

    def columns(self) -> list[str]:
        """Of that file, after a sample's place."""
        return list(self.names)

    def cells(self, answer: Sequence[float]) -> list[str]:
        """A row of numbers in these columns."""
        return [f"{value:.6g}" for value in answer]

    def lines(self, answer: Any) -> Sequence[Sequence[object]]:
        """One sample's answer (one of :meth:`answers`) as lines in these columns: none, one or many; one by default."""
        return [self.cells(answer)]

    def write(self, file: BinaryIO, batches: Iterable[tuple[Sequence[Place], Predictions]]) -> None:
        """Write samples' places and predictions, batch by batch as they come: a CSV, unless a task writes another form.

        Args:
            file: open for writing; see :attr:`ENDING`.
            batches: of some samples each, their places and :meth:`predict`.
        """
        write_table(self, file, batches)
