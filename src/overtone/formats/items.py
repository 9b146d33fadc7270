"""An array in an ``.npz`` of which only a part is in memory at a time, read from front to back."""

from __future__ import annotations

import contextlib
import math
import mmap
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from overtone.disk import in_units
from overtone.errors import InputError

WHOLE_BYTES = 2**26
"""What is smaller is simply read; and a compressed array whose single items are larger is unpacked to disk first."""
BLOCK_BYTES = 2**24
NEAR_BYTES = 2**16
"""The system maps pages around the one that is read; so much counts as read at each touch."""

Array = npt.NDArray[Any]


class Items(Protocol):
    """Looks like an array: what is kept of item n, or of items first to last.

    What an index gives may change with the next one. Going back is possible, and slow where the array is compressed.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""
        ...

    @property
    def size(self) -> int:
        """Number of values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Array: ...


@dataclass(frozen=True)
class Member:
    """An array of an ``.npz`` file, as its header says: where it is, and what.

    Attributes:
        info: its place in the archive.
        shape, dtype: of the array.
        fortran: the first axis is the innermost.
        header: bytes up to the values.
    """

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    header: int

    @property
    def item(self) -> int:
        """Bytes of one item."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """What its values take."""
        return math.prod(self.shape) * self.dtype.itemsize


class Swapped:
    """Items (N, T, C) as (N, C, T), turned when they are asked for.

    Args:
        items: an array, or items that look like one.
    """

    def __init__(self, items: Items) -> None:
        self.items = items
        self.shape = (items.shape[0], items.shape[2], items.shape[1])
        self.dtype, self.size = items.dtype, items.size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Array:
        """Item n, or items first to last."""
        return np.ascontiguousarray(np.swapaxes(self.items[index], -1, -2))


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """The header of one of the archive's arrays.

    Raises:
        ValueError: if it is none.
    """
    with archive.open(info) as member:
        return Member(info, *_read_header(member))


def _read_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(member)  # type: ignore[no-untyped-call]
    return shape, fortran, dtype, member.tell()


def data_offset(path: Path, member: Member) -> int:
    """Where a stored array's values begin in the archive.

    Before them is the member's local header, whose two variable parts have their lengths at 26 and 28.
    """
    with path.open("rb") as file:
        file.seek(member.info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), dtype="<u2")
    return member.info.header_offset + 30 + int(lengths.sum()) + member.header


def open_items(path: Path, member: Member, where: str) -> Items:
    """An array of an ``.npz``: mapped into memory where it is stored, else unpacked as it is read.

    Args:
        path: the archive.
        member: the array, of numbers, whose size was looked at.
        where: the source, for messages.

    Raises:
        InputError: where it has to be unpacked to disk first, which has not the space.
    """
    if member.info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            return MappedItems(file, data_offset(path, member), member)
    if member.item <= WHOLE_BYTES and not member.fortran:
        return PackedItems(path, member, where)
    _check_room(member.info.file_size, where)
    with tempfile.TemporaryFile() as file, zipfile.ZipFile(path) as archive:  # the file is gone with its last user
        with archive.open(member.info) as packed:
            shutil.copyfileobj(packed, file, BLOCK_BYTES)
        file.flush()
        return MappedItems(file, member.header, member)


def _check_room(size: int, where: str) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise InputError(
            f"{where}: unpacking it takes {in_units(size)}, but {tempfile.gettempdir()} has "
            f"{in_units(free)} free; free some, set TMPDIR to another folder, or save it with numpy.savez, "
            "uncompressed"
        )


class MappedItems:
    """Items of a file that is mapped into memory; pages that were read are given back now and then.

    Args:
        file: that holds the values.
        offset: where they begin.
        member: what they are.
    """

    def __init__(self, file: Any, offset: int, member: Member) -> None:
        self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.shape, self.dtype, self.fortran = member.shape, member.dtype, member.fortran
        order: Literal["F", "C"] = "F" if member.fortran else "C"
        self.array: Array = np.ndarray(self.shape, self.dtype, buffer=self.map, offset=offset, order=order)
        self.size = self.array.size
        self.touched = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Item n, of which only what is then looked at is read; or a copy of items first to last."""
        items = self.array[index]
        if isinstance(index, (int, np.integer)):
            rows = self.shape[1] if len(self.shape) > 1 else 1
            self.touched += min(items.nbytes, rows * NEAR_BYTES) + NEAR_BYTES
        else:
            items = items.copy()
            self.touched += self.array.nbytes if self.fortran else items.nbytes
        if self.touched > WHOLE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)  # they are read again from the file if they are needed
            self.touched = 0
        return items


class PackedItems:
    """Items of a compressed array, unpacked block by block.

    Args:
        path: the archive.
        member: the array.
        where: the source, for messages.
    """

    def __init__(self, path: Path, member: Member, where: str) -> None:
        self.path, self.member, self.where = path, member, where
        self.shape, self.dtype, self.size = member.shape, member.dtype, math.prod(member.shape)
        self.open = contextlib.ExitStack()
        self.stream: Any = None
        self.next = 0  # the item that the stream gives next
        self.count = max(1, BLOCK_BYTES // max(1, member.item))
        self.block, self.first = np.empty((0, *self.shape[1:]), self.dtype), 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Item n, or items first to last."""
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return self._items(first, max(last, first))
        number = int(index)
        if not self.first <= number < self.first + len(self.block):
            self.block, self.first = self._items(number, min(number + self.count, len(self))), number
        return self.block[number - self.first]

    def _items(self, first: int, last: int) -> Array:
        if self.stream is None or first < self.next:
            self._start()
        while self.next < first:  # what is skipped has to be unpacked all the same
            self._read(min(first - self.next, self.count))
        return self._read(last - first)

    def _start(self) -> None:
        self.open.close()
        archive = self.open.enter_context(zipfile.ZipFile(self.path))
        self.stream = self.open.enter_context(archive.open(self.member.info))
        self.stream.read(self.member.header)
        self.next = 0

    def _read(self, count: int) -> Array:
        try:
            data = self.stream.read(count * self.member.item)
        except Exception as error:  # zipfile and zlib have many ways to fail on a damaged file
            raise InputError(f"{self.where}: cannot be read, it is cut short or damaged ({error})") from error
        if len(data) != count * self.member.item:
            raise InputError(f"{self.where}: it is cut short after item {self.next}")
        self.next += count
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
