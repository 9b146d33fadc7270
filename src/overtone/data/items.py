"""An array in an ``.npz`` of which only a part is in memory at a time, read from front to back."""

from __future__ import annotations

import contextlib
import math
import mmap
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

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


def open_items(path: Path, name: str, where: str) -> Items:
    """An array of an ``.npz``: mapped into memory where it is stored, else unpacked as it is read.

    Args:
        path: an archive that has been looked at: it can be opened and has the array.
        name: the array's.
        where: the source, for messages.

    Raises:
        InputError: for an array of objects, or one that is shorter than it says.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as member:
            shape, fortran, dtype, header = read_header(member)
        if dtype.hasobject:
            raise InputError(
                f"{where}: it holds Python objects, which are never unpickled; save plain number and text arrays"
            )
        if math.prod(shape) * dtype.itemsize != info.file_size - header:
            raise InputError(
                f"{where}: {name} says that it is {shape} of {dtype}, {math.prod(shape) * dtype.itemsize} bytes, but "
                f"holds {info.file_size - header}; it is cut short or damaged"
            )
        order = "F" if fortran else "C"
        item = math.prod(shape[1:]) * dtype.itemsize
        if info.compress_type == zipfile.ZIP_STORED:
            with path.open("rb") as file:
                return MappedItems(file, data_offset(file, info) + header, shape, dtype, order)
        if item <= WHOLE_BYTES and not fortran and shape:
            return PackedItems(path, name, shape, dtype, where)
        with tempfile.TemporaryFile() as file:  # gone with its last user
            _check_room(info.file_size, where)
            with archive.open(info) as member:
                shutil.copyfileobj(member, file, BLOCK_BYTES)
            file.flush()
            return MappedItems(file, header, shape, dtype, order)


def read_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the first axis is the innermost, type, and the bytes up to the values."""
    version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(member)  # type: ignore[no-untyped-call]
    return shape, fortran, dtype, member.tell()


def data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where a member's data begin: behind its local header, whose variable parts have their lengths at 26 and 28."""
    file.seek(info.header_offset + 26)
    lengths = np.frombuffer(file.read(4), dtype="<u2")
    return info.header_offset + 30 + int(lengths.sum())


def _check_room(size: int, where: str) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise InputError(
            f"{where}: unpacking it takes {size / 2**30:.1f} GiB, but {tempfile.gettempdir()} has "
            f"{free / 2**30:.1f} GiB free; free some, set TMPDIR to another folder, or save it with numpy.savez, "
            "uncompressed"
        )


class MappedItems:
    """Items of a file that is mapped into memory; pages that were read are given back now and then.

    Args:
        file: that holds the values.
        offset: where they begin.
        shape, dtype: of the array.
        order: ``C``, or ``F`` where the first axis is the innermost.
    """

    def __init__(self, file: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any) -> None:
        self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: Array = np.ndarray(shape, dtype, buffer=self.map, offset=offset, order=order)
        self.shape, self.dtype, self.size, self.order = shape, dtype, self.array.size, order
        self.touched = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Item n, of which only what is then looked at is read; or a copy of items first to last."""
        found = self.array[index]
        if isinstance(index, (int, np.integer)):
            rows = self.shape[1] if len(self.shape) > 1 else 1
            self.touched += min(found.nbytes, rows * NEAR_BYTES) + NEAR_BYTES
        else:
            found = found.copy()
            self.touched += found.nbytes if self.order == "C" else self.array.nbytes
        if self.touched > WHOLE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)  # they are read again from the file if they are needed
            self.touched = 0
        return found


class PackedItems:
    """Items of a compressed array, unpacked block by block.

    Args:
        path: the archive.
        name: of the array in it.
        shape, dtype: of the array.
        where: the source, for messages.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
        self.path, self.name, self.where = path, name, where
        self.shape, self.dtype, self.size = shape, dtype, math.prod(shape)
        self.item = math.prod(shape[1:]) * dtype.itemsize
        self.open = contextlib.ExitStack()
        self.member: Any = None
        self.next = 0  # the item that the archive gives next
        self.block, self.first = np.empty((0, *shape[1:]), dtype), 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Item n, or items first to last."""
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return self._items(first, max(last, first))
        number = int(index)
        if not self.first <= number < self.first + len(self.block):
            count = max(1, BLOCK_BYTES // max(1, self.item))
            self.block, self.first = self._items(number, min(number + count, len(self))), number
        return self.block[number - self.first]

    def _items(self, first: int, last: int) -> Array:
        if self.member is None or first < self.next:
            self._start()
        while self.next < first:  # what is skipped has to be unpacked all the same
            self._read(min(first - self.next, max(1, BLOCK_BYTES // max(1, self.item))))
        return self._read(last - first)

    def _start(self) -> None:
        self.open.close()
        archive = self.open.enter_context(zipfile.ZipFile(self.path))
        self.member = self.open.enter_context(archive.open(f"{self.name}.npy"))
        read_header(self.member)
        self.next = 0

    def _read(self, count: int) -> Array:
        try:
            data = self.member.read(count * self.item)
        except Exception as error:  # zipfile and zlib have many ways to fail on a damaged file
            raise InputError(f"{self.where}: cannot be read, it is cut short or damaged ({error})") from error
        if len(data) != count * self.item:
            raise InputError(f"{self.where}: {self.name} ends after item {self.next}; the file is cut short or damaged")
        self.next += count
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
