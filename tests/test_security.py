"""What a file from somebody else may do: be read, and no more. What needs the caller's word, and what that allows."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_outputs import EMPTY_STUDY
from torch import nn
from torch.nn.modules import module as hooks
from typer.testing import CliRunner, Result

from overtone import data, load_student, recipe
from overtone.cli import app
from overtone.errors import InputError
from overtone.lookup import import_library, import_object
from overtone.models import FAMILIES, build, sketch
from overtone.recipe import ModelOptions
from overtone.study import execute, make_plan
from overtone.trust import check_recipe
from overtone.weights import GivenWeights

HERE = Path(__file__).parent
SIGNAL = {"type": "signal", "settings": {}, "state": {}}
IMAGE = {"type": "image", "settings": {}, "state": {}}
PI = {"birth_range": [0.0, 1.0], "persistence_range": [0.0, 1.0], "scale": 1.0}
OF_SIGNALS: dict[str, Any] = {
    "builder": "dscnn-4",
    "input_shape": [3, 40],
    "classes": ["a", "b"],
    "channels": ["x", "y", "z"],
    "rate": 50.0,
    "window": 40,
    "mean": [0.0] * 3,
    "std": [1.0] * 3,
    "views": [SIGNAL],
}
OF_IMAGES = OF_SIGNALS | {"input_shape": [3, 32, 32], "window": [32, 32], "rate": None, "views": [IMAGE]}
OF_BOTH = OF_SIGNALS | {
    "input_shape": [[3, 40], [3, 8, 8]],
    "views": [SIGNAL, {"type": "gaf", "settings": {"size": 8}, "state": {}}],
}
OWN = {"data": {"name": "watch", "window": 64, "stride": 300}, "methods": ["none"]}
PAYLOAD = "open('ran', 'a').write(__name__)\n"
"""What a hostile module does when it is imported."""


def of_view(kind: str, state: dict[str, Any] | None = None, side: int = 8, **settings: Any) -> dict[str, Any]:
    """A header of a 2-D network on one view."""
    view = {"type": kind, "settings": settings, "state": state or {}}
    return OF_SIGNALS | {"builder": "wrn10-0.25", "input_shape": [3, side, side], "views": [view]}


def arguments(**given: Any) -> dict[str, Any]:
    return OF_IMAGES | {"builder": "timm:vit_tiny_patch16_224", "options": {"arguments": given}}


def written(folder: Path, header: dict[str, Any], state: dict[str, torch.Tensor] | None = None) -> Path:
    """A student file with any header, around the weights of a small honest model."""
    path = folder / "student.safetensors"
    state = build("dscnn-4", (3, 40), 2).state_dict() if state is None else state
    save_file(state, path, metadata={"overtone": json.dumps(header)})
    return path


def honest(folder: Path, header: dict[str, Any]) -> Path:
    """A student file whose weights are those of the model that its header names."""
    shape = tuple(tuple(part) if isinstance(part, list) else part for part in header["input_shape"])
    options = ModelOptions.model_validate(header.get("options", {}))
    return written(folder, header, build(header["builder"], shape, len(header["classes"]), options).state_dict())


def overtone(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*(str(word) for word in words)])


def everything(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, first in Python's way, with a module in it that writes a file when it is imported."""
    (tmp_path / "payload.py").write_text(
        PAYLOAD + "import torch\nclass Net(torch.nn.Module):\n    def __init__(self, channels, classes):\n"
        "        super().__init__()\n        self.head = torch.nn.Linear(channels, classes)\n"
        "    def forward(self, x):\n        return self.head(x.mean(2))\ndef view(x): return x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    return tmp_path


def nothing_ran(folder: Path) -> bool:
    return not (folder / "ran").exists() and "payload" not in sys.modules


# --- what would be imported


IMPORTS = {
    "a module beside the file": (OF_SIGNALS | {"builder": "payload:Net"}, "'payload:Net'"),
    "python hidden in a tensor": (
        OF_SIGNALS
        | {
            "builder": "multiprocessing.forkserver:main",
            "options": {
                "arguments": {"listener_fd": 0, "alive_r": 1, "preload": ["payload"], "main_path": "payload.py"}
            },
        },
        "'multiprocessing.forkserver:main'",
    ),
    "a call": (OF_SIGNALS | {"builder": "os:system"}, "'os:system'"),
    "a library by its module": (
        OF_IMAGES | {"builder": "torchvision.models:resnet18"},
        "'torchvision.models:resnet18'",
    ),
    "a view that writes": (of_view("torch:save", f="ran"), "'torch:save'"),
    "a view beside the file": (of_view("payload:view"), "'payload:view'"),
    "a library's function as a view": (of_view("timm:create_model", pretrained=True), "'timm:create_model'"),
    "a branch": (OF_BOTH | {"builder": "two_branch-payload:Net"}, "'payload:Net'"),
    "the second branch": (OF_BOTH | {"builder": "two_branch-dscnn-4+payload:Net"}, "'payload:Net'"),
    "what looks like branches": (
        OF_SIGNALS | {"builder": "two_branch-a+b+payload:Net"},
        "'two_branch-a+b+payload:Net'",
    ),
    "the second view": (
        OF_BOTH | {"builder": "two_branch-dscnn-4", "views": [SIGNAL, SIGNAL | {"type": "payload:view"}]},
        "'payload:view'",
    ),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_a_file_imports_nothing(case: str, trapped: Path) -> None:
    header, named = IMPORTS[case]
    path = written(trapped, header)
    with pytest.raises(InputError) as caught:
        load_student(path)
    assert "not made of built-in parts: it would import and run " in str(caught.value)
    assert named in str(caught.value)
    assert "load_student(path, trust=True)" in str(caught.value)
    assert "--trust" in str(caught.value)
    np.savez(trapped / "windows.npz", X=np.zeros((2, 3, 40), np.float32), y=np.zeros(2, int))
    for command in ("predict", "evaluate"):
        result = overtone(command, path, trapped / "windows.npz")
        assert result.exit_code == 2
        assert named in everything(result)
    assert nothing_ran(trapped)
    assert not (trapped / "predictions.csv").exists()


def test_old_files_with_one_view_are_no_way_around(trapped: Path) -> None:
    old = {key: value for key, value in OF_SIGNALS.items() if key != "views"}
    path = written(trapped, old | {"view": "payload:view", "view_settings": {}, "view_state": {}})
    with pytest.raises(InputError, match="would import and run 'payload:view'"):
        load_student(path)
    assert nothing_ran(trapped)


def test_the_callers_word_imports(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and a view of one's own, in the current folder; by trust in all, or in these names."""
    view = {"type": "payload:view", "settings": {}, "state": {}}
    state = nn.Linear(3, 2).state_dict()
    header = OF_SIGNALS | {"builder": "payload:Net", "views": [view]}
    path = written(trapped, header, {f"head.{key}": value for key, value in state.items()})
    x = torch.randn(4, 3, 40)
    try:
        for trust in (
            {"payload:Net"},
            {"payload"},
            set[str](),
            ["other:Net", "torch:save"],
            "payload:Net payload:view",
        ):
            with pytest.raises(InputError, match="would import and run 'payload:"):
                load_student(path, trust=trust)
        assert nothing_ran(trapped)
        for trust in (True, {"payload:Net", "payload:view"}):
            student = load_student(path, trust=trust)
            expected = x.mean(2) @ state["weight"].T + state["bias"]
            torch.testing.assert_close(student(x), expected)
        assert (trapped / "ran").read_text() == "payload"
        np.savez(trapped / "windows.npz", X=x.numpy(), y=student(x).argmax(1).numpy())
        assert overtone("predict", path, "windows.npz", "-o", "p.csv", "--trust").exit_code == 0
        assert len((trapped / "p.csv").read_text().splitlines()) == 5
        result = overtone("evaluate", path, "windows.npz", "--trust")
        assert result.exit_code == 0, everything(result)
        assert "100.0" in everything(result)
    finally:
        sys.modules.pop("payload", None)


# --- arguments


NEVER = {
    "checkpoint_path": "x.pth",
    "pretrained": True,
    "pretrained_cfg": "a1_in1k",
    "pretrained_cfg_overlay": {"file": "x.pth"},
    "pretrained_backbone": True,
    "weights": "IMAGENET1K_V1",
    "weights_backbone": "DEFAULT",
    "cache_dir": "here",
    "url": "x",
    "WEIGHTS": None,
}
PLACES = ["https://example.org/w.pth", "hf-hub:timm/resnet10t", "hf_hub:x/y", "local-dir:/tmp/x", " file:///tmp/x"]
REFUSED = [*([{key: value}] for key, value in NEVER.items()), *([{"block": place}] for place in PLACES)]
REFUSED += [[{"config": {"weights": "x"}}], [{"config": [{"deep": {"checkpoint_path": "x"}}]}], [{"a": ["hf-hub:x"]}]]


@pytest.mark.parametrize("given", [given for (given,) in REFUSED], ids=str)
def test_arguments_that_load_or_fetch_are_refused_always(given: dict[str, Any], tmp_path: Path) -> None:
    for builder in ("timm:resnet10t", "torchvision:resnet18", "payload:Net"):
        header = OF_IMAGES | {"builder": builder, "options": {"arguments": given}}
        with pytest.raises(InputError, match=r"would load or fetch weights|may not name something to fetch"):
            load_student(written(tmp_path, header), trust=True)
        model, plain = {"view": "image", "model": builder, "arguments": given}, {"model": "dscnn-4"}
        for place, values in {
            "student": {"student": model},
            "teachers.t": {"student": plain, "teachers": {"t": model}},
        }.items():
            with pytest.raises(InputError, match=rf"^recipe: {place}.arguments: "):
                recipe.validate({**OWN, **values})
    assert "payload" not in sys.modules


def test_arguments_that_only_sound_like_it_are_taken() -> None:
    taken = {"weight_init": "skip", "bn_weight_init": 0.0, "pretrained_window_size": 7, "use_checkpoint": True}
    assert ModelOptions(arguments=taken).arguments == taken


@pytest.mark.parametrize(
    "given",
    [
        {"act_layer": "gelu"},
        {"norm_layer": ["layernorm"]},
        {"block_args": {"depth": 1}},
        {"depth": 65537},
        {"depth": -(10**30)},
        {"mlp_ratio": float("nan")},
        {"mlp_ratio": float("inf")},
        {"depths": [2] * 257},
    ],
    ids=str,
)
def test_arguments_with_a_meaning_need_the_word(given: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, arguments(**given))
    with pytest.raises(InputError, match=rf"model 'timm:vit_tiny_patch16_224' with {next(iter(given))}="):
        load_student(path)
    with pytest.raises(InputError, match="would make"):
        load_student(path, trust={"timm:resnet10t"})


SMALL = {"patch_size": 4, "depth": 2, "embed_dim": 48, "num_heads": 3}


def test_libraries_models_load_by_their_lists(tmp_path: Path) -> None:
    """With numbers as arguments without a word; with texts with it, for all or for that name."""
    x = torch.rand(2, 3, 32, 32) * 255
    plain = arguments(**SMALL, qkv_bias=False, drop_rate=0.0)
    student = load_student(honest(tmp_path, plain))
    assert student(x).shape == (2, 2)
    path = honest(tmp_path, arguments(**SMALL, act_layer="relu"))
    with pytest.raises(InputError, match="act_layer=relu"):
        load_student(path)
    for trust in (True, {"timm:vit_tiny_patch16_224"}):
        student = load_student(path, trust=trust)
        assert any(isinstance(module, nn.ReLU) for module in student.model.modules())
        assert student(x).shape == (2, 2)


@pytest.mark.parametrize("name", ["torchvision:shufflenet_v2_x0_5", "torchvision:regnet_y_400mf", "timm:resnet10t"])
def test_libraries_models_are_the_same_again(name: str, tmp_path: Path) -> None:
    """Also those whose sizes are computed by tensors, which have no values on the meta device."""
    torch.manual_seed(0)
    model = build(name, (3, 32, 32), 2).eval()
    student = load_student(written(tmp_path, OF_IMAGES | {"builder": name}, model.state_dict()))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(student.model(x), model(x))
    assert all(parameter.requires_grad for parameter in student.model.parameters())


@pytest.mark.parametrize(
    "name", ["hf-hub:timm/resnet10t", "hf_hub:x/y", "local-dir:/tmp", "resnet10t.c3_in1k", "../x", "ResNet10t", ""]
)
def test_names_by_which_timm_finds_weights_are_in_no_list(name: str, tmp_path: Path) -> None:
    for trust in (False, True):
        with pytest.raises(InputError, match="timm has no model"):
            load_student(written(tmp_path, OF_IMAGES | {"builder": f"timm:{name}"}), trust=trust)


def test_backbones_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's models for segmentation fetch their backbone's weights unless they are told not to."""

    def fetched(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetched)
    with pytest.raises(InputError, match="returns logits"):
        build("torchvision:lraspp_mobilenet_v3_large", (3, 32, 32), 2)


# --- giants


GIANTS = [
    OF_SIGNALS | {"builder": builder}
    for builder in (
        *("wrn10-500", "wrn6000000004-1", "resnet6000000002", "resnet6000002x9-a", "dscnn-100000"),
        *("dscnn-" + "9" * 150, "wrn10-" + "9" * 190, "wrn10-" + "9" * 400, "inceptiontime-99999999", "resnet50-b"),
        *("vgg19-5000", "mobilenetv2-99999", "mobilenetv1-99999", "shufflenetv1", "shufflenetv2"),
        *("gru-99999", "deepconvlstm-99999", "tinierhar-99999", "patch_transformer999-9996"),
        *("patch_transformer3000003-8", "patch_transformer3-9996"),
    )
]
GIANTS += [OF_SIGNALS | {"classes": [str(n) for n in range(100_000)]}]
GIANTS += [
    OF_BOTH | {"builder": builder, "options": options}
    for builder in ("two_branch-resnet6000002", "two_branch-dscnn-4+wrn10-500", "two_branch-dscnn-100000+wrn10-0.25")
    for options in ({}, {"modality_dropout": 0.5, "pool": "attention"})
]
GIANTS += [
    OF_IMAGES | {"builder": builder}
    for builder in (
        *("timm:vit_giant_patch14_dinov2", "timm:eva02_enormous_patch14_clip_224", "timm:tf_efficientnet_l2"),
        *("torchvision:regnet_y_128gf", "torchvision:vit_h_14", "torchvision:vgg19"),
    )
]
GIANTS += [
    arguments(**given)
    for given in (
        *({"depth": 65536}, {"embed_dim": 65536, "num_heads": 1}, {"mlp_ratio": 65000.0}, {"reg_tokens": 65536}),
        *({"img_size": 65536, "patch_size": 1}, {"num_classes": 65536}),
    )
]
GIANTS += [OF_IMAGES | {"builder": "torchvision:regnet_y_400mf", "options": {"arguments": {"stem_width": 65536}}}]


def test_giants_in_small_files_cost_nothing(tmp_path: Path) -> None:
    """Modules are counted, and so are the bytes that Python takes and the values that parameters have in memory."""
    parts = {"modules": 0, "real": 0}

    def module(*_: Any) -> None:
        parts["modules"] += 1

    def parameter(_: Any, name: str, held: Any) -> None:
        if isinstance(held, torch.Tensor) and not held.is_meta and held.untyped_storage().nbytes() > 2**20:
            parts["real"] += "regnet" not in builder  # whose parameters lose their memory before they are filled

    import_library("timm")
    with pytest.raises(InputError):  # so that what libraries make once is made
        load_student(written(tmp_path, OF_IMAGES | {"builder": "timm:resnet10t"}))
    removers = [
        hooks.register_module_module_registration_hook(module),
        hooks.register_module_parameter_registration_hook(parameter),
    ]
    try:
        for header in GIANTS:
            parts["modules"], builder = 0, header["builder"]
            path = written(tmp_path, header)
            parts["modules"] = 0
            tracemalloc.start()
            with pytest.raises(InputError) as caught:
                load_student(path)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert parts["modules"] < 700, builder
            assert peak < 24 * 2**20, (builder, peak)
            assert len(str(caught.value)) < 2500
    finally:
        for each in removers:
            each.remove()
    assert parts["real"] == 0


@pytest.mark.parametrize("name", [family.tiny for family in FAMILIES.values() if 1 in family.dims])
def test_a_sketch_has_the_models_shapes_and_no_memory(name: str) -> None:
    real = build(name, (3, 40), 5).state_dict()
    size = sum(tensor.numel() for tensor in real.values())
    made = sketch(name, (3, 40), 5, ModelOptions(), len(real), size)
    assert {k: (x.shape, x.dtype) for k, x in made.state_dict().items()} == {
        k: (x.shape, x.dtype) for k, x in real.items()
    }
    assert all(tensor.is_meta for tensor in made.state_dict().values())
    assert not nn.Linear(1, 1).weight.is_meta  # nothing stays as it was inside


def test_a_loaded_model_is_its_own_and_can_be_trained(tmp_path: Path) -> None:
    path = honest(tmp_path, OF_BOTH | {"builder": "two_branch-dscnn-4+wrn10-0.25", "options": {"pool": "attention"}})
    student = load_student(path)
    x = torch.randn(4, 3, 40)
    before = student(x)
    path.write_bytes(b"\0" * path.stat().st_size)  # the weights are not the file's own bytes
    assert torch.equal(student(x), before)
    student.train()(x).sum().backward()
    assert student.model.signal.stem[0].weight.grad.abs().sum() > 0
    assert student.model.image.attend.hidden.weight.requires_grad


# --- headers that cannot be true


NAN, INF = float("nan"), float("inf")
UNTRUE = [
    OF_SIGNALS | {"window": 10**9, "input_shape": [3, 10**9]},
    OF_SIGNALS | {"window": -1},
    OF_SIGNALS | {"window": 0, "input_shape": [3, 0]},
    OF_SIGNALS | {"window": 41},
    OF_IMAGES | {"builder": "wrn10-0.25", "window": [32, -32]},
    OF_SIGNALS | {"input_shape": [3, -40]},
    OF_SIGNALS | {"input_shape": [2, 40]},
    OF_SIGNALS | {"input_shape": []},
    OF_SIGNALS | {"input_shape": [[3, 40], [3, 40]]},
    *(OF_SIGNALS | {"std": [1.0, bad, 1.0]} for bad in (0.0, -1.0, NAN, INF)),
    *(OF_SIGNALS | {"mean": [0.0, bad, 0.0]} for bad in (NAN, INF)),
    *(OF_SIGNALS | {name: [1.0]} for name in ("mean", "std")),
    *(OF_SIGNALS | {"rate": bad} for bad in (0.0, -1.0, NAN, INF)),
    OF_SIGNALS | {"classes": []},
    OF_SIGNALS | {"channels": [], "mean": [], "std": [], "input_shape": [0, 40]},
    OF_SIGNALS | {"classes": ["a\x1b]0;b\x07", "c"]},
    OF_SIGNALS | {"views": []},
    OF_SIGNALS | {"views": [SIGNAL, SIGNAL]},
    OF_BOTH | {"builder": "two_branch-dscnn-4+wrn10-0.25", "views": [SIGNAL]},
    OF_SIGNALS | {"views": [IMAGE]},
    *(OF_SIGNALS | {"views": [SIGNAL | {"settings": {"channels": c}}]} for c in ([3, 0, 1], [-1, 0, 1], [], [0, 1])),
    of_view("gaf", side=10**6, size=10**6),
    of_view("gaf", side=41, size=41),
    of_view("gaf", size=16),
    of_view("pi", PI, side=10**4, size=10**4),
    of_view("pi", {}, size=8),
    *(of_view("pi", PI | {"scale": bad}, size=8) for bad in (0, -1, 10**30, NAN, "1", None, True, [1], [1, 2])),
    *(of_view("pi", PI | {"birth_range": bad}, size=8) for bad in ([1, 1], [2, 1], [0], [0, INF], "ab", None)),
    *(
        of_view("pi", {"birth_range": [[0, 1]] * 3, "persistence_range": [[0, 1]] * 3, "scale": bad}, size=8)
        for bad in (1.0, [1.0, 1.0], [1.0, 0.0, 1.0], [[1.0]] * 3)
    ),
    of_view("mtf", size=8, bins=10**7),
    of_view("recurrence", size=8, dimension=10**9),
    of_view("recurrence", size=8, dimension=2, delay=10**9),
    of_view("spectrogram", {"mean": 0, "std": 1}, length=10**6),
    of_view("spectrogram", {"mean": 0, "std": 0}, length=14, hop=5),
]


@pytest.mark.parametrize("number", range(len(UNTRUE)))
def test_headers_that_cannot_be_true(number: int, tmp_path: Path) -> None:
    path = written(tmp_path, UNTRUE[number], build("wrn10-0.25", (3, 8, 8), 2).state_dict())
    with pytest.raises(InputError, match=r"its header cannot be true: |: view: (size|bins): at most 2048") as caught:
        load_student(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"window":' * 100_000, "9" * 5000, "NaN", '{"builder": "' + "x" * 300]
)
def test_headers_that_are_no_headers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"overtone": text})
    with pytest.raises(InputError, match="was written by another version"):
        load_student(path)


def test_what_takes_much_memory_needs_the_word(tmp_path: Path) -> None:
    """A file alone decides how large a view is; the arguments of a library's model likewise."""
    header = of_view("pi", PI, side=2048, size=2048)
    header |= {"channels": list("abcdefgh"), "mean": [0.0] * 8, "std": [1.0] * 8, "input_shape": [8, 2048, 2048]}
    path = honest(tmp_path, header)
    with pytest.raises(InputError, match=r"takes 3.4e\+07 values for each window.*--trust"):
        load_student(path)
    assert load_student(path, trust=True).views[0].size == 2048


@pytest.mark.parametrize("view", ["gaf", "mtf", "recurrence", "spectrogram", "pi", "signal"])
@pytest.mark.parametrize("settings", [{}, {"odd": True}])
def test_shapes_by_arithmetic_are_those_of_views(view: str, settings: dict[str, bool]) -> None:
    from overtone.lookup import make_view

    odd: dict[str, dict[str, Any]] = {
        "gaf": {"size": 7},
        "mtf": {"size": 5, "bins": 3},
        "recurrence": {"size": None, "dimension": 3, "delay": 2},
        "spectrogram": {"length": 10, "hop": 3},
        "pi": {"size": 9, "kind": "gudhi"},
    }
    made = make_view(view, odd.get(view, {}) if settings else {})
    x = torch.randn(4, 3, 41)
    stored = made.prepare(x)
    state = made.fit(stored)
    image = made.render(stored, state)
    made.check_state(json.loads(json.dumps(state)), 3)
    assert made.shape((41,)) == tuple(image.shape[2:])
    assert made.cost((41,)) >= image[0, 0].numel()


# --- folders of studies, and what a run hands on


@pytest.mark.parametrize(
    "values",
    [
        {"student": {"model": "payload:Net"}},
        {"student": {"model": "dscnn-4", "view": "payload:view"}},
        {"student": {"model": "wrn10-1", "view": "v"}, "views": {"v": {"type": "payload:view"}}},
        {"student": {"model": "dscnn-4"}, "views": {"unused": {"type": "payload:view"}}},
        {"student": {"model": "dscnn-4"}, "teachers": {"t": {"model": "payload:Net"}}},
        {"student": {"model": "dscnn-4"}, "views": {"v": {"type": "timm:create_model"}}},
        {"student": {"model": "dscnn-4"}, "methods": ["none", "payload:Mine"]},
        {"student": {"model": "dscnn-4"}, "methods": [{"name": ["kd", "payload:Mine"]}]},
        {"student": {"model": "dscnn-4"}, "teachers": {"t": {"model": "dscnn-4", "method": "payload:Mine"}}},
        {"student": {"model": "dscnn-4"}, "data": {"name": "payload:Data"}},
    ],
    ids=str,
)
def test_a_foreign_study_imports_nothing(values: dict[str, Any], trapped: Path) -> None:
    study = recipe.validate({**OWN, **values})
    with pytest.raises(
        InputError, match=r"study.json is not made of built-in parts: it would import and run '(pay|tim)"
    ):
        check_recipe(study, "study.json", trust=False)
    check_recipe(study, "study.json", trust=True)
    folder = trapped / "study"
    folder.mkdir()
    dumped = study.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    (folder / "study.json").write_text(json.dumps({**EMPTY_STUDY, "recipe": dumped}))
    result = overtone("explain", folder)
    assert result.exit_code == 2
    assert "would import and run" in everything(result)
    assert nothing_ran(trapped)


def test_a_study_with_parts_of_ones_own(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run trusts its recipe: teachers and images load. A report never imports; explain needs the word."""
    monkeypatch.chdir(HERE)
    tiny["views"] = {"mine": {"type": "my_models:squares"}}
    tiny["teachers"] = {"own": {"model": "my_models:Plain", "epochs": 1}}
    tiny["student"] = {"view": "mine", "model": "wrn10-0.25", "epochs": 1}
    tiny["methods"] = [{"name": "kd", "teachers": ["own"]}]
    study = recipe.validate(tiny)
    plan, out = make_plan(study, data.load(study.data)), tmp_path / "out"
    assert execute(plan, out) == {}
    from overtone.explain import FILE, refresh

    refresh(plan, out)
    assert (out / FILE).exists()
    (out / FILE).unlink()
    monkeypatch.chdir(tmp_path)  # where my_models is not
    for held in [name for name in sys.modules if name == "my_models"]:
        monkeypatch.delitem(sys.modules, held)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place).resolve() != HERE])
    for words in (["report", out], ["report", out, "--trust"]):
        result = overtone(*words)
        assert result.exit_code == 0, everything(result)
    result = overtone("explain", out)
    assert result.exit_code == 2
    assert (
        "study.json is not made of built-in parts: it would import and run 'my_models:Plain', 'my_models:squares'"
        in (everything(result))
    )
    assert "my_models" not in sys.modules
    monkeypatch.chdir(HERE)
    result = overtone("explain", out, "--trust")
    assert result.exit_code == 0, everything(result)
    assert (out / FILE).exists()


def test_a_run_imports_no_more_than_its_recipe(tiny: dict[str, Any], tmp_path: Path, trapped: Path) -> None:
    """A teacher's file that was exchanged in the study's folder."""
    tiny["teachers"], tiny["views"] = {"t": {"model": "dscnn-4", "epochs": 1}}, {}
    tiny["student"] = {"model": "dscnn-4", "epochs": 1}
    tiny["methods"] = [{"name": "kd", "teachers": ["t"]}]
    study = recipe.validate(tiny)
    plan, out = make_plan(study, data.load(study.data)), tmp_path / "out"
    teacher = next(cell for cell in plan.cells.values() if cell.title.startswith("teacher"))
    from overtone.engine import make_accelerator
    from overtone.study.build import StudyContext, build_cell

    context = StudyContext(plan, out, make_accelerator())
    context.paths.cell(teacher.key).mkdir(parents=True)
    path = written(trapped, OF_SIGNALS | {"builder": "payload:Net"})
    path.rename(context.paths.weights(teacher.key, "best"))
    pupil = next(cell for cell in plan.cells.values() if cell.teachers)
    with pytest.raises(InputError, match="would import and run 'payload:Net'"):
        build_cell(context.inputs(pupil), pupil)
    assert nothing_ran(trapped)


# --- the current folder


def test_libraries_are_never_those_of_the_current_folder(trapped: Path) -> None:
    with pytest.raises(ImportError):
        import_library("payload")
    assert nothing_ran(trapped)
    assert sys.path[:2] == ["", str(trapped)]


def test_ones_own_are_found_there_and_leave_nothing_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net.py").write_text("import own_part\ndef late():\n    import own_other\n    return own_other.x\n")
    (tmp_path / "own_part.py").write_text("")
    (tmp_path / "own_other.py").write_text("x = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    assert import_object("own_net:late", "model")() == 3
    assert sys.path == [*before, str(tmp_path)]
    for name in ("own_net", "own_part", "own_other"):
        del sys.modules[name]


def test_the_command_in_a_folder_full_of_traps(tmp_path: Path) -> None:
    """``python -m`` and an empty entry of PYTHONPATH put it in front of every package, which the command undoes."""
    traps = "torch torchvision timm aeon yaml typer rich numpy sklearn safetensors pydantic matplotlib PIL payload"
    path = honest(tmp_path, OF_IMAGES | {"builder": "torchvision:shufflenet_v2_x0_5"})
    np.savez(tmp_path / "images.npz", X=np.zeros((2, 3, 32, 32), np.uint8), y=np.zeros(2, int))
    for name in traps.split():
        (tmp_path / f"{name}.py").write_text(PAYLOAD + "raise SystemExit('caught')\n")
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-m", "overtone", "evaluate", path.name, "images.npz"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accuracy" in done.stdout.lower()
    assert not (tmp_path / "ran").exists()


# --- many at random


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2,
    10**9,
    10**30,
    1.5,
    NAN,
    INF,
    "",
    "x",
    "a:b",
    "signal",
    "image",
    "pi",
    [],
    [1],
]
ODD += [[[1, 2]], {}, {"a": 1}, [0] * 5, "wrn10-1", "two_branch-dscnn-4", "timm:resnet10t", "resnet8", "\x00", "é" * 50]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a header, the whole left out."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [place for key, held in pairs for place in places(held, (*at, key))]
    return [at, *below] if at else below


@pytest.mark.slow
def test_mutated_headers_are_refused_or_work(tmp_path: Path) -> None:
    """2,000 headers with one or two odd values: refused in a sentence, or a student that predicts."""
    draw = random.Random(0)
    headers = [
        OF_SIGNALS,
        OF_BOTH | {"builder": "two_branch-dscnn-4+wrn10-0.25"},
        of_view("pi", PI, size=8),
        of_view("gaf", size=8),
        of_view("spectrogram", {"mean": 0, "std": 1}, length=14, hop=5) | {"input_shape": [3, 8, 9]},
        OF_IMAGES | {"builder": "wrn10-0.25", "options": {"pool": "average", "modality_dropout": 0.0, "arguments": {}}},
    ]
    states = [load_student(honest(tmp_path, header)).model.state_dict() for header in headers]
    loaded = 0
    for _ in range(2000):
        number = draw.randrange(len(headers))
        header = copy.deepcopy(headers[number])
        for _ in range(draw.choice([1, 1, 1, 2])):
            *way, last = draw.choice(places(header))
            part: Any = header
            for key in way:
                part = part[key]
            part[last] = copy.deepcopy(draw.choice(ODD))
        try:
            student = load_student(written(tmp_path, header, states[number]))
        except InputError:
            continue
        loaded += 1
        assert student.predict(torch.randn(2, len(student.header.channels), *student.header.size)).shape[0] == 2
    assert 50 < loaded < 1000


def test_a_foreign_task_in_a_teachers_file_is_not_imported(trapped: Path) -> None:
    """``pretrained: FILE`` reads a student file's header too, and has nobody's word for it."""
    header = {**OF_SIGNALS, "task": {"name": "payload:Net", "facts": {}}}
    header.pop("classes", None)
    model = build("dscnn-4", (3, 40), 2)
    path = written(trapped, header, model.state_dict())
    GivenWeights.find(str(path), "teachers.t.pretrained").load_into(model, "dscnn-4", ("a", "b"))
    with pytest.raises(InputError, match="would import and run 'payload:Net'"):
        load_student(path)
    assert nothing_ran(trapped)
