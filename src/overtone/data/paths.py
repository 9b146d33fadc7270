"""Where data files are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from overtone.errors import InputError
from overtone.files import expanded

VARIABLE = "OVERTONE_DATA"


def _shared() -> Path | None:
    """The folder of data sets that the environment names, if it does."""
    return expanded(os.environ[VARIABLE], VARIABLE) if VARIABLE in os.environ else None


def folders(path: Path | None, name: str) -> list[Path]:
    """Folders that may hold a data set: ``path`` and its folder ``name``, else these of ``OVERTONE_DATA``."""
    if path is not None:
        return [path, path / name]
    shared = _shared()
    return [] if shared is None else [shared / name, shared]


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
    elif (shared := _shared()) is not None:
        places.append(shared / name)
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(dict.fromkeys(map(str, places))) or "nowhere"
    raise InputError(
        f"{where}: {name} was not found (looked: {looked}); set data.path, or {VARIABLE} to the folder above it"
    )
