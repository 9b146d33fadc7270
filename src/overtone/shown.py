"""What methods and tasks show, as typed objects: page and terminal draw them without knowing whose they are.

Values come for several samples at once; the first axis of every array counts them. In a file an object is a small JSON
description beside its arrays. A task may also show what is of a whole test side (:class:`Matrix`, :class:`Points`,
:class:`Numbers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = Tensor | Array
Caption: TypeAlias = str | Sequence[str]
"""Small print below a panel: one for all samples, or one for each."""


class Axis(NamedTuple):
    """What an axis says, and the values at its two ends; without them it counts from 0."""

    title: str
    ends: tuple[float, float] | None = None


TIME = Axis("time")
"""Along the window: drawn from 0 to its length, in seconds or samples."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Lines over a common axis.

    Attributes:
        title: of the panel.
        lines: by name, (B, P) each; the P points lie evenly from one end of ``x`` to the other, P may differ.
        x: the axis; its ends are the first and the last point.
        y: what the values are.
        caption: see :data:`Caption`.
        dashed: names of lines that are drawn so.

    Raises:
        ValueError: for no line, or one of another shape.
    """

    title: str
    lines: Mapping[str, Values]
    x: Axis
    y: str
    caption: Caption = ""
    dashed: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.lines:
            raise ValueError(f"{self.title}: a curve needs a line")
        for name, values in self.lines.items():
            _check(values, (2,), f"{self.title}, line {name}")


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Values as colours over two axes that mean something.

    Attributes:
        title: of the panel.
        values: (B, H, W), drawn with row 0 at the bottom; colours part at 0 where any is negative.
        x, y: the axes; their ends are the outer edges of the first and the last cell.
        z: what the colours say.
        caption: see :data:`Caption`.
        span: values at the two ends of the colours, (B, 2); the values' own unless given.
        area: (B, H, W); the edge between values below 0.5 and others is drawn as a line.

    Raises:
        ValueError: for values of another shape.
    """

    title: str
    values: Values
    x: Axis
    y: Axis
    z: str
    caption: Caption = ""
    span: Values | None = None
    area: Values | None = None

    def __post_init__(self) -> None:
        _check(self.values, (3,), self.title)
        for array, shape in ((self.area, self.values.shape), (self.span, (len(self.values), 2))):
            if array is not None and tuple(array.shape) != tuple(shape):
                raise ValueError(f"{self.title}: an array of shape {tuple(shape)} is needed, got {tuple(array.shape)}")


@dataclass(frozen=True, eq=False)
class Image:
    """Values as colours over the positions of what a model sees, which need no axes.

    Attributes:
        title: of the panel.
        values: over a window's time, (B, T'), or an image, (B, H', W'), of any size.
        z: what the colours say.
        caption: see :data:`Caption`.

    Raises:
        ValueError: for values of another shape.
    """

    title: str
    values: Values
    z: str
    caption: Caption = ""

    def __post_init__(self) -> None:
        _check(self.values, (2, 3), self.title)


@dataclass(frozen=True)
class Scalar:
    """A number to follow over the epochs; a method's numbers of one title are lines of one panel.

    Attributes:
        value: the number.
        title: of the panel.
        axis: what the number is.
        caption: small print below the panel.
    """

    value: float
    title: str
    axis: str
    caption: str = ""

    def about(self) -> dict[str, str]:
        """All but the number."""
        return {"title": self.title, "axis": self.axis, "caption": self.caption}


@dataclass(frozen=True, eq=False)
class Matrix:
    """Counts of pairs of names, summed over a whole test side.

    Attributes:
        title, caption: what it is.
        labels: of rows and columns.
        counts: (n, n), row x column.
        off_diagonal: title and four heads of the list of the most frequent pairs, which stands for a large matrix.
    """

    title: str
    caption: str
    labels: tuple[str, ...]
    counts: Array
    off_diagonal: tuple[str, tuple[str, str, str, str]]


@dataclass(frozen=True, eq=False)
class Points:
    """Two numbers of each of some samples, to be drawn against each other.

    Attributes:
        title, caption: as a :class:`Matrix`'s.
        x, y: names of the axes.
        values: (N, 2).
    """

    title: str
    caption: str
    x: str
    y: str
    values: Array


class Mark(NamedTuple):
    """A box around something in an image.

    Attributes:
        box: x1, y1, x2, y2 in pixels.
        name: what it is.
        score: how sure a model is of it; None for the truth.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number for each of several names, such as classes; a table in which every row of the study is a column.

    Attributes:
        title, caption: as a :class:`Matrix`'s.
        head: what the names are.
        values: by name, as text; empty where there is none.
    """

    title: str
    caption: str
    head: str
    values: Mapping[str, str]


Shown: TypeAlias = Curve | Heatmap | Image
Drawing: TypeAlias = Shown | Matrix | Points | Numbers
KINDS: Mapping[str, type[Shown]] = {"curve": Curve, "heatmap": Heatmap, "image": Image}


def _check(values: Values, dims: tuple[int, ...], what: str) -> None:
    if values.ndim not in dims or 0 in values.shape:
        wanted = " or ".join(map(str, dims))
        raise ValueError(
            f"{what}: an array of {wanted} axes is needed, of which the first counts samples; got shape "
            f"{tuple(values.shape)}"
        )


def caption_of(one: Shown, sample: int) -> str:
    """What is said of a sample."""
    return one.caption if isinstance(one.caption, str) else one.caption[sample]


def to_file(shown: Mapping[str, Shown]) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """Descriptions for JSON, in order, and the arrays that they name."""
    arrays: dict[str, Array] = {}

    def put(name: str, value: Any) -> Any:
        if isinstance(value, (Tensor, np.ndarray)):
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            arrays[name] = array.astype(np.float32)
            return {"array": name}
        if isinstance(value, Mapping):
            return {key: put(f"{name}/{key}", inner) for key, inner in value.items()}
        return value

    kinds = {kind: name for name, kind in KINDS.items()}
    about = [
        {
            "name": name,
            "kind": kinds[type(one)],
            **{field.name: put(f"{name}/{field.name}", getattr(one, field.name)) for field in fields(one)},
        }
        for name, one in shown.items()
    ]
    return about, arrays


def from_file(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Shown:
    """An object of a file. What is damaged can raise any error; so can drawing it.

    Raises:
        ValueError: for a kind that this version does not know.
    """

    def get(value: Any) -> Any:
        if isinstance(value, Mapping):
            name = value.get("array")
            return arrays[name] if isinstance(name, str) else {key: get(inner) for key, inner in value.items()}
        return value

    if about["kind"] not in KINDS:
        raise ValueError(f"this version knows no {about['kind']}")
    values = {key: get(value) for key, value in about.items() if key not in ("name", "kind")}
    values |= {key: Axis(*values[key]) for key in ("x", "y") if isinstance(values.get(key), (list, tuple))}
    return KINDS[about["kind"]](**values)
