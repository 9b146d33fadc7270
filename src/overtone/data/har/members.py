"""The files of a published set, below a folder or inside zips, which may hold zips again: one at a time, as streams."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from overtone.data.npz import BOMB_BYTES, BOMB_RATIO
from overtone.data.paths import VARIABLE
from overtone.errors import InputError

MOST_FILES = 200_000
"""Files that are looked through; below a home directory there are more."""
DEEPEST = 3
"""Zips in zips in zips: RealWorld has them, downloads of UCI's are zips of a zip."""
SPOOL_BYTES = 2**26
"""A zip inside a zip is unpacked to memory up to this size, beyond it to a temporary file."""


@dataclass(frozen=True)
class Member:
    """A file of a set.

    Attributes:
        name: its place below the set's root, ``/`` between folders, zips among them.
        parts: what the pattern's groups found in the name, as it is written there; None for one that is not there.
        stream: its bytes; to be read before the next member is asked for.
    """

    name: str
    parts: tuple[str | None, ...]
    stream: IO[bytes]


def find_root(path: Path | None, names: Sequence[str], where: str) -> Path:
    """The folder, zip or file of a set: ``path``, else the first of the names in ``OVERTONE_DATA``, as folder or zip.

    Raises:
        InputError: if there is none; all places are named.
    """
    if path is not None:
        places = [path]
    elif VARIABLE in os.environ:
        places = [Path(os.environ[VARIABLE]) / (name + end) for name in names for end in ("", ".zip")]
    else:
        places = []
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(map(str, places)) or "nowhere"
    raise InputError(
        f"{where}: the set was not found (looked: {looked}); set data.path to its folder or zip, or {VARIABLE} to the "
        f"folder above {names[0]!r}"
    )


def members(root: Path, pattern: str, where: str, zips: str = r"\.zip$", mixed: bool = False) -> Iterator[Member]:
    """The files whose name below the root ends as a pattern says, in the order of their names.

    A file whose groups another one had before is passed over: the same file, once unpacked and once in its zip.

    Args:
        root: a folder, a zip, or a single file.
        pattern: a regular expression that a name, from the root's own on, must end with, upper or lower case.
        where: the source, for messages.
        zips: which zips are opened.
        mixed: also open zips where unpacked files were found.

    Raises:
        InputError: for a zip that is none or is cut short, one packed as only a bomb is, or too many files.
    """
    wanted = re.compile(f"(?:^|/){pattern}$", re.IGNORECASE)
    seen: set[tuple[str | None, ...]] = set()

    def new(name: str) -> tuple[str | None, ...] | None:
        """The groups of a wanted name that was not there yet."""
        match = wanted.search(name)
        if match is None or "__MACOSX" in name or name.rpartition("/")[2].startswith("._"):
            return None
        key = tuple(part.lower() if part is not None else None for part in match.groups())
        if key in seen and key:
            return None
        seen.add(key)
        return match.groups()

    archives = []
    for name, file in _files(root, where):
        if re.search(zips, name, re.IGNORECASE):
            archives.append((name, file))
        elif (parts := new(name)) is not None:
            with file.open("rb") as stream:
                yield Member(name, parts, stream)
    for name, file in archives:
        if mixed or not seen:
            with file.open("rb") as stream:
                for inner, member in _inside(stream, name, where, re.compile(zips, re.IGNORECASE), 1):
                    if (parts := new(inner)) is not None:
                        with member() as opened:
                            yield Member(inner, parts, opened)


def _files(root: Path, where: str) -> list[tuple[str, Path]]:
    """All files below the root, with their names; of a file itself only that."""
    if root.is_file():
        return [(root.name, root)]
    found: list[tuple[str, Path]] = []
    for folder, below, files in os.walk(root):
        below.sort()
        inner = Path(folder).relative_to(root).as_posix()
        inside = root.resolve().name + ("" if inner == "." else f"/{inner}")
        found += [(f"{inside}/{file}", Path(folder, file)) for file in files]
        if len(found) > MOST_FILES:
            raise InputError(
                f"{where}: {root} holds more than {MOST_FILES} files; set data.path to the set's own folder"
            )
    return sorted(found)


def _inside(
    stream: IO[bytes], name: str, where: str, zips: re.Pattern[str], depth: int
) -> Iterator[tuple[str, _Opener]]:
    """The files of a zip, and of zips inside it, each with a way to open it."""
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{where}: {name} cannot be read, it is cut short or no zip ({error})") from error
    with archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            inner = f"{name}/{info.filename}"
            if info.is_dir():
                continue
            if zips.search(info.filename) and depth < DEEPEST:
                with (
                    _Opener(archive, info, inner, where)() as packed,
                    tempfile.SpooledTemporaryFile(SPOOL_BYTES) as copy,
                ):
                    shutil.copyfileobj(packed, copy, 2**20)
                    yield from _inside(copy, inner, where, zips, depth + 1)  # type: ignore[arg-type]
            else:
                yield inner, _Opener(archive, info, inner, where)


@dataclass(frozen=True)
class _Opener:
    """Opens a file of a zip, unless it is packed as nothing but a bomb is."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    name: str
    where: str

    @contextmanager
    def __call__(self) -> Iterator[IO[bytes]]:
        if self.info.file_size > BOMB_BYTES and self.info.file_size > BOMB_RATIO * self.info.compress_size:
            raise InputError(
                f"{self.where}: {self.name} unpacks to {self.info.file_size} bytes from {self.info.compress_size}, "
                f"over {BOMB_RATIO} times as many; unpack it yourself if it is what it should be"
            )
        with self.archive.open(self.info) as stream:
            yield stream
