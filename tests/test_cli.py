"""The command as a user calls it: what it prints, what it exits with, and one clear message for every mistake."""

from __future__ import annotations

import errno
import os
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
from conftest import DATA
from test_images import write_archive
from typer.testing import CliRunner, Result

from overtone import data, files, load_student, recipe
from overtone.cli import app
from overtone.data import load as load_data
from overtone.engine import make_accelerator
from overtone.recipe import load as load_recipe
from overtone.recipe import shipped
from overtone.study import build, make_plan
from overtone.study.build import StudyContext, build_cell

runner = CliRunner()


def overtone(*words: str | Path) -> Result:
    """Run a command here; studies in this process unless the test says otherwise (workers cost seconds to start)."""
    alone = ["--jobs", "1"] if words[0] == "run" and "--jobs" not in words and "--help" not in words else []
    return runner.invoke(app, [*(str(word) for word in words), *alone])


def everything(result: Result) -> str:
    """Both streams with line breaks folded, as wrapping depends on the terminal."""
    return " ".join((result.stdout + result.stderr).split())


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['overtone', '--help']\n"
        "from overtone.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for command in ("run", "look", "check", "list", "report"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["run", "look", "check", "list", "report"])
def test_help_of_every_command(command: str) -> None:
    result = overtone(command, "--help")
    assert result.exit_code == 0
    assert "--debug" in everything(result)


def test_version() -> None:
    assert overtone("--version").stdout.startswith("overtone 0.")


def test_a_list_has_one_line_each() -> None:
    from overtone.overview import LISTS

    for what in LISTS:
        assert len(overtone("list", what).stdout.strip().splitlines()) == 1 + len(LISTS[what]())


def test_list_says_what_there_is() -> None:
    text = everything(overtone("list"))
    for name in (
        "watch",
        "npz",
        "signal",
        "gaf",
        "pi",
        "wrn16-3",
        "dscnn-16",
        "kd",
        "aver",
        "weighted",
        "sp",
        "eskd",
        "annsp",
    ):
        assert f" {name} " in text
    methods = overtone("list", "methods").stdout.splitlines()
    assert sum("1 teacher · any student · logits · Hinton et al. 2015" in line for line in methods) == 1
    assert [line.split()[0] for line in methods if "two branches" in line] == ["evidence", "progressive"]
    wrong = overtone("list", "metods")
    assert wrong.exit_code == 2
    assert "did you mean 'methods'?" in everything(wrong)


def test_run_again_and_report(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = overtone("run", recipe_file, "--out", out)
    assert first.exit_code == 0, everything(first)
    text = everything(first)
    assert "5 cells, 0 done, 5 to train" in text
    assert "[5/5] aver from signal, gaf" in text
    assert "report.html" in text
    table = (out / "table.csv").read_bytes()
    for name in ("table.json", "timing.json", "report.html", "study.json"):
        assert (out / name).exists()
    started = time.monotonic()
    second = overtone("run", recipe_file, "--out", out)
    assert second.exit_code == 0
    assert "5 done, nothing to train" in everything(second)
    assert time.monotonic() - started < 10
    (out / "table.csv").unlink()
    (out / "report.html").unlink()
    assert overtone("report", out).exit_code == 0
    assert (out / "table.csv").read_bytes() == table
    assert (out / "report.html").exists()


def test_side_by_side_gives_the_same_table(recipe_file: Path, tmp_path: Path) -> None:
    tables = []
    for jobs in ("1", "2"):
        result = overtone("run", recipe_file, "--out", tmp_path / jobs, "--jobs", jobs)
        assert result.exit_code == 0, everything(result)
        assert ("2 side by side" in everything(result)) == (jobs == "2")
        tables.append((tmp_path / jobs / "table.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_worker_that_dies_fails_its_cell_only(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _process(recipe_file, out, "--jobs", "2", "--set", "student.epochs=60")
    deadline, killed = time.monotonic() + 120, False
    while not killed and time.monotonic() < deadline:
        time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [c for c in children if "multiprocessing.spawn" in Path(f"/proc/{c}/cmdline").read_text()]
        if len(list(out.glob("cells/*/metrics.jsonl"))) >= 2 and workers:
            os.kill(int(workers[0]), signal.SIGKILL)
            killed = True
    printed, _ = process.communicate(timeout=200)
    assert killed
    assert process.returncode == 1, printed
    assert "its process died (exit code -9)" in " ".join(printed.split())
    assert len(list(out.glob("cells/*/result.json"))) >= 2  # the others went on


def test_only_runs_one_cell_and_what_it_needs(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    overtone("run", recipe_file, "--out", out, "--set", "student.epochs=1")
    import json

    study = json.loads((out / "study.json").read_text())
    key = next(key for key, cell in study["cells"].items() if cell["title"].startswith("kd from signal"))
    other = tmp_path / "other"
    result = overtone("run", recipe_file, "--out", other, "--set", "student.epochs=1", "--only", key[:8])
    assert result.exit_code == 0, everything(result)
    assert len(list(other.glob("cells/*/result.json"))) == 2  # the student and its one teacher
    wrong = overtone("run", recipe_file, "--out", other, "--only", "zzz")
    assert wrong.exit_code == 2
    assert "fits 0 of this recipe's 5 cells" in everything(wrong)


def test_check_shows_everything_and_trains_nothing(recipe_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = overtone("check", recipe_file)
    text = everything(result)
    assert result.exit_code == 0, text
    for part in ("who is where", "windows of 04, 05, 06", "stage3 8x8", "kd.kl", "aver.kl", "MACs", "5 cells to train"):
        assert part in text, part
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "less than a second of"), (0.9, "less than a second of"), (75.0, "about 1 min 15 s of")]
)
def test_check_tells_the_time_sensibly(
    seconds: float, text: str, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overtone.study import check
    from overtone.study.cost import Cost

    monkeypatch.setattr(check, "cost_of", lambda *_: Cost(seconds, 2, 0, 0, 0, 0))
    assert f"{text} training with 2 side by side" in everything(overtone("check", recipe_file))


NEED_DATA = ("uci_har", "cifar100", "sp_sw_har")  # how recipes begin whose data are not in any package
NAMES = [name for name in shipped() if not name.startswith(("imagenet", "bccd", "coco"))]
"""See test_imagenet.py and test_detection_study.py for the others."""
FAST = ("watch", "watch-methods-mini", "watch-crossmodal-mini", "cifar100-mini", "sp_sw_har-rotation", "uci_har-fam")
"""Recipes that stand for all in the tests that are run each time; the others are run by ``make slow``."""


def _marked(needing: tuple[str, ...], fast: tuple[str, ...]) -> list[Any]:
    """Every recipe, with the marks of data that it needs and of the time that it takes."""
    return [
        pytest.param(
            name,
            marks=[
                *([pytest.mark.data] if name.startswith(needing) else []),
                *([] if name in fast else [pytest.mark.slow]),
            ],
        )
        for name in NAMES
    ]


RECIPES = _marked(NEED_DATA, ("watch", "cifar100-mini"))
SHORT = _marked(("uci_har", "sp_sw_har"), FAST)
SMALL = {
    "watch-methods": ["data.stride=800", "split.folds=[0]", "seeds=[0]", "student.model=wrn10-0.25", "train.batch=16"],
    "uci_har-methods": ["data.path={folder}/uci_har.npz", "seeds=[0]", "student.model=wrn10-0.25"],
    "watch-crossmodal": [
        *("data.stride=800", "split.folds=[0]", "train.batch=16", "student.model=two_branch-wrn10-0.25"),
    ],
    "watch": ["data.stride=800", "split.folds=[0]", "train.batch=16"],
    "fam-ablation": ["data.stride=800", "split.folds=[0]", "train.batch=16"],
    "uci_har": ["data.path={folder}/uci_har.npz", "seeds=[0]"],
    "sp_sw_har": ["data.stride=4 s", "split.folds=[0]", "seeds=[0]", "train.batch=16"],
    "cifar100": [
        *("data.path={folder}", "data.classes=4", "data.train_per_class=10", "data.test_per_class=5"),
        *("train.batch=16", "seeds=[0]"),
    ],
}
"""What makes a recipe small enough for a test, by how its name begins, besides one epoch and small images."""
SMALL_MODELS = {
    "cifar100-r56": ("resnet8", "resnet8"),
    "cifar100-r110": ("resnet8", "resnet8"),
    "cifar100-r32x4-r8x4": ("resnet8", "resnet8"),
    "cifar100-wrn": ("wrn10-0.25", "wrn10-0.25"),
    "cifar100-vgg": ("vgg8-0.125", "vgg8-0.125"),
    "cifar100-r50": ("mobilenetv1-0.25", "mobilenetv2-0.25"),
    "cifar100-r32x4-shufflev2": ("resnet8", "resnet8"),
}
"""Smaller teachers and students of the same number of stages for the literature's pairs."""
SMALL_TRANSFORMER = {"depth": 4, "embed_dim": 24, "num_heads": 3}


def small_settings(name: str) -> list[str]:
    """What makes the models of a pair of the literature small."""
    if not name.startswith("cifar100-"):
        return []
    teacher, student = next((m for start, m in SMALL_MODELS.items() if name.startswith(start)), (None, None))
    models = [f"student.model={student}", *(f"teachers.{t}.model={teacher}" for t in load_recipe(name).teachers)]
    if "vit_tiny" in name:
        who = "student" if name.endswith("vit_tiny") else "teachers.vit"
        models = [f"{who}.arguments.{key}={value}" for key, value in SMALL_TRANSFORMER.items()]
        models.append("teachers.r56.model=resnet8" if who == "student" else "student.model=resnet8")
        models.append(f"teachers.{'r56' if who == 'student' else 'vit'}.train.batch=16")  # they have one of their own
    return models if teacher or "vit_tiny" in name else []


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in the form of CIFAR-100: decoding all of the real ones takes longer than a recipe made short."""
    return write_archive(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("cifar100-") and "mini" not in name])
def test_the_literatures_pairs_fit_each_other(name: str, tmp_path: Path, photographs: Path) -> None:
    """The models as they are in the recipe: their stages pair, and every adapter is built."""
    few = [setting.format(folder=photographs) for setting in SMALL["cifar100"]]
    few += [f"teachers.{teacher}.train.batch=16" for teacher in load_recipe(name).teachers]
    study = load_recipe(name, few)
    plan = make_plan(study, load_data(study.data))
    context = StudyContext(plan, tmp_path, make_accelerator())
    cells = [plan.cells[row.cells[0, 0][0]] for row in plan.rows if row.kind == "method"]
    built = build_cell(context.inputs(cells[-1]), cells[-1], fresh_teachers=True)
    (levels,) = built.distillation.methods["fam_review"].levels.values()
    stages = min(len(spec.depth_stages()) for spec in (built.student_spec, *built.teacher_specs.values()))
    assert len(levels) == stages + 1
    assert study.methods[0].name == "none"
    published = "vit_tiny" not in name
    assert [row.reference is not None for row in plan.rows if row.label == "kd"] == [published]


CHECKED = [
    recipe for recipe in RECIPES if not str(recipe.values[0]).startswith("cifar100-") or "mini" in recipe.values[0]
]
"""All but the literature's pairs, which are large and start in the tests around this one."""


FEWER = {"watch": "data.stride=200", "fam-ablation": "data.stride=200", "uci_har": "data.path={folder}/uci_har.npz"}
"""Fewer windows for a check, by how a recipe's name begins: diagrams of all take longer than all of its rows."""


@pytest.mark.parametrize("name", CHECKED)
def test_shipped_recipes_pass_check(name: str, tmp_path: Path) -> None:
    """With the models, views and batches of the recipe."""
    if name.startswith("uci_har"):
        _every_tenth(DATA / "uci_har" / "uci_har.npz", tmp_path / "uci_har.npz")
    fewer = [setting.format(folder=tmp_path) for start, setting in FEWER.items() if name.startswith(start)]
    result = overtone("check", name, *(word for setting in fewer for word in ("--set", setting)))
    assert result.exit_code == 0, everything(result)


def _every_tenth(source: Path, target: Path) -> None:
    """A file with a tenth of another's windows."""
    with np.load(source, allow_pickle=False) as held:
        names = {name: held[name] for name in held.files}
    np.savez(target, **{n: a if n in ("channels", "classes") else a[::10] for n, a in names.items()})


@pytest.mark.parametrize("name", SHORT)
def test_shipped_recipes_run_short(
    name: str, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of every recipe, with one epoch, small images and few samples."""
    monkeypatch.setattr(build, "EXAMPLES", 1)  # one window looked at: most of a short study's time goes into its page
    study = load_recipe(name)
    if name.startswith("uci_har"):
        _every_tenth(DATA / "uci_har" / "uci_har.npz", tmp_path / "uci_har.npz")
    folder = photographs if name.startswith("cifar100") else tmp_path
    small = next(small for start, small in SMALL.items() if name.startswith(start))
    settings = [*(setting.format(folder=folder) for setting in small), *small_settings(name)]
    epochs = 5 if "progressive" in str(study.methods) else 1  # its phases are fifths
    settings = [*settings, f"student.epochs={epochs}", *(f"teachers.{teacher}.epochs=1" for teacher in study.teachers)]
    settings += [f"views.{view}.size=8" for view in study.views]
    if name.startswith(("watch", "fam-ablation")):
        settings += [f"teachers.{teacher}.model=wrn10-0.5" for teacher in study.teachers]  # of the same stages
    words = [word for setting in settings for word in ("--set", setting)]
    result = overtone("run", name, "--out", tmp_path / "out", *words)
    assert result.exit_code == 0, everything(result)
    rows = (tmp_path / "out" / "table.csv").read_text().splitlines()[1:]
    ensemble = len(study.teachers) > 1
    parts = 3 if isinstance(study.student.view, tuple) else 1  # the signal branch and the whole without an image
    assert len(rows) == parts * len(study.methods) + len(study.teachers) + ensemble
    assert [row.split(",")[0] for row in rows][-1] == (
        "ensemble" if ensemble else f"teacher {list(study.teachers)[-1]}"
    )


def _npz(path: Path, **changes: Any) -> Path:
    """A small npz that works, with some arrays replaced (None leaves one out)."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "X": generator.normal(size=(48, 2, 32)).astype(np.float32),
        "y": np.arange(48) % 3,
        "group": np.arange(48) // 8,
    }
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **arrays)
    return path


def test_tiny_sides_are_told_by_check_and_on_the_page(tmp_path: Path, tiny: dict[str, Any]) -> None:
    from overtone.study import make_plan
    from overtone.study.describe import describe

    tiny["data"] = {"name": "npz", "path": str(_npz(tmp_path / "x.npz"))}
    tiny["split"] = {"scheme": "leave_groups_out", "test": 3, "folds": [0]}
    tiny["teachers"], tiny["methods"] = {}, ["none"]
    tiny["train"] = {**tiny.get("train", {}), "batch": 8}
    warning = "val has fewer than 20 windows in fold 0 (8)"
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tiny))
    result = overtone("check", tmp_path / "r.yaml")
    assert result.exit_code == 0, everything(result)
    assert warning in everything(result)
    assert "test has fewer" not in everything(result)
    study = recipe.validate(tiny)
    notes = describe(make_plan(study, data.load(study.data))).data.notes
    assert [note[: len(warning)] for note in notes] == [warning]


def test_own_files_say_what_their_groups_are(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """Terminal, page and check speak of machines; the cells' keys are those of the same data without the word."""
    lines = ["machine,label,a,b"]
    for machine in range(4):
        for sample in range(64):
            lines.append(f"m{machine},{'ab'[sample >= 32]},{(sample * 7 + machine) % 11},{sample % 5}")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    tiny["data"] = {
        "name": "csv",
        "path": str(tmp_path / "x.csv"),
        "channels": ["a", "b"],
        "group": "machine",
        "window": 8,
    }
    tiny["split"] = {"test": 1, "val": 1, "folds": [0]}
    tiny["teachers"], tiny["methods"] = {}, ["none"]
    tiny["student"] = {"model": "dscnn-4", "epochs": 1}
    tiny["train"] = {"batch": 8}
    tiny["seeds"] = [0, 1]
    study = recipe.validate(tiny)
    plain = make_plan(study, data.load(study.data))
    tiny["data"]["groups"] = ["machine", "machines"]
    study = recipe.validate(tiny)
    worded = make_plan(study, data.load(study.data))
    assert list(worded.cells) == list(plain.cells)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tiny))
    assert "2 channels (a, b); 4 machines" in everything(overtone("check", tmp_path / "r.yaml"))
    result = overtone("run", tmp_path / "r.yaml", "--out", tmp_path / "out")
    assert "over seeds of one split, not over machines" in everything(result), everything(result)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())
    assert "No machine is on two sides of a fold" in text
    assert "Sides by machine and fold" in text
    assert not re.search(r"\bgroups?\b", text.partition("name: csv")[0], flags=re.IGNORECASE)  # before the recipe
    student = next((tmp_path / "out").glob("cells/*/student.safetensors"))
    assert overtone("evaluate", student, tmp_path / "x.csv").exit_code == 0
    own = {"csv", "folder", "npz", "mat", "ts"}
    assert {name for name, source in data.SOURCES.items() if "groups" in source.model_fields} == own


MISTAKES: list[tuple[str, list[str], str]] = [
    (
        "groups' word",
        ["--set", "data={name: csv, path: x.csv, groups: machine}"],
        "no plural is guessed; got 'machine'",
    ),
    (
        "groups' words",
        ["--set", "data={name: npz, path: x, groups: ['[red]', x]}"],
        "the word for one group and the word",
    ),
    ("method", ["--set", "methods=[kdd]"], "unknown method 'kdd'; did you mean 'kd'?"),
    ("method setting", ["--set", "methods.1.temprature=2"], "unknown key 'temprature'; did you mean 'temperature'?"),
    ("model", ["--set", "student.model=wrm16-1"], "unknown model 'wrm16-1'; did you mean 'wrn16-3'?"),
    ("model for another view", ["--set", "teachers.gaf.model=dscnn-8"], "takes a signal (C, T), but its view gives"),
    ("depth", ["--set", "student.model=wrn15-1"], "depth is 6n + 4"),
    ("data", ["--set", "data.name=wacht"], "unknown data 'wacht'; did you mean 'watch'?"),
    ("data setting", ["--set", "data.patth=x"], "unknown key 'patth'"),
    ("view", ["--set", "teachers.gaf.view=gef"], "unknown view 'gef'; did you mean 'gaf'?"),
    ("view size", ["--set", "views.gaf.size=65"], "larger than the window's 64 samples"),
    ("key", ["--set", "student.epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
    ("type", ["--set", "student.epochs=many"], "student.epochs: "),
    ("range", ["--set", "train.lr=-1"], "train.lr: "),
    ("teacher", ["--set", "methods.1.teachers=[sigal]"], "unknown teacher 'sigal'; did you mean 'signal'?"),
    ("teachers", ["--set", "methods=[{name: kd}]"], "takes 1 teacher, got 2"),
    ("no teachers", ["--set", "teachers={}", "--set", "methods=[aver]"], "needs at least 1 teacher"),
    ("weight", ["--set", "methods.1.weights={kdd: 1}"], "no term is called 'kdd'"),
    ("weights", ["--set", "methods.1.weights={ce: 0, kd: 0}"], "there is nothing to learn"),
    ("folds", ["--set", "split.scheme=kfold", "--set", "split.test=11"], "11 folds need at least 11 groups"),
    ("fold", ["--set", "split.folds=[9]"], "there is no fold 9"),
    ("groups", ["--set", "split.test=10", "--set", "split.folds=[0]"], "leaves none to train on"),
    ("batch", ["--set", "train.batch=5000"], "fewer than one batch of 5000"),
    ("window", ["--set", "data.window=9 h"], "a length is samples (100) or seconds ('2 s')"),
    ("long window", ["--set", "data.window=90 s"], "longer than every recording"),
    ("checkpoint", ["--set", "teachers.gaf.checkpoint=epoch:9"], "checkpoint"),
    ("set", ["--set", "train.lr"], "--set takes a.b=c"),
    ("unused view", ["--set", "views.gef.size=8"], "unknown view 'gef'; did you mean 'gaf'?"),
    ("unused view's setting", ["--set", "views.pi.siz=3"], "unknown key 'siz'; did you mean 'size'?"),
    ("row key", ["--set", "methods=[{name: kd, teacher: [signal]}]"], "did you mean 'teachers'?"),
    ("teachers as a word", ["--set", "methods=[{name: kd, teachers: signal}]"], "a list of names, such as [signal]"),
    ("teachers of none", ["--set", "methods=[{name: none, teachers: [signal]}]"], "'none' has no teachers"),
    ("weight never acts", ["--set", "methods.1.weights={kd: {value: 1, from: 10}}"], "is 0 in all 3 epochs"),
    ("no term left", ["--set", "methods.1.weights={ce: 1, kd: 0}"], "every weight of kd is 0"),
    (
        "no term of a teacher left",
        ["--set", "methods=[{name: sp, weights: {sp.gram.signal: 0, sp.gram.gaf: 0}}]"],
        "every weight of sp is 0",
    ),
    (
        "weight's row",
        ["--set", "methods.1.weights={kdd: 1}"],
        "error: kd from signal: weights: no term is called 'kdd'",
    ),
    ("negatives", ["--set", "methods=[{name: crd, negatives: 100000}]"], "'crd from signal, gaf': fold"),
    ("yes", ["--set", "methods=[{name: aver, temperature: yes}]"], "temperature: a number above 0 is needed, got True"),
    ("twin's batch", ["--set", "train.batch=5000", "--set", "methods=[ann]"], "warm-start twin: fold"),
    ("batch of two", ["--set", "train.batch=2", "--set", "methods=[rkd]"], "needs 3 samples or more"),
    ("no weight at all", ["--set", "methods.1.weights={ce: 0, kd: {value: 1, until: 2}}"], "0 in epoch 3 of 3"),
    ("batch of one", ["--set", "train.batch=1", "--set", "methods=[sp]"], "train.batch 1 is too small"),
]


@pytest.mark.parametrize(("words", "message"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
@pytest.mark.parametrize("command", ["run", "check"])
def test_mistakes_get_one_message(
    command: str, words: list[str], message: str, recipe_file: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[-1] == "teachers.gaf.checkpoint=epoch:9":
        words = [*words, "--set", "methods=[aver]"]
    result = overtone(command, recipe_file, *words)
    text = everything(result)
    assert result.exit_code == 2, text
    assert message in text
    assert text.count("error:") == 1
    assert "Traceback" not in text
    assert not list(tmp_path.glob("runs/*/cells"))


def test_check_tells_how_many_negatives_crd_takes(recipe_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = everything(overtone("check", recipe_file, "--set", "methods=[{name: crd, negatives: 17}, crd, none]"))
    assert text.count("crd tells each sample apart from") == 1
    assert "crd from signal, gaf: crd tells each sample apart from" in text


def test_check_tells_terms_that_are_not_finite(recipe_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """At a power of 100 the maps' energy overflows float32 before anything is trained."""
    monkeypatch.chdir(tmp_path)
    result = overtone("check", recipe_file, "--set", "methods=[{name: at, teachers: [signal], power: 100}]")
    assert result.exit_code == 2
    assert "at from signal: on the first batch, at.map.signal = nan is not finite" in everything(result)
    assert "It is so before any training: look at the settings of at" in everything(result)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got an empty file"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("just text", "a recipe is a mapping"),
        ("data: {name: watch\n", "not valid YAML"),
        ("data: {name: watch}\ndata: {name: npz}\n", "given twice"),
        ("data: {name: watch}\nmethods: [none]\n", "student: missing"),
    ],
)
def test_broken_recipe_files(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    result = overtone("check", path)
    assert result.exit_code == 2
    assert message in everything(result)
    assert "broken.yaml" in everything(result)


def test_unknown_recipes() -> None:
    assert "did you mean 'watch'?" in everything(overtone("run", "wacth"))
    assert "does not exist" in everything(overtone("run", "no/such.yaml"))
    for name in ("wacth", "no/such.yaml"):
        assert overtone("run", name).exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.full((48, 2, 32), np.nan)}, "3072 values are not finite; the first is nan in recording 0"),
        ({"y": np.arange(47)}, "must be equally long, got X (48, 2, 32), y (47,), group (48,)"),
        ({"y": None}, "array 'y' is missing"),
        ({"X": np.zeros((0, 2, 32)), "y": np.zeros(0), "group": np.zeros(0)}, "there are no recordings"),
        ({"group": np.arange(48) // 30}, "leaves none to train on"),
        ({"y": np.zeros(48, dtype=int)}, "at least two classes"),
        ({"group": np.where(np.arange(48) < 9, np.nan, 1.0)}, "group holds 9 NaN or infinite values, first at 0"),
        ({"y": np.where(np.arange(48) < 8, 3, np.arange(48) % 3)}, "class 3 is in test but in no training window"),
        ({"X": np.zeros((48, 32))}, "three axes (N, C, T)"),
        ({"y": np.asarray([{"a": 1}] * 48, dtype=object)}, "never unpickled"),
    ],
)
def test_bad_npz(changes: dict[str, Any], message: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["data"] = {"name": "npz", "path": str(_npz(tmp_path / "x.npz", **changes))}
    tiny["split"] = {"test": 1, "val": 1}
    tiny["train"]["batch"] = 8
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(tiny, sort_keys=False))
    result = overtone("check", file)
    assert result.exit_code == 2, everything(result)
    assert message in everything(result)


def test_npz_works_from_a_path(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["data"] = {"name": "npz", "path": str(_npz(tmp_path / "x.npz"))}
    tiny["split"] = {"scheme": "kfold", "test": 3, "val": 1, "folds": [1]}
    tiny["train"]["batch"] = 8
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(tiny, sort_keys=False))
    result = overtone("run", file, "--out", tmp_path / "out")
    assert result.exit_code == 0, everything(result)
    for name, damage in (("cut", lambda b: b[: len(b) // 2]), ("empty", lambda b: b""), ("text", lambda b: b"hello")):
        broken = tmp_path / f"{name}.npz"
        broken.write_bytes(damage((tmp_path / "x.npz").read_bytes()))
        result = overtone("check", file, "--set", f"data.path={broken}")
        assert result.exit_code == 2, name
        assert f"{name}.npz" in everything(result)


def test_full_disk(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    result = overtone("run", recipe_file, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "No space left on device" in everything(result)
    assert "choose another place with --out" in everything(result)
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_read_only_place(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = overtone("run", recipe_file, "--out", out)
        assert result.exit_code == 2
        assert "Traceback" not in everything(result)
    assert (tmp_path / "file").read_text() == ""


def test_a_folder_with_other_things_is_left_alone(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    result = overtone("run", recipe_file, "--out", tmp_path / "mine")
    assert result.exit_code == 2
    assert "is not empty and holds no study" in everything(result)
    assert sorted(p.name for p in (tmp_path / "mine").iterdir() if p.name != ".lock") == ["thesis.tex"]
    assert overtone("report", tmp_path / "mine").exit_code == 2


def test_failing_cells_exit_with_one_and_say_how_to_run_them(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--set", "teachers.gaf.train={lr: 1.0e+9}"]
    result = overtone("run", recipe_file, "--out", out, *words)
    text = everything(result)
    assert result.exit_code == 1, text
    assert "2 of 5 cells failed" in text
    assert "--only" in text
    assert "teachers.gaf.train={lr: 1.0e+9}" in text
    assert "not finite" in (out / "report.html").read_text()


def _process(recipe_file: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "overtone", "run", str(recipe_file), "--out", str(out), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})


def test_ctrl_c_and_a_second_run_at_the_same_time(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _process(recipe_file, out, "--set", "student.epochs=2000")
    deadline = time.monotonic() + 120
    while not list(out.glob("cells/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    second = overtone("run", recipe_file, "--out", out)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert second.exit_code == 2
    assert "another run is working in" in everything(second)
    assert process.returncode == 130, printed
    assert "Interrupted" in printed
    assert f"overtone run {recipe_file} --set student.epochs=2000 --out {out}" in " ".join(printed.split())
    assert "Traceback" not in printed


def test_two_processes_run_a_study(recipe_file: Path, tmp_path: Path) -> None:
    """Under torchrun as the README says: one study, a global batch, and files that hold what the table tells."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "overtone"]
    out = tmp_path / "out"
    environment = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    done = subprocess.run(
        [*command, "run", str(recipe_file), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("[5/5]") == 1
    assert '"processes": 2' in (out / "timing.json").read_text()
    study = recipe.load(str(recipe_file))
    windows = data.load(study.data)
    for folder in (out / "cells").iterdir():
        held = np.load(folder / "predictions.npz")
        for name, file in (("best", "student"), ("last", "last")):
            logits = load_student(folder / f"{file}.safetensors")(torch.from_numpy(windows.x[held["index"]]))
            np.testing.assert_allclose(logits.detach().numpy(), held[f"{name}.logits"], rtol=1e-3, atol=1e-4)


def test_a_failure_in_one_process_ends_all(recipe_file: Path, tmp_path: Path) -> None:
    """Not finite on one process only: the cell fails on both, and the study goes on."""
    code = (
        "import os\n"
        "from overtone.engine import loop\n"
        "from overtone.errors import NotFiniteError\n"
        "check = loop.check_step\n"
        "def fail(step, distillation, batch, teachers, progress):\n"
        "    if os.environ['RANK'] == '1' and progress.step == 3 and 'gaf' in teachers:\n"
        "        raise NotFiniteError('not finite, on purpose')\n"
        "    check(step, distillation, batch, teachers, progress)\n"
        "loop.check_step = fail\n"
        "from overtone.cli import main; main()\n"
    )
    script = tmp_path / "fail.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*command, "run", str(recipe_file), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    assert "not finite in another process" in done.stdout, done.stdout + done.stderr[-2000:]
    assert "1 of 5 cells failed" in done.stdout


def test_ctrl_c_reaches_a_whole_group_while_workers_start(recipe_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "overtone", "run", str(recipe_file), "--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "example.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # workers are importing torch
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed


def test_filters_that_are_too_large_are_told_by_check(recipe_file: Path) -> None:
    row = "methods=[{name: fam_layer, teachers: [signal], max_parameters: 400}]"
    result = overtone("check", recipe_file, "--set", row)
    assert result.exit_code == 2
    text = everything(result)
    assert "fam_layer, teacher 'signal', its filters of form full would have " in text
    assert "max_parameters allows 400. Use" in text
