"""A whole training step of ResNet-56 -> ResNet-20 by each method against a step of plain KD, side by side.

python benchmarks/fam_step.py [--threads 1] [--repeats 5] [--batch 64]

A step: the teacher's forward pass (as under augmentation), the student's forward and backward pass, the optimiser.
"""

from __future__ import annotations

import argparse
import time

import torch

from overtone import Distillation
from overtone.models import build

METHODS = ["kd", "review", "fam_layer", "fam_review"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(args.batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(0, 100, (args.batch,), device=device)
    steps = []
    for method in METHODS:
        models = [
            build(name, (3, 32, 32), 100).to(device, memory_format=torch.channels_last)
            for name in ("resnet20", "resnet56")
        ]
        loop = Distillation.between(*models, method, example=x).train()
        steps.append((loop, torch.optim.SGD(loop.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)))
    best = [float("inf")] * len(METHODS)
    for repeat in range(args.repeats + 1):
        for number, (loop, optimizer) in enumerate(steps):
            started = time.perf_counter()
            optimizer.zero_grad()
            loop(x, y).total.backward()
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                best[number] = min(best[number], time.perf_counter() - started)
    print(f"torch {torch.__version__}, {device}, {args.threads} threads, batch {args.batch}, best of {args.repeats}")
    for method, seconds in zip(METHODS, best, strict=True):
        print(f"{method:12s} {1e3 * seconds:8.1f} ms   {seconds / best[0]:.2f} x kd")


if __name__ == "__main__":
    main()
