"""What flows through Overtone: a batch of views, what a tapped model returns, and the shapes of both.

Shapes in comments: B batch, C classes or channels, T time, H and W height and width, D width of a vector.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overtone.errors import InputError

Seen = str | tuple[str, ...]
"""The view that a model sees, or the views of a model with several branches, in their order."""
Input = Tensor | tuple[Tensor | None, ...] | list[Any]
"""What a model is called with: one view's tensor; several views', of which one may be missing; or a list of samples,
where a task collates them into one.
"""
Shape = tuple[int, ...] | tuple[tuple[int, ...], ...]
"""An input's shape without the batch."""


def described(x: object) -> str:
    """What was received, for a message: a tensor's shape and type, else its class."""
    return f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}" if isinstance(x, Tensor) else type(x).__name__


def logits_of(given: Any) -> Tensor:
    """The logits in what a model returned, where it is clear which tensor that is.

    A tensor; the entry or attribute ``logits``; the only tensor of a mapping; the first of a tuple or list, (B, C).

    Raises:
        InputError: for anything else, with what was returned.
    """
    if isinstance(given, Tensor):
        return given
    logits = given.get("logits") if isinstance(given, Mapping) else getattr(given, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(given, Mapping) and len(given) == 1:
        logits = next(iter(given.values()))
    elif isinstance(given, (tuple, list)) and given:
        logits = given[0]
    if isinstance(logits, Tensor) and logits.dim() == 2:
        return logits
    raise InputError(
        "a model returns logits (B, classes): a tensor, something with .logits, or a tuple whose first they are; got "
        f"{returned(given)}"
    )


def returned(given: Any) -> str:
    """What a model returned, for a message: ``Found (hidden (2, 16) of float32)``."""
    if isinstance(given, Mapping):
        named = list(given.items())
    elif isinstance(given, (tuple, list)):
        named = list(zip(getattr(given, "_fields", range(len(given))), given, strict=True))
    elif is_dataclass(given) and not isinstance(given, type):
        named = [(part.name, getattr(given, part.name)) for part in fields(given)]
    else:
        return described(given)
    inside = ", ".join(f"{name} {described(x)}" if isinstance(name, str) else described(x) for name, x in named[:6])
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return f"{type(given).__name__} ({inside}{more})"


def names_of(seen: Seen) -> tuple[str, ...]:
    """The views' names, one or several."""
    return (seen,) if isinstance(seen, str) else tuple(seen)


def shape_of(x: Input) -> Shape:
    """An input's shape without the batch."""
    return tuple(shape_of_one(part) for part in x if part is not None) if isinstance(x, tuple) else shape_of_one(x)


def shape_of_one(x: Tensor | list[Any]) -> tuple[int, ...]:
    """A view's shape without the batch; of a list of samples that of the first one's first tensor."""
    return tuple(x.shape[1:] if isinstance(x, Tensor) else next(tensors_in(x)).shape)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in lists, tuples and mappings, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(inner)


@dataclass(frozen=True)
class Batch:
    """Samples in all their views.

    Attributes:
        views: the same samples by view name; ``signal`` is (B, C, T), images are (B, C, H, W). A task may collate them
            into what its models take, such as a list of images.
        target: class numbers, (B,) int64; where samples are mixed class probabilities, (B, C); or
            whatever else the task has as targets.
        index: the samples' stable numbers in their data set, (B,) int64.
        size: of data whose samples are not of one size, each one's height and width in pixels, (B, 2) int64; it lies in
            the upper left corner of what its views show.
    """

    views: Mapping[str, Any]
    target: Any
    index: Tensor
    size: Tensor | None = None

    def input(self, seen: Seen) -> Input:
        """What a model that sees these views is called with."""
        return self.views[seen] if isinstance(seen, str) else tuple(self.views[name] for name in seen)

    @property
    def label(self) -> Tensor:
        """Class numbers, (B,); of probabilities the largest."""
        target: Tensor = self.target
        return target if target.dim() == 1 else target.argmax(1)


@dataclass(frozen=True)
class Move:
    """How images were moved in augmentation: scaled to a size, then mirrored (left and right) within their own width.

    Attributes:
        size: height and width in pixels that each has now, (B, 2) int64.
        mirrored: (B,) bool.
    """

    size: Tensor
    mirrored: Tensor


@dataclass(frozen=True)
class Output:
    """What any tapped model returns.

    Attributes:
        prediction: by name what the model says, as its task reads it. Of a model whose last layer is linear that
            layer's numbers as ``logits``, (B, C); of others whatever they give, losses of their own included. A
            callable in it may give what depends on the student's output, such as logits of its regions.
        stages: feature maps by stage name, (B, c, T') or (B, c, H', W'); see :mod:`overtone.tap`.
        embedding: the pooled vector in front of the classifier, (B, D).
        head: pool + classifier, from the ``final`` map to logits; a teacher's is frozen yet differentiable.
        attention: where the model looks, if it has such a map, values >= 0 that sum to 1 per sample: over the last
            map's positions, (B, T'), or between a signal's and an image's, (B, T', H' * W').
        branches: the outputs of a model's branches by name, for models that have several.
    """

    prediction: Mapping[str, Any]
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None
    head: Callable[[Tensor], Tensor] | None = None
    attention: Tensor | None = None
    branches: Mapping[str, Output] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        logits: Tensor,
        stages: Mapping[str, Tensor] | None = None,
        embedding: Tensor | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
        attention: Tensor | None = None,
        branches: Mapping[str, Output] | None = None,
    ) -> Output:
        """The output of a model whose last layer gives ``logits``, (B, C)."""
        return cls({"logits": logits}, stages or {}, embedding, head, attention, branches or {})

    @property
    def logits(self) -> Tensor:
        """What the last layer gives, (B, C): of a classifier, before the softmax.

        Raises:
            InputError: for a prediction that is no row of numbers per sample.
        """
        if "logits" not in self.prediction:
            raise InputError(
                "a row of numbers for each sample is needed (logits), but these models give "
                f"{', '.join(self.prediction) or 'nothing'}"
            )
        logits: Tensor = self.prediction["logits"]
        return logits

    def map(self, fn: Callable[[Tensor], Tensor]) -> Output:
        """The same output with ``fn`` applied to every tensor in it."""
        return replace(
            self,
            prediction={name: _mapped(values, fn) for name, values in self.prediction.items()},
            stages={name: fn(x) for name, x in self.stages.items()},
            embedding=None if self.embedding is None else fn(self.embedding),
            attention=None if self.attention is None else fn(self.attention),
            branches={name: branch.map(fn) for name, branch in self.branches.items()},
        )

    def float(self) -> Output:
        """The same output in float32: losses are never computed in half precision."""
        return self.map(lambda x: x.float() if x.is_floating_point() and x.dtype != torch.float64 else x)


def _mapped(values: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    """``fn`` of a tensor, or of those in a list or mapping; anything else as it is."""
    if isinstance(values, Tensor):
        return fn(values)
    if isinstance(values, (list, tuple)):
        return [_mapped(inner, fn) for inner in values]
    return {name: _mapped(inner, fn) for name, inner in values.items()} if isinstance(values, Mapping) else values


@dataclass(frozen=True)
class StageSpec:
    """One stage's shape without the batch: ``(c, T')`` or ``(c, H', W')``, and its stride per axis."""

    shape: tuple[int, ...]
    stride: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size, ``(T',)`` or ``(H', W')``."""
        return self.shape[1:]


def numbered(stages: Iterable[str]) -> tuple[str, ...]:
    """Of stages' names those with a number, in its order: ``stage1 .. stageN``, or ``p2 .. p6``.

    None where names of several kinds are numbered, of which none is ``stage``.
    """
    kinds: dict[str, dict[int, str]] = {}
    for name in stages:
        if (match := re.fullmatch(r"([^.]*?)(\d+)", name)) is not None:
            kinds.setdefault(match[1], {})[int(match[2])] = name
    found = kinds.get("stage", next(iter(kinds.values()), {}) if len(kinds) == 1 else {})
    return tuple(found[number] for number in sorted(found))


@dataclass(frozen=True)
class Spec:
    """The names of an :class:`Output` with shapes instead of tensors; found by a probe pass, never typed.

    ``axes`` says what the axes of the maps mean (``time``; see :class:`overtone.views.View`), empty where unknown.
    ``has_cam``: whether the class activation maps of ``final`` average to the logits. ``ends``: what makes
    probabilities of the outputs, ``softmax`` or ``sigmoid``; empty for logits. ``order``: the stages that methods pair
    by depth, from shallow to deep (a VGG's from ``stage2``); empty where their names say none. ``varies``: whether
    maps' height and width change from batch to batch; shapes are then those of the probe.
    """

    input: Shape
    classes: int
    stages: Mapping[str, StageSpec] = field(default_factory=dict)
    embedding: int | None = None
    attention: tuple[int, ...] | None = None
    branches: Mapping[str, Spec] = field(default_factory=dict)
    has_head: bool = False
    has_cam: bool = False
    axes: tuple[str, ...] = ()
    ends: str = ""
    order: tuple[str, ...] = ()
    varies: bool = False

    @property
    def dims(self) -> int:
        """1 for signals (C, T), 2 for images (C, H, W), 0 for several inputs."""
        return len(self.input) - 1 if isinstance(self.input[0], int) else 0

    def depth_stages(self) -> list[str]:
        """The stages that methods pair by default, from shallow to deep: :attr:`order`, or as their names say."""
        return list(self.order or numbered(self.stages))


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the training data.

    Attributes:
        classes: class names in label order.
        train_index: the samples' numbers, (N,) int64; ``Batch.index`` refers to these.
        train_target: their labels, (N,) int64, or (N, ...) targets of another task.
        rate: sampling rate in Hz, if known.
        teacher_scores: how each teacher did on the validation side, by name, higher is better; empty where that is to
            come, None where there is no validation side.
        facts: what the task knows of the data, by name (``Task.facts``).

    Raises:
        InputError: for numbers (with classes, labels too) that are no tensors of whole numbers, of different lengths,
            below 0 or beyond the classes, for a number that stands twice, or a score that is not finite.
    """

    classes: tuple[str, ...] = ()
    train_index: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    train_target: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    rate: float | None = None
    teacher_scores: Mapping[str, float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = {"train_target": self.train_target} if self.classes else {}
        for name, x in {"train_index": self.train_index, **labels}.items():
            if not isinstance(x, Tensor) or x.dtype != torch.int64 or x.dim() != 1:
                raise InputError(f"DataInfo: {name} is a tensor (N,) of int64, got {described(x)}")
            if len(x) and int(x.min()) < 0:
                raise InputError(f"DataInfo: {name} holds {int(x.min())}, below 0")
        if len(self.train_index) != len(self.train_target):
            raise InputError(
                f"DataInfo: {len(self.train_index)} numbers (train_index) but {len(self.train_target)} labels "
                "(train_target); there is one of each for every training sample"
            )
        if labels and len(self.train_target) and int(self.train_target.max()) >= len(self.classes):
            raise InputError(
                f"DataInfo: train_target holds {int(self.train_target.max())}, there are {len(self.classes)} classes"
            )
        if len(self.train_index.unique()) < len(self.train_index):
            raise InputError("DataInfo: a number stands twice in train_index")
        for name, score in (self.teacher_scores or {}).items():
            if not math.isfinite(score):
                raise InputError(f"DataInfo: the score of teacher {name!r} must be finite, got {score}")


@dataclass(frozen=True)
class Progress:
    """Where training is. ``epoch`` counts from 1 to ``epochs``; ``step`` from 0, over all epochs.

    ``counting``: of a method's terms those that weigh something in this epoch; None where nobody knows.
    """

    epoch: int
    epochs: int
    step: int = 0
    steps: int = 1
    counting: frozenset[str] | None = None

    def counts(self, term: str) -> bool:
        """Whether a term of a method must be given; one that weighs nothing may be left out, where it is costly."""
        return self.counting is None or term in self.counting


@dataclass(frozen=True)
class Step:
    """One step's result: the weighted sum, its unweighted terms by name, and the student's output."""

    total: Tensor
    terms: Mapping[str, Tensor]
    output: Output


@dataclass(frozen=True)
class Needs:
    """What a method reads: ``logits``, ``embedding``, ``attention``, ``head``, a stage's name, or what a prediction
    calls a function that it asks (``losses_of``).
    """

    student: frozenset[str] = frozenset({"logits"})
    teachers: Mapping[str, frozenset[str]] = field(default_factory=dict)


def select(output: Output, names: frozenset[str]) -> Output:
    """Only the named parts of an output (predictions always stay)."""
    kept = {f.name: getattr(output, f.name) for f in fields(output) if f.name in names}
    stages = {name: x for name, x in output.stages.items() if name in names}
    return Output(**{**kept, "prediction": output.prediction, "stages": stages})
