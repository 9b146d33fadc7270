"""What ``overtone check`` warns of, and what it notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from overtone.methods import find

if TYPE_CHECKING:
    from overtone.study.gradients import RowCheck

NEARLY_ALL, NEARLY_NONE = 0.97, 0.005
"""Shares of the gradient that are worth a warning, where a row has several terms."""


def row_warnings(row: RowCheck) -> list[str]:
    """Terms that carry nearly all of the gradient, or next to none; adapters larger than the student."""
    name, warnings = row.title, []
    weighed = sum(term.weight > 0 for term in row.terms)
    for term in row.terms:
        if weighed > 1 and term.share > NEARLY_ALL:
            warnings.append(f"{name}: {term.name} carries {100 * term.share:.0f} % of the gradient; weigh it less")
        if len(row.terms) > 1 and term.weight > 0 and term.share < NEARLY_NONE and not term.inward:
            warnings.append(f"{name}: {term.name} carries next to none of the gradient ({100 * term.share:.2g} %)")
    if row.adapters > row.student:
        warnings.append(f"{name}: its adapters have {row.adapters} parameters, the student only {row.student}")
    return warnings + [f"{name}: {sentence}" for sentence in row.unreachable]


def coupled(methods: Iterable[str], batch: int, processes: int) -> list[str]:
    """A note on methods that compare samples of a batch with each other, where several processes share a batch."""
    names = [kind.NAME for kind in map(find, methods) if kind.couples_batch]
    if processes == 1 or not names:
        return []
    return [
        f"{', '.join(names)} couple{'s' * (len(names) == 1)} the samples of a batch; each of the {processes} processes "
        f"sees its share of {batch // processes} of {batch}, so the numbers are not those of one process"
    ]
