"""Training that is stopped and resumed ends with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch import Tensor

from overtone.data import split
from overtone.engine import Callback, Job, Samples, loop
from overtone.epochs import ROWS
from overtone.methods import Method
from overtone.recipe import SplitSettings, TrainSettings
from overtone.testing.case import IMAGE, PLAIN, Setting, make, windows_of
from overtone.testing.require import require
from overtone.types import Progress
from overtone.views import GAF, Signal

STOPS = (1, 5)
"""Steps in the first epoch and in the second."""


class Stop(Exception):
    """Stands for a kill: raised in the middle of an epoch."""


class StopAt(Callback):
    """Stops training after some steps."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, progress: Progress, terms: Mapping[str, Tensor]) -> None:
        """After every step."""
        if progress.step == self.at:
            raise Stop


def check_resumes(
    kind: type[Method],
    settings: Mapping[str, Any],
    teachers: Mapping[str, str] | None = None,
    on: Setting = PLAIN,
) -> None:
    """Train two epochs, undisturbed and stopped in each.

    Raises:
        AssertionError: if rows, weights or files differ.
    """
    accelerator = Accelerator(cpu=True)
    said = f"{kind.__name__}: training that is killed and resumed ends with other"
    with TemporaryDirectory() as folder, patch.object(loop, "COMMIT_SECONDS", 0.0):  # commit after every step
        out = Path(folder)
        whole = loop.fit(job(out / "whole", kind, settings, teachers, on=on), accelerator, Callback())
        for stop in STOPS:
            with suppress(Stop):
                loop.fit(job(out / str(stop), kind, settings, teachers, on=on), accelerator, StopAt(stop))
            resumed = loop.fit(job(out / str(stop), kind, settings, teachers, on=on), accelerator, Callback())
            hint = (
                "; keep what is remembered between steps in buffers, and draw from generators seeded by progress.step"
            )
            require(resumed.rows == whole.rows, f"{said} numbers{hint}")
            require(resumed.best_epoch == whole.best_epoch, f"{said} best epoch{hint}")
            for key in whole.last:
                alike = torch.equal(resumed.last[key], whole.last[key]) and torch.equal(
                    resumed.best[key], whole.best[key]
                )
                require(alike, f"{said} weights of the student, {key}{hint}")
            files = [(out / part / ROWS).read_bytes() for part in ("whole", str(stop))]
            require(files[0] == files[1], f"{said} rows on disk{hint}")


def job(
    folder: Path,
    kind: type[Method] | str,
    settings: Mapping[str, Any],
    teachers: Mapping[str, str] | None = None,
    student: str | None = None,
    on: Setting = PLAIN,
) -> Job:
    """Two epochs of four steps on random windows, the last step of each with fewer."""
    case = make(kind, settings, student, teachers=teachers, on=on)
    windows = windows_of(on, 80)
    fold = split(windows, SplitSettings(scheme="holdout", test=["3"], val=1))[0]
    views = {"signal": Signal(), "gaf": GAF(size=IMAGE)}
    samples = Samples.fit(windows, fold, views, torch.device("cpu"))
    train = TrainSettings(batch=13, last_batch="keep", lr=0.05)
    return Job("key", folder, case.distillation, case.teachers, tuple(views), samples, fold, train, 2, seed=3)
