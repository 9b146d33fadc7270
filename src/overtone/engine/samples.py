"""A study's windows in the views that a cell needs, on the device, rendered per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from overtone.data import Fold, Standardiser, Windows
from overtone.engine.store import CHUNK, Diagrams, FromBytes, FromWindows, Stored, write_diagrams
from overtone.errors import InputError
from overtone.types import Batch
from overtone.views import State, View

FIT_WINDOWS = 4096


@dataclass(frozen=True)
class FittedView:
    """A view with its state from one fold's training windows, and what it keeps of every window."""

    view: View
    state: State
    stored: Stored


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
    def fit(
        cls,
        windows: Windows,
        fold: Fold,
        views: Mapping[str, View],
        device: torch.device,
        budget: int = 2**30,
        cache: Path | None = None,
    ) -> Samples:
        """Fit standardisation and views on the fold's training windows, and prepare all windows.

        Views are fitted on at most 4,096 training windows, evenly spaced.

        Args:
            windows: the study's.
            fold: who is trained on.
            views: by name.
            device: where samples are rendered.
            budget: bytes that windows, and each view's diagrams, may take in memory.
            cache: a folder for what does not fit.

        Raises:
            InputError: for a view that cannot be made of such windows, or a full disk.
        """
        standardise = Standardiser.fit(windows.x, fold.train)
        source: Stored = FromWindows(windows.x, standardise, device)
        if windows.x.nbytes <= budget:
            held = torch.from_numpy(np.asarray(windows.x[:])).to(device)
            source = standardise(held) if held.is_floating_point() else FromBytes(held, standardise)
        chosen = fold.train[:: -(-len(fold.train) // FIT_WINDOWS)]
        few = torch.from_numpy(chosen).to(device)
        fitted = {}
        for name, view in views.items():
            try:
                state = view.fit(view.prepare(view.pick(source[few])))
                stored = source if view.FOLLOWS else _prepared(source, view, windows, fold, device, budget, cache)
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
            if fitted.view.FOLLOWS:
                if augment is not None:
                    windows = augment(stored) if windows is None else windows
                    stored = windows
                stored = fitted.view.pick(stored)
            rendered[name] = fitted.view.render(stored, fitted.state)
        return Batch(rendered, self.target[index], index)


def _prepared(
    source: Stored,
    view: View,
    windows: Windows,
    fold: Fold,
    device: torch.device,
    budget: int,
    cache: Path | None,
) -> Stored:
    """What a view keeps of every window: a tensor within the budget, else diagrams on disk."""
    numbers = torch.arange(len(windows), device=device)
    chunks = (view.prepare(view.pick(source[part])) for part in numbers.split(CHUNK))
    first = next(chunks)
    most = windows.x.shape[2] // 2  # a diagram has at most one pair for two samples
    channels = windows.x.shape[1] if view.channels is None else len(view.channels)
    if cache is None or len(windows) * channels * most * 8 <= budget:
        return _joined([first, *chunks])
    key = repr((windows.content, fold.train_groups, view.VERSION, view.model_dump(mode="json")))
    folder = cache / sha256(key.encode()).hexdigest()[:20]
    if not folder.exists():
        write_diagrams(folder, chain([first], chunks), len(windows), channels, most)
    return Diagrams(folder, channels, device)


def _joined(chunks: list[Tensor]) -> Tensor:
    """Diagrams (n, C, P, 2) of several chunks as one tensor, padded to the longest."""
    longest = max(chunk.shape[2] for chunk in chunks)
    pad = torch.nn.functional.pad
    return torch.cat([pad(chunk, (0, 0, 0, longest - chunk.shape[2]), value=torch.nan) for chunk in chunks])
