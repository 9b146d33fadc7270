"""Figures as inline SVG: one small panel each, so that a page can put them side by side or below each other.

Words stay out of the panels (but for the axes): legends are HTML beside them, which wraps and can be read aloud.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_hex
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from overtone.report.html import Html, join, tag
from overtone.report.plot import MARGIN, Axis, FloatArray, Panel, Plot, all_values

SERIES = 8
"""Colours of lines that page.css knows."""
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))
"""Of lines one pixel wide, strokes and gaps in turn."""
COVER = 0.55
"""How much of the bitmap below a map's colours cover."""
Colours = Literal["RdBu_r", "YlOrRd", "viridis"]


@dataclass(frozen=True)
class Line:
    """A line of a panel, with the range that a band round it shows.

    ``colour`` counts through the page's eight, then repeats with other dashes; -1 is the ink of the text.
    """

    name: str
    x: FloatArray
    y: FloatArray
    colour: int = 0
    dashed: bool = False
    low: FloatArray | None = None
    high: FloatArray | None = None

    @property
    def css(self) -> str:
        """The colour in the page."""
        return "var(--ink)" if self.colour < 0 else f"var(--series-{self.colour % SERIES})"

    def dashes(self, width: float = 1.0) -> str:
        """The attribute that dashes a line of that width."""
        turn = 1 if self.dashed else max(self.colour, 0) // SERIES
        dash = DASHES[turn % len(DASHES)]
        return f' stroke-dasharray="{" ".join(f"{width * length:g}" for length in dash)}"' if dash else ""


def line_panel(
    panel: Panel,
    lines: Sequence[Line],
    dots: Sequence[tuple[float, float]] = (),
    whole_x: bool = False,
    most: int = 160,
    marks: Sequence[float] = (),
) -> Html:
    """Lines over a common axis; logarithmic where positive values differ by more than fiftyfold.

    Args:
        panel: the frame.
        lines: at least one; values that are not finite leave a gap.
        dots: points of the first line's colour on top, such as best epochs.
        whole_x: ticks at whole numbers only, for epochs.
        most: how many points of a line are drawn.
        marks: where thin vertical lines stand, such as ends of phases.
    """
    log = _spread(lines) > 50
    at = np.asarray(dots, dtype=np.float64).reshape(-1, 2)
    heights = all_values([*(part for line in lines for part in (line.y, line.high, _floor(line, log))), at[:, 1]])
    x = Axis.around(
        all_values([*(line.x for line in lines), at[:, 0], np.asarray(marks)]),
        0.02,
        MaxNLocator(6, integer=whole_x, min_n_ticks=1),
    )
    y = Axis.around(heights, 0.05, LogLocator(10, subs=(1.0,), numticks=6) if log else MaxNLocator(5), log)
    plot = Plot(panel, x, y)
    drawn = [_drawn(plot, line, most) for line in lines]
    drawn += [f'<path class="mark" d="{plot.path(np.full(2, mark), np.asarray([y.low, y.high]))}"/>' for mark in marks]
    drawn += [_dot(plot, *dot, lines[0].css, 2.25, 0.75) for dot in dots]
    return plot.svg(Html("".join(drawn)), grid=True)


def _floor(line: Line, log: bool) -> FloatArray | None:
    """Where a band ends below; on a logarithmic axis at a tenth of its line's least value, which 0 lies beyond."""
    if line.low is None or not log:
        return line.low
    positive = line.y[line.y > 0]
    return np.clip(line.low, positive.min() / 10, None) if len(positive) else None


def _drawn(plot: Plot, line: Line, most: int) -> str:
    """A line with its band; dots where a point stands alone, which a line does not show."""
    keep = _thin(len(line.x), most)
    y = np.where(line.y > 0, line.y, np.nan) if plot.y.log else line.y
    width = 1.8 if line.colour >= 0 else 1.4
    parts = []
    floor = _floor(line, plot.y.log)
    if floor is not None and line.high is not None:
        finite = keep[np.isfinite(floor[keep]) & np.isfinite(line.high[keep])]
        there, back = plot.path(line.x[finite], line.high[finite]), plot.path(line.x[finite][::-1], floor[finite][::-1])
        parts.append(f'<path d="{there}{back.replace("M", "L", 1)}z" fill="{line.css}" fill-opacity="0.16"/>')
    path = plot.path(line.x[keep], y[keep])
    parts.append(f'<path d="{path}" fill="none" stroke="{line.css}" stroke-width="{width}"{line.dashes(width)}/>')
    parts += [_dot(plot, line.x[n], y[n], line.css, 2 if len(y) > 1 else 3) for n in np.flatnonzero(_alone(y))]
    return "".join(parts)


def _dot(plot: Plot, x: float, y: float, colour: str, radius: float, opacity: float = 1.0) -> str:
    (along,), (up,) = plot.place(np.asarray([x]), np.asarray([y]))
    seen = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<circle cx="{along:.1f}" cy="{up:.1f}" r="{radius:g}" fill="{colour}"{seen}/>'


def image_panel(
    panel: Panel,
    image: FloatArray,
    extent: tuple[float, float, float, float],
    colours: Colours,
    span: tuple[float, float],
    power: float = 1.0,
    inside: npt.NDArray[np.bool_] | None = None,
) -> Html:
    """An image whose row 0 is at the bottom, so that both axes grow away from the corner.

    Args:
        panel: the frame.
        image: (H, W).
        extent: what its axes span: left, right, bottom, top.
        colours: a colour map's name.
        span: the values at the colour map's two ends.
        power: colours follow this power of the value's share of the span.
        inside: an area, (H, W), whose edge is drawn as a line between the pixels.
    """
    locator = MaxNLocator(4, steps=[1, 2, 5, 10])
    plot = Plot(panel, Axis.over(extent[0], extent[1], locator), Axis.over(extent[2], extent[3], locator))
    edge = None if inside is None else _edge(plot, inside, extent)
    return plot.svg(_pixels(plot, _coloured(image[::-1], colours, span, power)), edge)


def _coloured(values: FloatArray, colours: Colours, span: tuple[float, float], power: float = 1.0) -> FloatArray:
    """Values (H, W) as red, green, blue and opacity from 0 to 1, (H, W, 4); what is no number stays clear."""
    share = (values - span[0]) / max(span[1] - span[0], 1e-12)
    return np.asarray(mpl.colormaps[colours](np.clip(share, 0, 1) ** power))


def _pixels(plot: Plot, colours: FloatArray, opacity: float = 1.0) -> Html:
    """An image (H, W, 4) over the whole plot, its pixels squares."""
    source = _png(Image.fromarray((255 * colours).round().astype(np.uint8)))
    seen = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return Html(
        f'<image class="pixels" x="{plot.left}" y="{plot.top}" width="{plot.right - plot.left}" '
        f'height="{plot.bottom - plot.top}" preserveAspectRatio="none" href="{source}"{seen}/>'
    )


def _edge(plot: Plot, inside: npt.NDArray[np.bool_], extent: tuple[float, float, float, float]) -> Html:
    """A line wherever a pixel that is inside (H, W) meets one that is not."""
    x = np.linspace(extent[0], extent[1], inside.shape[1] + 1)
    y = np.linspace(extent[2], extent[3], inside.shape[0] + 1)
    ends = []
    for row, column in np.argwhere(inside[:, 1:] != inside[:, :-1]):
        ends.append((x[[column + 1, column + 1]], y[[row, row + 1]]))
    for row, column in np.argwhere(inside[1:] != inside[:-1]):
        ends.append((x[[column, column + 1]], y[[row + 1, row + 1]]))
    return Html(f'<path class="edge" d="{"".join(plot.path(*both) for both in ends)}"/>' if ends else "")


@dataclass(frozen=True)
class Heat:
    """A map of weights over time (T',) or an image (H', W'); ``signed`` where values below 0 speak against.

    ``ends`` are the values at the colour map's ends, its own unless given.
    """

    values: FloatArray
    signed: bool
    ends: tuple[float, float] | None = None

    @property
    def colours(self) -> Literal["RdBu_r", "YlOrRd"]:
        """The colour map's name."""
        return "RdBu_r" if self.signed else "YlOrRd"

    @property
    def span(self) -> tuple[float, float]:
        """Values at the colour map's ends: symmetric about 0 where signed, else from 0 to at least twice the mean.

        So a map whose values are all equal, which says nothing, has the middle colour and not the strongest.
        """
        if self.ends is not None:
            return self.ends
        most = float(np.abs(self.values).max()) or 1.0
        return (-most, most) if self.signed else (0.0, max(most, 2 * float(self.values.mean())))


def heat_line(panel: Panel, seen: FloatArray | None, heat: Heat, end: float) -> Html:
    """A signal's channels (C, T) in thin lines over a strip of colours, on one time axis from 0 to ``end``."""
    low, high = (0.0, 1.0) if seen is None else (float(seen.min()), float(seen.max()))
    plot = Plot(panel, Axis.over(0.0, end, MaxNLocator(5)), Axis.over(low, high if high > low else low + 1.0, None))
    lines = ""
    if seen is not None:
        x = (np.arange(seen.shape[1]) + 0.5) * end / seen.shape[1]
        paths = "".join(plot.path(x, channel) for channel in seen[:8].astype(np.float64))
        lines = f'<path class="signal" d="{paths}"/>'
    return plot.svg(_pixels(plot, _coloured(heat.values[None], heat.colours, heat.span), 0.75), Html(lines))


def heat_image(panel: Panel, seen: FloatArray | None, heat: Heat, upright: bool) -> Html:
    """A map over an image (C, H, W), whose channels are averaged to grey; the map alone where nothing is seen.

    Its margins are those of a panel without axes.

    Args:
        panel: the frame; it has no axes.
        seen: what the model sees.
        heat: the map, of any size.
        upright: row 0 is at the top, as in photographs.
    """
    width, height = panel.size
    size = (width - 2 * MARGIN, height - 2 * MARGIN)
    values = _scaled(heat.values, size, smooth=seen is not None)  # (height, width)
    drawn = _coloured(values, heat.colours, heat.span)  # (height, width, 4)
    if seen is not None:
        grey = _scaled(seen.mean(0), size, smooth=False)
        grey = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-12)
        drawn[..., :3] = COVER * drawn[..., :3] + (1 - COVER) * grey[..., None]
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    pixels[MARGIN:-MARGIN, MARGIN:-MARGIN] = (255 * (drawn if upright else drawn[::-1])).round()
    source = _png(Image.fromarray(pixels))
    return tag("img", class_="panel", src=source, width=width, height=height, alt=panel.alt)


def _scaled(x: FloatArray, size: tuple[int, int], smooth: bool) -> FloatArray:
    """Values (H, W) at another size (width, height), whose pixels stay squares unless they are smoothed."""
    kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.BOX
    return np.asarray(Image.fromarray(x.astype(np.float32)).resize(size, kind), dtype=np.float64)


def _png(image: Image.Image) -> str:
    """An image as the source of an ``<img>``."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def bitmap(pixels: npt.NDArray[np.uint8]) -> Html:
    """A photograph (C, H, W) of bytes, enlarged without smoothing; the first channel alone where it has not three."""
    shown = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
    source = _png(Image.fromarray(np.ascontiguousarray(shown)))
    return tag("img", src=source, alt="the image", style="width:16rem;max-width:100%;image-rendering:pixelated")


def colour_scale(colours: str, low: str, high: str) -> Html:
    """A colour map's legend: a bar from its lowest to its highest value."""
    stops = [to_hex(mpl.colormaps[colours](k / 8)) for k in range(9)]
    bar = tag("span", class_="ramp", style=f"background:linear-gradient(to right,{','.join(stops)})")
    return tag("span", low, bar, high, class_="scale")


def legend(lines: Sequence[Line], extra: Sequence[Html] = ()) -> Html:
    """Names of the lines, each with a piece of its line."""
    return tag("ul", *[tag("li", _swatch(line), line.name) for line in lines], *extra, class_="legend")


def dot_key(line: Line, name: str) -> Html:
    """A legend's entry for dots of a line's colour."""
    dot = Html(
        f'<svg width="10" height="10" aria-hidden="true"><circle cx="5" cy="5" r="3.2" fill="{line.css}"/></svg>'
    )
    return tag("li", dot, name)


def _swatch(line: Line) -> Html:
    return Html(
        f'<svg width="22" height="10" aria-hidden="true"><path d="M1 5H21" stroke="{line.css}" '
        f'stroke-width="2.4"{line.dashes()}/></svg>'
    )


def _spread(lines: Sequence[Line]) -> float:
    """Largest over smallest positive value; 1 where a logarithmic axis makes no sense."""
    values = np.concatenate([line.y for line in lines])
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if not len(positive) or (values < 0).any():
        return 1.0
    return float(positive.max() / positive.min())


def _alone(y: FloatArray) -> npt.NDArray[np.bool_]:
    """Points without a neighbour, which a line does not show."""
    finite = np.isfinite(y)
    return finite & ~np.r_[False, finite[:-1]] & ~np.r_[finite[1:], False]


def _thin(count: int, most: int) -> npt.NDArray[np.int64]:
    """Which points are drawn: all, or evenly spread ones that include the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def figure_box(title: str, *content: Html | str) -> Html:
    """A panel or several under one caption."""
    return tag("figure", tag("figcaption", title), join(*content))
