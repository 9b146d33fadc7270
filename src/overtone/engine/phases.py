"""Phases: which parameters of the student and of its methods are trained in an epoch, and which stand still."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import cast

from torch import nn

from overtone.distill import Distillation
from overtone.errors import InputError, nearest
from overtone.methods import Method
from overtone.recipe import PhaseSettings
from overtone.types import Progress


def trained(model: nn.Module, phase: PhaseSettings) -> set[str]:
    """Names of the parameters that a phase trains.

    Raises:
        InputError: for a pattern that fits no parameter; the nearest module is named.
    """
    names = [name for name, _ in model.named_parameters()]
    trained_names: set[str] = set()
    for pattern in phase.trainable:
        fitting = {name for name in names if fnmatchcase(name, pattern)}
        if not fitting:
            tops = [f"{top}.*" for top in dict.fromkeys(name.partition(".")[0] for name in names)]
            raise InputError(
                f"phases: trainable {pattern!r} fits no parameter of the student; {nearest(pattern, tops)}"
            )
        trained_names |= fitting
    return trained_names


def resting(distillation: Distillation, progress: Progress) -> list[nn.Parameter]:
    """Parameters of methods' parts whose terms weigh nothing in this epoch (:attr:`Method.TRAINED_BY`)."""
    parameters: list[nn.Parameter] = []
    for name, module in distillation.methods.items():
        method = cast(Method, module)
        for part, trained_by in method.TRAINED_BY.items():
            terms = (trained_by,) if isinstance(trained_by, str) else trained_by
            weights = [distillation.weights[f"{name}.{term}"] for term in terms]
            if not any(weight.at(progress.epoch, progress.epochs) for weight in weights):
                parameters += method.get_submodule(part).parameters()
    return parameters


def hold_still(model: nn.Module, names: set[str], plain: bool = True) -> list[nn.Parameter]:
    """All parameters but the named ones; modules that hold nothing else are set to eval, so that their buffers stay.

    Of a model that is not ``plain`` only modules without others inside, such as batch normalisation: what the rest
    gives in training, such as losses, is still needed.
    """
    still = [parameter for name, parameter in model.named_parameters() if name not in names]
    kept = {id(parameter) for parameter in still}
    for module in model.modules():
        parameters = list(module.parameters())
        held = bool(parameters) and all(id(parameter) in kept for parameter in parameters)
        if held and (plain or next(module.children(), None) is None):
            module.eval()
    return still
