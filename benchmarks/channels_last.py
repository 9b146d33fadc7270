"""Training steps of image models with channels first and last, side by side in one run.

python benchmarks/channels_last.py [--threads 2]
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

from overtone.models import build


def seconds(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    best = float("inf")
    for step in range(steps + 2):
        started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step >= 2:
            best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, batch 64, best of {args.steps} steps")
    for name, shape in (("wrn10-1", (6, 32, 32)), ("wrn16-1", (6, 32, 32)), ("wrn16-2", (6, 32, 32))):
        x, y = torch.randn(64, *shape), torch.randint(0, 7, (64,))
        first = seconds(build(name, shape, 7), x, y, args.steps)
        model = build(name, shape, 7).to(memory_format=torch.channels_last)
        last = seconds(model, x.to(memory_format=torch.channels_last), y, args.steps)
        print(f"{name:8s} first {1e3 * first:6.1f} ms   last {1e3 * last:6.1f} ms   ratio {first / last:.2f}")


if __name__ == "__main__":
    main()
