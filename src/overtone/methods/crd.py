"""Contrastive representation distillation (Tian et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, distributed, nn

from overtone.errors import InputError
from overtone.losses import noise_contrast
from overtone.methods.base import Method, MethodConfig
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec

MOST_NEGATIVES = 16384


class CRDConfig(MethodConfig):
    """Settings of ``crd``.

    Attributes:
        negatives: K, samples of other classes that each sample is told apart from; unless given 16,384 as published, or
            half of the smallest number there is to choose from where that is less.
        temperature, momentum, width: of scores, of the memory, and of the space in which both are compared. Scores are
            exp(1 / temperature) at most, which float32 holds down to 0.02 with room for their sums.
        positives: ``exact``, the sample itself; ``relaxed``, any of its class.
    """

    negatives: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.07, ge=0.02, le=1e9)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    width: int = Field(default=128, ge=1, le=65_536)
    positives: Literal["exact", "relaxed"] = "exact"


class CRD(Method):
    """Term ``contrast.TEACHER``: student's and teacher's embeddings of a sample find each other among many."""

    NAME: ClassVar[str] = "crd"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Tian et al. 2020 (CRD)"
    SEES: ClassVar[str] = "embeddings"
    READS: ClassVar[str] = "embedding"
    zero_when_equal: ClassVar[bool] = False
    STUDENT: ClassVar[str] = "any student with an embedding"
    SUMMARY: ClassVar[str] = "embeddings of a sample find each other among those of other classes (memory banks)"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "contrast": 0.8}
    couples_batch: ClassVar[bool] = True  # through the first batch's normalisation
    hard_labels: ClassVar[bool] = True
    has_memory_bank: ClassVar[bool] = True
    Config: ClassVar[type[MethodConfig]] = CRDConfig

    @classmethod
    def check_data(cls, config: MethodConfig, data: DataInfo) -> None:
        """Refuse more negatives than there are, or training samples of one class."""
        assert isinstance(config, CRDConfig)
        _negatives(config, data)

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """Embeddings."""
        return Needs(frozenset({"embedding"}), dict.fromkeys(teachers, frozenset({"embedding"})))

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, CRDConfig)
        for spec, who in ((student, "the student"), *((t, f"teacher {name!r}") for name, t in teachers.items())):
            if spec.embedding is None:
                raise InputError(f"crd: {who} has no embedding (a vector in front of a linear classifier)")
        negatives = _negatives(config, data)
        self.sides = nn.ModuleDict(
            {name: Contrast(student, spec, config, len(data.train_index)) for name, spec in teachers.items()}
        )
        self.negatives, self.given, self.positives = negatives, config.negatives is not None, config.positives
        position = torch.full((int(data.train_index.max()) + 1,), -1)
        position[data.train_index] = torch.arange(len(data.train_index))
        self.position: Tensor
        self.label: Tensor
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("label", data.train_target.clone(), persistent=False)
        self.seed: Tensor
        self.register_buffer("seed", torch.tensor(torch.initial_seed() % 2**62))  # another study seed, other negatives
        self.terms = tuple(f"contrast.{name}" for name in teachers)

    def notes(self) -> tuple[str, ...]:
        """K, unless it is given."""
        return () if self.given else (f"crd tells each sample apart from {self.negatives:,} negatives in this fold",)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The contrast with each teacher; in training the memories then take in the batch."""
        assert student.embedding is not None
        rows = self._rows(batch.index)
        drawn = self._draw(rows, progress.step)
        terms = {}
        for name, side in self.sides.items():
            embedding = teachers[name].embedding
            assert embedding is not None
            terms[f"contrast.{name}"] = side(student.embedding, embedding, rows, drawn)
        return terms

    def _rows(self, index: Tensor) -> Tensor:
        """The memories' rows of samples by their numbers, (B,).

        Raises:
            InputError: for a sample that is not among the training samples.
        """
        inside = (index >= 0) & (index < len(self.position))
        rows = torch.where(inside, self.position[index.where(inside, 0)], -1)
        if bool((rows < 0).any()):
            raise InputError(
                f"crd: samples {index[rows < 0][:5].tolist()} are not among the training samples; index holds numbers "
                "of data.train_index"
            )
        return rows

    def _draw(self, rows: Tensor, step: int) -> Tensor:
        """Rows of the memories for each sample, the positive first: (B, K + 1).

        One order of all rows per step and seed, the same on every process and after a resume; a sample gets the first K
        in it that are of other classes.
        """
        generator = torch.Generator().manual_seed((int(self.seed) + step) % 2**63)
        order = torch.randperm(len(self.label), generator=generator).to(rows.device)
        classes = self.label[rows]
        by_class = {int(c): order[self.label[order] != c][: self.negatives] for c in classes.unique()}
        negatives = torch.stack([by_class[c] for c in classes.tolist()])
        positives = rows
        if self.positives == "relaxed":
            first = {int(c): order[self.label[order] == c] for c in classes.unique()}
            positives = torch.stack([first[c][n % len(first[c])] for n, c in enumerate(classes.tolist())])
        return torch.cat([positives[:, None], negatives], dim=1)


class Contrast(nn.Module):
    """The two linear maps and the two memories between the student and one teacher.

    Attributes:
        student_memory, teacher_memory: of all training samples, (N, d), on the unit sphere after their first update.
        norms: what makes scores average 1 / N, (2,): of the student's and the teacher's side; from the first batch, 0
            before.
    """

    student_memory: Tensor
    teacher_memory: Tensor
    norms: Tensor

    def __init__(self, student: Spec, teacher: Spec, config: CRDConfig, samples: int) -> None:
        super().__init__()
        assert student.embedding is not None
        assert teacher.embedding is not None
        self.temperature, self.momentum = config.temperature, config.momentum
        self.map_student = nn.Linear(student.embedding, config.width)
        self.map_teacher = nn.Linear(teacher.embedding, config.width)
        bound = (3 / config.width) ** 0.5
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.empty(samples, config.width).uniform_(-bound, bound))
        self.register_buffer("norms", torch.zeros(2))

    def forward(self, student: Tensor, teacher: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        """Embeddings (B, D_s), (B, D_t), the samples' rows (B,), and those to compare with (B, K + 1) -> the loss."""
        z_s = F.normalize(self.map_student(student), dim=1)
        z_t = F.normalize(self.map_teacher(teacher), dim=1)
        loss, _ = self.compare(z_s, z_t, drawn)
        if self.training:
            self.remember(z_s.detach(), z_t.detach(), rows)
        return loss

    def compare(self, student: Tensor, teacher: Tensor, drawn: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The loss of unit vectors (B, d) against the memories, and both sides' scores (B, K + 1)."""
        memories = self.teacher_memory, self.student_memory
        raw = [
            # Clones, because the memories change before the backward pass needs them. All scores by one product: the
            # vectors of (B, K + 1) rows would take far more memory.
            (x @ memory.clone().T / self.temperature).gather(1, drawn).exp()
            for x, memory in zip((student, teacher), memories, strict=True)
        ]
        norms = self.norms
        if not norms.all():
            norms = torch.stack([x.detach().mean() for x in raw]) * len(self.student_memory)
            if self.training:
                norms = _averaged(norms)
                self.norms.copy_(norms)
        scores = raw[0] / norms[0], raw[1] / norms[1]
        samples = len(self.student_memory)
        return noise_contrast(scores[0], samples) + noise_contrast(scores[1], samples), scores

    @torch.no_grad()
    def remember(self, student: Tensor, teacher: Tensor, rows: Tensor) -> None:
        """Move the batch's rows towards its vectors; of all processes, so that each holds the same memories."""
        student, teacher, rows = _gathered(student), _gathered(teacher), _gathered(rows)
        for memory, x in ((self.student_memory, student), (self.teacher_memory, teacher)):
            memory[rows] = F.normalize(self.momentum * memory[rows] + (1 - self.momentum) * x, dim=1)


def _negatives(config: CRDConfig, data: DataInfo) -> int:
    """K, for training data of this size.

    Raises:
        InputError: if there are fewer samples of other classes than asked for, or no training data or no classes are
            known.
    """
    if not len(data.train_index):
        raise InputError("crd: its memories need the training samples; give data=overtone.DataInfo(...) with labels")
    if not data.classes:
        raise InputError("crd: it tells samples of different classes apart, and these data have no classes")
    sizes = torch.bincount(data.train_target)
    there = int(len(data.train_target) - sizes.max())
    if not there:
        raise InputError("crd: all training samples are of one class, so there is nothing to tell apart")
    if config.negatives is None:
        return max(1, min(MOST_NEGATIVES, there // 2))
    if config.negatives > there:
        raise InputError(
            f"crd: negatives {config.negatives} is too large, samples of the largest class have only {there} of other "
            "classes; leave it out for half of them"
        )
    return config.negatives


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _gathered(x: Tensor) -> Tensor:
    """The batch over all processes."""
    if not _together():
        return x
    parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def _averaged(x: Tensor) -> Tensor:
    """The mean over all processes."""
    if _together():
        distributed.all_reduce(x)
        x /= distributed.get_world_size()
    return x
