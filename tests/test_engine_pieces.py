"""Pieces of the engine by themselves: seeds, order, learning rate, weights over time, the guard, checkpoints."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score
from torch import nn

from overtone.data import Fold, Standardiser
from overtone.distill import Distillation
from overtone.engine import FittedView, Job, Samples, checkpoint, evaluate, fit, loop
from overtone.engine.guard import check_gradient, check_step
from overtone.engine.schedule import epoch_order, epochs_of, learning_rate, mix, reseed, steps_in
from overtone.errors import InputError, NotFiniteError
from overtone.methods import configure, find
from overtone.recipe import TrainSettings, WeightSettings
from overtone.tap import Tap
from overtone.tasks import Classification
from overtone.tasks.classification import macro_f1
from overtone.teachers import Teacher
from overtone.types import Batch, DataInfo, Output, Progress, Spec
from overtone.views import Signal

few = settings(max_examples=60, deadline=None)
CLASSES = 3
SCHEDULES = st.sampled_from(["cosine", "step", "constant"])


# --- seeds and order


def test_mixed_seeds_differ_by_order_and_by_part():
    seeds = [mix(1, 2), mix(2, 1), mix(12), mix(1, 2, "order"), mix("1", 2), mix(1, 23), mix(12, 3)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 2) == mix(1, 2)


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def test_reseeding_sets_every_generator():
    reseed(3, 1)
    first = draws()
    reseed(3, 2)
    other = draws()
    reseed(3, 1)
    assert draws() == first
    assert all(a != b for a, b in zip(first, other, strict=True))


@few
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.integers(1, 9), st.booleans())
def test_an_epoch_takes_every_sample_at_most_once(count, batch, seed, epoch, keep):
    """Once each where the last batch is kept; either way the whole batches are the same."""
    index = torch.arange(count) * 3 + 5
    order = epoch_order(index, batch, seed, epoch, keep)
    train = TrainSettings(batch=batch, last_batch="keep" if keep else "drop")
    rest = [count % batch] if keep and count % batch else []
    assert [len(part) for part in order] == [batch] * (count // batch) + rest
    assert len(order) == steps_in(count, train)
    taken = [int(n) for part in order for n in part]
    assert len(set(taken)) == len(taken) == (count if keep else count // batch * batch)
    assert set(taken) <= set(index.tolist())
    again = epoch_order(index, batch, seed, epoch, not keep)
    assert all(torch.equal(*pair) for pair in zip(order[: count // batch], again, strict=False))


def test_the_order_changes_with_seed_and_epoch_and_not_with_the_generator():
    index = torch.arange(50)
    torch.manual_seed(1)
    first = epoch_order(index, 10, seed=0, epoch=1)
    torch.manual_seed(2)
    assert all(map(torch.equal, epoch_order(index, 10, seed=0, epoch=1), first))
    others = [epoch_order(index, 10, seed=0, epoch=2), epoch_order(index, 10, seed=1, epoch=1)]
    assert not any(all(map(torch.equal, first, other)) for other in others)


# --- learning rate


def rates(epochs=10, per_epoch=4, **chosen):
    train = TrainSettings(lr=1.0, **chosen)
    return [learning_rate(train, step, per_epoch, epochs) for step in range(epochs * per_epoch)]


def test_cosine_falls_from_the_rate_to_almost_nothing():
    found = rates(schedule="cosine")
    assert found == [0.5 * (1 + math.cos(math.pi * step / 40)) for step in range(40)]
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.01


@pytest.mark.parametrize("warmup", [2, 0.2])
def test_warm_up_rises_in_a_line_to_the_rate(warmup):
    found = rates(schedule="constant", warmup=warmup)
    assert found[:8] == [(step + 1) / 8 for step in range(8)]
    assert found[8:] == [1.0] * 32
    cosine = rates(schedule="cosine", warmup=warmup)
    assert cosine[:8] == found[:8]
    assert cosine[8] == 1.0
    assert cosine[-1] < 0.01


@pytest.mark.parametrize("milestones", [[5, 8], [0.5, 0.8], [8, 5]])
def test_steps_fall_at_their_milestones(milestones):
    found = rates(schedule="step", milestones=milestones, gamma=0.5)
    assert found == [1.0] * 20 + [0.5] * 12 + [0.25] * 8


@pytest.mark.parametrize(("milestones", "warmup"), [([20, 32], 8), ([0.5, 0.8], 0.2)])
def test_where_steps_are_counted_milestones_and_warm_up_count_them_too(milestones, warmup):
    """40 steps are 6 epochs of 7 steps, the last of which is incomplete."""
    train = TrainSettings(lr=1.0, batch=10, steps=40, schedule="step", milestones=milestones, warmup=warmup, gamma=0.5)
    assert epochs_of(train, samples=75, epochs=30) == 6
    assert epochs_of(TrainSettings(), samples=75, epochs=30) == 30
    found = [learning_rate(train, step, 7, 6) for step in range(40)]
    assert found == [(step + 1) / 8 for step in range(8)] + [1.0] * 12 + [0.5] * 12 + [0.25] * 8


@few
@given(SCHEDULES, st.integers(0, 30) | st.floats(0, 1), st.integers(1, 20), st.integers(1, 9))
@example("constant", 0.25, 2, 5)  # half of one step beyond a whole number of steps
@example("constant", 0.02, 5, 5)  # less than one step
def test_a_learning_rate_is_positive_and_never_above_its_setting(schedule, warmup, epochs, per_epoch):
    assert all(0 < rate <= 1 for rate in rates(epochs, per_epoch, schedule=schedule, warmup=warmup))


# --- weights over time


def spec_of(**chosen):
    return Spec(input=(4,), classes=CLASSES, **chosen)


def info():
    return DataInfo(tuple("abc"), torch.arange(8), torch.zeros(8, dtype=torch.long))


def distillation_of(model, weights, teachers=("one", "two")):
    """A student with two methods: kd from the first teacher, aver from all."""
    specs = dict.fromkeys(teachers, spec_of())
    kd = find("kd")(configure("kd", {}), spec_of(), {teachers[0]: specs[teachers[0]]}, info())
    aver = find("aver")(configure("aver", {}), spec_of(), specs, info())
    settings = {term: WeightSettings.model_validate(w) for term, w in weights.items()}
    return Distillation(Tap(model, {}), {"kd": kd, "aver": aver}, settings)


def batch_of(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return Batch({"signal": x}, torch.arange(count) % CLASSES, torch.arange(100, 100 + count))


def teachers_of(batch, names=("one", "two")):
    return {name: Output.of(torch.randn(len(batch.index), CLASSES)) for name in names}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def test_the_total_follows_the_weights_over_time():
    weights = {
        "ce": {"value": 0.5},
        "kd": {"value": 2.0, "until": 0.5},
        "aver.kl": {"value": 3.0, "from": 0.5, "warmup": 10},
    }
    distillation, batch = distillation_of(network(), weights), batch_of()
    teachers = teachers_of(batch)
    assert distillation.terms == ("ce", "kd.kl", "aver.kl")
    ce = F.cross_entropy(distillation.student(batch.views["signal"]).logits, batch.target)
    for epoch in range(1, 11):
        step = distillation(batch, teachers, Progress(epoch, 10))
        active = "kd.kl" if epoch <= 5 else "aver.kl"
        weight = 2.0 if epoch <= 5 else 3.0 * epoch / 10
        assert set(step.terms) == {"ce", active}  # what counts nothing is not computed
        assert torch.equal(step.terms["ce"], ce)
        torch.testing.assert_close(step.total, 0.5 * ce + weight * step.terms[active])


def test_the_longest_key_decides_a_weight():
    weights = {"ce": {"value": 1}, "kd": {"value": 2}, "kd.kl": {"value": 5}, "aver": {"value": 3}}
    found = distillation_of(network(), weights).weights
    assert {term: w.value for term, w in found.items()} == {"ce": 1, "kd.kl": 5, "aver.kl": 3}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ce": 1, "kd": 1, "avr": 1}, "no term is called 'avr'; did you mean 'aver.kl'"),
        ({"ce": 1, "kd": 1, "aver": 1, "k": 1}, "no term is called 'k'"),
        ({"ce": 1, "kd": 1}, "the term 'aver.kl' has none"),
        ({"ce": 0, "kd": 0, "aver": 0}, "at least one of ce, kd.kl, aver.kl must be above 0"),
    ],
)
def test_weights_that_do_not_fit_the_terms_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        distillation_of(network(), {term: {"value": value} for term, value in weights.items()})


def test_distillation_owns_the_student_and_no_teacher():
    distillation = distillation_of(network(), {"ce": {"value": 1}, "kd": {"value": 1}, "aver": {"value": 1}})
    assert set(distillation.state_dict()) == {f"student.model.{key}" for key in network().state_dict()}
    assert len(list(distillation.parameters())) == 4


# --- the guard

PROGRESS = Progress(epoch=2, epochs=5, step=7, steps=20)
EQUAL = {"ce": {"value": 1.0}, "kd": {"value": 1.0}, "aver": {"value": 1.0}}


def guarded(model=None, batch=None, teachers=None, progress=PROGRESS):
    """One step through the guard."""
    batch = batch or batch_of()
    distillation = distillation_of(model or network(), EQUAL)
    teachers = teachers or teachers_of(batch)
    check_step(distillation(batch, teachers, progress), distillation, batch, teachers, progress)


def test_the_guard_lets_finite_steps_pass():
    assert guarded() is None


def test_the_guard_names_a_view_and_its_samples():
    batch = batch_of()
    batch.views["signal"][2, 1], batch.views["signal"][5, 0] = math.nan, math.inf
    with pytest.raises(NotFiniteError) as caught:
        guarded(batch=batch)
    message = str(caught.value)
    assert message.startswith("epoch 2, step 7: ce = nan, kd.kl = nan, aver.kl = nan is not finite; ")
    assert "view 'signal' already is not finite in samples 102, 105" in message


def test_the_guard_names_a_teacher_and_its_samples():
    batch = batch_of()
    teachers = teachers_of(batch)
    teachers["two"].logits[3] = math.inf
    with pytest.raises(NotFiniteError, match=r"aver\.kl = nan is not finite; teacher 'two' .* in samples 103"):
        guarded(batch=batch, teachers=teachers)


def test_the_guard_names_the_first_layer():
    model = network()
    model[0].weight.data[3, 1] = math.nan
    with pytest.raises(NotFiniteError, match=r"first in layer 'student.model.0', samples 100, 101, 102"):
        guarded(model)


def test_the_guard_names_the_samples_in_a_layer():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    batch = batch_of()
    batch.views["signal"].abs_()
    batch.views["signal"][4, 0] = -1.0
    with pytest.raises(NotFiniteError, match=r"first in layer 'student.model.0', samples 104\."):
        guarded(nn.Sequential(Root(), nn.Linear(4, CLASSES)), batch)


def test_the_guard_says_when_only_the_loss_is_to_blame():
    class Overflowing(nn.Module):
        def forward(self, x):
            return x.new_tensor([-3e38, 3e38, 0.0]).expand(len(x), 3) * x.new_ones(1)

    with pytest.raises(NotFiniteError, match=r"every layer is finite, .* samples 100, 101.* A smaller lr, clip: 1.0"):
        guarded(Overflowing())
    first = Progress(epoch=1, epochs=5, step=0, steps=20)
    with pytest.raises(NotFiniteError, match="before any training: look at the settings of"):
        guarded(Overflowing(), progress=first)
    heavy = distillation_of(network(), {**EQUAL, "ce": {"value": 1e9}})
    batch = batch_of()
    batch.views["signal"].mul_(1e32)
    with pytest.raises(NotFiniteError, match=r"the total is not finite; .* before any training: look at the weights"):
        check_step(heavy(batch, teachers_of(batch), first), heavy, batch, teachers_of(batch), first)


def test_the_guard_lists_at_most_eight_samples():
    batch = batch_of(20)
    batch.views["signal"].fill_(math.nan)
    with pytest.raises(NotFiniteError, match=r"samples 100, .*, 107 and 12 more$"):
        guarded(batch=batch)


def test_the_guard_leaves_no_hooks():
    model = network()
    model[0].weight.data.fill_(math.nan)
    with pytest.raises(NotFiniteError):
        guarded(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_guard_names_the_parameter_of_a_bad_gradient():
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm = torch.tensor(2.0)
    assert check_gradient(norm, model, batch_of(), PROGRESS) is None
    model[2].weight.grad[0, 0] = math.inf
    with pytest.raises(NotFiniteError, match=r"epoch 2, step 7: the gradient of 2\.weight is not finite; samples 100"):
        check_gradient(torch.tensor(math.inf), model, batch_of(), PROGRESS)


def test_a_norm_that_overflows_is_an_error_too():
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e30)
    with pytest.raises(NotFiniteError, match="epoch 2, step 7"):
        check_gradient(torch.tensor(math.inf), model, batch_of(), PROGRESS)


class Silent:
    def step(self, progress, terms):
        pass

    def epoch(self, progress, row):
        pass


class Offset(nn.Module):
    """Adds the root of a parameter; at zero its value is finite and its gradient is not."""

    def __init__(self, start):
        super().__init__()
        self.squared = nn.Parameter(torch.full((CLASSES,), start))

    def forward(self, x):
        return x + self.squared.sqrt()


def job_of(folder, model, **train):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 1, 4, generator=generator)
    samples = Samples({"signal": FittedView(Signal(), {}, x)}, torch.arange(12) % CLASSES, Standardiser((0.0,), (1.0,)))
    fold = Fold(0, np.arange(8), np.arange(8, 10), np.arange(10, 12), ("a",), ("b",), ("c",))
    distillation = Distillation(Tap(nn.Sequential(nn.Flatten(), model), {}), {}, {"ce": WeightSettings(value=1.0)})
    settings = TrainSettings(batch=4, threads=1, **train)
    return Job("key", folder, distillation, {}, ("signal",), samples, fold, settings, epochs=2, seed=0)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_training_stops_at_a_bad_gradient_and_names_where_it_came_from(tmp_path, clip):
    model = nn.Sequential(nn.Linear(4, CLASSES), Offset(0.0))
    with pytest.raises(NotFiniteError, match=r"epoch 1, step 0: the gradient of student\.model\.1\.1\.squared"):
        fit(job_of(tmp_path, model, clip=clip), Accelerator(cpu=True), Silent())


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_a_slow_loop(tmp_path, nesterov):
    """Two steps by hand: v = m v + g, and p moves along v, or along g + m v in Nesterov's form."""
    model = nn.Linear(4, CLASSES, bias=False)
    before = model.weight.detach().clone()
    job = job_of(tmp_path, model, lr=0.1, nesterov=nesterov, weight_decay=0, schedule="constant")
    fit(replace(job, epochs=1), Accelerator(cpu=True), Silent())
    weight, velocity = before.clone().requires_grad_(), torch.zeros_like(before)
    for numbers in epoch_order(torch.arange(8), 4, seed=0, epoch=1):
        batch = job.samples.batch(numbers, ["signal"])
        loss = nn.functional.cross_entropy(batch.input("signal").flatten(1) @ weight.T, batch.target)
        (slope,) = torch.autograd.grad(loss, weight)
        velocity = 0.9 * velocity + slope
        weight = (weight - 0.1 * (slope + 0.9 * velocity if nesterov else velocity)).detach().requires_grad_()
    torch.testing.assert_close(model.weight, weight)


def test_clipping_bounds_the_step(tmp_path):
    model = nn.Sequential(nn.Linear(4, CLASSES), Offset(1.0))
    before = [p.detach().clone() for p in model.parameters()]
    job = job_of(tmp_path, model, clip=1e-3, lr=1.0, momentum=0, weight_decay=0, schedule="constant")
    fit(job, Accelerator(cpu=True), Silent())
    moved = torch.cat([(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)]).norm()
    assert 0 < moved <= 4 * 1e-3 + 1e-6  # four steps


def taught_job(folder, compiled):
    """A student with a tapped stage and a teacher that runs beside it."""
    torch.manual_seed(0)
    student, taught = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, CLASSES)) for _ in range(2))
    teacher = Teacher("big", Tap(nn.Sequential(nn.Flatten(), taught), {}), "signal")
    job = job_of(folder, student, compile=compiled)
    spec = Spec((1, 4), CLASSES, {}, 5)
    data = DataInfo(("a", "b", "c"), torch.arange(8), torch.arange(8) % CLASSES, None)
    method = find("kd")(configure("kd", {}), spec, {"big": spec}, data)
    tap = Tap(nn.Sequential(nn.Flatten(), student), {"stage1": "1.1"})
    weights = {"ce": WeightSettings(value=0.5), "kd.kl": WeightSettings(value=0.5, warmup=2)}
    return replace(job, distillation=Distillation(tap, {"kd": method}, weights), teachers={"big": teacher})


def test_compiled_training_equals_eager(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    compiled, eager = (
        fit(taught_job(tmp_path / name, name == "compiled"), Accelerator(cpu=True), Silent())
        for name in ("compiled", "eager")
    )
    assert [row.terms for row in compiled.rows] == [pytest.approx(row.terms, rel=1e-5) for row in eager.rows]
    assert set(compiled.last) == set(eager.last)  # names of parameters stay
    for name, value in eager.last.items():
        torch.testing.assert_close(compiled.last[name], value)


def test_the_guard_sees_into_compiled_code(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    job = taught_job(tmp_path, True)
    with torch.no_grad():
        job.distillation.student.model[1][0].bias[2] = float("nan")
    with pytest.raises(NotFiniteError, match=r"first in layer 'student\.model\.1\.0'"):
        fit(job, Accelerator(cpu=True), Silent())


@pytest.mark.parametrize(("batch", "message"), [(9, "fold 0 has 8 training samples, fewer than one batch of 9")])
def test_a_batch_larger_than_the_training_set_is_refused(tmp_path, batch, message):
    job = job_of(tmp_path, nn.Linear(4, CLASSES))
    with pytest.raises(InputError, match=message):
        fit(replace(job, train=job.train.model_copy(update={"batch": batch})), Accelerator(cpu=True), Silent())


# --- evaluation


def test_evaluation_keeps_the_order_and_the_mode(tmp_path):
    job = job_of(tmp_path, nn.Sequential(nn.Linear(4, CLASSES), nn.Dropout(0.9)))
    tap, index = job.distillation.student.train(), torch.tensor([7, 0, 11, 3, 3])
    logits = evaluate(tap, job.samples, index, "signal", Accelerator(cpu=True))["logits"]
    assert tap.training
    torch.testing.assert_close(logits, tap.model[1][0](job.samples.views["signal"].stored[index].flatten(1)))
    assert not logits.requires_grad


def scores(logits, target):
    return Classification().scores({"logits": logits}, target)


def test_scores_equal_the_count_by_hand():
    logits = torch.eye(3)[[0, 0, 1, 1, 0]]
    found = scores(logits, torch.tensor([0, 0, 1, 0, 2]))
    precision_recall = [(2 / 3, 2 / 3), (1 / 2, 1), (0, 0)]
    f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in precision_recall]
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["macro_f1"] == pytest.approx(sum(f1) / 3)


@given(st.data())
def test_macro_f1_is_that_of_the_classes_in_truth(drawn):
    """As scikit-learn's with these labels: guesses of an absent class change no denominator, and a perfect one is 1."""
    classes = drawn.draw(st.integers(2, 6))
    pairs = drawn.draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=30))
    truth, guess = (np.array(column) for column in zip(*pairs, strict=True))
    found = scores(torch.eye(classes)[torch.from_numpy(guess)], torch.from_numpy(truth))
    expected = f1_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx((truth == guess).mean())
    assert scores(torch.eye(classes)[torch.from_numpy(truth)], torch.from_numpy(truth))["macro_f1"] == 1
    assert macro_f1(torch.from_numpy(confusion_matrix(truth, guess, labels=range(classes)))) == found["macro_f1"]


# --- checkpoints


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "progress.pt"
    assert checkpoint.load(path, "abc") is None
    checkpoint.save(path, {"key": "abc", "epoch": 3, "random": checkpoint.random_states(), "x": torch.arange(3)})
    held = checkpoint.load(path, "abc")
    assert held["epoch"] == 3
    assert torch.equal(held["x"], torch.arange(3))
    assert [p.name for p in tmp_path.iterdir()] == ["progress.pt"]


def test_random_states_continue_where_they_were_saved(tmp_path):
    reseed(5)
    np.random.standard_normal()  # noqa: NPY002 (leaves a second draw cached in the state)
    checkpoint.save(tmp_path / "p", {"key": "k", "random": checkpoint.random_states()})
    expected = (*draws(), float(np.random.standard_normal()))  # noqa: NPY002
    reseed(6)
    checkpoint.restore_random_states(checkpoint.load(tmp_path / "p", "k")["random"])
    assert (*draws(), float(np.random.standard_normal())) == expected  # noqa: NPY002


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    checkpoint.save(tmp_path / "p.pt", {"key": "a" * 64})
    with pytest.raises(InputError, match=r"belongs to another recipe \(cell aaaaaaaaaaaa, expected bbbbbbbbbbbb\)"):
        checkpoint.load(tmp_path / "p.pt", "b" * 64)


@pytest.mark.parametrize("what", ["empty", "cut", "bytes", "list", "text", "object"])
def test_a_damaged_checkpoint_is_refused(tmp_path, what):
    path = tmp_path / "p.pt"
    checkpoint.save(path, {"key": "k", "x": torch.arange(1000)})
    content = path.read_bytes()
    if what == "list":
        torch.save([1], path)
    elif what == "object":
        torch.save({"key": "k", "x": Silent()}, path)
    else:
        path.write_bytes(
            {"empty": b"", "cut": content[: len(content) // 2], "bytes": b"\0" * 99, "text": b"hello"}[what]
        )
    with pytest.raises(InputError, match=r"p\.pt"):
        checkpoint.load(path, "k")
