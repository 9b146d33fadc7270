"""The window itself."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from overtone.views.base import Shown, State, View


class Signal(View):
    """The standardised window as it is: (B, C, T).

    Example:
        >>> window = torch.tensor([[[0.0, 1.0, 2.0]]])
        >>> Signal().render(window, {})
        tensor([[[0., 1., 2.]]])
        >>> Signal(channels=(0, 2)).pick(torch.zeros(1, 3, 8)).shape
        torch.Size([1, 2, 8])
    """

    AXES: ClassVar[tuple[str, ...]] = ("time",)
    SOURCE: ClassVar[str] = "the raw window"
    SHOWN: ClassVar[Shown] = Shown(
        caption="standardised with mean and deviation of the training {groups}", unit="standardised"
    )

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        return size

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return stored
