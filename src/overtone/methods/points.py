"""At which point of a stage a map is read: behind its last activation, in front of it, or its last block's raw sum."""

from __future__ import annotations

from typing import Literal

from overtone.errors import InputError
from overtone.methods.base import MethodConfig
from overtone.types import Spec

Point = Literal["after", "before", "raw"]
SUFFIXES: dict[Point, str] = {"after": "", "before": ".pre", "raw": ".raw"}


class PointsConfig(MethodConfig):
    """Settings of every method on maps.

    Attributes:
        student_at, teacher_at: where of each stage the student's and the teachers' maps are read: ``after`` its last
            activation, ``before`` it, or ``raw``, the sum of a Wide ResNet's block. Where published code reads them
            unless given. A pair that names a point itself (``stage2.pre``) keeps it.
    """

    student_at: Point | None = None
    teacher_at: Point | None = None


def published_point(spec: Spec, stage: str, images: bool) -> Point:
    """Where published code takes a stage's feature map from: a Wide ResNet's raw sum, else behind the activation.

    That code is for images; where the student sees signals all maps are taken behind the activation.
    """
    return "raw" if images and f"{stage}.raw" in spec.stages else "after"


def without_point(stage: str) -> str:
    """``stage1`` of ``stage1.pre``."""
    return stage.removesuffix(".pre").removesuffix(".raw")


def has_point(stage: str) -> bool:
    """Whether a stage's name says at which point it is read."""
    return stage != without_point(stage)


def read_at(spec: Spec, stage: str, asked: Point | None, usual: Point, side: Literal["student", "teacher"]) -> str:
    """The name of a stage's map at a point.

    Args:
        spec: the model's.
        stage: its name, without a point.
        asked: the point that the settings name.
        usual: the point where they name none; behind the activation where the model does not show that point.
        side: whose setting it is.

    Raises:
        InputError: for a point that was asked for and is not there; those that are there are named.
    """
    if has_point(stage):
        return stage
    if asked is not None and stage + SUFFIXES[asked] not in spec.stages:
        there = [point for point, suffix in SUFFIXES.items() if stage + suffix in spec.stages]
        raise InputError(
            f"{side}_at: {asked}: {stage} of the {side} has no map there that is known, only {' and '.join(there)}; "
            f"leave {side}_at out, or name other stages"
        )
    name = stage + SUFFIXES[asked or usual]
    return name if name in spec.stages else stage
