"""Overtone: multi-modal, multi-teacher knowledge distillation with frequency attention.

The names below are imported when they are first used, so that ``import overtone`` and ``overtone --help`` are quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overtone import frequency, losses, models, recipe, views
    from overtone.distill import Distillation
    from overtone.errors import InputError, NotFiniteError, OvertoneError
    from overtone.frequency import FrequencyAttention
    from overtone.methods import Method
    from overtone.student import Student, load_student
    from overtone.tap import Tap, probe
    from overtone.teachers import Teacher, TeacherMemory
    from overtone.types import Batch, DataInfo, Output, Progress, Spec, Step

_PLACES = {
    "Batch": "types",
    "DataInfo": "types",
    "Distillation": "distill",
    "FrequencyAttention": "frequency",
    "InputError": "errors",
    "Method": "methods",
    "NotFiniteError": "errors",
    "Output": "types",
    "OvertoneError": "errors",
    "Progress": "types",
    "Spec": "types",
    "Step": "types",
    "Student": "student",
    "Tap": "tap",
    "Teacher": "teachers",
    "TeacherMemory": "teachers",
    "load_student": "student",
    "probe": "tap",
}

__all__ = [
    "Batch",
    "DataInfo",
    "Distillation",
    "FrequencyAttention",
    "InputError",
    "Method",
    "NotFiniteError",
    "Output",
    "OvertoneError",
    "Progress",
    "Spec",
    "Step",
    "Student",
    "Tap",
    "Teacher",
    "TeacherMemory",
    "frequency",
    "load_student",
    "losses",
    "models",
    "probe",
    "recipe",
    "views",
]


def __getattr__(name: str) -> Any:
    if name in ("frequency", "losses", "models", "recipe", "views"):
        return import_module(f"overtone.{name}")
    if name in _PLACES:
        return getattr(import_module(f"overtone.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'overtone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
