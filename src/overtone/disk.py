"""Space on the disk: folders of one process' own, and room that is there before it is written to."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from overtone.errors import InputError

PART = ".part"
BLOCK = 2**20


def in_units(count: int) -> str:
    """Bytes as a person reads them, in the largest unit that leaves a number of at least one: ``1.4 MiB``."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: where it will be; need not be there yet.
        needed: bytes.
        what: subject of the message, in the plural.

    Raises:
        InputError: if less is free.
    """
    there = next(place for place in [folder, *folder.resolve().parents] if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise _full(there, needed, what, free)


def _full(there: Path, needed: int, what: str, free: int) -> InputError:
    return InputError(
        f"{what} need up to {in_units(needed)} on disk, but {there} has {in_units(free)} free; free some, choose "
        "another --out, or raise train.memory_mb to keep them in memory"
    )


def reserve(path: Path, size: int, what: str) -> None:
    """Make a file of so many bytes whose blocks are there: a mapped file without them ends the process (SIGBUS).

    Raises:
        InputError: if the disk has not the space.
    """
    try:
        with path.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except (AttributeError, OSError) as error:  # no such call in this system, or in this kind of file system
                if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                for first in range(0, size, BLOCK):
                    file.write(bytes(min(BLOCK, size - first)))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path.parent, size, what, shutil.disk_usage(path.parent).free) from error
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another folder with --out") from error


@contextlib.contextmanager
def own_folder(place: Path) -> Iterator[Path]:
    """A new folder beside a place, of this maker alone; removed at the end unless it was renamed.

    Its name has the process' number and chance in it, for several processes, threads and hosts may make the same. A
    lock beside it, which the system releases however this process ends, tells :func:`sweep` that its maker is alive.

    Raises:
        InputError: if it cannot be made.
    """
    folder = place.with_name(f"{place.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    lock = _lock(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        folder.mkdir()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder.parent}: {error.strerror or error}; choose another folder with --out"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)


def sweep(parent: Path) -> None:
    """Remove what killed makers left of their own folders; those of makers that are at work stay."""
    if parent.is_symlink() or not parent.is_dir():
        return
    for path in [*parent.glob(f"*{PART}"), *parent.glob(f"*{PART}.lock")]:
        folder = path.with_suffix("") if path.suffix == ".lock" else path
        if folder.is_symlink() or path.is_symlink():
            continue
        lock = _lock(folder)
        with contextlib.suppress(Timeout, OSError):
            with lock:
                shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
