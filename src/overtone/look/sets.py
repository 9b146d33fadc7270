"""Which published set a folder or a zip is, by the names of its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownSet:
    """A published set.

    Attributes:
        files: what the names of its files, or of some, match at their ends.
        people: how many took part.
        official: it has a split of its own.
    """

    files: str
    people: int
    official: bool = False


SETS = {
    "uci_har": KnownSet(r"(?:train|test)/(?:inertial signals/)?body_acc_x_(?:train|test)\.txt|uci_har\.npz", 30, True),
    "sp_sw_har": KnownSet(r"sp_sw_har\.npz", 23),
    "pamap2": KnownSet(r"(?:protocol|optional)/subject1\d\d\.dat", 9),
    "mhealth": KnownSet(r"mhealth_subject\d+\.log", 10),
    "wisdm": KnownSet(r"wisdm_ar_v1\.1_raw\.txt", 36),
    "wisdm2019": KnownSet(
        r"(?:raw/)?(?:(?:phone|watch)/(?:accel|gyro)/)?data_\d+_(?:accel|gyro)_(?:phone|watch)\.txt", 51
    ),
    "daphnet": KnownSet(r"s\d\dr\d\d\.txt", 10),
    "opportunity": KnownSet(r"s\d-(?:adl\d|drill)\.dat", 4),
    "dsads": KnownSet(r"a\d\d/p\d/s\d\d\.txt", 8),
    "unimib": KnownSet(r"(?:acc|adl|fall)_data\.mat", 30),
    "sho": KnownSet(r"participant_\d+\.csv", 10),
    "hhar": KnownSet(r"(?:phones|watch)_(?:accelerometer|gyroscope)\.csv", 9),
    "realworld": KnownSet(r"proband\d+/data/(?:acc|gyroscope|magneticfield)_\w+_csv\.zip", 15),
}


WHOLE_FILES = frozenset({"wisdm"})
"""Sets that are one table; of others a table is a part."""


def find_sets(path: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """The sources that read sets with such files, each with the folder below that the set is in ("" for ``path``).

    Args:
        path: what was given, whose own name may be a part of the pattern.
        names: of the files in it.
    """
    found = []
    top = len(path.resolve().name) + 1
    for source, known in SETS.items():
        pattern = re.compile(rf"((?:.*?/)?)(?:{known.files})", re.IGNORECASE)
        matches = [(name, pattern.fullmatch(f"{path.resolve().name}/{name}")) for name in names]
        found += sorted(
            {
                (source, name[: match.end(1) - top].rstrip("/")) if match.end(1) > top else (source, "")
                for name, match in matches
                if match is not None
            }
        )
    return found
