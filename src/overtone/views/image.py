"""An image itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import interpolate

from overtone.views.base import LARGEST, State, View


class Image(View):
    """The standardised image as it is, (B, C, H, W), or at another size.

    With ``mean`` and ``std`` it is standardised by these instead of the data's own, for a teacher that was trained so
    elsewhere.

    Attributes:
        size: height in pixels, to which the image is scaled (bilinear, antialiased) with its width in proportion; as
            the data give it unless set. Augmentation comes before, so that views of several sizes show one picture.
        mean, std: one number per channel, of pixels from 0 to 1, in the view's order.
        order: of three channels that the data give as red, green, blue; ``bgr`` turns it round, as Detectron2's
            detectors see images.

    Example:
        >>> Image().render(torch.zeros(2, 3, 8, 8), {}).shape
        torch.Size([2, 3, 8, 8])
        >>> Image(size=4).render(torch.zeros(2, 3, 8, 16), {}).shape
        torch.Size([2, 3, 4, 8])
        >>> Image(mean=(0.5,), std=(0.25,)).scaled([127.5], [127.5])  # from the data's mean and deviation, in bytes
        {'factor': [2.0], 'shift': [0.0]}
    """

    AXES: ClassVar[tuple[str, ...]] = ("height", "width")
    SOURCE: ClassVar[str] = "the image itself, for data that hold images"
    DIMS: ClassVar[int] = 2

    size: int | None = Field(default=None, ge=1, le=LARGEST)
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = None
    order: Literal["rgb", "bgr"] = "rgb"

    @model_validator(mode="after")
    def _both(self) -> Image:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"mean and std go together, one number per channel; got {self.mean} and {self.std}")
        return self

    def scaled(self, mean: Sequence[float], std: Sequence[float]) -> State:
        """Factor and shift from the data's standardisation to the view's own."""
        chosen = list(range(len(mean)) if self.channels is None else self.channels)
        if self.order == "bgr" and len(chosen) != 3:
            raise ValueError(f"order: bgr is of images with three channels, these have {len(chosen)}")
        if self.mean is None or self.std is None:
            return {}
        chosen = chosen[::-1] if self.order == "bgr" else chosen
        own = [(BYTE * m, BYTE * s) for m, s in zip(self.mean, self.std, strict=True)]
        if len(own) != len(chosen):
            raise ValueError(f"mean and std are of {len(own)} channels, the images have {len(chosen)}")
        data = [(mean[channel], std[channel]) for channel in chosen]
        return {
            "factor": [s / own_s for (_, s), (_, own_s) in zip(data, own, strict=True)],
            "shift": [(m - own_m) / own_s for (m, _), (own_m, own_s) in zip(data, own, strict=True)],
        }

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The same, or scaled.

        Raises:
            ValueError: for an image so wide or so narrow that its width is out of bounds.
        """
        if self.size is None:
            return size
        height, width = size
        scaled = round(width * self.size / height)
        if not 1 <= scaled <= LARGEST:
            raise ValueError(f"size {self.size} makes an image of {height} x {width} pixels {scaled} pixels wide")
        return self.size, scaled

    def cost(self, size: tuple[int, ...]) -> int:
        """The image itself, or what it is scaled to."""
        return max(math.prod(size), math.prod(self.shape(size)))

    def render(self, stored: Tensor, state: State) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        stored = stored.flip(1) if self.order == "bgr" else stored
        if self.size is not None:
            shape = self.shape(tuple(stored.shape[2:]))
            stored = interpolate(stored, shape, mode="bilinear", antialias=True, align_corners=False)
        if "factor" not in state:
            return stored
        factor, shift = (stored.new_tensor(state[name])[:, None, None] for name in ("factor", "shift"))
        return stored * factor + shift


BYTE = 255
"""Pixels are bytes, and means and deviations in the literature are of their share of the largest."""
