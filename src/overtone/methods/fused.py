"""Several teachers' logits, weighed by a fusion that the recipe names: one of ours, or anyone's."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from overtone.errors import InputError, nearest
from overtone.fusion import Fusion, entropy, mean, val_accuracy
from overtone.lookup import import_object
from overtone.methods.base import MethodConfig
from overtone.methods.ca_mkd import confidence
from overtone.methods.multi_teacher import Average, MultiTeacherConfig, MultiTeacherKD
from overtone.types import DataInfo, Spec

FUSIONS: dict[str, Fusion] = {
    "mean": mean,
    "entropy": entropy,
    "confidence": confidence,
    "val_accuracy": val_accuracy,
}


class FusedConfig(MultiTeacherConfig):
    """Settings of ``fused``.

    Attributes:
        fusion: how the teachers are weighed: ``val_accuracy`` (by their scores on the validation side), ``mean``,
            ``entropy`` (as ``ebkd``), ``confidence`` (as ``ca_mkd``), or ``package.module:Class`` of one's own, a class
            without arguments or a function; see :class:`overtone.fusion.Fusion`.
        average: what is averaged, the teachers' losses, probabilities or logits.
    """

    fusion: str = "val_accuracy"
    average: Average = "loss"

    @property
    def fingerprint(self) -> str:
        """Of one's own fusion, a hash of its module's source, so that changing it makes new cells."""
        if ":" not in self.fusion:
            return ""
        fusion = import_object(self.fusion, "fusion")
        try:
            source = inspect.getsource(inspect.getmodule(fusion) or fusion)
        except (OSError, TypeError):  # written in C, or at a prompt
            source = self.fusion
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def made(self) -> Fusion:
        """The fusion itself.

        Raises:
            InputError: for an unknown name; the nearest is given.
        """
        if self.fusion in FUSIONS:
            return FUSIONS[self.fusion]
        if ":" not in self.fusion:
            known = [*FUSIONS, "package.module:Class"]
            raise InputError(f"fused: unknown fusion {self.fusion!r}; {nearest(self.fusion, known)}")
        fusion: Any = import_object(self.fusion, "fusion")
        return fusion() if isinstance(fusion, type) else fusion


class Fused(MultiTeacherKD):
    """KL divergence to teachers that a fusion weighs, sample by sample."""

    NAME: ClassVar[str] = "fused"
    SOURCE: ClassVar[str] = "ours; val_accuracy after Opitz & Shavlik 1995"
    SUMMARY: ClassVar[str] = "several teachers weighed by a fusion: by validation scores, or one of your own"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0}  # as aver
    Config: ClassVar[type[MethodConfig]] = FusedConfig

    @classmethod
    def needs_classes(cls, config: MethodConfig) -> bool:
        """Where teachers are weighed by how right they are; a fusion of one's own says ``hard_labels = True``."""
        assert isinstance(config, FusedConfig)
        return config.fusion == "confidence" or getattr(config.made(), "hard_labels", False) is True

    @classmethod
    def check_data(cls, config: MethodConfig, data: DataInfo) -> None:
        """A fusion that weighs by scores needs a validation side.

        Raises:
            InputError: without one.
        """
        assert isinstance(config, FusedConfig)
        if getattr(config.made(), "needs_scores", False) and data.teacher_scores is None:
            raise InputError(
                f"fused: fusion {config.fusion} weighs teachers by their scores on the validation side, and there is "
                "none; give split.val above 0 (in your own loop data=overtone.DataInfo(teacher_scores={...})), or take "
                "fusion: mean"
            )

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, FusedConfig)
        self.check_data(config, data)
        self.fusion, self.average = config.made(), config.average
        missing = [name for name in teachers if name not in (data.teacher_scores or {})]
        if getattr(self.fusion, "needs_scores", False) and missing:
            raise InputError(
                f"fused: fusion {config.fusion} needs a score of teacher {missing[0]!r}, teacher_scores lacks it"
            )
