"""What methods show of themselves, drawn without knowing whose it is."""

from __future__ import annotations

import numpy as np

from overtone.explain import Explained
from overtone.report.figures import Heat, Line, figure_box, heat_image, heat_line, image_panel, legend, line_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, note, tag
from overtone.report.plot import FloatArray, Panel
from overtone.shown import TIME, Axis, Curve, Heatmap, Image, Shown, Values, caption_of

SIZE, SQUARE, EVEN = (240, 180), (180, 180), (222, 210)
"""Of panels with axes, of those without, and of heat maps whose two axes are one measure."""
Ends = tuple[float, float]


def time_axis(folder: Folder) -> tuple[str, float]:
    """What an axis along the window says, and where it ends."""
    rate = folder.study.data.rate
    return ("seconds", folder.length / rate) if rate else ("samples", float(folder.length))


def meanings(maps: Explained) -> list[Html]:
    """What methods' drawings mean, each said once."""
    names: dict[str, list[str]] = {}
    for model in maps.about["models"]:
        for method, texts in model["meaning"].items():
            for text in (texts,) if isinstance(texts, str) else texts:  # one text without its comma is an easy slip
                names.setdefault(text, []).append(method)
    return [note(tag("b", ", ".join(dict.fromkeys(methods))), ": ", text) for text, methods in names.items()]


def count(one: Shown) -> int:
    """Of how many samples it shows something."""
    return len(next(iter(one.lines.values())) if isinstance(one, Curve) else one.values)


def boxes(folder: Folder, maps: Explained, model: int, sample: int) -> tuple[list[Html], list[Html]]:
    """What a model's methods show of one sample: boxes, and lines of boxes under a heading of their own."""
    alone: list[Html] = []
    lines: dict[str, list[tuple[Shown | str, Html]]] = {}
    for name, one in maps.shown(model).items():
        panel = box(folder, one.title if not isinstance(one, str) else name, one, sample)
        heading, slash, _ = name.partition(".")[2].rpartition("/")
        if slash:
            lines.setdefault(heading, []).append((one, panel))
        else:
            alone.append(panel)
    lost = maps.about["models"][model].get("lost")
    alone += [note(f"{lost}.")] if lost else []
    return alone, [_line(heading, pairs) for heading, pairs in lines.items()]


def _line(heading: str, pairs: list[tuple[Shown | str, Html]]) -> Html:
    units = dict.fromkeys(one.z for one, _ in pairs if isinstance(one, (Image, Heatmap)))
    title = tag("h4", heading.replace("/", ", "), tag("span", ", ".join(units), class_="sub") if units else None)
    return Html(title + tag("div", *[box for _, box in pairs], class_="maps"))


def box(folder: Folder, title: str | Html, one: Shown | str, sample: int, size: tuple[int, int] = SIZE) -> Html:
    """An object's drawing of one sample under a title; a note where there is none to draw."""
    if isinstance(one, str):
        return figure_box(title, note(f"This drawing {one}."))
    try:
        drawn, caption = _drawn(folder, one, sample, size), caption_of(one, sample)
    except Exception as error:  # damaged, or values that nothing can be drawn of: the page has more to tell
        why = error if isinstance(error, ValueError) else "its description is damaged"
        return figure_box(title, note(f"This drawing cannot be drawn: {why}."))
    return figure_box(title, *drawn, *([note(caption)] if caption else []))


def _drawn(folder: Folder, one: Shown, sample: int, size: tuple[int, int]) -> list[Html]:
    if isinstance(one, Curve):
        return _curve(folder, one, sample, size)
    if isinstance(one, Heatmap):
        return _heatmap(folder, one, sample)
    return _image(folder, one, sample)


def _values(values: Values, sample: int) -> FloatArray:
    array = np.asarray(values[sample], dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("it has values that are not finite")
    return array


def _axis(folder: Folder, axis: Axis, count: int) -> tuple[str, Ends]:
    """What an axis says and where it ends; ``count`` is its length where it counts."""
    if axis == TIME:
        title, end = time_axis(folder)
        return title, (0.0, end)
    return axis.title, axis.ends or (0.0, float(count))


def _curve(folder: Folder, one: Curve, sample: int, size: tuple[int, int]) -> list[Html]:
    lines = []
    for number, (name, values) in enumerate(one.lines.items()):
        y = _values(values, sample)
        title, ends = _axis(folder, one.x, len(y) - 1)
        lines.append(Line(name, np.linspace(*ends, len(y)), y, number, dashed=name in one.dashed))
    return [legend(lines), line_panel(Panel(title, one.y, one.title, size), lines)]


def _heatmap(folder: Folder, one: Heatmap, sample: int) -> list[Html]:
    values = _values(one.values, sample)
    (y_title, y), (x_title, x) = (_axis(folder, axis, n) for axis, n in zip((one.y, one.x), values.shape, strict=True))
    span = None if one.span is None else _values(one.span, sample)
    signed = bool(values.min() < 0 or (span is not None and span[0] < 0))
    heat = Heat(values, signed, None if span is None else (float(span[0]), float(span[1])))
    area = None if one.area is None else _values(one.area, sample) >= 0.5
    alt = f"{one.title}: {one.z}"
    panel = Panel(x_title, y_title, alt, EVEN if one.x.title == one.y.title else SIZE)
    return [image_panel(panel, values, (*x, *y), heat.colours, heat.span, inside=area)]


def _image(folder: Folder, one: Image, sample: int) -> list[Html]:
    values = _values(one.values, sample)
    heat, alt = Heat(values, bool(values.min() < 0)), f"{one.title}: {one.z}"
    if values.ndim == 1:
        axis, end = time_axis(folder)
        return [heat_line(Panel(axis, "", alt, SIZE), None, heat, end)]
    return [heat_image(Panel("", "", alt, SQUARE), None, heat, folder.of_images)]
