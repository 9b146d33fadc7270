"""What ``Distillation.between`` makes of one's own models, an example and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from overtone.errors import InputError, OvertoneError, nearest
from overtone.given import misfit
from overtone.methods import METHODS, PRESETS, Method, find, said
from overtone.recipe import WeightSettings, validation_message
from overtone.tap import Tap, probe
from overtone.tasks import Task
from overtone.teachers import Teacher
from overtone.trial import rehearse
from overtone.types import DataInfo, Seen, Spec, described, names_of, shape_of_one, tensors_in
from overtone.views import VIEWS

MethodName = str | type[Method]
"""A built-in method's name, ``package.module:Class``, or a class of one's own."""
Axes = Mapping[str, tuple[str, ...]]
"""What the axes of a view's maps mean, by the view's name."""


def seen(view: str | Sequence[str] | None, views: Mapping[str, Tensor]) -> Seen:
    """The view or views that the student sees, by default the first."""
    if view is None or isinstance(view, str):
        return view or next(iter(views))
    return view[0] if len(view) == 1 else tuple(view)


def axes_of(views: Mapping[str, Any], given: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """What the axes of each view's maps mean: what is given, else what a built-in view of this name says.

    Raises:
        InputError: for a view that is not there, or another number of axes than it has.
    """
    axes = {name: VIEWS[name].AXES if name in VIEWS else () for name in views}
    for name, own in (given or {}).items():
        if name not in views:
            raise InputError(f"axes: the example holds no view {name!r}; {nearest(name, views)}")
        count = len(shape_of_one(views[name])) - 1
        if isinstance(own, str) or len(own) not in (0, count):
            raise InputError(f"axes: view {name!r} has {count} behind its channels, name each of them; got {own!r}")
        axes[name] = tuple(own)
    return axes


def probed(who: str, tap: Tap, views: Mapping[str, Any], seen: Seen, axes: Axes) -> Spec:
    """The shapes that a model gives on the views that it sees.

    Raises:
        InputError: for a model that does not take them, or gives no logits.
    """
    x = views[seen] if isinstance(seen, str) else tuple(views[name] for name in seen)
    try:
        return probe(tap, x, [axes[name] for name in names_of(seen)])
    except OvertoneError as error:
        raise InputError(f"{who}: {error}") from error
    except Exception as error:
        raise misfit(who, tap.model, x, error) from error


def probed_student(
    student: nn.Module, views: Mapping[str, Any], seen: Seen, axes: Axes, task: Task
) -> tuple[Tap, Spec, str | None]:
    """The student, its spec, and what it returns in training beside its logits."""
    tap = Tap(student, task=task)
    if tap.branches and [views[name].dim() - 1 for name in names_of(seen)] != [2, 3]:
        raise InputError(
            "a two-branch student sees a signal (B, C, T) and an image (B, C, H, W), in this order; give "
            f"view=(name of the signal, name of the image), got {', '.join(names_of(seen))}"
        )
    spec = probed("the student", tap, views, seen, axes)
    try:
        more = rehearse(tap, spec, views[seen]) if isinstance(seen, str) and task.plain else None
    except InputError as error:
        raise InputError(f"the student {error}") from error
    return tap, spec, more


def probed_teachers(
    models: Mapping[str, nn.Module], classes: int, views: Mapping[str, Any], first: str, axes: Axes, task: Task
) -> tuple[dict[str, Teacher], dict[str, Spec]]:
    """Teachers and their specs; one whose name is no view's sees the student's ``first``."""
    made, specs = {}, {}
    for name, model in models.items():
        seen = name if name in views else first
        made[name] = Teacher(name, Tap(model, task=task), seen)
        made[name].follow(next(tensors_in(views[seen])).device)
        specs[name] = probed(f"teacher {name!r}", made[name].tap, views, seen, axes)
        if specs[name].classes != classes:
            what = "classes" if task.LOGITS else "outputs"
            raise InputError(
                f"teacher {name!r} has {specs[name].classes} {what}, the student {classes}; they must be the same, in "
                "the same order"
            )
    return made, specs


def weights_of(given: Mapping[str, float | WeightSettings]) -> dict[str, WeightSettings]:
    """Numbers as weights.

    Raises:
        InputError: for what is no weight.
    """
    found = {}
    for name, weight in given.items():
        try:
            found[name] = weight if isinstance(weight, WeightSettings) else WeightSettings(value=weight)
        except ValidationError as error:
            raise InputError(validation_message(error, WeightSettings, f"weight of {name}")) from error
    return found


def settings_of(
    method: MethodName | Sequence[MethodName] | Mapping[Any, Mapping[str, Any]], settings: dict[str, Any]
) -> dict[MethodName, dict[str, Any]]:
    """Methods by name or class with their settings.

    Raises:
        InputError: for a row's name instead of a method's, no method, one named twice, or settings beside several.
    """
    if not isinstance(method, (str, type, Mapping, list, tuple)):
        raise InputError(
            "method: a name, a class of your own, a list of them or a mapping from them to settings, got "
            f"{described(method)}"
        )
    names = [method] if isinstance(method, (str, type)) else list(method)
    for name in names:
        if name in PRESETS or name == "none":
            raise InputError(f"method {name!r} is a recipe's row; in your own loop use one of {', '.join(METHODS)}")
    if not names or len({find(name).NAME for name in names}) < len(names):
        raise InputError(f"method: name at least one, and each once; got {', '.join(map(said, names)) or 'none'}")
    if isinstance(method, (str, type)):
        return {method: settings}
    if settings:
        raise InputError(
            f"{', '.join(settings)}: settings stand beside one method's name; beside a list or a mapping give each "
            f"method its own, method={{{said(names[0])!r}: {{...}}, ...}}"
        )
    given = method if isinstance(method, Mapping) else {name: {} for name in names}
    return {name: dict(own or {}) for name, own in given.items()}


def check_classes(models: Mapping[str, nn.Module], data: DataInfo | None, count: int) -> None:
    """Refuse models that name their classes (a loaded student does) in another order than others, or than the data.

    Raises:
        InputError: with the two orders; for data of another number of classes than the models have.
    """
    known = {
        who: tuple(map(str, c))
        for who, m in models.items()
        if isinstance(c := getattr(m, "classes", None), (list, tuple))
    }
    if data is not None and data.classes:
        known["data"] = tuple(map(str, data.classes))
        if data.classes and len(data.classes) != count:
            raise InputError(f"data has {len(data.classes)} classes, the models {count}; they must be the same")
    first = next(iter(known), "")
    for who, classes in known.items():
        if classes != known[first]:
            raise InputError(
                f"classes differ: {first} has {', '.join(known[first])}, {who} has {', '.join(classes)}; their logits "
                "must mean the same, in the same order"
            )
