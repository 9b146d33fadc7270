"""Evidence of several modalities, fused and matched by the student's cross-attention (the wearables notes' EBKD)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.class_maps import class_maps
from overtone.errors import InputError
from overtone.losses import evidence, evidence_distance, joint_evidence, to_grid
from overtone.methods.activation import check_map, onto
from overtone.methods.base import Method, MethodConfig
from overtone.recipe import WeightSettings
from overtone.shown import Axis, Heatmap, Shown
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class EvidenceConfig(MethodConfig):
    """Settings of ``evidence``.

    Attributes:
        fusion: the outer product of both modalities' evidence; the mean of both, each spread over the other's
            positions; or a mean with learned weights.
        distance: the squared error, in multiples of an even share, or the KL divergence.
    """

    fusion: Literal["outer", "mean", "learned"] = "outer"
    distance: Literal["mse", "kl"] = "mse"


class Evidence(Method):
    """Term ``map``, and ``fusion`` where its weights are learned.

    The learned weights are a softmax over the signal and the image teachers. They are trained by the cross-entropy of
    the teachers' probabilities mixed with these weights (term ``fusion``); ``map`` sees them detached, because a
    target that can be learned collapses.
    """

    NAME: ClassVar[str] = "evidence"
    SOURCE: ClassVar[str] = "ours, after the wearables notes; maps of Zhou et al. 2016"
    SEES: ClassVar[str] = "attention and class activation maps"
    READS: ClassVar[str] = "class maps"
    zero_when_equal: ClassVar[bool] = False
    two_branches: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = "the student's attention between its branches matches the teachers' fused evidence"
    BRANCH: ClassVar[str | None] = None
    STUDENT: ClassVar[str] = "a student of two branches"
    TEACHERS: ClassVar[tuple[int, int | None]] = (2, None)
    WEIGHTS: ClassVar[Mapping[str, float | WeightSettings]] = {"ce": 1.0, "map": 1.0}
    INWARD: ClassVar[frozenset[str]] = frozenset({"fusion"})
    hard_labels: ClassVar[bool] = True
    Config: ClassVar[type[MethodConfig]] = EvidenceConfig

    @classmethod
    def default_weights(cls, config: MethodConfig) -> Mapping[str, float | WeightSettings]:
        """The fusion's own term only where it is learned."""
        assert isinstance(config, EvidenceConfig)
        return {**cls.WEIGHTS, **({"fusion": 1.0} if config.fusion == "learned" else {})}

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The last maps, and attention where a teacher has it."""
        read = frozenset({"logits", "final", "head", "attention"})
        return Needs(frozenset({"attention"}), dict.fromkeys(teachers, read))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, EvidenceConfig)
        self.config = config
        if config.branch is not None:
            raise InputError("evidence uses both branches of the student; leave branch out")
        if set(student.branches) != {"signal", "image"} or student.attention is None:
            raise InputError(
                "evidence: the student needs a signal and an image branch with attention between them; use a "
                "two_branch model with view: [signal, gaf]"
            )
        for name, teacher in teachers.items():
            if teacher.branches:
                raise InputError(f"evidence: teacher {name!r} has two branches; name teachers that see one view")
        self.signals = tuple(name for name, teacher in teachers.items() if teacher.dims == 1)
        self.images = tuple(name for name, teacher in teachers.items() if teacher.dims == 2)
        if not self.signals or not self.images:
            raise InputError(
                f"evidence: a signal teacher and an image teacher are needed, got {', '.join(teachers)}, "
                f"{'all on images' if self.images else 'all on signals'}"
            )
        branch = {name: student.branches["signal" if name in self.signals else "image"] for name in teachers}
        for name, teacher in teachers.items():
            if teacher.dims == 2 or teacher.attention is None:
                check_map("evidence", teacher, f"teacher {name!r}")
        self.onto = {name: onto("evidence", name, teacher, branch[name]) for name, teacher in teachers.items()}
        self.sizes = {name: branch[name].stages["final"].size for name in teachers}
        self.weigh = nn.Parameter(torch.zeros(1 + len(self.images))) if config.fusion == "learned" else None
        self.terms = ("map", "fusion") if self.weigh is not None else ("map",)

    def target(self, teachers: Mapping[str, Output], truth: Tensor) -> Tensor:
        """What the student's attention shall be, (B, T', H' W'), summing to 1 per sample; without gradient."""
        seen = {name: self._evidence(name, output, truth) for name, output in teachers.items()}
        signal = torch.stack([seen[name] for name in self.signals]).mean(0)  # (B, T')
        images = torch.stack([seen[name] for name in self.images])  # (K, B, H' W')
        weights = None
        if self.config.fusion == "mean":
            weights = signal.new_full((1 + len(images),), 0.5 / len(images))
            weights[0] = 0.5
        elif self.weigh is not None:
            weights = self.weigh.softmax(0)
        return joint_evidence(signal, images, weights).detach()

    def _evidence(self, name: str, teacher: Output, truth: Tensor) -> Tensor:
        """Where a teacher looks, on the grid of the student's branch: its attention, or its true class' map."""
        if name in self.signals and teacher.attention is not None:
            maps = teacher.attention.unsqueeze(1)  # (B, 1, T'')
        else:
            every = self.onto[name](class_maps(teacher)[0].detach())
            maps = every[torch.arange(len(truth), device=truth.device), truth].unsqueeze(1).clamp(min=0)
        return evidence(to_grid(maps, self.sizes[name]))

    def visualisations(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> dict[str, Shown]:
        """The target of the student's attention, that attention, and their difference: moments by image positions."""
        assert student.attention is not None
        attention, target = student.attention, self.target(teachers, batch.target)
        most = torch.maximum(attention, target).amax((1, 2))
        # One scale for both, or a map that did not follow would look as if it had.
        zero_up, both_ways = torch.stack([0 * most, most], 1), torch.stack([-most, most], 1)
        shown = {
            "evidence (target)": (target, zero_up),
            "student’s attention, last epoch": (attention, zero_up),
            "student minus target": (attention - target, both_ways),
        }
        x, y = Axis("image position"), Axis("moment")
        return {
            title: Heatmap(title, values, x, y, "share of the attention", span=span)
            for title, (values, span) in shown.items()
        }

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The distance, and the cross-entropy of the mixture that trains learned weights."""
        assert student.attention is not None
        target = self.target(teachers, batch.target)
        terms = {"map": evidence_distance(student.attention, target, self.config.distance)}
        if self.weigh is not None:
            logits = [torch.stack([teachers[name].logits for name in self.signals]).mean(0)]
            logits += [teachers[name].logits for name in self.images]
            log_p = torch.stack(logits).log_softmax(2)  # (1 + K, B, C)
            mixture = (self.weigh.log_softmax(0)[:, None, None] + log_p).logsumexp(0)  # (B, C)
            terms["fusion"] = F.nll_loss(mixture, batch.target)
        return terms
