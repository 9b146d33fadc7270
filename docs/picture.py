"""Draws the README's picture: one window in three views, the demo's table and its page.

    overtone run watch
    python docs/picture.py runs/watch/report.html    # needs chromium; writes docs/picture.png

The window is one of the bundled recordings, in the views of the recipe `watch`; the table is `results/watch/table.csv`.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from overtone import data, recipe
from overtone.lookup import make_view

HERE = Path(__file__).parent
TABLE = HERE.parent / "results" / "watch" / "table.csv"
SIZE = (1760, 1290)
"""Pixels: twice the width that a README has."""
INK, QUIET, LINE, CARD, SHADE = "#1f2937", "#5b6472", "#d5dae1", "#ffffff", "#eef3fb"
COLOURS = ("#2563eb", "#d97706", "#059669")
WINDOW, CHANNEL = 654, 1
"""Of the test windows of the first fold; the channel that the images show."""
CORNER = 20
"""Pixels per side of the persistence image that are shown; the rest is empty here."""
HIDDEN = (
    "nav, .headline, .about, .note, #results, #cells, #curves details:not([open]), #curves details:first-of-type, "
    "#curves figure:nth-of-type(n+3)"
)
"""Of the page, so that curves and confusions fit into the picture; its table is beside it already."""
COLUMNS = {"accuracy_best": "best", "accuracy_last": "last epoch"}


def views() -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[Any]], list[str], float, str]:
    """One test window's channels, its images by view, the channels' names, its length in seconds, and what it is."""
    study = recipe.load("watch")
    windows = data.load(study.data)
    fold = data.split(windows, study.split)[0]
    train = torch.from_numpy(windows.x[fold.train])
    mean, std = train.mean((0, 2)).view(1, -1, 1), train.std((0, 2)).view(1, -1, 1)
    number = int(fold.test[WINDOW])
    one = (torch.from_numpy(windows.x[number : number + 1]) - mean) / std  # (1, C, T)
    images = {}
    for name, settings in study.views.items():
        view = make_view(name, settings.settings)
        state = view.fit(view.prepare((train - mean) / std))
        images[name] = view.render(view.prepare(one), state)[0, CHANNEL].numpy()
    assert windows.rate is not None
    what = f"person {windows.groups[windows.group[number]]}, exercise {windows.classes[windows.y[number]]}"
    return one[0].numpy(), images, list(windows.channels), one.shape[2] / windows.rate, what


def rows() -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """The table's rows as texts, and a line on each teacher."""
    found: list[tuple[str, ...]] = []
    teachers = {}
    for row in csv.DictReader(TABLE.open()):
        sources = row["teachers"].replace("+", ", ")
        name = f"{row['method']} from {sources}" if sources else row["method"]
        name = {"none": "the student alone"}.get(name, name)
        scores = [f"{100 * float(row[f'{key}_mean']):.1f} ± {100 * float(row[f'{key}_std']):.1f}" for key in COLUMNS]
        count = float(row["parameters"])
        size = f"{count / 1000:.3g} k"
        found.append((name, *scores, size))
        if name.startswith("teacher"):
            teachers[name.removeprefix("teacher ")] = f"{row['student']}, {size}"
    return found, teachers


def screenshot(page: Path) -> Image.Image:
    """A study's page: its head, one row's curves, confusions."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the page's picture needs chromium")
    text = page.read_text(encoding="utf-8").replace("</head>", f"<style>{HIDDEN} {{display: none}}</style></head>", 1)
    with tempfile.TemporaryDirectory() as folder:
        copy, target = Path(folder) / "page.html", Path(folder) / "page.png"
        copy.write_text(text, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=980,1400"]
        subprocess.run([browser, *options, f"--screenshot={target}", copy.as_uri()], check=True, capture_output=True)
        return Image.open(target).convert("RGB")


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes by pixels from the upper left corner."""
    whole, high = SIZE
    return figure.add_axes((left / whole, 1 - (top + height) / high, width / whole, height / high))


def write(figure: Figure, x: float, y: float, text: str, size: float = 12, colour: str = INK, **more: Any) -> None:
    """Text at a pixel, from its upper left corner."""
    more.setdefault("va", "top")
    figure.text(x / SIZE[0], 1 - y / SIZE[1], text, size=size, color=colour, **more)


def draw_views(figure: Figure) -> None:
    """The upper row."""
    signal, images, channels, seconds, what = views()
    _, teachers = rows()
    write(figure, 50, 40, "One window in three views", 23, weight="bold")
    write(figure, SIZE[0] - 50, 50, f"two seconds of a smartwatch, {what}", 16, QUIET, ha="right")
    names = {"signal": "signal", "gaf": "Gramian angular field", "pi": "persistence image"}
    for left, key in zip((50, 935, 1385), names, strict=True):
        write(figure, left, 108, names[key], 19)
        write(figure, left, 556, f"→ teacher {teachers[key]}" + " parameters" * (key == "signal"), 16, QUIET)
    first = place(figure, 105, 160, 735, 330)
    time = np.arange(signal.shape[1]) * seconds / signal.shape[1]
    for number in range(3):
        width = 4 if number == CHANNEL else 2
        first.plot(time, signal[number], color=COLOURS[number], linewidth=width, label=channels[number])
    first.set_xlim(0, seconds)
    first.set_xticks([0, 0.5, 1, 1.5, 2])
    first.spines[["top", "right"]].set_visible(False)
    first.legend(loc="upper right", ncols=3, frameon=False, fontsize=15, bbox_to_anchor=(1.02, 1.2))
    second, third = place(figure, 935, 160, 360, 360), place(figure, 1385, 160, 325, 360)
    second.imshow(images["gaf"], cmap="RdBu_r", vmin=-1, vmax=1, origin="lower")
    third.imshow(np.sqrt(images["pi"].clip(0))[:CORNER, :CORNER], cmap="viridis", origin="lower", aspect="auto")
    for axes, x, y in ((first, "seconds", ""), (second, "time", "time"), (third, "birth", "persistence")):
        axes.tick_params(colors=QUIET, labelsize=14, length=0)
        axes.spines[:].set_color(LINE)
        axes.set_xlabel(x, size=14, color=QUIET)
        axes.set_ylabel(y, size=14, color=QUIET)
    for axes in (second, third):
        axes.set_xticks([])
        axes.set_yticks([])


def draw_table(figure: Figure) -> None:
    """The lower left part."""
    write(figure, 50, 640, "One table", 23, weight="bold")
    edges, top, step = (570, 725, 855), 742, 49
    write(figure, 50, top - 45, "accuracy in %, unseen people", 16, QUIET)
    for edge, name in zip(edges, (*COLUMNS.values(), "param."), strict=True):
        write(figure, edge, top - 45, name, 16, QUIET, ha="right")
    found, _ = rows()
    for number, (name, *values) in enumerate(found):
        ours = not name.startswith(("teacher", "ensemble"))
        y = top + number * step + (0 if ours else 16)
        if ours and number:
            corner, size = (40 / SIZE[0], 1 - (y + 37) / SIZE[1]), (825 / SIZE[0], (step + 1) / SIZE[1])
            figure.add_artist(Rectangle(corner, *size, color=SHADE, linewidth=0, transform=figure.transFigure))
        for edge, value in zip((50, *edges), (name, *values), strict=True):
            write(figure, edge, y, value, 17, INK if ours else QUIET, ha="left" if edge == 50 else "right")


def draw_page(figure: Figure, page: Path) -> None:
    """The lower right part."""
    write(figure, 935, 640, "One page", 23, weight="bold")
    write(figure, SIZE[0] - 50, 650, "curves, confusions, every fold", 16, QUIET, ha="right")
    width, height = SIZE[0] - 50 - 935, 545
    axes = place(figure, 935, 700, width, height)
    shot = screenshot(page)
    shot = shot.crop((0, 0, shot.width, round(shot.width * height / width)))
    axes.imshow(np.asarray(shot.resize((width, height), Image.Resampling.LANCZOS)), interpolation="none", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#9aa4b2")
    axes.spines[:].set_linewidth(1.5)


def main(page: Path) -> None:
    """Draw on a white card with round corners, so that it stands on a dark page too."""
    figure = plt.figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    card = FancyBboxPatch(
        (0.004, 0.006),
        0.992,
        0.988,
        boxstyle="round,pad=0,rounding_size=0.016",
        mutation_aspect=SIZE[0] / SIZE[1],
        facecolor=CARD,
        edgecolor=LINE,
        linewidth=2,
        transform=figure.transFigure,
        zorder=-2,
    )
    figure.add_artist(card)
    draw_views(figure)
    draw_table(figure)
    draw_page(figure, page)
    held = io.BytesIO()
    figure.savefig(held, transparent=True)
    target = HERE / "picture.png"
    drawn = Image.open(held).convert("RGBA")
    outside = np.asarray(drawn)[..., 3] < 128  # the card's corners
    few = drawn.convert("RGB").quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    pixels = np.where(outside, 255, np.asarray(few)).astype(np.uint8)
    small = Image.fromarray(pixels, "P")
    small.putpalette(few.getpalette() or [])
    small.save(target, optimize=True, transparency=255)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
