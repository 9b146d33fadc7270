"""Models that are not ours: ``package.module:Class``, ``torchvision:NAME``, ``timm:NAME``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from overtone.errors import InputError, close, told
from overtone.lookup import import_library, import_object, source_hash
from overtone.trust import LIBRARIES
from overtone.types import logits_of

CHANNELS = ("channels", "in_channels", "in_chans", "input_channels", "n_channels")
CLASSES = ("classes", "num_classes", "n_classes", "out_features")


def build_foreign(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    arguments: Mapping[str, Any] | None = None,
    tried: bool = True,
) -> nn.Module:
    """A model of somebody else's, untrained.

    A class of your own is called with the number of channels and of classes, by the usual parameter names
    (``channels``, ``in_channels``, ``in_chans``; ``classes``, ``num_classes``) or in this order; one that has a
    parameter ``input_shape`` gets that too, and all get the further ``arguments``. timm's models that are made for one
    size of images (transformers) are made for this one.

    Args:
        name: as above.
        input_shape: of one sample.
        classes: number of classes.
        arguments: further ones.
        tried: run it once on zeros, so that a misfit shows.

    Raises:
        InputError: for a missing package, an unknown name (the nearest is given), a class that cannot be called so, or
            a model whose logits are not (B, classes); where it may have them, see :func:`~overtone.types.logits_of`.
    """
    prefix, _, rest = name.partition(":")
    if prefix in LIBRARIES:
        model = _from_library(prefix, rest, input_shape, classes, dict(arguments or {}))
    else:
        model = _from_class(name, input_shape, classes, dict(arguments or {}))
    if tried:
        _try(model, name, input_shape, classes)
    return model


def fingerprint(name: str) -> str:
    """What decides a model besides its name: the file of a class of your own, the version of a library."""
    prefix = name.partition(":")[0]
    if prefix in LIBRARIES:
        try:
            return str(import_library(prefix).__version__)
        except ImportError:
            raise _not_installed(name) from None
    return source_hash(name, "model")


def _from_library(
    library: str, name: str, input_shape: Sequence[int], classes: int, arguments: dict[str, Any]
) -> nn.Module:
    if len(input_shape) != 3:
        raise InputError(f"model {library}:{name} takes images (C, H, W), but its view gives {tuple(input_shape)}")
    try:
        package = import_library(library)
    except ImportError:
        raise _not_installed(f"{library}:{name}") from None
    known = package.list_models() if library == "timm" else package.models.list_models()
    if name not in known:  # nor names with a source or a tag, by which timm finds weights
        near = close(name, known)
        raise InputError(
            f"model {library}:{name}: {library} has no model {name!r}"
            + (f"; did you mean {near!r}?" if near else f" in its list of {len(known)}")
        )
    keywords = {"num_classes": classes, **arguments}
    try:
        if library == "timm":
            config = package.get_pretrained_cfg(name)
            if config is not None and config.fixed_input_size:
                keywords.setdefault("img_size", tuple(input_shape[1:]))
            network: nn.Module = package.create_model(name, pretrained=False, in_chans=input_shape[0], **keywords)
            return network
        builder = package.models.get_model_builder(name)
        # Left out, the backbones of models for detection and segmentation would be fetched with their weights.
        nothing = {key: None for key in ("weights", "weights_backbone") if key in inspect.signature(builder).parameters}
        model: nn.Module = builder(**nothing, **keywords)
    except InputError:
        raise
    except Exception as error:  # libraries raise anything for arguments that do not fit
        listed = ", ".join(f"{key}={value}" for key, value in keywords.items())
        raise InputError(f"model {library}:{name} cannot be made with {listed}: {error}") from error
    _first_convolution(model, input_shape[0], f"{library}:{name}")
    return model


def _not_installed(name: str) -> InputError:
    library = name.partition(":")[0]
    return InputError(f"model {name} needs the package {library}: pip install overtone[{library}]")


def _first_convolution(model: nn.Module, channels: int, name: str) -> None:
    """Give torchvision's models, which expect three channels, a first convolution for another number."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == channels:
                return
            if module.groups != 1:
                break
            parent, _, leaf = path.rpartition(".")
            fresh = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                module.dilation,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
            setattr(model.get_submodule(parent), leaf, fresh)
            return
    raise InputError(f"model {name!r} cannot be given {channels} input channels")


def _from_class(name: str, input_shape: Sequence[int], classes: int, arguments: dict[str, Any]) -> nn.Module:
    kind = import_object(name, "model")
    if not callable(kind):
        raise InputError(f"model {name!r} is no class or function, got {type(kind).__name__}")
    try:
        names = list(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        names = []
    keywords: dict[str, Any] = {n: input_shape[0] for n in names if n in CHANNELS}
    keywords.update({n: classes for n in names if n in CLASSES})
    keywords.update({n: tuple(input_shape) for n in names if n == "input_shape"})
    try:
        model = kind(**keywords, **arguments) if keywords else kind(input_shape[0], classes, **arguments)
    except Exception as error:
        called = ", ".join(f"{n}={v}" for n, v in keywords.items()) or f"{input_shape[0]}, {classes}"
        raise InputError(f"model {name!r}: {name.partition(':')[2]}({called}) fails: {told(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {name!r} must give a torch module, got {type(model).__name__}")
    return model


def _try(model: nn.Module, name: str, input_shape: Sequence[int], classes: int) -> None:
    """One pass of two zero windows, so that a misfit shows with the shapes in question."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *input_shape))
    except Exception as error:
        raise InputError(f"model {name!r} does not take its view's {tuple(input_shape)}: {told(error)}") from error
    finally:
        model.train(training)
    try:
        logits = logits_of(output)
    except InputError as error:
        raise InputError(f"model {name!r}: {error}") from error
    if tuple(logits.shape) != (2, classes):
        raise InputError(
            f"model {name!r} must return logits (B, {classes}), got {tuple(logits.shape)} for a batch of 2"
        )
