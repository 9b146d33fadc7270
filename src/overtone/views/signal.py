"""The window itself."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from overtone.views.base import Shown, State, View


class Signal(View):
    """The standardised window as it is: (B, C, T)."""

    AXES: ClassVar[tuple[str, ...]] = ("time",)
    SOURCE: ClassVar[str] = "the raw window"
    SHOWN: ClassVar[Shown] = Shown(
        caption="standardised with the training people’s mean and deviation", unit="standardised"
    )

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        return size

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return stored
