"""Several teachers' logits, weighed by a fusion that the recipe names: one of ours, or anyone's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from overtone.errors import InputError, nearest, told
from overtone.fusion import Fusion, GradientSpace, entropy, mean, val_accuracy
from overtone.lookup import import_object, source_hash
from overtone.methods.base import MethodConfig
from overtone.methods.ca_mkd import confidence
from overtone.methods.multi_teacher import Average, MultiTeacherConfig, MultiTeacherKD
from overtone.methods.pskd import right
from overtone.types import DataInfo, Spec

FUSIONS: dict[str, Fusion | type[Fusion]] = {
    "mean": mean,
    "entropy": entropy,
    "confidence": confidence,
    "right": right,
    "val_accuracy": val_accuracy,
    "gradient_space": GradientSpace,
}


def make_fusion(fusion: str | Fusion | type[Fusion], arguments: Mapping[str, Any]) -> Fusion:
    """A fusion by its name in a recipe, or of a class; a function or an object is one as it is.

    Raises:
        InputError: for an unknown name (the nearest is given), or arguments that its class does not take.
    """
    name, found = str(getattr(fusion, "__name__", fusion)), fusion
    if isinstance(fusion, str):
        if fusion not in FUSIONS and ":" not in fusion:
            raise InputError(f"fused: unknown fusion {fusion!r}; {nearest(fusion, [*FUSIONS, 'package.module:Class'])}")
        found = FUSIONS[fusion] if fusion in FUSIONS else import_object(fusion, "fusion")
    if isinstance(found, type):
        kind: Callable[..., Any] = found
        try:
            found = kind(**arguments)
        except Exception as error:  # a class of somebody's own may raise anything
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise InputError(f"fused: fusion {name}({given}) cannot be made: {told(error)}") from error
    elif arguments:
        raise InputError(f"fused: fusion {name} is no class, so it takes no arguments; got {', '.join(arguments)}")
    if not callable(found):
        raise InputError(f"fused: fusion {name} cannot be called with (student, teachers, batch, data)")
    made: Fusion = found
    return made


class FusedConfig(MultiTeacherConfig):
    """Settings of ``fused``.

    Attributes:
        fusion: how the teachers are weighed: ``val_accuracy`` (by their scores on the validation side), ``mean``,
            ``entropy`` (as ``ebkd``), ``confidence`` (as ``ca_mkd``), ``right`` (as ``pskd``), ``gradient_space`` (as
            ``aekd``), or ``package.module:name`` of one's own, a class or a function; see
            :class:`overtone.fusion.Fusion`. Fixed weights are ``weighted``'s.
        arguments: of the fusion's class.
        average: what is averaged, the teachers' losses, probabilities or logits.
    """

    fusion: str = "val_accuracy"
    arguments: dict[str, Any] = Field(default_factory=dict)
    average: Average = "loss"

    @property
    def fingerprint(self) -> str:
        """Of one's own fusion, a hash of the file that defines it, so that changing it makes new cells."""
        return source_hash(self.fusion, "fusion") if ":" in self.fusion else ""

    def made(self) -> Fusion:
        """The fusion itself.

        Raises:
            InputError: as :func:`make_fusion`.
        """
        return make_fusion(self.fusion, self.arguments)


class Fused(MultiTeacherKD):
    """KL divergence to teachers that a fusion weighs, sample by sample."""

    NAME: ClassVar[str] = "fused"
    SOURCE: ClassVar[str] = "ours; val_accuracy after Opitz & Shavlik 1995"
    SUMMARY: ClassVar[str] = "several teachers weighed by a fusion: by validation scores, or one of your own"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "kl": 1.0}  # as aver
    Config: ClassVar[type[MethodConfig]] = FusedConfig

    @classmethod
    def needs_classes(cls, config: MethodConfig) -> bool:
        """What the fusion says, ``hard_labels``."""
        return _says(config, "hard_labels")

    @classmethod
    def couples_samples(cls, config: MethodConfig) -> bool:
        """What the fusion says, ``couples_batch``."""
        return _says(config, "couples_batch")

    @classmethod
    def check_data(cls, config: MethodConfig, data: DataInfo) -> None:
        """A fusion that weighs by scores needs a validation side.

        Raises:
            InputError: without one.
        """
        assert isinstance(config, FusedConfig)
        if _says(config, "needs_scores") and data.teacher_scores is None:
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


def _says(config: MethodConfig, fact: str) -> bool:
    """Whether a row's fusion has this attribute set, such as ``hard_labels = True``."""
    assert isinstance(config, FusedConfig)
    return getattr(config.made(), fact, False) is True
