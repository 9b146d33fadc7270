"""Predictions of a model, whole or in parts, on some samples."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from overtone.engine.samples import Samples
from overtone.tap import Tap
from overtone.tasks import Predictions, joined
from overtone.types import Input, Output, Seen, names_of

EVAL_BATCH = 256
CANVAS_BYTES = 2**25
"""Of a batch of images on a canvas, which holds fewer of them the larger they are."""


def evaluate(
    tap: Tap, samples: Samples, index: Tensor, view: Seen, accelerator: Accelerator, part: str | None = None
) -> Predictions:
    """What the task keeps of some samples, in their order, on the CPU, the same on every process.

    Models see no targets.

    Each process takes equally many; the last is padded with repeats, which are dropped after gathering.

    Args:
        tap, samples, index, view, accelerator: what is evaluated, and where.
        part: of a two-branch model, one of :func:`parts_of`; the whole unless given.
    """
    size = -(-len(index) // accelerator.num_processes)
    padded = index[torch.arange(size * accelerator.num_processes) % len(index)]
    mine = padded[size * accelerator.process_index : size * (accelerator.process_index + 1)]
    training = tap.training
    together = EVAL_BATCH if samples.size is None else max(1, min(EVAL_BATCH, CANVAS_BYTES // _bytes(samples, view)))
    tap.eval()
    with torch.no_grad():
        predictions = joined(
            [
                samples.task.predict(_output(tap, batch.input(view), part))
                for batch in samples.batches(mine.split(together), names_of(view), targets=False)
            ]
        )
    tap.train(training)
    return {name: _gathered(values, accelerator)[: len(index)] for name, values in predictions.items()}


def _bytes(samples: Samples, view: Seen) -> int:
    """Of one sample in some views."""
    return sum(x.nbytes for x in samples.rendered(torch.tensor([0]), names_of(view)).values())


def _gathered(values: Any, accelerator: Accelerator) -> Any:
    """One named prediction of every process, on the CPU."""
    if isinstance(values, Tensor):
        gathered: Tensor = accelerator.gather(values)
        return gathered.cpu()
    samples = [x.cpu() for x in values]
    return gather_object(samples) if accelerator.num_processes > 1 else samples


WITHOUT = "without "
"""Begins the name of a two-branch model's part that misses an input."""


def parts_of(tap: Tap) -> tuple[str, ...]:
    """What a two-branch model can do besides the whole: each branch by itself, and with an input missing."""
    dropped = getattr(tap.model, "modality_dropout", 0)
    return (*tap.branches, *(f"{WITHOUT}{name}" for name in tap.branches if dropped))


def _output(tap: Tap, x: Input, part: str | None) -> Output:
    if part is None:
        whole: Output = tap(x)
        return whole
    if part.startswith(WITHOUT):
        lacking: Output = tap(without(tap, x, part))
        return lacking
    branch: Output = tap(x).branches[part]
    return branch


def without(tap: Tap, x: Input, part: str) -> tuple[Tensor | None, ...]:
    """A two-branch model's inputs with the one missing that the part's name says: ``without image``."""
    missing = part.removeprefix(WITHOUT)
    return tuple(None if name == missing else tensor for name, tensor in zip(tap.branches, x, strict=True))
