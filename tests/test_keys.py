"""Cells' keys: what makes another cell, and what leaves finished ones alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from overtone import data, engine, recipe
from overtone.methods import METHODS
from overtone.methods.multi_teacher import MultiTeacherConfig
from overtone.models import FAMILIES
from overtone.recipe import ModelOptions, PhaseSettings, TrainSettings, WeightSettings
from overtone.study import make_plan
from overtone.study import plan as planning
from overtone.views import VIEWS

HELD = Path(__file__).with_name("defaults.json")


def keys_of(values: dict[str, Any]) -> dict[str, str]:
    study = recipe.validate(values)
    return {key: cell.title for key, cell in make_plan(study, data.load(study.data)).cells.items()}


class WiderTrain(TrainSettings):
    later: int = 0


class WiderKD(MultiTeacherConfig):
    later: int = 0


def test_a_setting_that_comes_later_leaves_keys_alone(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys_of(tiny)
    monkeypatch.setattr(planning, "TrainSettings", WiderTrain)
    monkeypatch.setattr(METHODS["kd"], "Config", WiderKD)
    assert keys_of(tiny) == before
    tiny["methods"][1]["later"] = 1
    assert set(keys_of(tiny).values()) - {t for k, t in keys_of(tiny).items() if k in before} == {
        "kd from signal · fold 0 · seed 0"
    }
    tiny["student"]["train"] = {"later": 1}
    changed = {title.partition(" ·")[0] for key, title in keys_of(tiny).items() if key not in before}
    assert changed == {"none", "kd from signal", "aver from signal, gaf"}


@pytest.mark.parametrize(
    ("where", "value"), [(("train", "momentum"), 0.9), (("train", "nesterov"), False), (("views", "gaf", "size"), 8)]
)
def test_a_default_written_out_is_the_default(tiny: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    before, at = keys_of(tiny), tiny
    for part in where[:-1]:
        at = at[part]
    at[where[-1]] = value
    assert keys_of(tiny) == before


def test_versions_are_in_keys(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys_of(tiny)
    monkeypatch.setattr(METHODS["aver"], "VERSION", 99)
    now = keys_of(tiny)
    assert [t.partition(" ·")[0] for k, t in now.items() if k not in before] == ["aver from signal, gaf"]
    monkeypatch.setattr(engine, "VERSION", 99)
    assert not set(keys_of(tiny)) & set(now)


def _defaults(kind: type[BaseModel], *given: str) -> dict[str, Any]:
    """Every setting's default; settings that must be given have none."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in given}
    found = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    plain = {n: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for n, v in found.items()}
    return json.loads(json.dumps(plain))


NOW: dict[str, list[Any]] = {
    "train": [engine.VERSION, _defaults(TrainSettings)],
    "model options": [engine.VERSION, _defaults(ModelOptions)],
    "weight over time": [engine.VERSION, _defaults(WeightSettings, "value")],
    "phase": [engine.VERSION, _defaults(PhaseSettings)],
    **{f"model {n}": [f.version, _defaults(f.settings)] for n, f in FAMILIES.items() if f.settings is not None},
    **{f"view {name}": [kind.VERSION, _defaults(kind)] for name, kind in VIEWS.items()},
    **{f"method {name}": [kind.VERSION, _defaults(kind.Config)] for name, kind in METHODS.items()},
}


@pytest.mark.parametrize("what", NOW)
def test_a_changed_default_has_another_version(what: str) -> None:
    """Keys leave defaults out, so cells made with an old default would be taken for new ones.

    A new setting, or a default changed together with its VERSION (the engine's for the first four), is written into
    ``defaults.json`` by hand: the line that belongs there is in the message.
    """
    held = json.loads(HELD.read_text()).get(what)
    assert held == NOW[what], f'{HELD.name}: "{what}": {json.dumps(NOW[what])}'
