"""Choosing a teacher for each sample by its confidence in the truth, in the manner of PSKD (Ni et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from overtone.fusion import right
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec


class PSKD(MultiTeacherKD):
    """One teacher per sample, the surest of those that are right; where none is, only the truth teaches.

    Meant for a teacher and an intermediate one that was itself distilled from it (``method:`` of a teacher).
    """

    NAME: ClassVar[str] = "pskd"
    SOURCE: ClassVar[str] = "after Ni et al. 2022 (PSKD), whose code is not public"
    SUMMARY: ClassVar[str] = (
        "per sample, the teacher that is surest of the truth teaches; where none is right, the truth"
    )
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0}
    hard_labels: ClassVar[bool] = True
    Config: ClassVar[type[MethodConfig]] = MultiTeacherConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        self.fusion = right
