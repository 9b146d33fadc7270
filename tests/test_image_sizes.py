"""One picture at two sizes: what the teacher sees and what the student sees, in step, in its file and in predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from test_image_files import SIDE, folder, load  # noqa: F401
from typer.testing import CliRunner

from overtone import data, load_student, recipe
from overtone.cli import app
from overtone.data import split
from overtone.engine import Samples
from overtone.engine.augment_images import ImageAugment
from overtone.errors import InputError
from overtone.recipe import AugmentSettings, SplitSettings
from overtone.study import collect, execute, make_plan
from overtone.views import Image


@pytest.mark.parametrize(("size", "shape"), [(8, (8, 12)), (20, (20, 30)), (5, (5, 8)), (16, (16, 24))])
def test_scaled_as_pillow_scales(size: int, shape: tuple[int, int]) -> None:
    """Smaller, larger, by a share that is no whole number, and not at all; to half a level of 255, which it rounds."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    expected = Picture.fromarray(pixels).resize(shape[::-1], Picture.Resampling.BILINEAR)
    view = Image(size=size)
    rendered = view.render(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), {})
    assert view.shape((16, 24)) == shape == tuple(rendered.shape[2:])
    assert (rendered[0].permute(1, 2, 0).numpy() - np.asarray(expected)).max() <= 1.01
    assert view.cost((16, 24)) == max(16 * 24, shape[0] * shape[1])


def test_impossible_sizes() -> None:
    with pytest.raises(ValueError, match="3000 pixels wide"):
        Image(size=300).shape((10, 100))
    with pytest.raises(ValueError, match="size"):
        Image(size=0)


def test_both_sizes_show_the_same_part(folder: Path) -> None:  # noqa: F811
    """Crops, shifts and mirror images happen once, then each view takes the picture to its size."""
    windows = load(folder)
    fold = next(iter(split(windows, SplitSettings(by="window", scheme="official", val=6))))
    views = {"image": Image(), "small": Image(size=6), "own": Image(size=6, mean=(0.5,) * 3, std=(0.5,) * 3)}
    samples = Samples.fit(windows, fold, views, torch.device("cpu"))
    index = torch.from_numpy(fold.train[:9])
    augment = ImageAugment(AugmentSettings(crop=3, flip=0.5), samples.standardise, 1)
    seen = [
        next(samples.batches([index], views, lambda x, numbers, epoch=epoch: augment(x, numbers, epoch))).views
        for epoch in (1, 2)
    ]
    assert not torch.equal(seen[0]["image"], seen[1]["image"])
    for one in seen:
        assert one["small"].shape == (9, 3, 6, 6)
        torch.testing.assert_close(one["small"], Image(size=6).render(one["image"], {}))
        pixels = one["small"] * torch.tensor(samples.standardise.std)[:, None, None]
        pixels = pixels + torch.tensor(samples.standardise.mean)[:, None, None]
        torch.testing.assert_close(one["own"], (pixels / 255 - 0.5) / 0.5, rtol=1e-4, atol=1e-4)


def test_a_study_of_two_sizes(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    """Teachers see 16 x 16 pixels, the student 8 x 8: trained, explained, shown, and its file used on files."""
    settings = recipe.validate(
        {
            "name": "sizes",
            "data": {
                "name": "imagefolder",
                "path": str(folder),
                "size": SIDE,
                "rename": {"cat": "pet"},
                "drop": ["newt"],
            },
            "split": {"by": "window", "scheme": "official", "val": 6},
            "views": {"small": {"type": "image", "size": 8}},
            "teachers": {"big": {"view": "image", "model": "resnet8", "epochs": 1}},
            "student": {"view": "small", "model": "resnet8", "epochs": 1},
            "train": {"batch": 6, "augment": {"resized_crop": 0.5, "crop": 2, "flip": 0.5}, "num_workers": 0},
            "methods": ["kd"],
        }
    )
    plan = make_plan(settings, data.load(settings.data))
    out = tmp_path / "out"
    assert execute(plan, out) == {}
    assert {row.id for row in collect(out)} == {"kd-big", "teacher-big"}
    for command in (["explain", str(out)], ["report", str(out)]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert "View small: 8 × 8 pixels" in (out / "report.html").read_text(encoding="utf-8")
    cell = out / "cells" / plan.rows[0].cells[0, 0][0]
    student = load_student(cell / "student.safetensors")
    assert student.header.input_shape == (3, 8, 8)
    assert student.header.window == (SIDE, SIDE)
    with np.load(cell / "predictions.npz") as held:
        correct = float((held["best.logits"].argmax(1) == held["target"]).mean())
    done = CliRunner().invoke(app, ["evaluate", str(cell / "student.safetensors"), str(folder / "val")])
    assert done.exit_code == 0, done.output
    assert f"8 images: accuracy {100 * correct:.1f} %" in done.output


def test_sizes_that_cannot_be_are_told(folder: Path) -> None:  # noqa: F811
    values: dict[str, Any] = {
        "name": "sizes",
        "data": {"name": "imagefolder", "path": str(folder), "size": SIDE},
        "views": {"small": {"type": "image", "size": 5000}},
        "split": {"by": "window", "scheme": "official", "val": 6},
        "student": {"view": "small", "model": "resnet8"},
        "methods": ["none"],
    }
    settings = recipe.validate(values)
    with pytest.raises(InputError, match=r"views.small.*at most 2048"):
        make_plan(settings, data.load(settings.data))
