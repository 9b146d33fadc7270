"""Boxes of images in one array, as data keep them, and each image's own boxes out of it.

An image is scaled to fit a canvas that all images of a set share, and lies in its upper left corner. Coordinates are
pixels of the image as it lies there; y is (N, 1 + M, 7) float32 where no image has more than M boxes. An image's first
row says how large it is: height and width on the canvas, height and width of the file. Each other row is a box: x1, y1,
x2, y2, class (-1 where there is no box), whether it is a crowd, and the area that its annotation states, in pixels of
the file (of a segmentation where there is one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from overtone.types import Move

FloatArray = npt.NDArray[np.float32]
COLUMNS = 7
CLASS, CROWD, AREA = 4, 5, 6


@dataclass(frozen=True)
class Truth:
    """One image's boxes.

    Attributes:
        size: (height, width) of the image on its canvas, in pixels.
        original: (height, width) of its file.
        boxes: (n, 4) x1, y1, x2, y2 in pixels on the canvas, float32.
        classes: (n,) int64 from 0.
        crowd: (n,) bool; a crowd is neither learned from nor counted as missed.
        area: (n,) float32 in pixels of the file.
    """

    size: tuple[int, int]
    original: tuple[int, int]
    boxes: Tensor
    classes: Tensor
    crowd: Tensor
    area: Tensor

    @property
    def scale(self) -> tuple[float, float]:
        """(across, down): pixels of the file in one of the canvas."""
        return self.original[1] / self.size[1], self.original[0] / self.size[0]


def packed(sizes: Sequence[tuple[int, int, int, int]], boxes: Sequence[FloatArray]) -> FloatArray:
    """Many images' boxes as one array.

    Args:
        sizes: of each image its height and width on the canvas and in its file, in pixels.
        boxes: of each image (n, 7) rows as above.

    Returns:
        (N, 1 + M, 7) float32.
    """
    most = max(map(len, boxes), default=0)
    rows = np.zeros((len(sizes), 1 + most, COLUMNS), dtype=np.float32)
    rows[:, 1:, CLASS] = -1
    for row, size, own in zip(rows, sizes, boxes, strict=True):
        row[0, :4] = size
        row[1 : 1 + len(own)] = own
    return rows


def unpacked(rows: Tensor) -> Truth:
    """One image's boxes out of its rows (1 + M, 7)."""
    height, width, file_height, file_width = (int(value) for value in rows[0, :4].tolist())
    own = rows[1:][rows[1:, CLASS] >= 0]
    return Truth(
        (height, width), (file_height, file_width), own[:, :4], own[:, CLASS].long(), own[:, CROWD] > 0, own[:, AREA]
    )


def counts(y: FloatArray, classes: int) -> npt.NDArray[np.int64]:
    """Boxes of each class in each image, crowds left out, (N, classes)."""
    present = (y[:, 1:, CLASS] >= 0) & (y[:, 1:, CROWD] == 0)
    rows, columns = np.nonzero(present)
    found = np.zeros((len(y), classes), dtype=np.int64)
    np.add.at(found, (rows, y[rows, 1 + columns, CLASS].astype(np.int64)), 1)
    return found


def as_target(truth: Truth) -> dict[str, Tensor]:
    """What a detector is trained on: ``boxes`` (n, 4) and ``labels`` (n,) int64 from 1, since 0 is the background."""
    kept = ~truth.crowd
    return {"boxes": truth.boxes[kept], "labels": truth.classes[kept] + 1}


def on_file(boxes: Tensor, truth: Truth) -> Tensor:
    """Boxes (n, 4) on the canvas in pixels of the file."""
    across, down = truth.scale
    return boxes * torch.tensor([across, down, across, down], dtype=boxes.dtype, device=boxes.device)


def moved(rows: Tensor, move: Move) -> Tensor:
    """Many images' rows (B, 1 + M, 7) as images have them that were scaled, then mirrored within their own width."""
    out = rows.clone()
    out[:, 0, :2] = move.size
    factor = (move.size / rows[:, 0, :2]).flip(1).repeat(1, 2).unsqueeze(1)  # (B, 1, 4): across, down, across, down
    boxes = rows[:, 1:, :4] * factor
    width = move.size[:, 1, None]
    flipped = torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], 2)
    out[:, 1:, :4] = torch.where(move.mirrored[:, None, None], flipped, boxes)
    return out
