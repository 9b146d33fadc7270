"""Checkpoints as Lightning, timm, torchvision and torch's own tools lay them out; pickles that would run code.

The layouts: Lightning's ``dump_checkpoint`` (1.x and 2.x), timm's ``CheckpointSaver``, torchvision's reference scripts
(``model_ema`` is an ``AveragedModel``), ema-pytorch, Lightning's ``WeightAveraging``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import pickle
import re
import subprocess
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from overtone.checkpoint import read_checkpoint
from overtone.errors import InputError
from overtone.models import build
from overtone.weights import GivenWeights

CLASSES = ("a", "b", "c")
State = dict[str, Tensor]


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build("dscnn-4", (2, 16), len(CLASSES)).eval()


MODEL, EMA = model(), model(1)
PLAIN, AVERAGED = (dict(made.state_dict()) for made in (MODEL, EMA))


def prefixed(prefix: str, state: State = PLAIN) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def taken(path: Path, key: str | None = None) -> tuple[State, str]:
    """What a teacher gets of a file, and what is said of it."""
    given, made = GivenWeights.find(str(path), "teachers.t.pretrained", key), model(2)
    said = given.told(made, "dscnn-4", CLASSES)
    given.load_into(made, "dscnn-4", CLASSES)
    return dict(made.state_dict()), said


def same(state: State, wanted: State) -> bool:
    return all(torch.equal(state[name], wanted[name]) for name in wanted)


class Anything:
    """Some class of a training script."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Settings(dict):  # type: ignore[type-arg]
    """A mapping of a training script, with attributes beside its items."""

    def __init__(self) -> None:
        super().__init__(lr=0.1, layers=[1, 2])
        self.frozen = True


class Names(list):  # type: ignore[type-arg]
    """A list of a training script."""


def lightning(state: State, **more: Any) -> dict[str, Any]:
    """The layout of a Lightning checkpoint; other classes lie in callbacks, loops and hyper-parameters."""
    return {
        "epoch": 9,
        "global_step": 1000,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 10}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": {
                "monitor": "val_loss",
                "best_model_score": torch.tensor(0.3),
                "best_model_path": Path("best.ckpt"),
                "best_k_models": {"best.ckpt": torch.tensor(0.3)},
            },
            "EarlyStopping": {"best_score": np.float64(0.3), "history": collections.deque([1.0], maxlen=3)},
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"milestones": collections.Counter([3]), "last_epoch": 9}],
        "MixedPrecision": {"scale": 65536.0},
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "net": Anything(width=8), "args": argparse.Namespace(seed=0)},
        "datamodule_hyper_parameters": {"folder": Path("data"), "counts": collections.defaultdict(int, a=1)},
        **more,
    }


BESIDE = {"criterion.weight": torch.ones(3), "val_acc.tp": torch.zeros(3), "distill.0.weight": torch.ones(2, 2)}
ema_torch = AveragedModel(MODEL, multi_avg_fn=get_ema_multi_avg_fn(0.9))
ema_torch.module.load_state_dict(AVERAGED)

# what is written, which of the two is taken, what is said
LAYOUTS: dict[str, tuple[Callable[[], Any], State, str]] = {
    "lightning": (
        lambda: lightning({**prefixed("model."), **BESIDE}),
        PLAIN,
        r"'model\.' taken off the names; 3 tensors beside it left out \(criterion\.weight, val_acc\.tp, "
        r"distill\.0\.weight\); objects left unread \(.*argparse\.Namespace.* and \d+ more\)$",
    ),
    "lightning net": (lambda: {"state_dict": prefixed("net.")}, PLAIN, r"^'net\.' taken off all names$"),
    "lightning with settings": (
        lambda: lightning(prefixed("net."), hyper_parameters=Settings(), hparams_type=Settings),
        PLAIN,
        r"^'net\.' taken off all names; objects left unread",
    ),
    "compiled": (lambda: prefixed("_orig_mod."), PLAIN, r"^'_orig_mod\.' taken off all names$"),
    "compiled on several GPUs": (lambda: prefixed("_orig_mod.module."), PLAIN, r"^'_orig_mod\.module\.' taken off all"),
    "compiled in lightning": (
        lambda: {"state_dict": {**prefixed("model._orig_mod."), **BESIDE}},
        PLAIN,
        r"^'model\._orig_mod\.' taken off the names; 3 tensors",
    ),
    "compiled in parts": (
        lambda: prefixed("model.m.", {n.replace(".", "._orig_mod.", 1): tensor for n, tensor in PLAIN.items()}),
        PLAIN,
        r"^'_orig_mod\.' taken out of \d+ names; 'model\.m\.' taken off all names$",
    ),
    "timm": (
        lambda: {
            "epoch": 3,
            "arch": "resnet10t",
            "state_dict": PLAIN,
            "optimizer": {"state": {}, "param_groups": []},
            "version": 2,
            "args": argparse.Namespace(lr=0.1, opt="sgd"),
            "amp_scaler": {"scale": 1.0},
            "state_dict_ema": AVERAGED,
            "metric": np.float64(71.0),
        },
        PLAIN,
        r"^taken from 'state_dict'; other weights of the same model lie under 'state_dict_ema' \(choose by key\); "
        r"objects left unread \(argparse\.Namespace\)$",
    ),
    "torchvision": (
        lambda: {"model": PLAIN, "optimizer": {}, "args": argparse.Namespace(), "model_ema": ema_torch.state_dict()},
        PLAIN,
        r"^taken from 'model'; other weights of the same model lie under 'model_ema\.module'",
    ),
    "averaged model": (lambda: ema_torch.state_dict(), AVERAGED, r"^'module\.' taken off all names$"),
    "averaged alone": (lambda: {"ema": AVERAGED, "step": 3}, AVERAGED, r"^taken from 'ema'$"),
    "ema-pytorch": (
        lambda: {**prefixed("online_model."), **prefixed("ema_model.", AVERAGED), "initted": torch.tensor(True)},
        PLAIN,
        r"^taken from 'online_model'; other weights of the same model lie under 'ema_model'.*; 1 tensor beside it",
    ),
    "own names with an average beside": (
        lambda: {**PLAIN, **prefixed("ema.module.", AVERAGED), "ema.n_averaged": torch.tensor(3)},
        PLAIN,
        r"^taken from the file's own names; other weights of the same model lie under 'ema\.module'",
    ),
    "lightning's averaging": (
        lambda: lightning(prefixed("net.", AVERAGED), current_model_state=prefixed("net.")),
        AVERAGED,
        r"^taken from 'state_dict\.net'; other weights of the same model lie under 'current_model_state\.net'",
    ),
    "any key": (lambda: {"network": prefixed("x.y."), "log": [1]}, PLAIN, r"^taken from 'network\.x\.y'$"),
    "numbers and arrays of numpy": (
        lambda: {"net": PLAIN, "acc": np.float32(1), "confusion": np.eye(3), "scores": {"f1": np.ones(3)}, "epoch": 3},
        PLAIN,
        "^$",
    ),
    "number among tensors": (lambda: {**PLAIN, "epoch": 3, "names": Names(["a"])}, PLAIN, "^objects left unread"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old"), [*((name, False) for name in LAYOUTS), *((name, True) for name in ("lightning", "timm"))]
)
def test_layouts(name: str, old: bool, tmp_path: Path) -> None:
    make, wanted, message = LAYOUTS[name]
    path = tmp_path / "w.ckpt"
    torch.save(make(), path, _use_new_zipfile_serialization=not old)
    state, said = taken(path)
    assert same(state, wanted)
    assert re.search(message, said), said


def test_names_of_another_order_beside_other_modules(tmp_path: Path) -> None:
    """A Lightning module around a network that names its layers otherwise."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in PLAIN))
    other = {f"l{layers.index(n.rpartition('.')[0])}.{n.rpartition('.')[2]}": tensor for n, tensor in PLAIN.items()}
    torch.save({"state_dict": {**prefixed("model.net.", other), **BESIDE}}, tmp_path / "w.ckpt")
    state, said = taken(tmp_path / "w.ckpt")
    assert same(state, PLAIN)
    assert re.match(r"'model\.net\.' taken off the names; 3 tensors beside it .*tensors mapped by their order", said)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("state_dict", PLAIN),
        ("state_dict_ema", AVERAGED),
        ("state_dict_ema.module", AVERAGED),
        (None, PLAIN),
    ],
)
def test_a_key_chooses(key: str | None, wanted: State, tmp_path: Path) -> None:
    torch.save({"state_dict": PLAIN, "state_dict_ema": prefixed("module.", AVERAGED)}, tmp_path / "w.pth")
    state, said = taken(tmp_path / "w.pth", key)
    assert same(state, wanted)
    assert said.startswith(f"taken from {'state_dict_ema.module' if wanted is AVERAGED else 'state_dict'!r}")


def test_a_key_chooses_behind_a_prefix_of_a_file_without_mappings(tmp_path: Path) -> None:
    save_file({**prefixed("student."), **prefixed("teacher.", AVERAGED)}, tmp_path / "w.safetensors")
    for key, wanted in {"student": PLAIN, "teacher": AVERAGED}.items():
        state, said = taken(tmp_path / "w.safetensors", key)
        assert same(state, wanted)
        assert said.startswith(f"taken from '{key}'")
    with pytest.raises(
        InputError, match=r"under student, teacher; choose one, such as pretrained: \{file: \.\.\., key: "
    ):
        taken(tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"no tensors under 'tacher'; did you mean 'teacher'\? known: student, teacher$"
    ):
        taken(tmp_path / "w.safetensors", "tacher")


def test_an_average_that_does_not_fit_is_no_choice(tmp_path: Path) -> None:
    torch.save({"model": PLAIN, "ema": {"decay": torch.ones(1)}}, tmp_path / "w.pth")
    assert taken(tmp_path / "w.pth")[1] == ""


def test_a_key_decides_a_cell_and_none_is_the_content_alone(tmp_path: Path) -> None:
    torch.save({"model": PLAIN, "ema": AVERAGED}, tmp_path / "w.pth")
    plain, chosen = (GivenWeights.find(str(tmp_path / "w.pth"), "x", key) for key in (None, "ema"))
    assert plain.decides == plain.content
    assert chosen.decides != plain.decides


# ---- pickles that would run code ---------------------------------------------------------------------------------

CALLED: list[Any] = []


def called(*parts: Any, **named: Any) -> Any:
    """What no file may reach."""
    CALLED.append(parts)
    return called


class Hostile:
    """Stands for what its parts say when it is pickled."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced

    def __call__(self) -> None:
        """So that it can be pickled as what is called."""


class Armed:
    """Calls when it is made, filled, or given a state."""

    def __new__(cls, *parts: Any) -> Any:
        called()
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        called()

    def append(self, item: Any) -> None:
        called()

    def __setitem__(self, key: Any, value: Any) -> None:
        called()


def unborn() -> Any:
    """One that nobody has made yet."""
    held = object.__new__(Armed)
    held.__dict__["a"] = 1
    return held


CODE = "__import__('test_checkpoints').called()"
HOSTILE: dict[str, Callable[[], Any]] = {
    "function": lambda: Hostile(called, ()),
    "eval": lambda: Hostile(eval, (CODE,)),
    "exec": lambda: Hostile(exec, (CODE,)),
    "getattr": lambda: Hostile(getattr, (Hostile(__import__, ("test_checkpoints",)), "called")),
    "call of what a call gave": lambda: Hostile(Hostile(getattr, (Armed, "append")), (1, 2)),
    "subprocess": lambda: Hostile(subprocess.Popen, (["touch", "touched"],)),
    "state": lambda: Hostile(Armed, (), {"a": 1}),
    "state of slots": lambda: Hostile(Armed, (), (None, {"append": 1})),
    "items": lambda: Hostile(Armed, (), None, iter([1, 2])),
    "keys": lambda: Hostile(Armed, (), None, None, iter([("a", 1), ("b", 2)])),
    "new": unborn,
    "as a key": lambda: {Hostile(Armed, ()): 1},
    "in a set": lambda: {Hostile(Armed, ())},
}  # fmt: skip

REFUSED = ("call of what a call gave",)


@pytest.mark.parametrize("old", [False, True], ids=["", "torch of 2019"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects_beside_the_weights_do_nothing(name: str, old: bool, tmp_path: Path, monkeypatch: Any) -> None:
    """Either the weights are read without them, or the file is refused."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    torch.save({"more": HOSTILE[name](), "state_dict": PLAIN}, path, _use_new_zipfile_serialization=not old)
    CALLED.clear()
    if name in REFUSED:
        with pytest.raises(InputError, match=r"holds more than tensors \(.*\), which would run code"):
            taken(path)
    else:
        state, said = taken(path)
        assert same(state, PLAIN)
        assert ("objects left unread" in said) == (name != "keys")  # which becomes a mapping
    assert not CALLED
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("module", ["os", "posix", "sys"])
def test_names_of_the_system_are_refused(module: str, tmp_path: Path) -> None:
    program = f"c{module}\nsystem\n(X\x05\x00\x00\x00falsetR.".encode("latin-1")
    write_program(tmp_path / "w.pt", b"\x80\x02" + program)
    with pytest.raises(InputError, match=rf"holds more than tensors \({module}\.system\), which would run code"):
        read_checkpoint(tmp_path / "w.pt")


def test_a_file_that_asks_for_very_many_names_is_refused(tmp_path: Path) -> None:
    program = b"\x80\x02]" + b"".join(f"cm\nf{n}\na".encode() for n in range(1000)) + b"."
    write_program(tmp_path / "w.pt", program)
    with pytest.raises(InputError, match="names more than 200 classes and functions beside its tensors"):
        read_checkpoint(tmp_path / "w.pt")


def test_a_mapping_that_holds_itself(tmp_path: Path) -> None:
    held: dict[str, Any] = {"state_dict": PLAIN}
    held["again"] = held
    torch.save(held, tmp_path / "w.pt")
    assert same(taken(tmp_path / "w.pt")[0], PLAIN)


def test_a_mapping_that_shadows_its_own_methods(tmp_path: Path) -> None:
    """A pickle may set attributes of an ordered mapping."""
    attributes = {"items": collections.OrderedDict, "get": collections.OrderedDict}
    held = Hostile(collections.OrderedDict, (), attributes, None, iter([("state_dict", PLAIN)]))
    torch.save(held, tmp_path / "w.pt")
    assert same(taken(tmp_path / "w.pt")[0], PLAIN)


def write_program(path: Path, program: bytes) -> None:
    """A file of torch whose pickle is this one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"data.pkl": program, "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"w/{name}", content)


NAMES = ["test_checkpoints\ncalled", "test_checkpoints\nArmed", "__builtin__\neval", "collections\nOrderedDict"]
NAMES += ["torch._utils\n_rebuild_tensor_v2", "collections\ndefaultdict", "torch._tensor\n_rebuild_from_type_v2"]
CODES = [f"c{name}\n".encode() for name in NAMES]
CODES += [bytes([code[0]]) for code in (pickle.MARK, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.TUPLE)]
CODES += [bytes([code[0]]) for code in (pickle.TUPLE1, pickle.TUPLE2, pickle.EMPTY_DICT, pickle.EMPTY_LIST)]
CODES += [bytes([code[0]]) for code in (pickle.SETITEM, pickle.SETITEMS, pickle.APPEND, pickle.EMPTY_TUPLE)]
CODES += [pickle.NONE, b"K\x01", b"X\x01\x00\x00\x00a", b"q\x00", b"h\x00", b"\x93", b"i__builtin__\neval\n", b"o"]


@settings(max_examples=80, deadline=None)
@drawn(codes=st.lists(st.sampled_from(CODES), min_size=2, max_size=12))
def test_no_program_of_a_pickle_reaches_a_function(codes: list[bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "program.pt"
    write_program(path, b"\x80\x02" + b"".join(codes) + b".")
    CALLED.clear()
    with pytest.raises(InputError):
        read_checkpoint(path)
    assert not CALLED


@pytest.mark.parametrize("old", [False, True], ids=["", "torch of 2019"])
def test_damaged_checkpoints_are_read_or_refused(old: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save(lightning({**prefixed("model."), **BESIDE}), path, _use_new_zipfile_serialization=not old)
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(10 if old else 60):
        damaged = bytearray(content)
        first = int(draw.integers(len(content)))
        damaged[first : first + int(draw.integers(1, 40))] = draw.bytes(int(draw.integers(0, 40)))
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_checkpoint(path)


@pytest.mark.slow  # timm takes seconds to import
def test_a_file_that_timm_itself_wrote(tmp_path: Path) -> None:
    utils = import_module("timm.utils")
    made = model()
    ema = utils.ModelEmaV2(made, decay=0.9)
    ema.module.load_state_dict(AVERAGED)
    args = argparse.Namespace(model="dscnn", lr=0.1)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    saver = utils.CheckpointSaver(made, optimizer, args, ema, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=71.0)
    (path,) = tmp_path.glob("checkpoint-*.pth.tar")
    state, said = taken(path)
    assert same(state, PLAIN)
    assert "taken from 'state_dict'; other weights of the same model lie under 'state_dict_ema'" in said
    assert same(taken(path, "state_dict_ema")[0], AVERAGED)


def test_files_of_torchvision_and_their_training_script(tmp_path: Path) -> None:
    """A network of torchvision's, saved as its reference script does: on several GPUs, compiled, with an average."""
    models = import_module("torchvision.models")
    torch.manual_seed(0)
    network, average = (models.shufflenet_v2_x0_5(num_classes=3) for _ in range(2))
    names = "torchvision:shufflenet_v2_x0_5"
    wrapped = AveragedModel(average)
    compiled = {f"module._orig_mod.{name}": tensor for name, tensor in network.state_dict().items()}
    saved = {"model": compiled, "model_ema": wrapped.state_dict(), "args": argparse.Namespace(epochs=3), "epoch": 2}
    torch.save(saved, tmp_path / "model_2.pth")
    for key, wanted in {None: network, "model_ema": average}.items():
        made = build(names, (3, 32, 32), len(CLASSES))
        GivenWeights.find(str(tmp_path / "model_2.pth"), "teachers.t.pretrained", key).load_into(made, names, CLASSES)
        held, right = list(made.state_dict().values()), list(wanted.state_dict().values())
        assert len(held) == len(right)
        assert all(torch.equal(a, b) for a, b in zip(held, right, strict=True))
