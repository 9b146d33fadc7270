"""What a view is: settings, a state fitted on training windows, and two steps from windows to what a model sees."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from torch import Tensor

State = dict[str, Any]
"""A view's fitted state: plain numbers and lists, so that it fits into a model file's header."""


class Codec(Protocol):
    """How what a view keeps of windows is written where windows keep different amounts, without padding.

    Attributes:
        WHAT: what is kept, for messages.
    """

    WHAT: str

    def pack(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of n windows, (n, ...) -> rows (M, ...) of all of them behind one another, without padding, and
        how many there are of each window, (n, ...) int64; several numbers per window where it has several parts.
        """
        ...

    def unpack(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Rows of some windows and their counts -> (n, ...), padded to the longest of them."""
        ...

    def largest(self, window: tuple[int, ...]) -> int:
        """Bytes that the rows of one window (C, T) take at most."""
        ...


LARGEST = 2048
"""Pixels of an image's side: one of 100,000 would take 40 GB."""


class Shown(BaseModel):
    """How the page draws a view.

    Attributes:
        caption: what it shows, in one line; ``{groups}`` stands for what the data calls its groups.
        unit: what a line's values are.
        labels: of an image's axes where :meth:`View.extents` says what they span; otherwise they are called as in
            ``AXES``.
        low, high: ends of the colour scale; found from the values unless given. A range around 0 has two colours.
        gamma: colours follow the values to this power; 0.5 shows weak spots.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: str = ""
    unit: str = "value"
    labels: tuple[str, str] | None = None
    low: float | None = None
    high: float | None = None
    gamma: float = Field(default=1.0, gt=0)


class View(BaseModel):
    """A way to look at a window of a signal.

    A view object holds settings only and never changes; what is fitted is returned as a state and passed back in,
    so that one view object serves every fold. Windows arrive standardised by the training data, (N, C, T).

    Attributes:
        VERSION: raised whenever the same settings give other numbers (it is part of every cell's key).
        FOLLOWS: whether it is rendered from the window itself, so that augmentation of the window reaches it.
        channels: numbers of the channels it sees; all unless given (a recipe names them).
        CODEC: writes what :meth:`prepare` gives where it is padded to windows that keep more; without one, every window
            keeps a tensor of the same form.
        DIMS: of the data it is made from: 1 for signals (C, T), 2 for images (C, H, W).
        AXES: what the axes of its maps mean, one name per axis: ``time`` where positions follow each other in the
            window. Maps whose axes mean the same can be compared.
        STATE: the finite numbers that :meth:`render` reads from a state: how many, by name.
        SOURCE: the paper or package that the definition follows, for ``overtone list views``.
        SHOWN: how the page draws it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    VERSION: ClassVar[int] = 1
    FOLLOWS: ClassVar[bool] = True
    CODEC: ClassVar[Codec | None] = None
    DIMS: ClassVar[int] = 1
    AXES: ClassVar[tuple[str, ...]] = ()
    STATE: ClassVar[Mapping[str, int]] = {}
    SOURCE: ClassVar[str] = ""
    SHOWN: ClassVar[Shown] = Shown()

    channels: tuple[int, ...] | None = None
    _name: str = PrivateAttr("")
    _source: str = PrivateAttr("")

    def found_as(self, name: str, source: str) -> View:
        """This view, of somebody's own class: it remembers by which name that is found, and a hash of its source."""
        self._name, self._source = name, source
        return self

    @property
    def own_name(self) -> str:
        """``package.module:Class`` of a view of somebody's own; empty for a built-in one."""
        return self._name

    def pick(self, windows: Tensor) -> Tensor:
        """The channels that this view sees: (N, C, T) -> (N, C', T)."""
        return windows if self.channels is None else windows[:, list(self.channels)]

    @property
    def axes(self) -> tuple[str, ...]:
        """:attr:`AXES`, or what a user's function says of its own."""
        return self.AXES

    @property
    def fingerprint(self) -> str:
        """What decides the numbers besides settings and ``VERSION``; part of a cell's key."""
        return self._source

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...] | None:
        """What one channel of a window becomes, by arithmetic alone; None where only running it tells.

        A student file of a built-in view is held to it, so that a view from somebody else cannot take much memory.

        Args:
            size: of a window without its channels, (T,) or (H, W).

        Raises:
            ValueError: for settings that such a window cannot give.
        """
        return None

    def cost(self, size: tuple[int, ...]) -> int:
        """How many values the largest tensor holds that is made on the way."""
        return math.prod(self.shape(size) or ())

    def check_state(self, state: State, channels: int) -> None:
        """Refuse a state that :meth:`fit` cannot have given for so many channels.

        Raises:
            ValueError: which says what is wrong.
        """
        for name, count in self.STATE.items():
            value: Any = state.get(name)
            numbers: list[Any] = list(value) if count > 1 and isinstance(value, (list, tuple)) else [value]
            if len(numbers) != count or not all(map(_is_finite, numbers)):
                raise ValueError(f"its state's {name} must be {count} finite number{'s' if count > 1 else ''}")
            rises = name.endswith("_range")
            if (rises and not numbers[0] < numbers[1]) or (name in ("scale", "std") and not numbers[0] > 0):
                raise ValueError(f"its state's {name} must {'rise' if rises else 'be positive'}, got {value}")

    def extents(self, state: State) -> list[list[float]]:
        """What an image's axes span, for the page: [left, right, bottom, top], once for all channels, or for each.

        Nothing where they count pixels, or are time.
        """
        return []

    def prepare(self, windows: Tensor) -> Tensor:
        """What is kept per window, computed once: the windows themselves, or something slow to compute.

        Any tensor (N, ...), of the same shape and type for every window; or padded, with a :attr:`CODEC`.
        """
        return windows

    def fit(self, stored: Tensor) -> State:
        """The state that :meth:`render` needs; ``stored`` is what is kept of the training windows, and of no others."""
        return {}

    def scaled(self, mean: Sequence[float], std: Sequence[float]) -> State:
        """What :meth:`render` needs to know of what windows were standardised by, one number per channel.

        Raises:
            ValueError: for settings that do not fit the data's channels.
        """
        return {}

    @abstractmethod
    def render(self, stored: Tensor, state: State) -> Tensor:
        """What the model sees, computed per batch on the batch's device."""


def _is_finite(value: Any) -> bool:
    """Whether torch can take it as a finite number; of whole ones not even all, and no flag."""
    if isinstance(value, bool):
        return False
    return (isinstance(value, float) and math.isfinite(value)) or (isinstance(value, int) and abs(value) < 2**63)
