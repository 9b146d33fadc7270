"""Figures as inline SVG: one small panel each, so that a page can put them side by side or below each other.

Words stay out of the panels (but for the axes): legends are HTML beside them, which wraps and can be read aloud.
Colours are written as CSS variables, so that figures follow the page's light or dark theme.
"""

from __future__ import annotations

import io
import re
import warnings
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import PowerNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from overtone.report.html import Html, escape, join, tag

FloatArray = npt.NDArray[np.float64]

# Stand-ins that matplotlib can draw; each becomes a CSS variable of page.css in the finished SVG.
COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--line)",
    **{f"#0000{16 + n:02x}": f"var(--series-{n})" for n in range(8)},
}
INK, MUTED, LINE, *SERIES = COLOURS
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

MARGIN = 10
"""Round a panel, in CSS pixels, where no axis needs more."""
COVER = 0.55
"""How much of the bitmap below a map's colours cover."""

RC: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and in the page's own font
    "svg.hashsalt": "overtone",
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.formatter.useoffset": False,
}


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
        return COLOURS[self.stroke]

    @property
    def stroke(self) -> str:
        """The colour's stand-in."""
        return INK if self.colour < 0 else SERIES[self.colour % len(SERIES)]

    @property
    def dash(self) -> Any:
        """Matplotlib's line style."""
        turn = 1 if self.dashed else max(self.colour, 0) // len(SERIES)
        return DASHES[turn % len(DASHES)]


@dataclass(frozen=True)
class Panel:
    """The frame of a panel: what its axes say and what it is, for those who cannot see it."""

    identity: str
    x: str
    y: str
    alt: str
    size: tuple[int, int] = (380, 240)


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
    with mpl.rc_context(RC):
        figure, axes = _axes(panel)
        log = _spread(lines) > 50
        for line in lines:
            keep = _thin(len(line.x), most)
            y = np.where(line.y > 0, line.y, np.nan) if log else line.y
            width = 1.8 if line.colour >= 0 else 1.4
            # A lone point has no length: draw it as a dot.
            marker = "o" if len(line.x) == 1 else None
            axes.plot(line.x[keep], y[keep], color=line.stroke, linestyle=line.dash, linewidth=width, marker=marker)
            alone = _alone(y)
            if alone.any() and marker is None:
                axes.plot(line.x[alone], y[alone], "o", color=line.stroke, markersize=4)
            if line.low is not None and line.high is not None:
                floor = np.clip(line.low, np.nanmin(y) / 10, None) if log and np.isfinite(y).any() else line.low
                axes.fill_between(line.x[keep], floor[keep], line.high[keep], color=line.stroke, alpha=0.16, lw=0)
        for x in marks:
            axes.axvline(x, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
        for x, y_at in dots:
            axes.plot([x], [y_at], "o", color=lines[0].stroke, markersize=4.5, markeredgewidth=0, alpha=0.75)
        if log:
            _log_axis(axes)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole_x, min_n_ticks=1))
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.margins(x=0.02)
        return _svg(figure, panel)


def image_panel(
    panel: Panel,
    image: FloatArray,
    extent: tuple[float, float, float, float],
    colours: Literal["RdBu_r", "YlOrRd", "viridis"],
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
    with mpl.rc_context(RC):
        figure, axes = _axes(panel)
        norm = PowerNorm(power, *span)
        axes.imshow(image, origin="lower", extent=extent, cmap=colours, norm=norm, interpolation="none", aspect="auto")
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        if inside is not None:
            _edge(axes, inside, extent)
        return _svg(figure, panel)


def _edge(axes: Axes, inside: npt.NDArray[np.bool_], extent: tuple[float, float, float, float]) -> None:
    """A line wherever a pixel that is inside (H, W) meets one that is not."""
    x = np.linspace(extent[0], extent[1], inside.shape[1] + 1)
    y = np.linspace(extent[2], extent[3], inside.shape[0] + 1)
    row, column = np.nonzero(inside[:, 1:] != inside[:, :-1])
    axes.vlines(x[column + 1], y[row], y[row + 1], color="#333", linewidth=1.6)
    row, column = np.nonzero(inside[1:] != inside[:-1])
    axes.hlines(y[row + 1], x[column], x[column + 1], color="#333", linewidth=1.6)
    axes.set(xlim=extent[:2], ylim=extent[2:])


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
    with mpl.rc_context(RC):
        figure, axes = _axes(panel)
        low, high = (0.0, 1.0) if seen is None else (float(seen.min()), float(seen.max()))
        extent = (0.0, end, low, high if high > low else low + 1.0)
        low_value, high_value = heat.span
        strip = heat.values[None, :]
        axes.imshow(strip, extent=extent, cmap=heat.colours, vmin=low_value, vmax=high_value, aspect="auto", alpha=0.75)
        if seen is not None:
            x = (np.arange(seen.shape[1]) + 0.5) * end / seen.shape[1]
            for channel in seen[:8]:
                axes.plot(x, channel, color="#333", linewidth=0.9, alpha=0.9)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return _svg(figure, panel)


def heat_image(panel: Panel, seen: FloatArray | None, heat: Heat, upright: bool) -> Html:
    """A map over an image (C, H, W), whose channels are averaged to grey; the map alone where nothing is seen.

    It is a bitmap, not drawn by matplotlib, since a page holds many. The margins are those of a panel without axes.

    Args:
        panel: the frame; it has no axes.
        seen: what the model sees.
        heat: the map, of any size.
        upright: row 0 is at the top, as in photographs.
    """
    width, height = panel.size
    size = (width - 2 * MARGIN, height - 2 * MARGIN)
    values = _scaled(heat.values, size, smooth=seen is not None)  # (height, width)
    low, high = heat.span
    drawn = mpl.colormaps[heat.colours]((values - low) / max(high - low, 1e-12))  # (height, width, 4)
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
    held = io.BytesIO()
    image.save(held, "PNG")
    return f"data:image/png;base64,{b64encode(held.getvalue()).decode()}"


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
    dashes = "" if line.dash == "solid" else f' stroke-dasharray="{" ".join(f"{d:g}" for d in line.dash[1])}"'
    return Html(
        f'<svg width="22" height="10" aria-hidden="true"><path d="M1 5H21" stroke="{line.css}" '
        f'stroke-width="2.4"{dashes}/></svg>'
    )


def _axes(panel: Panel) -> tuple[Figure, Axes]:
    """A figure of one unit a CSS pixel; margins are fixed, so that panels of one row line up."""
    width, height = panel.size
    figure = Figure(figsize=(width / 72, height / 72))
    left = (52 if width > 300 or panel.y else MARGIN) / width
    bottom = (40 if panel.x or panel.y else MARGIN) / height
    axes = figure.add_axes((left, bottom, 1 - left - MARGIN / width, 1 - bottom - MARGIN / height))
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    return figure, axes


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0,), numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


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
    held = np.isfinite(y)
    return held & ~np.r_[False, held[:-1]] & ~np.r_[held[1:], False]


def _thin(count: int, most: int) -> npt.NDArray[np.int64]:
    """Which points are drawn: all, or evenly spread ones that include the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _svg(figure: Figure, panel: Panel) -> Html:
    """The figure as an ``<svg>`` element that can stand in a page beside others."""
    held = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)  # print_svg has no types
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that matplotlib's font lacks is drawn by the browser's
        canvas.print_svg(held, metadata=nothing)
    text = held.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    # Matplotlib's style sheet would style the whole page; names would repeat from figure to figure.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r'(<[^>]*?) id="([^"]*)"', lambda m: m[1] + _identity(m[2], used, panel.identity), body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{panel.identity}-", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font-family:[^;\"]*;?|stroke-linecap: square;?|stroke-linejoin: miter;?", "", body)
    body = re.sub(r' d="[^"]*"', lambda m: re.sub(r"-?\d+\.\d+", lambda n: f"{float(n[0]):.1f}", m[0]), body)
    body = re.sub(r' transform="rotate\(-?0(?:\.0)? [^"]*"', "", body)
    for colour, variable in COLOURS.items():
        body = body.replace(colour, variable)
    body = re.sub(r"\s+", " ", body).replace("> <", "><").replace("base64, ", "base64,")
    width, height = panel.size
    return Html(
        f'<svg class="panel" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(panel.alt)}">{body.strip()}</svg>\n'
    )


def _identity(name: str, used: set[str], prefix: str) -> str:
    return f' id="{prefix}-{name}"' if name in used else ""


def figure_box(title: str, *content: Html | str) -> Html:
    """A panel or several under one caption."""
    return tag("figure", tag("figcaption", title), join(*content))
