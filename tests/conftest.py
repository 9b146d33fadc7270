"""What several tests share: a tiny real study, and the count of what was left out."""

from __future__ import annotations

import copy
import gc
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

DATA = Path(os.environ.get("OVERTONE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "watch", "window": 64, "stride": 300},
    "split": {"test": 3, "val": 3, "folds": [0]},
    "views": {"gaf": {"size": 8}, "pi": {"size": 8}},
    "teachers": {
        "signal": {"view": "signal", "model": "wrn10-0.5", "epochs": 2},
        "gaf": {"view": "gaf", "model": "wrn10-0.25", "epochs": 2},
    },
    "student": {"model": "dscnn-4", "epochs": 3},
    "train": {"batch": 32, "threads": 1},
    "methods": ["none", {"name": "kd", "teachers": ["signal"]}, "aver"],
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that need data which is not there, and remember how many."""
    kept = [item for item in items if not _lacks_data(item)]
    config.stash[LEFT_OUT] = len(items) - len(kept)
    items[:] = kept


def _lacks_data(item: pytest.Item) -> bool:
    """Whether the folder that a test's mark names, that of the data sets unless it names one, is not there."""
    mark = item.get_closest_marker("data")
    return mark is not None and not Path(*(mark.args or [DATA])).is_dir()


def pytest_collection_finish() -> None:
    """What imports left stays: each cell collects garbage, which would look through all objects of torch each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its count on to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Every worker collects all tests, so any one's count is the count."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


LEFT_OUT = pytest.StashKey[int]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out."""
    count = config.stash.get(LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"{count} tests left out: the data sets in {DATA}, or golden numbers, are not there"
        )


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where data sets are; and one thread: tiny models are fastest so, and equal on every machine."""
    if DATA.is_dir():
        monkeypatch.setenv("OVERTONE_DATA", str(DATA))
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A recipe that trains in about a second, as plain values to change."""
    return copy.deepcopy(TINY)


@pytest.fixture
def recipe_file(tmp_path: Path, tiny: dict[str, Any]) -> Path:
    """The same as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny, sort_keys=False))
    return path
