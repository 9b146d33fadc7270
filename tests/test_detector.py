"""Detectors: the three ways in which they answer, torchvision's names and numbers, and weights of others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from overtone import data, recipe
from overtone.costs import macs, parameters
from overtone.data import Standardiser
from overtone.engine import make_accelerator
from overtone.engine.phases import hold_still
from overtone.errors import InputError
from overtone.lookup import make_view
from overtone.models import build, sketch
from overtone.models.detector import Detector
from overtone.recipe import ModelOptions
from overtone.student import Header, SeenView, load_student, save_student
from overtone.study import make_plan
from overtone.study.build import StudyContext, build_cell
from overtone.tasks import Classification
from overtone.weights import GivenWeights

SMALL = {"fpn": 8, "proposals": 12, "regions": 8, "box_head": 8, "rpn_samples": 16, "min_score": 0.0}
NAME, CLASSES = "fasterrcnn-resnet18-0.125", ("red", "white", "tiny")
COCO = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
TERMS = {"objectness", "rpn_box", "classifier", "box"}
State = dict[str, Tensor]


def detector(name: str = NAME, classes: int = 3, seed: int = 0, **arguments: Any) -> Detector:
    torch.manual_seed(seed)
    made = build(name, (3, 64, 64), classes, ModelOptions(arguments={**SMALL, **arguments}))
    assert isinstance(made, Detector)
    for key, x in made.state_dict().items():
        if key.endswith(("running_mean", "running_var")) or "cls_score" in key:  # as no new model's are
            x.add_(0.1 * torch.rand_like(x))
    return made


def samples(boxes: bool = True, empty: bool = False) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    images = [torch.randn(3, *size, generator=generator) for size in ((64, 48), (40, 64))]
    found = [{"image": image} for image in images]
    if boxes:
        own = torch.zeros(0, 4) if empty else torch.tensor([[4.0, 6, 30, 40], [20, 10, 44, 30]])
        found[0] |= {"boxes": own, "labels": torch.arange(1, 1 + len(own))}
        found[1] |= {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return found


def plain(classes: int = 3, width: int = 8) -> FasterRCNN:
    """torchvision's own, of the same sizes."""
    body = torchvision.models.resnet18(weights=None, norm_layer=nn.BatchNorm2d)
    ours = detector().backbone.body  # torchvision has no narrow ResNets
    for key, _ in list(body.named_children()):
        if key in ours:
            setattr(body, key, ours[key])
    maps = {f"layer{n}": str(n - 1) for n in (1, 2, 3, 4)}
    backbone = BackboneWithFPN(body, maps, [width * 2**n for n in range(4)], SMALL["fpn"])
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in (32, 64, 128, 256, 512)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=12,
        rpn_pre_nms_top_n_test=12,
        rpn_post_nms_top_n_train=12,
        rpn_post_nms_top_n_test=12,
        rpn_batch_size_per_image=16,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
        box_head=TwoMLPHead(SMALL["fpn"] * 49, SMALL["box_head"]),
        box_predictor=FastRCNNPredictor(SMALL["box_head"], classes + 1),
        box_score_thresh=0.0,
        box_batch_size_per_image=8,
        min_size=64,
        max_size=64,
        image_mean=[0, 0, 0],
        image_std=[1, 1, 1],
    )


# --- answers


def test_in_training_it_gives_losses_and_regions() -> None:
    made = detector().train()
    output = made.output(samples())
    assert {name: tuple(x.shape) for name, x in output.stages.items()} == {
        f"p{level}": (2, 8, 256 >> level >> 2, 256 >> level >> 2) for level in (2, 3, 4, 5, 6)
    }
    said = output.prediction
    assert set(said["losses"]) == TERMS
    count = sum(map(len, said["proposals"]))
    assert said["regions"].shape == (count, 4)
    assert said["region_labels"].shape == (count,)
    assert said["region_labels"].dtype == torch.int64
    found = set(said["region_labels"].tolist())
    assert 0 in found
    assert found & {1, 2}  # boxes of the truth are among the proposals
    sum(said["losses"].values()).backward()
    assert not [name for name, p in made.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_as_a_teacher_it_scores_the_students_proposals() -> None:
    made = detector()
    torch.manual_seed(1)
    student = made.train().output(samples())
    made.eval()
    calls = []
    for part in (made.rpn, made.roi_heads.box_head):
        part.register_forward_hook(lambda *_: calls.append(1))
    teacher = made.output(samples())
    assert set(teacher.prediction) == {"regions_of", "losses_of"}
    assert not calls
    scored = teacher.prediction["regions_of"](student.prediction["proposals"])
    assert scored.shape == student.prediction["regions"].shape
    assert not scored.requires_grad
    for module in made.modules():  # the same weights and batch statistics: the same logits of these proposals
        module.training = isinstance(module, Detector)
    frozen = made.output(samples()).prediction
    torch.testing.assert_close(
        made.eval().output(samples()).prediction["regions_of"](frozen["proposals"]), frozen["regions"].detach()
    )


def test_as_a_teacher_it_tells_its_losses_with_other_maps_in_place_of_its_own() -> None:
    """As :class:`~overtone.methods.freekd.FreeKD` asks it: differentiable in the maps, its own parameters frozen."""
    made = detector().eval().requires_grad_(False)
    teacher = made.output(samples())
    other = {name: (0.5 * x).requires_grad_() for name, x in teacher.stages.items() if name in ("p2", "p5")}
    torch.manual_seed(4)
    losses = teacher.prediction["losses_of"](other)
    assert set(losses) == TERMS
    assert not made.rpn.training
    torch.stack(list(losses.values())).sum().backward()
    assert all(x.grad is not None and float(x.grad.abs().sum()) > 0 for x in other.values())
    torch.manual_seed(4)  # with its own maps: what training says of the same batch statistics
    again = teacher.prediction["losses_of"]({})
    for module in made.modules():
        module.training = isinstance(module, Detector) or module is made.rpn
    torch.manual_seed(4)
    wanted = made.output(samples()).prediction["losses"]
    for name, value in wanted.items():
        torch.testing.assert_close(again[name], value)
        assert not torch.equal(losses[name].detach(), value)


def test_it_gives_losses_where_a_phase_leaves_all_of_it_as_it_is() -> None:
    made = detector().train()
    still = hold_still(made, set(), plain=False)
    assert len(still) == len(list(made.parameters()))
    before = {name: x.clone() for name, x in made.state_dict().items()}
    assert set(made.output(samples()).prediction["losses"]) == TERMS
    assert all(torch.equal(x, before[name]) for name, x in made.state_dict().items())


def test_in_evaluation_it_finds_boxes_in_each_image() -> None:
    found = detector().eval().output(samples(boxes=False)).prediction["detections"]
    assert len(found) == 2
    for own, sample in zip(found, samples(), strict=True):
        height, width = sample["image"].shape[1:]
        assert len(own["boxes"]) == len(own["scores"]) == len(own["labels"]) > 0
        assert bool((own["boxes"] >= 0).all())
        assert bool((own["boxes"] <= torch.tensor([width, height, width, height])).all())
        assert set(own["labels"].tolist()) <= {0, 1, 2}
        assert bool((own["scores"][:-1] >= own["scores"][1:]).all())


def test_images_without_boxes_are_trained_on() -> None:
    losses = detector().train().output(samples(empty=True)).prediction["losses"]
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert losses["box"] == losses["rpn_box"] == 0


def test_without_any_region_nothing_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    made = detector().train()
    monkeypatch.setattr(made.rpn, "min_size", 1e6)  # no proposal is left
    said = made.output(samples(empty=True)).prediction
    assert said["regions"].shape == (0, 4)
    total = sum(said["losses"].values())
    assert bool(total.isfinite())
    total.backward()
    assert made.roi_heads.box_predictor.cls_score.weight.grad is not None
    assert [len(own["boxes"]) for own in made.eval()(samples(boxes=False))["detections"]] == [0, 0]
    assert made.output(samples()).prediction["regions_of"]([torch.zeros(0, 4)] * 2).shape == (0, 4)


def test_the_global_generator_decides_what_is_sampled() -> None:
    made = detector().eval().train()
    labels = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        labels.append(made.output(samples()).prediction["proposals"][1])
    assert torch.equal(labels[0], labels[1])
    assert labels[0].shape != labels[2].shape or not torch.equal(labels[0], labels[2])


def test_autocast_leaves_losses_and_places_in_float32() -> None:
    made = detector().train()
    with torch.autocast("cpu", torch.bfloat16):
        said = made.output(samples()).prediction
        teacher = made.eval().output(samples())
    assert teacher.stages["p2"].dtype == torch.bfloat16
    assert {x.dtype for x in [*said["losses"].values(), said["regions"], *said["proposals"]]} == {torch.float32}
    assert teacher.prediction["regions_of"](said["proposals"]).dtype == torch.float32  # outside of autocast too


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 3, 64, 64), r"takes a list of samples .* got \(2, 3, 64, 64\) of float32"),
        ([], "got list"),
        (samples(boxes=False), "needs each sample's boxes and labels"),
    ],
)
def test_what_it_cannot_take_is_told(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detector().train().output(given)


# --- torchvision's


def test_its_state_and_its_boxes_are_torchvisions() -> None:
    made, theirs = detector().eval(), plain().eval()
    assert list(made.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(made.state_dict())
    for sample in samples(boxes=False):  # one at a time, at sizes that torchvision does not scale
        image = nn.functional.pad(sample["image"], (0, 64 - sample["image"].shape[2], 0, 64 - sample["image"].shape[1]))
        with torch.no_grad():
            own, wanted = made([{"image": image}])["detections"][0], theirs([image])[0]
        torch.testing.assert_close(own["boxes"], wanted["boxes"], rtol=0, atol=0)
        torch.testing.assert_close(own["scores"], wanted["scores"], rtol=0, atol=0)
        assert torch.equal(own["labels"] + 1, wanted["labels"])


def test_its_losses_are_torchvisions() -> None:
    made, theirs = detector().train(), plain().train()
    theirs.load_state_dict(made.state_dict())
    image = samples()[0]["image"]
    image = nn.functional.pad(image, (0, 16))
    target = {key: samples()[0][key] for key in ("boxes", "labels")}
    torch.manual_seed(5)
    own = made.output([{"image": image, **target}]).prediction["losses"]
    torch.manual_seed(5)
    theirs.transform._skip_resize = True  # which draws a number
    wanted = theirs([image], [target])
    for ours, name in {
        "objectness": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "classifier": "loss_classifier",
        "box": "loss_box_reg",
    }.items():
        torch.testing.assert_close(own[ours], wanted[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fasterrcnn-resnet18", "resnet18"),
        ("fasterrcnn-mobilenetv2-0.25", "mobilenet_v2"),
    ],
)
def test_bodies_have_the_names_of_torchvisions_classifiers(name: str, file: str) -> None:
    with torch.device("meta"):
        more = {"width_mult": 0.25} if file == "mobilenet_v2" else {}
        theirs = torchvision.models.get_model(file, weights=None, **more).state_dict()
        made = build(name, (3, 64, 64), 3, ModelOptions(arguments=SMALL))
        body = made.get_submodule(Detector.BODY).state_dict()
    prefix = "features." if file == "mobilenet_v2" else ""
    assert {prefix + key: x.shape for key, x in body.items()}.items() <= {k: x.shape for k, x in theirs.items()}.items()


# --- settings


def test_levels_may_be_others() -> None:
    made = detector(levels=["p3", "p4", "p5"], anchors=[16, 32, 64])
    assert list(made.train().output(samples()).stages) == ["p3", "p4", "p5"]
    assert made.rpn.anchor_generator.sizes == ((16,), (32,), (64,))
    assert list(detector(levels=["p2", "p3"]).eval().output(samples()).stages) == ["p2", "p3"]


def test_what_is_not_trained_stands_still() -> None:
    made = detector(trainable_layers=2).train()
    still = [name for name, p in made.backbone.body.named_parameters() if not p.requires_grad]
    assert {name.partition(".")[0] for name in still} == {"conv1", "bn1", "layer1", "layer2"}
    before = {name: x.clone() for name, x in made.backbone.body.state_dict().items()}
    made.output(samples())
    moved = {name for name, x in made.backbone.body.state_dict().items() if not torch.equal(x, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"layer3", "layer4"}


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("frozen", FrozenBatchNorm2d)])
def test_norms(norm: str, kind: type[nn.Module]) -> None:
    made = detector(norm=norm)
    assert any(isinstance(module, kind) for module in made.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    made.train().output(samples()).prediction["losses"]["box"].backward()


def test_the_stride_may_lie_in_the_first_convolution() -> None:
    strides = {}
    for first in (False, True):
        block = detector("fasterrcnn-resnet50-0.0625", stride_in_1x1=first).backbone.body["layer2"][0]
        strides[first] = (block.conv1.stride, block.conv2.stride)
    assert strides == {False: ((1, 1), (2, 2)), True: ((2, 2), (1, 1))}


def test_efficientnet_lite_is_a_backbone() -> None:
    import_module("timm")
    made = detector("fasterrcnn-efficientnetlite0", norm="frozen").train()
    assert list(made.output(samples()).stages) == ["p2", "p3", "p4", "p5", "p6"]
    assert not any(m.training for m in made.backbone.body.modules() if isinstance(m, nn.BatchNorm2d))
    with pytest.raises(InputError, match="has batch norm; use norm: batch or frozen"):
        detector("fasterrcnn-efficientnetlite0", norm="group")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (NAME, {"levels": ["p2", "p4"]}, r"levels are neighbours from fine to coarse.* got \['p2', 'p4'\]"),
        (NAME, {"levels": ["p6"]}, "p6 is made of p5"),
        (NAME, {"anchors": [8]}, r"a size for each of the 5 levels, got \[8.0\]"),
        (NAME, {"fpm": 8}, "fpm.*did you mean 'fpn'"),
        (NAME, {"fpn": 0}, "fpn"),
        (NAME, {"norm": "layer"}, "norm"),
        ("wrn16-1", {"fpn": 8}, "its name says all"),
        ("fasterrcnn-resnet18-0", {}, "width must be positive, got 0"),
        ("fasterrcnn-efficientnetlite0-0.5", {}, "has one width, got 0.5"),
        ("fasterrcnn-resnet20", {}, "did you mean 'fasterrcnn-resnet18'"),
    ],
)
def test_a_detector_that_cannot_be_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, (3, 64, 64), 3, ModelOptions(arguments=arguments))


def test_costs_do_not_depend_on_what_is_found() -> None:
    made = detector()
    known = macs(made, samples())
    assert known == macs(made, samples(boxes=False)) == macs(detector(seed=1), samples())
    head = SMALL["fpn"] * 49 * SMALL["box_head"] + SMALL["box_head"] ** 2 + SMALL["box_head"] * 4 * 5
    assert known - macs(detector(proposals=2), samples()) == 10 * head
    assert parameters(made) == sum(x.numel() for x in made.parameters())


def test_a_student_file_holds_it(tmp_path: Path) -> None:
    made = detector(norm="frozen", layout="detectron2").eval()
    options = ModelOptions(arguments={**SMALL, "norm": "frozen", "layout": "detectron2"})
    task = Classification(classes=CLASSES)
    header = Header(
        builder=NAME,
        input_shape=(3, 64, 64),
        task={"name": task.NAME, "facts": {"classes": CLASSES}},
        channels=("r", "g", "b"),
        rate=None,
        window=(64, 64),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        options=options,
        views=(SeenView(type="image", settings={}, state={}),),
    )
    path = tmp_path / "student.safetensors"
    save_student(path, made.state_dict(), header)
    again = load_student(path).model
    own, wanted = again(samples(boxes=False))["detections"], made(samples(boxes=False))["detections"]
    for mine, theirs in zip(own, wanted, strict=True):
        for key, x in mine.items():
            assert torch.equal(x, theirs[key])
    assert sketch(NAME, (3, 64, 64), 3, options, len(made.state_dict()), 10**6).rpn.head.conv[0][0].weight.is_meta


def test_without_torchvision_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("detector", "backbones"):
        monkeypatch.delitem(sys.modules, f"overtone.models.{name}")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"needs the package torchvision: pip install overtone\[torchvision\]"):
        detector()


@pytest.mark.slow
def test_without_torchvision_everything_else_works() -> None:
    code = "import sys; sys.modules['torchvision'] = None; import overtone.models as m; m.build('vgg8', (3, 16, 16), 3)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- weights of others


def given(path: Path, **more: Any) -> GivenWeights:
    return GivenWeights.find(str(path), "teachers.big.pretrained", **more)


def saved(path: Path, state: State) -> Path:
    torch.save(state, path)
    return path


def same(made: Detector, wanted: Detector, rows: list[int] | None = None) -> None:
    """Whether both score the same regions alike, in the order of ``rows``."""
    regions = [torch.tensor([[3.0, 5, 40, 44], [0, 0, 12, 9]])] * 2
    one, other = (model.eval().output(samples()).prediction["regions_of"](regions) for model in (made, wanted))
    torch.testing.assert_close(one, other if rows is None else other[:, rows])
    assert made.eval()(samples(boxes=False))["detections"][0]["boxes"].shape[1] == 4


def old_names(state: State) -> State:
    """As torchvision's published files have them."""
    return {
        key.replace("conv.0.0.", "conv.")
        if key.startswith("rpn")
        else key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if key.startswith("backbone.fpn")
        else key: x
        for key, x in state.items()
    }


def test_a_file_of_coco_is_taken_by_name(tmp_path: Path) -> None:
    classes = ("dog", "person", "toothbrush")
    theirs, made = detector(classes=90), detector(seed=1)
    path = saved(tmp_path / "coco.pth", old_names(theirs.state_dict()))
    assert given(path).told(made, NAME, classes) == "3 of its 80 classes taken by name"
    given(path).load_into(made, NAME, classes)
    rows = [0, *(1 + COCO.index(name) for name in classes)]
    same(made, theirs, rows)
    boxes = made.roi_heads.box_predictor.bbox_pred.weight.view(4, 4, -1)
    assert torch.equal(boxes, theirs.roi_heads.box_predictor.bbox_pred.weight.view(91, 4, -1)[rows])


def test_a_file_of_other_classes_is_refused_with_both_lists(tmp_path: Path) -> None:
    coco = saved(tmp_path / "coco.pth", detector(classes=90).state_dict())
    lists = "lacks red, white, tiny: the data's are red, white, tiny; the file's are person, bicycle, .* and 68 more"
    with pytest.raises(InputError, match=lists):
        given(coco).load_into(detector(), NAME, CLASSES)
    five = saved(tmp_path / "five.pth", detector(classes=5).state_dict())
    with pytest.raises(InputError, match=r"of a detector of 5 classes, the data has 3 \(red, white, tiny\).*classes: "):
        given(five).load_into(detector(), NAME, CLASSES)
    with pytest.raises(InputError, match=r"has 5 classes and the background, but 2 are named \(a, b\)"):
        given(five, classes=["a", "b"]).load_into(detector(), NAME, CLASSES)
    made, named = detector(seed=1), ["tiny", "a", "red", "b", "white"]
    given(five, classes=named).load_into(made, NAME, CLASSES)
    same(made, detector(classes=5), [0, 3, 5, 1])
    assert given(five, classes=named).decides != given(five).decides
    plain_model = build("wrn10-0.25", (3, 16, 16), 3)
    with pytest.raises(InputError, match="no detector's"):
        given(saved(tmp_path / "w.pth", plain_model.state_dict()), classes=list(CLASSES)).load_into(
            plain_model, "wrn10-0.25", CLASSES
        )


def detectron2(state: State, classes: int) -> dict[str, Any]:
    """A detector's state as Detectron2 writes it."""
    found: dict[str, Any] = {"pixel_mean": np.zeros((3, 1, 1), "f4"), "pixel_std": np.ones((3, 1, 1), "f4")}
    found["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4), "f4")
    for key, tensor in state.items():
        x = tensor.numpy()
        parts = key.split(".")
        if key.startswith("backbone.body."):
            place, rest = "backbone.bottom_up.", parts[2:]
            if rest[0].startswith("layer"):
                place += f"res{int(rest[0][5:]) + 1}.{rest[1]}."
                rest = rest[2:]
            else:
                place += "stem."
            if rest[0] == "downsample":
                place += "shortcut." + ("norm." if rest[1] == "1" else "")
            else:
                place += f"conv{rest[0][-1]}." + ("norm." if rest[0].startswith("bn") else "")
            found[place + rest[-1]] = x
        elif key.startswith("backbone.fpn"):
            kind = {"inner_blocks": "lateral", "layer_blocks": "output"}[parts[2]]
            found[f"backbone.fpn_{kind}{int(parts[3]) + 2}.{parts[-1]}"] = x
        elif key.startswith("rpn.head"):
            name = {"conv": "conv", "cls_logits": "objectness_logits", "bbox_pred": "anchor_deltas"}[parts[2]]
            found[f"proposal_generator.rpn_head.{name}.{parts[-1]}"] = x
        elif "box_head" in key:
            found[f"roi_heads.box_head.fc{int(parts[2][-1]) - 5}.{parts[-1]}"] = x
        elif "cls_score" in key:
            found[key] = np.concatenate([x[1:], x[:1]])  # the background last
        else:
            found[key] = x[4:]  # no box of the background
    return {"model": found, "__author__": "somebody", "matching_heuristics": True}


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_of_detectron2_gives_the_same_detector(protocol: int, tmp_path: Path) -> None:
    more = {"norm": "frozen", "layout": "detectron2", "stride_in_1x1": True}
    name = "fasterrcnn-resnet50-0.0625"
    theirs, made = detector(name, **more), detector(name, seed=1, **more)
    path = tmp_path / "model_final_000000.pkl"
    path.write_bytes(pickle.dumps(detectron2(theirs.state_dict(), 3), protocol=protocol))
    assert given(path).told(made, name, CLASSES) == "Detectron2's names and order of outputs"
    given(path).load_into(made, name, CLASSES)
    same(made, theirs)
    for own, wanted in zip(
        made(samples(False))["detections"], theirs.eval()(samples(False))["detections"], strict=True
    ):
        if len(own["boxes"]):
            torch.testing.assert_close(own["boxes"], wanted["boxes"])
    begun = detector(name, seed=2, **more)
    given(path).load_body(begun, name)
    assert all(
        torch.equal(x, theirs.backbone.body.state_dict()[key]) for key, x in begun.backbone.body.state_dict().items()
    )


def test_detectron2s_other_forms(tmp_path: Path) -> None:
    """torch's files, one box for all classes, batch norms without statistics, and a layout that does not fit."""
    more = {"norm": "frozen", "layout": "detectron2"}
    theirs, made = detector(**more), detector(seed=1, **more)
    state = detectron2(theirs.state_dict(), 3)["model"]
    state = {key: torch.from_numpy(x) for key, x in state.items() if not key.endswith(("running_mean", "running_var"))}
    for leaf in ("weight", "bias"):
        state[f"roi_heads.box_predictor.bbox_pred.{leaf}"] = state[f"roi_heads.box_predictor.bbox_pred.{leaf}"][:4]
    path = saved(tmp_path / "model_final.pth", {"model": state, "iteration": 7})
    given(path).load_into(made, NAME, CLASSES)
    boxes = made.roi_heads.box_predictor.bbox_pred.weight.view(4, 4, -1)
    assert torch.equal(boxes[1], boxes[3])
    assert not bool(boxes[0].any())
    assert set(made.backbone.body["bn1"].running_var.tolist()) == {1.0}
    with pytest.raises(InputError, match=r"is Detectron2's.*layout: detectron2.*order: bgr"):
        given(path).load_into(detector(norm="frozen"), NAME, CLASSES)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": subprocess.Popen}))
    with pytest.raises(InputError, match=r"no pickle of plain arrays.*subprocess.Popen"):
        given(path).load_into(detector(), NAME, CLASSES)


def test_anchors_of_detectron2_are_not_rounded() -> None:
    made = detector(layout="detectron2")
    sides = made.rpn.anchor_generator.cell_anchors[0]
    size = torch.stack([sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1]], 1)
    torch.testing.assert_close(size.prod(1), torch.full((3,), 32.0**2))
    torch.testing.assert_close(size[:, 1] / size[:, 0], torch.tensor([0.5, 1, 2]))


def test_a_backbone_begins_with_a_classifiers_weights(tmp_path: Path) -> None:
    made, theirs = detector("fasterrcnn-mobilenetv2-0.25"), torchvision.models.mobilenet_v2(width_mult=0.25)
    path = saved(tmp_path / "mobilenet.pth", theirs.state_dict())
    assert "tensors beside it left out (features.18.0.weight" in given(path).body_told(made, NAME)
    given(path).load_body(made, NAME)
    for key, x in made.backbone.body.state_dict().items():
        assert torch.equal(x, theirs.state_dict()[f"features.{key}"])
    with pytest.raises(InputError, match=r"holds no such network: it lacks conv1.weight"):
        given(path).load_body(detector(), NAME)
    with pytest.raises(InputError, match="weights with batch statistics need norm: batch or frozen"):
        given(path).load_body(detector("fasterrcnn-mobilenetv2-0.25", norm="group"), NAME)
    with pytest.raises(InputError, match=r"0\.0\.weight is \(8, 3, 3, 3\) in the file, \(16, 3, 3, 3\) in the model"):
        given(path).load_body(detector("fasterrcnn-mobilenetv2-0.5"), NAME)
    with pytest.raises(InputError, match="'wrn16-1' has no backbone"):
        given(path).load_body(build("wrn16-1", (3, 16, 16), 3), "wrn16-1")


def test_names_of_efficientnet_lites_file_are_mapped_by_order(tmp_path: Path) -> None:
    timm = import_module("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    layers = [key.rpartition(".")[::2] for key in theirs]
    named = {f"_{layer.replace('.', '_')}.{leaf}": x for (layer, leaf), x in zip(layers, theirs.values(), strict=True)}
    path = saved(tmp_path / "efficientnet-lite0.pth", named)
    made = detector("fasterrcnn-efficientnetlite0")
    assert given(path).body_told(made, NAME).startswith("mapped by order and shapes; 7 tensors beside it left out")
    given(path).load_body(made, NAME)
    assert all(torch.equal(x, theirs[key]) for key, x in made.backbone.body.state_dict().items())


# --- recipes and views


def test_a_pretrained_backbone_is_part_of_the_key(tiny: dict[str, Any], tmp_path: Path) -> None:
    body = detector().backbone.body.state_dict()
    files = [saved(tmp_path / f"{n}.pth", {**body, "fc.weight": torch.full((2, 2), float(n))}) for n in (0, 1)]

    def plan(**more: Any) -> Any:
        student = {"view": "gaf", "model": NAME, "arguments": SMALL, "epochs": 1, **more}
        study = recipe.validate({**tiny, "student": student, "methods": ["none"], "teachers": {}})
        return make_plan(study, data.load(study.data))

    keys = [set(plan(**more).cells) for more in ({}, *({"pretrained_backbone": str(file)} for file in files))]
    assert len(set.union(*keys)) == 3
    (tmp_path / "moved.pth").write_bytes(files[0].read_bytes())
    assert set(plan(pretrained_backbone={"file": str(tmp_path / "moved.pth")}).cells) == keys[1]
    with pytest.raises(InputError, match=r"student.pretrained_backbone: .*none.pth"):
        plan(pretrained_backbone=str(tmp_path / "none.pth"))


def test_a_model_without_a_backbone_takes_none(tiny: dict[str, Any], tmp_path: Path) -> None:
    file = saved(tmp_path / "body.pth", detector().backbone.body.state_dict())
    tiny["student"]["pretrained_backbone"] = str(file)
    study = recipe.validate({**tiny, "methods": ["none"]})
    made = make_plan(study, data.load(study.data))
    context = StudyContext(made, tmp_path, make_accelerator())
    cell = next(iter(made.cells.values()))
    with pytest.raises(InputError, match=r"student.pretrained_backbone: model .* has no backbone"):
        build_cell(context.inputs(cell), cell)


def test_pretrained_brings_its_backbone() -> None:
    values = {
        "data": "watch",
        "teachers": {"big": {"model": NAME, "pretrained": "a.pth", "pretrained_backbone": "b.pth"}},
        "student": {"model": "dscnn-4"},
        "methods": ["none"],
    }
    with pytest.raises(InputError, match=r"pretrained brings the whole model.* got 'b.pth'"):
        recipe.validate(values)


def test_a_view_may_turn_colours_round() -> None:
    x = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 4, 4) / 2  # red 0, green 0.5, blue 1 of 255 after 127.5
    bytes_ = Standardiser([0.0] * 3, [1.0] * 3)
    settings = {"order": "bgr", "mean": [0.406, 0.456, 0.485], "std": [1 / 255] * 3}
    view = make_view("image", settings, "views.theirs")
    state = view.scaled(bytes_.mean, bytes_.std)
    seen = view.render(255 * x, state)
    torch.testing.assert_close(seen[0, :, 0, 0], torch.tensor([255 - 103.53, 127.5 - 116.28, 0 - 123.675]))
    bare = make_view("image", {"order": "bgr"}, "views.theirs")
    assert torch.equal(bare.render(x, bare.scaled([0.0] * 3, [1.0] * 3)), x.flip(1))
    with pytest.raises(ValueError, match="of images with three channels, these have 1"):
        bare.scaled([0.0], [1.0])
