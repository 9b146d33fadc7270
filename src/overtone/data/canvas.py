"""Images in files, each scaled with its proportions kept, on a canvas that all images of a set share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from overtone.data.base import IntArray
from overtone.data.image_files import Bytes, Crop, ImageFiles


def fitted(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side is scaled to ``size``, or less where the longer one would exceed
    ``max_size``.

    >>> fitted(480, 640, 600, 1000), fitted(480, 1280, 600, 1000)
    ((600, 800), (375, 1000))
    """
    scale = min(size / min(height, width), max_size / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


class CanvasFiles(ImageFiles):
    """Looks like an array (N, 3, H, W) of bytes: each image lies in the upper left corner, and the rest is black.

    H is the largest height of all images and W the largest width. Images are scaled bilinearly with antialiasing, and
    taken as their files hold them: an orientation in EXIF is not followed, as boxes of COCO are meant.

    Args:
        folder: above all files.
        names: of the files, below it.
        sizes: height and width that each is scaled to, (N, 2).
        where: the source, for messages.
    """

    def __init__(self, folder: Path, names: Sequence[str], sizes: IntArray, where: str) -> None:
        height, width = (int(most) for most in sizes.max(0))
        super().__init__(folder, names, max(height, width), where)
        self.sizes = sizes
        self.shape = (len(names), 3, height, width)
        self.nbytes = int(np.prod(self.shape))

    def _pixels(self, image: Image.Image, number: int, crop: Crop | None) -> Bytes:
        """(3, H, W); nothing is ever cut, since boxes are places in the whole image."""
        height, width = (int(side) for side in self.sizes[number])
        pixels = np.zeros(self.shape[1:], dtype=np.uint8)
        scaled = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels[:, :height, :width] = np.asarray(scaled).transpose(2, 0, 1)
        return pixels

    @property
    def content(self) -> str:
        """A hash of names and sizes of all files, and of what they are scaled to."""
        return hashlib.sha256(f"{super().content} {self.sizes.tolist()}".encode()).hexdigest()
