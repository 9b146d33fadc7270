"""What a file may make of its own accord, and what needs the caller's word (``docs/security.md``)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from overtone.errors import InputError
from overtone.recipe import Recipe
from overtone.types import names_of

LIBRARIES = ("torchvision", "timm")
"""Packages whose own lists of models count as built in."""
LARGEST = 65_536
"""No library's model is made with a number beyond this."""
LONGEST = 256
"""Nor with a list of more values."""
TWO_BRANCH = r"two_branch-([^+]+)(?:\+([^+]+))?"
"""``two_branch-wrn16-1``, or ``two_branch-dscnn-16+wrn10-1`` where the image branch is another model."""
Trust = bool | Collection[str]
"""True for whatever a file names, or the names that may be imported (``package.module:Class``)."""


def is_own(model: str) -> bool:
    """Whether a model's name is something to import: ``package.module:Class``. A view's is wherever it has a colon."""
    return ":" in model and model.partition(":")[0] not in LIBRARIES


def branch_names(model: str) -> tuple[str, ...]:
    """The models of a two-branch model's branches, by its name; none for another model's name."""
    match = re.fullmatch(TWO_BRANCH, model)
    return (match[1], match[2] or match[1]) if match else ()


def named_by(model: str) -> tuple[str, ...]:
    """The models that a model's name is made of: itself, or the branches of a two-branch model."""
    return tuple(dict.fromkeys(branch_names(model))) or (model,)


def models_in(recipe: Recipe) -> frozenset[str]:
    """The models that a recipe names and that are not ours."""
    models = (recipe.student, *recipe.teachers.values())
    return frozenset(name for m in models for name in named_by(m.model) if ":" in name)


def views_in(recipe: Recipe) -> frozenset[str]:
    """The views that a recipe names and that are not ours."""
    names = [name for model in (recipe.student, *recipe.teachers.values()) for name in names_of(model.view)]
    names += [view.type or name for name, view in recipe.views.items()]
    names += [baseline.view for baseline in recipe.baselines.values()]
    return frozenset(name for name in names if ":" in name)


def tasks_in(recipe: Recipe) -> frozenset[str]:
    """The task that a recipe names, where it is not ours."""
    name = "" if recipe.data.task is None else recipe.data.task.name
    return frozenset([name] if ":" in name else [])


def parts_in(recipe: Recipe) -> frozenset[str]:
    """The methods, their fusions, the source of data and the baselines that a recipe names and that are not ours."""
    rows = [*recipe.methods, *(teacher.method for teacher in recipe.teachers.values() if teacher.method)]
    named = [(row.name, row.settings) for row in rows]
    named += [(extra.name, extra.settings) for row in rows for extra in row.extras]
    names = [name for method, settings in named for name in (method, settings.get("fusion")) if isinstance(name, str)]
    names += [baseline.model for baseline in recipe.baselines.values()]
    names += [recipe.data.name] if recipe.data.name.partition(":")[0] != "aeon" else []
    return frozenset(name for name in names if ":" in name)


def named_in(recipe: Recipe) -> frozenset[str]:
    """What running a recipe may import, and the libraries' models to which it may give any arguments."""
    return models_in(recipe) | views_in(recipe) | parts_in(recipe) | tasks_in(recipe)


def check_recipe(recipe: Recipe, where: str, trust: bool) -> None:
    """Refuse a recipe that came with somebody's folder and names what is not built in.

    Raises:
        InputError: saying what would be imported.
    """
    names = (
        {name for name in models_in(recipe) if is_own(name)} | views_in(recipe) | parts_in(recipe) | tasks_in(recipe)
    )
    if names and not trust:
        raise _refusal(where, sorted(names), "")


def check_header(model: str, arguments: Mapping[str, Any], views: Sequence[str], where: str, trust: Trust) -> None:
    """Refuse a student file that names what is not built in.

    Built in are our own models and views, whose arguments they check themselves, and the models in torchvision's and
    timm's lists with plain arguments: numbers, true and false, and lists of them.

    Raises:
        InputError: saying what would be imported, or which argument is not plain.
    """
    if trust is True:
        return
    allowed = () if trust is False else trust
    made_of = named_by(model)
    names = [name for name in made_of if is_own(name) and name not in allowed]
    names += [name for name in views if ":" in name and not (is_own(name) and name in allowed)]
    trusted = [is_own(name) or name in allowed for name in made_of]
    libraries = any(":" in name and not known for name, known in zip(made_of, trusted, strict=True))
    odd = [key for key, value in arguments.items() if not _plain(value)] if libraries else []
    if names or odd:
        listed = ", ".join(f"{key}={_short(arguments[key])}" for key in odd[:3])
        raise _refusal(where, list(dict.fromkeys(names)), f"model {_short(model)!r} with {listed}" if odd else "")


def _refusal(where: str, names: Sequence[str], odd: str) -> InputError:
    would = [f"import and run {', '.join(repr(_short(name)) for name in names)}"] if names else []
    would += [f"make {odd}, which is more than plain numbers"] if odd else []
    return InputError(
        f"{where} is not made of built-in parts: it would {' and '.join(would)}. If you trust whoever made it, say so: "
        "--trust, or load_student(path, trust=True)"
    )


def _plain(value: Any) -> bool:
    """A number of a size that models have, true, false, nothing, or a list of such."""
    if isinstance(value, list):
        return len(value) <= LONGEST and all(_plain(item) for item in value)
    if isinstance(value, (int, float)):
        return abs(value) <= LARGEST and math.isfinite(value)
    return value is None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
