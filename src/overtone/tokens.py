"""Maps out of transformers: tokens of image patches become feature maps, and blocks become stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

DEPTHS = 4
"""Stages of a network whose maps all have one size: so many of its blocks, evenly spaced, the last among them."""
PREFIXES = (0, 1, 2, 5)
"""Tokens in front of the patches that are tried where a model does not say: class, distillation, registers."""


def as_map(held: Tensor, x: Tensor, model: nn.Module) -> Tensor:
    """What a module of an image model gave, as a map (B, c, H', W'); anything else as it is.

    Tokens (B, N, D) lose those in front of the patches (the class token) and are laid out as the patches are; maps of
    timm's models that keep channels last are turned.

    Args:
        held: the module's output.
        x: the model's input, (B, C, H, W).
        model: the model.
    """
    if x.dim() != 4:
        return held
    if held.dim() == 4 and getattr(model, "output_fmt", None) == "NHWC":
        return held.permute(0, 3, 1, 2)
    if held.dim() != 3:
        return held
    layout = _layout(held.shape[1], x.shape[2:], model)
    if layout is None:
        return held
    prefix, size = layout
    return held[:, prefix:].transpose(1, 2).unflatten(2, size)  # (B, D, H', W')


def _layout(count: int, image: Sequence[int], model: nn.Module) -> tuple[int, tuple[int, int]] | None:
    """How many tokens stand in front, and how the patches lie; None where no layout fits the image's shape."""
    said = getattr(model, "num_prefix_tokens", None)
    for prefix in PREFIXES if said is None else (int(said),):
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
    rows: dict[tuple[str, str, torch.Size], list[str]] = {}
    hooks = []

    def watch(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 3 and _layout(output.shape[1], example.shape[2:], model):
                parent = path.rpartition(".")[0]
                rows.setdefault((parent, type(module).__name__, output.shape), []).append(path)

        return hook

    for path, module in model.named_modules():
        if "." in path:
            hooks.append(module.register_forward_hook(watch(path)))
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in hooks:
            handle.remove()
    longest = max(rows.values(), key=len, default=[])
    return spaced(longest) if len(longest) > 1 else None
