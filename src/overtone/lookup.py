"""Things by name: the user's own by ``package.module:name``, and views by their type."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from overtone.errors import InputError, nearest, told
from overtone.recipe.messages import validation_message
from overtone.views import VIEWS, CustomView, View


def import_object(name: str, what: str) -> Any:
    """What ``package.module:name`` points to; the current folder counts as a place to import from.

    This runs the module's code: only for names that the caller trusts.

    Args:
        name: such as ``mypackage.nets:TinyNet``.
        what: what it is for, for messages.

    Raises:
        InputError: if the module or the name in it does not exist, or importing it fails.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"{what} {name!r}: write package.module:name")
    here = str(Path.cwd())
    try:
        with _here_first(here):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} {name!r}: there is no module {error.name!r}; it must be installed or lie in {here}"
        ) from error
    except Exception as error:
        raise InputError(f"{what} {name!r}: importing it fails: {told(error)}") from error
    if not hasattr(module, attribute):
        names = [n for n in dir(module) if not n.startswith("_")]
        raise InputError(f"{what} {name!r}: there is no {attribute!r} in {module_name}; {nearest(attribute, names)}")
    return getattr(module, attribute)


@contextlib.contextmanager
def _here_first(here: str) -> Iterator[None]:
    """The current folder before every other place; afterwards behind all, so that no later import of ours finds a
    ``yaml.py`` in it, and one inside a function of the user's still finds its neighbours.
    """
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def import_library(name: str) -> ModuleType:
    """An installed package, never a file of that name in the current folder.

    Raises:
        ImportError: if it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    before = list(sys.path)
    sys.path[:] = [place for place in before if place and Path(place).resolve() != Path.cwd()]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


def make_view(kind: str, settings: dict[str, Any], where: str = "view") -> View:
    """A view object by its type (or ``package.module:function``) and settings.

    Raises:
        InputError: for an unknown type or setting, or a wrong value.
    """
    if ":" in kind:
        import_object(kind, where)
        own = {name: value for name, value in settings.items() if name != "channels"}
        return CustomView(function=kind, settings=own, channels=settings.get("channels"))
    if kind not in VIEWS:
        known = [*VIEWS, "package.module:function"]
        raise InputError(f"{where}: unknown view {kind!r}; {nearest(kind, known)}")
    try:
        return VIEWS[kind].model_validate(settings)
    except ValidationError as error:
        raise InputError(validation_message(error, VIEWS[kind], where)) from error


def view_type(view: View) -> str:
    """The name that :func:`make_view` takes for this view."""
    if isinstance(view, CustomView):
        return view.function
    return next(name for name, kind in VIEWS.items() if type(view) is kind)


def view_settings(view: View) -> dict[str, Any]:
    """The settings that :func:`make_view` takes for this view, with defaults filled in."""
    if isinstance(view, CustomView):
        return {**view.settings, **({"channels": view.channels} if view.channels else {})}
    return view.model_dump(mode="json")
