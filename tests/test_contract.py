"""What every built-in method must hold (``overtone.testing``), and that none is forgotten. ``cases.py`` lists them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import NAMES, PROGRESS, SETTINGS, Case, batch_of, make, teachers_of

from overtone.distill import Distillation
from overtone.methods import METHODS
from overtone.overview import LISTS
from overtone.recipe import WeightSettings
from overtone.testing import check_method

HERE = Path(__file__).parent


def is_ce(term: str) -> bool:
    """Cross-entropy of the student or of one of its branches."""
    return term.split(".")[0] == "ce"


@pytest.fixture(params=SETTINGS, ids=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return make(*request.param)


def test_every_method_has_a_case_a_page_and_a_row_in_the_lists() -> None:
    pages = HERE.parent / "docs" / "methods"
    listed = {name for name, _ in LISTS["methods"]()}
    linked = (pages / "README.md").read_text(encoding="utf-8")
    assert {name for name, _ in SETTINGS} == set(METHODS)
    for name, kind in METHODS.items():
        assert name == kind.NAME
        assert (pages / f"{name}.md").is_file()
        assert f"| `{name}` |" in linked
        assert f"({name}.md)" in linked
        assert name in listed
        assert kind.SOURCE
        assert kind.SUMMARY


FIRST = {name: number for number, (name, _) in reversed(list(enumerate(SETTINGS)))}
"""Each method's first case, which is compiled too; compiling takes most of a contract's time."""


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=NAMES)
def test_every_method_holds_its_contract(number: int) -> None:
    name, settings = SETTINGS[number]
    check_method(METHODS[name], settings, teachers_of(name, settings), compiled=FIRST[name] == number)


@pytest.mark.slow
@pytest.mark.parametrize("number", sorted({*range(len(SETTINGS))} - {*FIRST.values()}), ids=lambda n: NAMES[n])
def test_other_settings_hold_it_compiled(number: int) -> None:
    name, settings = SETTINGS[number]
    check_method(METHODS[name], settings, teachers_of(name, settings), compiled=True)


def test_the_total_is_the_weighted_sum(case: Case) -> None:
    batch = batch_of(8)
    step = case.distillation(batch, case.outputs(batch), PROGRESS)
    assert tuple(step.terms) == case.distillation.terms
    expected = sum((0.5 if is_ce(name) else 2.0) * value for name, value in step.terms.items())
    torch.testing.assert_close(step.total, expected)


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
