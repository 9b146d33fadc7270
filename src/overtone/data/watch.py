"""Shoulder exercises recorded by a smartwatch: the embedded default, read out of the installed ``seglearn`` wheel.

140 recordings by 10 people of 7 exercises, 6 channels (acceleration and angular velocity) at 50 Hz.
Source: Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
smartwatch", 2018 (arXiv 1802.01489); BSD licence of seglearn.
"""

from __future__ import annotations

import hashlib
import io
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np

from overtone.data.base import PEOPLE, Material, Recordings, Source
from overtone.errors import InputError

FILE = "seglearn/data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
RATE = 50.0


def _locate() -> Path:
    """The file's place, without importing seglearn (which needs packages that Overtone does not)."""
    try:
        path = Path(str(metadata.distribution("seglearn").locate_file(FILE)))
    except metadata.PackageNotFoundError:
        raise InputError("data 'watch' needs the package seglearn: pip install seglearn") from None
    if not path.is_file():
        raise InputError(f"data 'watch': {path} is missing; reinstall with pip install --force-reinstall seglearn")
    return path


class Watch(Source):
    """The smartwatch exercise recordings."""

    SOURCE: ClassVar[str] = "smartwatch exercises in the seglearn wheel, Burns et al. 2018, BSD"
    MATERIAL: ClassVar[Material] = PEOPLE
    WINDOW: ClassVar[str] = "2 s"
    STRIDE: ClassVar[str] = "1 s"

    def load(self) -> Recordings:
        """All 140 recordings."""
        path = _locate()
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != SHA256:  # the file is a pickle: nothing but the known bytes may be unpickled
            raise InputError(
                f"data 'watch': {path} is not the file Overtone knows (sha256 {digest[:12]}..., expected "
                f"{SHA256[:12]}...); reinstall with pip install --force-reinstall seglearn"
            )
        arrays = np.load(io.BytesIO(content), allow_pickle=True).item()
        return Recordings(
            signals=[np.ascontiguousarray(np.asarray(x, dtype=np.float32).T) for x in arrays["X"]],
            labels=np.asarray(arrays["y"], dtype=np.int64),
            groups=[f"{subject:02d}" for subject in arrays["subject"]],
            classes=tuple(str(name) for name in arrays["y_labels"]),
            channels=tuple(str(name) for name in arrays["X_labels"]),
            rate=RATE,
            where="data 'watch'",
        )
