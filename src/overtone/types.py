"""What flows through Overtone: a batch of views, what a tapped model returns, and the shapes of both.

Shapes in comments: B batch, C classes or channels, T time, H and W height and width, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Samples in all their views.

    Attributes:
        views: the same samples by view name; ``signal`` is (B, C, T), images are (B, C, H, W).
        target: class numbers, (B,) int64.
        index: the samples' stable numbers in their data set, (B,) int64.
    """

    views: Mapping[str, Tensor]
    target: Tensor
    index: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        views = {name: view.to(device, non_blocking=True) for name, view in self.views.items()}
        return Batch(views, self.target.to(device), self.index.to(device))


@dataclass(frozen=True)
class Output:
    """What any tapped model returns.

    Attributes:
        logits: (B, C), before the softmax.
        stages: feature maps by stage name, (B, c, T') or (B, c, H', W'); see :mod:`overtone.tap`.
        embedding: the pooled vector in front of the classifier, (B, D).
        head: pool + classifier, from the ``final`` map to logits; a teacher's is frozen yet differentiable.
        attention: where the model looks, if it has such a map, values >= 0 that sum to 1 per sample.
        branches: the outputs of a model's branches by name, for models that have several.
    """

    logits: Tensor
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None
    head: Callable[[Tensor], Tensor] | None = None
    attention: Tensor | None = None
    branches: Mapping[str, Output] = field(default_factory=dict)

    def map(self, fn: Callable[[Tensor], Tensor]) -> Output:
        """The same output with ``fn`` applied to every tensor in it."""
        return replace(
            self,
            logits=fn(self.logits),
            stages={name: fn(x) for name, x in self.stages.items()},
            embedding=None if self.embedding is None else fn(self.embedding),
            attention=None if self.attention is None else fn(self.attention),
            branches={name: branch.map(fn) for name, branch in self.branches.items()},
        )

    def float(self) -> Output:
        """The same output in float32: losses are never computed in half precision."""
        return self.map(lambda x: x.float() if x.is_floating_point() and x.dtype != torch.float64 else x)


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


@dataclass(frozen=True)
class Spec:
    """The names of an :class:`Output` with shapes instead of tensors; found by a probe pass, never typed."""

    input: tuple[int, ...]
    classes: int
    stages: Mapping[str, StageSpec] = field(default_factory=dict)
    embedding: int | None = None
    attention: tuple[int, ...] | None = None
    branches: Mapping[str, Spec] = field(default_factory=dict)
    has_head: bool = False

    def depth_stages(self) -> list[str]:
        """``stage1 .. stageN`` from shallow to deep, the stages that methods pair by default."""
        names = [name for name in self.stages if name.startswith("stage") and name[5:].isdigit()]
        return sorted(names, key=lambda name: int(name[5:]))


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the training data.

    Attributes:
        classes: class names in label order.
        train_index: the samples' numbers, (N,) int64; ``Batch.index`` refers to these.
        train_target: their labels, (N,) int64.
        rate: sampling rate in Hz, if known.
    """

    classes: tuple[str, ...]
    train_index: Tensor
    train_target: Tensor
    rate: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where training is. ``epoch`` counts from 1 to ``epochs``; ``step`` from 0, over all epochs."""

    epoch: int
    epochs: int
    step: int = 0
    steps: int = 1


@dataclass(frozen=True)
class Step:
    """One step's result: the weighted sum, its unweighted terms by name, and the student's output."""

    total: Tensor
    terms: Mapping[str, Tensor]
    output: Output


@dataclass(frozen=True)
class Needs:
    """What a method reads: names among ``logits``, ``embedding``, ``attention``, ``head`` or a stage's name."""

    student: frozenset[str] = frozenset({"logits"})
    teachers: Mapping[str, frozenset[str]] = field(default_factory=dict)


def select(output: Output, names: frozenset[str]) -> Output:
    """Only the named parts of an output (logits always stay)."""
    kept = {f.name: getattr(output, f.name) for f in fields(output) if f.name in names}
    stages = {name: x for name, x in output.stages.items() if name in names}
    return Output(**{**kept, "logits": output.logits, "stages": stages})
