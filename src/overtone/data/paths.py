"""Where data files are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from overtone.errors import InputError

VARIABLE = "OVERTONE_DATA"


def folders(path: Path | None, name: str) -> list[Path]:
    """Folders that may hold a data set: ``path`` and its folder ``name``, else these of ``OVERTONE_DATA``."""
    if path is not None:
        return [path, path / name]
    if VARIABLE in os.environ:
        return [Path(os.environ[VARIABLE]) / name, Path(os.environ[VARIABLE])]
    return []


def find_file(path: Path | None, name: str, where: str) -> Path:
    """A data file: ``path`` itself (or ``name`` in that folder), else ``name`` in the folder ``OVERTONE_DATA``.

    Args:
        path: the recipe's ``data.path``, if any.
        name: the file's place below a folder of data sets, such as ``uci_har/uci_har.npz``.
        where: the source, for messages.

    Raises:
        InputError: if it is in none of these places; all of them are named.
    """
    places = []
    if path is not None:
        places += [path, path / name, path / Path(name).name]
    elif VARIABLE in os.environ:
        places.append(Path(os.environ[VARIABLE]) / name)
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(dict.fromkeys(map(str, places))) or "nowhere"
    raise InputError(
        f"{where}: {name} was not found (looked: {looked}); set data.path, or {VARIABLE} to the folder above it"
    )
