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
from overtone.sealed import SEAL, DamagedError, check_digests, digests, read_sealed, write_sealed
from overtone.views import Codec

CHUNK = 1024
"""Windows prepared at a time."""
VALUES, OFFSETS, MANIFEST = "values.bin", "offsets.npy", "manifest.json"


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


class FromDisk:
    """What a view keeps of windows, in memory-mapped files.

    ``values.bin`` holds the rows of all windows behind one another. Without a codec a window is one row. With one,
    ``offsets.npy`` says where each part of each window begins.

    Args:
        folder: as :func:`write_stored` left it.
        like: what is kept of some windows, which tells their form.
        codec: the view's.
        device: where to.
    """

    def __init__(self, folder: Path, like: Tensor, codec: Codec | None, device: torch.device) -> None:
        rows, counts = (like, None) if codec is None else codec.pack(like)
        self.shape, self.dtype = rows.shape[1:], rows.dtype
        width = self.shape.numel() * rows.element_size()
        whole = folder / VALUES
        there = (whole.stat().st_size // width, width)
        self.values = np.memmap(whole, np.uint8, "r", shape=there) if there[0] else np.empty(there, np.uint8)
        self.codec, self.device = codec, device
        if counts is not None:
            self.parts = counts.shape[1:]
            self.offsets = np.load(folder / OFFSETS, mmap_mode="r")

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) -> (B, ...), padded to the longest among them where there is a codec."""
        numbers = index.cpu().numpy()
        if self.codec is None:
            return self._tensor(self.values[numbers])
        each = self.parts.numel()
        bounds = self.offsets[numbers[:, None] * each + np.arange(each + 1)]  # (B, parts + 1)
        rows = np.concatenate([self.values[ends[0] : ends[-1]] for ends in bounds])
        counts = torch.from_numpy(np.diff(bounds)).view(-1, *self.parts)
        return self.codec.unpack(self._tensor(rows), counts.to(self.device))

    def _tensor(self, rows: npt.NDArray[np.uint8]) -> Tensor:
        """Bytes (M, width) as what they are of."""
        return torch.from_numpy(rows).view(self.dtype).view(-1, *self.shape).to(self.device)


def write_stored(folder: Path, chunks: Iterator[Tensor], codec: Codec | None, size: int) -> None:
    """Write what a view keeps of windows, which comes in chunks (n, ...); a folder that is there is complete.

    Several makers may write the same folder at a time, each under a name of its own: the first is kept, and all of them
    write the same bytes.

    Args:
        folder: where to; renamed into place when done. ``manifest.json``, written last, holds the files' hashes.
        chunks: in order of the windows.
        codec: the view's.
        size: bytes that it may take, to check the disk before starting.

    Raises:
        InputError: if the disk may not have the space, or cannot be written.
    """
    check_disk(folder.parent, size, "what a view keeps of windows" if codec is None else codec.WHAT)
    try:
        with own_folder(folder) as part:
            _write(part, chunks, codec)
            with contextlib.suppress(OSError):  # another maker was faster, with the same bytes
                part.rename(folder)
            if not folder.exists():
                raise InputError(f"cannot rename {part} to {folder}; choose another folder with --out")
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another folder with --out"
        ) from error


def _write(part: Path, chunks: Iterator[Tensor], codec: Codec | None) -> None:
    """The files of :class:`FromDisk`, and their hashes."""
    counts, files = [np.zeros(1, np.int64)], [VALUES]
    with (part / VALUES).open("wb") as file:
        for chunk in chunks:
            rows = chunk
            if codec is not None:
                rows, counted = codec.pack(chunk)
                counts.append(counted.flatten().cpu().numpy())
            file.write(rows.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    if codec is not None:
        np.save(part / OFFSETS, np.concatenate(counts).cumsum())
        files.append(OFFSETS)
    write_sealed(part / MANIFEST, digests(part, files))


def check_stored(folder: Path) -> None:
    """Compare what lies on disk with its hashes.

    Raises:
        DamagedError: if a file is missing or not what was written.
    """
    manifest, verified = read_sealed(folder / MANIFEST)
    files = {name: digest for name, digest in manifest.items() if name != SEAL}
    if not verified or not files:
        raise DamagedError(f"{MANIFEST} is not what was written")
    check_digests(folder, files)
