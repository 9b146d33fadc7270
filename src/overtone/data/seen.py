"""What is seen of windows on their way into a student: what is no number, far from training, or flat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.data.windows import flat_notes
from overtone.errors import InputError

FAR = 6.0
"""Standardised values with a root mean square above this are far from those of training, in any one channel. Of single
people it is at most 2.3, of their single activities 4.1 (watch, uci_har); m/s^2 for g makes it 9.8 at least."""
FAINT = 0.3
"""So are signals whose root mean square is below this share of the training's, in every channel. Of single people the
largest is above 0.97, of their single activities 0.86; g for m/s^2 makes it 0.23 at most."""
FAINT_IMAGES = 0.02
"""The same for images, which may be dark: 0.004 where they were scaled to 0..1."""
LOST = 0.005
"""And any one channel below this share, such as g for mg beside a gyroscope. Of single people's single activities the
smallest is 0.017."""


class Seen:
    """Gathers what is to be told, batch by batch.

    Args:
        mean, std: of each channel in training.
        channels: their names.
        images: the windows are images of 0 to 255.
        where: the source, for messages.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], channels: Sequence[str], images: bool, where: str
    ) -> None:
        self.mean, self.std = np.asarray(mean), np.asarray(std)
        self.channels, self.images, self.where = channels, images, where
        self.count, self.least, self.most = 0, np.inf, -np.inf
        self.sums = self.squares = np.zeros(len(channels))  # of what differs from the training's mean

    def add(self, windows: npt.NDArray[Any], recording: npt.NDArray[Any], start: npt.NDArray[Any]) -> None:
        """Windows (n, C, ...) as the student gets them, and where each one is.

        Raises:
            InputError: for values that are not finite.
        """
        flat = windows.reshape(*windows.shape[:2], -1)  # (n, C, L)
        with np.errstate(all="ignore"):  # what is not finite is told below
            off = flat - self.mean[:, None]  # in float64
        if not np.isfinite(off).all():
            self._refuse(flat, recording, start)
        self.count += flat.shape[0] * flat.shape[2]
        self.sums = self.sums + off.sum(axis=(0, 2))
        self.squares = self.squares + np.einsum("ncl,ncl->c", off, off)
        self.least, self.most = min(self.least, float(flat.min())), max(self.most, float(flat.max()))

    def _refuse(self, flat: npt.NDArray[Any], recording: npt.NDArray[Any], start: npt.NDArray[Any]) -> None:
        window, channel, sample = np.argwhere(~np.isfinite(flat))[0]
        value = flat[window, channel, sample]
        if self.images:
            raise InputError(f"{self.where}: values are not finite; the first is {value} in image {recording[window]}")
        raise InputError(
            f"{self.where}: values are not finite; the first is {value} in recording {recording[window]}, channel "
            f"{self.channels[channel]!r}, sample {start[window] + sample}. Fill or cut such stretches first"
        )

    @property
    def notes(self) -> list[str]:
        """What to tell: one line, or none."""
        if self.images and 0 <= self.least <= self.most <= 1 and self.most > 0:
            return [f"{self.where}: X looks as if it were scaled to 0..1; this student takes 0 to 255"]
        shift, squares = self.sums / self.count, self.squares / self.count
        mean, std = self.mean + shift, np.sqrt(np.maximum(squares - shift**2, 0))
        far = np.sqrt(squares) / self.std
        trained = np.sqrt(self.mean**2 + self.std**2)
        share = np.sqrt(mean**2 + std**2) / trained
        faint = share.max() < (FAINT_IMAGES if self.images else FAINT)
        lost = (share < LOST) & (std > 0)  # one that never changes is told of elsewhere
        odd = (far > FAR) | faint | lost
        if not odd.any():
            return []
        worst = int(np.argmax(np.where(odd, np.maximum(far, 1 / np.maximum(share, 1e-30)), 0)))
        ratio = std[worst] / self.std[worst]
        times = f", {ratio:.3g} times the deviation" if not 0.5 < ratio < 2 else ""
        more = int(odd.sum()) - 1
        others = f"; so {'is' if more == 1 else 'are'} {more} more" if more else ""
        return [
            f"{self.where}: values are far from those of training: channel {self.channels[worst]!r} has mean "
            f"{mean[worst]:.3g} and deviation {std[worst]:.3g} here, {self.mean[worst]:.3g} and {self.std[worst]:.3g} "
            f"in training{times}{others}. Check the unit"
        ]


class Flat:
    """Finds channels that never change within a recording, whose windows come one after the other.

    Args:
        channels: their names.
        samples: of a recording.
    """

    def __init__(self, channels: Sequence[str], samples: int) -> None:
        self.channels, self.samples = channels, samples
        self.flat, self.ended = np.zeros(len(channels), dtype=np.int64), 0
        self.open: tuple[int, npt.NDArray[Any], npt.NDArray[Any]] | None = None  # the last recording's, so far

    def add(self, windows: npt.NDArray[Any], recording: npt.NDArray[Any]) -> None:
        """Windows (n, C, T), and the recording of each."""
        first = np.flatnonzero(np.diff(recording, prepend=-1))
        low = np.minimum.reduceat(windows.min(axis=2), first)  # (recordings, C)
        high = np.maximum.reduceat(windows.max(axis=2), first)
        if self.open is not None and self.open[0] == recording[0]:
            low[0], high[0] = np.minimum(low[0], self.open[1]), np.maximum(high[0], self.open[2])
        elif self.open is not None:
            self._end((self.open[1] == self.open[2])[None])
        self._end(low[:-1] == high[:-1])
        self.open = int(recording[-1]), low[-1], high[-1]

    def _end(self, flat: npt.NDArray[np.bool_]) -> None:
        self.flat += flat.sum(axis=0)
        self.ended += len(flat)

    @property
    def notes(self) -> list[str]:
        """What to tell of all recordings."""
        last = np.zeros_like(self.flat) if self.open is None else self.open[1] == self.open[2]
        return flat_notes(self.channels, self.flat + last, self.ended + (self.open is not None), self.samples)
