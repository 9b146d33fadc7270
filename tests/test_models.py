"""Built-in models: their stages, heads, sizes and names."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from overtone.errors import InputError
from overtone.models import FAMILIES, VERSION, Staged, WideResNet, build, fingerprint
from overtone.tap import Tap, macs, parameters, probe

MODELS = [
    ("wrn10-0.5", (6, 100)),
    ("wrn16-1", (3, 37)),
    ("wrn10-0.25", (2, 1, 1)),
    ("wrn10-1", (3, 32, 32)),
    ("wrn16-0.5", (6, 17, 20)),
    ("dscnn-8", (6, 100)),
    ("dscnn-1", (1, 9)),
    ("resnet8", (6, 100)),
    ("resnet14-a", (3, 32, 32)),
    ("vgg8-0.25", (6, 100)),
    ("vgg11-0.125", (3, 32, 32)),
    ("mobilenetv2-0.25", (6, 100)),
    ("mobilenetv2-0.5", (3, 32, 32)),
    ("inceptiontime-4", (6, 100)),
    ("resnet8x2", (3, 16, 16)),
    ("resnet50-b", (3, 9, 9)),
    ("mobilenetv1-0.25", (3, 32, 32)),
    ("mobilenetv1-0.125", (6, 100)),
    ("shufflenetv1", (3, 16, 16)),
    ("shufflenetv2", (3, 16, 16)),
    ("shufflenetv2", (6, 40)),
]
DEPTH = {"vgg": 5, "mobilenet": 4, "resnet50-b": 4}
"""Stages, where there are not three."""
HALVES = {"vgg": (2, 3, 4), "inceptiontime": ()}
"""Stages of half the size of the one before, where those are not all."""
NO_STEM = ("vgg", "inceptiontime")


def of_family(name, known, otherwise):
    return next((value for start, value in known.items() if name.startswith(start)), otherwise)


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
    depth = of_family(name, DEPTH, 3)
    stages = {f"stage{n}" for n in range(1, depth + 1)}
    linear = name.startswith(("mobilenetv2", "shufflenetv2"))  # their stages end in front of no activation
    others = {"final", "embedding"} | (set() if name.startswith(NO_STEM) else {"stem"})
    points = () if linear else ("pre", "raw") if name.startswith("wrn") else ("pre",)
    assert maps.keys() == others | stages | {f"{stage}.{point}" for stage in stages for point in points}
    if not linear:
        for stage in stages:
            assert torch.equal(maps[stage], maps[f"{stage}.pre"].relu())
        assert torch.equal(maps["final"], maps[f"stage{depth}"])
    halves = of_family(name, HALVES, range(2, depth + 1))
    for number, (larger, smaller) in enumerate(pairwise(maps[f"stage{n}"].shape[2:] for n in range(1, depth + 1)), 2):
        up = 0 if name.startswith("vgg") else 1  # pooling rounds down, a strided convolution up
        half = tuple((length + up) // 2 for length in larger)
        assert tuple(smaller) == (half if number in halves else tuple(larger))
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
    first = 2 if name.startswith("vgg") else 1  # as published code counts
    assert spec.depth_stages() == [f"stage{n}" for n in range(first, of_family(name, DEPTH, 3) + 1)]
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


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (torch.nn.Linear(10, 3), (10,), 30),
        (torch.nn.Conv1d(2, 4, 3, padding=1), (2, 20), 2 * 4 * 3 * 20),
        (torch.nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8), 4 * 9 * 36),
        (torch.nn.BatchNorm1d(3), (3, 5), 0),
    ],
)
def test_macs_of_one_sample(module, shape, expected):
    module.train()
    assert macs(module, torch.randn(4, *shape)) == expected
    assert module.training


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
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
