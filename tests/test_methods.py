"""Methods and their losses against slow, obvious loops, by property, and in what they refuse."""

from __future__ import annotations

import copy
import itertools
import math
import re
import statistics
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from cases import CLASSES, PROGRESS, batch_of, make
from fusions import fused
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import normalize

import overtone
from overtone import data, fusion, recipe
from overtone.distill import Distillation
from overtone.errors import InputError
from overtone.losses import (
    attention_transfer,
    decoupled_kd,
    dist,
    hierarchical_context,
    kd,
    kd_per_sample,
    kd_to_probabilities,
    noise_contrast,
    relational_angle,
    relational_distance,
    similarity_preserving,
    similarity_preserving_merged,
    spectrum_distance,
    standardised_kd,
)
from overtone.methods import METHODS, average_kd, ca_mkd, configure, default_weights, find
from overtone.methods.ca_mkd import weighted_features
from overtone.models import build
from overtone.recipe import WeightSettings
from overtone.study import make_plan
from overtone.study.check import check
from overtone.study.rows import distinct_labels, resolve_row
from overtone.tap import Tap
from overtone.tasks import Classification
from overtone.types import Batch, DataInfo, Output, Progress, Spec, StageSpec

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
LOSSES = {
    "kd": kd,
    "target": lambda s, t: decoupled_kd(s, t, torch.arange(len(s)) % s.shape[1])[0],
    "rest": lambda s, t: decoupled_kd(s, t, torch.arange(len(s)) % s.shape[1])[1],
    "standardised": standardised_kd,
    "inter": lambda s, t: dist(s, t)[0],
    "intra": lambda s, t: dist(s, t)[1],
    "gram": similarity_preserving,
    "distance": relational_distance,
    "angle": relational_angle,
}
"""All that compare one (B, D) with another, whichever they stand for."""


def numbers(*shape, seed=0, scale=3.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def close(got, want, rtol=1e-9, atol=1e-10):
    want = torch.as_tensor(want, dtype=got.dtype)
    torch.testing.assert_close(got.detach(), want.detach(), rtol=rtol, atol=atol)
    return True


def log_sum(row):
    return max(row) + math.log(sum(math.exp(z - max(row)) for z in row))


def log_softmax(row, temperature=1.0):
    row = [z / temperature for z in row]
    return [z - log_sum(row) for z in row]


def divergence(log_t, log_s):
    return sum(math.exp(a) * (a - b) for a, b in zip(log_t, log_s, strict=True))


def huber(a, b):
    return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5


# --- logits


def slow_decoupled(student, teacher, target, temperature):
    binary, spread = [], []
    for s, t, y in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True):
        log_s, log_t = log_softmax(s, temperature), log_softmax(t, temperature)
        others_s, others_t = (z[:y] + z[y + 1 :] for z in (log_s, log_t))
        binary.append(divergence([log_t[y], log_sum(others_t)], [log_s[y], log_sum(others_s)]))
        spread.append(divergence(log_softmax(others_t), log_softmax(others_s)))
    return [temperature**2 * statistics.mean(part) for part in (binary, spread)]


@pytest.mark.parametrize(("batch", "classes", "temperature"), [(6, 5, 4.0), (1, 3, 0.5), (4, 2, 2.0), (3, 40, 1.0)])
def test_decoupled_equals_the_loop(batch, classes, temperature):
    student, teacher = numbers(batch, classes), numbers(batch, classes, seed=1)
    target = torch.arange(batch) * 7 % classes
    found = decoupled_kd(student, teacher, target, temperature)
    for got, want in zip(found, slow_decoupled(student, teacher, target, temperature), strict=True):
        assert close(got, want)
    if classes == 2:
        assert found[1] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("student", [[800.0, 0.0, -300.0], [-900.0, 4.0, 5.0], [0.0, 1e4, -1e4]])
@pytest.mark.parametrize("teacher", [[500.0, 3.0, 0.0], [0.0, 0.5, 1.0], [-1e4, 1e4, 0.0]])
def test_decoupled_of_overconfident_logits(student, teacher, dtype):
    student = torch.tensor([student], dtype=dtype, requires_grad=True)
    teacher, target = torch.tensor([teacher], dtype=dtype), torch.tensor([0])
    found = decoupled_kd(student, teacher, target, 1.0)
    for got, want in zip(found, slow_decoupled(student, teacher, target, 1.0), strict=True):
        assert close(got, want, 1e-5, 1e-5)
    sum(found).backward()
    assert student.grad.isfinite().all()


@few
@given(seeds, st.floats(0.5, 10))
def test_decoupled_parts_make_up_kd(seed, temperature):
    """Equation 6 of the paper: KD is the first part plus the second times the teacher's doubt."""
    student, teacher, target = numbers(1, 5, seed=seed), numbers(1, 5, seed=seed + 1), torch.tensor([seed % 5])
    first, second = decoupled_kd(student, teacher, target, temperature)
    doubt = 1 - (teacher / temperature).softmax(1)[0, target]
    assert close(kd(student, teacher, temperature), (first + doubt * second).squeeze())


def standardised(row):
    mean, deviation = statistics.mean(row), statistics.stdev(row)
    return [(z - mean) / (deviation + 1e-7) for z in row]


@pytest.mark.parametrize("temperature", [2.0, 0.7])
def test_standardised_equals_the_loop(temperature):
    student, teacher = numbers(5, 4), numbers(5, 4, seed=1)
    slow = [
        divergence(log_softmax(standardised(t), temperature), log_softmax(standardised(s), temperature))
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    assert close(standardised_kd(student, teacher, temperature), temperature**2 * statistics.mean(slow))


@few
@given(seeds, st.floats(0.1, 100), st.floats(-50, 50))
def test_standardised_invariances(seed, scale, shift):
    student, teacher = numbers(4, 5, seed=seed), numbers(4, 5, seed=seed + 1)
    value = standardised_kd(student, teacher)
    assert close(standardised_kd(student * scale + shift, teacher), value, 1e-4, 1e-6)
    assert close(standardised_kd(student, teacher * scale + shift), value, 1e-4, 1e-6)


def slow_correlation(a, b):
    a, b = ([x - statistics.mean(row) for x in row] for row in (a, b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize(("batch", "classes", "temperature"), [(6, 5, 4.0), (2, 3, 1.0), (5, 2, 0.5)])
def test_dist_equals_the_loop(batch, classes, temperature):
    student, teacher = numbers(batch, classes, scale=1.0), numbers(batch, classes, seed=1, scale=1.0)
    p, q = (
        [[math.exp(z) for z in log_softmax(row, temperature)] for row in logits.tolist()]
        for logits in (student, teacher)
    )
    rows = [1 - slow_correlation(a, b) for a, b in zip(p, q, strict=True)]
    columns = [1 - slow_correlation(a, b) for a, b in zip(zip(*p, strict=True), zip(*q, strict=True), strict=True)]
    inter, intra = dist(student, teacher, temperature)
    assert close(inter, temperature**2 * statistics.mean(rows))
    assert close(intra, temperature**2 * statistics.mean(columns))


# --- relations


def between(x):
    rows = x.tolist()
    apart = [[math.dist(a, b) for b in rows] for a in rows]
    mean = statistics.mean(d for i, row in enumerate(apart) for j, d in enumerate(row) if i != j)
    return [d / mean for row in apart for d in row]


def angles(x):
    rows, found = x.tolist(), []
    for corner, a, b in itertools.product(rows, rows, rows):
        u, v = ([p - q for p, q in zip(corner, other, strict=True)] for other in (a, b))
        length = math.hypot(*u) * math.hypot(*v)
        found.append(sum(p * q for p, q in zip(u, v, strict=True)) / length if length else 0.0)
    return found


@pytest.mark.parametrize(("batch", "mine", "theirs"), [(5, 3, 7), (2, 4, 4), (4, 1, 2)])
def test_relations_equal_the_loop(batch, mine, theirs):
    student, teacher = numbers(batch, mine), numbers(batch, theirs, seed=1, scale=0.2)
    for loss, slow in ((relational_distance, between), (relational_angle, angles)):
        pairs = zip(slow(student), slow(teacher), strict=True)
        assert close(loss(student, teacher), statistics.mean(huber(a, b) for a, b in pairs), 1e-6)


@few
@given(seeds, st.floats(0.01, 100), st.floats(-3, 3))
@pytest.mark.parametrize("loss", [relational_distance, relational_angle])
def test_relations_invariances(loss, seed, scale, shift):
    student, teacher = numbers(4, 3, seed=seed), numbers(4, 5, seed=seed + 1)
    value, turned = loss(student, teacher), torch.linalg.qr(numbers(3, 3, seed=seed + 2)).Q
    assert value > 0
    assert close(loss(student @ turned * scale + shift, teacher), value, 1e-5, 1e-6)
    assert close(loss(student, teacher * scale + shift), value, 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [relational_distance, relational_angle, similarity_preserving])
def test_equal_samples_leave_relations_and_their_gradients_finite(loss, dtype):
    student = torch.ones(4, 3, dtype=dtype).requires_grad_()
    value = loss(student, numbers(4, 2).to(dtype))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_distances_need_two_samples():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        relational_distance(numbers(1, 3), numbers(1, 3))


# --- maps


def slow_pool(row, size):
    n = len(row)
    return [statistics.mean(row[i * n // size : -(-(i + 1) * n // size)]) for i in range(size)]


def slow_energy(sample, size, power):
    """Of one sample (C, ...) pooled along its last, then its first axis of position."""
    pooled = []
    for channel in sample.tolist():
        if len(size) == 2:
            across = [slow_pool(row, size[1]) for row in channel]
            down = [slow_pool(list(column), size[0]) for column in zip(*across, strict=True)]
            pooled.append([x for row in zip(*down, strict=True) for x in row])
        else:
            pooled.append(slow_pool(channel, size[0]))
    energy = [statistics.mean(abs(x) ** power for x in column) for column in zip(*pooled, strict=True)]
    return [e / math.hypot(*energy) for e in energy]


MAPS = [((3, 4, 8), (3, 2, 8)), ((2, 4, 8), (2, 6, 4)), ((2, 1, 5), (2, 3, 7))]
MAPS += [((2, 3, 4, 6), (2, 5, 4, 6)), ((2, 3, 8, 6), (2, 2, 4, 3)), ((2, 2, 3, 3), (2, 1, 5, 7))]


@pytest.mark.parametrize(("student", "teacher"), MAPS)
@pytest.mark.parametrize("power", [2.0, 1.0, 3.0])
def test_attention_transfer_equals_the_loop(student, teacher, power):
    student, teacher = numbers(*student), numbers(*teacher, seed=1)
    size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    slow = [
        (a - b) ** 2
        for s, t in zip(student, teacher, strict=True)
        for a, b in zip(slow_energy(s, size, power), slow_energy(t, size, power), strict=True)
    ]
    assert close(attention_transfer(student, teacher, power), statistics.mean(slow))


@few
@given(seeds, st.floats(0.01, 100))
def test_attention_transfer_invariances(seed, scale):
    student, teacher = numbers(2, 3, 5, seed=seed), numbers(2, 4, 5, seed=seed + 1)
    value = attention_transfer(student, teacher)
    assert close(attention_transfer(-scale * student, teacher), value)
    assert close(attention_transfer(student, scale * teacher.flip(1)), value)


@pytest.mark.parametrize("size", [6, 4, 3, 1])
def test_hierarchical_context_equals_the_loop(size):
    student, teacher = numbers(2, 3, size), numbers(2, 3, size, seed=1)
    errors = [(student - teacher).square().mean()]
    for side in (4, 2, 1):
        if side < size:
            pooled = [[slow_pool(row, side) for sample in x.tolist() for row in sample] for x in (student, teacher)]
            errors.append((torch.tensor(pooled[0]) - torch.tensor(pooled[1])).square().mean())
    weights = [0.5**n for n in range(len(errors))]
    want = sum(w * float(e) for w, e in zip(weights, errors, strict=True)) / sum(weights)
    assert close(hierarchical_context(student, teacher), want, 1e-5)


def test_spectrum_distance_equals_the_loop():
    student, teacher, mask = numbers(2, 1, 6), numbers(2, 1, 6, seed=1), torch.tensor([0, 1, 1, 0.5, 1, 1])

    def amplitudes(row):
        waves = [[x * complex(math.cos(a * n), -math.sin(a * n)) for n, x in enumerate(row)] for a in turns]
        return [abs(sum(wave)) / math.sqrt(len(row)) for wave in waves]

    turns = [2 * math.pi * u / 6 for u in range(6)]
    plain, masked = [], []
    for s, t in zip(student[:, 0].tolist(), teacher[:, 0].tolist(), strict=True):
        found = [a - b for a, b in zip(amplitudes(s), amplitudes(t), strict=True)]
        plain += [d**2 for d in found]
        masked += [(d * m) ** 2 for d, m in zip(found, mask.tolist(), strict=True)]
    assert close(spectrum_distance(student, teacher), statistics.mean(plain), 1e-5)
    assert close(spectrum_distance(student, teacher, mask), statistics.mean(masked), 1e-5)


# --- contrast


def slow_contrast(scores, samples):
    noise = (len(scores[0]) - 1) / samples
    total = 0.0
    for first, *others in scores:
        total -= math.log(first / (first + noise + 1e-7))
        total -= sum(math.log(noise / (s + noise + 1e-7)) for s in others)
    return total / len(scores)


@pytest.mark.parametrize(("batch", "negatives", "samples"), [(4, 6, 20), (1, 1, 2), (3, 30, 1000)])
def test_noise_contrast_equals_the_loop(batch, negatives, samples):
    scores = numbers(batch, negatives + 1).exp() / samples
    assert close(noise_contrast(scores, samples), slow_contrast(scores.tolist(), samples))
    assert noise_contrast(scores, samples) > 0


# --- every loss


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_small_steps(name):
    student, teacher = numbers(4, 3, scale=1.0).requires_grad_(), numbers(4, 3, seed=1, scale=1.0)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher), student)


MORE = {
    "contrast": (lambda s: noise_contrast(s.exp(), 20), (3, 5)),
    "attention": (lambda s: attention_transfer(s, numbers(2, 3, 3, seed=1)), (2, 2, 6)),
    "context": (lambda s: hierarchical_context(s, numbers(2, 2, 6, seed=1)), (2, 2, 6)),
    "spectrum": (lambda s: spectrum_distance(s, numbers(2, 2, 6, seed=1)), (2, 2, 6)),
    "probabilities": (lambda s: kd_to_probabilities(s, numbers(3, 4, seed=1).softmax(1)), (3, 4)),
    "merged": (lambda s: similarity_preserving_merged(s, [numbers(3, 2), numbers(3, 5)], [1, 2]), (3, 4)),
}


@pytest.mark.parametrize("name", MORE)
def test_gradients_of_the_other_losses_are_those_of_small_steps(name):
    loss, shape = MORE[name]
    assert torch.autograd.gradcheck(loss, numbers(*shape, seed=2, scale=1.0).requires_grad_())


@few
@given(seeds, st.integers(2, 6), st.integers(3, 5), st.floats(0.1, 5))
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_at_the_teacher_and_never_below(name, seed, batch, width, scale):
    student, teacher = numbers(batch, width, seed=seed, scale=scale), numbers(batch, width, seed=seed + 1, scale=scale)
    teacher.requires_grad_(False)
    assert LOSSES[name](student, teacher) >= -1e-9
    same = teacher.clone().requires_grad_()
    value = LOSSES[name](same, teacher)
    value.backward()
    assert close(value, 0.0, atol=1e-9)
    assert same.grad.abs().max() < 1e-5
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    if name not in ("target", "rest"):  # which also take classes
        assert close(LOSSES[name](student[order], teacher[order]), LOSSES[name](student, teacher), 1e-6, 1e-8)


@pytest.mark.parametrize("name", ["kd", "target", "rest", "standardised", "inter", "intra"])
@pytest.mark.parametrize("student", ["large", "flat"])
def test_losses_of_saturated_and_flat_logits_stay_finite(name, student):
    certain = F.one_hot(torch.tensor([0, 1, 1, 2]), 3) * 1e4
    student = ({"large": certain.flip(0), "flat": torch.zeros(4, 3)}[student]).float().requires_grad_()
    value = LOSSES[name](student, certain.float())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


# --- fusion

FUSIONS = {"entropy": fusion.entropy, "confidence": ca_mkd.confidence, "agreement": fusion.GradientSpace(4.0, 0.6)}
FUSIONS["mean"] = fusion.mean


@few
@given(seeds, st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 50))
@pytest.mark.parametrize("name", FUSIONS)
def test_weights_sum_to_one_per_sample(name, seed, count, batch, scale):
    teachers, target = numbers(count, batch, 4, seed=seed, scale=scale), torch.arange(batch) % 4
    weights = fused(FUSIONS[name], numbers(batch, 4, seed=seed + 1), teachers, target)
    assert weights.shape == (count, batch)
    assert weights.dtype == teachers.dtype
    assert close(weights.sum(0), torch.ones(batch))
    assert (weights >= -1e-12).all()
    if count == 1:
        assert (weights == 1).all()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if name != "agreement":  # whose minimiser need not be the only one
        assert close(fused(FUSIONS[name], teachers[0], teachers[order], target), weights[order])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_entropy_equals_the_loop(count):
    teachers = numbers(count, 4, 3)
    weights = fused(fusion.entropy, teachers[0], teachers, torch.zeros(4, dtype=torch.long))
    for b in range(4):
        entropies = [-sum(math.exp(z) * z for z in log_softmax(t[b].tolist())) for t in teachers]
        assert close(weights[:, b], [(1 - h / sum(entropies)) / (count - 1) for h in entropies])
        assert int(weights[:, b].argmax()) == entropies.index(min(entropies))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_confidence_equals_the_loop(count):
    teachers, target = numbers(count, 4, 3), torch.tensor([0, 2, 1, 1])
    weights = fused(ca_mkd.confidence, teachers[0], teachers, target)
    for b, y in enumerate(target.tolist()):
        odds = [math.exp(-log_softmax(t[b].tolist())[y]) for t in teachers]
        assert close(weights[:, b], [(1 - o / sum(odds)) / (count - 1) for o in odds])
        assert int(weights[:, b].argmax()) == odds.index(min(odds))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUSIONS)
def test_saturated_teachers_give_numbers(name, dtype):
    """All certain, two right and one wrong; the last sample is no different from a softmax of equal logits."""
    classes = torch.tensor([[0, 1, 2], [0, 1, 2], [1, 1, 0]])
    teachers = (F.one_hot(classes, 3) * 1e4).to(dtype).requires_grad_()
    student = (-teachers[2].detach()).clone().requires_grad_()
    target = torch.tensor([0, 1, 2])
    weights = fused(FUSIONS[name], student, teachers, target)
    assert weights.isfinite().all()
    assert close(weights.sum(0), torch.ones(3), 1e-5)
    if name == "entropy":
        assert close(weights, torch.full((3, 3), 1 / 3), 1e-5)
    if name == "confidence":
        assert close(weights[:, 0], [0.5, 0.5, 0.0], 1e-5)
        assert close(weights[:, 1], [1 / 3] * 3, 1e-5)
    average_kd(student, teachers, weights, 4.0, "loss").backward()
    assert student.grad.isfinite().all()
    assert teachers.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
def test_gradients_at_the_logits_are_autograds(temperature):
    student, teachers = numbers(5, 4).requires_grad_(), numbers(3, 5, 4, seed=1)
    analytic = fusion.GradientSpace(temperature, 0.6).gradients(student.detach(), teachers)
    for got, teacher in zip(analytic, teachers, strict=True):
        assert close(got, torch.autograd.grad(kd(student, teacher, temperature), student)[0])


def smallest(gram, most):
    """The least w' G w by trying which weights are 0, which are ``most``, and solving for the others."""
    count, found = len(gram), math.inf
    for states in itertools.product((0.0, most, None), repeat=count):
        free = [k for k, state in enumerate(states) if state is None]
        weights = torch.tensor([state or 0.0 for state in states], dtype=torch.float64)
        left = 1 - weights.sum()
        if free:
            n = len(free)
            system = torch.ones(n + 1, n + 1, dtype=torch.float64)
            system[:n, :n], system[n, n] = gram[free][:, free], 0
            right = torch.cat([-(gram @ weights)[free], left[None]])
            weights[free] = torch.linalg.pinv(system)[:n] @ right
        if abs(float(weights.sum()) - 1) < 1e-9 and weights.min() >= -1e-9 and weights.max() <= most + 1e-9:
            found = min(found, float(weights @ gram @ weights))
    return found


@few
@given(seeds, st.integers(2, 5), st.integers(1, 6), st.floats(0, 1))
def test_least_norm_is_the_least(seed, count, rank, slack):
    factors = numbers(count, rank, seed=seed)
    factors = [factors, factors[0] + 1e-3 * factors, factors * torch.logspace(0, -3, count)[:, None]][seed % 3]
    gram, most = factors @ factors.T, 1 / count + slack * (1 - 1 / count)
    weights = torch.tensor(fusion.least_norm(gram.tolist(), most), dtype=torch.float64)
    assert abs(float(weights.sum()) - 1) < 1e-9
    assert weights.min() >= 0
    assert weights.max() <= most + 1e-12
    assert float(weights @ gram @ weights) <= smallest(gram, most) + 1e-9 * float(gram.diagonal().max())


@few
@given(seeds, st.integers(2, 5), st.floats(0.01, 1))
def test_gradient_space_is_the_least(seed, count, tolerance):
    student, teachers = numbers(6, 4, seed=seed), numbers(count, 6, 4, seed=seed + 1)
    weights = fused(fusion.GradientSpace(4.0, tolerance), student, teachers, torch.zeros(6, dtype=torch.long))
    assert (weights == weights[:, :1]).all()  # one set a batch
    most = max(tolerance, 1 / count)
    assert weights.max() <= most + 1e-9
    sums = torch.stack([torch.autograd.grad(kd(s, t), s)[0].sum(0) for t in teachers for s in [_leaf(student)]])
    gram = sums @ sums.T
    found = float(weights[:, 0] @ gram @ weights[:, 0])
    assert found <= smallest(gram, most) + 1e-9 * float(gram.diagonal().max())


def _leaf(x):
    return x.clone().requires_grad_()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_tolerance_below_one_over_k_is_raised_to_it(count):
    student, teachers = numbers(6, 4), numbers(count, 6, 4, seed=1)
    weights = fused(fusion.GradientSpace(4.0, 0.1), student, teachers, torch.zeros(6, dtype=torch.long))
    assert close(weights, [[1 / count] * 6] * count)


def test_equal_teachers_count_the_same_in_gradient_space():
    student, teacher = numbers(6, 4), numbers(6, 4, seed=1)
    target = torch.zeros(6, dtype=torch.long)
    assert close(fused(fusion.GradientSpace(4.0, 0.6), student, teacher.expand(3, 6, 4), target), [[1 / 3] * 6] * 3)
    assert close(fused(fusion.GradientSpace(4.0, 0.6), teacher, teacher.expand(3, 6, 4), target), [[1 / 3] * 6] * 3)


def test_an_outlier_among_teachers_counts_least():
    """Two agree; the third pulls elsewhere, further: the shortest mixture leans to the two."""
    gram = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 4.0]]
    weights = fusion.least_norm(gram, 1.0)
    assert weights[0] + weights[1] == pytest.approx(0.8)
    assert weights[2] == pytest.approx(0.2)
    assert max(fusion.least_norm(gram, 0.35)) == pytest.approx(0.35)


@few
@given(seeds, st.integers(2, 4), st.integers(1, 6), st.sampled_from([1e-24, 1.0, 1e12]))
def test_least_norm_where_all_weights_are_at_bounds_and_at_any_scale(seed, whole, rank, scale):
    """Bounds of a half, a third or a quarter leave corners in which no weight is free."""
    factors = numbers(5, rank, seed=seed)
    gram = factors @ factors.T
    weights = torch.tensor(fusion.least_norm((scale * gram).tolist(), 1 / whole), dtype=torch.float64)
    assert float(weights @ gram @ weights) <= smallest(gram, 1 / whole) + 1e-9 * float(gram.diagonal().max())


@few
@given(st.data())
def test_least_norm_does_not_depend_on_the_order_of_teachers(drawn):
    """Nor where several weights do equally well: teachers twice, along one line, without a gradient at all."""
    rank, count = drawn.draw(st.integers(1, 3)), drawn.draw(st.integers(2, 5))
    whole = st.lists(st.integers(-2, 2), min_size=rank, max_size=rank)
    factors = torch.tensor(drawn.draw(st.lists(whole, min_size=count, max_size=count)), dtype=torch.float64)
    if drawn.draw(st.booleans()):
        factors = factors + numbers(count, rank, seed=drawn.draw(seeds))
    most = max(1 / count, drawn.draw(st.sampled_from([0.35, 0.5, 0.6, 1.0])))
    order = drawn.draw(st.permutations(range(count)))
    weights = fusion.least_norm((factors @ factors.T).tolist(), most)
    other = fusion.least_norm((factors[order] @ factors[order].T).tolist(), most)
    assert other == pytest.approx([weights[k] for k in order], abs=1e-6)
    assert sum(weights) == pytest.approx(1)


def test_the_published_solver_depends_on_the_order_and_ours_does_not():
    """Three teachers, 64 samples, 100 classes: it stops where it starts, so that the first teacher weighs most."""
    teachers, student, target = numbers(3, 64, 100, seed=1), numbers(64, 100), torch.zeros(64, dtype=torch.long)
    order = [2, 0, 1]
    found = {
        published: [
            fused(fusion.GradientSpace(4.0, 0.6, published), student, held, target)[:, 0]
            for held in (teachers, teachers[order])
        ]
        for published in (True, False)
    }
    torch.testing.assert_close(found[False][1], found[False][0][order], rtol=0, atol=1e-6)
    for weights in found[True]:
        assert close(weights, [0.6, 0.4, 0.0])


def test_a_corner_that_is_no_minimum_is_left():
    assert fusion._worth_freeing([3.0, 1.0, 2.0, 0.0], [0.5, 0.5, 0.0, 0.0], []) == [3, 0]
    assert fusion._worth_freeing([1.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.0, 0.0], []) == []
    assert fusion.least_norm([[0.0, 0.0], [0.0, 0.0]], 0.6) == [0.5, 0.5]


def test_teachers_that_nearly_agree_are_told_apart():
    assert fusion.least_norm([[1.0, 0.9999], [0.9999, 1.0002]], 1.0) == pytest.approx([0.75, 0.25], rel=1e-6)


@pytest.mark.parametrize(("name", "chosen"), [("ebkd", {}), ("ca_mkd", {"features": False}), ("aekd", {})])
def test_one_teacher_weighs_one(name, chosen):
    student, teacher, target = numbers(6, 4), numbers(6, 4, seed=1), torch.arange(6) % 4
    method = vectors(name, {"t": 4}, **chosen)
    found = method(Output.of(student), {"t": Output.of(teacher)}, Batch({}, target, torch.arange(6)), PROGRESS)
    assert close(found["kl"], kd(student, teacher, 4.0))


# --- methods on logits and vectors


def vectors(name, widths, mine=4, info=None, inputs=(3, 32), **chosen):
    """A method between a student and teachers of which only logits and embeddings are known."""
    torch.manual_seed(0)
    specs = {n: Spec((3, 8, 8) if n == "image" else (3, 32), 4, embedding=w) for n, w in widths.items()}
    info = info or DataInfo(tuple("abcd"), torch.arange(24), torch.arange(24) % 4)
    return find(name)(configure(name, chosen), Spec(inputs, 4, embedding=mine), specs, info).double()


def compared(method, student, teachers, index=None, progress=PROGRESS):
    """A method's terms on logits that also serve as embeddings."""
    index = torch.arange(len(student)) if index is None else index
    batch = Batch({}, torch.arange(len(student)) % 4, index)
    outputs = {name: Output.of(t, embedding=t) for name, t in teachers.items()}
    return method(Output.of(student, embedding=student), outputs, batch, progress)


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("dkd", {"temperature": 2}, lambda s, t: decoupled_kd(s, t, torch.arange(6) % 4, 2.0)),
        ("dkd", {}, lambda s, t: decoupled_kd(s, t, torch.arange(6) % 4, 4.0)),
        ("dist", {"temperature": 3}, lambda s, t: dist(s, t, 3.0)),
        ("logit_std", {}, lambda s, t: (standardised_kd(s, t, 2.0),)),
        ("logit_std", {"temperature": 5}, lambda s, t: (standardised_kd(s, t, 5.0),)),
        ("rkd", {}, lambda s, t: (relational_distance(s, t), relational_angle(s, t))),
        ("hidden", {}, lambda s, t: ((s - t).square().mean(),)),
    ],
)
def test_each_teacher_has_its_own_terms(name, chosen, expected):
    student, one, two = numbers(6, 4), numbers(6, 4, seed=1), numbers(6, 4, seed=2)
    method = vectors(name, {"one": 4, "image": 4}, **chosen)
    found = compared(method, student, {"image": two, "one": one})
    assert tuple(found) == method.terms
    assert method.terms == tuple(f"{term}.{t}" for t in ("one", "image") for term in type(method).TERMS)
    for teacher, x in (("one", one), ("image", two)):
        for part, want in zip(type(method).TERMS, expected(student, x), strict=True):
            assert close(found[f"{part}.{teacher}"], want)


def test_hidden_maps_only_where_widths_differ():
    method = vectors("hidden", {"same": 4, "image": 7})
    assert set(method.project) == {"image"}
    student = numbers(6, 4).requires_grad_()
    teachers = {"same": numbers(6, 4, seed=1), "image": numbers(6, 7, seed=2)}
    found = compared(method, student, teachers)
    line = method.project["image"]
    assert (line.in_features, line.out_features) == (4, 7)
    assert close(found["vector.same"], (student - teachers["same"]).square().mean())
    assert close(found["vector.image"], (student @ line.weight.T + line.bias - teachers["image"]).square().mean())
    found["vector.image"].backward()
    assert student.grad.abs().sum() > 0
    assert line.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["hidden", "rkd", "crd"])
@pytest.mark.parametrize(("mine", "theirs", "who"), [(None, 4, "the student"), (4, None, "teacher 'image'")])
def test_a_missing_embedding_is_refused(name, mine, theirs, who):
    with pytest.raises(InputError, match=f"{name}: {who} has no embedding"):
        vectors(name, {"t": 4, "image": theirs}, mine=mine)


def test_aekd_by_the_published_solver():
    """Its weights keep to the bounds, and their gradient is never shorter than that of the exact ones."""
    student, teachers, target = (
        numbers(6, 4),
        torch.stack([numbers(6, 4, seed=s) for s in range(1, 6)]),
        torch.arange(6),
    )
    spaces = [fusion.GradientSpace(4.0, 0.6, published) for published in (False, True)]
    gradients = spaces[0].gradients(student, teachers).mean(1)
    exact, published = (fused(space, student, teachers, target)[:, 0].double() for space in spaces)
    assert float(published.sum()) == pytest.approx(1, abs=1e-6)
    assert published.min() >= 0
    assert published.max() <= 0.6 + 1e-6
    assert float((exact @ gradients).norm()) <= float((published @ gradients).norm()) * (1 + 1e-6)
    alone = fused(fusion.GradientSpace(4.0, 0.6, published=True), student, teachers[:1], target)
    assert close(alone, torch.ones_like(alone))


@pytest.mark.parametrize("published", [False, True])
def test_aekd_of_a_student_that_diverged_is_nan(published):
    """Which the loop then tells, instead of a message of a solver."""
    student, teachers = numbers(6, 4), torch.stack([numbers(6, 4, seed=s) for s in (1, 2, 3)])
    student[2, 1] = torch.nan
    assert fused(fusion.GradientSpace(4.0, 0.6, published), student, teachers, torch.arange(6)).isnan().all()


def test_ebkd_published_leaves_nothing_of_one_teacher():
    with pytest.raises(InputError, match="leaves nothing of a single teacher"):
        vectors("ebkd", {"t": 4}, published=True)


def test_sp_counts_all_pairs_that_are_given():
    spec = Spec((3, 32), 4, {f"stage{n}": StageSpec((4, 8), (4.0,)) for n in (1, 2, 3)}, 4)
    needs = find("sp").needs(configure("sp", {"pairs": {"stage3": "stage1", "stage1": "stage3"}}), spec, {"t": spec})
    assert needs.teachers["t"] == {"stage1", "stage3"}
    assert find("sp").needs(configure("sp", {}), spec, {"t": spec}).teachers["t"] == {"stage3"}


def test_sp_pairs_the_deepest_stages_of_models_of_any_depth():
    def spec(depth):
        return Spec((3, 32), 4, {f"stage{n}": StageSpec((4, 8), (4.0,)) for n in range(1, depth + 1)}, 4)

    needs = find("sp").needs(configure("sp", {}), spec(3), {"t": spec(5), "other": spec(2)})
    assert (needs.student, needs.teachers) == ({"stage3"}, {"t": {"stage5"}, "other": {"stage2"}})
    with pytest.raises(InputError, match=r"the student has 3 .*, teacher 't' 5 "):
        find("sp").needs(configure("sp", {"stages": "all"}), spec(3), {"t": spec(5)})
    with pytest.raises(InputError, match="teacher 't' has no feature maps"):
        find("sp").needs(configure("sp", {}), spec(3), {"t": spec(0)})


@pytest.mark.parametrize("name", ["rkd", "dist"])
def test_two_samples_say_nothing(name):
    """Neither has a gradient to speak of, which is why the methods ask for three."""
    student = numbers(2, 4).requires_grad_()
    losses = {"rkd": [relational_distance, relational_angle], "dist": [lambda s, t: dist(s, t)[1]]}[name]
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss(student, numbers(2, 4, seed=1)), student, allow_unused=True)
        assert gradient is None or gradient.abs().max() < 1e-6
    assert find(name).min_batch == 3


NUMBERS_SET = [
    (name, key)
    for name in METHODS
    for key in ("temperature", "power", "radius", "negatives", "width", "momentum", "max_parameters")
    if key in find(name).Config.model_fields
]


@pytest.mark.parametrize(("name", "key"), NUMBERS_SET)
def test_yes_is_no_number(name, key):
    with pytest.raises(InputError, match=f"{name}.*{key}.*got True"):
        configure(name, {key: True})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"name": "ann", "warm_start": False},
            "preset 'ann' is weighted with warm_start: true, got false; use",
        ),
        ({"name": "eskd", "teachers": ["signal"], "checkpoint": "last"}, "kd with checkpoint: best, got last"),
        ({"name": "eskd"}, "method 'eskd' takes 1 teacher, got 2"),
        ({"name": "kd", "extras": ["none"], "teachers": ["signal"]}, "extras: 'none' is no method"),
        (
            {"name": "kd", "teachers": ["signal"], "extras": [{"name": "sp", "weights": {"gram": 1}}]},
            r"method 'sp': weights: unknown key 'weights'; .*known: \w+, ",
        ),
    ],
)
def test_rows_that_contradict_themselves(row, message):
    with pytest.raises(InputError, match=message):
        resolve_row(recipe.MethodSettings.model_validate(row), ["signal", "gaf"], Classification())


def test_rows_with_other_extras_are_told_apart():
    given = [
        {"name": "ann"},
        {"name": ["ann", "at"]},
        {"name": "kd", "teachers": ["signal"], "extras": ["sp"]},
        {"name": "kd", "teachers": ["signal"], "extras": [{"name": "sp", "stages": "all"}]},
    ]
    rows = [recipe.MethodSettings.model_validate(row) for row in given]
    labels = distinct_labels([resolve_row(row, ["signal", "gaf"], Classification()) for row in rows], rows)
    assert labels == ["ann", "ann + at", "kd + sp", "kd + sp (sp stages all)"]


def test_a_preset_is_no_extra():
    with pytest.raises(InputError, match="'eskd' is a preset, which names a whole row: put it first"):
        find("eskd")


def test_ebkd_published_scale():
    student, teachers = numbers(6, 4), {n: numbers(6, 4, seed=s) for s, n in enumerate("abc", 1)}
    sound, published = (vectors("ebkd", dict.fromkeys("abc", 4), published=p) for p in (False, True))
    value = compared(sound, student, teachers)["kl"]
    stacked = torch.stack(list(teachers.values()))
    weights = fused(fusion.entropy, student, stacked, torch.arange(6) % 4)
    assert close(value, (weights * kd_per_sample(student, stacked, 4.0)).sum(0).mean())
    assert close(compared(published, student, teachers)["kl"], value * 2 / 3)


@pytest.mark.parametrize(("temperature", "tolerance"), [(2, 0.4), (0.5, 0.9), (10, 1)])
def test_aekd_uses_its_settings(temperature, tolerance):
    student, teachers = numbers(6, 4), {n: numbers(6, 4, seed=s) for s, n in enumerate("abc", 1)}
    method = vectors("aekd", dict.fromkeys("abc", 4), temperature=temperature, tolerance=tolerance)
    stacked = torch.stack(list(teachers.values()))
    weights, other = (fused(fusion.GradientSpace(t, tolerance), student, stacked, student) for t in (temperature, 4.0))
    assert (weights.max() == pytest.approx(0.4)) if tolerance == 0.4 else not torch.allclose(weights, other, rtol=1e-2)
    assert close(compared(method, student, teachers)["kl"], average_kd(student, stacked, weights, temperature, "loss"))


def test_weights_of_aekd_are_constants_of_the_student():
    student, teachers = numbers(6, 4).requires_grad_(), numbers(3, 6, 4, seed=1).requires_grad_()
    assert not fused(fusion.GradientSpace(4.0, 0.6), student, teachers, torch.arange(6) % 4).requires_grad


@pytest.mark.parametrize(
    "name",
    ["kd", "dkd", "dist", "logit_std", "weighted", "ebkd", "ca_mkd", "aekd", "hidden", "rkd", "fitnet", "at"],
)
def test_published_weights(name):
    expected = {
        "dkd": {"ce": 1, "target": 1, "rest": 8},
        "dist": {"ce": 1, "inter": 2, "intra": 2},
        "kd": {"ce": 0.1, "kl": 0.9},
        "logit_std": {"ce": 0.1, "kl": 9},
        "weighted": {"ce": 0.3, "kl": 0.7},
        "ebkd": {"ce": 1, "kl": 1},
        "ca_mkd": {"ce": 1, "kl": 1, "feature": 50},
        "aekd": {"ce": 0.1, "kl": 0.9},
        "hidden": {"ce": 1, "vector": 1},
        "rkd": {"ce": 1, "distance": 25, "angle": 50},
        "fitnet": {"ce": 1, "map": 100},
        "at": {"ce": 1, "map": 1000},
    }
    assert find(name).default_weights(configure(name, {})) == expected[name]


def test_weights_by_teacher_and_by_part():
    case = make("dkd", {})
    given = {"dkd.rest.gaf": WeightSettings(value=2.0)}
    weights = default_weights({"dkd": configure("dkd", {})}, given, Classification())
    distillation = Distillation(case.distillation.student, {"dkd": case.method}, weights, "signal").eval()
    batch = batch_of(8)
    step = distillation(batch, case.outputs(batch), PROGRESS)
    counted = {"ce": 1, "dkd.target.signal": 1, "dkd.rest.signal": 8, "dkd.target.gaf": 1, "dkd.rest.gaf": 2}
    assert set(step.terms) == set(counted)
    torch.testing.assert_close(step.total, sum(w * step.terms[term] for term, w in counted.items()))


class Termed(Classification):
    """Somebody's own task, whose terms are called as the recipe of the test says."""

    NAME = "termed"
    own_terms: tuple[str, ...] = ()

    @property
    def terms(self):
        return self.own_terms


class Knowing(METHODS["hidden"]):
    """Somebody's own method, which knows that task."""

    NAME = "knowing"
    WEIGHTS: ClassVar = {"ce": 0.5, "place": 0.2, "vector": 3.0}


def test_weights_know_a_task_of_ones_own():
    """Its terms' weights are its own, ours mean no stranger's term, and terms are told apart from methods."""
    task = Termed(own_terms=("place", "kl"))

    def weights(kind):
        return {term: w.value for term, w in default_weights({kind: configure(kind, {})}, {}, task).items()}

    assert weights("kd") == {"place": 1, "kl": 1, "kd.kl": 0.9}
    assert weights(Knowing) == {"place": 0.2, "kl": 1, "knowing.vector": 3}
    for term, message in {
        "kd": "task termed: its term 'kd' is a method's name; call it something else",
        "eskd": "its term 'eskd' is a method's name",
        "knowing": "its term 'knowing' is a method's name",
        "kd.kl": r"its term 'kd\.kl' is not made of letters, digits, underscores and dashes",
    }.items():
        with pytest.raises(InputError, match=message):
            default_weights({Knowing: configure(Knowing, {})}, {}, Termed(own_terms=(term,)))


# --- maps


def mapped(name, shapes, theirs, own=(3, 32), other=(3, 32), **chosen):
    """A method between stages of given shapes, one tuple per stage."""
    torch.manual_seed(0)
    info = DataInfo(tuple("abcd"), torch.arange(24), torch.arange(24) % 4)
    specs = [
        Spec(size, 4, {f"stage{n}": StageSpec(s, (1.0,) * (len(s) - 1)) for n, s in enumerate(found, 1)}, embedding=5)
        for size, found in ((own, shapes), (other, theirs))
    ]
    return find(name)(configure(name, chosen), specs[0], {"t": specs[1]}, info)


def run_maps(method, shapes, theirs, seed=0):
    """The term, and the maps by stage of student (with gradient) and teacher."""
    first = {f"stage{n}": numbers(4, *s, seed=seed + n).float().requires_grad_() for n, s in enumerate(shapes, 1)}
    second = {f"stage{n}": numbers(4, *s, seed=seed + 50 + n).float() for n, s in enumerate(theirs, 1)}
    batch = Batch({}, torch.arange(4), torch.arange(4))
    logits = numbers(4, 4).float()
    found = method(Output.of(logits, first), {"t": Output.of(logits, second)}, batch, PROGRESS)
    assert tuple(found) == ("map.t",)
    return found["map.t"], first, second


LINE = [(4, 16), (6, 8), (8, 4)]
PLANE = [(4, 8, 8), (6, 4, 4), (8, 2, 2)]


@pytest.mark.parametrize(
    ("mine", "theirs", "kind", "kernel"),
    [
        ((4, 16), (6, 8), nn.Conv1d, (3,)),
        ((4, 8), (6, 16), nn.ConvTranspose1d, (4,)),
        ((4, 8), (6, 8), nn.Conv1d, (1,)),
        ((4, 9), (6, 7), nn.Conv1d, (1,)),
        ((4, 5), (6, 13), nn.Conv1d, (1,)),
        ((4, 8, 6), (6, 4, 3), nn.Conv2d, (3, 3)),
        ((4, 4, 4), (6, 8, 8), nn.ConvTranspose2d, (4, 4)),
        ((4, 8, 4), (6, 4, 4), nn.Conv2d, (1, 1)),
    ],
)
def test_fitnet_regressors(mine, theirs, kind, kernel):
    image = (3, 32, 32) if len(mine) == 3 else (3, 32)
    method = mapped("fitnet", [mine], [theirs], image, image)
    adapter = method.adapters["t"][0]
    assert type(adapter.convolution) is kind
    assert adapter.convolution.kernel_size == kernel
    loss, first, second = run_maps(method, [mine], [theirs])
    convolved = adapter.convolution(first["stage1"])
    if kernel[0] == 1 and mine[1:] != theirs[1:]:
        if all(a >= b for a, b in zip(mine[1:], theirs[1:], strict=True)):
            rows = [slow_pool_torch(convolved, dim, size) for dim, size in enumerate(theirs[1:], 2)]
            convolved = rows[0] if len(rows) == 1 else slow_pool_torch(rows[0], 3, theirs[2])
        else:
            convolved = convolved[:, :, [i * mine[1] // theirs[1] for i in range(theirs[1])]]
    assert convolved.shape[1:] == theirs
    axes = (0, *range(2, convolved.dim()))
    mean, variance = convolved.mean(axes, keepdim=True), convolved.var(axes, unbiased=False, keepdim=True)
    expected = ((convolved - mean) / (variance + 1e-5).sqrt()).clamp(min=0)
    torch.testing.assert_close(loss, (expected - second["stage1"]).square().mean())
    loss.backward()
    assert first["stage1"].grad.abs().sum() > 0
    assert all(p.grad is not None for p in method.parameters())


def slow_pool_torch(x, dim, size):
    n = x.shape[dim]
    parts = [x.narrow(dim, i * n // size, -(-(i + 1) * n // size) - i * n // size) for i in range(size)]
    return torch.cat([part.mean(dim, keepdim=True) for part in parts], dim)


def test_fitnet_takes_the_second_stage_or_those_named():
    assert [level.student for level in mapped("fitnet", LINE, LINE).levels["t"]] == ["stage2"]
    assert [level.student for level in mapped("fitnet", LINE * 2, LINE * 2).levels["t"]] == ["stage2"]
    assert [level.student for level in mapped("fitnet", LINE[:1], LINE[:1]).levels["t"]] == ["stage1"]
    named = mapped("fitnet", LINE, LINE, stages=["stage1", "stage3"])
    assert [level.student for level in named.levels["t"]] == ["stage3", "stage1"]
    assert len(named.adapters["t"]) == 2
    for pairs in ({"stage1": "stage3"}, {"stage3": "stage1", "stage1": "stage3"}):
        crossed = mapped("fitnet", LINE, LINE, pairs=pairs)
        assert {level.student: level.teacher for level in crossed.levels["t"]} == pairs
    with pytest.raises(InputError, match="no stage 'stage4' to match; did you mean"):
        mapped("fitnet", LINE, LINE, stages=["stage4"])


@pytest.mark.parametrize(("shapes", "theirs"), [(LINE, [(2, 16), (3, 4), (4, 4)]), (PLANE, PLANE[::-1])])
@pytest.mark.parametrize("chosen", [{}, {"power": 1.0}, {"stages": ["stage1", "stage3"]}])
def test_at_sums_over_stages(shapes, theirs, chosen):
    image = (3, 32) if shapes is LINE else (3, 32, 32)
    method = mapped("at", shapes, theirs, image, image, **chosen)
    assert not list(method.parameters())
    loss, first, second = run_maps(method, shapes, theirs)
    stages = chosen.get("stages", ["stage1", "stage2", "stage3"])
    parts = [attention_transfer(first[s], second[s], chosen.get("power", 2.0)) for s in stages]
    torch.testing.assert_close(loss, sum(parts))
    loss.backward()
    assert all(first[s].grad.abs().sum() > 0 for s in stages)


@pytest.mark.parametrize("name", ["fitnet", "at"])
def test_maps_of_signals_and_images_are_not_compared(name):
    with pytest.raises(InputError, match="the student sees signals, teacher 't' images"):
        mapped(name, LINE, PLANE, other=(3, 32, 32))


@pytest.mark.parametrize("stages", ["last", "all"])
@pytest.mark.parametrize("merged", [False, True])
def test_sp_takes_the_mean_over_stages_and_its_shares(stages, merged):
    torch.manual_seed(0)
    shares = {"a": 3.0, "b": 1.0}
    chosen = {"stages": stages, **({"teachers": "merged", "teacher_weights": shares} if merged else {})}
    specs = [Spec((3, 32), 4, {f"stage{n}": StageSpec((width, 4), (1.0,)) for n in (1, 2, 3)}) for width in (2, 5, 3)]
    info = DataInfo(tuple("abcd"), torch.arange(24), torch.arange(24) % 4)
    method = find("sp")(configure("sp", chosen), specs[0], {"a": specs[1], "b": specs[2]}, info)
    maps = [
        {name: numbers(5, *stage.shape, seed=10 * n + int(name[-1])) for name, stage in spec.stages.items()}
        for n, spec in enumerate(specs)
    ]
    mine, one, two = (Output.of(numbers(5, 4), found) for found in maps)
    found = method(mine, {"b": two, "a": one}, Batch({}, torch.zeros(5), torch.arange(5)), PROGRESS)
    names = ["stage3"] if stages == "last" else ["stage1", "stage2", "stage3"]
    if merged:
        each = [similarity_preserving_merged(maps[0][n], [maps[1][n], maps[2][n]], [3, 1]) for n in names]
        assert found.keys() == {"gram"}
        assert close(found["gram"], torch.stack(each).mean())
    else:
        for k, name in ((1, "gram.a"), (2, "gram.b")):
            each = [similarity_preserving(maps[0][n], maps[k][n]) for n in names]
            assert close(found[name], torch.stack(each).mean())


# --- ca_mkd


def test_ca_mkd_without_features():
    case = make("ca_mkd", {"features": False})
    assert case.method.terms == ("kl",)
    assert not list(case.method.parameters())
    assert set(case.teachers) == {"signal", "gaf"}
    assert default_weights({"ca_mkd": configure("ca_mkd", {"features": False})}, {}, Classification()).keys() == {
        "ce",
        "ca_mkd.kl",
    }
    assert default_weights({"ca_mkd": configure("ca_mkd", {})}, {}, Classification())["ca_mkd.feature"].value == 50
    needs = type(case.method).needs(configure("ca_mkd", {"features": False}), Spec((3, 32), 5), {"t": Spec((3,), 5)})
    assert needs.teachers == {"t": {"logits"}}


@pytest.mark.parametrize("published", [False, True])
def test_ca_mkd_equals_the_loop(published):
    """Two teachers of the student's kind, one wider and one longer; weights per sample, from each teacher's head."""
    torch.manual_seed(0)
    x, y = batch_of(8).views["signal"], batch_of(8).target
    student = build("dscnn-4", (3, 32), CLASSES)
    teachers = {"a": build("wrn10-0.25", (3, 32), CLASSES), "b": build("dscnn-8", (3, 32), CLASSES)}
    kd_loop = overtone.Distillation.between(student, teachers, "ca_mkd", example=x, published=published)
    method = kd_loop.distillation.methods["ca_mkd"]
    kd_loop.eval()
    step = kd_loop(x, y)
    outputs = {name: Tap(model.eval())(x) for name, model in teachers.items()}
    mine = Tap(student.eval())(x)
    scale = 1 / 2 if published else 1.0
    kl, feature = 0.0, 0.0
    embedded = {}
    for name, output in outputs.items():
        size = output.stages["final"].shape[2]
        final = mine.stages["final"]
        if final.shape[2] > size:
            final = F.adaptive_avg_pool1d(final, size)
        elif final.shape[2] < size:
            final = F.interpolate(final, size, mode="linear")
        embedded[name] = method.embed[name](final)
        assert (embedded[name] >= 0).all()
    for b in range(8):
        odds = [math.exp(float(F.cross_entropy(o.logits[b], y[b]))) for o in outputs.values()]
        again = [math.exp(F.cross_entropy(outputs[n].head(embedded[n])[b], y[b]).item()) for n in outputs]
        for name, odd, other in zip(outputs, odds, again, strict=True):
            kl += (1 - odd / sum(odds)) * kd_per_sample(mine.logits[b], outputs[name].logits[b], 4.0).item()
            error = (embedded[name][b] - outputs[name].stages["final"][b]).square().mean()
            feature += (1 - other / sum(again)) * error.item()
    assert step.terms["ca_mkd.kl"].item() == pytest.approx(scale * kl / 8, rel=1e-4)
    assert step.terms["ca_mkd.feature"].item() == pytest.approx(scale * feature / 8, rel=1e-4)
    assert method.embed["a"][0].out_channels == outputs["a"].stages["final"].shape[1]


@pytest.mark.parametrize("published", [False, True])
def test_feature_weights_take_gradients_only_as_published(published):
    maps, teachers = (
        [numbers(5, 3, 4, seed=s).requires_grad_() for s in (1, 2)],
        [numbers(5, 3, 4, seed=s) for s in (3, 4)],
    )
    logits, target = numbers(2, 5, 4, seed=5).requires_grad_(), torch.arange(5) % 4
    weighted_features(maps, teachers, logits, target, published).backward()
    assert (logits.grad is not None) == published
    weights = fused(ca_mkd.confidence, logits, logits, target).detach()
    for k in range(2):
        expected = weights[k][:, None, None] * 2 * (maps[k] - teachers[k]) / 12 / 5
        assert close(maps[k].grad, expected)


@pytest.mark.parametrize(
    ("teacher", "final", "head", "message"),
    [
        ((3, 8, 8), True, True, "teacher 't' and the student see inputs of different kinds"),
        ((3, 32), True, False, "features need built-in models"),
        ((3, 32), False, True, "features need built-in models"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(teacher, final, head, message):
    stage = {"final": StageSpec((4, 8), (4.0,))}
    spec = Spec(teacher, 4, stage if final else {}, has_head=head)
    student = Spec((3, 32), 4, stage, has_head=True)
    info = DataInfo(tuple("abcd"), torch.arange(8), torch.arange(8) % 4)
    with pytest.raises(InputError, match=f"{message}.*features: false"):
        find("ca_mkd")(configure("ca_mkd", {}), student, {"t": spec}, info)
    find("ca_mkd")(configure("ca_mkd", {"features": False}), student, {"t": spec}, info)


@pytest.mark.parametrize(("mine", "theirs"), [((3, 9), (7, 4)), ((8, 2), (3, 5)), ((4, 4), (2, 2)), ((2, 3), (4, 6))])
def test_features_fit_maps_of_any_form(mine, theirs):
    """Averaged along axes that are to be shorter, interpolated along the others."""
    spec = Spec((3, 32, 32), 4, {"final": StageSpec((5, *mine), (4.0, 4.0))}, has_head=True)
    teacher = Spec((3, 32, 32), 4, {"final": StageSpec((6, *theirs), (4.0, 4.0))}, has_head=True)
    method = find("ca_mkd")(configure("ca_mkd", {}), spec, {"t": teacher}, INFO).double()
    target = torch.arange(3) % 4
    student = Output.of(numbers(3, 4), {"final": numbers(3, 5, *mine)}, head=None)
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(6, 4)).double()
    wanted = {"t": Output.of(numbers(3, 4, seed=1), {"final": numbers(3, 6, *theirs, seed=2)}, head=head)}
    found = method(student, wanted, Batch({}, target, target), Progress(1, 1))["feature"]
    x = student.stages["final"]
    short = [min(pair) for pair in zip(mine, theirs, strict=True)]
    x = torch.nn.functional.adaptive_avg_pool2d(x, short)
    x = torch.nn.functional.interpolate(x, theirs, mode="bilinear")
    assert close(found, (method.embed["t"](x) - wanted["t"].stages["final"]).square().mean())


# --- crd

NUMBERS = torch.tensor([40, 3, 17, 99, 5, 60, 8, 71, 22, 33, 12, 56])
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0])
INFO = DataInfo(tuple("abcd"), NUMBERS, LABELS)


def crd(info=INFO, **chosen):
    return vectors("crd", {"t": 6}, info=info, **{"width": 5, **chosen})


def crd_step(method, index, step=0, seed=0):
    index = torch.as_tensor(index)
    student = numbers(len(index), 4, seed=seed, scale=1.0).requires_grad_()
    teacher = numbers(len(index), 6, seed=seed + 1, scale=1.0)
    loss = compared(method, student, {"t": teacher}, index, Progress(1, 2, step, 8))["contrast.t"]
    return loss, student, teacher


@pytest.mark.parametrize("positives", ["exact", "relaxed"])
def test_crd_equals_the_loop(positives):
    method = crd(negatives=4, positives=positives, momentum=0.8, temperature=0.1)
    side = method.sides["t"]
    before = {name: getattr(side, name).clone() for name in ("student_memory", "teacher_memory")}
    rows = [5, 0, 9]
    drawn = method._draw(torch.tensor(rows), 3).tolist()
    loss, student, teacher = crd_step(method, NUMBERS[rows], step=3)
    mine = normalize(student @ side.map_student.weight.T + side.map_student.bias, dim=1)
    theirs = normalize(teacher @ side.map_teacher.weight.T + side.map_teacher.bias, dim=1)
    total, norms = 0.0, []
    for x, memory in ((mine, before["teacher_memory"]), (theirs, before["student_memory"])):
        raw = [[math.exp((x[b] @ memory[row]).item() / 0.1) for row in drawn[b]] for b in range(3)]
        norms.append(12 * statistics.mean(itertools.chain(*raw)))
        total += slow_contrast([[value / norms[-1] for value in row] for row in raw], 12)
    assert close(loss, total)
    assert close(side.norms, norms)
    for name, x in (("student_memory", mine), ("teacher_memory", theirs)):
        after = getattr(side, name)
        for row in range(12):
            moved = before[name][row]
            if row in rows:
                moved = normalize(0.8 * moved + 0.2 * x[rows.index(row)].detach(), dim=0)
            assert close(after[row], moved)


def test_crd_gradients_reach_both_maps_and_the_student():
    method = crd()
    loss, student, teacher = crd_step(method, [40, 3, 17, 99])
    loss.backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    for name, parameter in method.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_crd_rows_follow_the_numbers_of_the_training_set():
    method = crd()
    side = method.sides["t"]
    before = side.student_memory.clone()
    crd_step(method, [71, 40, 12])
    moved = (side.student_memory != before).any(1).nonzero().flatten().tolist()
    assert moved == [0, 7, 10]


@pytest.mark.parametrize("index", [[40, 41], [40, 100], [40, -1]])
def test_crd_refuses_samples_it_was_not_made_for(index):
    with pytest.raises(InputError, match=rf"samples \[{index[1]}\] are not among the training samples"):
        crd_step(crd(), index)


@pytest.mark.parametrize("positives", ["exact", "relaxed"])
@pytest.mark.parametrize("negatives", [1, 5, 7])
def test_crd_draws(negatives, positives):
    method = crd(negatives=negatives, positives=positives)
    rows = torch.tensor([2, 0, 11, 4, 9])
    seen = set()
    for step in range(6):
        drawn = method._draw(rows, step)
        assert drawn.shape == (5, negatives + 1)
        assert torch.equal(drawn, method._draw(rows, step))  # the same on every process and after a resume
        assert torch.equal(drawn[2:3, 1:], method._draw(rows[2:3], step)[:, 1:])
        for row, (positive, *others) in zip(rows.tolist(), drawn.tolist(), strict=True):
            assert LABELS[positive] == LABELS[row]
            assert positive == row or positives == "relaxed"
            assert len(set(others)) == negatives
            assert all(LABELS[other] != LABELS[row] for other in others)
            seen.add((row, positive))
    assert (len(seen) > 5) == (positives == "relaxed")
    if positives == "relaxed":  # samples of one class do not all get the same
        assert len({int(p) for p in method._draw(torch.tensor([0, 3, 6, 9]), 0)[:, 0]}) > 1
    if negatives < 7:
        assert len({tuple(method._draw(rows, step)[0, 1:].tolist()) for step in range(6)}) > 1


def test_crd_default_negatives():
    assert crd().negatives == 3  # half of the seven that samples of class a have
    two = DataInfo(("a", "b"), torch.arange(3), torch.tensor([0, 0, 1]))
    assert crd(two).negatives == 1
    many = DataInfo(("a", "b"), torch.arange(70000), torch.arange(70000) % 2)
    assert crd(many, width=1).negatives == 16384
    assert crd(negatives=7).negatives == 7


@pytest.mark.parametrize(
    ("info", "chosen", "message"),
    [
        (INFO, {"negatives": 8}, "negatives 8 is too large, samples of the largest class have only 7 of other"),
        (
            DataInfo(("a",), torch.arange(4), torch.zeros(4, dtype=torch.long)),
            {},
            "all training samples are of one class",
        ),
        (DataInfo(("a",), torch.zeros(0).long(), torch.zeros(0).long()), {}, "its memories need the training samples"),
    ],
)
def test_crd_needs_enough_to_tell_apart(info, chosen, message):
    with pytest.raises(InputError, match=message):
        crd(info, **chosen)
    with pytest.raises(InputError, match=message):
        find("crd").check_data(configure("crd", chosen), info)


def test_crd_scores_fit_float32():
    with pytest.raises(InputError, match=r"temperature: .*0\.02"):
        configure("crd", {"temperature": 0.005})
    method = crd(temperature=0.02).float()
    for side in method.sides.values():
        side.student_memory[:] = normalize(torch.ones_like(side.student_memory), dim=1)
        side.teacher_memory[:] = side.student_memory
        same = side.student_memory[:3]
        loss, _ = side.compare(same, same, method._draw(torch.arange(3), 0))
        assert loss.isfinite()


def test_crd_banks_move_in_training_only():
    method = crd().eval()
    before = copy.deepcopy(method.state_dict())
    first = crd_step(method, [40, 3])[0]
    assert all(torch.equal(x, before[name]) for name, x in method.state_dict().items())
    assert (method.sides["t"].norms == 0).all()
    second = crd_step(method, [40, 3])[0]
    assert torch.equal(first, second)
    crd_step(method.train(), [40, 3])
    changed = {name for name, x in method.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == {"sides.t.student_memory", "sides.t.teacher_memory", "sides.t.norms"}


def test_crd_norms_come_from_the_first_training_batch():
    method = crd()
    crd_step(method.eval(), [8, 71], seed=9)
    assert (method.sides["t"].norms == 0).all()
    crd_step(method.train(), [40, 3])
    norms = method.sides["t"].norms.clone()
    assert (norms > 0).all()
    crd_step(method, [17, 99], step=1, seed=5)
    crd_step(method.eval(), [17, 99], step=2, seed=6)
    assert torch.equal(method.sides["t"].norms, norms)


def test_crd_memory_is_on_the_unit_sphere():
    method = crd(momentum=0.9)
    side = method.sides["t"]
    assert side.student_memory.abs().max() <= (3 / 5) ** 0.5
    for step in range(3):
        crd_step(method, NUMBERS, step=step, seed=step)
        for memory in (side.student_memory, side.teacher_memory):
            assert close(memory.norm(dim=1), torch.ones(12))


def test_crd_state_round_trip():
    method, other = crd(), crd()
    crd_step(method, [40, 3, 17])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(method.state_dict())
    for step in (1, 2):
        first, second = (crd_step(m, [99, 3, 8], step=step, seed=step)[0] for m in (method, other))
        assert torch.equal(first, second)
    assert all(torch.equal(x, other.state_dict()[name]) for name, x in method.state_dict().items())


def test_crd_in_an_own_loop_wants_index_and_data():
    x, y = batch_of(8).views["signal"], batch_of(8).target
    student, teacher = build("dscnn-4", (3, 32), CLASSES), build("wrn10-0.25", (3, 32), CLASSES)
    with pytest.raises(InputError, match=r"give data=overtone.DataInfo\(...\)"):
        overtone.Distillation.between(student, teacher, "crd", example=x)
    info = overtone.DataInfo(tuple("abcde"), torch.arange(20), torch.arange(20) % 5)
    loop = overtone.Distillation.between(student, teacher, "crd", example=x, data=info)
    with pytest.raises(InputError, match=r"'crd' remembers each training sample.*\(x, y, index\)"):
        loop(x, y)
    step = loop(x, y, torch.arange(8) + 10)
    step.total.backward()
    assert step.terms.keys() == {"ce", "crd.contrast.teacher"}


# --- folds of unequal size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"methods": [{"name": "crd", "negatives": 20}], "train": {"batch": 8}},
            r"method 'crd from signal, gaf': fold 1: .* 20 is too large.* only 12",
        ),
        ({"train": {"batch": 17}}, "fold 1 has 16 training samples, fewer than one batch of 17"),
    ],
)
def test_what_a_later_fold_does_not_allow_is_told_while_planning(tiny, tmp_path, given, message):
    """The first fold, which trains on the large group, allows both."""
    x = np.random.default_rng(0).normal(size=(48, 3, 32)).astype(np.float32)
    group = np.repeat(["a", "b", "c", "d"], [8, 8, 24, 8])
    np.savez(tmp_path / "unequal.npz", X=x, y=np.arange(48) % 4, group=group)
    tiny["data"] = {"name": "npz", "path": str(tmp_path / "unequal.npz"), "rate": 50}

    def plan(folds):
        study = recipe.validate({**tiny, **given, "split": {"test": 1, "val": 1, "folds": folds}})
        return make_plan(study, data.load(study.data))

    plan([0])
    with pytest.raises(InputError, match=message):
        plan([0, 1])


# --- rows that combine methods


def test_a_row_of_several_methods_keeps_terms_and_weights_apart(tiny):
    tiny["methods"] = [
        {"name": ["kd", "at", "sp"], "teachers": ["signal"]},
        {"name": ["dkd", "hidden"], "weights": {"dkd.rest.gaf": 2, "hidden": 3}},
        {"name": "aekd", "extras": [{"name": "rkd"}, {"name": "crd", "negatives": 4}], "weights": {"rkd.angle": 7}},
    ]
    study = recipe.validate(tiny)
    plan = make_plan(study, data.load(study.data))
    rows = [row for row in check(plan).rows if row.label != "teacher"]
    found = [{term.name: term.weight for term in row.terms} for row in rows]
    assert found[0] == {"ce": 0.1, "kd.kl": 0.9, "at.map.signal": 1000, "sp.gram.signal": 3000}
    rest = {"dkd.target.signal": 1, "dkd.rest.signal": 8, "dkd.target.gaf": 1, "dkd.rest.gaf": 2}
    assert found[1] == {"ce": 1, **rest, "hidden.vector.signal": 3, "hidden.vector.gaf": 3}
    both = {"rkd.distance": 25, "rkd.angle": 7, "crd.contrast": 0.8}
    pairs = {f"{term}.{teacher}": weight for teacher in ("signal", "gaf") for term, weight in both.items()}
    assert found[2] == {"ce": 0.1, "aekd.kl": 0.9, **pairs}


def test_every_row_of_the_pages_is_valid():
    pages = sorted((Path(__file__).parents[1] / "docs" / "methods").glob("*.md"))
    assert {page.stem for page in pages} == {"README", *METHODS}
    for page in pages:
        rows = re.findall(r"^ {4}(?:  )?- (\{.*\})", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert rows or page.stem == "README"
        for row in rows:
            given = recipe.MethodSettings.model_validate(yaml.safe_load(row))
            methods = resolve_row(
                given, ["signal"] if given.name == "kd" else ["signal", "gaf", "pi"], Classification()
            ).methods
            for name, part in (key.split(".")[:2] for key in given.weights if "." in key):
                assert part in find(name).default_weights(methods[name]), row
            assert {key.split(".")[0] for key in given.weights} <= {"ce", *methods}, row
