"""Stops training when something is not finite, and says what: which term, which layer, which samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overtone.distill import Distillation
from overtone.errors import NotFiniteError
from overtone.types import Batch, Output, Progress, Step, tensors_in


def check_step(
    step: Step, distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress
) -> None:
    """Raise if any term is NaN or infinite.

    Raises:
        NotFiniteError: names the terms, the first layer whose output is not finite, and the samples.
    """
    said = not_finite(step, distillation, batch, teachers, progress)
    if said is not None:
        raise NotFiniteError(f"epoch {progress.epoch}, step {progress.step}: {said}")


def not_finite(
    step: Step, distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress
) -> str | None:
    """Which terms are NaN or infinite, where that comes from and what may help; None where all are finite."""
    values = torch.stack([step.total.detach(), *(value.detach() for value in step.terms.values())])
    if bool(torch.isfinite(values).all()):
        return None
    terms = {name: float(v.detach()) for name, v in step.terms.items() if not torch.isfinite(v)}
    said = ", ".join(f"{name} = {value}" for name, value in terms.items()) or "the total"
    given = _given(batch, teachers)
    if given is not None:
        return f"{said} is not finite; {given}"
    layer, rows = _first_layer(distillation, batch, teachers, progress)
    if layer is not None:
        samples = batch.index if rows is None else batch.index[rows]
        where = f"first in layer {layer!r}, samples {_listed(samples)}"
    else:
        where = f"every layer is finite, the loss itself is not; samples {_listed(batch.index)}"
    hint = "A smaller lr, clip: 1.0 or a warm-up of the term's weight often helps"
    if layer is None and progress.step == 0:
        names = dict.fromkeys(name.partition(".")[0] for name in terms)
        to_blame = f"the settings of {' and '.join(names)}" if names else "the weights"  # none: terms are finite
        hint = f"It is so before any training: look at {to_blame}"
    return f"{said} is not finite; {where}. {hint}"


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


def _given(batch: Batch, teachers: Mapping[str, Output]) -> str | None:
    """The view or the teacher that already is not finite."""
    for name, view in batch.views.items():
        rows = _bad_samples(view)
        if rows is not None:
            return f"view {name!r} already is not finite in samples {_listed(batch.index[rows])}"
    for name, output in teachers.items():
        for said in output.prediction.values():
            rows = _bad_samples(said)
            if rows is not None and len(rows) == len(batch.index):
                return f"teacher {name!r} is not finite in samples {_listed(batch.index[rows])}"
            if rows is not None:
                return f"teacher {name!r} is not finite; samples {_listed(batch.index)}"
    return None


def _bad_samples(batch: Any) -> Tensor | None:
    """Which samples of a batch, a tensor or a list of them, are not finite; None where all are."""
    if isinstance(batch, Tensor):
        return _bad_rows(batch)
    rows = torch.tensor([not all(bool(torch.isfinite(x).all()) for x in tensors_in(sample)) for sample in _each(batch)])
    return rows if bool(rows.any()) else None


def _each(batch: Any) -> list[Any]:
    """What a list or a mapping holds; of anything else nothing is known."""
    return (
        list(batch.values()) if isinstance(batch, Mapping) else list(batch) if isinstance(batch, (list, tuple)) else []
    )


def _first_layer(
    distillation: Distillation, batch: Batch, teachers: Mapping[str, Output], progress: Progress
) -> tuple[str | None, Tensor | None]:
    """The first module, in order of execution, with an output that is not finite, and the rows in question."""
    layers: list[tuple[str, Tensor | None]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not layers and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                whole_batch = output.dim() > 0 and output.shape[0] == len(batch.index)
                layers.append((name, _bad_rows(output) if whole_batch else None))

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in distillation.named_modules() if n]
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # compiled code runs no new hook
            distillation(batch, teachers, progress)
    finally:
        for hook in hooks:
            hook.remove()
    return layers[0] if layers else (None, None)


def _bad_rows(x: Tensor) -> Tensor | None:
    rows = ~torch.isfinite(x.reshape(len(x), -1) if x.dim() else x.view(1, 1)).all(1)
    return rows if bool(rows.any()) else None


def _listed(index: Tensor) -> str:
    numbers = index.tolist()
    return ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
