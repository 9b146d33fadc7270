"""Maps out of transformers: tokens of image patches become feature maps, and blocks become stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DEPTHS = 4
"""Stages of a network whose maps all have one size: so many of its blocks, evenly spaced, the last among them."""
PREFIXES = (0, 1, 2, 5)
"""Tokens in front of the patches that are tried where a model does not say: class, distillation, registers."""


@dataclass(frozen=True)
class Reading:
    """How a module's output of three axes is read.

    Attributes:
        tokens: of a signal, (B, N, D), one vector per position; else (B, c, T').
        prefix: of a signal, how many tokens stand in front of the positions, such as a class token.
        sequence_first: it is (N, B, D), as transformers of torch have it unless told otherwise.
    """

    tokens: bool = False
    prefix: int = 0
    sequence_first: bool = False


def tensor_of(module: nn.Module, output: Any) -> Any:
    """A module's output; the first of what recurrent layers and attention give."""
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and isinstance(output, tuple):
        return output[0]
    return output


def as_map(output: Tensor, x: Tensor, model: nn.Module, reading: Reading | None = None) -> Tensor:
    """What a module gave, as a map (B, c, H', W') or (B, c, T'); anything else as it is.

    Tokens (B, N, D) lose those in front of the patches (the class token) and are laid out as the patches are; maps of
    timm's models that keep channels last are turned.

    Args:
        output: the module's output.
        x: the model's input, (B, C, H, W) or (B, C, T).
        model: the model.
        reading: what a probe found of the module.
    """
    if reading is not None and reading.sequence_first and output.dim() == 3:
        output = output.transpose(0, 1)
    if x.dim() == 3 and output.dim() == 3 and reading is not None and reading.tokens:
        return output[:, reading.prefix :].transpose(1, 2)  # (B, D, T')
    if x.dim() != 4:
        return output
    if output.dim() == 4 and getattr(model, "output_fmt", None) == "NHWC":
        return output.permute(0, 3, 1, 2)
    if output.dim() != 3:
        return output
    layout = _layout(output.shape[1], x.shape[2:], model)
    if layout is None:
        return output
    prefix, size = layout
    return output[:, prefix:].transpose(1, 2).unflatten(2, size)  # (B, D, H', W')


def _layout(count: int, image: Sequence[int], model: nn.Module) -> tuple[int, tuple[int, int]] | None:
    """How many tokens stand in front, and how the patches lie; None where no layout fits the image's shape."""
    declared = getattr(model, "num_prefix_tokens", None)
    for prefix in PREFIXES if declared is None else (int(declared),):
        patches = count - prefix
        if patches < 1:
            continue
        height = round((patches * image[0] / image[1]) ** 0.5)
        width = patches // max(height, 1)
        if height * width == patches and height * image[1] == width * image[0]:
            return prefix, (height, width)
    return None


def spaced(names: Sequence[str]) -> dict[str, str]:
    """Evenly spaced ones of equal blocks, as stages: of twelve the third, sixth, ninth and twelfth."""
    depths = min(DEPTHS, len(names))
    return {f"stage{n}": names[round(n * len(names) / depths) - 1] for n in range(1, depths + 1)}


def declared_by_timm(model: nn.Module) -> dict[str, str] | None:
    """The stages that a timm model declares, the last at each reduction; None for other models."""
    info: Any = getattr(model, "feature_info", None)
    if not type(model).__module__.startswith("timm.") or not info:
        return None
    entries = [(str(entry["module"]), entry["reduction"]) for entry in getattr(info, "info", info)]
    paths = dict(model.named_modules())
    if not all(path in paths for path, _ in entries):
        return None
    if len({reduction for _, reduction in entries}) == 1:
        return spaced([path for path, _ in entries])
    last_at = {reduction: path for path, reduction in entries}
    return {f"stage{number}": path for number, path in enumerate(last_at.values(), start=1)}


def blocks_of(model: nn.Module, example: Tensor) -> dict[str, str] | None:
    """Stages of a transformer that declares none: some of the longest row of equal modules that give patch tokens."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for path, module, shape, _ in _tokens_of(model, example):
        if "." in path and _layout(shape[0], example.shape[2:], model):
            rows.setdefault((path.rpartition(".")[0], type(module).__name__, shape), []).append(path)
    longest = max(rows.values(), key=len, default=[])
    return spaced(longest) if len(longest) > 1 else None


def sequences(model: nn.Module, example: Tensor) -> set[str]:
    """Modules of an image model that give tokens (N, B, D)."""
    return {path for path, _, _, second in _tokens_of(model, example) if second}


def _tokens_of(model: nn.Module, example: Tensor) -> list[tuple[str, nn.Module, tuple[int, ...], bool]]:
    """What gives tensors of three axes: their shape without the batch, and whether the batch is their second axis.

    Seen in two passes of several samples, since one number of them may be the number of tokens.
    """
    passes: list[dict[str, tuple[nn.Module, tuple[int, ...]]]] = []

    def watch(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensor = tensor_of(module, output)
            if isinstance(tensor, Tensor) and tensor.dim() == 3:
                passes[-1][path] = (module, tuple(tensor.shape))

        return hook

    hooks = [module.register_forward_hook(watch(path)) for path, module in model.named_modules() if path]
    try:
        with torch.no_grad():
            for samples in (2, 3):
                passes.append({})
                model(example[:1].expand(samples, *example.shape[1:]).contiguous())
    finally:
        for handle in hooks:
            handle.remove()
    tokens = []
    for path, (module, shape) in passes[0].items():
        later = passes[1].get(path, (module, ()))[1]
        if (shape[:1], later[:1]) == ((2,), (3,)):
            tokens.append((path, module, shape[1:], False))
        elif (shape[1:2], later[1:2]) == ((2,), (3,)):
            tokens.append((path, module, (shape[0], shape[2]), True))
    return tokens
