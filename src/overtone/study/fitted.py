"""Running a cell that has no gradient: features of the training side, one fit, predictions."""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from threadpoolctl import threadpool_limits
from torch import Tensor

from overtone.baselines import Baseline, Scale
from overtone.data.base import IntArray
from overtone.disk import in_units
from overtone.engine.schedule import reseed
from overtone.engine.scoring import EVAL_BATCH
from overtone.errors import FitError, InputError, OvertoneError, told
from overtone.study.build import CellInputs
from overtone.study.cells import Cell
from overtone.study.write import Estimates, write_baseline
from overtone.tasks import Array, Predictions


def check_baseline(inputs: CellInputs, cell: Cell, baseline: Baseline) -> tuple[int, int]:
    """Whether its features can be held: all windows' within ``train.memory_mb``.

    Returns:
        How many features there are, and the bytes that they take.

    Raises:
        InputError: says how large they are.
    """
    one = inputs.samples.batch(torch.from_numpy(inputs.fold.train[:1]), [baseline.view])
    count = baseline.of(one.views[baseline.view]).shape[1]
    size = 4 * count * len(inputs.windows)
    if size > cell.train.memory_mb * 2**20:
        smaller = "features: statistics, " if baseline.features == "flat" else ""
        raise InputError(
            f"baselines.{baseline.name}: {count} features of {len(inputs.windows)} {inputs.windows.noun}s take "
            f"{in_units(size)}, more than train.memory_mb: {cell.train.memory_mb}; use {smaller}a smaller view, or "
            "allow more"
        )
    return count, size


def run_baseline(inputs: CellInputs, cell: Cell, baseline: Baseline) -> None:
    """Fit, test and write a cell. The main process does it alone; the others wait, and fail where it fails.

    Raises:
        FitError: on every process, where fitting raises or predictions cannot be.
    """
    failed: FitError | None = None
    if inputs.accelerator.is_main_process:
        try:
            write_baseline(inputs, cell, _estimates(inputs, cell, baseline))
        except FitError as error:
            failed = error
    said = [None if failed is None else str(failed)]
    if inputs.accelerator.num_processes > 1:
        broadcast_object_list(said)
    if said[0] is not None:
        raise failed or FitError(said[0])


def _estimates(inputs: CellInputs, cell: Cell, baseline: Baseline) -> Estimates:
    """Fitted on the fold's training side and on nothing else."""
    samples, fold = inputs.samples, inputs.fold
    started = time.perf_counter()
    train = _features(inputs, baseline, fold.train)
    scale = Scale.of(train) if baseline.features == "statistics" else None
    train = train if scale is None else scale(train)
    reseed(cell.seed, "fit")  # for a class that draws from the global generators
    estimator = baseline.make(cell.seed, cell.train.threads)
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(cell.train.threads):
        warnings.simplefilter("always")
        try:
            samples.task.fit_estimator(estimator, train, samples.truth(torch.from_numpy(fold.train)))
        except Exception as error:  # whatever such a class raises
            raise FitError(f"fitting {baseline.title} fails: {_said(error)}") from error
    seconds = time.perf_counter() - started

    def predicted(index: IntArray) -> Predictions:
        features = _features(inputs, baseline, index)
        return _predicted(inputs, cell, baseline, estimator, features if scale is None else scale(features))

    if cell.train.threads > 1 and "n_jobs" in getattr(estimator, "__dict__", {}):
        estimator.n_jobs = 1  # threads would add up a forest's trees in any order
    val = None
    if len(fold.val):
        index = torch.from_numpy(fold.val)
        scores = samples.task.on_validation(predicted(fold.val), samples.truth(index), samples.context(index))
        val = scores[samples.task.watched.key]
    # What a later release of a library will change is no concern of this fit.
    told_of = [w for w in caught if not issubclass(w.category, (FutureWarning, DeprecationWarning))]
    notes = dict.fromkeys(str(w.message).partition("\n")[0].rstrip(":") for w in told_of)
    return Estimates(predicted(fold.test), val, seconds, "; ".join(notes) or None)


def _features(inputs: CellInputs, baseline: Baseline, index: IntArray) -> Array:
    """Features (N, F) of some samples.

    Raises:
        FitError: for one that is not finite.
    """
    chunks = torch.from_numpy(index).split(EVAL_BATCH)
    batches = [baseline.of(batch.views[baseline.view]) for batch in inputs.samples.batches(chunks, [baseline.view])]
    features = np.concatenate(batches)
    if not np.isfinite(features).all():
        raise FitError(f"features of view {baseline.view!r} are not finite")
    return features


def _predicted(inputs: CellInputs, cell: Cell, baseline: Baseline, estimator: object, features: Array) -> Predictions:
    """What the task keeps of what an estimator says.

    Raises:
        FitError: for what is no answer to the task.
    """
    task = inputs.samples.task
    try:
        with warnings.catch_warnings(), threadpool_limits(cell.train.threads):
            warnings.simplefilter("ignore")
            output = task.estimate(estimator, features)
        task.check_output(output, len(features))
    except Exception as error:
        raise FitError(f"{baseline.title} does not predict: {_said(error)}") from error
    predictions = task.predict(output)
    for name, values in predictions.items():
        if not all(bool(x.isfinite().all()) for x in ([values] if isinstance(values, Tensor) else values)):
            raise FitError(f"{baseline.title}: predictions ({name}) are not finite")
    return predictions


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, OvertoneError) else told(error)
