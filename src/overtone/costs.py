"""What a model costs: its parameters, and its multiplications for one sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from overtone.models import Tapped
from overtone.types import Input


def parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, **kwargs: Any) -> int:
    """Of scores and of the weighted sum: queries (B, H, N, d), keys (B, H, M, d), values (B, H, M, e)."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _cudnn_flops(x: Sequence[int], weights: Sequence[Sequence[int]], *args: Any, **kwargs: Any) -> int:
    """Of recurrent layers as cuDNN runs them: every weight once per step, inputs (T, B, c) or (B, T, c)."""
    return 2 * x[0] * x[1] * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _onednn_flops(x: Sequence[int], inputs: Sequence[int], states: Sequence[int], *args: Any, **kwargs: Any) -> int:
    """The same of one layer and direction as CPUs run it."""
    return _cudnn_flops(x, (inputs, states))


FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._cudnn_rnn: _cudnn_flops,
    torch.ops.aten.mkldnn_rnn_layer: _onednn_flops,
}
"""What torch's own counter leaves out; other recurrent layers are matrix products, which it counts."""


def macs(model: nn.Module, example: Input) -> int:
    """Multiply-accumulates of convolutions, matrix products, attention and recurrent layers for one sample.

    Half of torch's FLOP count. Transformer layers of torch run step by step here, not as one operation of unknown size.
    """
    training = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
            several = isinstance(example, tuple)
            one = tuple(None if x is None else x[:1] for x in example) if several else example[:1]
            model.counted(one) if isinstance(model, Tapped) else model(one)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in training.items():
            module.training = mode
    return int(counter.get_total_flops()) // 2
