"""Files that tell whether they still are what was written: hashes of files, and JSON that holds its own."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overtone.errors import InputError
from overtone.files import read_json, write_json

BLOCK = 2**20
SEAL = "sha256"
"""The key in JSON of ours that holds the hash of all the rest."""
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
"""What the system says of a file that is missing, no file, or on a broken sector. Anything else may pass."""


class DamagedError(Exception):
    """A file is not what was written; the message says which and how, as in ``values.bin is missing``."""


def digest(path: Path) -> str:
    """SHA-256 of a file, read in blocks.

    Raises:
        DamagedError: if it is missing or cannot be read.
        InputError: if it may not be read.
    """
    sha = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                sha.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return sha.hexdigest()


def _unreadable(path: Path, error: OSError) -> Exception:
    if error.errno in GONE:
        how = "is missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else f"cannot be read ({error.strerror})"
        return DamagedError(f"{path.name} {how}")
    return InputError(f"{path} cannot be read: {error.strerror or error}")


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The hash of each of a folder's files."""
    return {name: digest(folder / name) for name in names}


def check_digests(folder: Path, expected: Mapping[str, str]) -> None:
    """Compare a folder's files with the hashes they had.

    Raises:
        DamagedError: for the first that is missing or another.
    """
    for name, wanted in expected.items():
        if digest(folder / name) != wanted:
            raise DamagedError(f"{name} is not what was written")


def _seal_of(value: Mapping[str, Any]) -> str:
    rest = {key: entry for key, entry in value.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that holds its own hash, under ``sha256``."""
    value = json.loads(json.dumps(value))  # as it will be read: tuples are lists, keys are text
    write_json(path, {**value, SEAL: _seal_of(value)})


def read_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """Read such JSON.

    Returns:
        What it holds, and whether that was verified: files from before there were hashes have none.

    Raises:
        DamagedError: if it is missing, no JSON object, or not what was written.
        InputError: if it may not be read.
    """
    try:
        value = read_json(path)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise _unreadable(path, error.__cause__) from error
        raise DamagedError(f"{path.name} {'is no JSON' if path.exists() else 'is missing'}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path.name} is not what was written")
    if SEAL in value:
        if value[SEAL] != _seal_of(value):
            raise DamagedError(f"{path.name} is not what was written")
        return value, True
    if any(re.fullmatch("[0-9a-f]{64}", str(entry)) for entry in value.values()):  # the seal's own name is damaged
        raise DamagedError(f"{path.name} is not what was written")
    return value, False


def read_npz(path: Path) -> dict[str, Any]:
    """Every array of an ``.npz``.

    Raises:
        DamagedError: if it is missing, or cannot be read as one.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except Exception as error:  # a damaged archive makes zipfile and numpy raise nearly anything
        raise DamagedError(f"{path.name} cannot be read ({error})") from error
