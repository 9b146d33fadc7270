"""What stands in the table without a gradient: an estimator, the features that it is fitted to, its arguments."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from overtone.recipe.base import Section
from overtone.recipe.messages import Said


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, all of which JSON can hold and give back as they were."""
    for name, value in arguments.items():
        if not _is_plain(value):
            raise ValueError(
                f"{name}: arguments are numbers, text, true, false, null, and lists or mappings (with text as keys) of "
                f"them; got {str(value)[:60]!r}"
            )
    return arguments


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(held) for key, held in value.items())
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


class BaselineSettings(Section):
    """A row that is fitted without a gradient, with scikit-learn's ``fit`` and ``predict``.

    Attributes:
        model: a short name that the task knows (``forest``), or ``package.module:Class``.
        view: what its features are taken from.
        features: a few statistics of each channel, or the whole view as one vector.
        arguments: of the class.
    """

    model: str
    view: Annotated[str, Said("a view's name")] = Field(default="signal", min_length=1)
    features: Literal["statistics", "flat"] = "statistics"
    arguments: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(default={})
