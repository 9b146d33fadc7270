"""Training and evaluation on Accelerate: the loop, schedules, checkpoints, the guard against what is not finite."""

from overtone.engine.launch import make_accelerator
from overtone.engine.loop import VERSION, Fitted, Job, Listener, evaluate, fit, parts_of, scores, without
from overtone.engine.samples import FittedView, Samples

__all__ = [
    "VERSION",
    "Fitted",
    "FittedView",
    "Job",
    "Listener",
    "Samples",
    "evaluate",
    "fit",
    "make_accelerator",
    "parts_of",
    "scores",
    "without",
]
