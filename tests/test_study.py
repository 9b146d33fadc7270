"""Studies as a whole: what is trained, what is shared, what a kill leaves, what the files say."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from overtone import data, load_student, recipe
from overtone.engine import loop
from overtone.errors import InputError
from overtone.methods import configure
from overtone.models import build
from overtone.study import Plan, StudyCallback, collect, execute, make_plan, write_tables
from overtone.study.build import placed
from overtone.study.doubts import coupled

# The command with progress committed ten times per second, so that a kill finds cells half done.
COMMAND = "from overtone.engine import loop; loop.COMMIT_SECONDS = 0.1; from overtone.cli import main; main()"


def plan_of(values: dict[str, Any]) -> Plan:
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


def run(values: dict[str, Any], out: Path) -> Plan:
    plan = plan_of(values)
    assert execute(plan, out) == {}
    write_tables(out, collect(out))
    return plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """One small finished study that several tests read."""
    from conftest import TINY

    out = tmp_path_factory.mktemp("study") / "out"
    values = copy.deepcopy(TINY)
    values["methods"].append({"name": "annsp", "weights": {"sp": 10}})
    values["teachers"]["gaf"]["checkpoint"] = "epoch:1"
    return run(values, out), out


def test_cells_are_shared_by_what_they_are(tiny: dict[str, Any]) -> None:
    tiny["methods"] = ["none", {"name": "kd", "teachers": ["signal"]}, {"name": "eskd", "teachers": ["signal"]}, "ann"]
    plan = plan_of(tiny)
    rows = {row.label: row.cells[0, 0][0] for row in plan.rows if row.kind == "method"}
    assert rows["kd"] == rows["eskd"]  # eskd is kd from the best checkpoint, which is the default
    assert plan.cells[rows["ann"]].start == rows["none"]  # the warm-start twin is the row none
    assert len(plan.cells) == 5  # none, two teachers, kd, ann


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [
        ("train.lr", 0.01, "all"),
        ("train.threads", 2, "none"),
        ("seeds", [1], "all"),
        ("student.epochs", 4, "students"),
        ("views.gaf.size", 9, "gaf"),
        ("data.stride", 299, "all"),
        ("methods.1.temperature", 3, "kd"),
    ],
)
def test_a_key_holds_what_decides_a_cell(tiny: dict[str, Any], key: str, value: Any, changes: str) -> None:
    before = plan_of(tiny)
    *path, last = key.split(".")
    at: Any = tiny
    for part in path:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    at[last] = value
    after = plan_of(tiny)
    titles = {cell.title.split(" · ")[0] for key, cell in after.cells.items() if key not in before.cells}
    students = {"none", "kd from signal", "aver from signal, gaf"}
    expected = {
        "all": students | {"teacher signal", "teacher gaf"},
        "none": set(),
        "students": students,
        "gaf": {"teacher gaf", "aver from signal, gaf"},
        "kd": {"kd from signal"},
    }
    assert titles == expected[changes]


def test_circles_of_teachers_are_refused(tiny: dict[str, Any]) -> None:
    tiny["teachers"]["signal"]["method"] = {"name": "kd", "teachers": ["gaf"]}
    tiny["teachers"]["gaf"]["method"] = {"name": "kd", "teachers": ["signal"]}
    with pytest.raises(InputError, match="in a circle: signal -> gaf -> signal"):
        plan_of(tiny)


def test_a_distilled_teacher_is_a_cell(tiny: dict[str, Any]) -> None:
    tiny["teachers"]["gaf"]["method"] = {"name": "kd", "teachers": ["signal"]}
    plan = plan_of(tiny)
    cell = next(c for c in plan.cells.values() if c.title.startswith("teacher gaf"))
    assert list(cell.teachers) == ["signal"]


def test_table_and_files(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    rows = {row.id: row for row in collect(out)}
    assert list(rows) == [
        "none",
        "kd-signal",
        "aver-signal-gaf",
        "annsp-signal-gaf",
        "teacher-signal",
        "teacher-gaf",
        "ensemble",
    ]
    kept = [path.name for path in out.glob("cells/*/*.safetensors")]
    assert kept.count("epoch-1.safetensors") == 1
    assert kept.count("student.safetensors") == kept.count("last.safetensors") == len(plan.cells)
    assert not list(out.glob("cells/*/progress.pt"))
    row = rows["kd-signal"]
    held = np.load(out / "cells" / plan_key(plan, "kd from signal") / "predictions.npz")
    accuracy = (held["best.logits"].argmax(1) == held["target"]).mean()
    assert row.estimates.get(("accuracy", "best")) is not None
    assert row.estimates.get(("accuracy", "best")).mean == pytest.approx(float(accuracy))
    assert rows["teacher-signal"].size_ratio == 1.0
    assert rows["none"].size_ratio == pytest.approx(rows["teacher-signal"].parameters / rows["none"].parameters)


def plan_key(plan: Plan, title: str) -> str:
    return next(key for key, cell in plan.cells.items() if cell.title.startswith(title))


def test_ensemble_is_the_mean_of_probabilities(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    held = [np.load(out / "cells" / plan_key(plan, f"teacher {t}") / "predictions.npz") for t in ("signal", "gaf")]
    mixed = sum(torch.from_numpy(h["last.logits"]).softmax(1) for h in held)
    accuracy = float((mixed.argmax(1).numpy() == held[0]["target"]).mean())
    row = next(row for row in collect(out) if row.id == "ensemble")
    assert row.estimates.get(("accuracy", "last")) is not None
    assert row.estimates.get(("accuracy", "last")).mean == pytest.approx(accuracy)


def test_student_file_repeats_the_test_logits(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    for title in ("kd from signal", "annsp", "teacher gaf"):
        folder = out / "cells" / plan_key(plan, title)
        student = load_student(folder / "student.safetensors")
        held = np.load(folder / "predictions.npz")
        logits = student(torch.from_numpy(plan.windows.x[held["index"]]))
        np.testing.assert_allclose(logits.detach().numpy(), held["best.logits"], rtol=1e-4, atol=1e-5)
        names = set(load_file(folder / "student.safetensors"))
        assert names == set(student.model.state_dict())  # the bare model's keys: no teacher, no adapter


def test_rows_by_epoch(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    lines = (out / "cells" / plan_key(plan, "annsp") / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert set(row["terms"]) == {"ce", "weighted.kl", "sp.gram"}
        weighted = sum(row["weights"][term] * value for term, value in row["terms"].items())
        assert row["total"] == pytest.approx(weighted, rel=1e-5)


def test_again_trains_nothing(finished: tuple[Plan, Path]) -> None:
    plan, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert execute(plan, out) == {}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_another_studys_folder_is_refused(finished: tuple[Plan, Path], tiny: dict[str, Any]) -> None:
    tiny["name"] = "other"
    with pytest.raises(InputError, match="holds the study 'tiny', not 'other'"):
        execute(plan_of(tiny), finished[1])


def test_what_a_kill_at_the_very_start_leaves_is_no_obstacle(tiny: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_of(tiny)
    key = next(iter(plan.cells))
    left = [tmp_path / ".study.json.7.tmp", tmp_path / "cells" / key / ".progress.pt.7.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert execute(plan, tmp_path) == {}
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_example_window_follows_the_study(tiny: dict[str, Any], tmp_path: Path) -> None:
    for window in (64, 100):
        tiny["data"]["window"] = window
        execute(plan_of(tiny), tmp_path / "out")
        assert np.load(tmp_path / "out" / "example.npz")["window"].shape == (6, window)


def test_an_epoch_wanted_after_an_interruption_is_trained_anew(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)

    class Stop(StudyCallback):
        def cell_epoch(self, cell: Any, progress: Any, row: Any) -> None:
            if cell.title.startswith("teacher signal") and progress.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(plan_of(tiny), tmp_path / "out", Stop())
    tiny["teachers"]["signal"]["checkpoint"] = "epoch:1"
    assert execute(plan_of(tiny), tmp_path / "out") == {}
    assert len(list((tmp_path / "out").glob("cells/*/epoch-1.safetensors"))) == 1


def test_rows_that_share_a_name_stay_apart(tiny: dict[str, Any]) -> None:
    tiny["methods"] = [{"name": "none", "label": "ensemble"}, *({"name": "kd", "teachers": ["gaf"]} for _ in range(2))]
    ids = [row.id for row in plan_of(tiny).rows]
    assert len(set(ids)) == len(ids)
    tiny["methods"] = [{"name": "kd", "teachers": ["gaf"], "temperature": t} for t in (2, 4)]
    assert [row.label for row in plan_of(tiny).rows[:2]] == ["kd (temperature 2)", "kd (temperature 4)"]


def test_presets_keep_their_weights_and_shares(tiny: dict[str, Any]) -> None:
    shares = {"signal": 3.0, "gaf": 1.0}
    tiny["methods"] = [{"name": "annsp", "teacher_weights": shares}, {"name": "annsp", "weights": {"sp": 10}}]
    first, second = (plan_of(tiny).cells[row.cells[0, 0][0]] for row in plan_of(tiny).rows[:2])
    assert first.methods["sp"].teacher_weights == shares
    assert first.weights["sp.gram"].value == 700
    assert second.weights["sp"].value == 10
    assert "sp.gram" not in second.weights
    assert first.start is not None


@pytest.mark.parametrize(("published", "weights"), [(False, (0.3, 0.7, 700)), (True, (0.01, 0.99, 200))])
def test_annsp_weighs_as_published_for_its_data(tiny: dict[str, Any], published: bool, weights: Any) -> None:
    """Three values that belong together: those for GENEActiv, or those of the code, for PAMAP2."""
    tiny["methods"] = [{"name": "annsp", "published": published}, {"name": "annsp", "weights": {"sp": 10}}]
    first, second = (plan_of(tiny).cells[row.cells[0, 0][0]] for row in plan_of(tiny).rows[:2])
    assert tuple(first.weights[term].value for term in ("ce", "weighted.kl", "sp.gram")) == weights
    assert second.weights["sp"].value == 10


def test_a_distilled_teacher_can_start_warm(tiny: dict[str, Any]) -> None:
    tiny["teachers"]["gaf"]["method"] = {"name": "ann", "teachers": ["signal"]}
    plan = plan_of(tiny)
    teacher = next(c for c in plan.cells.values() if c.title.startswith("teacher gaf"))
    assert plan.cells[str(teacher.start)].methods == {}


def test_one_failing_cell_does_not_stop_the_others(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["teachers"]["gaf"]["train"] = {"lr": 1e9}
    plan = plan_of(tiny)
    failed = execute(plan, tmp_path / "out")
    titles = {plan.cells[key].title.split(" · ")[0]: message for key, message in failed.items()}
    assert set(titles) == {"teacher gaf", "aver from signal, gaf"}
    assert "not finite" in titles["teacher gaf"]
    assert "first in layer" in titles["teacher gaf"] or "gradient of" in titles["teacher gaf"]
    assert "it needs teacher gaf" in titles["aver from signal, gaf"]
    rows = {row.id: row for row in collect(tmp_path / "out")}
    assert len(rows["kd-signal"].values) == 1
    assert (rows["aver-signal-gaf"].folds, rows["aver-signal-gaf"].missing) == (0, 1)
    write_tables(tmp_path / "out", list(rows.values()))
    assert "aver,signal+gaf,dscnn-4,,0,0,1,,,," in (tmp_path / "out" / "table.csv").read_text()


def test_memory_equals_online(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["methods"] = [{"name": "sp", "weights": {"sp": 100}}]
    run(tiny, tmp_path / "memory")
    tiny["train"]["memory_mb"] = 0
    run(tiny, tmp_path / "disk")
    tiny["train"]["spill_mb"] = 0
    run(tiny, tmp_path / "online")
    assert not list(tmp_path.rglob("memory-*"))
    found = [
        next(
            json.loads(p.read_text())
            for p in (tmp_path / name).glob("cells/*/result.json")
            if '"sp from' in p.read_text()
        )
        for name in ("memory", "disk", "online")
    ]
    assert len({result["key"] for result in found}) == 3
    assert found[0]["test"] == found[1]["test"]  # the same numbers from memory and from disk
    assert found[0]["test"]["last"]["accuracy"] == pytest.approx(found[2]["test"]["last"]["accuracy"], abs=0.05)


def start(recipe_file: Path, out: Path, jobs: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "run", str(recipe_file), "--out", str(out), "--jobs", str(jobs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})


def test_killed_at_random_moments_and_resumed(tiny: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL, several times; the files end as those of an undisturbed run, byte for byte."""
    tiny["student"]["epochs"] = 30
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny, sort_keys=False))
    whole = start(file, tmp_path / "whole")
    printed, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, printed
    chance = random.Random(2)
    parts = tmp_path / "parts"
    half_done = 0
    for done, jobs in ((0, 1), (1, 2), (3, 1)):  # kill while the first, the second and the fourth cell are under way
        process = start(file, parts, jobs)
        deadline = time.monotonic() + 120
        while len(list(parts.glob("cells/*/result.json"))) < done or not list(parts.glob("cells/*/progress.pt")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        half_done += bool(list(parts.glob("cells/*/progress.pt")))
    assert half_done >= 2, "too few kills found a cell half done; the test proves too little"
    last = start(file, parts)
    printed, _ = last.communicate(timeout=200)
    assert last.returncode == 0, printed
    names = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    timed = {"timing.json", "run.json", "report.html", ".lock"}
    compared = sorted(name for name in names if name.name not in timed)
    assert Path("table.csv") in compared
    for name in compared:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    left_over = [path.name for path in (tmp_path / "parts").rglob("*.pt")]
    assert left_over == []


@pytest.mark.parametrize("method", ["fam_review", "fam_layer"])
def test_maps_that_a_last_relu_cannot_reach_are_told(tiny: dict[str, Any], method: str) -> None:
    from overtone.study.check import check

    row = {"name": method, "teachers": ["signal"], "pairs": {"stage2": "stage2.pre", "stage3": "stage3"}}
    settings = [{"final_relu": True}, {"final_relu": False}, {"final_relu": True, "pairs": {"stage3": "stage3"}}]
    tiny["student"]["model"] = "wrn10-0.25"
    tiny["methods"] = [{**row, "label": f"row {number}", **own} for number, own in enumerate(settings)]
    told = [warning for warning in check(plan_of(tiny)).warnings if "ReLU" in warning]
    pattern = (
        r"row 0 from signal: stage2\.pre of teacher signal is negative in \d+ % of its values, which the last ReLU of "
        rf"{method} cannot reach; use final_relu: false"
    )
    assert len(told) == 1
    assert re.fullmatch(pattern, told[0]), told


@pytest.mark.parametrize(("name", "first"), [("wrn16-1", 0), ("wrn10-0.25", 2)])
def test_channels_come_last_but_where_torch_would_corrupt_its_memory(name: str, first: int) -> None:
    """Two shortcuts of a wide ResNet of width 0.25 are strided 1x1 convolutions, of four and of eight channels."""
    model = placed(torch.device("cpu"), build(name, (3, 16, 16), 5))
    inputs = []
    for conv in model.modules():
        if isinstance(conv, torch.nn.Conv2d):
            conv.register_forward_hook(lambda module, args, out: inputs.append((module, args[0])))
    x = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
    for _ in range(3):
        inputs.clear()
        model(x).sum().backward()
    found = [
        (module, held)
        for module, held in inputs
        if held.is_contiguous() and not held.is_contiguous(memory_format=torch.channels_last)
    ]
    assert [module.kernel_size for module, _ in found] == [(1, 1)] * first
    assert all(module.weight.is_contiguous() for module, _ in found)
    others = [module for module, _ in inputs if module.kernel_size == (3, 3)]
    assert all(module.weight.is_contiguous(memory_format=torch.channels_last) for module in others)


def test_methods_that_couple_a_batch_are_named_where_several_processes_share_it() -> None:
    methods = {name: configure(name, {}) for name in ("kd", "sp", "rkd", "fused")}
    assert coupled(methods, 64, 1) == coupled({"kd": methods["kd"]}, 64, 2) == []
    (note,) = coupled(methods, 64, 2)
    assert note.startswith("sp, rkd couple the samples of a batch; each of the 2 processes sees its share of 32 of 64")
    assert coupled({"sp": methods["sp"]}, 64, 4)[0].startswith("sp couples")
    fused = configure("fused", {"fusion": "gradient_space"})
    assert coupled({"fused": fused}, 64, 4)[0].startswith("fused couples")
