"""Where output goes: devices, pipes and links stay what they are, and no text in a CSV runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result

from overtone.cli import app
from overtone.errors import InputError
from overtone.files import Out, remove, replacing, write_atomic, write_json
from overtone.formats.table import TextFormat, open_table
from overtone.models import build
from overtone.sheets import csv_line, guarded, unguarded
from overtone.student import Header, SeenView, save_student
from overtone.study.collect import Estimate, RowValue, TableRow, write_tables
from overtone.study.inspect import sweep
from overtone.study.records import FORMAT, Reference
from overtone.tasks import Classification


def read_back(path: Path) -> dict[str, list[str]]:
    """A table's columns of text, as they were before they were made harmless to spreadsheets."""
    with path.open(newline="") as file:
        header, *rows = [[unguarded(cell) for cell in row] for row in csv.reader(file)]
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def everything(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


def student(path: Path, classes: tuple[str, ...] = ("run", "walk"), channels: tuple[str, ...] = ("ax", "ay")) -> Path:
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 20),
        classes=classes,
        channels=channels,
        rate=10.0,
        window=20,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=(SeenView(type="signal", settings={}, state={}),),
    )
    torch.manual_seed(0)
    save_student(path, build("dscnn-4", (2, 20), len(classes)).state_dict(), header)
    return path


X = np.random.default_rng(0).normal(size=(6, 2, 45)).astype(np.float32)


@pytest.fixture
def words(tmp_path: Path) -> list[str | Path]:
    """A prediction, up to where it goes."""
    np.savez(tmp_path / "x.npz", X=X)
    return ["predict", student(tmp_path / "s.safetensors"), tmp_path / "x.npz", "--out"]


@pytest.fixture
def rows(words: list[str | Path], tmp_path: Path) -> str:
    """What goes there."""
    assert overtone(*words, tmp_path / "expected.csv").exit_code == 0
    return (tmp_path / "expected.csv").read_text()


# Where it goes


def test_standard_output_gets_rows_and_nothing_else(words: list[str | Path], rows: str) -> None:
    result = overtone(*words, "-")
    assert result.exit_code == 0, everything(result)
    assert result.stdout == rows
    assert "12 windows -> standard output" in result.stderr


WRITE = """
import sys
from pathlib import Path
from overtone.files import Out
with Out.named(Path(sys.argv[1]), force=False).open() as file:
    for number in range(int(sys.argv[2])):
        file.write(b"row %d\\n" % number)
        file.flush()
"""


def shell(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run in a shell, with a command ``write PLACE ROWS``."""
    write = f'write() {{ {shlex.quote(sys.executable)} -c {shlex.quote(WRITE)} "$@"; }}'
    command = ["bash", "-c", f"{write}\n{script}", "bash", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_pipes_of_a_shell(tmp_path: Path) -> None:
    ended = shell("write - 100000 | head -n 1; echo ${PIPESTATUS[0]}")
    assert ended.stdout.split() == ["row", "0", "141"]
    assert ended.stderr == ""
    place = tmp_path / "there.txt"
    place.write_text("before\n")
    shell('write /dev/stdout 1 >> "$1"; write >(cat >> "$1") 1; wait $!', place)
    assert place.read_text() == "before\nrow 0\nrow 0\n"
    assert "standard output is closed" in shell("write - 1 >&- || true").stderr


@pytest.mark.slow
def test_the_whole_command_in_a_pipe(words: list[str | Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "long.npz", X=np.zeros((4000, 2, 20), dtype=np.float32))
    command = f"{shlex.quote(sys.executable)} -m overtone.cli predict"
    ended = shell(f'{command} "$1" "$2" -o - | head -n 1; echo ${{PIPESTATUS[0]}}', words[1], tmp_path / "long.npz")
    assert ended.stdout.split() == ["recording,start,start_seconds,class,p(run),p(walk)", "141"]
    assert ended.stderr == ""


def test_a_named_pipe_is_written_through(words: list[str | Path], rows: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for name in (pipe, tmp_path / "link"):
        got: list[str] = []
        reader = threading.Thread(target=lambda got=got: got.append(pipe.read_text()), daemon=True)
        reader.start()
        result = overtone(*words, name, "--force")
        assert result.exit_code == 0, everything(result)
        reader.join(10)
        assert got == [rows]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert (tmp_path / "link").is_symlink()


def test_a_device_is_written_through(words: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    for force in ([], ["--force"]):
        assert overtone(*words, tmp_path / "null", *force).exit_code == 0
    assert (tmp_path / "null").is_symlink()
    assert Path("/dev/null").is_char_device()
    full = overtone(*words, "/dev/full")
    assert full.exit_code == 2
    assert "cannot write /dev/full: No space left on device" in everything(full)
    assert Path("/dev/full").is_char_device()


def test_an_open_file_is_written_at_its_end(words: list[str | Path], rows: str, tmp_path: Path) -> None:
    with (tmp_path / "open.txt").open("w") as file:
        file.write("before\n")
        file.flush()
        result = overtone(*words, f"/dev/fd/{file.fileno()}")
    assert result.exit_code == 0, everything(result)
    assert (tmp_path / "open.txt").read_text() == "before\n" + rows


def test_a_link_to_a_file_stays(words: list[str | Path], rows: str, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    target, link = tmp_path / "else" / "real.csv", tmp_path / "link.csv"
    target.write_text("mine")
    link.symlink_to(target)
    refused = overtone(*words, link)
    assert refused.exit_code == 2
    assert "exists; choose another --out, or --force" in everything(refused)
    assert target.read_text() == "mine"
    assert overtone(*words, link, "--force").exit_code == 0
    assert link.is_symlink()
    assert target.read_text() == rows


def test_what_cannot_be_written_to_is_refused_before_any_work(words: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    held = socket.socket(socket.AF_UNIX)
    held.bind(str(tmp_path / "socket"))
    cases = [("folder", "it is a folder"), ("lost", "a link to what does not exist"), ("socket", "it is a socket")]
    for name, message in [*cases, ("round", "cannot write"), ("x.npz/below", "cannot write")]:
        before = sorted(tmp_path.iterdir())
        result = overtone("predict", tmp_path / "none", tmp_path / "none", "--out", tmp_path / name, "--force")
        assert result.exit_code == 2, everything(result)
        assert message in everything(result)
        assert sorted(tmp_path.iterdir()) == before
    held.close()


def test_what_is_read_is_never_replaced(words: list[str | Path], tmp_path: Path) -> None:
    """Not by force, nor by another name: the model and the data would be gone."""
    _, model, windows, _ = words
    (tmp_path / "link.csv").symlink_to(model)
    os.link(windows, tmp_path / "same.npz")
    before = {path: Path(path).read_bytes() for path in (model, windows)}
    for place in (model, windows, tmp_path / "link.csv", tmp_path / "same.npz"):
        result = overtone(*words, place, "--force")
        assert result.exit_code == 2
        assert "is what is read" in everything(result)
        assert "which is never replaced" in everything(result)
    assert {path: Path(path).read_bytes() for path in before} == before
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"mine")
    result = overtone("predict", model, tmp_path / "images", "--out", tmp_path / "images" / "a.png", "--force")
    assert result.exit_code == 2
    assert "is a file in what is read" in everything(result)
    assert (tmp_path / "images" / "a.png").read_bytes() == b"mine"


def test_a_name_that_is_too_long_gets_the_right_hint(words: list[str | Path], tmp_path: Path) -> None:
    result = overtone(*words, tmp_path / ("a" * 300 + ".csv"))
    assert result.exit_code == 2
    assert "Choose a shorter name" in everything(result)
    assert "Free space" not in everything(result)


def test_disks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sda").touch()
    block = os.stat_result((stat.S_IFBLK | 0o600, 1, 1, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self, **_: block)
    with pytest.raises(InputError, match="it is a disk"):
        Out.named(tmp_path / "sda", force=True)


def test_a_file_of_a_study_replaces_no_pipe_and_no_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"cannot write .*{name}: it is a"):
            write_atomic(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_file_of_a_study_never_goes_through_a_link(tmp_path: Path) -> None:
    """A study from somebody else may hold links to this user's files."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "table.csv").symlink_to(tmp_path / "precious")
    write_atomic(tmp_path / "table.csv", "ours")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "table.csv").read_text() == "ours"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("a"), MemoryError(), SystemExit(143)])
def test_what_is_cut_off_leaves_no_half_file(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "old.csv").write_text("old")

    def write(path: Path) -> None:
        with Out.named(path, force=True).open() as file:
            file.write(b"half")
            file.flush()
            assert len(list(tmp_path.iterdir())) == 2  # the temporary is beside it
            raise error

    for name in ("new.csv", "old.csv"):
        with pytest.raises(type(error)):
            write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"


def test_bad_values_on_the_way_leave_no_file(words: list[str | Path], tmp_path: Path) -> None:
    x = np.zeros((600, 2, 20))
    x[555, 1, 7] = np.nan
    np.savez(tmp_path / "x.npz", X=x)
    result = overtone(*words, tmp_path / "p.csv")
    assert result.exit_code == 2
    assert "the first is nan in recording 555, channel 'ay', sample 7" in everything(result)
    assert not [path for path in tmp_path.iterdir() if "p.csv" in path.name]


def test_a_file_that_is_being_written_has_nobody_elses_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as two:
        one.write(b"1")
        two.write(b"2")
    assert (tmp_path / "a").read_bytes() == b"1"


# What is removed


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine" / "KEY").mkdir(parents=True)
    precious = tmp_path / "mine" / "KEY" / "progress.pt"
    precious.write_text("mine")
    study = tmp_path / "study"
    (study / "cells").mkdir(parents=True)
    (study / "cells" / "KEY").symlink_to(precious.parent)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cells").symlink_to(tmp_path / "mine")
    (study / "error.json").symlink_to(precious)
    for path, within in [("study/cells/KEY", study), ("other/cells/KEY", tmp_path / "other")]:
        remove(tmp_path / path / "progress.pt", within)
    remove(study / "error.json", study)
    assert precious.read_text() == "mine"
    assert not (study / "error.json").is_symlink()
    (tmp_path / "way").symlink_to(study)  # the study's folder may be given as a link
    (study / "progress.pt").touch()
    remove(tmp_path / "way" / "progress.pt", tmp_path / "way")
    assert not (study / "progress.pt").exists()


def test_sweeping_follows_no_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("progress.pt", "result.json", ".a.7.tmp", "memory-0/x", "a.7-0.part/x"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("mine")
    before = sorted(mine.rglob("*"))
    study, other = tmp_path / "study", tmp_path / "other"
    (study / "cells" / "c").mkdir(parents=True)
    other.mkdir()
    (study / "cells" / "KEY").symlink_to(mine)
    (study / "cells" / "c" / "memory-0").symlink_to(mine)
    (study / "cells" / "c" / ".b.7.tmp").symlink_to(mine)
    (study / "cache").symlink_to(mine)
    (other / "cells").symlink_to(tmp_path)
    (study / ".folder.tmp").mkdir()  # no file of ours
    sweep(study)
    sweep(other)
    assert sorted(mine.rglob("*")) == before
    assert not (study / "cells" / "c" / ".b.7.tmp").is_symlink()
    assert (study / ".folder.tmp").is_dir()


# What a spreadsheet would run

RUNS = re.compile(r"[\s\u00a0]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
PIECES = st.sampled_from([*"=+-@'\t\r\n ,;|.1e\"a\u00a0\uff1d", "-1.5", "1e-5", "=cmd|' /C calc'!A0"])
TEXTS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(st.characters(exclude_categories=["Cs"])))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip()[-1].isdigit() or text.strip().endswith(".")


@settings(deadline=None)
@given(TEXTS)
@example("'=1")
@example("\t=1")
@example("a;\t-x")
@example("  @a")
def test_guarded_text_runs_nowhere_and_comes_back(text: str) -> None:
    kept = guarded(text)
    assert unguarded(kept) == text
    assert kept[:1] not in ("\t", "\r", "\n")
    for begin in re.split("[,;|\t\r\n]", kept):  # wherever a spreadsheet may begin a cell
        assert RUNS.match(begin) is None or is_number(begin), begin
    assert kept.replace("'", "") == text.replace("'", "")


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_a_line_of_csv_comes_back(cells: list[str]) -> None:
    line = csv_line(cells)
    assert [unguarded(cell) for cell in next(csv.reader(io.StringIO(line, newline="")))] == cells


def test_numbers_and_plain_text_are_left_alone() -> None:
    for text in ["-1.5", "+3", "1e-5", "-1e-05", "-.5", "-1", "0", "", "walk-run", "a=b", "it's", "'quoted'", "p(x)"]:
        assert guarded(text) == text == unguarded(text)
    assert csv_line(["a,b", -1.5, 3, 'say "hi"', -1e-5, "=1"]) == 'a,"b",-1.5,3,"say ""hi""",-1e-05,\'=1\n'.replace(
        'a,"b"', '"a,b"'
    )
    for text in ["-inf", "-1a", "--1", "+", "-", "=1", "@1", "- 1"]:
        assert guarded(text) == f"'{text}"


NASTY = ("=cmd|' /C calc'!A0", "-1", "@sum;=1", "'=already", "+tel 1", 'a,"-b"', "plain")


def test_predictions_of_nasty_names(tmp_path: Path) -> None:
    """Read by this project's own reader, names of recordings, channels and classes are what they were."""
    path = student(tmp_path / "s.safetensors", NASTY, ("=ax", "-ay"))
    lines = [csv_line(["+who", "=ax", "-ay", "@label"])]
    lines += [
        csv_line([name, f"{a:.4f}", f"{b:.4f}", name]) for name, item in zip(NASTY, [*X, X[0]], strict=True)
        for a, b in item.T
    ]  # fmt: skip
    (tmp_path / "x.csv").write_text("".join(lines))
    assert open_table(tmp_path / "x.csv", "x", TextFormat()).names == ("+who", "=ax", "-ay", "@label")
    columns_there = read_back(tmp_path / "x.csv")
    assert list(dict.fromkeys(columns_there["@label"])) == list(NASTY)
    np.testing.assert_allclose([float(cell) for cell in columns_there["=ax"][:45]], X[0, 0], atol=1e-4)
    columns = ["--recording", "+who"]
    result = overtone("predict", path, tmp_path / "x.csv", "-o", tmp_path / "p.csv", *columns)
    assert result.exit_code == 0, everything(result)
    found = read_back(tmp_path / "p.csv")
    assert list(dict.fromkeys(found["recording"])) == list(NASTY)
    assert [name for name in found if name.startswith("p(")] == [f"p({name})" for name in NASTY]
    assert set(found["class"]) <= set(NASTY)
    for row in csv.reader((tmp_path / "p.csv").open(newline="")):
        assert not [cell for cell in row if RUNS.match(cell) and not is_number(cell)]
    assert overtone("evaluate", path, tmp_path / "x.csv", *columns, "--label", "@label").exit_code == 0


def test_predictions_of_pictures_with_nasty_names(tmp_path: Path) -> None:
    header = Header(
        builder="resnet8",
        input_shape=(3, 8, 8),
        classes=("=a", "b"),
        channels=("red", "green", "blue"),
        rate=None,
        window=(8, 8),
        mean=(120.0,) * 3,
        std=(60.0,) * 3,
        views=(SeenView(type="image", settings={}, state={}),),
    )
    save_student(tmp_path / "s.safetensors", build("resnet8", (3, 8, 8), 2).state_dict(), header)
    (tmp_path / "p").mkdir()
    names = ["=1+1.png", "-x.png", "@y,;=z.png"]
    for name in names:
        Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "p" / name)
    result = overtone("predict", tmp_path / "s.safetensors", tmp_path / "p", "-o", tmp_path / "p.csv")
    assert result.exit_code == 0, everything(result)
    assert sorted(read_back(tmp_path / "p.csv")["image"]) == sorted(names)
    text = (tmp_path / "p.csv").read_text()
    assert "\n'=1+1.png," in text
    assert "\n\"'@y,;'=z.png\"," in text


EMPTY_STUDY: dict[str, Any] = {
    "format": FORMAT,
    "name": "s",
    "recipe": {},
    "task": {"name": "classification", "metrics": [asdict(metric) for metric in Classification.METRICS]},
    "data": {
        "where": "x",
        "content": "0",
        "windows": 1,
        "window": 1,
        "stride": 1,
        "rate": None,
        "channels": [],
        "groups": [],
        "targets": {"columns": [], "lines": [], "total": [], "counts": True},
    },
    "folds": [],
    "seeds": [],
    "rows": [],
    "cells": {},
}


def test_tables_of_nasty_names(tmp_path: Path) -> None:
    given: dict[str, Any] = dict.fromkeys(TableRow.__dataclass_fields__)
    given |= {"id": "r", "kind": "student", "method": "=1", "teachers": ("@t", "u"), "student": "-m"}
    given |= {
        "values": [],
        "part": "",
        "missing": 0,
        "estimates": {("accuracy", "best"): Estimate(0.5, None, 1, 1)},
        "metric": Classification.METRICS[0],
    }
    given["reference"] = Reference(value=-1.5, source="+source")
    fields = {name: value for name, value in given.items() if name in TableRow.__dataclass_fields__}
    value = RowValue("-f", 0, ("k",), {w: {"accuracy": 0.5, "macro_f1": 0.5} for w in ("best", "last")})
    row = TableRow(**{**fields, "values": [value]})
    write_json(tmp_path / "study.json", EMPTY_STUDY)
    write_tables(tmp_path, [row])
    for name in ("table.csv", "cells.csv"):
        first = next(csv.DictReader((tmp_path / name).open()))
        assert (first["method"], first["teachers"], first["student"]) == ("'=1", "'@t+u", "'-m")
        columns = read_back(tmp_path / name)
        assert [columns[key][0] for key in ("method", "teachers", "student")] == ["=1", "@t+u", "-m"]
    assert (columns["fold"], columns["accuracy_best"]) == (["-f"], ["0.500000"])
    columns = read_back(tmp_path / "table.csv")
    assert (columns["published"], columns["published_by"]) == (["-1.5"], ["+source"])
