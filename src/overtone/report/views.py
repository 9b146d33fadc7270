"""One window as the models see it: drawn in every view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from overtone.report.figures import Line, bitmap, colour_scale, figure_box, image_panel, legend, line_panel
from overtone.report.folder import Array, Folder
from overtone.report.html import Html, join, note, section, tag
from overtone.report.plot import Panel
from overtone.study import StudyDescription
from overtone.study.records import ViewDescription
from overtone.views import Shown

MOST_IMAGES = 6
MOST_LINES = 8


@dataclass(frozen=True)
class _Seen:
    """A view as its class says it is drawn, and what its example's axes span."""

    name: str
    kind: str
    axes: tuple[str, ...]
    shown: Shown
    extents: Array | None

    @classmethod
    def of(cls, name: str, study: StudyDescription, extents: Array | None) -> _Seen:
        """From what the study says of it."""
        settings = study.recipe.get("views", {}).get(name) or {}
        view = study.views.get(name) or ViewDescription()
        return cls(name, str(settings.get("type") or name), tuple(view.axes), view.shown, extents)

    def extent(self, channel: int) -> Array | None:
        """Of one channel, or of all."""
        if self.extents is None:
            return None
        spans = np.atleast_2d(self.extents)
        return spans[channel if len(spans) > 1 else 0]


@dataclass(frozen=True)
class _Window:
    """What drawing needs to know about the data."""

    channels: list[str]
    rate: float | None
    length: int
    groups: str

    def names(self, count: int) -> list[str]:
        """Channel names, or numbers where a view has other channels than the data."""
        return self.channels if len(self.channels) == count else [f"channel {n + 1}" for n in range(count)]

    @property
    def time(self) -> tuple[str, float]:
        """The time axis: its name and where the window ends on it."""
        return ("seconds", self.length / self.rate) if self.rate else ("samples", float(self.length))


def window(folder: Folder) -> Html:
    """The window of ``example.npz``."""
    example = folder.example()
    if example is None:
        return section("window", "One window", note("There is no example window on disk (example.npz)."))
    data = folder.study.data
    if folder.of_images:
        figure = figure_box(f"A test image: {example['called']}", bitmap(example["window"]))
        figures = [figure, *_other_sizes(folder, example)]
        return section("window", "One image", tag("div", *figures, class_="panels two"))
    about = _Window(data.channels, data.rate, int(example["window"].shape[-1]), folder.material.groups)
    boxes = [_lines("As recorded", "value in the data’s unit", example["window"], about)]
    views = {name.removeprefix("view."): array for name, array in example.items() if name.startswith("view.")}
    for name, array in views.items():
        seen = _Seen.of(name, folder.study, example.get(f"extent.{name}"))
        boxes.append(_view(seen, array, about))
    wide = [box for box, is_wide in boxes if is_wide]
    narrow = [box for box, is_wide in boxes if not is_wide]
    return section(
        "window",
        "One window in its views",
        tag("p", _which(folder, example)),
        tag("div", *narrow, class_="panels two"),
        *wide,
    )


def _other_sizes(folder: Folder, example: dict[str, Array]) -> list[Html]:
    """The image as views of another size show it: scaled again, since what they show is standardised."""
    pixels = example["window"]
    figures = []
    for key, array in example.items():
        name = key.removeprefix("view.")
        if name == key or _Seen.of(name, folder.study, None).kind != "image" or array.ndim != 3:
            continue
        height, width = array.shape[1:]
        if (height, width) != pixels.shape[1:]:
            scaled = [Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR) for one in pixels]
            shown = bitmap(np.stack([np.asarray(one) for one in scaled]))
            figures.append(figure_box(f"View {name}: {height} × {width} pixels", shown))
    return figures


def _which(folder: Folder, example: dict[str, Array]) -> str:
    data, start = folder.study.data, int(example["start"])
    called = f"class {example['called']}" if data.targets.counts else str(example["called"])
    since = f"{start / data.rate:.2f} s" if data.rate else f"sample {start}"
    return (
        f"{folder.material.group.capitalize()} {example['group']}, {called}, recording {int(example['recording'])}, "
        f"from {since} on; a test window of fold {folder.study.folds[0].number}."
    )


def _view(seen: _Seen, array: Array, about: _Window) -> tuple[Html, bool]:
    """A view's box, and whether it takes the page's whole width."""
    caption = seen.shown.caption.replace("{groups}", about.groups) or f"of type {seen.kind}" * (seen.kind != seen.name)
    title = join("View ", tag("b", seen.name), tag("span", caption, class_="sub"))
    if array.ndim in (1, 2):
        return _lines(title, seen.shown.unit, np.atleast_2d(array), about)
    if array.ndim == 3:
        return _images(title, seen, array, about), True
    shape = " × ".join(str(size) for size in array.shape)
    return tag("figure", tag("figcaption", title), note(f"Not drawn: its shape is {shape}.")), True


def _lines(title: str | Html, y: str, array: Array, about: _Window) -> tuple[Html, bool]:
    """Channels over time, or over positions where a view has another length than the window."""
    names, length = about.names(len(array)), array.shape[1]
    axis, end = about.time if length == about.length else ("position", float(length))
    x = np.arange(length) * (end / length)
    drawn = [Line(names[n], x, array[n].astype(np.float64), n) for n in range(min(len(array), MOST_LINES))]
    panel = Panel(axis, y, f"{len(drawn)} channels of one window over {axis}", (540, 280))
    parts: list[Html] = [legend(drawn), line_panel(panel, drawn, most=1000)]
    if len(array) > len(drawn):
        parts.append(note(f"The first {len(drawn)} of {len(array)} channels."))
    return figure_box(title, *parts), False


def _images(title: Html, seen: _Seen, array: Array, about: _Window) -> Html:
    """One image per channel, all on one colour scale."""
    array = array.astype(np.float64)
    names = about.names(len(array))
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low = low if seen.shown.low is None else seen.shown.low
    high = high if seen.shown.high is None else seen.shown.high
    colours: Literal["RdBu_r", "viridis"] = "RdBu_r" if seen.shown.low == -high else "viridis"
    if high <= low:
        high = low + 1.0
    boxes: list[Any] = []
    for number in range(min(len(array), MOST_IMAGES)):
        x, y, extent = _image_axes(seen, array, about, number)
        panel = Panel(x, y, f"{seen.kind} of channel {names[number]}", (190, 182))
        image = image_panel(panel, array[number], extent, colours, (low, high), seen.shown.gamma)
        boxes.append(tag("figure", tag("figcaption", names[number]), image))
    limited = f"The first {len(boxes)} of {len(array)} channels." if len(array) > len(boxes) else None
    scale = colour_scale(colours, f"{low:.3g}".replace("-", "−"), f"{high:.3g}")
    root = "Colours follow the square root, so that weak spots show. " if seen.shown.gamma == 0.5 else None
    foot = tag("p", scale, root, limited, class_="note")
    return tag("div", tag("h3", title), tag("div", *boxes, class_="images"), foot, class_="view")


def _image_axes(
    seen: _Seen, array: Array, about: _Window, channel: int
) -> tuple[str, str, tuple[float, float, float, float]]:
    """Names of columns and rows, and their extent: the view's own, time, or pixels; row 0 is at the bottom."""
    height, width = array.shape[1:]
    span = seen.extent(channel)
    axes = seen.axes if len(seen.axes) == 2 else ("row", "column")
    if span is not None:
        left, right, bottom, top = (float(edge) for edge in span)
        rows, columns = seen.shown.labels or axes
        return columns, rows, (left, right, bottom, top)
    (rows, top), (columns, right) = (
        _axis(name, length, about) for name, length in zip(axes, (height, width), strict=True)
    )
    return columns, rows, (0.0, right, 0.0, top)


def _axis(name: str, length: int, about: _Window) -> tuple[str, float]:
    """An axis that counts pixels, or is time: its name with the unit, and where it ends."""
    if name == "time":
        unit, end = about.time
        return f"time, {unit}", end
    return (name if name in ("row", "column") else f"{name}, pixels"), float(length)
