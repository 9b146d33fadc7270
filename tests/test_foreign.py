"""Models and views of other people: by class, from torchvision and timm, tapped by hooks, with stages found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from overtone import Tap, data, load_student, probe, recipe
from overtone.errors import InputError
from overtone.models import build
from overtone.study import Plan, collect, execute, make_plan

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])


def plan_of(values: dict[str, Any]) -> Plan:
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


def test_a_study_with_ones_own_model_and_view(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["views"]["mine"] = {"type": "my_models:squares", "power": 1.0, "channels": ["a*"]}
    tiny["teachers"]["gaf"] = {"view": "mine", "model": "wrn10-0.25", "epochs": 1}
    tiny["student"]["model"] = "my_models:Plain"
    tiny["methods"] = [{"name": "sp", "pairs": {"stage3": "stage3"}, "teachers": ["gaf"], "weights": {"sp": 10}}]
    plan = plan_of(tiny)
    assert execute(plan, tmp_path / "out") == {}
    row = collect(tmp_path / "out")[0]
    assert row.n == 1
    folder = tmp_path / "out" / "cells" / plan.rows[0].cells[0, 0][0]
    held = np.load(folder / "predictions.npz")
    student = load_student(folder / "student.safetensors", trust=True)
    logits = student(torch.from_numpy(plan.windows.x[held["index"]])).detach().numpy()
    np.testing.assert_allclose(logits, held["best.logits"], rtol=1e-4, atol=1e-5)
    teacher = next(out for out in (tmp_path / "out").glob("cells/*/student.safetensors") if out.parent != folder)
    assert load_student(teacher, trust={"my_models:squares"})(torch.from_numpy(plan.windows.x[:2])).shape == (2, 7)


def test_a_changed_function_makes_new_cells(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import my_models

    tiny["views"]["mine"] = {"type": "my_models:squares"}
    tiny["student"]["view"] = "mine"
    tiny["student"]["model"] = "wrn10-0.25"
    tiny["methods"], tiny["teachers"] = ["none"], {}
    before = set(plan_of(tiny).cells)

    def squares(windows: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(windows), 1, 8, 8)

    monkeypatch.setattr(my_models, "squares", squares)
    assert not before & set(plan_of(tiny).cells)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("my_models:Plian", "there is no 'Plian' in my_models; did you mean 'Plain'?"),
        ("my_modles:Plain", "there is no module 'my_modles'"),
        ("my_models:", "write package.module:name"),
        ("my_models:Wrong", "must return logits (B, 7), got (2, 7, 62)"),
        ("my_models:squares", "fails"),
        ("torchvision:resnet18", "takes images (C, H, W), but its view gives (6, 64)"),
    ],
)
def test_misfits_are_told(model: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build(model, (6, 64), 7)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_models:wrong_view", "must return a tensor (1, C, H, W) for windows (1, 6, 64), got (6, 64)"),
        ("my_models:none", "there is no 'none' in my_models"),
    ],
)
def test_misfit_views_are_told(name: str, message: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["views"]["gaf"] = {"type": name}
    with pytest.raises(InputError) as caught:
        execute(plan_of(tiny), tmp_path / "out")
    assert message in str(caught.value)


def test_channels_of_a_view(tiny: dict[str, Any]) -> None:
    tiny["views"]["gyro"] = {"type": "signal", "channels": ["w*"]}
    tiny["student"]["view"] = "gyro"
    assert plan_of(tiny).views["gyro"].channels == (3, 4, 5)
    tiny["views"]["gyro"]["channels"] = ["g*"]
    with pytest.raises(InputError, match=r"views.gyro.channels: no channel fits 'g\*'"):
        plan_of(tiny)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:mobilenet_v2", "timm:resnet10t"])
def test_libraries_models_take_any_channels_and_get_stages(name: str) -> None:
    model = build(name, (6, 32, 32), 7)
    tap = Tap(model)
    example = torch.randn(2, 6, 32, 32)
    spec = probe(tap, example)
    assert spec.classes == 7
    assert len(spec.depth_stages()) >= 3
    sizes = [spec.stages[stage].size[0] for stage in spec.depth_stages()]
    assert sizes == sorted(sizes, reverse=True)
    output = tap.eval()(example)
    assert set(output.stages) == set(spec.stages)
    torch.testing.assert_close(output.logits, model(example))


STAGES = {
    "convnext_tiny": [(96, 16), (192, 8), (384, 4), (768, 2)],
    "swin_t": [(96, 16), (768, 2)],  # in between, channels come last
    "resnet18": [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)],
    "efficientnet_b0": [(96, 32), (144, 16), (240, 8), (672, 4), (1280, 2)],
    "densenet121": [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)],
    "mobilenet_v3_small": [(16, 32), (72, 16), (96, 8), (288, 4), (576, 2)],
    "vgg11": [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4), (512, 2)],  # not the 7 x 7 it repeats for its head
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_libraries_models(name: str) -> None:
    tap = Tap(build(f"torchvision:{name}", (3, 64, 64), 7))
    spec = probe(tap, torch.randn(2, 3, 64, 64))
    assert [spec.stages[stage].shape for stage in spec.depth_stages()] == [(c, side, side) for c, side in STAGES[name]]


class Mixed(torch.nn.Module):
    """Blocks as ConvNeXt's: a convolution, linear layers with channels last, and back."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, channels, stride, stride)
        self.norm, self.up = torch.nn.LayerNorm(channels), torch.nn.Linear(channels, 4 * channels)
        self.act, self.down = torch.nn.GELU(), torch.nn.Linear(4 * channels, channels)
        self.drop, self.head = torch.nn.Dropout(), torch.nn.Linear(channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.down(self.act(self.up(self.norm(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)
        return self.head((x + self.drop(y)).mean((2, 3)))


@pytest.mark.parametrize(
    ("channels", "size", "stride"),
    [(8, (16, 16), 2), (8, (16, 16), 1), (8, (32, 16), 2), (8, (16, 32), 2), (4, (64, 64), 2)],
)
def test_channels_last_in_between_are_no_maps(channels: int, size: tuple[int, int], stride: int) -> None:
    """Also where the number of channels is a side of the map, or both sides."""
    spec = probe(Tap(Mixed(channels, stride)), torch.randn(2, 3, *size))
    assert [spec.stages[s].shape for s in spec.depth_stages()] == [(channels, *(side // stride for side in size))]


def test_layers_over_time_give_maps() -> None:
    """A linear layer and a normalisation over the last axis of (B, C, T) leave channels first."""
    model = torch.nn.Sequential(
        torch.nn.Linear(32, 16), torch.nn.LayerNorm(16), torch.nn.Conv1d(6, 8, 2, 2), torch.nn.Flatten()
    )
    spec = probe(Tap(model), torch.randn(2, 6, 32))
    assert [spec.stages[s].shape for s in spec.depth_stages()] == [(6, 16), (8, 8)]


def test_tokens_of_a_signal_are_no_maps() -> None:
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = torch.nn.Conv1d(6, 12, 4, 4), torch.nn.Linear(12, 24)
            self.head = torch.nn.Linear(24, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.embed(x).transpose(1, 2)).mean(1))

    spec = probe(Tap(Tokens()), torch.randn(2, 6, 32))
    assert [spec.stages[s].shape for s in spec.depth_stages()] == [(12, 8)]


def test_an_unknown_library_model_names_the_nearest() -> None:
    with pytest.raises(InputError, match="torchvision has no model 'resnet17'; did you mean 'resnet1"):
        build("torchvision:resnet17", (3, 32, 32), 7)


def test_a_capture_that_stays_empty_is_an_error() -> None:
    import my_models

    tap = Tap(my_models.Skips(3, 5))
    probe(tap, torch.randn(2, 3, 32))
    with pytest.raises(Exception, match=r"stage\d \(second.*stayed empty in this step"):
        tap.train()(torch.randn(2, 3, 32))
