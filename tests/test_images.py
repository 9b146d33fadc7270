"""Image data: CIFAR's forms, the restricted unpickler, splits, augmentation, networks, a study and its student."""

from __future__ import annotations

import copy
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA
from PIL import Image
from typer.testing import CliRunner

from overtone import data, load_student, recipe
from overtone.cli import app
from overtone.data import Standardiser, Windows, split
from overtone.engine.augment_images import ImageAugment
from overtone.engine.schedule import mix
from overtone.errors import InputError
from overtone.models import build
from overtone.new_data import Columns, read_windows
from overtone.plain_pickle import read_plain
from overtone.recipe import AugmentSettings, DataSettings, SplitSettings
from overtone.study import Plan, collect, execute, make_plan
from overtone.tap import Tap, probe

CLASSES = ["apple", "bear", "cloud", "dolphin"]
TRAIN, TEST = 80, 24


def images(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images whose brightness tells their class, (N, 3, 32, 32) bytes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = generator.integers(0, 60, (count, 3, 32, 32)) + 60 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


def write_archive(folder: Path, name: str = "cifar100") -> Path:
    """The python archive's unpacked form, as Python 2 would have written it: protocol 2, keys in bytes."""
    inner = folder / {"cifar100": "cifar-100-python", "cifar10": "cifar-10-batches-py"}[name]
    inner.mkdir(parents=True)

    def write(file: str, held: dict[bytes, Any]) -> None:
        (inner / file).write_bytes(pickle.dumps(held, protocol=2))

    key = b"fine_labels" if name == "cifar100" else b"labels"
    x, y = images(TRAIN, 0)
    test_x, test_y = images(TEST, 1)
    names = [c.encode() for c in CLASSES]
    if name == "cifar100":
        coarse = {b"coarse_labels": (y // 2).tolist()}
        write("train", {b"data": x.reshape(TRAIN, -1), key: y.tolist(), **coarse})
        write(
            "test", {b"data": test_x.reshape(TEST, -1), key: test_y.tolist(), b"coarse_labels": (test_y // 2).tolist()}
        )
        write("meta", {b"fine_label_names": names, b"coarse_label_names": [b"red things", b"blue things"]})
    else:
        for number, part in enumerate(np.array_split(np.arange(TRAIN), 5), start=1):
            write(f"data_batch_{number}", {b"data": x[part].reshape(len(part), -1), key: y[part].tolist()})
        write("test_batch", {b"data": test_x.reshape(TEST, -1), key: test_y.tolist()})
        write("batches.meta", {b"label_names": names})
    return inner


def load(path: Path, name: str = "cifar100", **settings: Any) -> Windows:
    return data.load(DataSettings(name=name, path=str(path), **settings))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "held")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_archive_is_read_in_every_form(name: str, tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "held", name)
    packed = tmp_path / f"{'cifar-100' if name == 'cifar100' else 'cifar-10'}-python.tar.gz"
    with tarfile.open(packed, "w:gz") as held:
        held.add(inner, inner.name)
    x, y = images(TRAIN, 0)
    for path in (inner, inner.parent, packed, packed.parent):
        windows = load(path, name)
        assert windows.x.dtype == np.uint8
        assert np.array_equal(windows.x[:TRAIN], x)
        assert np.array_equal(windows.y[:TRAIN], y)
        assert windows.classes == tuple(CLASSES)
        assert windows.official_test is not None
        assert windows.official_test.sum() == TEST


def test_sheets_are_read(tmp_path: Path) -> None:
    count = 1000
    x = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    sheet = x.reshape(25, 40, 32, 32, 3).swapaxes(1, 2).reshape(800, 1280, 3)
    labels = np.arange(count) % 2
    for side in ("train", "test"):
        Image.fromarray(sheet).save(tmp_path / f"{side}_00.webp", lossless=True)
    names = {f"{kind}_names": np.array(["a", "b"]) for kind in ("fine", "coarse")}
    arrays = {f"{kind}_{side}": labels for kind in ("fine", "coarse") for side in ("train", "test")}
    np.savez(tmp_path / "labels.npz", **arrays, **names)
    windows = load(tmp_path)
    assert np.array_equal(windows.x[:count], x.transpose(0, 3, 1, 2))
    assert np.array_equal(windows.y, np.tile(labels, 2))
    (tmp_path / "test_00.webp").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"test_00\.webp cannot be read"):
        load(tmp_path)


def test_classes_and_numbers_can_be_chosen(archive: Path) -> None:
    windows = load(archive, classes=["cloud", "apple"], train_per_class=3, test_per_class=2)
    assert windows.classes == ("cloud", "apple")
    assert np.bincount(windows.y).tolist() == [5, 5]
    x, y = images(TRAIN, 0)
    assert np.array_equal(windows.x[windows.y == 0][:3], x[y == CLASSES.index("cloud")][:3])
    assert load(archive, labels="coarse").classes == ("red things", "blue things")
    assert len(load(archive, classes=2).classes) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["appel", "bear"]}, "unknown class 'appel'; did you mean 'apple'"),
        ({"classes": 5}, "classes must be 2 to 4, got 5"),
        ({"classes": ["apple"]}, "at least two classes"),
        ({"window": 10}, "images, which have no window"),
        ({"labels": "fien"}, "fien"),
        ({"train_per_class": 0}, "train_per_class"),
    ],
)
def test_wrong_settings(archive: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(archive, **settings)


def test_a_wrong_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERTONE_DATA", raising=False)
    with pytest.raises(InputError, match="cifar100 was not found"):
        data.load(DataSettings(name="cifar100"))
    with pytest.raises(InputError, match=r"no folder cifar-100-python, no cifar-100-python\.tar\.gz, no labels\.npz"):
        load(tmp_path)
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(InputError, match="cannot be read from the archive"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", [True, False])
def test_where_an_archive_may_lie(
    name: str, packed: bool, below: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of the set's name or not; below OVERTONE_DATA or in data.path; beside other sets."""
    inner = write_archive(tmp_path / name if below else tmp_path, name)
    if packed:
        with tarfile.open(inner.parent / f"{name.replace('cifar', 'cifar-')}-python.tar.gz", "w:gz") as held:
            held.add(inner, inner.name)
        shutil.rmtree(inner)
    write_archive(tmp_path, "cifar10" if name == "cifar100" else "cifar100")
    for other in ("test", "labels.npz"):
        (tmp_path / other).write_bytes(b"of another set")
    monkeypatch.setenv("OVERTONE_DATA", str(tmp_path))
    assert len(data.load(DataSettings(name=name))) == TRAIN + TEST
    (tmp_path / "test").unlink()
    (tmp_path / "labels.npz").unlink()
    monkeypatch.delenv("OVERTONE_DATA")
    assert len(load(tmp_path, name)) == TRAIN + TEST


def test_no_place_is_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cifar100", "uci_har"):
        monkeypatch.delenv("OVERTONE_DATA", raising=False)
        for path in (tmp_path, None):
            with pytest.raises(InputError) as caught:
                data.load(DataSettings.model_validate({"name": name, **({"path": str(path)} if path else {})}))
            places = str(caught.value).split("looked")[1].split(")")[0].removeprefix(" in").removeprefix(":").split(",")
            assert len({place.strip() for place in places}) == len(places)
            monkeypatch.setenv("OVERTONE_DATA", str(tmp_path))


WRONG_LABELS: list[Any] = [
    ["apple"] * TRAIN,
    [None] * TRAIN,
    [[0]] * TRAIN,
    [[0], 1] * (TRAIN // 2),
    [0.5] * TRAIN,
    [0] * (TRAIN - 1) + [7],
    [-1] + [0] * (TRAIN - 1),
    [4] + [0] * (TRAIN - 1),
    [2**70] * TRAIN,
    [0] * (TRAIN - 1),
    [True] * TRAIN,
    [],
    {},
    None,
    3,
    b"0" * TRAIN,
    np.zeros((TRAIN, 1), dtype=np.int64),
]


@pytest.mark.parametrize("value", WRONG_LABELS, ids=lambda v: f"{v!r:.24}")
@pytest.mark.parametrize("file", ["train", "test"])
def test_wrong_labels_of_an_archive(archive: Path, file: str, value: Any) -> None:
    held = pickle.loads((archive / file).read_bytes(), encoding="bytes")
    held[b"fine_labels"] = value
    (archive / file).write_bytes(pickle.dumps(held, protocol=2))
    with pytest.raises(InputError, match=rf"{file}(: fine_labels)?(:| must be whole numbers from 0 to 3)"):
        load(archive)


@pytest.mark.parametrize(
    "value",
    [[[0] * 3072, [0] * 5], [], None, b"", "x", np.zeros((0, 3072), np.uint8), np.zeros((TRAIN, 3072)), np.uint8(3)],
    ids=lambda v: f"{v!r:.24}",
)
def test_wrong_data_of_an_archive(archive: Path, value: Any) -> None:
    held = pickle.loads((archive / "train").read_bytes(), encoding="bytes")
    held[b"data"] = value
    (archive / "train").write_bytes(pickle.dumps(held, protocol=2))
    with pytest.raises(InputError, match="train: "):
        load(archive)


@pytest.mark.parametrize(
    "value",
    [None, [], 3, b"apple", [1, 2, 3, 4], [["a"], ["b"]], [b"a", b"b", b"a", b"c"], {b"a": 1}],
    ids=lambda v: f"{v!r:.24}",
)
def test_wrong_names_of_an_archive(archive: Path, value: Any) -> None:
    (archive / "meta").write_bytes(pickle.dumps({b"fine_label_names": value}, protocol=2))
    with pytest.raises(InputError, match="meta: fine_label_names must"):
        load(archive)


def test_fewer_names_than_labels(archive: Path) -> None:
    (archive / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"a", b"b"]}, protocol=2))
    with pytest.raises(InputError, match=r"train: fine_labels must be .* 0 to 1, since 2 classes are named; got 2 at"):
        load(archive)
    (archive / "meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}, protocol=2))
    with pytest.raises(InputError, match="meta: 'fine_label_names' is missing; did you mean 'label_names'"):
        load(archive)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("fine_train", np.full(1000, 2)),
        ("fine_test", np.full(1000, -1)),
        ("fine_train", np.zeros(1000)),
        ("fine_test", np.array(["a"] * 1000)),
        ("fine_train", np.zeros((1000, 1), np.int64)),
        ("fine_names", np.array(["a", "a"])),
        ("fine_names", np.arange(2)),
        ("fine_names", np.array("a")),
    ],
)
def test_wrong_labels_of_sheets(tmp_path: Path, array: str, value: Any) -> None:
    for side in ("train", "test"):
        Image.fromarray(np.zeros((800, 1280, 3), np.uint8)).save(tmp_path / f"{side}_00.webp", lossless=True)
    labels = np.arange(1000) % 2
    arrays = {"fine_train": labels, "fine_test": labels, "fine_names": np.array(["a", "b"])}
    np.savez(tmp_path / "labels.npz", **{**arrays, array: value})
    with pytest.raises(InputError, match=rf"labels\.npz: {array} must"):
        load(tmp_path)


def test_empty_bytes_are_plain() -> None:
    """Python 3 writes them in protocol 2 as a call of bytes, which here takes no arguments."""
    empty = np.zeros((0, 3072), np.uint8)
    held = read_plain(pickle.dumps({"data": empty, "x": b""}, protocol=2), "here")
    assert held["data"].shape == (0, 3072)
    assert held["x"] == b""
    with pytest.raises(InputError, match="cannot be read as plain data"):
        read_plain(b"\x80\x02c__builtin__\nbytes\nK\x05\x85R.", "here")


class Evil:
    """Would run a command when it is unpickled the usual way."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("echo unpickled > /dev/null",)


def test_a_pickle_that_could_run_code_is_refused(archive: Path) -> None:
    (archive / "meta").write_bytes(pickle.dumps({b"fine_label_names": Evil()}, protocol=2))
    with pytest.raises(InputError, match=r"meta: cannot be read as plain data \(it asks for posix\.system"):
        load(archive)


@pytest.mark.parametrize("name", ["builtins eval", "builtins getattr", "numpy load", "copyreg _reconstructor"])
def test_only_what_arrays_need_is_allowed(name: str) -> None:
    module, function = name.split()
    content = f"c{module}\n{function}\n.".encode()
    with pytest.raises(InputError, match="which plain data do not need"):
        read_plain(content, "here")


def test_a_damaged_archive_gives_one_message(archive: Path) -> None:
    whole = (archive / "train").read_bytes()
    generator = np.random.default_rng(0)
    refused = []
    for _ in range(60):
        content = bytearray(whole[: generator.integers(0, 400)] if generator.random() < 0.3 else whole)
        for position in generator.integers(0, min(len(content), 300) or 1, 3):
            if position < len(content):
                content[position] = generator.integers(0, 256)
        (archive / "train").write_bytes(bytes(content))
        try:
            load(archive)  # anything but our own error fails the test
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 30  # the others hit a byte that changes no structure
    assert all(str(archive) in said for said in refused)


def test_official_split_of_images(archive: Path) -> None:
    windows = load(archive)
    fold = split(windows, SplitSettings(by="window", scheme="official", val=0.25))[0]
    assert [len(fold.train), len(fold.val), len(fold.test)] == [60, 20, TEST]
    assert np.bincount(windows.y[fold.val]).tolist() == [5, 5, 5, 5]
    assert not set(fold.train) & set(fold.val)
    assert sorted([*fold.train, *fold.val]) == list(range(TRAIN))
    assert fold.test.tolist() == list(range(TRAIN, TRAIN + TEST))
    assert len(split(windows, SplitSettings(by="window", scheme="official", val=7))[0].val) == 7
    with pytest.raises(InputError, match="leave none to train on"):
        split(windows, SplitSettings(by="window", scheme="official", val=80))
    with pytest.raises(InputError, match="these images have no groups; use split"):
        split(windows, SplitSettings(scheme="official"))


def standardiser() -> Standardiser:
    return Standardiser((10.0, 20.0, 30.0), (2.0, 4.0, 5.0))


def test_standardisation_of_images(archive: Path) -> None:
    windows = load(archive)
    found = Standardiser.fit(windows.x, np.arange(TRAIN))
    x = windows.x[:TRAIN].astype(np.float64)
    np.testing.assert_allclose(found.mean, x.mean((0, 2, 3)))
    np.testing.assert_allclose(found.std, x.std((0, 2, 3)))
    made = found(torch.from_numpy(windows.x[:TRAIN]))
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


def test_crops_and_mirror_images_by_a_slow_loop() -> None:
    x = torch.randn(40, 3, 6, 5)
    index = torch.arange(100, 140)
    augment = ImageAugment(AugmentSettings(crop=2, flip=0.5), standardiser(), seed=3)
    found = augment(x, index, epoch=7)
    black = torch.tensor([-5.0, -5.0, -6.0])
    seen = set()
    for row in range(40):
        matches = []
        for mirrored in (False, True):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    expected = black[:, None, None].expand(3, 6, 5).clone()
                    for h in range(6):
                        for w in range(5):
                            source = (h + down, (4 - w if mirrored else w) + right)
                            if 0 <= source[0] < 6 and 0 <= source[1] < 5:
                                expected[:, h, w] = x[row, :, source[0], source[1]]
                    if torch.equal(expected, found[row]):
                        matches.append((mirrored, down, right))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 20  # of 50 possible ones
    assert {m for m, _, _ in seen} == {False, True}


def test_augmentation_depends_on_sample_and_epoch_only() -> None:
    x = torch.randn(1, 3, 8, 8).expand(30, -1, -1, -1)
    augment = ImageAugment(AugmentSettings(crop=3, flip=0.5), standardiser(), seed=0)
    index = torch.arange(30)
    whole, again, later = augment(x, index, 1), augment(x, index, 1), augment(x, index, 2)
    assert torch.equal(whole, again)
    assert not torch.equal(whole, later)
    assert torch.equal(augment(x[5:9], index[5:9], 1), whole[5:9])
    off = ImageAugment(AugmentSettings(crop=0, flip=0.0), standardiser(), seed=0)
    assert torch.equal(off(x, index, 1), x)


def test_draws_are_spread_evenly() -> None:
    from overtone.engine.augment_images import draws_of

    draws = draws_of(mix(0, 1, "augment"), np.arange(20000))
    assert draws.shape == (3, 20000)
    assert 0 <= draws.min() < 0.001
    assert 0.999 < draws.max() < 1
    for values in draws:
        counts = np.histogram(values, 9, (0, 1))[0]
        assert abs(counts / 20000 * 9 - 1).max() < 0.08
    assert abs(np.corrcoef(draws) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_residual_networks(depth: int, millions: float) -> None:
    """Sizes with 10 classes and shortcuts without parameters, as He et al. give them in table 6."""
    projecting, padding = build(f"resnet{depth}", (3, 32, 32), 10), build(f"resnet{depth}-a", (3, 32, 32), 10)
    shortcuts = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    count = sum(p.numel() for p in padding.parameters())
    assert sum(p.numel() for p in projecting.parameters()) == count + shortcuts
    assert count / 1e6 == pytest.approx(millions, rel=0.02)
    spec = probe(Tap(projecting), torch.randn(2, 3, 32, 32))
    assert spec.stages["stage1"].shape == (16, 32, 32)
    assert spec.stages["stage3"].shape == spec.stages["stage3.pre"].shape == (64, 8, 8)
    assert spec.embedding == 64
    one = probe(Tap(build(f"resnet{depth}", (4, 50), 3)), torch.randn(2, 4, 50))
    assert one.stages["stage3"].shape == (64, 13)


def test_wrong_depths() -> None:
    with pytest.raises(InputError, match=r"depth of 6n \+ 2 .*torchvision:resnet18"):
        build("resnet18", (3, 32, 32), 10)


@pytest.mark.data
@pytest.mark.parametrize(("depth", "accuracy", "size"), [(20, 0.904, 269_722), (56, 0.923, 853_018)])
def test_trained_weights_score_as_stated(depth: int, accuracy: float, size: int) -> None:
    folder = DATA / "models_cifar10"
    with np.load(folder / f"resnet{depth}_cifar10.npz", allow_pickle=False) as held:
        state = {name: torch.from_numpy(held[name]) for name in held.files}
    with np.load(folder / "cifar10_test_1000.npz", allow_pickle=False) as held:
        x, y = torch.from_numpy(held["x"]).permute(0, 3, 1, 2), held["y"]
    model = build(f"resnet{depth}-a", (3, 32, 32), 10).eval()
    model.load_state_dict(state)
    assert sum(p.numel() for p in model.parameters()) == size
    scale = Standardiser((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
    with torch.no_grad():
        found = model(scale(x)).argmax(1).numpy()
    assert (found == y).mean() == pytest.approx(accuracy, abs=5e-4)


@pytest.mark.data
def test_the_real_data() -> None:
    windows = load(DATA / "cifar100")
    assert windows.x.shape == (60000, 3, 32, 32)
    assert set(np.bincount(windows.y)) == {600}
    found = Standardiser.fit(windows.x, np.arange(50000))
    np.testing.assert_allclose(np.array(found.mean) / 255, [0.50707516, 0.48654887, 0.44091784], atol=1e-7)
    np.testing.assert_allclose(np.array(found.std) / 255, [0.26733429, 0.25643846, 0.27615047], atol=1e-7)


def study(path: Path) -> dict[str, Any]:
    return {
        "name": "images",
        "data": {"name": "cifar100", "path": str(path)},
        "split": {"by": "window", "scheme": "official", "val": 0.2},
        "teachers": {"big": {"view": "image", "model": "wrn10-0.5", "epochs": 2}},
        "student": {"view": "image", "model": "resnet8", "epochs": 2},
        "train": {"batch": 16, "lr": 0.02, "augment": {"crop": 4, "flip": 0.5}},
        "methods": ["none", "fam_review"],
    }


def planned(values: dict[str, Any]) -> Plan:
    made = recipe.validate(values)
    return make_plan(made, data.load(made.data))


def test_a_study_of_images(archive: Path, tmp_path: Path) -> None:
    plan = planned(study(archive))
    out = tmp_path / "out"
    assert execute(plan, out) == {}
    rows = {row.id: row for row in collect(out)}
    assert rows["fam_review-big"].adapters is not None
    assert rows["fam_review-big"].adapters > 0 == rows["none"].adapters
    result = CliRunner().invoke(app, ["report", str(out)])
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "person" not in page

    key = plan.rows[0].cells[0, 0][0]
    student = load_student(out / "cells" / key / "student.safetensors")
    test = np.flatnonzero(plan.windows.official_test)
    held = np.load(out / "cells" / key / "predictions.npz")
    with torch.no_grad():
        logits = student(torch.from_numpy(plan.windows.x[test]))
    np.testing.assert_allclose(logits.numpy(), held["best.logits"], rtol=1e-4, atol=1e-4)
    images = tmp_path / "images.npz"
    np.savez(images, X=plan.windows.x[test], y=np.array(CLASSES)[plan.windows.y[test]])
    given = read_windows(images, student, Columns(), None, labelled=True)
    assert np.array_equal(given.windows.y, plan.windows.y[test])
    for command in (["predict", "--out", str(tmp_path / "p.csv")], ["evaluate"]):
        name, *rest = command
        path = str(out / "cells" / key / "student.safetensors")
        done = CliRunner().invoke(app, [name, path, str(images), *rest])
        assert done.exit_code == 0, done.output
    assert len((tmp_path / "p.csv").read_text().splitlines()) == TEST + 1
    np.savez(images, X=np.zeros((2, 3, 16, 16), np.uint8))
    with pytest.raises(InputError, match=r"X must be \(N, 3, 32, 32\).*got \(2, 3, 16, 16\)"):
        read_windows(images, student, Columns(), None, labelled=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "student.view",
            "signal",
            "view 'signal' is made from signals, but data 'cifar100' holds images; use view: image",
        ),
        ("student.view", "gaf", "view 'gaf' is made from signals"),
        ("train.augment", {"jitter": 0.1}, "train.augment.jitter is for signals, the data holds images"),
        ("split", {"test": 1}, "these images have no groups"),
        (
            "train.augment",
            {"crop": 9},
            r"train\.augment\.crop 9 is more than a quarter of the images' side, 32 pixels; use 8 or less",
        ),
    ],
)
def test_what_does_not_fit_images(archive: Path, key: str, value: Any, message: str) -> None:
    values = copy.deepcopy(study(archive))
    *path, last = key.split(".")
    at: Any = values
    for part in path:
        at = at[part]
    at[last] = value
    with pytest.raises(InputError, match=message):
        planned(values)


def test_what_does_not_fit_signals(tiny: dict[str, Any]) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            planned(tiny)

    tiny["train"]["augment"] = {"crop": 4}
    refused(r"train\.augment\.crop is for images, the data holds signals")
    tiny["train"]["augment"] = {}
    tiny["student"]["view"] = "image"
    refused("view 'image' is made from images, but data 'watch' holds signals; use view: signal")
