"""MATLAB's files for tests: v5 by scipy's writer, v7.3 in MATLAB's layout of HDF5 (axes reversed, text as numbers,
cells as references).
"""

from __future__ import annotations

from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np


def cell(items: Any) -> Any:
    """An array of objects, which becomes a cell."""
    out = np.empty(len(items), dtype=object)
    for number, item in enumerate(items):
        out[number] = item
    return out


def old(path: Path, variables: dict[str, Any]) -> None:
    from scipy.io import savemat

    savemat(path, variables, do_compression=True)


def new(path: Path, variables: dict[str, Any]) -> None:
    h5py = import_module("h5py")
    number = count()

    def put(place: Any, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            struct = place.create_group(name)
            struct.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, own in value.items():
                put(struct, key, own)
            return struct
        value = np.asarray(value)
        kind = "double"
        if value.dtype.kind == "O":
            refs = [put(file["#refs#"], str(next(number)), own).ref for own in value]
            value, kind = np.asarray([refs], dtype=h5py.ref_dtype), "cell"
        elif value.dtype.kind == "U":
            rows = np.atleast_1d(value)
            value = np.asarray([[ord(sign) for sign in row.ljust(rows.itemsize // 4)] for row in rows], dtype=np.uint16)
            kind = "char"
        elif value.ndim == 1:
            value = value[None]
        dataset = place.create_dataset(name, data=value if kind == "cell" else value.T)
        dataset.attrs["MATLAB_class"] = np.bytes_(kind)
        return dataset

    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in variables.items():
            put(file, name, value)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
