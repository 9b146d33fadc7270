"""A picture itself."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from overtone.views.base import State, View


class Image(View):
    """The standardised picture as it is: (B, C, H, W)."""

    AXES: ClassVar[tuple[str, ...]] = ("height", "width")
    SOURCE: ClassVar[str] = "the picture itself, for data that hold images"
    DIMS: ClassVar[int] = 2

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return stored
