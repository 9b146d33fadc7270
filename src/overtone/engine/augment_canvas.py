"""Augmentation of images that lie in the corner of a canvas, where targets are places in them and must follow.

A pure function of (seed, epoch, sample), as the other kinds are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from overtone.data import Standardiser
from overtone.engine.augment_images import draws_of
from overtone.engine.schedule import mix
from overtone.recipe import AugmentSettings
from overtone.types import Move


@dataclass(frozen=True)
class CanvasAugment:
    """Mirror images, and images at random smaller sizes: the usual augmentation of detectors.

    Attributes:
        settings: how much of what.
        standardise: says what black is.
        seed: the cell's.
    """

    settings: AugmentSettings
    standardise: Standardiser
    seed: int

    def __call__(self, x: Tensor, index: Tensor, size: Tensor, epoch: int) -> tuple[Tensor, Move]:
        """Images (B, C, H, W) of sizes (B, 2) in pixels, and how they were moved."""
        draws = draws_of(mix(self.seed, epoch, "augment"), index.cpu().numpy())  # (3, B)
        least = self.settings.rescale or 1.0
        factor = torch.from_numpy(least + (1 - least) * draws[0]).to(x.device)
        scaled = (size * factor[:, None]).round().long().clamp(min=1)  # (B, 2)
        mirrored = torch.from_numpy(draws[2] < self.settings.flip).to(x.device)
        black = self.standardise(x.new_zeros(1, x.shape[1], 1)).view(-1, 1, 1)
        out = black.expand(x.shape).clone()
        for row, (old, new, flip) in enumerate(zip(size.tolist(), scaled.tolist(), mirrored.tolist(), strict=True)):
            image = x[row : row + 1, :, : old[0], : old[1]]
            if new != old:
                image = F.interpolate(image, new, mode="bilinear", antialias=True, align_corners=False)
            out[row, :, : new[0], : new[1]] = image[0].flip(2) if flip else image[0]
        return out, Move(scaled, mirrored)
