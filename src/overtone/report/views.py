"""One window as the models see it: drawn in every view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from overtone.report.figures import Line, bitmap, colour_scale, figure_box, image_panel, legend, line_panel
from overtone.report.folder import Array, Folder
from overtone.report.html import Html, join, note, section, tag
from overtone.report.plot import Panel

MOST_IMAGES = 6
MOST_LINES = 8
ABOUT = {
    "gaf": "Gramian angular field: cosine of the sum (or sine of the difference) of two moments’ angles",
    "pi": "persistence image: how low valleys of the signal start (birth) and how long they last (persistence)",
    "mtf": "Markov transition field: how likely the step from one moment’s level to another’s is",
    "recurrence": "recurrence plot: which two moments look alike",
}


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
    held = folder.example()
    if held is None:
        return section("window", "One window", note("There is no example window on disk (example.npz)."))
    data = folder.study["data"]
    if folder.of_images:
        figure = figure_box(f"A test image of class {folder.classes[int(held['label'])]}", bitmap(held["window"]))
        return section("window", "One image", tag("div", figure, class_="panels two"))
    about = _Window(
        [str(c) for c in data["channels"]], data["rate"], int(held["window"].shape[-1]), folder.material.groups
    )
    given = folder.study["recipe"].get("views", {})
    boxes = [_lines("As recorded", "value in the data’s unit", held["window"], about)]
    views = {name.removeprefix("view."): array for name, array in held.items() if name.startswith("view.")}
    for name, array in views.items():
        kind = str((given.get(name) or {}).get("type") or name)
        boxes.append(_view(name, kind, array, about, held.get(f"extent.{name}")))
    wide = [box for box, is_wide in boxes if is_wide]
    narrow = [box for box, is_wide in boxes if not is_wide]
    return section(
        "window",
        "One window in its views",
        tag("p", _which(folder, held)),
        tag("div", *narrow, class_="panels two"),
        *wide,
    )


def _which(folder: Folder, held: dict[str, Array]) -> str:
    data = folder.study["data"]
    label, start = int(held["label"]), int(held["start"])
    since = f"{start / data['rate']:.2f} s" if data["rate"] else f"sample {start}"
    whose = f"{folder.material.group.capitalize()} {held['group']}"
    return (
        f"{whose}, class {folder.classes[label]}, recording {int(held['recording'])}, from {since} on; "
        f"a test window of fold {folder.study['folds'][0]['number']}."
    )


def _view(name: str, kind: str, array: Array, about: _Window, extent: Array | None) -> tuple[Html, bool]:
    """A view's box, and whether it takes the page's whole width."""
    said = ABOUT.get(kind, f"of type {kind}" * (kind != name))
    if kind == "signal":
        said = f"standardised with mean and deviation of the training {about.groups}"
    title = join("View ", tag("b", name), tag("span", said, class_="sub"))
    if array.ndim in (1, 2):
        return _lines(title, "standardised" if kind == "signal" else "value", np.atleast_2d(array), about)
    if array.ndim == 3:
        return _images(title, kind, array, about, extent), True
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


def _images(title: Html, kind: str, array: Array, about: _Window, fitted: Array | None) -> Html:
    """One image per channel, all on one colour scale."""
    array = array.astype(np.float64)
    names = about.names(len(array))
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    colours: Literal["RdBu_r", "viridis"] = "viridis"
    if kind == "gaf":
        low, high, colours = -1.0, 1.0, "RdBu_r"
    elif kind == "pi":
        low = 0.0
    if high <= low:
        high = low + 1.0
    boxes: list[Any] = []
    for number in range(min(len(array), MOST_IMAGES)):
        own = fitted[number] if fitted is not None and fitted.ndim == 2 else fitted  # ranges of each channel, or of all
        x, y, extent = _image_axes(kind, array, about, own)
        panel = Panel(x, y, f"{kind} of channel {names[number]}", (190, 182))
        image = image_panel(panel, array[number], extent, colours, (low, high), 0.5 if kind == "pi" else 1.0)
        boxes.append(tag("figure", tag("figcaption", names[number]), image))
    limited = f"The first {len(boxes)} of {len(array)} channels." if len(array) > len(boxes) else None
    scale = colour_scale(colours, f"{low:.3g}".replace("-", "−"), f"{high:.3g}")
    root = "Colours follow the square root, so that weak spots show. " if kind == "pi" else None
    foot = tag("p", scale, root, limited, class_="note")
    return tag("div", tag("h3", title), tag("div", *boxes, class_="images"), foot, class_="view")


def _image_axes(
    kind: str, array: Array, about: _Window, fitted: Array | None
) -> tuple[str, str, tuple[float, float, float, float]]:
    """Axis names and extent (the view's own ranges, where it fitted some); row 0 is at the bottom."""
    height, width = array.shape[1:]
    if kind in ("gaf", "mtf", "recurrence"):
        axis, end = about.time
        return f"time, {axis}", f"time, {axis}", (0.0, end, 0.0, end)
    pixels = (0.0, float(width), 0.0, float(height))
    if kind == "pi" and fitted is not None:
        left, right, bottom, top = (float(edge) for edge in fitted)
        return "birth, standard deviations", "persistence", (left, right, bottom, top)
    if kind == "pi":
        return "birth, pixels", "persistence, pixels", pixels
    return "column", "row", pixels
