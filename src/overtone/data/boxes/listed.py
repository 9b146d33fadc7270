"""What annotations say of images, whatever their format, and what is wrong with them, told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overtone.data.base import IntArray
from overtone.data.image_folder import TEST, TRAIN, VAL
from overtone.errors import InputError, few

Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Listed:
    """One image as its annotation has it.

    Attributes:
        name: of its file, below the set's folder.
        boxes: (n, 4) x1, y1, x2, y2 from the image's upper left corner, in pixels or, with ``shares``, in shares of its
            width and height.
        classes: (n,) numbers in the set's names.
        crowd: (n,) whether a box is to be ignored.
        area: (n,) that the annotation states, in pixels; NaN where it states none.
        size: height and width that it states, if it does.
    """

    name: str
    boxes: Places
    classes: IntArray
    crowd: npt.NDArray[np.bool_]
    area: Places
    size: tuple[int, int] | None = None
    shares: bool = False


def plain(
    name: str,
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    crowd: Sequence[bool] | None = None,
    size: tuple[int, int] | None = None,
    shares: bool = False,
) -> Listed:
    """An image whose annotation states no areas."""
    return Listed(
        name,
        np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
        np.asarray(classes, dtype=np.int64),
        np.asarray(crowd if crowd is not None else [False] * len(classes), dtype=bool),
        np.full(len(classes), np.nan),
        size,
        shares,
    )


@dataclass
class Findings:
    """What is wrong with a set, kind by kind with examples: what is refused, and what is only told."""

    refused: dict[str, list[str]] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, what: str, examples: Iterable[str]) -> None:
        """Something that makes the set unusable; ``what`` is a noun in the plural."""
        self.refused.setdefault(what, []).extend(examples)

    def tell(self, what: str, examples: Iterable[str]) -> None:
        """Something that a reader should know."""
        self.told.setdefault(what, []).extend(examples)

    def check(self, where: str) -> None:
        """Refuse the set for all that is wrong.

        Raises:
            InputError: with the number of each kind and the first of them.
        """
        wrong = _said(self.refused)
        if wrong:
            raise InputError(f"{where}: {'; '.join(wrong)}. Mend these, or take them out of the set")

    @property
    def notes(self) -> list[str]:
        """A sentence for each kind that is told."""
        return _said(self.told)


def _said(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{what}: {len(own)} ({few(list(dict.fromkeys(own)))})" for what, own in kinds.items() if own]


@dataclass(frozen=True)
class Found:
    """A set as its annotations have it.

    Attributes:
        root: the folder that names of files start from.
        names: of the classes, by number.
        sides: images of each side by its name; of one side without a name where there is nothing to tell sides by.
        format: of the annotations, for notes.
    """

    root: Path
    names: tuple[str, ...]
    sides: Mapping[str, Sequence[Listed]]
    format: str


def side_of(name: str) -> str | None:
    """Which side a name of a folder or file stands for: ``train``, ``val`` or ``test``."""
    for side, known in (("train", (*TRAIN, "trainval")), ("val", VAL), ("test", TEST)):
        if name.lower() in known:
            return side
    return None


def in_order(sides: Sequence[str], where: str) -> tuple[list[str], str | None]:
    """Sides in order, and the one that is tested, if that is clear.

    Of three, validation comes first: where a recipe names no validation group, it is the one that follows the test
    group, round the end.

    Raises:
        InputError: for two folders or lists of one side.
    """
    if len(sides) == 1:
        return list(sides), None
    by_kind: dict[str | None, str] = {}
    for side in sides:
        if (other := by_kind.setdefault(side_of(side), side)) != side:
            raise InputError(f"{where}: {other} and {side} are the same side; keep one of them")
    kinds = ("val", "train", "test") if "test" in by_kind else ("train", "val")
    tested = by_kind.get("test", by_kind.get("val"))
    return [by_kind[kind] for kind in kinds if kind in by_kind], tested if "train" in by_kind else None


def below(path: Path, root: Path) -> str:
    """A file's name below a folder; its whole path where it is somewhere else."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
