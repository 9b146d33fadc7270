"""A user's own windows or recordings in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from overtone.data.base import Recordings, Source
from overtone.data.items import WHOLE_BYTES, Member, open_items, read_member
from overtone.data.lazy import map_npz
from overtone.errors import InputError, nearest
from overtone.files import no_file

MAP_BYTES = 2**26
BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""Unpacked bytes of an array that are believed only of a file that holds a 200th of them; signals shrink to a third."""


class Npz(Source):
    """``X`` (N, C, T), ``y`` (N,) class numbers or names, or real numbers (N, ...), ``group`` (N,) whose each is.

    Each of the N items is a recording of its own: without ``window`` it is used whole, with one it is cut further.

    Attributes:
        path: the file.
        rate: sampling rate in Hz, needed where windows are given in seconds.
    """

    SOURCE: ClassVar[str] = "your own X (N,C,T), y, group in one .npz"

    path: Path
    rate: float | None = Field(default=None, gt=0, le=1e9)

    def load(self) -> Recordings:
        """Read and check the file.

        Raises:
            InputError: for a missing, cut or foreign file, missing arrays, wrong shapes, unequal lengths, or objects
                (which are never unpickled).
        """
        where = f"data 'npz': {self.path}"
        arrays = read_arrays(self.path, ("X", "y", "group"), where, "Needed are X (N,C,T), y (N,) and group (N,)")
        x, y, group = arrays["X"], arrays["y"], arrays["group"]
        if x.ndim != 3:
            raise InputError(f"{where}: X must have three axes (N, C, T), got shape {x.shape}")
        if not np.issubdtype(x.dtype, np.floating) and not np.issubdtype(x.dtype, np.integer):
            raise InputError(f"{where}: X must hold numbers, got {x.dtype}")
        lengths = {"X": len(x), "y": len(y) if y.ndim else 0, "group": group.size}
        if group.ndim != 1 or len(set(lengths.values())) > 1:
            raise InputError(
                f"{where}: X, y and group must be equally long, got "
                + ", ".join(f"{name} {a.shape}" for name, a in {"X": x, "y": y, "group": group}.items())
            )
        for name, array in (("y", y), ("group", group)):
            if array.dtype.kind not in "biufSU":
                raise InputError(f"{where}: {name} must hold numbers or names, got {array.dtype}")
        if y.ndim > 1 and y.dtype.kind in "SU":
            raise InputError(
                f"{where}: y must hold one name, or numbers, for each window, got names of shape {y.shape}"
            )
        if np.issubdtype(group.dtype, np.floating):
            bad = ~np.isfinite(group)
            if bad.any():
                raise InputError(
                    f"{where}: group holds {int(bad.sum())} NaN or infinite values, first at {int(bad.argmax())}"
                )
            group = group.astype(np.int64) if (group == np.round(group)).all() else group
        labels, classes = _labels(y)
        return Recordings(
            signals=list(x),  # turned into float32 window by window, since X may be mapped
            labels=labels,
            groups=[str(g) for g in group],
            classes=classes,
            channels=tuple(f"channel {c}" for c in range(x.shape[1])),
            rate=self.rate,
            where=where,
        )


def _labels(y: npt.NDArray[Any]) -> tuple[Any, tuple[str, ...]]:
    """Class numbers (N,) and names; of fractions, NaN or several numbers of an item these as they are, no names."""
    if y.ndim > 1:
        return [own.astype(np.float64) for own in y], ()
    if np.issubdtype(y.dtype, np.floating):
        if not np.isfinite(y).all() or (y != np.round(y)).any():
            return list(y.astype(np.float64)[:, None]), ()
        y = y.astype(np.int64)
    names, labels = np.unique(y, return_inverse=True)
    return labels.astype(np.int64), tuple(str(name) for name in names)


def read_arrays(
    path: Path, names: Sequence[str], where: str, needed: str = "", streamed: str | None = None
) -> dict[str, Any]:
    """Named arrays of an ``.npz`` file; objects are never unpickled.

    Args:
        path: the file.
        names: of the arrays.
        where: the source, for messages.
        needed: what to say beside of a missing one.
        streamed: the one that may be too large for memory: :class:`~overtone.data.items.Items` if it is large.

    Raises:
        InputError: for a missing, cut or foreign file, a missing array (the nearest is named), or objects.
    """
    if not path.is_file():
        raise InputError(f"{where} {no_file(path)}")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise InputError(f"{where}: this is a single array; save X, y and group with numpy.savez")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {member.removesuffix(".npy"): member for member in archive.namelist()}
            for name in names:
                if name not in there:
                    raise InputError(f"{where}: array {name!r} is missing; {nearest(name, there)}. {needed}".rstrip())
            members = {name: _believable(archive, there[name], name, where) for name in names}
            return {name: _array(path, archive, member, name == streamed, where) for name, member in members.items()}
    except InputError:
        raise
    except Exception as error:  # zipfile and zlib have many ways to fail on a damaged file
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file ({error})") from error


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
