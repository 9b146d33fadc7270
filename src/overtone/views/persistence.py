"""Persistence images: which valleys a window has, how low they start and how long they last.

The sub-level sets of a signal grow as a water level rises: a component is born at each local minimum and dies where it
meets an older one (elder rule). The pairs (birth, death) form the window's H0 diagram; the image is its smoothed
histogram over (birth, persistence = death - birth).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from overtone.views.base import LARGEST, Codec, Shown, State, View


def sublevel_diagram(x: Tensor) -> Tensor:
    """H0 persistence diagram of the sub-level sets of each series, on the path graph of its samples.

    All series advance together, without a loop over them: each keeps a stack of open valleys separated by ever lower
    passes. A new pass closes every valley behind a lower pass (the shallower of two valleys dies there, elder rule),
    then is pushed. Every series needs at most 2T - 2 such moves. The component that never dies (the global minimum) is
    left out, as are pairs of zero persistence: a plateau counts as one sample and a constant window has an empty
    diagram.

    Args:
        x: (..., T), finite.

    Returns:
        (..., P, 2) pairs (birth, death) sorted by birth, then death, padded with NaN; P is the largest count there
        is, at least 1.

    Source: Edelsbrunner, Letscher, Zomorodian 2002 (elder rule); equal to gudhi and ripser on the golden cases.

    Example:
        >>> sublevel_diagram(torch.tensor([0.0, 3.0, 1.0, 4.0]))  # a valley starts at 1 and meets a deeper one at 3
        tensor([[1., 3.]])
    """
    lead, length = x.shape[:-1], x.shape[-1]
    flat = x.reshape(-1, length)  # (N, T)
    n = flat.shape[0]
    rows = torch.arange(n, device=x.device)
    infinity = torch.full((n, 1), float("inf"), dtype=x.dtype, device=x.device)
    passes = torch.cat([torch.maximum(flat[:, :-1], flat[:, 1:]), infinity], dim=1)  # (N, T), after sample i
    valley = flat.new_empty(n, length)  # the stack: lowest value of each open valley ...
    beyond = flat.new_full((n, length), float("inf"))  # ... and the pass to its right
    depth = torch.zeros(n, dtype=torch.long, device=x.device)
    position = torch.zeros(n, dtype=torch.long, device=x.device)
    current = flat[:, 0].clone()
    births, deaths = [], []
    for _ in range(2 * length - 2):
        below = (depth - 1).clamp(min=0)
        last_pass = beyond[rows, below]
        next_pass = passes[rows, position]
        merge = (depth > 0) & (last_pass <= next_pass)
        last_valley = valley[rows, below]
        born = torch.maximum(last_valley, current)
        real = merge & (last_pass > born)
        births.append(torch.where(real, born, torch.nan))
        deaths.append(torch.where(real, last_pass, torch.nan))
        # Merging pops the stack; otherwise the current valley is pushed and the walk moves on.
        push = ~merge & (position < length - 1)
        slot = torch.where(push, depth, length - 1)
        valley[rows, slot] = torch.where(push, current, valley[rows, slot])
        beyond[rows, slot] = torch.where(push, next_pass, beyond[rows, slot])
        position = position + push.long()
        current = torch.where(
            merge, torch.minimum(last_valley, current), torch.where(push, flat[rows, position], current)
        )
        depth = depth + push.long() - merge.long()
    if not births:
        return flat.new_full((*lead, 1, 2), torch.nan)
    diagram = torch.stack([torch.stack(births, 1), torch.stack(deaths, 1)], dim=-1)  # (N, 2T-2, 2)
    # Sort by death, then stably by birth: ties of birth stay in order of death; NaN goes last.
    for column in (1, 0):
        order = diagram[..., column].nan_to_num(nan=float("inf")).argsort(dim=1, stable=True)
        diagram = diagram.gather(1, order.unsqueeze(-1).expand_as(diagram))
    count = int(diagram[..., 0].isfinite().sum(1).max()) if n else 0
    return diagram[:, : max(count, 1)].reshape(*lead, max(count, 1), 2)


def persistence_image(
    diagram: Tensor,
    size: int,
    birth_range: tuple[float, float],
    persistence_range: tuple[float, float],
    sigma: float | tuple[float, float],
    kind: Literal["persim", "gudhi"] = "persim",
) -> Tensor:
    r"""Persistence image of each diagram, weighted by persistence.

    ``persim``: the mass that a Gaussian of standard deviation ``sigma`` around each point puts into each pixel,
    :math:`I_{ij} = \sum_p w_p\, \Delta\Phi_i(p)\, \Delta\Phi_j(p)`. ``gudhi``: the Gaussian's density at a grid of
    ``size`` points from one end of the range to the other, both ends included. Both are products of a factor in birth
    and a factor in persistence, so one batched matrix product rasterises a whole batch.

    Args:
        diagram: (..., P, 2) pairs (birth, death), NaN where there is none.
        size: side of the image in pixels.
        birth_range: what the columns span, in the signal's unit.
        persistence_range: what the rows span; row 0 is the lowest persistence.
        sigma: standard deviation in the signal's unit, one for both axes or (birth, persistence).
        kind: ``persim`` or ``gudhi``.

    Returns:
        (..., size, size), rows = persistence, columns = birth, all >= 0; an empty diagram gives zeros.

    Raises:
        ValueError: for an empty range or a sigma that is not positive.

    Source: Adams et al., "Persistence Images", JMLR 2017, section 4.

    Example:
        >>> diagram = torch.tensor([[1.0, 3.0]])  # born at 1, lasts 2
        >>> image = persistence_image(diagram, 2, (0.0, 2.0), (0.0, 4.0), sigma=0.1)
        >>> round(float(image.sum()), 3)  # its weight is how long it lasts
        2.0
    """
    sigmas = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    for name, (low, high) in {"birth": birth_range, "persistence": persistence_range}.items():
        if not low < high:
            raise ValueError(f"{name}_range must rise, got ({low}, {high})")
    if min(sigmas) <= 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    absent = diagram[..., 0].isnan()  # (..., P)
    birth = diagram[..., 0].masked_fill(absent, 0.0)
    lifetime = (diagram[..., 1] - diagram[..., 0]).masked_fill(absent, 0.0)
    columns = _factor(birth, birth_range, size, sigmas[0], kind)  # (..., P, size)
    rows = _factor(lifetime, persistence_range, size, sigmas[1], kind)  # (..., P, size)
    return (rows * lifetime.unsqueeze(-1)).transpose(-1, -2) @ columns


def _factor(points: Tensor, span: tuple[float, float], size: int, sigma: float, kind: str) -> Tensor:
    """One axis of the Gaussian of each point: (..., P) -> (..., P, size)."""
    low, high = span
    if kind == "gudhi":
        grid = torch.linspace(low, high, size, dtype=points.dtype, device=points.device)
        z = (grid - points.unsqueeze(-1)) / sigma
        return torch.exp(-0.5 * z * z) / (sigma * (2 * torch.pi) ** 0.5)
    edges = torch.linspace(low, high, size + 1, dtype=points.dtype, device=points.device)
    return torch.special.ndtr((edges - points.unsqueeze(-1)) / sigma).diff(dim=-1)


class DiagramCodec:
    """Diagrams (n, C, P, 2), padded with NaN behind their pairs, as the pairs (M, 2) and their numbers (n, C)."""

    WHAT = "persistence diagrams"

    def pack(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~overtone.views.base.Codec`; pairs in float32."""
        there = stored[..., 0].isfinite()  # (n, C, P)
        return stored[there].float(), there.sum(-1)

    def unpack(self, rows: Tensor, counts: Tensor) -> Tensor:
        """(n, C, P, 2); P is the largest number of pairs among them, at least 1."""
        longest = max(int(counts.max()) if counts.numel() else 0, 1)
        there = torch.arange(longest, device=rows.device) < counts.unsqueeze(-1)  # (n, C, P)
        padded = rows.new_full((*there.shape, 2), torch.nan)
        padded[there] = rows
        return padded

    def largest(self, window: tuple[int, ...]) -> int:
        """A diagram has at most one pair for two samples."""
        return window[0] * (window[1] // 2) * 8


class PersistenceImage(View):
    """Persistence image of each channel: (B, C, T) -> (B, C, size, size).

    Diagrams are computed once per window, images per batch. Ranges are those of the training diagrams, and images are
    divided by the spread of the training images' pixels, so that a model sees values of about one.

    ``ranges: extremes``: one range and one scale for all channels, from the lowest to the highest value of any. A few
    long-lived points then leave most pixels empty. ``quantiles``: ranges and a scale of each channel, births from the
    1st to the 99th percentile, persistence from 0 to the 99th; points beyond lie on the edge. That fills the pixels,
    and did no better on validation people (``results/README.md``).

    A state of ``quantiles`` holds lists of pairs, one per channel; one of ``extremes`` holds single pairs, as do all
    student files from before there were two kinds.

    Attributes:
        size: side of the image.
        sigma: width of the Gaussian in pixels.
        kind: ``persim`` (mass per pixel) or ``gudhi`` (density at grid points).
        ranges: ``extremes`` or ``quantiles``.

    Example:
        >>> view, windows = PersistenceImage(size=4), torch.tensor([[[0.0, 3.0, 1.0, 4.0]]])
        >>> diagrams = view.prepare(windows)
        >>> view.render(diagrams, view.fit(diagrams)).shape
        torch.Size([1, 1, 4, 4])
    """

    FOLLOWS: ClassVar[bool] = False  # diagrams are computed once, from the window as it was recorded
    CODEC: ClassVar[Codec | None] = DiagramCodec()
    AXES: ClassVar[tuple[str, ...]] = ("persistence", "birth")
    STATE: ClassVar[Mapping[str, int]] = {"birth_range": 2, "persistence_range": 2, "scale": 1}
    SOURCE: ClassVar[str] = "Adams et al. 2017; kinds of persim and gudhi"
    SHOWN: ClassVar[Shown] = Shown(
        caption="persistence image: how low valleys of the signal start (birth) and how long they last (persistence)",
        labels=("persistence", "birth, standard deviations"),
        low=0.0,
        gamma=0.5,
    )

    size: int = Field(default=32, ge=2, le=LARGEST)
    sigma: float = Field(default=1.0, gt=0, le=1e9, description="in pixels")
    kind: Literal["persim", "gudhi"] = "persim"
    ranges: Literal["extremes", "quantiles"] = Field(default="extremes", description="of births and persistence")

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (size, size)."""
        return self.size, self.size

    def cost(self, size: tuple[int, ...]) -> int:
        """A factor for each pair of the diagram, of which there are half as many as samples, and the image."""
        return self.size * (size[0] // 2 + self.size)

    def extents(self, state: State) -> list[list[float]]:
        """Ranges of birth and persistence, of all channels or of each."""
        births, lives = state["birth_range"], state["persistence_range"]
        return (
            [[*b, *p] for b, p in zip(births, lives, strict=True)] if isinstance(births[0], list) else [births + lives]
        )

    def check_state(self, state: State, channels: int) -> None:
        """Ranges and scale of each channel, or of all together.

        Raises:
            ValueError: for a state that :meth:`fit` cannot have given.
        """
        values = [state.get(name) for name in self.STATE]
        if not (isinstance(values[0], list) and values[0] and isinstance(values[0][0], list)):
            super().check_state(state, channels)
            return
        each = [entry for entry in values if isinstance(entry, list) and len(entry) == channels]
        if len(each) < len(values):
            raise ValueError(f"its state must hold {', '.join(self.STATE)} for each of {channels} channels")
        for entry in zip(*each, strict=True):
            super().check_state(dict(zip(self.STATE, entry, strict=True)), channels)

    def prepare(self, windows: Tensor) -> Tensor:
        """(N, C, T) -> diagrams (N, C, P, 2)."""
        return sublevel_diagram(windows)

    def fit(self, stored: Tensor) -> State:
        """Ranges of birth and persistence, and the images' scale; of each channel, or of all together."""
        state = self._ranges(stored)
        # Pixel statistics in chunks: the images of a whole training set need not fit into memory.
        total, squares, count = torch.zeros(stored.shape[1]).double(), torch.zeros(stored.shape[1]).double(), 0
        for chunk in stored.split(256):
            image = self.render(chunk, state).cpu().double().transpose(0, 1).flatten(1)  # some devices have no float64
            total, squares, count = total + image.sum(1), squares + image.square().sum(1), count + image.shape[1]
        if self.ranges == "extremes":
            total, squares = total.mean(0), squares.mean(0)
        spread = (squares / count - (total / count) ** 2).clamp(min=0).sqrt()
        return {**state, "scale": spread.where(spread > 0, 1.0).tolist()}

    def _ranges(self, stored: Tensor) -> State:
        """The state with scales of 1."""
        present = stored[..., 0].isfinite()
        births, lifetimes = stored[..., 0], stored[..., 1] - stored[..., 0]
        if self.ranges == "extremes":
            longest = _quantile(lifetimes[present], 1.0)
            return {"birth_range": _span(births[present], 0.0), "persistence_range": [0.0, longest], "scale": 1.0}
        of_channel = [(births[:, c][there], lifetimes[:, c][there]) for c, there in enumerate(present.unbind(1))]
        return {
            "birth_range": [_span(values, BEYOND) for values, _ in of_channel],
            "persistence_range": [[0.0, _quantile(values, 1 - BEYOND)] for _, values in of_channel],
            "scale": [1.0] * len(of_channel),
        }

    def render(self, stored: Tensor, state: State) -> Tensor:
        """Diagrams (B, C, P, 2) -> (B, C, size, size)."""
        if not isinstance(state["birth_range"][0], list):
            return self._over_one_range(stored, state)
        low, high = stored.new_tensor(state["birth_range"]).unsqueeze(-1).unbind(1)  # (C, 1) each
        longest = stored.new_tensor(state["persistence_range"])[:, 1:]  # (C, 1)
        births = ((stored[..., 0] - low) / (high - low)).clamp(0, 1)  # every channel's ranges become 0 to 1
        lifetimes = ((stored[..., 1] - stored[..., 0]) / longest).clamp(max=1)
        diagram = torch.stack([births, births + lifetimes], -1)
        image = persistence_image(diagram, self.size, (0.0, 1.0), (0.0, 1.0), self.sigma / self.size, self.kind)
        return image / stored.new_tensor(state["scale"])[:, None, None]

    def _over_one_range(self, stored: Tensor, state: State) -> Tensor:
        """All channels over the same ranges; what lies beyond falls out of the image."""
        births, lifetimes = tuple(state["birth_range"]), tuple(state["persistence_range"])
        sigma = (
            self.sigma * (births[1] - births[0]) / self.size,
            self.sigma * (lifetimes[1] - lifetimes[0]) / self.size,
        )
        return persistence_image(stored, self.size, births, lifetimes, sigma, self.kind) / state["scale"]


BEYOND = 0.01
"""The share of a channel's training points that lie beyond each end of its ranges."""


def _span(values: Tensor, beyond: float) -> list[float]:
    """From the lowest to the highest value but for a share of them at each end; never empty."""
    if values.numel() == 0:  # every training window is constant or monotonic: any range will do
        return [-1.0, 1.0]
    low, high = _quantile(values, beyond), _quantile(values, 1 - beyond)
    if low == high:  # nearly all are one
        low, high = float(values.min()), float(values.max())
    return [low, high] if low < high else [low - 0.5, high + 0.5]


def _quantile(values: Tensor, share: float) -> float:
    """The value nearest to that rank, 1 where there is none; torch's own refuses more than 2^24 values."""
    if values.numel() == 0:
        return 1.0
    return float(values.sort().values[round(share * (len(values) - 1))])
