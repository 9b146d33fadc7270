"""The recipe: everything that defines a study, validated before anything runs.

A recipe is a short YAML file. Unknown keys are refused with the nearest known one. Settings that belong to one data
source, view or method are checked by that source, view or method, so that adding one needs no change here.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from overtone.errors import InputError, nearest


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _OpenPart(BaseModel):
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
    if value not in ("best", "last") and not (kind == "epoch" and number.isdigit() and int(number) > 0):
        raise ValueError(f"checkpoint is best, last or epoch:N, got {value!r}")
    return value


Checkpoint = Annotated[str, AfterValidator(_checkpoint)]
"""Which weights of a trained teacher are used: best on validation, the last epoch's, or those of epoch N."""


def _point(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not 0 <= value <= 1):
        raise ValueError(
            f"a point in training is a whole number of epochs or a fraction from 0.0 to 1.0, got {value!r}"
        )
    return value


Point = Annotated[int | float, BeforeValidator(_point), Field(ge=0, description="epochs, or a fraction of them")]


class WeightSettings(_Part):
    """A term's weight over time.

    ``warmup`` raises it linearly, ``min(epoch / warmup, 1)``; before ``from`` and after ``until`` it is 0. Whole
    numbers are epochs (``until: 10`` still holds in epoch 10), numbers with a point are fractions of all epochs.
    """

    value: float = Field(ge=0, allow_inf_nan=False)
    warmup: Point = 0
    from_: Point = Field(default=0, alias="from")
    until: Point | None = None

    def at(self, epoch: int, epochs: int) -> float:
        """The weight in an epoch, counted from 1."""
        start = math.floor(self.from_ * epochs) + 1 if isinstance(self.from_, float) else max(self.from_, 1)
        if epoch < start:
            return 0.0
        if self.until is not None:
            end = math.floor(self.until * epochs) if isinstance(self.until, float) else self.until
            if epoch > end:
                return 0.0
        warmup = self.warmup * epochs if isinstance(self.warmup, float) else self.warmup
        return self.value * (min(epoch / warmup, 1.0) if warmup > 0 else 1.0)


Weights = dict[str, Annotated[WeightSettings, _as_mapping("value")]]


class DataSettings(_OpenPart):
    """Where recordings come from and how they are cut into windows.

    ``window`` and ``stride`` are samples (a whole number) or seconds (``2 s``); without a window, the source's own.
    """

    name: str
    window: int | str | None = None
    stride: int | str | None = None


class SplitSettings(_Part):
    """Who is held out. Groups (people) are never on two sides.

    ``leave_groups_out``: every group is tested once, ``test`` groups at a time. ``kfold``: ``test`` is the number of
    folds. ``holdout``: ``test`` lists the groups. ``val`` groups (a number, or names) come from the training part and
    depend on the fold only. ``folds`` runs only some folds, by number.
    """

    by: Literal["group"] = "group"
    scheme: Literal["leave_groups_out", "kfold", "holdout"] = "leave_groups_out"
    test: Annotated[int, Field(ge=1)] | list[int | str] = 1
    val: Annotated[int, Field(ge=1)] | list[int | str] = 1
    folds: list[Annotated[int, Field(ge=0)]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> SplitSettings:
        if self.scheme == "holdout" and isinstance(self.test, int):
            raise ValueError("scheme holdout needs test: [names of groups]")
        if self.scheme != "holdout" and not isinstance(self.test, int):
            raise ValueError(f"scheme {self.scheme} needs test: a number; to name groups use scheme: holdout")
        return self


class ViewSettings(_OpenPart):
    """A view's settings; ``type`` names what it is where its own name does not (two fields of different kind)."""

    type: str | None = None


class TrainSettings(_Part):
    """How every model of the study is trained; a model may override any of these."""

    batch: int = Field(default=64, ge=1, description="over all processes together")
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: list[Point] = [0.625, 0.75, 0.875]
    gamma: float = Field(default=0.1, gt=0, le=1)
    warmup: Point = 0
    clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    threads: int = Field(default=1, ge=1, description="per cell; cells run side by side")
    autocast: Literal["none", "bf16", "fp16"] = "none"
    memory_mb: int = Field(default=1024, ge=0, description="for teachers' outputs computed once")


class ModelSettings(_Part):
    """A model to train: which view it sees, what it is, for how long."""

    view: str = "signal"
    model: str
    epochs: int = Field(default=30, ge=1)
    train: dict[str, Any] = {}


class MethodSettings(_OpenPart):
    """One row of the table: a method or several together, its teachers, its weights.

    ``name`` may be a list; the first is the row's method, the others are extras. ``teachers`` lists names and defaults
    to all; a word instead of a list is passed on to the method (``teachers: merged`` of ``sp``).
    ``checkpoint`` and ``warm_start`` override the teachers' and the student's for this row.
    """

    name: str
    label: str | None = None
    teachers: list[str] | str | None = None
    weights: Weights = {}
    extras: list[Annotated[ExtraSettings, _as_mapping("name")]] = []
    checkpoint: Checkpoint | None = None
    warm_start: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("name"), list) and value["name"]:
            first, *rest = value["name"]
            return {**value, "name": first, "extras": [*rest, *value.get("extras", [])]}
        return value


class ExtraSettings(_OpenPart):
    """A further method in the same row, with its own settings."""

    name: str


class TeacherSettings(ModelSettings):
    """A teacher; with ``method`` it is itself distilled from the other teachers that the method names."""

    checkpoint: Checkpoint = "best"
    method: Annotated[MethodSettings, _as_mapping("name")] | None = None


class StudentSettings(ModelSettings):
    """The student; ``warm_start`` initialises it from a twin trained with cross-entropy only."""

    warm_start: bool = False


class Recipe(_Part):
    """A study: data, split, views, teachers, a student, and the methods to compare."""

    name: str = Field(default="study", pattern=r"^[\w.-]+$")
    about: str = ""
    data: DataSettings
    split: SplitSettings = SplitSettings()
    views: dict[str, ViewSettings] = {}
    teachers: dict[str, TeacherSettings] = {}
    student: StudentSettings
    train: TrainSettings = TrainSettings()
    methods: list[Annotated[MethodSettings, _as_mapping("name")]] = Field(min_length=1)
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


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, (list, dict)):
                continue  # refused by the base class, with its own message
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(resources.files("overtone"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """A recipe's file: a path, or the name of a shipped recipe.

    Raises:
        InputError: if there is neither; the nearest shipped name is given.
    """
    recipes = shipped()
    if name in recipes:
        return recipes[name]
    path = Path(name)
    if path.is_dir():
        raise InputError(f"recipe {name!r} is a folder; give the YAML file in it")
    if path.exists():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise InputError(f"recipe file {name!r} does not exist (looked in {Path.cwd()}); shipped: {', '.join(recipes)}")
    raise InputError(f"unknown recipe {name!r}; {nearest(name, recipes)}; or give a YAML file")


def load(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        name: a shipped recipe's name or a YAML file.
        overrides: ``a.b=c`` each; ``c`` is YAML, list items are addressed by number (``methods.1.temperature=2``).

    Raises:
        InputError: one message that names the file, the key and the nearest known key.
    """
    path = find(name)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a recipe is a mapping (data:, student:, methods: ...), got {_kind(value)}")
    for override in overrides or []:
        _override(value, override)
    value.setdefault("name", path.stem if path.stem else "study")
    return validate(value, str(path))


def validate(value: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values; errors as in :func:`load`."""
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise InputError(explain(error, Recipe, where)) from error


def _kind(value: Any) -> str:
    if value is None:
        return "an empty file"
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _override(value: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes a.b=c, got {text!r}")
    try:
        new = yaml.load(raw, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text!r}: the value is not valid YAML") from error
    parts = key.strip().split(".")
    at: Any = value
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                raise InputError(
                    f"--set {text!r}: {'.'.join(parts[:position])} is a list of {len(at)} (0 to {len(at) - 1}), "
                    f"got {part!r}"
                )
            if last:
                at[int(part)] = new
            else:
                if isinstance(at[int(part)], str):  # `- kd` stands for `- {name: kd}`
                    at[int(part)] = {"name": at[int(part)]}
                at = at[int(part)]
        elif isinstance(at, dict):
            if last:
                at[part] = new
            else:
                if at.get(part) is None:
                    at[part] = {}
                at = at[part]
        else:
            raise InputError(f"--set {text!r}: {'.'.join(parts[:position])} is a value, not a mapping")


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """A validation error as one line a problem: where, what was received, the nearest known key."""
    lines = []
    for problem in error.errors():
        loc = [str(part) for part in problem["loc"]]
        place = ".".join(loc) or "recipe"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, loc[:-1])
            lines.append(f"{place}: unknown key {loc[-1]!r}; {nearest(loc[-1], known)}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            received = problem["input"]
            quoted = "" if isinstance(received, (dict, BaseModel)) else f", got {received!r}"
            text = f"{message}{'' if 'got' in message else quoted}"
            lines.append(f"{place}: {text}" if loc else text)
    unique = list(dict.fromkeys(lines))
    if len(unique) == 1:
        return f"{where}: {unique[0]}"
    return f"{where}: {len(unique)} problems\n" + "\n".join(f"  {line}" for line in unique)


def _fields_at(model: type[BaseModel], loc: list[str]) -> list[str]:
    """The keys that may stand where ``loc`` points to, found by walking the annotations."""
    at: Any = model
    for part in loc:
        if isinstance(at, type) and issubclass(at, BaseModel):
            at = _plain({(f.alias or n): f.annotation for n, f in at.model_fields.items()}.get(part))
        else:  # a list's position or a mapping's key: go on with its value type
            at = _plain(get_args(at)[-1]) if get_args(at) else None
    if isinstance(at, type) and issubclass(at, BaseModel):
        return [f.alias or n for n, f in at.model_fields.items()]
    return []


def _plain(annotation: Any) -> Any:
    """The model or container inside ``Annotated[...]`` and ``... | None``."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        options = [_plain(inner) for inner in get_args(annotation) if inner is not type(None)]
        return next((o for o in options if get_origin(o) or issubclass(o, BaseModel)), None)
    return annotation
