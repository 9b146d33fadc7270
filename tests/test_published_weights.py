"""Files of weights as published code writes them: other names, wrappers, prefixes, numbers of numpy beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from overtone.data import Standardiser
from overtone.errors import InputError
from overtone.lookup import make_view
from overtone.models import build
from overtone.weights import GivenWeights

FOLDER = Path(os.environ.get("GOLDEN_WHOLE_DIR") or Path(__file__).parents[2] / "shared" / "golden_whole")
WHOLE = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8")) if FOLDER.is_dir() else {"models": {}}
QUICK = 2e6
"""Values that a model has at most whose test is not slow."""
State = dict[str, Tensor]


def published() -> list[Any]:
    """Every published model: our name, classes, side of its images, published names in order."""
    found = []
    for title, about in WHOLE["models"].items():
        name, _, imagenet = title.partition("/")[0].partition("@")
        name = f"torchvision:{name}" if imagenet and name.startswith("resnet") else name
        size = sum(np.prod(shape) for _, shape, _ in about["state"])
        names = [name for name, _, _ in about["state"]]
        marks = pytest.mark.slow if size > QUICK else ()
        found.append(pytest.param(name, about["classes"], 64 if imagenet else 32, names, id=title, marks=marks))
    return found


def model(name: str = "resnet8", classes: int = 10, side: int = 32, seed: int = 0) -> nn.Module:
    """A model whose batch statistics are not those of a new one."""
    torch.manual_seed(seed)
    made = build(name, (3, side, side), classes)
    for tensor in [tensor for tensor in made.state_dict().values() if tensor.is_floating_point()]:
        tensor.add_(0.02 * torch.rand_like(tensor))
    return made.eval()


def values(made: nn.Module) -> State:
    """Its state without counters, in order."""
    return {name: x.clone() for name, x in made.state_dict().items() if not name.endswith("num_batches_tracked")}


def given(path: Path) -> GivenWeights:
    return GivenWeights.find(str(path), "teachers.big.pretrained")


def same_logits(path: Path, wanted: nn.Module, name: str, classes: int, side: int = 32) -> str:
    """Whether a file's weights make the same model; what was said of them."""
    made, labels = model(name, classes, side, seed=1), [f"c{n}" for n in range(classes)]
    said = given(path).told(made, name, labels)
    given(path).load_into(made, name, labels)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(made.eval()(x), wanted(x), rtol=0, atol=0)
    return said


@pytest.mark.data(FOLDER)
@pytest.mark.parametrize(("name", "classes", "side", "names"), published())
def test_published_names_are_mapped_by_order(
    name: str, classes: int, side: int, names: list[str], tmp_path: Path
) -> None:
    wanted = model(name, classes, side)
    own = values(wanted)
    state = dict(zip(names, own.values(), strict=True))
    held = {"epoch": 240, "model": state, "best_acc": np.float64(72.5), "accuracy": torch.tensor(72.5), "opt": {}}
    torch.save(held, tmp_path / "ckpt_epoch_240.pth", _use_new_zipfile_serialization=False)  # as torch of 2019 did
    said = same_logits(tmp_path / "ckpt_epoch_240.pth", wanted, name, classes, side)
    changed = [(theirs, mine) for theirs, mine in zip(names, own, strict=True) if theirs != mine]
    if not changed:
        assert said == ""
        return
    assert said.startswith(f"{len(changed)} of {len(own)} tensors mapped by their order and shapes, ")
    assert "{} to {}".format(*changed[0]) in said
    assert "{} to {}".format(*changed[-1]) in said


def prefixed(prefix: str) -> Callable[[State], Any]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


WRITTEN: dict[str, tuple[Callable[[State], Any], str]] = {
    "plain": (lambda state: state, ""),
    "several GPUs": (prefixed("module."), "'module.' taken off all names"),
    "distiller": (lambda state: {"model": prefixed("module.student.")(state)}, "'module.student.' taken off all names"),
    "backbone": (lambda state: {"state_dict": prefixed("backbone.")(state)}, "'backbone.' taken off all names"),
    "number of numpy": (lambda state: {"model": state, "acc": np.float32(1), "n": np.int64(3), "t": np.bool_(1)}, ""),
    "type of numpy": (lambda state: {"net": state, "type": np.dtype("float32")}, ""),
    "number within": (lambda state: {**state, "best": np.float64(3)}, ""),
}


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
@pytest.mark.parametrize("form", WRITTEN)
def test_prefixes_wrappers_and_numbers(form: str, suffix: str, tmp_path: Path) -> None:
    wanted, path = model(), tmp_path / f"w{suffix}"
    make, told = WRITTEN[form]
    torch.save(make(values(wanted)), path)
    assert same_logits(path, wanted, "resnet8", 10) == told


def other_names(state: State) -> State:
    """Each layer named by its number."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    return {f"l{layers.index(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": x for name, x in state.items()}


def test_arrays_keep_their_order_and_other_files_do_not(tmp_path: Path) -> None:
    wanted = model()
    state = other_names(values(wanted))
    np.savez(tmp_path / "w.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    assert "47 of 47 tensors mapped" in same_logits(tmp_path / "w.npz", wanted, "resnet8", 10)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not fit model 'resnet8': it lacks conv1\.weight"):
        same_logits(tmp_path / "w.safetensors", wanted, "resnet8", 10)


def swapped(state: State, one: str, other: str) -> State:
    """Two tensors of one shape in each other's place in the file."""
    names = list(state)
    at, to = names.index(one), names.index(other)
    names[at], names[to] = names[to], names[at]
    return {name: state[name] for name in names}


def split_layer(state: State) -> State:
    """A layer whose tensors lie in two."""
    return {("odd.bias" if name == "l1.bias" else name): x for name, x in state.items()}


AMBIGUOUS: dict[str, tuple[Callable[[State], State], str]] = {
    "kinds in another order": (lambda s: swapped(other_names(s), "l1.running_mean", "l1.bias"), "it lacks"),
    "a layer in two": (lambda s: split_layer(other_names(s)), "it lacks"),
    "own names in other places": (
        lambda s: {n.replace("conv1.weight", "a.weight"): x for n, x in swapped(s, "bn1.bias", "bn1.weight").items()},
        "it lacks",
    ),
    "student and teacher": (
        lambda s: {**prefixed("module.student.")(s), **prefixed("module.teacher.")(s)},
        r"holds several networks of this kind, under model\.module\.student, model\.module\.teacher; choose one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", AMBIGUOUS)
def test_what_order_alone_does_not_decide_is_refused(form: str, tmp_path: Path) -> None:
    wanted, (make, message) = model(), AMBIGUOUS[form]
    torch.save({"model": make(values(wanted))}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=message):
        same_logits(tmp_path / "w.pth", wanted, "resnet8", 10)


def test_of_a_student_and_another_teacher_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    wanted = model()
    both = {**prefixed("student.")(values(wanted)), **prefixed("teacher.")(values(model("resnet14")))}
    torch.save({"model": both}, tmp_path / "w.pth")
    said = same_logits(tmp_path / "w.pth", wanted, "resnet8", 10)
    assert said.startswith("'student.' taken off the names; 77 tensors beside it left out (teacher.conv1.weight, ")


def test_a_published_file_of_other_classes_is_told_as_such(tmp_path: Path) -> None:
    torch.save(other_names(values(model(classes=100))), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"is of a classifier of 100 classes \(linear\), the data has 10"):
        same_logits(tmp_path / "w.pth", model(), "resnet8", 10)


def test_a_teacher_sees_images_by_its_own_mean_and_deviation_and_the_student_by_the_datas() -> None:
    """What published CIFAR code feeds: pixels from 0 to 1, less its mean, over its deviation."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    pixels[:, 1] //= 2  # channels that differ, so that a mixed-up one shows
    mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
    standardise = Standardiser.fit(pixels)
    seen = standardise(torch.from_numpy(pixels))
    for channels in (None, (0, 2)):
        own = [0, 1, 2] if channels is None else list(channels)
        m, s = ([values[c] for c in own] for values in (mean, std))
        view = make_view("image", {"mean": m, "std": s, "channels": channels})
        state = json.loads(json.dumps(view.scaled(standardise.mean, standardise.std)))  # as in a student file's header
        wanted = (pixels[:, own] / 255 - np.array(m)[:, None, None]) / np.array(s)[:, None, None]
        found = view.render(view.pick(seen), state)
        torch.testing.assert_close(found.double(), torch.from_numpy(wanted), rtol=1e-5, atol=1e-5)
    plain = make_view("image", {})
    assert plain.scaled(standardise.mean, standardise.std) == {}
    assert plain.render(seen, {}) is seen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.5]}, "mean and std go together"),
        ({"mean": [0.5, 0.5], "std": [0.2]}, "mean and std go together, one number per channel"),
        ({"mean": [125.3], "std": [63.0]}, "mean"),  # of bytes: the literature's are of 0 to 1
        ({"mean": [0.5], "std": [0.0]}, "std"),
    ],
)
def test_a_mean_or_deviation_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_view("image", settings)


def test_a_mean_of_other_channels_is_told() -> None:
    with pytest.raises(ValueError, match="of 1 channels, the images have 3"):
        make_view("image", {"mean": [0.5], "std": [0.2]}).scaled([1.0] * 3, [1.0] * 3)
