"""Detectors in the frame: a whole study of made-up images, resumed, side by side, predicted with, scored and shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from conftest import DATA
from PIL import Image
from typer.testing import CliRunner, Result

from overtone import data
from overtone.cli import app
from overtone.engine import Callback, loop, make_accelerator
from overtone.explain import read
from overtone.recipe import load as load_recipe
from overtone.recipe import shipped
from overtone.study import make_plan
from overtone.study.build import StudyContext, build_cell, views_of
from overtone.study.cell import run_cell
from overtone.types import Progress

SMALL = {"fpn": 16, "proposals": 20, "regions": 8, "box_head": 16, "levels": ["p3", "p4"], "norm": "group"}
runner = CliRunner()


def overtone(*words: str | Path) -> Result:
    alone = ["--jobs", "1"] if words[0] == "run" and "--jobs" not in words else []
    return runner.invoke(app, [*map(str, words), *alone], catch_exceptions=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright squares and wide bars on dark noise, images of two sizes, as COCO lays them out."""
    root, generator = tmp_path_factory.mktemp("boxes"), np.random.default_rng(0)
    categories = [{"id": 7, "name": "square"}, {"id": 3, "name": "bar"}]
    for side, count in (("train", 12), ("val", 4), ("test", 4)):
        (root / side).mkdir()
        (root / "annotations").mkdir(exist_ok=True)
        listed, boxes = [], []
        for number in range(count):
            height, width = ((64, 96), (80, 64))[number % 2]
            pixels = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
            for kind, (wide, high) in ((7, (24, 24)), (3, (48, 12))):
                x, y = int(generator.integers(0, width - wide)), int(generator.integers(0, height - high))
                pixels[y : y + high, x : x + wide] = 250 if kind == 7 else 170
                boxes.append({"id": len(boxes), "image_id": number, "category_id": kind, "bbox": [x, y, wide, high]})
            Image.fromarray(pixels).save(root / side / f"{number}.png")
            listed.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        annotations = [{"area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0, **box} for box in boxes]
        content = {"images": listed, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{side}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def recipe(images: Path) -> dict[str, Any]:
    model = {"view": "image", "model": "fasterrcnn-resnet18-0.25", "arguments": SMALL}
    return {
        "data": {"name": "boxes", "path": str(images), "size": 64, "max_size": 96},
        "split": {"scheme": "official"},
        "teachers": {"big": {**model, "view": "blue_first", "train": {"augment": {}}}},
        "views": {"blue_first": {"type": "image", "order": "bgr", "mean": [0.4, 0.4, 0.4], "std": [1, 1, 1]}},
        "student": {**model, "arguments": {**SMALL, "fpn": 8}},
        "train": {
            "batch": 4,
            "steps": 5,
            "optimizer": "adamw",
            "lr": 1e-3,
            "warmup": 1,
            "augment": {"flip": 0.5, "rescale": 0.7},
        },
        "methods": ["none", {"name": "review", "extras": [{"name": "dkd", "temperature": 1}]}, "fam_layer"],
    }


@pytest.fixture
def recipe_file(recipe: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "cells.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_from_recipe_to_detections(recipe_file: Path, tmp_path: Path, images: Path) -> None:
    out = tmp_path / "out"
    checked = overtone("check", recipe_file)
    assert checked.exit_code == 0, checked.output
    done = overtone("run", recipe_file, "--out", out)
    assert done.exit_code == 0, done.output
    assert "AP75" in done.output
    assert "AP large" not in done.output  # the page and the files have all six
    assert "ap_large_best_mean" in (out / "table.csv").read_text().splitlines()[0]
    student = next(
        path.parent / "student.safetensors"
        for path in out.glob("cells/*/result.json")
        if json.loads(path.read_text())["title"].startswith("review + dkd")
    )
    result = json.loads((student.parent / "result.json").read_text())
    assert result["epochs"] == 2  # three steps, then two of another three
    rows = [json.loads(line) for line in (student.parent / "metrics.jsonl").read_text().splitlines()]
    assert {"objectness", "rpn_box", "classifier", "box", "review.map.big", "dkd.target.big"} <= rows[0]["terms"].keys()

    scored = overtone("evaluate", student, images / "annotations" / "instances_test.json")
    assert f"AP {100 * result['test']['best']['ap']:.1f} %" in " ".join(scored.output.split())
    overtone("predict", student, images / "test", "--out", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert {(one["image_id"], one["file_name"]) for one in found} <= {(n, f"{n}.png") for n in range(4)}
    assert {(one["category_id"], one["category"]) for one in found} <= {(1, "bar"), (2, "square")}

    explained = read(out)
    assert explained is not None
    assert [len(sample["marks"]) for sample in explained.about["samples"]] == [2, 2, 2]
    page = (out / "report.html").read_text()
    assert "What is found" in page
    assert "AP by class" in page


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, progress: Progress, terms: Any) -> None:
        if progress.step == self.at:
            raise Stop


def cells(recipe_file: Path, out: Path) -> Iterator[tuple[Any, Any]]:
    study = load_recipe(str(recipe_file))
    plan = make_plan(study, data.load(study.data))
    context = StudyContext(plan, out, make_accelerator())
    for cell in plan.cells.values():
        yield context.inputs(cell), cell


def test_a_detector_that_is_killed_ends_as_one_that_is_not(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["methods"] = ["none"]
    path = tmp_path / "cells.yaml"
    path.write_text(yaml.safe_dump({**recipe, "teachers": {}, "views": {}}))
    with patch.object(loop, "COMMIT_SECONDS", 0.0):
        ((inputs, cell),) = cells(path, tmp_path / "whole")
        run_cell(inputs, cell, Callback())
        ((stopped, cell),) = cells(path, tmp_path / "parts")
        for step in (1, 3):
            with suppress(Stop):
                run_cell(stopped, cell, StopAt(step))
            assert (tmp_path / "parts" / "cells" / cell.key / "progress.pt").exists()
        run_cell(stopped, cell, Callback())
    for name in ("student.safetensors", "last.safetensors", "metrics.jsonl"):
        whole, parts = (tmp_path / which / "cells" / cell.key / name for which in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name


def test_equal_detectors_agree_on_every_region(recipe_file: Path, tmp_path: Path) -> None:
    """A student whose weights are the teacher's, seen in the same colours: what dkd compares is equal."""
    study = load_recipe(str(recipe_file), ["teachers.big.view=image", "student.arguments.fpn=16", "methods=[dkd]"])
    plan = make_plan(study, data.load(study.data))
    context = StudyContext(plan, tmp_path, make_accelerator())
    cell = next(cell for cell in plan.cells.values() if cell.methods)
    inputs = context.inputs(cell)
    built = build_cell(inputs, cell, fresh_teachers=True)
    student, teacher = built.distillation.student, built.teachers["big"]
    student.model.load_state_dict(teacher.tap.model.state_dict())
    batch = inputs.samples.batch(torch.from_numpy(inputs.fold.train[:3]), views_of(cell, built))
    outputs = {"big": teacher(batch)}
    step = built.distillation.train()(batch, outputs, Progress(1, 1))
    assert {
        name: float(value.detach()) for name, value in step.terms.items() if name.startswith("dkd")
    } == pytest.approx({"dkd.target.big": 0, "dkd.rest.big": 0}, abs=1e-6)
    before = {name: float(value.detach()) for name, value in step.terms.items()}
    optimizer = torch.optim.SGD(built.distillation.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        torch.manual_seed(0)
        built.distillation(batch, outputs, Progress(1, 1)).total.backward()
        optimizer.step()
    torch.manual_seed(0)
    after = built.distillation(batch, outputs, Progress(1, 1))
    assert float(after.total.detach()) < sum(before[name] * w.value for name, w in built.distillation.weights.items())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith(("bccd", "coco"))])
def test_shipped_recipes_of_detection_run_a_few_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row, small; backbones begin with weights in files of torchvision's layout."""
    import torchvision

    monkeypatch.setenv("OVERTONE_DATA", str(DATA))
    monkeypatch.chdir(tmp_path)
    small = ["data.size=64", "data.max_size=96", "train.batch=4", "train.steps=2", "data.train_images=12"]
    small += ["data.test_images=6", "train.num_workers=0", "train.milestones=[1]", "train.warmup=0"]
    study = load_recipe(name)
    if name.startswith("coco"):
        small += ["split.val=4", *([] if "mini" in name else [f"data.path={DATA / 'coco_mini'}"])]
    for model in (study.student, *study.teachers.values()):
        if model.pretrained_backbone is not None:
            stem = model.pretrained_backbone.file.removesuffix(".pth")
            torch.save(torchvision.models.get_model(stem, weights=None).state_dict(), tmp_path / f"{stem}.pth")
    few = {"proposals": 20, "regions": 8, "box_head": 16, "fpn": 16}
    for where in ("student", *(f"teachers.{teacher}" for teacher in study.teachers)):
        small += [f"{where}.arguments.{key}={value}" for key, value in few.items()]
    if name == "bccd":
        text = yaml.safe_load(shipped()[name].read_text())
        for model in (text["student"], *text["teachers"].values()):
            del model["epochs"]
        (tmp_path / "bccd.yaml").write_text(yaml.safe_dump(text))
        name = "bccd.yaml"
    done = overtone("run", name, "--out", tmp_path / "out", *(word for one in small for word in ("--set", one)))
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_two_processes_train_a_detector(recipe_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "overtone"]
    done = subprocess.run(
        [*command, "run", str(recipe_file), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == 5
