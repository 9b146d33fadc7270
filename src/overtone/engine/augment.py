"""Augmentation of windows in training, a pure function of (seed, epoch, sample) so that a resumed run repeats it.

Source: Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring using Convolutional
Neural Networks", ICMI 2017 (jitter, scaling, rotation, time warp).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from overtone.data import Standardiser
from overtone.engine.schedule import mix
from overtone.recipe import AugmentSettings

KNOTS = 6
"""Points of the random curve that bends time."""


@dataclass(frozen=True)
class Augment:
    """Augments standardised windows.

    Attributes:
        settings: how much of what.
        standardise: rotation turns the sensor's own axes, so it acts on the recording's units.
        seed: the cell's.
    """

    settings: AugmentSettings
    standardise: Standardiser
    seed: int

    def __call__(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        """(B, C, T) -> (B, C, T); each sample draws from its own generator, whoever is beside it in the batch."""
        draws = [self._draw(x.shape[1], x.shape[2], int(number), epoch) for number in index.tolist()]
        drawn = {name: torch.stack([draw[name] for draw in draws]).to(x) for name in draws[0]}
        if self.settings.time_warp:
            x = _warp(x, drawn["speed"])
        if self.settings.rotation:
            x = self._rotate(x, drawn["rotation"])
        if self.settings.scaling:
            x = x * drawn["scale"].unsqueeze(2)
        if self.settings.jitter:
            x = x + self.settings.jitter * drawn["noise"]
        if self.settings.channel_dropout:
            x = x * (drawn["keep"] >= self.settings.channel_dropout).to(x).unsqueeze(2)
        return x

    def _draw(self, channels: int, length: int, number: int, epoch: int) -> dict[str, Tensor]:
        """One sample's random numbers; only what is switched on is drawn."""
        generator = torch.Generator().manual_seed(mix(self.seed, epoch, number, "augment"))
        on, drawn = self.settings, {}
        if on.time_warp:
            drawn["speed"] = torch.exp(on.time_warp * torch.randn(KNOTS, generator=generator))
        if on.rotation:
            axis = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
            angle = math.radians(on.rotation) * (2 * torch.rand(1, generator=generator) - 1)
            drawn["rotation"] = _rotation(axis, angle)
        if on.scaling:
            drawn["scale"] = 1 + on.scaling * torch.randn(channels, generator=generator)
        if on.jitter:
            drawn["noise"] = torch.randn(channels, length, generator=generator)
        if on.channel_dropout:
            drawn["keep"] = torch.rand(channels, generator=generator)
        return drawn

    def _rotate(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Turn every triad of channels by the sample's rotation: (B, 3k, T), (B, 3, 3) -> (B, 3k, T)."""
        mean = x.new_tensor(self.standardise.mean)[:, None]
        std = x.new_tensor(self.standardise.std)[:, None]
        raw = (x * std + mean).unflatten(1, (-1, 3))  # (B, k, 3, T)
        turned = rotation.unsqueeze(1) @ raw
        return (turned.flatten(1, 2) - mean) / std


def _rotation(axis: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' formula: the rotation (3, 3) by an angle around a unit axis."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * (cross @ cross)


def _warp(x: Tensor, speed: Tensor) -> Tensor:
    """Run through each window at a varying speed, from its first to its last sample: (B, C, T), (B, KNOTS)."""
    length = x.shape[2]
    curve = torch.nn.functional.interpolate(speed.unsqueeze(1), size=length - 1, mode="linear", align_corners=True)
    time = torch.nn.functional.pad(curve.squeeze(1).cumsum(1), (1, 0))  # (B, T), rising from 0
    time = time / time[:, -1:] * (length - 1)
    left = time.floor().long().clamp(max=length - 2)
    share = (time - left).unsqueeze(1)
    before = x.gather(2, left.unsqueeze(1).expand_as(x))
    after = x.gather(2, (left + 1).unsqueeze(1).expand_as(x))
    return before * (1 - share) + after * share
