"""Parts that break the contract, each in one way; and sound ones that they are made from. See ``test_plugins.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from overtone.data import Recordings, Source
from overtone.methods import Method, MethodConfig
from overtone.tasks import Regression, Task
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec
from overtone.views import View

# --- methods


class Fine(Method):
    """What the broken ones below are made from."""

    NAME = "fine"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "gap": 1.0}
    terms = ("gap",)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        return {"gap": self.gap(student, next(iter(teachers.values())), batch)}

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return F.mse_loss(student.logits, teacher.logits)


class Undeclared(Fine):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        return {**super().forward(*given), "more": torch.zeros(())}


class Weightless(Fine):
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "other": 1.0}


class Vector(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().mean(1)


class Detached(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return super().gap(student.map(torch.detach), teacher, batch)


class Hiding(Fine):
    """Keeps a parameter where torch does not see it."""

    keep: Callable[..., Any] = list

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], info: DataInfo) -> None:
        super().__init__(config, student, teachers, info)
        self.hidden = type(self).keep([nn.Parameter(torch.ones(student.classes))])

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (self.hidden[0] * (student.logits - teacher.logits)).square().mean()


class HidingInADict(Hiding):
    def keep(values: Any) -> Any:
        return dict(enumerate(values))


class NotHiding(Hiding):
    keep = nn.ParameterList


class Idle(Fine):
    """Has a parameter that no term reaches."""

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], info: DataInfo) -> None:
        super().__init__(config, student, teachers, info)
        self.idle = nn.Parameter(torch.ones(1))


class Keeping(Fine):
    """Makes a teacher's module its own, as soon as it sees one."""

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        assert teacher.head is not None
        self.teacher = teacher.head.__self__  # type: ignore[attr-defined]
        return super().gap(student, teacher, batch)


class Greedy(Fine):
    """Reads maps without saying so."""

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return super().gap(student, teacher, batch) + teacher.stages["final"].mean() * student.logits.mean()


class Honest(Greedy):
    zero_when_equal = False

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        return Needs(frozenset({"logits"}), dict.fromkeys(teachers, frozenset({"logits", "final"})))


class Near(Fine):
    """Of a regression: counts the teacher less where it is wrong, which its targets (B, K) tell."""

    READS = "outputs"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"mse": 1.0, "gap": 1.0}

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        off = (teacher.logits - batch.target).abs()  # (B, K)
        return ((student.logits - teacher.logits).square() / (1 + off)).mean()


class Coupled(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits.std(0) - teacher.logits.std(0)).square().mean()


class Numbered(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        weigh = 1.0 + batch.index[:, None]
        return (weigh * (student.logits - teacher.logits).square()).mean()


class Restless(Fine):
    """Counts in evaluation too."""

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], info: DataInfo) -> None:
        super().__init__(config, student, teachers, info)
        self.register_buffer("count", torch.zeros(()))

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        self.count += 1
        return super().gap(student, teacher, batch)


class Forgetful(Fine):
    """Remembers what is in no state."""

    seen = 0

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        self.seen += self.training
        return (1 + self.seen) * super().gap(student, teacher, batch)


class Late(Fine):
    """Makes a buffer when it is first called."""

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if self.training and not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(()))
        return super().gap(student, teacher, batch)


class Random(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        factor = 1.0 + self.training * float(np.random.default_rng().random())
        return factor * super().gap(student, teacher, batch)


class Never(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return 1 + super().gap(student, teacher, batch)


class Infinite(Fine):
    """Does not know what to do with two samples."""

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return super().gap(student, teacher, batch) / (1.0 if len(batch.index) > 2 else float("nan"))


class Narrow(Fine):
    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return super().gap(student, teacher, batch).to(torch.bfloat16)


class Half(Fine):
    """The square root of 0 has no gradient."""

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - student.logits).square().sum().sqrt() + super().gap(student, teacher, batch)


class Counting(Fine):
    """Counts its steps where no state holds them; in batches of training only, which are larger than those before."""

    steps = 0

    def gap(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        self.steps += len(batch.index) > 8
        return (1 + self.steps) * super().gap(student, teacher, batch)


# --- views


class Plain(View):
    """What the broken ones below are made from."""

    AXES = ("time",)

    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored.abs()


class Deaf(Plain):
    def fit(self, stored: Tensor) -> dict[str, Any]:
        return {"mean": float(stored.mean())}


class Tensors(Plain):
    def fit(self, stored: Tensor) -> dict[str, Any]:
        return {"mean": stored.mean()}


class Nosy(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored - stored.mean(0)


class Dice(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored + torch.rand(1)


class Widened(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored.double()


class Logarithm(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return (stored - stored.mean(2, keepdim=True)) / stored.std(2, keepdim=True)


class Writing(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored.mul_(2)


class Image(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored[..., None] * stored[..., None, :]


class Short(Plain):
    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return (7,)


class Prepared(Plain):
    def prepare(self, windows: Tensor) -> Tensor:
        return windows.diff(dim=2)


class Stateless(Plain):
    STATE: ClassVar[Mapping[str, int]] = {"scale": 1}


class Mean(Plain):
    def render(self, stored: Tensor, state: dict[str, Any]) -> Tensor:
        return stored.mean((1, 2))


class Backwards(Plain):
    def extents(self, state: dict[str, Any]) -> list[list[float]]:
        return [[1.0, 0.0, 0.0, 1.0]]


# --- sources


class Few(Source):
    """What the broken ones below are made from."""

    count: int = Field(default=4, ge=1)

    def load(self) -> Recordings:
        signals = [np.random.default_rng(n).normal(size=(2, 10)).astype(np.float32) for n in range(self.count)]
        return self.of(signals, [n % 2 for n in range(self.count)], ["a", "b", "a", "b"])

    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return Recordings(signals, np.asarray(labels), groups, ("x", "y"), ("u", "v"), None, "few")


class Lost(Few):
    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return super().of(signals, labels[:-1], groups)


class Unnamed(Few):
    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return super().of(signals, [label + 1 for label in labels], groups)


class Unsteady(Few):
    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return super().of([s + np.random.default_rng().random() for s in signals], labels, groups)


class Wide(Few):
    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return super().of([s[:1] for s in signals], labels, groups)


class Holed(Few):
    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        return super().of([np.where(s > 0, s, np.nan) for s in signals], labels, groups)


class Nothing(Few):
    def load(self) -> Any:
        return None


# --- models


class Net(nn.Module):
    """What the broken ones below are made from."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(channels, 4, 3, padding=1), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean(2))


class Unseeded(Net):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.fc.bias.data[:] = float(np.random.default_rng().random())


class Soft(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Unused(Net):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.unused = nn.Linear(3, 3)


class Awake(Net):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


class Crowd(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Outside(Net):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.shift = torch.randn(classes)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift


class Auxiliary(Net):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Graded(Few):
    """Its labels are real numbers, a row of them for each recording."""

    TASK: ClassVar[Task] = Regression(targets=("effort", "speed"))

    def of(self, signals: list[Any], labels: list[int], groups: list[str]) -> Recordings:
        rows = [np.asarray([own + 0.5, n]) for n, own in enumerate(labels)]
        return Recordings(signals, rows, groups, (), ("u", "v"), None, "few")


class Ungraded(Graded):
    TASK: ClassVar[Task] = Regression(targets=("effort",))


# --- fusions


def sound(student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
    """What the broken ones below are made from: all teachers alike."""
    logits = next(iter(teachers.values())).logits
    return logits.new_full((len(teachers), len(logits)), 1 / len(teachers))


def across(*given: Any) -> Tensor:
    return sound(*given).T


def twice(*given: Any) -> Tensor:
    return 2 * sound(*given)


def below(*given: Any) -> Tensor:
    weights = sound(*given)
    weights[0] += len(weights) - 1
    weights[1:] -= 1
    return weights


def infinite(*given: Any) -> Tensor:
    logits = torch.stack([teacher.logits for teacher in given[1].values()])
    return logits.exp()[:, :, 0] / logits.exp()[:, :, 0].sum(0)


def drawn(*given: Any) -> Tensor:
    return torch.rand_like(sound(*given)).softmax(0)


def scored(*given: Any) -> Tensor:
    scores = given[3].teacher_scores
    return sound(*given) * torch.tensor([scores[name] for name in given[1]])[:, None]


def sometimes_scored(*given: Any) -> Tensor:
    scores = given[3].teacher_scores or dict.fromkeys(given[1], 1.0)
    return sound(*given) * torch.tensor([scores[n] for n in given[1]])[:, None].softmax(0) * len(given[1])


def labelled(*given: Any) -> Tensor:
    rows = torch.arange(len(given[2].target))
    sure = torch.stack([teacher.logits.softmax(1)[rows, given[2].target] for teacher in given[1].values()]) + 0.01
    return sure / sure.sum(0)


def coupled(*given: Any) -> Tensor:
    means = torch.stack([teacher.logits.mean() for teacher in given[1].values()]).softmax(0)
    return means[:, None] * torch.ones_like(sound(*given))


def mapped(*given: Any) -> Tensor:
    return torch.stack([teacher.stages["final"].mean((1, 2)) for teacher in given[1].values()]).softmax(0)
