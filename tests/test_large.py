"""Data larger than memory: windows cut on demand, diagrams on disk; the numbers stay the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from overtone import data
from overtone.data import npz, split
from overtone.data import windows as cutting
from overtone.data.lazy import LazyWindows, map_npz
from overtone.engine import Samples
from overtone.errors import InputError
from overtone.recipe import DataSettings, SplitSettings
from overtone.views import GAF, PersistenceImage, Signal

VIEWS = {"signal": Signal(), "gaf": GAF(size=8), "pi": PersistenceImage(size=8)}


def load(**settings: Any) -> data.Windows:
    return data.load(DataSettings.model_validate({"name": "watch", "window": 64, "stride": 200, **settings}))


def test_windows_cut_on_demand_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load()
    monkeypatch.setattr(cutting, "LAZY_BYTES", 0)
    lazy = load()
    assert isinstance(lazy.x, LazyWindows)
    assert lazy.x.shape == whole.x.shape
    np.testing.assert_array_equal(lazy.x[:], whole.x)
    np.testing.assert_array_equal(lazy.x[np.asarray([5, 2, 9])], whole.x[[5, 2, 9]])
    np.testing.assert_array_equal(lazy.x[7], whole.x[7])
    assert lazy.content == whole.content


@pytest.mark.parametrize("budget", [2**30, 0])
def test_samples_are_the_same_within_and_beyond_the_budget(
    budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = load()
    fold = split(windows, SplitSettings(test=3, val=3))[0]
    cpu = torch.device("cpu")
    plain = Samples.fit(windows, fold, VIEWS, cpu)
    monkeypatch.setattr(cutting, "LAZY_BYTES", 0)
    other = Samples.fit(load(), fold, VIEWS, cpu, budget, tmp_path / "cache")
    index = torch.tensor([11, 3, 250])
    for name, image in plain.batch(index, VIEWS).views.items():
        torch.testing.assert_close(other.batch(index, VIEWS).views[name], image)
        assert plain.views[name].state == other.views[name].state
    assert bool(list(tmp_path.rglob("values.bin"))) == (budget == 0)


def test_diagrams_on_disk_are_compact_and_made_once(tmp_path: Path) -> None:
    windows = load()
    fold = split(windows, SplitSettings(test=3, val=3))[0]
    cpu = torch.device("cpu")
    Samples.fit(windows, fold, {"pi": VIEWS["pi"]}, cpu, 0, tmp_path)
    (file,) = tmp_path.rglob("values.bin")
    before = file.stat().st_mtime_ns
    padded = Samples.fit(windows, fold, {"pi": VIEWS["pi"]}, cpu).views["pi"].stored
    assert isinstance(padded, torch.Tensor)
    held = sum(path.stat().st_size for path in tmp_path.rglob("*.*") if path.is_file())
    assert held < padded.numel() * 4
    Samples.fit(windows, fold, {"pi": VIEWS["pi"]}, cpu, 0, tmp_path)
    assert file.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.part"))


def test_the_disk_is_checked_before_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = load()
    fold = split(windows, SplitSettings(test=3, val=3))[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=r"persistence diagrams need up to 1.9 MiB on disk, but .* has 1 bytes free"):
        Samples.fit(windows, fold, VIEWS, torch.device("cpu"), 0, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_uncompressed_npz_is_mapped(dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(30, 2, 16)).astype(dtype)
    arrays = {"y": np.arange(30) % 3, "group": np.arange(30) // 5, "X": x}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    mapped = map_npz(tmp_path / "plain.npz", "X")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, x)
    assert map_npz(tmp_path / "packed.npz", "X") is None
    monkeypatch.setattr(npz, "MAP_BYTES", 0)
    monkeypatch.setattr(cutting, "LAZY_BYTES", 0)
    contents = {
        data.load(DataSettings(name="npz", path=str(tmp_path / f"{n}.npz"))).content for n in ("plain", "packed")
    }
    assert len(contents) == 1
