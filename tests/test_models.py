"""Built-in models: their stages, heads, sizes and names."""

from __future__ import annotations

import copy
import json
import sys
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from overtone import data, recipe
from overtone.costs import FLOPS
from overtone.distill import Distillation
from overtone.engine import Callback, loop
from overtone.errors import InputError
from overtone.models import FAMILIES, VERSION, Staged, WideResNet, build, fingerprint, sketch
from overtone.recipe import ModelOptions
from overtone.student import Header, SeenView, load_student, save_student
from overtone.study import execute, make_plan
from overtone.tap import Tap, macs, parameters, probe
from overtone.testing.resume import Stop, StopAt, job

SHAPES = {1: (6, 37), 2: (3, 9, 12)}
CLASSIFIERS = {name: family for name, family in FAMILIES.items() if not family.task}
TINY = [(family.tiny, SHAPES[dims]) for family in CLASSIFIERS.values() for dims in family.dims]
"""A new family is in every test of this list, and of two-branch models and student files, without a word here."""
MODELS = [
    *TINY,
    ("wrn16-1", (3, 37)),
    ("wrn10-0.25", (2, 1, 1)),
    ("wrn10-1", (3, 32, 32)),
    ("wrn16-0.5", (6, 17, 20)),
    ("dscnn-1", (1, 9)),
    ("resnet14-a", (3, 32, 32)),
    ("vgg11-0.125", (3, 32, 32)),
    ("resnet8x2", (3, 16, 16)),
    ("shufflenetv1", (3, 16, 16)),
    ("patch_transformer6-8-p3", (3, 16, 16)),
    ("gru-1", (1, 9)),
]


def smaller(most, models):
    """Those with more parameters are left to ``make slow``."""
    count = {one: parameters(sketch(*one, 5, ModelOptions(), 10**4, 10**8)) for one in models}
    marked = [pytest.param(*one, marks=[pytest.mark.slow] * (count[one] > most)) for one in models]
    return pytest.mark.parametrize(("name", "shape"), marked)


each_small_signal = smaller(5000, [one for one in TINY if len(one[1]) == 2])
each_small = smaller(10**6, TINY)
each_tiny = pytest.mark.parametrize(("name", "shape"), TINY)
each_model = pytest.mark.parametrize(("name", "shape"), MODELS)


def model_of(name, shape, classes=5):
    torch.manual_seed(0)
    return build(name, shape, classes).eval()


def example(shape, count=3):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


@each_model
def test_a_model_declares_its_stages(name, shape):
    model = model_of(name, shape)
    assert isinstance(model, Staged)
    maps = model.features(example(shape))
    depth = len(model.STRIDES)
    stages = {f"stage{n}" for n in range(1, depth + 1)}
    others = {"final", "embedding"} | ({"stem"} if model.STEM else set())
    assert maps.keys() == others | stages | {f"{stage}.{point}" for stage in stages for point in model.POINTS}
    if "pre" in model.POINTS:
        for stage in stages:
            assert torch.equal(maps[stage], maps[f"{stage}.pre"].relu())
        assert torch.equal(maps["final"], maps[f"stage{depth}"])
    sizes = [maps[stage].shape[2:] for stage in (*["stem"] * model.STEM, *sorted(stages))]
    for stride, (larger, smaller) in zip(model.STRIDES[not model.STEM :], pairwise(sizes), strict=True):
        for long, short in zip(larger, smaller, strict=True):  # pooling rounds down, a strided convolution up
            assert short in (max(1, long // stride), -(-long // stride))
    assert all(x.dim() == len(shape) + 1 for stage, x in maps.items() if stage != "embedding")
    assert maps["embedding"].shape == (3, maps["final"].shape[1])


@each_model
def test_the_head_takes_the_final_map_to_the_logits(name, shape):
    model, x = model_of(name, shape), example(shape)
    maps, logits = model.features(x), model(x)
    assert logits.shape == (3, 5)
    assert torch.equal(model.head(maps["final"]), logits)
    assert torch.equal(model.classify(maps["embedding"]), logits)
    assert torch.equal(model.pool(maps["final"]), maps["embedding"])
    assert torch.equal(Tap(model)(x).logits, logits)


@each_model
def test_every_parameter_takes_part(name, shape):
    model = model_of(name, shape).train()
    model(example(shape, 4)).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@each_model
def test_a_seed_decides_the_weights(name, shape):
    one, two = model_of(name, shape).state_dict(), model_of(name, shape).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    torch.manual_seed(1)
    other = build(name, shape, 5).state_dict()
    assert any(not torch.equal(one[key], other[key]) for key in one)


@each_model
def test_the_probe_finds_the_shapes(name, shape):
    tap = Tap(model_of(name, shape))
    spec = probe(tap, example(shape))
    output = tap(example(shape, 2))
    assert (spec.input, spec.classes, spec.has_head) == (shape, 5, True)
    assert spec.embedding == output.embedding.shape[1]
    assert {stage: s.shape for stage, s in spec.stages.items()} == {
        stage: tuple(x.shape[1:]) for stage, x in output.stages.items()
    }
    assert spec.depth_stages() == [f"stage{n}" for n in range(tap.model.FIRST, len(tap.model.STRIDES) + 1)]
    assert spec.stages["stage2"].channels == output.stages["stage2"].shape[1]
    assert spec.stages["stage2"].size == tuple(output.stages["stage2"].shape[2:])


LITERATURE = {
    "resnet20": 278_324,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn40-2": 2_255_156,
    "wrn16-2": 703_284,
    "wrn40-1": 569_780,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    "mobilenetv2-0.5": 812_836,
    "resnet50-b": 23_705_252,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
}
"""Parameters with 100 classes, as counted in the code that the literature's tables come from."""


@pytest.mark.parametrize("name", LITERATURE)
def test_the_literature_s_models_have_its_number_of_parameters(name):
    assert parameters(build(name, (3, 32, 32), 100)) == LITERATURE[name]


def test_mobilenet_has_the_parameters_of_imagenet():
    assert parameters(build("mobilenetv1", (3, 224, 224), 1000)) == 4_231_976


def test_shuffling_takes_channels_of_all_groups_in_turn():
    from overtone.models.shufflenet import shuffle

    x = torch.arange(6).view(1, 6, 1)
    assert shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def wrn_parameters(depth, width, channels, classes, dims):
    """Counted by hand: the stem, blocks of two convolutions and two norms, a shortcut where the shape changes."""
    total, inputs = channels * 16 * 3**dims, 16
    for stage, outputs in enumerate(max(1, round(base * width)) for base in (16, 32, 64)):
        for block in range((depth - 4) // 6):
            total += 2 * inputs + inputs * outputs * 3**dims + 2 * outputs + outputs * outputs * 3**dims
            halves = stage > 0 and block == 0
            total += inputs * outputs if halves or inputs != outputs else 0
            inputs = outputs
    return total + 2 * inputs + (inputs + 1) * classes


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(("depth", "width"), [(10, 0.5), (16, 1), (16, 3), (22, 2), (10, 0.01)])
def test_wide_resnet_parameters_equal_the_count_by_hand(depth, width, dims):
    model = WideResNet(6, 7, dims, depth, width)
    assert parameters(model) == wrn_parameters(depth, width, 6, 7, dims)
    assert parameters(model) == parameters(build(f"wrn{depth}-{width}", (6, *[32] * dims), 7))


@pytest.mark.parametrize(
    ("name", "classes", "known"),
    [
        *(
            ("wrn40-2", 100, 2_255_156),
            ("wrn16-2", 100, 703_284),
            ("wrn40-1", 100, 569_780),
            ("wrn40-2", 10, 2_243_546),
        ),
        *(("vgg8", 100, 3_965_028), ("vgg13", 100, 9_462_180), ("mobilenetv2-0.5", 100, 812_836)),
        *(("resnet20", 100, 278_324), ("resnet56", 100, 861_620), ("resnet110", 100, 1_736_564)),
    ],
)
def test_cifar_wide_resnets_have_their_published_size(name, classes, known):
    assert parameters(build(name, (3, 32, 32), classes)) == known


def test_dscnn_parameters_equal_the_count_by_hand():
    def separable(a, b):
        return 5 * a + 2 * a + a * b + 2 * b

    w, channels, classes = 8, 6, 7
    stem, classifier = 5 * channels * w + 2 * w, (2 * w + 1) * classes
    expected = stem + separable(w, w) + separable(w, 2 * w) + separable(2 * w, 2 * w) + classifier
    assert parameters(build("dscnn-8", (channels, 100), classes)) == expected


class Asking(torch.nn.Module):
    """Tokens that ask themselves, by torch's own attention."""

    def __init__(self, weights):
        super().__init__()
        self.attention, self.weights = torch.nn.MultiheadAttention(8, 2, batch_first=True), weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.weights)


ATTENDED = 4 * 10 * 8 * 8 + 2 * 10 * 10 * 8
"""Four linear layers, scores and the weighted sum, of 10 tokens."""


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (torch.nn.Linear(10, 3), (10,), 30),
        (torch.nn.Conv1d(2, 4, 3, padding=1), (2, 20), 2 * 4 * 3 * 20),
        (torch.nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8), 4 * 9 * 36),
        (torch.nn.BatchNorm1d(3), (3, 5), 0),
        (torch.nn.RNN(6, 8), (10, 6), 10 * 8 * (6 + 8)),
        (torch.nn.GRU(6, 8), (10, 6), 10 * 3 * 8 * (6 + 8)),
        (torch.nn.LSTM(6, 8), (10, 6), 10 * 4 * 8 * (6 + 8)),
        (torch.nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True), (10, 6), 10 * 2 * 4 * 8 * (6 + 8 + 16 + 8)),
        (Asking(True), (10, 8), ATTENDED),
        (Asking(False), (10, 8), ATTENDED),
        (torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (10, 8), ATTENDED + 2 * 10 * 8 * 16),
    ],
)
def test_macs_of_one_sample(module, shape, expected):
    module.train()
    assert macs(module, torch.randn(4, *shape)) == expected
    assert module.training
    assert torch.backends.mha.get_fastpath_enabled()


def test_macs_of_recurrent_layers_as_a_gpu_runs_them():
    """Its operation gets all weights of a layer in both directions, one after the other."""
    layer = torch.nn.LSTM(6, 8, 2, bidirectional=True)
    weights = [tuple(weight.shape) for weight in layer.parameters()]
    assert FLOPS[torch.ops.aten._cudnn_rnn]((10, 1, 6), weights) == 2 * 10 * 2 * 4 * 8 * (6 + 8 + 16 + 8)


@pytest.mark.parametrize("family", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_every_family_builds_its_example(family):
    for dims in family.dims:
        model = build(family.example, (2, *[16] * dims), 3).eval()
        assert model(torch.randn(1, 2, *[16] * dims)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("wrn16", (6, 100), "unknown model 'wrn16'; did you mean 'wrn16-3'"),
        ("wrn-16-1", (6, 100), "unknown model"),
        ("WRN16-1", (6, 100), "unknown model 'WRN16-1'; did you mean 'wrn16-3'"),
        ("wrn16-1 ", (6, 100), "unknown model"),
        ("wrn16--1", (6, 100), "unknown model"),
        ("", (6, 100), "unknown model ''"),
        ("wrn15-1", (6, 100), r"model 'wrn15-1': a wide ResNet's depth is 6n \+ 4 .*got 15"),
        ("wrn4-1", (6, 100), "got 4"),
        ("wrn16-0", (6, 100), "width must be positive, got 0"),
        ("dscnn-0", (6, 100), "width must be at least 1, got 0"),
        ("dscnn-1.5", (6, 100), "unknown model"),
        ("dscnn-8", (6, 32, 32), r"'dscnn-8' takes a signal \(C, T\), but its view gives \(6, 32, 32\)"),
        ("wrn16-1", (6, 8, 8, 8), r"takes a signal \(C, T\) or images \(C, H, W\), but .*\(6, 8, 8, 8\)"),
        ("wrn16-1", (6,), "but its view gives"),
        *(
            (FAMILIES[name].tiny, (3, 16, 16), r"takes a signal \(C, T\), but its view gives \(3, 16, 16\)")
            for name in ("gru", "deepconvlstm", "tinierhar")
        ),
        *((f"{name}-0", (6, 100), "width must be at least 1, got 0") for name in ("gru", "deepconvlstm", "tinierhar")),
        ("patch_transformer4-8", (6, 100), r"depth is 3n \(3, 6, 9, 12, \.\.\.\), got 4"),
        ("patch_transformer0-8", (6, 100), "got 0"),
        ("patch_transformer3003-8", (6, 100), "a depth of at most 1000 is needed, got 3003"),
        ("patch_transformer3-6", (6, 100), "width is a multiple of its 4 heads, got 6"),
        ("patch_transformer3-8-p0", (6, 100), "patch must be at least 1, got 0"),
        ("patch_transformer3-8", (3, 224, 224), "224 x 224 has 3136 patches of 4, .* is 1024; .*mer3-8-p8$"),
        ("patch_transformer-8", (6, 100), "did you mean 'patch_transformer6-64'"),
    ],
)
def test_a_model_that_cannot_be_is_refused(name, shape, message):
    with pytest.raises(InputError, match=message):
        build(name, shape, 7)


def test_a_wide_resnets_stage_has_three_points():
    """The sum of the last block, normalised by what opens the next stage, and that activated."""
    model, x = model_of("wrn16-1", (3, 16, 16)), example((3, 16, 16))
    maps = model.features(x)
    norms = {"stage1": model.stages[1][0].norm1, "stage2": model.stages[2][0].norm1, "stage3": model.norm}
    for stage, norm in norms.items():
        assert torch.equal(norm(maps[f"{stage}.raw"]), maps[f"{stage}.pre"])
    activated = F.relu(model.stages[0][0].norm1(model.stem(x)))
    first, second = model.stages[0]
    raw = first(model.stem(x), activated)
    assert torch.equal(second(raw, F.relu(second.norm1(raw))), maps["stage1.raw"])
    assert bool((maps["stage1.raw"] < 0).any())


@pytest.mark.parametrize(("name", "largest"), [("mobilenetv2-0.5", 40), ("mobilenetv2-0.5-relu6", 6)])
def test_a_mobilenetv2_has_plain_relus_unless_named_otherwise(name, largest):
    model = model_of(name, (3, 16, 16))
    maps = model.features(1000 * example((3, 16, 16)))
    assert float(maps["stem"].max()) == 6 if largest == 6 else float(maps["stem"].max()) > largest
    kinds = {type(module) for module in model.modules() if isinstance(module, (torch.nn.ReLU, torch.nn.ReLU6))}
    assert kinds == {torch.nn.ReLU6 if largest == 6 else torch.nn.ReLU}


def test_a_familys_version_is_part_of_what_decides_its_numbers():
    """Only the family that changed, alone or as a branch; finished cells of others stay as they are."""
    assert fingerprint("wrn16-1") == fingerprint("two_branch-wrn16-1") == fingerprint("vgg8") == str(VERSION)
    assert fingerprint("mobilenetv2-0.5") == str(VERSION + 1)
    assert fingerprint("two_branch-wrn16-1+mobilenetv2-0.5") == str(VERSION + 1)
    assert fingerprint("two_branch-mobilenetv2-0.5") == str(VERSION + 2)


# --- what every family can


@each_tiny
def test_any_size_will_do(name, shape):
    small = (2, *[1] * (len(shape) - 1))
    assert bool(model_of(name, small)(example(small)).isfinite().all())


@each_small_signal
def test_compiled_equals_eager(name, shape):
    model, x = model_of(name, shape).train(), example(shape)
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    logits, compiled = model(x), torch.compile(twin, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, logits)
    for loss in (logits, compiled):
        loss.square().sum().backward()
    for (key, one), (_, two) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-3, atol=1e-4, msg=lambda said, key=key: f"{key}: {said}")


@each_tiny
def test_finite_under_autocast(name, shape):
    model = model_of(name, shape).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.output(example(shape))
    output.logits.float().square().sum().backward()
    assert all(bool(x.isfinite().all()) for x in (output.logits, *output.stages.values()))
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@each_tiny
def test_evaluation_has_gradients_at_every_stage(name, shape):
    """Which Grad-CAM asks for."""
    output = model_of(name, shape).output(example(shape))
    stages = [x for stage, x in output.stages.items() if "." not in stage]
    assert all(bool(x.any()) for x in torch.autograd.grad(output.logits.square().sum(), stages))


@each_small
def test_a_student_file_holds_it(name, shape, tmp_path):
    model, x = model_of(name, shape, 2), example(shape)
    state = model.state_dict()
    drawn = sketch(name, shape, 2, ModelOptions(), len(state), sum(tensor.numel() for tensor in state.values()))
    assert all(tensor.is_meta for tensor in drawn.state_dict().values())
    signal = len(shape) == 2
    header = Header(
        builder=name,
        input_shape=shape,
        classes=("a", "b"),
        channels=tuple(map(str, range(shape[0]))),
        rate=50.0 if signal else None,
        window=shape[1] if signal else shape[1:],
        mean=(0.0,) * shape[0],
        std=(1.0,) * shape[0],
        views=[SeenView(type="signal" if signal else "image", settings={}, state={})],
    )
    save_student(tmp_path / "s.safetensors", state, header)
    loaded = load_student(tmp_path / "s.safetensors").model
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    loaded.train()(x).sum().backward()


@pytest.mark.parametrize("method", ["at", "review"])
@each_small
def test_it_teaches_and_learns(name, shape, method):
    """Maps, stage by stage."""
    torch.manual_seed(1)
    student, teacher, x = build(name, shape, 5), model_of(name, shape), example(shape, 4)
    step = Distillation.between(student, teacher, method, example=x)(x, torch.arange(4))
    sum(value for term, value in step.terms.items() if term != "ce").backward()
    assert all(bool(value.isfinite()) for value in step.terms.values())
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in student.parameters())


@each_small_signal
def test_resumed_equals_undisturbed(name, shape, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    accelerator = Accelerator(cpu=True)
    whole = loop.fit(job(tmp_path / "whole", "kd", {}, student=name), accelerator, Callback())
    with pytest.raises(Stop):
        loop.fit(job(tmp_path / "killed", "kd", {}, student=name), accelerator, StopAt(5))
    resumed = loop.fit(job(tmp_path / "killed", "kd", {}, student=name), accelerator, Callback())
    assert resumed.rows == whole.rows
    assert all(torch.equal(resumed.last[key], whole.last[key]) for key in whole.last)


# --- patch transformer


@pytest.mark.parametrize("shape", [(6, 37), (3, 9, 12)])
def test_patches_lie_where_they_were_cut(shape):
    """One patch of the input reaches one position of the stem, the last ones filled up with zeros."""
    model, x = model_of("patch_transformer3-8", shape), example(shape, 1)
    stem = model.features(x)["stem"]
    assert stem.shape[2:] == ((5,) if len(shape) == 2 else (3, 3))
    moved = x.clone()
    moved[..., -1] += 1
    changed = (model.features(moved)["stem"] != stem).any(1).squeeze(0)
    assert changed[..., -1].all()
    assert not changed[..., :-1].any()
    whole = F.pad(x, [0, 3] if len(shape) == 2 else [0, 0, 0, 3])
    last = whole[0, :, -8:] if len(shape) == 2 else whole[0, :, -4:, -4:]
    found = torch.einsum("d...,...->d", model.embed.weight, last) + model.embed.bias
    torch.testing.assert_close(stem.flatten(2)[0, :, -1], found + model.positions.flatten(1)[:, -1])


def test_positions_are_learned():
    model, x = model_of("patch_transformer3-8", (2, 32)), example((2, 32))
    turned = x.unflatten(2, (4, 8)).flip(2).flatten(2)
    assert not torch.allclose(model(turned), model(x), atol=1e-5)
    model.positions.data.zero_()
    torch.testing.assert_close(model(turned), model(x))
    with pytest.raises(ValueError, match=r"made for inputs of \(32,\), got \(40,\)"):
        model(torch.zeros(1, 2, 40))


def test_its_blocks_are_those_of_torch():
    block, x = model_of("patch_transformer3-8", (2, 32)).stages[0][0], example((4, 8))
    theirs = torch.nn.TransformerEncoderLayer(8, 4, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    own, ask = theirs.state_dict(), block.attention
    for kind in ("weight", "bias"):
        own[f"self_attn.in_proj_{kind}"] = torch.cat([getattr(m, kind) for m in (ask.query, ask.key, ask.value)])
        own[f"self_attn.out_proj.{kind}"] = getattr(ask.out, kind)
        for number in (1, 2):
            own[f"norm{number}.{kind}"] = getattr(getattr(block, f"norm{number}"), kind)
            own[f"linear{number}.{kind}"] = getattr(block.mlp[2 * number - 2], kind)
    theirs.load_state_dict(own)
    torch.testing.assert_close(block(x), theirs(x))


# --- recurrent models


def test_a_gru_looks_back_only():
    model, x = model_of("gru-8", (3, 20)), example((3, 20))
    later = x.clone()
    later[:, :, 12:] += 1
    for stage, held in model.features(later).items():
        if stage != "embedding":
            torch.testing.assert_close(held[..., :12], model.features(x)[stage][..., :12])
            assert not torch.allclose(held[..., 12:], model.features(x)[stage][..., 12:])


CHANNELWISE = [("deepconvlstm-4", ["stem", "stage1"]), ("tinierhar-2", ["stem", "stage1", "stage2"])]


@pytest.mark.parametrize(("name", "stages"), CHANNELWISE)
def test_channels_share_their_filters(name, stages):
    """Channels in another order give the same maps in that order."""
    model, x = model_of(name, (3, 20)), example((3, 20))
    maps, turned = model.features(x), model.features(x[:, [2, 0, 1]])
    for stage in stages:
        apart = maps[stage].unflatten(1, (3, -1))
        torch.testing.assert_close(turned[stage].unflatten(1, (3, -1)), apart[:, [2, 0, 1]])


def recurrent(inputs, width, gates):
    return gates * width * (inputs + width + 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("patch_transformer6-64", (304_582, 4_964_736)),
        ("gru-64", (64_134, 8_012_160)),
        ("deepconvlstm-64", (458_054, 97_764_096)),
        ("tinierhar-8", (12_563, 611_520)),
    ],
)
def test_figures_are_those_of_the_docstrings(name, expected):
    model = build(name, (6, 128), 6)
    assert (parameters(model), macs(model, example((6, 128)))) == expected
    said = sys.modules[type(model).__module__].__doc__
    assert f"``{name}`` has {expected[0]:,} parameters and {expected[1]:,} MACs" in said


def test_parameters_and_macs_equal_the_count_by_hand():
    channels, length, classes = 6, 20, 7
    w, layers = 8, [(channels, 8), (8, 8), (8, 8)]
    linear = (w + 1) * classes
    macs_of = {"gru-8": length * sum(3 * b * (a + b) for a, b in layers) + w * classes}
    of = {"gru-8": sum(recurrent(a, b, 3) for a, b in layers) + linear}
    convolutions, rest = (5 * w + w) + 3 * (5 * w * w + w), [(channels * w, 2 * w), (2 * w, 2 * w)]
    of["deepconvlstm-8"] = convolutions + sum(recurrent(a, b, 4) for a, b in rest) + (2 * w + 1) * classes
    macs_of["deepconvlstm-8"] = (
        channels * length * (5 * w + 3 * 5 * w * w) + length * sum(4 * b * (a + b) for a, b in rest) + 2 * w * classes
    )
    blocks = [(1, w, 20), (w, 2 * w, 10), (2 * w, 2 * w, 5), (2 * w, 2 * w, 5)]
    width, hidden = 4 * w, w  # attention's hidden layer is a quarter
    of["tinierhar-8"] = (
        sum(5 * a + a * b + 2 * b + (a * b + 2 * b) * (a != b) for a, b, _ in blocks)
        + 2 * recurrent(channels * 2 * w, 2 * w, 3)
        + (width + 1) * hidden
        + hidden
        + (width + 1) * classes
    )
    macs_of["tinierhar-8"] = (
        channels * sum(time * (5 * a + a * b * (1 + (a != b))) for a, b, time in blocks)
        + 5 * 2 * 3 * 2 * w * (channels * 2 * w + 2 * w)
        + 5 * (width * hidden + hidden)
        + width * classes
    )
    tokens = 3  # of 8 samples each, the last filled up
    of["patch_transformer3-8"] = (
        8 * channels * w + w + tokens * w + 3 * (4 * (w * w + w) + 8 * w * w + 5 * w + 4 * w) + 2 * w + linear
    )
    macs_of["patch_transformer3-8"] = (
        tokens * 8 * channels * w + 3 * (tokens * 12 * w * w + 2 * tokens * tokens * w) + w * classes
    )
    for name in of:
        model = build(name, (channels, length), classes)
        assert (name, parameters(model), macs(model, example((channels, length)))) == (name, of[name], macs_of[name])


def test_a_study_of_a_gru_and_a_patch_transformer(tiny, tmp_path):
    tiny["teachers"] = {"patches": {"view": "signal", "model": "patch_transformer3-8", "epochs": 1}}
    tiny["student"] = {"model": "gru-8", "epochs": 1}
    tiny["methods"] = [{"name": name, "teachers": ["patches"]} for name in ("kd", "fam_layer")]
    study = recipe.validate(tiny)
    plan = make_plan(study, data.load(study.data))
    assert execute(plan, tmp_path) == {}
    rows = [json.loads((tmp_path / "cells" / key / "metrics.jsonl").read_text()) for key in plan.cells]
    assert {name for row in rows for name in row["terms"]} == {"ce", "kd.kl", "fam_layer.map.patches"}
