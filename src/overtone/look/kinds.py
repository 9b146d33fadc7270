"""What a path is: a table, a folder of them, arrays, series, images, a published set; or something else, told so."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from overtone.errors import InputError
from overtone.look.sets import WHOLE_FILES, find_sets
from overtone.recipe import shipped

Name = Literal["table", "tables", "npz", "mat", "series", "images", "boxes", "set"]
TABLES = (".csv", ".tsv", ".txt", ".dat", ".data", ".log", ".tab", ".asc", ".parquet", ".pq")
SERIES = (".ts", ".arff")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
OTHERS = {
    ".yaml": "is a recipe; look at it with: overtone check {path}",
    ".yml": "is a recipe; look at it with: overtone check {path}",
    ".safetensors": "holds a model; if it is a student: overtone predict {path} DATA, or overtone evaluate {path} DATA",
    ".pt": "holds a model's weights, no recordings; docs/weights.md says how a teacher takes them",
    ".pth": "holds a model's weights, no recordings; docs/weights.md says how a teacher takes them",
    ".ckpt": "holds a model's weights, no recordings; docs/weights.md says how a teacher takes them",
    ".npy": "is a single array; save X (N, C, T), y (N,) and group (N,) together with numpy.savez",
    ".pkl": "is a pickle, which could run code and is not read; save arrays with numpy.savez, or tables as CSV",
    ".pickle": "is a pickle, which could run code and is not read; save arrays with numpy.savez, or tables as CSV",
    ".xlsx": "is a spreadsheet's own file; save the sheet as CSV",
    ".xls": "is a spreadsheet's own file; save the sheet as CSV",
    ".ods": "is a spreadsheet's own file; save the sheet as CSV",
    ".json": "is JSON, which is not read; save its recordings as CSV, one row per sample",
    ".h5": "is an HDF5 file of no known layout; save X (N, C, T), y (N,) and group (N,) with numpy.savez",
    ".hdf5": "is an HDF5 file of no known layout; save X (N, C, T), y (N,) and group (N,) with numpy.savez",
    ".zip": "is a zip of no set that is known here; unpack it and give the folder",
}
FEW_TEXTS, MOST_SETS = 5, 5
"""Texts beside a published set that describe it; sets found below that are named."""
COCO = (b'"images"', b'"annotations"', b'"categories"', b'"bbox"')
PEEK, ENOUGH = 2**16, 2
"""Names in COCO's JSON, bytes at both ends of a file in which they are looked for, and how many are enough."""
MOST_FILES = 20_000
"""Files of a folder that are listed."""


@dataclass(frozen=True)
class Kind:
    """What a path is.

    Attributes:
        name: how it is read.
        path: as it was given.
        files: of a folder of tables, their names below it.
        source: of a published set, the source that reads it.
        notes: what else was found.
    """

    name: Name
    path: Path
    files: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()


def identify(path: Path) -> Kind:
    """What a path is, by its name and the names below it.

    Raises:
        InputError: for what cannot be looked at; it says what can be done with it.
    """
    try:
        is_dir, is_file = path.is_dir(), path.is_file()
        there = is_dir or is_file or path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"{str(path)[:60]!r}: {error}") from error
    if not there:
        raise InputError(f"{path}: there is no such file or folder (looked from {Path.cwd()}){_known(str(path))}")
    if is_dir:
        return _folder(path)
    if not is_file:
        raise InputError(f"{path}: is no file but a device or a pipe; write it to a file first")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    suffix = path.suffix.lower()
    known = find_sets(path, _zipped(path)) if suffix == ".zip" else find_sets(path.resolve().parent, [path.name])
    if known and (suffix not in TABLES or known[0][0] in WHOLE_FILES):
        return Kind("set", path, source=known[0][0])
    if suffix in IMAGES:
        raise InputError(f"{path}: is one picture; give the folder that has a folder of pictures for each class")
    if suffix == ".json" and with_boxes(path):
        return Kind("boxes", path)
    if suffix in OTHERS:
        raise InputError(f"{path}: {OTHERS[suffix].format(path=path)}")
    if suffix == ".npz":
        return Kind("npz", path)
    if suffix == ".mat":
        return Kind("mat", path)
    if suffix in SERIES:
        return Kind("series", path)
    if suffix not in (".parquet", ".pq"):
        _check_text(path)
    notes = [f"one file of the published set {source}; for all of it: overtone look FOLDER" for source, _ in known[:1]]
    return Kind("table", path, notes=tuple(notes))


def _known(name: str) -> str:
    from overtone.data import SOURCES  # sources need torch, which takes seconds to import

    if name in SOURCES:
        return f"; {name} is a source's name: a recipe's data: {{name: {name}}} reads it"
    return f"; {name} is a recipe's name: overtone check {name}" if name in shipped() else ""


def _check_text(path: Path) -> None:
    """Refuse what is no text by its first bytes."""
    with path.open("rb") as file:
        start = file.read(2**16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 has zero bytes
        return
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1a" for byte in start)
    if b"\0" in start or odd > 0.01 * len(start):
        raise InputError(
            f"{path}: is neither text nor a format that is known here; export recordings as CSV, one row per sample"
        )


def _zipped(path: Path) -> list[str]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:MOST_FILES]
    except Exception as error:  # damaged archives fail in many ways
        raise InputError(f"{path}: cannot be read, it is cut short or no zip ({error})") from error


def _folder(path: Path) -> Kind:
    if (path / "study.json").is_file():
        raise InputError(f"{path}: is a study's folder; make its page again with: overtone report {path}")
    names = list(_names(path))
    known = find_sets(path, names)
    own = _own_tables(names)
    if known and (not own or any(not below for _, below in known)):
        return _set_below(path, known)
    names = own or names
    suffixes = Counter(Path(name).suffix.lower() for name in names)
    tables = [suffix for suffix in suffixes if suffix in TABLES]
    images = sum(suffixes[suffix] for suffix in IMAGES)
    if images and with_boxes(path):
        return Kind("boxes", path)
    if images and images >= sum(suffixes[suffix] for suffix in tables):
        return Kind("images", path)
    if not tables:
        seen = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in suffixes.most_common(5))
        raise InputError(f"{path}: there is no table, array or picture in this folder (found: {seen or 'nothing'})")
    usual = max(tables, key=lambda suffix: suffixes[suffix])
    files = tuple(sorted(name for name in names if Path(name).suffix.lower() == usual))
    return Kind("tables", path, files, notes=_also(known))


def with_boxes(path: Path) -> bool:
    """Whether annotations of boxes lie at a path, by what they begin and end with."""
    from overtone.data.boxes.sources import formats_in  # sources need torch, which takes seconds to import

    there = formats_in(path)
    if "coco" in there:
        with there["coco"].open("rb") as file:
            text = file.read(PEEK)
            file.seek(max(0, there["coco"].stat().st_size - PEEK))
            text += file.read()
        if sum(word in text for word in COCO) >= ENOUGH:
            return True
    if "voc" in there and b"<annotation" in there["voc"].read_bytes()[:PEEK]:
        return True
    return "yolo" in there and (there["yolo"].suffix in (".yaml", ".yml") or "labels" in there["yolo"].parts)


def _own_tables(names: list[str]) -> list[str]:
    """Tables that lie in the folder itself; a few texts beside a set are its descriptions."""
    own = [name for name in names if "/" not in name and Path(name).suffix.lower() in TABLES]
    return own if any(not name.lower().endswith(".txt") for name in own) or len(own) > FEW_TEXTS else []


def _set_below(path: Path, known: list[tuple[str, str]]) -> Kind:
    """The first of the sets found; the folder as it was given where there is no other and it is near."""
    known = sorted(known, key=lambda item: item[1].count("/") + bool(item[1]))
    source, below = known[0]
    alone = len(known) == 1 and "/" not in below
    return Kind("set", path if alone else path / below, source=source, notes=_also(known[1:]))


def _also(known: list[tuple[str, str]]) -> tuple[str, ...]:
    """Sets that were found but are not looked at."""
    if not known:
        return ()
    some = ", ".join(f"{source} in {below or 'the folder itself'}" for source, below in known[:MOST_SETS])
    more = f" and {len(known) - MOST_SETS} more" if len(known) > MOST_SETS else ""
    return (f"published sets that lie below and are not looked at: {some}{more}; give their folder",)


def _names(path: Path) -> Iterator[str]:
    """Files below a folder but hidden ones; links to folders are not followed."""
    count = 0
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(path).as_posix()
                count += 1
                if count == MOST_FILES:
                    return
