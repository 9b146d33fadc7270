"""Entropy-based multi-teacher distillation (Kwon et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from overtone.errors import InputError
from overtone.fusion import entropy
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec


class EBKDConfig(MultiTeacherConfig):
    """``published``: the published code's scale, (K - 1) / K of the weights' sum of 1."""

    published: bool = False


class EBKD(MultiTeacherKD):
    """A teacher counts more on samples where its own output is sharper."""

    NAME: ClassVar[str] = "ebkd"
    SOURCE: ClassVar[str] = "Kwon et al. 2020 (entropy-based)"
    SUMMARY: ClassVar[str] = "teachers weigh more, sample by sample, where their output's entropy is low"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0}
    Config: ClassVar[type[MethodConfig]] = EBKDConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, EBKDConfig)
        self.fusion = entropy
        if config.published:
            if len(teachers) < 2:
                raise InputError(
                    "ebkd: published: true weighs by (K - 1) / K, which leaves nothing of a single teacher; leave it "
                    "out"
                )
            self.scale = (len(teachers) - 1) / len(teachers)
