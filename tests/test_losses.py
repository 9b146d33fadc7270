"""Losses against slow, obvious loops, in several types, and by property."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from fusions import fused
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overtone import fusion
from overtone.distill import Distillation
from overtone.errors import InputError
from overtone.losses import (
    gram,
    kd,
    kd_per_sample,
    kd_to_probabilities,
    similarity_preserving,
    similarity_preserving_merged,
    unit_deviation,
)
from overtone.methods import METHODS, average_kd, configure, default_weights, find
from overtone.methods.multi_teacher import MultiTeacherConfig
from overtone.tap import Tap
from overtone.tasks import Classification
from overtone.types import Batch, DataInfo, Output, Progress, Spec

FLOATS = [torch.float32, torch.float64]
few = settings(max_examples=40, deadline=None)


def close(got, want, dtype=torch.float64, **kwargs):
    tolerance = {"rtol": 1e-9, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    want = torch.as_tensor(want, dtype=got.dtype)
    torch.testing.assert_close(got.detach(), want.detach(), **{**tolerance, **kwargs})
    return True


def numbers(*shape, seed=0, dtype=torch.float64, scale=3.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(scale).to(dtype)


@st.composite
def logits(draw, count=2):
    """``count`` float64 tensors of one shape (B, C)."""
    shape = (draw(st.integers(1, 5)), draw(st.integers(2, 6)))
    elements = st.floats(-40, 40, allow_subnormal=False)
    return [torch.from_numpy(draw(arrays("float64", shape, elements=elements))) for _ in range(count)]


def slow_softmax(row, temperature):
    powers = [math.exp((z - max(row)) / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def slow_kd(student, teacher, temperature):
    """One value per sample."""
    values = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = slow_softmax(s, temperature), slow_softmax(t, temperature)
        values.append(temperature**2 * sum(q * (math.log(q) - math.log(p)) for p, q in zip(p_s, p_t, strict=True)))
    return values


def slow_gram(features):
    rows = [row.flatten().tolist() for row in features]
    return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]


def slow_compare(student_gram, teacher_gram):
    total = 0.0
    for s, t in zip(student_gram, teacher_gram, strict=True):
        norm_s, norm_t = math.sqrt(sum(v * v for v in s)), math.sqrt(sum(v * v for v in t))
        total += sum((a / norm_t - b / norm_s) ** 2 for a, b in zip(t, s, strict=True))
    return total / len(student_gram) ** 2


# --- logits


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("batch", "classes", "temperature"), [(8, 7, 4.0), (1, 2, 1.0), (5, 3, 0.5), (3, 100, 20.0)])
def test_kd_equals_the_loop(batch, classes, temperature, dtype):
    student, teacher = (numbers(batch, classes, seed=seed, dtype=dtype) for seed in (1, 2))
    slow = slow_kd(student, teacher, temperature)
    assert close(kd_per_sample(student, teacher, temperature), slow, dtype)
    assert close(kd(student, teacher, temperature), sum(slow) / batch, dtype)
    assert kd(student, teacher, temperature).dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_kd_to_probabilities_equals_the_loop(dtype):
    student, temperature = numbers(6, 4, seed=1, dtype=dtype), 2.5
    target = numbers(6, 4, seed=2, dtype=dtype).softmax(1)
    total = 0.0
    for s, q in zip(student.tolist(), target.tolist(), strict=True):
        total += sum(b * (math.log(b) - math.log(a)) for a, b in zip(slow_softmax(s, temperature), q, strict=True))
    assert close(kd_to_probabilities(student, target, temperature), temperature**2 * total / 6, dtype)


def test_a_probability_of_zero_counts_nothing():
    student = numbers(1, 3).requires_grad_()
    loss = kd_to_probabilities(student, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64), 1.0)
    assert close(loss, F.cross_entropy(student, torch.tensor([1])))
    loss.backward()
    assert student.grad.isfinite().all()


def test_teachers_broadcast():
    student, teachers = numbers(4, 5), numbers(3, 4, 5, seed=1)
    found = kd_per_sample(student, teachers, 4.0)
    assert torch.equal(found, torch.stack([kd_per_sample(student, teacher, 4.0) for teacher in teachers]))


@few
@given(logits(), st.floats(0.5, 20))
def test_kd_is_never_negative(pair, temperature):
    assert (kd_per_sample(*pair, temperature) >= -1e-9).all()


@few
@given(logits(1), st.floats(0.5, 20))
def test_kd_is_zero_when_student_is_teacher(one, temperature):
    student = one[0].clone().requires_grad_()
    loss = kd(student, one[0], temperature)
    loss.backward()
    assert loss == 0
    assert close(student.grad, torch.zeros_like(student))


@few
@given(logits(), st.floats(-50, 50), st.randoms(use_true_random=False))
def test_kd_invariances(pair, shift, random):
    student, teacher = pair
    value = kd(student, teacher, 4.0)
    classes = torch.tensor(random.sample(range(student.shape[1]), student.shape[1]))
    samples = torch.tensor(random.sample(range(len(student)), len(student)))
    assert close(kd(student + shift, teacher, 4.0), value)
    assert close(kd(student, teacher + shift, 4.0), value)
    assert close(kd(student[:, classes], teacher[:, classes], 4.0), value)
    assert close(kd(student[samples], teacher[samples], 4.0), value)
    assert close(kd(student / 4, teacher / 4, 1.0) * 16, value)


def test_the_reduction_is_batchmean_not_mean():
    student, teacher = numbers(6, 7), numbers(6, 7, seed=1)
    both = [(student / 4).log_softmax(1), (teacher / 4).softmax(1)]
    mean = F.kl_div(*both, reduction="none").mean() * 16  # what KLDivLoss() does by default
    assert close(kd(student, teacher, 4.0), 7 * mean)
    assert close(kd_to_probabilities(student, both[1], 4.0), 7 * mean)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_half_precision_logits_cast_up_stay_finite(scale):
    student, teacher = (numbers(8, 7, seed=s, scale=scale, dtype=torch.bfloat16) for s in (1, 2))
    student.requires_grad_()
    loss = kd(student.float(), teacher.float(), 4.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad.isfinite().all()


# --- several teachers


def averaged(student, teachers, average, weights=None):
    if weights is None:
        weights = fused(fusion.mean, student, teachers, torch.zeros(len(student), dtype=torch.long))
    return average_kd(student, teachers, weights, 4.0, average)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shares", [(0.2, 0.3, 0.5), (0.0, 0.0, 1.0)])
def test_each_average_equals_the_loop(shares, dtype):
    student, teachers = numbers(5, 4, dtype=dtype), numbers(3, 5, 4, seed=1, dtype=dtype)
    weights = torch.tensor(shares, dtype=dtype)[:, None].expand(3, 5)
    losses = [a * v for a, t in zip(shares, teachers, strict=True) for v in slow_kd(student, t, 4.0)]
    assert close(averaged(student, teachers, "loss", weights), sum(losses) / 5, dtype)
    mixed = sum(a * t for a, t in zip(shares, teachers, strict=True))
    assert close(averaged(student, teachers, "logit", weights), sum(slow_kd(student, mixed, 4.0)) / 5, dtype)
    total = 0.0
    for b in range(5):
        soft = [slow_softmax(t[b].tolist(), 4.0) for t in teachers]
        mixture = [sum(a * p[c] for a, p in zip(shares, soft, strict=True)) for c in range(4)]
        p_s = slow_softmax(student[b].tolist(), 4.0)
        total += 16 * sum(q * (math.log(q) - math.log(p)) for p, q in zip(p_s, mixture, strict=True))
    assert close(averaged(student, teachers, "prob", weights), total / 5, dtype)


@few
@given(logits(4))
def test_loss_and_probability_averages_have_one_gradient(four):
    student, teachers = four[0].clone().requires_grad_(), torch.stack(four[1:])
    by_loss, by_prob = (averaged(student, teachers, average) for average in ("loss", "prob"))
    assert by_loss >= by_prob - 1e-9  # KL is convex
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (by_loss, by_prob)]
    assert close(gradients[0], gradients[1])


def test_the_logit_average_is_another_target():
    student, teachers = numbers(4, 5).requires_grad_(), numbers(3, 4, 5, seed=1)
    gradients = [torch.autograd.grad(averaged(student, teachers, a), student)[0] for a in ("loss", "logit")]
    assert not torch.allclose(*gradients, rtol=1e-2)


def method_of(name, teachers, classes, **chosen):
    spec = Spec(input=(1, 8), classes=classes)
    info = DataInfo(tuple(map(str, range(classes))), torch.arange(4), torch.zeros(4, dtype=torch.long))
    return find(name)(configure(name, chosen), spec, dict.fromkeys(teachers, spec), info)


def term(method, student, teachers):
    batch = Batch({}, torch.zeros(len(student), dtype=torch.long), torch.arange(len(student)))
    return method(Output.of(student), {n: Output.of(t) for n, t in teachers.items()}, batch, Progress(1, 1))["kl"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("batch", "classes"), [(8, 7), (1, 2), (33, 100)])
@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("kd", {}),
        ("aver", {"average": "loss"}),
        ("aver", {"average": "logit"}),
        ("weighted", {"teacher_weights": {"t": 0.3}, "reduction": "batchmean"}),
    ],
)
def test_one_teacher_through_the_path_of_many_is_kd_bit_for_bit(name, chosen, batch, classes, dtype):
    plain, teacher = (numbers(batch, classes, seed=s, dtype=dtype) for s in (1, 2))
    plain.requires_grad_()
    student = plain.detach().clone().requires_grad_()
    expected = kd(plain, teacher, 2.5)
    found = term(method_of(name, ["t"], classes, temperature=2.5, **chosen), student, {"t": teacher})
    expected.backward()
    found.backward()
    assert torch.equal(found, expected)
    assert torch.equal(student.grad, plain.grad)


def test_one_teacher_by_probability_is_kd():
    student, teacher = numbers(8, 7), numbers(8, 7, seed=1)
    assert close(averaged(student, teacher[None], "prob"), kd(student, teacher, 4.0))


def test_weighted_follows_its_shares_by_name():
    student, one, two = (numbers(4, 3, seed=s) for s in range(3))
    method = method_of("weighted", ["one", "two"], 3, teacher_weights={"two": 3, "one": 1}, reduction="batchmean")
    expected = 0.25 * kd(student, one, 4.0) + 0.75 * kd(student, two, 4.0)
    assert close(term(method, student, {"two": two, "one": one}), expected)


KL_METHODS = [name for name, kind in METHODS.items() if issubclass(kind.Config, MultiTeacherConfig)]


@pytest.mark.parametrize("name", KL_METHODS)
def test_the_mean_reduction_is_that_of_torch(name):
    """``KLDivLoss()`` averages over classes too; ``weighted`` does by default, since its weights belong to that."""
    classes, names = 12, ["one"] if name == "kd" else ["one", "two"]
    student, *teachers = (numbers(5, classes, seed=s) for s in range(1 + len(names)))
    features = {"ca_mkd": {"features": False}, "fused": {"fusion": "mean"}}.get(name, {})
    given = dict(zip(names, teachers, strict=True))
    summed, meant = (
        term(method_of(name, names, classes, reduction=kind, **features), student, given)
        for kind in ("batchmean", "mean")
    )
    assert close(meant * classes, summed)
    default = term(method_of(name, names, classes, **features), student, given)
    assert torch.equal(default, meant if name == "weighted" else summed)
    if name == "kd":
        soft = F.kl_div((student / 4).log_softmax(1), (teachers[0] / 4).softmax(1), reduction="none").mean()
        assert close(meant, 16 * soft)


def slow_published(student, teachers, target, shares, temperature):
    """The wearables code in plain loops: cross-entropy and the sum of its divergences."""
    batch, classes = student.shape

    def scaled(row, factor):
        middle = sum(row) / classes
        deviation = math.sqrt(sum((x - middle) ** 2 for x in row) / (classes - 1))
        return [factor * x / deviation for x in row]

    ce = kl = 0.0
    for b in range(batch):
        ce -= math.log(slow_softmax(scaled(student[b].tolist(), 1.0), 1.0)[target[b]]) / batch
        mine = slow_softmax(scaled(student[b].tolist(), 2.0), 1.0)
        for share, logits in zip(shares, teachers, strict=True):
            theirs = slow_softmax(scaled(logits[b].tolist(), 2.0), 1.0)
            found = sum(q * (math.log(q) - math.log(p)) for p, q in zip(mine, theirs, strict=True))
            kl += share * temperature**2 * found / (batch * classes)
    return ce, kl


@pytest.mark.parametrize("temperature", [4.0, 2.0])
def test_weighted_as_published_by_a_slow_loop(temperature):
    """Cross-entropy too sees logits over their deviation; the weights are those of the code, 0.01 and 0.99."""
    classes, target = 12, torch.tensor([0, 3, 11, 3, 7])
    student, image, plain = (numbers(5, classes, seed=s) for s in range(3))
    method = method_of("weighted", ["image", "signal"], classes, published=True, temperature=temperature,
                       teacher_weights={"image": 0.7, "signal": 0.3})  # fmt: skip
    config = configure("weighted", {"published": True})
    distillation = Distillation(
        Tap(torch.nn.Sequential(torch.nn.Flatten()), {}),
        {"weighted": method},
        default_weights({"weighted": config}, {}, Classification()),
    )
    teachers = {"signal": Output.of(plain), "image": Output.of(image)}
    step = distillation(Batch({"signal": student}, target, torch.arange(5)), teachers, Progress(1, 1))
    # In a training step losses are taken in float32, the method by itself keeps what it is given.
    ce, kl = slow_published(student, [image, plain], target.tolist(), [0.7, 0.3], temperature)
    assert term(method, student, {"signal": plain, "image": image}).item() == pytest.approx(kl, rel=1e-12)
    assert step.terms["ce"].item() == pytest.approx(ce, rel=1e-6)
    assert step.total.item() == pytest.approx(0.01 * ce + 0.99 * kl, rel=1e-6)
    assert torch.equal(step.output.logits, student)  # what is predicted stays as it is


def test_equal_logits_have_no_deviation_and_stay_finite():
    logits = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (unit_deviation(logits - 1).sum()).backward()
    assert torch.isfinite(logits.grad).all()


def test_as_published_cannot_be_summed_over_classes():
    with pytest.raises(InputError, match="published: true has reduction: mean; got batchmean"):
        configure("weighted", {"published": True, "reduction": "batchmean"})


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5).filter(lambda s: sum(s) > 1e-6))
@few
def test_fixed_shares_sum_to_one_per_sample(shares):
    teachers = numbers(len(shares), 4, 3)
    weights = fused(fusion.Fixed(shares), teachers[0], teachers, torch.zeros(4, dtype=torch.long))
    assert weights.shape == (len(shares), 4)
    assert close(weights.sum(0), torch.ones(4))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"signl": 1.0, "gaf": 1.0}, "unknown teacher 'signl'; did you mean 'signal'"),
        ({"signal": 1.0}, "no weight for gaf"),
        ({"signal": -1.0, "gaf": 1.0}, "signal must be 0 or more, got -1"),
        ({"signal": float("nan"), "gaf": 1.0}, "signal must be 0 or more, got nan"),
        ({"signal": 0.0, "gaf": 0.0}, "at least one must be above 0"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares, message):
    with pytest.raises(InputError, match=message):
        fusion.teacher_weights_of(shares, ["signal", "gaf"])


# --- relations

SHAPES = [((4, 6), (4, 3)), ((5, 2, 7), (5, 3, 4, 4)), ((2, 1), (2, 9))]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("student", "teacher"), SHAPES)
def test_similarity_equals_the_loop(student, teacher, dtype):
    student, teacher = numbers(*student, dtype=dtype), numbers(*teacher, seed=1, dtype=dtype)
    expected = slow_compare(slow_gram(student), slow_gram(teacher))
    assert close(gram(student), slow_gram(student), dtype)
    assert close(similarity_preserving(student, teacher), expected, dtype)
    assert similarity_preserving(student, teacher).dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_merged_similarity_equals_the_loop(dtype):
    student = numbers(4, 5, dtype=dtype)
    teachers = [numbers(4, width, seed=width, dtype=dtype) for width in (3, 8)]
    first, second = (slow_gram(teacher) for teacher in teachers)
    merged = [[0.3 * a + 0.7 * b for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]
    found = similarity_preserving_merged(student, teachers, [0.3, 0.7])
    assert close(found, slow_compare(slow_gram(student), merged), dtype)


@few
@given(st.integers(2, 6), st.integers(0, 2**31), st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_similarity_invariances(batch, seed, scale, random):
    student, teacher = numbers(batch, 5, seed=seed), numbers(batch, 3, 4, seed=seed + 1)
    value = similarity_preserving(student, teacher)
    samples = torch.tensor(random.sample(range(batch), batch))
    wider = torch.cat([student, torch.zeros(batch, 7, dtype=student.dtype)], dim=1)
    turned = torch.linalg.qr(numbers(5, 5, seed=seed + 2)).Q
    assert value >= 0
    assert close(similarity_preserving(scale * student, teacher), value)
    assert close(similarity_preserving(student, scale * teacher), value)
    assert close(similarity_preserving(wider, teacher), value)
    assert close(similarity_preserving(torch.cat([student, student], 1), teacher), value)
    assert close(similarity_preserving(student @ turned, teacher), value)
    assert close(similarity_preserving(student[samples], teacher[samples]), value)
    assert similarity_preserving(student, student) == 0
    assert close(similarity_preserving_merged(student, [teacher], [scale]), value)


def test_merged_with_one_teacher_is_the_plain_loss_bit_for_bit():
    student, teacher = numbers(6, 5, dtype=torch.float32), numbers(6, 3, seed=1, dtype=torch.float32)
    assert torch.equal(similarity_preserving_merged(student, [teacher], [1.0]), similarity_preserving(student, teacher))


@pytest.mark.parametrize(
    "loss", [similarity_preserving, lambda s, t: similarity_preserving_merged(s, [t], [1.0])], ids=["each", "merged"]
)
def test_a_batch_of_one_has_no_similarities(loss):
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        loss(numbers(1, 4), numbers(1, 4))


def test_dead_features_leave_similarity_and_its_gradient_finite():
    student = torch.zeros(3, 4, requires_grad=True)
    loss = similarity_preserving(student, numbers(3, 4, dtype=torch.float32))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_half_precision_features_cast_up_stay_finite():
    student, teacher = (numbers(4, 64, seed=s, scale=100, dtype=torch.bfloat16) for s in (1, 2))
    student.requires_grad_()
    loss = similarity_preserving(student.float(), teacher.float())
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
