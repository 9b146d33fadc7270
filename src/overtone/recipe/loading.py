"""From a name or a file to a recipe: shipped recipes, YAML, ``--set``."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overtone.errors import InputError, few, nearest
from overtone.files import expanded
from overtone.recipe.messages import quoted, validation_message
from overtone.recipe.schema import Recipe
from overtone.recipe.text import DEEPEST, LONGEST, YAML_ERRORS, TooMuch, parse

SUFFIXES = (".yaml", ".yml")


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
    path = expanded(name, "recipe")
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"recipe {name[:60]!r}: {error}") from error
    if path.is_dir():
        inside = sorted(file.name for kind in SUFFIXES for file in path.glob(f"*{kind}"))
        raise InputError(
            f"recipe {name!r} is a folder; give the YAML file in it ({few(inside)})"
            if inside
            else f"recipe {name!r} is a folder without a YAML file; give a recipe's file or name: {', '.join(recipes)}"
        )
    if path.exists():
        return path
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise InputError(
            f"recipe file {str(path)!r} does not exist (looked in {Path.cwd()}); shipped: {', '.join(recipes)}"
        )
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
        with path.open("rb") as file:
            content = file.read(4 * LONGEST + 1)  # whatever it is: a device has no end
        text = content.decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: a recipe is a text file of YAML; this cannot be read as text: {error}") from error
    try:
        value = parse(text)
    except YAML_ERRORS as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a recipe is a mapping (data:, student:, methods: ...), got {_kind(value)}")
    for override in overrides or []:
        _override(value, override)
    value.setdefault("name", re.sub(r"[^\w.-]+", "-", path.stem).strip("-.") or "study")
    return validate(value, str(path))


def validate(value: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values; errors as in :func:`load`."""
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise InputError(validation_message(error, Recipe, where)) from error


def _kind(value: Any) -> str:
    if value is None:
        return "an empty file"
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _override(value: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes a.b=c, got {quoted(text)}")
    try:
        new = parse(raw)
    except YAML_ERRORS as error:
        why = f": {error}" if isinstance(error, TooMuch) else ""
        raise InputError(f"--set {quoted(text)}: the value is not valid YAML{why}") from error
    parts = key.strip().split(".")
    if len(parts) > DEEPEST:
        raise InputError(f"--set {quoted(text)}: {len(parts)} names deep; a recipe is at most {DEEPEST}")
    at: Any = value
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(at, list):
            if not part.isdecimal() or int(part) >= len(at):
                raise InputError(
                    f"--set {quoted(text)}: {'.'.join(parts[:position])} is a list of {len(at)} (0 to {len(at) - 1}), "
                    f"got {quoted(part)}"
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
            raise InputError(f"--set {quoted(text)}: {'.'.join(parts[:position])} is a value, not a mapping")
