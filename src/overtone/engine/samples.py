"""A study's windows in the views that a cell needs, on the device, rendered per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from overtone.data import Fold, ImageFiles, Standardiser, Windows
from overtone.data.base import IntArray
from overtone.data.image_files import Crop
from overtone.engine.prefetch import read_ahead
from overtone.engine.store import CHUNK, Diagrams, FromBytes, FromWindows, Stored, write_diagrams
from overtone.errors import InputError, own_place, told
from overtone.tasks import Classification, Task
from overtone.types import Batch
from overtone.views import State, View

CLASSES = Classification()
FIT_WINDOWS = 4096
SCALE_PICTURES = 1024
"""Images that mean and standard deviation are taken from, where they are read from files."""

Augmentation = Callable[[Tensor, Tensor], Tensor]
"""Changes windows (B, C, ...) of some numbers (B,)."""


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
        target: (N, ...), as the task has them.
        standardise: fitted on the fold's training windows, or as the data say.
        task: with what it learned from the fold's training targets.
        files: of images that are not held in memory, or may be cut in another way in training.
        held: whether the images are in memory too.
        num_workers: processes that decode images ahead.
    """

    views: Mapping[str, FittedView]
    target: Tensor
    standardise: Standardiser
    task: Task = CLASSES
    files: ImageFiles | None = None
    held: bool = True
    num_workers: int = 0

    @classmethod
    def fit(
        cls,
        windows: Windows,
        fold: Fold,
        views: Mapping[str, View],
        device: torch.device,
        budget: int = 2**30,
        cache: Path | None = None,
        num_workers: int = 0,
    ) -> Samples:
        """Fit standardisation and views on the fold's training windows, and prepare all windows.

        Views are fitted on at most 4,096 training windows, standardisation of images in files on at most 1,024,
        evenly spaced.

        Args:
            windows: the study's.
            fold: who is trained on.
            views: by name.
            device: where samples are rendered.
            budget: bytes that windows, and each view's diagrams, may take in memory.
            cache: a folder for what does not fit.
            num_workers: processes that decode images ahead.

        Raises:
            InputError: for a view that cannot be made of such windows, or a full disk.
        """
        standardise = _standardiser(windows, fold)
        source: Stored = FromWindows(windows.x, standardise, device)
        fits = windows.x.nbytes <= budget
        if fits:
            held = torch.from_numpy(np.asarray(windows.x[:])).to(device)
            source = standardise(held) if held.is_floating_point() else FromBytes(held, standardise)
        few = torch.from_numpy(_spaced(fold.train, FIT_WINDOWS)).to(device)
        fitted = {}
        for name, view in views.items():
            try:
                keeps = type(view).fit is not View.fit  # else nothing need be read for it
                state = view.fit(view.prepare(view.pick(source[few]))) if keeps else {}
                state = {**state, **view.scaled(standardise.mean, standardise.std)}
                stored = source if view.FOLLOWS else _prepared(source, view, windows, fold, device, budget, cache)
            except ValueError as error:  # views know nothing of our errors
                raise InputError(f"views.{name}: {told(error) if own_place(error) else error}") from error
            fitted[name] = FittedView(view, state, stored)
        target = torch.from_numpy(windows.y).to(device)
        task = windows.task.fit(torch.from_numpy(windows.y[fold.train]))
        return cls(fitted, target, standardise, task, windows.files, fits, num_workers)

    def truth(self, index: Tensor) -> Tensor:
        """The targets of some numbers, on the CPU."""
        return self.target[index.to(self.target.device)].cpu()

    def batch(self, index: Tensor, views: Iterable[str]) -> Batch:
        """The samples of some numbers, rendered in some views and collated by the task."""
        return self.task.collate(self._rendered(index.to(self.target.device), views, None, None))

    def rendered(self, index: Tensor, views: Iterable[str]) -> Mapping[str, Tensor]:
        """The samples of some numbers in some views, as they are before the task collates them."""
        found: Mapping[str, Tensor] = self._rendered(index.to(self.target.device), views, None, None).views
        return found

    def batches(
        self,
        chunks: Sequence[Tensor],
        views: Iterable[str],
        augment: Augmentation | None = None,
        crop: Crop | None = None,
        targets: bool = True,
    ) -> Iterator[Batch]:
        """Several lots of samples in turn, collated by the task; images in files are decoded ahead.

        Args:
            chunks: the samples' numbers, (B,) each.
            views: which views.
            augment: changes the windows once, before every view that follows them is rendered.
            crop: cuts images in files in another way than out of their middle.
            targets: False keeps them from the models, as in evaluation.

        Raises:
            InputError: for an image that cannot be decoded.
        """
        for batch in self._each(chunks, tuple(views), augment, crop):
            yield self.task.collate(batch if targets else replace(batch, target=None))

    def _each(
        self, chunks: Sequence[Tensor], views: tuple[str, ...], augment: Augmentation | None, crop: Crop | None
    ) -> Iterator[Batch]:
        device = self.target.device
        if self.files is None or (self.held and crop is None):
            for chunk in chunks:
                yield self._rendered(chunk.to(device), views, None, augment)
            return
        images = read_ahead(self.files, chunks, crop, self.num_workers, pin=device.type == "cuda")
        for chunk, read in zip(chunks, images, strict=True):
            windows = self.standardise(read.to(device, non_blocking=True))
            yield self._rendered(chunk.to(device), views, windows, augment)

    def _rendered(
        self, index: Tensor, views: Iterable[str], windows: Tensor | None, augment: Augmentation | None
    ) -> Batch:
        """Samples in some views, from their windows where these have been read already."""
        rendered: dict[str, Tensor] = {}
        changed = False
        for name in views:
            fitted = self.views[name]
            if fitted.view.FOLLOWS:
                windows = fitted.stored[index] if windows is None else windows
                if augment is not None and not changed:
                    windows, changed = augment(windows, index), True
                rendered[name] = fitted.view.render(fitted.view.pick(windows), fitted.state)
            else:
                rendered[name] = fitted.view.render(fitted.stored[index], fitted.state)
        return Batch(rendered, self.target[index], index)


def _spaced(numbers: IntArray, most: int) -> IntArray:
    """At most so many of some numbers, evenly spaced."""
    return numbers[:: -(-len(numbers) // most)]


def _standardiser(windows: Windows, fold: Fold) -> Standardiser:
    if windows.scale is not None:
        return Standardiser(*windows.scale)
    if windows.files is not None:  # decoded once for both passes
        return Standardiser.fit(windows.files[_spaced(fold.train, SCALE_PICTURES)])
    return Standardiser.fit(windows.x, fold.train)


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
    named = (view.own_name, view.fingerprint) if view.own_name else ()
    key = repr((windows.content, fold.train_groups, view.VERSION, view.model_dump(mode="json"), *named))
    folder = cache / sha256(key.encode()).hexdigest()[:20]
    if not folder.exists():
        write_diagrams(folder, chain([first], chunks), len(windows), channels, most)
    return Diagrams(folder, channels, device)


def _joined(chunks: list[Tensor]) -> Tensor:
    """Diagrams (n, C, P, 2) of several chunks as one tensor, padded to the longest."""
    longest = max(chunk.shape[2] for chunk in chunks)
    pad = torch.nn.functional.pad
    return torch.cat([pad(chunk, (0, 0, 0, longest - chunk.shape[2]), value=torch.nan) for chunk in chunks])
