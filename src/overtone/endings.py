"""Where a foreign model's stages end in an activation, so that the map in front of it can be read too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign),
)
"""Modules that change every value by itself."""


def last_activations(model: nn.Module, at: Mapping[str, str], example: Tensor) -> dict[str, str]:
    """The activation that gives what a stage gives, by stage, as the path of its module; from one pass.

    Found where it is a module, inside the stage or the stage itself, and nothing follows it there: ResNets and their
    like of torchvision and timm, VGGs. Not found where the activation is a function (``F.relu``), and there is none
    behind linear bottlenecks, dense blocks, networks that activate first, and transformers.

    Args:
        model: in eval mode.
        at: stages and the paths of their modules.
        example: what the model is called with.
    """
    last: dict[str, tuple[str, Tensor]] = {}
    activations: dict[str, str] = {}
    stages_at: dict[str, list[str]] = {}
    for stage, path in at.items():
        stages_at.setdefault(path, []).append(stage)

    def ran(inside: list[str], path: str, module: nn.Module, args: Any, output: Any) -> None:
        last.update(dict.fromkeys(inside, (path, output)))

    def ends(path: str, module: nn.Module, args: Any, output: Any) -> None:
        for stage in stages_at[path]:
            activation, value = last.get(stage, ("", None))
            if value is not None and value is output:
                activations[stage] = activation

    hooks = []
    modules = dict(model.named_modules())
    for path, module in modules.items():
        inside = [stage for stage, root in at.items() if path == root or path.startswith(f"{root}.")]
        if inside and isinstance(module, ACTIVATIONS):
            hooks.append(module.register_forward_hook(partial(ran, inside, path)))
    hooks += [modules[path].register_forward_hook(partial(ends, path)) for path in stages_at]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return activations
