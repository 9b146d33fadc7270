"""What methods on feature maps share: which levels of student and teacher are compared, and the run through them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from overtone.errors import InputError, nearest
from overtone.frequency import radial_spectrum
from overtone.losses import hierarchical_context, spectrum_distance
from overtone.methods.base import Method, MethodConfig, check_stages, pair_stages
from overtone.methods.points import Point, PointsConfig, has_point, published_point, read_at
from overtone.shown import Axis, Curve, Image, Shown
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec

FloatArray = npt.NDArray[np.float64]
UNIT = "mean magnitudes"
"""What the colours of maps and filters say, over channels."""
Distance = Literal["mse", "hcl", "spectrum"]
DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "hcl": hierarchical_context,
    "spectrum": spectrum_distance,
}


class LevelsConfig(PointsConfig):
    """Settings of what is compared.

    Attributes:
        stages: the student's stages that learn, ``embedding`` among them where a method compares it; all that depth
            pairs, and the embedding, unless given.
        pairs: student stage -> teacher stage, where depth does not pair them.
    """

    stages: list[str] | None = None
    pairs: dict[str, str] | None = None

    @field_validator("stages")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        for number, stage in enumerate(value or ()):
            if value is not None and stage in value[:number]:
                raise ValueError(f"{stage!r} is named twice")
        return value

    @field_validator("pairs")
    @classmethod
    def _some_pairs(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return value
        if not value:
            raise ValueError("name at least one student stage: teacher stage, or leave the setting out")
        for student, teacher in value.items():
            if (student == "embedding") != (teacher == "embedding"):
                raise ValueError(f"the embedding can only be paired with the embedding, got {student}: {teacher}")
        return value


class DistanceConfig(LevelsConfig):
    """``distance``: ``mse``, ``hcl`` (also between coarser averages) or ``spectrum`` (between amplitudes)."""

    distance: Distance = "mse"


@dataclass(frozen=True)
class Level:
    """One depth: a student's and a teacher's map, (c, size) without the batch; an embedding is a map of one value.

    A level that is not ``compared`` hands on what it has to the shallower one, and that is all. Where sizes ``vary``
    from batch to batch, the shapes are those of a probe.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    compared: bool = True
    varies: bool = False

    def map_of_student(self, output: Output) -> Tensor:
        """(B, c, ...)."""
        return _map(output, self.student, len(self.student_shape) + 1)

    def map_of_teacher(self, output: Output) -> Tensor:
        """(B, c, ...)."""
        return _map(output, self.teacher, len(self.teacher_shape) + 1)

    def wanted_size(self, student: Tensor, teacher: Output) -> tuple[int, ...]:
        """The size of the teacher's map on this batch; where it is not compared, and so not there, by the probe."""
        if self.compared:
            return tuple(self.map_of_teacher(teacher).shape[2:])
        shapes = zip(student.shape[2:], self.student_shape[1:], self.teacher_shape[1:], strict=True)
        return tuple(max(1, size * theirs // own) for size, own, theirs in shapes)


def _map(output: Output, name: str, dims: int) -> Tensor:
    if name != "embedding":
        return output.stages[name]
    assert output.embedding is not None
    return output.embedding.reshape(*output.embedding.shape, *[1] * (dims - 2))


def levels(
    config: LevelsConfig,
    student: Spec,
    teacher: Spec,
    name: str,
    teacher_at: Point | None = None,
    embedding: bool = True,
) -> list[Level]:
    """The levels that are compared, shallow to deep, the embedding last.

    Args:
        config: which.
        student, teacher: what they have.
        name: the teacher's, for messages.
        teacher_at: where a method reads a teacher's stages unless the settings say; None for where published code has
            its feature maps.
        embedding: take the embeddings too, where both models have them.

    Raises:
        InputError: for a stage that does not exist (the nearest is named), stages that depth cannot pair, a stage
            without a map, a point that a stage does not have, or no stage at all.
    """
    if config.pairs is None:
        check_stages(teacher, f"teacher {name!r}")
    order = list(student.stages)  # in which the model runs them
    if all(name.partition(".")[0] in student.order for name in order):  # or names say it, as of a pyramid's p2, p3
        order.sort(key=lambda name: student.order.index(name.partition(".")[0]))
    named = _without_embedding(config.pairs)
    pairs = [] if named is not None and not named else pair_stages(student, teacher, named, name)
    pairs.sort(key=lambda pair: order.index(pair[0]))
    if embedding and student.embedding is not None and teacher.embedding is not None:
        pairs.append(("embedding", "embedding"))
    for stage in config.stages or ():
        known = [s for s, _ in pairs]
        if stage not in known:
            raise InputError(f"stages: the student has no stage {stage!r} to match; {nearest(stage, known)}")
    if config.stages is not None:
        pairs = [pair for pair in pairs if pair[0] in config.stages]
    if not pairs:
        raise InputError(
            "no stage is left to match"
            + (" (this method does not compare the embedding)" if not embedding and config.pairs else "")
            + "; name at least one in stages or pairs, or leave both out"
        )
    return [_level(config, student, teacher, s, t, teacher_at) for s, t in pairs]


def _without_embedding(pairs: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Embeddings are always paired with each other."""
    return None if pairs is None else {s: t for s, t in pairs.items() if s != "embedding"}


def _level(
    config: LevelsConfig, student: Spec, teacher: Spec, student_stage: str, teacher_stage: str, teacher_at: Point | None
) -> Level:
    if student_stage == "embedding":
        assert student.embedding is not None
        assert teacher.embedding is not None
        student_size, teacher_size = (1,) * student.dims, (1,) * teacher.dims
        return Level(
            student_stage, teacher_stage, (student.embedding, *student_size), (teacher.embedding, *teacher_size)
        )
    images = student.dims == 2
    student_stage = read_at(
        student, student_stage, config.student_at, published_point(student, student_stage, images), "student"
    )
    usual = teacher_at or published_point(teacher, teacher_stage, images)
    teacher_stage = read_at(teacher, teacher_stage, config.teacher_at, usual, "teacher")
    for spec, stage, who in ((student, student_stage, "student"), (teacher, teacher_stage, "teacher")):
        shape = spec.stages[stage].shape
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(
                f"{stage} of the {who} is no feature map: its shape is {shape} without the batch, needed is (c, T) or "
                "(c, H, W), each at least 1; name other stages with stages or pairs"
            )
    shapes = student.stages[student_stage].shape, teacher.stages[teacher_stage].shape
    return Level(student_stage, teacher_stage, *shapes, varies=student.varies or teacher.varies)


class LevelMethod(Method):
    """A method that compares maps level by level (term ``map.TEACHER``, the sum over levels).

    Levels are run from deep to shallow; an adapter may hand something on to the next shallower one. Subclasses say
    which adapters there are.

    Attributes:
        TEACHER_AT: where a teacher's stages are read unless the settings say; None for where published code has its
            feature maps (:func:`~overtone.methods.points.published_point`), as the student's always are.
        EMBEDDING: compare the embedding too, as a map of one value.
    """

    STUDENT: ClassVar[str] = "any student with stages"
    SEES: ClassVar[str] = "maps of one kind, signals' or images'"
    READS: ClassVar[str] = "maps"
    one_kind: ClassVar[bool] = True
    WEIGHTS: ClassVar[Mapping[str, float]] = {"ce": 1.0, "map": 1.0}
    min_batch: ClassVar[int] = 2  # batch normalisation of a map of one value needs it
    TEACHER_AT: ClassVar[Point | None] = None
    EMBEDDING: ClassVar[bool] = True
    SHOWS: ClassVar[tuple[str, ...]] = (
        "each stage of the student, what its adapter makes of it, and the teacher’s stage, as mean magnitudes over "
        "channels. The distance between two radial spectra is the root mean square of their difference over the rings "
        "of frequency, relative to the teacher’s root mean square; of maps of other sizes, the student’s spectrum is "
        "interpolated at the teacher’s shares of Nyquist.",
    )
    distance: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def find(cls, config: LevelsConfig, student: Spec, teacher: Spec, name: str) -> list[Level]:
        """The levels that are compared with a teacher, shallow to deep."""
        return levels(config, student, teacher, name, cls.TEACHER_AT, cls.EMBEDDING)

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """The paired stages and embeddings."""
        assert isinstance(config, LevelsConfig)
        by_teacher = {name: cls.find(config, student, spec, name) for name, spec in teachers.items()}
        student_stages = frozenset(level.student for levels in by_teacher.values() for level in levels)
        teacher_stages = {
            name: frozenset(level.teacher for level in levels if level.compared) for name, levels in by_teacher.items()
        }
        return Needs(student_stages, teacher_stages)

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__(config, student, teachers, data)
        assert isinstance(config, LevelsConfig)
        for name, spec in teachers.items():
            self.check(name, student, spec)
        self.distance = DISTANCES[config.distance if isinstance(config, DistanceConfig) else "mse"]
        self.levels = {name: self.find(config, student, spec, name)[::-1] for name, spec in teachers.items()}
        self.adapters = nn.ModuleDict({name: self._made(config, name, levels) for name, levels in self.levels.items()})
        self.terms = tuple(f"map.{name}" for name in teachers)
        self.teacher_at = config.teacher_at or self.TEACHER_AT

    def notes(self) -> tuple[str, ...]:
        """Stages of teachers whose map in front of the last activation is wanted and not known."""
        if self.teacher_at != "before":
            return ()
        lacking = {
            name: [
                level.teacher for level in levels[::-1] if level.teacher != "embedding" and not has_point(level.teacher)
            ]
            for name, levels in self.levels.items()
        }
        return tuple(
            f"{self.NAME} reads {', '.join(stages)} of teacher {name} as they are: no activation is known at their "
            "end, in front of which it would read them"
            for name, stages in lacking.items()
            if stages
        )

    def _made(self, config: LevelsConfig, name: str, levels: list[Level]) -> nn.ModuleList:
        try:
            return self.make(config, levels)
        except InputError as error:
            raise InputError(f"{self.NAME}, teacher {name!r}, {error}") from error

    def visualisations(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> dict[str, Shown]:
        """Of each teacher and stage: the student's map, what its adapter makes of it, the teacher's; and spectra."""
        all_shown: dict[str, Shown] = {}
        for name, levels in self.levels.items():
            handed = None
            for level, adapter in zip(levels, cast(nn.ModuleList, self.adapters[name]), strict=True):
                before = level.map_of_student(student)
                size = level.wanted_size(before, teachers[name])
                after, handed, inside = self.run_adapter(adapter, before, handed, size)
                if level.student == "embedding" or not level.compared:
                    continue
                teacher = level.map_of_teacher(teachers[name])
                maps = {"student": before, **inside, "behind the adapter": after, "teacher": teacher}
                shown: dict[str, Shown] = {title: Image(title, x.abs().mean(1), UNIT) for title, x in maps.items()}
                shown |= {"radial spectra": _spectra(before, after, teacher)} | self.inner(adapter, len(before))
                all_shown |= {f"{name}/{level.student}/{key}": one for key, one in shown.items()}
        return all_shown

    def run_adapter(
        self, adapter: nn.Module, x: Tensor, handed: Tensor | None, size: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """What an adapter gives and hands on, and maps inside it that are worth showing, by title."""
        return *adapter(x, handed, size), {}

    def inner(self, adapter: nn.Module, samples: int) -> dict[str, Shown]:
        """What else an adapter has to show, for so many samples."""
        return {}

    @abstractmethod
    def make(self, config: LevelsConfig, levels: list[Level]) -> nn.ModuleList:
        """An adapter for each level, from deep to shallow.

        An adapter takes the student's map, what the deeper level handed on (None at the deepest) and the size of the
        teacher's map, and returns a map of the teacher's form (anything where the level is not compared) and what it
        hands on.

        Raises:
            InputError: for a level that the settings do not fit; begins with its stage.
        """

    def compare(self, adapter: nn.Module, out: Tensor, wanted: Tensor) -> Tensor:
        """The distance between what an adapter gives and the teacher's map."""
        return self.distance(out, wanted)

    def check(self, name: str, student: Spec, teacher: Spec) -> None:
        """Refuse a signal student beside an image teacher, or the other way round.

        Raises:
            InputError: with the reason.
        """
        if student.dims != teacher.dims:
            lifting = "fam_layer, which lifts a signal's map to an image's, " if student.dims < teacher.dims else ""
            raise InputError(
                f"{self.NAME}: the student sees {_kind(student)}, teacher {name!r} {_kind(teacher)}; their maps have "
                f"no positions in common. Use {lifting}a method on whole vectors (hidden, rkd, crd), on what a batch's "
                "samples have in common (sp), or on logits"
            )

    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """The distances of each teacher's levels, summed."""
        terms = {}
        for name, levels in self.levels.items():
            handed, distances = None, []
            for level, adapter in zip(levels, cast(nn.ModuleList, self.adapters[name]), strict=True):
                x = level.map_of_student(student)
                out, handed = adapter(x, handed, level.wanted_size(x, teachers[name]))
                if level.compared:
                    distances.append(self.compare(adapter, out, level.map_of_teacher(teachers[name])))
            terms[f"map.{name}"] = cast(Tensor, sum(distances))
        return terms


def _spectra(before: Tensor, after: Tensor, teacher: Tensor) -> Curve:
    """Amplitude by frequency of three maps, and how far the student's two are from the teacher's."""
    maps = {"student": before, "behind the adapter": after, "teacher": teacher}
    lines = {title: radial_spectrum(x).double().cpu().numpy() for title, x in maps.items()}  # (B, R) each
    captions = [
        f"From the teacher’s: student {_apart(of_student, of_teacher)}, "
        f"behind the adapter {_apart(of_adapter, of_teacher)}."
        for of_student, of_adapter, of_teacher in zip(*lines.values(), strict=True)
    ]
    return Curve("radial spectra", lines, Axis("share of Nyquist", (0.0, 1.0)), "amplitude", captions)


def _apart(spectrum: FloatArray, teacher: FloatArray) -> str:
    """The distance between two spectra (R,): the root mean square difference, relative to the teacher's."""
    difference = np.interp(np.linspace(0, 1, len(teacher)), np.linspace(0, 1, len(spectrum)), spectrum) - teacher
    return f"{np.sqrt(np.mean(difference**2)) / max(float(np.sqrt(np.mean(teacher**2))), 1e-12):.0%}"


def _kind(spec: Spec) -> str:
    return {1: "signals", 2: "images"}.get(spec.dims, f"inputs of shape {spec.input}")
