"""What is kept of every window, in memory or on disk, behind one way to ask for some windows' part of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from overtone.disk import check_disk, own_folder
from overtone.errors import InputError
from overtone.sealed import DamagedError, check_digests, digests, read_sealed, write_sealed

CHUNK = 1024
"""Windows prepared at a time."""
FILES = ("pairs.npy", "offsets.npy")
MANIFEST = "manifest.json"


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

    Several makers may write the same folder at a time, each under a name of its own: the first is kept, and all of them
    write the same bytes.

    Args:
        folder: where to; renamed into place when done. ``manifest.json``, written last, holds the files' hashes.
        chunks: in order of the windows.
        windows, channels: how many there will be.
        most: the largest number of pairs a diagram can have, to check the disk before starting.

    Raises:
        InputError: if the disk may not have the space, or cannot be written.
    """
    check_disk(folder.parent, windows * channels * (most * 8 + 8), "persistence diagrams")
    try:
        with own_folder(folder) as part:
            _write(part, chunks)
            with contextlib.suppress(OSError):  # another maker was faster, with the same bytes
                part.rename(folder)
            if not folder.exists():
                raise InputError(f"cannot rename {part} to {folder}; choose another folder with --out")
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another folder with --out"
        ) from error


def _write(part: Path, chunks: Iterator[Tensor]) -> None:
    """The files of :class:`Diagrams`, and their hashes."""
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
    write_sealed(part / MANIFEST, digests(part, FILES))


def check_diagrams(folder: Path) -> None:
    """Compare diagrams on disk with their hashes.

    Raises:
        DamagedError: if a file is missing or not what was written.
    """
    held, verified = read_sealed(folder / MANIFEST)
    if not verified or not set(FILES) <= set(held):
        raise DamagedError(f"{MANIFEST} is not what was written")
    check_digests(folder, {name: held[name] for name in FILES})
