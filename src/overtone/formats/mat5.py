"""Reading MATLAB's files of version 5 to 7, as its published format describes them.

Our own reader, since scipy's crashes the process on a damaged file. Everything is bounded by the bytes there are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

HEADER = 128
"""Bytes of text and version in front."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of numbers as they are stored."""
TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
CLASSES = {
    1: "cell",
    2: "struct",
    3: "object",
    4: "char",
    5: "sparse",
    6: "double",
    7: "single",
    8: "int8",
    9: "uint8",
    10: "int16",
    11: "uint16",
    12: "int32",
    13: "uint32",
    14: "int64",
    15: "uint64",
    16: "function",
    17: "opaque",
}
DEEPEST = 16
"""Cells and structs within each other."""
HEAD_BYTES = 2**12
"""Enough of a variable for its class, shape and name."""


@dataclass(frozen=True)
class Variable:
    """Where a variable is in the file, and what.

    Attributes:
        name, kind, shape: as MATLAB calls them.
        start, end: its bytes in the file.
        compressed: they are packed.
        size: its bytes when unpacked, as it says itself.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int
    compressed: bool
    size: int


@dataclass(frozen=True)
class Odd:
    """What is neither numbers, text, cell nor struct: an object, a function, a sparse matrix."""

    kind: str


Value = Any
"""An array of numbers, one of text (N,), a list (a cell's, in MATLAB's order), a dict (a struct's fields, each a list
with one value for each of its elements), or :class:`Odd`."""


def variables(path: Path) -> dict[str, Variable]:
    """What is in a file, by name, without reading it all.

    Raises:
        ValueError: for what is no such file, or a damaged one.
    """
    with path.open("rb") as file:
        order = _order(file)
        return {own.name: own for own in _listed(file, order, path.stat().st_size) if own.name}


def value(path: Path, variable: Variable) -> Value:
    """A variable's value.

    Raises:
        ValueError: for a damaged one.
        zlib.error: for one that cannot be unpacked.
    """
    with path.open("rb") as file:
        order = _order(file)
        file.seek(variable.start)
        content = file.read(variable.end - variable.start)
    if variable.compressed:
        content = zlib.decompressobj().decompress(content, variable.size + 8)
    _, body, _ = _element(memoryview(content), 0, order)
    return _matrix(body, order, 0)[3]


def _order(file: BinaryIO) -> str:
    head = file.read(HEADER)
    orders = {b"IM": "<", b"MI": ">"}
    if len(head) < HEADER or head[126:] not in orders:
        raise ValueError("it does not begin as MATLAB's files since version 5 do; save it again with -v7")
    return orders[head[126:]]


def _listed(file: BinaryIO, order: str, end: int) -> Iterator[Variable]:
    start = HEADER
    while start + 8 <= end:
        file.seek(start)
        kind, size = np.frombuffer(file.read(8), dtype=f"{order}u4").tolist()
        if kind not in (MATRIX, COMPRESSED) or start + 8 + size > end:
            raise ValueError(f"what lies at byte {start} is no variable, or is cut short")
        packed = kind == COMPRESSED
        head = file.read(min(size, HEAD_BYTES))
        if packed:
            head = zlib.decompressobj().decompress(head, HEAD_BYTES)
            inner, unpacked = np.frombuffer(head[:8], dtype=f"{order}u4").tolist()
            if inner != MATRIX:
                raise ValueError(f"what is packed at byte {start} is no variable")
            head = head[8:]
        named, name, shape, _ = _matrix(memoryview(head), order, 0, head_only=True)
        first = start + 8 if packed else start
        yield Variable(name, named, shape, first, start + 8 + size, packed, unpacked if packed else size)
        start += 8 + size


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """The element at a place: its type, its bytes, and where the next one is."""
    if at + 8 > len(data):
        raise ValueError("it is cut short")
    kind, size = np.frombuffer(data[at : at + 8], dtype=f"{order}u4").tolist()
    if kind >> 16:  # up to four bytes lie in the tag itself
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError("a small element is larger than four bytes")
        return kind, data[at + 4 : at + 4 + size], at + 8
    end = at + 8 + size
    if end > len(data):
        raise ValueError("an element is longer than what holds it")
    return kind, data[at + 8 : end], end if kind == COMPRESSED else end + -size % 8


def _numbers(kind: int, data: memoryview, order: str) -> npt.NDArray[Any]:
    if kind not in NUMBERS:
        raise ValueError(f"type {kind} stands where numbers must")
    return np.frombuffer(data, dtype=np.dtype(order + NUMBERS[kind]))


def _matrix(
    data: memoryview, order: str, depth: int, head_only: bool = False
) -> tuple[str, str, tuple[int, ...], Value]:
    """A variable's class, name, shape and value."""
    if depth > DEEPEST:
        raise ValueError(f"cells and structs are more than {DEEPEST} deep")
    if not len(data):  # an empty cell's place
        return "double", "", (0, 0), np.zeros((0, 0))
    kind, body, at = _element(data, 0, order)
    flags = _numbers(kind, body, order)
    named = CLASSES.get(int(flags[0]) & 0xFF, "unknown") if len(flags) else "unknown"
    kind, body, at = _element(data, at, order)
    if named == "opaque":  # it has a name where others have a shape
        return named, bytes(body).decode("latin-1"), (), Odd(named)
    shape = tuple(int(n) for n in _numbers(kind, body, order))
    _, body, at = _element(data, at, order)
    name = bytes(body).decode("latin-1")
    if min(shape, default=-1) < 0:
        raise ValueError(f"its shape {shape} cannot be")
    if head_only:
        return named, name, shape, None
    return named, name, shape, _content(named, shape, data, at, order, depth)


def _content(named: str, shape: tuple[int, ...], data: memoryview, at: int, order: str, depth: int) -> Value:
    count = math.prod(shape)
    if named == "cell":
        return _several(data, at, order, depth, count)[0]
    if named == "struct":
        kind, body, at = _element(data, at, order)
        length = int(_numbers(kind, body, order)[0])
        _, body, at = _element(data, at, order)
        texts = [bytes(body[n : n + length]) for n in range(0, len(body), length)] if length > 0 else []
        fields = [text.partition(b"\0")[0].decode("latin-1") for text in texts]
        values, _ = _several(data, at, order, depth, count * len(fields))
        return {field: values[number :: len(fields)] for number, field in enumerate(fields)}
    if named not in CLASSES.values() or named in ("object", "sparse", "function"):
        return Odd(named)
    kind, body, _ = _element(data, at, order) if count else (2, memoryview(b""), at)
    if named == "char":
        return _text(kind, body, shape, order)
    numbers = _numbers(kind, body, order)
    if len(numbers) != count:
        raise ValueError(f"it holds {len(numbers)} numbers, and its shape is {shape}")
    return numbers.reshape(shape, order="F")


def _several(data: memoryview, at: int, order: str, depth: int, count: int) -> tuple[list[Value], int]:
    """So many variables without names, one behind the other."""
    if 8 * count > len(data) - at:
        raise ValueError(f"it says that it holds {count} values, more than there is room for")
    values = []
    for _ in range(count):
        kind, body, at = _element(data, at, order)
        if kind != MATRIX:
            raise ValueError(f"type {kind} stands where a value must")
        values.append(_matrix(body, order, depth + 1)[3])
    return values, at


def _text(kind: int, body: memoryview, shape: tuple[int, ...], order: str) -> npt.NDArray[np.str_]:
    """Rows of characters, which MATLAB stores column by column."""
    if kind in TEXT:
        name = TEXT[kind] + ("" if kind == 16 else "-le" if order == "<" else "-be")
        signs = bytes(body).decode(name, errors="replace")
    else:
        signs = "".join(chr(code) for code in _numbers(kind, body, order).tolist() if 0 <= code < 0x110000)
    rows = shape[0] if shape else 0
    if len(shape) != 2 or rows * shape[1] != len(signs):
        raise ValueError(f"it holds {len(signs)} characters, and its shape is {shape}")
    return np.asarray([signs[row::rows].rstrip() for row in range(rows)] or [""])
