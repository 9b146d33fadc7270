"""Tasks that a user might bring, found as ``my_tasks:Boxes``: they strain what a task may be.

``Boxes`` finds events in a window, as detection will: models take a list of samples with their targets and return
losses of their own, predictions have unequal length, the metric is of the whole set, and the teacher answers to what
the student found. ``Odd`` finds odd time steps of a window without labels, as anomaly detection will: targets lie at
each of them, no label is seen before the test side, and the validation loss chooses the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.methods import Method
from overtone.shown import Axis, Curve
from overtone.tasks import LOSS, Classification, Context, Metric, Place, Predictions, Task
from overtone.types import Batch, DataInfo, Output

SURE = 0.5
MOST = 2
"""Events in a window; rows of fewer are NaN."""
AP = Metric("ap", "AP", "%", factor=100, digits=1, ends=(0, 100), about="average precision over all {side}")
HITS = Metric("hits", "found", "%", factor=100, digits=1, ends=(0, 100))
AUC = Metric("auc", "AUC", ends=(0, 1), about="of all time steps of the test {side}")


# --- events


class Boxes(Task):
    """Where events lie: targets (N, 2, 2) float32, begin and end of each as shares of the window."""

    NAME = "boxes"
    METRICS: ClassVar[tuple[Metric, ...]] = (AP, HITS)
    TERMS = ("place", "score")
    DISTILLABLE = frozenset({"logits", "outputs", "regions"})
    REMEMBERED = False
    PLACED = True

    least: float = 0.3
    """How much of an event a finding must share with it."""

    @property
    def outputs(self) -> int:
        return 1

    def take(self, windows: Any) -> Any:
        return replace(windows, y=windows.y.astype(np.float32), classes=(), task=self)

    def check(self, windows: Any, folds: Sequence[Any] = ()) -> None:
        if windows.y.shape[1:] != (MOST, 2):
            raise InputError(f"events are (N, {MOST}, 2), got {windows.y.shape}")

    def collate(self, batch: Batch) -> Batch:
        """Each view as a list of samples, with their events where these are known."""
        targets = (
            [None] * len(batch.index) if batch.target is None else [own[~own.isnan().any(1)] for own in batch.target]
        )
        views = {
            n: [{"x": x, "events": own} for x, own in zip(v, targets, strict=True)] for n, v in batch.views.items()
        }
        return Batch(views, None if batch.target is None else targets, batch.index)

    def read(self, given: Any) -> Mapping[str, Any]:
        return given

    def check_output(self, output: Output, samples: int) -> None:
        if len(output.prediction.get("events", ())) != samples:
            raise InputError(f"a finder gives events for each of {samples} samples, got {list(output.prediction)}")

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return dict(output.prediction["losses"])

    def compared(self, student: Output, teacher: Output, batch: Batch) -> tuple[Output, Output, Batch]:
        """The teacher scores the places that the student found."""
        places = student.prediction["events"]
        given = teacher.prediction["scores_of"](places)
        mine = student.prediction["scores_of"](places)
        return student_with(student, mine), student_with(teacher, given), batch

    def predict(self, output: Output) -> Predictions:
        return {"events": output.prediction["events"], "scores": output.prediction["scores"]}

    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        hits, sure, wanted = [], [], 0
        for events, scores, own in zip(predictions["events"], predictions["scores"], truth, strict=True):
            own = own[~own.isnan().any(1)]
            wanted += len(own)
            left = list(range(len(own)))
            for place, score in sorted(zip(events, scores.tolist(), strict=True), key=lambda pair: -pair[1]):
                found = next((n for n in left if shared(place, own[n]) >= self.least), None)
                if found is not None:
                    left.remove(found)
                hits.append(found is not None)
                sure.append(score)
        order = np.argsort(-np.asarray(sure), kind="stable")
        right = np.asarray(hits, dtype=float)[order]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        return {AP.key: float((precision * right).sum() / wanted), HITS.key: float(right.sum() / wanted)}

    def loss(self, predictions: Predictions, truth: Any) -> float:
        return 1 - self.scores(predictions, truth)[AP.key]

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        """All that any of them found."""
        names = several[0]
        return {n: [torch.cat(own) for own in zip(*(found[n] for found in several), strict=True)] for n in names}

    def answers(self, predictions: Predictions) -> list[list[list[float]]]:
        """Begin, end and score of each event that is likelier than not."""
        found = zip(predictions["events"], predictions["scores"], strict=True)
        return [torch.cat([events, scores[:, None]], 1)[scores > SURE].tolist() for events, scores in found]

    def asked(self, output: Output, target: Any) -> Tensor:
        return torch.cat(output.prediction["scores"]).sum()

    def verdict(self, answer: list[list[float]], truth: Any) -> tuple[str, None]:
        return f"finds {len(answer)}", None

    def called(self, truth: Any) -> str:
        return f"{int((~np.isnan(truth).any(1)).sum())} events"

    def columns(self) -> list[str]:
        return ["begin", "end", "score"]

    def lines(self, answer: list[list[float]]) -> list[list[str]]:
        """None, one or several for each window."""
        return [[f"{value:.4f}" for value in event] for event in answer]


class Listed(Boxes):
    """The same, whose predictions are JSON, as those of detectors are."""

    NAME = "listed"
    ENDING = ".json"

    def write(self, file: BinaryIO, batches: Iterable[tuple[Sequence[Place], Predictions]]) -> None:
        found = [
            {"window": [place.name, place.start], "event": [begin, end], "score": score}
            for places, predictions in batches
            for place, answer in zip(places, self.answers(predictions), strict=True)
            for begin, end, score in answer
        ]
        file.write(json.dumps(found).encode())


def student_with(output: Output, scores: Tensor) -> Output:
    return replace(output, prediction={**output.prediction, "logits": scores, "regions": scores.sigmoid()})


class Regions(Method):
    """Compares what both say of the student's places, where the task has such a thing."""

    NAME = "regions"
    READS = "regions"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"apart": 1.0}
    terms = ("apart",)

    def __init__(self, config: Any, student: Any, teachers: Any, data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        self.least = data.facts["least"]

    def forward(self, student: Any, teachers: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        theirs = next(iter(teachers.values())).prediction["regions"]
        return {"apart": self.least * (student.prediction["regions"] - theirs).square().mean()}


def shared(one: Tensor, other: Tensor) -> float:
    """Intersection over union of two intervals (2,)."""
    inside = float(torch.minimum(one[1], other[1]) - torch.maximum(one[0], other[0]))
    return max(inside, 0.0) / max(float(one[1] - one[0]) + float(other[1] - other[0]) - inside, 1e-6)


class Finder(nn.Module):
    """Takes a list of samples, in training with their events, and gives lists of unequal length."""

    def __init__(self, channels: int, classes: int, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(channels, width, 9, padding=4), nn.ReLU(), nn.Conv1d(width, 3, 1))
        self.rank = nn.Linear(2, 2)

    def forward(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        x = torch.stack([own["x"] for own in samples])  # (B, C, T)
        maps = self.body(x)  # (B, 3, T): is it inside, how far to both ends
        size = x.shape[2]
        at = (torch.arange(size, device=x.device) + 0.5) / size
        begin, end = at - maps[:, 1].sigmoid() / 2, at + maps[:, 2].sigmoid() / 2
        places, scores = [], []
        for score, first, last in zip(maps[:, 0].sigmoid(), begin, end, strict=True):
            best = score.topk(3).indices
            best = best[(score[best] > 0.5) | (torch.arange(3, device=x.device) < 1)]  # one to three
            places.append(torch.stack([first[best], last[best]], 1))
            scores.append(score[best])
        found = {"events": places, "scores": scores, "scores_of": self.score}
        return {**found, "losses": self._losses(samples, maps, begin, end, at)} if self.training else found

    def score(self, places: list[Tensor]) -> Tensor:
        """Of anyone's places, (R, 2)."""
        return self.rank(torch.cat(places))

    def _losses(self, samples: list[dict[str, Any]], maps: Tensor, begin: Tensor, end: Tensor, at: Tensor) -> Any:
        inside = torch.zeros_like(begin)
        wanted = torch.zeros(*begin.shape, 2, device=begin.device)
        for row, own in enumerate(samples):
            for event in own["events"]:
                here = (at >= event[0]) & (at <= event[1])
                inside[row, here] = 1.0
                wanted[row, here] = event
        apart = (torch.stack([begin, end], 2) - wanted).abs().sum(2)
        place = (apart * inside).sum() / inside.sum().clamp(min=1)
        ranked = self.rank(wanted[inside > 0]).square().mean() if bool(inside.any()) else self.rank.weight.sum() * 0
        return {"place": place, "score": F.binary_cross_entropy_with_logits(maps[:, 0], inside) + 0.1 * ranked}


# --- a class for each time step


class Steps(Classification):
    """Which class each time step is of: targets (N, T) int64, outputs logits (B, C, T)."""

    NAME = "steps"
    DISTILLABLE = frozenset({"outputs", "maps"})
    ONE_CLASS = False

    def window_targets(self, labels: Any, start: Any, size: int) -> tuple[Any, Any]:
        steps = np.asarray(labels, dtype=np.int64)
        return np.stack([steps[first : first + size] for first in start]), np.ones(len(start), dtype=bool)

    def strata(self, target: Any) -> Any:
        """The most frequent class."""
        return np.asarray([np.bincount(steps).argmax() for steps in target])

    def mixed(self, own: Tensor, other: Tensor, proportion: float) -> Tensor:
        first, second = (F.one_hot(target, self.outputs).float().transpose(1, 2) for target in (own, other))
        return proportion * first + (1 - proportion) * second

    def check_output(self, output: Output, samples: int) -> None:
        if output.logits.dim() != 3:
            raise InputError(f"logits (B, C, T) are needed, got {tuple(output.logits.shape)}")


# --- odd samples


class Odd(Task):
    """Which time steps are odd: targets (N, T), 1 where they are, which only the test side may have."""

    NAME = "odd"
    METRICS: ClassVar[tuple[Metric, ...]] = (AUC,)
    TERMS = ("rebuilt",)
    DISTILLABLE = frozenset({"outputs", "embedding", "maps"})
    CONTEXT = True
    ASKED = "the errors at odd time steps"
    PLACED = True

    channels: int = 0
    level: float = 0.0
    """Share of odd time steps on the training side; nobody needs it."""

    @property
    def outputs(self) -> int:
        return self.channels

    @property
    def watched(self) -> Metric:
        return LOSS

    def window_targets(self, labels: Any, start: Any, size: int) -> tuple[Any, Any]:
        own = np.asarray(labels, dtype=np.float32)
        return np.stack([own[first : first + size] for first in start]), np.ones(len(start), dtype=bool)

    def take(self, windows: Any) -> Any:
        return replace(windows, classes=(), task=self.model_copy(update={"channels": len(windows.channels)}))

    def check(self, windows: Any, folds: Sequence[Any] = ()) -> None:
        for fold in folds:
            if not (np.nanmin(windows.y[fold.test]) == 0 and np.nanmax(windows.y[fold.test]) == 1):
                raise InputError(f"fold {fold.number}: its test side needs odd and even time steps")

    def fit(self, target: Tensor) -> Odd:
        return self.model_copy(update={"level": float(target.nan_to_num().mean())})

    def read(self, given: Any) -> Mapping[str, Any]:
        """How far each time step is from what was rebuilt of it, (B, T)."""
        x, rebuilt = given
        return {"logits": (x - rebuilt).square().mean(1)}

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"rebuilt": output.logits.mean()}

    def predict(self, output: Output) -> Predictions:
        return {"errors": output.logits.float()}

    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        errors, odd = along(predictions["errors"], context), along(torch.as_tensor(truth), context) > 0.5
        rank = errors.double().argsort().argsort().double() + 1
        count, rest = int(odd.sum()), int((~odd).sum())
        return {AUC.key: float((rank[odd].sum() - count * (count + 1) / 2) / (count * rest))}

    def loss(self, predictions: Predictions, truth: Any) -> float:
        return float(predictions["errors"].mean())

    def on_validation(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        return {LOSS.key: self.loss(predictions, None)}

    def details(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, Any]:
        """The first windows of the first recording's time line."""
        lines = {"errors": predictions["errors"], "odd": torch.as_tensor(truth).float()}
        return {name: along(values, context)[: 2 * values.shape[1]].tolist() for name, values in lines.items()}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Mapping[str, Curve]:
        if not details:
            return {}
        lines = {name: np.asarray([own[name] for own in details]) for name in ("errors", "odd")}
        x = Axis("time step", (0, len(lines["odd"][0]) - 1))
        return {"timeline": Curve("Errors over time", lines, x, "error", dashed=["odd"])}

    def asked(self, output: Output, target: Tensor) -> Tensor:
        return (output.logits * target.nan_to_num()).sum()

    def verdict(self, answer: Sequence[float], truth: Any) -> tuple[str, None]:
        return f"oddest at {int(np.argmax(answer))}", None

    def called(self, truth: Any) -> str:
        return f"{int(np.nansum(truth))} odd time steps"

    def columns(self) -> list[str]:
        return ["step", "error"]

    def lines(self, answer: Sequence[float]) -> list[tuple[int, str]]:
        """One for each time step."""
        return [(step, f"{error:.6g}") for step, error in enumerate(answer)]


def along(windows: Tensor, context: Context | None) -> Tensor:
    """Values (N, T) of windows as one line per recording, all of them behind one another; overlaps are averaged."""
    assert context is not None
    lines = []
    for recording in np.unique(context.recording):
        here = context.recording == recording
        steps = torch.from_numpy(context.start[here]).view(-1, 1) + torch.arange(windows.shape[1])
        values = torch.zeros(2, int(steps.max()) + 1, dtype=torch.float64)
        values[0].index_add_(0, steps.flatten(), windows[torch.from_numpy(here)].double().flatten())
        values[1].index_add_(0, steps.flatten(), torch.ones(steps.numel(), dtype=torch.float64))
        lines.append(values[0] / values[1])
    return torch.cat(lines)


class Rebuilder(nn.Module):
    """Gives its input and what it makes of a narrower version of it."""

    def __init__(self, channels: int, classes: int, width: int = 4) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv1d(channels, width, 5, stride=2, padding=2), nn.ReLU())
        self.up = nn.ConvTranspose1d(width, classes, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.up(self.down(x))
