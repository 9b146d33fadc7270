"""What the axes of a model's maps are where it sees signals: (B, c, T') by convolutions, (B, N, D) by transformers.

Both have three axes, so that shapes alone do not tell time from channels. A pass is followed instead: what runs, and
how shapes move from one module to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overtone.tokens import PREFIXES, Reading, spaced, tensor_of

FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
)
"""What takes and gives channels before positions."""
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
TOKENS = (
    *(nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer),
    *(nn.MultiheadAttention, nn.RNNBase),
)
"""What takes and gives one vector per position."""
BATCHES = (5, 7, 11, 13, 17, 19, 23)
"""Samples of the pass that is followed: the first number that no other axis happens to have."""


@dataclass(frozen=True)
class Seen:
    """One module's output on the way.

    Attributes:
        shape: without the batch.
        reading: how it is read; None where that is unknown.
        grown: whether it is larger than what the module took.
    """

    path: str
    module: nn.Module
    shape: tuple[int, int]
    reading: Reading | None
    grown: bool


class _Axes:
    """Follows the axes of what runs by.

    ``first``: (c, T'), ``tokens``: (N, D) of which ``prefix`` stand in front of the positions, ``lost``: vectors of
    positions that are not known to be time, such as patches of several channels in a row.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.state: Literal["first", "tokens", "lost"] = "first"
        self.shape: tuple[int, int] = (x.shape[1], x.shape[2])
        self.prefix = 0
        self.last: Tensor | None = None

    def see(self, module: nn.Module, tensor: Tensor, shape: tuple[int, int], enters: bool) -> None:
        """A module takes or gives a tensor of this shape (without the batch)."""
        if enters and shape[0] == shape[1] and self._turned(tensor) and self.state != "lost":
            self.state, self.prefix = ("tokens" if self.state == "first" else "first"), 0
        self.last = tensor
        square = shape == (self.shape[0], self.shape[0]) != self.shape
        if self.state == "tokens" and square and not any(True for _ in module.parameters()):
            return  # how much each token attends to each
        if isinstance(module, FIRST):
            self.state, self.prefix = "first", 0
        elif isinstance(module, (*TOKENS, nn.Linear, nn.LayerNorm)) and enters:
            self._vectors(module, tensor, shape)
        elif shape != self.shape:
            self._moved(shape)
        self.shape = shape

    def _turned(self, tensor: Tensor) -> bool:
        """Whether a square map is the last one with its axes swapped, which its shape does not tell."""
        last = self.last
        if last is None or last.shape != tensor.shape or torch.equal(tensor, last):
            return False
        return torch.equal(tensor, last.transpose(1, 2))

    def _vectors(self, module: nn.Module, tensor: Tensor, shape: tuple[int, int]) -> None:
        """What works on the last axis takes a tensor: vectors of tokens, or a layer over time."""
        if self.state == "first":
            square = shape[0] == shape[1]
            if shape == self.shape and not (square and not isinstance(module, nn.LayerNorm)):
                if isinstance(module, TOKENS):  # its positions would be channels
                    self.state = "lost"
            elif self._crosswise(shape) is not None:
                self.state, self.prefix = "tokens", self._crosswise(shape) or 0
            elif self.x.shape[2] > shape[0] > 1 and _patches(tensor, self.x, shape):
                self.state, self.prefix = "tokens", 0
            elif shape[0] != self.shape[0]:  # not even the channels are where they were
                self.state = "lost"
        elif shape != self.shape:
            self._moved(shape)

    def _crosswise(self, shape: tuple[int, int]) -> int | None:
        """Of (N, D) after a map (c = D, T'): how many tokens stand in front of T'; None where it is no such thing."""
        extra = shape[0] - self.shape[1]
        return extra if shape[1] == self.shape[0] and extra in PREFIXES else None

    def _moved(self, shape: tuple[int, int]) -> None:
        """Something without a layer of its own has moved axes, or made them longer or shorter."""
        if self.state == "first":
            extra = self._crosswise(shape)
            if extra is not None and shape != self.shape:
                self.state, self.prefix = "tokens", extra
        elif self.state == "tokens":
            extra = shape[0] - self.shape[0]
            if shape == (self.shape[1], self.shape[0] - self.prefix):
                self.state, self.prefix = "first", 0
            elif shape[1] == self.shape[1] and extra in PREFIXES:
                self.prefix += extra
            elif shape[1] == self.shape[1] and -extra == self.prefix:
                self.prefix = 0
            elif extra:
                self.state = "lost"

    def reading(self, sequence_first: bool) -> Reading | None:
        """How the tensor that was seen last is read."""
        if self.state == "lost":
            return None
        return Reading(self.state == "tokens", self.prefix, sequence_first)


def follow(model: nn.Module, example: Tensor) -> list[Seen]:
    """Every output of three axes that modules give in a pass in evaluation mode, in the order in which they end."""
    for batch in BATCHES:
        outputs, clear = _pass(model, example, batch)
        if clear:
            break
    return outputs


def _pass(model: nn.Module, example: Tensor, batch: int) -> tuple[list[Seen], bool]:
    """One pass of so many samples, and whether the batch could be told from all other axes.

    Of noise, so that patches can be recognised by their values.
    """
    shape = (batch, *example.shape[1:])
    x = example[:1].expand(shape).contiguous()
    if x.is_floating_point():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(x)
    axes, outputs, clear, hooks = _Axes(x), list[Seen](), True, []

    def seen(module: nn.Module, tensor: Any, enters: bool) -> bool | None:
        """Follows a tensor; whether its batch is the second axis, None for other things."""
        nonlocal clear
        if not isinstance(tensor, Tensor) or tensor.dim() != 3 or batch not in tensor.shape[:2]:
            return None
        clear = clear and list(tensor.shape).count(batch) == 1
        second = tensor.shape[0] != batch
        batched = tensor.transpose(0, 1) if second else tensor
        axes.see(module, batched, (batched.shape[1], batched.shape[2]), enters)
        return second

    def before(module: nn.Module, args: Any) -> None:
        if args:
            seen(module, args[0], enters=True)

    def after(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensor = tensor_of(module, output)
            second = seen(module, tensor, enters=False)
            if second is not None and path:
                grown = bool(args) and isinstance(args[0], Tensor) and tensor.numel() > args[0].numel()
                shape = (tensor.shape[0] if second else tensor.shape[1], tensor.shape[2])
                outputs.append(Seen(path, module, shape, axes.reading(second), grown))

        return hook

    for path, module in model.named_modules():
        hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after(path))]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, clear


def _patches(tokens: Tensor, x: Tensor, shape: tuple[int, int]) -> bool:
    """Whether tokens (N, D) are the windows of a signal (C, T) one after the other, each with all its channels."""
    count = shape[0]
    length = x.shape[2] // count
    if shape[1] != x.shape[1] * length:
        return False
    windows = x[0, :, : count * length].unflatten(1, (count, length)).transpose(0, 1).flatten(1)  # (N, C T / N)
    return torch.equal(windows.sort(1).values, tokens[0].sort(1).values)


def stages_of(outputs: list[Seen]) -> dict[str, str]:
    """The last module at each length of a map; where there is one length at most, blocks or layers of tokens."""
    last_at = {}
    for seen in outputs:
        # An adaptive pooling may repeat positions, to the size that a classifier was made for: no new map.
        repeated = isinstance(seen.module, ADAPTIVE) and seen.grown
        if seen.reading == Reading() and seen.shape[1] > 1 and not repeated:
            last_at[seen.shape[1]] = seen.path
    rows = _rows(outputs)
    if len(last_at) < 2 and rows:
        return spaced(rows)
    return {f"stage{number}": last_at[length] for number, length in enumerate(sorted(last_at, reverse=True), start=1)}


def _rows(outputs: list[Seen]) -> list[str]:
    """The longest row of equal modules that give tokens; else what gives some by itself, a recurrent layer."""
    rows: dict[tuple[str, str, tuple[int, int]], list[str]] = {}
    alone = []
    for seen in outputs:
        if seen.reading is None or not seen.reading.tokens or seen.shape[0] - seen.reading.prefix < 2:
            continue
        parent = seen.path.rpartition(".")[0]
        if "." in seen.path:
            rows.setdefault((parent, type(seen.module).__name__, seen.shape), []).append(seen.path)
        if isinstance(seen.module, (nn.RNNBase, nn.TransformerEncoder, nn.TransformerEncoderLayer)):
            alone.append(seen.path)
    longest = max(rows.values(), key=len, default=[])
    return longest if len(longest) > 1 else alone[-1:]
