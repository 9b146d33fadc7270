"""One path for methods that compare the student with each teacher by itself, on logits or embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from overtone.errors import InputError
from overtone.methods.base import Method, MethodConfig
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class PerTeacher(Method):
    """Terms ``TERM.TEACHER`` for every teacher.

    Attributes:
        TERMS: what they are called, without the teacher.
        READS: ``logits``, ``outputs`` (the same tensor, whatever the task) or ``embedding``, which are compared.
    """

    TERMS: ClassVar[tuple[str, ...]]

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """What :attr:`READS` says."""
        return Needs(frozenset({cls._field()}), dict.fromkeys(teachers, frozenset({cls._field()})))

    @classmethod
    def _field(cls) -> str:
        return "embedding" if cls.READS == "embedding" else "logits"

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        if self.READS == "embedding":
            for spec, who in ((student, "the student"), *((t, f"teacher {name!r}") for name, t in teachers.items())):
                if spec.embedding is None:
                    raise InputError(f"{self.NAME}: {who} has no embedding (a vector in front of a linear classifier)")
        self.terms = tuple(f"{term}.{name}" for name in teachers for term in self.TERMS)

    @abstractmethod
    def compare(self, name: str, student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """The terms, of the student against one teacher: logits (B, C) or embeddings (B, D)."""

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """Every term of every teacher."""
        terms = {}
        for name, teacher in teachers.items():
            values = self.compare(name, getattr(student, self._field()), getattr(teacher, self._field()), batch.target)
            terms.update({f"{term}.{name}": value for term, value in zip(self.TERMS, values, strict=True)})
        return {term: terms[term] for term in self.terms}
