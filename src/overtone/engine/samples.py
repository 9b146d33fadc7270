"""A study's windows in the views that a cell needs, on the device, rendered per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overtone.data import Fold, ImageFiles, Standardiser, Windows
from overtone.data.base import IntArray
from overtone.data.image_files import Crop
from overtone.engine.mixup import Mixup
from overtone.engine.prefetch import read_ahead
from overtone.engine.store import CHUNK, FromBytes, FromDisk, FromWindows, Stored, write_stored
from overtone.errors import InputError, own_place, told
from overtone.tasks import DEFAULT, Context, Task
from overtone.types import Batch, described
from overtone.views import Codec, State, View

FIT_WINDOWS = 4096
SCALE_IMAGES = 1024
"""Images that mean and standard deviation are taken from, where they are read from files."""

STORED = 2
"""Raised whenever files of what views keep are written in another form."""

Augmentation = Callable[..., Any]
"""Changes windows (B, C, ...) of some numbers (B,); on a canvas, images of some sizes (B, 2) too, and says how."""


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
        origin: where every window comes from, for a task that needs it.
        size: (N, 2) height and width in pixels, of images on a canvas.
    """

    views: Mapping[str, FittedView]
    target: Tensor
    standardise: Standardiser
    task: Task = DEFAULT
    files: ImageFiles | None = None
    held: bool = True
    num_workers: int = 0
    origin: Context | None = None
    size: Tensor | None = None

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
            budget: bytes that windows, and what each view keeps, may take in memory.
            cache: a folder for what does not fit.
            num_workers: processes that decode images ahead.

        Raises:
            InputError: for a view that cannot be made of such windows, or a full disk.
        """
        standardise = _standardiser(windows, fold)
        source: Stored = FromWindows(windows.x, standardise, device)
        fits = windows.x.nbytes <= budget
        if fits:
            whole = torch.from_numpy(np.asarray(windows.x[:])).to(device)
            source = standardise(whole) if whole.is_floating_point() else FromBytes(whole, standardise)
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
        origin = Context(windows.recording, windows.start) if task.CONTEXT else None
        size = None if windows.sizes is None else torch.from_numpy(windows.sizes[:, :2]).to(device)
        return cls(fitted, target, standardise, task, windows.files, fits, num_workers, origin, size)

    def truth(self, index: Tensor) -> Tensor:
        """The targets of some numbers, on the CPU."""
        return self.target[index.to(self.target.device)].cpu()

    def context(self, index: Tensor) -> Context | None:
        """Where the samples of some numbers come from; None of a task that does not need it."""
        return None if self.origin is None else self.origin.of(index.cpu().numpy())

    def batch(self, index: Tensor, views: Iterable[str]) -> Batch:
        """The samples of some numbers, rendered in some views and collated by the task."""
        return self.task.collate(self._rendered(index.to(self.target.device), views, None, None))

    def rendered(self, index: Tensor, views: Iterable[str]) -> Mapping[str, Tensor]:
        """The samples of some numbers in some views, as they are before the task collates them."""
        rendered: Mapping[str, Tensor] = self._rendered(index.to(self.target.device), views, None, None).views
        return rendered

    def batches(
        self,
        chunks: Sequence[Tensor],
        views: Iterable[str],
        augment: Augmentation | None = None,
        crop: Crop | None = None,
        mixed: Sequence[Mixup] | None = None,
        targets: bool = True,
    ) -> Iterator[Batch]:
        """Several lots of samples in turn, collated by the task; images in files are decoded ahead.

        Args:
            chunks: the samples' numbers, (B,) each.
            views: which views.
            augment: changes the windows once, before every view that follows them is rendered.
            crop: cuts images in files in another way than out of their middle.
            mixed: what each lot's samples are mixed with, behind augmentation, before any view is rendered.
            targets: False keeps them from the models, as in evaluation.

        Raises:
            InputError: for an image that cannot be decoded.
        """
        for batch in self._each(chunks, tuple(views), augment, crop, mixed):
            yield self.task.collate(batch if targets else replace(batch, target=None))

    def _each(
        self,
        chunks: Sequence[Tensor],
        views: tuple[str, ...],
        augment: Augmentation | None,
        crop: Crop | None,
        mixed: Sequence[Mixup] | None,
    ) -> Iterator[Batch]:
        device = self.target.device
        mixing: Sequence[Mixup | None] = mixed or [None] * len(chunks)
        if self.files is None or (self.held and crop is None):
            for chunk, mixup in zip(chunks, mixing, strict=True):
                yield self._rendered(chunk.to(device), views, None, augment, mixup)
            return
        wanted = [
            chunk if m is None else torch.cat([chunk, m.partner]).unique()
            for chunk, m in zip(chunks, mixing, strict=True)
        ]
        images = read_ahead(self.files, wanted, crop, self.num_workers, pin=device.type == "cuda")
        for chunk, mixup, read in zip(chunks, mixing, images, strict=True):
            windows = self.standardise(read.to(device, non_blocking=True))
            yield self._rendered(chunk.to(device), views, windows, augment, mixup)

    def _rendered(
        self,
        index: Tensor,
        views: Iterable[str],
        windows: Tensor | None,
        augment: Augmentation | None,
        mixup: Mixup | None = None,
    ) -> Batch:
        """Samples in some views, from their windows where these have been read already.

        Mixed ones come with those of their partners, each once, in the order of their numbers.
        """
        rendered: dict[str, Tensor] = {}
        changed = False
        wanted, target = index, self.target[index]
        size = None if self.size is None else self.size[index]
        if mixup is not None:
            partner = mixup.partner.to(index.device)
            wanted, both = torch.cat([index, partner]).unique(return_inverse=True)
            target = self.task.mixed(target, self.target[partner], mixup.proportion)
        for name in views:
            fitted = self.views[name]
            if fitted.view.FOLLOWS:
                windows = fitted.stored[wanted] if windows is None else windows
                if not changed and augment is not None and size is not None:
                    windows, move = augment(windows, index, size)
                    target, size, changed = self.task.moved(target, move), move.size, True
                if not changed:
                    windows = windows if augment is None else augment(windows, wanted)
                    windows = windows if mixup is None else mixup(*windows[both].chunk(2))
                    changed = True
                rendered[name] = fitted.view.render(fitted.view.pick(windows), fitted.state)
            else:
                rendered[name] = fitted.view.render(fitted.stored[index], fitted.state)
        return Batch(rendered, target, index, size)


def _spaced(numbers: IntArray, most: int) -> IntArray:
    """At most so many of some numbers, evenly spaced."""
    return numbers[:: -(-len(numbers) // most)]


def _standardiser(windows: Windows, fold: Fold) -> Standardiser:
    if windows.scale is not None:
        return Standardiser(*windows.scale)
    if windows.files is not None:  # decoded once for both passes
        return Standardiser.fit(windows.files[_spaced(fold.train, SCALE_IMAGES)])
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
    """What a view keeps of every window: a tensor within the budget, else files.

    Raises:
        ValueError: for a view that keeps no tensor, not of every window, or no form for all of them.
    """
    chunks = _kept(source, view, torch.arange(len(windows), device=device))
    first = next(chunks)
    channels = windows.x.shape[1] if view.channels is None else len(view.channels)
    rows, counts = (first[:1], None) if view.CODEC is None else view.CODEC.pack(first[:1])
    largest = rows.nbytes if view.CODEC is None else view.CODEC.largest((channels, *windows.size))
    if cache is None or len(windows) * largest <= budget:
        return _joined([first, *chunks], view.CODEC)
    named = (view.own_name, view.fingerprint) if view.own_name else ()
    key = repr((STORED, windows.content, fold.train_groups, view.VERSION, view.model_dump(mode="json"), *named))
    folder = cache / sha256(key.encode()).hexdigest()[:20]
    if not folder.exists():
        offsets = 0 if counts is None else 8 * counts[0].numel()
        write_stored(folder, chain([first], chunks), view.CODEC, len(windows) * (largest + offsets))
    return FromDisk(folder, first[:1], view.CODEC, device)


def _kept(source: Stored, view: View, numbers: Tensor) -> Iterator[Tensor]:
    """What a view keeps of some windows, in chunks."""
    first: Tensor | None = None
    for part in numbers.split(CHUNK):
        kept = view.prepare(view.pick(source[part]))
        if not isinstance(kept, Tensor) or kept.dim() == 0 or len(kept) != len(part):
            raise ValueError(
                f"prepare must return a tensor ({len(part)}, ...) for that many windows, got "
                f"{tuple(kept.shape) if isinstance(kept, Tensor) else type(kept).__name__}"
            )
        first = kept if first is None else first
        if view.CODEC is None and (kept.shape[1:], kept.dtype) != (first.shape[1:], first.dtype):
            raise ValueError(
                f"prepare keeps {described(first[0])} of some windows and {described(kept[0])} of others; it must be "
                "the same form for all, or padded by a view that names a CODEC"
            )
        yield kept


def _joined(chunks: list[Tensor], codec: Codec | None) -> Tensor:
    """Several chunks as one tensor, padded to the longest where there is a codec."""
    if codec is None:
        return torch.cat(chunks)
    packed = [codec.pack(chunk) for chunk in chunks]
    return codec.unpack(torch.cat([rows for rows, _ in packed]), torch.cat([counts for _, counts in packed]))
