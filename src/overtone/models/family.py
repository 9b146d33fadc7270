"""A family of built-in models: one object says what its names look like, what it takes and how a model is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from overtone.models.base import Tapped


@dataclass(frozen=True)
class Family:
    """A family of models; its stages are said on their class, see :class:`~overtone.models.base.Staged`.

    Attributes:
        name: of the family.
        pattern: what its models' names look like, in full.
        example: the name of a usual one, shown by ``overtone list models``.
        tiny: the name of a small one, which tests build.
        source: paper, and what the parts of a name mean.
        make: a new model from its name's match, one sample's shape, (C, T) or (C, H, W), and the number of classes; of
            a family with ``settings`` from these too.
        dims: 1 where it takes signals, 2 where it takes images.
        deep: the first number of a name is a depth, which is bounded.
        version: raised with its definition or initialisation, or a default of its settings.
        settings: what a recipe's ``arguments`` may be; of most families the name says all.
        task: the one that its models are for, where they are no classifiers.
    """

    name: str
    pattern: str
    example: str
    tiny: str
    source: str
    make: Callable[..., Tapped]
    dims: tuple[int, ...] = (1, 2)
    deep: bool = False
    version: int = 1
    settings: type[BaseModel] | None = None
    task: str = ""
