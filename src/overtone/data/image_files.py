"""Images in files, decoded when they are asked for, so that a set larger than memory needs no copy."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overtone.errors import InputError

Bytes = npt.NDArray[np.uint8]
Crop = Callable[[Image.Image, int, int], Image.Image]
"""Cuts an image: (image, side, its number in the set) -> an image of side x side."""

BORDER = 256 / 224
"""The shorter side before the middle is cut out, in multiples of the side that is left: as ImageNet is scored."""

MOST_PIXELS = 100_000_000
"""Of one image, which then takes 300 MB; a few bytes can claim more than any memory holds."""

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
"""Endings of files that must be unpacked first."""


def middle(image: Image.Image, side: int, number: int) -> Image.Image:
    """The middle of an image whose shorter side was scaled to 8/7 of ``side``; one that has the size stays whole."""
    from torchvision.transforms import v2

    if image.size == (side, side):
        return image
    cut: Image.Image = v2.functional.center_crop(v2.functional.resize(image, [round(BORDER * side)]), [side])
    return cut


def check_torchvision(where: str) -> None:
    """Say what to install where torchvision is missing.

    Raises:
        InputError: for that.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise InputError(f"{where}: reading images needs torchvision: pip install overtone[torchvision]")


def check_unpacked(place: Path, where: str, how: str) -> None:
    """Say what to unpack where images are looked for in an archive, or in a folder that holds one.

    Args:
        place: the file or folder, in which nothing else of use was found.
        where: the source, for messages.
        how: what to do, beside unpacking.

    Raises:
        InputError: for an archive.
    """
    entries = sorted(place.iterdir()) if place.is_dir() else [place]
    packed = [entry.name for entry in entries if entry.is_file() and entry.name.lower().endswith(ARCHIVES)]
    if packed:
        what = f"holds archives ({', '.join(packed[:3])})" if place.is_dir() else "is an archive"
        raise InputError(f"{where}: {place} {what}; unpack {packed[0]} first, {how}")


def hidden(name: str) -> bool:
    """Whether a file or folder, or a folder that it is in, is hidden, such as ``.ipynb_checkpoints``."""
    return any(part.startswith(".") for part in Path(name).parts)


def image_names(folder: Path, where: str) -> list[str]:
    """All images below a folder, by their endings, without hidden ones.

    Raises:
        InputError: if torchvision is missing.
    """
    check_torchvision(where)
    from torchvision.datasets.folder import IMG_EXTENSIONS

    paths = [path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file()]
    names = (str(path.relative_to(folder)) for path in paths)
    return sorted(name for name in names if not hidden(name))


def check_regular(path: Path) -> int:
    """A file's size, if it is one: reading a pipe would wait for ever.

    Raises:
        ValueError: for a broken link, a pipe, a device, or a file that is not there.
    """
    try:
        info = path.stat()
    except FileNotFoundError:
        target = f"a link to {path.readlink()}, which is" if path.is_symlink() else "it is"
        raise ValueError(f"{target} not there") from None
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("it is a folder, a pipe or a device, no file")
    return info.st_size


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image of believable size, not decoded yet.

    Raises:
        ValueError: for one that claims too many pixels, or as :func:`check_regular`.
        OSError: and others of Pillow's, for one that cannot be read.
    """
    check_regular(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its limit, but as an error, is below
        image = Image.open(path)
    with image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"it claims {width} x {height} pixels; at most {MOST_PIXELS} are decoded")
        yield image


class ImageFiles:
    """Looks like an array (N, 3, S, S) of bytes; indexing it decodes files and cuts out the middle.

    Args:
        folder: above all files.
        names: of the files, below it.
        side: S.
        where: the source, for messages.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, names: Sequence[str], side: int, where: str) -> None:
        self.folder, self.names, self.side, self.where = folder, names, side, where
        self.shape = (len(names), 3, side, side)
        self.nbytes = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Bytes:
        """One image (3, S, S), or those of a slice or an array of numbers (n, 3, S, S)."""
        if isinstance(index, (int, np.integer)):
            return self.read(int(index))
        numbers = np.arange(len(self))[index]
        out = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        for row, number in enumerate(numbers):
            out[row] = self.read(int(number))
        return out

    def read(self, number: int, crop: Crop | None = None) -> Bytes:
        """An image's (3, S, S), cut as told; the middle unless told.

        Raises:
            InputError: for a file that cannot be decoded.
        """
        try:
            with opened(self.folder / self.names[number]) as image:
                return self._pixels(image.convert("RGB"), number, crop)
        except Exception as error:  # a damaged image can fail in any way
            raise InputError(f"{self.where}: {self.names[number]} cannot be read as an image ({error})") from error

    def _pixels(self, image: Image.Image, number: int, crop: Crop | None) -> Bytes:
        return np.asarray((crop or middle)(image, self.side, number)).transpose(2, 0, 1)

    @property
    def content(self) -> str:
        """A hash of names and sizes of all files: reading them through would take longer than an epoch.

        Raises:
            InputError: for what is no file, such as a broken link or a pipe.
        """
        digest = hashlib.sha256(repr(self.shape).encode())
        for name in self.names:
            try:
                size = check_regular(self.folder / name)
            except (ValueError, OSError) as error:
                raise InputError(f"{self.where}: {name} cannot be read ({error}); mend or delete it") from error
            digest.update(f"{name} {size}\n".encode())
        return digest.hexdigest()
