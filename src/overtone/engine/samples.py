"""A study's windows in the views that a cell needs, on the device, rendered per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from overtone.data import Fold, Standardiser, Windows
from overtone.errors import InputError
from overtone.types import Batch
from overtone.views import State, View


@dataclass(frozen=True)
class FittedView:
    """A view with its state from one fold's training windows, and what it keeps of every window."""

    view: View
    state: State
    stored: Tensor


@dataclass(frozen=True)
class Samples:
    """Every window of a study, in several views.

    Attributes:
        views: by name.
        target: (N,) class numbers.
        standardise: fitted on the fold's training windows.
    """

    views: Mapping[str, FittedView]
    target: Tensor
    standardise: Standardiser

    @classmethod
    def fit(cls, windows: Windows, fold: Fold, views: Mapping[str, View], device: torch.device) -> Samples:
        """Fit standardisation and views on the fold's training windows, and prepare all windows.

        Raises:
            InputError: for a view that cannot be made of such windows.
        """
        standardise = Standardiser.fit(windows.x[fold.train])
        x = standardise(torch.from_numpy(windows.x).to(device))
        train = torch.from_numpy(fold.train).to(device)
        fitted = {}
        for name, view in views.items():
            stored = view.prepare(x)
            try:
                state = view.fit(stored[train])
            except ValueError as error:  # views know nothing of our errors
                raise InputError(f"views.{name}: {error}") from error
            fitted[name] = FittedView(view, state, stored)
        return cls(fitted, torch.from_numpy(windows.y).to(device), standardise)

    def batch(self, index: Tensor, views: Iterable[str], augment: Callable[[Tensor], Tensor] | None = None) -> Batch:
        """The samples of some numbers, rendered in some views.

        Args:
            index: which samples.
            views: which views.
            augment: changes the windows (B, C, T) once, before every view that follows them is rendered.
        """
        index = index.to(self.target.device)
        rendered: dict[str, Tensor] = {}
        windows: Tensor | None = None
        for name in views:
            fitted = self.views[name]
            stored = fitted.stored[index]
            if augment is not None and fitted.view.FOLLOWS:
                windows = augment(stored) if windows is None else windows
                stored = windows
            rendered[name] = fitted.view.render(stored, fitted.state)
        return Batch(rendered, self.target[index], index)
