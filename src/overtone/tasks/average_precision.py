"""Average precision of boxes by COCO's rules, counted by faster-coco-eval."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overtone.errors import InputError
from overtone.tasks.base import Predictions
from overtone.tasks.boxes import Truth

SIZES = {
    "small": "less than 32 × 32 pixels of the file",
    "medium": "32 × 32 to 96 × 96 pixels of the file",
    "large": "more than 96 × 96 pixels of the file",
}
STATS = 6
"""AP, at overlaps of 0.5 and 0.75, and of the three sizes."""


@dataclass(frozen=True)
class Found:
    """Shares from 0 to 1; NaN where the truth has nothing of the kind.

    Attributes:
        stats: AP, AP at an overlap of 0.5 and of 0.75, AP of small, medium and large things.
        by_class: AP of each class.
    """

    stats: tuple[float, ...]
    by_class: tuple[float, ...]


def average_precision(predictions: Predictions, truths: Sequence[Truth], classes: Sequence[str]) -> Found:
    """AP of predicted boxes.

    Args:
        predictions: of each image ``boxes`` (n, 4) x1, y1, x2, y2 in pixels of its file, ``scores`` (n,) and
            ``labels`` (n,), numbers of classes.
        truths: of each image its boxes; crowds take any number of predictions without counting one.
        classes: their names.

    Raises:
        InputError: if faster-coco-eval is not installed.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, as its evaluation code has it: at most
        100 boxes of an image, precision at 101 levels of recall, overlaps from 0.5 to 0.95.
    """
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise InputError("detection is scored by faster-coco-eval: pip install overtone[detection]")
    from faster_coco_eval import COCO, COCOeval_faster

    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)
    silent = {"print_function": lambda *said: None}
    truth = COCO(_annotations(truths, classes), **silent)
    rows = _rows(predictions)
    if not len(rows):
        present = [any(int(c) == number for t in truths for c in t.classes[~t.crowd]) for number in range(len(classes))]
        return Found(_nothing_found(truths), tuple(0.0 if there else np.nan for there in present))
    judge = COCOeval_faster(truth, truth.loadRes(rows), iouType="bbox", **silent)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    precision = np.asarray(judge.eval["precision"])  # (overlaps, recalls, classes, sizes, numbers of boxes)
    each = precision[:, :, :, 0, -1].reshape(-1, precision.shape[2])
    by_class = [float(own[own > -1].mean()) if (own > -1).any() else np.nan for own in each.T]
    return Found(_known(judge.stats[:STATS]), tuple(by_class))


def _known(stats: Sequence[float]) -> tuple[float, ...]:
    """COCO's -1 says that there is nothing to be found."""
    return tuple(np.nan if value < 0 else float(value) for value in stats)


def _nothing_found(truths: Sequence[Truth]) -> tuple[float, ...]:
    """Of no predictions at all, which the library refuses."""
    areas = np.concatenate([t.area[~t.crowd].cpu().numpy() for t in truths]) if truths else np.zeros(0)
    within = [(areas >= 0), *(((areas >= low**2) & (areas < high**2)) for low, high in ((0, 32), (32, 96), (96, 1e5)))]
    whole, *sizes = (0.0 if there.any() else np.nan for there in within)
    return whole, whole, whole, *sizes


def _annotations(truths: Sequence[Truth], classes: Sequence[str]) -> dict[str, object]:
    """The truth in COCO's form; images, boxes and classes are numbered from 1."""
    annotations: list[dict[str, object]] = []
    for number, truth in enumerate(truths, start=1):
        across, down = truth.scale
        scaled = truth.boxes.double().cpu().numpy() * [across, down, across, down]
        corners, sides = scaled[:, :2], scaled[:, 2:] - scaled[:, :2]
        annotations += [
            {
                "id": len(annotations) + row + 1,
                "image_id": number,
                "category_id": int(label) + 1,
                "bbox": [*map(float, corners[row]), *map(float, sides[row])],
                "area": float(area),
                "iscrowd": int(crowd),
            }
            for row, (label, area, crowd) in enumerate(zip(truth.classes, truth.area, truth.crowd, strict=True))
        ]
    images = [
        {"id": number, "height": truth.original[0], "width": truth.original[1]}
        for number, truth in enumerate(truths, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _rows(predictions: Predictions) -> npt.NDArray[np.float64]:
    """(n, 7): image, x, y, width, height, score and class of each predicted box."""
    rows = []
    for number, (boxes, scores, labels) in enumerate(
        zip(predictions["boxes"], predictions["scores"], predictions["labels"], strict=True), start=1
    ):
        own = boxes.double().cpu().numpy().reshape(-1, 4)
        sides = own[:, 2:] - own[:, :2]
        image = np.full((len(own), 1), number)
        sure, kind = (x.double().cpu().numpy().reshape(-1, 1) for x in (scores, labels + 1))
        rows.append(np.hstack([image, own[:, :2], sides, sure, kind]))
    return np.concatenate(rows) if rows else np.zeros((0, 7))
