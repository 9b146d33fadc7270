"""Models with two branches, attention pooling, class activation maps, and the files of two-branch students."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from cases import CHANNELS, CLASSES, IMAGE, LENGTH, TWO_BRANCH, batch_of
from safetensors.torch import load_file
from torch import nn

from overtone.class_maps import class_maps
from overtone.errors import InputError
from overtone.lookup import make_view
from overtone.models import FAMILIES, TwoBranch, WideResNet, build, fingerprint
from overtone.models.base import AttentionPool
from overtone.recipe import ModelOptions
from overtone.student import Header, SeenView, load_student, read_header, save_student
from overtone.tap import Tap, parameters, probe
from overtone.trust import check_header

SHAPES = ((CHANNELS, LENGTH), (CHANNELS, IMAGE, IMAGE))
SIGNAL, IMAGES = (3, 40), (3, 16, 20)
MODELS = [
    (family.tiny, (3, 8, 8) if dims == 2 and family.tiny == family.example else {1: SIGNAL, 2: IMAGES}[dims])
    for family in FAMILIES.values()
    if not family.task
    for dims in family.dims
]
"""Every family's; smaller images for those that have no small model."""


def randomised(model):
    """Parameters and batch statistics that no initialisation makes 0 or 1."""
    generator = torch.Generator().manual_seed(5)
    for name, x in model.state_dict().items():
        if x.is_floating_point():
            noise = torch.randn(x.shape, generator=generator)
            x.copy_(1 + 0.2 * noise.abs() if "var" in name else x + 0.2 * noise)
    return model.eval()


def built(name, shape, **options):
    torch.manual_seed(0)
    return randomised(build(name, shape, CLASSES, ModelOptions(**options)))


def inputs(count=4, seed=0):
    views = batch_of(count, seed).views
    return views["signal"], views["gaf"]


def some(shape, count=3):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


# --- class activation maps


@pytest.mark.parametrize("pool", ["average", "attention"])
@pytest.mark.parametrize(("name", "shape"), MODELS)
def test_class_maps_average_to_the_logits(name, shape, pool):
    model = built(name, shape, pool=pool)
    tap = Tap(model)
    output = tap(some(shape))
    maps, bias = class_maps(output)
    assert maps.shape == (3, CLASSES, *output.stages["final"].shape[2:])
    torch.testing.assert_close(maps.flatten(2).mean(2) + bias, output.logits, rtol=1e-4, atol=1e-4)
    assert probe(tap, some(shape)).has_cam
    last = [module for module in model.modules() if isinstance(module, nn.Linear) and len(module.weight) == CLASSES][-1]
    final, expected = output.stages["final"].flatten(2), torch.zeros(3, CLASSES, maps[0, 0].numel())
    for sample in range(3):
        for position in range(final.shape[2]):
            share = 1 if output.attention is None else final.shape[2] * output.attention[sample, position]
            expected[sample, :, position] = share * (last.weight @ final[sample, :, position])
    torch.testing.assert_close(maps.flatten(2), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bias[0], last.bias, rtol=1e-4, atol=1e-4)


def test_class_maps_lead_gradients_to_the_model():
    model = built("wrn10-0.25", SIGNAL)
    class_maps(Tap(model)(some(SIGNAL)))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.dim() > 1)


class Bent(WideResNet):
    """Something behind the linear layer."""

    def classify(self, embedding):
        return super().classify(embedding).tanh()


class Highest(WideResNet):
    """Another pooling than the average."""

    def pool(self, final):
        return final.flatten(2).amax(2)


@pytest.mark.parametrize("kind", [Bent, Highest])
def test_another_head_has_no_class_maps(kind):
    spec = probe(Tap(randomised(kind(3, CLASSES, 1, depth=10, width=0.25))), some(SIGNAL))
    assert (spec.has_head, spec.has_cam) == (True, False)


def test_a_foreign_model_has_no_class_maps():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    tap = Tap(model)
    spec = probe(tap, some(SIGNAL))
    assert (spec.has_head, spec.has_cam) == (False, False)
    with pytest.raises(ValueError, match="head and last map are known"):
        class_maps(tap(some(SIGNAL)))


# --- attention pooling


@pytest.mark.parametrize("shape", [(6, 9), (6, 3, 4), (6, 1)])
def test_attention_pooling_equals_the_loop(shape):
    pool, final = randomised(AttentionPool(shape[0])), some(shape).requires_grad_()
    weights, pooled = pool.weights(final), pool(final)
    flat = final.detach().flatten(2)
    for sample in range(3):
        scores = [
            (pool.score.weight[0] @ (pool.hidden.weight @ flat[sample, :, p] + pool.hidden.bias).tanh()).item()
            for p in range(flat.shape[2])
        ]
        total = sum(map(math.exp, scores))
        expected = sum(math.exp(s) / total * flat[sample, :, p] for p, s in enumerate(scores))
        torch.testing.assert_close(pooled[sample], expected)
        torch.testing.assert_close(weights[sample], torch.tensor([math.exp(s) / total for s in scores]))
    assert bool((weights > 0).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    pooled.square().sum().backward()
    assert final.grad.abs().sum() > 0
    if flat.shape[2] > 1:
        assert all(p.grad.abs().sum() > 0 for p in pool.parameters())


def test_a_constant_map_pools_to_itself():
    vector = some((6, 1))
    torch.testing.assert_close(randomised(AttentionPool(6))(vector.expand(-1, -1, 7)), vector[:, :, 0])


@pytest.mark.parametrize("shape", [SIGNAL, IMAGES])
def test_attention_is_part_of_the_output_and_of_the_file(shape):
    model = built("wrn10-0.25", shape, pool="attention")
    output = model.output(some(shape))
    torch.testing.assert_close(output.attention, model.attend.weights(output.stages["final"]))
    torch.testing.assert_close(output.embedding, model.attend(output.stages["final"]))
    torch.testing.assert_close(output.logits, model.head(output.stages["final"]))
    assert torch.equal(model(some(shape)), output.logits)
    assert any(key.startswith("attend.") for key in model.state_dict())
    assert model.output(some(shape)).attention.shape == (3, output.stages["final"][0, 0].numel())
    assert built("wrn10-0.25", shape).output(some(shape)).attention is None


# --- two branches


def slow_attention(module, asking, asked):
    """One sample: what each asking token found, and the weights' mean over heads."""
    width = asking.shape[1] // module.heads
    q, k, v = module.query(asking), module.key(asked), module.value(asked)
    found, mean = torch.zeros_like(asking), torch.zeros(len(asking), len(asked))
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        for p in range(len(asking)):
            scores = [float(q[p, part] @ k[j, part]) / math.sqrt(width) for j in range(len(asked))]
            total = sum(math.exp(s) for s in scores)
            for j, score in enumerate(scores):
                weight = math.exp(score) / total
                found[p, part] += weight * v[j, part]
                mean[p, j] += weight / module.heads
    return module.out(found), mean


def slow_fused(model, signal, image):
    """Logits and attention of one sample, from its branches' last maps."""
    tokens = [
        norm(layer(final.flatten(1).T))
        for norm, layer, final in zip(model.norms, model.tokens, (signal, image), strict=True)
    ]
    (to_image, first), (to_signal, second) = (
        slow_attention(model.ask[0], *tokens),
        slow_attention(model.ask[1], *reversed(tokens)),
    )
    pooled = [
        sum(own[p] + found[p] for p in range(len(own))) / len(own)
        for own, found in zip(tokens, (to_image, to_signal), strict=True)
    ]
    attention = torch.zeros_like(first)
    for i in range(len(first)):
        for j in range(len(second)):
            attention[i, j] = (first[i, j] / len(first) + second[j, i] / len(second)) / 2
    return model.classifier(torch.cat(pooled)), attention


@pytest.mark.parametrize("name", [TWO_BRANCH, "two_branch-dscnn-4+resnet8"])
@torch.no_grad()
def test_the_fused_output_equals_the_loop(name):
    model = built(name, SHAPES)
    output = model.output(inputs(3))
    maps = [output.branches[branch].stages["final"] for branch in ("signal", "image")]
    for sample in range(3):
        logits, attention = slow_fused(model, *(own[sample] for own in maps))
        torch.testing.assert_close(output.logits[sample], logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.attention[sample], attention, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [TWO_BRANCH, "two_branch-dscnn-4+vgg8-0.125"])
@pytest.mark.parametrize("pool", ["average", "attention"])
def test_a_two_branch_output(name, pool):
    model = built(name, SHAPES, pool=pool)
    output = model.output(inputs())
    assert list(output.branches) == ["signal", "image"]
    sizes = [output.branches[branch].stages["final"][0, 0].numel() for branch in output.branches]
    assert output.logits.shape == (4, CLASSES)
    assert output.attention.shape == (4, *sizes)
    assert bool((output.attention >= 0).all())
    torch.testing.assert_close(output.attention.sum((1, 2)), torch.ones(4))
    for branch, x in zip((model.signal, model.image), inputs(), strict=True):
        own = output.branches["signal" if branch is model.signal else "image"]
        assert torch.equal(own.logits, branch(x))
        assert (own.attention is not None) == (pool == "attention")
    assert torch.equal(model(inputs()), output.logits)
    spec = probe(Tap(model), inputs(), [("time",), ("time", "time")])
    assert (spec.input, spec.dims, spec.classes) == (SHAPES, 0, CLASSES)
    assert spec.attention == tuple(sizes)
    assert spec.embedding == output.embedding.shape[1]
    assert [(part.input, part.axes, part.has_cam) for part in spec.branches.values()] == [
        (SHAPES[0], ("time",), True),
        (SHAPES[1], ("time", "time"), True),
    ]


def test_every_parameter_of_two_branches_takes_part():
    model = built(TWO_BRANCH, SHAPES, modality_dropout=0.5).train()
    torch.manual_seed(0)
    output = model.output(inputs(16))
    sum(x.square().sum() for x in (output.logits, *(own.logits for own in output.branches.values()))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_samples_lose_one_input_in_training_only():
    model = built(TWO_BRANCH, SHAPES, modality_dropout=0.5)
    x = inputs(64)
    with torch.no_grad():
        whole = model.output(x)
        alone = {"image": model((x[0], None)), "signal": model((None, x[1]))}
        assert torch.equal(model(x), whole.logits)
        model.training = True  # the branches stay in eval, so that rows do not depend on each other
        torch.manual_seed(0)
        found = model.output(x)
        again = model.output(x)
    rows = {"none": whole.logits, **alone}
    fits = {name: (found.logits - own).abs().amax(1) < 1e-5 for name, own in rows.items()}
    counts = {name: int(fit.sum()) for name, fit in fits.items()}
    assert sum(counts.values()) == 64, counts
    assert 20 <= counts["none"] <= 44
    assert min(counts["image"], counts["signal"]) >= 6
    assert not torch.allclose(found.logits, again.logits)
    for name, own in found.branches.items():
        assert torch.equal(own.logits, whole.branches[name].logits)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_input_is_taken_after_modality_dropout(missing):
    model = built(TWO_BRANCH, SHAPES, modality_dropout=0.25)
    given = tuple(None if n == missing else x for n, x in enumerate(inputs()))
    output = model.output(given)
    assert list(output.branches) == [("image", "signal")[missing]]
    torch.testing.assert_close(output.attention.sum((1, 2)), torch.ones(4))
    token = model.absent[missing].detach().clone()
    with torch.no_grad():
        model.absent[missing].add_(1 - 2 * (torch.arange(len(token)) % 2))
    assert not torch.allclose(model(given), output.logits)
    with pytest.raises(ValueError, match="needs a signal or an image, got neither"):
        model((None, None))


@pytest.mark.parametrize(("given", "said"), [(0, "got signal"), (1, "got image")])
def test_a_missing_input_is_refused_without_modality_dropout(given, said):
    model = built(TWO_BRANCH, SHAPES)
    assert not model.absent
    with pytest.raises(ValueError, match=f"needs a signal and an image, {said}; one may be missing after training"):
        model(tuple(x if n == given else None for n, x in enumerate(inputs())))


@pytest.mark.parametrize("probability", [1.0, -0.1])
def test_modality_dropout_is_a_probability(probability):
    branches = [build("wrn10-0.25", shape, CLASSES) for shape in SHAPES]
    with pytest.raises(ValueError, match="modality_dropout is a probability below 1"):
        TwoBranch(*branches, SHAPES, CLASSES, probability)


@pytest.mark.parametrize(
    ("name", "shapes", "options", "message"),
    [
        (
            TWO_BRANCH,
            SHAPES[::-1],
            {},
            r"sees a signal view and an image view, in this order.*\(3, 8, 8\) and \(3, 32\)",
        ),
        (TWO_BRANCH, SHAPES[0], {}, r"sees a signal view and an image view, in this order.*got inputs of \(3, 32\)"),
        (TWO_BRANCH, (*SHAPES, SHAPES[1]), {}, "sees a signal view and an image view"),
        ("two_branch-wrm10-1", SHAPES, {}, "unknown model 'wrm10-1'; did you mean 'wrn16-3'"),
        ("two_branch-dscnn-4", SHAPES, {}, "model 'dscnn-4' takes a signal"),
        ("two_branch-wrn10-1+torchvision:resnet18", SHAPES, {}, "branches are built-in models"),
        ("two_branch-wrn11-1", SHAPES, {}, "wrn11-1"),
        ("twobranch-wrn10-1", SHAPES[0], {}, "did you mean 'two_branch-wrn16-1'"),
        ("wrn10-0.25", SHAPES, {}, "sees one view, got 2; two_branch-wrn10-0.25 has a branch"),
        ("wrn10-0.25", SHAPES[0], {"modality_dropout": 0.5}, "modality_dropout is for two-branch models"),
    ],
)
def test_two_branches_that_cannot_be_built(name, shapes, options, message):
    with pytest.raises(InputError, match=message):
        build(name, shapes, CLASSES, ModelOptions(**options))


def test_a_branch_may_be_a_class_of_ones_own(monkeypatch):
    """It names its stages; other models, whose last map is not known, are refused."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    name = "two_branch-my_models:Small+wrn10-0.25"
    model = build(name, SHAPES, CLASSES, ModelOptions(pool="attention"))
    assert model.signal.attend is not None
    output = model.output(inputs(2))
    assert output.logits.shape == output.branches["signal"].logits.shape == (2, CLASSES)
    assert output.branches["signal"].attention.shape == (2, LENGTH)
    assert fingerprint(name) == f"{fingerprint('wrn10-0.25')} {fingerprint('my_models:Small')}"
    assert fingerprint("two_branch-wrn10-0.25") == "1"
    with pytest.raises(InputError, match=r"branches are built-in models or classes derived from .*Staged, whose"):
        build("two_branch-my_models:Plain+wrn10-0.25", SHAPES, CLASSES)
    with pytest.raises(InputError, match=r"'wrn10-0\.25': arguments are for models that are not built in"):
        build(name, SHAPES, CLASSES, ModelOptions(arguments={"width": 6}))
    with pytest.raises(InputError, match="pool: attention is for built-in models and classes derived from"):
        build("my_models:Plain", SHAPES[0], CLASSES, ModelOptions(pool="attention"))


def test_branches_of_ones_own_need_the_callers_word():
    name = "two_branch-my_models:Small+wrn10-0.25"
    for trust in (False, {"my_models:Other"}):
        with pytest.raises(InputError, match="it would import and run 'my_models:Small'"):
            check_header(name, {"mode": "text"}, [], "file", trust)
    for trust in (True, {"my_models:Small"}):
        check_header(name, {"mode": "text"}, [], "file", trust)
    with pytest.raises(InputError, match="mode=text, which is more than plain numbers"):  # they reach timm's model too
        check_header("two_branch-my_models:Small+timm:resnet18", {"mode": "text"}, [], "file", {"my_models:Small"})


# --- files


def windows(count=5, seed=1):
    return torch.randn(count, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(seed)) * 4 + 10


def two_branch_file(folder, view="gaf", name="two_branch-dscnn-4+wrn10-0.25", **options):
    """A trained student's file, with the model and how its two inputs are made."""
    mean, std = torch.tensor([10.0, 9.0, 11.0]), torch.tensor([4.0, 3.0, 5.0])

    def standardised(x):
        return (x - mean[:, None]) / std[:, None]

    settings = {"size": IMAGE}
    images = make_view(view, settings)
    state = images.fit(images.prepare(standardised(windows(20, seed=0))))
    model = built(name, SHAPES, **options)
    header = Header(
        builder=name,
        options=ModelOptions(**options),
        input_shape=SHAPES,
        classes=tuple("abcde"),
        channels=tuple("xyz"),
        rate=50.0,
        window=LENGTH,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        views=[SeenView(type="signal", settings={}, state={}), SeenView(type=view, settings=settings, state=state)],
    )
    path = folder / "student.safetensors"
    save_student(path, model.state_dict(), header)
    return path, model, lambda x: (standardised(x), images.render(images.prepare(standardised(x)), state))


@pytest.mark.parametrize("options", [{}, {"modality_dropout": 0.5}, {"pool": "attention"}])
@pytest.mark.parametrize("view", ["gaf", "pi"])
@torch.no_grad()
def test_a_reloaded_two_branch_student_gives_equal_logits(tmp_path, view, options):
    path, model, feed = two_branch_file(tmp_path, view, **options)
    student = load_student(path)
    assert torch.equal(student(windows()), model(feed(windows())))
    torch.testing.assert_close(student.predict(windows().numpy()).sum(1), torch.ones(5))
    assert student.branches == ("signal", "image")
    assert student.header == read_header(path)
    assert load_file(path).keys() == model.state_dict().keys()
    assert not student.training


@torch.no_grad()
def test_a_student_with_a_branch_of_ones_own_is_reloaded_with_the_callers_word(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    path, model, feed = two_branch_file(tmp_path, name="two_branch-my_models:Small+wrn10-0.25", pool="attention")
    with pytest.raises(InputError, match="it would import and run 'my_models:Small'"):
        load_student(path)
    student = load_student(path, trust={"my_models:Small"})
    assert torch.equal(student(windows()), model(feed(windows())))
    branch = student.branch("signal")
    save_student(tmp_path / "branch.safetensors", branch.model.state_dict(), branch.header)
    again = load_student(tmp_path / "branch.safetensors", trust={"my_models:Small"})
    assert torch.equal(again(windows()), branch(windows()))


@pytest.mark.parametrize("pool", ["average", "attention"])
@torch.no_grad()
def test_a_branch_is_a_student_of_its_own(tmp_path, pool):
    path, model, feed = two_branch_file(tmp_path, "pi", modality_dropout=0.5, pool=pool)
    whole = load_student(path)
    for number, name in enumerate(("signal", "image")):
        branch = whole.branch(name)
        expected = model.output(feed(windows())).branches[name].logits
        assert torch.equal(branch(windows()), expected)
        own = tmp_path / f"{name}.safetensors"
        save_student(own, branch.model.state_dict(), branch.header)
        again = load_student(own)
        assert torch.equal(again(windows()), expected)
        assert again.branches == ()
        assert again.header.builder == ("dscnn-4", "wrn10-0.25")[number]
        assert again.header.input_shape == SHAPES[number]
        assert [seen.type for seen in again.header.views] == [("signal", "pi")[number]]
        assert again.header.options == ModelOptions(pool=pool)
        assert (
            load_file(own).keys()
            == build(again.header.builder, SHAPES[number], 5, ModelOptions(pool=pool)).state_dict().keys()
        )
        assert parameters(again) < parameters(whole)


@torch.no_grad()
def test_a_student_without_one_input(tmp_path):
    path, model, feed = two_branch_file(tmp_path, modality_dropout=0.5)
    student = load_student(path)
    signal, image = feed(windows())
    assert torch.equal(student.without("image")(windows()), model((signal, None)))
    assert torch.equal(student.without("signal")(windows()), model((None, image)))
    assert torch.equal(student(windows()), model((signal, image)))


def test_parts_that_a_student_does_not_have_are_refused(tmp_path):
    path, _, _ = two_branch_file(tmp_path)
    student = load_student(path)
    with pytest.raises(InputError, match=r"no branch 'gaf'; this student, two_branch-.*has the branches signal, image"):
        student.branch("gaf")
    with pytest.raises(InputError, match="no branch 'gaf'"):
        student.without("gaf")
    with pytest.raises(InputError, match="no branch 'signal'; this student, dscnn-4, has no branches"):
        student.branch("signal").branch("signal")
    with pytest.raises(InputError, match="trained without modality_dropout and cannot do without its image"):
        student.without("image")
