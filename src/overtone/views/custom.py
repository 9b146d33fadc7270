"""A user's own view: any function from windows to images, named in the recipe."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from overtone.views.base import State, View


class CustomView(View):
    """``package.module:function`` with the recipe's settings as keyword arguments.

    A function may say what the axes of its maps mean, behind their channels, by an attribute:
    ``spectrum.AXES = ("frequency", "time")``. Maps whose axes mean the same can be compared; without it, none can.

    Attributes:
        function: takes standardised windows (B, C, T) and returns images (B, C', H, W) or signals (B, C', T').
        settings: its keyword arguments.

    Example:
        >>> view = CustomView(function="torch:cumsum", settings={"dim": 2})
        >>> view.render(torch.ones(1, 1, 4), {})
        tensor([[[1., 2., 3., 4.]]])
    """

    SOURCE: ClassVar[str] = "your own function (B,C,T) -> (B,C,H,W), as package.module:function"

    function: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """What the function says.

        Raises:
            ValueError: for what is no tuple of names.
        """
        axes = getattr(self._function(), "AXES", ())
        if not isinstance(axes, (tuple, list)) or not all(isinstance(name, str) for name in axes):
            raise ValueError(f'AXES of {self.function} must be a tuple of names, such as ("time",), got {axes!r}')
        return tuple(axes)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...] | None:
        """Only the function knows."""
        return None

    def render(self, stored: Tensor, state: State) -> Tensor:
        """What the function returns.

        Raises:
            ValueError: if that is no tensor with as many samples as it got.
        """
        image = self._function()(stored, **self.settings)
        if not isinstance(image, Tensor) or image.dim() not in (3, 4) or len(image) != len(stored):
            got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(
                f"{self.function} must return a tensor ({len(stored)}, C, H, W) for windows {tuple(stored.shape)}, "
                f"got {got}"
            )
        return image

    def fit(self, stored: Tensor) -> State:
        """Nothing is fitted; the function is tried on one window, so that a mistake shows before training."""
        self.render(stored[:1], {})
        return {}

    def _function(self) -> Any:
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)

    @property
    def fingerprint(self) -> str:
        """The hash of the function's file, and its axes, so that changing them makes new cells."""
        return " ".join((super().fingerprint, *self.axes))
