"""Methods between modalities against slow loops, in what they refuse, in phases, and in a study from end to end."""

from __future__ import annotations

import copy
import csv
import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from cases import CLASSES, IMAGE, PROGRESS, TWO_BRANCH, batch_of, make
from fusions import fused
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from overtone import data, load_student, methods, recipe
from overtone.class_maps import class_maps
from overtone.cli import app
from overtone.distill import Distillation
from overtone.engine import Callback, loop
from overtone.engine.phases import hold_still, trained
from overtone.errors import InputError
from overtone.losses import class_map_distance, evidence, evidence_distance, joint_evidence, kd_per_sample, to_grid
from overtone.methods import configure, default_weights, pskd
from overtone.methods.progressive import FIRST, SECOND, Progressive
from overtone.models import WideResNet, build
from overtone.recipe import ModelOptions, PhaseSettings, phase_at
from overtone.study import collect, execute, make_plan, write_tables
from overtone.tap import Tap, parameters, probe
from overtone.tasks import Classification
from overtone.teachers import Teacher
from overtone.testing.resume import Stop, StopAt, job
from overtone.types import Batch, DataInfo, Output, names_of, shape_of
from overtone.views import VIEWS, gramian_angular_field

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
INFO = DataInfo(tuple("abcde"), torch.arange(64), torch.arange(64) % CLASSES)


def numbers(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def shares(*shape, seed=0):
    """Positive, and summing to 1 per sample."""
    return numbers(*shape, seed=seed, scale=2.0).flatten(1).softmax(1).view(shape)


def close(got, want, rtol=1e-9, atol=1e-10):
    torch.testing.assert_close(got.detach(), torch.as_tensor(want, dtype=got.dtype), rtol=rtol, atol=atol)
    return True


# --- losses on maps


def slow_pool(row, size):
    """Averages of a list of numbers over ``size`` bins that may overlap by one."""
    n = len(row)
    bins = [row[i * n // size : -(-(i + 1) * n // size)] for i in range(size)]
    return [sum(own) / len(own) for own in bins]


def slow_grid(image, size):
    """Averages of a list of rows over a grid: along one axis after the other."""
    rows = [slow_pool(row, size[1]) for row in image]
    columns = [slow_pool(list(column), size[0]) for column in zip(*rows, strict=True)]
    return [value for row in zip(*columns, strict=True) for value in row]


def slow_map_distance(student, teacher, target, size, normalise):
    total = count = 0
    dims = student.dim() - 2
    grid = [size or min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    for b in range(len(student)):
        for c in range(student.shape[1]) if target is None else [int(target[b])]:
            pair = []
            for maps in (student, teacher):
                own = maps[b, c].tolist()
                flat = slow_pool(own, grid[0]) if dims == 1 else slow_grid(own, grid)
                length = math.sqrt(sum(x * x for x in flat)) if normalise else 1
                pair.append([x / length for x in flat])
            total += sum((x - y) ** 2 for x, y in zip(*pair, strict=True))
            count += len(pair[0])
    return total / count


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("one_class", [False, True])
@pytest.mark.parametrize(
    ("mine", "theirs", "size"),
    [((9,), (9,), None), ((9,), (4,), None), ((5,), (8,), 3), ((4, 6), (6, 3), None), ((4, 5), (4, 5), 2)],
)
def test_class_map_distance_equals_the_loop(mine, theirs, size, one_class, normalise):
    student, teacher = numbers(3, CLASSES, *mine), numbers(3, CLASSES, *theirs, seed=1)
    target = torch.tensor([4, 0, 2]) if one_class else None
    got = class_map_distance(student, teacher, target, size, normalise)
    assert close(got, slow_map_distance(student, teacher, target, size, normalise))


@few
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.booleans(), st.floats(0.1, 50))
def test_class_map_distance_by_property(seed, width, size, normalise, scale):
    student, teacher = numbers(2, 3, 4, width, seed=seed), numbers(2, 3, 4, width, seed=seed + 1)
    got = class_map_distance(student, teacher, None, size, normalise)
    assert got >= 0
    assert close(class_map_distance(student, student, None, size, normalise), 0.0)
    assert close(class_map_distance(teacher, student, None, size, normalise), got)
    factors = scale * torch.arange(1, 4, dtype=torch.float64)[:, None, None]
    if normalise:
        assert close(class_map_distance(student * factors, teacher, None, size, True), got)
    else:
        assert close(class_map_distance(student * scale, teacher * scale, None, size), scale**2 * got)


def test_the_true_class_alone_gets_a_gradient():
    student, target = numbers(3, CLASSES, 6).requires_grad_(), torch.tensor([4, 0, 2])
    class_map_distance(student, numbers(3, CLASSES, 6, seed=1), target).backward()
    reached = student.grad.abs().sum(2) > 0
    assert torch.equal(reached, torch.nn.functional.one_hot(target, CLASSES).bool())


@pytest.mark.parametrize("shape", [(3, CLASSES, 4, 4), (2, CLASSES, 6), (3, 2, 6), (3, CLASSES)])
def test_maps_of_different_kinds_are_not_compared(shape):
    with pytest.raises(ValueError, match=r"class_map_distance: maps .* got \(3, 5, 6\) and "):
        class_map_distance(numbers(3, CLASSES, 6), numbers(*shape))


@pytest.mark.parametrize(("own", "size"), [((7,), (3,)), ((3,), (7,)), ((4, 6), (2, 9)), ((2, 2), (5, 5))])
def test_a_grid_keeps_constants_and_changes_only_sizes(own, size):
    found = to_grid(torch.full((2, 3, *own), 2.5, dtype=torch.float64), size)
    assert close(found, torch.full((2, 3, *size), 2.5))
    same = numbers(2, 3, *own)
    assert to_grid(same, own) is same


# --- evidence


def slow_evidence(values):
    positive = [max(value, 0.0) for value in values]
    return [v / sum(positive) for v in positive] if sum(positive) > 1e-8 else [1 / len(values)] * len(values)


@pytest.mark.parametrize("shape", [(4, 6), (4, 1, 6), (4, 3, 5), (4, 1)])
def test_evidence_equals_the_loop(shape):
    maps = numbers(*shape)
    maps[1] = -maps[1].abs()
    maps[2] = 0
    assert close(evidence(maps), [slow_evidence(row) for row in maps.flatten(1).tolist()])


@few
@given(seeds, st.integers(1, 9), st.floats(1e-3, 1e3))
def test_evidence_sums_to_one_whatever_the_scale(seed, positions, scale):
    maps = numbers(5, positions, seed=seed)
    found = evidence(maps)
    assert bool((found >= 0).all())
    assert close(found.sum(1), torch.ones(5))
    assert close(evidence(scale * maps), found)


def test_a_map_without_evidence_has_finite_gradients():
    maps = torch.tensor([[-1.0, -2.0], [0.0, 0.0], [1.0, 2.0]], requires_grad=True)
    evidence(maps)[:, 0].sum().backward()
    assert bool(maps.grad.isfinite().all())


def slow_joint(signal, images, weights):
    batch, count, across = len(signal), signal.shape[1], images.shape[2]
    joint = torch.zeros(batch, count, across, dtype=torch.float64)
    for b in range(batch):
        for i in range(count):
            for j in range(across):
                if weights is None:
                    joint[b, i, j] = signal[b, i] * sum(float(image[b, j]) for image in images) / len(images)
                else:
                    joint[b, i, j] = weights[0] * signal[b, i] / across
                    joint[b, i, j] += sum(w * image[b, j] / count for w, image in zip(weights[1:], images, strict=True))
    return joint


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_joint_evidence_equals_the_loop(count, weighted):
    signal, images = shares(4, 3), torch.stack([shares(4, 5, seed=k + 1) for k in range(count)])
    weights = numbers(1 + count, seed=9).softmax(0) if weighted else None
    assert close(joint_evidence(signal, images, weights), slow_joint(signal, images, weights))


@few
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.booleans())
def test_joint_evidence_sums_to_one(seed, along, across, count, weighted):
    signal = shares(3, along, seed=seed)
    images = torch.stack([shares(3, across, seed=seed + k + 1) for k in range(count)])
    weights = numbers(1 + count, seed=seed).softmax(0) if weighted else None
    joint = joint_evidence(signal, images, weights)
    assert bool((joint >= 0).all())
    assert close(joint.sum((1, 2)), torch.ones(3))
    if not weighted:
        assert close(joint.sum(2), signal)
        assert close(joint.sum(1), images.mean(0))


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_evidence_distance_equals_the_loop(distance):
    student, target = shares(4, 3, 5), shares(4, 3, 5, seed=1)
    found = []
    for mine, theirs in zip(student.flatten(1).tolist(), target.flatten(1).tolist(), strict=True):
        pairs = list(zip(mine, theirs, strict=True))
        if distance == "mse":
            found.append(sum((15 * s - 15 * t) ** 2 for s, t in pairs) / 15)
        else:
            found.append(sum(t * (math.log(t) - math.log(s)) for s, t in pairs))
    assert close(evidence_distance(student, target, distance), sum(found) / 4)


@few
@given(seeds, st.integers(1, 6), st.sampled_from(["mse", "kl"]))
def test_evidence_distance_by_property(seed, positions, distance):
    student, target = shares(3, 2, positions, seed=seed), shares(3, 2, positions, seed=seed + 1)
    got = evidence_distance(student, target, distance)
    assert got >= -1e-12
    assert close(evidence_distance(student, student, distance), 0.0)
    if distance == "mse":
        assert close(evidence_distance(target, student, distance), got)
        finer = [x.repeat_interleave(4, 2) / 4 for x in (student, target)]
        assert close(evidence_distance(*finer), got)


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_evidence_at_a_single_position_stays_finite(distance):
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    found = evidence_distance(student, student.detach().flip(0), distance)
    found.backward()
    assert bool(found.isfinite())
    assert bool(student.grad.isfinite().all())


def test_evidence_of_two_shapes_is_not_compared():
    with pytest.raises(ValueError, match=r"of one shape are compared; got \(2, 3\) and \(2, 4\)"):
        evidence_distance(shares(2, 3), shares(2, 4))


# --- the methods' own pieces


def batch_with(image, size=6):
    """A batch whose images have another side than the contract's."""
    batch = batch_of(size)
    return Batch({**batch.views, "gaf": gramian_angular_field(batch.views["signal"], image)}, batch.target, batch.index)


class Made:
    """A method beside a student and teachers of one's choice: their models, or models with options, by view."""

    def __init__(self, name, chosen, student, teachers, image=IMAGE):
        torch.manual_seed(0)
        self.batch = batch_with(image)
        self.view = ("signal", "gaf") if student.startswith("two_branch") else "signal"
        self.tap = self.tapped(student, self.view)
        self.teachers = {view: Teacher(view, self.tapped(model, view), view) for view, model in teachers.items()}
        self.config = configure(name, chosen)
        self.specs = {view: self.spec(teacher.tap, view) for view, teacher in self.teachers.items()}
        self.student = self.spec(self.tap, self.view)
        self.method, self.needs = methods.make(name, self.config, self.student, self.specs, INFO)
        self.output = self.tap(self.batch.input(self.view))
        self.outputs = {view: teacher(self.batch) for view, teacher in self.teachers.items()}

    def tapped(self, model, view):
        pool, name = ("attention", model[:-1]) if model.endswith("*") else ("average", model)
        model = build(name, shape_of(self.batch.input(view)), CLASSES, ModelOptions(pool=pool))
        return Tap(model).eval()

    def spec(self, tap, view):
        return probe(tap, self.batch.input(view), [VIEWS[name].AXES for name in names_of(view)])

    def terms(self):
        part = self.output.branches[self.method.branch] if self.method.branch else self.output
        return self.method(part, self.outputs, self.batch, PROGRESS)


def reached(module):
    return {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


TEACHERS = {"signal": "wrn10-0.25*", "gaf": "wrn10-0.25"}


def true_map(output, target):
    maps, _ = class_maps(output)
    return torch.stack([maps[b, int(y)] for b, y in enumerate(target)]).detach()


@pytest.mark.parametrize("signal", ["wrn10-0.25*", "wrn10-0.25"])
@pytest.mark.parametrize("chosen", ["outer", "mean", "learned"])
def test_the_target_of_evidence_equals_the_loop(chosen, signal):
    made = Made("evidence", {"fusion": chosen}, TWO_BRANCH, {"signal": signal, "gaf": "wrn10-0.25"}, image=16)
    image = true_map(made.outputs["gaf"], made.batch.target).double().flatten(1)
    if signal.endswith("*"):
        along = made.outputs["signal"].attention.double()
    else:
        along = true_map(made.outputs["signal"], made.batch.target).double()
        along = torch.tensor([slow_evidence(row) for row in along.tolist()], dtype=torch.float64)
    across = torch.tensor([[slow_evidence(row) for row in image.tolist()]], dtype=torch.float64)
    weights = {"outer": None, "mean": torch.tensor([0.5, 0.5]), "learned": None}[chosen]
    if chosen == "learned":
        with torch.no_grad():
            made.method.weigh.copy_(torch.tensor([0.3, -0.9]))
        shares = [math.exp(0.3), math.exp(-0.9)]
        weights = torch.tensor(shares) / sum(shares)
    target = made.method.target(made.outputs, made.batch.target)
    assert target.shape == made.output.attention.shape
    assert close(target, slow_joint(along, across, weights).float(), rtol=1e-4, atol=1e-6)
    assert close(target.sum((1, 2)), torch.ones(6), rtol=1e-5)


def test_evidence_of_several_image_teachers_weighs_each():
    made = Made("evidence", {"fusion": "mean"}, TWO_BRANCH, TEACHERS)
    second = copy.deepcopy(made.outputs["gaf"])
    second = replace(second, stages={**second.stages, "final": second.stages["final"].flip(3)})
    method, _ = methods.make("evidence", made.config, made.student, {**made.specs, "b": made.specs["gaf"]}, INFO)
    target = method.target({**made.outputs, "b": second}, made.batch.target)
    maps = [true_map(own, made.batch.target).flatten(1) for own in (made.outputs["gaf"], second)]
    images = torch.stack([evidence(own) for own in maps])
    assert close(target, slow_joint(made.outputs["signal"].attention, images, [0.5, 0.25, 0.25]).float(), rtol=1e-4)


def test_evidence_of_another_size_comes_to_the_students_grid():
    made = Made("evidence", {}, TWO_BRANCH, TEACHERS, image=16)
    wide = replace(made.outputs["gaf"], stages={"final": made.outputs["gaf"].stages["final"].repeat_interleave(2, 2)})
    expected = made.method.target(made.outputs, made.batch.target)
    assert close(made.method.target({**made.outputs, "gaf": wide}, made.batch.target), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_evidence_is_the_distance_of_the_students_attention(distance):
    made = Made("evidence", {"distance": distance}, TWO_BRANCH, TEACHERS)
    expected = evidence_distance(made.output.attention, made.method.target(made.outputs, made.batch.target), distance)
    assert close(made.terms()["map"], expected.detach())
    assert made.method.terms == ("map",)
    assert dict(default_weights({"evidence": made.config}, {}, Classification())).keys() == {"ce", "evidence.map"}


def test_the_target_of_evidence_has_no_gradient():
    made = Made("evidence", {"fusion": "learned"}, TWO_BRANCH, TEACHERS)
    outputs = {name: output.map(lambda x: x.clone().requires_grad_()) for name, output in made.outputs.items()}
    assert made.method.weigh.requires_grad
    assert not made.method.target(outputs, made.batch.target).requires_grad


def test_learned_weights_learn_from_the_task_and_the_student_from_the_map():
    made = Made("evidence", {"fusion": "learned"}, TWO_BRANCH, TEACHERS)
    terms = made.terms()
    assert set(terms) == set(made.method.terms) == {"map", "fusion"}
    assert dict(default_weights({"evidence": made.config}, {}, Classification())).keys() == {
        "ce",
        "evidence.map",
        "evidence.fusion",
    }
    terms["map"].backward(retain_graph=True)
    assert reached(made.method) == set()
    found = reached(made.tap)
    assert {"model.ask.0.query.weight", "model.tokens.1.weight", "model.signal.stem.weight"} <= found
    made.tap.zero_grad()
    terms["fusion"].backward()
    assert reached(made.method) == {"weigh"}
    assert reached(made.tap) == set()


def test_the_fusion_term_is_the_cross_entropy_of_the_mixture():
    made = Made("evidence", {"fusion": "learned"}, TWO_BRANCH, TEACHERS)
    with torch.no_grad():
        made.method.weigh.copy_(torch.tensor([0.7, -0.2]))
    raw = [math.exp(0.7), math.exp(-0.2)]
    losses = []
    for b, y in enumerate(made.batch.target.tolist()):
        p = [made.outputs[name].logits[b].double().softmax(0)[y].item() for name in ("signal", "gaf")]
        losses.append(-math.log(sum(w * own for w, own in zip(raw, p, strict=True)) / sum(raw)))
    assert close(made.terms()["fusion"], sum(losses) / len(losses), rtol=1e-5)


@pytest.mark.parametrize("name", ["evidence", "progressive"])
def test_methods_of_two_branches_say_what_they_need(name):
    case = make(name, {})
    student = probe(case.distillation.student, batch_of(2).input(("signal", "gaf")))
    specs = {n: probe(t.tap, batch_of(2).input(n)) for n, t in case.teachers.items()}
    config = configure(name, {})

    def refused(message, student=student, specs=specs, config=config):
        with pytest.raises(InputError, match=message):
            methods.make(name, config, student, specs, INFO)

    refused(f"{name}: the student needs a signal and an image branch", student=specs["signal"])
    refused(
        f"{name}: a signal teacher and an image teacher are needed, got a, b", specs=dict.fromkeys("ab", specs["gaf"])
    )
    refused(f"{name}: a signal teacher and an image teacher are needed", specs=dict.fromkeys("ab", specs["signal"]))
    refused("both branches of the student; leave branch out", config=configure(name, {"branch": "image"}))
    refused("teacher 'gaf' has two branches; name teachers that see one view", specs={**specs, "gaf": student})
    if name == "evidence":
        refused(
            "teacher 'gaf' has no class activation maps", specs={**specs, "gaf": replace(specs["gaf"], has_cam=False)}
        )
    else:
        refused("teacher 'gaf' has no embedding", specs={**specs, "gaf": replace(specs["gaf"], embedding=None)})


# --- cam


def slow_time_map(maps, time):
    """(B, C, T, T) to (B, C, T)."""
    count = maps.shape[2]
    found = torch.zeros(*maps.shape[:2], count, dtype=torch.float64)
    for b in range(len(maps)):
        for c in range(maps.shape[1]):
            for t in range(count):
                column = [float(maps[b, c, i, t]) for i in range(count)]
                found[b, c, t] = column[t] if time == "diagonal" else sum(column) / count
    return found


@pytest.mark.parametrize("classes", ["target", "all"])
@pytest.mark.parametrize("time", ["mean", "diagonal"])
@pytest.mark.parametrize(("student", "branch"), [("dscnn-4", None), (TWO_BRANCH, "signal")])
def test_cam_from_a_field_to_a_signal_equals_the_loop(student, branch, time, classes):
    chosen = {"time": time, "classes": classes, **({"branch": branch} if branch else {})}
    made = Made("cam", chosen, student, {"gaf": "wrn10-0.25"}, image=16)
    looking = made.output.branches[branch] if branch else made.output
    theirs = slow_time_map(class_maps(made.outputs["gaf"])[0], time)
    target = made.batch.target if classes == "target" else None
    expected = slow_map_distance(class_maps(looking)[0].detach(), theirs, target, None, False)
    terms = made.terms()
    assert set(terms) == {"kd.gaf", "map.gaf"}
    assert close(terms["map.gaf"], expected, rtol=1e-4)
    expected = kd_per_sample(made.output.logits, made.outputs["gaf"].logits[None], 4.0).mean()
    assert close(terms["kd.gaf"], expected.detach(), rtol=1e-5)


@pytest.mark.parametrize("view", ["signal", "gaf"])
def test_cam_of_one_view_equals_the_loop(view):
    chosen = {"branch": "image" if view == "gaf" else "signal", "size": 2, "normalise": True}
    made = Made("cam", chosen, TWO_BRANCH, {view: "wrn10-0.25*"}, image=16)
    pair = [class_maps(own)[0].detach() for own in (made.output.branches[chosen["branch"]], made.outputs[view])]
    assert close(made.terms()[f"map.{view}"], slow_map_distance(*pair, made.batch.target, 2, True), rtol=1e-4)


@pytest.mark.parametrize("branch", ["image", "signal"])
def test_the_map_of_a_branch_trains_that_branch_only(branch):
    view = {"image": "gaf", "signal": "signal"}[branch]
    made = Made("cam", {"branch": branch}, TWO_BRANCH, {view: "wrn10-0.25"})
    made.terms()[f"map.{view}"].backward()
    found = reached(made.tap)
    assert found
    assert all(name.startswith(f"model.{branch}.") for name in found)
    assert all(p.grad is None for p in made.teachers[view].tap.parameters())


def test_cam_looks_at_the_image_branch_unless_told():
    made, told = (Made("cam", chosen, TWO_BRANCH, {"gaf": "wrn10-0.25"}) for chosen in ({}, {"branch": "image"}))
    assert torch.equal(made.terms()["map.gaf"], told.terms()["map.gaf"])


class Bent(WideResNet):
    """Something behind the linear layer."""

    def classify(self, embedding):
        return super().classify(embedding).tanh()


class Foreign(nn.Module):
    """A network that shows nothing but logits."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(3, 4, 3), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean(2))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: Bent(3, CLASSES, 1, depth=10, width=0.25),
            "an average of its last map and one linear layer are not its",
        ),
        (Foreign, "its last map and head are not known"),
    ],
)
def test_cam_refuses_models_without_maps(model, message):
    made = Made("cam", {}, "dscnn-4", {"signal": "wrn10-0.25"})
    without = probe(Tap(model()), made.batch.views["signal"], [("time",)])
    with pytest.raises(InputError, match=f"cam: teacher 'signal' has no class activation maps: {message}"):
        methods.make("cam", made.config, made.student, {"signal": without}, INFO)
    with pytest.raises(InputError, match=f"cam: the student has no class activation maps: {message}"):
        methods.make("cam", made.config, without, made.specs, INFO)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            ("persistence", "birth"),
            r"teacher 'gaf' ha.* axes persistence and birth.* It has no time axis\. Use a teacher",
        ),
        (("height", "width"), "It has no time axis"),
        ((), "maps of 2 axes, the student of 1, and it is not known what they mean"),
    ],
)
@pytest.mark.parametrize(("student", "chosen"), [("dscnn-4", {}), (TWO_BRANCH, {"branch": "signal"})])
def test_cam_refuses_an_image_without_time_for_a_map_over_time(student, chosen, axes, message):
    made = Made("cam", chosen, student, {"gaf": "wrn10-0.25"})
    with pytest.raises(InputError, match=f"cam: .*{message}"):
        methods.make("cam", made.config, made.student, {"gaf": replace(made.specs["gaf"], axes=axes)}, INFO)


def test_cam_takes_the_mean_over_frequency_of_a_spectrogram():
    made = Made("cam", {"time": "diagonal"}, "dscnn-4", {"gaf": "wrn10-0.25"}, image=16)
    spec = replace(made.specs["gaf"], axes=("frequency", "time"))
    made.method, _ = methods.make("cam", made.config, made.student, {"gaf": spec}, INFO)
    theirs = slow_time_map(class_maps(made.outputs["gaf"])[0], "mean")
    expected = slow_map_distance(class_maps(made.output)[0].detach(), theirs, made.batch.target, None, False)
    assert close(made.terms()["map.gaf"], expected, rtol=1e-4)


def test_cam_refuses_a_signal_for_the_image_branch():
    with pytest.raises(InputError, match="a position in one is not a position in the other"):
        Made("cam", {"branch": "image"}, TWO_BRANCH, {"signal": "wrn10-0.25"})


@pytest.mark.parametrize("name", ["cam", "kd", "hidden"])
def test_a_branch_of_a_student_without_branches_is_refused(name):
    with pytest.raises(InputError, match="branch 'signal': the student has no branches"):
        Made(name, {"branch": "signal"}, "dscnn-4", {"signal": "wrn10-0.25"})


@pytest.mark.parametrize("name", ["at", "review"])
def test_methods_on_maps_want_a_branch(name):
    with pytest.raises(InputError, match="a two-branch student's are in its branches; add branch: signal"):
        Made(name, {}, TWO_BRANCH, {"signal": "wrn10-0.25"})


@pytest.mark.parametrize("branch", [None, "signal", "image", "fused"])
def test_kd_at_a_branch_is_at_its_logits(branch):
    made = Made("kd", {"branch": branch} if branch else {}, TWO_BRANCH, {"signal": "wrn10-0.25"})
    part = made.output.branches[branch] if branch in ("signal", "image") else made.output
    expected = kd_per_sample(part.logits, made.outputs["signal"].logits[None], 4.0).mean()
    assert close(sum(made.terms().values()), expected.detach(), rtol=1e-5)


def test_hidden_vectors_go_to_the_signal_branch():
    assert Made("hidden", {}, TWO_BRANCH, {"signal": "wrn10-0.25"}).method.branch == "signal"


# --- pskd


def slow_right(teachers, target):
    weights = torch.zeros(teachers.shape[:2])
    p = teachers.softmax(2).tolist()
    for b, y in enumerate(target.tolist()):
        best, chosen = -1.0, None
        for k in range(len(teachers)):
            guess = max(range(teachers.shape[2]), key=lambda c, k=k: (teachers[k, b, c].item(), -c))
            if guess == y and p[k][b][y] > best:
                best, chosen = p[k][b][y], k
        if chosen is not None:
            weights[chosen, b] = 1
    return weights


@few
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_right_equals_the_loop(seed, count, batch, coarse):
    teachers = numbers(count, batch, 3, seed=seed, scale=2.0).float()
    teachers = teachers.round() if coarse else teachers
    target = torch.randint(0, 3, (batch,), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(fused(pskd.right, teachers[0], teachers, target), slow_right(teachers, target))


def test_right_on_ties_and_where_nobody_is():
    sure, less, wrong = [4.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 3.0, 0.0]
    teachers = torch.tensor([[wrong, less, less, wrong], [less, sure, less, wrong], [sure, wrong, wrong, wrong]])
    found = fused(pskd.right, teachers[0], teachers, torch.zeros(4, dtype=torch.long))
    assert found.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]


def test_a_teacher_that_is_right_comes_before_one_that_is_surer_of_the_truth_yet_wrong():
    teachers = torch.tensor([[[4.0, 4.1, -9.0]], [[1.0, 0.9, 0.9]]])
    p = teachers.softmax(2)[:, 0, 0]
    assert p[0] > p[1]
    assert fused(pskd.right, teachers[0], teachers, torch.tensor([0])).tolist() == [[0], [1]]


def test_pskd_equals_the_loop():
    made = Made("pskd", {"temperature": 2.0}, "dscnn-4", {"signal": "wrn10-0.25", "gaf": "wrn10-0.25"})
    logits = torch.stack([own.logits for own in made.outputs.values()])
    made.batch = replace(made.batch, target=torch.tensor([int(logits[b % 2, b].argmax()) for b in range(4)] + [0, 1]))
    weights = slow_right(logits, made.batch.target)
    assert 4 <= weights.sum() <= 6
    each = kd_per_sample(made.output.logits, logits, 2.0).detach()
    expected = sum(float(weights[k, b] * each[k, b]) for k in range(2) for b in range(6)) / 6
    assert close(made.terms()["kl"], expected, rtol=1e-5)


def test_where_no_teacher_is_right_only_the_truth_teaches():
    made = Made("pskd", {}, "dscnn-4", {"signal": "wrn10-0.25", "gaf": "wrn10-0.25"})
    wrong = {
        name: Output.of(-10 * torch.nn.functional.one_hot(made.batch.target, CLASSES).float()) for name in made.outputs
    }
    found = made.method(made.output, wrong, made.batch, PROGRESS)["kl"]
    found.backward()
    assert found == 0
    assert reached(made.tap) == set()


# --- progressive


def test_progressive_terms_equal_the_loop():
    made = Made("progressive", {}, TWO_BRANCH, {"signal": "wrn10-0.5", "gaf": "wrn10-0.25"})
    parts = {"image.signal": ("image", "signal"), "shared.signal": (None, "signal")}
    parts |= {"signal.gaf": ("signal", "gaf"), "shared.gaf": (None, "gaf")}
    terms = made.terms()
    assert set(terms) == set(made.method.terms) == set(parts)
    for term, (branch, teacher) in parts.items():
        mine = made.output.branches[branch].embedding if branch else made.output.embedding
        layer, theirs = made.method.maps[term.replace(".", ":")], made.outputs[teacher].embedding
        off = [(layer.weight @ mine[b] + layer.bias - theirs[b]).square().mean() for b in range(6)]
        assert close(terms[term], (sum(off) / 6).detach(), rtol=1e-5)


@pytest.mark.parametrize("term", ["image.signal", "signal.gaf"])
def test_a_term_of_a_branch_reaches_that_branch_only(term):
    made = Made("progressive", {}, TWO_BRANCH, {"signal": "wrn10-0.5", "gaf": "wrn10-0.25"})
    made.terms()[term].backward()
    branch = term.split(".")[0]
    assert reached(made.tap)
    assert all(name.startswith(f"model.{branch}.") for name in reached(made.tap))
    assert reached(made.method) == {f"maps.{term.replace('.', ':')}.{part}" for part in ("weight", "bias")}


@pytest.mark.parametrize("epochs", [8, 10, 20, 5])
def test_every_phase_has_its_own_terms(epochs):
    weights = default_weights({"progressive": configure("progressive", {})}, {}, Classification())
    first, second = math.floor(FIRST * epochs + 1e-9), math.floor(SECOND * epochs + 1e-9)
    assert 1 <= first < second < epochs
    for epoch in range(1, epochs + 1):
        acting = {term for term, weight in weights.items() if weight.at(epoch, epochs)}
        number = (epoch > first) + (epoch > second)
        assert acting == [{"progressive.image"}, {"progressive.signal"}, {"ce", "progressive.shared"}][number]
        assert phase_at(Progressive.PHASES, epoch, epochs) is Progressive.PHASES[number]
    assert [phase.trainable for phase in Progressive.PHASES] == [["image.*"], ["signal.*"], ["*"]]


# --- phases


EPOCHS, FIRST_EPOCHS, SECOND_EPOCHS = 5, 1, 2


def staged_job(folder, phases=Progressive.PHASES):
    """Four steps per epoch; one epoch in the first phase, one in the second, three in the last."""
    base = job(folder, "progressive", {})
    before = base.distillation
    weights = default_weights({"progressive": configure("progressive", {})}, {}, Classification())
    distillation = Distillation(before.student, dict(before.methods), weights, before.view)
    keep = frozenset(range(1, EPOCHS + 1))
    return replace(base, distillation=distillation, epochs=EPOCHS, phases=phases, keep=keep)


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_what_a_phase_does_not_train_stays_with_its_batch_statistics(tmp_path):
    planned = staged_job(tmp_path)
    start = {k: v.clone() for k, v in planned.distillation.student.model.state_dict().items()}
    fitted = loop.fit(planned, Accelerator(cpu=True), Callback())
    states = [start, *(fitted.kept[epoch] for epoch in range(1, EPOCHS + 1))]
    by_epoch = [changed(*pair) for pair in pairwise(states)]
    for branch, found in (("image", by_epoch[0]), ("signal", by_epoch[1])):
        assert all(name.startswith(f"{branch}.") for name in found), found
        assert any(name.endswith("running_mean") for name in found)
        assert f"{branch}.stem.weight" in found
    trainable = {name for name, _ in planned.distillation.student.model.named_parameters()}
    assert {name for name in trainable if "absent" not in name} - by_epoch[2] <= {
        f"{branch}.classifier.{part}" for branch in ("signal", "image") for part in ("weight", "bias")
    }
    names = [phase.name for phase in Progressive.PHASES]
    assert [row.phase for row in fitted.rows] == [names[0], names[1], *names[2:] * 3]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in lines] == [row.phase for row in fitted.rows]


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_resumed_inside_a_phase_equals_undisturbed(stop, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    accelerator = Accelerator(cpu=True)
    whole = loop.fit(staged_job(tmp_path / "whole"), accelerator, Callback())
    with pytest.raises(Stop):
        loop.fit(staged_job(tmp_path / "parts"), accelerator, StopAt(stop))
    resumed = loop.fit(staged_job(tmp_path / "parts"), accelerator, Callback())
    assert resumed.rows == whole.rows
    for mine, theirs in (
        (resumed.last, whole.last),
        (resumed.best, whole.best),
        *zip(resumed.kept.values(), whole.kept.values(), strict=True),
    ):
        assert changed(mine, theirs) == set()
    files = [(tmp_path / part / "metrics.jsonl").read_bytes() for part in ("whole", "parts")]
    assert files[0] == files[1]


def test_one_phase_for_all_is_no_phase(tmp_path):
    accelerator = Accelerator(cpu=True)
    found = [
        loop.fit(staged_job(tmp_path / str(number), phases), accelerator, Callback()).last
        for number, phases in enumerate([(), (PhaseSettings(name="all"),)])
    ]
    assert changed(*found) == set()


def test_a_module_stands_still_only_where_all_of_it_does():
    model = build(TWO_BRANCH, ((3, 32), (3, 8, 8)), CLASSES).train()
    names = trained(model, PhaseSettings(trainable=["image.*", "signal.classifier.*"]))
    still = {id(p) for p in hold_still(model, names)}
    assert {name for name, p in model.named_parameters() if id(p) not in still} == names
    assert all(name.startswith(("image.", "signal.classifier.")) for name in names)
    assert {name for name, own in model.named_parameters() if name.startswith("image.")} <= names
    norms = {n: m.training for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert norms == {name: name.startswith("image.") for name in norms}
    assert model.training
    assert model.signal.classifier.training


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("imge.*", r"trainable 'imge\.\*' fits no parameter of the student; did you mean 'image\.\*'"),
        ("signal", "signal"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(pattern, message):
    model = build(TWO_BRANCH, ((3, 32), (3, 8, 8)), CLASSES)
    with pytest.raises(InputError, match=message):
        trained(model, PhaseSettings(trainable=["image.*", pattern]))


@pytest.mark.parametrize(
    "phases",
    [
        [{"until": 3}, {"until": 2}],
        [{"until": 0.5}, {"until": 0.5}],
        [{"until": 0.5}, {"until": 4}, {"until": 0.25}],
        [{"name": "without an end"}, {"until": 3}],
    ],
)
def test_phases_out_of_order_are_refused(tiny, phases):
    tiny["methods"] = [{"name": "none", "phases": phases}]
    with pytest.raises(InputError, match="phases follow each other, each until a later point than the one before"):
        recipe.validate(tiny)


@pytest.mark.parametrize("untils", [[0.1, 0.6], [2, 0.4], [0.2, 0.25]])
def test_phases_without_an_epoch_are_refused(tiny, untils):
    two_branches(tiny)
    tiny["methods"] = [{"name": "none", "phases": [{"until": until} for until in untils]}]
    with pytest.raises(InputError, match=r"phases end in epochs \d, \d of 5; each needs one"):
        plan_of(tiny)


def test_phases_belong_to_a_key_and_can_be_taken_off(tiny):
    two_branches(tiny)
    tiny["methods"] = ["progressive", {"name": "progressive", "phases": []}]
    plan = plan_of(tiny)
    first, second = (plan.cells[row.cells[0, 0][0]] for row in plan.rows if row.kind == "method")
    assert first.phases == Progressive.PHASES
    assert second.phases == ()
    assert first.key != second.key


# --- a study


def two_branches(values):
    values["student"] = {
        "view": ["signal", "gaf"],
        "model": "two_branch-dscnn-4+wrn10-0.25",
        "modality_dropout": 0.3,
        "epochs": EPOCHS,
    }
    values["teachers"]["signal"] |= {"model": "wrn10-0.25", "pool": "attention"}
    return values


def plan_of(values):
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small finished study with two-branch students."""
    from conftest import TINY

    out = tmp_path_factory.mktemp("study") / "out"
    values = two_branches(copy.deepcopy(TINY))
    values["data"]["stride"] = 600
    values["methods"] = ["none", "evidence", "progressive"]
    plan = plan_of(values)
    assert execute(plan, out) == {}
    write_tables(out, collect(out))
    return plan, out


def folder_of(finished, title):
    plan, out = finished
    return out / "cells" / next(key for key, cell in plan.cells.items() if cell.title.startswith(title))


def test_a_table_has_rows_for_parts_of_a_student(finished):
    _, out = finished
    rows = {row.id: row for row in collect(out)}
    parts = [(row.method, row.part) for row in rows.values() if row.kind == "branch"]
    own = ["none", "evidence", "progressive"]
    assert parts == [(method, part) for part in ("signal", "without image") for method in own]
    student = load_student(folder_of(finished, "evidence") / "student.safetensors")
    whole, signal, without = (
        next(row for row in rows.values() if row.method == "evidence" and row.part == part)
        for part in ("", "signal", "without image")
    )
    assert whole.parameters == without.parameters == parameters(student.model)
    assert signal.parameters == parameters(student.model.signal)
    assert (signal.student, without.student) == ("dscnn-4", "two_branch-dscnn-4+wrn10-0.25")
    held = np.load(folder_of(finished, "evidence") / "predictions.npz")
    for row, prefix in ((whole, ""), (signal, "signal."), (without, "without image.")):
        for which, estimate in (
            ("best", row.estimates.get(("accuracy", "best"))),
            ("last", row.estimates.get(("accuracy", "last"))),
        ):
            accuracy = (held[f"{prefix}{which}.logits"].argmax(1) == held["target"]).mean()
            assert estimate.mean == pytest.approx(float(accuracy))
    with (out / "table.csv").open() as file:
        lines = [line["part"] for line in csv.DictReader(file)]
    assert sorted(lines) == sorted(["signal"] * 3 + ["without image"] * 3 + [""] * 6)


def test_without_modality_dropout_there_is_no_row_without_an_image(tiny):
    two_branches(tiny)
    tiny["student"]["modality_dropout"] = 0
    tiny["methods"] = ["none"]
    assert [row.part for row in plan_of(tiny).rows if row.kind == "branch"] == ["signal"]


@pytest.mark.parametrize("title", ["none", "evidence", "progressive"])
def test_files_of_branches_repeat_their_test_logits(finished, title):
    folder = folder_of(finished, title)
    held = np.load(folder / "predictions.npz")
    windows = torch.from_numpy(finished[0].windows.x[held["index"]])
    for which, name in (("best", "student"), ("last", "last")):
        student = load_student(folder / f"{name}.safetensors")
        found = {
            which: student,
            f"signal.{which}": load_student(folder / f"{name}-signal.safetensors"),
            f"image.{which}": load_student(folder / f"{name}-image.safetensors"),
            f"without image.{which}": student.without("image"),
            f"without signal.{which}": student.without("signal"),
        }
        for part, own in found.items():
            logits = held[f"{part}.logits"]
            np.testing.assert_allclose(own(windows).detach(), logits, rtol=1e-4, atol=1e-5, err_msg=part)
        assert [seen.type for seen in found[f"signal.{which}"].header.views] == ["signal"]
        assert found[f"signal.{which}"].branches == ()


def test_rows_by_epoch_carry_the_phase(finished):
    def rows(title):
        return [json.loads(line) for line in (folder_of(finished, title) / "metrics.jsonl").read_text().splitlines()]

    names = [phase.name for phase in Progressive.PHASES]
    found = rows("progressive")
    assert [row["phase"] for row in found] == [names[0], names[1], *names[2:] * 3]
    phases = [{"progressive.image"}, {"progressive.signal"}, {"ce", "progressive.shared"}]
    for number, row in enumerate(found):
        acting = {term.rpartition(".")[0] or term for term, weight in row["weights"].items() if weight}
        assert acting == phases[min(number, 2)]
        weighted = sum(row["weights"][term] * value for term, value in row["terms"].items())
        assert row["total"] == pytest.approx(weighted, rel=1e-5)
    assert all("phase" not in row for row in rows("evidence"))
    assert set(rows("evidence")[0]["terms"]) == {"ce", "ce.signal", "ce.image", "evidence.map"}


def overtone(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result, " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize("name", ["student", "student-signal", "student-image"])
def test_the_command_takes_files_of_two_branches_and_of_one(finished, tmp_path, name):
    plan, _ = finished
    file = folder_of(finished, "evidence") / f"{name}.safetensors"
    test = plan.folds[0].test[:12]
    labels = np.asarray(plan.windows.classes)[plan.windows.y[test]]
    np.savez(tmp_path / "x.npz", X=plan.windows.x[test], y=labels)
    result, said = overtone("predict", file, tmp_path / "x.npz", "--out", tmp_path / "p.csv")
    assert result.exit_code == 0, said
    with (tmp_path / "p.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    expected = load_student(file).predict(plan.windows.x[test])
    first = plan.windows.classes[0]
    np.testing.assert_allclose([float(row[f"p({first})"]) for row in rows], expected[:, 0], atol=1e-5)
    result, said = overtone("evaluate", file, tmp_path / "x.npz")
    assert result.exit_code == 0, said
    accuracy = (expected.argmax(1).numpy() == plan.windows.y[test]).mean()
    assert f"12 windows: accuracy {100 * accuracy:.1f} %" in said


def test_a_pattern_that_fits_nothing_is_told_before_training(tiny, tmp_path):
    two_branches(tiny)
    tiny["methods"] = [{"name": "none", "phases": [{"until": 1, "trainable": ["signl.*"]}]}]
    tiny["teachers"] = {}
    with pytest.raises(InputError, match=r"did you mean 'signal\.\*'\?"):
        execute(plan_of(tiny), tmp_path / "out")
    assert not list(tmp_path.rglob("*.safetensors"))
