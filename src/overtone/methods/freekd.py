"""Frequency prompts on wavelet bands (FreeKD, Zhang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from overtone.frequency import haar_bands, haar_map, resize
from overtone.frequency.layers import CONV
from overtone.losses import band_distance, mask_overlap
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Level, LevelMethod, LevelsConfig
from overtone.recipe import PhaseSettings, WeightSettings
from overtone.shown import Image, Shown
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec

SCALES = 3
"""How often maps are halved."""
FIRST = 0.1
"""The share of the epochs in which the prompts are trained."""
DEVIATION = 0.01
"""Of the prompts' starting values."""
GO_ON = "losses_of"
"""What a teacher's prediction calls the function that goes on from other maps in place of its own."""


class FreeKDConfig(LevelsConfig):
    """``prompts``: how many there are for each scale, 6 as in the published code's recipe."""

    prompts: int = Field(default=6, ge=2, le=256)


class FreeKD(LevelMethod):
    """Terms ``finetune``, ``overlap``, ``bands`` and ``map``.

    In a first phase the prompts learn masks of the teacher's wavelet bands, from what the teacher is worth with maps
    of the masked bands alone, and the student rests; then the prompts rest, and under their masks the student's details
    shall be the teacher's, and its maps beside.
    """

    NAME: ClassVar[str] = "freekd"
    SOURCE: ClassVar[str] = "Zhang et al. 2024 (FreeKD)"
    SUMMARY: ClassVar[str] = "details of wavelets, where masks that are trained on the teacher first find them worth it"
    zero_when_equal: ClassVar[bool] = False
    TEACHERS: ClassVar[tuple[int, int | None]] = (1, 1)
    min_batch: ClassVar[int] = 1
    EMBEDDING: ClassVar[bool] = False
    WEIGHTS: ClassVar[Mapping[str, float | WeightSettings]] = {  # type: ignore[assignment]
        "ce": WeightSettings(**{"value": 1, "from": FIRST}),
        "finetune": WeightSettings(value=1, until=FIRST),
        "overlap": WeightSettings(value=1, until=FIRST),
        "bands": WeightSettings(**{"value": 0.8, "from": FIRST}),
        "map": WeightSettings(**{"value": 1, "from": FIRST}),
    }
    INWARD: ClassVar[frozenset[str]] = frozenset({"finetune", "overlap"})
    TRAINED_BY: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "prompts": ("finetune", "overlap"),
        "adapters": ("bands", "map"),
    }
    PHASES: ClassVar[tuple[PhaseSettings, ...]] = (
        PhaseSettings(name="prompts of the teacher", until=FIRST, trainable=[]),
        PhaseSettings(name="bands, maps and task"),
    )
    SHOWS: ClassVar[tuple[str, ...]] = (
        *LevelMethod.SHOWS,
        "A mask is how much a position of the teacher’s wavelet bands counts, averaged over the prompts: the coarse "
        "map’s, which only rebuilds the teacher’s maps, and those of details, scale 1 the finest.",
    )
    Config: ClassVar[type[MethodConfig]] = FreeKDConfig

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """Of teachers that can go on from other maps, that too."""
        needs = super().needs(config, student, teachers)
        return Needs(needs.student, {name: stages | {GO_ON} for name, stages in needs.teachers.items()})

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, FreeKDConfig)
        ((self.teacher, levels),) = self.levels.items()
        self.prompts = nn.ModuleList(Prompts(config.prompts, level.teacher_shape[0]) for level in levels)
        self.terms = ("finetune", "overlap", "bands", "map")

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; nothing is handed on."""
        return nn.ModuleList(_Adapter(level) for level in levels)

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """All four terms, ``finetune`` only where it counts; the masks give the student's terms no gradient."""
        teacher = teachers[self.teacher]
        adapters = cast(nn.ModuleList, self.adapters[self.teacher])
        overlap, bands, map_ = [], [], []
        wanted_maps, rebuilt = {}, {}
        for level, adapter, prompts in zip(self.levels[self.teacher], adapters, self.prompts, strict=True):
            wanted = wanted_maps[level.teacher] = level.map_of_teacher(teacher)
            size = wanted.shape[2:]
            coarse, details = haar_bands(wanted, SCALES)
            masks = prompts(coarse, details)
            rebuilt[level.teacher] = masked_map(coarse, details, masks, size)
            out, _ = adapter(level.map_of_student(student), None, size)
            overlap += [mask_overlap(mask) for mask in masks]
            bands.append(band_distance(haar_bands(out, SCALES)[1], details, [mask.detach() for mask in masks[1:]]))
            map_.append(F.mse_loss(out, wanted))
        sums = {"overlap": overlap, "bands": bands, "map": map_}
        terms = {name: torch.stack(values).sum() for name, values in sums.items()}
        if not progress.counts("finetune"):
            return terms
        return {"finetune": _worth(teacher, wanted_maps, rebuilt), **terms}

    def visualisations(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> dict[str, Shown]:
        """What methods on maps show, and the masks of each of the teacher's stages."""
        shown = super().visualisations(student, teachers, batch)
        for level, prompts in zip(self.levels[self.teacher], self.prompts, strict=True):
            masks = prompts(*haar_bands(level.map_of_teacher(teachers[self.teacher]), SCALES))
            titles = ["mask, coarse", *(f"mask, scale {number + 1}" for number in range(SCALES))]
            shown |= {
                f"{self.teacher}/{level.student}/{title}": Image(title, mask.mean(1), "mask")
                for title, mask in zip(titles, masks, strict=True)
            }
        return shown


def _worth(teacher: Output, wanted: Mapping[str, Tensor], rebuilt: Mapping[str, Tensor]) -> Tensor:
    """What the teacher loses with rebuilt maps in place of its own.

    Its task's losses with them, where it can go on from its maps; else how far they are from its own, as the share of
    each map's squares, summed over maps.
    """
    losses_of = teacher.prediction.get(GO_ON)
    if losses_of is not None:
        return torch.stack(list(losses_of(rebuilt).values())).sum()
    shares = [
        ((rebuilt[stage] - x).square().flatten(1).sum(1) / x.square().flatten(1).sum(1).clamp(min=1e-12)).mean()
        for stage, x in wanted.items()
    ]
    return torch.stack(shares).sum()


def masked_map(coarse: Tensor, details: list[Tensor], masks: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """The map of bands of which each prompt has its share: a position counts as often as its masks sum to."""
    first, *others = (mask.sum(1, keepdim=True) for mask in masks)  # (B, 1, ...)
    return haar_map(first * coarse, [mask[:, None] * x for mask, x in zip(others, details, strict=True)], size)


class Prompts(nn.Module):
    """What masks the bands of one of the teacher's maps: vectors that are compared with every position's channels.

    Args:
        count: of prompts for each scale.
        channels: of the teacher's map.
    """

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(SCALES + 1, count, channels).normal_(0, DEVIATION))  # the coarse first

    def forward(self, coarse: Tensor, details: list[Tensor]) -> list[Tensor]:
        """Bands of a map -> masks from 0 to 1, (B, count, ...) each: the coarse map's, then of scales, fine first."""
        seen = [coarse, *(bands.sum(2) for bands in details)]  # (B, C, ...)
        return [torch.einsum("tc,bc...->bt...", own, x).sigmoid() for own, x in zip(self.weight, seen, strict=True)]


class _Adapter(nn.Module):
    """The student's map with the teacher's channels and size, by a pointwise convolution."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.convolution = CONV[len(level.teacher_shape) - 1](level.student_shape[0], level.teacher_shape[0], 1)

    def forward(self, x: Tensor, deeper: None, size: tuple[int, ...]) -> tuple[Tensor, None]:
        return resize(self.convolution(x), size), None
