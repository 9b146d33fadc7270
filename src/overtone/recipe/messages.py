"""Validation errors as one line per problem: where, what is allowed there, what was received, the nearest known key.

Pydantic tells a problem once for every alternative of a union, in terms of its own. Here the alternatives are put
together again, and what is allowed is read from the annotation at the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from overtone.errors import nearest

LONGEST = 60
"""Characters of a received value that are quoted."""

SHOWN = 20
"""Problems that are told; who has more has another mistake."""

FAR = 1000
"""An upper end from here on is there against slips, and told to who passes it."""

FORMER = {
    "readers": "num_workers",
    "shares": "teacher_weights",
    "weights": "pretrained",
    "accuracy": "value",
}
"""Keys of earlier versions, and what they are called now; ``weights`` where a teacher's file was meant."""

OWN = ("value_error", "assertion_error", "custom")
"""Problems that come with a sentence of ours."""


@dataclass(frozen=True)
class Said:
    """What is allowed, in words, for an annotation whose own description would not be understood."""

    words: str


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's problems; ``unions`` are the numbers of parts in front of which an alternative was chosen."""

    kind: str
    message: str
    received: Any
    context: Mapping[str, Any]
    place: tuple[str, ...]
    unions: tuple[tuple[int, str], ...]
    annotation: Any


def validation_message(error: ValidationError, model: type[BaseModel], where: str, also: Sequence[str] = ()) -> str:
    """A validation error as one line per problem.

    Args:
        error: what pydantic found.
        model: what was validated.
        where: what comes first, such as the recipe's file.
        also: keys that are known at the top besides the model's own.
    """
    problems = _once_renamed([_located(problem, model) for problem in error.errors()])
    lines = [_line(problem, model, also) for problem in _without_alternatives(problems, 0, model)]
    unique = list(dict.fromkeys(lines))
    if len(unique) == 1:
        return f"{where}: {unique[0]}"
    more = [f"and {len(unique) - SHOWN} more"] if len(unique) > SHOWN else []
    return f"{where}: {len(unique)} problems\n" + "\n".join(f"  {line}" for line in [*unique[:SHOWN], *more])


def _once_renamed(problems: list[_Problem]) -> list[_Problem]:
    """Without new keys that are missing beside their old ones."""
    new = {
        (*problem.place[:-1], FORMER[problem.place[-1]])
        for problem in problems
        if problem.kind == "extra_forbidden" and problem.place[-1] in FORMER
    }
    return [problem for problem in problems if problem.kind != "missing" or problem.place not in new]


def _line(problem: _Problem, model: type[BaseModel], also: Sequence[str]) -> str:
    place = ".".join(problem.place)
    if problem.kind == "extra_forbidden":
        known = [*_fields(_at(model, problem.place[:-1])), *(also if len(problem.place) == 1 else [])]
        key = problem.place[-1]
        if FORMER.get(key) in known:
            return f"{place}: the key {key!r} is called {FORMER[key]!r} now"
        return f"{place}: unknown key {key!r}; {nearest(key, known)}"
    if problem.kind == "missing":
        return f"{place}: missing"
    if problem.kind in OWN or problem.kind == "invalid_key":
        text = problem.message.removeprefix("Value error, ")
        if "got" not in text and not isinstance(problem.received, (dict, BaseModel)):
            text += f", got {quoted(problem.received)}"
    else:
        text = _needed(problem)
    return f"{place}: {text}" if place else text


def _needed(problem: _Problem) -> str:
    """``a whole number of at least 1 is needed, got 0``."""
    received, annotation = problem.received, problem.annotation
    if problem.kind == "too_short" and isinstance(received, (list, tuple)):
        least = problem.context.get("min_length", 1)
        return f"a list with at least {least} item{'s' if least > 1 else ''} is needed, got {quoted(received)}"
    most = problem.context.get("le", 0)
    if problem.kind == "less_than_equal" and most >= FAR and math.isfinite(float(received)):
        return f"at most {_number(most)} is allowed, got {quoted(received)}"
    allowed = _allowed(annotation)
    if not allowed:
        return f"{problem.message[:1].lower()}{problem.message[1:]}, got {quoted(received)}"
    if isinstance(received, float) and not math.isfinite(received):
        allowed = allowed.replace("a number", "a finite number", 1)
    hint = _hint(annotation, received)
    return f"{allowed} is needed, got {quoted(received)}{f'; write {hint}' if hint else ''}"


def quoted(value: Any) -> str:
    """A received value as it is shown, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


# --- places


def _located(problem: Any, model: type[BaseModel]) -> _Problem:
    """Follow a problem's location through the annotations, leaving out pydantic's names of alternatives."""
    at: Any = model
    place: list[str] = []
    unions: list[tuple[int, str]] = []
    for part in map(str, problem["loc"]):
        if part == "[key]":
            continue
        options = alternatives(at)
        if len(options) > 1:
            unions.append((len(place), part))
            at = _alternative(options, part)
            continue
        place.append(part)
        at = _step(options[0] if options else None, part)
    return _Problem(
        problem["type"], problem["msg"], problem["input"], problem.get("ctx", {}), tuple(place), tuple(unions), at
    )


def _without_alternatives(problems: list[_Problem], depth: int, model: type[BaseModel]) -> list[_Problem]:
    """One problem where several alternatives of a union each have theirs.

    Where one alternative fits as a whole and only something inside it does not, that is the problem.
    """
    groups: dict[Any, list[_Problem]] = {}
    for number, problem in enumerate(problems):
        key = problem.place[: problem.unions[depth][0]] if len(problem.unions) > depth else number
        groups.setdefault(key, []).append(problem)
    kept: list[_Problem] = []
    for key, group in groups.items():
        if isinstance(key, int):
            kept += group
            continue
        inside = [problem for problem in group if len(problem.place) > len(key)]
        here = [problem for problem in group if problem.kind in OWN or problem.kind == "too_short"]
        if inside:
            tag = inside[0].unions[depth][1]
            kept += _without_alternatives([p for p in inside if p.unions[depth][1] == tag], depth + 1, model)
        elif here:
            kept.append(here[0])
        else:
            first = group[0]
            kept.append(_Problem(first.kind, first.message, first.received, first.context, key, (), _at(model, key)))
    return kept


def _at(model: type[BaseModel], place: Sequence[str]) -> Any:
    """The annotation of a place."""
    at: Any = model
    for part in place:
        steps = [_step(option, part) for option in alternatives(at)]
        at = next((step for step in steps if step is not None), None)
    return at


def _step(annotation: Any, part: str) -> Any:
    """The annotation one key, or one position, further; None where there is none."""
    kind = _bare(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {(field.alias or name): field for name, field in kind.model_fields.items()}
        if part not in fields:
            return None
        field = fields[part]
        return _annotated(field.annotation, field.metadata)
    inner = get_args(kind)
    return inner[-1] if get_origin(kind) in (list, dict) and inner else None


def _alternative(options: list[Any], tag: str) -> Any:
    """The alternative that pydantic means; it writes lists as ``list[...]`` and models by their names."""
    for option in options:
        kind = _bare(option)
        name = get_origin(kind) or kind
        if tag.removeprefix("constrained-").startswith(getattr(name, "__name__", "?")):
            return option
    return None


def alternatives(annotation: Any) -> list[Any]:
    """The alternatives of an annotation; only itself unless it is a union. ``None`` is none of them."""
    kind, metadata = _bare(annotation), _metadata(annotation)
    if get_origin(kind) not in (Union, UnionType):
        return [annotation]
    options = [option for option in get_args(kind) if option is not type(None)]
    if len(options) == 1 and metadata:  # `list[str] | None` with bounds: they are the list's
        return alternatives(_annotated(options[0], metadata))
    return [inner for option in options for inner in alternatives(option)]


def allows_switch(annotation: Any) -> bool:
    """Whether true and false may stand at a place."""
    return any(_bare(option) in (bool, Any) for option in alternatives(annotation))


def _annotated(annotation: Any, metadata: Sequence[Any]) -> Any:
    for each in metadata:
        annotation = Annotated[annotation, each]
    return annotation


def _bare(annotation: Any) -> Any:
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _metadata(annotation: Any) -> list[Any]:
    if get_origin(annotation) is not Annotated:
        return []
    inner, *extras = get_args(annotation)
    flat = [part for each in extras for part in (each.metadata if isinstance(each, FieldInfo) else [each])]
    return [*_metadata(inner), *flat]


def _fields(annotation: Any) -> list[str]:
    """The keys of a place that holds a model."""
    for option in alternatives(annotation):
        kind = _bare(option)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return [field.alias or name for name, field in kind.model_fields.items()]
    return []


# --- words


def _allowed(annotation: Any) -> str:
    """What an annotation allows, in words; nothing where there are none for it."""
    words = [each.words for each in _metadata(annotation) if isinstance(each, Said)]
    if words:
        return words[-1]
    options = alternatives(annotation)
    texts = list(dict.fromkeys(_words(option) for option in options))
    if not options or "" in texts:
        return ""
    comma = "," if any("," in text or " or " in text for text in texts) and len(texts) > 1 else ""
    return f"{', '.join(texts[:-1])}{comma} or {texts[-1]}" if len(texts) > 1 else texts[0]


def _words(annotation: Any) -> str:
    kind, metadata = _bare(annotation), _metadata(annotation)
    words = [each.words for each in metadata if isinstance(each, Said)]
    if words:
        return words[-1]
    if get_origin(kind) is Literal:
        values = [repr(value) for value in get_args(kind)]
        return " or ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
    if get_origin(kind) is list:
        inner = _plural(get_args(kind)[0])
        return f"a list of {inner}" if inner else "a list"
    if get_origin(kind) is dict:
        value = _bare(get_args(kind)[-1])
        is_model = isinstance(value, type) and issubclass(value, BaseModel)
        return f"a mapping from names (NAME: {_shape(value) if is_model else '...'})"
    if isinstance(kind, type):
        if issubclass(kind, BaseModel):
            return f"a mapping such as {_shape(kind)}"
        simple = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
        return simple[kind] + _bounds(metadata) if kind in simple else ""
    return ""


def _shape(kind: type[BaseModel]) -> str:
    """``{model: ...}``: the keys that are needed, else the first that are known."""
    names = [field.alias or name for name, field in kind.model_fields.items()]
    needed = [name for name, field in zip(names, kind.model_fields.values(), strict=True) if field.is_required()]
    return "{" + ", ".join(f"{name}: ..." for name in needed or names[:2]) + "}"


def _plural(annotation: Any) -> str:
    """Of simple things only: ``whole numbers of at least 0``, ``names``."""
    options = alternatives(annotation)
    words = [_words(option) for option in options]
    if (
        any(isinstance(each, Said) for each in _metadata(annotation))
        or not all(_bare(option) in (int, float, str) for option in options)
        or not all(words)
    ):
        return ""
    names = {"a whole number": "whole numbers", "a number": "numbers", "text": "names"}
    for one, many in names.items():
        words = [word.replace(one, many, 1) if word.startswith(one) else word for word in words]
    return " or ".join(words)


def _bounds(metadata: Sequence[Any]) -> str:
    """``of at least 1``, ``above 0``, ``from 0 to 1``."""
    ends = {name: getattr(each, name) for each in metadata for name in ("ge", "gt", "le", "lt") if hasattr(each, name)}
    ends = {name: bound for name, bound in ends.items() if name != "le" or bound < FAR}
    if "ge" in ends and "le" in ends:
        return f" from {_number(ends['ge'])} to {_number(ends['le'])}"
    low = f"of at least {_number(ends['ge'])}" if "ge" in ends else f"above {ends['gt']:g}" if "gt" in ends else ""
    high = f"at most {_number(ends['le'])}" if "le" in ends else f"below {ends['lt']:g}" if "lt" in ends else ""
    text = " and ".join(filter(None, [low, high]))
    return f" {text}" if text else ""


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _hint(annotation: Any, received: Any) -> str:
    """What was probably meant: ``[3]`` where a list is needed, ``{name: watch}`` where a mapping with one key is."""
    options = alternatives(annotation)
    if not isinstance(received, (int, str)) or isinstance(received, bool) or not str(received) or len(options) > 1:
        return ""
    kind, text = _bare(options[0]), ""
    meant: Any = None
    if get_origin(kind) is list:
        meant, text = [received], f"[{received}]"
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        needed = [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
        if len(needed) == 1:
            meant, text = {needed[0]: received}, f"{{{needed[0]}: {received}}}"
    try:
        TypeAdapter(options[0]).validate_python(meant)
    except ValidationError:
        return ""
    return text if len(text) <= LONGEST else ""
