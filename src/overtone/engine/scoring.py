"""Logits and scores of a model, whole or in parts, on some samples."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.engine.samples import Samples
from overtone.tap import Tap
from overtone.types import Input, Seen, names_of

EVAL_BATCH = 256


def evaluate(
    tap: Tap, samples: Samples, index: Tensor, view: Seen, accelerator: Accelerator, part: str | None = None
) -> Tensor:
    """Logits of some samples in their order, (N, C) on the CPU, the same on every process.

    Each process takes an equal part; the last is padded with repeats, which are dropped after gathering.

    Args:
        tap, samples, index, view, accelerator: what is evaluated, and where.
        part: of a two-branch model, one of :func:`parts_of`; the whole unless given.
    """
    share = -(-len(index) // accelerator.num_processes)
    padded = index[torch.arange(share * accelerator.num_processes) % len(index)]
    mine = padded[share * accelerator.process_index : share * (accelerator.process_index + 1)]
    training = tap.training
    tap.eval()
    with torch.no_grad():
        logits = torch.cat(
            [
                _logits(tap, batch.input(view), part).float()
                for batch in samples.batches(mine.split(EVAL_BATCH), names_of(view))
            ]
        )
    tap.train(training)
    gathered: Tensor = accelerator.gather(logits)
    return gathered[: len(index)].cpu()


WITHOUT = "without "
"""Begins the name of a two-branch model's part that misses an input."""


def parts_of(tap: Tap) -> tuple[str, ...]:
    """What a two-branch model can do besides the whole: each branch by itself, and with an input missing."""
    dropped = getattr(tap.model, "modality_dropout", 0)
    return (*tap.branches, *(f"{WITHOUT}{name}" for name in tap.branches if dropped))


def _logits(tap: Tap, x: Input, part: str | None) -> Tensor:
    if part is None:
        return tap(x).logits
    if part.startswith(WITHOUT):
        return tap(without(tap, x, part)).logits
    return tap(x).branches[part].logits


def without(tap: Tap, x: Input, part: str) -> tuple[Tensor | None, ...]:
    """A two-branch model's inputs with the one missing that the part's name says: ``without image``."""
    missing = part.removeprefix(WITHOUT)
    return tuple(None if name == missing else own for name, own in zip(tap.branches, x, strict=True))


def scores(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Accuracy and :func:`macro_f1`, from 0 to 1, of logits (N, C) and class numbers (N,)."""
    counts = confusion(logits.argmax(1), target.to(logits.device), logits.shape[1])
    return {"accuracy": int(counts.diagonal().sum()) / len(target), "macro_f1": macro_f1(counts)}


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
