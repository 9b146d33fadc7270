"""Recordings, the windows cut from them, and what a source of recordings is."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from overtone.data.image_files import ImageFiles
from overtone.data.missing import HELP, Missing, MissingSettings
from overtone.errors import InputError
from overtone.files import expanded
from overtone.tasks import Classification, Task

CLASSES = Classification()
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Material:
    """What data is made of, and what its parts are called.

    Attributes:
        noun: one sample.
        group, groups: what several samples have in common and only one side of a fold may have, one of it and many.
        axes: of a sample, without its channels.
    """

    noun: str = "window"
    group: str = "group"
    groups: str = "groups"
    axes: tuple[str, ...] = ("time",)

    @property
    def of_images(self) -> bool:
        """Whether a sample has height and width, and no time."""
        return "time" not in self.axes


WORD = re.compile(r"[^\W\d_][\w' -]{0,39}")
"""What groups may be called."""
SIGNALS = Material()
PEOPLE = Material(group="person", groups="people")
IMAGES = Material("image", "image", "images", ("height", "width"))
"""Each stands for itself."""


@dataclass(frozen=True)
class Recordings:
    """Whole recordings as a source gives them.

    Attributes:
        signals: one (C, T_i) float32 array per recording; lengths may differ, channels may not.
        labels: class number of each recording, or an array of class numbers per recording, one per sample. Where the
            data have real numbers instead of classes, an array (K,) or (T, K) per recording.
        groups: who (or what) each recording belongs to, as names.
        classes: class names in label order.
        channels: channel names.
        rate: sampling rate in Hz, if known.
        where: what the source calls itself in messages, such as a file.
        official_test: which recordings the data's own split tests, where it has one.
        notes: what a reader of the page should know (channels that never change, filled gaps).
        origin: where recordings were cut at gaps, the number of the whole recording each signal is a part of.
        offset: and the samples before that part.
        names: of the whole recordings.
    """

    signals: list[FloatArray]
    labels: IntArray | list[IntArray] | list[npt.NDArray[Any]]
    groups: list[str]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate: float | None
    where: str
    official_test: list[bool] | None = None
    notes: tuple[str, ...] = ()
    origin: list[int] | None = None
    offset: list[int] | None = None
    names: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be cut into windows.

        Raises:
            InputError: for no recordings, no channel, an empty recording, or values that are not finite (how
                many, and where the first is).
        """
        if not self.signals:
            raise InputError(f"{self.where}: there are no recordings in it")
        if not self.channels:
            raise InputError(f"{self.where}: there is no channel in it")
        bad, first = 0, None
        missing = np.zeros(len(self.channels), dtype=np.int64)
        for number, signal in enumerate(self.signals):
            if signal.shape[1] == 0:
                raise InputError(f"{self.where}: recording {number} is empty")
            with np.errstate(over="ignore"):
                finite = np.isfinite(np.asarray(signal, dtype=np.float32))  # as it will be used
            if not finite.all():
                bad += int((~finite).sum())
                missing += np.isnan(signal).sum(axis=1)
                if first is None:
                    channel, sample = np.argwhere(~finite)[0]
                    first = (number, self.channels[channel], int(sample), float(signal[channel, sample]))
        if first is not None:
            number, channel, sample, value = first
            named = ", ".join(f"{self.channels[c]}: {missing[c]}" for c in np.flatnonzero(missing)[:8])
            raise InputError(
                f"{self.where}: {bad} values are not finite; the first is {value} in recording {number}, channel "
                f"{channel!r}, sample {sample}. "
                + (f"Missing are {missing.sum()} ({named}). {HELP}" if named else "Cut such stretches out first")
            )


@dataclass(frozen=True)
class Windows:
    """Windows of equal length, all that a study trains and tests on.

    Attributes:
        x: (N, C, T) float32, as recorded (not standardised); an array, or one that is cut on demand. Where the data
            hold images, (N, C, H, W) bytes, perhaps decoded on demand.
        y: (N,) class numbers, or (N, ...) targets of another task.
        group: (N,) number of each window's group in ``groups``.
        recording: (N,) number of the (whole) recording each window was cut from, in ``recordings`` if named.
        start: (N,) first sample of the window in its recording.
        groups, classes, channels: names.
        rate: Hz, if known.
        where: the source, for messages.
        stride: samples between the starts of neighbouring windows.
        notes: what a reader of the page should know.
        official_test: (N,) which windows the data's own split tests, where it has one.
        scale: mean and standard deviation of each channel where those of the training windows are not to be taken,
            but published ones that others' weights were trained with.
        task: what models must do with them; classification unless given.
        material: what they are made of, as the source says.
        sizes: (N, 4) of images that lie in the upper left corner of their ``x``, the rest of which is black: height and
            width in pixels there, and in their files.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    group: IntArray
    recording: IntArray
    start: IntArray
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate: float | None
    where: str
    stride: int
    notes: tuple[str, ...] = ()
    official_test: npt.NDArray[np.bool_] | None = None
    recordings: tuple[str, ...] = ()
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    material: Material = SIGNALS
    task: Task = CLASSES
    sizes: IntArray | None = None

    def __post_init__(self) -> None:
        if type(self.task) is Classification:  # whose classes are these, whoever made the windows
            object.__setattr__(self, "task", Classification(classes=self.classes))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def size(self) -> tuple[int, ...]:
        """Of one window, without its channels: (T,), or (H, W) of images."""
        return tuple(self.x.shape[2:])

    @property
    def strata(self) -> IntArray:
        """(N,) numbers of kinds, of which every side should hold alike many."""
        return self.task.strata(self.y)

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return self.material.noun

    @property
    def files(self) -> ImageFiles | None:
        """The files that images are decoded from; None for data that are held as they are."""
        x: object = self.x
        return x if isinstance(x, ImageFiles) else None

    @cached_property
    def content(self) -> str:
        """A hash of everything in the windows: the part of a cell's key that stands for the data."""
        digest = hashlib.sha256()
        digest.update(str((self.x.shape, self.x.dtype.str)).encode())
        if self.files is not None:
            digest.update(self.files.content.encode())
        else:
            for first in range(0, len(self.x), 4096):  # windows may be cut on demand
                digest.update(np.ascontiguousarray(self.x[first : first + 4096]).data)
        for array in (self.y, self.group, self.recording, self.start):
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr((self.groups, self.classes, self.channels, self.rate)).encode())
        digest.update(repr(self.scale).encode() if self.scale is not None else b"")
        digest.update(np.ascontiguousarray(self.sizes).data if self.sizes is not None else b"")
        return digest.hexdigest()


class Source(BaseModel):
    """A place that recordings come from. Fields are its settings in the recipe's ``data``; in paths ``~`` and ``$VAR``
    are expanded.

    Attributes:
        missing: what becomes of missing values (NaN). A source whose samples are resampled fills them itself before
            (:class:`~overtone.data.missing.Filling`); for others it is done once they are loaded.
        SOURCE: where the data come from and under which terms, for ``overtone list data``.
        MATERIAL: what its data are made of.
        WINDOW, STRIDE: what is used when the recipe names none; None means whole recordings.
        PAD: whether whole recordings of unequal length are padded when the recipe does not say.
        TASK: what models must do unless the recipe says otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    SOURCE: ClassVar[str] = ""
    MATERIAL: ClassVar[Material] = SIGNALS
    WINDOW: ClassVar[int | str | None] = None
    STRIDE: ClassVar[int | str | None] = None
    PAD: ClassVar[bool] = False
    TASK: ClassVar[Task] = CLASSES

    missing: Missing = MissingSettings()

    @field_validator("*")
    @classmethod
    def _expanded(cls, value: Any, info: ValidationInfo) -> Any:
        return expanded(value, f"data.{info.field_name}") if isinstance(value, Path) else value

    @property
    def material(self) -> Material:
        """:attr:`MATERIAL`, with words that settings choose."""
        return self.MATERIAL

    @abstractmethod
    def load(self) -> Recordings | Windows:
        """Read the recordings, or images, which are not cut any further."""

    def cutting(self) -> tuple[int | str | None, int | str | None]:
        """Window and stride where the recipe names none; for sources whose settings decide on them."""
        return type(self).WINDOW, type(self).STRIDE

    def load_unlabelled(self) -> Recordings | Windows:
        """The same for data whose labels and groups nobody asks for, and which may have none.

        Labels and groups may be anything; the labelled data unless a source knows better.
        """
        return self.load()


class OwnSource(Source):
    """A source of somebody's own files, who says what their groups are.

    Attributes:
        groups: the word for one group and for several, ``[machine, machines]``, of which page and terminal speak; no
            number depends on it.
    """

    groups: tuple[str, str] | None = None

    @field_validator("groups", mode="before")
    @classmethod
    def _two_words(cls, value: Any) -> Any:
        two = isinstance(value, (list, tuple)) and len(value) == 2
        if value is None or (two and all(isinstance(word, str) and WORD.fullmatch(word) for word in value)):
            return value
        raise ValueError(
            f"the word for one group and the word for several, such as [machine, machines]: no plural is guessed; got "
            f"{value!r}"
        )

    @property
    def material(self) -> Material:
        """With the groups' words."""
        if self.groups is None:
            return super().material
        return replace(super().material, group=self.groups[0], groups=self.groups[1])
