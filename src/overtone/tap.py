"""Tap: run any model and get its logits, its feature maps by name, and their shapes.

Built-in models declare their stages. A foreign model is tapped by forward hooks: where timm declares its stages, else
on the last module at each spatial size that a probe pass sees, or on some blocks of a transformer; ``at`` names other
places. Shapes are always found by a probe, never typed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from overtone.class_maps import class_maps
from overtone.costs import macs as macs
from overtone.costs import parameters as parameters
from overtone.endings import last_activations
from overtone.errors import InputError, OvertoneError, nearest
from overtone.models import Staged, Tapped
from overtone.signals import ADAPTIVE, FIRST, follow, stages_of
from overtone.tasks import DEFAULT, Task
from overtone.tokens import Reading, as_map, blocks_of, declared_by_timm, sequences, tensor_of
from overtone.types import Input, Output, Spec, StageSpec, described, numbered, shape_of, shape_of_one


@dataclass
class _Held:
    """What hooks have caught of the running pass; nothing while no tap is running, and nothing of it is copied."""

    running: bool = False
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {"running": False, "tensors": {}}


@dataclass(eq=False)
class _Catch:
    """A hook that keeps a module's output as a stage. An object, not a closure, so that it is copied with its model:
    a copy of a tap catches for that copy, and a copy of a model alone catches nothing.
    """

    held: _Held
    stage: str

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        output = tensor_of(module, output)
        if self.held.running and isinstance(output, Tensor):
            self.held.tensors[self.stage] = output


@dataclass(eq=False)
class _CatchInput:
    """A hook that keeps what enters a module: of the classifier the embedding, of a last activation ``stageK.pre``."""

    held: _Held
    stage: str

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.held.running and args:
            self.held.tensors[self.stage] = args[0]


class Tap(nn.Module):
    """A model whose call returns an :class:`~overtone.types.Output` instead of bare logits.

    Args:
        model: any model from a tensor to what its task reads: of a classifier logits (B, C); what else it may return,
            see :func:`~overtone.types.logits_of`.
        at: stage names mapped to module paths, ``{"stage1": "layer1.2"}``; None uses the stages a built-in model
            declares, or finds a foreign model's in the first :func:`probe`.
        task: reads what the model returns.

    Raises:
        InputError: for a module path that does not exist; the nearest are named.
    """

    def __init__(self, model: nn.Module, at: Mapping[str, str] | None = None, task: Task = DEFAULT) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(f"a tap is of a torch module, got {described(model)}")
        self.model, self.task = model, task
        self.declared = isinstance(model, Tapped) and at is None
        self._held = _Held()
        self._hooks: list[Any] = []
        self.at: dict[str, str] = {}
        self.ends_found = False
        self.readings: dict[str, Reading] = {}
        if not self.declared:
            _no_inplace(model)
            if at is not None:
                self.attach(at)

    def attach(self, at: Mapping[str, str]) -> None:
        """Capture these modules' outputs from now on (must happen before ``torch.compile``)."""
        modules = dict(self.model.named_modules())
        for stage, path in at.items():
            if path not in modules:
                raise InputError(f"tap: there is no module {path!r} for {stage!r}; {nearest(path, modules)}")
        self.release()
        for stage, path in at.items():
            self._hooks.append(modules[path].register_forward_hook(_Catch(self._held, stage)))
        classifier = _classifier(self.model)
        if classifier is not None:
            self._hooks.append(classifier.register_forward_pre_hook(_CatchInput(self._held, "embedding")))
        self.at = dict(at)

    def attach_before(self, example: Tensor) -> None:
        """Capture what enters the activation that a stage ends in, as ``stageK.pre``, wherever one is found.

        Not where a stage is tokens, or has another order of axes: what enters its activation may have yet another.
        """
        modules = dict(self.model.named_modules())
        for stage, path in last_activations(self.model, self.at, example).items():
            if f"{stage}.pre" not in self.at and self.readings.get(stage, Reading()) == Reading():
                hook = modules[path].register_forward_pre_hook(_CatchInput(self._held, f"{stage}.pre"))
                self._hooks.append(hook)
        self.ends_found = True

    def release(self) -> None:
        """Take all hooks off the model again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self.at, self.readings, self.ends_found = [], {}, {}, False

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the model's branches; none unless it is a two-branch model."""
        return self.model.BRANCHES if isinstance(self.model, Tapped) else ()

    @property
    def head(self) -> Callable[[Tensor], Tensor] | None:
        """Pool and classifier of a model that has them to show."""
        return self.model.head if isinstance(self.model, Staged) else None

    def forward(self, x: Input) -> Output:
        """The model's output with everything that was tapped.

        Raises:
            OvertoneError: if a tapped module was not run, so that its stage would be stale.
            InputError: for a model that returns something that its task cannot read.
        """
        if self.declared:
            assert isinstance(self.model, Tapped)
            return self.model.output(x)
        store = self._held
        store.tensors.clear()
        store.running = True
        try:
            prediction = self.task.read(self.model(x))
            stages = dict(store.tensors)
        finally:
            store.running = False
            store.tensors.clear()
        missing = sorted(set(self.at) - set(stages))
        if missing:
            raise OvertoneError(
                f"tap: {', '.join(f'{s} ({self.at[s]})' for s in missing)} stayed empty in this step: the module was "
                "not run, or returned no tensor"
            )
        embedding = stages.pop("embedding", None)
        if isinstance(x, Tensor):
            stages = {name: self.as_map(name, caught, x) for name, caught in stages.items()}
        return Output(prediction, stages, embedding)

    def as_map(self, stage: str, output: Tensor, x: Tensor) -> Tensor:
        """What the module of a stage gave, as a map; tokens are read as the last probe found them to be."""
        return as_map(output, x, self.model, self.readings.get(stage))


def _no_inplace(model: nn.Module) -> None:
    """Switch off in-place activations: they would rewrite a tapped tensor. Numbers stay the same."""
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]


def _classifier(model: nn.Module) -> nn.Linear | None:
    """The last linear layer; what enters it is the embedding."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linears[-1] if linears else None


VERSION = 4
"""Of how a foreign model's stages are found; part of the key of a cell that leaves it to the probe."""


class _Layout:
    """Follows a pass: are the axes of what runs by channels first, (c, *size), or last, (*size, c)?

    ConvNeXt and Swin transformers work channels last in between, where (H, W, c) must not be read as a map of c = H.
    Convolutions and their like put channels first; they are last once a linear layer, a layer normalisation or a
    module without parameters meets a map with its axes moved, until they are moved back.
    """

    def __init__(self, shape: torch.Size) -> None:
        self.last, self.shape = False, shape
        self.moved = {shape[1:] + shape[:1]}
        """Channels-last forms of all that was seen channels first."""

    def enter(self, module: nn.Module, shape: torch.Size) -> None:
        """A module takes a tensor of this shape (without the batch)."""
        same = shape == self.shape and not (isinstance(module, nn.Linear) and len(set(shape)) == 1)
        if isinstance(module, FIRST):
            self.last = False
        elif isinstance(module, (nn.Linear, nn.LayerNorm)) and not self.last and not same and shape in self.moved:
            self.last, self.shape = True, shape

    def leave(self, module: nn.Module, shape: torch.Size) -> bool:
        """A module gives a tensor of this shape; whether its channels are first."""
        if self.last and shape == self.shape[-1:] + self.shape[:-1]:
            self.last = False
        elif not self.last and shape != self.shape and shape == self.shape[1:] + self.shape[:1]:
            self.last = not isinstance(module, FIRST) and not any(True for _ in module.parameters())
        self.shape = shape
        if not self.last:
            self.moved.add(shape[1:] + shape[:1])
        return not self.last


def _stages_of(model: nn.Module, example: Tensor) -> dict[str, str]:
    """What timm declares; else what a pass shows: maps of several sizes, or a transformer's equal blocks."""
    declared = declared_by_timm(model)
    if declared is not None:
        return declared
    if example.dim() == 3:
        return stages_of(follow(model, example))
    stages = _find_stages(model, example)
    return (blocks_of(model, example) or stages) if len(stages) < 2 and example.dim() == 4 else stages


def _read(tap: Tap, example: Tensor) -> None:
    """Find how what is tapped is read: what are tokens, and where the batch is.

    Raises:
        InputError: for a stage that is named and gives tokens whose positions are not known to be time.
    """
    if example.dim() == 4:
        others = sequences(tap.model, example)
        tap.readings = {stage: Reading(sequence_first=True) for stage, path in tap.at.items() if path in others}
    if example.dim() == 3:
        by_path = {seen.path: seen for seen in follow(tap.model, example)}
        for stage, path in tap.at.items():
            if path in by_path and by_path[path].reading is None:
                raise InputError(
                    f"tap: {stage} ({path}) gives {by_path[path].shape} of a signal {tuple(example.shape[1:])}, and "
                    "which axis is time cannot be told; name a module whose output is (B, channels, time)"
                )
        tap.readings = {s: by_path[path].reading or Reading() for s, path in tap.at.items() if path in by_path}


def _find_stages(model: nn.Module, example: Tensor) -> dict[str, str]:
    """The last leaf-most module at each spatial size, shallow to deep: ``stage1 .. stageN`` -> module path.

    Only maps with channels first count, (B, c, *size); see :class:`_Layout`.
    """
    last_at: dict[tuple[int, ...], str] = {}
    hooks = []
    layout = _Layout(example.shape[1:])

    def is_map(value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() == example.dim() and len(value) == len(example)

    def before(module: nn.Module, args: Any) -> None:
        if args and is_map(args[0]):
            layout.enter(module, args[0].shape[1:])

    def watch(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not is_map(output) or not layout.leave(module, output.shape[1:]):
                return
            if min(output.shape[2:], default=1) <= 1:  # a vector has no positions
                return
            # An adaptive pooling may repeat positions, to the size that a classifier was made for: no new map.
            if not isinstance(module, ADAPTIVE) or _product(output.shape) <= _product(args[0].shape):
                last_at[tuple(output.shape[2:])] = path

        return hook

    for path, module in model.named_modules():
        if path:
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(watch(path))]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    ordered = sorted(last_at.items(), key=lambda item: -_product(item[0]))
    return {f"stage{number}": path for number, (_, path) in enumerate(ordered, start=1)}


def _product(size: Sequence[int]) -> int:
    total = 1
    for length in size:
        total *= length
    return total


def probe(tap: Tap, example: Input, axes: Sequence[tuple[str, ...]] = ()) -> Spec:
    """Every shape a tap gives, from one pass in eval mode; the model is left as it was.

    Args:
        tap: a tap; a foreign model without ``at`` gets its stages found here.
        example: at least one sample, (B, C, T) or (B, C, H, W), or both for a two-branch model; a list of samples
            where the task collates them into one.
        axes: what each input's axes mean, ``[("time",)]``; see :class:`~overtone.views.View`.

    Raises:
        InputError: for a model whose output is not what its task takes for B samples, or that is not tapped.
    """
    if not isinstance(tap, Tap):
        raise InputError(f"probe takes a tapped model, probe(Tap(model), example); got {described(tap)}")
    training = {module: module.training for module in tap.modules()}
    tap.eval()
    try:
        if not tap.declared and not tap.at and isinstance(example, Tensor):
            tap.attach(_stages_of(tap.model, example))
            _drop_points(tap, example)
        if not tap.declared and isinstance(example, Tensor):
            _read(tap, example)
            if not tap.ends_found:
                tap.attach_before(example)
        with torch.no_grad():
            output = tap(example)
        tap.task.check_output(output, _samples(example))
        spec = _spec(output, tap.model if tap.declared else None, example, axes)
        return replace(spec, ends=_ends(tap.model, output.logits)) if tap.task.LOGITS else spec
    finally:
        for module, mode in training.items():
            module.training = mode


def _drop_points(tap: Tap, example: Tensor) -> None:
    """Leave out declared stages that are a single position for such an input: a map of one value is no map."""
    with torch.no_grad():
        stages = tap(example).stages
    kept = [path for name, path in tap.at.items() if stages[name].dim() < 3 or max(stages[name].shape[2:]) > 1]
    if 0 < len(kept) < len(tap.at):
        tap.attach({f"stage{number}": path for number, path in enumerate(kept, start=1)})


def _samples(example: Input) -> int:
    return len(next(x for x in example if x is not None) if isinstance(example, tuple) else example)


def _ends(model: nn.Module, logits: Tensor) -> str:
    """``softmax`` where a model's outputs are probabilities that sum to 1, ``sigmoid`` where its last module is one."""
    if bool((logits < 0).any()) or bool((logits > 1).any()):
        return ""
    sums, slack = logits.double().sum(1), max(1e-5, 8 * torch.finfo(logits.dtype).eps)
    if bool(((sums - 1).abs() < slack).all()):
        return "softmax"
    return "sigmoid" if isinstance(list(model.modules())[-1], nn.Sigmoid) else ""


def _spec(output: Output, model: nn.Module | None, example: Input, axes: Sequence[tuple[str, ...]]) -> Spec:
    inputs = [x for x in example if x is not None] if isinstance(example, tuple) else [example]
    meant = list(axes) or [()] * len(inputs)
    sizes = shape_of_one(inputs[0])[1:]
    stages = {
        name: StageSpec(
            tuple(x.shape[1:]),
            tuple(s / t for s, t in zip(sizes, x.shape[2:], strict=True)) if x.dim() == len(sizes) + 2 else (),
        )
        for name, x in output.stages.items()
    }
    parts = zip(output.branches.items(), inputs, meant, strict=True) if output.branches else ()
    return Spec(
        input=shape_of(example),
        classes=output.logits.shape[1] if "logits" in output.prediction else 0,
        stages=stages,
        embedding=None if output.embedding is None else output.embedding.shape[1],
        attention=None if output.attention is None else tuple(output.attention.shape[1:]),
        branches={name: _spec(branch, getattr(model, name), x, [meaning]) for (name, branch), x, meaning in parts},
        has_head=output.head is not None,
        has_cam=_has_cam(output),
        axes=() if output.branches else meant[0],
        order=numbered(stages)[model.FIRST - 1 if isinstance(model, Staged) else 0 :],
        varies=isinstance(model, Tapped) and model.VARIES,
    )


def _has_cam(output: Output) -> bool:
    """Whether the class activation maps average to the logits: the head is a (weighted) mean and a linear layer.

    Not told of a model that gives no finite numbers, as one may after a few steps.
    """
    if output.head is None or "final" not in output.stages:
        return False
    maps, bias = class_maps(output)
    logits = maps.flatten(2).mean(2) + bias
    largest = float(output.logits.abs().max())
    return math.isfinite(largest) and bool(torch.allclose(logits, output.logits, rtol=1e-3, atol=1e-3 * (largest + 1)))
