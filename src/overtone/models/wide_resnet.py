"""Wide residual networks for signals (1-D) and images (2-D), from one definition.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; strides and widths of the CIFAR networks. The
1-D twin replaces every operation by its 1-D counterpart, as in the wearables literature (Jeon et al. 2022-2024).
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from overtone.models.base import Staged
from overtone.models.family import Family
from overtone.models.layers import CONV, NORM


class _Block(nn.Module):
    """Pre-activation residual block. The caller applies ``norm1`` and ReLU, because that is also a stage's end."""

    def __init__(self, inputs: int, outputs: int, stride: int, dims: int) -> None:
        super().__init__()
        conv, norm = CONV[dims], NORM[dims]
        self.norm1 = norm(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else conv(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return out + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(Staged):
    """WRN-depth-width: a stem, three stages of ``(depth - 4) / 6`` blocks each, average pooling, a linear layer.

    A stage has three points: ``stageK.raw``, the sum of its last block, which published code takes for its feature map;
    ``stageK.pre``, normalised by what opens the next stage; and ``stageK``, that activated.

    Widths are 16, 32 and 64 times ``width`` (rounded, at least 1); stages 2 and 3 halve the resolution.

    Args:
        channels: input channels.
        classes: number of classes.
        dims: 1 for (B, C, T), 2 for (B, C, H, W).
        depth: 10, 16, 22, 28, 34, 40 ...
        width: a positive factor, 0.5 for half the width.

    Raises:
        ValueError: for a depth that is not 6n + 4.
    """

    POINTS: ClassVar[tuple[str, ...]] = ("pre", "raw")

    def __init__(self, channels: int, classes: int, dims: int, depth: int = 16, width: float = 1) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"a wide ResNet's depth is 6n + 4 (10, 16, 22, 28, ...), got {depth}")
        if width <= 0:
            raise ValueError(f"a wide ResNet's width must be positive, got {width}")
        blocks = (depth - 4) // 6
        widths = [max(1, round(base * width)) for base in (16, 32, 64)]
        self.stem = CONV[dims](channels, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        inputs = 16
        for stage, outputs in enumerate(widths):
            layers = nn.ModuleList()
            for position in range(blocks):
                stride = 2 if position == 0 and stage > 0 else 1
                layers.append(_Block(inputs, outputs, stride, dims))
                inputs = outputs
            self.stages.append(layers)
        self.norm = NORM[dims](inputs)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage; a stage ends behind the normalisation and ReLU that open the next one."""
        maps: dict[str, Tensor] = {}
        x = self.stem(x)
        name = "stem"
        for number, stage in enumerate(self.stages, start=1):
            for position, block in enumerate(cast(list[_Block], stage)):
                before = block.norm1(x)
                activated = F.relu(before)
                if position == 0:
                    maps[name] = activated
                    if name != "stem":
                        maps[f"{name}.pre"], maps[f"{name}.raw"] = before, x
                x = block(x, activated)
            name = f"stage{number}"
        before = self.norm(x)
        maps[f"{name}.pre"], maps[f"{name}.raw"] = before, x
        maps[name] = maps["final"] = F.relu(before)
        maps["embedding"] = self.pool(maps["final"])
        return maps

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, c) -> (B, C)."""
        return self.classifier(embedding)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int) -> Staged:
    return WideResNet(shape[0], classes, len(shape) - 1, depth=int(match[1]), width=float(match[2]))


FAMILY = Family(
    "wrn",
    r"wrn(\d+)-(\d+(?:\.\d+)?)",
    "wrn16-3",
    "wrn10-0.25",
    "Zagoruyko & Komodakis 2016: depth, width",
    _make,
    deep=True,
)
