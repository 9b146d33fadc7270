"""Layers by the number of dimensions, 1 for signals (B, C, T) and 2 for images (B, C, H, W); attention, recurrence."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
NORM: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
AVERAGE_POOL: dict[int, type[nn.AvgPool1d] | type[nn.AvgPool2d]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
MAX_POOL: dict[int, type[nn.MaxPool1d] | type[nn.MaxPool2d]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
HEADS = 4


class CrossAttention(nn.Module):
    """Tokens ask others, or themselves: ``softmax(q k^T / sqrt(d / heads)) v``, and a last linear map.

    Written out rather than ``nn.MultiheadAttention``, whose fast path escapes the counting of multiplications.

    Args:
        width: of the tokens, a multiple of ``heads``.
        heads: how many.
    """

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, asking: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, P, d) and (B, Q, d) to what was found, (B, P, d), and the weights' mean over heads, (B, P, Q)."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, P or Q, d / heads)
            for layer, x in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(3)  # (B, heads, P, Q)
        attended = (weights @ v).transpose(1, 2).flatten(2)  # (B, P, d)
        return self.out(attended), weights.mean(1)


class OverTime(nn.Module):
    """A recurrent layer that takes and gives maps.

    Args:
        layer: of one layer, batch first, without dropout.
    """

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def train(self, mode: bool = True) -> OverTime:
        """Evaluation is for what is around it: in it cuDNN gives no gradient, which Grad-CAM needs."""
        super().train(mode)
        self.layer.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, T) -> (B, d, T)."""
        return cast(Tensor, self.layer(x.transpose(1, 2))[0]).transpose(1, 2)


def apart(x: Tensor, channels: int) -> Tensor:
    """Each channel, or what was made of it, as a sample of its own: (B, C f, T) -> (B C, f, T)."""
    return x.unflatten(1, (channels, -1)).flatten(0, 1)


def together(x: Tensor, channels: int) -> Tensor:
    """The reverse, one map of all channels: (B C, f, T) -> (B, C f, T)."""
    return x.unflatten(0, (-1, channels)).flatten(1, 2)
