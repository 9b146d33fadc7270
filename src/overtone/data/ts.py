"""Series in files of the time series archives, ``.ts`` and ``.arff``, through the package aeon (an extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from overtone.data.aeon import from_cases
from overtone.data.base import FloatArray, OwnSource, Recordings
from overtone.errors import InputError

SUFFIXES = (".ts", ".arff")


class Ts(OwnSource):
    """Labelled series, each a case of its own; with ``test``, that file is the official test side.

    Series of unequal length are padded to the longest, unless a window is cut from them. ``?`` is a missing value;
    where all channels end in such, the series has ended there.

    Attributes:
        path: a ``.ts`` or ``.arff`` file, all series or those of the training side.
        test: the file of the test side.
        rate: Hz, where known to you.
    """

    SOURCE: ClassVar[str] = "your own series as .ts or .arff, one file or train and test (pip install overtone[aeon])"
    PAD: ClassVar[bool] = True

    path: Path
    test: Path | None = None
    rate: float | None = Field(default=None, gt=0, le=1e9)

    def load(self) -> Recordings:
        """The series of one file, or of both.

        Raises:
            InputError: for a missing package or file, one of another kind, real numbers where classes should be, or
                anything that aeon's reader refuses.
        """
        sides = [_read(path, f"data 'ts': {path}") for path in (self.path, self.test) if path is not None]
        where = f"data 'ts': {self.path}" + (f" and {self.test.name}" if self.test else "")
        return from_cases(sides, self.rate, where)


def _read(path: Path, where: str) -> tuple[list[FloatArray], list[str]]:
    """A file's cases, and the class of each."""
    if not path.is_file():
        what = "this is a folder; give the file in it" if path.is_dir() else "no such file"
        raise InputError(f"{where}: {what} (looked from {Path.cwd()})")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{where}: {path.suffix or 'no ending'} is none of {' and '.join(SUFFIXES)}")
    try:
        from aeon.datasets import load_from_arff_file, load_from_ts_file
    except ImportError:
        raise InputError(f"{where} needs the package aeon: pip install overtone[aeon]") from None
    spelling = {}
    try:
        if path.suffix.lower() == ".ts":
            cases, labels, facts = load_from_ts_file(str(path), return_meta_data=True)
            if facts["targetlabel"] or not facts["classlabel"]:
                raise InputError(
                    f"{where}: it has no classes (@classLabel true), and nothing else can be learned of it"
                )
            spelling = _classes(path)
        else:
            cases, labels = load_from_arff_file(str(path))
    except InputError:
        raise
    except Exception as error:  # aeon's readers raise many kinds
        raise InputError(f"{where}: aeon cannot read it: {type(error).__name__}: {error}") from error
    if not len(cases):
        raise InputError(f"{where}: there are no series in it")
    return list(cases), [spelling.get(str(label).lower(), str(label)) for label in labels]


def _classes(path: Path) -> dict[str, str]:
    """Classes as the head of a ``.ts`` file writes them, which aeon's reader turns into small letters."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            words: list[Any] = line.split()
            if words and words[0].lower() == "@classlabel":
                return {word.lower(): word for word in words[2:]}
            if words and words[0].lower() == "@data":
                break
    return {}
