"""Attention of every position to its neighbourhood, with relative embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from overtone.frequency.checks import fits, is_whole, whole
from overtone.frequency.layers import CONV

TILE, DEVICE_TILE = 2**17, 2**26
"""Values worked on at a time: on a CPU, so that they stay in its cache; elsewhere, so that memory does."""
WHOLE = 2**20
"""An image's map of more values than that is worked on some rows at a time on a CPU."""


class LocalAttention(nn.Module):
    """Self-attention (``attention(x)``) or cross-attention (``attention(x, y)``) over 3 or 3x3 neighbours.

    Queries come from y (x itself without it), keys and values from x, each by a 1x1 convolution; outside the map keys
    and values are 0. To keys, relative embeddings are added: in 2-D one half of the channels gets an embedding of the
    row's, the other of the column's distance. The softmax runs over the neighbours for every channel by itself, without
    a sum over channels and without scaling, as in the official FAM-KD code. It can be differentiated once.

    Args:
        channels: of the maps; even in 2-D.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        kernel: neighbours per dimension, odd.

    Raises:
        ValueError: for an odd number of channels in 2-D, an even kernel, or no number of channels or dimensions.

    Source: Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019, in the form of the
    official FAM-KD code.

    Example:
        >>> attention = LocalAttention(4, dims=1)
        >>> attention(torch.zeros(2, 4, 16), torch.zeros(2, 4, 16)).shape
        torch.Size([2, 4, 16])
        >>> sum(parameter.numel() for parameter in attention.parameters())  # three 1x1 convolutions and 3 embeddings
        60
    """

    def __init__(self, channels: int, dims: int, kernel: int = 3) -> None:
        super().__init__()
        channels = whole("channels", channels)
        if not is_whole(dims) or dims > 2:
            raise ValueError(f"dims is 1, for signals, or 2, for images; got {dims!r}")
        if not is_whole(kernel) or kernel % 2 == 0:
            raise ValueError(f"a neighbourhood's side is an odd number, got {kernel!r}")
        dims, kernel = int(dims), int(kernel)
        if dims == 2 and channels % 2:
            raise ValueError(
                f"local attention on images needs an even number of channels (half for rows, half for columns), got "
                f"{channels}"
            )
        self.channels, self.dims, self.kernel = channels, dims, kernel
        self.query = CONV[dims](channels, channels, 1, bias=False)
        self.key = CONV[dims](channels, channels, 1, bias=False)
        self.value = CONV[dims](channels, channels, 1, bias=False)
        for conv in (self.query, self.key, self.value):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        # One row per channel: in 2-D the first half belongs to distances of rows, the second to those of columns.
        self.relative = nn.Parameter(torch.randn(channels, kernel))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x and y (B, C, T) or (B, C, H, W), equally large -> the same shape.

        Raises:
            ValueError: for maps of other channels or dimensions, empty maps, or an x and y of different shapes.
        """
        fits(x, self.channels, self.dims, f"(B, {self.channels}, {'T' if self.dims == 1 else 'H, W'})")
        if y is not None and y.shape != x.shape:
            raise ValueError(
                f"queries come from a map y of the same shape as x, of keys and values; got {tuple(y.shape)} and "
                f"{tuple(x.shape)}"
            )
        query = self.query(x if y is None else y)
        return _Streaming.apply(query, self.key(x), self.value(x), self._embedding(), self.kernel)

    def _embedding(self) -> Tensor:
        """Of every neighbour, (kernel ** dims, C)."""
        if self.dims == 1:
            return self.relative.T
        half = len(self.relative) // 2
        rows = self.relative[:half].T.repeat_interleave(self.kernel, 0)  # (k * k, C / 2)
        columns = self.relative[half:].T.repeat(self.kernel, 1)
        return torch.cat([rows, columns], dim=1)


Part = tuple[slice, ...]


def _tiles(query: Tensor, kernel: int) -> Iterator[tuple[Part, Part, list[Part]]]:
    """Parts worked on at a time: of the map, of the padded map, and where in the latter each neighbour is seen."""
    samples, rows, *others = query.shape[:-1]
    values = max(math.prod(query.shape[1:]), 1)
    tile, whole = (TILE, WHOLE) if query.device.type == "cpu" else (DEVICE_TILE, DEVICE_TILE)
    step = max(1, tile // values)
    height = max(1, tile * rows // values) if others and values > whole else rows
    for sample, row in product(range(0, samples, step), range(0, rows, height)):
        chosen = slice(sample, sample + step)
        sizes = [min(height, rows - row), *others]
        shifts = product(range(kernel), repeat=len(sizes))
        windows = [(slice(None), *(slice(s, s + n) for s, n in zip(shift, sizes, strict=True))) for shift in shifts]
        yield (chosen, slice(row, row + height)), (chosen, slice(row, row + height + kernel - 1)), windows


def _rows(embedding: Tensor, query: Tensor) -> Tensor:
    """(neighbours, C) as (neighbours, W, C), so that a map's row and its channels are one run of memory."""
    return embedding.unsqueeze(1).expand(-1, query.shape[-2], -1).contiguous()


class _Streaming(torch.autograd.Function):
    """The softmax over neighbours one neighbour after the other: nine shifted views of the keys, never nine copies.

    Inside, channels are last: the neighbours of a whole row are then one run of memory.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, embedding: Tensor, kernel: int) -> Tensor:
        query, key, value = (x.movedim(1, -1).contiguous() for x in (query, key, value))  # (B, *size, C)
        padding = [0, 0] + [kernel // 2] * (2 * (query.dim() - 2))
        key, value = F.pad(key, padding), F.pad(value, padding)
        rows = _rows(embedding, query)
        out, norm = torch.empty_like(query), torch.empty_like(query)  # norm: logarithm of the softmax's denominator
        for part, padded, windows in _tiles(query, kernel):
            q, k, v = query[part], key[padded], value[padded]
            most = torch.full_like(q, -torch.inf)
            for window, row in zip(windows, rows, strict=True):
                torch.maximum(most, (k[window] + row).mul_(q), out=most)
            total, weighted = torch.zeros_like(q), torch.zeros_like(q)
            for window, row in zip(windows, rows, strict=True):
                weight = (k[window] + row).mul_(q).sub_(most).exp_()
                total += weight
                weighted.addcmul_(weight, v[window])
            torch.div(weighted, total, out=out[part])
            torch.add(total.log_(), most, out=norm[part])
        ctx.save_for_backward(query, key, value, embedding, out, norm)
        ctx.kernel = kernel
        return out.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        query, key, value, embedding, out, norm = ctx.saved_tensors
        gradient = gradient.movedim(1, -1).contiguous()
        rows = _rows(embedding, query)
        to_query = torch.zeros_like(query)
        to_key, to_value, to_embedding = torch.zeros_like(key), torch.zeros_like(value), torch.zeros_like(embedding)
        for part, padded, windows in _tiles(query, ctx.kernel):
            q, k, v, g, n = query[part], key[padded], value[padded], gradient[part], norm[part]
            to_q, to_k, to_v = to_query[part], to_key[padded], to_value[padded]
            mean = g * out[part]  # the softmax's gradient is p (dp - sum p dp), and that sum is g times the output
            for number, (window, row) in enumerate(zip(windows, rows, strict=True)):
                near = k[window] + row
                weight = (near * q).sub_(n).exp_()
                to_v[window].addcmul_(weight, g)
                to_score = (v[window] * g).sub_(mean).mul_(weight)
                to_q.addcmul_(to_score, near)
                to_near = to_score.mul_(q)
                to_k[window].add_(to_near)
                to_embedding[number] += to_near.flatten(0, -2).sum(0)
        inside = (slice(None), *(slice(ctx.kernel // 2, ctx.kernel // 2 + n) for n in query.shape[1:-1]))
        to_query, to_key, to_value = (x.movedim(-1, 1) for x in (to_query, to_key[inside], to_value[inside]))
        return to_query, to_key, to_value, to_embedding, None
