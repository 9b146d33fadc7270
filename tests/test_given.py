"""What somebody brings to an own loop or a recipe: models of other manners, and inputs that cannot be."""

from __future__ import annotations

import copy
import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import overtone
from overtone import Distillation, Tap, data, probe, recipe
from overtone.errors import InputError
from overtone.methods import METHODS
from overtone.models import build
from overtone.study import execute, make_plan
from overtone.study.callbacks import StudyCallback
from overtone.study.check import check
from overtone.trial import rehearse
from overtone.types import DataInfo, logits_of

X = torch.randn(6, 3, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 4


def raw(logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    return logits


class Net(nn.Module):
    """A network with everything that behaves otherwise in training; ``ends`` makes what it returns."""

    def __init__(self, ends: Callable[..., Any] = raw, in_training: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.fc, self.ends, self.in_training = nn.Linear(6, 4), ends, in_training or ends

    def forward(self, x: torch.Tensor) -> Any:
        maps = self.norm(self.conv(x)).relu()
        return (self.in_training if self.training else self.ends)(self.fc(self.drop(maps).mean(2)), maps)


def pair() -> tuple[Net, Net]:
    torch.manual_seed(0)
    return Net(), Net()


# --- teachers stay frozen


class Holder(nn.Module):
    """As in a framework's module: the parts beside the loop that uses them."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.loop = Distillation.between(student, {"t": teacher}, "sp", example=X)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_teacher_sleeps_on_in_a_module_that_wakes_it(compiled: bool) -> None:
    student, teacher = pair()
    holder = Holder(student, teacher)
    state = copy.deepcopy(teacher.state_dict())
    loop = torch.compile(holder.loop, backend="aot_eager") if compiled else holder.loop
    seen = []
    for _ in range(2):
        holder.train()
        holder.requires_grad_(True)
        with torch.no_grad():
            student.drop.eval()  # so that a term moves with the teacher's dropout only
        step = loop(X, Y)
        step.total.backward()
        seen.append(step.terms["sp.gram.t"].detach())
        assert student.training
        assert not any(module.training for module in teacher.modules())
    assert torch.equal(seen[0], seen[1])
    assert all(torch.equal(state[name], x) for name, x in teacher.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())


def test_a_head_of_a_teacher_that_was_woken_trains_nothing_of_it() -> None:
    student, teacher = build("wrn10-0.25", (3, 16), 4), build("wrn10-0.25", (3, 16), 4)
    loop = Distillation.between(student, {"a": teacher, "b": copy.deepcopy(teacher)}, "ca_mkd", example=X)
    teacher.requires_grad_(True)
    loop(X, Y).total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_hooks_of_a_teachers_owner_go_on_and_what_stays_awake_on_purpose_does() -> None:
    class Dreams(nn.Dropout):
        """Monte-Carlo dropout."""

        def train(self, mode: bool = True) -> Dreams:
            return super().train(True)

    student, teacher = pair()
    teacher.drop, calls = Dreams(0.5), []
    teacher.conv.register_forward_hook(lambda *held: calls.append(len(held[2])))
    loop = Distillation.between(student, teacher, example=X)
    calls.clear()
    loop(X, Y)
    assert calls == [6]
    assert teacher.drop.training
    assert not teacher.norm.training


def test_a_student_that_would_be_frozen_with_its_teacher_is_refused() -> None:
    student, teacher = pair()
    teacher.conv = student.conv
    with pytest.raises(InputError, match="teacher 'teacher' shares layers with the student"):
        Distillation.between(student, teacher, example=X)
    student, teacher = pair()
    teacher.drop = student.drop
    with pytest.raises(InputError, match="shares layers"):
        Distillation.between(student, teacher, example=X)
    student, teacher = pair()
    with pytest.raises(InputError, match="the student is frozen"):
        Distillation.between(student.requires_grad_(False), teacher, example=X)


# --- outputs

Named = namedtuple("Named", "hidden logits")


@dataclass
class Found:
    loss: Any
    logits: torch.Tensor


CLEAR: dict[str, Callable[..., Any]] = {
    "a tuple": lambda logits, maps: (logits, maps),
    "a list": lambda logits, maps: [logits, maps],
    "a dict": lambda logits, maps: {"hidden": maps, "logits": logits},
    "a dict of one": lambda logits, maps: {"out": logits},
    "a named tuple": lambda logits, maps: Named(maps, logits),
    "a dataclass": lambda logits, maps: Found(None, logits),
    "an object": lambda logits, maps: SimpleNamespace(logits=logits, loss=None),
}
UNCLEAR: dict[str, tuple[Callable[..., Any], str]] = {
    "maps first": (lambda logits, maps: (maps, logits), r"got tuple \(\(6, 6, 16\) of float32, \(6, 4\) of float32\)"),
    "a dict of two": (
        lambda logits, maps: {"a": logits, "b": maps},
        r"got dict \(a \(6, 4\) of float32, b \(6, 6, 16\)",
    ),
    "a dict of maps": (lambda logits, maps: {"out": maps}, r"got dict \(out \(6, 6, 16\)"),
    "an object": (lambda logits, maps: SimpleNamespace(hidden=maps), "got SimpleNamespace"),
    "an empty tuple": (lambda logits, maps: (), r"got tuple \(\)"),
    "nothing": (lambda logits, maps: None, "got NoneType"),
    "maps": (lambda logits, maps: maps, r"logits \(B, classes\), got \(6, 6, 16\) of float32 for a batch of 6"),
    "one number": (lambda logits, maps: logits[:, 0], r"got \(6,\) of float32"),
    "one class": (lambda logits, maps: logits[:, :1], "a logit for each class, got one in all"),
    "a lost batch": (lambda logits, maps: logits[:2], r"got \(2, 4\) of float32 for a batch of 6"),
    "classes": (lambda logits, maps: logits.long(), r"got \(6, 4\) of int64"),
}


@pytest.mark.parametrize("way", CLEAR)
def test_logits_are_taken_where_they_are_clear(way: str) -> None:
    student, teacher = pair()
    for model in (student, teacher):
        model.drop.p = 0.0
    plain = Distillation.between(student, teacher, "sp", example=X)(X, Y)
    for model in (student, teacher):
        model.ends = model.in_training = CLEAR[way]
    step = Distillation.between(student, teacher, "sp", example=X)(X, Y)
    torch.testing.assert_close(step.terms, plain.terms)
    step.total.backward()


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("way", UNCLEAR)
def test_outputs_without_clear_logits_are_told(way: str, role: str) -> None:
    models = {"student": Net(), "teacher": Net()}
    models[role] = Net(UNCLEAR[way][0])
    with pytest.raises(InputError, match=UNCLEAR[way][1]) as caught:
        Distillation.between(models["student"], models["teacher"], example=X)
    assert str(caught.value).startswith("the student: " if role == "student" else "teacher 'teacher': ")


def test_a_tensor_is_its_own_logits() -> None:
    assert logits_of(X) is X


# --- probabilities


@pytest.mark.parametrize("role", ["the student", "teacher 'teacher'"])
@pytest.mark.parametrize(
    ("ends", "said"),
    [(nn.Softmax(1), "softmax"), (nn.Sigmoid(), "sigmoid"), (nn.LogSoftmax(1), ""), (nn.Identity(), "")],
)
def test_probabilities_are_told(role: str, ends: nn.Module, said: str) -> None:
    torch.manual_seed(0)
    models = [nn.Sequential(Net(), ends), Net()]
    student, teacher = models if role == "the student" else reversed(models)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Distillation.between(student, teacher, example=X)
    expected = [f"overtone: {role} ends in a {said}: its outputs are taken for logits"] if said else []
    assert [str(w.message)[: len(expected[0])] for w in caught] == expected
    assert all(w.filename == __file__ for w in caught)


def test_a_log_softmax_is_as_good_as_logits() -> None:
    """So nothing is told of it: every method that reads a teacher's logits gives what it gives of the bare model."""
    torch.manual_seed(0)
    student, teacher, other = Net().eval(), Net(), Net()
    ended = {"a": nn.Sequential(teacher, nn.LogSoftmax(1)), "b": nn.Sequential(other, nn.LogSoftmax(1))}
    for name, method in METHODS.items():
        if not method.SEES.startswith("logits") or name == "ca_mkd" or method.TEACHERS[0] > 2:
            continue
        few = slice(0, method.TEACHERS[1])
        bare = dict(list({"a": teacher, "b": other}.items())[few])
        info = DataInfo(teacher_scores={"a": 0.7, "b": 0.8})
        plain = Distillation.between(student, bare, name, example=X, data=info)(X, Y)
        step = Distillation.between(student, dict(list(ended.items())[few]), name, example=X, data=info)(X, Y)
        torch.testing.assert_close(step.terms, plain.terms, msg=lambda m, name=name: f"{name}: {m}")


# --- behaving otherwise in training


def test_what_is_returned_in_training_only_is_told() -> None:
    student = Net(in_training=lambda logits, maps: Named(maps, logits))
    with pytest.warns(
        UserWarning, match=r"the student returns Named \(hidden .*in training; only its logits are"
    ) as told:
        loop = Distillation.between(student, Net(), example=X)
    assert len(told) == 1
    loop.train()(X, Y).total.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a teacher is never in training
        Distillation.between(Net(), student, example=X)


@pytest.mark.parametrize(
    ("in_training", "message"),
    [
        (lambda logits, maps: logits[:, :2], r"the student gives 4 classes in evaluation, but \(6, 2\) in training"),
        (lambda logits, maps: maps, r"gives 4 classes in evaluation, but \(6, 6, 16\) in training"),
        (lambda logits, maps: {"loss": maps.sum(), "hidden": maps}, "in training, a model returns logits"),
        (lambda logits, maps: logits @ maps, "the student fails in training mode: RuntimeError"),
    ],
)
def test_what_cannot_be_trained_is_told_before_training(in_training: Callable[..., Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Distillation.between(Net(in_training=in_training), Net(), example=X)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("samples", [1, 6])
def test_the_rehearsal_leaves_no_trace(fails: bool, samples: int) -> None:
    model = Net(in_training=(lambda logits, maps: 1 / 0) if fails else None)
    model.norm.register_buffer("seen", torch.zeros(1))
    tap = Tap(model)
    spec = probe(tap, X)
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    model.conv.register_forward_hook(lambda *held: setattr(model.norm, "seen", model.norm.seen + 1))
    state, buffers = copy.deepcopy(model.state_dict()), [id(x) for x in model.buffers()]
    generator = torch.get_rng_state()
    try:
        assert rehearse(tap, spec, X[:samples]) is None
    except InputError:
        assert fails
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in model.modules()] == modes
    assert [id(x) for x in model.buffers()] == buffers
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model._forward_hooks


# --- in a recipe


class Hears(StudyCallback):
    def __init__(self) -> None:
        self.doubts: list[str] = []

    def note(self, message: str) -> None:
        self.doubts.append(message)


def study_of(values: dict[str, Any], model: str, **more: Any) -> Any:
    values["views"], values["teachers"] = {"gaf": {"size": 32}}, {}
    values["student"] = {"view": "gaf", "model": model, "epochs": 1, **more}
    values["methods"] = ["none"]
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


def test_auxiliary_outputs_are_left_out_by_an_argument(tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        check(study_of(tiny, "torchvision:googlenet", arguments={"init_weights": False}))
    said = str(caught.value)
    assert said.startswith("model 'torchvision:googlenet' returns GoogLeNetOutputs (logits (2, 7) of float32")
    assert said.endswith("with arguments: {aux_logits: false, init_weights: true}")


def test_without_them_it_can_be_trained() -> None:
    model = build("torchvision:googlenet", (3, 32, 32), 4, recipe.ModelOptions(arguments=PLAIN))
    tap, x = Tap(model), torch.randn(2, 3, 32, 32)
    assert rehearse(tap, probe(tap, x), x) is None


PLAIN = {"aux_logits": False, "init_weights": False}


@pytest.mark.parametrize("way", ["Structured", "Probable"])
def test_a_recipes_model_of_other_manners(
    way: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    plan = study_of(tiny, f"my_models:{way}")
    heard = Hears()
    assert execute(plan, tmp_path / "out", heard) == {}
    said = f"model 'my_models:{way}' ends in a softmax: its outputs are taken for logits"
    expected = [said] if way == "Probable" else []
    assert [doubt[: len(said)] for doubt in heard.doubts] == expected
    assert [w[: len(said)] for w in check(plan).warnings if "softmax" in w] == expected
    (folder,) = (tmp_path / "out" / "cells").iterdir()
    held = np.load(folder / "predictions.npz")
    student = overtone.load_student(folder / "student.safetensors", trust=True)
    logits = student(torch.from_numpy(plan.windows.x[held["index"]])).detach().numpy()
    np.testing.assert_allclose(logits, held["best.logits"], rtol=1e-4, atol=1e-5)


# --- inputs that cannot be


def loop_of() -> Any:
    return Distillation.between(*pair(), example=X)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "double": (
        X.double(),
        Y,
        r"x is of float32 as the example, got \(6, 3, 16\) of float64; give x.to\(torch.float32\)",
    ),
    "whole numbers": (X.long(), Y, "x is of float32 as the example, got .* of int64"),
    "half": (X.half(), Y, "got .* of float16"),
    "numpy": (X.numpy(), Y, "x is a tensor .* got ndarray; torch.as_tensor makes one"),
    "complex": (X.to(torch.complex64), Y, "x is a tensor .* of complex64"),
    "a pair": ((X, X), Y, "x is a tensor .* got tuple"),
    "nothing": (None, Y, "x is a tensor .* got NoneType"),
    "one sample": (X[0], Y[:1], r"x is \(B, 3, 16\) as the example, got \(3, 16\) .*x.unsqueeze\(0\)"),
    "fewer channels": (X[:, :2], Y, r"x is \(B, 3, 16\) as the example, got \(6, 2, 16\)"),
    "an image": (X[:, :, None], Y, r"got \(6, 3, 1, 16\)"),
    "no sample": (X[:0], Y[:0], "a batch holds no sample"),
    "another device": (X.to("meta"), Y, "x is on meta, the student on cpu"),
    "another view": ({"y": X}, Y, "the student sees the view 'x'; known: y"),
    "numpy labels": (X, Y.numpy(), "y is a tensor .* got ndarray; torch.as_tensor makes one"),
    "a list": (X, Y.tolist(), "y is a tensor .* got list; torch.as_tensor"),
    "no label": (X, None, "y is a tensor .* got NoneType"),
    "from 1": (X, Y + 1, "y holds 4; classes count from 0, so the 4 of the models are 0 to 3"),
    "below 0": (X, Y - 1, "y holds -1; classes count from 0"),
    "one-hot": (X, F.one_hot(Y, 4), r"got \(6, 4\) of int64; of one-hot rows take y.argmax\(1\)"),
    "soft": (X, F.one_hot(Y, 5).float(), r"y of class probabilities is \(6, 4\) on cpu, got \(6, 5\)"),
    "floats": (X, Y.float(), r"y is a tensor \(B,\) of int64, got \(6,\) of float32$"),
    "int32": (X, Y.int(), r"of int32; y.long\(\) makes one"),
    "fewer labels": (X, Y[:4], "y has 4 numbers for 6 samples"),
    "labels elsewhere": (X, Y.to("meta"), "y is on meta, x on cpu"),
}


@pytest.mark.parametrize("way", WRONG)
def test_a_batch_that_cannot_be(way: str) -> None:
    x, y, message = WRONG[way]
    with pytest.raises(InputError, match=message) as caught:
        loop_of()(x, y)
    assert "\n" not in str(caught.value)


def test_what_else_a_call_cannot_take() -> None:
    loop = loop_of()
    with pytest.raises(InputError, match="index is on meta, x on cpu"):
        loop(X, Y, torch.arange(6, device="meta"))
    with pytest.raises(InputError, match="progress: Progress is needed, got int"):
        loop(X, Y, progress=3)
    views = {"a": X, "b": X}
    two = Distillation.between(Net(), {"b": Net()}, example=views)
    with pytest.raises(InputError, match="views hold different numbers of samples: a 6, b 5"):
        two({"a": X, "b": X[:5]}, Y)
    with pytest.raises(InputError, match="teacher 'b' sees the view 'b'; known: a"):
        two({"a": X}, Y)
    with pytest.raises(InputError, match="view 'b' is a tensor"):
        two({"a": X, "b": X.numpy()}, Y)
    two({"a": X, "b": X, "names": ["one"]}, Y)  # what nobody sees is nobody's business


def test_types_that_a_call_does_take() -> None:
    loop = loop_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loop(X.bfloat16(), Y)
    loop.double()
    loop._teachers["teacher"].tap.double()
    assert loop(X.double(), Y).total.dtype == torch.float64
    longer = torch.randn(2, 3, 32)
    assert len(loop_of()(longer, Y[:2]).output.logits) == 2


PATH = "load it first: overtone.load_student"


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ("a.pt", Net(), f"the student is a torch module, got str 'a.pt'; {PATH}"),
        (Net(), "a.pt", f"the teacher is a torch module, got str 'a.pt'; {PATH}"),
        (Net(), {"big": Path("a.pt")}, f"teacher 'big' is a torch module, got PosixPath 'a.pt'; {PATH}"),
        (Net, Net(), "the student is a model, got the class Net"),
        (Net(), [Net(), Net()], "several teachers go by name, .* got list"),
        (Net(), Net().state_dict(), "got weights by name"),
        (Net(), lambda x: x, "the teacher is a torch module, got function"),
        (Net(), {1: Net()}, "a teacher's name is part of .* got 1"),
        (Net(), Net().half(), "teacher 'teacher' has weights of float16, the example is .* of float32"),
    ],
)
def test_what_is_no_model(student: Any, teacher: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Distillation.between(student, teacher, example=X)


def test_teachers_in_a_module_of_modules() -> None:
    loop = Distillation.between(Net(), nn.ModuleDict({"a": Net(), "b": Net()}), "sp", example=X)
    assert set(loop(X, Y).terms) == {"ce", "sp.gram.a", "sp.gram.b"}


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (X.numpy(), "the example is a tensor .* got ndarray; torch.as_tensor"),
        ({"a": X.numpy()}, "the example's view 'a' is a tensor"),
        (X.double(), "the student has weights of float32, the example is .* of float64; give both one type"),
        (X.long(), "the student has weights of float32, the example is .* of int64"),
        (X[0], "the student does not take the example, .*3, 16. of float32: "),
        (X[:, :2], "the student does not take the example"),
        (X[:0], "a batch holds no sample"),
        (X.to("meta"), "the example is on meta, the student on cpu"),
        ({}, "the example holds no view"),
        ({"a": X, "b": X[:2]}, "views hold different numbers of samples: a 6, b 2"),
        (torch.tensor(1.0), "the example is a tensor"),
    ],
)
def test_an_example_that_cannot_be(example: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Distillation.between(Net(), Net(), example=example)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": overtone.losses.kd},
            "method: a name, a class of your own, a list of them or a mapping .* got function",
        ),
        ({"data": Y}, "data: DataInfo is needed"),
        ({"weights": [1, 2]}, "weights: Mapping is needed, got list"),
        ({"view": "y"}, "view: the example holds no view 'y'; known: x"),
    ],
)
def test_arguments_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Distillation.between(Net(), Net(), example=X, **settings)


@pytest.mark.parametrize("view", ["b", ("b",)])
def test_one_view_by_name(view: Any) -> None:
    loop = Distillation.between(Net(), Net(), example={"a": X[:, :1], "b": X}, view=view)
    assert len(loop({"b": X}, Y).output.logits) == 6
