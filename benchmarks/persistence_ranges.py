"""A teacher of persistence images with both kinds of ranges, judged on validation people at its last epoch.

    python benchmarks/persistence_ranges.py watch --seeds 0 1 2
    OVERTONE_DATA=... python benchmarks/persistence_ranges.py uci_har --val 1,3,5,6 7,8,11,14 15,16,17,19

The recipe's own teacher ``pi``; every fold of a leave-people-out recipe, or, on an official split, each list of
validation people that is given. No test person is looked at.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from overtone import data, recipe
from overtone.data import Windows
from overtone.study import execute, make_plan
from overtone.study.records import read_result

RANGES = ("quantiles", "extremes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--val", nargs="+", default=[""], help="validation people, one list with commas a run")
    parser.add_argument("--epochs", type=int, help="the recipe's unless given")
    args = parser.parse_args()
    base = recipe.load(args.recipe, [])
    windows = data.load(base.data)
    found: dict[str, dict[str, float]] = {ranges: {} for ranges in RANGES}
    for people in args.val:
        for ranges in RANGES:
            for fold, accuracy in _accuracies(base, windows, ranges, people, args):
                found[ranges][f"{people} {fold}"] = accuracy
                print(f"{ranges:9}  {people} {fold}  {100 * accuracy:.1f}", flush=True)
    for ranges in RANGES:
        values = [100 * value for value in found[ranges].values()]
        print(f"{ranges:9}  {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}, n = {len(values)}")
    differ = [100 * (value - found["extremes"][place]) for place, value in found["quantiles"].items()]
    higher = sum(d > 0 for d in differ)
    print(f"paired     {statistics.fmean(differ):+.1f} ± {statistics.stdev(differ):.1f}, higher in {higher}")


def _accuracies(
    base: recipe.Recipe, windows: Windows, ranges: str, people: str, args: argparse.Namespace
) -> Iterator[tuple[str, float]]:
    """Of each fold, its mean over seeds of the accuracy on validation people."""
    held = base.model_dump(by_alias=True, exclude_defaults=True)
    teacher = {**held["teachers"]["pi"], **({"epochs": args.epochs} if args.epochs else {})}
    split = {name: value for name, value in held["split"].items() if name != "folds"}
    study = recipe.Recipe.model_validate(
        {
            "data": held["data"],
            "train": held.get("train", {}),
            "name": "ranges",
            "split": {**split, **({"val": people.split(",")} if people else {})},
            "views": {"pi": {**held["views"]["pi"], "ranges": ranges}},
            "student": teacher,
            "methods": ["none"],
            "seeds": args.seeds,
        }
    )
    plan = make_plan(study, windows)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "study"
        failed = execute(plan, out)
        assert not failed, failed
        for fold in plan.folds:
            cells = [key for key, cell in plan.cells.items() if cell.fold == fold]
            results = [read_result(out / "cells" / key) for key in cells]
            yield f"fold {fold}", statistics.fmean((result.val or {})["last"] for result in results)


if __name__ == "__main__":
    main()
