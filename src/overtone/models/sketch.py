"""Models without memory: what a name stands for is counted before anything is allocated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from overtone.errors import InputError

REGISTERED, PARTS = 6, 256
"""Modules, parameters and buffers that a model may register for each tensor of its file, and besides. Of torchvision's
and timm's models none needs more than 4.3."""
TIMES, VALUES = 4, 2**20
"""Values that it may register for each value of its file, and besides; pruned models are made whole first (2.9)."""


class TooLargeError(InputError):
    """A model that has more parts or values than its file can fill."""


@contextmanager
def sketching(tensors: int, values: int, computed: bool = False) -> Iterator[None]:
    """What is built inside has shapes and no memory (torch's meta device), and no more parts than a file can fill.

    A depth of a million is so left after a few blocks, a width of a million before it takes any memory.

    Args:
        tensors: in the file.
        values: in all of them together.
        computed: for models whose sizes are computed by tensors: those are real, only parameters have no memory.

    Raises:
        TooLargeError: out of the model's constructor.
    """
    here, counts = threading.get_ident(), {"parts": 0, "values": 0}

    def count(_: nn.Module, name: str, part: Any) -> Any:
        if threading.get_ident() != here:  # another thread builds a model of its own
            return None
        counts["parts"] += 1
        counts["values"] += part.numel() if isinstance(part, Tensor) else 0
        if counts["parts"] > REGISTERED * tensors + PARTS:
            raise TooLargeError(f"its model has more parts than the file's {tensors} tensors can fill")
        if counts["values"] > TIMES * values + VALUES:
            raise TooLargeError(f"its model has more parameters than the {values} values of the file")
        if computed and isinstance(part, nn.Parameter):
            return nn.Parameter(part.to("meta"), requires_grad=part.requires_grad)
        return None

    removers = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        with torch.device("cpu" if computed else "meta"):
            yield
    finally:
        for each in removers:
            each.remove()
