"""The recipe: everything that defines a study, validated before anything runs.

A recipe is a short YAML file. Unknown keys are refused with the nearest known one. ``Recipe.model_json_schema()`` gives
its JSON schema.
"""

from overtone.recipe.base import Section
from overtone.recipe.baselines import BaselineSettings
from overtone.recipe.loading import find, load, shipped, validate
from overtone.recipe.messages import validation_message
from overtone.recipe.schedules import PhaseSettings, WeightSettings, phase_at
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
    TargetSettings,
    TaskSettings,
    TeacherSettings,
    TrainSettings,
    ViewSettings,
)

__all__ = [
    "AugmentSettings",
    "BaselineSettings",
    "Checkpoint",
    "DataSettings",
    "ExtraSettings",
    "MethodSettings",
    "ModelOptions",
    "ModelSettings",
    "PhaseSettings",
    "Recipe",
    "ReferenceSettings",
    "Section",
    "SplitSettings",
    "StudentSettings",
    "TargetSettings",
    "TaskSettings",
    "TeacherSettings",
    "TrainSettings",
    "ViewSettings",
    "WeightSettings",
    "find",
    "load",
    "phase_at",
    "shipped",
    "validate",
    "validation_message",
]
