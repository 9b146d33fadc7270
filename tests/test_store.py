"""What views keep of windows, in memory and on disk: tensors of any form whole, diagrams without their padding."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from overtone import data, recipe
from overtone.data import Windows, split
from overtone.engine import Samples, samples
from overtone.engine.store import FromDisk
from overtone.errors import InputError
from overtone.recipe import SplitSettings
from overtone.study import make_plan
from overtone.study.describe import describe
from overtone.views import Codec, CustomView, DiagramCodec, PersistenceImage, State, View

CPU = torch.device("cpu")


class Kept(View):
    """A view that keeps what ``FORM`` makes of a window (C, T)."""

    FOLLOWS: ClassVar[bool] = False

    form: str

    def prepare(self, windows: Tensor) -> Tensor:
        return FORMS[self.form](windows)

    def render(self, stored: Tensor, state: State) -> Tensor:
        return stored


FORMS = {
    "maps": lambda x: torch.stack([x, 2 * x], 2),  # (N, C, 2, T): once cut to (N, C, 2, 2) on disk
    "numbers": lambda x: x.sum((1, 2)),
    "flags": lambda x: x > 0,
    "steps": lambda x: (100 * x).long(),
    "half": lambda x: x.bfloat16(),
    "spectrum": lambda x: torch.fft.rfft(x),
    "with gaps": lambda x: x.masked_fill(x > 0.5, torch.nan),
}


def windows(count: int = 40) -> Windows:
    generator = np.random.default_rng(0)
    return Windows(
        x=generator.normal(size=(count, 3, 16)).astype(np.float32),
        y=np.arange(count) % 2,
        group=np.arange(count) // 10,
        recording=np.arange(count),
        start=np.zeros(count, dtype=np.int64),
        groups=tuple("0123"),
        classes=("a", "b"),
        channels=tuple("xyz"),
        rate=None,
        where="random",
        stride=1,
    )


def both(view: View, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Samples, Samples]:
    """Samples that keep all in memory, and on disk, where it is written in several chunks."""
    held = windows()
    fold = split(held, SplitSettings(test=1, val=1))[0]
    monkeypatch.setattr(samples, "CHUNK", 16)
    return tuple(Samples.fit(held, fold, {"kept": view}, CPU, budget, folder) for budget in (2**30, 0))


@pytest.mark.parametrize("form", FORMS)
def test_a_view_may_keep_any_tensor(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory, on_disk = both(Kept(form=form), tmp_path, monkeypatch)
    assert isinstance(on_disk.views["kept"].stored, FromDisk)
    index = torch.tensor([33, 2, 17, 2])
    expected = FORMS[form](in_memory.standardise(torch.from_numpy(windows().x)))[index]
    for made in (in_memory, on_disk):
        found = made.batch(index, ["kept"]).views["kept"]
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_diagrams_are_the_same_in_memory_and_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory, on_disk = both(PersistenceImage(size=8), tmp_path, monkeypatch)
    index = torch.tensor([33, 2, 17, 2])
    images = [made.batch(index, ["kept"]).views["kept"] for made in (in_memory, on_disk)]
    torch.testing.assert_close(images[0], images[1])
    assert bool((images[0] > 0).any())


def test_a_codec_gives_back_what_it_packed() -> None:
    codec: Codec = DiagramCodec()
    diagrams = torch.rand(4, 3, 5, 2)
    diagrams[0, :, 2:], diagrams[1:, 1] = torch.nan, torch.nan
    rows, counts = codec.pack(diagrams)
    assert counts.tolist() == [[2, 2, 2], [5, 0, 5], [5, 0, 5], [5, 0, 5]]
    assert torch.equal(codec.unpack(rows, counts).nan_to_num(-1), diagrams.nan_to_num(-1))
    empty = torch.full((2, 3, 4, 2), torch.nan)
    assert codec.unpack(*codec.pack(empty)).shape == (2, 3, 1, 2)


class Ragged(Kept):
    """Keeps as many values as the chunk's largest window has, without a codec that says so."""

    form: str = ""

    def prepare(self, windows: Tensor) -> Tensor:
        return windows[..., : len(windows)]


class TooFew(Kept):
    """Forgets a window."""

    form: str = ""

    def prepare(self, windows: Tensor) -> Tensor:
        return windows[1:]


@pytest.mark.parametrize("budget", [2**30, 0])
def test_what_cannot_be_kept_is_told(budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = windows()
    fold = split(held, SplitSettings(test=1, val=1))[0]
    monkeypatch.setattr(samples, "CHUNK", 12)
    with pytest.raises(
        InputError, match=r"views\.kept: prepare keeps \(3, 12\) of float32 of some windows and \(3, 4\)"
    ):
        Samples.fit(held, fold, {"kept": Ragged()}, CPU, budget, tmp_path)
    with pytest.raises(
        InputError, match=r"views\.kept: prepare must return a tensor \(12, \.\.\.\).*, got \(11, 3, 16\)"
    ):
        Samples.fit(held, fold, {"kept": TooFew()}, CPU, budget, tmp_path)
    assert not list(tmp_path.iterdir())


def smoothed(x: Tensor) -> Tensor:
    return x


def as_image(x: Tensor) -> Tensor:
    return x.unsqueeze(2) * x.unsqueeze(3)


smoothed.AXES = ("time",)


def test_a_function_says_what_its_axes_mean(tmp_path: Path) -> None:
    named, plain = (CustomView(function=f"test_store:{name}") for name in ("smoothed", "as_image"))
    assert (named.axes, plain.axes) == (("time",), ())
    assert PersistenceImage().axes == PersistenceImage.AXES
    np.savez(
        tmp_path / "some.npz",
        X=np.random.default_rng(0).normal(size=(12, 2, 16)),
        y=np.arange(12) % 2,
        group=np.arange(12) // 4,
    )
    values = {
        "data": {"name": "npz", "path": str(tmp_path / "some.npz")},
        "train": {"batch": 4},
        "views": {"smoothed": {"type": "test_store:smoothed"}},
        "split": {"test": 1, "val": 1, "folds": [0]},
        "student": {"view": "smoothed", "model": "dscnn-2", "epochs": 1},
        "methods": ["none"],
    }
    study = recipe.validate(values)
    assert describe(make_plan(study, data.load(study.data))).views["smoothed"].axes == ["time"]
    before = named.fingerprint
    smoothed.AXES = ()
    assert named.fingerprint != before  # maps are compared in another way
    smoothed.AXES = ("time",)
    smoothed.AXES = "time"
    with pytest.raises(ValueError, match="AXES of test_store:smoothed must be a tuple of names, such as"):
        _ = named.axes
    smoothed.AXES = ("time",)
