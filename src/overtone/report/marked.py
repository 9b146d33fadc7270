"""Photographs with boxes on them: of the truth, and of what models find."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overtone.report.figures import Line, dot_key
from overtone.report.html import Html, tag

MOST_PIXELS = 480
"""Of a photograph's longer side on the page."""
NOWHERE = np.zeros(0)


def photograph(pixels: npt.NDArray[np.uint8], size: Sequence[int], marks: Sequence[Sequence[Any]]) -> Html:
    """A photograph with boxes, each class in a colour of its own.

    Args:
        pixels: (3, H, W) bytes, of which the upper left corner is the image.
        size: its height and width there.
        marks: (x1, y1, x2, y2), name and score (None: the truth) of each box, in pixels; names with their colours
            (:func:`colours`).
    """
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :height, :width].transpose(1, 2, 0)))
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    source = f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"
    stroke = max(height, width) / 160
    boxes = [_box(mark, stroke) for mark in marks]
    return Html(
        f'<svg class="photograph" viewBox="0 0 {width} {height}" role="img" aria-label="{len(marks)} boxes">'
        f'<image href="{source}" width="{width}" height="{height}"/>{"".join(boxes)}</svg>'
    )


def _box(mark: Sequence[Any], stroke: float) -> str:
    (x1, y1, x2, y2), name, score, colour = mark
    said = name if score is None else f"{name} {score:.2f}"
    return (
        f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}" fill="none" '
        f'stroke="{_line(name, colour).css}" stroke-width="{stroke:.2f}"><title>{escape(said)}</title></rect>'
    )


def _line(name: str, colour: int) -> Line:
    return Line(name, NOWHERE, NOWHERE, colour)


def key(colours: dict[str, int]) -> Html:
    """Which colour is which class."""
    return tag("ul", *[dot_key(_line(name, colour), name) for name, colour in colours.items()], class_="legend")


def coloured(every: Sequence[Sequence[Sequence[Any]]]) -> dict[str, int]:
    """A colour for each name in some images' marks, in their order."""
    names = dict.fromkeys(mark[1] for marks in every for mark in marks)
    return {name: number for number, name in enumerate(names)}
