"""What a distillation method is: a small module that owns its adapters and returns named, unweighted terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from overtone.errors import InputError, nearest
from overtone.recipe import PhaseSettings, Section, WeightSettings
from overtone.shown import Scalar, Shown
from overtone.types import Batch, DataInfo, Needs, Output, Progress, Spec


class MethodConfig(Section):
    """A method's own settings in the recipe.

    Attributes:
        branch: which part of a two-branch student learns: its signal branch, its image branch, or both together
            (fused); the method's own choice unless given.
    """

    branch: Literal["signal", "image", "fused"] | None = None

    @property
    def fingerprint(self) -> str:
        """What decides the numbers besides settings and ``VERSION``; part of a cell's key."""
        return ""


class Method(nn.Module):
    """Base class of every method of the literature.

    A method knows nothing of optimiser, device, weights or phases. It sees the student's output with gradient and the
    teachers' without, both in float32.

    Attributes:
        NAME: its name in recipes and in its terms' keys.
        VERSION: raised whenever the same inputs give other numbers.
        SOURCE: the paper, for ``overtone list methods``.
        SUMMARY: one line on what it does.
        SEES: what of student and teachers it compares, for ``overtone list methods``.
        READS: the same as a fact: one of :data:`overtone.tasks.PARTS`, or a name in ``Output.prediction`` that a task
            lists in ``DISTILLABLE``. Methods on maps know nothing of a two-branch student as a whole, which has none.
        two_branches: True where the student must have a signal and an image branch.
        one_kind: True where positions are compared, so that student and teachers must see the same kind of view:
            signals, or images.
        zero_when_equal: True where every term is 0 for a student that gives what its teachers give. Not where adapters
            that begin untrained stand between them.
        BRANCH: the part of a two-branch student that learns unless the recipe names one; None for a method of two
            branches, which sees all.
        TEACHERS: the least and the largest number of teachers (None: no limit).
        STUDENT: which student it needs, for ``overtone list methods``.
        WEIGHTS: default weights by term (``ce`` and the method's own), as published; a number, or a weight over time.
        SHOWS: what its visualisations mean; each of these texts is said once on the page, with the methods' names.
        INWARD: terms that train the method's own parameters only, and are not meant to reach the student.
        TRAINED_BY: parts of the method by name, each with the term that trains it, or the terms: a part stands still in
            epochs in which these weigh nothing.
        PHASES: what of the student is trained when; all of it all the time unless given.
        couples_batch: True where samples of a batch interact.
        min_batch: how many samples each process needs in a batch.
        has_memory_bank: True where something is kept for each training sample, found again by ``Batch.index``.
        hard_labels: True where a method reads each sample's one class, and so cannot be trained on mixed samples.
        Config: the settings' class.
        terms: keys of what :meth:`forward` returns, set by ``__init__``.
        reads_classes: :meth:`needs_classes` of its settings.
        branch: the branch of the student whose output :meth:`forward` gets; None for the whole student.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    SOURCE: ClassVar[str] = ""
    SUMMARY: ClassVar[str] = ""
    SEES: ClassVar[str] = "logits"
    READS: ClassVar[str] = "logits"
    two_branches: ClassVar[bool] = False
    one_kind: ClassVar[bool] = False
    zero_when_equal: ClassVar[bool] = True
    BRANCH: ClassVar[str | None] = "fused"
    TEACHERS: ClassVar[tuple[int, int | None]] = (1, None)
    STUDENT: ClassVar[str] = "any student"
    WEIGHTS: ClassVar[Mapping[str, float | WeightSettings]]
    SHOWS: ClassVar[tuple[str, ...]] = ()
    INWARD: ClassVar[frozenset[str]] = frozenset()
    TRAINED_BY: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    PHASES: ClassVar[tuple[PhaseSettings, ...]] = ()
    couples_batch: ClassVar[bool] = False
    min_batch: ClassVar[int] = 1
    has_memory_bank: ClassVar[bool] = False
    hard_labels: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    reads_classes: bool = False
    terms: tuple[str, ...]
    branch: str | None = None

    @classmethod
    def default_weights(cls, config: MethodConfig) -> Mapping[str, float | WeightSettings]:
        """:attr:`WEIGHTS`, or those of the terms that the settings leave."""
        return cls.WEIGHTS

    @classmethod
    def check_data(cls, config: MethodConfig, data: DataInfo) -> None:
        """Refuse settings that training data of this size do not allow; asked for every fold before any training.

        Raises:
            InputError: with what the data allow.
        """

    @classmethod
    def needs_classes(cls, config: MethodConfig) -> bool:
        """:attr:`hard_labels`, or what the settings make of it."""
        return cls.hard_labels

    @classmethod
    def compares_places(cls, config: MethodConfig) -> bool:
        """:attr:`one_kind`, or what the settings make of it."""
        return cls.one_kind

    @classmethod
    def couples_samples(cls, config: MethodConfig) -> bool:
        """:attr:`couples_batch`, or what the settings make of it."""
        return cls.couples_batch

    @classmethod
    def needs(cls, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec]) -> Needs:
        """What the method reads of student and teachers; decides what teacher memory keeps."""
        return Needs(frozenset({"logits"}), {name: frozenset({"logits"}) for name in teachers})

    @classmethod
    def kept(
        cls,
        config: MethodConfig,
        student: nn.Module,
        spec: Spec,
        teachers: Mapping[str, nn.Module],
        specs: Mapping[str, Spec],
    ) -> nn.Module | None:
        """The student with parts that stay in it after training, for a method that leaves some; None for all others.

        It is asked before the method is made, which then gets the spec of what this returns, and is what is trained,
        scored and written. A student file can name parts that stand in :data:`overtone.models.kept.KEEPING`.

        Args:
            config: the method's settings.
            student, teachers: bare models; the teachers' parts may be copied.
            spec, specs: theirs.

        Raises:
            InputError: for models that do not fit.
        """
        return None

    def __init__(self, config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo) -> None:
        super().__init__()

    def judged(self, logits: Tensor) -> Tensor:
        """What of the logits (B, C) cross-entropy sees: they themselves, unless published code changes them first."""
        return logits

    def visualisations(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> dict[str, Shown]:
        """What the method shows of itself on a batch's samples, by name; nothing unless it has something.

        Names with slashes, ``TEACHER/STAGE/NAME``, are drawn under a heading of what stands before the last.
        """
        return {}

    def notes(self) -> tuple[str, ...]:
        """Settings that the training samples decided, a sentence each, for ``overtone check``."""
        return ()

    def doubts(self, teachers: Mapping[str, Output]) -> tuple[str, ...]:
        """What of these teachers' outputs the method cannot match, a sentence each, for ``overtone check``."""
        return ()

    def scalars(self) -> dict[str, Scalar]:
        """Learned numbers worth following over the epochs, by name; none unless it has some."""
        return {}

    @abstractmethod
    def forward(
        self, student: Output, teachers: Mapping[str, Output], batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        """One unweighted scalar for each of ``terms``."""


def pair_stages(
    student: Spec, teacher: Spec, pairs: Mapping[str, str] | None = None, name: str = ""
) -> list[tuple[str, str]]:
    """Which student stage learns from which teacher stage, shallow to deep.

    Args:
        student, teacher: their specs.
        pairs: student stage -> teacher stage; None pairs all of :meth:`Spec.depth_stages` by depth.
        name: the teacher's, for messages.

    Raises:
        InputError: if the counts differ and no pairs are given, a model has no stages, pairs are empty, or a stage does
            not exist (the nearest is named).
    """
    whose = f"teacher {name!r}" if name else "the teacher"
    if pairs is not None and not pairs:
        raise InputError("pairs: name at least one student stage: teacher stage, or leave the setting out")
    if pairs is not None:
        for spec, names, who in ((student, pairs.keys(), "the student"), (teacher, pairs.values(), whose)):
            for stage in names:
                if stage not in spec.stages:
                    raise InputError(f"pairs: {who} has no stage {stage!r}; {nearest(stage, spec.stages)}")
        return list(pairs.items())
    student_stages, teacher_stages = student.depth_stages(), teacher.depth_stages()
    for spec, who in ((student, "the student"), (teacher, whose)):
        check_stages(spec, who)
    if len(student_stages) != len(teacher_stages):
        raise InputError(
            f"stages cannot be paired by depth: the student has {len(student_stages)} "
            f"({_shapes(student, student_stages)}), {whose} {len(teacher_stages)} ({_shapes(teacher, teacher_stages)})"
            "; give pairs: {student stage: teacher stage}"
        )
    return list(zip(student_stages, teacher_stages, strict=True))


def check_stages(spec: Spec, who: str) -> None:
    """Refuse a model without stages whose order is known.

    Raises:
        InputError: says whether it has none, or names that say no order.
    """
    named = [name for name in spec.stages if "." not in name]
    if named and not spec.depth_stages():
        raise InputError(
            f"{who} has stages ({', '.join(named)}) whose names do not say which is deeper; number them from shallow "
            "to deep (p2, p3, ...), or give pairs: {student stage: teacher stage}"
        )
    if not named:
        raise InputError(f"{who} has no feature maps (no stage was found in it); methods on logits need none")


def _shapes(spec: Spec, names: Sequence[str]) -> str:
    """``stage1 16x32x32, stage2 32x16x16``."""
    return ", ".join(f"{name} {'x'.join(map(str, spec.stages[name].shape))}" for name in names)
