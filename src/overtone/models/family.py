"""A family of built-in models: one object says what its names look like, what it takes and how a model is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from overtone.models.base import Staged


@dataclass(frozen=True)
class Family:
    """A family of models; its stages are said on their class, see :class:`~overtone.models.base.Staged`.

    Attributes:
        name: of the family.
        pattern: what its models' names look like, in full.
        example: the name of a usual one, shown by ``overtone list models``.
        tiny: the name of a small one, which tests build.
        source: paper, and what the parts of a name mean.
        make: a new model from its name's match, one sample's shape, (C, T) or (C, H, W), and the number of classes.
        dims: 1 where it takes signals, 2 where it takes images.
        deep: the first number of a name is a depth, which is bounded.
        version: raised with its definition or initialisation.
    """

    name: str
    pattern: str
    example: str
    tiny: str
    source: str
    make: Callable[[re.Match[str], tuple[int, ...], int], Staged]
    dims: tuple[int, ...] = (1, 2)
    deep: bool = False
    version: int = 1
