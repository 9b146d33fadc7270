"""A patch transformer for signals and images, from one definition.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (patches, learned positions, normalisation in
front); Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022 (average pooling in place of a class
token). Patches of a signal hold all its channels, as those of an image do, unlike those of PatchTST (Nie et al. 2023).

With 6 channels, 128 samples and 6 classes ``patch_transformer6-64`` has 304,582 parameters and 4,964,736 MACs.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import CONV, HEADS, CrossAttention

PATCH = {1: 8, 2: 4}
"""Samples of a signal, pixels per side of an image; 4 is usual for CIFAR's 32 x 32."""
EXPANSION = 4
MOST_PATCHES = 1024
"""Attention compares all with all: a batch of 64 takes 1 GB a block for its weights."""


class _Block(nn.Module):
    """Attention among all tokens, two linear layers for each; both behind a normalisation, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CrossAttention(width)
        self.mlp = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        asking = self.norm1(x)
        x = x + cast(Tensor, self.attention(asking, asking)[0])
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class PatchTransformer(Staged):
    """Patches with learned positions, three stages of ``depth / 3`` blocks, a normalisation, average pooling, linear.

    No map is smaller than the one before. An input whose size is no multiple of the patch is filled up with zeros. The
    model takes the size that it was made for and no other, since each position has a vector of its own.

    Args:
        shape: of one sample, (C, T) or (C, H, W).
        classes: number of classes.
        depth: number of blocks, 3, 6, 9, 12 ...
        width: of the tokens, a multiple of 4, the number of heads; 192 in ViT-Ti, which has 3 heads and 12 blocks.
        patch: samples, or pixels per side; 8 and 4 unless given.

    Raises:
        ValueError: for such a depth, width or patch, or more than 1,024 patches.
    """

    STRIDES: ClassVar[tuple[int, ...]] = (1, 1, 1)
    POINTS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, shape: tuple[int, ...], classes: int, depth: int = 6, width: int = 64, patch: int | None = None
    ) -> None:
        super().__init__()
        dims = len(shape) - 1
        self.size, self.patch = shape[1:], PATCH[dims] if patch is None else patch
        if depth < 3 or depth % 3:
            raise ValueError(f"a patch transformer's depth is 3n (3, 6, 9, 12, ...), got {depth}")
        if width < HEADS or width % HEADS:
            raise ValueError(f"a patch transformer's width is a multiple of its {HEADS} heads, got {width}")
        if self.patch < 1:
            raise ValueError("a patch transformer's patch must be at least 1, got 0")
        grid = torch.Size(-(-length // self.patch) for length in self.size)
        if grid.numel() > MOST_PATCHES:
            raise ValueError(
                f"an input of {' x '.join(map(str, self.size))} has {grid.numel()} patches of {self.patch}, the most "
                f"is {MOST_PATCHES}; name a larger one, patch_transformer{depth}-{width}-p{2 * self.patch}"
            )
        self.embed = CONV[dims](shape[0], width, self.patch, stride=self.patch)
        self.positions = nn.Parameter(torch.empty(width, *grid).normal_(std=0.02))
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(depth // 3))) for _ in range(len(self.STRIDES))
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage.

        Raises:
            ValueError: for an input of another size.
        """
        if x.shape[2:] != self.size:
            raise ValueError(f"this patch transformer was made for inputs of {self.size}, got {tuple(x.shape[2:])}")
        short = [side for length in reversed(self.size) for side in (0, -length % self.patch)]
        stem = self.embed(F.pad(x, short)) + self.positions  # (B, D, T') or (B, D, H', W')
        x, maps = stem, {"stem": stem}
        for name, layers in (*((f"stage{n}", stage) for n, stage in enumerate(self.stages, 1)), ("final", self.norm)):
            tokens = layers(x.flatten(2).transpose(1, 2))  # (B, N, D)
            x = maps[name] = tokens.transpose(1, 2).unflatten(2, stem.shape[2:])
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, D) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    patch = None if match[3] is None else int(match[3])
    return PatchTransformer(shape, classes, depth=int(match[1]), width=int(match[2]), patch=patch)


FAMILY = Family(
    "patch_transformer",
    r"patch_transformer(\d+)-(\d+)(?:-p(\d+))?",
    "patch_transformer6-64",
    "patch_transformer3-8",
    "Dosovitskiy et al. 2021, without class token: depth, width; -p16: patches of 16, not 8 samples or 4 x 4 pixels",
    _make,
    deep=True,
)
