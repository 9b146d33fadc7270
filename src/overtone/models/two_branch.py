"""A student with two branches: a signal and an image of the same window, joined by cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overtone.models.base import Staged, Tapped
from overtone.models.layers import HEADS, CrossAttention
from overtone.types import Output


class TwoBranch(Tapped):
    """A signal branch and an image branch, each a classifier of its own, and a fused head over both.

    The last maps of the branches become tokens, (B, T', d) and (B, H' W', d). Each kind asks the other by
    cross-attention with a residual, is averaged, and the two averages go into the fused classifier. ``attention`` is
    the mean of both directions' weights, as shares of all pairs of positions: (B, T', H' W'), summing to 1.

    With modality dropout a sample's signal or image tokens are at times replaced by a learned token in training, so
    that later one input may be missing (None); the branches' own heads always see theirs.

    Args:
        signal: the branch for (B, C, T).
        image: the branch for (B, C, H, W).
        shapes: of both inputs without the batch, from which the maps' sizes are found.
        classes: number of classes.
        modality_dropout: probability that a training sample loses one of its two inputs, 0 <= p < 1.

    Raises:
        ValueError: for a probability outside its range.
    """

    BRANCHES = ("signal", "image")

    def __init__(
        self,
        signal: Staged,
        image: Staged,
        shapes: Sequence[Sequence[int]],
        classes: int,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"modality_dropout is a probability below 1, got {modality_dropout}")
        self.signal, self.image = signal, image
        self.modality_dropout = modality_dropout
        maps = [_map_of(branch, shape) for branch, shape in zip((signal, image), shapes, strict=True)]
        widths = [size[0] for size in maps]
        self.positions = [size[1:].numel() for size in maps]
        width = max(HEADS, min(widths) // HEADS * HEADS)
        self.tokens = nn.ModuleList([nn.Linear(channels, width) for channels in widths])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in widths])
        self.ask = nn.ModuleList([CrossAttention(width) for _ in widths])
        # Only where they are trained: distributed training refuses parameters without a gradient.
        self.absent = nn.ParameterList([nn.Parameter(torch.zeros(width)) for _ in widths] if modality_dropout else [])
        self.classifier = nn.Linear(2 * width, classes)

    def output(self, x: tuple[Tensor | None, Tensor | None]) -> Output:
        """The fused output, and each branch's own in ``branches``; an input that is None is missing.

        Raises:
            ValueError: for a missing input of a model without modality dropout, or two missing.
        """
        branches = {
            name: branch.output(part)
            for name, branch, part in zip(self.BRANCHES, (self.signal, self.image), x, strict=True)
            if part is not None
        }
        if len(branches) < (1 if self.absent else 2):
            names = " and ".join(branches) or "neither"
            raise ValueError(
                f"this two-branch model needs a signal {'or' if self.absent else 'and'} an image, got {names}"
                + ("" if self.absent else "; one may be missing after training with modality_dropout")
            )
        batch = len(next(iter(branches.values())).logits)
        missing = self._missing(batch, next(iter(branches.values())).logits.device)
        tokens = []
        for number, name in enumerate(self.BRANCHES):
            if name not in branches:
                tokens.append(self.absent[number].repeat(batch, self.positions[number], 1))
                continue
            final = branches[name].stages["final"].flatten(2).transpose(1, 2)  # (B, P, c)
            embedded = self.norms[number](self.tokens[number](final))  # (B, P, d)
            if missing is not None:
                embedded = torch.where(missing[number], self.absent[number].to(embedded.dtype), embedded)
            tokens.append(embedded)
        (signal, to_image), (image, to_signal) = self.ask[0](*tokens), self.ask[1](tokens[1], tokens[0])
        pooled = [(embedded + attended).mean(1) for embedded, attended in zip(tokens, (signal, image), strict=True)]
        fused = torch.cat(pooled, 1)  # (B, 2 d)
        # Rows of either direction sum to 1; over all pairs, each direction then sums to 1 and so does their mean.
        attention = (to_image / to_image.shape[1] + (to_signal / to_signal.shape[1]).transpose(1, 2)) / 2
        return Output.of(self.classifier(fused), embedding=fused, attention=attention, branches=branches)

    def _missing(self, batch: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Which samples lose their signal and which their image, (B, 1, 1) each; None outside training."""
        if not self.training or not self.modality_dropout:
            return None
        drawn = torch.rand(batch, 1, 1, device=device) / self.modality_dropout
        return drawn < 0.5, (drawn >= 0.5) & (drawn < 1)

    def forward(self, x: tuple[Tensor | None, Tensor | None]) -> Tensor:
        """Logits (B, C) of the fused head."""
        return self.output(x).logits


def _map_of(branch: Staged, shape: Sequence[int]) -> torch.Size:
    """The size of a branch's last map, (c, ...)."""
    training = branch.training
    with torch.no_grad():
        final = branch.eval().features(torch.zeros(1, *shape))["final"]
    branch.train(training)
    return final.shape[1:]
