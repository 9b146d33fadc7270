"""The recipes of ImageNet on a few images: as they are, short, and on two processes that train together."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from overtone import data
from overtone.cli import app
from overtone.engine import make_accelerator
from overtone.errors import InputError
from overtone.recipe import load, shipped
from overtone.study import make_plan
from overtone.study.build import StudyContext, build_cell

RECIPES = [name for name in shipped() if name.startswith("imagenet")]
MODELS = {
    "imagenet-r34-r18": (
        "teachers.r34.model=torchvision:resnet18",
        "student.model=mobilenetv1-0.25",
        "student.at=null",
    ),
    "imagenet-r50-mbv1": ("teachers.r50.model=torchvision:resnet18", "student.model=mobilenetv1-0.25"),
}
"""Smaller models of the same number of stages."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise of different brightness, twelve training and four test images of each."""
    folder = tmp_path_factory.mktemp("data") / "imagenet"
    generator = np.random.default_rng(0)
    for side, count in (("train", 12), ("val", 4)):
        for label in range(3):
            place = folder / side / f"n{label:08d}"
            place.mkdir(parents=True)
            for n in range(count):
                noise = generator.integers(60 * label, 60 * label + 100, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(noise).save(place / f"{n}.JPEG")
    return folder


def settings(name: str, images: Path, *more: str) -> list[str]:
    few = [
        f"data.path={images}",
        "data.size=32",
        "train.batch=6",
        "train.lr=0.01",
        "train.clip=1",  # statistics over three samples per process let gradients grow past float32 on some processors
        "student.epochs=1",
        *MODELS[name],
    ]
    return [*few, *(f"teachers.{teacher}.epochs=1" for teacher in load(name).teachers), *more]


def words(given: list[str]) -> list[str]:
    return [word for setting in given for word in ("--set", setting)]


def test_what_is_shipped() -> None:
    assert set(RECIPES) == set(MODELS)


ROWS = ["none", "kd", "dkd", "dist", "crd", "review", "fam_layer", "fam_review"]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as file:
        return list(csv.DictReader(file))


def together(name: str, out: Path, given: list[str]) -> None:
    """Run a recipe on two processes that train each cell together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "overtone"]
    done = subprocess.run(
        [*command, "run", name, "--out", str(out), *given],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def alone(name: str, out: Path, given: list[str]) -> None:
    result = CliRunner().invoke(app, ["run", name, "--jobs", "1", "--out", str(out), *given])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "run"), [pytest.param("imagenet-r34-r18", together, marks=pytest.mark.slow), ("imagenet-r50-mbv1", alone)]
)
def test_every_row_runs(name: str, run: Callable[..., None], images: Path, tmp_path: Path) -> None:
    """One recipe as on several GPUs, the other on one."""
    run(name, tmp_path, words(settings(name, images)))
    rows = rows_of(tmp_path)
    assert [row["method"] for row in rows][:8] == ROWS
    assert [row["missing"] for row in rows] == ["0"] * 9


@pytest.mark.parametrize("name", RECIPES)
def test_the_models_as_they_are_fit_each_other(name: str, images: Path, tmp_path: Path) -> None:
    """At 224 pixels: four stages and the embedding are paired, and the filters are within what is allowed."""
    study = load(name, [f"data.path={images}", "train.batch=6"])
    plan = make_plan(study, data.load(study.data))
    assert plan.windows.size == (224, 224)
    cell = plan.cells[plan.rows[7].cells[0, 0][0]]
    built = build_cell(StudyContext(plan, tmp_path, make_accelerator()).inputs(cell), cell, fresh_teachers=True)
    (levels,) = built.distillation.methods["fam_review"].levels.values()
    assert [level.student_shape[1:] for level in levels] == [(1, 1), (7, 7), (14, 14), (28, 28), (56, 56)]
    assert [row.reference.value for row in plan.rows if row.label in ("none", "kd", "dkd", "review")] == {
        "imagenet-r34-r18": [69.75, 71.03, 71.70, 71.61],
        "imagenet-r50-mbv1": [68.87, 70.50, 72.05, 72.56],
    }[name]


def test_full_filters_of_the_large_pair_are_refused_before_they_are_made(images: Path, tmp_path: Path) -> None:
    study = load("imagenet-r50-mbv1", [f"data.path={images}", "train.batch=6", "methods.6.form=full"])
    plan = make_plan(study, data.load(study.data))
    cell = plan.cells[plan.rows[6].cells[0, 0][0]]
    with pytest.raises(InputError, match=r"fam_layer, teacher 'r50'.*41\d.*low_rank"):
        build_cell(StudyContext(plan, tmp_path, make_accelerator()).inputs(cell), cell, fresh_teachers=True)


def test_two_processes_equal_one(images: Path, tmp_path: Path) -> None:
    """Losses and weights, where methods see samples one by one and models keep no statistics over a batch: between
    transformers.
    """
    name = "imagenet-r34-r18"
    small = {"patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3}
    transformer = [
        f"{who}.{setting}"
        for who in ("student", "teachers.r34")
        for setting in ("model=timm:vit_tiny_patch16_224", "at=null", *(f"arguments.{k}={v}" for k, v in small.items()))
    ]
    rows = ["methods=[none, {name: kd, weights: {ce: 0.5, kd: 0.5}}, dkd]", "student.epochs=2"]
    given = words([*settings(name, images), *transformer, *rows])
    together(name, tmp_path / "two", given)
    alone(name, tmp_path / "one", given)
    cells = sorted(cell.name for cell in (tmp_path / "one" / "cells").iterdir())
    assert len(cells) == 4
    for cell in cells:
        two, one = (tmp_path / folder / "cells" / cell for folder in ("two", "one"))
        found, expected = load_file(two / "last.safetensors"), load_file(one / "last.safetensors")
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
        totals = [[json.loads(line)["total"] for line in (c / "metrics.jsonl").open()] for c in (two, one)]
        assert totals[0] == pytest.approx(totals[1], rel=1e-4)
