"""Peak memory, seconds and processor seconds of `overtone predict` on large files, beside what the import alone takes.

    python benchmarks/predict_streams.py [--gb 1.5] [--kinds stored compressed long table images]

The files are made in a temporary folder and removed afterwards: an `.npz` of windows, stored or compressed, one of a
few long recordings, a table of text (a tenth of the size, since text is slow to read), and an `.npz` of images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from overtone.models import build
from overtone.student import Header, SeenView, save_student

CHANNELS, WINDOW, SIDE = 6, 100, 32
KINDS = ("stored", "compressed", "long", "table", "images")
IMPORTS = "import overtone.cli, overtone.predict, overtone.student; import numpy, torch"


def student(folder: Path, images: bool) -> Path:
    """A tiny one: what is measured is the reading."""
    shape = (3, SIDE, SIDE) if images else (CHANNELS, WINDOW)
    header = Header(
        builder="resnet8" if images else "dscnn-4",
        input_shape=shape,
        classes=("a", "b"),
        channels=("red", "green", "blue") if images else tuple(f"c{number}" for number in range(CHANNELS)),
        rate=None if images else 50.0,
        window=(SIDE, SIDE) if images else WINDOW,
        mean=(127.5,) * 3 if images else (0.0,) * CHANNELS,
        std=(74.0,) * 3 if images else (1.0,) * CHANNELS,
        views=(SeenView(type="image" if images else "signal", settings={}, state={}),),
    )
    path = folder / f"{'images' if images else 'signals'}.safetensors"
    save_student(path, build(header.builder, shape, 2).state_dict(), header)
    return path


def blocks(shape: tuple[int, ...], dtype: str, size: int = 2**24) -> Iterator[npt.NDArray[Any]]:
    """Random numbers of a shape, a few at a time along one long axis."""
    generator = np.random.default_rng(0)
    left = int(np.prod(shape))
    while left:
        count = min(size, left)
        left -= count
        if dtype == "uint8":
            yield generator.integers(0, 256, count, dtype=np.uint8)
        else:  # rounded, so that there is something to compress
            yield np.round(generator.standard_normal(count, dtype=np.float32), 2)


def npz(path: Path, shape: tuple[int, ...], dtype: str, compressed: bool) -> None:
    """X of such a shape, written without ever being in memory."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with (
        zipfile.ZipFile(path, "w", kind, compresslevel=1) as archive,
        archive.open("X.npy", "w", force_zip64=True) as x,
    ):
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(x, header)
        for block in blocks(shape, dtype):
            x.write(block.tobytes())


def table(path: Path, size: int) -> None:
    """Rows of two-digit numbers, four recordings one after the other."""
    rows = size // (CHANNELS * 6 + 2)
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("who," + ",".join(f"c{number}" for number in range(CHANNELS)) + "\n")
        for first in range(0, rows, 10000):
            values = generator.standard_normal((min(10000, rows - first), CHANNELS))
            who = 4 * first // rows
            file.write("".join(f"{who}," + ",".join(f"{x:.3f}" for x in row) + "\n" for row in values))


def peak(words: list[str], folder: Path) -> tuple[float, float, float]:
    """MiB at most, seconds, and processor seconds of a process."""
    watch = (
        "import resource, subprocess, sys, time; t = time.perf_counter();"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode;"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(use.ru_maxrss / 1024, time.perf_counter() - t, use.ru_utime + use.ru_stime, code)"
    )
    told = subprocess.run(
        [sys.executable, "-c", watch, *words], cwd=folder, capture_output=True, text=True, check=True, env=os.environ
    )
    memory, seconds, busy, code = told.stdout.split()
    if code != "0":
        raise SystemExit(f"{' '.join(words)} ended with {code}: {told.stderr}")
    return float(memory), float(seconds), float(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    torch.manual_seed(0)
    size = int(args.gb * 1e9)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base, _, _ = peak([sys.executable, "-c", IMPORTS], folder)
        print(f"the import alone: {base:.0f} MiB")
        for kind in args.kinds:
            images = kind == "images"
            path = folder / ("data.csv" if kind == "table" else "data.npz")
            if kind == "table":
                table(path, size // 10)
            elif images:
                npz(path, (size // (3 * SIDE * SIDE), 3, SIDE, SIDE), "uint8", False)
            elif kind == "long":
                npz(path, (3, CHANNELS, size // (3 * 4 * CHANNELS)), "float32", False)
            else:
                npz(path, (size // (4 * CHANNELS * WINDOW), CHANNELS, WINDOW), "float32", kind == "compressed")
            options = ["--recording", "who"] if kind == "table" else []
            words = [sys.executable, "-m", "overtone.cli", "predict", str(student(folder, images)), str(path)]
            memory, seconds, busy = peak([*words, *options, "--force", "--out", str(folder / "out.csv")], folder)
            rows = sum(1 for _ in (folder / "out.csv").open()) - 1
            print(
                f"{kind}: {path.stat().st_size / 1e9:.2f} GB, {rows} rows: {seconds:.0f} s ({busy:.0f} s busy), "
                f"{memory:.0f} MiB at most, "
                f"{memory - base:.0f} more than the import",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
