"""Seconds and memory of a first look at a long text table, as the command takes them.

    python benchmarks/look.py [--gb 1]

The table is that of ``read_table.py``. Seconds to the first screen are those until the command prints its first line;
the recipe is tried after it. Peak memory is the command's, with what its imports take.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from read_table import make


def main() -> None:
    """Make a table, look at it, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.csv"
        rows = make(path, parser.parse_args().gb * 1e9)
        words = [sys.executable, "-m", "overtone", "look", str(path), "--write", str(path.with_name("mine.yaml"))]
        start = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as running:
            assert running.stdout is not None
            running.stdout.readline()
            first = time.perf_counter() - start
            running.stdout.read()
        total = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
        print(
            f"{path.stat().st_size / 1e9:.2f} GB, {rows} rows: first screen after {first:.1f} s, {total:.1f} s in all, "
            f"{peak:.0f} MiB at most, exit {running.returncode}"
        )


if __name__ == "__main__":
    main()
