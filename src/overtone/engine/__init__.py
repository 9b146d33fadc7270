"""Training and evaluation on Accelerate: the loop, schedules, checkpoints, the guard against what is not finite."""

from overtone.engine.launch import make_accelerator
from overtone.engine.loop import VERSION, Callback, Fitted, Job, fit
from overtone.engine.samples import FittedView, Samples
from overtone.engine.scoring import evaluate, parts_of, without

__all__ = [
    "VERSION",
    "Callback",
    "Fitted",
    "FittedView",
    "Job",
    "Samples",
    "evaluate",
    "fit",
    "make_accelerator",
    "parts_of",
    "without",
]
