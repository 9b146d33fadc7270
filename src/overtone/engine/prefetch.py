"""Images read ahead of training, by processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from overtone.data import ImageFiles
from overtone.data.image_files import Crop
from overtone.errors import InputError
from overtone.processes import end_with_parent

MOST = 8
"""Processes that read, unless a recipe says otherwise: more hardly help, and there may be several GPUs' trainings."""


class _ImageDataset(Dataset[Tensor]):
    """Gives a batch of images (B, 3, H, W) for a list of numbers; an error is returned, since one that is raised in
    another process arrives wrapped in that process' traceback.
    """

    def __init__(self, files: ImageFiles, crop: Crop | None) -> None:
        self.files, self.crop = files, crop

    def __getitems__(self, numbers: list[int]) -> Tensor | InputError:
        try:
            return torch.stack([torch.from_numpy(self.files.read(n, self.crop).copy()) for n in numbers])
        except InputError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def read_ahead(
    files: ImageFiles, chunks: Sequence[Tensor], crop: Crop | None, processes: int, pin: bool
) -> Iterator[Tensor]:
    """The images of some batches in turn, (B, 3, H, W) bytes each.

    Args:
        files: the set's images.
        chunks: the numbers in each batch.
        crop: how they are cut, where not as they are read whole.
        processes: that decode while the caller works; 0 decodes in this one.
        pin: hand batches over in memory that a GPU copies from fastest.

    Raises:
        InputError: for a file that cannot be decoded.
    """
    loader = DataLoader(
        _ImageDataset(files, crop),
        batch_sampler=[chunk.tolist() for chunk in chunks],
        num_workers=processes,
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=end_with_parent,
        generator=torch.Generator(),  # the global one belongs to training, which a resume must find as it was
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def num_workers(wanted: int | None, threads: int, together: int) -> int:
    """How many processes read for this one.

    Args:
        wanted: the recipe's number, if it has one.
        threads: that training takes.
        together: processes that train together on this machine.
    """
    if multiprocessing.current_process().daemon:  # one of several cells side by side: it may not have children
        return 0
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(MOST, cores // together - threads))
