"""Images in files: folders of classes, how they are cut, and training on them."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import DATA
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from typer.testing import CliRunner

from overtone import data, recipe
from overtone.cli import app
from overtone.data import ImageFiles, Standardiser, Windows, leaks, split
from overtone.data.image_files import image_names
from overtone.distill import Distillation
from overtone.engine import Callback, Job, Samples, loop
from overtone.engine.augment_images import random_crop
from overtone.engine.prefetch import num_workers, read_ahead
from overtone.errors import InputError
from overtone.models import build
from overtone.recipe import AugmentSettings, DataSettings, SplitSettings, TrainSettings, WeightSettings
from overtone.study import collect, execute, make_plan
from overtone.tap import Tap, probe
from overtone.types import Progress
from overtone.views import Image as ImageView

SIDE = 16
CLASSES = ("cat", "dog", "newt")


def draw(path: Path, size: tuple[int, int], seed: int, mode: str = "RGB") -> None:
    """An image of noise, losslessly kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve training and four test images of each of three classes, of different sizes and kinds."""
    root = tmp_path / "images"
    for side, count in (("train", 12), ("val", 4)):
        for label, name in enumerate(CLASSES):
            for n in range(count):
                size, mode = ((24 + n, 20), "RGB") if n % 3 else ((18, 30), "L")
                draw(root / side / name / f"{n:02d}.png", size, 100 * label + n + (side == "val") * 50, mode)
    return root


def load(folder: Path, name: str = "imagefolder", **settings: Any) -> Windows:
    return data.load(DataSettings.model_validate({"name": name, "path": str(folder), "size": SIDE, **settings}))


def test_a_folder_is_read_as_torchvision_reads_it(folder: Path) -> None:
    windows = load(folder)
    held = ImageFolder(str(folder / "train"))
    assert windows.classes == tuple(held.classes) == CLASSES
    train = np.flatnonzero(~windows.official_test)
    assert windows.y[train].tolist() == held.targets
    assert windows.x.shape == (48, 3, SIDE, SIDE)
    scored = v2.Compose([v2.Resize(round(SIDE * 256 / 224)), v2.CenterCrop(SIDE), v2.PILToTensor()])
    for number in (0, 7, 20):
        image, label = held[number]
        assert torch.equal(torch.from_numpy(windows.x[train[number]].copy()), scored(image))
        assert windows.y[train[number]] == label
    assert np.array_equal(windows.x[np.array([3, 1])], np.stack([windows.x[3], windows.x[1]]))


def test_a_picture_of_the_right_size_stays_as_it_is(tmp_path: Path) -> None:
    for name in CLASSES:
        draw(tmp_path / "train" / name / "a.png", (SIDE, SIDE), 1)
        draw(tmp_path / "val" / name / "a.png", (SIDE, SIDE), 2)
    windows = load(tmp_path)
    with Image.open(tmp_path / "train" / "dog" / "a.png") as image:
        assert np.array_equal(windows.x[1], np.asarray(image).transpose(2, 0, 1))


def test_sides(folder: Path, tmp_path: Path) -> None:
    two = load(folder)
    assert two.groups == ("all images",)
    assert two.official_test.sum() == 12
    fold = split(two, SplitSettings(by="window", scheme="official", val=6))[0]
    assert [len(fold.train), len(fold.val), len(fold.test)] == [30, 6, 12]
    for name in CLASSES:
        for n in range(2):
            draw(folder / "test" / name / f"{n}.png", (20, 20), n)
    three = load(folder)
    assert three.groups == ("val", "train", "test")
    assert three.official_test.sum() == 6
    fold = split(three, SplitSettings(scheme="official"))[0]  # the validation side is there: nothing need be said
    assert (fold.train_groups, fold.val_groups, fold.test_groups) == (("train",), ("val",), ("test",))
    flat = load(folder / "train")
    assert flat.official_test is None
    folds = split(flat, SplitSettings(by="window", scheme="kfold", test=3))
    assert [len(f.test) for f in folds] == [12, 12, 12]


def test_some_classes_and_some_images(folder: Path) -> None:
    windows = load(folder, classes=["newt", "cat"], train_per_class=5, test_per_class=2)
    assert windows.classes == ("newt", "cat")
    assert np.bincount(windows.y[~windows.official_test]).tolist() == [5, 5]
    assert np.bincount(windows.y[windows.official_test]).tolist() == [2, 2]
    assert {name.split("/")[1] for name, y in zip(windows.recordings, windows.y, strict=True) if y == 0} == {"newt"}


@pytest.mark.parametrize(("train", "val"), [("Train", "Val"), ("TRAINING", "test"), ("train", "Testing")])
def test_names_of_sides_may_be_capitalised(train: str, val: str, folder: Path) -> None:
    (folder / "train").rename(folder / train)
    (folder / "val").rename(folder / val)
    windows = load(folder)
    assert windows.classes == CLASSES
    assert windows.official_test.sum() == 12
    assert {windows.recordings[n].split("/")[0] for n in np.flatnonzero(windows.official_test)} == {val}


def test_imagenet_may_be_capitalised(folder: Path) -> None:
    (folder / "train").rename(folder / "Train")
    assert load(folder, "imagenet").official_test.sum() == 12


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("val", "vall", "train needs val or test beside it; is that 'vall'[?] found: train, vall"),
        ("val", "other", "train needs val or test beside it; found: other, train"),
        ("train", "Trian", "val needs train beside it; is that 'Trian'[?] found: Trian, val"),
    ],
)
def test_a_side_without_its_partner_is_refused(old: str, new: str, message: str, folder: Path) -> None:
    (folder / old).rename(folder / new)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_side_is_there_once(folder: Path) -> None:
    draw(folder / "valid" / "cat" / "0.png", (20, 20), 1)
    with pytest.raises(InputError, match="val and valid are the same side; keep one"):
        load(folder)


def test_a_class_may_be_called_train(folder: Path) -> None:
    (folder / "train" / "newt").rename(folder / "train" / "train")
    assert load(folder / "train").classes == ("cat", "dog", "train")


def test_chosen_classes_need_not_be_told_of_others(folder: Path) -> None:
    """A class that one side lacks, or that is empty, is no matter where others are chosen."""
    before = load(folder, classes=["newt", "cat"])
    (folder / "val" / "dog").rename(folder / "val" / ".dog")
    (folder / "val" / "eel").mkdir()
    windows = load(folder, classes=["newt", "cat"])
    assert windows.content == before.content
    assert np.array_equal(windows.y, before.y)
    with pytest.raises(InputError, match=r"1 of 2 classes are not in val, such as 'dog' .*data\.classes"):
        load(folder, classes=2)  # the first two of all names: cat and dog


def test_hidden_folders_are_no_classes(folder: Path) -> None:
    before = load(folder).content
    draw(folder / "train" / ".ipynb_checkpoints" / "a.png", (20, 20), 1)
    draw(folder / "train" / "cat" / ".ipynb_checkpoints" / "a.png", (20, 20), 1)
    draw(folder / ".cache" / "a" / "a.png", (20, 20), 1)
    assert load(folder).content == before
    assert load(folder / "train").classes == CLASSES
    assert len(image_names(folder, "here")) == 48
    draw(folder / "train" / "eel" / ".a.png", (20, 20), 1)
    draw(folder / "val" / "eel" / "a.png", (20, 20), 1)
    with pytest.raises(InputError, match=r"only hidden files are in .*eel"):
        load(folder)


def test_three_sides_by_window_are_refused(folder: Path) -> None:
    for name in CLASSES:
        draw(folder / "test" / name / "0.png", (20, 20), 1)
    message = r"sides are val, train, test, .* train on val too; use split: \{scheme: official\}.*val is the validation"
    with pytest.raises(InputError, match=message):
        split(load(folder), SplitSettings(by="window", scheme="official"))


def test_a_folder_of_classes_is_told_how_it_is_dealt(folder: Path) -> None:
    windows = load(folder / "train")
    for settings in (SplitSettings(by="window", scheme="official"), SplitSettings(scheme="official"), SplitSettings()):
        with pytest.raises(InputError, match=r"use split: \{by: window, scheme: kfold, test: 5\}"):
            split(windows, settings)
    settings = SplitSettings(by="window", scheme="kfold", test=5)
    assert len(split(windows, settings)) == 5
    (told,) = leaks(windows, settings)
    assert told.startswith("split by window: images that belong together may be in training and test")


@pytest.mark.parametrize("name", ["imagefolder", "imagenet"])
def test_archives_are_unpacked_first(name: str, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed" / "set.zip"
    packed.parent.mkdir()
    packed.write_bytes(b"PK")
    for path in (packed, packed.parent):
        with pytest.raises(InputError, match=r"unpack set\.zip first"):
            load(path, name)
    for label in CLASSES:
        (folder / "val" / label).rename(tmp_path / label)
    packed.rename(folder / "val" / "val.tar.gz")
    with pytest.raises(
        InputError, match=r"unpack val\.tar\.gz first|val must hold a folder per class; torchvision unpacks"
    ):
        load(folder, name)
    (folder / "val" / "val.tar.gz").unlink()
    with pytest.raises(InputError, match="val must hold a folder per class"):
        load(folder, name)


@pytest.mark.parametrize("name", ["imagefolder", "imagenet"])
def test_without_any_path_it_is_said_what_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERTONE_DATA", raising=False)
    with pytest.raises(InputError, match=r"neither data\.path nor OVERTONE_DATA is set"):
        data.load(DataSettings.model_validate({"name": name}))


def test_content_follows_names_and_sizes(folder: Path) -> None:
    before = load(folder).content
    assert load(folder).content == before
    draw(folder / "train" / "cat" / "00.png", (40, 40), 0)
    assert load(folder).content != before
    assert load(folder, size=24).content != load(folder).content


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda f: (f / "val" / "newt").rename(f / "val" / "new"), {}, "classes are not in .*'new'"),
        (lambda f: None, {"path": "nowhere"}, "no folder with a folder per class was found .*set data.path"),
        (lambda f: (f / "train" / "eel").mkdir(), {}, "Found no valid file for the classes eel"),
        (lambda f: None, {"classes": ["cat", "dgo"]}, "unknown class 'dgo'; did you mean 'dog'"),
        (lambda f: None, {"classes": 9}, "classes must be 2 to 3, got 9"),
        (lambda f: None, {"siez": 9}, "did you mean 'size'"),
        (lambda f: None, {"window": 9}, "holds images, which have no window or stride"),
    ],
)
def test_what_cannot_be_read(folder: Path, change: Any, settings: dict[str, Any], message: str) -> None:
    change(folder)
    with pytest.raises(InputError, match=message):
        load(folder, **settings)


def test_a_damaged_picture_is_named(folder: Path) -> None:
    (folder / "train" / "dog" / "03.png").write_bytes(b"no image")
    windows = load(folder)
    number = windows.recordings.index("train/dog/03.png")
    with pytest.raises(InputError, match=r"train/dog/03\.png cannot be read as an image"):
        windows.x[number]
    for processes in (0, 1):  # from another process the same sentence arrives, without that process' traceback
        with pytest.raises(InputError, match=r"^data 'imagefolder'.*train/dog/03\.png cannot be read as an image"):
            list(read_ahead(windows.files, [torch.tensor([0, number])], None, processes, pin=False))


def test_imagenet_wants_its_folders_and_keeps_its_own_scale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = load(folder, "imagenet")
    fold = split(windows, SplitSettings(by="window", scheme="official"))[0]
    samples = Samples.fit(windows, fold, {"image": ImageView()}, torch.device("cpu"))
    np.testing.assert_allclose(np.array(samples.standardise.mean) / 255, [0.485, 0.456, 0.406])
    np.testing.assert_allclose(np.array(samples.standardise.std) / 255, [0.229, 0.224, 0.225])
    monkeypatch.setenv("OVERTONE_DATA", str(folder.parent))
    folder.rename(folder.parent / "imagenet")
    found = data.load(DataSettings.model_validate({"name": "imagenet", "size": SIDE}))
    assert found.classes == CLASSES
    val = folder.parent / "imagenet" / "val"
    for place in list(val.iterdir()):
        place.rename(val.parent / f"gone-{place.name}")
    with pytest.raises(InputError, match="val must hold a folder per class; torchvision unpacks"):
        data.load(DataSettings.model_validate({"name": "imagenet", "size": SIDE}))


def test_standardisation_is_that_of_the_training_images(folder: Path) -> None:
    windows = load(folder)
    fold = split(windows, SplitSettings(by="window", scheme="official", val=6))[0]
    samples = Samples.fit(windows, fold, {"image": ImageView()}, torch.device("cpu"))
    pixels = windows.x[fold.train].astype(np.float64)
    np.testing.assert_allclose(samples.standardise.mean, pixels.mean((0, 2, 3)))
    np.testing.assert_allclose(samples.standardise.std, pixels.std((0, 2, 3)))


def test_standardisation_in_parts_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 3, 6, 6), dtype=np.uint8)
    whole = Standardiser.fit(x)
    monkeypatch.setattr("overtone.data.standardise.VALUES", 250)
    np.testing.assert_allclose(Standardiser.fit(x).std, whole.std, rtol=1e-12)


def test_random_crops_depend_on_sample_epoch_and_seed_only(folder: Path) -> None:
    files = load(folder).files
    assert isinstance(files, ImageFiles)
    on = AugmentSettings(resized_crop=0.2)
    crop = random_crop(on, seed=1, epoch=1)
    assert crop is not None
    alone = [torch.from_numpy(files.read(n, crop).copy()) for n in (4, 7, 9)]
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    for processes in (0, 2):
        first, second = read_ahead(files, [torch.tensor([7, 4]), torch.tensor([9])], crop, processes, pin=False)
        assert torch.equal(first, torch.stack([alone[1], alone[0]]))
        assert torch.equal(second, alone[2][None])
    assert torch.equal(torch.rand(1), drawn)  # training's own generator was left alone
    for other in (random_crop(on, seed=1, epoch=2), random_crop(on, seed=2, epoch=1)):
        assert other is not None
        assert not np.array_equal(files.read(4, other), files.read(4, crop))
    assert random_crop(AugmentSettings(), seed=1, epoch=1) is None


def test_random_crops_are_torchvisions(folder: Path) -> None:
    """Of an even ramp: what is cut out spans between the least share and all of it."""
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    path = folder / "ramp.png"
    Image.fromarray(np.stack([ramp] * 3, 2)).save(path)
    files = ImageFiles(folder, ["ramp.png"] * 200, SIDE, "ramp")
    crop = random_crop(AugmentSettings(resized_crop=0.25), seed=0, epoch=1)
    assert crop is not None
    spans = np.array([np.ptp(files.read(n, crop)[0].astype(float).mean(1)) for n in range(200)]) / 255
    assert 0.3 < spans.min() < 0.5  # a quarter of the area at an aspect of 4:3 is 0.43 high
    assert 0.8 < spans.max() <= 1
    with Image.open(path) as image:
        whole = random_crop(AugmentSettings(resized_crop=1.0), seed=0, epoch=1)
        assert whole is not None
        assert np.array_equal(np.asarray(whole(image, 64, 0)), np.asarray(image))


def test_processes_that_read() -> None:
    assert num_workers(3, threads=1, together=1) == 3
    assert num_workers(0, threads=1, together=1) == 0
    assert num_workers(None, threads=10_000, together=1) == 0
    assert 0 <= num_workers(None, threads=1, together=1) <= 8


class _StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, progress: Progress, terms: Mapping[str, torch.Tensor]) -> None:
        if progress.step == self.at:
            raise KeyboardInterrupt


def job(folder: Path, out: Path, processes: int, budget: int) -> Job:
    """Two epochs of five steps, cropped and mirrored, through a network that draws from the global generator."""
    windows = load(folder)
    fold = split(windows, SplitSettings(by="window", scheme="official", val=6))[0]
    samples = Samples.fit(windows, fold, {"image": ImageView()}, torch.device("cpu"), budget, None, processes)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Dropout(0.2), build("resnet8", (3, SIDE, SIDE), 3))
    tap = Tap(model)
    probe(tap, torch.zeros(2, 3, SIDE, SIDE))
    student = Distillation(tap, {}, {"ce": WeightSettings(value=1)}, "image")
    train = TrainSettings(batch=6, lr=0.05, augment=AugmentSettings(resized_crop=0.3, flip=0.5))
    return Job("key", out, student, {}, ("image",), samples, fold, train, 2, seed=3)


@pytest.mark.parametrize("stop", [2, 7])
def test_resumed_equals_undisturbed(stop: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And neither the number of reading processes nor whether images fit into memory changes a digit."""
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    accelerator = Accelerator(cpu=True)
    whole = loop.fit(job(folder, tmp_path / "whole", 0, 2**30), accelerator, Callback())
    with pytest.raises(KeyboardInterrupt):
        loop.fit(job(folder, tmp_path / "parts", 2, 0), accelerator, _StopAt(stop))
    resumed = loop.fit(job(folder, tmp_path / "parts", 1, 0), accelerator, Callback())
    assert resumed.rows == whole.rows
    for name, value in whole.last.items():
        assert torch.equal(resumed.last[name], value), name


def test_a_study_of_images(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From folders to tables, a page and predictions of further images."""
    settings = recipe.validate(
        {
            "name": "images",
            "data": {"name": "imagefolder", "path": str(folder), "size": SIDE},
            "split": {"by": "window", "scheme": "official", "val": 6},
            "teachers": {"big": {"view": "image", "model": "resnet8", "epochs": 1}},
            "student": {"view": "image", "model": "resnet8", "epochs": 1},
            "train": {"batch": 6, "augment": {"resized_crop": 0.5}, "num_workers": 0},
            "methods": ["none", "kd"],
        }
    )
    plan = make_plan(settings, data.load(settings.data))
    out = tmp_path / "out"
    assert execute(plan, out) == {}
    assert {row.id for row in collect(out)} == {"none", "kd-big", "teacher-big"}
    assert CliRunner().invoke(app, ["report", str(out)]).exit_code == 0
    assert "data:image/png;base64," in (out / "report.html").read_text(encoding="utf-8")
    cell = out / "cells" / plan.rows[0].cells[0, 0][0]
    with np.load(cell / "predictions.npz") as held:
        correct = float((held["best.logits"].argmax(1) == held["target"]).mean())
    student = str(cell / "student.safetensors")
    done = CliRunner().invoke(app, ["evaluate", student, str(folder / "val")])
    assert done.exit_code == 0, done.output
    assert f"12 images: accuracy {100 * correct:.1f} %" in done.output
    table = tmp_path / "p.csv"
    for given, count in ((folder / "val", 12), (folder / "val" / "cat" / "00.png", 1)):
        done = CliRunner().invoke(app, ["predict", student, str(given), "--out", str(table), "--force"])
        assert done.exit_code == 0, done.output
        first, *rows = table.read_text().splitlines()
        assert first.startswith("image,class,p(")
        assert len(rows) == count
        assert rows[0].split(",")[0].endswith("00.png")
    for given, message in ((folder / "none", "does not exist"), (tmp_path / "out" / "cells", "no image")):
        done = CliRunner().invoke(app, ["predict", student, str(given)])
        assert done.exit_code == 2
        assert message in " ".join((done.output + done.stderr).split())
    (tmp_path / "more.zip").write_bytes(b"PK")
    done = CliRunner().invoke(app, ["predict", student, str(tmp_path / "more.zip")])
    assert done.exit_code == 2
    assert "unpack more.zip first" in " ".join((done.output + done.stderr).split())
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torchvision" else find(name, *more)
    )
    done = CliRunner().invoke(app, ["predict", student, str(folder / "val" / "cat" / "00.png")])
    assert done.exit_code == 2
    assert "pip install overtone[torchvision]" in " ".join((done.output + done.stderr).split())


def test_crops_of_images_that_are_held_are_refused(tiny: dict[str, Any], folder: Path) -> None:
    windows = load(folder)
    held = Windows(**{**vars(windows), "x": windows.x[:]})
    values = {
        "data": {"name": "imagefolder", "path": str(folder), "size": SIDE},
        "split": {"by": "window", "scheme": "official"},
        "student": {"view": "image", "model": "resnet8"},
        "train": {"batch": 6, "augment": {"resized_crop": 0.5}},
        "methods": ["none"],
    }
    with pytest.raises(InputError, match="resized_crop cuts images in files"):
        make_plan(recipe.validate(values), held)


@pytest.mark.data
def test_real_pictures_are_learned(tmp_path: Path) -> None:
    """Five classes of Tiny-ImageNet: a small network tells them apart better than by chance."""
    with zipfile.ZipFile(DATA / "tiny_imagenet5" / "images.zip") as archive:
        archive.extractall(tmp_path / "set")
    windows = load(tmp_path / "set", size=64, train_per_class=120)
    assert len(windows.classes) == 5
    assert np.bincount(windows.y[windows.official_test]).tolist() == [50] * 5
    settings = recipe.validate(
        {
            "data": {"name": "imagefolder", "path": str(tmp_path / "set"), "size": 32, "train_per_class": 80},
            "split": {"by": "window", "scheme": "official", "val": 50},
            "student": {"view": "image", "model": "resnet8", "epochs": 5},
            "train": {"batch": 25, "lr": 0.05, "augment": {"resized_crop": 0.4, "flip": 0.5}},
            "methods": ["none"],
        }
    )
    plan = make_plan(settings, data.load(settings.data))
    assert execute(plan, tmp_path / "out") == {}
    (row,) = collect(tmp_path / "out")
    assert row.estimates.get(("accuracy", "last")) is not None
    assert row.estimates.get(("accuracy", "last")).mean > 0.3  # by chance 0.2
