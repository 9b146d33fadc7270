"""What every method must hold, without writing a test of its own. A new method is listed in ``cases.py``."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from cases import IMAGE, NAMES, PROGRESS, SETTINGS, Case, batch_of, make
from graph import unseen

from overtone.data import Windows, split
from overtone.distill import Distillation
from overtone.engine import Callback, Job, Samples, loop
from overtone.methods import METHODS, MethodConfig
from overtone.methods.kd import KD
from overtone.recipe import SplitSettings, TrainSettings, WeightSettings
from overtone.types import Batch, DataInfo, Output, Progress, Spec
from overtone.views import GAF, Signal

HERE = Path(__file__).parent


def is_ce(term: str) -> bool:
    """Cross-entropy of the student or of one of its branches."""
    return term.split(".")[0] == "ce"


@pytest.fixture(params=SETTINGS, ids=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return make(*request.param)


def test_every_method_is_here() -> None:
    assert {name for name, _ in SETTINGS} == set(METHODS)


def test_terms_are_those_declared_and_finite_scalars(case: Case) -> None:
    batch = batch_of(8)
    step = case.distillation(batch, case.outputs(batch), PROGRESS)
    assert tuple(step.terms) == case.distillation.terms
    assert step.total.requires_grad
    for value in [step.total, *step.terms.values()]:
        assert value.dim() == 0
        assert value.dtype == torch.float32
        assert bool(torch.isfinite(value))


def test_the_total_is_the_weighted_sum(case: Case) -> None:
    batch = batch_of(8)
    step = case.distillation(batch, case.outputs(batch), PROGRESS)
    expected = sum((0.5 if is_ce(name) else 2.0) * value for name, value in step.terms.items())
    torch.testing.assert_close(step.total, expected)


def test_state_round_trip(case: Case) -> None:
    batch = batch_of(8)
    case.distillation(batch, case.outputs(batch), PROGRESS)  # banks and statistics move
    other = make(case.kind.NAME, case.settings, seed=1)
    other.distillation.load_state_dict(case.distillation.state_dict())
    outputs = case.outputs(batch)
    first = case.distillation.eval()(batch, outputs, PROGRESS)
    second = other.distillation.eval()(batch, outputs, PROGRESS)
    assert torch.equal(first.total, second.total)


def test_gradients_reach_student_and_adapters_only(case: Case) -> None:
    batch = batch_of(8)
    outputs = case.outputs(batch)
    step = case.distillation(batch, outputs, PROGRESS)
    assert unseen([step.total, *step.terms.values()], case.distillation) == []  # all that is trained is a parameter
    sum(value for name, value in step.terms.items() if not is_ce(name)).backward()
    reached = [p for p in case.distillation.student.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached, "the method's terms give the student no gradient"
    for name, parameter in case.method.named_parameters():
        assert parameter.grad is not None, name
    held = {id(p) for p in case.distillation.parameters()}
    for teacher in case.teachers.values():
        for parameter in teacher.tap.parameters():
            assert parameter.grad is None
            assert not parameter.requires_grad
            assert id(parameter) not in held
    for output in outputs.values():
        assert not output.logits.requires_grad


class Hiding(KD):
    """A method that keeps its parameters where torch does not see them."""

    NAME = "hiding"

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        self.hidden = [torch.nn.Parameter(torch.ones(student.classes))]

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, torch.Tensor]:
        moved = dataclasses.replace(student, logits=student.logits * self.hidden[0])
        return super().forward(moved, teachers, batch, progress)


@pytest.mark.parametrize("keep", [list, lambda x: dict(enumerate(x)), torch.nn.ParameterList])
def test_a_hidden_parameter_is_caught(keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "hiding", Hiding)
    case, batch = make("hiding", {}), batch_of(8)
    case.method.hidden = keep(case.method.hidden)
    step = case.distillation(batch, case.outputs(batch), PROGRESS)
    assert unseen(step.terms.values(), case.distillation) == ([] if keep is torch.nn.ParameterList else [(5,)])


def test_teachers_are_in_no_state_dict(case: Case) -> None:
    teachers = {x.data_ptr() for t in case.teachers.values() for x in t.tap.state_dict().values()}
    assert not teachers & {x.data_ptr() for x in case.distillation.state_dict().values()}
    bare = set(case.distillation.student.model.state_dict())
    assert not any("method" in name or "student" in name for name in bare)


def test_finite_and_in_float32_under_autocast(case: Case) -> None:
    batch = batch_of(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = case.distillation(batch, case.outputs(batch), PROGRESS)
    assert step.output.logits.dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 and bool(torch.isfinite(value)) for value in step.terms.values())
    step.total.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in case.distillation.parameters() if p.grad is not None)


def test_compiled_equals_eager(case: Case) -> None:
    batch = batch_of(8)
    outputs = case.outputs(batch)
    twin = copy.deepcopy(case.distillation)
    eager = case.distillation(batch, outputs, PROGRESS)
    torch._dynamo.reset()
    compiled = torch.compile(twin, backend="aot_eager")(batch, outputs, PROGRESS)
    torch.testing.assert_close(compiled.total, eager.total, rtol=1e-5, atol=1e-6)
    eager.total.backward()
    compiled.total.backward()
    for (name, a), (_, b) in zip(case.distillation.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_training_and_evaluation_modes_leave_banks_alone(case: Case) -> None:
    batch = batch_of(8)
    before = copy.deepcopy(case.distillation.state_dict())
    case.distillation.eval()(batch, case.outputs(batch), PROGRESS)
    after = case.distillation.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


NEVER_ZERO = {"simkd", "ft", "review", "fam_layer", "fam_review", "fitnet", "ca_mkd", "crd", "progressive", "evidence"}
"""Methods with untrained adapters between student and teacher, which differ even where the models agree; and evidence,
which compares attention between branches with what no teacher has by itself."""
EQUAL = [s for s in SETTINGS if s[0] not in NEVER_ZERO and "branch" not in s[1]]


@pytest.mark.parametrize(("name", "settings"), EQUAL)
def test_nothing_to_learn_from_an_equal_teacher(name: str, settings: dict[str, object]) -> None:
    """Zero where student and teachers agree."""
    case = make(name, settings)
    batch = batch_of(8)
    twin = make(case.kind.NAME, case.settings, student="wrn10-0.25")
    tap = twin.distillation.student.eval()
    with torch.no_grad():
        output = tap(batch.views["signal"])
    found = twin.method(output, dict.fromkeys(twin.teachers, output), batch, PROGRESS)
    for name, value in found.items():
        assert float(value) == pytest.approx(0, abs=1e-6), name


def test_a_weight_of_zero_leaves_cross_entropy_alone(case: Case) -> None:
    batch = batch_of(8)
    weights = {"ce": WeightSettings(value=1.0), case.kind.NAME: WeightSettings(value=1.0, until=1)}
    before = case.distillation
    distillation = Distillation(before.student, {case.kind.NAME: case.method}, weights, before.view)
    later = type(PROGRESS)(epoch=2, epochs=2)
    step = distillation.eval()(batch, case.outputs(batch), later)
    torch.testing.assert_close(step.total, sum(value for name, value in step.terms.items() if is_ce(name)))


def test_two_processes_equal_one() -> None:
    """Equal to one process with the doubled batch; where samples couple, to the mean of the two halves."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(
        [*command, str(HERE / "two_processes.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=HERE,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    assert set(found) == {*NAMES, "own loop", "crd's memories"}
    assert {name: value for name, value in found.items() if not value < 1e-4} == {}


class Stop(Exception):
    """Stands for a kill: raised in the middle of an epoch."""


class StopAt(Callback):
    """Stops training after some steps."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, progress: Progress, terms: Mapping[str, torch.Tensor]) -> None:
        if progress.step == self.at:
            raise Stop


def job(folder: Path, name: str, settings: dict[str, object]) -> Job:
    """Two epochs of four steps on random windows, the last step of each with fewer."""
    case = make(name, settings)
    batch = batch_of(80)
    windows = Windows(
        x=batch.views["signal"].numpy(),
        y=batch.target.numpy(),
        group=np.arange(80) // 16,
        recording=np.arange(80),
        start=np.zeros(80, dtype=np.int64),
        groups=tuple("01234"),
        classes=tuple("abcde"),
        channels=tuple("xyz"),
        rate=None,
        where="random",
        stride=1,
    )
    fold = split(windows, SplitSettings(scheme="holdout", test=["3"], val=1))[0]
    views = {"signal": Signal(), "gaf": GAF(size=IMAGE)}
    samples = Samples.fit(windows, fold, views, torch.device("cpu"))
    train = TrainSettings(batch=13, last_batch="keep", lr=0.05)
    return Job("key", folder, case.distillation, case.teachers, tuple(views), samples, fold, train, 2, seed=3)


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=NAMES)
def test_resumed_equals_undisturbed(
    name: str, settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the first epoch and in the second."""
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)  # commit after every step
    accelerator = Accelerator(cpu=True)
    whole = loop.fit(job(tmp_path / "whole", name, settings), accelerator, Callback())
    for stop in (1, 5):
        with pytest.raises(Stop):
            loop.fit(job(tmp_path / str(stop), name, settings), accelerator, StopAt(stop))
        resumed = loop.fit(job(tmp_path / str(stop), name, settings), accelerator, Callback())
        assert resumed.rows == whole.rows
        assert resumed.best_epoch == whole.best_epoch
        for key in whole.last:
            assert torch.equal(resumed.last[key], whole.last[key]), key
            assert torch.equal(resumed.best[key], whole.best[key]), key
        files = [(tmp_path / part / "metrics.jsonl").read_bytes() for part in ("whole", str(stop))]
        assert files[0] == files[1]
