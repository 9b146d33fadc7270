"""What a student file says about itself, and what of that cannot be true.

A file from somebody else may say anything: whatever is read here is checked before anything is made of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from overtone.errors import InputError
from overtone.models import KeptParts, branch_names
from overtone.recipe import ModelOptions, TaskSettings
from overtone.tasks import Classification, Task, make, named
from overtone.views import View

HEADER = "overtone"
"""The key of the header in a safetensors file's metadata."""
LONGEST_NAME = 200
LONGEST_NOTE, MOST_NOTES = 2000, 100
MOST_RECORDED, MOST_RENDERED = 2**28, 2**24
"""Values of a window as it was recorded; and of the largest tensor on the way to what a model sees of one, 64 MiB. A
file alone decides the second."""
COUNTLESS = 2**31
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters by which a name could steer a terminal."""
OLD_NAMES = {"type": "view", "settings": "view_settings", "state": "view_state"}


class SeenView(BaseModel):
    """A view in a student file: its type, settings and fitted state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    settings: dict[str, Any]
    state: dict[str, Any]


class SeenTask(BaseModel):
    """A task in a student file: its name, and what it knows of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=LONGEST_NAME)]
    facts: dict[str, Any] = {}

    @classmethod
    def of(cls, task: Task) -> SeenTask:
        """As it stands in a file."""
        return cls(name=named(task), facts=task.model_dump(mode="json", exclude_defaults=True))

    def task(self) -> Task:
        """The task itself; one that is not built in is imported.

        Raises:
            InputError: for an unknown task, or facts that it does not have.
        """
        return make(TaskSettings(name=self.name, **self.facts))


class Header(BaseModel):
    """What a student file says about itself.

    Attributes:
        builder: the model's name, as in a recipe.
        input_shape: one sample as the model sees it, after its view; the shapes of both inputs of a two-branch model.
        task: what it does: names of its classes, in order.
        channels: names, in order.
        rate: Hz, if known.
        window: samples in a window; height and width of images.
        mean, std: standardisation of each channel, in the recording's units.
        options: how the model was varied.
        views: how a standardised window becomes the model's input, or inputs.
        data: the recipe's ``data`` that it was trained on, without its place on disk.
        notes: what was left out, filled or merged of these data, a sentence each.
        kept: parts of the method that trained it, which stay in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    builder: Annotated[str, Field(max_length=LONGEST_NAME)]
    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...]
    task: SeenTask
    channels: tuple[str, ...]
    rate: float | None
    window: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: ModelOptions = ModelOptions()
    views: tuple[SeenView, ...]
    data: dict[str, Any] | None = None
    notes: Annotated[tuple[Annotated[str, Field(max_length=LONGEST_NOTE)], ...], Field(max_length=MOST_NOTES)] = ()
    kept: KeptParts | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_view(cls, value: Any) -> Any:
        """Files written before models with two branches name their view beside everything else, those before tasks
        their classes, and those before ``data`` the columns of text tables.
        """
        if isinstance(value, dict) and "columns" in value:
            value, columns = {k: v for k, v in value.items() if k != "columns"}, value["columns"]
            if isinstance(columns, dict):
                columns = {role: name for role, name in columns.items() if name is not None or role == "label"}
                name = "csv" if "recording" in columns else "folder"
                value["data"] = {"name": name, **columns, "resample": True}  # as they were used
        if isinstance(value, dict) and "classes" in value and "task" not in value:
            rest = {name: entry for name, entry in value.items() if name != "classes"}
            value = {**rest, "task": {"name": Classification.NAME, "facts": {"classes": _listed(value["classes"])}}}
        if isinstance(value, dict) and "view" in value:
            view = {new: value[old] for new, old in OLD_NAMES.items() if old in value}
            return {**{k: v for k, v in value.items() if k not in OLD_NAMES.values()}, "views": [view]}
        return value

    @property
    def size(self) -> tuple[int, ...]:
        """Of one window, without its channels."""
        return (self.window,) if isinstance(self.window, int) else self.window


def kept_notes(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes as a header may hold them: without what steers a terminal, of bounded length."""
    return tuple(CONTROL.sub("?", note)[:LONGEST_NOTE] for note in notes[:MOST_NOTES])


def branch_header(header: Header, number: int) -> Header:
    """What a branch of a two-branch student says about itself, as a student of its own."""
    shape = header.input_shape[number]
    assert not isinstance(shape, int)
    return header.model_copy(
        update={
            "builder": branch_names(header.builder)[number],
            "input_shape": shape,
            "options": header.options.model_copy(update={"modality_dropout": 0.0}),
            "views": (header.views[number],),
        }
    )


def read_header(path: Path) -> Header:
    """A student file's header.

    Raises:
        InputError: for a missing, cut or foreign file, or a header that no training could have written.
    """
    if not path.is_file():
        raise InputError(f"student file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read, it is cut short or no safetensors file ({error})") from error
    if HEADER not in metadata:
        raise InputError(f"{path} is a safetensors file, but Overtone did not write it (its header is missing)")
    try:
        header = Header.model_validate(json.loads(metadata[HEADER]))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:LONGEST_NAME]
        why = first["msg"].removeprefix("Value error, ")
        if place == "options.arguments":
            raise InputError(f"{path}: its model's arguments: {why}") from error
        raise InputError(f"{path}: its header was written by another version of Overtone ({place}: {why})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its header was written by another version of Overtone ({error})") from error
    for wrong in _wrong(header):
        raise InputError(f"{path}: its header cannot be true: {wrong}")
    return header


def _wrong(header: Header) -> Iterator[str]:
    """What cannot be, of everything that no view decides."""
    count = len(header.channels)
    names = header.task.facts.get("classes", ())
    if header.task.name == Classification.NAME and (not isinstance(names, (list, tuple)) or not names):
        yield "no classes"
    if not count:
        yield "no channels"
    for name, values in {"mean": header.mean, "std": header.std}.items():
        if len(values) != count:
            yield f"{count} channels, but {name} of {len(values)}"
        if not all(math.isfinite(value) for value in values):
            yield f"{name} holds {next(value for value in values if not math.isfinite(value))}"
    if min(header.std) <= 0:
        yield f"std must be above 0, got {min(header.std)}"
    if header.rate is not None and not 0 < header.rate < math.inf:
        yield f"rate must be above 0, got {header.rate}"
    if min(header.size) < 1 or math.prod(header.size) * count > MOST_RECORDED:
        yield f"a window of {' x '.join(map(str, header.size))} in {count} channels"
    for shape in shapes_of(header.input_shape):
        if len(shape) < 2 or min(shape) < 1 or math.prod(shape) > COUNTLESS:
            yield f"a model's input of {' x '.join(map(str, shape[:4]))}"
    inputs = len(branch_names(header.builder)) or 1
    if not inputs == len(header.views) == len(shapes_of(header.input_shape)):
        yield f"{inputs} inputs, {len(shapes_of(header.input_shape))} shapes, {len(header.views)} views"
    texts = (*_texts(header.task.facts), *_texts(header.data), *header.notes)
    for name in (header.builder, header.task.name, *texts, *header.channels):
        if CONTROL.search(name):
            yield f"a name that steers terminals, {name[:60]!r}"


def _listed(value: Any) -> Any:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _texts(facts: Any) -> Iterator[str]:
    """Every text in lists and mappings, their keys too."""
    if isinstance(facts, str):
        yield facts
    elif isinstance(facts, Mapping):
        yield from (text for pair in facts.items() for part in pair for text in _texts(part))
    elif isinstance(facts, (list, tuple)):
        yield from (text for part in facts for text in _texts(part))


def shapes_of(shape: tuple[Any, ...]) -> list[tuple[int, ...]]:
    """The shape of each input."""
    return list(shape) if shape and isinstance(shape[0], tuple) else [shape]


def check_views(header: Header, views: Sequence[View], where: str, bounded: bool) -> None:
    """Refuse views that cannot give what the header says, or that would take much memory.

    Args:
        header: which was read.
        views: made of it.
        where: the file, for messages.
        bounded: refuse what takes much memory.

    Raises:
        InputError: in one sentence.
    """
    for view, seen, shape in zip(views, header.views, shapes_of(header.input_shape), strict=True):
        try:
            _check_view(view, seen, shape, header, bounded)
        except ValueError as error:
            raise InputError(f"{where}: its header cannot be true: view {seen.type}: {error}") from error


def _check_view(view: View, seen: SeenView, shape: tuple[int, ...], header: Header, bounded: bool) -> None:
    count = len(header.channels)
    chosen = range(count) if view.channels is None else view.channels
    if not chosen or len(chosen) > count or not all(0 <= channel < count for channel in chosen):
        raise ValueError(f"there are {count} channels, got {list(chosen)[:8]}")
    if ":" in seen.type:  # somebody's own, which was trusted: only it knows
        return
    if len(header.size) != view.DIMS:
        raise ValueError(f"it is not made from a window of {' x '.join(map(str, header.size))}")
    view.check_state(seen.state, len(chosen))
    rendered, cost = view.shape(header.size), len(chosen) * view.cost(header.size)
    if rendered is None or shape != (len(chosen), *rendered):
        raise ValueError(f"it does not give the model's input of {' x '.join(map(str, shape))}")
    if bounded and rendered != header.size and cost > MOST_RENDERED:
        raise ValueError(
            f"it takes {cost:.2g} values for each window; if that is right and you trust whoever made the file, say "
            "so: --trust, or load_student(path, trust=True)"
        )
