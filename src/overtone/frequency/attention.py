"""The frequency attention module: a filter over the whole map's spectrum beside a 1x1 convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from overtone.frequency.checks import fits, map_size, one_of
from overtone.frequency.filter import SpectralFilter, resize, wanted_maps
from overtone.frequency.layers import CONV
from overtone.frequency.masks import RADIUS, SHAPE, Shape
from overtone.frequency.settings import check_settings
from overtone.frequency.transforms import Name

Branches = Literal["both", "global", "local"]
OtherSize = Literal["resample", "pool"]


class FrequencyAttention(nn.Module):
    r"""``y = g1 IFFT(HPF(W FFT(x))) + g2 conv1x1(x)``, for signals' and images' feature maps.

    The first branch is global: every value of the output depends on the whole map. A high-pass filter takes the
    slowest waves out of it. The second is local. ``g1`` and ``g2`` are learned, 0.5 at the start.

    Args:
        in_channels, out_channels: of the maps.
        size: of the maps: T for (B, C, T), (H, W) for (B, C, H, W); need not be square.
        transform: ``fft``, ``dct`` or ``haar``.
        shape, radius: of the high-pass mask, the radius as a fraction of the Nyquist frequency.
        form: ``full``, ``depthwise`` or ``low_rank:r``; the full filter has about C_in C_out H W real parameters.
        other_size: for maps of another size, ``resample`` the filter in frequency or ``pool`` the map to ``size``.
        branches: ``both``, or only the ``global`` or the ``local`` one.
        published: the mask (empty below size 20, lopsided above) and initial values of the official code; ``shape`` and
            ``radius`` are then left out.
        grid: the filter's parameters lie on a grid of so many frequencies along each axis, for maps of any size; see
            :class:`SpectralFilter`.

    Raises:
        ValueError: for an empty map, a radius below 0, an unknown name, or settings that do not go together, whichever
            branches there are.

    Source: Pham, Nguyen, Le, Nguyen, Tran, Do, "Frequency Attention for Knowledge Distillation", WACV 2024.

    Example:
        >>> attention = FrequencyAttention(2, 4, (8, 6))
        >>> attention(torch.zeros(1, 2, 8, 6)).shape
        torch.Size([1, 4, 8, 6])
        >>> FrequencyAttention(2, 4, 16, branches="global", form="depthwise")(torch.zeros(1, 2, 16)).shape
        torch.Size([1, 4, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int | Sequence[int],
        *,
        transform: Name = "fft",
        shape: Shape = SHAPE,
        radius: float = RADIUS,
        form: str = "full",
        other_size: OtherSize = "resample",
        branches: Branches = "both",
        published: bool = False,
        grid: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_settings(in_channels, out_channels, size, transform, shape, radius, form, published, grid)
        one_of("other_size", other_size, get_args(OtherSize))
        one_of("branches", branches, get_args(Branches))
        self.in_channels, self.out_channels, self.size = int(in_channels), int(out_channels), map_size(size)
        self.other_size = other_size
        self.filter = self.local = None
        if branches != "local":
            self.filter = SpectralFilter(
                in_channels,
                out_channels,
                self.size,
                transform=transform,
                shape=shape,
                radius=radius,
                form=form,
                published=published,
                grid=grid,
            )
            self.rate_global = nn.Parameter(torch.tensor(0.5))
        if branches != "global":
            self.local = CONV[len(self.size)](self.in_channels, self.out_channels, 1)
            self.rate_local = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, *size) -> (B, out_channels, *size).

        Computed in float32 under autocast: half-precision transforms need sizes that are powers of two.

        Raises:
            ValueError: for another number of channels or dimensions, an empty map, or what is no floating-point map.
        """
        fits(x, self.in_channels, len(self.size), wanted_maps(self.in_channels, self.size))
        with torch.autocast(x.device.type, enabled=False):
            if x.dtype in (torch.float16, torch.bfloat16):
                x = x.float()
            if self.other_size == "pool":
                x = resize(x, self.size)
            if self.filter is None:
                assert self.local is not None
                return self.rate_local * self.local(x)
            y = self.rate_global * self.filter(x)
            return y if self.local is None else y + self.rate_local * self.local(x)

    def from_dense(self, filter: Tensor) -> None:
        """Take over a dense complex filter (in_channels, out_channels, *size); see :meth:`SpectralFilter.from_dense`.

        Raises:
            ValueError: if there is no global branch, or the filter is not complex or does not fit.
        """
        if self.filter is None:
            raise ValueError("there is no global branch to take a filter over")
        self.filter.from_dense(filter)
