"""What lies in a study's folder: the types of its JSON, read and written here and nowhere else."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from overtone.data.base import SIGNALS, Material
from overtone.errors import InputError
from overtone.files import no_folder, read_json, write_json
from overtone.sealed import SEAL, DamagedError, read_sealed, write_sealed
from overtone.tasks import Metric, Task
from overtone.tasks import find as find_task
from overtone.trust import Trust
from overtone.views import Shown

STUDY, RESULT, RUN, ERROR = "study.json", "result.json", "run.json", "error.json"
"""``result.json`` is written last, with the other files' hashes: a cell with one is done."""
FORMAT = 2
"""Of ``study.json`` and ``result.json``; 1 knew classes only."""
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")

Checkpoint = Literal["best", "last"]
R = TypeVar("R", bound="Record")


class RowKind(str, Enum):
    """What a line of the table is about."""

    METHOD = "method"
    BRANCH = "branch"
    TEACHER = "teacher"
    ENSEMBLE = "ensemble"
    BASELINE = "baseline"

    def __str__(self) -> str:
        return self.value


class Record(BaseModel):
    """Part of a file of ours."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Scored(Record):
    """A model, or a part of one, on the test side, at best (if a validation side chose one) and at last.

    Attributes:
        test: the task's metrics by name.
        details: what the task keeps beside them.
        parameters, macs: of the part; None for what is the whole's.
    """

    test: dict[Checkpoint, dict[str, float]]
    details: dict[Checkpoint, dict[str, Any]] = {}
    parameters: int | None = None
    macs: int | None = None


class ScalarDescription(Record):
    """What a number is that a method follows over the epochs."""

    title: str
    axis: str = ""
    caption: str = ""


class CellResult(Scored):
    """``result.json`` of a done cell.

    Attributes:
        best_epoch: 0 for given weights; None without a validation side.
        told: what a person should know of given weights.
        val: what the task watches, on the validation side.
        adapters: parameters that were trained besides the model's and thrown away.
        facts: what the task learned from the fold's training targets.
        files: hashes of the cell's files by name.
        scalars: what the numbers are that methods follow over the epochs.
        parts: of a two-branch student.
    """

    key: str
    title: str
    fold: int
    seed: int
    epochs: int
    best_epoch: int | None = None
    told: str | None = None
    val: dict[Checkpoint, float] | None = None
    adapters: int
    facts: dict[str, Any] = {}
    files: dict[str, str] = {}
    scalars: dict[str, ScalarDescription] = {}
    parts: dict[str, Scored] = {}

    def part(self, name: str) -> Scored:
        """The whole's scores (no name), or a part's, with the whole's size where it has none of its own."""
        if not name:
            return self
        scored = self.parts[name]
        sizes = {"parameters": scored.parameters or self.parameters, "macs": scored.macs or self.macs}
        return scored.model_copy(update=sizes)


class CellRun(Record):
    """``run.json``: what a cell ran on, which decides no key; ``key`` is missing in files without hashes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    key: str | None = None
    seconds: float

    @property
    def environment(self) -> dict[str, Any]:
        """All but the cell's key and the seconds."""
        return {name: value for name, value in (self.model_extra or {}).items() if name != SEAL}


class CellError(Record):
    """``error.json`` of a failed cell."""

    title: str = ""
    message: str = ""
    traceback: str = ""


class TaskDescription(Record):
    """The task by name, with its metrics, what it knows of the data, and its words for the page."""

    name: str
    metrics: list[Metric]
    watched: Metric | None = None
    facts: dict[str, Any] = {}
    truth: str = ""
    asked: str = Task.ASKED

    def task(self, trust: Trust = False) -> Task | None:
        """The task itself; None of one that is not built in and not trusted, which is not imported."""
        if ":" in self.name and trust is not True and (trust is False or self.name not in trust):
            return None
        return find_task(self.name).model_validate(self.facts)


class TargetSummary(Record):
    """How targets are spread over groups: a line per group, and one for all; see :class:`overtone.tasks.Summary`."""

    columns: list[str]
    lines: list[list[Any]]
    total: list[Any]
    column: tuple[str, str] = ("", "")
    counts: bool
    fact: str = ""


class DataDescription(Record):
    """The data as a study saw them; ``window`` is samples, or height and width of images."""

    where: str
    material: Material = SIGNALS
    content: str
    windows: int
    window: int | tuple[int, int]
    stride: int
    rate: float | None
    channels: list[str]
    groups: list[str]
    targets: TargetSummary
    notes: list[str] = []


class Side(Record):
    """One side of a fold."""

    groups: list[str]
    windows: int


class FoldDescription(Record):
    """Who is where."""

    number: int
    train: Side
    val: Side
    test: Side

    def side(self, name: str) -> Side:
        """By name."""
        side: Side = getattr(self, name)
        return side


class RowCells(Record):
    """The cells whose result a row has for a fold and seed; several of an ensemble."""

    fold: int
    seed: int
    keys: list[str]


class Reference(Record):
    """What others published for a row: the headline metric as it is shown."""

    value: float
    source: str


class RowDescription(Record):
    """A line of the table, before it has numbers."""

    id: str
    kind: RowKind
    label: str
    teachers: list[str]
    student: str
    checkpoints: list[str] = []
    part: str = ""
    reference: Reference | None = None
    cells: list[RowCells]


class CellDescription(Record):
    """A cell, before it has run."""

    title: str
    needs: list[str]
    views: list[str] = []
    given: str | None = None


class ViewDescription(Record):
    """What a view's axes mean, and how its class says that it is drawn."""

    axes: list[str] = []
    shown: Shown = Shown()


class StudyDescription(Record):
    """``study.json``: enough to remake tables and page without the recipe, the data or a model."""

    format: int
    name: str
    about: str = ""
    recipe: dict[str, Any]
    task: TaskDescription
    data: DataDescription
    folds: list[FoldDescription]
    views: dict[str, ViewDescription] = {}
    seeds: list[int]
    rows: list[RowDescription]
    cells: dict[str, CellDescription]


# --- reading and writing


def read_study(out: Path) -> StudyDescription:
    """What ``study.json`` says.

    Raises:
        InputError: if the folder holds no study, it is damaged, or an earlier version wrote it.
    """
    if not (out / STUDY).exists():
        raise InputError(_no_study(out))
    try:
        value = read_sealed(out / STUDY)[0]
    except DamagedError as error:
        raise InputError(f"{out}: {error}; run the study again, which writes it anew") from error
    if "cells" in value and value.get("format") != FORMAT:
        raise InputError(
            f"{out / STUDY} was written by another version of Overtone; run the study again (its cells are trained "
            "anew), or use that version"
        )
    try:
        return StudyDescription.model_validate(value)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{out / STUDY} is no study's ({place}); run the study again") from error


def _no_study(out: Path) -> str:
    above = next((folder for folder in out.parents if (folder / STUDY).exists()), None)
    give = "give the folder of an overtone run" if above is None else f"did you mean {above}, the study it lies in?"
    if out.is_dir():
        return f"{out} holds no study (there is no {STUDY} in it); {give}"
    return f"{out} is a file; {give}" if out.is_file() else f"{out} {no_folder(out)}"


def write_study(out: Path, study: StudyDescription) -> None:
    """Write ``study.json``."""
    write_sealed(out / STUDY, study.model_dump(mode="json"))


def name_of_study(out: Path) -> str | None:
    """The name in a folder's ``study.json``, whichever version wrote it; None without one that can be read."""
    try:
        name = read_sealed(out / STUDY)[0].get("name")
    except DamagedError:
        return None
    return None if name is None else str(name)


def is_done(folder: Path) -> bool:
    """Whether a cell has a result."""
    return (folder / RESULT).exists()


def read_result(folder: Path) -> CellResult:
    """A done cell's ``result.json``, whose hash is compared once per run, not here."""
    return CellResult.model_validate(read_json(folder / RESULT))


def read_run(folder: Path) -> CellRun:
    """A done cell's ``run.json``."""
    return CellRun.model_validate(read_json(folder / RUN))


def checked_record(path: Path, kind: type[R]) -> tuple[R, bool]:
    """A file of a cell, compared with its own hash.

    Returns:
        What it says, and whether it was verified.

    Raises:
        DamagedError: if it is not what was written.
    """
    value, verified = read_sealed(path)
    try:
        return kind.model_validate(value), verified
    except ValidationError as error:
        raise DamagedError(f"{path.name} is not what was written") from error


def write_result(folder: Path, result: CellResult) -> None:
    """Write ``result.json``, which makes a cell done."""
    write_sealed(folder / RESULT, result.model_dump(mode="json"))


def write_run(folder: Path, run: CellRun) -> None:
    """Write ``run.json``."""
    write_sealed(folder / RUN, run.model_dump(mode="json"))


def write_error(folder: Path, error: CellError) -> None:
    """Write ``error.json``."""
    write_json(folder / ERROR, error.model_dump(mode="json"))


def read_error(folder: Path) -> CellError | None:
    """A failed cell's error; None of a cell that did not fail."""
    if not (folder / ERROR).exists():
        return None
    try:
        return checked_record(folder / ERROR, CellError)[0]
    except DamagedError as damage:
        return CellError(message=f"What went wrong is not known: {damage}.")
