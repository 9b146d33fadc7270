"""Fusions that know more than logits, students that keep parts of a method, adapters with a phase, soft targets."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from cases import PROGRESS, SETTINGS, batch_of, make
from conftest import TINY
from fusions import fused
from PIL import Image
from torch import Tensor, nn

import overtone
from overtone import data, fusion, recipe
from overtone.data import split
from overtone.engine import Callback, Samples, loop
from overtone.engine.augment_images import RandomCrop
from overtone.engine.mixup import draw, mixups
from overtone.errors import InputError
from overtone.header import Header
from overtone.methods import METHODS, configure
from overtone.models import KeptParts, Reheaded, ReheadedSettings, build
from overtone.models.kept import linear_of
from overtone.recipe import AugmentSettings, DataSettings, ModelOptions, SplitSettings
from overtone.student import load_student, read_header, save_student
from overtone.study import Plan, execute, make_plan
from overtone.study.build import Paths, score
from overtone.tap import Tap, macs, parameters, probe
from overtone.teachers import TeacherMemory
from overtone.testing.resume import Stop, StopAt, job
from overtone.types import Batch, DataInfo, Output, Progress
from overtone.views import Image as ImageView


def plan_of(methods: list[Any], **changes: Any) -> Plan:
    """A study of a few seconds with these rows."""
    values = {**copy.deepcopy(TINY), "methods": methods, **changes}
    values["data"]["stride"] = 1000
    study = recipe.validate(values)
    return make_plan(study, data.load(study.data))


# --- fusions

SCORES = DataInfo(teacher_scores={"0": 0.9, "1": 0.3, "2": 0.6})
HERE = Path(__file__).parent


class Surest:
    """Weights by a teacher's highest probability; a fusion of one's own."""

    def __call__(self, student: Output, teachers: dict[str, Output], batch: Batch, info: DataInfo) -> Tensor:
        sure = torch.stack([teacher.logits.softmax(1).amax(1) for teacher in teachers.values()])  # (K, B)
        return sure / sure.sum(0)


class Scored(Surest):
    """Says that it reads scores."""

    needs_scores = True


def test_teachers_are_weighed_by_their_scores() -> None:
    teachers, target = torch.randn(3, 4, 5), torch.arange(4)
    weights = fused(fusion.val_accuracy, teachers[0], teachers, target, SCORES)
    torch.testing.assert_close(weights, torch.tensor([[0.5], [1 / 6], [1 / 3]]).expand(-1, 4))
    none = DataInfo(teacher_scores=dict.fromkeys("012", 0.0))
    torch.testing.assert_close(
        fused(fusion.val_accuracy, teachers[0], teachers, target, none), torch.full((3, 4), 1 / 3)
    )
    below = DataInfo(teacher_scores={"0": 0.9, "1": -0.1, "2": 0.1})
    with pytest.raises(InputError, match=r"scores are 0 or more, teacher '1' has -0\.1"):
        fused(fusion.val_accuracy, teachers[0], teachers, target, below)
    with pytest.raises(InputError, match="the score of teacher 'a' must be finite"):
        DataInfo(teacher_scores={"a": float("nan")})


def own(method: Any, info: DataInfo | None = None, **settings: Any) -> Any:
    """A loop of one's own with two teachers of three classes."""
    student, *teachers = (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)) for _ in range(3))
    example = torch.randn(4, 2, 6)
    named = dict(zip("ab", teachers, strict=True))
    return overtone.Distillation.between(student, named, method, example=example, data=info, **settings), example


def test_fused_is_the_weighted_sum_of_losses() -> None:
    loop, x = own("fused", DataInfo(teacher_scores={"a": 0.8, "b": 0.2}))
    weighted, _ = own("weighted", teacher_weights={"a": 4, "b": 1}, reduction="batchmean")
    weighted.distillation.student, weighted._teachers = loop.distillation.student, loop._teachers
    y = torch.arange(4) % 3
    assert torch.equal(loop(x, y).terms["fused.kl"], weighted(x, y).terms["weighted.kl"])


def test_a_fusion_of_ones_own_sees_outputs() -> None:
    loop, x = own("fused", fusion="test_new_methods:Surest")
    step = loop(x, torch.arange(4) % 3)
    assert bool(step.total.isfinite())
    changed = configure("fused", {"fusion": "test_new_methods:Surest"})
    assert len(changed.fingerprint) == 16
    assert configure("fused", {}).fingerprint == ""


def test_a_fusion_takes_arguments() -> None:
    """``gradient_space`` is the one of ``aekd``, ``right`` that of ``pskd``."""
    y = torch.arange(4) % 3
    given = {"temperature": 4.0, "tolerance": 0.6}
    for name, arguments, other in (("gradient_space", given, "aekd"), ("right", {}, "pskd")):
        loop, x = own("fused", fusion=name, arguments=arguments)
        same, _ = own(other)
        same.distillation.student, same._teachers = loop.distillation.student, loop._teachers
        assert torch.equal(loop(x, y).terms["fused.kl"], same(x, y).terms[f"{other}.kl"])
    for settings, message in (
        ({"fusion": "gradient_space", "arguments": {"tolerance": 2}}, "tolerance=2. cannot be made: .*at most 1, got"),
        ({"fusion": "gradient_space", "arguments": {"tolerace": 1}}, "unexpected keyword argument 'tolerace'"),
        ({"fusion": "entropy", "arguments": {"power": 2}}, "fusion entropy is no class, so it takes no arguments; got"),
        ({"fusion": "overtone.fusion:SAME"}, "fusion overtone.fusion:SAME cannot be called with"),
    ):
        with pytest.raises(InputError, match=message):
            own("fused", **settings)


@pytest.mark.parametrize("name", ["val_accuracy", "test_new_methods:Scored"])
def test_scores_must_be_there(name: str) -> None:
    with pytest.raises(InputError, match=r"scores on the validation side, and there is none; give split\.val above 0"):
        own("fused", fusion=name)
    with pytest.raises(InputError, match="needs a score of teacher 'b', teacher_scores lacks it"):
        own("fused", DataInfo(teacher_scores={"a": 0.8}), fusion=name)
    with pytest.raises(InputError, match="unknown fusion 'val_acuracy'; did you mean 'val_accuracy'"):
        own("fused", fusion="val_acuracy")


def test_without_a_validation_side_scores_are_refused_while_planning() -> None:
    with pytest.raises(InputError, match=r"gaf': fold 0: fused: fusion val_accuracy weighs teachers by their scores"):
        plan_of(["fused"], split={"test": 3, "val": 0, "folds": [0]})
    plan_of([{"name": "fused", "fusion": "mean"}], split={"test": 3, "val": 0, "folds": [0]})


def test_scores_are_those_of_the_checkpoint_that_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of([{"name": "fused", "checkpoint": "epoch:1"}, "fused"], student={"model": "dscnn-4", "epochs": 1})
    seen = []
    weigh = fusion.ValAccuracy.__call__
    monkeypatch.setattr(
        fusion.ValAccuracy, "__call__", lambda self, *given: seen.append(given[3].teacher_scores) or weigh(self, *given)
    )
    assert execute(plan, tmp_path) == {}
    paths, watched = Paths(tmp_path), plan.windows.task.watched
    links = next(cell for cell in plan.cells.values() if cell.title.startswith("fused")).teachers
    expected = []
    for which in ("epoch:1", "best"):
        scores = {}
        for name, link in links.items():
            folder = paths.cell(link.key)
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            accuracy = [row["val"]["accuracy"] for row in rows]
            scores[name] = accuracy[0] if which == "epoch:1" else max(accuracy)
            assert score(folder, which, watched) == scores[name]
            assert score(folder, "last", watched) == accuracy[-1]
        expected.append(scores)
    checked = dict.fromkeys(TINY["teachers"], 1.0)  # untrained ones, before training
    assert [s for s in seen if s != checked]
    assert all(s in (checked, *expected) for s in seen)
    assert all(s in seen for s in expected)


# --- a student that keeps parts of a method


def models(
    student: str = "dscnn-4", teacher: str = "wrn10-0.25", shape: tuple[int, ...] = (3, 32), **options: Any
) -> Any:
    torch.manual_seed(0)
    made = build(student, shape, 5), build(teacher, shape, 5, ModelOptions(**options))
    for model in made:
        model(torch.randn(8, *shape))  # batch statistics
    return made


def slow_simkd(mine: Tensor, theirs: Tensor) -> float:
    """Squared errors one by one, of maps (B, c, T): the longer is averaged over bins."""
    total, count = 0.0, 0
    size = mine.shape[2]
    for b, c, i in np.ndindex(*mine.shape):
        first, last = i * theirs.shape[2] // size, -(-(i + 1) * theirs.shape[2] // size)
        mean = sum(float(x) for x in theirs[b, c, first:last]) / (last - first)
        total, count = total + (mine[b, c, i].item() - mean) ** 2, count + 1
    return total / count


@pytest.mark.parametrize("student", ["dscnn-4", "inceptiontime-4", "wrn10-0.5"])
def test_simkd_is_the_squared_error_of_maps_behind_the_projector(student: str) -> None:
    """Of students whose last maps are shorter than the teacher's, longer, and as long."""
    model, teacher = models(student)
    x, y = torch.randn(4, 3, 32), torch.arange(4)
    loop = overtone.Distillation.between(model, {"signal": teacher}, "simkd", example=x).eval()
    step = loop(x, y)
    theirs = teacher.features(x)["final"]
    own = model.features(x)["final"]
    if own.shape[2] > theirs.shape[2]:
        own = torch.nn.functional.adaptive_avg_pool1d(own, theirs.shape[2])
    mine = loop.student.projector(own)
    torch.testing.assert_close(step.terms["simkd.map"].item(), slow_simkd(mine, theirs), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(step.output.logits, linear_of(teacher)[1](mine.mean(2)))
    assert loop.distillation.weights["ce"].value == 0


@pytest.mark.parametrize("pool", ["average", "attention"])
def test_a_student_whose_map_is_the_teachers_is_the_teacher(pool: str) -> None:
    _, teacher = models(pool=pool)
    final = probe(Tap(teacher), torch.randn(2, 3, 32)).stages["final"]
    settings = ReheadedSettings(channels=final.channels, middle=2, size=final.size, pool=pool)
    made = Reheaded(teacher, 5, settings).take_head(teacher).eval()
    made.projector = nn.Identity()
    x = torch.randn(4, 3, 32)
    torch.testing.assert_close(made(x), teacher.eval()(x))
    assert not any(p.requires_grad for part in (made.classifier, made.attend) if part for p in part.parameters())


def test_ones_own_student_is_trained_and_keeps_its_own_head() -> None:
    model, teacher = models()
    before = copy.deepcopy(model.state_dict())
    x, y = torch.randn(8, 3, 32), torch.arange(8) % 5
    loop = overtone.Distillation.between(model, {"signal": teacher}, "simkd", example=x)
    optimizer = torch.optim.SGD(loop.parameters(), 0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loop(x, y).total.backward()
        optimizer.step()
    moved = {name for name, held in model.state_dict().items() if not torch.equal(held, before[name])}
    assert moved >= {name for name, _ in model.named_parameters() if not name.startswith("classifier")}
    assert not any(name.startswith("classifier") for name in moved)
    assert model(x).shape == (8, 5)  # still a classifier
    head = linear_of(teacher)[1]
    assert torch.equal(loop.student.classifier.weight, head.weight)
    assert loop.student.classifier.weight.data_ptr() != head.weight.data_ptr()
    assert loop.student_only().keys() == loop.student.state_dict().keys()
    assert {name.partition(".")[0] for name in loop.student_only()} == {"model", "projector", "classifier"}
    assert not any(name.startswith("model.classifier") for name in loop.student_only())
    with torch.no_grad():
        assert torch.equal(loop.eval().student(x), loop(x, y).output.logits)


def test_other_methods_of_the_row_see_the_new_head() -> None:
    """In any order of names: the embedding that ``hidden`` compares is then the teacher's width."""
    for names in (["simkd", "hidden"], ["hidden", "simkd"]):
        model, teacher = models()
        loop = overtone.Distillation.between(model, {"signal": teacher}, names, example=torch.randn(2, 3, 32))
        step = loop(torch.randn(4, 3, 32), torch.arange(4))
        assert step.output.embedding.shape == (4, linear_of(teacher)[1].in_features)
        assert bool(step.total.isfinite())


@pytest.mark.parametrize(
    ("student", "teacher", "example", "message"),
    [
        ("dscnn-4", "wrn10-0.25", {"signal": (3, 32), "gaf": (3, 8, 8)}, "of teacher 'gaf' has the axes time and time"),
        ("dscnn-4", None, {"signal": (3, 32)}, "teacher 'signal' must be a built-in model"),
        (None, "dscnn-4", {"signal": (3, 32)}, "the student must be a built-in model"),
    ],
)
def test_simkd_refuses(student: Any, teacher: Any, example: dict[str, tuple[int, ...]], message: str) -> None:
    *_, seen = example
    plain = nn.Sequential(nn.Flatten(), nn.Linear(96, 5))
    mine = build(student, example["signal"], 5) if student else plain
    theirs = build(teacher, example[seen], 5) if teacher else plain
    given = {name: torch.randn(2, *shape) for name, shape in example.items()}
    with pytest.raises(InputError, match=message):
        overtone.Distillation.between(mine, {seen: theirs}, "simkd", example=given)


def test_simkd_refuses_other_heads_and_several_teachers() -> None:
    model, teacher = models()
    x = torch.randn(2, 3, 32)
    with pytest.raises(InputError, match="takes 1 teacher, got 2"):
        overtone.Distillation.between(model, {"a": teacher, "b": teacher}, "simkd", example=x)

    class Flat(type(teacher)):  # type: ignore[misc]
        def pool(self, final: Tensor) -> Tensor:
            return final.amax(2)

    teacher.__class__ = Flat
    with pytest.raises(InputError, match="its head is not an average or attention over its last map and one linear"):
        overtone.Distillation.between(model, {"a": teacher}, "simkd", example=x)


SIGNAL = {"view": "signal", "model": "wrn10-0.5", "epochs": 1}
IMAGES = {"views": {"gaf": {"size": 8}, "small": {"type": "gaf", "size": 6}}}


def test_a_study_with_a_student_that_keeps_a_head(tmp_path: Path) -> None:
    """Signals and images of two sizes, warm started, and as a teacher of others."""
    reused = {"model": "dscnn-4", "epochs": 1, "method": {"name": "simkd", "teachers": ["signal"]}}
    plan = plan_of(
        ["none", {"name": "simkd", "teachers": ["signal"], "warm_start": True}, {"name": "kd", "teachers": ["reused"]}],
        teachers={"signal": SIGNAL, "reused": reused},
        student={"model": "dscnn-4", "epochs": 1},
    )
    assert execute(plan, tmp_path) == {}
    cells = {cell.title.partition(" · ")[0]: tmp_path / "cells" / key for key, cell in plan.cells.items()}
    result = {name: json.loads((folder / "result.json").read_text()) for name, folder in cells.items()}
    bare, reused = result["none"], result["simkd from signal"]
    student = load_student(cells["simkd from signal"] / "student.safetensors")
    assert isinstance(student.model, Reheaded)
    assert read_header(cells["simkd from signal"] / "student.safetensors").kept == student.model.kept
    kept = sum(p.numel() for part in ("projector", "classifier") for p in getattr(student.model, part).parameters())
    assert reused["parameters"] == parameters(student.model)
    assert parameters(student.model) == parameters(student.model.model) + kept
    assert reused["macs"] == macs(student.model, torch.zeros(1, *student.header.input_shape)) > bare["macs"]
    assert reused["adapters"] == 0
    teacher = load_student(cells["teacher signal"] / "student.safetensors").model
    assert torch.equal(student.model.classifier.weight, linear_of(teacher)[1].weight)
    # Predictions of the file are those that were scored.
    held = np.load(cells["simkd from signal"] / "predictions.npz")
    logits = student(torch.from_numpy(np.asarray(plan.windows.x[held["index"]]))).detach()
    torch.testing.assert_close(logits, torch.from_numpy(held["best.logits"]), rtol=1e-4, atol=1e-4)
    again = load_student(cells["teacher reused"] / "last.safetensors").model
    assert isinstance(again, Reheaded)
    assert "kept" not in json.dumps(read_header(cells["none"] / "student.safetensors").model_dump(exclude_none=True))


def test_images_of_two_sizes_share_their_axes(tmp_path: Path) -> None:
    plan = plan_of(
        [{"name": "simkd", "teachers": ["gaf"]}],
        views=IMAGES["views"],
        teachers={"gaf": {"view": "gaf", "model": "wrn10-0.25", "epochs": 1}},
        student={"view": "small", "model": "wrn10-0.25", "epochs": 1},
    )
    assert execute(plan, tmp_path) == {}
    (key,) = [key for key, cell in plan.cells.items() if cell.title.startswith("simkd")]
    model = load_student(tmp_path / "cells" / key / "student.safetensors").model
    assert model.settings == ReheadedSettings(channels=16, middle=8, size=(2, 2))


def test_a_view_with_other_axes_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"simkd: the last map of teacher 'gaf' has the axes time and time, .*'s time: "
    ):
        execute(plan_of([{"name": "simkd", "teachers": ["gaf"]}]), tmp_path)
    assert not list(tmp_path.glob("cells/*/result.json"))


def saved_reheaded(folder: Path, **changes: Any) -> Path:
    """A student file with a head of another model, or what somebody says is one."""
    model, teacher = models()
    final = probe(Tap(teacher), torch.randn(2, 3, 32)).stages["final"]
    made = Reheaded(model, 5, ReheadedSettings(channels=final.channels, middle=4, size=final.size)).take_head(teacher)
    kept = {"type": "reheaded", "settings": {**made.kept.settings, **changes.pop("settings", {})}, **changes}
    header = Header(
        builder="dscnn-4",
        input_shape=(3, 32),
        classes=tuple("abcde"),
        channels=tuple("xyz"),
        rate=None,
        window=32,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        views=[{"type": "signal", "settings": {}, "state": {}}],
        kept=KeptParts.model_validate(kept),
    )
    path = folder / "student.safetensors"
    save_student(path, made.state_dict(), header)
    return path


def test_a_file_with_kept_parts_gives_the_same_model(tmp_path: Path) -> None:
    student = load_student(saved_reheaded(tmp_path))
    model, teacher = models()
    assert torch.equal(student.model.classifier.weight, linear_of(teacher)[1].weight)
    assert all(
        torch.equal(x, student.model.model.state_dict()[name])
        for name, x in model.state_dict().items()
        if not name.startswith("classifier")
    )
    assert student(torch.randn(2, 3, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "mine:Module"}, "it keeps parts 'mine:Module', which this version of Overtone does not know"),
        ({"settings": {"middle": 2**19}}, "more parameters than the|weights do not fit"),
        ({"settings": {"middle": 2**40}}, "the parts that it keeps: middle: Input should be less"),
        ({"settings": {"size": (4, 4)}}, r"the parts that it keeps are not for an input of \(3, 32\)"),
        ({"settings": {"size": ()}}, "the parts that it keeps: size"),
        ({"settings": {"pool": "attention"}}, "the file lacks attend"),
        ({"settings": {"more": 1}}, "the parts that it keeps: more: Extra inputs"),
    ],
)
def test_kept_parts_that_cannot_be_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_student(saved_reheaded(tmp_path, **changes))


def test_a_file_without_its_kept_parts_is_refused(tmp_path: Path) -> None:
    path = saved_reheaded(tmp_path)
    header = read_header(path).model_copy(update={"kept": None})
    save_student(path, load_student(path).model.state_dict(), header)
    with pytest.raises(InputError, match="weights do not fit model 'dscnn-4'"):
        load_student(path)


# --- adapters that are trained on the teacher first


def slow_conv(x: Tensor, layer: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    """Three wide, with zeros around it, one value at a time; a transposed one reads its weights backwards."""
    transposed = isinstance(layer, nn.ConvTranspose1d)
    out = torch.zeros(len(x), layer.out_channels, x.shape[2], dtype=x.dtype)
    for b, o, t in np.ndindex(*out.shape):
        total = layer.bias[o]
        for i in range(x.shape[1]):
            for k in (-1, 0, 1):
                if 0 <= t + k < x.shape[2]:
                    total = (
                        total
                        + (layer.weight[i, o, 1 - k] if transposed else layer.weight[o, i, 1 + k]) * x[b, i, t + k]
                    )
        out[b, o, t] = total if total > 0 else 0.1 * total
    return out


def test_ft_against_a_slow_loop() -> None:
    case, batch = make("ft", {}), batch_of(2)
    outputs = case.outputs(batch)
    step = case.distillation.eval()(batch, outputs, Progress(1, 2))
    method = case.method
    with torch.no_grad():
        theirs, mine = outputs["signal"].stages["final"], step.output.stages["final"]
        encoder, decoder = ([layer for layer in part if hasattr(layer, "weight")] for part in method.paraphraser)
        factors = theirs
        for layer in encoder:
            factors = slow_conv(factors, layer)
        again = factors
        for layer in decoder:
            again = slow_conv(again, layer)
        for layer in [layer for layer in method.translator if hasattr(layer, "weight")]:
            mine = slow_conv(mine, layer)
        assert factors.shape[1] == theirs.shape[1] // 2
        squares = [(float(a) - float(b)) ** 2 for a, b in zip(again.flatten(), theirs.flatten(), strict=True)]
        size, total = min(mine.shape[2], factors.shape[2]), 0.0
        pooled = [torch.nn.functional.adaptive_avg_pool1d(x, size).flatten(1).tolist() for x in (mine, factors)]
        for row, other in zip(*pooled, strict=True):
            lengths = [sum(x * x for x in own) ** 0.5 for own in (row, other)]
            total += sum(abs(a / lengths[0] - b / lengths[1]) for a, b in zip(row, other, strict=True))
    torch.testing.assert_close(step.terms["ft.paraphrase"].item(), sum(squares) / len(squares), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        step.terms["ft.factor"].item(), total / len(pooled[0]) / len(pooled[0][0]), rtol=1e-5, atol=1e-7
    )


def test_the_teachers_factors_are_no_target_that_learns() -> None:
    case, batch = make("ft", {}), batch_of(4)
    step = case.distillation(batch, case.outputs(batch), Progress(1, 2))
    step.terms["ft.factor"].backward(retain_graph=True)
    assert all(p.grad is None for p in case.method.paraphraser.parameters())
    assert all(p.grad is not None for p in case.method.translator.parameters())
    step.terms["ft.paraphrase"].backward()
    assert all(p.grad is not None for p in case.method.paraphraser.parameters())


def test_each_part_rests_while_its_term_weighs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The student and the translator in the first phase, the paraphraser afterwards; no weight decay moves them."""
    plan = plan_of(
        [{"name": "ft", "teachers": ["signal"]}],
        student={"model": "wrn10-0.25", "epochs": 8},
        teachers={"signal": SIGNAL},
    )
    states: list[dict[str, Tensor]] = []
    enter = loop._Run._enter_phase

    def seen(run: Any) -> Any:
        if run.job.distillation.methods:
            states.append({k: x.clone() for k, x in run.job.distillation.state_dict().items()})
        return enter(run)

    monkeypatch.setattr(loop._Run, "_enter_phase", seen)
    assert execute(plan, tmp_path) == {}
    before, after, later = states[0], states[1], states[2]  # the first phase is 15 % of 8 epochs: one

    def moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
        return {
            k.split(".")[0] if k.startswith("student") else k.split(".")[2] for k in a if not torch.equal(a[k], b[k])
        }

    assert moved(before, after) == {"paraphraser"}
    assert moved(after, later) == {"student", "translator"}
    (key,) = [key for key, cell in plan.cells.items() if cell.title.startswith("ft")]
    rows = [json.loads(line) for line in (tmp_path / "cells" / key / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows[:2]] == ["paraphraser of the teacher", "factors and task"]
    assert rows[0]["weights"] == {"ce": 0.0, "ft.paraphrase": 1.0, "ft.factor": 0.0}


def test_ft_refuses() -> None:
    example = {"signal": torch.randn(2, 3, 32), "gaf": torch.randn(2, 3, 8, 8)}
    mine, theirs = build("dscnn-4", (3, 32), 5), build("wrn10-0.25", (3, 8, 8), 5)
    message = r"ft: the last map of teacher 'gaf' has the axes time and time, the student's time: "
    with pytest.raises(InputError, match=message):
        overtone.Distillation.between(mine, {"gaf": theirs}, "ft", example=example)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(96, 5))
    with pytest.raises(InputError, match="ft: the student has no feature maps"):
        overtone.Distillation.between(plain, mine, "ft", example=example["signal"])
    with pytest.raises(InputError, match="ft from signal': phases end in epochs 0, 3 of 3; each needs one"):
        plan_of([{"name": "ft", "teachers": ["signal"]}])


# --- soft targets


def mixed_job(folder: Path, **augment: float) -> Any:
    made = job(folder, "kd", {})
    return replace(made, train=made.train.model_copy(update={"augment": AugmentSettings(**augment)}))


def test_windows_are_mixed_before_views_and_classes_with_them(tmp_path: Path) -> None:
    samples = mixed_job(tmp_path).samples
    plain = samples.batch(torch.arange(80), ["signal"])
    numbers = torch.tensor([3, 40, 7, 12])
    drawn = draw(numbers, 0.4, seed=1, epoch=2, step=3)
    assert sorted(drawn.partner.tolist()) == sorted(numbers.tolist())
    assert 0 <= drawn.proportion <= 1
    assert draw(numbers, 0.4, 1, 2, 3).proportion == drawn.proportion != draw(numbers, 0.4, 1, 2, 4).proportion
    (batch,) = samples.batches([numbers], ["gaf", "signal"], mixed=[drawn])
    assert batch.index.tolist() == numbers.tolist()
    windows = []
    for row, (own_number, other) in enumerate(zip(numbers.tolist(), drawn.partner.tolist(), strict=True)):
        windows.append(
            drawn.proportion * plain.views["signal"][own_number] + (1 - drawn.proportion) * plain.views["signal"][other]
        )
        wanted = torch.zeros(5)
        wanted[plain.target[own_number]] += drawn.proportion
        wanted[plain.target[other]] += 1 - drawn.proportion
        torch.testing.assert_close(batch.target[row], wanted)
    torch.testing.assert_close(batch.views["signal"], torch.stack(windows))
    gaf = samples.views["gaf"]
    torch.testing.assert_close(batch.views["gaf"], gaf.view.render(torch.stack(windows), gaf.state))
    assert batch.label.tolist() == batch.target.argmax(1).tolist()


def test_mixing_comes_behind_augmentation_and_is_the_same_in_parts(tmp_path: Path) -> None:
    """Two processes that share a batch see what one sees."""
    samples = mixed_job(tmp_path).samples
    numbers = torch.tensor([3, 40, 7, 12])

    def change(x: Tensor, index: Tensor) -> Tensor:
        return x + index[:, None, None]

    whole = mixups([numbers], 1.0, 5, 1, 0, lambda x: x)
    (batch,) = samples.batches([numbers], ["signal"], change, mixed=whole)
    plain = samples.batch(numbers, ["signal"]).views["signal"] + numbers[:, None, None]
    where = [numbers.tolist().index(n) for n in whole[0].partner.tolist()]
    torch.testing.assert_close(
        batch.views["signal"], whole[0].proportion * plain + (1 - whole[0].proportion) * plain[where]
    )
    for part in (slice(0, 2), slice(2, 4)):
        mine = mixups([numbers], 1.0, 5, 1, 0, lambda x, part=part: x[part])
        (half,) = samples.batches([numbers[part]], ["signal"], change, mixed=mine)
        assert torch.equal(half.views["signal"], batch.views["signal"][part])
        assert torch.equal(half.target, batch.target[part])


def test_mixed_training_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    accelerator = Accelerator(cpu=True)
    settings = {"mixup": 0.4, "jitter": 0.05}
    whole = loop.fit(mixed_job(tmp_path / "whole", **settings), accelerator, Callback())
    with pytest.raises(Stop):
        loop.fit(mixed_job(tmp_path / "stopped", **settings), accelerator, StopAt(5))
    resumed = loop.fit(mixed_job(tmp_path / "stopped", **settings), accelerator, Callback())
    assert resumed.rows == whole.rows
    assert all(torch.equal(resumed.last[key], whole.last[key]) for key in whole.last)
    plain = loop.fit(mixed_job(tmp_path / "plain", jitter=0.05), accelerator, Callback())
    assert plain.rows != whole.rows


def test_cross_entropy_of_soft_and_of_smoothed_labels() -> None:
    case, batch = make("kd", {}), batch_of(6)
    outputs = case.outputs(batch)
    distillation = case.distillation.eval()
    log_p = distillation(batch, outputs, Progress(1, 2)).output.logits.detach().log_softmax(1)
    hard = torch.nn.functional.one_hot(batch.target, 5).float()
    soft = 0.3 * hard + 0.7 * hard.flip(0)
    for smoothing in (0.0, 0.2):
        distillation.label_smoothing = smoothing
        for target, soft_target in ((batch.target, hard), (soft, soft)):
            step = distillation(replace(batch, target=target), outputs, Progress(1, 2))
            expected = -(((1 - smoothing) * soft_target + smoothing / 5) * log_p).sum(1).mean()
            torch.testing.assert_close(step.terms["ce"].detach(), expected)


def reads_classes(name: str, settings: dict[str, Any]) -> bool:
    return METHODS[name].needs_classes(configure(name, settings))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in METHODS if reads_classes(name, {})),
        *(("fused", {"fusion": fusion}) for fusion in ("confidence", "right")),
    ],
)
def test_methods_that_read_classes_are_refused_with_mixup(name: str, settings: dict[str, Any]) -> None:
    assert reads_classes(name, settings)
    row = {"name": name, "teachers": ["signal", "gaf"][: METHODS[name].TEACHERS[0]], **settings}
    train = {**TINY["train"], "augment": {"mixup": 0.2}}
    with pytest.raises(InputError, match=f"'{name}' reads the one class of each sample, and train.augment.mixup"):
        plan_of([row], train=train)
    plan_of([row], train={**train, "label_smoothing": 0.1, "augment": {}})


@pytest.mark.parametrize(("name", "settings"), [case for case in SETTINGS if not reads_classes(*case)])
def test_all_other_methods_take_soft_targets(name: str, settings: dict[str, Any]) -> None:
    case, batch = make(name, settings), batch_of(8)
    outputs, hard = case.outputs(batch), torch.nn.functional.one_hot(batch.target, 5).float()
    terms = [
        case.distillation.eval()(replace(batch, target=target), outputs, PROGRESS).terms
        for target in (batch.target, hard)
    ]
    torch.testing.assert_close(terms[0], terms[1])


def test_a_study_with_mixup_and_smoothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers run beside the student; a persistence image refuses; defaults leave keys alone."""
    train = {**TINY["train"], "augment": {"mixup": 0.2}, "label_smoothing": 0.1}
    monkeypatch.setattr(TeacherMemory, "__call__", None)  # no teacher is remembered
    plan = plan_of(["none", "aver"], train=train)
    assert execute(plan, tmp_path) == {}
    for key in plan.cells:
        rows = [json.loads(line) for line in (tmp_path / "cells" / key / "metrics.jsonl").read_text().splitlines()]
        assert all(0 <= row["train"]["accuracy"] <= 1 and row["terms"]["ce"] > 0 for row in rows)
    with pytest.raises(InputError, match="view 'pi' is computed once from the recorded window and cannot follow"):
        plan_of(["none"], train=train, student={"view": "pi", "model": "wrn10-0.25", "epochs": 2})
    off = {**TINY["train"], "augment": {"mixup": 0.0}, "label_smoothing": 0.0}
    assert set(plan_of(["none", "aver"], train=off).cells) == set(plan_of(["none", "aver"]).cells)


def test_ones_own_loop_takes_soft_targets() -> None:
    made, x = own("aver")
    y = torch.arange(4) % 3
    soft = torch.nn.functional.one_hot(y, 3).float()
    torch.testing.assert_close(made(x, soft).total, made(x, y).total)
    with pytest.raises(InputError, match=r"y of class probabilities is \(4, 3\) on cpu, got \(4, 2\)"):
        made(x, soft[:, :2])
    reads, _ = own("dkd")
    with pytest.raises(InputError, match=r"method 'dkd' needs one class per sample, y \(B,\), got \(4, 3\)"):
        reads(x, soft)


@pytest.mark.parametrize("crop", [None, RandomCrop(0.3, 5)])
@pytest.mark.parametrize("budget", [2**30, 0])
def test_images_in_files_are_mixed(crop: Any, budget: int, tmp_path: Path) -> None:
    """Held in memory or read ahead, each image decoded once for both of its parts."""
    for number in range(24):
        noise = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        path = tmp_path / ["train", "val"][number % 5 == 0] / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    windows = data.load(DataSettings.model_validate({"name": "imagefolder", "path": str(tmp_path), "size": 16}))
    fold = split(windows, SplitSettings(by="window", scheme="official"))[0]
    samples = Samples.fit(windows, fold, {"image": ImageView()}, torch.device("cpu"), budget)
    numbers = torch.tensor([4, 1, 9])
    drawn = draw(numbers, 1.0, 0, 1, 0)
    (mixed,) = samples.batches([numbers], ["image"], crop=crop, mixed=[drawn])
    (plain,) = samples.batches([numbers], ["image"], crop=crop)
    where = [numbers.tolist().index(n) for n in drawn.partner.tolist()]
    own_images = plain.views["image"]
    torch.testing.assert_close(
        mixed.views["image"], drawn.proportion * own_images + (1 - drawn.proportion) * own_images[where]
    )
    assert mixed.target.shape == (3, 2)
