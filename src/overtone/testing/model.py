"""The contract of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.models import build
from overtone.recipe import ModelOptions
from overtone.tap import Tap, probe
from overtone.testing.require import require, same
from overtone.trial import rehearse, squashed
from overtone.types import logits_of

BATCH, CLASSES = 4, 5


def check_model(
    model: str | Callable[..., nn.Module],
    shape: Sequence[int] = (3, 64),
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Hold a model to what training, student files and methods need of it.

    It takes such an input and gives logits, in training as in evaluation; a seed decides its weights; every parameter
    gets a gradient; in evaluation a sample's logits depend on it alone; all that it remembers is in its state; and the
    head that a built-in one declares makes the logits of its last map.

    Args:
        model: a name as in a recipe, or a class or function that can be imported, called with the numbers of channels
            and classes.
        shape: of one sample, (C, T) or (C, H, W).
        arguments: as in a recipe.

    Raises:
        AssertionError: in one sentence on what is wrong and what the model should do.
    """
    name = model if isinstance(model, str) else f"{model.__module__}:{getattr(model, '__qualname__', '')}"
    options = ModelOptions(arguments=dict(arguments or {}))
    x = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0))

    def new(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        try:
            return build(name, tuple(shape), CLASSES, options)
        except InputError as error:
            raise AssertionError(str(error)) from error

    first = new(0)
    _seeded(name, first, new(0))
    _probed(name, first, x)
    _trained(name, first, x)
    _evaluated(name, first, x)
    other = new(1).eval()
    other.load_state_dict(first.state_dict())
    require(
        same(_logits(other, x), _logits(first, x)),
        f"model {name!r} gives other logits once its state is loaded into a new one; keep all that it remembers in "
        "parameters and buffers",
    )


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return logits_of(model(x))


def _seeded(name: str, model: nn.Module, twin: nn.Module) -> None:
    states = model.state_dict(), twin.state_dict()
    require(
        states[0].keys() == states[1].keys() and all(torch.equal(x, states[1][key]) for key, x in states[0].items()),
        f"model {name!r} begins with other weights for the same seed; draw them with torch only",
    )


def _probed(name: str, model: nn.Module, x: Tensor) -> None:
    tap = Tap(model)
    try:
        spec = probe(tap, x)
        more = rehearse(tap, spec, x)
    except InputError as error:
        raise AssertionError(f"model {name!r}: {error}") from error
    require(more is None, f"model {name!r} {more}; return logits only")
    require(squashed(spec) is None, f"model {name!r} {squashed(spec)}")
    if tap.head is not None and "final" in spec.stages:
        with torch.no_grad():
            output = tap.eval()(x)
            require(
                same(tap.head(output.stages["final"]), output.logits),
                f"model {name!r}: its head does not make the logits of its stage final; head is pool and classifier",
            )
    tap.release()


def _trained(name: str, model: nn.Module, x: Tensor) -> None:
    logits_of(model.train()(x)).square().sum().backward()
    for key, parameter in model.named_parameters():
        require(parameter.grad is not None, f"model {name!r}: no logit depends on its parameter {key}; leave it out")
        parameter.grad = None


def _evaluated(name: str, model: nn.Module, x: Tensor) -> None:
    together = _logits(model.eval(), x)
    require(tuple(together.shape) == (BATCH, CLASSES), f"model {name!r} must give logits (B, classes)")
    require(bool(together.isfinite().all()), f"model {name!r} gives logits that are not finite")
    require(
        torch.equal(together, _logits(model, x)),
        f"model {name!r} gives other logits for the same input in evaluation; let dropout follow train() and eval()",
    )
    require(
        same(_logits(model, x[:1]), together[:1]),
        f"model {name!r} gives a sample other logits alone than in a batch; in evaluation samples must not interact",
    )
