"""A user's own windows or recordings in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from overtone.data.base import Recordings, Source
from overtone.data.lazy import map_npz
from overtone.errors import InputError, nearest

MAP_BYTES = 2**26


class Npz(Source):
    """``X`` (N, C, T), ``y`` (N,) numbers or names, ``group`` (N,) who each one belongs to.

    Each of the N items is a recording of its own: without ``window`` it is used whole, with one it is cut further.

    Attributes:
        path: the file.
        rate: sampling rate in Hz, needed where windows are given in seconds.
    """

    SOURCE: ClassVar[str] = "your own X (N,C,T), y, group in one .npz"

    path: Path
    rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def load(self) -> Recordings:
        """Read and check the file.

        Raises:
            InputError: for a missing, cut or foreign file, missing arrays, wrong shapes, unequal lengths, or objects
                (which are never unpickled).
        """
        where = f"data 'npz': {self.path}"
        held = read_arrays(self.path, ("X", "y", "group"), where, "Needed are X (N,C,T), y (N,) and group (N,)")
        x, y, group = held["X"], held["y"], held["group"]
        if x.ndim != 3:
            raise InputError(f"{where}: X must have three axes (N, C, T), got shape {x.shape}")
        if not np.issubdtype(x.dtype, np.floating) and not np.issubdtype(x.dtype, np.integer):
            raise InputError(f"{where}: X must hold numbers, got {x.dtype}")
        lengths = {"X": len(x), "y": y.size, "group": group.size}
        if y.ndim != 1 or group.ndim != 1 or len(set(lengths.values())) > 1:
            raise InputError(
                f"{where}: X, y and group must be equally long, got "
                + ", ".join(f"{name} {a.shape}" for name, a in {"X": x, "y": y, "group": group}.items())
            )
        if np.issubdtype(y.dtype, np.floating):
            if not np.isfinite(y).all() or (y != np.round(y)).any():
                raise InputError(f"{where}: y must hold class numbers or names, got fractions or NaN")
            y = y.astype(np.int64)
        if np.issubdtype(group.dtype, np.floating):
            bad = ~np.isfinite(group)
            if bad.any():
                raise InputError(
                    f"{where}: group holds {int(bad.sum())} NaN or infinite values, first at {int(bad.argmax())}"
                )
            group = group.astype(np.int64) if (group == np.round(group)).all() else group
        names, labels = np.unique(y, return_inverse=True)
        return Recordings(
            signals=list(x),  # turned into float32 window by window, since X may be mapped
            labels=labels.astype(np.int64),
            groups=[str(g) for g in group],
            classes=tuple(str(name) for name in names),
            channels=tuple(f"channel {c}" for c in range(x.shape[1])),
            rate=self.rate,
            where=where,
        )


def read_arrays(path: Path, names: Sequence[str], where: str, needed: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """Named arrays of an ``.npz`` file; objects are never unpickled.

    Raises:
        InputError: for a missing, cut or foreign file, a missing array (the nearest is named), or objects.
    """
    if not path.is_file():
        raise InputError(f"{where}: no such file (looked from {Path.cwd()})")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise InputError(f"{where}: this is a single array; save X, y and group with numpy.savez")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file")
    try:
        with np.load(path, allow_pickle=False) as held:
            for name in names:
                if name not in held.files:
                    raise InputError(
                        f"{where}: array {name!r} is missing; {nearest(name, held.files)}. {needed}".rstrip()
                    )
            return {name: _member(path, name, held) for name in names}
    except InputError:
        raise
    except Exception as error:  # zipfile and zlib have many ways to fail on a damaged file
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise InputError(
                f"{where}: it holds Python objects, which are never unpickled; save plain number and text arrays"
            ) from error
        raise InputError(f"{where}: cannot be read, it is cut short or no .npz file ({error})") from error


def _member(path: Path, name: str, held: Any) -> np.ndarray[Any, Any]:
    """A large stored array is mapped into memory; others are read."""
    mapped = map_npz(path, name) if path.stat().st_size > MAP_BYTES else None
    return held[name] if mapped is None else mapped
