"""Distillation in one's own loop: foreign models, several views, DDP, autocast, compile, devices."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import overtone
from overtone.errors import InputError
from overtone.losses import kd as kd_loss
from overtone.models import build
from overtone.types import DataInfo


class Net(nn.Module):
    """A foreign 2-D classifier with in-place activations."""

    def __init__(self, width: int, channels: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean((2, 3)))


X, Y = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 5


def pair() -> tuple[Net, Net]:
    torch.manual_seed(0)
    return Net(4), Net(16)


def test_one_loop_trains_and_logs() -> None:
    student, teacher = pair()
    kd = overtone.Distillation.between(student, teacher, method="kd", example=X, weights={"ce": 1, "kd": 1})
    optimizer = torch.optim.SGD(kd.parameters(), 0.1)
    losses = []
    for _ in range(10):
        step = kd(X, Y)
        optimizer.zero_grad()
        step.total.backward()
        optimizer.step()
        losses.append(float(step.total.detach()))
    assert losses[-1] < losses[0]
    assert set(step.terms) == {"ce", "kd.kl"}
    with torch.no_grad():
        expected = kd_loss(student(X), teacher(X))
    assert float(kd(X, Y).terms["kd.kl"].detach()) == pytest.approx(float(expected), rel=1e-5)
    assert set(kd.student_only()) == set(Net(4).state_dict())
    Net(4).load_state_dict(kd.student_only())


def test_teachers_are_frozen_and_in_nobodys_state() -> None:
    student, teacher = pair()
    before = copy.deepcopy(teacher.state_dict())
    kd = overtone.Distillation.between(student, {"big": teacher}, method="sp", example=X)
    kd(X, Y).total.backward()
    assert all(torch.equal(before[name], x) for name, x in teacher.state_dict().items())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert sum(p.numel() for p in kd.parameters()) == sum(p.numel() for p in student.parameters())
    assert len(kd.state_dict()) == len(student.state_dict())


def test_every_teacher_sees_its_own_view() -> None:
    student, image = pair()
    signal = overtone.models.build("wrn10-0.25", (3, 32), 5)
    views = {"image": X, "signal": torch.randn(12, 3, 32)}
    kd = overtone.Distillation.between(student, {"signal": signal, "other": image}, "aver", example=views)
    step = kd(views, Y)
    step.total.backward()
    with torch.no_grad():
        expected = (kd_loss(student(X), signal.eval()(views["signal"])) + kd_loss(student(X), image(X))) / 2
    assert float(step.terms["aver.kl"].detach()) == pytest.approx(float(expected), rel=1e-4)


def test_a_copy_trains_on_its_own() -> None:
    student, teacher = pair()
    kd = overtone.Distillation.between(student, teacher, "sp", example=X)
    kd(X, Y).total.backward()
    twin = copy.deepcopy(kd)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    expected = kd(X, Y)
    assert float(twin(X, Y).terms["ce"].detach()) != float(expected.terms["ce"].detach())
    torch.testing.assert_close(kd(X, Y).terms, expected.terms)


def test_compiled_and_autocast() -> None:
    student, teacher = pair()
    kd = overtone.Distillation.between(student, teacher, "sp", example=X)
    eager = kd(X, Y)
    compiled = torch.compile(kd, backend="aot_eager")(X, Y)
    torch.testing.assert_close(compiled.total, eager.total)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = kd(X, Y)
    assert step.total.dtype == torch.float32
    step.total.backward()
    assert bool(torch.isfinite(step.total))


def test_a_method_that_remembers_samples_needs_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = pair()
    kd = overtone.Distillation.between(student, teacher, "kd", example=X)
    plain = kd(X, Y).total
    monkeypatch.setattr(type(kd.distillation.methods["kd"]), "has_memory_bank", True)
    with pytest.raises(InputError, match=r"'kd' remembers each training sample .* call with index"):
        kd(X, Y)
    torch.testing.assert_close(kd(X, Y, torch.arange(30, 42)).total, plain)


def test_weights_over_time_need_progress() -> None:
    student, teacher = pair()
    weights = {"ce": 1.0, "kd": overtone.recipe.WeightSettings(value=1.0, until=1)}
    kd = overtone.Distillation.between(student, teacher, "kd", example=X, weights=weights)
    late = kd(X, Y, progress=overtone.Progress(epoch=2, epochs=2))
    torch.testing.assert_close(late.total, F.cross_entropy(student(X), Y))


def test_misfits_are_told() -> None:
    student, teacher = pair()
    with pytest.raises(InputError, match="did you mean 'kd'"):
        overtone.Distillation.between(student, teacher, "kdd", example=X)
    with pytest.raises(InputError, match="7 classes, the student 5"):
        overtone.Distillation.between(student, Net(8, classes=7), "kd", example=X)
    with pytest.raises(InputError, match="is the student itself"):
        overtone.Distillation.between(student, student, "kd", example=X)
    with pytest.raises(InputError, match="needs a teacher, got none"):
        overtone.Distillation.between(student, {}, "kd", example=X)
    with pytest.raises(InputError, match="'eskd' is a recipe's row; in your own loop use one of kd"):
        overtone.Distillation.between(student, teacher, "eskd", example=X)
    with pytest.raises(InputError, match=r"weight of kd.kl: value: .* got -1"):
        overtone.Distillation.between(student, teacher, "kd", example=X, weights={"kd.kl": -1})
    two = overtone.Distillation.between(student, {"other": teacher}, "kd", example={"image": X, "other": X})
    with pytest.raises(InputError, match="teacher 'other' sees the view 'other'"):
        two({"image": X}, Y)
    with pytest.raises(InputError, match="unknown key 'temprature'"):
        overtone.Distillation.between(student, teacher, "kd", example=X, temprature=2)


@pytest.mark.parametrize(("method", "least"), [("review", 2), ("fam_layer", 2), ("sp", 2), ("kd", 1)])
def test_batches_too_small_to_train_on(method: str, least: int) -> None:
    own = overtone.Distillation.between(*pair(), method=method, example=X)
    assert torch.isfinite(own(X[:least], Y[:least]).total)
    if least > 1:
        with pytest.raises(InputError, match=rf"method '{method}' needs 2 samples or more .* got 1; .*drop_last=True"):
            own(X[:1], Y[:1])
    if method != "sp":  # a relation needs two samples in any mode, batch statistics only in training
        assert torch.isfinite(own.eval()(X[:1], Y[:1]).total)


def test_samples_are_drawn_anew_at_each_call_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = pair()
    known = overtone.DataInfo(tuple("abcde"), torch.arange(40), torch.arange(40) % 5)
    crd = overtone.Distillation.between(student, teacher, "crd", example=X, data=known, negatives=8)
    drawn = []
    method = crd.distillation.methods["crd"]
    draw = method._draw
    monkeypatch.setattr(method, "_draw", lambda rows, step: drawn.append((step, draw(rows, step))) or drawn[-1][1])
    for _ in range(2):
        crd(X, Y, torch.arange(12))
    crd.eval()
    for _ in range(2):
        crd(X, Y, torch.arange(12))
    assert [step for step, _ in drawn] == [0, 1, 2, 2]
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert torch.equal(drawn[2][1], drawn[3][1])


def test_models_that_name_their_classes_must_agree_on_the_order():
    student, teacher = build("dscnn-4", (3, 32), 3), build("wrn10-0.25", (3, 32), 3)
    x = torch.randn(4, 3, 32)
    student.classes, teacher.classes = ("a", "b", "c"), ["a", "c", "b"]
    with pytest.raises(InputError, match="student has a, b, c, teacher 'teacher' has a, c, b"):
        overtone.Distillation.between(student, teacher, "kd", example=x)
    teacher.classes = ["a", "b", "c"]
    overtone.Distillation.between(student, teacher, "kd", example=x)
    other = DataInfo(("c", "b", "a"), torch.arange(4), torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="data has c, b, a"):
        overtone.Distillation.between(student, teacher, "kd", example=x, data=other)


def test_weights_that_leave_no_term_are_refused():
    models = build("dscnn-4", (3, 32), 3), build("wrn10-0.25", (3, 32), 3)
    with pytest.raises(InputError, match="every weight of kd is 0"):
        overtone.Distillation.between(*models, "kd", example=torch.randn(4, 3, 32), weights={"kd": 0})
    with pytest.raises(InputError, match=r"every weight of sp is 0 \(gram.teacher\)"):
        overtone.Distillation.between(*models, "sp", example=torch.randn(4, 3, 32), weights={"sp.gram.teacher": 0})


def test_several_methods_in_an_own_loop():
    student, teacher = build("dscnn-4", (3, 32), 3), build("wrn10-0.25", (3, 32), 3)
    x, y = torch.randn(4, 3, 32), torch.tensor([0, 1, 2, 1])
    two = {"one": teacher, "other": build("wrn10-0.25", (3, 32), 3)}
    chosen = {"aver": {"temperature": 2}, "sp": {"teachers": "merged"}}
    step = overtone.Distillation.between(student, two, chosen, example=x, weights={"sp": 5})(x, y)
    assert set(step.terms) == {"ce", "aver.kl", "sp.gram"}
    named = overtone.Distillation.between(student, teacher, ["kd", "sp"], example=x)(x, y)
    assert set(named.terms) == {"ce", "kd.kl", "sp.gram.teacher"}
    weights = {"ce": 0.1, "kd.kl": 0.9, "sp.gram.teacher": 3000}
    expected = sum(weights[term] * value for term, value in named.terms.items())
    assert float(named.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ({"method": ["kd", "sp"]}, {"temperature": 2}, "temperature: settings stand beside one method"),
        ({"method": []}, {}, "name at least one, and each once"),
        ({"method": ["kd", "kd"]}, {}, "name at least one, and each once"),
        ({"method": ["kd", "eskd"]}, {}, "'eskd' is a recipe's row"),
        ({"method": "kd", "teachers": ["a", "b"]}, {}, "method 'kd' takes 1 teacher, got 2"),
        ({"method": "aver", "teachers": ["a.b"]}, {}, "holds no dot; got 'a.b'"),
    ],
)
def test_what_an_own_loop_cannot_be_made_of(arguments, settings, message):
    student = build("dscnn-4", (3, 32), 3)
    teachers = {name: build("wrn10-0.25", (3, 32), 3) for name in arguments.get("teachers", ["a"])}
    with pytest.raises(InputError, match=message):
        overtone.Distillation.between(student, teachers, arguments["method"], example=torch.randn(4, 3, 32), **settings)


@pytest.mark.parametrize(
    ("index", "target", "message"),
    [
        (torch.arange(4), torch.zeros(3).long(), "4 numbers .* but 3 labels"),
        (torch.tensor([0, 1, 1, 2]), torch.zeros(4).long(), "a number stands twice"),
        (torch.tensor([0, -1]), torch.zeros(2).long(), "train_index holds -1"),
        (torch.arange(2), torch.tensor([0, 3]), "train_target holds 3, there are 3 classes"),
        (torch.arange(2), torch.zeros(2), r"train_target is a tensor \(N,\) of int64, got \(2,\) of float32"),
        ([0, 1], torch.zeros(2).long(), "train_index is a tensor .* got list"),
    ],
)
def test_data_that_cannot_be(index, target, message):
    with pytest.raises(InputError, match=message):
        DataInfo(("a", "b", "c"), index, target)


def test_an_own_loop_says_which_input_it_cannot_take():
    student, teacher = build("dscnn-4", (3, 32), 3), build("wrn10-0.25", (3, 32), 3)
    x, y = torch.randn(4, 3, 32), torch.tensor([0, 1, 2, 1])
    loop = overtone.Distillation.between(student, teacher, "dkd", example=x)
    with pytest.raises(InputError, match=r"y is a tensor \(B,\) of int64, got \(4,\) of float32"):
        loop(x, y.float())
    with pytest.raises(InputError, match=r"index is a tensor .* got list"):
        loop(x, y, [0, 1, 2, 3])
    with pytest.raises(InputError, match="index has 2 numbers for 4 samples"):
        loop(x, y, torch.arange(2))
    more = DataInfo(("a", "b", "c", "d"), torch.arange(4), torch.zeros(4).long())
    with pytest.raises(InputError, match="data has 4 classes, the models 3"):
        overtone.Distillation.between(student, teacher, "kd", example=x, data=more)


def test_axes_of_a_view_are_known_by_its_name_or_said() -> None:
    """Maps of an image that ends in time can be brought to a signal's; of one that nobody knows they cannot."""
    views = {"signal": torch.randn(4, 2, 16), "wrist": torch.randn(4, 2, 8, 8)}
    models = [build("wrn10-0.25", tuple(x.shape[1:]), 3) for x in views.values()]

    def loop(**more: object) -> overtone.distill.OwnLoop:
        return overtone.Distillation.between(models[0], {"wrist": models[1]}, "cam", example=views, **more)

    with pytest.raises(InputError, match="it is not known what they mean; built-in views say so"):
        loop()
    step = loop(axes={"wrist": ("frequency", "time")})(views, torch.arange(4) % 3)
    assert {"cam.kd.wrist", "cam.map.wrist"} <= set(step.terms)
    with pytest.raises(InputError, match="the maps of teacher 'wrist' have the axes birth and persistence"):
        loop(axes={"wrist": ("birth", "persistence")})
    for axes, message in (
        ({"wrst": ("time",)}, "axes: the example holds no view 'wrst'; did you mean 'wrist'"),
        ({"wrist": ("time",)}, r"axes: view 'wrist' has 2 behind its channels, name each of them; got \('time',\)"),
        ({"signal": "time"}, "axes: view 'signal' has 1 behind its channels, name each of them; got 'time'"),
    ):
        with pytest.raises(InputError, match=message):
            loop(axes=axes)
