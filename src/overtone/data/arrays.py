"""Recordings from arrays of signals, classes and groups, as files of arrays hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from overtone.data.base import Recordings
from overtone.errors import InputError

Layout = Literal["NCT", "NTC"]
"""Which axis is what: N items, C channels, T samples."""
MANY_CHANNELS = 16
"""From so many on, twice as many channels as samples are taken for a slip."""


def from_arrays(
    x: Any, y: npt.NDArray[Any], group: npt.NDArray[Any], layout: Layout | None, rate: float | None, where: str
) -> Recordings:
    """Items that are recordings of their own.

    Args:
        x: (N, C, T), or (N, T, C) as ``layout`` says; or a list of arrays (C, T_i), or (T_i, C).
        y: (N,) class numbers or names, or real numbers (N, ...).
        group: (N,) whose each is.
        layout: of ``x``; NCT unless given, which its proportions may speak against.
        rate: Hz, if known.
        where: the source, for messages.

    Raises:
        InputError: for wrong shapes or types, unequal lengths, or many more channels than samples without a layout.
    """
    items = x if isinstance(x, list) else [x]
    axes = 2 if isinstance(x, list) else 3
    for item in items:
        if item.ndim != axes:
            wanted = "(C, T) or (T, C)" if axes == 2 else "(N, C, T)"
            raise InputError(
                f"{where}: X must have {'two' if axes == 2 else 'three'} axes {wanted}, got shape {item.shape}"
            )
        if item.dtype.kind not in "iuf":
            raise InputError(f"{where}: X must hold numbers, got {item.dtype}")
    lengths = {"X": len(x), "y": len(y) if y.ndim else 0, "group": group.size}
    if group.ndim != 1 or len(set(lengths.values())) > 1:
        shapes = {"X": f"({len(x)},)" if axes == 2 else x.shape, "y": y.shape, "group": group.shape}
        raise InputError(
            f"{where}: X, y and group must be equally long, got "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )
    for name, array in (("y", y), ("group", group)):
        if array.dtype.kind not in "biufSU":
            raise InputError(f"{where}: {name} must hold numbers or names, got {array.dtype}")
    if y.ndim > 1 and y.dtype.kind in "SU":
        raise InputError(f"{where}: y must hold one name, or numbers, for each window, got names of shape {y.shape}")
    signals = [item.T for item in x] if layout == "NTC" else list(x)
    channels = {len(signal) for signal in signals}
    if len(channels) > 1:
        raise InputError(
            f"{where}: items have {min(channels)} to {max(channels)} channels; all need the same. "
            + ("If their axes are (T, C), set data.layout: NTC" if layout != "NTC" else "They were read as (T, C)")
        )
    labels, classes = _labels(y)
    return Recordings(
        signals=signals,  # turned into float32 window by window, since X may be mapped
        labels=labels,
        groups=_groups(group, where),
        classes=classes,
        channels=tuple(f"channel {c}" for c in range(max(channels, default=0 if axes == 2 else x.shape[1]))),
        rate=rate,
        where=where,
        notes=() if layout else tuple(doubtful_layout(signals, where)),
    )


def doubtful_layout(signals: Sequence[Any], where: str) -> list[str]:
    """A note on recordings (C, T_i) with more channels than samples, which are rarely meant.

    Raises:
        InputError: for more than twice as many, of 16 channels or more.
    """
    if not signals:
        return []
    channels, samples = len(signals[0]), max(signal.shape[1] for signal in signals)
    if channels <= samples or not samples:
        return []
    read = f"{channels} channels of {samples} samples"
    other = f"{channels} samples of {samples} channels"
    if channels >= MANY_CHANNELS and channels > 2 * samples:
        raise InputError(
            f"{where}: X would be read as {read}, which looks like {other}; set data.layout: NTC if it is that, or "
            "data.layout: NCT if it is as it would be read"
        )
    return [f"X was read as {read}; if it is {other}, set data.layout: NTC (NCT says that it is right)"]


def texts(array: npt.NDArray[Any]) -> list[str]:
    """Names as text; bytes are decoded."""
    if array.dtype.kind == "S":
        return [name.decode("utf-8", errors="replace") for name in array.tolist()]
    return [str(name) for name in array.tolist()]


def _groups(group: npt.NDArray[Any], where: str) -> list[str]:
    if group.dtype.kind == "f":
        bad = ~np.isfinite(group)
        if bad.any():
            raise InputError(
                f"{where}: group holds {int(bad.sum())} NaN or infinite values, first at {int(bad.argmax())}"
            )
        group = group.astype(np.int64) if (group == np.round(group)).all() else group
    return texts(group)


def _labels(y: npt.NDArray[Any]) -> tuple[Any, tuple[str, ...]]:
    """Class numbers (N,) and names; of fractions, NaN or several numbers of an item these as they are, no names."""
    if y.ndim > 1:
        return [own.astype(np.float64) for own in y], ()
    if y.dtype.kind == "f":
        if not np.isfinite(y).all() or (y != np.round(y)).any():
            return list(y.astype(np.float64)[:, None]), ()
        y = y.astype(np.int64)
    names, labels = np.unique(y, return_inverse=True)
    return labels.astype(np.int64), tuple(texts(names))
