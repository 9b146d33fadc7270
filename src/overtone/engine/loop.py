"""The training loop: one cell from its first step to its last, on one process or several, resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor

from overtone.data import Fold
from overtone.distill import Distillation
from overtone.engine import checkpoint
from overtone.engine.augment import Augment
from overtone.engine.augment_canvas import CanvasAugment
from overtone.engine.augment_images import ImageAugment, random_crop
from overtone.engine.guard import check_gradient, check_step
from overtone.engine.mixup import mixups
from overtone.engine.phases import hold_still, resting, trained
from overtone.engine.samples import Samples
from overtone.engine.schedule import epoch_order, learning_rate, reseed, steps_in
from overtone.engine.scoring import evaluate
from overtone.epochs import EpochRow, write_epochs
from overtone.errors import InputError, NotFiniteError
from overtone.methods import Method
from overtone.recipe import PhaseSettings, TrainSettings, phase_at
from overtone.tap import Tap
from overtone.teachers import Teacher
from overtone.types import Batch, Output, Progress, Step

VERSION = 2
"""Raised whenever the loop gives other numbers for the same inputs, or a default changes of ``train``, of a model's
options, of weights over time or of phases: cells' keys hold only what differs from these."""

COMMIT_SECONDS = 5.0
"""Between two commits; ten times as many for each second that one takes, which is then at most 2 % of the time."""
BACKEND = "inductor"
StateDict = dict[str, Tensor]
DTYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Callback:
    """Hears how a cell's training goes; this one says nothing, displays override what they want to hear."""

    def step(self, progress: Progress, terms: Mapping[str, Tensor]) -> None:
        """After every step."""

    def epoch(self, progress: Progress, row: EpochRow) -> None:
        """After every epoch, with its row of ``metrics.jsonl``."""


@dataclass(frozen=True)
class Job:
    """What :func:`fit` trains.

    Attributes:
        key: the cell's key, written into checkpoints.
        folder: where the cell's files go.
        distillation: student, methods and weights.
        teachers: by name; each gives its output for a batch (a Teacher, or a TeacherMemory).
        views: the views that training batches need: the student's and those of teachers that are not remembered.
        keep: epochs whose weights are wanted besides best and last.
        phases: what of the student is trained when.
    """

    key: str
    folder: Path
    distillation: Distillation
    teachers: Mapping[str, Callable[[Batch], Output]]
    views: tuple[str, ...]
    samples: Samples
    fold: Fold
    train: TrainSettings
    epochs: int
    seed: int
    keep: frozenset[int] = frozenset()
    phases: tuple[PhaseSettings, ...] = ()


@dataclass
class Fitted:
    """What training leaves: the bare student's weights at best, last and kept epochs, and a row per epoch.

    ``best_value`` is what the task watches, at best. Without a validation side there is no best.
    """

    best: StateDict = field(default_factory=dict)
    best_epoch: int = 0
    best_value: float | None = None
    last: StateDict = field(default_factory=dict)
    kept: dict[int, StateDict] = field(default_factory=dict)
    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def chosen(self) -> StateDict:
        """The weights to use: the best, or the last where nothing chose."""
        return self.best or self.last


def fit(job: Job, accelerator: Accelerator, callback: Callback) -> Fitted:
    """Train a cell, from its checkpoint if there is one.

    Raises:
        InputError: for a batch that is larger than the training set or not divisible by the processes.
        NotFiniteError: from the guard.
    """
    return _Run(job, accelerator, callback).to_the_end()


class _Run:
    """State of one cell's training; everything in it is either in the checkpoint or derived from the job."""

    def __init__(self, job: Job, accelerator: Accelerator, callback: Callback) -> None:
        self.job, self.accelerator, self.callback = job, accelerator, callback
        train, world = job.train, accelerator.num_processes
        samples = len(job.fold.train)
        if train.batch % world:
            raise InputError(f"train.batch {train.batch} cannot be divided among {world} processes")
        least = max([1, *(cast(Method, method).min_batch for method in job.distillation.methods.values())])
        if train.batch // world < least:
            raise InputError(
                f"train.batch {train.batch} leaves {train.batch // world} samples per process, a method needs {least}"
            )
        if samples < train.batch:
            raise InputError(
                f"fold {job.fold.number} has {samples} training samples, fewer than one batch of {train.batch}; "
                "set train.batch lower"
            )
        rest = samples % train.batch if train.last_batch == "keep" else 0
        if rest and (rest % world or rest // world < max(2, least)):
            raise InputError(
                f"train.last_batch: keep leaves {rest} samples for the last batch of {world} processes, which need "
                f"{max(2, least)} or more each, equally many; use last_batch: drop, or another number of processes"
            )
        self.index = torch.from_numpy(job.fold.train)
        self.steps = steps_in(samples, train)
        self.total = self.steps * job.epochs if train.steps is None else train.steps
        job.distillation.to(accelerator.device)
        job.distillation.train()
        self.optimizer = make_optimizer(job.distillation, train)
        self.dtype = DTYPES[train.autocast]
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=train.autocast == "fp16")
        augmenter: Callable[..., Any] = ImageAugment if train.augment.misplaced(1) else Augment
        augmenter = augmenter if job.samples.size is None else CanvasAugment
        active = train.augment.active
        self.augment = augmenter(train.augment, job.samples.standardise, job.seed) if active else None
        self.fitted = Fitted()
        self.epoch, self.step = 1, 0  # where to go on: epoch from 1, step inside it from 0
        self.sums: dict[str, float] = {}
        self.still: list[torch.nn.Parameter] = []
        self.generators: dict[str, Any] | None = None
        self.committed, self.commit_took = time.monotonic(), 0.0
        self._resume()
        if train.compile:
            for tap in (job.distillation.student, *(t.tap for t in job.teachers.values() if isinstance(t, Teacher))):
                compile_tap(tap, accelerator.device)
        self.model = accelerator.prepare_model(job.distillation)

    def to_the_end(self) -> Fitted:
        """All epochs that are left."""
        started = time.monotonic()
        before = self.fitted.seconds
        while self.epoch <= self.job.epochs:
            reseed(self.job.seed, self.epoch)
            self.still = self._enter_phase()
            if self.generators is not None:  # resumed inside this epoch
                checkpoint.restore_random_states(self.generators)
                self.generators = None
            train = self.job.train
            order = epoch_order(self.index, train.batch, self.job.seed, self.epoch, train.last_batch == "keep")
            order = order[: self.total - (self.epoch - 1) * self.steps]
            mine = [self._mine(numbers) for numbers in order[self.step :]]
            augment = partial(self.augment, epoch=self.epoch) if self.augment else None
            crop = random_crop(self.job.train.augment, self.job.seed, self.epoch)
            mixed = mixups(order, train.augment.mixup, self.job.seed, self.epoch, self.step, self._mine)
            for batch in self.job.samples.batches(mine, self.job.views, augment, crop, mixed):
                self._train_step(batch)
                self.step += 1
                self.fitted.seconds = before + time.monotonic() - started
                self._commit_now_and_then()
            self._end_epoch()
            self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        self.fitted.last = self._student_state()
        self.fitted.seconds = before + time.monotonic() - started
        return self.fitted

    def _enter_phase(self) -> list[torch.nn.Parameter]:
        """The parameters that this epoch's phase leaves as they are; batch statistics beside them stand still too."""
        model = self.job.distillation.student.model
        model.train()
        phase = phase_at(self.job.phases, self.epoch, self.job.epochs)
        still = hold_still(model, trained(model, phase), self.job.samples.task.plain) if phase is not None else []
        return still + resting(self.job.distillation, Progress(self.epoch, self.job.epochs))

    def _mine(self, numbers: Tensor) -> Tensor:
        """Those of a batch's samples that this process takes."""
        size = len(numbers) // self.accelerator.num_processes
        return numbers[size * self.accelerator.process_index : size * (self.accelerator.process_index + 1)]

    def _train_step(self, batch: Batch) -> None:
        job, accelerator = self.job, self.accelerator
        done = (self.epoch - 1) * self.steps + self.step
        progress = Progress(self.epoch, job.epochs, done, self.total)
        rate = learning_rate(job.train, done, self.steps, job.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        teachers = {name: teacher(batch) for name, teacher in job.teachers.items()}  # in float32, as remembered ones
        with torch.autocast(accelerator.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            step = self.model(batch, teachers, progress)
        self._guard(partial(check_step, step, job.distillation, batch, teachers, progress), progress)
        self.optimizer.zero_grad(set_to_none=True)
        accelerator.backward(self.scaler.scale(step.total))
        for parameter in self.still:  # not by requires_grad, which distributed training does not allow to change
            parameter.grad = None
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in job.distillation.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not self.scaler.is_enabled():  # a scaler meets infinite gradients now and then, and skips the step
            check_gradient(norm, job.distillation, batch, progress)
        if job.train.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, job.train.clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._count(step, batch)
        self.callback.step(progress, step.terms)

    def _count(self, step: Step, batch: Batch) -> None:
        """Add a step to the epoch's sums; a GPU is waited for once."""
        means = {"total": step.total, **{f"term/{term}": value for term, value in step.terms.items()}}
        with torch.no_grad():
            scores = self.job.samples.task.training_scores(step.output, batch)
        means_and_scores = [value.detach().float() for value in (*means.values(), *scores.values())]
        values = torch.stack(means_and_scores).tolist()
        samples = len(batch.index)
        sums = {"n": float(samples)}
        sums.update({name: value * samples for name, value in zip(means, values[: len(means)], strict=True)})
        sums.update({f"train/{k}": v for k, v in zip(scores, values[len(means) :], strict=True)})
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _guard(self, check: Callable[[], None], progress: Progress) -> None:
        """Run a check that may raise; where one process raises, all do, or the others would wait for it forever."""
        failure: NotFiniteError | None = None
        try:
            check()
        except NotFiniteError as error:
            failure = error
        if self._anywhere(failure is not None):
            raise failure or NotFiniteError(
                f"epoch {progress.epoch}, step {progress.step}: not finite in another process"
            )

    def _anywhere(self, here: bool) -> bool:
        """Whether something holds on any process."""
        if self.accelerator.num_processes == 1:
            return here
        flag = torch.tensor([float(here)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _end_epoch(self) -> None:
        job = self.job
        if self.accelerator.num_processes > 1:  # batch-norm statistics are each process' own; the main one's are kept
            for buffer in job.distillation.buffers():
                broadcast(buffer)
        on_val = self._on_val()
        sums = self._reduced()
        n = sums.pop("n")
        first = (self.epoch - 1) * self.steps
        phase = phase_at(job.phases, self.epoch, job.epochs)
        scalars = {
            f"{name}.{key}": scalar.value
            for name, method in job.distillation.methods.items()
            for key, scalar in cast(Method, method).scalars().items()
        }
        row = EpochRow(
            epoch=self.epoch,
            lr=learning_rate(job.train, first, self.steps, job.epochs),
            total=sums["total"] / n,
            train={name[6:]: value / n for name, value in sums.items() if name.startswith("train/")},
            terms={name[5:]: value / n for name, value in sums.items() if name.startswith("term/")},
            weights={t: w.at(self.epoch, job.epochs) for t, w in job.distillation.weights.items()},
            **({"phase": phase.name} if phase is not None else {}),
            **({"val": on_val} if on_val else {}),
            **({"scalars": scalars} if scalars else {}),
        )
        self.fitted.rows.append(row)
        watched = job.samples.task.watched
        best, now = self.fitted.best_value, on_val.get(watched.key)
        if now is not None and (best is None or watched.gain(now) > watched.gain(best)):  # the earlier wins a tie
            self.fitted.best_value, self.fitted.best_epoch = now, self.epoch
            self.fitted.best = self._student_state()
        if self.epoch in job.keep:
            self.fitted.kept[self.epoch] = self._student_state()
        if self.accelerator.is_main_process:
            write_epochs(job.folder, self.fitted.rows)
        self.callback.epoch(Progress(self.epoch, job.epochs, min(first + self.steps, self.total), self.total), row)

    def _on_val(self) -> dict[str, float]:
        """Scores and loss on the validation side; nothing without one."""
        job = self.job
        if not len(job.fold.val):
            return {}
        val = torch.from_numpy(job.fold.val)
        predictions = evaluate(job.distillation.student, job.samples, val, job.distillation.view, self.accelerator)
        return job.samples.task.on_validation(predictions, job.samples.truth(val), job.samples.context(val))

    def _student_state(self) -> StateDict:
        state = self.job.distillation.student.model.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _reduced(self) -> dict[str, float]:
        """The epoch's sums over all processes."""
        if self.accelerator.num_processes == 1:
            return dict(self.sums)
        values = torch.tensor(list(self.sums.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(self.sums, self.accelerator.reduce(values, "sum").tolist(), strict=True))

    @property
    def _file(self) -> Path:
        return self.job.folder / checkpoint.FILE

    def _commit_now_and_then(self) -> None:
        now = time.monotonic()
        due = now - self.committed >= COMMIT_SECONDS * max(1.0, 10 * self.commit_took)
        if self._anywhere(due and self.accelerator.is_main_process):  # the main process' clock decides for all
            self._commit()
            self.committed = time.monotonic()
            self.commit_took = self.committed - now

    def _commit(self) -> None:
        states = [checkpoint.random_states()]
        if self.accelerator.num_processes > 1:
            states = gather_object(states)
        sums = self._reduced()
        if not self.accelerator.is_main_process:
            return
        value = {
            "key": self.job.key,
            "epoch": self.epoch,
            "step": self.step,
            "sums": sums,
            "random": states,
            "distillation": self.job.distillation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "fitted": {**vars(self.fitted), "rows": [row.model_dump(exclude_unset=True) for row in self.fitted.rows]},
        }
        checkpoint.save(self._file, value)

    def _resume(self) -> None:
        saved = checkpoint.load(self._file, self.job.key)
        if saved is None:
            return
        if any(epoch < saved["epoch"] and epoch not in saved["fitted"]["kept"] for epoch in self.job.keep):
            return  # weights are wanted now of an epoch that has passed: train anew
        self.epoch, self.step = saved["epoch"], saved["step"]
        # Sums are held over all processes: the main one takes them, the others start from zero.
        self.sums = {k: v * self.accelerator.is_main_process for k, v in saved["sums"].items()}
        self.generators = saved["random"][self.accelerator.process_index % len(saved["random"])]
        self.job.distillation.load_state_dict(saved["distillation"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        rows = [EpochRow.model_validate(row) for row in saved["fitted"]["rows"]]
        self.fitted = Fitted(**{**saved["fitted"], "rows": rows})


def compile_tap(tap: Tap, device: torch.device) -> None:
    """Compile a model's pass, as CUDA graphs on a GPU, where small networks wait for launches more than for arithmetic.

    In place, so that names of parameters stay; its taps are hooked already. Adapters are left as they are: compilers do
    not fuse complex numbers.
    """
    mode = "reduce-overhead" if device.type == "cuda" else None
    tap.compile(backend=BACKEND, mode=mode)


def make_optimizer(module: torch.nn.Module, train: TrainSettings) -> torch.optim.Optimizer:
    """The recipe's optimiser over the student and the adapters."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            module.parameters(),
            train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            nesterov=train.nesterov,
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(module.parameters(), train.lr, weight_decay=train.weight_decay)
