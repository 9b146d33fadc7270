"""Distillation: a student, the methods of one row, and the weights of their terms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from overtone.errors import InputError, nearest
from overtone.methods import Method
from overtone.recipe import WeightSettings
from overtone.tap import Tap
from overtone.types import Batch, Output, Progress, Step


class Distillation(nn.Module):
    """One call is one training step's forward pass: ``distillation(batch, teacher_outputs, progress) -> Step``.

    Its parameters are the student's and the adapters', never a teacher's.

    Args:
        student: the tapped student.
        methods: by name; their terms are called ``name.term``. Cross-entropy is always there, as ``ce``.
        weights: by term, or by a term's beginning (``sp.gram`` for ``sp.gram.signal``); the longest fits. Every term
            needs one.
        view: which view the student sees.

    Raises:
        InputError: for a weight that fits no term, a term without a weight, or no weight above 0.
    """

    def __init__(
        self,
        student: Tap,
        methods: Mapping[str, Method],
        weights: Mapping[str, WeightSettings],
        view: str = "signal",
    ) -> None:
        super().__init__()
        self.student = student
        self.methods = nn.ModuleDict(methods)
        self.view = view
        terms = ["ce"] + [f"{name}.{term}" for name, method in methods.items() for term in method.terms]
        self.weights = _resolve(terms, weights)

    @property
    def terms(self) -> tuple[str, ...]:
        """Every term's key, ``ce`` first."""
        return tuple(self.weights)

    def forward(self, batch: Batch, teachers: Mapping[str, Output], progress: Progress) -> Step:
        """Run the student and every method, and weight the terms.

        Methods without adapters whose weights are all 0 in this epoch are not run; their terms are then absent.
        """
        output = self.student(batch.views[self.view])
        weights = {term: w.at(progress.epoch, progress.epochs) for term, w in self.weights.items()}
        # Losses in float32 under autocast: half precision loses small differences of probabilities.
        with torch.autocast(output.logits.device.type, enabled=False):
            mine = output.float()
            theirs = {name: teacher.float() for name, teacher in teachers.items()}
            terms = {"ce": F.cross_entropy(mine.logits, batch.target)}
            for name, method in self.methods.items():
                keys = [f"{name}.{term}" for term in method.terms]  # type: ignore[union-attr]
                if not any(weights[key] for key in keys) and next(method.parameters(), None) is None:
                    continue
                found = method(mine, theirs, batch, progress)
                terms.update({f"{name}.{term}": value for term, value in found.items()})
            total = torch.stack([weights[key] * value for key, value in terms.items()]).sum()
        return Step(total, terms, output)


def _resolve(terms: list[str], weights: Mapping[str, WeightSettings]) -> dict[str, WeightSettings]:
    def fits(term: str, key: str) -> bool:
        return term == key or term.startswith(key + ".")

    for key in weights:
        if not any(fits(term, key) for term in terms):
            raise InputError(f"weights: no term is called {key!r}; {nearest(key, terms)}")
    resolved = {}
    for term in terms:
        keys = [key for key in weights if fits(term, key)]
        if not keys:
            raise InputError(f"weights: the term {term!r} has none")
        resolved[term] = weights[max(keys, key=len)]
    if not any(weight.value > 0 for weight in resolved.values()):
        raise InputError(f"weights: at least one of {', '.join(terms)} must be above 0")
    return resolved
