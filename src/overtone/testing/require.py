"""How a check fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from overtone.recipe import validation_message

CLOSE, SMALL = 1e-4, 1e-6
"""Largest relative and absolute difference of float32 numbers that are the same but for the order of sums."""


def require(holds: bool, sentence: str) -> None:
    """Fail with the sentence unless it holds; ``assert`` would be silent under ``python -O``.

    Raises:
        AssertionError: if it does not.
    """
    if not holds:
        raise AssertionError(sentence)


def made(kind: Any, wanted: type[BaseModel], settings: Mapping[str, Any]) -> Any:
    """An object of a class that holds settings.

    Raises:
        AssertionError: for a class of another kind, or settings that it does not take.
    """
    require(
        isinstance(kind, type) and issubclass(kind, wanted),
        f"{getattr(kind, '__name__', kind)} is no {wanted.__name__}; let it inherit from {wanted.__module__}."
        f"{wanted.__name__}",
    )
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        raise AssertionError(validation_message(error, kind, f"settings of {kind.__name__}")) from error


def same(first: Tensor, second: Tensor, relative: float = CLOSE) -> bool:
    """Whether two tensors hold the same numbers up to rounding, NaN at the same places."""
    return first.shape == second.shape and torch.allclose(
        first, second, rtol=relative, atol=SMALL * max(1.0, float(first.abs().nan_to_num().max())), equal_nan=True
    )
