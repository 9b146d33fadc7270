"""Detection: average precision as pycocotools counts it, boxes that follow their images, regions that both judge."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from overtone.data import Standardiser
from overtone.engine.augment_canvas import CanvasAugment
from overtone.recipe import AugmentSettings
from overtone.tasks import Detection
from overtone.tasks.average_precision import average_precision
from overtone.tasks.boxes import packed, unpacked
from overtone.types import Batch, Move, Output

CLASSES = ("cell", "plate", "rod")


def corners(generator: np.random.Generator, count: int, width: int, height: int) -> Any:
    first = generator.uniform(0, 0.8, (count, 2)) * [width, height]
    sides = generator.uniform(0.02, 0.7, (count, 2)) ** 2 * [width, height] + 1
    return np.hstack([first, np.minimum(first + sides, [width, height])]).astype(np.float32)


def random_truth(generator: np.random.Generator, images: int, scale: int = 1) -> Any:
    sizes, boxes = [], []
    for _ in range(images):
        height, width = (int(side) for side in generator.integers(120, 400, 2))
        count = int(generator.integers(0, 9))
        own = np.zeros((count, 7), dtype=np.float32)
        own[:, :4] = corners(generator, count, width, height)
        own[:, 4] = generator.integers(0, len(CLASSES), count)
        own[:, 5] = generator.random(count) < 0.2
        own[:, 6] = np.prod(own[:, 2:4] - own[:, :2], axis=1) * scale**2 * generator.uniform(0.4, 1, count)
        sizes.append((height, width, height * scale, width * scale))
        boxes.append(own)
    return torch.from_numpy(packed(sizes, boxes))


def random_found(generator: np.random.Generator, truth: Tensor) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {"boxes": [], "scores": [], "labels": []}
    for rows in truth:
        one = unpacked(rows)
        height, width = one.size
        near = one.boxes.numpy() + generator.normal(0, 4, (len(one.boxes), 4))
        labels = np.where(generator.random(len(near)) < 0.8, one.classes.numpy(), 0)
        more = int(generator.integers(0, 6))
        boxes = np.vstack([near, corners(generator, more, width, height)]).astype(np.float32)
        found["boxes"].append(torch.from_numpy(boxes))
        found["labels"].append(torch.from_numpy(np.concatenate([labels, generator.integers(0, 3, more)])))
        found["scores"].append(torch.from_numpy(generator.random(len(boxes)).round(2).astype(np.float32)))
    return found


def by_pycocotools(found: dict[str, list[Tensor]], truth: Tensor) -> tuple[list[float], list[float]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, annotations, rows = [], [], []
    for number, (rows_of_truth, boxes, scores, labels) in enumerate(
        zip(truth, found["boxes"], found["scores"], found["labels"], strict=True), start=1
    ):
        one = unpacked(rows_of_truth)
        images.append({"id": number})
        factor = one.original[0] / one.size[0]

        def form(box: Tensor, factor: float = factor) -> list[float]:
            x1, y1, x2, y2 = (value * factor for value in box.double().tolist())
            return [x1, y1, x2 - x1, y2 - y1]

        for box, label, crowd, area in zip(one.boxes, one.classes, one.crowd, one.area, strict=True):
            own = {"image_id": number, "category_id": int(label), "iscrowd": int(crowd), "area": float(area)}
            annotations.append({"id": len(annotations) + 1, "bbox": form(box), **own})
        for box, score, label in zip(boxes, scores, labels, strict=True):
            rows.append({"image_id": number, "bbox": form(box), "score": float(score), "category_id": int(label)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
        coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"]
    by_class = [float(p[p > -1].mean()) if (p > -1).any() else np.nan for p in np.moveaxis(precision[..., 0, -1], 2, 0)]
    return [np.nan if value < 0 else float(value) for value in judge.stats[:6]], by_class


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_pycocotools(seed: int, scale: int) -> None:
    generator = np.random.default_rng(seed)
    truth = random_truth(generator, 12, scale)
    found = random_found(generator, truth)
    task = Detection(classes=CLASSES)
    wanted, by_class = by_pycocotools(found, truth)
    scores = task.scores(found, truth)
    assert list(scores) == ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    np.testing.assert_allclose(list(scores.values()), wanted, atol=1e-12)
    details = task.details(found, truth)["by_class"]
    np.testing.assert_allclose([np.nan if own["ap"] is None else own["ap"] for own in details.values()], by_class)
    assert sum(own["boxes"] for own in details.values()) == int(((truth[:, 1:, 4] >= 0) & (truth[:, 1:, 5] == 0)).sum())


def test_a_perfect_detector_has_an_ap_of_1_and_a_silent_one_of_0() -> None:
    truth = random_truth(np.random.default_rng(0), 5)
    truth[:, :, 5] = 0
    own = [unpacked(rows) for rows in truth]
    perfect = {
        "boxes": [one.boxes for one in own],
        "scores": [torch.ones(len(one.boxes)) for one in own],
        "labels": [one.classes for one in own],
    }
    silent = {"boxes": [torch.zeros(0, 4)] * 5, "scores": [torch.zeros(0)] * 5, "labels": [torch.zeros(0).long()] * 5}
    task = Detection(classes=CLASSES)
    assert task.scores(perfect, truth)["ap"] == pytest.approx(1)
    scores = task.scores(silent, truth)
    assert scores["ap"] == scores["ap50"] == 0
    assert np.isnan(scores["ap_small"]) == np.isnan(task.scores(perfect, truth)["ap_small"])
    assert average_precision(silent, own, (*CLASSES, "never")).by_class[:3] == (0, 0, 0)
    assert task.details(silent, truth)["by_class"]["rod"]["ap"] == 0


@given(seed=st.integers(0, 1000), shrink=st.floats(0.3, 1))
def test_boxes_follow_their_image(seed: int, shrink: float) -> None:
    """A box around a bright rectangle is around it again when the image was scaled and mirrored."""
    generator = np.random.default_rng(seed)
    truth = random_truth(generator, 3)
    size = truth[:, 0, :2].long()
    new = (size * shrink).round().long()
    mirrored = torch.from_numpy(generator.random(3) < 0.5)
    moved = Detection(classes=CLASSES).moved(truth, Move(new, mirrored))
    for before, after, flip, (height, width) in zip(truth, moved, mirrored, new.tolist(), strict=True):
        old, one = unpacked(before), unpacked(after)
        assert (one.size, one.original) == ((height, width), old.original)
        for box, then in zip(old.boxes, one.boxes, strict=True):
            factor = torch.tensor([width, height] * 2) / torch.tensor(old.size).flip(0).repeat(2)
            x1, y1, x2, y2 = (box * factor).tolist()
            wanted = [width - x2, y1, width - x1, y2] if flip else [x1, y1, x2, y2]
            np.testing.assert_allclose(then.numpy(), wanted, rtol=1e-4, atol=1e-3)
    again = Detection(classes=CLASSES).moved(moved, Move(size, mirrored))
    present = truth[:, 1:, 4] >= 0
    np.testing.assert_allclose(again[:, 1:, :4][present], truth[:, 1:, :4][present], rtol=1e-4, atol=1e-2)


def test_batches_are_lists_of_images_without_their_canvas() -> None:
    truth = torch.from_numpy(
        packed([(4, 6, 8, 12), (5, 3, 5, 3)], [np.asarray([[1, 1, 3, 3, 2, 0, 4]]), np.zeros((0, 7))])
    )
    views = {"image": torch.arange(2 * 3 * 5 * 6.0).view(2, 3, 5, 6)}
    batch = Batch(views, truth, torch.arange(2), torch.tensor([[4, 6], [5, 3]]))
    first, second = Detection(classes=CLASSES).collate(batch).input("image")
    assert torch.equal(first["image"], views["image"][0, :, :4, :6])
    assert torch.equal(second["image"], views["image"][1, :, :5, :3])
    assert first["labels"].tolist() == [3]
    assert second["boxes"].shape == (0, 4)
    asked = Detection(classes=CLASSES).collate(Batch(views, None, torch.arange(2), batch.size)).input("image")
    assert [set(sample) for sample in asked] == [{"image"}, {"image"}]


def test_augmentation_moves_boxes_with_what_is_in_them() -> None:
    """A bright rectangle on a canvas stays inside its box, whatever the draw."""
    size, scaling = torch.tensor([[40, 60], [48, 32]]), Standardiser((0.0,), (1.0,))
    x = torch.zeros(2, 1, 48, 64)
    x[0, :, 10:21, 4:25], x[1, :, 10:21, 4:25] = 1, 1
    truth = torch.from_numpy(
        packed([(40, 60, 40, 60), (48, 32, 48, 32)], [np.asarray([[4, 10, 25, 21, 0, 0, 9]], dtype=np.float32)] * 2)
    )
    seen = set()
    for epoch in range(12):
        augment = CanvasAugment(AugmentSettings(flip=0.5, rescale=0.5), scaling, 0)
        out, move = augment(x, torch.arange(2), size, epoch)
        again, same = augment(x[1:], torch.tensor([1]), size[1:], epoch)
        assert torch.equal(again[0], out[1])  # whoever is in the batch
        assert torch.equal(same.size[0], move.size[1])
        for image, rows, (height, width), flip in zip(
            out, Detection(classes=("a",)).moved(truth, move), move.size.tolist(), move.mirrored.tolist(), strict=True
        ):
            x1, y1, x2, y2 = unpacked(rows).boxes[0].tolist()
            bright = (image[0] > 0.5).nonzero()
            np.testing.assert_allclose(bright.min(0).values.numpy(), [y1, x1], atol=1)
            np.testing.assert_allclose(bright.max(0).values.numpy() + 1, [y2, x2], atol=1)
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()
            seen.add((flip, height))
    assert {flip for flip, _ in seen} == {True, False}
    assert len(seen) > 8


def test_a_teacher_judges_the_students_regions_only_where_that_is_read() -> None:
    asked: list[Any] = []

    def regions_of(proposals: Any) -> Tensor:
        asked.append(proposals)
        return torch.ones(5, 4)

    student = Output(
        {"losses": {}, "regions": torch.zeros(5, 4), "region_labels": torch.arange(5), "proposals": ["here"]}
    )
    teacher = Output({"regions_of": regions_of}, {"p2": torch.zeros(1, 2, 3, 3)})
    batch = Batch({}, [None], torch.arange(1))
    mine, theirs, compared = Detection(classes=CLASSES).compared(student, teacher, batch)
    assert torch.equal(mine.logits, torch.zeros(5, 4))
    assert torch.equal(compared.target, torch.arange(5))
    assert theirs.stages.keys() == {"p2"}
    assert not asked
    assert torch.equal(theirs.logits, torch.ones(5, 4))
    assert torch.equal(theirs.logits, torch.ones(5, 4))
    assert asked == [["here"]]
