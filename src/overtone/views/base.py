"""What a view is: settings, a state fitted on training windows, and two steps from windows to what a model sees."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

State = dict[str, Any]
"""A view's fitted state: plain numbers and lists, so that it fits into a model file's header."""


class View(BaseModel):
    """A way to look at a window of a signal.

    A view object holds settings only and never changes; what is fitted is returned as a state and passed back in,
    so that one view object serves every fold. Windows arrive standardised by the training data, (N, C, T).

    Attributes:
        VERSION: raised whenever the same settings give other numbers (it is part of every cell's key).
        FOLLOWS: whether it is rendered from the window itself, so that augmentation of the window reaches it.
        channels: numbers of the channels it sees; all unless given (a recipe names them).
        DIMS: of the data it is made from: 1 for signals (C, T), 2 for images (C, H, W).
        AXES: what the axes of its maps mean, one name an axis: ``time`` where positions follow each other in the
            window. Maps whose axes mean the same can be compared.
        SOURCE: the paper or package that the definition follows, for ``overtone list views``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    VERSION: ClassVar[int] = 1
    FOLLOWS: ClassVar[bool] = True
    DIMS: ClassVar[int] = 1
    AXES: ClassVar[tuple[str, ...]] = ()
    SOURCE: ClassVar[str] = ""

    channels: tuple[int, ...] | None = None

    def pick(self, windows: Tensor) -> Tensor:
        """The channels that this view sees: (N, C, T) -> (N, C', T)."""
        return windows if self.channels is None else windows[:, list(self.channels)]

    @property
    def fingerprint(self) -> str:
        """What decides the numbers besides settings and ``VERSION``; part of a cell's key."""
        return ""

    def prepare(self, windows: Tensor) -> Tensor:
        """What is kept per window, computed once: the windows themselves, or something slow to compute."""
        return windows

    def fit(self, stored: Tensor) -> State:
        """The state that :meth:`render` needs, from what is kept of the training windows, and of no others."""
        return {}

    @abstractmethod
    def render(self, stored: Tensor, state: State) -> Tensor:
        """What the model sees, computed per batch on the batch's device."""
