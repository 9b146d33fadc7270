"""The contract of views."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from overtone.lookup import make_view, view_settings, view_type
from overtone.testing.require import made, require, same
from overtone.views import CustomView, Shown, State, View

COUNT, CHANNELS, LENGTH, SIDE = 12, 3, 64, 16
MEAN, STD = (0.5, 1.0, 2.0), (2.0, 1.0, 0.5)
"""What windows were standardised by, one number per channel."""


def check_view(kind: type[View] | Callable[..., Tensor] | str, settings: Mapping[str, Any] | None = None) -> None:
    """Hold a view to its contract, on twelve random windows of three channels and 64 samples (images: 16 x 16 pixels).

    Its settings and its state survive JSON, since both go into student files; a window looks the same alone and in a
    batch, and whatever it is, also a flat one, its view is finite and of the windows' type; the state that is fitted is
    used; what the class says of itself is true (``shape``, ``AXES``, ``STATE``, ``FOLLOWS``, ``extents``).

    Args:
        kind: the class, a function of windows that can be imported, or the name of either as in a recipe.
        settings: as in a recipe.

    Raises:
        AssertionError: in one sentence on what is wrong and what the class should do.
        InputError: for a name that is not found.
    """
    view = _made(kind, settings or {})
    windows = _windows(type(view))
    kept = windows.clone()
    stored, state = _fitted(view, windows)
    rendered = _rendered(view, stored, state)
    require(torch.equal(windows, kept), f"{_called(view)} writes into the windows it is given; make new tensors")
    _settings(view, stored, state, rendered)
    _alone(view, windows, state, rendered)
    _types(view, windows)
    _facts(view, windows, stored, state, rendered)
    _state_is_used(view, windows, stored, state)


def _made(kind: type[View] | Callable[..., Tensor] | str, settings: Mapping[str, Any]) -> View:
    """The view of a class, of a function, or of either's name."""
    if isinstance(kind, type):
        view: View = made(kind, View, settings)
        return view
    name = kind if isinstance(kind, str) else f"{kind.__module__}:{getattr(kind, '__qualname__', kind)}"
    view = make_view(name, dict(settings), "check_view")
    if isinstance(view, CustomView):
        try:
            view.fit(_windows(CustomView))
            _ = view.axes
        except Exception as error:  # a function of somebody's own may raise anything
            raise AssertionError(
                f"{_called(view)} cannot be used on windows ({COUNT}, {CHANNELS}, {LENGTH}): {error}"
            ) from error
    return view


def _called(view: View) -> str:
    """As messages name it."""
    return view.function if isinstance(view, CustomView) else type(view).__name__


def _windows(kind: type[View], seed: int = 0) -> Tensor:
    """Standardised ones."""
    size = (LENGTH,) if kind.DIMS == 1 else (SIDE, SIDE)
    return torch.randn(COUNT, CHANNELS, *size, generator=torch.Generator().manual_seed(seed))


def _fitted(view: View, windows: Tensor) -> tuple[Tensor, State]:
    """What is kept of windows, and the state fitted on it."""
    name = _called(view)
    stored = view.prepare(view.pick(windows))
    require(
        isinstance(stored, Tensor) and len(stored) == len(windows),
        f"{name}.prepare must return a tensor with a row for each window",
    )
    state = view.fit(stored)
    require(
        isinstance(state, dict) and all(isinstance(key, str) for key in state),
        f"{name}.fit must return its state, a dict with names, {{}} for none; got {type(state).__name__}",
    )
    return stored, {**state, **view.scaled(MEAN, STD)}


def _rendered(view: View, stored: Tensor, state: State) -> Tensor:
    name = _called(view)
    rendered = view.render(stored, state)
    received = tuple(rendered.shape) if isinstance(rendered, Tensor) else type(rendered).__name__
    require(
        isinstance(rendered, Tensor) and rendered.dim() in (3, 4) and len(rendered) == len(stored),
        f"{name}.render must return signals (B, C, T) or images (B, C, H, W), one for each window; got {received}",
    )
    require(bool(rendered.isfinite().all()), f"{name}.render gives values that are not finite for random windows")
    return rendered


def _settings(view: View, stored: Tensor, state: State, rendered: Tensor) -> None:
    name = _called(view)
    require(
        torch.equal(view.render(stored, state), rendered),
        f"{name}.render gives another view of the same window the second time; draw no random numbers in it",
    )
    try:
        again = json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"{name}.fit must return plain numbers and lists, which fit into a student file's header ({error})"
        ) from error
    settings = json.loads(json.dumps(view_settings(view)))
    function = isinstance(view, CustomView)
    twin = make_view(view_type(view), settings) if function else type(view).model_validate(settings)
    require(
        torch.equal(twin.render(stored, again), rendered),
        f"{name} gives another view once settings and state went through JSON, as in a student file; keep nothing else",
    )
    require(view == twin, f"{name} changes while it is used; a view object holds settings only, and serves every fold")


def _alone(view: View, windows: Tensor, state: State, rendered: Tensor) -> None:
    name = _called(view)
    one = view.render(view.prepare(view.pick(windows[3:4])), state)
    require(
        one.shape[1:] == rendered.shape[1:] and same(one, rendered[3:4]),
        f"{name} gives a window another view alone than in a batch; what depends on other windows belongs into fit",
    )


def _types(view: View, windows: Tensor) -> None:
    name = _called(view)
    for dtype in (torch.float32, torch.float64):
        flat = torch.full_like(windows[:4], 0.1, dtype=dtype)
        for what, given in (("random", windows.to(dtype)), ("flat", flat)):
            stored, state = _fitted(view, given)
            rendered = view.render(stored, state)
            require(rendered.dtype == dtype, f"{name} makes {rendered.dtype} of windows of {dtype}; keep their type")
            require(bool(rendered.isfinite().all()), f"{name} gives values that are not finite for {what} windows")


def _facts(view: View, windows: Tensor, stored: Tensor, state: State, rendered: Tensor) -> None:
    kind, size = type(view), tuple(rendered.shape[2:])
    name = _called(view)
    declared = view.shape(tuple(windows.shape[2:]))
    require(
        declared in (None, size),
        f"{name}.shape says {declared}, but render gives {size}; say None where only running tells",
    )
    require(
        len(view.axes) in (0, len(size)),
        f"{name}.AXES must name each of its maps' {len(size)} axes, or none; got {view.axes}",
    )
    require(isinstance(kind.SHOWN, Shown), f"{name}.SHOWN must be a Shown, from overtone.views; got {kind.SHOWN!r}")
    require(view.cost(tuple(windows.shape[2:])) > 0, f"{name}.cost must be a number of values above 0")
    missing = [key for key in kind.STATE if key not in state]
    require(not missing, f"{name}.STATE names {', '.join(missing)}, which fit does not return")
    try:
        view.check_state(state, CHANNELS if view.channels is None else len(view.channels))
    except ValueError as error:
        raise AssertionError(f"{name}.check_state refuses a state that fit gave: {error}") from error
    prepared = stored.shape != windows.shape or not torch.equal(stored, view.pick(windows))
    require(
        not (kind.FOLLOWS and prepared and view.channels is None),
        f"{name}.prepare changes windows, so they are prepared once: say FOLLOWS = False, since it cannot follow "
        "augmentation",
    )
    for span in view.extents(state):
        rises = len(span) == 4 and span[0] < span[1] and span[2] < span[3]
        require(rises, f"{name}.extents must give [left, right, bottom, top], each pair rising; got {span}")


def _state_is_used(view: View, windows: Tensor, stored: Tensor, state: State) -> None:
    name = _called(view)
    _, other = _fitted(view, 3 * windows + 1)
    if other == state:
        return
    require(
        not torch.equal(view.render(stored, other), view.render(stored, state)),
        f"{name}.render gives the same whatever fit found; use its state, or let fit return {{}}",
    )
