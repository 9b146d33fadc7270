"""Which map of a stage a method reads: behind its activation, in front of it, the raw sum of its last block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overtone.errors import InputError
from overtone.methods import METHODS, configure, make
from overtone.methods.feature_maps import LevelMethod
from overtone.methods.sp import SP
from overtone.models import build
from overtone.recipe import load, shipped
from overtone.tap import Tap, probe
from overtone.types import DataInfo, Spec

IMAGE, SIGNAL = (3, 32, 32), (3, 64)
NOTHING = torch.zeros(0, dtype=torch.long)
MAPS = [name for name, kind in METHODS.items() if issubclass(kind, (LevelMethod, SP))]


def spec_of(name: str, shape: tuple[int, ...] = IMAGE, at: dict[str, str] | None = None) -> Spec:
    return probe(Tap(build(name, shape, 5), at), torch.zeros(2, *shape))


def method_of(name: str, student: Spec, teacher: Spec, **settings: Any) -> Any:
    data = DataInfo(tuple("abcde"), NOTHING, NOTHING)
    return make(name, configure(name, settings), student, {"t": teacher}, data)[0]


def read(name: str, student: Spec, teacher: Spec, **settings: Any) -> list[tuple[str, str]]:
    """Student's and teacher's maps, shallow to deep, without the embedding."""
    method = method_of(name, student, teacher, **settings)
    if isinstance(method, SP):
        return method.pairs["t"]
    return [(x.student, x.teacher) for x in method.levels["t"][::-1] if x.student != "embedding"]


def test_every_method_on_maps_has_both_settings() -> None:
    assert set(MAPS) == {"sp", "fitnet", "at", "review", "fam_layer", "fam_review", "freekd"}
    for name in MAPS:
        assert {"student_at", "teacher_at"} <= METHODS[name].Config.model_fields.keys()
        with pytest.raises(InputError, match="student_at"):
            configure(name, {"student_at": "behind"})


FAMILIES: list[tuple[str, int, str, str]] = [
    # model, published stages more than ours, the student's point, the teacher's where a method reads in front
    ("resnet8", 0, "", ".pre"),
    ("wrn10-0.5", 0, ".raw", ".pre"),
    ("vgg8-0.125", 1, "", ".pre"),
    ("shufflenetv1", 0, "", ".pre"),
    ("shufflenetv2", 0, "", ""),
    ("mobilenetv2-0.25", 0, "", ""),
]


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("model", "more", "point", "front"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_what_published_code_reads_is_the_default(name: str, model: str, more: int, point: str, front: str) -> None:
    spec = spec_of(model)
    depth = 3 if model.startswith(("resnet", "wrn", "shuffle")) else 4
    stages = {"sp": [depth], "fitnet": [2]}.get(name, list(range(1, depth + 1)))
    theirs = front if name == "review" else point
    wanted = [(f"stage{n + more}{point}", f"stage{n + more}{theirs}") for n in stages]
    settings = {"attention": False} if name.startswith("fam") else {}
    assert read(name, spec, spec, **settings) == wanted


@pytest.mark.parametrize("name", MAPS)
def test_signals_are_read_behind_the_activation(name: str) -> None:
    """Published code with raw sums is for images; review's teacher is read in front of its activation all the same."""
    spec = spec_of("wrn10-0.5", SIGNAL)
    front = ".pre" if name == "review" else ""
    assert all(s == t.removesuffix(front) and "." not in s for s, t in read(name, spec, spec))
    assert read(name, spec, spec, student_at="raw")[-1][0].endswith(".raw")


@pytest.mark.parametrize("name", MAPS)
def test_a_point_that_was_asked_for_must_be_there(name: str) -> None:
    wide, plain = spec_of("wrn10-0.5"), spec_of("resnet8")
    assert {(s[6:], t[6:]) for s, t in read(name, wide, wide, student_at="before", teacher_at="after")} == {
        (".pre", "")
    }
    with pytest.raises(
        InputError, match=r"student_at: raw: stage\d of the student has no map there .* after and before"
    ):
        read(name, plain, wide, student_at="raw")
    with pytest.raises(
        InputError, match=r"teacher_at: raw: stage\d of the teacher has no map .*; leave teacher_at out"
    ):
        read(name, wide, plain, teacher_at="raw")
    pairs = {"stage3.pre": "stage3.raw"}
    assert read(name, wide, wide, pairs=pairs, student_at="raw", teacher_at="before") == [("stage3.pre", "stage3.raw")]


def test_what_is_read_instead_of_a_missing_point_is_told() -> None:
    plain, linear = spec_of("resnet8"), spec_of("shufflenetv2")
    assert method_of("review", linear, plain).notes() == ()
    assert method_of("review", plain, linear).notes() == (
        "review reads stage1, stage2, stage3 of teacher t as they are: no activation is known at their end, in front "
        "of which it would read them",
    )
    assert method_of("review", plain, linear, teacher_at="after").notes() == ()


def test_a_hint_ends_in_a_relu_where_it_can_reach_the_map() -> None:
    wide, plain = spec_of("wrn10-0.5"), spec_of("resnet8")

    def ends(teacher: Spec, **settings: Any) -> type[nn.Module]:
        (adapter,) = method_of("fitnet", plain, teacher, **settings).adapters["t"]
        out, _ = adapter(torch.randn(4, *plain.stages["stage2"].shape), None, teacher.stages["stage2"].size)
        assert bool((out < 0).any()) is isinstance(adapter.relu, nn.Identity)
        return type(adapter.relu)

    assert ends(plain) is nn.ReLU
    assert ends(wide) is nn.Identity
    assert ends(plain, teacher_at="before") is nn.Identity
    assert ends(wide, teacher_at="after") is ends(wide, published=True) is nn.ReLU


# Other people's models.


class Plain(nn.Module):
    """Three stages: one ends in a module, one in a function, one in nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.two = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.three = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.three(F.relu(self.two(self.one(x)))).mean((2, 3)))


@pytest.mark.parametrize("given", [True, False])
def test_the_map_in_front_of_a_foreign_models_last_activation(given: bool) -> None:
    model = Plain().eval()
    tap = Tap(model, {"stage1": "one", "stage2": "two", "stage3": "three"} if given else None)
    spec = probe(tap, torch.zeros(2, *IMAGE))
    found = ["stage1.pre"] if given else ["stage1.pre", "stage2.pre"]  # the probe's stage2 is the ReLU that opens three
    assert [name for name in spec.stages if name.endswith(".pre")] == found
    x = torch.randn(3, *IMAGE)
    stages = tap(x).stages
    assert torch.equal(stages["stage1.pre"], model.one[1](model.one[0](x)))
    assert torch.equal(stages["stage1.pre"].relu(), stages["stage1"])
    assert bool((stages["stage1.pre"] < 0).any())  # not rewritten by the ReLU, which worked in place


LAYERS = {f"stage{n}": f"layer{n}" for n in range(1, 5)}


@pytest.mark.parametrize(
    ("name", "at", "found"),
    [
        ("torchvision:resnet18", LAYERS, (1, 2, 3, 4)),
        ("torchvision:resnet50", LAYERS, (1, 2, 3, 4)),
        ("timm:resnet10t", None, (1, 2, 3, 4, 5)),
        ("torchvision:vgg11_bn", None, (1, 2, 3, 4, 5)),  # the sixth is what its last pooling leaves
        ("timm:resnetv2_50", None, ()),
        ("torchvision:densenet121", None, (1,)),
        ("timm:vit_tiny_patch16_224", None, ()),
    ],
)
def test_where_a_librarys_activations_are_found(name: str, at: Any, found: tuple[int, ...]) -> None:
    tap = Tap(build(name, (3, 64, 64), 5), at)
    probe(tap, torch.zeros(2, 3, 64, 64))
    stages = tap.eval()(torch.randn(2, 3, 64, 64)).stages
    assert {stage for stage in stages if stage.endswith(".pre")} == {f"stage{n}.pre" for n in found}
    for n in found:
        torch.testing.assert_close(stages[f"stage{n}.pre"].relu(), stages[f"stage{n}"])


# The shipped recipes.

SAID = {
    ("cifar100-r32x4-r8x4", "fam_review"): {"student_at": "before"},
    ("imagenet-r34-r18", "review"): {"student_at": "before"},
    ("imagenet-r34-r18", "fam_review"): {"compared": ["stage1", "stage2", "stage3", "stage4"]},
    ("imagenet-r50-mbv1", "review"): {"student_at": "before"},
    ("imagenet-r50-mbv1", "fam_review"): {"student_at": "before", "form": "low_rank:16"},
}


def test_recipes_set_what_their_pairs_published_configurations_set() -> None:
    names = ("student_at", "teacher_at", "compared", "form")
    for recipe in shipped():
        if not recipe.startswith(("cifar100", "imagenet")):
            continue
        for row in load(recipe).methods:
            held = {name: x for name, x in (row.model_extra or {}).items() if name in names}
            if row.name in ("review", "fam_review"):
                assert held == SAID.get((recipe, row.name), {}), (recipe, row.name)


def test_a_level_that_is_handed_on_and_not_compared() -> None:
    """FAM-KD's ImageNet settings: the pooled level reaches shallower ones, and no loss by itself."""
    spec = spec_of("resnet8")
    whole = method_of("fam_review", spec, spec, branches="local")
    part = method_of("fam_review", spec, spec, branches="local", compared=["stage1", "stage2", "stage3"])
    assert [level.compared for level in part.levels["t"]] == [False, True, True, True]
    assert part.adapters["t"][0].head is None
    assert len(list(whole.parameters())) > len(list(part.parameters()))
    needs = make("fam_review", configure("fam_review", {"compared": ["stage1"]}), spec, {"t": spec}, DATA)[1]
    assert needs.teachers["t"] == {"stage1"}
    assert needs.student == {"stage1", "stage2", "stage3", "embedding"}
    for compared, message in (
        (["stage9"], "compared: the student has no stage 'stage9' to match"),
        (["stage3"], "compared: stage1, the shallowest stage, must be among them"),
        ([], "compared: stage1, .* got none"),
    ):
        with pytest.raises(InputError, match=message):
            method_of("fam_review", spec, spec, compared=compared)


DATA = DataInfo(tuple("abcde"), NOTHING, NOTHING)


def test_the_published_projection_starts_uniform() -> None:
    """Kaiming's uniform with slope 1: of variance 1 / channels; torch's own start has a third of it."""
    spec = spec_of("resnet8")
    weights = {}
    for published in (True, False):
        method = method_of("fam_review", spec, spec, published=published)
        weights[published] = method.adapters["t"][2].project[0].weight.detach()  # from 64 to 32 channels
    for published, variance in ((True, 1 / 64), (False, 1 / 192)):
        bound = (3 * variance) ** 0.5
        assert 0.98 * bound < float(weights[published].abs().max()) <= bound
        assert float(weights[published].var()) == pytest.approx(variance, rel=0.1)
