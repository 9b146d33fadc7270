"""Where a model looks in given windows: class activation maps, Grad-CAM, and its own attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from overtone.class_maps import class_maps
from overtone.student import Student
from overtone.tap import Tap, probe
from overtone.tasks import Task, suited
from overtone.tokens import tensor_of
from overtone.types import Output, Spec


@dataclass(frozen=True)
class Saliency:
    """One model on some windows.

    Attributes:
        answers: what the model says of each window, as its task has it: probabilities, or values.
        seen: by branch (one, named "", for a model without): what it sees, (B, C, ...).
        maps: by branch, then by name: ``cam`` of the true class, signed; ``grad-cam``, >= 0; ``attention``, summing
            to 1; each (B, ...) over the branch's axes.
        cross: a two-branch model's attention over pairs of positions, (B, T', H', W').
    """

    answers: list[Any]
    seen: Mapping[str, Tensor]
    maps: Mapping[str, Mapping[str, Tensor]]
    cross: Tensor | None = None


def saliency(student: Student, windows: Tensor, target: Tensor, size: Tensor | None = None) -> Saliency:
    """Where a trained model looks for the true class.

    Every model has ``grad-cam``; one whose head is an average and a linear layer has ``cam`` too. Grad-CAM at the
    deepest stage would then be the positive part of that ``cam`` times a factor, so it is taken one stage earlier,
    where it is also finer.

    Args:
        student: any trained model of a study.
        windows: as recorded, (B, C, T), or images.
        target: the truth, (B, ...).
        size: of images that lie in the corner of a larger one, as :meth:`~overtone.student.Student.output` takes it.

    Raises:
        InputError: for a task that does not say what is looked for, or how its predictions are told.
    """
    inputs = student.eval().inputs(windows)
    x = student.asked(windows, size)
    tap = Tap(student.model, task=student.task)
    spec = probe(tap, x)
    with torch.enable_grad(), _caught(tap) as caught:
        output = tap(x)
        answers = student.task.answers(student.task.predict(output.map(Tensor.detach)))
        parts = dict(output.branches) or {"": output}
        specs = dict(spec.branches) or {"": spec}
        as_maps = partial(tap.as_map, x=x) if isinstance(x, Tensor) else _same
        by_part = _grad_cam(student.task, output, parts, specs, target, caught, as_maps)
    for name, part in parts.items():
        if specs[name].has_cam and student.task.ONE_CLASS:
            by_part[name]["cam"] = class_maps(part)[0][torch.arange(len(target)), target]
        if part.attention is not None:
            by_part[name]["attention"] = part.attention.view(-1, *part.stages["final"].shape[2:])
    cross = None
    if output.attention is not None and output.branches:
        size = output.branches["image"].stages["final"].shape[2:]
        cross = output.attention.unflatten(2, size).detach()
    seen = dict(zip(parts, (part for part in inputs if part is not None), strict=True))
    maps = {name: {kind: values.detach() for kind, values in kinds.items()} for name, kinds in by_part.items()}
    return Saliency(answers, seen, maps, cross)


def _same(stage: str, tensor: Tensor) -> Tensor:
    return tensor


@contextmanager
def _caught(tap: Tap) -> Iterator[dict[str, Tensor]]:
    """What the tapped modules of a foreign model give, as they give it; nothing of a model that declares its stages.

    The score depends on these, not on the maps that a tap makes of a transformer's tokens.
    """
    caught: dict[str, Tensor] = {}

    def catch(stage: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            caught[stage] = tensor_of(module, output)

        return hook

    hooks = [tap.model.get_submodule(path).register_forward_hook(catch(stage)) for stage, path in tap.at.items()]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


def _grad_cam(
    task: Task,
    output: Output,
    parts: Mapping[str, Output],
    specs: Mapping[str, Spec],
    target: Tensor,
    caught: Mapping[str, Tensor],
    as_maps: Callable[[str, Tensor], Tensor],
) -> dict[str, dict[str, Tensor]]:
    """Grad-CAM of what the task asks (of a classifier the true class' logit):
    ``relu(sum_k mean_p(dz / dF_k[p]) F_k)`` (Selvaraju et al. 2017, eq. 1, 2).

    At the deepest stage that the logit depends on: a transformer that classifies by its class token does not depend on
    the patches of its last block.
    """
    candidates = []
    for name, part in parts.items():
        depths = specs[name].depth_stages()
        above = 1 if specs[name].has_cam and len(depths) > 1 else 0
        candidates += [
            (name, stage, caught.get(stage, part.stages[stage])) for stage in depths[: len(depths) - above][::-1]
        ]
    maps: dict[str, dict[str, Tensor]] = {name: {} for name in parts}
    if not candidates:
        return maps
    with suited(task, "asked"):
        score = task.asked(output, target)
    gradients = torch.autograd.grad(score, [tensor for _, _, tensor in candidates], allow_unused=True)
    for (name, depth, tensor), gradient in zip(candidates, gradients, strict=True):
        if gradient is None or "grad-cam" in maps[name]:
            continue
        stage, slope = as_maps(depth, tensor), as_maps(depth, gradient)
        if slope.any():
            weights = slope.flatten(2).mean(2)  # (B, c)
            maps[name]["grad-cam"] = torch.einsum("bc,bc...->b...", weights, stage).relu()
    return maps
