"""Backbones of detectors: the maps of a classifier at strides 4 to 32, under its published names, and a pyramid on top.

Names of tensors are torchvision's (of EfficientNet-Lite timm's), so that files of ImageNet classifiers fit, and a
detector's own file fits torchvision's ``BackboneWithFPN`` of the same sizes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from overtone.errors import InputError
from overtone.models.faster_rcnn import DetectorSettings

RESNETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
DEEPEST = 5
"""p2 to p5 are made of maps of strides 4 to 32; the fifth level halves the fourth once more."""
MOBILENET = ((0, 2), (2, 4), (4, 7), (7, 14), (14, 18))
"""Blocks of MobileNetV2 at strides 2, 4, 8, 16, 32; its last, 1,280 wide convolution is for classifying."""
LITE = ((0, 1), (1, 2), (2, 3), (3, 5), (5, 7))
"""The same of EfficientNet-Lite, after its stem."""


@dataclass(frozen=True)
class Body:
    """A backbone before the pyramid.

    Attributes:
        network: gives maps by level, ``p2`` to ``p5``, or a list of them.
        channels: of these maps.
        parts: its modules in five parts, of which the first may be held still.
        frozen: further modules that are held still: batch norms that no class of their own freezes.
    """

    network: nn.Module
    channels: tuple[int, ...]
    parts: tuple[tuple[nn.Module, ...], ...]
    frozen: tuple[nn.Module, ...] = ()


class Pyramid(nn.Module):
    """A backbone with a feature pyramid; gives maps by level.

    The first parts may be held still: they get no gradient, and their batch statistics stay as they are.

    Args:
        body: the backbone.
        settings: channels and levels of the pyramid, and how many parts are trained.
    """

    def __init__(self, body: Body, settings: DetectorSettings) -> None:
        super().__init__()
        self.body = body.network
        self.levels, self.out_channels = settings.levels, settings.fpn
        pool = LastLevelMaxPool() if "p6" in settings.levels else None
        self.fpn = FeaturePyramidNetwork(list(body.channels), settings.fpn, pool)
        still = body.parts[: len(body.parts) - settings.trainable_layers]
        self.still = (*(module for part in still for module in part), *body.frozen)
        for module in self.still:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Pyramid:
        """Training mode, but for what is held still."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, C, H, W), sides multiples of 32 -> maps (B, c, H', W')."""
        maps = self.body(x)
        if not isinstance(maps, dict):
            maps = OrderedDict(zip(self.levels, maps, strict=False))
        return dict(zip(self.levels, self.fpn(maps).values(), strict=True))


def pyramid(name: str, width: float, channels: int, settings: DetectorSettings) -> Pyramid:
    """A backbone by name with its pyramid, untrained.

    Args:
        name: ``resnet18`` to ``resnet101``, ``mobilenetv2`` or ``efficientnetlite0``.
        width: a factor of its channels.
        channels: of the images.
        settings: of the detector.

    Raises:
        ValueError: for a width that it cannot have.
    """
    if width <= 0:
        raise ValueError(f"a backbone's width must be positive, got {width:g}")
    if name in RESNETS:
        body = _resnet(name, width, channels, settings)
    elif name == "mobilenetv2":
        body = _mobilenet(width, channels, settings)
    else:
        body = _efficientnet(width, channels, settings)
    return Pyramid(body, settings)


def _norm(settings: DetectorSettings) -> Callable[[int], nn.Module]:
    eps = 1e-5 if settings.norm_eps is None else settings.norm_eps
    if settings.norm == "group":
        return lambda channels: nn.GroupNorm(math.gcd(32, channels), channels, eps)
    return partial(FrozenBatchNorm2d if settings.norm == "frozen" else nn.BatchNorm2d, eps=eps)


def _resnet(name: str, width: float, channels: int, settings: DetectorSettings) -> Body:
    block, counts = RESNETS[name]
    norm, base = _norm(settings), max(1, round(64 * width))
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, base, 7, stride=2, padding=3, bias=False),
        bn1=norm(base),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    inputs, outputs = base, []
    for number, count in enumerate(counts):
        inner = base * 2**number
        blocks = nn.Sequential()
        for position in range(count):
            stride = 2 if position == 0 and number > 0 else 1
            shortcut = None
            if stride > 1 or inputs != inner * block.expansion:
                shortcut = nn.Sequential(
                    nn.Conv2d(inputs, inner * block.expansion, 1, stride=stride, bias=False),
                    norm(inner * block.expansion),
                )
            made = block(inputs, inner, stride, shortcut, norm_layer=norm)
            if settings.stride_in_1x1 and block is Bottleneck:
                made.conv1.stride, made.conv2.stride = made.conv2.stride, made.conv1.stride
            blocks.append(made)
            inputs = inner * block.expansion
        layers[f"layer{number + 1}"] = blocks
        outputs.append(inputs)
    for module in (inner for layer in layers.values() for inner in layer.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    wanted = [int(level[1:]) - 1 for level in settings.pooled]  # p2 is made of layer1
    maps = {f"layer{number}": f"p{number + 1}" for number in wanted}
    parts = [(layers["conv1"], layers["bn1"]), *((layers[f"layer{n}"],) for n in range(1, DEEPEST))]
    network = IntermediateLayerGetter(nn.Sequential(layers), maps)
    return Body(network, tuple(outputs[number - 1] for number in wanted), tuple(parts))


def _mobilenet(width: float, channels: int, settings: DetectorSettings) -> Body:
    blocks = torchvision.models.mobilenet_v2(
        weights=None, width_mult=width, norm_layer=_norm(settings), num_classes=1
    ).features
    if channels != 3:
        first = blocks[0][0]
        blocks[0][0] = nn.Conv2d(channels, first.out_channels, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(blocks[0][0].weight, mode="fan_out")
    ends = {f"p{number}": MOBILENET[number - 1][1] - 1 for number in range(2, DEEPEST + 1)}
    maps = {str(ends[level]): level for level in settings.pooled}
    parts = tuple(tuple(blocks[first:end]) for first, end in MOBILENET)
    counts = tuple(blocks[ends[level]].out_channels for level in settings.pooled)
    return Body(IntermediateLayerGetter(blocks, maps), counts, parts)


def _efficientnet(width: float, channels: int, settings: DetectorSettings) -> Body:
    """As converted from TensorFlow, whose padding and constants the published files were trained with."""
    if width != 1:
        raise ValueError(f"EfficientNet-Lite0 has one width, got {width:g}; name it without one")
    if settings.norm == "group":
        raise ValueError("EfficientNet-Lite0 has batch norm; use norm: batch or frozen")
    try:
        import timm
    except ModuleNotFoundError:
        raise InputError("this backbone needs the package timm: pip install overtone[timm]") from None
    wanted = tuple(int(level[1:]) - 1 for level in settings.pooled)
    network = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=wanted, in_chans=channels
    )
    norms = tuple(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    for module in norms:
        module.eps = module.eps if settings.norm_eps is None else settings.norm_eps
    blocks = cast(nn.Sequential, network.blocks)
    parts = [tuple(blocks[first:end]) for first, end in LITE]
    parts[0] = (cast(nn.Module, network.conv_stem), cast(nn.Module, network.bn1), *parts[0])
    frozen = norms if settings.norm == "frozen" else ()
    return Body(network, tuple(cast(Any, network.feature_info).channels()), tuple(parts), frozen)
