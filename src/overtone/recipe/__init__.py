"""The recipe: everything that defines a study, validated before anything runs.

A recipe is a short YAML file. Unknown keys are refused with the nearest known one. ``Recipe.model_json_schema()`` gives
its JSON schema.
"""

from overtone.recipe.messages import explain
from overtone.recipe.overtime import PhaseSettings, WeightSettings, phase_at
from overtone.recipe.parts import Part
from overtone.recipe.reading import find, load, shipped, validate
from overtone.recipe.schema import (
    AugmentSettings,
    Checkpoint,
    DataSettings,
    ExtraSettings,
    MethodSettings,
    ModelOptions,
    ModelSettings,
    Recipe,
    ReferenceSettings,
    SplitSettings,
    StudentSettings,
    TeacherSettings,
    TrainSettings,
    ViewSettings,
)

__all__ = [
    "AugmentSettings",
    "Checkpoint",
    "DataSettings",
    "ExtraSettings",
    "MethodSettings",
    "ModelOptions",
    "ModelSettings",
    "Part",
    "PhaseSettings",
    "Recipe",
    "ReferenceSettings",
    "SplitSettings",
    "StudentSettings",
    "TeacherSettings",
    "TrainSettings",
    "ViewSettings",
    "WeightSettings",
    "explain",
    "find",
    "load",
    "phase_at",
    "shipped",
    "validate",
]
