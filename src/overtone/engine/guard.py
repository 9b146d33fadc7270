"""Stops training when something is not finite, and says what: which term, which layer, which samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overtone.distill import Distillation
from overtone.errors import NotFiniteError
from overtone.types import Batch, Output, Progress, Step


def check_step(
    step: Step, distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress
) -> None:
    """Raise if any term is NaN or infinite.

    Raises:
        NotFiniteError: names the terms, the first layer whose output is not finite, and the samples.
    """
    values = torch.stack([step.total.detach(), *(value.detach() for value in step.terms.values())])
    if bool(torch.isfinite(values).all()):
        return
    terms = [f"{name} = {float(v.detach())}" for name, v in step.terms.items() if not torch.isfinite(v)]
    where = _source(distillation, batch, teachers, progress)
    help_ = (
        "A smaller lr, clip: 1.0 or a warm-up of the term's weight often helps"
        if progress.step
        else "It is so before any training: look at the settings of the term's method"
    )
    raise NotFiniteError(
        f"epoch {progress.epoch}, step {progress.step}: {', '.join(terms) or 'the total'} is not finite; {where}. "
        f"{help_}"
    )


def check_gradient(norm: Tensor, module: nn.Module, batch: Batch, progress: Progress) -> None:
    """Raise if the gradient is not finite.

    Raises:
        NotFiniteError: names the first parameter whose gradient is not finite, and the batch's samples.
    """
    if bool(torch.isfinite(norm)):
        return
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            raise NotFiniteError(
                f"epoch {progress.epoch}, step {progress.step}: the gradient of {name} is not finite; samples "
                f"{_listed(batch.index)}"
            )
    raise NotFiniteError(
        f"epoch {progress.epoch}, step {progress.step}: the gradient's norm is too large for its type; samples "
        f"{_listed(batch.index)}"
    )


def _source(distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress) -> str:
    for name, view in batch.views.items():
        rows = _bad_rows(view)
        if rows is not None:
            return f"view {name!r} already is not finite in samples {_listed(batch.index[rows])}"
    for name, output in teachers.items():
        rows = _bad_rows(output.logits)
        if rows is not None:
            return f"teacher {name!r} is not finite in samples {_listed(batch.index[rows])}"
    layer, rows = _first_layer(distillation, batch, teachers, progress)
    if layer is None:
        return f"every layer is finite, the loss itself is not; samples {_listed(batch.index)}"
    samples = batch.index if rows is None else batch.index[rows]
    return f"first in layer {layer!r}, samples {_listed(samples)}"


def _first_layer(
    distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress
) -> tuple[str | None, Tensor | None]:
    """The first module, in order of execution, with an output that is not finite, and the rows in question."""
    found: list[tuple[str, Tensor | None]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                whole_batch = output.dim() > 0 and output.shape[0] == len(batch.index)
                found.append((name, _bad_rows(output) if whole_batch else None))

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in distillation.named_modules() if n]
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # compiled code runs no new hook
            distillation(batch, teachers, progress)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else (None, None)


def _bad_rows(x: Tensor) -> Tensor | None:
    rows = ~torch.isfinite(x).flatten(1).all(1)
    return rows if bool(rows.any()) else None


def _listed(index: Tensor) -> str:
    numbers = index.tolist()
    return ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
