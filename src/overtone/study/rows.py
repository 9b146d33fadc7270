"""A recipe's rows with presets, defaults and names resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overtone.errors import InputError, close
from overtone.methods import (
    PRESETS,
    PUBLISHED_WEIGHTS,
    ROW_KEYS,
    MethodConfig,
    check_count,
    check_distillable,
    configure,
    default_weights,
)
from overtone.methods import find as find_method
from overtone.recipe import MethodSettings, PhaseSettings, ReferenceSettings, WeightSettings
from overtone.recipe.messages import FORMER
from overtone.tasks import Task


@dataclass(frozen=True)
class RowSettings:
    """A recipe's row with presets, defaults and names resolved."""

    label: str
    methods: Mapping[str, MethodConfig]
    weights: Mapping[str, WeightSettings]
    teachers: tuple[str, ...]
    checkpoint: str | None
    warm_start: bool | None
    phases: tuple[PhaseSettings, ...] = ()
    reference: ReferenceSettings | None = None


def resolve_row(row: MethodSettings, teachers: list[str], task: Task) -> RowSettings:
    """Presets, default weights and default teachers filled in.

    Args:
        row: one item of ``methods``.
        teachers: every teacher there is.
        task: what the student must do.

    Raises:
        InputError: for an unknown method or setting, a number of teachers the method cannot take, or a method that
            compares what the task's outputs do not have.
    """
    named = [row.name, *(extra.name for extra in row.extras)]
    label, preset = row.label, row.name if row.name in PRESETS else None
    if preset is not None:
        label = label or " + ".join([preset, *(_short(name) for name in named[1:])])
        row = _expanded(row)
    parts = _parts(row, named)
    methods = {
        name: configure(name, settings, ROW_KEYS if name == row.name else ()) for name, settings in parts.items()
    }
    chosen = list(row.teachers) if isinstance(row.teachers, list) else teachers
    for name, config in methods.items():
        _check_count(name, chosen, preset if name == row.name else None)
        check_distillable(name, config, task)
    return RowSettings(
        label or " + ".join(["none"] * (row.name == "none") + [_short(name) for name in methods]),
        methods,
        default_weights(methods, row.weights, task),
        tuple(chosen) if methods else (),
        row.checkpoint,
        row.warm_start,
        tuple(row.phases) if row.phases is not None else _phases(methods),
        row.reference,
    )


def _short(name: str) -> str:
    """A method as its row and its terms are called: its class's ``NAME``."""
    return find_method(name).NAME if ":" in name else name


def _expanded(row: MethodSettings) -> MethodSettings:
    """A preset's row written out: what the recipe gives counts, before what the preset holds."""
    preset = dict(PRESETS[row.name][0])
    published = preset.pop(PUBLISHED_WEIGHTS, {})
    if row.settings.get("published"):
        preset["weights"] = {**preset.get("weights", {}), **published}
    given = row.model_dump(by_alias=True, exclude_unset=True)
    _check_preset(row.name, given)
    extras = [_with_shared(extra, row.settings) for extra in [*preset.get("extras", []), *given.get("extras", [])]]
    kept = {
        term: weight
        for term, weight in preset.get("weights", {}).items()
        if not any(term == key or term.startswith(f"{key}.") for key in row.weights)
    }
    weights = {**kept, **given.get("weights", {})}
    return MethodSettings.model_validate(
        {**preset, **given, "name": preset["name"], "weights": weights, **({"extras": extras} if extras else {})}
    )


def _parts(row: MethodSettings, named: list[str]) -> dict[str, dict[str, Any]]:
    """The row's methods with their own settings; ``named`` are the names as they stand in the recipe."""
    settings, names = row.settings, [row.name, *(extra.name for extra in row.extras)]
    if isinstance(row.teachers, str):
        if row.name == "none" or "teachers" not in find_method(row.name).Config.model_fields:
            raise InputError(
                f"method {row.name!r}: teachers is a list of names, such as [signal]; got {row.teachers!r}"
            )
        settings["teachers"] = row.teachers
    if "none" in names[1:]:
        raise InputError("extras: 'none' is no method but the student alone; leave it out")
    if len({_short(name) for name in names}) < len(names):
        raise InputError(f"a method stands twice in one row: {', '.join(names)}")
    extras = {extra.name: extra.settings for extra in row.extras}
    if row.name == "none":
        if row.teachers and not extras:
            raise InputError(f"method 'none' has no teachers, got {row.teachers}")
        if settings:
            raise InputError(f"method 'none' has no setting {next(iter(settings))!r}")
        return extras
    _check_owner((row.name, settings), named)
    return {row.name: settings, **extras}


def _check_preset(name: str, given: Mapping[str, Any]) -> None:
    """A preset stands for certain settings; others under its name would mislead."""
    method = PRESETS[name][0]["name"]
    for key in ("checkpoint", "warm_start"):
        preset = PRESETS[name][0].get(key, given.get(key))
        if key in given and given[key] != preset:
            raise InputError(
                f"preset {name!r} is {method} with {key}: {str(preset).lower()}, got {str(given[key]).lower()}; use "
                f"name: {method}, and a label if you like"
            )


def _check_count(name: str, chosen: Sequence[str], shown: str | None) -> None:
    try:
        check_count(name, chosen, shown)
    except InputError as error:
        few = len(chosen) < find_method(name).TEACHERS[0]
        hint = "add teachers: to the recipe" if few else f"or name one, teachers: [{chosen[0]}]"
        raise InputError(f"{error}; {hint}" if few else f"{error}, {hint}") from error


def _phases(methods: Mapping[str, MethodConfig]) -> tuple[PhaseSettings, ...]:
    """Those of the first method that has any."""
    return next((kind.PHASES for kind in map(find_method, methods) if kind.PHASES), ())


def _check_owner(part: tuple[str, dict[str, Any]], named: list[str]) -> None:
    """Settings beside several names are the first's; one that is not may have been meant for another of them."""
    (first, settings), (name_given, *others) = part, named
    if not others:
        return
    keys = {name: list(find_method(name).Config.model_fields) for name in (first, *others)}
    for key in settings:
        if key in keys[first] or FORMER.get(key) in keys[first]:
            continue
        closest = close(key, [*keys[first], *ROW_KEYS, *(k for name in others for k in keys[name])])
        owner = next((name for name in others if closest in keys[name]), None)
        meant = ""
        if closest in keys[first] or closest in ROW_KEYS:
            meant = f"did you mean {closest!r}? "
        elif owner is not None:
            meant = (
                f"did you mean {closest!r} of {owner}? write "
                f"{{name: {name_given}, extras: [{{name: {owner}, {closest}: ...}}]}}; "
            )
        raise InputError(
            f"method {first!r}: {key}: unknown key {key!r} of {first}; settings beside several names belong to the "
            f"first, {first}; {meant}known: {', '.join([*keys[first], *ROW_KEYS])}"
        )


def _with_shared(extra: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """A preset's merged similarity weighs the teachers as the row's own does, and sees the row's branch."""
    if extra.get("teachers") == "merged":
        return {**{key: settings[key] for key in ("teacher_weights", "branch") if key in settings}, **extra}
    return extra


def distinct_labels(rows: list[RowSettings], given: list[MethodSettings]) -> list[str]:
    """Labels; rows that would look the same also say what the recipe sets in them."""
    looks = [(row.label, row.teachers) for row in rows]
    labels = []
    for row, settings in zip(rows, given, strict=True):
        if looks.count((row.label, row.teachers)) == 1 or settings.label:
            labels.append(row.label)
            continue
        differing = {**settings.settings, **{f"weight of {term}": w.value for term, w in settings.weights.items()}}
        differing.update({f"{e.name} {key}": value for e in settings.extras for key, value in e.settings.items()})
        differing.update(
            {name: getattr(settings, name) for name in ("checkpoint", "warm_start") if getattr(settings, name)}
        )
        listed = ", ".join(f"{name} {value}" for name, value in differing.items())
        labels.append(f"{row.label} ({listed})" if listed else row.label)
    return labels
