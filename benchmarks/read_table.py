"""Peak memory and seconds of reading a long text table for training, beside what the import alone takes.

    python benchmarks/read_table.py [--gb 1]

The table (20 people, 3 classes, 6 channels at 50 Hz with time stamps) is made in a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from overtone import data
from overtone.recipe import DataSettings

ROWS = 20_000
"""Of a recording."""


def make(path: Path, size: float) -> int:
    """A table of so many bytes; its rows."""
    generator, written, recordings = np.random.default_rng(0), 0, 0
    with path.open("w") as file:
        file.write("who,rec,t,ax,ay,az,gx,gy,gz,label\n")
        while written < size:
            name = f"p{recordings % 20:02d},r{recordings:04d}"
            label = ("walk", "run", "sit")[recordings % 3]
            for sample, row in enumerate(generator.normal(size=(ROWS, 6)).tolist()):
                written += file.write(f"{name},{sample / 50:.2f},{','.join(f'{v:.4f}' for v in row)},{label}\n")
            recordings += 1
    return recordings * ROWS


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Make a table, read it, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.csv"
        rows = make(path, parser.parse_args().gb * 1e9)
        given = {"group": "who", "recording": "rec", "time": "t", "channels": ["a?", "g?"], "window": "2 s"}
        before, start, processor = peak(), time.perf_counter(), time.process_time()
        windows = data.load(DataSettings.model_validate({"name": "csv", "path": str(path), **given}))
        print(
            f"{path.stat().st_size / 1e9:.2f} GB, {rows} rows, {len(windows)} windows: "
            f"{time.perf_counter() - start:.0f} s ({time.process_time() - processor:.0f} s of a processor), "
            f"{peak():.2f} GiB at most, {before:.2f} GiB before"
        )


if __name__ == "__main__":
    main()
