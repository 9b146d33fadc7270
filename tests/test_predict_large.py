"""Predictions of files that are larger than memory should be, and what is noticed of their values on the way."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from overtone import bar, data
from overtone.bar import Bar
from overtone.cli import app
from overtone.data import npz
from overtone.data.npz import read_arrays
from overtone.data.seen import Flat, Seen
from overtone.errors import InputError
from overtone.formats import items, table
from overtone.formats.compact import compact
from overtone.formats.table import TextFormat, open_table
from overtone.models import build
from overtone.recipe import DataSettings
from overtone.student import Header, SeenView, save_student


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def everything(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    header = Header(
        builder="dscnn-4",
        input_shape=(2, 20),
        classes=("run", "walk"),
        channels=("ax", "ay"),
        rate=10.0,
        window=20,
        mean=(0.1, 0.9),
        std=(0.5, 0.4),
        views=(SeenView(type="signal", settings={}, state={}),),
    )
    torch.manual_seed(0)
    save_student(tmp_path / "s.safetensors", build("dscnn-4", (2, 20), 2).state_dict(), header)
    return tmp_path / "s.safetensors"


X = (np.random.default_rng(0).normal(size=(700, 2, 45)) * 0.45 + np.array([[0.1], [0.9]])).astype(np.float32)
Y = np.arange(700) % 2


def small(monkeypatch: pytest.MonkeyPatch, whole: int = 100, block: int = 3000) -> None:
    """Let tiny files count as large ones: unpacked ``block`` bytes at a time, or to disk where items are ``whole``."""
    monkeypatch.setattr(npz, "WHOLE_BYTES", 100)
    monkeypatch.setattr(items, "WHOLE_BYTES", whole)
    monkeypatch.setattr(items, "BLOCK_BYTES", block)


KINDS: dict[str, tuple[Any, Any, int]] = {
    "stored": (np.savez, X, 100),
    "first axis innermost": (np.savez, np.asfortranarray(X), 100),
    "compressed": (np.savez_compressed, X, 1000),
    "compressed, of long recordings": (np.savez_compressed, X, 100),
    "compressed, first axis innermost": (np.savez_compressed, np.asfortranarray(X), 1000),
    "another order of bytes": (np.savez, X.astype(">f8"), 100),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reading_bit_by_bit_changes_nothing(
    student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    save, x, whole = KINDS[kind]
    for windows in (x, x[:, :, :20].copy(order="K")):  # cut further, or as they are
        save(tmp_path / "x.npz", X=windows, y=Y)
        told = []
        with monkeypatch.context() as patch:
            for name in ("a", "b"):
                words = [student_file, tmp_path / "x.npz"]
                result = overtone("predict", *words, "--out", tmp_path / name, "--force")
                assert result.exit_code == 0, everything(result)
                told.append(everything(overtone("evaluate", *words)))
                small(patch, whole)
        assert told[0] == told[1]
        assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_those_of_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    save, x, whole = KINDS[kind]
    save(tmp_path / "x.npz", X=x)
    small(monkeypatch, whole)
    held = read_arrays(tmp_path / "x.npz", ("X",), "x", streamed="X")["X"]
    assert not isinstance(held, np.ndarray)
    assert (held.shape, held.dtype, held.size, len(held)) == (x.shape, x.dtype, x.size, 700)
    for index in (slice(0, 5), slice(5, 300), slice(690, 999), slice(3, 3), 0, 1, 699, 2, slice(4, 6)):  # back as well
        np.testing.assert_array_equal(held[index], x[index])


def test_an_archive_that_is_damaged_in_the_middle(
    student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 1000)
    np.savez_compressed(tmp_path / "x.npz", X=X)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    (tmp_path / "x.npz").write_bytes(content)
    result = overtone("predict", student_file, tmp_path / "x.npz", "--out", tmp_path / "p.csv")
    assert result.exit_code == 2
    assert re.search("x.npz: (cannot be read, it is cut short or damaged|values are not finite)", everything(result))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.safetensors", "x.npz"]


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    np.savez_compressed(tmp_path / "x.npz", X=X)
    monkeypatch.setattr(items.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(InputError, match=r"unpacking it takes .* free some, set TMPDIR"):
        read_arrays(tmp_path / "x.npz", ("X",), "x", streamed="X")


def test_little_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 9, (60_000, 2, 20)).astype(np.float32)  # 9.6 MB
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", X=x)
        small(monkeypatch, 2**12, 2**16)
        tracemalloc.start()
        held = read_arrays(tmp_path / "x.npz", ("X",), "x", streamed="X")["X"]
        sums = [float(held[first : first + 256].sum()) for first in range(0, len(x), 256)]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(sums) == x.sum(dtype=np.float64)
        assert most < 2**20


@pytest.mark.slow
def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """In processes of their own: at most 300 MiB more than the import, whatever the file."""
    script = Path(__file__).parents[1] / "benchmarks" / "predict_streams.py"
    command = [sys.executable, str(script), "--gb", "0.6", "--kinds", "stored", "compressed", "long", "table"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    more = [float(line.split(" more than")[0].split()[-1]) for line in told.splitlines()[1:]]
    assert len(more) == 4
    assert max(more) < 300, told


# Text tables, block by block


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize(
    ("rows", "values", "seconds"),
    [
        (["0,1.5,-2,a", "10,2.5,1e-3,b", "", "20,+3,4,a", "30,5,6,'=c"], [[1.5, -2], [2.5, 1e-3], [3, 4], [5, 6]], 10),
        (["0;1,5;-2;a", "10;2,5;1e-3;b", "", "20;3;4;a", "30;5;6;=c"], [[1.5, -2], [2.5, 1e-3], [3, 4], [5, 6]], 10),
        (
            ["2024-01-01T00:00:00,1,2,a", "2024-01-01T00:00:10,1,2,b", "", "2024-01-01 00:00:20,3,?,a"],
            [[1, 2], [1, 2], [3, np.nan]],
            10,
        ),
    ],
)
def test_blocks_of_a_table_are_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[str], values: Any, seconds: float, block: int
) -> None:
    monkeypatch.setattr(table, "BLOCK", block)
    delimiter = ";" if ";" in rows[0] else ","
    (tmp_path / "t.csv").write_text("\n".join([delimiter.join(["t", "x", "y", "who"]), *rows]))
    read = compact(open_table(tmp_path / "t.csv", "t", TextFormat()), ("x", "y"), {"who": "recording"}, "t")
    np.testing.assert_array_equal(read.values, np.asarray(values, dtype=np.float32))
    np.testing.assert_allclose(read.time, seconds * np.arange(len(values)))
    who = read.texts["who"]
    assert [list(who.names)[number] for number in who.numbers] == ["a", "b", "a", "=c"][: len(values)]
    assert read.lines.tolist() == [2, 3, 5, 6][: len(values)]


def wrong(folder: Path, monkeypatch: pytest.MonkeyPatch, content: str, time: str | None = None) -> str:
    """What is told of a table's column x, or t, in blocks of any size."""
    (folder / "t.csv").write_text(content)
    messages = set()
    for block in (2, 100):
        monkeypatch.setattr(table, "BLOCK", block)
        opened = open_table(folder / "t.csv", "t", TextFormat())
        try:
            compact(opened, ("x",), {}, time)
        except InputError as error:
            messages.add(str(error))
        else:
            messages.add(str(opened.bad))
    assert len(messages) == 1
    return messages.pop()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,5", "2,5", "3.5", "4"], "column 'x' (channel) holds '1,5' in row 2, which is no number beside others"),
        (["1.5", "2", "3,5", "4"], "column 'x' (channel) holds '3,5' in row 4, which is no number beside others"),
        (["1", "2", "3", "four"], "column 'x' (channel) holds 'four' in row 5, which is no number"),
        (["2,981", "7", "1,004", "4"], "holds '2,981' in row 2, and its every comma may be a decimal sign or stand"),
        (["1,234.5", "7", "1,004.2", "4"], ""),
        (["0,981", "7,100", "1,004", "4"], ""),
    ],
)
def test_what_is_wrong_is_told_of_any_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], message: str
) -> None:
    text = "t;x\n" + "".join(f"{n};{cell}\n" for n, cell in enumerate(cells))
    told = wrong(tmp_path, monkeypatch, text)
    assert message in told
    assert bool(message) == bool(told)


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (["2024-01-01T00:00:00", "2024-01-01T00:00:01", "1"], "(time) holds '1' in row 4, which is no time stamp"),
        (["1", "2", "2024-01-01T00:00:00"], "(time) holds '2024-01-01T00:00:00' in row 4, which is no time stamp"),
        (["2024-01-01T00:00:00", "2024-01-01T00:00:01+00:00"], "mixes times with and without a time zone"),
        (["1", "2", "inf"], "(time) holds 'inf' in row 4"),
        (["1", "2", "1/5/24 13:00"], "or a date in ISO 8601 such as 2024-05-01T13:45:00.250)"),
        (["1", "", "3"], "(time) holds '' in row 3"),
    ],
)
def test_what_is_wrong_with_time_stamps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamps: list[str], message: str
) -> None:
    text = "t,x\n" + "".join(f"{stamp},1\n" for stamp in stamps)
    assert message in wrong(tmp_path, monkeypatch, text, "t")


def test_recordings_of_a_table_in_any_order(
    student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several recordings in turn give what they give one recording after the other; in any encoding."""
    monkeypatch.setattr(table, "BLOCK", 7)
    rows = [(f"é{n}", sample, *X[n, :, sample]) for n in range(4) for sample in range(45)]
    found = {}
    for name, held in {"in turn": sorted(rows, key=lambda row: row[1]), "one by one": rows}.items():
        for encoding in ("utf-8-sig", "utf-16", "latin-1"):
            lines = "".join(f"{who},{t / 10},{a:.6f},{b:.6f}\n" for who, t, a, b in held)
            (tmp_path / "t.csv").write_text(f"who,t,ax,ay\n{lines}", encoding=encoding)
            words = ["--recording", "who", "--time", "t", "--force", "--out", tmp_path / "p.csv"]
            result = overtone("predict", student_file, tmp_path / "t.csv", *words)
            assert result.exit_code == 0, everything(result)
            found[name, encoding] = (tmp_path / "p.csv").read_text()
    assert len(set(found.values())) == 1
    assert found["in turn", "latin-1"].count("é3") == 2


# Values far from those of training


def seen(x: Any, mean: Any, std: Any, images: bool = False) -> list[str]:
    watcher = Seen(mean, std, tuple(f"c{number}" for number in range(x.shape[1])), images, "x")
    for first in range(0, len(x), 256):
        part = np.asarray(x[first : first + 256])
        watcher.add(part, np.arange(first, first + len(part)), np.zeros(len(part), dtype=int))
    return watcher.notes


@pytest.mark.data
@pytest.mark.parametrize(("name", "every"), [("watch", 1), ("uci_har", 8)])
def test_other_units_are_told_and_people_are_not(name: str, every: int) -> None:
    """Some people against the others; each activity of theirs as well, which is no ordinary data, but no other unit."""
    windows = data.load(DataSettings.model_validate({"name": name}))
    x = np.asarray(windows.x[:], dtype=np.float32)[:, :, ::every]
    for person in np.unique(windows.group)[::4]:
        own = windows.group == person
        mean, std = x[~own].mean(axis=(0, 2)), x[~own].std(axis=(0, 2))
        assert seen(x[own], mean, std) == []
        for activity in np.unique(windows.y[own]):
            assert seen(x[own & (windows.y == activity)], mean, std) == []
        for factor in (1000, 9.81, 1 / 9.81, 1 / 1000):
            (note,) = seen(factor * x[own], mean, std)
            assert "values are far from those of training" in note
        part = x[own].copy()
        part[:, :3] /= 1000  # one sensor alone
        assert len(seen(part, mean, std)) == 1


@pytest.mark.data
def test_other_scales_of_images_are_told() -> None:
    settings = {"name": "cifar100", "train_per_class": 5, "test_per_class": 5}
    windows = data.load(DataSettings.model_validate(settings))
    assert windows.official_test is not None
    train, test = windows.x[~windows.official_test], windows.x[windows.official_test]
    mean, std = train.mean(axis=(0, 2, 3)), train.std(axis=(0, 2, 3))
    assert seen(test, mean, std, images=True) == []
    for image in test[::10]:  # even single ones
        assert seen(image[None], mean, std, images=True) == []
    floats = test.astype(np.float32)
    assert "scaled to 0..1" in "".join(seen(floats / 255, mean, std, images=True))
    for other in (floats / 127.5 - 1, (floats - mean[:, None, None]) / std[:, None, None], floats * 257):
        assert "far from those of training" in "".join(seen(other, mean, std, images=True))


def test_the_line_has_the_numbers(student_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=X, y=Y)
    np.savez(tmp_path / "mg.npz", X=1000 * X, y=Y)
    np.savez(tmp_path / "one.npz", X=np.array([[1.0], [9.81]], dtype=np.float32) * X, y=Y)
    used = X[:, 1, :40]  # two windows of each
    mean, std = used.mean(dtype=np.float64), used.std(dtype=np.float64)
    training = "here, 0.9 and 0.4 in training"
    for command in ("predict", "evaluate"):
        out = ["--out", tmp_path / "p.csv", "--force"] if command == "predict" else []
        assert "far from" not in everything(overtone(command, student_file, tmp_path / "x.npz", *out))
        text = everything(overtone(command, student_file, tmp_path / "mg.npz", *out))
        assert text.count("values are far from those of training: channel") == 1
        assert f"channel 'ay' has mean {1000 * mean:.3g} and deviation {1000 * std:.3g} {training}" in text
        assert f"{1000 * std / 0.4:.3g} times the deviation; so is 1 more. Check the unit" in text
        text = everything(overtone(command, student_file, tmp_path / "one.npz", *out))
        assert f"channel 'ay' has mean {9.81 * mean:.3g} and deviation {9.81 * std:.3g} {training}" in text
        assert "times the deviation. Check the unit" in text


def test_statistics_are_the_same_in_any_batches() -> None:
    """Against numbers of the whole, with an offset that is large beside the spread."""
    x = (np.random.default_rng(0).normal(size=(50, 2, 30)) * 0.01 + 1000).astype(np.float32)
    watchers = [Seen((5.0, 0.0), (1.0, 2.0), ("a", "b"), False, "x") for _ in range(2)]
    for watcher, size in zip(watchers, (7, 50), strict=True):
        for first in range(0, 50, size):
            watcher.add(x[first : first + size], np.arange(50), np.zeros(50))
    assert watchers[0].notes == watchers[1].notes
    mean, std = x[:, 0].mean(dtype=np.float64), x[:, 0].std(dtype=np.float64)
    assert f"has mean {mean:.3g} and deviation {std:.3g} here, 5 and 1 in training" in watchers[0].notes[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 10**6))
def test_channels_that_never_change_are_counted(counts: list[int], size: int, seed: int) -> None:
    """In recordings of several windows, wherever batches end."""
    generator = np.random.default_rng(seed)
    recording = np.repeat(np.arange(len(counts)), counts)
    x = generator.integers(0, 2, (len(recording), 2, 3)).astype(np.float32)
    x[:, 1] = np.where(x[:, 1, :1] * x[:, 1, 1:2] > 0, x[:, 1], recording[:, None])  # often flat
    flat = Flat(("a", "b"), 3)
    for first in range(0, len(x), size):
        flat.add(x[first : first + size], recording[first : first + size])
    told = [sum(np.ptp(x[recording == n, c]) == 0 for n in range(len(counts))) for c in range(2)]
    assert flat.notes == [
        f"channel {name!r} never changes"
        + (f" in {own} of {len(counts)} recordings" if own < len(counts) else " within a recording" * (len(counts) > 1))
        for name, own in zip("ab", told, strict=True)
        if own
    ]


# The bar


def test_the_bar_waits_and_shows_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bar, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def shown(terminal: bool, seconds: float, wanted: bool = True) -> str:
        now[0] = 0.0
        out = io.StringIO()
        with Bar(Console(file=out, force_terminal=terminal, width=100), wanted) as progress:
            now[0] = seconds
            progress("windows", 256, 1000)
            progress("windows", 512, 1000)
        return out.getvalue()

    assert "/1000" in shown(True, 2.5)
    assert shown(True, 1.5) == ""
    assert shown(False, 2.5) == ""
    assert shown(True, 2.5, wanted=False) == ""
