"""Calling a fusion on bare logits."""

from __future__ import annotations

import torch
from torch import Tensor

from overtone.fusion import Fusion
from overtone.types import Batch, DataInfo, Output


def fused(fusion: Fusion, student: Tensor, teachers: Tensor, target: Tensor, data: DataInfo | None = None) -> Tensor:
    """Logits (B, C) and (K, B, C), class numbers (B,) -> weights (K, B)."""
    batch = Batch({}, target, torch.arange(len(target)))
    return fusion(Output.of(student), {str(k): Output.of(z) for k, z in enumerate(teachers)}, batch, data or DataInfo())
