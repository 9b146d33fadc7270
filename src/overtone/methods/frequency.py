"""What both forms of frequency attention distillation share: their settings, and the head behind each level."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from overtone.disk import in_units
from overtone.errors import InputError
from overtone.frequency import (
    FrequencyAttention,
    LocalAttention,
    dense_mask,
    high_pass,
    make_transform,
    parameter_count,
    published_mask,
)
from overtone.frequency.attention import Branches
from overtone.frequency.layers import NORM
from overtone.frequency.masks import Shape
from overtone.frequency.transforms import Fourier, Name
from overtone.losses import spectrum_distance
from overtone.methods.base import MethodConfig
from overtone.methods.feature_maps import UNIT, DistanceConfig, Level, LevelMethod
from overtone.shown import Axis, Curve, Heatmap, Scalar, Shown
from overtone.types import DataInfo, Output, Spec

BYTES = 12
"""A parameter's memory in training: itself, its gradient and its momentum, in float32."""

GRID = 32
"""Frequencies along each axis of filters' grids, where maps change size and the settings do not say."""

NEGATIVE = 0.01
"""Share of negative values in a teacher's map that is worth a warning, where a last ReLU cannot reach them."""


class FrequencyConfig(DistanceConfig):
    """Settings of ``fam_layer`` and ``fam_review``.

    Attributes:
        attention: local attention in front of the frequency attention module.
        final_relu: end each head in a ReLU, as the review form's published code does; maps that may be negative then
            cannot be reached.
        transform, shape, radius, form, branches, published: of :class:`overtone.FrequencyAttention`.
        grid: let the filters lie on a grid of so many frequencies along each axis, or along rows and columns, instead
            of on those of the teacher's maps; where maps' sizes change from batch to batch, 32 unless given.
        masked: compare spectra under the module's high-pass mask; with ``distance: spectrum`` only.
        max_parameters: of the filters of one teacher's levels together; more are refused before they are made. No part
            of a cell's key, since it changes no number.
    """

    attention: bool = True
    final_relu: bool = True
    transform: Name = "fft"
    shape: Shape = "box"
    radius: float = Field(default=0.1, ge=0, le=1e9)
    form: str = "full"
    branches: Branches = "both"
    published: bool = False
    grid: Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    masked: bool = False
    max_parameters: int = Field(default=2**28, ge=1, exclude=True)

    @field_validator("form")
    @classmethod
    def _known_form(cls, value: str) -> str:
        kind, _, rank = value.partition(":")
        if value not in ("full", "depthwise") and not (kind == "low_rank" and rank.isdecimal() and int(rank) > 0):
            raise ValueError(f"full, depthwise or low_rank:RANK is needed, got {value!r}")
        return value

    @model_validator(mode="after")
    def _spectra_masked(self) -> FrequencyConfig:
        if self.masked and self.distance != "spectrum":
            raise ValueError(f"masked: true needs distance: spectrum, whose spectra it masks; got {self.distance}")
        return self

    @model_validator(mode="after")
    def _grid_of_waves(self) -> FrequencyConfig:
        if self.grid is not None and (self.transform != "fft" or self.published):
            what = "published: true" if self.published else f"transform: {self.transform}"
            raise ValueError(
                f"grid is for Fourier filters of any size, which {what} has none of; leave out one of both"
            )
        return self

    @model_validator(mode="after")
    def _no_idle_filter(self) -> FrequencyConfig:
        """Settings of a filter that there is not, or of a mask that lets all pass, are slips."""
        given = self.model_fields_set
        of_filter = {"transform", "form", "grid"} | (set() if self.masked else {"shape", "radius", "published"})
        if self.branches == "local" and given & of_filter:
            raise ValueError(f"branches: local has no filter, so leave out {', '.join(sorted(given & of_filter))}")
        if self.shape == "none" and self.masked:
            raise ValueError("shape: none lets every frequency pass, so leave out masked")
        if self.shape == "none" and "radius" in given:
            raise ValueError(f"shape: none lets every frequency pass, so leave out radius, got {self.radius}")
        return self

    def module_settings(self, level: Level) -> dict[str, Any]:
        """What :class:`overtone.FrequencyAttention` takes."""
        return {**self.filter_settings(level), "branches": self.branches}

    def filter_settings(self, level: Level) -> dict[str, Any]:
        """What :class:`overtone.frequency.SpectralFilter` takes; an embedding has one frequency and needs no grid.

        Raises:
            InputError: for filters of one size only, where the level's maps change theirs.
        """
        names = ("transform", "shape", "radius", "form", "published")
        if level.varies and self.branches != "local" and (self.transform != "fft" or self.published):
            made = "published filters" if self.published else f"filters of transform {self.transform}"
            raise InputError(
                f"{level.student}: maps change their size from batch to batch, and {made} are made for one size; use "
                f"{'published: false' if self.published else 'transform: fft'}, or branches: local, which has no filter"
            )
        grid = None if level.student == "embedding" else self.grid or (GRID if level.varies else None)
        return {**{name: getattr(self, name) for name in names}, "grid": grid}


class Head(nn.Module):
    """Frequency attention, batch normalisation and, unless switched off, ReLU: to the teacher's map.

    Attributes:
        mask: under which spectra are compared, of the size of the teacher's map in the probe; None where they are not.

    Raises:
        InputError: for settings that do not fit the level, or a mask that lets nothing of it pass.
    """

    mask: Tensor | None

    def __init__(self, config: FrequencyConfig, in_channels: int, level: Level) -> None:
        super().__init__()
        out_channels, *size = level.teacher_shape
        mask = _spectrum_mask(config, tuple(size)) if config.masked else None
        if (config.branches != "local" and _is_deaf(config, tuple(size))) or (mask is not None and not mask.any()):
            raise InputError(
                f"{level.student}: the high-pass mask lets nothing of {level.teacher}'s map {tuple(size)} pass; use a "
                "smaller radius"
            )
        self.register_buffer("mask", mask, persistent=False)
        self.mask_of = partial(_spectrum_mask, config)
        try:
            self.frequency_attention = FrequencyAttention(
                in_channels, out_channels, size, **config.module_settings(level)
            )
        except ValueError as error:
            raise InputError(f"{level.student}: {error}") from error
        self.norm = NORM[len(size)](out_channels)
        self.relu = nn.ReLU() if config.final_relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, *size) -> (B, teacher's channels, *size)."""
        return self.relu(self.norm(self.frequency_attention(x)))


def _spectrum_mask(config: FrequencyConfig, size: tuple[int, ...]) -> Tensor:
    return published_mask(size) if config.published else dense_mask(size, config.shape, config.radius)


def _is_deaf(config: FrequencyConfig, size: tuple[int, ...]) -> bool:
    """Whether the mask removes every frequency; the published one never does."""
    if config.published:
        return False
    frequencies = make_transform(config.transform, size).frequencies
    return not bool(high_pass(frequencies, config.shape, config.radius).any())


def check_filters(config: FrequencyConfig, levels: list[Level]) -> None:
    """Count the parameters that the filters of a teacher's levels will have, before any is made.

    Raises:
        InputError: for more than ``max_parameters``, with the forms that fit; for settings that do not fit a level.
    """
    levels = [level for level in levels if level.compared]
    count = 0 if config.branches == "local" else _filter_parameters(config, levels)
    if count <= config.max_parameters:
        return
    fitting = {} if config.published else _fitting_forms(config, levels)
    forms = " or ".join(f"{form} ({parameters:,})" for form, parameters in fitting.items())
    raise InputError(
        f"its filters of form {config.form} would have {count:,} parameters, {in_units(BYTES * count)} in "
        f"training with their gradients and momentum in float32; max_parameters allows {config.max_parameters:,}. Use "
        f"{f'form: {forms}' if forms else 'fewer stages'}, or raise max_parameters"
    )


def _filter_parameters(config: FrequencyConfig, levels: list[Level], form: str | None = None) -> int:
    """Parameters of the filters of all levels; of another form than the config's where one is given."""
    total = 0
    for level in levels:
        settings = {**config.filter_settings(level), **({"form": form} if form else {})}
        channels, (out_channels, *size) = level.student_shape[0], level.teacher_shape
        try:
            total += parameter_count(channels, out_channels, size, **settings)
        except ValueError as error:
            raise InputError(f"{level.student}: {error}") from error
    return total


def _fitting_forms(config: FrequencyConfig, levels: list[Level]) -> dict[str, int]:
    """Smaller forms that ``max_parameters`` allows, with their parameters: the largest low rank, and depthwise."""
    of_rank_1 = _filter_parameters(config, levels, "low_rank:1")
    channels = (n for level in levels for n in (level.student_shape[0], level.teacher_shape[0]))
    largest = min(*channels, config.max_parameters // of_rank_1)
    rank = 1 << largest.bit_length() >> 1  # the largest power of two up to it; 0 for 0
    forms = {f"low_rank:{rank}": rank * of_rank_1} if rank else {}
    depthwise = _filter_parameters(config, levels, "depthwise")
    return {**forms, "depthwise": depthwise} if depthwise <= config.max_parameters else forms


class FrequencyMethod(LevelMethod):
    """A method whose adapters end in a :class:`Head`, called ``head``."""

    zero_when_equal: ClassVar[bool] = False
    SHOWS: ClassVar[tuple[str, ...]] = (
        *LevelMethod.SHOWS,
        "also what goes into frequency attention, what comes out of it, and the magnitude of its learned filter.",
    )

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, FrequencyConfig)
        varies = any(level.varies for levels in self.levels.values() for level in levels)
        self.grid_is_ours = varies and config.grid is None and config.branches != "local"

    def notes(self) -> tuple[str, ...]:
        """Also the grid of filters for maps that change size, unless the settings name it, and what it takes."""
        if not self.grid_is_ours:
            return super().notes()
        filters = (attention.filter for _, attention in self._attentions())
        count = sum(p.numel() for filter in filters if filter is not None for p in filter.parameters())
        return (
            *super().notes(),
            f"maps change their size from batch to batch, so the filters of {self.NAME} lie on {GRID} frequencies "
            f"along each axis (grid): {count:,} parameters, {in_units(BYTES * count)} in training with gradients and "
            "momentum",
        )

    def doubts(self, teachers: Mapping[str, Output]) -> tuple[str, ...]:
        """Maps with negative values, which heads that end in a ReLU cannot reach."""
        doubts = []
        for name, levels in self.levels.items():
            shares = {
                level.teacher: float((level.map_of_teacher(teachers[name]) < 0).float().mean())
                for level, adapter in reversed(list(zip(levels, cast(nn.ModuleList, self.adapters[name]), strict=True)))
                if level.compared and isinstance(cast(Head, adapter.head).relu, nn.ReLU)
            }
            shares = {stage: share for stage, share in shares.items() if share > NEGATIVE}
            if shares:
                one = len(shares) == 1
                percent = ", ".join(f"{100 * share:.0f}" for share in shares.values())
                doubts.append(
                    f"{', '.join(shares)} of teacher {name} {'is' if one else 'are'} negative in {percent} % of "
                    f"{'its' if one else 'their'} values, which the last ReLU of {self.NAME} cannot reach; use "
                    "final_relu: false"
                )
        return tuple(doubts)

    def scalars(self) -> dict[str, Scalar]:
        """How much the global and the local branch count: ``TEACHER/STAGE/g1`` and ``g2``."""
        title, axis = "Global (g1) and local branch (g2) of frequency attention", "learned value"
        return {
            f"{key}/{name}": Scalar(float(getattr(attention, rate).detach()), title, axis)
            for key, attention in self._attentions()
            for name, rate in (("g1", "rate_global"), ("g2", "rate_local"))
            if hasattr(attention, rate)
        }

    def run_adapter(
        self, adapter: nn.Module, x: Tensor, handed: Tensor | None, size: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Also what goes into frequency attention and what comes out of it."""
        inside: dict[str, Tensor] = {}

        def keep(module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
            inside.update({"into frequency attention": args[0], "out of frequency attention": out})

        head = getattr(adapter, "head", None)  # a level that is not compared has none
        if head is None:
            return super().run_adapter(adapter, x, handed, size)
        with head.frequency_attention.register_forward_hook(keep):
            return *adapter(x, handed, size), inside

    def inner(self, adapter: nn.Module, samples: int) -> dict[str, Shown]:
        """The learned filter's mean magnitude under its mask, frequency 0 in the middle; of the Fourier transform."""
        attention = cast(Head, adapter.head).frequency_attention
        if attention.filter is None or not isinstance(attention.filter.transform, Fourier) or max(attention.size) < 2:
            return {}
        spectra = attention.filter.dense().abs().mean((0, 1)), attention.filter.mask()
        learned, mask = (torch.fft.fftshift(x).expand(samples, *x.shape) for x in spectra)  # (B, *size) each
        return {"filter": _filter(learned, mask)}

    def _attentions(self) -> list[tuple[str, FrequencyAttention]]:
        """Every level's frequency attention, by ``TEACHER/STAGE``, from deep to shallow."""
        return [
            (f"{name}/{level.student}", cast(Head, adapter.head).frequency_attention)
            for name, levels in self.levels.items()
            for level, adapter in zip(levels, cast(nn.ModuleList, self.adapters[name]), strict=True)
            if level.compared
        ]

    def compare(self, adapter: nn.Module, out: Tensor, wanted: Tensor) -> Tensor:
        """Under the head's mask, where it has one."""
        head = cast(Head, adapter.head)
        if head.mask is None:
            return super().compare(adapter, out, wanted)
        size = tuple(wanted.shape[2:])
        mask = head.mask if tuple(head.mask.shape) == size else head.mask_of(size).to(wanted)
        return spectrum_distance(out, wanted, mask)


def _filter(learned: Tensor, mask: Tensor) -> Shown:
    """A filter's magnitude with its mask on it, (B, *size) each; what the mask removes is 0."""
    title = f"learned filter, magnitude {float(learned.min()):.2g} to {float(learned.max()):.2g}"
    nyquist = "share of Nyquist"
    if learned.dim() == 2:
        count = learned.shape[1]
        first = -2 * (count // 2) / count
        lines = {"mean magnitude": learned, "mask": mask * learned.max()}
        caption = "The mask’s 0 to 1 is drawn as 0 to the largest magnitude."
        return Curve(title, lines, Axis(nyquist, (first, first + 2 - 2 / count)), "magnitude", caption, ("mask",))
    edges = [-(2 * (n // 2) + 1) / n for n in learned.shape[1:]]  # a bin reaches half its width beyond its frequency
    y, x = (Axis(nyquist, (edge, edge + 2)) for edge in edges)
    open_ = bool((mask >= 0.5).all())
    caption = "The mask lets every frequency pass." if open_ else "The line is the mask’s edge, where half passes."
    return Heatmap(title, learned, x, y, UNIT, caption, area=mask)


def make_local_attention(channels: int, dims: int, stage: str) -> LocalAttention:
    """Local attention on a stage.

    Raises:
        InputError: for a number of channels that relative embeddings cannot split.
    """
    try:
        return LocalAttention(channels, dims)
    except ValueError as error:
        raise InputError(f"{stage}: {error}; use attention: false, or other stages") from error
