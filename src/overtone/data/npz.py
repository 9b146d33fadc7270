"""A user's own windows or recordings in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from overtone.data.arrays import Layout, from_arrays
from overtone.data.base import OwnSource, Recordings
from overtone.data.lazy import map_npz
from overtone.errors import InputError, close
from overtone.files import no_file
from overtone.formats.items import WHOLE_BYTES, Member, open_items, read_member

MAP_BYTES = 2**26
MOST_NAMED = 20
"""Arrays of a file that a message names."""
BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""Unpacked bytes of an array that are believed only of a file that holds a 200th of them; signals shrink to a third."""


class Npz(OwnSource):
    """Signals (N, C, T), class numbers or names (N,) or real numbers (N, ...), and whose each is (N,).

    Each of the N items is a recording of its own: without ``window`` it is used whole, with one it is cut further.

    Attributes:
        path: the file.
        x, y, group: names of the arrays.
        rate: sampling rate in Hz, needed where windows are given in seconds.
        layout: ``NTC`` where X is (N, T, C). Without one it is taken as (N, C, T); that is told where there are more
            channels than samples, and refused where there are many more.
    """

    SOURCE: ClassVar[str] = "your own X (N,C,T), y, group in one .npz"

    path: Path
    x: str = "X"
    y: str = "y"
    group: str = "group"
    rate: float | None = Field(default=None, gt=0, le=1e9)
    layout: Layout | None = None

    def load(self) -> Recordings:
        """Read and check the file.

        Raises:
            InputError: for a missing, cut or foreign file, missing arrays, wrong shapes, unequal lengths, or objects
                (which are never unpickled).
        """
        where = f"data 'npz': {self.path}"
        names, keys = (self.x, self.y, self.group), ("x", "y", "group")
        needed = f"Needed are {self.x} (N,C,T), {self.y} (N,) and {self.group} (N,)"
        arrays = read_arrays(self.path, names, where, needed, keys=keys)
        return from_arrays(arrays[self.x], arrays[self.y], arrays[self.group], self.layout, self.rate, where)


def read_arrays(
    path: Path,
    names: Sequence[str],
    where: str,
    needed: str = "",
    streamed: str | None = None,
    keys: Sequence[str] = (),
) -> dict[str, Any]:
    """Named arrays of an ``.npz`` file; objects are never unpickled.

    Args:
        path: the file.
        names: of the arrays.
        where: the source, for messages.
        needed: what to say beside of a missing one.
        keys: of a recipe's ``data``, which say the names otherwise, for messages.
        streamed: the one that may be too large for memory: :class:`~overtone.formats.items.Items` if it is large.

    Raises:
        InputError: for a missing, cut or foreign file, a missing array (the nearest is named), or objects.
    """
    if not path.is_file():
        raise InputError(f"{where} {no_file(path)}")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            others = "".join(f", {name}=..." for name in names[1:])
            raise InputError(
                f"{where}: this is a single array; save {_listed(names)} together: numpy.savez('mine.npz', {names[0]}="
                f"numpy.load('{path.name}'){others})"
            )
    if not zipfile.is_zipfile(path):
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {member.removesuffix(".npy"): member for member in archive.namelist()}
            missing = [name for name in names if name not in there]
            if missing:
                lacking = dict(zip(names, keys, strict=True)) if keys else {}
                otherwise = [f"data.{lacking[name]}: NAME" for name in missing] if keys else []
                raise InputError(_named_otherwise(archive, there, missing, where, needed, otherwise))
            members = {name: _believable(archive, there[name], name, where) for name in names}
            return {name: _array(path, archive, member, name == streamed, where) for name, member in members.items()}
    except InputError:
        raise
    except Exception as error:  # zipfile and zlib have many ways to fail on a damaged file
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file ({error})") from error


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _named_otherwise(
    archive: zipfile.ZipFile,
    there: dict[str, str],
    missing: Sequence[str],
    where: str,
    needed: str,
    otherwise: Sequence[str],
) -> str:
    """What to say where arrays are missing: which are there, with their shapes, and how to name or save them."""
    shapes = []
    for name, member in there.items():
        try:
            shapes.append(f"{name} {read_member(archive, archive.getinfo(member)).shape}")
        except ValueError:
            shapes.append(f"{name} (no array)")
    found = ", ".join(shapes[:MOST_NAMED]) + (f" and {len(shapes) - MOST_NAMED} more" if shapes[MOST_NAMED:] else "")
    said = []
    for name in missing:
        like = close(name, [other for other in there if other not in missing])
        said.append(f"array {name!r} is missing" + (f"; did you mean {like!r}?" if like else "."))
    named = f"name what they are called in this file ({', '.join(otherwise)}), or " if otherwise else ""
    saved = (
        f"; {named}save them so: numpy.savez(path, {', '.join(f'{name}=...' for name in missing)})" if needed else ""
    )
    return f"{where}: {' '.join(said)} The file holds {found or 'nothing'}. {needed}{saved}".rstrip()


def _believable(archive: zipfile.ZipFile, name: str, shown: str, where: str) -> Member:
    """What an array's header says, before anything is made as large as it says.

    Raises:
        InputError: for what is no array, for one of another size than its shape takes, or one that was packed as
            nothing but a bomb is.
    """
    info = archive.getinfo(name)
    try:
        member = read_member(archive, info)
    except ValueError as error:
        raise InputError(f"{where}: {shown!r} is no array of numpy ({error})") from error
    if member.dtype.hasobject:
        raise InputError(
            f"{where}: {shown!r} holds Python objects, which are never unpickled; save plain number and text arrays"
        )
    if member.bytes != info.file_size - member.header:
        raise InputError(
            f"{where}: {shown!r} says {member.shape} of {member.dtype}, {member.bytes} bytes, but holds "
            f"{info.file_size - member.header}"
        )
    if member.bytes > BOMB_BYTES and member.bytes > BOMB_RATIO * info.compress_size:
        raise InputError(
            f"{where}: {shown!r} unpacks to {member.bytes} bytes from {info.compress_size}, over {BOMB_RATIO} times as "
            "many; if it is what it should be, save it with numpy.savez (not compressed)"
        )
    return member


def _array(path: Path, archive: zipfile.ZipFile, member: Member, streamed: bool, where: str) -> Any:
    """A large stored array is mapped into memory, or read as it is asked for; others are read."""
    name = member.info.filename.removesuffix(".npy")
    if streamed and member.info.file_size > WHOLE_BYTES:
        return open_items(path, member, where)
    mapped = map_npz(path, name) if path.stat().st_size > MAP_BYTES else None
    if mapped is not None:
        return mapped
    with archive.open(member.info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
