"""The frequency attention module and local attention against the published computation written plainly, side by side.

python benchmarks/frequency_attention.py [--threads 1] [--repeats 5] [--grid]

Forward and backward pass, the fastest of some repeats of each in turn; the last column is how many times faster. With
--grid only filters on a grid of 32 x 32 frequencies, on maps of a detector's pyramid, 256 channels of 200 x 336 and 25
x 42: time of a step, and by how much its peak of memory is above what the module, its gradients and its map take.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.frequency import FrequencyAttention, LocalAttention, SpectralFilter, published_mask

SHAPES = [(64, 16, 16, 32), (64, 64, 64, 8), (64, 64, 64, 32), (64, 128, 128, 16), (16, 64, 64, 56), (16, 512, 512, 7)]


PYRAMID = [(25, 42), (200, 336)]
FORMS = ["depthwise", "low_rank:16", "full"]


class PlainModule(nn.Module):
    """As published: the whole complex spectrum, shifted to be masked, shifted back."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.rand(inputs, outputs, size, size, dtype=torch.cfloat) / (inputs * outputs))
        self.local = nn.Conv2d(inputs, outputs, 1)
        self.rate_global, self.rate_local = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.5))
        self.register_buffer("mask", torch.fft.fftshift(published_mask((size, size))))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.einsum("bixy,ioxy->boxy", torch.fft.fft2(x, norm="ortho"), self.filter)
        shifted = torch.fft.fftshift(spectrum, dim=(2, 3)) * self.mask
        y = torch.fft.ifft2(torch.fft.ifftshift(shifted, dim=(2, 3)), norm="ortho").real
        return self.rate_global * y + self.rate_local * self.local(x)


class PlainAttention(nn.Module):
    """As published: nine unfolded copies of keys and values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        self.rows = nn.Parameter(torch.randn(channels // 2, 1, 1, 3, 1))
        self.columns = nn.Parameter(torch.randn(channels // 2, 1, 1, 1, 3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        padded = F.pad(x, [1, 1, 1, 1])
        query, key, value = self.query(y), self.key(padded), self.value(padded)
        key = key.unfold(2, 3, 1).unfold(3, 3, 1)  # (B, C, H, W, 3, 3)
        value = value.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        first, second = key.chunk(2, dim=1)
        key = torch.cat([first + self.rows, second + self.columns], dim=1).flatten(4)
        weight = (query.unsqueeze(4) * key).softmax(4)
        return (weight * value).sum(4)


def once(run: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    run().sum().backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def saved(run: Callable[[], Tensor]) -> int:
    """Bytes that the backward pass needs of the forward pass, each piece of memory counted once."""
    held: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = run()
    del result
    return sum(held.values())


def ratio(name: str, plain: Callable[[], Tensor], ours: Callable[[], Tensor], repeats: int) -> float:
    for run in (plain, ours):
        once(run)
    times = [(once(plain), once(ours)) for _ in range(repeats)]
    slow, fast = (min(t) for t in zip(*times, strict=True))
    kept = saved(plain) / saved(ours)
    print(
        f"{name:32s} plain {1e3 * slow:8.1f} ms   ours {1e3 * fast:8.1f} ms   {slow / fast:5.2f} x   kept for the "
        f"backward pass: {kept:.1f} x less",
        flush=True,
    )
    return slow / fast


def memory(reset: bool = False) -> int:
    """Bytes of the process, or on a GPU of its tensors: the most since the last reset, which makes it what is held."""
    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # Linux
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def on_grids(device: str, repeats: int) -> None:
    for size in PYRAMID:
        for form in FORMS:
            x = torch.randn(1, 256, *size, device=device, requires_grad=True)
            module = SpectralFilter(256, 256, size, form=form, grid=32).to(device)
            once(lambda m=module: m(torch.randn(1, 256, 2, 2, device=device)))  # so that gradients are there
            before = memory(reset=True)
            took = min(once(lambda m=module, x=x: m(x)) for _ in range(repeats))
            count, more = sum(p.numel() for p in module.parameters()), (memory() - before) / 2**20
            print(
                f"grid {form:12s} {size[0]:3d} x {size[1]:3d}: {took:6.2f} s a step, peak {more:5.0f} MiB above "
                f"the module, its gradients and its map; {count:,} parameters",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--grid", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"torch {torch.__version__}, {device}, {args.threads} threads")
    if args.grid:
        on_grids(device, args.repeats)
        return
    modules, attentions = [], []
    for batch, inputs, outputs, size in SHAPES:
        x = torch.randn(batch, inputs, size, size, device=device, requires_grad=True)
        plain = PlainModule(inputs, outputs, size).to(device)
        ours = FrequencyAttention(inputs, outputs, (size, size)).to(device)
        name = f"module ({batch}, {inputs}, {outputs}, {size})"
        modules.append(ratio(name, partial(plain, x), partial(ours, x), args.repeats))
        y = torch.randn_like(x, requires_grad=True)
        plain_attention, attention = PlainAttention(inputs).to(device), LocalAttention(inputs, 2).to(device)
        name = f"attention ({batch}, {inputs}, {size})"
        attentions.append(
            ratio(
                name, lambda m=plain_attention, x=x, y=y: m(x, y), lambda m=attention, x=x, y=y: m(x, y), args.repeats
            )
        )
    for name, found in (("module", modules), ("attention", attentions)):
        mean = math.exp(sum(math.log(r) for r in found) / len(found))
        print(f"{name}: least {min(found):.2f} x, geometric mean {mean:.2f} x")


if __name__ == "__main__":
    main()
