"""Models by name: ``wrn16-3`` for a signal or an image, ``dscnn-16`` for a signal on a microcontroller."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from overtone.errors import InputError, nearest
from overtone.models.base import Staged
from overtone.models.cifar_resnet import CifarResNet
from overtone.models.ds_cnn import DSCNN
from overtone.models.foreign import build_foreign
from overtone.models.foreign import fingerprint as foreign_fingerprint
from overtone.models.inception_time import InceptionTime
from overtone.models.mobilenet_v2 import MobileNetV2
from overtone.models.vgg import VGG
from overtone.models.wide_resnet import WideResNet

VERSION = 1
"""Raised whenever a built-in model's definition or initialisation changes."""


@dataclass(frozen=True)
class Family:
    """A family of models: the pattern of its names and how to make one."""

    pattern: str
    example: str
    dims: tuple[int, ...]
    source: str
    make: Callable[[re.Match[str], int, int, int], nn.Module]


def _wrn(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return WideResNet(channels, classes, dims, depth=int(match[1]), width=float(match[2]))


def _dscnn(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return DSCNN(channels, classes, width=int(match[1]))


def _resnet(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return CifarResNet(channels, classes, dims, int(match[1]), "padding" if match[2] else "projection")


def _vgg(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return VGG(channels, classes, dims, int(match[1]), float(match[2] or 1))


def _mobilenet(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return MobileNetV2(channels, classes, dims, float(match[1]))


def _inception(match: re.Match[str], channels: int, classes: int, dims: int) -> nn.Module:
    return InceptionTime(channels, classes, int(match[1] or 32))


FAMILIES: dict[str, Family] = {
    "wrn": Family(r"wrn(\d+)-(\d+(?:\.\d+)?)", "wrn16-3", (1, 2), "Zagoruyko & Komodakis 2016: depth, width", _wrn),
    "resnet": Family(
        r"resnet(\d+)(-a)?",
        "resnet20",
        (1, 2),
        "He et al. 2016 for CIFAR: depth 8 to 110; -a for shortcuts without parameters",
        _resnet,
    ),
    "vgg": Family(
        r"vgg(\d+)(?:-(\d+(?:\.\d+)?))?",
        "vgg8",
        (1, 2),
        "Simonyan & Zisserman 2015: depth 8, 11, 13, 16 or 19; vgg8-0.25 for a quarter of the width",
        _vgg,
    ),
    "mobilenetv2": Family(
        r"mobilenetv2-(\d+(?:\.\d+)?)", "mobilenetv2-0.5", (1, 2), "Sandler et al. 2018: width", _mobilenet
    ),
    "inceptiontime": Family(
        r"inceptiontime(?:-(\d+))?", "inceptiontime-32", (1,), "Ismail Fawaz et al. 2020: filters", _inception
    ),
    "dscnn": Family(r"dscnn-(\d+)", "dscnn-16", (1,), "Zhang et al. 2017 (Hello Edge), in 1-D: width", _dscnn),
}


def build(name: str, input_shape: Sequence[int], classes: int) -> nn.Module:
    """A new model by name, for one sample's shape.

    Args:
        name: such as ``wrn16-3``, ``dscnn-16``, ``torchvision:resnet18``, ``timm:NAME`` or ``package.module:Class``.
        input_shape: (C, T) or (C, H, W), without the batch.
        classes: number of classes.

    Raises:
        InputError: for an unknown name (the nearest is named), or a model that does not take such an input.
    """
    if ":" in name:
        return build_foreign(name, input_shape, classes)
    dims = len(input_shape) - 1
    for family in FAMILIES.values():
        match = re.fullmatch(family.pattern, name)
        if match is None:
            continue
        if dims not in family.dims:
            takes = " or ".join({1: "a signal (C, T)", 2: "images (C, H, W)"}[d] for d in family.dims)
            raise InputError(f"model {name!r} takes {takes}, but its view gives {tuple(input_shape)}")
        try:
            return family.make(match, input_shape[0], classes, dims)
        except ValueError as error:
            raise InputError(f"model {name!r}: {error}") from error
    known = [*(f.example for f in FAMILIES.values()), "torchvision:NAME", "timm:NAME", "package.module:Class"]
    raise InputError(f"unknown model {name!r}; {nearest(name, known)}")


def fingerprint(name: str) -> str:
    """What decides a model's numbers besides its name; part of a cell's key."""
    return foreign_fingerprint(name) if ":" in name else str(VERSION)


__all__ = [
    "DSCNN",
    "FAMILIES",
    "VERSION",
    "VGG",
    "CifarResNet",
    "Family",
    "InceptionTime",
    "MobileNetV2",
    "Staged",
    "WideResNet",
    "build",
    "fingerprint",
]
