"""No traceback: odd outputs, odd names, code of the user's own that raises, Ctrl-C early, and mistakes of ours."""

from __future__ import annotations

import functools
import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_cli import everything, overtone
from test_image_files import draw, folder, load
from typer.testing import CliRunner

from overtone import cli, data, recipe, shell
from overtone.cli import app
from overtone.data.image_files import ImageFiles
from overtone.errors import InputError, own_place, told
from overtone.study import collect, execute, make_plan

assert folder  # a fixture of the tests of images


def started(code: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], text=True, stderr=subprocess.PIPE, timeout=100, **how)


# --- outputs


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_print_an_arrow(charset: str, recipe_file: Path) -> None:
    kd = "methods=[{name: kd, teachers: [signal], label: 걷기 → kd}]"
    runner = CliRunner(charset=charset)
    result = runner.invoke(app, ["check", str(recipe_file), "--set", kd])
    text = result.stdout_bytes.decode(charset)
    assert result.exit_code == 0, text
    arrow = "→" if charset == "utf-8" else "->"
    assert f"stem 2x64 {arrow} stage1 2x64" in text or f" {arrow} stage2" in text
    assert ("걷기 → kd" if charset == "utf-8" else "\\uac77\\uae30 -> kd") in text
    assert ("─" in text) == (charset == "utf-8")
    result = runner.invoke(app, ["list", "methods"])
    assert result.exit_code == 0
    assert ("·" if charset != "ascii" else " - ") in result.stdout_bytes.decode(charset)


STREAMS = """
import os, sys
from overtone.streams import make_printable
make_printable()
print('ok →', file=sys.stdout)
import overtone.cli
"""


def test_a_closed_output_is_no_mistake() -> None:
    """As a shell does for ``>&-``, then as ``| head`` does; without torch, which would take seconds."""
    done = started(STREAMS + "overtone.cli.console.print('→')", preexec_fn=functools.partial(os.close, 1))
    assert (done.returncode, done.stderr) == (0, "")
    reads, writes = os.pipe()
    os.close(reads)
    done = started("import overtone.cli as cli\nfor n in range(99): cli.console.print('x' * 9999)", stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("module", ["typer", "rich.console", "torch", "torch.nn"])
def test_ctrl_c_while_modules_are_imported(module: str) -> None:
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["overtone", "list", "recipes"]
from overtone.__main__ import main
main()
"""
    done = started(code, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (130, "\nInterrupted.\n")


def test_the_script_answers_ctrl_c_first() -> None:
    about = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'overtone = "overtone.__main__:main"' in about


# --- names


@pytest.mark.parametrize("words", [["check", "n" * 300], ["run", "watch", "--out", "n" * 300], ["report", "n" * 300],
                                   ["predict", "n" * 300, "x.npz"], ["check", "watch", "--set", "name=" + "n" * 300],
                                   ["check", "watch", "--set", "data={name: npz, path: " + "n" * 300 + "}"],
                                   ["check", "watch", "--set", "data={name: npz, path: \"a\\0b\"}"],
                                   ["check", "caf\udce9.yaml"], ["report", "caf\udce9"],
                                   ["check", "watch", "--set", "about=caf\udce9"]])  # fmt: skip
def test_names_that_nothing_can_have(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = overtone(*words)
    text = everything(result)
    assert result.exit_code == 2, text
    assert text.count("error:") == 1
    assert "internal" not in text


def test_names_that_are_no_utf8(folder: Path) -> None:
    draw(folder / "train" / "cat" / "caf\udce9.png", (20, 20), 1)
    with pytest.raises(InputError, match=r"recording 'train/cat/caf\\udce9.png' is not named in UTF-8; rename it"):
        load(folder)
    (folder / "train" / "cat" / "caf\udce9.png").unlink()
    for side in ("train", "val"):
        (folder / side / "newt").rename(folder / side / "caf\udce9")
    with pytest.raises(InputError, match=r"class 'caf\\udce9' is not named in UTF-8; rename it"):
        load(folder)


def test_a_folder_of_tables_named_in_another_encoding(tmp_path: Path) -> None:
    for name in ("a_walk.csv", "b_run.csv", "caf\udce9_run.csv"):
        (tmp_path / name).write_text("x\n" + "1\n2\n3\n" * 9)
    given = {"name": "folder", "path": str(tmp_path), "channels": ["x"], "pattern": "(?P<group>[^_]+)_(?P<label>[^.]+)"}
    with pytest.raises(InputError, match=r"group 'caf\\udce9' is not named in UTF-8"):
        data.load(recipe.DataSettings.model_validate(given))


@pytest.mark.parametrize(("kind", "message"), [("pipe", "it is a folder, a pipe or a device, no file"),
                                               ("link", "a link to nowhere, which is not there")])  # fmt: skip
def test_pictures_that_are_no_files(kind: str, message: str, folder: Path) -> None:
    path = folder / "train" / "cat" / "zz.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    windows = load(folder)
    with pytest.raises(InputError, match=rf"train/cat/zz\.png cannot be read .*{message}"):
        assert windows.content
    with pytest.raises(InputError, match=message):
        ImageFiles(path.parent, ["zz.png"], 16, "x")[0]


# --- code of the user's own

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(x.mean(2))

class Trains(Net):
    def forward(self, x):
        if self.training and torch.is_grad_enabled():  # not where it is tried before training
            return {}["logits"]  # HERE
        return super().forward(x)

class Builds(Net):
    def __init__(self, channels, classes):
        raise LookupError("no\\nweights")  # HERE

class Shapes(Net):
    def forward(self, x):
        return self.fc(x)  # HERE

class Leaves(Net):
    def __init__(self, channels, classes):
        raise SystemExit(3)  # HERE

class Odd(Exception):
    def __str__(self):
        raise RuntimeError

def of_one(windows):
    raise ValueError("not so")  # HERE

def of_many(windows):
    if len(windows) > 2:
        raise Odd  # HERE
    return windows
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "breaking.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "breaking", raising=False)
    return tmp_path


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(MINE.splitlines(), 1) if text in line)


OWN = [
    ("model", "Trains", "KeyError: 'logits'", '["logits"]'),
    ("model", "Builds", "LookupError: no weights", "LookupError"),
    ("model", "Shapes", "RuntimeError: mat1 and mat2", "self.fc(x)  #"),
    ("model", "Leaves", "SystemExit: 3", "SystemExit"),
    ("view", "of_one", "ValueError: not so", "not so"),
    ("view", "of_many", "Odd: its message cannot be shown", "raise Odd"),
]


@pytest.mark.parametrize(("part", "name", "message", "line"), OWN, ids=[case[1] for case in OWN])
def test_own_code_that_raises_is_told_with_its_place(
    part: str, name: str, message: str, line: str, tiny: dict[str, Any], mine: Path
) -> None:
    if part == "model":
        tiny["student"]["model"] = f"breaking:{name}"
    else:
        tiny["views"]["mine"] = {"type": f"breaking:{name}"}
        tiny["student"]["view"] = "mine"
    tiny.update(teachers={}, methods=["none"])
    path = mine / "r.yaml"
    path.write_text(yaml.safe_dump(tiny))
    result = overtone("check", path)
    text = everything(result)
    assert result.exit_code == 2, text
    assert f"{message}" in text
    assert f"(breaking.py, line {line_of(line)})" in text
    assert "internal" not in text
    assert "Traceback" not in text
    assert "Traceback" in everything(overtone("check", path, "--debug"))


def test_a_cell_whose_model_raises_fails_alone(tiny: dict[str, Any], mine: Path) -> None:
    tiny["student"]["model"] = "breaking:Trains"
    tiny["teachers"] = {"signal": tiny["teachers"]["signal"]}
    tiny["methods"] = ["none"]
    plan = make_plan(recipe.validate(tiny), data.load(recipe.validate(tiny).data))
    failed = execute(plan, mine / "out")
    where = line_of('["logits"]')
    assert list(failed.values()) == [f"KeyError: 'logits' (breaking.py, line {where})"]
    assert {row.id: row.missing for row in collect(mine / "out")} == {"none": 1, "teacher-signal": 0}


# --- mistakes of ours


def test_what_nobody_thought_of_is_one_line(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_plan", functools.partial(operator.getitem, {}))  # raises for its arguments, in C
    result = overtone("check", recipe_file)
    assert result.exit_code == 1
    assert result.stderr.startswith("internal error: TypeError: getitem expected 2 arguments, got 3. Please report it")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" in overtone("check", recipe_file, "--debug").stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file", "x.csv"), ("error", "x.csv: No such file", 2)),
        (OSError(28, "No space left on device"), ("error", "No space left on device", 2)),
        (MemoryError("9 GiB"), ("error", "this machine has too little memory for that (MemoryError: 9 GiB)", 2)),
        (InputError("so"), ("error", "so", 2)),
    ],
)
def test_what_a_user_can_mend(error: Exception, said: tuple[str, str, int]) -> None:
    assert shell.said(error) == said


def test_an_error_that_was_made_of_ctrl_c() -> None:
    made = ImportError("half a module")
    made.__context__ = KeyboardInterrupt()
    assert shell.while_interrupted(made)
    assert not shell.while_interrupted(ImportError("no module"))


def test_an_error_is_one_line() -> None:
    assert told(KeyError("a\nb")) == "KeyError: 'a\\nb'"
    assert told(ValueError("a\n b")) == "ValueError: a b"
    assert told(ValueError()) == "ValueError"
    assert len(told(ValueError("x" * 9999))) < 520
    with pytest.raises(ValueError, match="negative") as caught:
        np.zeros(-1)
    assert own_place(caught.value).startswith("test_tracebacks.py, line ")
