"""What a recipe may hold. Settings that belong to one data source, view or method are checked by that source, view
or method, so that adding one needs no change here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from overtone.errors import nearest
from overtone.recipe.arguments import check_arguments
from overtone.recipe.base import NOT_ALLOWED, Section
from overtone.recipe.baselines import BaselineSettings
from overtone.recipe.messages import Said
from overtone.recipe.schedules import PhaseSettings, Point, WeightSettings

LARGE = 1e9
"""No number of a recipe need be larger: its square still fits into float32."""

LONGEST_NAME = 100
"""Characters: a study's name is a folder's."""


class _OpenSection(BaseModel):
    """A part whose further keys are settings of what ``name`` names; they are checked there."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def settings(self) -> dict[str, Any]:
        """The further keys."""
        return dict(self.model_extra or {})


def _as_mapping(key: str) -> BeforeValidator:
    """Lets a plain value stand for ``{key: value}``."""
    return BeforeValidator(lambda v: v if isinstance(v, (dict, BaseModel)) else {key: v})


def _checkpoint(value: str) -> str:
    kind, _, number = value.partition(":")
    if value not in ("best", "last") and not (kind == "epoch" and number.isdecimal() and int(number) > 0):
        raise ValueError(f"checkpoint is best, last or epoch:N, got {value!r}")
    return value


Checkpoint = Annotated[str, AfterValidator(_checkpoint), Said("best, last or epoch:N")]
"""Which weights of a trained teacher are used: best on validation, the last epoch's, or those of epoch N."""


Weights = Annotated[
    dict[str, Annotated[WeightSettings, _as_mapping("value")]], Said("a mapping from terms to weights (kd: 0.9)")
]
Length = Annotated[int | str | None, Said("a length in samples (100) or in seconds ('2 s')")]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False), Said("a fraction such as 0.2")]
Names = Annotated[list[int | str], Field(min_length=1), Said("a list of groups' names")]


class TaskSettings(_OpenSection):
    """What models must do, with the task's own settings."""

    name: str


class TargetSettings(Section):
    """A number to be predicted: channels that are no input then, averaged over each window.

    Attributes:
        channels: names, or patterns such as ``watch_gyr*``; the target's own name unless given.
        combine: several channels as their mean, or as the length of the vector that they make.
        unit: for tables.
    """

    channels: list[str] | None = Field(default=None, min_length=1)
    combine: Literal["mean", "magnitude"] = "mean"
    unit: str = Field(default="", max_length=40)


def _targets(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    return {name: {} for name in names} if isinstance(names, list) else value


def _class_name(value: Any) -> str:
    """A class as a recipe writes it: text, or a whole number, which YAML reads as one."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"a class is a name or a whole number; put quotes around it, got {value!r}")
    return str(value)


ClassName = Annotated[str, BeforeValidator(_class_name), Said("a class's name; in quotes where it is true or 1.5")]
ClassWeight = Annotated[float, Field(gt=0, le=LARGE, allow_inf_nan=False)]
ClassNames = Annotated[list[ClassName], Field(min_length=1), Said("a list of classes' names")]


class DataSettings(_OpenSection):
    """Where recordings come from, which of their classes are learned, and how they are cut into windows.

    ``window`` and ``stride`` are samples (a whole number) or seconds (``2 s``); without a window, the source's own.
    ``pad`` makes recordings of unequal length, used whole, as long as the longest; the source's own unless given.
    ``rename`` gives classes new names (several may become one); then ``classes`` are those wanted, in that order (image
    sets also take a number, the first so many), or ``drop`` those not wanted. A source with a setting of one of these
    names gets it itself.
    ``task`` is what models must do, the source's own unless given (classes, mostly); ``target`` says what of the data
    is to be predicted, where the task is not about the data's labels.
    """

    name: str
    task: Annotated[TaskSettings, _as_mapping("name")] | None = None
    target: Annotated[
        dict[str, TargetSettings],
        BeforeValidator(_targets),
        Said("a channel's name, a list of them, or a mapping from names to channels"),
    ] = {}
    window: Length = None
    stride: Length = None
    pad: bool | None = None
    rename: Annotated[dict[ClassName, ClassName], Said("a mapping from classes to new names")] = {}
    classes: Annotated[Annotated[int, Field(strict=True)] | ClassNames | None, Said("a list of classes' names")] = None
    drop: Annotated[list[ClassName], Said("a list of classes' names")] = []


class SplitSettings(Section):
    """Who is held out. Groups (people) are never on two sides.

    ``leave_groups_out``: every group is tested once, ``test`` groups at a time. ``kfold``: ``test`` is the number of
    folds. ``holdout``: ``test`` lists the groups. ``official``: the data's own test side. ``folds`` runs only some
    folds, by number.

    ``val`` groups come from the training part: a number of them, a fraction of them (``0.2``; at least one), or names.
    ``0`` leaves no validation side: nothing chooses an epoch, and only the last one is reported.
    A number takes those that follow the test groups, so it depends on the fold only. A fraction is spread evenly over
    the training groups, class by class where a group has only one, and leaves each class a group to train on. Without
    ``val`` it is one group; but a fifth of the groups where every group is a single window (``aeon``), since one window
    would choose the best epoch.

    ``by: recording`` makes every recording a group of its own. ``by: window`` deals windows at random into as many
    parts as there are folds (k-fold), which leaks where people repeat; where windows overlap it is refused unless
    ``allow_overlap: true``. With ``scheme: official`` it is for data without groups (images): validation windows, a
    number or a fraction (a tenth unless given), are taken evenly of each class of the official training side.
    """

    by: Literal["group", "recording", "window"] = "group"
    scheme: Literal["leave_groups_out", "kfold", "holdout", "official"] = "leave_groups_out"
    test: Annotated[int, Field(ge=1)] | Names = 1
    val: Annotated[int, Field(ge=0)] | Fraction | Names | None = None
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None

    allow_overlap: bool = False

    @model_validator(mode="after")
    def _fits(self) -> SplitSettings:
        if self.by == "window" and self.scheme not in ("kfold", "official"):
            raise ValueError(f"by: window needs scheme: kfold or official, got {self.scheme}")
        if self.scheme == "official" and self.by == "recording":
            raise ValueError("scheme official needs by: group or by: window, got recording")
        if self.by == "window" and isinstance(self.val, list):
            raise ValueError(f"by: window needs val: a number or a fraction, got {self.val}")
        if self.scheme == "holdout" and isinstance(self.test, int):
            raise ValueError("scheme holdout needs test: [names of groups]")
        if self.scheme not in ("holdout", "official") and not isinstance(self.test, int):
            raise ValueError(f"scheme {self.scheme} needs test: a number; to name groups use scheme: holdout")
        return self


class ViewSettings(_OpenSection):
    """A view's settings; ``type`` names what it is where its own name does not (two fields of different kind).

    ``channels`` are names, or patterns such as ``watch_*``; all unless given.
    """

    type: str | None = None
    channels: list[str] | None = Field(default=None, min_length=1)


class AugmentSettings(Section):
    """Random changes of training windows, each off at 0. ``crop``, ``flip``, ``resized_crop`` and ``rescale`` are for
    images, ``mixup`` is for both, the others are for signals.

    Attributes:
        jitter: standard deviation of added noise, in standard deviations of the channel.
        scaling: standard deviation of a factor around 1, one per channel.
        rotation: largest angle in degrees by which the sensor's frame is turned; channels are triads x, y, z.
        time_warp: how much the speed varies (standard deviation of its logarithm).
        channel_dropout: probability of a channel being silenced.
        crop: pixels by which an image is shifted at most, up or down and sideways; what comes in is black.
        flip: probability of a mirror image, left and right exchanged.
        resized_crop: of images in files, a random part is cut out and scaled; the least share of the image that it
            may be (0.08 in most papers on ImageNet).
        rescale: of images with boxes, which are scaled down by a random factor; the least of these, up to 1 (0.8 for
            short sides from 640 to 800).
        mixup: every window of a batch is mixed with another one of it, and so are their classes, by a share from a
            Beta(mixup, mixup) distribution (0.2 in the paper's experiments on ImageNet, 1 on CIFAR).
    """

    jitter: float = Field(default=0.0, ge=0, le=10)
    scaling: float = Field(default=0.0, ge=0, le=1)
    rotation: float = Field(default=0.0, ge=0, le=180)
    time_warp: float = Field(default=0.0, ge=0, le=2)
    channel_dropout: float = Field(default=0.0, ge=0, lt=1)
    crop: int = Field(default=0, ge=0, le=64)
    flip: float = Field(default=0.0, ge=0, le=1)
    resized_crop: float = Field(default=0.0, ge=0, le=1)
    rescale: float = Field(default=0.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=100)

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return any(self.model_dump().values())

    @property
    def moving(self) -> list[str]:
        """What is switched on and moves things in a sample."""
        return [name for name in ("time_warp", "crop", "flip", "resized_crop", "rescale") if getattr(self, name)]

    def misplaced(self, dims: int) -> list[str]:
        """What is switched on but not for such data: 1 for signals, 2 for images."""
        images = {"crop", "flip", "resized_crop", "rescale"}
        on = [name for name, value in self.model_dump().items() if value and name != "mixup"]
        return [name for name in on if (name in images) != (dims == 2)]


class TrainSettings(Section):
    """How every model of the study is trained; a model may override any of these."""

    batch: int = Field(default=64, ge=1, le=1_000_000, description="over all processes together")
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(default=0.05, gt=0, le=LARGE)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum, for sgd")
    weight_decay: float = Field(default=5e-4, ge=0, le=LARGE)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: list[Point] = Field(default=[0.625, 0.75, 0.875])
    gamma: float = Field(default=0.1, gt=0, le=1)
    warmup: Point = 0
    steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="in place of epochs; milestones and warmup count steps then"
    )
    clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    last_batch: Literal["drop", "keep"] = Field(default="drop", description="of an epoch, where it is not full")
    threads: int = Field(default=1, ge=1, le=1024, description="per cell; cells run side by side")
    num_workers: int | None = Field(
        default=None, ge=0, le=1024, description="processes that decode images; by the cores if unset"
    )
    autocast: Literal["none", "bf16", "fp16"] = "none"
    compile: bool = Field(default=False, description="student and teachers by torch.compile, as CUDA graphs on a GPU")
    augment: AugmentSettings = AugmentSettings()
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="how much of the truth is spread over all classes"
    )
    class_weights: Annotated[
        Literal["balanced"] | dict[ClassName, ClassWeight] | None,
        Said("balanced, or a mapping from classes to weights ({fall: 10})"),
    ] = Field(default=None, description="of the samples of each class in the task's own terms")
    memory_mb: int = Field(default=1024, ge=0, description="for windows, and for teachers' outputs computed once")
    spill_mb: int = Field(default=4096, ge=0, description="on disk, for teachers' outputs that memory cannot hold")

    @model_validator(mode="after")
    def _momentum(self) -> TrainSettings:
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError(
                "nesterov is a form of sgd's momentum; leave it out (a model's own train: {nesterov: false}), got "
                f"optimizer {self.optimizer}, momentum {self.momentum:g}"
            )
        return self


class ModelOptions(Section):
    """How a built-in model is varied, besides its name.

    Attributes:
        pool: how the last map becomes a vector: its average, or an average with learned weights (attention).
        modality_dropout: probability that a training sample of a two-branch model loses one of its two inputs.
        arguments: passed on to a model that is not built in, ``{patch_size: 4}``, none that loads or fetches weights;
            of a detector its sizes, see :class:`~overtone.models.faster_rcnn.DetectorSettings`.
    """

    pool: Literal["average", "attention"] = "average"
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    arguments: Annotated[dict[str, Any], AfterValidator(check_arguments)] = Field(default={})


def _several_views(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) == 1:
            return value[0]
        if len(set(map(str, value))) < len(value) or not value:
            raise PydanticCustomError(NOT_ALLOWED, "views must differ")
        return tuple(value)
    return value


class WeightsSettings(Section):
    """Weights that were trained elsewhere; a plain string is the file.

    Attributes:
        file: of weights.
        key: which of several networks in the file is meant, such as ``state_dict_ema``.
    """

    file: Annotated[str, Said("a file of weights (resnet34.pth)")]
    key: Annotated[str, Field(min_length=1), Said("a key of the file (state_dict_ema)")] | None = None


class PretrainedSettings(WeightsSettings):
    """Weights of a whole model.

    Attributes:
        classes: a detector's, in the order of its outputs and without the background, where the file knows others too,
            or in another order; the data's are then taken by name.
    """

    classes: ClassNames | None = None


class ModelSettings(ModelOptions):
    """A model to train: which view it sees, what it is, for how long.

    A two-branch model sees a list of views, ``[signal, gaf]``. ``at`` names a foreign model's stages,
    ``{stage1: layer1, ...}``; without it they are found by a probe. ``pretrained_backbone`` is a file of weights,
    mostly a classifier's of ImageNet, with which a detector's backbone begins.
    """

    view: Annotated[
        str | tuple[str, ...],
        BeforeValidator(_several_views),
        Said("a view's name, or a list of different views for a model with two branches ([signal, gaf])"),
    ] = "signal"
    model: str
    at: dict[str, str] | None = None
    pretrained_backbone: Annotated[WeightsSettings, _as_mapping("file")] | None = None
    epochs: int = Field(default=30, ge=1, le=100_000)
    train: dict[str, Any] = Field(default={})

    @property
    def options(self) -> ModelOptions:
        """The model's options alone."""
        return ModelOptions(pool=self.pool, modality_dropout=self.modality_dropout, arguments=self.arguments)


def _more(rest: list[Any], extras: Any) -> list[Any]:
    if not isinstance(extras, list):
        raise ValueError(f"extras is a list of methods, got {extras!r}")
    return [*rest, *extras]


class ExtraSettings(_OpenSection):
    """A further method in the same row, with its own settings."""

    name: str


class ReferenceSettings(Section):
    """What others have published for a row, shown beside it.

    Attributes:
        value: of the metric that heads the table, as it is shown there (shares in percent).
        source: where that was read.
    """

    value: float = Field(ge=-LARGE, le=LARGE)
    source: str


class MethodSettings(_OpenSection):
    """One row of the table: a method or several together, its teachers, its weights.

    ``name`` may be a list; the first is the row's method, the others are extras. ``teachers`` lists names and defaults
    to all; a word instead of a list is passed on to the method (``teachers: merged`` of ``sp``).
    ``checkpoint`` and ``warm_start`` override the teachers' and the student's for this row; ``phases`` says what of the
    student is trained when; ``reference`` is what others have published for it.
    """

    name: str
    label: str | None = None
    teachers: Annotated[list[str] | str | None, Said("a list of teachers' names")] = None
    weights: Weights = {}
    extras: list[Annotated[ExtraSettings, _as_mapping("name")]] = []
    checkpoint: Checkpoint | None = None
    warm_start: bool | None = None
    phases: list[PhaseSettings] | None = None
    reference: ReferenceSettings | None = None

    @model_validator(mode="after")
    def _in_order(self) -> MethodSettings:
        points = [phase.until for phase in self.phases or []]
        inner = [point for point in points[:-1] if point is None]
        of_a_kind = [[p for p in points if isinstance(p, kind)] for kind in (int, float)]
        if inner or any(kind != sorted(set(kind)) for kind in of_a_kind):
            raise ValueError(f"phases follow each other, each until a later point than the one before; got {points}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("name"), list) and value["name"]:
            first, *rest = value["name"]
            return {**value, "name": first, "extras": _more(rest, value.get("extras", []))}
        return value


class TeacherSettings(ModelSettings):
    """A teacher; with ``method`` it is itself distilled from the other teachers that the method names.

    With ``pretrained``, a file of weights, it is not trained: these are its best and its last, and ``epochs`` and
    ``train`` say nothing.

    ``checkpoint`` is best unless given, and last where there is no validation side. With ``seed`` one teacher serves
    all of the study's seeds.
    """

    checkpoint: Checkpoint | None = None
    seed: int | None = Field(default=None, ge=0)
    reference: ReferenceSettings | None = None
    method: Annotated[MethodSettings, _as_mapping("name")] | None = None
    pretrained: Annotated[PretrainedSettings, _as_mapping("file")] | None = None

    @model_validator(mode="after")
    def _given(self) -> TeacherSettings:
        if self.pretrained is not None and self.method is not None:
            raise ValueError(f"a teacher with given weights is not distilled; leave out method, got {self.method.name}")
        if self.pretrained is not None and self.pretrained_backbone is not None:
            raise ValueError(
                "pretrained brings the whole model; leave pretrained_backbone out, got "
                f"{self.pretrained_backbone.file!r}"
            )
        if self.pretrained is not None and (self.checkpoint or "").startswith("epoch:"):
            raise ValueError(
                f"a teacher with given weights has no epochs; leave checkpoint out, got {self.checkpoint!r}"
            )
        return self


class StudentSettings(ModelSettings):
    """The student; ``warm_start`` initialises it from a twin trained with the task's own terms only."""

    warm_start: bool = False


class Recipe(Section):
    """A study: data, split, views, teachers, a student, the methods to compare, and baselines without a gradient."""

    name: Annotated[str, Said("a name of letters, digits, dots, dashes and underscores")] = Field(
        default="study", pattern=r"^\w[\w.-]*$", max_length=LONGEST_NAME
    )
    about: str = ""
    data: DataSettings
    split: SplitSettings = SplitSettings()
    views: dict[str, ViewSettings] = Field(default={})
    teachers: dict[str, TeacherSettings] = Field(default={})
    student: StudentSettings
    train: TrainSettings = TrainSettings()
    methods: list[Annotated[MethodSettings, _as_mapping("name")]] = Field(min_length=1)
    baselines: dict[str, Annotated[BaselineSettings, _as_mapping("model")]] = Field(default={})
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)

    @model_validator(mode="after")
    def _names_exist(self) -> Recipe:
        for name in self.teachers:
            if "." in name or not name:
                raise ValueError(f"a teacher's name is part of its terms' names and cannot hold a dot, got {name!r}")
        for row in [*self.methods, *(t.method for t in self.teachers.values() if t.method)]:
            if not isinstance(row.teachers, list):
                continue
            for name in row.teachers:
                if name not in self.teachers:
                    raise ValueError(f"method {row.name!r}: unknown teacher {name!r}; {nearest(name, self.teachers)}")
            if len(set(row.teachers)) < len(row.teachers):
                raise ValueError(f"method {row.name!r}: a teacher is named twice: {row.teachers}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: a seed is named twice: {self.seeds}")
        return self
