"""Things by name: the user's own by ``package.module:name``, whatever they are, and views by their type."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
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


def import_class(name: str, wanted: type, what: str) -> Any:
    """The class that ``package.module:Class`` points to, where it is of the wanted kind.

    Args:
        name: such as ``mypackage.methods:Mine``.
        wanted: the class that it must inherit from.
        what: what it is for, for messages.

    Raises:
        InputError: as :func:`import_object`, and for what is not of that kind, or lacks what its kind must have.
    """
    kind = import_object(name, what)
    check_class(kind, wanted, f"{what} {name!r}")
    return kind


def check_class(kind: Any, wanted: type, where: str) -> None:
    """Refuse what is no class of the wanted kind, or leaves out what such a class must write.

    Raises:
        InputError: in one sentence that begins with ``where``.
    """
    if not isinstance(kind, type) or not issubclass(kind, wanted):
        what = "" if isinstance(kind, type) else f", got {type(kind).__name__}"
        raise InputError(
            f"{where} is no {wanted.__name__}: a class that inherits from {wanted.__module__}.{wanted.__name__} is "
            f"needed{what}"
        )
    lacking = [name for name in dir(kind) if getattr(getattr(kind, name, None), "__isabstractmethod__", False)]
    if lacking:
        raise InputError(f"{where} lacks {', '.join(lacking)}, which every {wanted.__name__} must have")


def source_hash(name: str, what: str) -> str:
    """A hash of the file that defines what ``package.module:name`` points to, so that changing it makes new cells.

    A class or a Python function says which file defines it, also where another one imports it; of any other object that
    is the named module's. Other files that it imports are not looked at.

    Args:
        name: such as ``mypackage.nets:TinyNet``.
        what: what it is for, for messages.

    Raises:
        InputError: as :func:`import_object`.
    """
    part = import_object(name, what)
    module = part.__module__ if isinstance(part, (type, FunctionType)) else name.partition(":")[0]
    file = None if isinstance(part, BuiltinFunctionType) else getattr(sys.modules.get(module), "__file__", None)
    source = Path(file).read_bytes() if file else name.encode()  # written in C, or at a prompt
    return hashlib.sha256(source).hexdigest()[:16]


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
    """A view object by its type and settings.

    The type is a built-in view's name, or ``package.module:name`` of a :class:`View` or a function of one's own.

    Raises:
        InputError: for an unknown type or setting, or a wrong value.
    """
    imported = import_object(kind, where) if ":" in kind else None
    if imported is not None and not isinstance(imported, type):
        rest = {name: value for name, value in settings.items() if name != "channels"}
        function = CustomView(function=kind, settings=rest, channels=settings.get("channels"))
        return function.found_as(kind, source_hash(kind, where))
    if imported is not None:
        check_class(imported, View, f"{where}: {kind}")
    elif kind not in VIEWS:
        known = [*VIEWS, "package.module:Class", "package.module:function"]
        raise InputError(f"{where}: unknown view {kind!r}; {nearest(kind, known)}")
    view_class: type[View] = imported or VIEWS[kind]
    try:
        view = view_class.model_validate(settings)
    except ValidationError as error:
        raise InputError(validation_message(error, view_class, where)) from error
    return view if imported is None else view.found_as(kind, source_hash(kind, where))


def view_type(view: View) -> str:
    """The name that :func:`make_view` takes for this view."""
    if isinstance(view, CustomView):
        return view.function
    return view.own_name or next(name for name, kind in VIEWS.items() if type(view) is kind)


def view_settings(view: View) -> dict[str, Any]:
    """The settings that :func:`make_view` takes for this view, with defaults filled in."""
    if isinstance(view, CustomView):
        return {**view.settings, **({"channels": view.channels} if view.channels else {})}
    return view.model_dump(mode="json")
