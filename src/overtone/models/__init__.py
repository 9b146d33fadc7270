"""Models by name: ``wrn16-3`` for a signal or an image, ``dscnn-16`` for a signal on a microcontroller."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from overtone.errors import InputError, nearest
from overtone.models.base import AttentionPool, Staged, Tapped
from overtone.models.bottleneck_resnet import BottleneckResNet
from overtone.models.cifar_resnet import CifarResNet, Shortcut
from overtone.models.ds_cnn import DSCNN
from overtone.models.foreign import build_foreign
from overtone.models.foreign import fingerprint as foreign_fingerprint
from overtone.models.inception_time import InceptionTime
from overtone.models.kept import Keeping, KeptParts, Reheaded, ReheadedSettings, around
from overtone.models.mobilenet_v1 import MobileNetV1
from overtone.models.mobilenet_v2 import MobileNetV2
from overtone.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from overtone.models.sketch import sketching
from overtone.models.two_branch import TwoBranch
from overtone.models.vgg import VGG
from overtone.models.wide_resnet import WideResNet
from overtone.recipe import ModelOptions
from overtone.types import Shape

VERSION = 1
"""Raised whenever the definition or initialisation of all built-in models changes; of one family, see there."""


MOST_PARAMETERS, DEEPEST, DIGITS = 10**9, 1000, 9
"""Of a built-in model: with its gradients and an optimiser's state, a billion take 16 GB."""


@dataclass(frozen=True)
class Family:
    """A family of models: the pattern of its names and how to make one; ``version`` is raised with its definition."""

    pattern: str
    example: str
    dims: tuple[int, ...]
    source: str
    make: Callable[[re.Match[str], int, int, int], Staged]
    version: int = 1


def _wrn(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return WideResNet(channels, classes, dims, depth=int(match[1]), width=float(match[2]))


def _dscnn(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return DSCNN(channels, classes, width=int(match[1]))


def _resnet(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    shortcut: Shortcut = "padding" if match[3] else "projection"
    return CifarResNet(channels, classes, dims, int(match[1]), shortcut, int(match[2] or 1))


def _bottleneck(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return BottleneckResNet(channels, classes, dims)


def _shuffle(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return (ShuffleNetV1 if match[1] == "1" else ShuffleNetV2)(channels, classes, dims)


def _mobilenet_v1(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return MobileNetV1(channels, classes, dims, float(match[1] or 1))


def _vgg(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return VGG(channels, classes, dims, int(match[1]), float(match[2] or 1))


def _mobilenet(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return MobileNetV2(channels, classes, dims, float(match[1]), relu6=bool(match[2]))


def _inception(match: re.Match[str], channels: int, classes: int, dims: int) -> Staged:
    return InceptionTime(channels, classes, int(match[1] or 32))


FAMILIES: dict[str, Family] = {
    "wrn": Family(r"wrn(\d+)-(\d+(?:\.\d+)?)", "wrn16-3", (1, 2), "Zagoruyko & Komodakis 2016: depth, width", _wrn),
    "resnet": Family(
        r"resnet(\d+)(?:x([2-9]))?(-a)?",
        "resnet20",
        (1, 2),
        "He et al. 2016 for CIFAR: depth 8 to 110; resnet8x4 is four times as wide; -a: shortcuts without parameters",
        _resnet,
    ),
    "bottleneck": Family(
        r"resnet50-b", "resnet50-b", (1, 2), "He et al. 2016: ResNet-50 of bottlenecks, for small images", _bottleneck
    ),
    "vgg": Family(
        r"vgg(\d+)(?:-(\d+(?:\.\d+)?))?",
        "vgg8",
        (1, 2),
        "Simonyan & Zisserman 2015: depth 8, 11, 13, 16 or 19; vgg8-0.25 for a quarter of the width",
        _vgg,
    ),
    "mobilenetv2": Family(
        r"mobilenetv2-(\d+(?:\.\d+)?)(-relu6)?",
        "mobilenetv2-0.5",
        (1, 2),
        "Sandler et al. 2018: width; plain ReLUs as in the distillation literature, -relu6: ReLU6 as in the paper",
        _mobilenet,
        version=2,
    ),
    "mobilenetv1": Family(
        r"mobilenetv1(?:-(\d+(?:\.\d+)?))?",
        "mobilenetv1",
        (1, 2),
        "Howard et al. 2017: width, 1 unless given",
        _mobilenet_v1,
    ),
    "shufflenet": Family(
        r"shufflenetv([12])",
        "shufflenetv2",
        (1, 2),
        "Zhang et al. 2018 (v1), Ma et al. 2018 (v2), for small images",
        _shuffle,
    ),
    "inceptiontime": Family(
        r"inceptiontime(?:-(\d+))?", "inceptiontime-32", (1,), "Ismail Fawaz et al. 2020: filters", _inception
    ),
    "dscnn": Family(r"dscnn-(\d+)", "dscnn-16", (1,), "Zhang et al. 2017 (Hello Edge), in 1-D: width", _dscnn),
}


TWO_BRANCH = r"two_branch-([^+]+)(?:\+([^+]+))?"
"""``two_branch-wrn16-1``, or ``two_branch-dscnn-16+wrn10-1`` where the image branch is another model."""


def build(
    name: str, input_shape: Shape, classes: int, options: ModelOptions | None = None, tried: bool = True
) -> nn.Module:
    """A new model by name, for one sample's shape.

    Args:
        name: such as ``wrn16-3``, ``dscnn-16``, ``two_branch-wrn16-1``, ``torchvision:resnet18``, ``timm:NAME`` or
            ``package.module:Class``.
        input_shape: (C, T) or (C, H, W), without the batch; both, in this order, for a two-branch model.
        classes: number of classes.
        options: of built-in models.
        tried: run models that are not ours once, so that a misfit shows here.

    Raises:
        InputError: for an unknown name (the nearest is named), or a model that does not take such an input or option.
    """
    options = options or ModelOptions()
    shapes = _shapes(input_shape)
    if branch_names(name):
        return _two_branch(name, shapes, classes, options)
    if len(shapes) > 1:
        raise InputError(
            f"model {name!r} sees one view, got {len(shapes)}; two_branch-{name} has a branch for a signal and one for "
            "an image"
        )
    if options.modality_dropout:
        raise InputError(f"model {name!r}: modality_dropout is for two-branch models")
    if ":" in name:
        if options.pool != "average":
            raise InputError(f"model {name!r}: pool: {options.pool} is for built-in models, this one pools by itself")
        return build_foreign(name, shapes[0], classes, options.arguments, tried)
    if options.arguments:
        raise InputError(f"model {name!r}: arguments are for models that are not built in; its name says all")
    model = _built_in(name, shapes[0], classes)
    if options.pool == "attention":
        with torch.no_grad():
            final = model.eval().features(torch.zeros(1, *shapes[0]))["final"]
        model.train().attend = AttentionPool(final.shape[1])
    return model


def sketch(
    name: str,
    input_shape: Shape,
    classes: int,
    options: ModelOptions,
    tensors: int,
    values: int,
    kept: KeptParts | None = None,
) -> nn.Module:
    """As :func:`build`, but without memory and no larger than a file of so many tensors and values can fill.

    For ours and for models in the libraries' lists; a class of one's own may do anything while it is made. With the
    parts of a method that it has ``kept``.

    Raises:
        InputError: as :func:`build`, and for a model that is too large.
    """
    try:
        with sketching(tensors, values):
            return around(build(name, input_shape, classes, options, tried=False), kept, input_shape, classes)
    except InputError as error:
        # torchvision's regnets compute their widths by tensors, and have no argument for a size
        if not isinstance(error.__cause__, NotImplementedError) or options.arguments or name.startswith("timm:"):
            raise
    with sketching(tensors, values, computed=True):
        return build(name, input_shape, classes, options, tried=False)


def _shapes(shape: Shape) -> list[tuple[int, ...]]:
    """The shape of each input."""
    plain = tuple(part for part in shape if isinstance(part, int))
    return [plain] if plain else [part for part in shape if isinstance(part, tuple)]


def branch_names(name: str) -> tuple[str, ...]:
    """The models of a two-branch model's branches, by its name; none for another model's name."""
    match = re.fullmatch(TWO_BRANCH, name)
    return (match[1], match[2] or match[1]) if match else ()


def _built_in(name: str, input_shape: tuple[int, ...], classes: int) -> Staged:
    dims = len(input_shape) - 1
    for family in FAMILIES.values():
        match = re.fullmatch(family.pattern, name)
        if match is None:
            continue
        if dims not in family.dims:
            takes = " or ".join({1: "a signal (C, T)", 2: "images (C, H, W)"}[d] for d in family.dims)
            raise InputError(f"model {name!r} takes {takes}, but its view gives {input_shape}")
        try:
            _check_size(family, match, input_shape[0], classes, dims)
            return family.make(match, input_shape[0], classes, dims)
        except (ValueError, RuntimeError, OverflowError) as error:  # torch overflows on sizes that nothing has
            raise InputError(f"model {name[:60]!r}: {error}") from error
    known = [*(f.example for f in FAMILIES.values()), "two_branch-wrn16-1", "torchvision:NAME", "timm:NAME"]
    raise InputError(f"unknown model {name!r}; {nearest(name, [*known, 'package.module:Class'])}")


class _Unfilled(TorchFunctionMode):
    """Tensors without memory stay as they are: filling them takes torch seconds of imports."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("uniform_", "normal_", "fill_", "zero_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _check_size(family: Family, match: re.Match[str], channels: int, classes: int, dims: int) -> None:
    """Count a model's parameters before it takes memory; a few milliseconds.

    Raises:
        ValueError: for too many of them, or too many layers.
    """
    numbers = re.findall(r"\d+", " ".join(group or "" for group in match.groups()))
    if any(len(number) > DIGITS for number in numbers):
        raise ValueError(f"it holds a number of more than {DIGITS} digits")
    if family.pattern.startswith(("wrn", "resnet")) and int([*numbers, 0][0]) > DEEPEST:
        raise ValueError(f"a depth of at most {DEEPEST} is needed, got {numbers[0]}")
    with torch.device("meta"), _Unfilled():
        count = sum(parameter.numel() for parameter in family.make(match, channels, classes, dims).parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"{count:.3g} parameters; the most that is built is {MOST_PARAMETERS:.3g}")


def _two_branch(name: str, shapes: list[tuple[int, ...]], classes: int, options: ModelOptions) -> TwoBranch:
    if [len(shape) for shape in shapes] != [2, 3]:
        raise InputError(
            f"model {name!r} sees a signal view and an image view, in this order (view: [signal, gaf]); got inputs of "
            f"{' and '.join(map(str, shapes))}"
        )
    own = options.model_copy(update={"modality_dropout": 0.0})
    parts = branch_names(name)
    for part in parts:
        if ":" in part:
            raise InputError(f"model {name!r}: branches are built-in models, got {part!r}")
    try:
        branches = [build(part, shape, classes, own) for part, shape in zip(parts, shapes, strict=True)]
    except InputError as error:
        raise InputError(
            f"{error} (as a branch of {name!r}; two_branch-SIGNAL+IMAGE gives each branch a model of its own, such as "
            "two_branch-dscnn-16+wrn10-1)"
        ) from error
    signal, image = (branch for branch in branches if isinstance(branch, Staged))
    return TwoBranch(signal, image, shapes, classes, options.modality_dropout)


def fingerprint(name: str) -> str:
    """What decides a model's numbers besides its name; part of a cell's key."""
    parts = branch_names(name)
    if ":" in name and not parts:
        return foreign_fingerprint(name)
    # A sum, so that it rises whichever part of it rises, and stays as it was for families that never changed.
    return str(VERSION + sum(_version(part) - 1 for part in parts or (name,)))


def _version(name: str) -> int:
    return next((family.version for family in FAMILIES.values() if re.fullmatch(family.pattern, name)), 1)


__all__ = [
    "DSCNN",
    "FAMILIES",
    "VERSION",
    "VGG",
    "CifarResNet",
    "Family",
    "InceptionTime",
    "Keeping",
    "KeptParts",
    "MobileNetV2",
    "Reheaded",
    "ReheadedSettings",
    "Staged",
    "Tapped",
    "TwoBranch",
    "WideResNet",
    "around",
    "branch_names",
    "build",
    "fingerprint",
    "sketch",
]
