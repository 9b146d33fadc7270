"""What is kept of every window, in memory or on disk, behind one way to ask for some windows' part of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from overtone.errors import InputError

CHUNK = 1024
"""Windows prepared at a time."""


class Stored(Protocol):
    """Gives what is kept of some windows, by their numbers."""

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) numbers -> (B, ...)."""
        ...


@dataclass(frozen=True)
class FromBytes:
    """Images held as bytes on the device, standardised when they are asked for."""

    images: Tensor
    standardise: Callable[[Tensor], Tensor]

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) -> (B, C, H, W)."""
        return self.standardise(self.images[index])


@dataclass(frozen=True)
class FromWindows:
    """Windows read and standardised when they are asked for."""

    windows: npt.NDArray[Any]
    standardise: Callable[[Tensor], Tensor]
    device: torch.device

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) -> (B, C, T)."""
        return self.standardise(torch.from_numpy(self.windows[index.cpu().numpy()]).to(self.device))


class Diagrams:
    """Persistence diagrams without their padding, in two memory-mapped files.

    ``pairs`` (M, 2) holds all diagrams behind one another; window n and channel c start at ``offsets[n * C + c]``.
    """

    def __init__(self, folder: Path, channels: int, device: torch.device) -> None:
        self.pairs = np.load(folder / "pairs.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        self.channels, self.device = channels, device

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) -> (B, C, P, 2), padded with NaN to the longest diagram among them."""
        flat = (index.cpu().numpy()[:, None] * self.channels + np.arange(self.channels)).ravel()  # (B * C,)
        first, last = self.offsets[flat], self.offsets[flat + 1]
        counts = last - first
        padded = np.full((len(flat), max(int(counts.max(initial=0)), 1), 2), np.nan, dtype=np.float32)
        for row, (begin, end) in enumerate(zip(first, last, strict=True)):
            padded[row, : end - begin] = self.pairs[begin:end]
        return torch.from_numpy(padded).to(self.device).unflatten(0, (len(index), self.channels))


def write_diagrams(folder: Path, chunks: Iterator[Tensor], windows: int, channels: int, most: int) -> None:
    """Write diagrams (n, C, P, 2) that come in chunks; a folder that is there is complete.

    Args:
        folder: where to; made under another name and renamed when done.
        chunks: in order of the windows.
        windows, channels: how many there will be.
        most: the largest number of pairs a diagram can have, to check the disk before starting.

    Raises:
        InputError: if the disk may not have the space.
    """
    check_disk(folder.parent, windows * channels * (most * 8 + 8), "persistence diagrams")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    counts = []
    with (part / "raw").open("wb") as file:
        for diagram in chunks:
            there = diagram[..., 0].isfinite()
            counts.append(there.sum(-1).flatten().cpu().numpy())
            file.write(diagram[there].float().cpu().numpy().tobytes())
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    np.save(part / "offsets.npy", offsets)
    raw = np.memmap(part / "raw", dtype=np.float32, mode="r", shape=(int(offsets[-1]), 2)) if offsets[-1] else None
    np.save(part / "pairs.npy", np.empty((0, 2), np.float32) if raw is None else raw)
    (part / "raw").unlink()
    if folder.exists():  # another worker was faster, with the same bytes
        shutil.rmtree(part)
    else:
        part.rename(folder)


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse to start what the disk cannot hold.

    Raises:
        InputError: if less is free where the folder is, or will be.
    """
    there = next(place for place in [folder, *folder.resolve().parents] if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{what} need up to {needed / 2**30:.1f} GiB on disk, but {there} has {free / 2**30:.1f} GiB free; free "
            "some, choose another --out, or raise train.memory_mb to keep them in memory"
        )
