"""The contract of sources of data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sized
from typing import Any

import numpy as np

from overtone.data import Recordings, Source, Windows, check_learnable, cut
from overtone.data.parts import without_missing
from overtone.errors import InputError
from overtone.testing.require import made, require

FEW = 256
"""Windows that are looked at."""


def check_source(kind: type[Source], settings: Mapping[str, Any] | None = None) -> None:
    """Hold a source to its contract: it is loaded twice, cut into windows where it gives recordings, and looked at.

    Its lists are as long as they must be, labels are such as its ``TASK`` takes (of classes, each names one), windows
    are finite numbers, and what is loaded again is the same to the last bit, since cells of a study are found by the
    data's content.

    Args:
        kind: the class.
        settings: as in a recipe, such as a path to a few recordings.

    Raises:
        AssertionError: in one sentence on what is wrong and what the class should do.
        InputError: from the source, for data that it refuses.
    """
    try:
        plain = json.loads(json.dumps(dict(settings or {})))
    except TypeError as error:
        raise AssertionError(f"settings of {kind.__name__} must be such as a recipe can hold: {error}") from error
    first, second = (_windows(made(kind, Source, plain)) for _ in range(2))
    require(
        first.content == second.content,
        f"{kind.__name__} gives other windows when it is loaded again; sort what is listed, and draw nothing at random",
    )
    try:
        check_learnable(first)
    except InputError as error:
        raise AssertionError(f"{kind.__name__}: {error}") from error


def _windows(source: Source) -> Windows:
    """As a recipe that names nothing but the source has them."""
    name, data = type(source).__name__, source.load()
    require(
        isinstance(data, (Recordings, Windows)),
        f"{name}.load must return Recordings, or Windows of what is not cut any further; got {type(data).__name__}",
    )
    kind = type(source)
    window, stride = source.cutting()
    try:
        if isinstance(data, Windows):
            _look(name, data)
            return kind.TASK.take(data)
        _recordings(name, data)
        data = without_missing(data, source.missing)
        data.check()
        task, data = kind.TASK.labelled(data, {})
        lengths = {signal.shape[1] for signal in data.signals}
        if window is None and len(lengths) > 1:  # a recipe must name one
            windows = cut(data, min(lengths), None, task)
        else:
            windows = cut(data, window, stride, task)
        _look(name, windows)
        return task.take(windows)
    except InputError as error:
        raise AssertionError(f"{name}: {error}") from error


def _recordings(name: str, recordings: Recordings) -> None:
    count = len(recordings.signals)
    lists: dict[str, Sized | None] = {
        "labels": recordings.labels,
        "groups": recordings.groups,
        "official_test": recordings.official_test,
        "origin": recordings.origin,
        "offset": recordings.offset,
    }
    for what, values in lists.items():
        require(
            values is None or len(values) == count,
            f"{name}: {count} recordings, but {0 if values is None else len(values)} in {what}; there is one for each",
        )
    for number, signal in enumerate(recordings.signals):
        shape = np.shape(signal)
        require(
            len(shape) == 2 and shape[0] == len(recordings.channels),
            f"{name}: recording {number} must be (channels, samples), with {len(recordings.channels)} channels as "
            f"named; got {shape}",
        )


def _look(name: str, windows: Windows) -> None:
    count = len(windows.y)
    sizes = {len(x) for x in (windows.x, windows.y, windows.group, windows.recording, windows.start)}
    require(sizes == {count}, f"{name}: x, y, group, recording and start must be equally long; got {sorted(sizes)}")
    require(count > 0, f"{name} has no windows")
    shape = tuple(windows.x.shape)
    require(
        len(shape) in (3, 4) and shape[1] == len(windows.channels),
        f"{name}: x must be (N, C, T) or (N, C, H, W) with the {len(windows.channels)} channels named; got {shape}",
    )
    numbered = [("group", windows.group, windows.groups)]
    one_class = windows.classes and windows.task.ONE_CLASS  # other tasks have targets of their own
    numbered += [("y", windows.y, windows.classes)] if one_class else []
    for what, numbers, names in numbered:
        require(
            bool(((numbers >= 0) & (numbers < len(names))).all()),
            f"{name}: {what} must count from 0 to {len(names) - 1}, the names there are; got {numbers.min()} to "
            f"{numbers.max()}",
        )
        require(len(set(names)) == len(names), f"{name}: a name of {what} stands twice: {', '.join(names[:20])}")
    official = windows.official_test
    require(official is None or len(official) == count, f"{name}: official_test must say of each window whether it is")
    some = np.asarray(windows.x[np.linspace(0, count - 1, min(count, FEW)).astype(int)], dtype=np.float64)
    require(bool(np.isfinite(some).all()), f"{name}: windows hold values that are not finite")
    require(bool(windows.where), f"{name}: where must say what the data are, for messages")
