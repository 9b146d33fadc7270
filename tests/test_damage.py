"""A thousand damaged recipes and files: one message and exit 2, or success; never a traceback, never half a result."""

from __future__ import annotations

import importlib
import pickle
import random
import tarfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import har_files
import numpy as np
import pytest
import yaml
from conftest import TINY
from mat_files import cell, new, old

from overtone import data, recipe
from overtone.errors import InputError
from overtone.new_data import Columns, read_windows
from overtone.recipe import DataSettings
from overtone.student import Header, SeenView, Student, load_student, save_student
from overtone.study import make_plan

ROUNDS = 170
CSV = "who,t,ax,ay,activity\n" + "".join(
    f"p{s // 60},{s / 20},{s % 7}.5,{s % 5},{'walk' if s % 120 < 60 else 'run'}\n" for s in range(240)
)
JUNK = [
    b"\0",
    b"\xff\xfe",
    b",,,",
    b";",
    b"nan",
    b"-1e999",
    b"'",
    b'"',
    b"\n\n",
    b"{",
    b"[",
    b"!!python/object",
    b"  - ",
    b"0x",
]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut, doubled, overwritten or sprinkled with junk."""
    for _ in range(chance.randint(1, 3)):
        at, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        kind = chance.randrange(5)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + content[end:]
        elif kind == 2:
            content = content[:end] + content[at:]
        elif kind == 3:
            content = content[:at] + chance.choice(JUNK) + content[at:]
        else:
            content = content[:at] + bytes(chance.randrange(256) for _ in range(3)) + content[at + 3 :]
        content = content or b"x"
    return content


def survives(use: Callable[[], Any]) -> bool | None:
    """True if it worked, None if it was refused with a message, False if that was empty; anything else is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use()
    except InputError as error:
        return None if str(error).strip() else False
    return True


def refusals(use: Callable[[bytes], Any], content: bytes, seed: int, rounds: int = ROUNDS) -> int:
    """How many damaged inputs were refused, each with a message; anything but a refusal is raised."""
    chance = random.Random(seed)
    assert survives(lambda: use(content)), "the undamaged one must work"
    results = [survives(partial(use, damaged(content, chance))) for _ in range(rounds)]
    assert False not in results, "a refusal without a message"
    return results.count(None)


def test_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = data.load(DataSettings.model_validate(TINY["data"]))
    path = tmp_path / "r.yaml"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        study = recipe.load(str(path))
        make_plan(study, windows)

    assert refusals(use, yaml.safe_dump(TINY, sort_keys=False).encode(), seed=1) > 0


NAMED = {"group": "who", "time": "t", "channels": ["ax", "ay"], "label": "activity"}
BY_NUMBER = {"group": 1, "time": 2, "channels": [3, 4], "label": 5}
BODY = CSV.split("\n", 1)[1]
TABLES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "csv": (CSV.encode(), NAMED),
    "dropped": (CSV.encode(), {**NAMED, "bad_rows": "drop", "missing": "hold", "rate": 20, "resample": True}),
    "records": (BODY.replace("\n", ";\n").encode(), {**BY_NUMBER, "bad_rows": "drop", "missing": "drop"}),
    "blanks": (BODY.replace(",", "  ").encode(), BY_NUMBER),
    "korean": (CSV.replace("walk", "걷기").replace("ax", "가속도").encode("cp949"), {**NAMED, "channels": ["ay", "*"]}),
    "commas": (CSV.replace(",", ";").replace(".", ",").encode(), {**NAMED, "decimal": ",", "delimiter": ";"}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    content, given = TABLES[kind]

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings.model_validate({"name": "csv", "path": str(path), "window": 20, **given}))

    assert refusals(use, content, seed=2, rounds=ROUNDS // len(TABLES)) > 0


def test_parquet_tables(tmp_path: Path) -> None:
    arrow, path = import_module("pyarrow"), tmp_path / "x.parquet"
    rows = [line.split(",") for line in BODY.splitlines()]
    columns = dict(zip(CSV.split("\n", 1)[0].split(","), map(list, zip(*rows, strict=True)), strict=True))
    numbers = {name: list(map(float, columns[name])) for name in ("t", "ax", "ay")}
    importlib.import_module("pyarrow.parquet").write_table(arrow.table({**columns, **numbers}), path)

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings.model_validate({"name": "csv", "path": str(path), "window": 20, **NAMED}))

    assert refusals(use, path.read_bytes(), seed=8, rounds=ROUNDS // 3) > 0


def test_npz_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, X=np.random.default_rng(0).normal(size=(12, 2, 16)), y=np.arange(12) % 2, group=np.arange(12) // 4)

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings(name="npz", path=str(path)))

    assert refusals(use, path.read_bytes(), seed=3) > 0


@pytest.mark.parametrize("write", [old, new])
def test_mat_files(write: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    x, names = np.random.default_rng(0).normal(size=(12, 2, 16)), cell(np.array(["a", "b"] * 6))
    write(path, {"X": x, "s": {"y": names}, "group": np.arange(12) // 4})

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings.model_validate({"name": "mat", "path": str(path), "y": "s.y"}))

    assert refusals(use, path.read_bytes(), seed=8, rounds=ROUNDS // 2) > 0


@pytest.mark.parametrize("kind", ["ts", "arff"])
def test_series_files(kind: str, tmp_path: Path) -> None:
    import_module("aeon")
    path = tmp_path / f"x.{kind}"
    rows = "\n".join(f"{n},{n + 1},{n % 3}{':' if kind == 'ts' else ','}{n % 2}" for n in range(12))
    head = "@univariate true\n@equalLength true\n@classLabel true 0 1\n" if kind == "ts" else "@relation x\n"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings.model_validate({"name": "ts", "path": str(path), "missing": "hold"}))

    assert refusals(use, f"{head}@data\n{rows}\n".encode(), seed=9, rounds=ROUNDS // 2) > 0


def test_student_files(tmp_path: Path) -> None:
    from overtone.models import build

    path, table = tmp_path / "s.safetensors", tmp_path / "x.csv"
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 20),
        classes=("run", "walk"),
        channels=("ax", "ay"),
        rate=20.0,
        window=20,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        views=[SeenView(type="signal", settings={}, state={})],
        data={"name": "csv", "group": "who", "time": "t", "label": "activity", "bad_rows": "refuse"},
    )
    save_student(path, build("dscnn-4", (2, 20), 2).state_dict(), header)
    table.write_text(CSV)

    def use(content: bytes) -> None:
        path.write_bytes(content)
        student: Student = load_student(path)
        read_windows(table, student, Columns(), None, labelled=True)

    assert refusals(use, path.read_bytes(), seed=4) > 0


def archive(folder: Path, damage: Callable[[dict[bytes, Any]], Any] = lambda held: held) -> None:
    """CIFAR-100's three files with a few images; ``damage`` changes what is pickled into them."""
    folder.mkdir(exist_ok=True)
    for side in ("train", "test"):
        held = {b"data": np.zeros((4, 3072), np.uint8), b"fine_labels": [0, 1, 2, 0], b"coarse_labels": [0, 1, 0, 1]}
        (folder / side).write_bytes(pickle.dumps(damage(held), protocol=2))
    names = {b"fine_label_names": [b"a", b"b", b"c"], b"coarse_label_names": [b"x", b"y"]}
    (folder / "meta").write_bytes(pickle.dumps(damage(names), protocol=2))


@pytest.mark.parametrize("packed", [True, False])
def test_archives(packed: bool, tmp_path: Path) -> None:
    """Their bytes: of the packed archive, or of a file of the unpacked one."""
    inner = tmp_path / "cifar-100-python"
    archive(inner)
    path = tmp_path / "c.tar" if packed else inner / "train"
    if packed:
        with tarfile.open(path, "w") as held:
            held.add(inner, inner.name)

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings(name="cifar100", path=str(path if packed else inner)))

    assert refusals(use, path.read_bytes(), seed=5 + packed, rounds=ROUNDS // 2) > 0


VALUES: list[Any] = [None, "a", b"b", 0.5, -1, 7, True, 2**70, [], {}, [[1], [2, 3]], np.zeros(4), np.zeros((4, 3072))]


def test_values_of_archives(tmp_path: Path) -> None:
    """What is pickled in them, in good pickles: any of it replaced, left out or of another length."""
    chance = random.Random(7)

    def change(held: dict[bytes, Any]) -> Any:
        changed: Any = dict(held)
        key = chance.choice(list(held))
        kind = chance.randrange(12)
        if kind == 0:
            changed[key] = chance.choice(VALUES)
        elif kind == 1:
            del changed[key]
        elif kind == 2:
            changed[key] = changed[key][: chance.randrange(4)]
        elif kind == 3 and isinstance(changed[key], list):
            changed[key] = list(changed[key])
            changed[key][chance.randrange(len(changed[key]))] = chance.choice(VALUES)
        elif kind == 4:
            changed = chance.choice([*VALUES, held])
        return changed

    def use(kind: str) -> None:
        data.load(DataSettings.model_validate({"name": "cifar100", "path": str(tmp_path), "labels": kind}))

    archive(tmp_path)
    assert survives(lambda: use("fine")), "the undamaged one must work"
    results = []
    for number in range(ROUNDS):
        archive(tmp_path, change)
        results.append(survives(partial(use, ("fine", "coarse")[number % 2])))
    assert False not in results, "a refusal without a message"
    assert 0 < results.count(None) < ROUNDS


DAMAGED = {
    "uci_har": "body_acc_x_train.txt",
    "pamap2": "subject101.dat",
    "mhealth": "mHealth_subject1.log",
    "wisdm": "WISDM_ar_v1.1_raw.txt",
    "wisdm2019": "data_1600_gyro_phone.txt",
    "daphnet": "S01R01.txt",
    "opportunity": "S1-ADL1.dat",
    "dsads": "p1/s01.txt",
    "unimib": "acc_data.mat",
    "sho": "Participant_1.csv",
    "hhar": "Phones_accelerometer.csv",
    "realworld": "acc_climbingdown_csv.zip",
}


@pytest.mark.parametrize(("name", "file"), DAMAGED.items())
def test_published_sets(name: str, file: str, tmp_path: Path) -> None:
    """One file of each, which may be a zip in zips."""
    har_files.MAKERS[name](tmp_path)
    path = min(tmp_path.rglob(file))
    settings = {"positions": ["chest"]} if name == "realworld" else {}

    def use(content: bytes) -> None:
        path.write_bytes(content)
        data.load(DataSettings.model_validate({"name": name, "path": str(tmp_path), **settings}))

    assert refusals(use, path.read_bytes(), seed=8, rounds=ROUNDS // 10) > 0
