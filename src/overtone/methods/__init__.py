"""Methods by name, and presets: names of the literature that stand for a method with certain settings."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from overtone.errors import InputError, nearest
from overtone.methods.aver import Aver
from overtone.methods.base import Method, MethodConfig, pair_stages
from overtone.methods.kd import KD
from overtone.methods.multi_teacher import MultiTeacherKD, average_kd
from overtone.methods.sp import SP
from overtone.methods.weighted import Weighted
from overtone.recipe import explain

METHODS: dict[str, type[Method]] = {method.NAME: method for method in (KD, Aver, Weighted, SP)}

PRESETS: dict[str, tuple[dict[str, Any], str]] = {
    "eskd": ({"name": "kd", "checkpoint": "best"}, "kd from the early-stopped teacher (best on validation)"),
    "full_kd": ({"name": "kd", "checkpoint": "last"}, "kd from the fully trained teacher (last epoch)"),
    "base": ({"name": "weighted", "warm_start": False}, "weighted, student from scratch"),
    "ann": (
        {"name": "weighted", "warm_start": True},
        "weighted, student warm-started from its CE-trained twin",
    ),
    "annsp": (
        {
            "name": "weighted",
            "warm_start": True,
            "extras": [{"name": "sp", "teachers": "merged", "stages": "all"}],
        },
        "ann + similarity preserving against the merged teachers",
    ),
}


def find(name: str) -> type[Method]:
    """A method's class by name.

    Raises:
        InputError: for an unknown name; the nearest is given.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; {nearest(name, ['none', *METHODS, *PRESETS])}")
    return METHODS[name]


def configure(name: str, settings: dict[str, Any]) -> MethodConfig:
    """A method's validated settings.

    Raises:
        InputError: for an unknown method, an unknown setting or a wrong value.
    """
    config = find(name).Config
    try:
        return config.model_validate(settings)
    except ValidationError as error:
        raise InputError(explain(error, config, f"method {name!r}")) from error


__all__ = [
    "METHODS",
    "PRESETS",
    "Method",
    "MethodConfig",
    "MultiTeacherKD",
    "average_kd",
    "configure",
    "find",
    "pair_stages",
]
