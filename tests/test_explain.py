"""Where models look: the maps equal slow loops, and a study's images are made from its models and data."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from overtone.cli import app
from overtone.explain import agreement, read, saliency
from overtone.files import read_json
from overtone.frequency import SpectralFilter, dense_mask, radial_spectrum, resize
from overtone.models import build
from overtone.sealed import write_sealed
from overtone.student import Header, SeenView, Student
from overtone.study import read_study
from overtone.tap import Tap
from overtone.views import VIEWS

RECIPE = """
data: {{name: npz, path: {path}, rate: 50}}
split: {{scheme: leave_groups_out, test: 1, val: 1, folds: [0]}}
views: {{gaf: {{size: 8}}}}
teachers:
  signal: {{view: signal, model: wrn10-0.25, epochs: 1, pool: attention}}
  gaf: {{view: gaf, model: wrn10-0.25, epochs: 1}}
student: {{view: [signal, gaf], model: two_branch-wrn10-0.25, epochs: 2}}
train: {{batch: 16, threads: 1}}
methods:
  - none
  - {{name: evidence, teachers: [signal, gaf]}}
"""


def run(*words: object) -> object:
    return CliRunner().invoke(app, [str(word) for word in words])


def student(model: str, view: str, pool: str = "average") -> Student:
    from overtone.recipe import ModelOptions

    torch.manual_seed(0)
    options = ModelOptions(pool=pool)
    shape = (2, 48) if view == "signal" else (2, 8, 8)
    settings = {} if view == "signal" else {"size": 8}
    header = Header(
        builder=model,
        input_shape=shape,
        classes=("a", "b", "c"),
        channels=("x", "y"),
        rate=None,
        window=48,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        options=options,
        views=(SeenView(type=view, settings=settings, state={}),),
    )
    return Student(build(model, shape, 3, options), header, [VIEWS[view].model_validate(settings)]).eval()


@pytest.mark.parametrize(("model", "view"), [("wrn10-0.25", "signal"), ("wrn10-0.25", "gaf"), ("dscnn-4", "signal")])
def test_grad_cam_equals_a_slow_loop(model: str, view: str) -> None:
    made = student(model, view)
    windows = torch.randn(3, 2, 48, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 2, 1])
    found = saliency(made, windows, target).maps[""]["grad-cam"]
    (x,) = made.inputs(windows)
    for row in range(3):
        output = Tap(made.model)(x[row : row + 1])
        stage = output.stages["stage2"]
        (gradient,) = torch.autograd.grad(output.logits[0, target[row]], stage)
        expected = torch.zeros(stage.shape[2:])
        for channel in range(stage.shape[1]):
            expected += gradient[0, channel].mean() * stage[0, channel]
        assert torch.allclose(found[row], expected.clamp(min=0), atol=1e-6)


@pytest.mark.parametrize("pool", ["average", "attention"])
def test_the_map_of_the_true_class_averages_to_its_logit(pool: str) -> None:
    made = student("wrn10-0.25", "signal", pool)
    windows, target = torch.randn(4, 2, 48), torch.tensor([0, 1, 2, 0])
    found = saliency(made, windows, target)
    logits = made(windows).detach()
    bias = made.model.classifier.bias.detach()
    for row in range(4):
        assert float(found.maps[""]["cam"][row].mean() + bias[target[row]]) == pytest.approx(
            float(logits[row, target[row]]), abs=1e-5
        )
    assert ("attention" in found.maps[""]) == (pool == "attention")


def test_looking_leaves_the_model_as_it_was() -> None:
    made = student("wrn10-0.25", "signal")
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    saliency(made, torch.randn(2, 2, 48), torch.tensor([0, 1]))
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())
    assert all(parameter.grad is None for parameter in made.model.parameters())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    generator = np.random.default_rng(0)
    y = np.arange(96) % 2
    x = generator.normal(size=(96, 2, 32)) + y[:, None, None]
    np.savez(folder / "mine.npz", X=x.astype(np.float32), y=y, group=np.arange(96) // 24)
    (folder / "mine.yaml").write_text(RECIPE.format(path=folder / "mine.npz"))
    result = run("run", folder / "mine.yaml", "--out", folder / "out", "--jobs", "1")
    assert result.exit_code == 0, result.stdout + result.stderr
    return folder / "out"


def test_a_study_gathers_where_its_models_look(study: Path) -> None:
    found = read(study)
    titles = [model["title"] for model in found.about["models"]]
    assert titles == ["teacher signal", "teacher gaf", "none", "evidence from signal, gaf"]
    samples = found.about["samples"]
    test = set(np.flatnonzero(np.arange(96) // 24 == 0))
    assert {sample["number"] for sample in samples} <= test
    assert [sample["called"] for sample in samples] == read_study(study).data.targets.columns[:2]
    assert found.arrays["view/signal"].shape == (2, 2, 32)
    assert found.arrays["0//attention"].sum(1) == pytest.approx(1)
    assert found.arrays["2/cross"].reshape(2, -1).sum(1) == pytest.approx(1, abs=1e-5)
    target = found.shown(3)["evidence.evidence (target)"].values
    assert target.reshape(2, -1).sum(1) == pytest.approx(1, abs=1e-5)
    page = (study / "report.html").read_text()
    for text in ("Where the models look", ">evidence (target)<", "student minus target", "Which teacher is right"):
        assert text in page


def test_explain_names_windows(study: Path) -> None:
    result = run("explain", study, "--sample", 5, "--sample", 30)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "window 5" in result.stdout
    assert "window 30" in result.stdout
    page = (study / "explain-5-30.html").read_text()
    assert "test window 30" not in page.split("Where the models look")[0]
    assert page.count("<details") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sample", "96"], "--sample 96: the data holds 96 windows, numbered from 0"),
        (["--sample", "-1"], "--sample -1: the data holds 96 windows"),
    ],
)
def test_explain_refuses_windows_that_are_not_there(study: Path, words: list[str], message: str) -> None:
    result = run("explain", study, *words)
    assert result.exit_code == 2
    assert message in " ".join((result.stdout + result.stderr).split())


def test_explain_needs_a_study_and_its_data(study: Path, tmp_path: Path) -> None:
    result = run("explain", tmp_path)
    assert result.exit_code == 2
    assert "holds no study" in result.stderr
    held = read_json(study / "study.json")
    other = tmp_path / "other"
    other.mkdir()
    held["data"]["content"] = "something else"
    write_sealed(other / "study.json", held)
    result = run("explain", other)
    assert result.exit_code == 2
    assert "has changed since" in " ".join(result.stderr.split())


def test_agreement_equals_a_count_by_hand(study: Path) -> None:
    found = agreement(study, ["none"])
    rows = {row["id"]: row["cells"][0]["keys"][0] for row in read_json(study / "study.json")["rows"]}

    def right(identity: str) -> list[bool]:
        with np.load(study / "cells" / rows[identity] / "predictions.npz") as held:
            return [bool(a == b) for a, b in zip(held["best.logits"].argmax(1), held["target"], strict=True)]

    signal, gaf, alone = right("teacher-signal"), right("teacher-gaf"), right("none")
    assert found.windows == len(signal)
    assert found.right == (sum(signal), sum(gaf))
    only = [sum(a and not b for a, b in zip(signal, gaf, strict=True)), 0]
    only[1] = sum(b and not a for a, b in zip(signal, gaf, strict=True))
    assert found.alone == tuple(only)
    assert found.all_right == sum(a and b for a, b in zip(signal, gaf, strict=True))
    assert found.none_right == sum(not a and not b for a, b in zip(signal, gaf, strict=True))
    expected = sum(s and a and not b for s, a, b in zip(alone, signal, gaf, strict=True))
    assert found.students["none"][0] == expected


@pytest.mark.parametrize("size", [(7,), (8,), (6, 6), (5, 8), (1, 4)])
def test_a_radial_spectrum_equals_a_slow_loop(size: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    rings = min(size) // 2 + 1
    amplitude = torch.fft.fftn(x, dim=tuple(range(2, x.dim())), norm="ortho").abs().mean(1)
    sums, counts = torch.zeros(2, rings), torch.zeros(rings)
    for place in np.ndindex(*size):
        shares = [2 * min(k, n - k) / n for k, n in zip(place, size, strict=True)]
        ring = min(round(float(np.hypot.reduce([*shares, 0.0])) * (rings - 1)), rings - 1)
        sums[:, ring] += amplitude[(slice(None), *place)]
        counts[ring] += 1
    assert torch.allclose(radial_spectrum(x), sums / counts, atol=1e-6)


def test_a_constant_map_has_all_its_amplitude_at_frequency_0() -> None:
    spectrum = radial_spectrum(torch.full((1, 2, 8, 8), 3.0))
    assert float(spectrum[0, 0]) == pytest.approx(24)  # 3 * sqrt(64)
    assert float(spectrum[0, 1:].abs().max()) < 1e-5


def test_frequency_attention_shows_its_maps_filter_and_rates() -> None:
    case, batch = cases.make("fam_layer", {}), cases.batch_of(3)
    method, outputs = case.method.eval(), case.outputs(batch)
    with torch.no_grad():
        student = case.distillation.student.eval()(batch.views["signal"])
        found = method.visualisations(student, outputs, batch)
        step = method(student, outputs, batch, cases.PROGRESS)
    stage = student.stages["stage1"]
    assert torch.equal(found["signal/stage1/student"].values, stage.abs().mean(1))
    level = method.levels["signal"][-1]
    wanted = outputs["signal"].stages[level.teacher]
    assert torch.equal(found[f"signal/{level.student}/teacher"].values, wanted.abs().mean(1))
    assert found[f"signal/{level.student}/behind the adapter"].values.shape == wanted.abs().mean(1).shape
    attention = method.adapters["signal"][-1].head.frequency_attention
    learned, mask = (found[f"signal/{level.student}/filter"].lines[name][0] for name in ("mean magnitude", "mask"))
    middle = len(learned) // 2
    expected = torch.fft.fftshift(attention.filter.dense().abs().mean((0, 1)))
    assert torch.equal(learned, expected)
    assert float(learned[middle]) == 0  # the mask removes frequency 0
    assert torch.equal(mask, learned.max() * torch.fft.fftshift(dense_mask(attention.size)))
    assert float(mask[middle]) == 0
    rate = method.scalars()[f"signal/{level.student}/g1"]
    assert (rate.value, rate.axis) == (0.5, "learned value")
    assert step.keys() == set(method.terms)


@pytest.mark.parametrize("method_name", ["fam_layer", "fam_review"])
def test_frequency_attention_shows_what_goes_in_and_comes_out(method_name: str) -> None:
    case, batch = cases.make(method_name, {}), cases.batch_of(3)
    method, outputs = case.method.eval(), case.outputs(batch)
    with torch.no_grad():
        student = case.distillation.student.eval()(batch.views["signal"])
        found = method.visualisations(student, outputs, batch)
    handed = None
    for level, adapter in zip(method.levels["signal"], method.adapters["signal"], strict=True):
        key = f"signal/{level.student}"
        x = level.map_of_student(student)
        with torch.no_grad():
            if method_name == "fam_layer":
                given = resize(adapter.local_attention(x), level.teacher_shape[1:])
            else:
                handed = given = adapter(x, handed, level.teacher_shape[1:])[1]
            out = adapter.head.frequency_attention(given)
        if level.student == "embedding":
            assert f"{key}/into frequency attention" not in found
            continue
        assert torch.equal(found[f"{key}/into frequency attention"].values, given.abs().mean(1))
        assert torch.equal(found[f"{key}/out of frequency attention"].values, out.abs().mean(1))
        assert not adapter.head.frequency_attention._forward_hooks


@pytest.mark.parametrize("size", [(9,), (24,), (21,), (24, 40), (25, 22)])
@pytest.mark.parametrize(
    "settings",
    [{"shape": "box", "radius": 0.3}, {"shape": "gaussian", "radius": 0.3}, {"shape": "none"}, {"published": True}],
)
def test_the_mask_of_a_dense_filter_is_what_its_coefficients_pass(
    size: tuple[int, ...], settings: dict[str, object]
) -> None:
    made = SpectralFilter(1, 1, size, form="full", **settings)
    mask = made.mask()
    assert mask.shape == size
    made.from_dense(torch.ones(1, 1, *size, dtype=torch.complex64))  # every coefficient is 1 before the mask
    assert torch.allclose(made.dense()[0, 0].abs(), mask, atol=1e-6)


def test_only_a_fourier_filter_has_a_dense_mask() -> None:
    with pytest.raises(ValueError, match="fft"):
        SpectralFilter(1, 1, 8, transform="dct").mask()
