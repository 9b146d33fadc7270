"""Studies stay whole: makers of one cache side by side, bits that flip, full disks, killed processes."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from typer.testing import CliRunner

from overtone import data, disk, recipe
from overtone.cli import app
from overtone.engine import checkpoint, loop
from overtone.engine.store import FromDisk, check_stored, write_stored
from overtone.errors import InputError
from overtone.report.folder import Folder
from overtone.sealed import SEAL, DamagedError, read_sealed, write_sealed
from overtone.study import OLD, Plan, StudyCallback, collect, execute, make_plan, write_tables
from overtone.study.execute import claim
from overtone.views import DiagramCodec

TIMED = {"timing.json", "run.json", "report.html", ".lock"}


def windows_file(path: Path) -> Path:
    chance = np.random.default_rng(0)
    y = np.arange(72) % 3
    x = chance.normal(size=(72, 2, 32)) + y[:, None, None]
    np.savez(path, X=x.astype(np.float32), y=y, group=np.arange(72) // 18)
    return path


def values(path: Path) -> dict[str, Any]:
    """A study whose diagrams and teachers' outputs go to disk."""
    return {
        "name": "whole",
        "data": {"name": "npz", "path": str(path)},
        "split": {"test": 1, "val": 1, "folds": [0, 1]},
        "views": {"pi": {"size": 8}},
        "teachers": {"pi": {"view": "pi", "model": "wrn10-0.25", "epochs": 1}},
        "student": {"model": "dscnn-4", "epochs": 2},
        "train": {"batch": 16, "threads": 1, "memory_mb": 0},
        "methods": ["none", "kd"],
    }


def plan_of(held: dict[str, Any]) -> Plan:
    study = recipe.validate(held)
    return make_plan(study, data.load(study.data))


class Notes(StudyCallback):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.started: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def cell_started(self, cell: Any) -> None:
        self.started.append(cell.key)


def run(plan: Plan, out: Path, jobs: int = 1) -> Notes:
    heard = Notes()
    assert execute(plan, out, heard, jobs=jobs) == {}
    write_tables(out, collect(out))
    return heard


def files(out: Path) -> dict[str, bytes]:
    found = (path for path in out.rglob("*") if path.is_file() and path.name not in TIMED)
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    plan = plan_of(values(windows_file(folder / "x.npz")))
    run(plan, folder / "out")
    return plan, folder / "out"


@pytest.fixture
def copied(finished: tuple[Plan, Path], tmp_path: Path) -> tuple[Plan, Path]:
    shutil.copytree(finished[1], tmp_path / "out")
    return finished[0], tmp_path / "out"


def key_of(plan: Plan, title: str) -> str:
    return next(key for key, cell in plan.cells.items() if cell.title.startswith(title))


# --- makers side by side


def diagrams(seed: int = 0) -> list[torch.Tensor]:
    made = torch.rand(2, 4, 1, 5, 2, generator=torch.Generator().manual_seed(seed))
    made[:, :, :, 3:] = torch.nan
    return [*made]


def test_makers_of_the_same_diagrams_do_not_meet(tmp_path: Path) -> None:
    """The second begins and ends while the first is half way; the third while both others are."""
    folder = tmp_path / "cache" / "x"

    def write(depth: int) -> None:
        def chunks() -> Any:
            yield diagrams()[0]
            if depth:
                write(depth - 1)
            yield diagrams()[1]

        write_stored(folder, chunks(), DiagramCodec(), 8)

    write(2)
    assert [path.name for path in folder.parent.iterdir()] == ["x"]
    check_stored(folder)
    held = FromDisk(folder, diagrams()[0], DiagramCodec(), torch.device("cpu"))
    torch.testing.assert_close(held[torch.arange(8)], torch.cat(diagrams())[:, :, :3])


def test_makers_that_fail_leave_nothing(tmp_path: Path) -> None:
    def chunks() -> Any:
        yield diagrams()[0]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device\. Free space or choose another folder"):
        write_stored(tmp_path / "x", chunks(), DiagramCodec(), 8)
    assert not list(tmp_path.iterdir())


def test_what_killed_makers_leave_is_removed_and_what_others_make_is_not(copied: tuple[Plan, Path]) -> None:
    plan, out = copied
    cell = out / "cells" / next(iter(plan.cells))
    left = [out / "cache" / "abc.7-00.part", cell / "memory.7-00.part", cell / "memory-0"]
    for folder in left:
        folder.mkdir()
        (folder / "raw").write_bytes(b"half")
        (folder.parent / f"{folder.name}.lock").touch()
    (cell / "memory-0.lock").unlink()
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "raw").write_bytes(b"precious")
    (out / "cache" / "linked.part").symlink_to(elsewhere)
    with disk.own_folder(out / "cache" / "abc") as mine, disk.own_folder(cell / "memory") as memory:
        run(plan, out)
        assert mine.is_dir()
        assert memory.is_dir()
    assert (elsewhere / "raw").read_bytes() == b"precious"
    (out / "cache" / "linked.part").unlink()
    assert not [path for path in out.rglob("*") if ".part" in path.name or path.name.startswith("memory")]


def test_what_a_dying_maker_still_held_at_the_start_is_removed_at_the_end(copied: tuple[Plan, Path]) -> None:
    """A process that is killed holds its locks for a moment longer."""
    plan, out = copied
    (out / "cells" / key_of(plan, "none") / "result.json").unlink()  # so that there is something to run
    folder = out / "cache" / "abc.7-00.part"
    folder.mkdir()
    (folder / "raw").write_bytes(b"half")
    lock = FileLock(f"{folder}.lock")
    lock.acquire()

    class Dies(StudyCallback):
        def cell_started(self, cell: Any) -> None:
            assert folder.is_dir()
            lock.release()

    execute(plan, out, Dies())
    assert not list((out / "cache").glob("*.part*"))


def test_folds_and_jobs_side_by_side(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    """Workers of two jobs make diagrams of the same folds at a time."""
    plan, out = finished
    run(plan, tmp_path / "out", jobs=2)
    assert files(tmp_path / "out") == files(out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_makers_are_killed(seed: int, finished: tuple[Plan, Path], tmp_path: Path) -> None:
    """A run with two jobs is killed while it makes diagrams, or keeps teachers' outputs on disk."""
    plan, out = finished[0], tmp_path / "out"
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(plan.recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    command = [sys.executable, "-m", "overtone", "run", str(file), "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("cells/*/memory*" if seed % 2 else "cache/*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
    time.sleep(random.Random(seed).uniform(0, 0.1))
    process.kill()
    process.communicate()
    run(plan, out, jobs=2)
    assert files(out) == files(finished[1])


# --- bits that flip


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 4
    path.write_bytes(held)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def gone(path: Path) -> None:
    path.unlink()


def empty_object(path: Path) -> None:
    path.write_text("{}")


def another_shape(path: Path) -> None:
    path.write_text('[{"test": 1}]')


def better(path: Path) -> None:
    """Good JSON of the right shape with another number."""
    held = json.loads(path.read_text())
    held["test"]["best"]["accuracy"] = 1.0
    path.write_text(json.dumps(held))


def unsealed(path: Path) -> None:
    """The same with the hash's own name damaged."""
    path.write_text(path.read_text().replace(f'"{SEAL}"', '"sha257"').replace('"macs": ', '"macs": 1'))


def of_another(path: Path) -> None:
    """A whole file, of another cell."""
    other = next(held for held in sorted(path.parent.parent.glob(f"*/{path.name}")) if held != path)
    path.write_bytes(other.read_bytes())


DAMAGE: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("teacher pi", "student.safetensors", flip, "student.safetensors is not what was written"),
    ("kd", "student.safetensors", cut, "student.safetensors is not what was written"),
    ("kd", "student.safetensors", zero, "student.safetensors is not what was written"),
    ("none", "student.safetensors", gone, "student.safetensors is missing"),
    ("none", "last.safetensors", flip, "last.safetensors is not what was written"),
    ("none", "predictions.npz", flip, "predictions.npz is not what was written"),
    ("kd", "metrics.jsonl", cut, "metrics.jsonl is not what was written"),
    ("kd", "run.json", empty_object, "run.json is not what was written"),
    ("kd", "run.json", gone, "run.json is missing"),
    ("kd", "run.json", of_another, "run.json belongs to another cell"),
    ("kd", "result.json", of_another, "result.json belongs to another cell"),
    ("kd", "predictions.npz", of_another, "predictions.npz is not what was written"),
    ("kd", "result.json", empty_object, "result.json is not what was written"),
    ("kd", "result.json", another_shape, "result.json is not what was written"),
    ("kd", "result.json", better, "result.json is not what was written"),
    ("kd", "result.json", unsealed, "result.json is not what was written"),
    ("kd", "result.json", zero, "result.json is no JSON"),
]


@pytest.mark.parametrize(("title", "name", "damage", "told"), DAMAGE)
def test_a_damaged_cell_is_told_and_run_again(
    title: str, name: str, damage: Callable[[Path], None], told: str, copied: tuple[Plan, Path]
) -> None:
    plan, out = copied
    before = files(out)
    key = key_of(plan, title)
    damage(out / "cells" / key / name)
    heard = run(plan, out)
    assert heard.notes == [f"{plan.cells[key].title}: {told}; it is run again"]
    assert heard.started == [key]  # what depends on it stays: the same is trained again
    assert files(out) == before


@pytest.mark.parametrize("name", ["values.bin", "offsets.npy", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, gone])
def test_damaged_diagrams_are_told_and_made_again(
    name: str, damage: Callable[[Path], None], copied: tuple[Plan, Path]
) -> None:
    plan, out = copied
    before = files(out)
    folder = sorted((out / "cache").iterdir())[0]
    damage(folder / name)
    (out / "cells" / key_of(plan, "kd") / "result.json").unlink()
    (out / "example.npz").unlink()
    heard = run(plan, out)
    assert len(heard.notes) == 1
    assert heard.notes[0].startswith(f"cache/{folder.name}: {name} is ")
    assert heard.notes[0].endswith("what views keep in it is made again where it is needed")
    made_again = {f"cache/{folder.name}/{n}" for n in ("values.bin", "offsets.npy", "manifest.json")}
    found = files(out)
    assert {n: held for n, held in found.items() if n not in made_again} == {
        n: held for n, held in before.items() if n not in made_again
    }
    assert all(found.get(n, before[n]) == before[n] for n in made_again)


@pytest.mark.parametrize("name", ["example.npz", "study.json"])
@pytest.mark.parametrize("damage", [flip, cut, zero, gone, empty_object])
def test_other_damaged_files_are_written_anew(
    name: str, damage: Callable[[Path], None], copied: tuple[Plan, Path]
) -> None:
    plan, out = copied
    before = files(out)
    damage(out / name)
    assert run(plan, out).started == []
    assert files(out) == before


@pytest.mark.parametrize("damage", [flip, cut, zero, empty_object, "another's", "old and cut"])
def test_a_damaged_checkpoint_starts_the_cell_anew(
    damage: Any, copied: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = copied
    before, key = files(out), key_of(plan, "none")
    (out / "cells" / key / "result.json").unlink()
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)

    class Stop(StudyCallback):
        def cell_epoch(self, cell: Any, progress: Any, row: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(plan, out, Stop())
    path = out / "cells" / key / "progress.pt"
    held = checkpoint.load(path, key)
    assert held is not None
    if damage == "another's":
        checkpoint.save(path, {**held, "key": "0" * 20})
    elif damage == "old and cut":
        torch.save(held, path)
        cut(path)
    else:
        damage(path)
    heard = run(plan, out)
    assert heard.notes == [f"{plan.cells[key].title}: progress.pt is damaged; it starts anew"]
    assert files(out) == before


def test_a_checkpoint_from_before_there_were_hashes_is_gone_on_from(tmp_path: Path) -> None:
    torch.save({"key": "k", "epoch": 3}, tmp_path / "p")
    held = checkpoint.load(tmp_path / "p", "k")
    assert held is not None
    assert held["epoch"] == 3


def without_hashes(out: Path) -> None:
    """A folder as it was written before there were hashes."""
    for path in [*out.glob("cells/*/result.json"), *out.glob("cells/*/run.json"), out / "study.json"]:
        held = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in held.items() if key not in (SEAL, "files")}))


def invoke(*words: Any) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def test_studies_from_before_there_were_hashes_are_taken_as_they_are(copied: tuple[Plan, Path]) -> None:
    plan, out = copied
    without_hashes(out)
    heard = run(plan, out)
    assert heard.started == []
    assert heard.notes == [f"6 of 6 cells {OLD}; they are taken as they are"]
    without_hashes(out)
    code, text = invoke("report", out)
    assert code == 0
    assert text.count(f"6 of 6 cells {OLD}") == 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("student.safetensors", cut),
        ("student.safetensors", gone),
        ("predictions.npz", flip),
        ("result.json", empty_object),
    ],
)
def test_damage_that_can_be_seen_without_hashes(
    name: str, damage: Callable[[Path], None], copied: tuple[Plan, Path]
) -> None:
    plan, out = copied
    without_hashes(out)
    key = key_of(plan, "none")
    damage(out / "cells" / key / name)
    heard = run(plan, out)
    assert heard.started == [key]
    assert len(heard.notes) == 2
    assert heard.notes[0].startswith(f"{plan.cells[key].title}: {name} ")
    assert heard.notes[1].startswith("5 of 6 cells came before")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("last.safetensors", flip), ("result.json", empty_object)],
)
def test_report_says_what_is_damaged_instead_of_showing_it(
    name: str, damage: Callable[[Path], None], copied: tuple[Plan, Path]
) -> None:
    plan, out = copied
    key = key_of(plan, "kd")
    damage(out / "cells" / key / name)
    before = files(out / "cells")
    code, text = invoke("report", out)
    assert code == 1
    assert text.count(f"{plan.cells[key].title}: {name} is") == 1
    assert "run the study again" in text
    page = (out / "report.html").read_text()
    assert f"Damaged: {name} is" in page
    rows = {row["id"]: row for row in json.loads((out / "table.json").read_text())}
    assert (rows["kd-pi"]["folds"], rows["kd-pi"]["missing"]) == (1, 1)
    assert rows["none"]["missing"] == 0
    assert files(out / "cells") == before  # a report only reads
    assert invoke("explain", out)[0] in (0, 2)


@pytest.mark.parametrize("damage", [flip, cut, empty_object, another_shape, gone])
def test_report_of_a_damaged_study_file(damage: Callable[[Path], None], copied: tuple[Plan, Path]) -> None:
    damage(copied[1] / "study.json")
    for command in ("report", "explain"):
        code, text = invoke(command, copied[1])
        assert code == 2
        assert "study.json" in text


@pytest.mark.parametrize("damage", [flip, cut, zero, empty_object])
def test_report_of_a_damaged_error(damage: Callable[[Path], None], copied: tuple[Plan, Path]) -> None:
    plan, out = copied
    folder = out / "cells" / key_of(plan, "kd")
    (folder / "result.json").unlink()
    (folder / "error.json").write_text(json.dumps({"title": "kd", "message": "m" * 50, "traceback": ""}))
    damage(folder / "error.json")
    (trouble,) = Folder.read(out).troubles()
    assert trouble.failed


def test_links_are_not_followed_for_removal(copied: tuple[Plan, Path]) -> None:
    plan, out = copied
    moved = out.parent / "moved"
    (out / "cache").rename(moved)
    (out / "cache").symlink_to(moved)
    folder = sorted(moved.iterdir())[0]
    flip(folder / "values.bin")
    with pytest.raises(InputError, match="is a link, which is not followed; remove it yourself"):
        execute(plan, out)
    assert (folder / "values.bin").exists()


def test_any_flipped_bit_of_sealed_json_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    held = {"key": "a" * 20, "test": {"best": 0.123456789, "last": [1, None, True]}, "title": "kd · fold 0 ü"}
    write_sealed(path, held)
    content = path.read_bytes()
    assert read_sealed(path) == ({**held, SEAL: json.loads(content)[SEAL]}, True)
    for bit in range(0, 8 * len(content), 3):  # every place in a byte in turn
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            found, verified = read_sealed(path)
        except DamagedError:
            continue
        assert verified  # white space; what it says is the same
        assert found == json.loads(content)


# --- the disk


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (2**30, "1.0 GiB"),
        (2**41, "2048.0 GiB"),
    ],
)
def test_amounts_have_units_that_show_the_number(count: int, said: str) -> None:
    assert disk.in_units(count) == said


def test_space_for_teachers_outputs_is_there_before_they_are(
    finished: tuple[Plan, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"outputs of teacher 'pi' need up to \d+ bytes on disk, but .* has .*iB free"):
        execute(finished[0], tmp_path / "out")
    assert asked
    assert not list((tmp_path / "out").rglob("*memory*"))


@pytest.mark.parametrize("code", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_space_is_reserved_where_the_system_cannot(
    code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, "no")

    if code is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    disk.reserve(tmp_path / "x", disk.BLOCK + 5, "things")
    assert (tmp_path / "x").stat().st_size == disk.BLOCK + 5
    assert (tmp_path / "x").stat().st_blocks * 512 >= disk.BLOCK


# --- other folders


def test_a_foreign_folder_keeps_nothing_of_ours(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, _ = finished
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(plan.recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder, name, text in ((mine, "thesis.tex", "precious"), (theirs, "study.json", '{"name": "another"}')):
        folder.mkdir()
        (folder / name).write_text(text)
        assert invoke("run", file, "--out", folder, "--jobs", "1")[0] == 2
        with pytest.raises(InputError, match="choose another --out"):
            execute(plan, folder)
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == text


def test_a_folder_that_no_page_can_name_is_refused_before_training(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"out-\xff")
    with pytest.raises(InputError, match=r"out-\\udcff' is no UTF-8"):
        claim(out, "whole")
    assert not out.exists()


# --- processes

SLEEPERS = """
import multiprocessing, sys, time
from overtone.processes import end_with_parent
def sleep():
    end_with_parent()
    time.sleep(300)
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=sleep) for _ in range(3)]
    for child in children: child.start()
    print(*[child.pid for child in children], flush=True)
    time.sleep(300)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_children_end_with_the_process_that_started_them(way: str, tmp_path: Path) -> None:
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    process = subprocess.Popen([sys.executable, str(script), way], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 3
    time.sleep(random.Random(1).uniform(0, 0.2))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline, "a child outlives the process that started it"
        time.sleep(0.05)
