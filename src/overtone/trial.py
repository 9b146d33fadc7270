"""A model tried before it is trained or asked: does it behave in training as in evaluation, and does it give logits?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from overtone.errors import InputError, OvertoneError, told
from overtone.tap import Tap
from overtone.types import Input, Output, Spec, returned, tensors_in


def rehearse(tap: Tap, spec: Spec, example: Input) -> str | None:
    """One pass in training mode, of which nothing stays: no batch statistics, no random draw.

    Built-in models are not tried.

    Args:
        tap: as probed.
        spec: what the probe found in evaluation mode.
        example: the probe's; one sample is taken twice, since batch statistics need two.

    Returns:
        A sentence on what it returns beside its logits in training only, if it does.

    Raises:
        InputError: for a model that fails in training, or gives logits or stages of other shapes than in evaluation.
    """
    if tap.declared:
        return None
    returns: list[Any] = []
    hook = tap.model.register_forward_hook(lambda module, args, output: returns.append(output))
    try:
        with _training(tap), torch.no_grad(), _same_draws(example):
            output = tap(_two(example))
    except OvertoneError as error:
        raise InputError(f"in training, {error}") from error
    except Exception as error:
        raise InputError(f"fails in training mode: {told(error)}") from error
    finally:
        hook.remove()
    if spec.classes and not _taken(tap, output, spec.classes):
        raise InputError(
            f"gives {spec.classes} classes in evaluation, but {tuple(output.logits.shape)} in training for a batch of "
            f"{len(output.logits)}"
        )
    for name, stage in spec.stages.items():
        if tuple(output.stages[name].shape[1:]) != stage.shape:
            raise InputError(
                f"stage {name!r} is {stage.shape} in evaluation, but {tuple(output.stages[name].shape[1:])} in training"
            )
    if not tap.task.plain or isinstance(returns[0], Tensor) or not _bare(tap.model, example):
        return None
    return f"returns {returned(returns[0])} in training; only its logits are trained, the rest gets no gradient"


def auxiliary(model: nn.Module) -> bool:
    """Whether it is one of torchvision's with auxiliary outputs, which an argument leaves out."""
    return type(model).__module__.startswith("torchvision.") and getattr(model, "aux_logits", False) is True


def squashed(spec: Spec) -> str | None:
    """A sentence on outputs that are probabilities where logits are meant; None for logits.

    A log-softmax is none of these: it only shifts the logits of a sample, which no softmax notices.
    """
    if not spec.ends:
        return None
    return (
        f"ends in a {spec.ends}: its outputs are taken for logits, so another softmax flattens them; leave the "
        f"{spec.ends} out"
    )


def _taken(tap: Tap, output: Output, classes: int) -> bool:
    """Whether an output in training is what the task takes, and of so many classes."""
    try:
        tap.task.check_output(output, len(output.logits))
    except InputError:
        return False
    return output.logits.shape[1] == classes


def _two(example: Input) -> Input:
    """At least two samples."""
    if isinstance(example, list):
        return example if len(example) > 1 else [*example, *example]
    if isinstance(example, Tensor):
        return example if len(example) > 1 else torch.cat([example, example])
    return tuple(None if x is None else x if len(x) > 1 else torch.cat([x, x]) for x in example)


def _bare(model: nn.Module, example: Input) -> bool:
    """Whether it returns a tensor in evaluation."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            return isinstance(model.eval()(example), Tensor)
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _training(tap: Tap) -> Iterator[None]:
    """Training mode; modes and buffers are as they were afterwards."""
    modes = {module: module.training for module in tap.modules()}
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in tap.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    tap.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                module._buffers[name] = buffer


@contextmanager
def _same_draws(example: Input) -> Iterator[None]:
    """Random numbers drawn meanwhile are drawn again afterwards."""
    with torch.random.fork_rng(devices=list({x.device for x in tensors_in(example) if x.is_cuda})):
        yield
