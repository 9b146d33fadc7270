"""Diagrams of a PAMAP2-sized set (28,949 windows x 40 channels x 100 samples): seconds to make, bytes on disk.

    python benchmarks/diagrams_at_size.py [--windows 28949] [--channels 40]

The signals are noise, which has more valleys than a real recording: an upper bound.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from overtone.engine.store import CHUNK, FromDisk, write_stored
from overtone.views import DiagramCodec, sublevel_diagram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=28949)
    parser.add_argument("--channels", type=int, default=40)
    parser.add_argument("--length", type=int, default=100)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    sizes = [min(CHUNK, args.windows - first) for first in range(0, args.windows, CHUNK)]
    chunks = (sublevel_diagram(torch.randn(size, args.channels, args.length, generator=generator)) for size in sizes)
    codec = DiagramCodec()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "diagrams"
        started = time.perf_counter()
        size = args.windows * codec.largest((args.channels, args.length))
        write_stored(place, chunks, codec, size)
        taken = time.perf_counter() - started
        held = sum(path.stat().st_size for path in place.iterdir())
        started = time.perf_counter()
        like = torch.rand(1, args.channels, 1, 2)
        stored = FromDisk(place, like, codec, torch.device("cpu"))
        batch = stored[torch.randperm(args.windows, generator=generator)[:64]]
        read = time.perf_counter() - started
    print(f"{args.windows} windows x {args.channels} channels: {held / 2**20:.0f} MiB on disk, made in {taken:.0f} s")
    print(f"a batch of 64 {tuple(batch.shape)} read in {1e3 * read:.1f} ms")


if __name__ == "__main__":
    main()
