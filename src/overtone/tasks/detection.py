"""Boxes around things in images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from overtone.errors import InputError
from overtone.shown import Mark, Numbers
from overtone.tasks.average_precision import SIZES, average_precision
from overtone.tasks.base import Array, Context, Predictions, Summary, Task
from overtone.tasks.boxes import CLASS, CROWD, as_target, counts, moved, on_file, unpacked
from overtone.tasks.metric import Metric
from overtone.tasks.written import Place
from overtone.types import Batch, Move, Output, returned

if TYPE_CHECKING:
    from overtone.data import Fold, Windows

SHARE = "over all {side}, in steps of overlap from 0.5 to 0.95"


def _metric(key: str, title: str, about: str) -> Metric:
    return Metric(key, title, "%", factor=100, digits=1, ends=(0, 100), about=about)


AP = _metric("ap", "AP", f"mean average precision {SHARE} (COCO’s)")
AP50 = _metric("ap50", "AP50", "average precision where a box overlaps the truth by half or more")
AP75 = _metric("ap75", "AP75", "average precision where a box overlaps the truth by three quarters or more")
BY_SIZE = tuple(_metric(f"ap_{size}", f"AP {size}", f"AP of {size} things ({area})") for size, area in SIZES.items())
FOUND = ("boxes", "scores", "labels")
SERVES = {"detections", "losses", "regions_of"}
"""What a detector predicts: asked, in training, or as a teacher."""
SURE = 0.5
"""Least score of what is drawn and told of an image."""


class Detection(Task):
    """What is where in an image. Targets are boxes with classes (:mod:`overtone.tasks.boxes`).

    Models take a list of samples, ``{"image": (3, h, w)}`` and in training ``boxes`` (n, 4) in pixels and ``labels``
    (n,) from 1, and give what :class:`~overtone.models.detector.Detector` gives: losses of their own and, for methods
    on logits, those of the regions that the student proposes, which the teacher judges too.

    Attributes:
        classes: names of what is found.
        fixed: whether all images have one size, so that teachers' maps may be remembered.
    """

    NAME: ClassVar[str] = "detection"
    METRICS: ClassVar[tuple[Metric, ...]] = (AP, AP50, AP75, *BY_SIZE)
    TERMS: ClassVar[tuple[str, ...]] = ("objectness", "rpn_box", "classifier", "box")
    DISTILLABLE: ClassVar[frozenset[str]] = frozenset({"logits", "maps"})
    COMPARES_CLASSES: ClassVar[bool] = True
    ANY_SIZE: ClassVar[bool] = True
    ENDING: ClassVar[str] = ".json"
    PLACED: ClassVar[bool] = True
    TRUTH: ClassVar[str] = ""
    ASKED: ClassVar[str] = "the scores of what it finds"

    classes: tuple[str, ...] = ()
    fixed: bool = False

    @property
    def outputs(self) -> int:
        """As many as there are classes; a model adds the background."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes'."""
        return self.classes

    # --- data

    def take(self, windows: Windows) -> Windows:
        """The images with this task in them, which then knows their classes.

        Raises:
            InputError: for targets that are no boxes.
        """
        if windows.y.ndim != 3 or windows.sizes is None:
            raise InputError(f"{windows.where}: detection needs images with boxes (data coco, boxes), got none")
        fixed = bool((windows.sizes[:, :2] == windows.sizes[:1, :2]).all())
        task = type(self)(classes=windows.classes or self.classes, fixed=fixed)
        return replace(windows, classes=(), task=task)

    def check(self, windows: Windows, folds: Sequence[Fold] = ()) -> None:
        """Refuse a training or test side without a box, or a class that training never shows.

        Raises:
            InputError: names the fold.
        """
        found = counts(windows.y, len(self.classes))
        for fold in folds:
            for side, numbers in (("training", fold.train), ("test", fold.test)):
                if not found[numbers].any():
                    raise InputError(f"split: fold {fold.number}: none of its {len(numbers)} {side} images has a box")

    def doubts(self, windows: Windows, sides: Mapping[str, Mapping[int, tuple[Fold, Array]]]) -> list[str]:
        """Classes that a test side has and its training side has not."""
        found = counts(windows.y, len(self.classes))
        doubts = []
        for number, (fold, _) in sides.get("test", {}).items():
            never = (found[fold.test].sum(0) > 0) & (found[fold.train].sum(0) == 0)
            if never.any():
                names = ", ".join(np.asarray(self.classes)[never][:5])
                doubts.append(f"fold {number}: {int(never.sum())} classes are tested but never trained on ({names})")
        return doubts

    def summary(self, target: Array, group: Array, groups: int) -> Summary:
        """Images, boxes, crowds, and boxes of each class."""
        found = counts(target, len(self.classes))
        crowds = ((target[:, 1:, CLASS] >= 0) & (target[:, 1:, CROWD] > 0)).sum(1)

        def line(chosen: Array) -> tuple[int, ...]:
            own = found[chosen]
            return (int(chosen.sum()), int((own.sum(1) == 0).sum()), int(crowds[chosen].sum()), *map(int, own.sum(0)))

        lines = tuple(line(group == number) for number in range(groups))
        return Summary(("images", "without a box", "crowds", *self.classes), lines, line(np.ones(len(target), bool)))

    def collate(self, batch: Batch) -> Batch:
        """Lists of images as they are without their canvas, in training with their boxes.

        Raises:
            InputError: for a view that scales images.
        """
        first = next(iter(batch.views.values()))  # (B, C, H, W)
        sizes = [list(first.shape[2:])] * len(first) if batch.size is None else batch.size.tolist()
        targets = None if batch.target is None else [unpacked(rows) for rows in batch.target]
        given = [{}] * len(sizes) if targets is None else [as_target(truth) for truth in targets]
        views = {}
        for name, x in batch.views.items():
            tall, wide = max(height for height, _ in sizes), max(width for _, width in sizes)
            if x.shape[2] < tall or x.shape[3] < wide:
                raise InputError(
                    f"views.{name}: student and teachers see images at one size, got {tuple(x.shape[2:])} for images "
                    f"of up to {(tall, wide)}; leave size out of the view and set data.size"
                )
            views[name] = [
                {"image": image[:, :height, :width], **own}
                for image, (height, width), own in zip(x, sizes, given, strict=True)
            ]
        return replace(batch, views=views, target=targets)

    def moved(self, target: Tensor, move: Move) -> Tensor:
        """Boxes as mirrored and scaled images have them."""
        return moved(target, move)

    # --- training

    def read(self, given: Any) -> Mapping[str, Any]:
        """What a detector returned: ours its predictions, torchvision's a list of ``boxes``, ``scores`` and ``labels``
        from 1 in evaluation.

        Raises:
            InputError: for anything else.
        """
        if isinstance(given, Mapping) and SERVES & set(given):
            return given
        if isinstance(given, list) and all(isinstance(one, Mapping) and set(FOUND) <= set(one) for one in given):
            return {"detections": [{**one, "labels": one["labels"] - 1} for one in given]}
        raise InputError(
            "a model of detection is a built-in one (fasterrcnn-resnet18), or of a class derived from "
            f"overtone.models.detector.Detector, which also gives its losses and maps; got {returned(given)}"
        )

    def check_output(self, output: Output, samples: int) -> None:
        """Detections of each image, or what serves training.

        Raises:
            InputError: for anything else.
        """
        said = output.prediction
        if "detections" in said and len(said["detections"]) != samples:
            raise InputError(f"a detector gave detections of {len(said['detections'])} images for {samples}")
        if not SERVES & set(said):
            raise InputError(f"a detector gives detections or losses, got {', '.join(said) or 'nothing'}")

    def losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The model's own: of proposals (objectness, rpn_box) and of regions (classifier, box)."""
        losses: Mapping[str, Tensor] = output.prediction["losses"]
        return {term: losses[term] for term in self.TERMS}

    def compared(self, student: Output, teacher: Output, batch: Batch) -> tuple[Output, Output, Batch]:
        """Logits of the regions that the student proposes in training, judged by both; ``target`` is each one's class.

        A region's class counts from 1, 0 is the background, as the logits (R, classes + 1) do. The teacher's head runs
        only where a method reads its logits.
        """
        if "regions" not in student.prediction:
            return student, teacher, batch
        proposals, regions_of = student.prediction["proposals"], teacher.prediction.get("regions_of")
        mine = {**student.prediction, "logits": student.prediction["regions"]}
        theirs = teacher.prediction if regions_of is None else _Judged(teacher.prediction, regions_of, proposals)
        target = student.prediction["region_labels"]
        return replace(student, prediction=mine), replace(teacher, prediction=theirs), replace(batch, target=target)

    def remembers(self, needs: frozenset[str]) -> bool:
        """Maps of images of one size are; what a teacher says of the student's regions, or of other maps, is new."""
        return self.fixed and not needs & {"logits", "losses_of"}

    # --- predictions

    def predict(self, output: Output) -> Predictions:
        """Boxes (n, 4) in pixels of the canvas, scores (n,) and classes (n,) of each image."""
        return {name: [one[name] for one in output.prediction["detections"]] for name in FOUND}

    def scores(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, float]:
        """AP by COCO's rules; NaN where there is no such thing to be found."""
        found = average_precision(*self._on_files(predictions, truth), self.classes)
        keys = [metric.key for metric in self.METRICS]
        return dict(zip(keys, found.stats, strict=True))

    def loss(self, predictions: Predictions, truth: Any) -> float:
        """What is missing to an AP of 1: boxes do not tell the loss that a detector is trained by."""
        return 1 - self.scores(predictions, truth)[AP.key]

    def details(self, predictions: Predictions, truth: Any, context: Context | None = None) -> dict[str, Any]:
        """AP of each class, with the number of its boxes."""
        found = average_precision(*self._on_files(predictions, truth), self.classes)
        boxes = counts(np.asarray(truth), len(self.classes)).sum(0)
        by_class = {
            name: {"ap": None if np.isnan(ap) else ap, "boxes": int(number)}
            for name, ap, number in zip(self.classes, found.by_class, boxes, strict=True)
        }
        return {"by_class": by_class}

    def shown(self, details: Sequence[Mapping[str, Any]]) -> Mapping[str, Numbers]:
        """AP of each class, the mean over folds and seeds."""
        if not details:
            return {}
        values = {}
        for name in self.classes:
            own = [one["by_class"][name]["ap"] for one in details]
            known = [ap for ap in own if ap is not None]
            values[name] = AP.text(sum(known) / len(known)) if known else ""
        return {"classes": Numbers("AP by class", "In percent, over folds and seeds.", "class", values)}

    def ensemble(self, several: Sequence[Predictions]) -> Predictions:
        """All that any of them found, of overlapping ones of a class the surest."""
        from torchvision.ops import batched_nms

        together: Predictions = {name: [] for name in FOUND}
        for sample in range(len(several[0]["boxes"])):
            every = {name: torch.cat([one[name][sample] for one in several]) for name in FOUND}
            kept = batched_nms(every["boxes"].float(), every["scores"].float(), every["labels"], 0.5)
            for name, values in every.items():
                together[name].append(values[kept])
        return together

    def _on_files(self, predictions: Predictions, truth: Any) -> tuple[Predictions, list[Any]]:
        """Predictions in pixels of the files, and the truth."""
        truths = [unpacked(rows) for rows in torch.as_tensor(truth)]
        boxes = [on_file(own.float(), one) for own, one in zip(predictions["boxes"], truths, strict=True)]
        return {**predictions, "boxes": boxes}, truths

    # --- one sample, for people

    def called(self, truth: Any) -> str:
        """``3 RBC, 1 WBC``."""
        return self._counted(counts(np.asarray(truth)[None], len(self.classes))[0].tolist())

    def _counted(self, found: Sequence[int]) -> str:
        return (
            ", ".join(f"{number} {name}" for name, number in zip(self.classes, found, strict=True) if number) or "none"
        )

    def answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Of each image ``boxes`` [x1, y1, x2, y2] in pixels of the canvas, ``scores`` and ``labels`` from 0."""
        lists = ([x.tolist() for x in predictions[name]] for name in FOUND)
        return [dict(zip(FOUND, own, strict=True)) for own in zip(*lists, strict=True)]

    def asked(self, output: Output, target: Tensor) -> Tensor:
        """The sum of the scores of all that is found."""
        scores = [one["scores"].sum() for one in output.prediction["detections"]]
        return torch.stack(scores).sum()

    def verdict(self, answer: Mapping[str, Any], truth: Any) -> tuple[str, None]:
        """``finds 3 RBC, 1 WBC``, of scores of at least 0.5."""
        sure = [label for label, score in zip(answer["labels"], answer["scores"], strict=True) if score >= SURE]
        return f"finds {self._counted([sure.count(label) for label in range(self.outputs)])}", None

    def marks(self, answer: Mapping[str, Any]) -> list[Mark]:
        """Boxes of scores of at least 0.5."""
        every = zip(answer["boxes"], answer["labels"], answer["scores"], strict=True)
        return [Mark(tuple(box), self.classes[label], score) for box, label, score in every if score >= SURE]

    def true_marks(self, truth: Any) -> list[Mark]:
        """All boxes but crowds."""
        one = unpacked(torch.as_tensor(np.asarray(truth)))
        kept = ~one.crowd
        return [
            Mark(tuple(box), self.classes[label])
            for box, label in zip(one.boxes[kept].tolist(), one.classes[kept].tolist(), strict=True)
        ]

    def write(self, file: BinaryIO, batches: Iterable[tuple[Sequence[Place], Predictions]]) -> None:
        """COCO's form of detections, in pixels of the files, with names of files and classes beside their numbers."""
        begin = b"["
        for places, predictions in batches:
            for place, answer in zip(places, self.answers(predictions), strict=True):
                stem = PurePath(place.name).stem
                image = int(stem) if stem.isdecimal() else place.name
                for found in self._in_coco(answer, place):
                    line = json.dumps({"image_id": image, **found}, ensure_ascii=False)
                    file.write(begin + b"\n" + line.encode(errors="backslashreplace"))
                    begin = b","
            file.flush()
        file.write((b"[" if begin == b"[" else b"") + b"\n]\n")

    def _in_coco(self, answer: Mapping[str, Any], place: Place) -> Iterator[dict[str, Any]]:
        across, down = place.scale
        for (x1, y1, x2, y2), score, label in zip(*(answer[name] for name in FOUND), strict=True):
            box = (x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down)
            yield {
                "category_id": label + 1,
                "bbox": [round(value, 2) for value in box],
                "score": round(score, 5),
                "file_name": place.name,
                "category": self.classes[label],
            }


class _Judged(Mapping[str, Any]):
    """A teacher's predictions with its logits of the student's regions, found when they are read."""

    def __init__(self, prediction: Mapping[str, Any], regions_of: Callable[..., Tensor], proposals: Any) -> None:
        self._prediction, self._regions_of, self._proposals = prediction, regions_of, proposals
        self._logits: Tensor | None = None

    def __getitem__(self, name: str) -> Any:
        if name != "logits":
            return self._prediction[name]
        if self._logits is None:
            with torch.no_grad():
                self._logits = self._regions_of(self._proposals).float()
        return self._logits

    def __iter__(self) -> Iterator[str]:
        return iter((*self._prediction, "logits"))

    def __len__(self) -> int:
        return len(self._prediction) + 1
