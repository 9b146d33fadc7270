"""A few bytes that stand for gigabytes or years: refused early, with the number."""

from __future__ import annotations

import io
import itertools
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_cli import everything, overtone
from test_images import write_archive

from overtone import cli, data, models, recipe
from overtone.data import Recordings, cifar, cut, fold_numbers, npz, split
from overtone.data.image_files import ImageFiles
from overtone.data.resample import Stream, regular
from overtone.display import duration
from overtone.errors import InputError
from overtone.recipe import DataSettings, Recipe, SplitSettings, shipped
from overtone.study import large, make_plan, size
from overtone.views import Recurrence

NESTED = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NESTED, r"it holds 4e\+09 values, as its aliases repeat them; a recipe has at most 20000"),
        (NESTED.replace("b1: &a1 [*a0", "b1: &a1 [{<<: {c: *a0}}"), "a recipe has at most 20000"),
        ("a: &a [*a]", "a list or mapping holds itself"),
        ("a: " + "[" * 200, "lists and mappings are more than 32 deep"),
        ("a: " + "{b: " * 33 + "}" * 33, "lists and mappings are more than 32 deep"),
        ("- " * 3000, "lists and mappings are more than 32 deep"),
        ("a: " + "9" * 4000, "a number of 4000 characters"),
        ("a: 0x" + "f" * 9_000, "a number of 9002 characters"),
        ("a: " + "1:" * 500 + "1", "a number of 1001 characters"),
        ("about: " + "x" * 200_000, "it has more than 200000 characters"),
        ('about: "\\ud800"', "holds half a character"),
    ],
)
def test_yaml(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        recipe.load(str(path))
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match=f"^--set .*{message}"):
        recipe.load("watch", [f"about={text}"])


def test_aliases_that_people_use_stay(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    text = "data: {name: watch}\nstudent: &model {model: dscnn-4, epochs: 3}\n"
    path.write_text(text + "teachers: {a: *model, b: {<<: *model, epochs: 5}}\nmethods: [kd]\n")
    found = recipe.load(str(path))
    assert [teacher.epochs for teacher in found.teachers.values()] == [3, 5]


def test_devices_and_long_keys() -> None:
    with pytest.raises(InputError, match=r"/dev/zero.* more than 200000 characters"):
        recipe.load("/dev/zero")
    with pytest.raises(InputError, match="1001 names deep; a recipe is at most 32"):
        recipe.load("watch", ["a" + ".a" * 1000 + "=1"])


def test_many_problems_are_counted() -> None:
    with pytest.raises(InputError, match=r"502 problems") as caught:
        recipe.validate({"data": {"name": "watch"}, "methods": [{"name": n} for n in range(500)], "x": 1})
    assert len(str(caught.value).splitlines()) == 22
    assert "and 482 more" in str(caught.value)


HUGE = [
    ("student", "epochs", 1_000_000_000, "student.epochs: at most 100000 is allowed, got 1000000000"),
    ("train", "batch", 10**30, "train.batch: at most 1000000 is allowed, got 1000000000000000000"),
    ("train", "threads", 10**9, "train.threads: at most 1024 is allowed, got 1000000000"),
    ("train", "num_workers", 10**9, "train.num_workers: at most 1024 is allowed"),
    ("train", "lr", 1e308, r"train.lr: at most 1e\+09 is allowed, got 1e\+308"),
    ("train", "weight_decay", 1e308, r"train.weight_decay: at most 1e\+09 is allowed"),
    ("data", "window", 10**12, "a window of 1000000000000 samples is longer than every recording"),
    ("data", "window", "1" + "0" * 17 + " s", "samples is longer than every recording"),
    ("data", "stride", "9" * 30, "is longer than any recording"),
    ("views", "gaf", {"size": 100_000}, "views.gaf: size: at most 2048 is allowed, got 100000"),
    ("views", "pi", {"size": 100_000}, "views.pi: size: at most 2048 is allowed, got 100000"),
    ("views", "pi", {"sigma": 1e308}, r"views.pi: sigma: at most 1e\+09 is allowed"),
    ("views", "mtf", {"bins": 10**9}, "views.mtf: bins: at most 2048 is allowed, got 1000000000"),
    ("views", "recurrence", {"size": 10**9}, "views.recurrence: size: at most 2048 is allowed"),
    ("split", "folds", [10**12], "there is no fold 1000000000000"),
    (None, "name", "n" * 300, "name: a name of letters"),
    (None, "methods", [{"name": "kd", "temperature": 1e308}], r"temperature: at most 1e\+09 is allowed, got 1e\+308"),
    (None, "methods", [{"name": "cam", "temperature": 1e308}], r"temperature: at most 1e\+09 is allowed"),
    (None, "methods", [{"name": "logit_std", "temperature": 1e308}], r"temperature: at most 1e\+09 is allowed"),
    (None, "methods", [{"name": "at", "power": 1e308}], r"power: at most 1e\+09 is allowed"),
    (None, "methods", [{"name": "crd", "width": 10**9}], "width: at most 65536 is allowed"),
    (None, "methods", [{"name": "kd", "weights": {"ce": 1e308}}], r"weights.ce.value: at most 1e\+09 is allowed"),
]


@pytest.fixture(scope="module")
def windows() -> data.Windows:
    return data.load(DataSettings(name="watch", window=64, stride=300))


@pytest.mark.parametrize(("part", "key", "value", "message"), HUGE, ids=[f"{c[0]}.{c[1]}" for c in HUGE])
def test_numbers(
    part: str | None, key: str, value: Any, message: str, tiny: dict[str, Any], windows: data.Windows
) -> None:
    tiny["teachers"] = {"signal": tiny["teachers"]["signal"]}
    tiny["methods"] = ["none", "kd"]
    (tiny[part] if part else tiny)[key] = value

    def plan() -> None:
        study = recipe.validate(tiny)
        make_plan(study, data.load(study.data) if part == "data" else windows)

    with pytest.raises(InputError, match=message):
        plan()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrn10-500", r"6.59e\+09 parameters; the most that is built is 1e\+09"),
        ("two_branch-wrn10-500", r"6.59e\+09 parameters"),
        ("wrn100000-1", "a depth of at most 1000 is needed, got 100000"),
        ("resnet60002", "a depth of at most 1000 is needed, got 60002"),
        ("dscnn-1000000", r"7e\+12 parameters"),
        ("vgg8-1000", r"1.3e\+12 parameters"),
        ("mobilenetv1-1000", "parameters; the most"),
        ("mobilenetv2-1000", "parameters; the most"),
        ("inceptiontime-1000000", "parameters; the most"),
        ("gru-100000", "parameters; the most"),
        ("deepconvlstm-100000", "parameters; the most"),
        ("tinierhar-100000", "parameters; the most"),
        ("patch_transformer999-10000", "parameters; the most"),
        ("patch_transformer60003-8", "a depth of at most 1000 is needed, got 60003"),
        ("dscnn-" + "9" * 400, "a number of more than 9 digits"),
        ("wrn" + "9" * 5000 + "-1", "a number of more than 9 digits"),
    ],
)
def test_models(name: str, message: str) -> None:
    shape = ((6, 64), (6, 8, 8)) if "two_branch" in name else (6, 64)
    with pytest.raises(InputError, match=message):
        models.build(name, shape, 7)


def test_counting_draws_no_random_number() -> None:
    torch.manual_seed(0)
    whole = models.build("wrn10-1", (2, 32), 3).state_dict()
    torch.manual_seed(0)
    direct = models.WideResNet(2, 3, 1, depth=10, width=1.0).state_dict()
    assert all(torch.equal(whole[name], direct[name]) for name in direct)


def test_whole_recurrence_plots_of_long_windows() -> None:
    with pytest.raises(ValueError, match="a plot of 3000 samples has as many pixels per side; set size, at most 2048"):
        Recurrence(size=None).fit(torch.zeros(1, 1, 3000))


# --- files


def npy(shape: str, kind: str = "<f4", content: bytes = bytes(64)) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def plain(array: Any, **how: Any) -> bytes:
    held = io.BytesIO()
    np.save(held, np.asarray(array), **how)
    return held.getvalue()


def packed(path: Path, how: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    good = {"X": plain(np.zeros((6, 2, 8), np.float32)), "y": plain(np.arange(6) % 2), "group": plain(np.arange(6))}
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in {**good, **members}.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"X": npy("(1000000, 1000, 1000)")},
            "says .* of float32, 4000000000000 bytes, but holds 64",
        ),
        ({"y": npy("(10000000000,)", "<i8")}, "'y' says .* 80000000000 bytes, but holds 64"),
        ({"group": npy("(6,)", "<U100000000")}, "'group' says .* 2400000000 bytes, but holds 64"),
        ({"X": npy("(-1, 2, 8)")}, "'X' says .* but holds 64"),
        ({"X": b"no array"}, "'X' is no array of numpy"),
        ({"y": b""}, "'y' is no array of numpy"),
        ({"y": plain(np.array([{}] * 6, object), allow_pickle=True)}, "'y' holds Python objects, which are never"),
        ({"X": plain(np.zeros((6, 2, 8), complex))}, "X must hold numbers, got complex128"),
        ({"X": plain(np.zeros((6, 2, 8), bool))}, "X must hold numbers, got bool"),
        ({"X": plain(np.zeros((6, 2, 8), "M8[s]"))}, "X must hold numbers, got datetime64"),
        ({"y": plain(np.zeros(6, complex))}, "y must hold numbers or names, got complex128"),
        ({"y": plain(np.zeros(6, "M8[s]"))}, "y must hold numbers or names, got datetime64"),
        ({"group": plain(np.zeros(6, "i4,f4"))}, "group must hold numbers or names, got "),
    ],
)
def test_arrays(how: int, members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.npz", how, **members)
    with pytest.raises(InputError, match=message):
        data.load(DataSettings(name="npz", path=str(path)))


def test_arrays_that_unpack_to_very_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = plain(np.zeros((6, 2, 50_000), np.float32))
    monkeypatch.setattr(npz, "BOMB_BYTES", 2**20)
    with pytest.raises(InputError, match=r"'X' unpacks to 2400000 bytes from .* over 200 times as many"):
        npz.read_arrays(packed(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED, X=bomb), ("X",), "x")
    assert npz.read_arrays(packed(tmp_path / "stored.npz", X=bomb), ("X",), "x")["X"].shape == (6, 2, 50_000)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (16, 16)).save(held, "JPEG")
    at = held.getvalue().index(b"\xff\xc0") + 5
    return held.getvalue()[:at] + struct.pack(">HH", height, width) + held.getvalue()[at + 4 :]


def webp(width: int, height: int) -> bytes:
    body = b"WEBPVP8 " + struct.pack("<I", 30) + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(20)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "content", [png(12_000, 12_000), png(100_000, 100_000), jpeg(65_000, 65_000), jpeg(11_000, 12_000)]
)
def test_images(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    files = ImageFiles(tmp_path, ["a.png"], 16, "images")
    with pytest.raises(InputError, match=r"^images: a.png cannot be read as an image .*(144000000|12000 x 12000|"
                       r"10000000000|4225000000|11000 x 12000)"):  # fmt: skip
        files[0]
    (tmp_path / "a.png").write_bytes(webp(16_000, 16_000))
    with pytest.raises(InputError, match="cannot be read as an image"):
        files[0]


def test_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path)
    if path.is_dir():
        with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as held:
            held.add(path, path.name)
        path = tmp_path / "c.tar.gz"
    monkeypatch.setattr(cifar, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=r"it unpacks to \d+ bytes; the published ones have at most 100"):
        data.load(DataSettings(name="cifar100", path=str(path)))


def test_windows_are_counted_before_they_are_cut() -> None:
    long = np.broadcast_to(np.float32(0), (1, 6_000_000))
    recordings = Recordings([long, long], np.array([0, 1]), ["a", "b"], ("x", "y"), ("c",), 100.0, "long")
    with pytest.raises(InputError, match="a stride of 1 samples makes 11999802 windows, more than 5000000"):
        cut(recordings, 100, 1)
    assert len(cut(recordings, 100, 60_000)) == 200


def test_samples_are_counted_before_they_are_interpolated() -> None:
    stream = Stream("r", np.array([0.0, 1.0, 2.0]), np.zeros((3, 1), np.float32), np.zeros(3, np.int64))
    with pytest.raises(InputError, match=r"recording 'r' has 1 Hz, so that 1e.09 Hz would be 1e.09 times as many"):
        regular([stream], 1e9, True, "table")
    with pytest.raises(InputError, match=r"at 1e.09 Hz these are 2e.09 values, more than 1073741824"):
        regular([stream], 1e9, "upsample", "table")


# --- studies


def test_a_study_of_many_cells_asks(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many = ["--set", f"seeds={list(range(5000))}", "--set", "methods=[none]", "--set", "teachers={}"]
    monkeypatch.setattr(size, "MANY_CELLS", 4000)
    text = everything(overtone("run", recipe_file, *many))
    assert "study tiny: 5000 cells (1 folds x 5000 seeds x 1 models), about" in text
    assert "if that is meant, add --yes" in text
    result = overtone("check", recipe_file, *many)
    assert result.exit_code == 0
    assert "The whole study: 5000 cells (1 folds x 5000 seeds x 1 models)" in everything(result)
    assert "overtone run asks for --yes" in everything(result)


def test_a_long_study_asks_and_is_run_with_a_word(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "MANY_STEPS", 10)
    monkeypatch.setattr(cli, "_execute", lambda *_: 0)
    short = ["--set", "methods=[none]", "--set", "teachers={}", "--set", "student.epochs=1", "--out", tmp_path / "out"]
    monkeypatch.setattr(size, "LONG", 1e-9)
    result = overtone("run", recipe_file, *short)
    assert result.exit_code == 2
    assert "1 cells (1 folds x 1 seeds x 1 models), about" in everything(result)
    assert overtone("run", recipe_file, *short, "--yes").exit_code == 0
    monkeypatch.setattr(size, "LONG", 1e9)  # looked at, and found short
    assert overtone("run", recipe_file, *short).exit_code == 0


def test_shipped_studies_never_ask(windows: data.Windows) -> None:
    """Counted with as many folds and windows as the largest of their data have."""
    for name in shipped():
        study = recipe.load(name)
        models_of = [study.student] * len(study.methods) + list(study.teachers.values())
        folds = 1 if study.split.scheme in ("official", "holdout") else 30
        samples = {"imagenet": 1_281_167, "cifar100": 50_000}.get(study.data.name, 10_299)
        assert folds * len(study.seeds) * len(models_of) <= size.MANY_CELLS
        steps = sum(model.epochs * (samples // study.train.batch) for model in models_of)
        assert folds * len(study.seeds) * steps <= size.MANY_STEPS
    watch = recipe.load("watch-methods")
    assert large(watch, windows) is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"test": 3},
        {"scheme": "kfold", "test": 4},
        {"scheme": "kfold", "test": 3, "folds": [2, 0]},
        {"scheme": "holdout", "test": [3, 4]},
        {"by": "recording", "test": 20},
    ],
)
def test_folds_are_counted_as_they_are_made(settings: dict[str, Any], windows: data.Windows) -> None:
    chosen = SplitSettings.model_validate(settings)
    assert fold_numbers(windows, chosen) == [fold.number for fold in split(windows, chosen)]


def test_very_many_folds_are_not_made(tiny: dict[str, Any], windows: data.Windows) -> None:
    tiny["split"] = {"by": "window", "scheme": "kfold", "test": len(windows), "allow_overlap": True}
    tiny["seeds"] = list(range(100))
    found = large(Recipe.model_validate(tiny), windows)
    assert found is not None
    assert found.folds == len(windows)
    assert found.cells == len(windows) * 100 * 5
    assert len(found.one.folds) == 1


def test_long_times_are_said_in_days_and_years() -> None:
    hours = 3600.0
    assert [duration(n * hours) for n in (99, 240, 24 * 800)] == ["99 h 00 min", "10 days", "2.19 years"]


def test_yaml_of_the_allowed_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    groups = [f"{a}{b}{c}" for a, b, c in itertools.product("abcdefghij", repeat=3)]
    path.write_text(yaml.safe_dump({"data": {"name": "watch"}, "split": {"scheme": "holdout", "test": groups},
                                    "student": {"model": "dscnn-4"}, "methods": ["none"]}))  # fmt: skip
    assert recipe.load(str(path)).split.test == groups
