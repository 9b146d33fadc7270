"""Fusion: how much each of K teachers counts, per sample. Weights sum to 1 over the teachers.

A fusion is any function or object with the call of :class:`Fusion`; nothing need be registered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from overtone.errors import InputError, nearest
from overtone.types import Batch, DataInfo, Output


class Fusion(Protocol):
    """Weights of K teachers for each sample of a batch.

    Of the outputs only logits are sure to be there. A function, an object, or a class says what else it needs as
    attributes: ``needs_scores = True`` where it reads ``data.teacher_scores`` (refused before training where there are
    none), ``hard_labels = True`` where it reads the samples' classes (which mixed samples do not have),
    ``couples_batch = True`` where a sample's weights depend on the others in its batch.
    """

    def __call__(self, student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
        """Weights (K, B) from what the student gives, with gradient, and the K teachers by name, in their order.

        Of each sample they sum to 1, or are all 0 where no teacher is to teach.

        Args:
            student, teachers: on the batch, in float32.
            batch: of B samples.
            data: what is known of the training side.
        """
        ...


def logits_in(teachers: Mapping[str, Output]) -> Tensor:
    """The teachers' logits in their order, (K, B, C)."""
    return torch.stack([teacher.logits for teacher in teachers.values()])


def _for_all(weights: Sequence[float], teachers: Mapping[str, Output]) -> Tensor:
    """A weight for each teacher as weights (K, B), the same for every sample."""
    logits = next(iter(teachers.values())).logits
    return logits.new_tensor(weights).unsqueeze(1).expand(-1, len(logits))


def mean(student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
    """Every teacher counts 1/K: (K, B)."""
    logits = next(iter(teachers.values())).logits
    return logits.new_full((len(teachers), len(logits)), 1 / len(teachers))


class Fixed:
    """Weights set by hand, the same for every sample.

    Args:
        weights: one number >= 0 per teacher, in the teachers' order; scaled to sum to 1.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self.weights = [weight / total for weight in weights]

    def __call__(self, student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
        """(K, B)."""
        return _for_all(self.weights, teachers)


class ValAccuracy:
    r"""A teacher counts in proportion to its score on the validation side, the same for every sample: (K, B).

    .. math:: w_k = \frac{s_k}{\sum_j s_j}

    with s the teachers' scores in what the task watches, higher is better and at least 0; equal weights where all are
    0. Teachers of similar scores count nearly the same.

    Source: Opitz & Shavlik, "Generating Accurate and Diverse Members of a Neural-Network Ensemble", NIPS 1995, who
    combine networks so, with s = 1 - E for a validation error E; here the weights of distillation.
    """

    needs_scores = True

    def __call__(self, student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
        """(K, B).

        Raises:
            InputError: for a score below 0.
        """
        assert data.teacher_scores is not None
        scores = {name: data.teacher_scores[name] for name in teachers}
        total = sum(scores.values())
        for name, score in scores.items():
            if score < 0:
                raise InputError(f"fusion val_accuracy: scores are 0 or more, teacher {name!r} has {score}")
        return _for_all([score / total if total else 1 / len(scores) for score in scores.values()], teachers)


val_accuracy = ValAccuracy()


def entropy(student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
    r"""A teacher counts more where its own output is sharper: (K, B).

    .. math:: w_k = \frac{1 - H_k / \sum_j H_j}{K - 1},\quad H_k = -\sum_c p_k[c] \log p_k[c]

    with p at temperature 1; equal weights where every teacher is certain, and 1 for a single teacher.

    Source: Kwon et al., "Adaptive Knowledge Distillation Based on Entropy", ICASSP 2020. Published code leaves out the
    division by K - 1.
    """
    log_p = F.log_softmax(logits_in(teachers), dim=-1)  # (K, B, C)
    entropies = -(log_p.exp() * log_p).sum(-1)  # (K, B)
    total = entropies.sum(0)
    certain = total <= 1e-12
    return complements(torch.where(certain, 1 / len(teachers), entropies / total.masked_fill(certain, 1)))


def complements(weights: Tensor) -> Tensor:
    """Of weights (K, B) that sum to 1 their complements, which are made to sum to 1 too: (K, B)."""
    count = len(weights)
    return torch.ones_like(weights) if count == 1 else (1 - weights) / (count - 1)


class GradientSpace:
    r"""Weights for which the teachers' gradients at the student's logits agree best, one set per batch: (K, B).

    .. math:: \min_w \tfrac12 \lVert \sum_k w_k g_k \rVert^2,\quad \sum_k w_k = 1,\ 0 \le w_k \le C

    with :math:`g_k = T (p^T_s - p^T_k) / B`, the gradient of teacher k's loss, averaged over the batch. It is known in
    closed form, so there is no backward pass.

    Args:
        temperature: T.
        tolerance: C, from 1 / K (all equal) to 1.
        published: solve as the published code does, by :func:`support_vectors`; else exactly.

    Raises:
        ValueError: for a temperature or tolerance out of its range.

    Source: Du et al., "Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space", NeurIPS 2020.
    """

    couples_batch = True

    def __init__(self, temperature: float = 4.0, tolerance: float = 0.6, published: bool = False) -> None:
        if not 0 < temperature < math.inf or not 0 < tolerance <= 1:
            raise ValueError(
                f"temperature is above 0 and tolerance above 0 and at most 1, got {temperature} and {tolerance}"
            )
        self.temperature, self.tolerance, self.published = temperature, tolerance, published

    @torch.no_grad()
    def __call__(self, student: Output, teachers: Mapping[str, Output], batch: Batch, data: DataInfo) -> Tensor:
        """(K, B), the same for every sample."""
        mean = self.gradients(student.logits, logits_in(teachers)).mean(1)  # (K, C)
        most = max(self.tolerance, 1 / len(teachers))
        if self.published:
            weights = support_vectors(mean @ mean.T, most)
        else:
            weights = least_norm((mean.double() @ mean.double().T).tolist(), most)
        return _for_all(weights, teachers)

    def gradients(self, student: Tensor, teachers: Tensor) -> Tensor:
        """Of every teacher's mean loss, at the student's logits: (K, B, C)."""
        T = self.temperature
        return T * ((student / T).softmax(-1) - (teachers / T).softmax(-1)) / len(student)


def support_vectors(gram: Tensor, most: float) -> list[float]:
    """What a one-class support vector machine makes of the problem of :func:`least_norm`.

    It stops at an absolute tolerance, which is coarse beside gradients' products: with three or more teachers it often
    returns the point it starts at, which gives the first teachers in order the largest weights,
    tenths from the minimum.

    Where G is not finite, the weights are NaN: what diverged is told by whoever sees the loss.

    Args:
        gram: (K, K), of the precision that is worked in.
        most: at least 1 / K.
    """
    from sklearn.svm import OneClassSVM  # slow to import

    count = len(gram)
    if not bool(torch.isfinite(gram).all()):
        return [math.nan] * count
    share = min(1 / (most * count), 1.0)
    if share == 1:  # every weight is at its bound, which leaves the machine without a margin
        return [1 / count] * count
    machine = OneClassSVM(kernel="precomputed", nu=share, tol=1e-6).fit(gram.cpu().numpy())
    weights = [0.0] * count
    for teacher, coefficient in zip(machine.support_, machine.dual_coef_[0], strict=True):
        weights[int(teacher)] = float(coefficient) / (count * share)
    return weights


def least_norm(gram: list[list[float]], most: float) -> list[float]:
    """Weights w that minimise ``w' G w`` with sum 1 and 0 <= w <= most, exactly.

    It does not depend on the order of the rows: they are solved in an order of their own, and where several weights do
    equally well, equal rows weigh the same.

    Where G is not finite, the weights are NaN: what diverged is told by whoever sees the loss.

    Args:
        gram: (K, K), positive semidefinite.
        most: at least 1 / K.
    """
    count = len(gram)
    G = torch.tensor(gram, dtype=torch.float64)
    if not bool(torch.isfinite(G).all()):
        return [math.nan] * count
    G = G / (float(G.diagonal().max()) or 1.0)
    rounded = (G / SAME).round().tolist()
    order = sorted(range(count), key=lambda k: (rounded[k][k], sorted(rounded[k])))
    weights = dict(zip(order, _descend(G[order][:, order], most), strict=True))
    equal: list[list[int]] = []
    for k in order:
        same = [group for group in equal if float(G[k, k] + G[group[0], group[0]] - 2 * G[k, group[0]]) <= SAME]
        if same:
            same[0].append(k)
        else:
            equal.append([k])
    shared = {k: sum(weights[j] for j in group) / len(group) for group in equal for k in group}
    return [shared[k] for k in range(count)]


SAME = 1e-14
"""Of the largest squared length: what is closer is the same gradient."""


def _descend(G: Tensor, most: float) -> list[float]:
    """The minimum over weights of sum 1 from 0 to ``most``, from equal ones on.

    All free weights move at once to where their slopes are equal, or until the first reaches a bound, which then holds
    it. Once the free ones are at rest, the held one that would gain most is freed.
    """
    count = len(G)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    free = list(range(count))
    for _ in range(20 * count):
        slope = G @ weights
        move = _to_rest(G[free][:, free], slope[free])
        if float(slope[free] @ move) > -1e-15:
            freed = _worth_freeing(slope.tolist(), weights.tolist(), free)
            if not freed:
                break
            free = sorted([*free, *freed])
            continue
        room = torch.where(move < 0, weights[free], most - weights[free]) / move.abs().clamp(min=1e-300)
        step, first = room.min(0)
        weights[free] += move * step.clamp(max=1)
        if step < 1:
            weights[free.pop(int(first))] = 0 if move[first] < 0 else most
    return weights.tolist()


def _worth_freeing(slope: list[float], weights: list[float], free: list[int]) -> list[int]:
    """The held weight that gains most by moving off its bound; a pair where none is free; none at the minimum."""
    held = [k for k in range(len(weights)) if k not in free]
    low = min((k for k in held if weights[k] == 0), key=slope.__getitem__, default=None)
    high = max((k for k in held if weights[k] > 0), key=slope.__getitem__, default=None)
    if free:
        level = sum(slope[k] for k in free) / len(free)
        gains = {low: level - slope[low]} if low is not None else {}
        gains |= {high: slope[high] - level} if high is not None else {}
        return [k for k in gains if gains[k] > 1e-12 and gains[k] == max(gains.values())][:1]
    return [low, high] if low is not None and high is not None and slope[high] - slope[low] > 1e-12 else []


def _to_rest(G: Tensor, slope: Tensor) -> Tensor:
    """The move of weights, of sum 0, behind which all slopes are equal."""
    count = len(slope)
    if count < 2:
        return torch.zeros_like(slope)
    system = torch.ones(count + 1, count + 1, dtype=G.dtype)
    system[:count, :count], system[count, count] = G, 0
    move: Tensor = torch.linalg.lstsq(system, torch.cat([-slope, slope.new_zeros(1)]), driver="gelsd").solution[:count]
    return move - move.mean()


def teacher_weights_of(given: Mapping[str, float] | None, names: Sequence[str]) -> list[float]:
    """Fixed weights in the teachers' order; equal ones where none are given.

    Raises:
        InputError: for an unknown teacher, a teacher without a weight, a negative weight, or none above 0.
    """
    if given is None:
        return [1 / len(names)] * len(names)
    for name, weight in given.items():
        if name not in names:
            raise InputError(f"teacher_weights: unknown teacher {name!r}; {nearest(name, names)}")
        if not 0 <= weight < float("inf"):
            raise InputError(f"teacher_weights: {name} must be 0 or more, got {weight}")
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(
            f"teacher_weights: no weight for {', '.join(missing)}; give one for each of {', '.join(names)}"
        )
    if sum(given.values()) <= 0:
        raise InputError(f"teacher_weights: at least one must be above 0, got {dict(given)}")
    return [given[name] for name in names]
