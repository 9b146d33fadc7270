"""Class activation maps, of any model whose head is known."""

from __future__ import annotations

from torch import Tensor

from overtone.types import Output


def class_maps(output: Output) -> tuple[Tensor, Tensor]:
    """Class activation maps of all classes, (B, C, ...), and the bias: each map's mean plus the bias is the logit.

    ``CAM_c[p] = sum_k W[c, k] F_k[p]`` (Zhou et al. 2016) for a head of average pooling and a linear layer, found by
    showing the head one position at a time, so that any model's head will do. Where positions are weighed by an
    attention ``a``, ``CAM_c[p] = P a_p sum_k W[c, k] F_k[p]`` over P positions, and the identity still holds.

    Args:
        output: with a ``head`` and the stage ``final``, (B, c, ...); differentiable in it.
    """
    if output.head is None or "final" not in output.stages:
        raise ValueError("class activation maps need a model whose head and last map are known")
    final = output.stages["final"]
    batch, channels, size = final.shape[0], final.shape[1], final.shape[2:]
    positions = final.flatten(2).transpose(1, 2).reshape(-1, channels, *[1] * len(size))  # (B P, c, 1 ...)
    bias = output.head(final.new_zeros(1, *positions.shape[1:]))  # (1, C)
    maps = (output.head(positions) - bias).view(batch, size.numel(), -1).transpose(1, 2)  # (B, C, P)
    if output.attention is not None:
        maps = maps * (size.numel() * output.attention).unsqueeze(1)
    return maps.reshape(batch, maps.shape[1], *size).contiguous(), bias  # strides that every compiler takes
