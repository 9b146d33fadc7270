"""Variables of MATLAB's ``.mat`` files as arrays; those of v7.3, which is HDF5, through h5py, an extra.

Nothing in a file is run: objects and function handles are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from overtone.errors import InputError, nearest
from overtone.formats import mat5

HDF5 = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512
"""MATLAB's own header comes before that of HDF5."""
BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""Bytes of a variable that are believed only of a file that holds a 200th of them."""
PLAIN = (
    "in MATLAB turn tables, strings, categories and dates into arrays (table2array), text into cells (cellstr), and "
    "save again"
)


def read_mat(path: Path, names: Sequence[str], where: str) -> dict[str, Any]:
    """Variables of a ``.mat`` file, by name; ``acc.x`` is the field ``x`` of the struct ``acc``.

    Args:
        path: the file, of any version.
        names: of the variables.
        where: the source, for messages.

    Returns:
        For each an array of numbers with MATLAB's axes; an array of text (N,); or, of a cell or a struct array, a list
        of arrays.

    Raises:
        InputError: for a missing, damaged or foreign file, a variable that is not there (what is there is listed), or
            one that is neither numbers nor text.
    """
    if not path.is_file():
        what = "this is a folder; give the file in it" if path.is_dir() else "no such file"
        raise InputError(f"{where}: {what} (looked from {Path.cwd()})")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        start = file.read(USER_BLOCK + len(HDF5))
    try:
        if HDF5 in (start[: len(HDF5)], start[USER_BLOCK:]) or start.startswith(b"MATLAB 7.3"):
            return _read_new(path, names, where)
        return _read_old(path, names, where)
    except InputError:
        raise
    except Exception as error:  # both readers fail on a damaged file in many ways
        raise InputError(f"{where}: cannot be read, it is cut short or no .mat file ({error})") from error


# --- v5 to v7


def _read_old(path: Path, names: Sequence[str], where: str) -> dict[str, Any]:
    there = mat5.variables(path)
    return {name: _old_plain(_old_field(path, there, name, where), name, where) for name in names}


def _old_field(path: Path, there: dict[str, mat5.Variable], name: str, where: str) -> mat5.Value:
    """Follows a dotted name into structs; of a struct array its elements' fields, as a cell has them."""
    so_far, *parts = name.split(".")
    if so_far not in there:
        raise InputError(_unknown(name, ((own.name, own.shape, own.kind) for own in there.values()), where))
    variable = there[so_far]
    _check_size(variable.size, variable.end - variable.start, so_far, where)
    value = mat5.value(path, variable)
    for part in parts:
        _check_field(part, value if isinstance(value, dict) else None, so_far, where)
        elements, so_far = value[part], f"{so_far}.{part}"
        value = elements[0] if len(elements) == 1 else elements
    return value


def _check_field(part: str, fields: Iterable[str] | None, path: str, where: str) -> None:
    if fields is None:
        raise InputError(f"{where}: {path!r} is no struct, so it has no field {part!r}")
    if part not in fields:
        raise InputError(f"{where}: {path!r} has no field {part!r}; {nearest(part, fields)}")


def _old_plain(value: mat5.Value, name: str, where: str) -> Any:
    if isinstance(value, mat5.Odd):
        raise InputError(f"{where}: {name!r} is neither numbers nor text ({value.kind}); {PLAIN}")
    if isinstance(value, dict):
        raise InputError(f"{where}: {name!r} is a struct; name one of its fields: {_dotted(name, value)}")
    if isinstance(value, list):
        return _joined([_old_plain(cell, name, where) for cell in value], name, where)
    return value


def _dotted(name: str, fields: Iterable[str]) -> str:
    return ", ".join(f"{name}.{field}" for field in fields)


# --- v7.3


def _read_new(path: Path, names: Sequence[str], where: str) -> dict[str, Any]:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{where}: this is a file of MATLAB 7.3, which needs the package h5py: pip install overtone[mat]; or save "
            "it in MATLAB with -v7"
        ) from None
    with closing(h5py.File(str(path), "r")) as file:
        return {name: _new_plain(file, _new_field(file, name, where), name, where) for name in names}


def _new_field(file: Any, name: str, where: str) -> Any:
    """Follows a dotted name into groups, within this file."""
    import h5py

    value, path = file, ""
    for part in name.split("."):
        if not isinstance(value, h5py.Group):
            raise InputError(f"{where}: {path!r} is no struct, so it has no field {part!r}")
        if part not in value and not path:
            own = ((n, _new_shape(v), str(_class_of(v))) for n, v in value.items() if not n.startswith("#"))
            raise InputError(_unknown(name, own, where))
        _check_field(part, list(value), path, where)
        if not isinstance(value.get(part, getlink=True), h5py.HardLink):
            raise InputError(f"{where}: {name!r} points to another place or file, which is not followed")
        value, path = value[part], f"{path}.{part}".lstrip(".")
    return value


def _class_of(value: Any) -> str:
    kind = value.attrs.get("MATLAB_class", b"")
    return kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)


def _new_shape(value: Any) -> tuple[int, ...]:
    return tuple(reversed(getattr(value, "shape", ())))


def _new_plain(file: Any, value: Any, name: str, where: str) -> Any:
    """Numbers, text, or a list of arrays of a data set; HDF5's axes are MATLAB's in reverse."""
    import h5py

    if isinstance(value, h5py.Group):
        raise InputError(f"{where}: {name!r} is a struct; name one of its fields: {_dotted(name, value)}")
    if value.is_virtual or value.external:
        raise InputError(f"{where}: {name!r} lies in another file, which is not read")
    kind = _class_of(value)
    refers = h5py.check_ref_dtype(value.dtype) is not None
    if "MATLAB_object_decode" in value.attrs or (not refers and value.dtype.kind not in "iufb"):
        raise InputError(f"{where}: {name!r} is neither numbers nor text ({kind or value.dtype}); {PLAIN}")
    _check_size(value.nbytes, value.id.get_storage_size(), name, where)
    if value.attrs.get("MATLAB_empty"):
        return np.zeros(tuple(int(n) for n in value[()].ravel()))
    if refers:
        cells = [file[reference] for reference in value[()].ravel() if reference]
        if any(isinstance(cell, h5py.Dataset) and h5py.check_ref_dtype(cell.dtype) for cell in cells):
            raise InputError(f"{where}: {name!r} holds cells within cells; give it one array for each recording")
        size = sum(cell.nbytes for cell in cells if isinstance(cell, h5py.Dataset))  # several may be the same
        _check_size(size, Path(file.filename).stat().st_size, name, where)
        return _joined([_new_plain(file, cell, name, where) for cell in cells], name, where)
    numbers = np.asarray(value[()]).transpose()
    if kind != "char":
        return numbers
    return np.asarray(["".join(map(chr, row)).rstrip() for row in np.atleast_2d(numbers)])


# --- both


def _joined(cells: list[Any], name: str, where: str) -> Any:
    """A cell's contents: names as one array of text, single numbers as one of numbers, else a list of arrays."""
    if any(isinstance(cell, list) for cell in cells):
        raise InputError(f"{where}: {name!r} holds cells within cells; give it one array for each recording")
    kinds = {"text" if cell.dtype.kind == "U" else "numbers" for cell in cells}
    if len(kinds) > 1:
        raise InputError(f"{where}: {name!r} holds both numbers and text")
    if kinds == {"text"}:
        return np.asarray([" ".join(cell.tolist()) for cell in cells])
    if cells and all(cell.size == 1 for cell in cells):
        return np.asarray([cell.item() for cell in cells])
    return cells


def _check_size(size: int, stored: int, name: str, where: str) -> None:
    if size > BOMB_BYTES and size > BOMB_RATIO * stored:
        raise InputError(
            f"{where}: {name!r} unpacks to {size} bytes from {stored}, over {BOMB_RATIO} times as many; if it is what "
            "it should be, save it without compression"
        )


def _unknown(name: str, there: Iterable[tuple[str, tuple[int, ...], str]], where: str) -> str:
    """``there is no variable 'x'; did you mean 'X'? known: X (9 x 128 x 240 double)``."""
    shapes = {own: f"{own} ({' x '.join(map(str, shape))} {kind})".replace("( ", "(") for own, shape, kind in there}
    top = name.partition(".")[0]
    hint = nearest(top, shapes).partition("known: ")[0]
    return f"{where}: there is no variable {top!r}; {hint}known: {', '.join(shapes.values()) or 'none'}"
