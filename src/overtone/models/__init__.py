"""Models by name: ``wrn16-3`` for a signal or an image, ``dscnn-16`` for a signal on a microcontroller."""

from __future__ import annotations

import re
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import nn
from torch.overrides import TorchFunctionMode

from overtone.errors import InputError, nearest
from overtone.models import (
    bottleneck_resnet,
    cifar_resnet,
    deep_conv_lstm,
    ds_cnn,
    faster_rcnn,
    gru,
    inception_time,
    mobilenet_v1,
    mobilenet_v2,
    patch_transformer,
    shufflenet,
    tinier_har,
    vgg,
    wide_resnet,
)
from overtone.models.base import AttentionPool, Staged, Tapped
from overtone.models.cifar_resnet import CifarResNet
from overtone.models.ds_cnn import DSCNN
from overtone.models.family import Family
from overtone.models.foreign import build_foreign
from overtone.models.foreign import fingerprint as foreign_fingerprint
from overtone.models.inception_time import InceptionTime
from overtone.models.kept import Keeping, KeptParts, Reheaded, ReheadedSettings, around
from overtone.models.mobilenet_v2 import MobileNetV2
from overtone.models.sketch import sketching
from overtone.models.two_branch import TwoBranch
from overtone.models.vgg import VGG
from overtone.models.wide_resnet import WideResNet
from overtone.recipe import ModelOptions, validation_message
from overtone.trust import LIBRARIES, branch_names
from overtone.types import Shape

VERSION = 1
"""Raised whenever the definition or initialisation of all built-in models changes; of one family, see there."""


MOST_PARAMETERS, DEEPEST, DIGITS = 10**9, 1000, 9
"""Of a built-in model: with its gradients and an optimiser's state, a billion take 16 GB."""


FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        wide_resnet,
        cifar_resnet,
        bottleneck_resnet,
        vgg,
        mobilenet_v2,
        mobilenet_v1,
        shufflenet,
        inception_time,
        ds_cnn,
        patch_transformer,
        gru,
        deep_conv_lstm,
        tinier_har,
        faster_rcnn,
    )
}


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
        return _two_branch(name, shapes, classes, options, tried)
    if len(shapes) > 1:
        raise InputError(
            f"model {name!r} sees one view, got {len(shapes)}; two_branch-{name} has a branch for a signal and one for "
            "an image"
        )
    if options.modality_dropout:
        raise InputError(f"model {name!r}: modality_dropout is for two-branch models")
    model: nn.Module
    if ":" in name:
        model = build_foreign(name, shapes[0], classes, options.arguments, tried)
    else:
        model = _built_in(name, shapes[0], classes, options.arguments)
    if options.pool == "attention":
        _pool_by_attention(model, name, shapes[0])
    return model


def _pool_by_attention(model: nn.Module, name: str, input_shape: tuple[int, ...]) -> None:
    """Attention in place of the average of a model that names its stages, unless it has its own.

    Raises:
        InputError: for a model that pools by itself.
    """
    if not isinstance(model, Staged) or type(model).pool is not Staged.pool:
        raise InputError(
            f"model {name!r}: pool: attention is for built-in models and classes derived from "
            "overtone.models.base.Staged that leave pool as it is; this one pools by itself"
        )
    if model.attend is None:
        with torch.no_grad():
            final = model.eval().features(torch.zeros(1, *input_shape))["final"]
        model.train().attend = AttentionPool(final.shape[1])


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


def _built_in(name: str, input_shape: tuple[int, ...], classes: int, arguments: dict[str, Any]) -> Tapped:
    dims = len(input_shape) - 1
    for family in FAMILIES.values():
        match = re.fullmatch(family.pattern, name)
        if match is None:
            continue
        if dims not in family.dims:
            takes = " or ".join({1: "a signal (C, T)", 2: "images (C, H, W)"}[d] for d in family.dims)
            raise InputError(f"model {name!r} takes {takes}, but its view gives {input_shape}")
        settings = _settings(family, name, arguments)
        try:
            _check_size(family, match, input_shape, classes, settings)
            return family.make(match, input_shape, classes, *settings)
        except (ValueError, RuntimeError, OverflowError) as error:  # torch overflows on sizes that nothing has
            raise InputError(f"model {name[:60]!r}: {error}") from error
    known = [*(f.example for f in FAMILIES.values()), "two_branch-wrn16-1", "torchvision:NAME", "timm:NAME"]
    raise InputError(f"unknown model {name!r}; {nearest(name, [*known, 'package.module:Class'])}")


def _settings(family: Family, name: str, arguments: dict[str, Any]) -> tuple[BaseModel, ...]:
    """What a recipe's arguments are for a family, besides name, shape and classes.

    Raises:
        InputError: for any where the name says all, or others than the family's.
    """
    if family.settings is None:
        if arguments:
            raise InputError(
                f"model {name!r}: arguments are for models that are not built in and for detectors; its name says all"
            )
        return ()
    try:
        return (family.settings.model_validate(arguments),)
    except ValidationError as error:
        raise InputError(validation_message(error, family.settings, f"model {name!r}: arguments")) from error


class _Unfilled(TorchFunctionMode):
    """Tensors without memory stay as they are: filling them takes torch seconds of imports."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("uniform_", "normal_", "fill_", "zero_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _check_size(
    family: Family, match: re.Match[str], input_shape: tuple[int, ...], classes: int, settings: tuple[BaseModel, ...]
) -> None:
    """Count a model's parameters before it takes memory; a few milliseconds.

    Raises:
        ValueError: for too many of them, or too many layers.
    """
    numbers = re.findall(r"\d+", " ".join(group or "" for group in match.groups()))
    if any(len(number) > DIGITS for number in numbers):
        raise ValueError(f"it holds a number of more than {DIGITS} digits")
    if family.deep and int([*numbers, 0][0]) > DEEPEST:
        raise ValueError(f"a depth of at most {DEEPEST} is needed, got {numbers[0]}")
    with torch.device("meta"), _Unfilled():
        count = sum(p.numel() for p in family.make(match, input_shape, classes, *settings).parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"{count:.3g} parameters; the most that is built is {MOST_PARAMETERS:.3g}")


def _two_branch(
    name: str, shapes: list[tuple[int, ...]], classes: int, options: ModelOptions, tried: bool
) -> TwoBranch:
    if [len(shape) for shape in shapes] != [2, 3]:
        raise InputError(
            f"model {name!r} sees a signal view and an image view, in this order (view: [signal, gaf]); got inputs of "
            f"{' and '.join(map(str, shapes))}"
        )
    plain = options.model_copy(update={"modality_dropout": 0.0})
    parts = branch_names(name)
    unknown = InputError(
        f"model {name!r}: branches are built-in models or classes derived from overtone.models.base.Staged, whose last "
        "map is known"
    )
    branches = []
    for part, shape in zip(parts, shapes, strict=True):
        if part.partition(":")[0] in LIBRARIES:
            raise unknown
        try:
            branch = build(part, shape, classes, plain, tried)
        except InputError as error:
            raise InputError(
                f"{error} (as a branch of {name!r}; two_branch-SIGNAL+IMAGE gives each branch a model of its own, such "
                "as two_branch-dscnn-16+wrn10-1)"
            ) from error
        if not isinstance(branch, Staged):
            raise unknown
        branches.append(branch)
    signal, image = branches
    return TwoBranch(signal, image, shapes, classes, options.modality_dropout)


def fingerprint(name: str) -> str:
    """What decides a model's numbers besides its name; part of a cell's key."""
    parts = branch_names(name) or (name,)
    foreign = [foreign_fingerprint(part) for part in parts if ":" in part]
    if parts == (name,) and foreign:
        return foreign[0]
    # A sum, so that it rises whichever part of it rises, and stays as it was for families that never changed.
    return " ".join([str(VERSION + sum(_version(part) - 1 for part in parts)), *foreign])


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
