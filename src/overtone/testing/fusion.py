"""The contract of fusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from overtone.fusion import Fusion
from overtone.methods.fused import make_fusion
from overtone.testing.require import require, same
from overtone.types import Batch, DataInfo, Output

BATCH, CLASSES, MOST = 8, 5, 3
SCORES = (0.9, 0.6, 0.7)
"""Of each teacher on the validation side."""


def check_fusion(fusion: str | Fusion | type[Fusion], arguments: Mapping[str, Any] | None = None) -> None:
    """Hold a fusion to its contract, on random logits of one, two and three teachers.

    Weights are one for each teacher and sample, finite, at least 0 and of sum 1 for each sample (or all 0, where no
    teacher is to teach), of surest teachers too; the same when they are asked for again; and what the fusion says of
    itself is true (``needs_scores``, ``hard_labels``, ``couples_batch``).

    Args:
        fusion: a name as in a recipe, a class, or a function or object that is called.
        arguments: of the class, as in a recipe.

    Raises:
        AssertionError: in one sentence on what is wrong and what the fusion should do.
        InputError: for an unknown name, or arguments that the class does not take.
    """
    called = fusion if isinstance(fusion, str) else str(getattr(fusion, "__name__", type(fusion).__name__))
    case = _Case(called, make_fusion(fusion, arguments or {}))
    for count in (1, 2, MOST):
        _weights(case, _teachers(count))
    _weights(case, _teachers(MOST, 100.0))
    _facts(case)


def _teachers(count: int, scale: float = 1.0) -> Tensor:
    """Logits (K, B, C)."""
    return scale * torch.randn(count, BATCH, CLASSES, generator=torch.Generator().manual_seed(0))


class _Case:
    """A fusion, and what it says of itself."""

    def __init__(self, name: str, fusion: Fusion) -> None:
        self.name, self.fusion = name, fusion
        self.needs_scores, self.hard_labels, self.couples_batch = (
            getattr(fusion, fact, False) is True for fact in ("needs_scores", "hard_labels", "couples_batch")
        )
        generator = torch.Generator().manual_seed(1)
        self.student = torch.randn(BATCH, CLASSES, generator=generator)
        self.target = torch.randint(0, CLASSES, (BATCH,), generator=generator)

    def weights(
        self, teachers: Tensor, rows: slice = slice(None), scored: bool | None = None, target: Tensor | None = None
    ) -> Any:
        """What the fusion returns for some samples; with the teachers' scores where it needs them, or where told."""
        target = self.target if target is None else target
        size = len(target[rows])
        given = {f"teacher{number}": Output.of(logits[rows]) for number, logits in enumerate(teachers)}
        scores = dict(zip(given, SCORES, strict=False)) if (self.needs_scores if scored is None else scored) else None
        data = DataInfo(tuple("abcde"), torch.arange(BATCH), self.target, 50.0, scores)
        student = Output.of(self.student[rows].clone().requires_grad_())
        return self.fusion(student, given, Batch({}, target[rows], torch.arange(size)), data)


def _weights(case: _Case, teachers: Tensor) -> None:
    count = len(teachers)
    weights = _without(case, teachers)
    got = f"{tuple(weights.shape)} of {weights.dtype}" if isinstance(weights, Tensor) else type(weights).__name__
    require(
        isinstance(weights, Tensor) and tuple(weights.shape) == (count, BATCH) and weights.dtype == torch.float32,
        f"fusion {case.name} must return weights (teachers, samples) of float32, ({count}, {BATCH}) here; got {got}",
    )
    require(bool(weights.isfinite().all()), f"fusion {case.name} gives weights that are not finite")
    require(bool((weights >= 0).all()), f"fusion {case.name} gives weights below 0, {float(weights.min()):.3g}")
    total = weights.detach().sum(0)
    require(
        same(total, total.round()) and bool((total.round() <= 1).all()),
        f"fusion {case.name}: the weights of a sample must sum to 1 over its {count} teachers (or be all 0, where none "
        f"is to teach); got {float(total.min()):.4g} to {float(total.max()):.4g}",
    )
    require(
        torch.equal(weights, case.weights(teachers)),
        f"fusion {case.name} gives other weights when it is asked again; draw nothing at random, and remember nothing",
    )


def _without(case: _Case, teachers: Tensor) -> Any:
    """The weights, from logits alone, and scores where they are asked for.

    Raises:
        AssertionError: for a fusion that reads more.
    """
    try:
        return case.weights(teachers)
    except Exception as error:
        try:
            case.weights(teachers, scored=True)
        except Exception:
            raise AssertionError(
                f"fusion {case.name} fails on {len(teachers)} teachers' logits ({type(error).__name__}: {error}); of "
                "student and teachers it may read logits, and from data what DataInfo holds"
            ) from error
        raise AssertionError(
            f"fusion {case.name} fails without the teachers' validation scores; say needs_scores = True"
        ) from error


def _facts(case: _Case) -> None:
    teachers = _teachers(MOST)
    weights: Tensor = case.weights(teachers)
    if not case.needs_scores:
        require(
            same(weights, case.weights(teachers, scored=True)),
            f"fusion {case.name} reads the teachers' validation scores; say needs_scores = True, so that it is refused "
            "where there are none",
        )
    if not case.hard_labels:
        try:
            alike = same(weights, case.weights(teachers, target=F.one_hot(case.target, CLASSES).float()))
        except Exception:
            alike = False
        require(
            alike,
            f"fusion {case.name} reads each sample's one class, which mixed samples do not have (there batch.target is "
            "(B, classes)); say hard_labels = True",
        )
    if not case.couples_batch:
        halves = [case.weights(teachers, rows) for rows in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH))]
        require(
            same(weights, torch.cat(halves, 1)),
            f"fusion {case.name} gives a sample other weights in another batch; say couples_batch = True",
        )
