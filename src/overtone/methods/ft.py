"""Factor transfer (Kim et al. 2018): a paraphraser learns the teacher's last map, then the student its factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.frequency.layers import CONV
from overtone.losses import to_grid
from overtone.methods.activation import check_positions
from overtone.methods.base import Method, MethodConfig
from overtone.methods.fitnet import TRANSPOSED
from overtone.recipe import PhaseSettings, WeightSettings
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec

FIRST = 0.15
"""The share of the epochs in which the paraphraser is trained."""
SLOPE = 0.1


class FTConfig(MethodConfig):
    """``rate``: the factors' channels, as a share of those of the teacher's last map."""

    rate: float = Field(default=0.5, gt=0, le=4)


class FT(Method):
    """Terms ``paraphrase`` and ``factor``.

    In a first phase the paraphraser, an autoencoder, learns to give the teacher's last map again, and the student
    rests; then the paraphraser rests, and the student's factors, behind a translator, shall be the teacher's.
    """

    NAME: ClassVar[str] = "ft"
    SOURCE: ClassVar[str] = "Kim et al. 2018 (FT, factor transfer)"
    SEES: ClassVar[str] = "last maps"
    READS: ClassVar[str] = "maps"
    zero_when_equal: ClassVar[bool] = False
    SUMMARY: ClassVar[str] = "the last map's factors, from an autoencoder that is trained on the teacher first"
    TEACHERS: ClassVar[tuple[int, int | None]] = (1, 1)
    WEIGHTS: ClassVar[Mapping[str, float | WeightSettings]] = {
        "ce": WeightSettings(**{"value": 1, "from": FIRST}),
        "paraphrase": WeightSettings(value=1, until=FIRST),
        "factor": WeightSettings(**{"value": 500, "from": FIRST}),
    }
    INWARD: ClassVar[frozenset[str]] = frozenset({"paraphrase"})
    TRAINED_BY: ClassVar[Mapping[str, str | tuple[str, ...]]] = {"paraphraser": "paraphrase", "translator": "factor"}
    PHASES: ClassVar[tuple[PhaseSettings, ...]] = (
        PhaseSettings(name="paraphraser of the teacher", until=FIRST, trainable=[]),
        PhaseSettings(name="factors and task"),
    )
    Config: ClassVar[type[MethodConfig]] = FTConfig

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The last maps."""
        return Needs(frozenset({_last(student)}), {name: frozenset({_last(spec)}) for name, spec in teachers.items()})

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, FTConfig)
        ((self.teacher, spec),) = teachers.items()
        for who, checked in (("the student", student), (f"teacher {self.teacher!r}", spec)):
            if not _last(checked):
                raise InputError(
                    f"ft: {who} has no feature maps (no stage was found in it); methods on logits need none"
                )
        check_positions("ft", self.teacher, spec, student)
        self.mine, self.theirs = _last(student), _last(spec)
        inputs, outputs = student.stages[self.mine].channels, spec.stages[self.theirs].channels
        factors = max(1, round(config.rate * outputs))
        dims = len(spec.stages[self.theirs].size)
        self.paraphraser = nn.ModuleList(
            [_layers(CONV[dims], outputs, outputs, factors), _layers(TRANSPOSED[dims], factors, factors, outputs)]
        )
        self.translator = _layers(CONV[dims], inputs, inputs, factors)
        self.terms = ("paraphrase", "factor")

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """Both terms; their weights decide which counts."""
        encode, decode = self.paraphraser
        teacher_map = teachers[self.teacher].stages[self.theirs]  # (B, c, ...)
        factors = encode(teacher_map)  # (B, k, ...)
        return {
            "paraphrase": F.mse_loss(decode(factors), teacher_map),
            "factor": factor_distance(self.translator(student.stages[self.mine]), factors.detach()),
        }


def factor_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r"""How far factors are from each other, each sample's divided by their length.

    .. math:: \frac{1}{B D} \sum_b \left\lVert \frac{f_b}{\lVert f_b \rVert_2} - \frac{g_b}{\lVert g_b \rVert_2}
        \right\rVert_1

    Args:
        student, teacher: factors (B, k, ...); the larger are averaged to the other's positions, D values per sample.

    Returns:
        A scalar from 0 on.
    """
    fewer = torch.Size(min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
    f, g = (F.normalize(to_grid(x, fewer).flatten(1), dim=1) for x in (student, teacher))
    return F.l1_loss(f, g)


def _layers(conv: type[nn.Module], inputs: int, first: int, outputs: int) -> nn.Sequential:
    """Three convolutions, 3 wide, each with a leaky ReLU."""
    widths = [(inputs, first), (first, outputs), (outputs, outputs)]
    return nn.Sequential(*(x for i, o in widths for x in (conv(i, o, 3, padding=1), nn.LeakyReLU(SLOPE))))


def _last(spec: Spec) -> str:
    """The last map: in front of the pooling, or a foreign model's deepest stage."""
    return "final" if "final" in spec.stages else (spec.depth_stages() or [""])[-1]
