"""Parts of somebody else's: a method, a fusion, views, a source, a model and a task, each in a file outside the
package. They pass the contract, run in one recipe, and what is broken is caught by a sentence.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import broken
import har_files
import my_models
import numpy as np
import pytest
import torch
import yaml
from cases import batch_of
from mat_files import old
from my_tasks import Boxes
from test_boxes import coco, roboflow
from test_image_files import draw
from test_images import write_archive
from torch import nn

from overtone import data, recipe
from overtone.data import SOURCES, Source
from overtone.distill import Distillation
from overtone.errors import InputError
from overtone.lookup import import_class, make_view, source_hash
from overtone.methods import Method, find
from overtone.methods.fused import FUSIONS
from overtone.methods.kd import KD
from overtone.models import FAMILIES, build
from overtone.study import make_plan
from overtone.tasks import Classification, Regression, Task
from overtone.testing import check_fusion, check_method, check_model, check_source, check_task, check_view
from overtone.views import View

HERE = Path(__file__).parent
RECIPE: dict[str, Any] = {
    "name": "strangers",
    "data": {"name": "mine.source:Waves", "people": 6, "task": "mine.task:Graded"},
    "split": {"test": 2, "val": 2, "folds": [0]},
    "views": {"steps": {"type": "mine.view:Steps", "size": 16}, "slow": {"type": "mine.function:slow", "floor": 0.01}},
    "teachers": {
        "net": {"view": "steps", "model": "mine.model:Net", "epochs": 1},
        "slow": {"view": "slow", "model": "dscnn-4", "epochs": 1},
    },
    "student": {"view": "steps", "model": "dscnn-4", "epochs": 1},
    "train": {"batch": 4},
    "methods": [
        {"name": ["kd", "mine.method:Mine"], "teachers": ["net"]},
        {"name": "mine.method:Mine", "teachers": ["net"], "power": 1.5, "weights": {"mine.gap": 0.7}},
        {"name": "fused", "fusion": "mine.fusion:Surest", "arguments": {"least": 0.1}},
    ],
}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with somebody's package ``mine``, from which it can be imported: a file for each kind of part."""
    shutil.copytree(HERE / "strangers", tmp_path / "mine", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[name]


def keys(values: dict[str, Any] = RECIPE) -> dict[str, str]:
    """A cell's key by its title."""
    study = recipe.validate(values)
    cells = make_plan(study, data.load(study.data)).cells.items()
    return {cell.title.partition(" ·")[0]: key for key, cell in cells}


def changed_from(before: dict[str, str]) -> set[str]:
    """Titles of cells that have another key."""
    return {title for title, key in keys().items() if key != before[title]}


# --- a stranger's parts


def test_strangers_hold_the_contract(stranger: Path) -> None:
    check_method("mine.method:Mine", {"power": 1.5})
    check_fusion("mine.fusion:Surest", {"least": 0.1})
    check_view(import_class("mine.view:Steps", View, "view"), {"size": 16})
    check_view("mine.function:slow", {"floor": 0.01})
    check_source(import_class("mine.source:Waves", Source, "data"), {"people": 3})
    check_model("mine.model:Net")
    check_task(import_class("mine.task:Graded", Task, "data.task"))


def test_strangers_run_in_one_recipe_side_by_side(stranger: Path) -> None:
    """Two spawned workers find the folder's package; the page, the student file and its header too."""
    (stranger / "r.yaml").write_text(yaml.safe_dump(RECIPE))

    def overtone(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "overtone", *words], capture_output=True, text=True, timeout=300, cwd=stranger
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    overtone("run", "r.yaml", "--out", "out", "--jobs", "2")
    rows = list(csv.DictReader((stranger / "out" / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows][:3] == ["kd + mine", "mine", "fused"]
    assert all(0 <= float(row["least_last_mean"]) <= 100 for row in rows)
    assert "differences of neighbours" in (stranger / "out" / "report.html").read_text(encoding="utf-8")
    results = [json.loads(path.read_text()) for path in (stranger / "out" / "cells").glob("*/result.json")]
    assert len(results) == 5
    cell = next(r["key"] for r in results if r["title"].startswith("mine from net"))
    file = stranger / "out" / "cells" / cell / "student.safetensors"
    terms = json.loads((file.parent / "metrics.jsonl").read_text().splitlines()[0])["terms"]
    assert set(terms) == {"ce", "mine.gap"}
    from overtone import load_student

    with pytest.raises(InputError, match=r"would import and run 'mine.view:Steps'"):
        load_student(file)
    assert "mine" not in sys.modules
    student = load_student(file, trust={"mine.view:Steps", "mine.task:Graded"})
    assert student(torch.randn(3, 2, 32)).shape == (3, 2)
    study = json.loads((stranger / "out" / "study.json").read_text())
    assert study["views"]["steps"]["axes"] == ["time"]
    assert study["views"]["slow"]["axes"] == ["frequency"]


ALL = {"teacher net", "teacher slow", "kd + mine from net", "mine from net", "fused from net, slow"}


@pytest.mark.parametrize(
    ("file", "line", "cells"),
    [
        ("method", "# another word", {"kd + mine from net", "mine from net"}),
        ("fusion", "SHARPNESS = 3.0", {"fused from net, slow"}),
        ("view", "# another word", ALL - {"teacher slow"}),
        ("function", "KEEP = 11", {"teacher slow", "fused from net, slow"}),
        ("model", "WIDTH = 9", ALL - {"teacher slow"}),
        ("task", "# another word", ALL),
        ("source", "# another word", set()),
    ],
)
def test_a_changed_file_makes_new_cells_of_what_depends_on_it(
    stranger: Path, file: str, line: str, cells: set[str]
) -> None:
    """Whatever in it changed; of a source the content of its data counts."""
    before = keys()
    assert set(before) == ALL
    assert keys() == before
    path = stranger / "mine" / f"{file}.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    forget()
    assert changed_from(before) == cells


def test_what_is_no_class_has_its_own_files_hash(stranger: Path) -> None:
    """Functions of torch in C have none; an object is that of the module that is named, whatever its class."""
    (stranger / "mine" / "__init__.py").write_text(
        "from functools import partial\nfrom mine.fusion import Surest\nfrom mine.function import slow\n"
        "made, half = Surest(0.5), partial(slow, floor=0.5)\n"
    )
    assert source_hash("mine:slow", "view") == source_hash("mine.function:slow", "view")
    assert source_hash("mine:made", "fusion") == source_hash("mine:half", "view")
    assert source_hash("mine:made", "fusion") != source_hash("mine.fusion:Surest", "fusion")
    assert source_hash("torch:cumsum", "view") != source_hash("torch:cumprod", "view")


def test_a_version_makes_new_cells_and_a_file_beside_does_not(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys()
    (stranger / "mine" / "other.py").write_text("x = 1\n")
    assert keys() == before
    monkeypatch.setattr(find("mine.method:Mine"), "VERSION", 2)
    assert changed_from(before) == {"mine from net", "kd + mine from net"}


def test_a_tasks_version_makes_new_cells(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the plain one too, which keys do not name while it is what it was before there were tasks."""
    before = keys(tiny)
    monkeypatch.setattr(Classification, "VERSION", 2)
    assert not set(keys(tiny).values()) & set(before.values())


def test_a_class_is_a_method_in_ones_own_loop(stranger: Path) -> None:
    mine, batch = find("mine.method:Mine"), batch_of(4)
    models = [build("dscnn-4", (3, 32), 5), build("wrn10-0.25", (3, 32), 5)]
    for method in (mine, "mine.method:Mine", [mine, "kd"], {mine: {"power": 1.0}}, KD):
        step = Distillation.between(*models, method, example=batch.views["signal"])(batch.views["signal"], batch.target)
        assert {"mine.gap", "kd.kl"} & set(step.terms)
    loop = Distillation.between(*models, mine, example=batch.views["signal"], power=1.0)
    assert loop.distillation.terms == ("ce", "mine.gap")
    with pytest.raises(InputError, match="each once; got Mine, Mine"):
        Distillation.between(*models, [mine, mine], example=batch.views["signal"])
    with pytest.raises(InputError, match="method 'Linear' is no Method"):
        Distillation.between(*models, nn.Linear, example=batch.views["signal"])
    with pytest.raises(InputError, match=r"method 'Mine'.*power"):
        Distillation.between(*models, mine, example=batch.views["signal"], power=-1)


WRONG = """
from overtone.methods import Method, MethodConfig
from overtone.views import View
from overtone.data import Source
from pydantic import BaseModel

class Other:
    NAME = "other"

class Base(Method):
    NAME, WEIGHTS, terms = "fine", {"ce": 1.0}, ("x",)
    def forward(self, student, teachers, batch, progress):
        return {"x": student.logits.sum(), "y": student.logits.sum()}

class Dotted(Base):
    NAME = "my.method"

class Taken(Base):
    NAME = "kd"

class Keys(Base):
    NAME = "keys"

class Config(Base):
    class Config(BaseModel):
        power: float = 1.0

class Weightless(Method):
    NAME, terms = "light", ("x",)
    def forward(self, student, teachers, batch, progress):
        return {}

class Silent(Method):
    NAME, WEIGHTS, terms = "silent", {"ce": 1.0}, ("x",)

class Blind(View):
    pass

class Empty(Source):
    pass

value = 3
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Other",
            "method 'mine.wrong:Other' is no Method: a class that inherits from overtone.methods.base.Method is ",
        ),
        ("value", "method 'mine.wrong:value' is no Method: .* needed, got int"),
        ("Bas", "method 'mine.wrong:Bas': there is no 'Bas' in mine.wrong; did you mean 'Base'"),
        (
            "Dotted",
            r"needs a NAME of letters, digits, underscores and dashes, which begins its terms; got 'my\.method'",
        ),
        ("Taken", "NAME 'kd' is taken by Overtone; choose another"),
        ("Keys", "NAME 'keys' is taken by Overtone"),
        ("Config", "its Config is no MethodConfig, whose fields are a method's settings; got Config"),
        ("Weightless", "lacks WEIGHTS, the default weight of each term"),
        ("Silent", "method 'mine.wrong:Silent' lacks forward, which every Method must have"),
    ],
)
def test_a_class_that_is_no_method_is_told(stranger: Path, name: str, message: str) -> None:
    (stranger / "mine" / "wrong.py").write_text(WRONG)
    with pytest.raises(InputError, match=message):
        find(f"mine.wrong:{name}")


def test_a_class_that_is_no_view_or_source_is_told(stranger: Path) -> None:
    (stranger / "mine" / "wrong.py").write_text(WRONG)
    for kind, message in {
        "mine.wrong:Other": "views.x: mine.wrong:Other is no View",
        "mine.wrong:Blind": "views.x: mine.wrong:Blind lacks render, which every View must have",
        "mine.view:Steps": "views.x: sise: unknown key 'sise'; did you mean 'size'",
        "mine.view:Nothing": "there is no 'Nothing' in mine.view",
        "mine.nowhere:X": "there is no module 'mine.nowhere'",
    }.items():
        with pytest.raises(InputError, match=message):
            make_view(kind, {"sise": 3}, "views.x")
    assert type(make_view("mine.function:slow", {}, "views.x")).__name__ == "CustomView"
    for name, message in {
        "mine.wrong:Base": "data 'mine.wrong:Base' is no Source",
        "mine.wrong:Empty": "data 'mine.wrong:Empty' lacks load, which every Source must have",
        "wave": "unknown data 'wave'; .*package.module:Class",
    }.items():
        with pytest.raises(InputError, match=message):
            data.load(recipe.DataSettings(name=name))
    with pytest.raises(InputError, match="unknown key 'peopel'; did you mean 'people'"):
        data.load(recipe.DataSettings.model_validate({"name": "mine.source:Waves", "peopel": 3}))


def test_a_row_with_two_methods_of_one_name_is_refused(stranger: Path) -> None:
    (stranger / "mine" / "again.py").write_text("from mine.method import Mine as Base\nclass Mine(Base):\n    pass\n")
    study = recipe.validate({**RECIPE, "methods": [{"name": ["mine.method:Mine", "mine.again:Mine"]}]})
    with pytest.raises(InputError, match=r"a method stands twice in one row: mine\.method:Mine, mine\.again:Mine"):
        make_plan(study, data.load(study.data))


def test_a_term_that_is_not_declared_is_told(stranger: Path) -> None:
    (stranger / "mine" / "wrong.py").write_text(WRONG.replace('{"ce": 1.0}', '{"ce": 1.0, "x": 1.0}'))
    models, batch = [build("dscnn-4", (3, 32), 5), build("wrn10-0.25", (3, 32), 5)], batch_of(4)
    loop = Distillation.between(*models, "mine.wrong:Base", example=batch.views["signal"])
    with pytest.raises(InputError, match=r"fine\.y: not among the terms that the method declares"):
        loop(batch.views["signal"], batch.target)


def test_a_re_exported_class_is_known_by_the_name_that_is_given(stranger: Path) -> None:
    (stranger / "mine" / "__init__.py").write_text("from mine.view import Steps\n")
    from overtone.lookup import view_settings, view_type

    view = make_view("mine:Steps", {"size": 4})
    assert view_type(view) == "mine:Steps"
    assert view_settings(view) == {"channels": None, "size": 4}
    assert view.fingerprint == source_hash("mine.view:Steps", "view") != ""
    (stranger / "mine" / "__init__.py").write_text("from mine.view import Steps\nx = 1\n")
    assert make_view("mine:Steps", {}).fingerprint == view.fingerprint  # of the module that defines it


# --- every source and family of ours is checked (methods: test_contract.py, views: test_views.py)


def of_npz(folder: Path) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(12, 2, 20)).astype(np.float32)
    np.savez(folder / "x.npz", X=x, y=np.arange(12) % 2, group=np.arange(12) // 4)
    return {"path": str(folder / "x.npz")}


def of_csv(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    lines = [f"{n // 30},{n // 10},{random.normal():.3f},{'ab'[n // 10 % 2]}" for n in range(90)]
    (folder / "x.csv").write_text("\n".join(["group,part,ax,label", *lines]))
    return {"path": str(folder / "x.csv"), "recording": "part", "channels": ["ax"]}


def of_folder(folder: Path) -> dict[str, Any]:
    for number in range(4):
        values = np.random.default_rng(number).normal(size=12)
        rows = [f"{value:.3f},{'ab'[number % 2]}" for value in values]
        (folder / f"p{number}.csv").write_text("\n".join(["ax,label", *rows]))
    return {"path": str(folder), "channels": ["ax"]}


def of_images(folder: Path) -> dict[str, Any]:
    for side in ("train", "val"):
        for label in ("cat", "dog"):
            for number in range(3):
                draw(folder / side / label / f"{number}.png", (20 + number, 18), number)
    return {"path": str(folder), "size": 16}


def of_set(name: str, folder: Path) -> dict[str, Any]:
    har_files.MAKERS[name](folder)
    return {"path": str(folder), **({"positions": ["chest", "waist"]} if name == "realworld" else {})}


def of_mat(folder: Path) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(8, 2, 16))
    old(folder / "x.mat", {"X": x, "y": np.arange(8) % 2, "group": np.arange(8) // 2})
    return {"path": str(folder / "x.mat")}


def of_ts(folder: Path) -> dict[str, Any]:
    rows = "\n".join(f"{n},{n + 1},{n % 3}:{'ab'[n % 2]}" for n in range(8))
    (folder / "x.ts").write_text(f"@univariate true\n@classLabel true a b\n@data\n{rows}\n")
    return {"path": str(folder / "x.ts")}


SOURCE_SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "watch": lambda folder: {},
    "npz": of_npz,
    "mat": of_mat,
    "ts": of_ts,
    "csv": of_csv,
    "folder": of_folder,
    "uci_har": lambda folder: {},
    "sp_sw_har": lambda folder: {},
    **{name: partial(of_set, name) for name in har_files.MAKERS if name != "uci_har"},
    "aeon": lambda folder: {"set": "BasicMotions"},
    "cifar10": lambda folder: {"path": str(write_archive(folder, "cifar10"))},
    "cifar100": lambda folder: {"path": str(write_archive(folder))},
    "imagefolder": of_images,
    "imagenet": of_images,
    "boxes": lambda folder: {"path": str(roboflow(folder)), "size": 32},
    "coco": lambda folder: {"path": str(coco(folder, {"train2017": ["a", "b"], "val2017": ["c"]})), "size": 32},
    "bccd": lambda folder: {"path": str(coco(folder)), "size": 32},
}
NEED_DATA = ("uci_har", "sp_sw_har")


def test_every_source_is_checked() -> None:
    assert set(SOURCE_SETTINGS) == set(SOURCES)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.data] if n in NEED_DATA else []) for n in SOURCE_SETTINGS]
)
def test_a_source_holds_the_contract(name: str, tmp_path: Path) -> None:
    assert SOURCES[name].SOURCE
    check_source(SOURCES[name], SOURCE_SETTINGS[name](tmp_path))


LARGE = ("bottleneck",)


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, id=n, marks=[pytest.mark.slow] if n in LARGE else []) for n, f in FAMILIES.items() if not f.task],
)
def test_a_family_holds_the_contract(family: Any) -> None:
    check_model(family.example, (3, 32) if 1 in family.dims else (3, 32, 32))


# --- each check can fail: methods


@pytest.mark.parametrize("kind", [broken.Fine, broken.NotHiding, broken.Honest])
def test_what_is_right_passes(kind: type[Method]) -> None:
    check_method(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (broken.Undeclared, r"must return one value for each of its terms.*got \('gap', 'more'\)"),
        (broken.Weightless, "the term gap has no default weight"),
        (broken.Vector, r"the term gap must be a tensor of one real number.*got \(8,\)"),
        (broken.Detached, "terms give no gradient"),
        (broken.Hiding, r"trains tensors of shapes \[\(5,\)\] that are no parameters of it"),
        (broken.HidingInADict, r"trains tensors of shapes \[\(5,\)\]"),
        (broken.Idle, "no term reaches its parameter idle"),
        (broken.Keeping, "of teacher 'signal', which would be trained and saved with it"),
        (broken.Greedy, "reads more of its teachers than needs\\(\\) names"),
        (broken.Coupled, "so samples interact; say couples_batch = True"),
        (broken.Numbered, "say has_memory_bank = True"),
        (broken.Restless, "changes its state in evaluation"),
        (broken.Forgetful, "other numbers after its state was saved and loaded"),
        (broken.Late, "make all parameters and buffers in __init__"),
        (broken.Random, "draw random numbers with torch only"),
        (broken.Never, "say zero_when_equal = False"),
        (broken.Infinite, "not finite on a batch of 2; say how many samples it needs as min_batch"),
        (broken.Narrow, "under autocast the term fine.gap is torch.bfloat16"),
        (broken.Half, "the gradient of .* is not finite"),
    ],
)
def test_a_broken_method_is_caught(kind: type[Method], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_method(kind)


def test_a_method_that_resumes_with_other_numbers_is_caught() -> None:
    """Its count of steps begins anew in each process: only training that was stopped shows it."""
    with pytest.raises(AssertionError, match="killed and resumed ends with other numbers"):
        check_method(broken.Counting)


def test_a_method_is_held_to_its_contract_on_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets (B, K) of a regression, one or two; and a task whose batches are lists, whose models return losses and
    whose teacher answers to what the student found (``Task.compared``).
    """
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    check_method(broken.Near, task=Regression())
    check_method(broken.Near, task=Regression(targets=("a", "b")), labels=[np.asarray([n, 0.5 * n]) for n in range(5)])
    with pytest.raises(InputError, match="method 'Fine' compares logits, and task regression has none"):
        check_method(broken.Fine, task=Regression())
    events = [np.asarray([[0.1, 0.4], [0.5, 0.9]]), np.asarray([[0.3, 0.6], [np.nan, np.nan]])]
    seen = {"signal": "signal"}  # what the model takes
    check_method(broken.Fine, None, seen, task=Boxes(), labels=events, model="my_tasks:Finder")
    with pytest.raises(AssertionError, match="no term reaches its parameter idle"):
        check_method(broken.Idle, None, seen, task=Boxes(), labels=events, model="my_tasks:Finder")


# --- fusions


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_holds_the_contract_and_has_a_line_on_its_page(name: str) -> None:
    check_fusion(name)
    page = (HERE.parent / "docs" / "methods" / "fused.md").read_text(encoding="utf-8")
    assert re.search(rf"^    {name} ", page, flags=re.MULTILINE)


def test_a_fusion_says_whether_samples_interact() -> None:
    check_method("fused", {"fusion": "gradient_space"})


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (broken.across, r"must return weights \(teachers, samples\) of float32, \(1, 8\) here; got \(8, 1\)"),
        (broken.twice, "must sum to 1 over its 1 teachers .* got 2 to 2"),
        (broken.below, "gives weights below 0, -0.5"),
        (broken.infinite, "gives weights that are not finite"),
        (broken.drawn, "gives other weights when it is asked again"),
        (broken.scored, "fails without the teachers' validation scores; say needs_scores = True"),
        (broken.sometimes_scored, "reads the teachers' validation scores; say needs_scores = True"),
        (broken.labelled, "reads each sample's one class.* say hard_labels = True"),
        (broken.coupled, "gives a sample other weights in another batch; say couples_batch = True"),
        (broken.mapped, "fails on 1 teachers' logits .KeyError: 'final'.; of student and teachers it may read logits"),
    ],
)
def test_a_broken_fusion_is_caught(fusion: Any, message: str) -> None:
    check_fusion(broken.sound)
    with pytest.raises(AssertionError, match=message):
        check_fusion(fusion)


# --- views


def test_a_function_is_held_to_the_contract_of_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    check_view(my_models.squares, {"power": 1.0})
    check_view("my_models:squares")
    with pytest.raises(AssertionError, match=r"my_models:wrong_view cannot be used on windows \(12, 3, 64\): .* must"):
        check_view(my_models.wrong_view)
    with pytest.raises(AssertionError, match="unexpected keyword argument 'size'"):
        check_view(my_models.squares, {"size": 3})
    monkeypatch.setattr(my_models.squares, "AXES", ("time",), raising=False)
    with pytest.raises(AssertionError, match=r"my_models:squares.AXES must name each of its maps' 2 axes, or none"):
        check_view(my_models.squares)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (broken.Deaf, "render gives the same whatever fit found"),
        (broken.Tensors, "fit must return plain numbers and lists"),
        (broken.Nosy, "another view alone than in a batch"),
        (broken.Dice, "draw no random numbers"),
        (broken.Widened, "makes torch.float64 of windows of torch.float32"),
        (broken.Logarithm, "not finite for flat windows"),
        (broken.Writing, "writes into the windows it is given"),
        (broken.Image, "AXES must name each of its maps' 2 axes"),
        (broken.Short, r"shape says \(7,\), but render gives \(64,\)"),
        (broken.Prepared, "say FOLLOWS = False"),
        (broken.Stateless, "STATE names scale, which fit does not return"),
        (broken.Mean, r"must return signals .* got \(12,\)"),
        (broken.Backwards, "extents must give .* each pair rising"),
        (Source, "Source is no View"),
    ],
)
def test_a_broken_view_is_caught(kind: Any, message: str) -> None:
    check_view(broken.Plain)
    with pytest.raises(AssertionError, match=message):
        check_view(kind)


# --- sources


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (broken.Lost, "4 recordings, but 3 in labels"),
        (broken.Unnamed, "y must count from 0 to 1"),
        (broken.Unsteady, "gives other windows when it is loaded again"),
        (broken.Wide, r"must be \(channels, samples\).*got \(1, 10\)"),
        (broken.Holed, "values are not finite"),
        (broken.Nothing, "load must return Recordings, or Windows .* got NoneType"),
        (broken.Plain, "Plain is no Source"),
        (broken.Ungraded, "2 numbers for each window, but 1 targets are named"),
    ],
)
def test_a_broken_source_is_caught(kind: Any, message: str) -> None:
    check_source(broken.Few)
    check_source(broken.Graded)  # its TASK is a regression, whose labels are no class numbers
    with pytest.raises(AssertionError, match=message):
        check_source(kind)


def test_settings_that_no_recipe_can_hold_are_caught() -> None:
    with pytest.raises(AssertionError, match="must be such as a recipe can hold"):
        check_source(broken.Few, {"count": object()})
    with pytest.raises(AssertionError, match="settings of Few: count: a whole number of at least 1 is needed, got 0"):
        check_source(broken.Few, {"count": 0})


# --- models


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (broken.Unseeded, "begins with other weights for the same seed"),
        (broken.Soft, "ends in a softmax"),
        (broken.Unused, "no logit depends on its parameter unused"),
        (broken.Awake, "other logits for the same input in evaluation"),
        (broken.Crowd, "other logits alone than in a batch"),
        (broken.Outside, "once its state is loaded into a new one"),
        (broken.Auxiliary, "in training; only its logits are trained.*return logits only"),
        ("wrn17-1", "wrn17-1"),
    ],
)
def test_a_broken_model_is_caught(kind: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(AssertionError, match=message):
        check_model(kind)


def test_a_sound_model_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    check_model(broken.Net)
    check_model("my_models:Plain")
