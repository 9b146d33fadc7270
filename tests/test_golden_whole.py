"""Whole models and methods against published code: loss, gradients, and which maps are fed.

``../shared/golden_whole/README.md`` says how values are rebuilt and what is compared; ``GOLDEN_WHOLE_DIR`` names
another folder of the same kind.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.methods import configure, make
from overtone.methods.crd import CRD
from overtone.methods.feature_maps import LevelMethod
from overtone.methods.sp import SP
from overtone.models import build
from overtone.tap import Tap, probe
from overtone.types import Batch, DataInfo, Output, Progress, Spec

FOLDER = Path(os.environ.get("GOLDEN_WHOLE_DIR") or Path(__file__).parents[2] / "shared" / "golden_whole")
ABSENT: dict[str, Any] = {"cases": [{"name": "none", "pair": "none", "adapters": []}], "pairs": {}, "models": {}}
WHOLE = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8")) if FOLDER.is_dir() else ABSENT
RTOL, LEAST = 1e-5, 1e-7
QUICK = 24e6
"""Values of both models and of adapters that a quick case has at most; others are slow."""


# What our methods are told. All that is not here is our default.


def settings_of(case: dict[str, Any], student: Spec, teacher: Spec) -> dict[str, Any]:
    """A case's own settings as ours: numbers by their name, and what is published but no default of ours."""
    held, method = case["settings"], case["method"]
    names = {"kd": ["temperature"], "dkd": ["temperature"], "at": ["power"]}
    names["crd"] = ["temperature", "momentum", "width", "negatives"]
    found = {name: held[name] for name in names.get(method, ())}
    if held.get("student_maps") == "preact_feats":
        found["student_at"] = "before"
    if "levels_compared" in held:
        found["compared"] = [*student.depth_stages(), "embedding"][: held["levels_compared"]]
    if method == "fam_review" or (method == "fitnet" and "stage1.raw" in teacher.stages):
        found["published"] = True
    return found


def loss_of(case: dict[str, Any], terms: dict[str, Tensor]) -> Tensor:
    """The term as published, of our terms."""
    held = case["settings"]
    parts = {
        "dkd": {"target.t": held.get("alpha"), "rest.t": held.get("beta")},
        "rkd": {"distance.t": held.get("distance_weight"), "angle.t": held.get("angle_weight")},
    }
    weights = parts.get(case["method"]) or dict.fromkeys(terms, 1)
    assert weights.keys() == terms.keys()
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def model_of(name: str, shape: list[int], classes: int) -> Tap:
    """Our model of a published one's name; those of ImageNet's size are torchvision's, as in the recipes."""
    name, _, imagenet = name.partition("/")[0].partition("@")
    foreign = imagenet and name.startswith("resnet")
    at = {f"stage{n}": f"layer{n}" for n in range(1, 5)} if foreign else None
    return Tap(build(f"torchvision:{name}" if foreign else name, tuple(shape), classes).double(), at)


RENAMED = {
    r"conv_reg\.conv": "adapters.t.0.convolution",
    r"conv_reg\.bn": "adapters.t.0.norm",
    r"abfs\.(\d+)\.conv1": r"adapters.t.\1.enter",
    r"abfs\.(\d+)\.conv2": r"adapters.t.\1.leave",
    r"abfs\.(\d+)\.att_conv": r"adapters.t.\1.gates",
    r"atfs\.(\d+)\.conv1": r"adapters.t.\1.project",
    r"atfs\.(\d+)\.att_conv\.(key|query|value)_conv": r"adapters.t.\1.local_attention.\2",
    r"atfs\.(\d+)\.att_conv\.rel_[hw]": r"adapters.t.\1.local_attention.relative",
    r"atfs\.(\d+)\.conv2\.0\.rate1": r"adapters.t.\1.head.frequency_attention.rate_global",
    r"atfs\.(\d+)\.conv2\.0\.rate2": r"adapters.t.\1.head.frequency_attention.rate_local",
    r"atfs\.(\d+)\.conv2\.0\.weights1": r"adapters.t.\1.head.frequency_attention.filter.weight",
    r"atfs\.(\d+)\.conv2\.0\.w0": r"adapters.t.\1.head.frequency_attention.local",
    r"atfs\.(\d+)\.conv2\.1": r"adapters.t.\1.head.norm",
    r"embed_s\.linear": "sides.t.map_student",
    r"embed_t\.linear": "sides.t.map_teacher",
    r"contrast\.memory_v1": "sides.t.student_memory",
    r"contrast\.memory_v2": "sides.t.teacher_memory",
}
"""Adapters' published names -> ours."""


# Values from seeds.


def drawn(kind: str, shape: list[int], seed: int, c: float = 1) -> Tensor:
    """One tensor in float64 (complex128 for a filter), rounded to float32 first."""
    r = np.random.RandomState(seed)
    kinds: dict[str, Callable[[], Any]] = {
        "weight": lambda: r.normal(size=shape) * math.sqrt(2 / math.prod(shape[1:])),
        "bias": lambda: r.normal(size=shape) * 0.1,
        "bn_weight": lambda: r.uniform(0.5, 1.5, size=shape),
        "bn_bias": lambda: r.normal(size=shape) * 0.2,
        "bn_mean": lambda: r.normal(size=shape) * 0.2 * math.sqrt(c),
        "bn_var": lambda: r.uniform(0.5, 2, size=shape) * c,
        "rate": lambda: r.uniform(0.3, 0.9, size=shape),
        "relative": lambda: r.normal(size=shape),
        "filter": lambda: r.normal(size=(*shape, 2)) * math.sqrt(1 / (2 * shape[0])),
        "memory": lambda: r.uniform(-1, 1, size=shape) * math.sqrt(3 / shape[1]),
    }
    x = torch.from_numpy(np.asarray(kinds[kind](), np.float32)).double()
    return torch.view_as_complex(x) if kind == "filter" else x


def direction(kind: str, shape: list[int], seed: int) -> Tensor:
    x = torch.from_numpy(np.random.RandomState(seed).normal(size=(*shape, 2) if kind == "filter" else shape))
    return torch.view_as_complex(x) if kind == "filter" else x


def filled(tap: Tap, state: list[Any], seed: int, scales: list[float] | None = None) -> Tap:
    """The model with its values, by order and shape."""
    own = {key: x for key, x in tap.model.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert [list(x.shape) for x in own.values()] == [shape for _, shape, _ in state]
    left = iter(scales or ())
    c: float = 1
    for number, ((_, shape, kind), x) in enumerate(zip(state, own.values(), strict=True)):
        if kind == "bn_weight" and scales:
            c = next(left)
        x.copy_(drawn(kind, shape, seed + number, c))
    assert next(left, None) is None
    return tap


@dataclass
class Pair:
    """Student and teacher of a pair on its batch."""

    held: dict[str, Any]
    inputs: dict[str, Tensor]
    student: Tap
    state: list[Any]
    specs: tuple[Spec, Spec]
    teacher: Output

    def parameters(self, tap: Tap) -> list[tuple[int, str, list[int], nn.Parameter]]:
        """The student's parameters with their numbers, kinds and shapes, in the published order."""
        own = dict(tap.model.named_parameters())
        keys = [key for key in tap.model.state_dict() if not key.endswith("num_batches_tracked")]
        rows = zip(range(len(keys)), self.state, keys, strict=True)
        return [(n, kind, shape, own[key]) for n, (_, shape, kind), key in rows if key in own]


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / name, allow_pickle=False) as held:
        return {key: torch.from_numpy(held[key]) for key in held.files}


@cache
def pair_of(name: str) -> Pair:
    held = WHOLE["pairs"][name]
    inputs = arrays(held["inputs"])
    x = inputs["x"].double()
    taps = []
    for side in ("student", "teacher"):
        state = WHOLE["models"][held[side]]["state"]
        tap = model_of(held[side], held["input"], held["classes"])
        scales = held["teacher_bn_scales"] if side == "teacher" else None
        taps.append(filled(tap, state, held[f"{side}_seed"], scales))
    student, teacher = taps
    specs = probe(student, x[:2]), probe(teacher, x[:2])
    with torch.no_grad():
        output = teacher.eval()(x)
    return Pair(held, inputs, student.train(), WHOLE["models"][held["student"]]["state"], specs, output)


# A case's method.


@dataclass
class Run:
    """A case's method with its adapters' values, ready to be fed."""

    case: dict[str, Any]
    pair: Pair
    student: Tap
    method: nn.Module

    def step(self, rows: Tensor, contrast: Tensor | None = None) -> tuple[Tensor, Output]:
        """The term on some rows of the batch, and the student's output."""
        inputs = self.pair.inputs
        index = inputs["index"][rows] if "index" in inputs else rows
        batch = Batch({"image": inputs["x"][rows].double()}, inputs["y"][rows], index)
        if isinstance(self.method, CRD):
            assert contrast is not None
            self.method._draw = lambda rows, step: contrast
        output = self.student(batch.views["image"])
        teachers = {"t": self.pair.teacher.map(lambda x: x[rows])}
        return loss_of(self.case, self.method(output, teachers, batch, Progress(1, 1))), output

    def adapters(self) -> Iterator[tuple[int, str, list[int], str]]:
        """The adapters' tensors that reach a loss: number, kind, shape, name of ours."""
        for number, (name, shape, kind) in enumerate(self.case["adapters"]):
            if number not in self.case["adapters_unused"]:
                fits = [re.sub(old, new, name) for old, new in RENAMED.items() if re.match(rf"{old}(\.|$)", name)]
                assert len(fits) == 1, name
                yield number, kind, shape, fits[0]

    def fill(self) -> None:
        """Take over the adapters' values; every parameter of ours must be among them."""
        own, seen, seed = self.method.state_dict(), set(), self.pair.held["adapter_seed"]
        for number, kind, shape, key in self.adapters():
            if kind in ("bn_mean", "bn_var") and key not in own:
                continue  # statistics behind a projection of no use
            x = drawn(kind, shape, seed + number)
            if kind == "filter":
                self.filter_of(key).from_dense(x)
            elif kind == "relative":
                half_of(self.case, number, own[key]).copy_(x.flatten(1))
            else:
                own[key].copy_(x.reshape(own[key].shape))
            seen.add(key)
        assert {name for name, _ in self.method.named_parameters()} <= seen

    def filter_of(self, key: str) -> Any:
        return self.method.get_submodule(key.removesuffix(".weight"))

    def adapter_gradients(self) -> Iterator[tuple[bool, Tensor, Tensor]]:
        """Of each published parameter: whether its norm means anything, and gradient and direction as ours."""
        own = dict(self.method.named_parameters())
        for number, kind, shape, key in self.adapters():
            if key not in own:
                continue
            d = direction(kind, shape, self.pair.held["adapter_direction_seed"] + number)
            gradient = own[key].grad
            assert gradient is not None, key
            if kind == "filter":
                through = copy.deepcopy(self.filter_of(key))
                through.from_dense(d)
                d = through.weight.detach()
            if kind == "relative":
                gradient = half_of(self.case, number, gradient)
            yield kind != "filter", gradient.flatten(), d.flatten()


def half_of(case: dict[str, Any], number: int, relative: Tensor) -> Tensor:
    """Rows of the relative embeddings that belong to ``rel_h`` or to ``rel_w``."""
    rows = case["adapters"][number][1][0]
    return relative[:rows] if case["adapters"][number][0].endswith("rel_h") else relative[rows:]


def run_of(case: dict[str, Any]) -> Run:
    pair = pair_of(case["pair"])
    student, teacher = pair.specs
    data = DataInfo(tuple(map(str, range(student.classes))), torch.zeros(0).long(), torch.zeros(0).long())
    if case["method"] == "crd":
        labels = pair.inputs["labels"]
        data = DataInfo(data.classes, torch.arange(len(labels)), labels)
    config = configure(case["method"], settings_of(case, student, teacher))
    method, _ = make(case["method"], config, student, {"t": teacher}, data)
    tap = copy.deepcopy(pair.student) if "steps" in case else pair.student
    run = Run(case, pair, tap, method.double().train())
    run.fill()
    return run


# What is compared.


def near(got: Tensor, want: Tensor, size: Tensor | float, what: str) -> None:
    """Equal at the tolerance, measured against a size."""
    off = ((got.detach() - want).abs() / size).max()
    assert off <= RTOL, f"{what}: off by {float(off):.2g}"


def statistics(maps: list[Tensor]) -> Tensor:
    """(n, 3): mean, standard deviation, least value."""
    return torch.stack([torch.stack([x.mean(), x.std(correction=0), x.min()]) for x in maps])


def fed(run: Run, student: Output, teacher: Output) -> tuple[list[Tensor], list[Tensor]]:
    """The maps that our method reads of both, shallow to deep."""
    method = run.method
    if isinstance(method, LevelMethod):
        levels = method.levels["t"][::-1]
        compared = [level.map_of_teacher(teacher) for level in levels if level.compared]
        return [level.map_of_student(student) for level in levels], compared
    if isinstance(method, SP):
        ((mine, theirs),) = method.pairs["t"]
        return [student.stages[mine]], [teacher.stages[theirs]]
    name = "embedding" if run.case["method"] in ("rkd", "crd") else "logits"
    return [getattr(student, name)], [getattr(teacher, name)]


def check_step(run: Run, expected: dict[str, Tensor]) -> None:
    pair, case = run.pair, run.case
    adapted: list[Tensor] = []
    if isinstance(run.method, LevelMethod):
        for adapter in run.method.adapters["t"]:
            adapter.register_forward_hook(lambda module, args, out: adapted.insert(0, out[0].detach()))
    run.student.zero_grad()
    loss, output = run.step(torch.arange(len(pair.inputs["y"])), pair.inputs.get("contrast"))
    for side, own in (("student", output), ("teacher", pair.teacher)):
        want = expected[f"{side}_logits"]
        near(own.logits, want, want.abs().max(), f"the {side}'s logits")
    maps = dict(zip(("student", "teacher"), fed(run, output, pair.teacher), strict=True))
    if not isinstance(run.method, CRD):
        maps["adapted"] = adapted
    for side, own in maps.items():
        want = expected.get(f"{side}_maps", torch.zeros(0, 3))
        if side == "adapted" and not case["maps"]["adapted"]:
            continue
        if side == "adapted" and len(own) > len(maps["teacher"]):  # a level that is handed on, behind a head of no use
            own, want = own[: len(maps["teacher"])], want[: len(maps["teacher"])]
        assert len(own) == len(want), f"{len(own)} maps of the {side}, wanted are {case['maps'][side]}"
        near(statistics(own), want, want[:, 1:2], f"maps of the {side}, {case['maps'][side]}")
    near(loss, expected["loss"], expected["loss"].abs(), "loss")
    loss.backward()
    largest = max(float(norms.max()) for name, norms in expected.items() if name.endswith("_grad_norm") and len(norms))
    seed = pair.held["student_direction_seed"]
    rows = [
        (True, torch.zeros_like(p) if p.grad is None else p.grad, direction(kind, shape, seed + n))
        for n, kind, shape, p in pair.parameters(run.student)
    ]
    check_gradients(rows, expected["student_grad_norm"], expected["student_grad_inner"], largest, "the student")
    gradients = list(run.adapter_gradients())
    if gradients:
        trained = [n for n, (_, _, kind) in enumerate(case["adapters"]) if kind not in ("bn_mean", "bn_var", "memory")]
        used = torch.tensor([n not in case["adapters_unused"] for n in trained])
        norms, inners = (expected[f"adapter_grad_{what}"][used] for what in ("norm", "inner"))
        check_gradients(gradients, norms, inners, largest, "adapters")


def check_gradients(
    rows: list[tuple[bool, Tensor, Tensor]], norms: Tensor, inners: Tensor, largest: float, what: str
) -> None:
    """Norms and inner products of all parameters, against the norm of the same gradient."""
    sizes = norms.clamp(min=LEAST * largest)
    got = torch.stack([gradient.norm() for _, gradient, _ in rows])
    meant = torch.tensor([has_norm for has_norm, _, _ in rows])
    near(got[meant], norms[meant], sizes[meant], f"norms of gradients of {what}")
    got = torch.stack([(gradient * d).sum() for _, gradient, d in rows])
    near(got, inners, sizes, f"inner products of gradients of {what}")


def check_steps(run: Run, expected: dict[str, Tensor]) -> None:
    inputs, sgd = run.pair.inputs, run.case["sgd"]
    own = [*run.student.parameters(), *run.method.parameters()]
    settings = {name: sgd[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    optimizer = torch.optim.SGD(own, **settings)
    for number in range(run.case["steps"]):
        rows, contrast = torch.arange(len(inputs["y"])), None
        if isinstance(run.method, CRD):
            rows, contrast = inputs["step_rows"][number], inputs["step_contrast"][number]
        optimizer.zero_grad()
        loss, output = run.step(rows, contrast)
        ce = F.cross_entropy(output.logits, inputs["y"][rows])
        for name, x in (("ce", ce), ("loss", loss)):
            near(x, expected[name][number], expected[name][number].abs(), f"{name} in front of step {number + 1}")
        (sgd["weights"]["ce"] * ce + sgd["weights"]["term"] * loss).backward()
        optimizer.step()
    seed = run.pair.held["student_direction_seed"]
    rows_of = [
        (True, p.detach(), direction(kind, shape, seed + n)) for n, kind, shape, p in run.pair.parameters(run.student)
    ]
    largest = float(expected["student_norm"].max())
    check_gradients(rows_of, expected["student_norm"], expected["student_inner"], largest, "the student's weights")


def cases() -> list[Any]:
    """All, those of large models marked slow."""
    found = []
    for case in WHOLE["cases"]:
        pair = WHOLE["pairs"].get(case["pair"], {})
        states = [WHOLE["models"][pair[side]]["state"] for side in ("student", "teacher") if side in pair]
        size = sum(math.prod(shape) for state in (*states, case["adapters"]) for _, shape, _ in state)
        found.append(pytest.param(case, id=case["name"], marks=pytest.mark.slow if size > QUICK else ()))
    return found


@pytest.mark.data(FOLDER)
@pytest.mark.parametrize("case", cases())
def test_golden_whole(case: dict[str, Any]) -> None:
    run = run_of(case)
    (check_steps if "steps" in case else check_step)(run, arrays(case["outputs"]))
