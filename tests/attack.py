"""What `make attack` runs: kills, damaged studies, mutated recipes, data and student files, by the hundred.

    python tests/attack.py [--seed 1] [--share 1.0] [KIND ...]

A fault is anything but what a user may meet: a result as if nothing had happened, or a refusal of one sentence. Each is
printed as it is found, and its files are kept where that helps; the last line counts tries and faults.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from test_damage import CSV, damaged
from typer.testing import CliRunner

from overtone import data, load_student, recipe
from overtone.cli import app
from overtone.data import Windows
from overtone.engine import loop
from overtone.errors import InputError
from overtone.models import build
from overtone.recipe import DataSettings
from overtone.sealed import read_npz
from overtone.student import Header, SeenView, save_student
from overtone.study import Plan, StudyCallback, collect, execute, make_plan, write_tables

TRIES = {"kills": 60, "damaged studies": 140, "recipes": 600, "data files": 700, "student files": 400}
REMADE = {"table.csv", "cells.csv", "table.json", "study.json", "example.npz"}
"""Files of a study that every run writes anew, without a word."""
TIMED = {"timing.json", "run.json", "report.html", "explain.npz", ".lock"}
JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 0.5, -0.0, 1e308, -1e-308, float("nan"), float("inf"), 10**6, -(10**12), "", " ",
    "a", "none", "signal", "pi", "../x", "/dev/null", "epoch:1", "epoch:-1", "last", "0", "1e9", "*", "ünïcødé", "\x00",
    "a" * 300, "os:system", "payload:Net", [], {}, [[]], [None], {"a": 1}, {"": {}}, ["kd", "kd"], [1, 2, 3], [-1],
    {"name": "kd"}, {"name": None}, {"type": "pi"}, {"model": "wrn10-1"}, [{"name": "aver", "teachers": []}],
]  # fmt: skip


class Counts:
    """Tries and faults of a kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.tries, self.faults = kind, 0, 0
        self.ends: Counter[str] = Counter()

    def fault(self, what: str) -> None:
        self.faults += 1
        print(f"  FAULT in {self.kind}, try {self.tries}: {what}", flush=True)

    def end(self, how: str) -> None:
        self.ends[how] += 1

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {how}" for how, count in sorted(self.ends.items()))
        return f"{self.kind}: {self.tries} tries ({ends}), {self.faults} faults"


def survives(counts: Counts, use: Callable[[], Any], what: str) -> None:
    """Count a try: it works, or is refused with one sentence."""
    counts.tries += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use()
    except InputError as error:
        counts.end("refused")
        if not str(error).strip():
            counts.fault(f"{what}: refused without a word")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = "".join(traceback.format_tb(error.__traceback__)[-2:])
        counts.fault(f"{what}: {type(error).__name__}: {error}\n{where}")
    else:
        counts.end("worked")


# --- studies


def study(path: Path) -> dict[str, Any]:
    """A small study with two folds whose diagrams and teachers' outputs go to disk."""
    chance = np.random.default_rng(0)
    y = np.arange(72) % 3
    x = chance.normal(size=(72, 2, 32)) + y[:, None, None]
    np.savez(path, X=x.astype(np.float32), y=y, group=np.arange(72) // 18)
    return {
        "name": "attacked",
        "data": {"name": "npz", "path": str(path)},
        "split": {"test": 1, "val": 1, "folds": [0, 1]},
        "views": {"pi": {"size": 8}},
        "teachers": {"pi": {"view": "pi", "model": "wrn10-0.25", "epochs": 2, "checkpoint": "epoch:1"}},
        "student": {"model": "dscnn-4", "epochs": 3},
        "train": {"batch": 16, "threads": 1, "memory_mb": 0},
        "methods": ["none", "kd"],
    }


def plan_of(values: dict[str, Any]) -> Plan:
    found = recipe.validate(copy.deepcopy(values))
    return make_plan(found, data.load(found.data))


class Notes(StudyCallback):
    """Keeps what a run says; may stop one after some epochs."""

    def __init__(self, epochs: int = 10**9) -> None:
        self.notes: list[str] = []
        self.left = epochs

    def note(self, message: str) -> None:
        self.notes.append(message)

    def cell_epoch(self, cell: Any, progress: Any, row: Any) -> None:
        self.left -= 1
        if self.left <= 0:
            raise KeyboardInterrupt


def run(plan: Plan, out: Path, jobs: int = 1) -> list[str]:
    heard = Notes()
    failed = execute(plan, out, heard, jobs=jobs)
    assert failed == {}, failed
    write_tables(out, collect(out))
    return heard.notes


def content(path: Path) -> Any:
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()


def files(out: Path) -> dict[str, Any]:
    found = (path for path in out.rglob("*") if path.is_file() and path.name not in TIMED)
    return {str(path.relative_to(out)): content(path) for path in found}


def differences(out: Path, whole: Path) -> str:
    """What a continued study holds otherwise than an undisturbed one; diagrams no cell has needed again may lack."""
    mine, expected = files(out), files(whole)
    unlike = [name for name in expected if name in mine and mine[name] != expected[name]]
    if "example.npz" in unlike and _same_arrays(out / "example.npz", whole / "example.npz"):
        unlike.remove("example.npz")  # a bit of the archive that nobody reads
    lacking = [name for name in expected if name not in mine and not name.startswith("cache/")]
    more = [name for name in mine if name not in expected]
    return "; ".join(f"{how}: {', '.join(v)}" for how, v in (("other", unlike), ("gone", lacking), ("more", more)) if v)


def _same_arrays(one: Path, other: Path) -> bool:
    mine, theirs = read_npz(one), read_npz(other)
    return set(mine) == set(theirs) and all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def kills(counts: Counts, chance: random.Random, folder: Path, wanted: int) -> None:
    """SIGKILL at random moments, jobs one or two, several on one study; then it goes on to the end."""
    values = study(folder / "x.npz")
    values["student"]["epochs"], values["teachers"]["pi"]["epochs"] = 15, 6  # most of the time is training
    plan = plan_of(values)
    started = time.monotonic()
    run(plan, folder / "whole")
    took = time.monotonic() - started
    loop.COMMIT_SECONDS = 0.02
    number = 0
    while counts.tries < wanted:
        number += 1
        out = folder / f"killed-{number}"
        jobs = 2 if number % 5 == 0 else 1
        for _ in range(chance.randint(1, 6)):
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                try:
                    run(plan, out, jobs)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            moment = chance.uniform(0, 1.2 * took) + (chance.uniform(3, 12) if jobs == 2 else 0)
            deadline = time.monotonic() + moment
            status = None
            while time.monotonic() < deadline and status is None:
                done, code = os.waitpid(child, os.WNOHANG)
                status = code if done else None
                time.sleep(0.002)
            if status is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                counts.tries += 1
                half = bool(list(out.glob("cells/*/progress.pt")))
                counts.end("half a cell" if half else "between cells")
            elif status:
                counts.fault(f"a run that goes on after kills ended with {status}")
                break
            else:
                break
        try:
            run(plan, out)
        except BaseException as error:
            counts.fault(f"the run after the kills: {type(error).__name__}: {error}")
            continue
        if found := differences(out, folder / "whole"):
            counts.fault(f"{out.name}: {found}")
        else:
            shutil.rmtree(out)


def half_done(plan: Plan, out: Path, epochs: int) -> None:
    """The study after so many epochs, interrupted."""
    loop.COMMIT_SECONDS = 0.0
    try:
        execute(plan, out, Notes(epochs))
    except KeyboardInterrupt:
        return
    raise AssertionError("the study ended before it was interrupted")


def damage(path: Path, how: str, chance: random.Random, others: list[Path]) -> None:
    held = bytearray(path.read_bytes())
    if how == "bit":
        held[chance.randrange(len(held))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        held = held[: chance.randrange(len(held))]
    elif how == "zeros":
        first = chance.randrange(len(held))
        held[first:] = bytes(len(held) - first)
    elif how == "foreign":
        same = [other for other in others if other.name == path.name and other.read_bytes() != bytes(held)]
        held = bytearray(chance.choice(same).read_bytes() if same else chance.randbytes(64))
    elif how == "object":
        held = bytearray(chance.choice([b"{}", b"[]", b'{"test": 1}', b"null", b""]))
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(held)


def damaged_studies(counts: Counts, chance: random.Random, folder: Path, wanted: int) -> None:
    """One file of a finished or a half done study, changed; then the study is run again."""
    values = study(folder / "x.npz")
    plan = plan_of(values)
    file = folder / "r.yaml"
    file.write_text(yaml.safe_dump(values))
    run(plan, folder / "whole")
    half_done(plan, folder / "half", 6)
    loop.COMMIT_SECONDS = 5.0
    while counts.tries < wanted:
        counts.tries += 1
        source = folder / chance.choice(["whole", "half"])
        out = folder / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(source, out)
        there = [path for path in sorted(out.rglob("*")) if path.is_file() and path.stat().st_size]
        path = chance.choice(there)
        how = chance.choice(["bit", "bit", "cut", "zeros", "gone", "foreign", "object"])
        before = path.read_bytes()
        damage(path, how, chance, there)
        what = f"{source.name}, {path.relative_to(out)}, {how}"
        same = path.exists() and path.read_bytes() == before
        try:
            if counts.tries % 7 == 0:
                result = CliRunner().invoke(app, ["run", str(file), "--out", str(out), "--jobs", "1"])
                assert result.exit_code == 0, (result.exit_code, result.stderr or result.exception)
                notes = [line for line in result.stdout.splitlines() if line.endswith(("again", "anew"))]
            else:
                notes = run(plan, out)
        except BaseException as error:
            counts.fault(f"{what}: {type(error).__name__}: {error}")
            continue
        found = differences(out, folder / "whole")
        # What a cell that is not done has left is written anew without a word, as is what can be made of the rest.
        silent = same or path.name in REMADE | TIMED - {"run.json"} or (
            source.name == "half" and path.parent.parent.name == "cells" and not (
                source / path.parent.relative_to(out) / "result.json").exists() and path.name != "progress.pt"
        )  # fmt: skip
        gone_result = how == "gone" and path.name in ("result.json", "progress.pt")
        blank = path.suffix == ".json" and how == "bit" and not notes  # a bit of white space that is still white space
        expected = {0} if silent or gone_result else {0, 1} if blank else {1}
        if found:
            counts.fault(f"{what}: {found}")
        elif len(notes) not in expected:
            counts.fault(f"{what}: {len(notes)} lines: {notes}")
        else:
            counts.end("told" if notes else "silent")


# --- recipes


def mutated(values: Any, chance: random.Random) -> Any:
    """Values with one to three changes: another value, a key less, a key more, two exchanged."""
    held = copy.deepcopy(values)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(held))
        where, key = chance.choice(places)
        kind = chance.randrange(6)
        if kind == 0 and isinstance(where, dict):
            del where[key]
        elif kind == 1 and isinstance(where, dict):
            where[f"{key}{chance.choice(['', 's', '.x', ' '])}x"] = where.pop(key)
        elif kind == 2 and isinstance(where, list):
            where.append(copy.deepcopy(where[key]))
        elif kind == 3:
            other, second = chance.choice(places)
            where[key] = copy.deepcopy(other[second])
        else:
            where[key] = copy.deepcopy(chance.choice(JUNK))
        if not list(_places(held)):
            return held
    return held


def _places(values: Any) -> Any:
    for key in list(values) if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield values, key
        yield from _places(values[key])


def recipes(counts: Counts, chance: random.Random, folder: Path, wanted: int) -> None:
    """Mutated values and bytes of recipes; every fourth is checked by the command, the others are planned."""
    own = study(folder / "x.npz")
    file = folder / "r.yaml"
    rich = {
        **own,
        "seeds": [0, 1],
        "methods": [*own["methods"], {"name": "sp", "weights": {"sp.gram": {"value": 2, "warmup": 1}}}, "at", "ann"],
    }
    while counts.tries < wanted:
        text = yaml.safe_dump(mutated(chance.choice([own, rich]), chance), sort_keys=False).encode()
        if counts.tries % 3 == 0:
            text = damaged(yaml.safe_dump(rich, sort_keys=False).encode(), chance)
        file.write_bytes(text)
        what = f"recipe {text[:2000].decode(errors='replace')!r}"
        if counts.tries % 4:
            survives(counts, lambda: _planned(file), what)
            continue
        counts.tries += 1
        result = CliRunner().invoke(app, ["check", str(file)])
        counts.end(f"exit {result.exit_code}")
        if result.exit_code not in (0, 2) or not isinstance(result.exception, SystemExit | None):
            counts.fault(f"{what}: exit {result.exit_code}, {result.exception!r}")
        elif result.exit_code and not result.stderr.startswith("error: "):
            counts.fault(f"{what}: refused without a word")


def _planned(file: Path) -> None:
    found = recipe.load(str(file))
    make_plan(found, data.load(found.data))


# --- data


def data_files(counts: Counts, chance: random.Random, folder: Path, wanted: int) -> None:
    """Mutated archives of arrays, tables and images."""
    uses = [_archives(folder, chance), _tables(folder, chance), _images(folder, chance)]
    shares = [3, 3, 1]
    for use in uses:
        use(True)
    while counts.tries < wanted:
        use = chance.choices(uses, shares)[0]
        survives(counts, partial(use, False), use.__qualname__)


def _archives(folder: Path, chance: random.Random) -> Callable[[bool], None]:
    path = folder / "mutated.npz"
    whole = {
        "X": chance_array(chance, (24, 2, 16)),
        "y": np.arange(24) % 3,
        "group": np.arange(24) // 6,
        "rate": np.asarray(20.0),
    }
    others: list[Any] = [
        np.zeros(()), np.zeros(0), np.zeros((24, 2)), np.zeros((24, 2, 16), np.complex64), np.asarray(["a"] * 24),
        np.full((24, 2, 16), np.nan), np.zeros((24, 0, 16)), np.zeros((0, 2, 16)), np.zeros((24, 2, 16), bool),
        np.asarray([b"x"] * 24), np.zeros(24, "datetime64[s]"), np.asarray(-1), np.full(24, 2**63 - 1), np.arange(23),
        np.zeros((24, 1)), np.zeros((24, 2, 16), np.float16), np.zeros(24, [("a", "i4")]), np.full(24, 1e308),
    ]  # fmt: skip

    def archive(undamaged: bool) -> None:
        held: dict[str, Any] = dict(whole)
        kind = 0 if undamaged else chance.randrange(4)
        if kind == 1:
            held[chance.choice([*held, "Z", "channels", "classes"])] = chance.choice(others)
        elif kind == 2:
            del held[chance.choice(list(held))]
        np.savez(path, **held)
        if kind == 3:
            path.write_bytes(damaged(path.read_bytes(), chance))
        _read(data.load(DataSettings(name="npz", path=str(path))))

    return archive


def chance_array(chance: random.Random, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(chance.randrange(10**6)).normal(size=shape).astype(np.float32)


def _read(windows: Windows) -> None:
    """What a study would read of it."""
    if windows.files is not None:
        windows.files[np.arange(len(windows))]
    else:
        np.asarray(windows.x[:])


def _tables(folder: Path, chance: random.Random) -> Callable[[bool], None]:
    path = folder / "mutated.csv"
    rows = list(csv.reader(io.StringIO(CSV)))
    cells = [
        "",
        " ",
        "nan",
        "inf",
        "-1e999",
        "1e400",
        '"',
        "=1+1",
        "\x00",
        "ü",
        "1,5",
        "0x10",
        "2020-13-45",
        "a" * 5000,
    ]
    given = {"name": "csv", "path": str(path), "group": "who", "time": "t", "channels": ["ax", "ay"], "window": 20}

    def table(undamaged: bool) -> None:
        kind = 0 if undamaged else chance.randrange(1, 4)
        held = [list(row) for row in rows]
        if kind == 1:
            for _ in range(chance.randint(1, 5)):
                row = chance.choice(held)
                row[chance.randrange(len(row))] = chance.choice(cells)
        elif kind == 2:
            row = chance.choice(held)
            chance.choice([row.pop, row.clear, lambda: row.append("x"), lambda: held.remove(row)])()
        text = io.StringIO()
        csv.writer(text, lineterminator=chance.choice(["\n", "\r\n"])).writerows(held)
        whole = text.getvalue().encode()
        path.write_bytes(damaged(whole, chance) if kind == 3 else whole)
        _read(data.load(DataSettings.model_validate({**given, "label": "activity"})))

    return table


def _images(folder: Path, chance: random.Random) -> Callable[[bool], None]:
    root = folder / "images"
    for side in ("train", "val"):
        for name in ("cat", "dog"):
            for number in range(4):
                path = root / side / name / f"{number}.{('png', 'jpg')[number % 2]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(number).integers(0, 255, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
    settings = DataSettings.model_validate({"name": "imagefolder", "path": str(root), "size": 16})

    def images(undamaged: bool) -> None:
        if undamaged:
            _read(data.load(settings))
            return
        path = chance.choice(sorted(path for path in root.rglob("*") if path.is_file()))
        before = path.read_bytes()
        path.write_bytes(chance.choice([damaged(before, chance), b"", chance.randbytes(200)]))
        try:
            _read(data.load(settings))
        finally:
            path.write_bytes(before)

    return images


# --- student files

NAMES = [
    "os:system", "posix:system", "subprocess:run", "builtins:exec", "builtins:eval", "builtins:open", "payload:Net",
    "multiprocessing.forkserver:main", "torch:save", "torch:load", "torch.hub:load", "pickle:loads", "shutil:rmtree",
    "pathlib:Path", "timm:resnet18", "torchvision:resnet18", "timm:../x", "wrn10-500", "wrn9999-1", "vgg-1", "dscnn-0",
    "dscnn--4", "two_branch", "two_branch:a,b", "inception", "__main__:main", "attack:main", ":", "a:", ":b", "a.b.c:d",
]  # fmt: skip


def student_files(counts: Counts, chance: random.Random, folder: Path, wanted: int) -> None:
    """Mutated headers and bytes; what they name is neither imported nor written."""
    path, canary = folder / "s.safetensors", folder / "payload.py"
    canary.write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    os.chdir(folder)
    sys.path.insert(0, "")
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 32),
        classes=("a", "b", "c"),
        channels=("x", "y"),
        rate=20.0,
        window=32,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=[SeenView(type="signal", settings={}, state={})],
    )
    save_student(path, build("dscnn-4", (2, 32), 3).state_dict(), header)
    load_student(path)
    before, modules = path.read_bytes(), set(sys.modules)
    (size,) = struct.unpack("<Q", before[:8])
    outer, body = json.loads(before[8 : 8 + size]), before[8 + size :]
    inner = json.loads(outer["__metadata__"]["overtone"])

    def use() -> None:
        student = load_student(path)
        student.predict(torch.zeros(2, len(student.header.channels), *student.header.size))

    while counts.tries < wanted:
        kind, held, top = chance.randrange(5), copy.deepcopy(inner), copy.deepcopy(outer)
        if kind == 0:
            held = mutated(held, chance)
        elif kind == 1:
            held["builder"] = chance.choice(NAMES)
        elif kind == 2:
            held["views"][0]["type"] = chance.choice(NAMES)
            held["views"][0]["settings"] = chance.choice([{}, {"f": str(folder / "ran")}, {"args": ["x"]}])
        elif kind == 3:
            top = mutated(top, chance)
        if kind < 3:
            top["__metadata__"]["overtone"] = json.dumps(held)
        written = json.dumps(top).encode()
        content = struct.pack("<Q", len(written)) + written + body
        path.write_bytes(damaged(before, chance) if kind == 4 else content)
        survives(counts, use, f"student file, {json.dumps(held if kind < 3 else top)[:1500] if kind < 4 else 'bytes'}")
        if (folder / "ran").exists() or "payload" in sys.modules:
            counts.fault(f"code ran: {json.dumps(held)[:500]}")
            (folder / "ran").unlink(missing_ok=True)
            sys.modules.pop("payload", None)
        if {path.name for path in folder.iterdir()} - {"s.safetensors", "payload.py", "__pycache__"}:
            counts.fault(f"files were written: {json.dumps(held)[:500]}")
    foreign = {name.partition(".")[0] for name in set(sys.modules) - modules} & {
        "payload",
        "multiprocessing.forkserver",
    }
    if foreign:
        counts.fault(f"imported on the way: {sorted(foreign)}")


KINDS: dict[str, Callable[[Counts, random.Random, Path, int], None]] = {
    "kills": kills,
    "damaged studies": damaged_studies,
    "recipes": recipes,
    "data files": data_files,
    "student files": student_files,
}


def main() -> int:
    """All kinds, or those named by their first word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kinds", nargs="*", help=", ".join(name.split()[0] for name in KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the tries")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    place = Path.cwd()
    for name, attack in KINDS.items():
        if asked.kinds and name.split()[0] not in asked.kinds:
            continue
        counts, started = Counts(name), time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="attack-"))
        try:
            attack(counts, random.Random(f"{asked.seed} {name}"), folder, max(1, round(TRIES[name] * asked.share)))
        finally:
            os.chdir(place)
        print(f"{counts}, {time.monotonic() - started:.0f} s", flush=True)
        results.append(counts)
        if counts.faults:
            print(f"  kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    tries, faults = sum(c.tries for c in results), sum(c.faults for c in results)
    print(f"attack, seed {asked.seed}: " + "; ".join(f"{c.kind} {c.tries}/{c.faults}" for c in results), end="")
    print(f" (tries/faults); {tries} tries, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
