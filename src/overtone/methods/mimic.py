"""Matching a teacher's outputs as numbers: logits, or the values of a regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from overtone.methods.per_teacher import PerTeacher


class Mimic(PerTeacher):
    """Term ``output.TEACHER``: mean squared error of the last layers' outputs.

    Of classifiers these are logits (Ba & Caruana 2014, equation 1), of a regression values in standard deviations of
    the training targets.
    """

    NAME: ClassVar[str] = "mimic"
    SOURCE: ClassVar[str] = "Ba & Caruana 2014"
    SUMMARY: ClassVar[str] = "the student's outputs are the teacher's, as numbers; for real-valued targets too"
    SEES: ClassVar[str] = "outputs"
    READS: ClassVar[str] = "outputs"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 0.1, "mse": 0.1, "mae": 0.1, "output": 0.9}
    TERMS: ClassVar[tuple[str, ...]] = ("output",)

    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """The mean squared error."""
        return (F.mse_loss(student, teacher),)
