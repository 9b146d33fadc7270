"""Examples in docstrings run, and every loss, view and piece of frequency attention has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch

import overtone.frequency
import overtone.losses
import overtone.views

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (overtone.losses, overtone.views, overtone.frequency)
    for module in pkgutil.iter_modules(package.__path__)
]
PIECES = ["high_pass", "dense_mask", "published_mask", "SpectralFilter", "FrequencyAttention", "LocalAttention", "lift"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch})
    assert not found.failed


def test_every_loss_view_and_piece_has_an_example() -> None:
    losses = [getattr(overtone.losses, name) for name in overtone.losses.__all__]
    views = [*overtone.views.VIEWS.values(), overtone.views.CustomView]
    pieces = [getattr(overtone.frequency, name) for name in PIECES]
    everything = [*losses, *views, *pieces]
    assert [one.__name__ for one in everything if ">>> " not in (inspect.getdoc(one) or "")] == []
