"""Faster R-CNN with a feature pyramid, of torchvision's parts, giving what methods compare of a detector.

Its state's names are those of torchvision's ``FasterRCNN``. Images are neither normalised nor scaled in here: they come
as the view made them. So plain torchvision gives the same with ``image_mean=[0, 0, 0]``, ``image_std=[1, 1, 1]`` (or
with the student file's mean and deviation for pixels from 0 to 1) and ``min_size``, ``max_size`` set to the sides of
its images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from overtone.errors import InputError
from overtone.models.backbones import Pyramid, pyramid
from overtone.models.base import Tapped
from overtone.models.faster_rcnn import DetectorSettings
from overtone.types import Output, described

TERMS = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "classifier",
    "loss_box_reg": "box",
}
"""torchvision's names of the four losses, and ours."""
POOLED = 7
"""Values along each side of a region that the box head sees."""

Maps = dict[str, Tensor]
Sample = dict[str, Tensor]


class _Batching(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Images of unequal size in one tensor, padded with 0 below and to the right to multiples of 32; nothing else."""

    def normalize(self, image: Tensor) -> Tensor:
        return image

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


class _Head(RPNHead):  # type: ignore[misc]
    """Whose numbers are float32 under autocast too: places of boxes need more digits than bfloat16 has."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(x)
        return [each.float() for each in objectness], [each.float() for each in deltas]


class _Detectron2Anchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors that are not rounded, each level's in steps of a fixed number of pixels."""

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[Sequence[float]], steps: Sequence[int]):
        super().__init__(sizes, ratios)
        self.steps = tuple(steps)

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        root = torch.tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        sides = torch.tensor(scales, dtype=dtype, device=device)
        width, height = (sides / root[:, None]).flatten(), (sides * root[:, None]).flatten()
        return torch.stack([-width, -height, width, height], 1) / 2

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        fixed = [[torch.tensor(step, device=s.device) for s in own] for step, own in zip(self.steps, strides)]  # noqa: B905
        anchors: list[Tensor] = super().grid_anchors(grid_sizes, fixed)
        return anchors


class _Detectron2Pool(MultiScaleRoIAlign):  # type: ignore[misc]
    """Regions aligned by half a pixel of their map, sampled as densely as they are large."""

    def forward(self, x: Maps, boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        maps = [x[name] for name in self.featmap_names]
        scales = [own.shape[-2] / image_shapes[0][0] for own in maps]
        first, last = (int(name.removeprefix("p")) for name in (self.featmap_names[0], self.featmap_names[-1]))
        level = LevelMapper(first, last, self.canonical_scale, self.canonical_level)(boxes)  # (R,)
        image = torch.cat([own.new_full((len(own), 1), number) for number, own in enumerate(boxes)])
        regions = torch.cat([image, torch.cat(boxes)], 1)  # (R, 5)
        pooled = maps[0].new_zeros(len(regions), maps[0].shape[1], *self.output_size)
        for number, (own, scale) in enumerate(zip(maps, scales, strict=True)):
            here = torch.where(level == number)[0]
            cut = roi_align(own, regions[here], self.output_size, scale, sampling_ratio=0, aligned=True)
            pooled = pooled.index_put((here,), cut)
        return pooled


class Detector(FasterRCNN, Tapped):  # type: ignore[misc]
    """A Faster R-CNN that takes a list of samples and gives an :class:`~overtone.types.Output`.

    A sample is ``{"image": (C, h, w)}`` of any size, standardised, and where it is known with ``boxes`` (n, 4) x1, y1,
    x2, y2 in its pixels and ``labels`` (n,) int64 from 1, since 0 is the background. n may be 0.

    Stages are the maps of the pyramid, ``p2`` to ``p6``, of the whole padded batch. What it gives besides depends:

    - in training (samples with boxes): ``losses``, four scalars by the names in :data:`TERMS`; of the proposals that
      the box head was trained on ``regions``, logits (R, classes + 1), the background first, ``region_labels`` (R,) and
      ``proposals``, a list of (R_i, 4);
    - in evaluation, with boxes, as a teacher is asked: ``regions_of``, a function from somebody's proposals, a list of
      (R_i, 4), to its own logits of these (R, classes + 1), and ``losses_of``, one from maps in place of its own, by
      name, to the four losses with them, differentiable in these. Proposals and box head do not run before;
    - in evaluation, without boxes: ``detections``, for each image ``boxes`` (n, 4) in its pixels, ``scores`` (n,)
      and ``labels`` (n,) int64 from 0.

    Which proposals and anchors are trained on is drawn from torch's global generator. Losses are float32 under
    autocast.

    Args:
        backbone: with its pyramid.
        classes: without the background.
        settings: of everything else.
    """

    BODY: ClassVar[str] = "backbone.body"
    VARIES: ClassVar[bool] = True
    transform: Any
    backbone: Any
    rpn: Any
    roi_heads: Any

    def __init__(self, backbone: Pyramid, classes: int, settings: DetectorSettings) -> None:
        theirs = settings.layout == "detectron2"
        sizes, ratios = [(size,) for size in settings.sizes], [settings.ratios] * len(settings.levels)
        candidates = settings.candidates or settings.proposals
        super().__init__(
            backbone,
            rpn_anchor_generator=(
                _Detectron2Anchors(sizes, ratios, settings.steps) if theirs else AnchorGenerator(tuple(sizes), ratios)
            ),
            rpn_head=_Head(settings.fpn, len(settings.ratios)),
            rpn_pre_nms_top_n_train=candidates[0],
            rpn_pre_nms_top_n_test=candidates[1],
            rpn_post_nms_top_n_train=settings.proposals[0],
            rpn_post_nms_top_n_test=settings.proposals[1],
            rpn_batch_size_per_image=settings.rpn_samples,
            box_roi_pool=(_Detectron2Pool if theirs else MultiScaleRoIAlign)(list(settings.pooled), POOLED, 2),
            box_head=TwoMLPHead(settings.fpn * POOLED**2, settings.box_head),
            box_predictor=FastRCNNPredictor(settings.box_head, classes + 1),
            box_score_thresh=settings.min_score,
            box_detections_per_img=settings.detections,
            box_batch_size_per_image=settings.regions,
        )
        self.transform = _Batching(1, 1, [0.0], [1.0])
        self.settings = settings

    def forward(self, samples: list[Sample]) -> dict[str, Any]:
        """What :meth:`output` calls its prediction."""
        return dict(self.output(samples).prediction)

    def output(self, samples: list[Sample]) -> Output:
        """As the class says.

        Raises:
            InputError: for anything but a list of samples, and in training for one without boxes.
        """
        images = self._batched(samples)
        maps = self.backbone(images.tensors)
        if self.training:
            return Output(self._trained(images, maps, samples), maps)
        if all("boxes" in sample for sample in samples):
            own = {"regions_of": self._regions_of(images, maps), "losses_of": self._losses_of(images, maps, samples)}
            return Output(own, maps)
        return Output({"detections": self._detected(images, maps)}, maps)

    def counted(self, samples: list[Sample]) -> Any:
        """Backbone, proposals and a box head on as many regions as it keeps in evaluation, whatever it sees."""
        images = self._batched(samples)
        maps = self.backbone(images.tensors)
        whole = images.tensors.new_tensor([0.0, 0.0, *reversed(images.tensors.shape[-2:])])
        regions = [whole.expand(self.rpn.post_nms_top_n(), 4) for _ in samples]
        return self.rpn.head(list(maps.values())), self._scored(images, maps, regions)

    def _batched(self, samples: list[Sample]) -> ImageList:
        if not isinstance(samples, list) or not samples or not isinstance(samples[0], dict):
            raise InputError(
                f"a detector takes a list of samples with their images, as task: detection makes them; got "
                f"{described(samples)}"
            )
        images = [sample["image"] for sample in samples]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        return ImageList(self.transform.batch_images(images, self.transform.size_divisible), sizes)

    def _trained(self, images: ImageList, maps: Maps, samples: list[Sample]) -> dict[str, Any]:
        if not all("boxes" in sample and "labels" in sample for sample in samples):
            raise InputError("in training a detector needs each sample's boxes and labels, got images alone")
        targets = [{"boxes": sample["boxes"], "labels": sample["labels"]} for sample in samples]
        proposals, losses = self.rpn(images, _float(maps), targets)
        proposals, _, labels, wanted = self.roi_heads.select_training_samples(proposals, targets)
        logits, deltas = self._scored(images, maps, proposals)
        if len(logits):
            classifier, box = fastrcnn_loss(logits, deltas, labels, wanted)
        else:  # no image has a proposal or a box; a mean over nothing would be NaN
            classifier, box = logits.sum(), deltas.sum()
        losses = {**losses, "loss_classifier": classifier, "loss_box_reg": box}
        return {
            "losses": {TERMS[name]: loss for name, loss in losses.items()},
            "regions": logits,
            "region_labels": torch.cat(labels),
            "proposals": proposals,
        }

    def _detected(self, images: ImageList, maps: Maps) -> list[dict[str, Tensor]]:
        proposals, _ = self.rpn(images, _float(maps))
        logits, deltas = self._scored(images, maps, proposals)
        found = self.roi_heads.postprocess_detections(logits, deltas, proposals, images.image_sizes)
        return [
            {"boxes": boxes, "scores": scores, "labels": labels - 1}
            for boxes, scores, labels in zip(*found, strict=True)
        ]

    def _regions_of(self, images: ImageList, maps: Maps) -> Callable[[list[Tensor]], Tensor]:
        """Logits of anyone's proposals on these images, without gradient."""

        def regions_of(proposals: list[Tensor]) -> Tensor:
            with torch.no_grad():
                return self._scored(images, maps, proposals)[0]

        return regions_of

    def _losses_of(self, images: ImageList, maps: Maps, samples: list[Sample]) -> Callable[[Maps], dict[str, Tensor]]:
        """Losses as in training, on others' maps of these images."""

        def losses_of(others: Maps) -> dict[str, Tensor]:
            before, self.rpn.training = self.rpn.training, True  # by which it has losses; its head has no such state
            try:
                losses: dict[str, Tensor] = self._trained(images, {**maps, **others}, samples)["losses"]
            finally:
                self.rpn.training = before
            return losses

        return losses_of

    def _scored(self, images: ImageList, maps: Maps, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (R, classes + 1) and box deltas (R, 4 (classes + 1)) of the proposals of all images."""
        # The padded size, by which each level's scale is a power of 2 for small images too.
        padded = (int(images.tensors.shape[-2]), int(images.tensors.shape[-1]))
        pooled = self.roi_heads.box_roi_pool(_float(maps), proposals, [padded] * len(proposals))
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return logits.float(), deltas.float()


def _float(maps: Maps) -> Maps:
    return {name: each.float() for name, each in maps.items()}


def build_detector(backbone: str, width: float, channels: int, classes: int, settings: DetectorSettings) -> Detector:
    """A new detector.

    Args:
        backbone: its name, as in the model's.
        width: a factor of the backbone's channels.
        channels: of the images.
        classes: without the background.
        settings: of everything else.

    Raises:
        ValueError: for what the backbone cannot be.
    """
    return Detector(pyramid(backbone, width, channels, settings), classes, settings)
