"""Confidence-aware multi-teacher distillation, of logits and features (Zhang, Chen, Wang 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.frequency.layers import CONV, NORM
from overtone.fusion import complements, logits_in
from overtone.losses import to_grid
from overtone.methods.base import MethodConfig
from overtone.methods.multi_teacher import MultiTeacherConfig, MultiTeacherKD
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


def confidence(student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
    """A teacher counts more where it is right: (K, B), see :func:`confidence_of`."""
    return confidence_of(logits_in(teachers), batch.target)


confidence.hard_labels = True  # type: ignore[attr-defined]


def confidence_of(logits: Tensor, target: Tensor) -> Tensor:
    r"""A teacher counts more where its cross-entropy with the truth is lower: (K, B).

    .. math:: w_k = \frac{1 - \exp(CE_k) / \sum_j \exp(CE_j)}{K - 1}

    and 1 for a single teacher.

    Args:
        logits: (K, B, C).
        target: class numbers (B,).

    Source: Zhang, Chen, Wang, "Confidence-Aware Multi-Teacher Knowledge Distillation", ICASSP 2022, eq. 2.
    """
    losses = torch.stack([F.cross_entropy(each, target, reduction="none") for each in logits])  # (K, B)
    return complements(losses.softmax(0))


class CAMKDConfig(MultiTeacherConfig):
    """Settings of ``ca_mkd``.

    Attributes:
        features: also match the last map, weighed by how well the teacher's own head reads the student's. Needs
            teachers that see the student's kind of input.
        published: the published code's scale, 1 / K of the weights' sum of 1, and its gradient through the features'
            weights.
    """

    features: bool = True
    published: bool = False


class CAMKD(MultiTeacherKD):
    """Terms ``kl`` and ``feature``: a teacher counts more on samples where its cross-entropy with the truth is low."""

    NAME: ClassVar[str] = "ca_mkd"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Zhang et al. 2022 (CA-MKD, confidence-aware)"
    STUDENT: ClassVar[str] = "any student, for features a built-in one"
    SEES: ClassVar[str] = "logits and, of one kind, last maps"
    one_kind: ClassVar[bool] = True
    zero_when_equal: ClassVar[bool] = False
    SUMMARY: ClassVar[str] = "teachers weigh more, sample by sample, where they are right"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0, "feature": 50.0}
    hard_labels: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    Config: ClassVar[type[MethodConfig]] = CAMKDConfig

    @classmethod
    def default_weights(cls, config: MethodConfig) -> Mapping[str, float]:
        """Without ``feature`` where it is switched off."""
        assert isinstance(config, CAMKDConfig)
        return {term: w for term, w in cls.WEIGHTS.items() if config.features or term != "feature"}

    @classmethod
    def compares_places(cls, config: MethodConfig) -> bool:
        """With features."""
        assert isinstance(config, CAMKDConfig)
        return config.features

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """Logits, and the last maps."""
        assert isinstance(config, CAMKDConfig)
        parts = frozenset({"logits", "final"}) if config.features else frozenset({"logits"})
        return Needs(parts, dict.fromkeys(teachers, parts))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, CAMKDConfig)
        self.fusion, self.published = confidence, config.published
        if config.published:
            self.scale = 1 / len(teachers)
        self.embed = nn.ModuleDict()
        if config.features:
            self.terms = ("kl", "feature")
            self.embed = nn.ModuleDict({name: _embedding(name, student, spec) for name, spec in teachers.items()})

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The terms ``kl`` and, unless switched off, ``feature``."""
        terms = super().forward(student, teachers, batch, progress)
        if self.embed:
            maps = [teachers[name].stages["final"] for name in self.names]
            embedded = [
                self.embed[name](to_grid(student.stages["final"], x.shape[2:]))
                for name, x in zip(self.names, maps, strict=True)
            ]
            heads = [teachers[name].head for name in self.names]
            logits = torch.stack([head(x) for head, x in zip(heads, embedded, strict=True) if head is not None])
            terms["feature"] = self.scale * weighted_features(embedded, maps, logits, batch.target, self.published)
        return terms


def weighted_features(
    embedded: list[Tensor], teachers: list[Tensor], logits: Tensor, target: Tensor, published: bool = False
) -> Tensor:
    r"""Mean squared errors between K pairs of maps, weighed by how well the teachers' heads read the student's.

    Args:
        embedded: the student's map in the form of each teacher's, K of (B, c_k, ...).
        teachers: the teachers' maps, alike.
        logits: what each teacher's head makes of ``embedded``, (K, B, C).
        target: class numbers (B,).
        published: let the gradient through the weights, as published code does.

    Returns:
        A scalar >= 0; the weights of a sample sum to 1.
    """
    weights = confidence_of(logits, target)  # (K, B)
    errors = torch.stack([(e - t).square().flatten(1).mean(1) for e, t in zip(embedded, teachers, strict=True)])
    return ((weights if published else weights.detach()) * errors).sum(0).mean()


def _embedding(name: str, student: Spec, teacher: Spec) -> nn.Sequential:
    """Convolution, normalisation and ReLU, to the teacher's number of channels."""
    if student.branches:
        raise InputError(
            "ca_mkd: a two-branch student's maps are in its branches; add branch: signal or branch: image, or "
            "features: false, which keeps the logits"
        )
    if student.dims != teacher.dims:
        raise InputError(
            f"ca_mkd: teacher {name!r} and the student see inputs of different kinds (signals and images), so their "
            "maps cannot be compared; use features: false, which keeps the logits"
        )
    if not teacher.has_head or "final" not in teacher.stages or "final" not in student.stages:
        raise InputError(
            f"ca_mkd: features need built-in models, whose head can be run by itself, and teacher {name!r} or the "
            "student is another; use features: false"
        )
    inputs, outputs = student.stages["final"].channels, teacher.stages["final"].channels
    dims = teacher.dims
    return nn.Sequential(CONV[dims](inputs, outputs, 1, bias=False), NORM[dims](outputs), nn.ReLU())
