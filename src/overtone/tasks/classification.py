"""One class per sample: cross-entropy, accuracy, macro-F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import PrivateAttr
from torch import Tensor

from overtone.errors import InputError, nearest
from overtone.tasks.base import Array, Context, Estimators, Matrix, Metric, Predictions, Summary, Task
from overtone.types import Batch, Output, described

if TYPE_CHECKING:
    from typing_extensions import Self

    from overtone.data import Fold, Recordings, Windows
    from overtone.recipe import TargetSettings

ACCURACY = Metric("accuracy", "accuracy", "%", factor=100, digits=1, ends=(0, 100))
MACRO_F1 = Metric(
    "macro_f1",
    "macro-F1",
    "%",
    factor=100,
    digits=1,
    ends=(0, 100),
    about="F1 averaged over the classes that occur among a fold’s test {side}",
)
LEAST_SHARE = 1e-7
"""A class that a forest gives no chance has this one, so that its logarithm is finite."""
UNEVEN = 5
"""How many times larger than the smallest class the largest may be without a word."""


class Classification(Task):
    """One of several classes per sample.

    Targets are class numbers (N,) int64, outputs logits (B, C).

    Attributes:
        classes: names, in label order.
    """

    NAME: ClassVar[str] = "classification"
    METRICS: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1)
    WATCHED: ClassVar[Metric] = ACCURACY
    TERMS: ClassVar[tuple[str, ...]] = ("ce",)
    LOGITS: ClassVar[bool] = True
    ESTIMATORS: ClassVar[Estimators] = {
        "forest": ("sklearn.ensemble:RandomForestClassifier", {}),
        "linear": ("sklearn.linear_model:LogisticRegression", {"max_iter": 1000}),
        "constant": ("sklearn.dummy:DummyClassifier", {}),
    }

    classes: tuple[str, ...] = ()
    _weights: tuple[float, ...] = PrivateAttr(())  # of training alone, so no part of what is written

    @property
    def outputs(self) -> int:
        """As many as there are classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes'."""
        return self.classes

    # --- data

    def labelled(self, recordings: Recordings, target: Mapping[str, TargetSettings]) -> tuple[Self, Recordings]:
        """Labels are classes.

        Raises:
            InputError: for real numbers, which have no classes.
        """
        if recordings.signals and not recordings.classes:
            raise InputError(
                f"{recordings.where}: labels must be class numbers or names, got fractions or NaN, or several numbers "
                "of one recording; for real numbers write task: regression"
            )
        return super().labelled(recordings, target)

    def take(self, windows: Windows) -> Windows:
        """Leaves out classes that have no window left, and says so; nothing could be learned or told about them.

        Raises:
            InputError: if fewer than two classes are left.
        """
        sizes = np.bincount(windows.y, minlength=len(windows.classes))
        if sizes.all():
            return replace(windows, task=self.model_copy(update={"classes": windows.classes}))
        left = np.flatnonzero(sizes)
        gone = ", ".join(name for name, size in zip(windows.classes, sizes, strict=True) if not size)
        if len(left) < 2:
            why = "use shorter windows" if windows.noun == "window" else "add some"
            raise InputError(f"{windows.where}: no {windows.noun} is left of class {gone}; {why}")
        number = np.full(len(sizes), -1)
        number[left] = np.arange(len(left))
        classes = tuple(windows.classes[c] for c in left)
        return replace(
            windows,
            y=number[windows.y],
            classes=classes,
            notes=(*windows.notes, f"class {gone} has no window left and was left out"),
            task=self.model_copy(update={"classes": classes}),
        )

    def check(self, windows: Windows, folds: Sequence[Fold] = ()) -> None:
        """Refuse fewer than two classes, in all or on a training side, and a class that nobody could learn.

        Raises:
            InputError: names the fold, the classes and who has them.
        """
        held = [self.classes[c] for c in np.unique(windows.y)]
        if len(held) < 2:
            raise InputError(
                f"{windows.where}: a classifier needs at least two classes, got {held}; add {windows.noun}s of another"
            )
        for fold in folds:
            known = np.unique(windows.y[fold.train])
            if len(known) < 2:
                raise InputError(
                    f"split: fold {fold.number}: all {len(fold.train)} training {windows.noun}s are of class "
                    f"{self.classes[known[0]]!r}, so there is nothing to tell apart; hold out fewer or other groups, "
                    "or deal them in another way (see split)"
                )
            for side, index in (("test", fold.test), ("val", fold.val)):
                unknown = np.setdiff1d(np.unique(windows.y[index]), known)
                if len(unknown):
                    owners = sorted({windows.groups[g] for g in windows.group[np.isin(windows.y, unknown)]})
                    raise InputError(
                        f"split: fold {fold.number}: class {', '.join(self.classes[c] for c in unknown)} is in {side} "
                        f"but in no training window; only {_listed(owners)} have it. Use other folds, or leave these "
                        "classes out"
                    )

    def doubts(self, windows: Windows, sides: Mapping[str, Mapping[int, tuple[Fold, Array]]]) -> list[str]:
        """Classes that are trained and not on a side."""
        found = []
        for side, by_fold in sides.items():
            gone = []
            for number, (fold, index) in by_fold.items():
                missing = np.setdiff1d(windows.y[fold.train], windows.y[index])
                if len(missing):
                    gone.append(f"fold {number} ({_listed([self.classes[c] for c in missing])})")
            if gone:
                shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more folds" if len(gone) > 5 else "")
                found.append(f"{side} has no {windows.noun} of some classes that are trained, in {shown}")
        return found

    def warnings(self, windows: Windows) -> list[str]:
        """Classes of very different size, over all windows."""
        sizes = np.bincount(windows.y, minlength=len(self.classes))
        least, most = int(sizes.argmin()), int(sizes.argmax())
        if sizes[most] < UNEVEN * max(sizes[least], 1):
            return []
        return [
            f"classes differ in size: {self.classes[most]} has {sizes[most]} {windows.noun}s, {self.classes[least]} "
            f"{sizes[least]}; accuracy hides small classes, macro-F1 does not"
        ]

    def summary(self, target: Array, group: Array, groups: int) -> Summary:
        """Numbers of samples by group and class."""
        counts = np.zeros((groups, len(self.classes)), dtype=int)
        np.add.at(counts, (group, target), 1)
        lines = tuple(tuple(map(int, line)) for line in counts)
        return Summary(self.classes, lines, tuple(map(int, counts.sum(0))), counts=True)

    def fact(self, summary: Summary) -> str:
        """How often the most frequent class would be right."""
        most = max(range(len(summary.total)), key=summary.total.__getitem__)
        share = 100 * summary.total[most] / sum(summary.total)
        return f"always guessing {summary.columns[most]} would be right for {share:.0f} %"

    # --- training

    def check_output(self, output: Output, samples: int) -> None:
        """Logits (B, C) of two classes or more.

        Raises:
            InputError: for anything else.
        """
        logits = output.logits
        if logits.dim() != 2 or len(logits) != samples or not logits.is_floating_point():
            raise InputError(
                f"a classifier gives logits (B, classes), got {described(logits)} for a batch of {samples}; the batch "
                "is the first axis of its input"
            )
        if logits.shape[1] < 2:
            raise InputError("a classifier gives a logit for each class, got one in all; give two classes two outputs")

    def smoothed(self, batch: Batch, output: Output, share: float) -> Batch:
        """Shares (B, C): ``(1 - share) y + share / C``, of class numbers or of shares (Szegedy et al. 2016)."""
        target, classes = batch.target, output.logits.shape[1]
        shares = F.one_hot(target, classes).float() if target.dim() == 1 else target
        return replace(batch, target=(1 - share) * shares + share / classes)

    def weighted(self, weights: Literal["balanced"] | Mapping[str, float], target: Tensor) -> Self:
        """Weights w_c of the classes, scaled so that their mean over the training samples is 1.

        ``balanced`` takes ``N / (C n_c)`` of C classes with n_c of N samples; one without samples has the weight 1.

        Raises:
            InputError: for an unknown class, or a task of one's own whose losses are others.
        """
        if type(self).losses is not Classification.losses:
            raise InputError(f"task {self.NAME} has losses of its own, which know no class_weights; leave them out")
        sizes = torch.bincount(target.cpu(), minlength=len(self.classes)).double()
        if isinstance(weights, str):  # balanced
            there = sizes > 0
            own = torch.where(there, sizes.sum() / (there.sum() * sizes.clamp(min=1)), 1.0)
        else:
            for name in weights:
                if name not in self.classes:
                    raise InputError(f"train.class_weights: unknown class {name!r}; {nearest(name, self.classes)}")
            own = torch.tensor([weights.get(name, 1.0) for name in self.classes], dtype=torch.float64)
            own = own / ((own * sizes).sum() / sizes.sum())
        copy = self.model_copy()
        copy._weights = tuple(own.tolist())
        return copy

    @property
    def class_weights(self) -> dict[str, float]:
        """By class; nothing where all samples weigh the same."""
        return dict(zip(self.classes, self._weights, strict=False))

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, ``mean_i sum_c w_c y_ic (-log p_ic)`` with weights of the classes."""
        if not self._weights:
            return {"ce": F.cross_entropy(output.logits, batch.target)}
        weight = output.logits.new_tensor(self._weights)
        # The batch's mean, not torch's sum over the weights that happen to be in it: several processes agree.
        return {"ce": F.cross_entropy(output.logits, batch.target, weight=weight, reduction="none").mean()}

    def training_scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """How many are right."""
        return {ACCURACY.key: (output.logits.argmax(1) == batch.label).sum()}

    # --- what is fitted without a gradient

    def estimate(self, estimator: Any, features: Array) -> Output:
        """Logarithms of its probabilities; of one that names classes only, all is given to the one that it names.

        Raises:
            InputError: for classes that it was not fitted to.
        """
        known = np.asarray(getattr(estimator, "classes_", np.arange(self.outputs)))
        if hasattr(estimator, "predict_proba"):
            found = np.asarray(estimator.predict_proba(features), dtype=np.float64)  # (N, classes of the training side)
        else:
            named = np.asarray(estimator.predict(features))
            found = (named.reshape(len(features), 1) == known).astype(np.float64)
            if not found.any(1).all():
                odd = named[~found.any(1)][0]
                raise InputError(f"it says {odd}, which is none of the classes 0 to {self.outputs - 1}")
        if found.shape != (len(features), len(known)):
            raise InputError(
                f"it gives probabilities {found.shape} for {len(features)} samples and {len(known)} classes"
            )
        shares = np.zeros((len(features), self.outputs))
        shares[:, known] = found
        return Output.of(torch.from_numpy(np.log(shares.clip(LEAST_SHARE)).astype(np.float32)))

    # --- predictions

    def predict(self, output: Output) -> Predictions:
        """The logits."""
        return {"logits": output.logits.float()}

    def scores(self, predictions: Predictions, truth: Tensor, context: Context | None = None) -> dict[str, float]:
        """Accuracy and :func:`macro_f1`, from 0 to 1."""
        logits: Tensor = predictions["logits"]
        counts = confusion(logits.argmax(1), truth.to(logits.device), logits.shape[1])
        return {ACCURACY.key: int(counts.diagonal().sum()) / len(truth), MACRO_F1.key: macro_f1(counts)}

    def loss(self, predictions: Predictions, truth: Tensor) -> float:
        """Cross-entropy."""
        return float(F.cross_entropy(predictions["logits"], truth))

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        """The mean of the models' probabilities, whose largest is what scores look at."""
        return {"logits": torch.stack([found["logits"].softmax(1) for found in several]).mean(0)}

    def details(self, predictions: Predictions, truth: Tensor) -> dict[str, Any]:
        """The confusion (C, C), true class x predicted class."""
        logits: Tensor = predictions["logits"]
        return {"confusion": confusion(logits.argmax(1), truth.to(logits.device), logits.shape[1]).tolist()}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Matrix | None:
        """The sum of the confusions."""
        if not details:
            return None
        counts = sum(np.asarray(own["confusion"], dtype=np.int64) for own in details)
        return Matrix(
            "confusion",
            "Confusion matrices",
            "Rows are true classes, columns predicted ones. The colour is the share of the row; the diagonal is right.",
            self.classes,
            np.asarray(counts),
            ("the most frequent confusions", ("class", "taken for", "number", "of its class")),
        )

    def right(self, predictions: Predictions, truth: Array) -> npt.NDArray[np.bool_]:
        """Where the largest logit is the true class'."""
        guess = predictions["logits"].argmax(1)
        return np.asarray(guess.numpy() == np.asarray(truth))

    def targets_of(self, labels: Array, where: str) -> tuple[Array, list[str]]:
        """Names of classes, or their numbers where the classes have other names than numbers; that is told.

        Raises:
            InputError: for what is not among the classes.
        """
        if (
            np.issubdtype(labels.dtype, np.floating)
            and np.isfinite(labels).all()
            and (labels == np.round(labels)).all()
        ):
            labels = labels.astype(np.int64)  # as in training
        if not np.issubdtype(labels.dtype, np.integer) or any(_is_number(name) for name in self.classes):
            number = {name: n for n, name in enumerate(self.classes)}
            for label in map(str, labels):
                if label not in number:
                    raise InputError(
                        f"{where}: label {label!r} is not among the student's classes; {nearest(label, number)}"
                    )
            return np.asarray([number[str(label)] for label in labels], dtype=np.int64), []
        last = len(self.classes) - 1
        wrong = (labels < 0) | (labels > last)
        if wrong.any():
            raise InputError(
                f"{where}: y holds {labels[wrong][0]}, but the student's classes have names; give these "
                f"({nearest('', self.classes)}) or their numbers, 0 to {last}"
            )
        return labels.astype(np.int64), [
            f"{where}: y holds numbers, taken as the student's classes in their order: 0 is {self.classes[0]}, {last} "
            f"is {self.classes[last]}"
        ]

    # --- one sample, for people

    def answer(self, logits: Tensor) -> Tensor:
        """Class probabilities."""
        return logits.softmax(1)

    def asked(self, output: Output, target: Tensor) -> Tensor:
        """The true classes' logits."""
        return output.logits[torch.arange(len(target)), target].sum()

    def verdict(self, answer: Sequence[float], truth: int) -> tuple[str, bool]:
        """``says walk, 83 %``, and what the truth got where that is another class."""
        guess = max(range(len(answer)), key=answer.__getitem__)
        said = f"says {self.classes[guess]}, {100 * answer[guess]:.0f} %"
        return said if guess == truth else f"{said}; the truth {100 * answer[truth]:.0f} %", guess == truth

    def called(self, truth: int) -> str:
        """The class' name."""
        return self.classes[truth]

    def columns(self) -> list[str]:
        """The class, then each class' probability."""
        return ["class", *(f"p({name})" for name in self.classes)]

    def cells(self, answer: Sequence[float]) -> list[str]:
        """The likeliest class, and all probabilities."""
        return [self.classes[max(range(len(answer)), key=answer.__getitem__)], *(f"{p:.6f}" for p in answer)]


def confusion(guess: Tensor, target: Tensor, classes: int) -> Tensor:
    """How often a true class was given each class: (C, C), true class x predicted, of class numbers (N,) each."""
    return (target * classes + guess).bincount(minlength=classes**2).view(classes, classes).cpu()


def macro_f1(counts: Tensor) -> float:
    """F1 averaged over the classes that occur in truth, from a confusion (C, C): true class x predicted.

    Those classes are the test side's alone, so all models are averaged over the same ones, and one that is always right
    has 1 on every fold. (Over classes that occur or are predicted, a guess of an absent class changes what is averaged
    over; over all classes of the data, a fold whose people lack one cannot reach 1.) A wrong guess of an absent class
    still costs the true class its recall. As scikit-learn's with ``labels`` those of the truth.
    """
    right, true, guessed = counts.diagonal(), counts.sum(1), counts.sum(0)
    f1 = 2 * right.double() / (true + guessed).clamp(min=1)  # 2 tp / (2 tp + fp + fn)
    return float(f1[true > 0].mean())


def _is_number(name: str) -> bool:
    try:
        int(name)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
