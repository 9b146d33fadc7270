"""A logistic regression on the same GAF and persistence images, the bar an image teacher should clear.

    OVERTONE_DATA=... python benchmarks/image_baselines.py uci_har [--size 32]

Trained on the training people of the recipe's first fold, tested on its test people.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from overtone import data, recipe
from overtone.engine import Samples
from overtone.study import make_plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--size", type=int, help="side of the images; the recipe's unless given")
    args = parser.parse_args()
    sizes = [f"views.{name}.size={args.size}" for name in ("gaf", "pi")] if args.size else []
    study = recipe.load(args.recipe, sizes)
    plan = make_plan(study, data.load(study.data))
    fold = next(iter(plan.folds.values()))
    samples = Samples.fit(plan.windows, fold, plan.views, torch.device("cpu"))
    for view in plan.views:
        started = time.perf_counter()
        sides = [samples.batch(torch.from_numpy(side), [view]) for side in (fold.train, fold.test)]
        x, x_test = (side.views[view].flatten(1).numpy() for side in sides)
        scaler = StandardScaler().fit(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 300 rounds are enough to tell, whether or not it has settled
            model = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(x), sides[0].target.numpy())
        accuracy = model.score(scaler.transform(x_test), sides[1].target.numpy())
        shape = "x".join(map(str, sides[0].views[view].shape[1:]))
        print(
            f"{view:8s} {shape:10s} logistic regression {100 * accuracy:.1f} %   {time.perf_counter() - started:.0f} s"
        )


if __name__ == "__main__":
    main()
