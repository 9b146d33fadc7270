"""Attention transfer (Zagoruyko and Komodakis 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from overtone.losses import attention_transfer
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import Level, LevelMethod, LevelsConfig
from overtone.types import DataInfo, Spec


class ATConfig(LevelsConfig):
    """``power``: p of the energy |F|^p."""

    power: float = Field(default=2.0, gt=0, le=1e9)


class AT(LevelMethod):
    """Term ``map.TEACHER``: where each stage's energy lies, summed over stages; channels and sizes may differ."""

    NAME: ClassVar[str] = "at"
    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "Zagoruyko & Komodakis 2017 (attention transfer)"
    SUMMARY: ClassVar[str] = "each stage's energy lies where the teacher's does"
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "map": 1000.0}
    min_batch: ClassVar[int] = 1
    EMBEDDING: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = ATConfig

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, ATConfig)
        self.distance = partial(attention_transfer, power=config.power)

    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """See :class:`LevelMethod`; maps are compared as they are."""
        return nn.ModuleList(_AsItIs() for _ in levels)


class _AsItIs(nn.Module):
    def forward(self, x: Tensor, deeper: None, size: tuple[int, ...]) -> tuple[Tensor, None]:
        return x, None
