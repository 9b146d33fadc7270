"""What cannot be trained, told before anything is: weights that never act, batches and augmentation that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from overtone.data import Fold, Windows
from overtone.errors import InputError
from overtone.methods import MethodConfig, find
from overtone.recipe import TrainSettings, WeightSettings
from overtone.tasks import Task
from overtone.types import DataInfo
from overtone.views import View


def check_weights(title: str, weights: Mapping[str, WeightSettings], epochs: int) -> None:
    """A weight that never acts, or an epoch without any, is a slip: the loss would silently be 0."""
    for term, weight in weights.items():
        if weight.value > 0 and not any(weight.at(epoch, epochs) for epoch in range(1, epochs + 1)):
            raise InputError(f"{title}: the weight of {term} is 0 in all {epochs} epochs (see its from and until)")
    for epoch in range(1, epochs + 1):
        if not any(weight.at(epoch, epochs) for weight in weights.values()):
            raise InputError(f"{title}: every weight is 0 in epoch {epoch} of {epochs}; there is nothing to learn")


def check_batch(title: str, train: TrainSettings, methods: Iterable[str], fold: Fold) -> None:
    """A batch is no smaller than its methods need and no larger than the training side; a kept last one fits too."""
    batch = train.batch
    least = max([1, *(find(name).min_batch for name in methods)])
    if batch < least:
        raise InputError(f"{title}: train.batch {batch} is too small, its method needs {least} samples or more")
    if len(fold.train) < batch:
        raise InputError(
            f"{title}: fold {fold.number} has {len(fold.train)} training samples, fewer than one batch of {batch}; set "
            "train.batch lower (the study's, or the model's own)"
        )
    rest, fewest = len(fold.train) % batch, max(2, least)  # two, for batch normalisation
    if train.last_batch == "keep" and 0 < rest < fewest:
        raise InputError(
            f"{title}: train.last_batch: keep leaves {rest} of fold {fold.number}'s {len(fold.train)} training samples "
            f"for the last batch, which needs {fewest} or more; use last_batch: drop or another train.batch"
        )


def check_data(title: str, methods: Mapping[str, MethodConfig], fold: Fold, info: DataInfo) -> None:
    """What methods ask of the training side holds in every fold."""
    for name, config in methods.items():
        try:
            find(name).check_data(config, info)
        except InputError as error:
            raise InputError(f"{title}: fold {fold.number}: {error}") from error


def check_mixed(title: str, train: TrainSettings, methods: Mapping[str, MethodConfig], task: Task) -> None:
    """Mixed samples have no one class, which some methods read; a task must know how its targets are mixed."""
    if train.augment.mixup and not task.mixes:
        raise InputError(f"{title}: train.augment.mixup mixes targets, and task {task.NAME} cannot; switch it off")
    if train.label_smoothing and not task.smooths:
        raise InputError(
            f"{title}: train.label_smoothing smooths classes, and task {task.NAME} has none; switch it off"
        )
    for name, config in methods.items():
        if train.augment.mixup and find(name).needs_classes(config):
            raise InputError(
                f"{title}: {name!r} reads the one class of each sample, and train.augment.mixup mixes two; "
                "switch it off for this model (train: {augment: {mixup: 0}}) or use another method (kd, aver, hidden)"
            )


def check_class_weights(title: str, train: TrainSettings, windows: Windows, fold: Fold) -> None:
    """Classes that are weighted are there, and the task weighs classes at all."""
    if train.class_weights is None:
        return
    try:
        windows.task.weighted(train.class_weights, torch.from_numpy(windows.y[fold.train]))
    except InputError as error:
        raise InputError(f"{title}: {error}") from error


def check_augment(train: TrainSettings, windows: Windows, views: Mapping[str, View]) -> None:
    """Augmentation must reach every view of a cell, or student and teachers would see different windows."""
    if not train.augment.active:
        return
    for name in train.augment.misplaced(len(windows.size)):
        images = windows.material.of_images
        raise InputError(
            f"train.augment.{name} is for {'signals' if images else 'images'}, the data holds "
            f"{'images, which take crop, flip and resized_crop' if images else 'signals'}"
        )
    follows = ("flip", "rescale") if windows.task.follows and windows.sizes is not None else ()
    moving = [name for name in train.augment.moving if name not in follows]
    if windows.task.PLACED and moving:
        instead = f" or use {' and '.join(follows)}, which they follow" if follows else ""
        raise InputError(
            f"train.augment.{moving[0]} moves what is in a {windows.noun}, and targets of task "
            f"{windows.task.NAME} are places in it; switch it off{instead}"
        )
    if train.augment.rescale and windows.sizes is None:
        raise InputError("train.augment.rescale is for images with boxes; crop and resized_crop are for others")
    if train.augment.resized_crop and windows.files is None:
        raise InputError(
            "train.augment.resized_crop cuts images in files (imagefolder, imagenet); these images are held in "
            "one size, which crop shifts"
        )
    side = min(windows.size)
    if 4 * train.augment.crop > side:
        raise InputError(
            f"train.augment.crop {train.augment.crop} is more than a quarter of the images' side, {side} pixels; "
            f"use {side // 4} or less"
        )
    for name, view in views.items():
        if not view.FOLLOWS:
            raise InputError(
                f"train.augment: view {name!r} is computed once from the recorded window and cannot follow its "
                "augmentation; switch it off for this model (train: {augment: {}}) or use another view"
            )
    if train.augment.rotation and len(windows.channels) % 3:
        raise InputError(
            f"train.augment.rotation turns triads x, y, z, but the data has {len(windows.channels)} channels"
        )
