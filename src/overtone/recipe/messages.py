"""Validation errors as one line a problem: where, what was received, the nearest known key."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from overtone.errors import nearest


def explain(error: ValidationError, model: type[BaseModel], where: str, also: Sequence[str] = ()) -> str:
    """A validation error as one line a problem: where, what was received, the nearest known key."""
    lines = []
    for problem in error.errors():
        loc = [str(part) for part in problem["loc"]]
        place = ".".join(loc) or "recipe"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, loc[:-1]) + (list(also) if len(loc) == 1 else [])
            lines.append(f"{place}: unknown key {loc[-1]!r}; {nearest(loc[-1], known)}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            received = problem["input"]
            quoted = "" if isinstance(received, (dict, BaseModel)) else f", got {received!r}"
            text = f"{message}{'' if problem['type'] == 'value_error' and 'got' in message else quoted}"
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
