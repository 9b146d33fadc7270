"""Faster R-CNN with a feature pyramid (FPN), for detection: what its names and settings mean.

Source: Ren, He, Girshick, Sun, "Faster R-CNN", NeurIPS 2015; Lin et al., "Feature Pyramid Networks for Object
Detection", CVPR 2017; as torchvision has them. The model itself is in :mod:`overtone.models.detector`, which is
imported when one is made, since torchvision is an extra.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from overtone.errors import InputError
from overtone.models.base import Tapped
from overtone.models.family import Family

Level = Literal["p2", "p3", "p4", "p5", "p6"]
LEVELS: tuple[Level, ...] = ("p2", "p3", "p4", "p5", "p6")
"""Maps of the pyramid; pK has one value for 2^K x 2^K pixels. p6 is every other value of p5, for proposals alone."""
Count = Annotated[int, Field(ge=1, le=65_536)]
Pair = Annotated[tuple[Count, Count], BeforeValidator(lambda v: (v, v) if isinstance(v, int) else v)]
Size = Annotated[float, Field(ge=1, le=65_536)]
Ratio = Annotated[float, Field(ge=0.01, le=100)]


class DetectorSettings(BaseModel):
    """A recipe's ``arguments`` of a detector; the defaults are torchvision's.

    Attributes:
        fpn: channels of every map of the pyramid.
        levels: its maps, neighbours, from fine to coarse.
        anchors: of each level the side of its anchors in pixels, the root of their area; 8 times the level's step
            unless given (32 .. 512).
        ratios: height by width of the anchors at each position.
        candidates: boxes of each level that go into non-maximum suppression, in training and in evaluation; as many as
            ``proposals`` unless given.
        proposals: boxes of an image that come out of it, in training and in evaluation; one number for both.
        rpn_samples: anchors of an image that the proposals' two losses look at.
        regions: proposals of an image that the box head is trained on (and ``dkd`` compares).
        box_head: width of the box head's two layers.
        norm: of the backbone: ``batch``; ``group`` (groups of at most 32), for batches of few images; ``frozen``: a
            pretrained backbone's batch norm, which stays as it is.
        norm_eps: what is added to variances; the backbone's own unless given (1e-5, of EfficientNet-Lite 1e-3).
        trainable_layers: of the backbone's five parts how many are trained, counted from the last.
        min_score: of a detection.
        detections: of an image at most.
        layout: ``detectron2`` puts anchors and pooled regions where Detectron2 has them: anchors are not rounded to
            whole pixels, regions are aligned by half a pixel and sampled as densely as they are large.
        stride_in_1x1: a bottleneck's stride lies in its first 1x1 convolution, as in the first ResNets of MSRA, with
            which most of Detectron2's detectors began; in the 3x3 convolution otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fpn: Count = 256
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = LEVELS
    anchors: tuple[Size, ...] | None = None
    ratios: Annotated[tuple[Ratio, ...], Field(min_length=1, max_length=16)] = (0.5, 1.0, 2.0)
    candidates: Pair | None = None
    proposals: Pair = (2000, 1000)
    rpn_samples: Count = 256
    regions: Count = 512
    box_head: Count = 1024
    norm: Literal["batch", "group", "frozen"] = "batch"
    norm_eps: float | None = Field(default=None, ge=0, le=1)
    trainable_layers: int = Field(default=5, ge=0, le=5)
    min_score: float = Field(default=0.05, ge=0, le=1)
    detections: Count = 100
    layout: Literal["torchvision", "detectron2"] = "torchvision"
    stride_in_1x1: bool = False

    @model_validator(mode="after")
    def _levels_fit(self) -> DetectorSettings:
        first = LEVELS.index(self.levels[0])
        if self.levels != LEVELS[first : first + len(self.levels)] or self.levels == ("p6",):
            raise ValueError(
                f"levels are neighbours from fine to coarse, such as [p3, p4, p5, p6], and p6 is made of p5; got "
                f"{list(self.levels)}"
            )
        if self.anchors is not None and len(self.anchors) != len(self.levels):
            raise ValueError(f"anchors has a size for each of the {len(self.levels)} levels, got {list(self.anchors)}")
        return self

    @property
    def pooled(self) -> tuple[str, ...]:
        """The levels that regions are cut out of."""
        return tuple(level for level in self.levels if level != "p6")

    @property
    def steps(self) -> tuple[int, ...]:
        """Pixels from one value of each level to the next."""
        return tuple(2 ** int(level[1:]) for level in self.levels)

    @property
    def sizes(self) -> tuple[float, ...]:
        """The side of each level's anchors, in pixels."""
        return self.anchors or tuple(8.0 * step for step in self.steps)


def _make(match: re.Match[str], shape: tuple[int, ...], classes: int, settings: Any) -> Tapped:
    try:
        from overtone.models.detector import build_detector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torchvision":
            raise
        raise InputError(f"model {match[0]} needs the package torchvision: pip install overtone[torchvision]") from None
    return build_detector(match[1], float(match[2] or 1), shape[0], classes, settings)


FAMILY = Family(
    "fasterrcnn",
    r"fasterrcnn-(resnet(?:18|34|50|101)|mobilenetv2|efficientnetlite0)(?:-(\d+(?:\.\d+)?))?",
    "fasterrcnn-resnet18",
    "fasterrcnn-resnet18-0.25",
    "Ren et al. 2015, Lin et al. 2017: Faster R-CNN with FPN, for detection: backbone (resnet18 to 101, mobilenetv2, "
    "efficientnetlite0), width; needs torchvision",
    _make,
    dims=(2,),
    settings=DetectorSettings,
    task="detection",
)
