"""What cells side by side bring: the same tiny study with one job of two threads and two jobs of one thread.

python benchmarks/side_by_side.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = ["split.folds=[0]", "student.epochs=10", *(f"teachers.{name}.epochs=3" for name in ("signal", "gaf", "pi"))]


def seconds(jobs: int, threads: int, folder: Path) -> float:
    words = [word for setting in [*SETTINGS, f"train.threads={threads}"] for word in ("--set", setting)]
    command = [sys.executable, "-m", "overtone", "run", "watch", "--out", str(folder), "--jobs", str(jobs), *words]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {
            (jobs, threads): seconds(jobs, threads, Path(folder) / f"{jobs}-{threads}")
            for jobs, threads in ((1, 1), (1, 2), (2, 1))
        }
    base = found[1, 1]
    for (jobs, threads), taken in found.items():
        print(f"{jobs} jobs x {threads} threads: {taken:6.1f} s   {base / taken:.2f} times one job of one thread")


if __name__ == "__main__":
    main()
