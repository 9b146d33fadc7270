"""Run by the contract suite in two gloo processes: the gradient of two halves against one process with all of it.

Also that both keep one memory. Prints, on the main process, one JSON line: the largest relative difference by case.
"""

from __future__ import annotations

import copy
import json

import torch
from accelerate import Accelerator
from cases import NAMES, PROGRESS, SETTINGS, batch_of, make, part_of

from overtone.distill import Distillation
from overtone.types import Batch, Progress


def gradients(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def own_loop(accelerator: Accelerator, batch: Batch, halves: list[Batch]) -> float:
    """The same for a module of one's own loop."""
    case = make("kd", {})
    models = case.distillation.student.model, case.teachers["signal"].tap.model
    kd = Distillation.between(*models, "kd", example=batch.views["signal"]).eval()
    alone = copy.deepcopy(kd)
    mine = halves[accelerator.process_index]
    shared = accelerator.prepare_model(kd)  # must outlive the backward pass, in which it averages
    shared(mine.views["signal"], mine.target).total.backward()
    alone(batch.views["signal"], batch.target).total.backward()
    return float((gradients(kd) - gradients(alone)).norm() / gradients(alone).norm())


def banks(accelerator: Accelerator, batch: Batch, halves: list[Batch]) -> float:
    """Memories and norms of crd after two steps of training, against the other process and against one with all."""
    case = make("crd", {"negatives": 8})
    alone = copy.deepcopy(case.distillation)
    for module in [*case.distillation.modules(), *alone.modules()]:
        module.train(not isinstance(module, torch.nn.modules.batchnorm._BatchNorm))  # frozen, as in eval
    shared = accelerator.prepare_model(case.distillation)
    optimizers = [torch.optim.SGD(d.parameters(), 0.1) for d in (case.distillation, alone)]
    for step in range(2):
        now = Progress(epoch=1, epochs=2, step=step, steps=8)
        whole, mine = (
            Batch(part.views, part.target, part.index + 12 * step)  # some samples in both steps
            for part in (batch, halves[accelerator.process_index])
        )
        shared(mine, case.outputs(mine), now).total.backward()
        alone(whole, case.outputs(whole), now).total.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    worst = 0.0
    for name in ("student_memory", "teacher_memory", "norms"):
        here, expected = (getattr(d.methods["crd"].sides["signal"], name) for d in (case.distillation, alone))
        first, second = accelerator.gather(here[None])
        worst = max([worst, *(float((x - expected).norm() / expected.norm()) for x in (first, second))])
        assert torch.equal(first, second), name
    return worst


def main() -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2, accelerator.num_processes
    size, found = 16, {}
    batch = batch_of(size)
    halves = [part_of(batch, slice(0, size // 2)), part_of(batch, slice(size // 2, size))]
    for name, (method, settings) in zip(NAMES, SETTINGS, strict=True):
        case = make(method, settings)
        alone = copy.deepcopy(case.distillation).eval()  # eval freezes batch norm, whose statistics differ by half
        shared = accelerator.prepare_model(case.distillation.eval())
        mine = halves[accelerator.process_index]
        shared(mine, case.outputs(mine), PROGRESS).total.backward()
        if case.kind.couples_samples(case.config):
            total = sum(alone(half, case.outputs(half), PROGRESS).total for half in halves) / 2
        else:
            total = alone(batch, case.outputs(batch), PROGRESS).total
        total.backward()
        expected, got = gradients(alone), gradients(case.distillation)
        found[name] = float((got - expected).norm() / expected.norm())
    found["own loop"] = own_loop(accelerator, batch, halves)
    found["crd's memories"] = banks(accelerator, batch, halves)
    if accelerator.is_main_process:
        print(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main()
