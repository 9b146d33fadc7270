"""UCI-HAR: six activities of 30 people with a smartphone at the waist, official windows and split.

Source: Anguita et al., "A Public Domain Dataset for Human Activity Recognition Using Smartphones", ESANN 2013; UCI
repository entry 240, CC BY 4.0 there ("any commercial use is prohibited" in the set's own README).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from overtone.data.base import PEOPLE, Material, Recordings, Source
from overtone.data.har.members import find_root
from overtone.data.har.uci_har_text import read_text
from overtone.data.npz import read_arrays
from overtone.data.paths import find_file
from overtone.errors import InputError

RATE = 50.0
ARRAYS = ("X_train", "X_test", "y_train", "y_test", "subject_train", "subject_test", "channels", "classes")


class UciHar(Source):
    """The 10,299 windows of 9 channels and 128 samples; ``split.scheme: official`` holds out the nine test people.

    Attributes:
        path: ``uci_har.npz``, or a folder with it; or the set as it is published, the folder ``UCI HAR Dataset`` or its
            zip. Else these are looked for in ``OVERTONE_DATA``.
    """

    SOURCE: ClassVar[str] = "smartphone activities, Anguita et al. 2013, UCI 240 (UCI HAR Dataset, or uci_har.npz)"
    MATERIAL: ClassVar[Material] = PEOPLE

    path: Path | None = None

    def load(self) -> Recordings:
        """Every window as a recording of its own (the original recordings overlap by half and are not in the file)."""
        where = "data 'uci_har'"
        arrays = _arrays(self.path, where)
        x = np.concatenate([arrays["X_train"], arrays["X_test"]]).astype(np.float32)
        people = np.concatenate([arrays["subject_train"], arrays["subject_test"]])
        return Recordings(
            signals=list(x),
            labels=np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64),
            groups=[f"{person:02d}" for person in people],
            classes=tuple(str(name) for name in arrays["classes"]),
            channels=tuple(str(name) for name in arrays["channels"]),
            rate=RATE,
            where=where,
            official_test=[False] * len(arrays["X_train"]) + [True] * len(arrays["X_test"]),
        )


def _arrays(path: Path | None, where: str) -> dict[str, Any]:
    """Of the ``.npz`` where there is one, else of the published text files."""
    try:
        file = find_file(path, "uci_har/uci_har.npz", where)
    except InputError as missing:
        try:
            root = find_root(path, ("UCI HAR Dataset", "uci_har"), where)
        except InputError:
            raise missing from None
        arrays = read_text(root, where)
        if arrays is None:
            raise InputError(f"{missing}. Nor is there 'UCI HAR Dataset', the set as it is published") from None
        return arrays
    if file.suffix == ".zip":
        arrays = read_text(file, where)
        if arrays is not None:
            return arrays
    return read_arrays(file, ARRAYS, f"{where}: {file}")
