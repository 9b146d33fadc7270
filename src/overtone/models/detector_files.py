"""Files of detectors that others trained: their names of tensors and their order of classes, made ours.

Two forms are known: torchvision's ``FasterRCNN`` (its older names too) and Detectron2's ``GeneralizedRCNN`` with a
ResNet and a pyramid. Whose background is the last class, and has no box of its own; here it is the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import torch

from overtone.checkpoint import State
from overtone.errors import InputError, few

BODY = "backbone.body."
CLASSES, BOXES = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"
BLOCK = re.compile(
    r"(?:backbone\.)?(?:bottom_up\.)?(?:stem|res(?P<stage>[2-5])\.(?P<block>\d+))"
    r"\.(?P<layer>conv\d|shortcut)\.(?P<norm>norm\.)?(?P<leaf>\w+)"
)
"""A tensor of a ResNet of Detectron2, in a detector or alone."""
PYRAMID = re.compile(r"backbone\.fpn_(?P<kind>lateral|output)(?P<level>\d)\.(?P<leaf>weight|bias)")
HEADS = {
    "proposal_generator.rpn_head.conv.": "rpn.head.conv.0.0.",
    "proposal_generator.rpn_head.objectness_logits.": "rpn.head.cls_logits.",
    "proposal_generator.rpn_head.anchor_deltas.": "rpn.head.bbox_pred.",
    "roi_heads.box_head.fc1.": "roi_heads.box_head.fc6.",
    "roi_heads.box_head.fc2.": "roi_heads.box_head.fc7.",
}
CONSTANT = re.compile(r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\..*")
"""What Detectron2 keeps beside the weights: it is in the view and in the settings here."""
OLD = (
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
    (re.compile(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
)
"""torchvision's names before 0.13, which its published files have, and those since."""
COCO = (81, 91)
"""Outputs of detectors of COCO: 80 categories and the background, or ids from 0 to 90, some of them free."""
FREE = "N/A"
"""An id that no category has, as torchvision says it."""
MOST = 12
"""Names of classes in a message."""


def is_detectron2(state: State) -> bool:
    """Whether its names are Detectron2's."""
    return any(BLOCK.fullmatch(name) for name in state)


def renamed(state: State, wanted: Collection[str]) -> State:
    """The same tensors under torchvision's present names, the background first.

    Args:
        state: of any file; as it is where it is none of a detector.
        wanted: the model's names. Detectron2's older files leave out the statistics of batch norms that do nothing;
            where the model has them they are added.
    """
    if not is_detectron2(state):
        for old, new in OLD:
            state = {old.sub(new, name): tensor for name, tensor in state.items()}
        return state
    levels = sorted({int(match["level"]) for name in state if (match := PYRAMID.fullmatch(name))})
    ours = {_ours(name, levels): tensor for name, tensor in state.items() if not CONSTANT.fullmatch(name)}
    for name, tensor in list(ours.items()):
        layer = name.removesuffix("weight")
        if name.startswith(BODY) and f"{layer}running_var" in wanted:
            ours.setdefault(f"{layer}running_mean", torch.zeros_like(tensor))
            ours.setdefault(f"{layer}running_var", torch.ones_like(tensor))
    count = len(ours[f"{CLASSES}.bias"]) - 1 if f"{CLASSES}.bias" in ours else 0
    for leaf in ("weight", "bias") if count else ():
        logits, boxes = ours[f"{CLASSES}.{leaf}"], ours.get(f"{BOXES}.{leaf}")
        ours[f"{CLASSES}.{leaf}"] = torch.cat([logits[-1:], logits[:-1]])
        if boxes is not None:
            boxes = boxes if len(boxes) > 4 else torch.cat([boxes] * count)  # one box for all classes
            ours[f"{BOXES}.{leaf}"] = torch.cat([torch.zeros_like(boxes[:4]), boxes])
    return ours


def _ours(name: str, levels: Sequence[int]) -> str:
    """torchvision's name for one of Detectron2's; the same where there is none."""
    if match := BLOCK.fullmatch(name):
        place = BODY + (f"layer{int(match['stage']) - 1}.{match['block']}." if match["stage"] else "")
        if match["layer"] == "shortcut":
            return f"{place}downsample.{1 if match['norm'] else 0}.{match['leaf']}"
        return f"{place}{'bn' if match['norm'] else 'conv'}{match['layer'][-1]}.{match['leaf']}"
    if match := PYRAMID.fullmatch(name):
        kind = {"lateral": "inner", "output": "layer"}[match["kind"]]
        return f"backbone.fpn.{kind}_blocks.{levels.index(int(match['level']))}.0.{match['leaf']}"
    for theirs, ours in HEADS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def ordered(state: State, classes: Sequence[str], stated: Sequence[str] | None) -> tuple[State, str]:
    """A detector's tensors with the rows of the data's classes only, in their order, and a word on what was done.

    Args:
        state: under torchvision's names.
        classes: the data's, without the background.
        stated: the file's, in the order of its outputs, where that is known. Else files with as many outputs as
            COCO's detectors are taken for such, if they can be; else they must have the data's number of classes, and
            are taken to have them in this order.

    Raises:
        InputError: for a file that lacks one of the classes, or whose classes are not known.
    """
    if f"{CLASSES}.weight" not in state or f"{BOXES}.weight" not in state:
        return state, ""
    count = len(state[f"{CLASSES}.weight"]) - 1
    names = _names(count + 1, classes) if stated is None else list(stated)
    if len(names) != count:
        raise InputError(f"has {count} classes and the background, but {len(names)} are named ({listed(names)})")
    if lacks := [name for name in classes if name not in names]:
        raise InputError(
            f"was trained for other classes, it lacks {few(lacks)}: the data's are {listed(classes)}; the file's are "
            f"{listed([name for name in names if name != FREE])}"
        )
    if names == list(classes):
        return state, ""
    rows = torch.tensor([0, *(1 + names.index(name) for name in classes)])
    chosen = dict(state)
    for leaf in ("weight", "bias"):
        logits, boxes = state[f"{CLASSES}.{leaf}"], state[f"{BOXES}.{leaf}"]
        chosen[f"{CLASSES}.{leaf}"] = logits[rows]
        chosen[f"{BOXES}.{leaf}"] = boxes.unflatten(0, (count + 1, 4))[rows].flatten(0, 1)
    return chosen, f"{len(classes)} of its {sum(name != FREE for name in names)} classes taken by name"


def _names(outputs: int, classes: Sequence[str]) -> list[str]:
    """A file's classes by the number of its outputs.

    Raises:
        InputError: for a number that says nothing.
    """
    coco = _coco(outputs) if outputs in COCO else []
    if outputs == len(classes) + 1 and not set(classes) <= set(coco):
        return list(classes)
    if coco:
        return coco
    raise InputError(
        f"is of a detector of {outputs - 1} classes, the data has {len(classes)} ({listed(classes)}); if it knows "
        "these among others, name all of its own in the order of its outputs: pretrained: {file: ..., classes: [...]}"
    )


def _coco(outputs: int) -> list[str]:
    """COCO's categories, by id with free ones between, or in the order of their ids without."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    by_id = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
    return [str(name) for name in by_id if outputs == max(COCO) or name != FREE]


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first few of many."""
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def check_layout(state: State, layout: str) -> None:
    """Refuse Detectron2's weights in a model that cuts regions, and lays anchors, as torchvision does.

    Raises:
        InputError: says what to add to the recipe.
    """
    if is_detectron2(state) and layout != "detectron2":
        raise InputError(
            "is Detectron2's, whose anchors and regions lie otherwise; give the model arguments: {layout: detectron2}, "
            "stride_in_1x1: true if its configuration has it, and a view with order: bgr (docs/weights.md)"
        )
