"""Augmentation of images in training, a pure function of (seed, epoch, sample) so that a resumed run repeats it.

Source of random crops: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, as torchvision has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from overtone.data import Standardiser
from overtone.engine.schedule import mix
from overtone.recipe import AugmentSettings


@dataclass(frozen=True)
class ImageAugment:
    """Shifted crops of the image in a black border, and mirror images: the usual augmentation of CIFAR.

    Attributes:
        settings: how much of what.
        standardise: says what black is.
        seed: the cell's.
    """

    settings: AugmentSettings
    standardise: Standardiser
    seed: int

    def __call__(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, _, height, width = x.shape
        draws = draws_of(mix(self.seed, epoch, "augment"), index.cpu().numpy())  # (3, B)
        border = self.settings.crop
        down, right = (torch.from_numpy(np.floor(d * (2 * border + 1)) - border).long() for d in draws[:2])
        mirrored = torch.from_numpy(draws[2] < self.settings.flip)
        across = torch.arange(width).repeat(batch, 1)
        across = torch.where(mirrored[:, None], width - 1 - across, across)
        rows = (torch.arange(height) + down[:, None]).to(x.device)  # (B, H)
        columns = (across + right[:, None]).to(x.device)  # (B, W)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        sample = torch.arange(batch, device=x.device)[:, None, None]
        chosen = x[sample, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
        black = self.standardise(x.new_zeros(1, x.shape[1], 1)).view(-1)
        return torch.where(inside.unsqueeze(3), chosen, black).permute(0, 3, 1, 2)  # from (B, H, W, C)


@dataclass(frozen=True)
class RandomCrop:
    """A random part of an image, of between a least share of its area and all, scaled to one size.

    Attributes:
        least: the share.
        seed: of one epoch; each sample draws from its own generator, whichever process reads it.
    """

    least: float
    seed: int

    def __call__(self, image: Image.Image, side: int, number: int) -> Image.Image:
        """An image of side x side."""
        from torchvision.transforms import v2

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix(self.seed, number))  # not a GPU's, which training draws from
            cut: Image.Image = v2.RandomResizedCrop(side, scale=(self.least, 1.0))(image)
        return cut


def random_crop(settings: AugmentSettings, seed: int, epoch: int) -> RandomCrop | None:
    """How images in files are cut in an epoch; None where their middle is taken."""
    least = settings.resized_crop
    return RandomCrop(least, mix(seed, epoch, "crop")) if least else None


def draws_of(seed: int, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Three numbers from 0 to 1 for each sample, (3, B): a hash (splitmix64) of seed, sample and which of the three.

    Unlike a generator for each sample, this takes no time.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64
        state = (index.astype(np.uint64) * np.uint64(3) + np.arange(3, dtype=np.uint64)[:, None]) + np.uint64(seed)
        mixed = state * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) / float(2**53)
