"""One process or several: the accelerator that fits how Overtone was started."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator

from overtone.errors import InputError


def make_accelerator() -> Accelerator:
    """An accelerator for this process; under ``torchrun`` without a GPU, the processes talk through gloo.

    Raises:
        InputError: if a launcher started several processes that Accelerate does not join, so that each would run the
            whole study by itself.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = world > 1 and not torch.cuda.is_available()
    accelerator = Accelerator(cpu=True) if on_cpu else Accelerator()
    if world > 1 and accelerator.num_processes != world:
        raise InputError(
            f"a launcher started {world} processes, but Accelerate joined {accelerator.num_processes}; use "
            "torchrun --nproc_per_node N -m overtone run RECIPE"
        )
    return accelerator
