"""Choosing a teacher for each sample by its confidence in the truth, in the manner of PSKD (Ni et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from overtone.fusion import logits_in
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import Batch, DataInfo, Output, Spec


def right(student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
    """One teacher per sample: the one that gives the true class the highest probability, if it is right at all: (K, B).

    Weights are 0 or 1. They sum to 1 where some teacher's highest probability is the true class', and to 0 where none's
    is: there only the truth teaches. The first teacher wins a tie.

    Source: after the rule described for Ni et al., "Progressive Cross-modal Knowledge Distillation for Human Action
    Recognition", ACM Multimedia 2022.
    """
    logits, target = logits_in(teachers), batch.target
    sure = logits.softmax(2)[:, torch.arange(len(target), device=target.device), target]  # (K, B)
    correct = logits.argmax(2) == target  # (K, B)
    chosen = sure.where(correct, -1.0).argmax(0)  # (B,)
    return F.one_hot(chosen, len(logits)).T * correct.any(0) * torch.ones_like(sure)


right.hard_labels = True  # type: ignore[attr-defined]


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
