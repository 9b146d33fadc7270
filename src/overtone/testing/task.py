"""The contract of tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from overtone.data import Fold, Recordings, Windows, cut
from overtone.engine import Samples
from overtone.errors import InputError
from overtone.header import SeenTask
from overtone.lookup import check_class
from overtone.methods import check_terms
from overtone.models import build
from overtone.recipe import ModelOptions
from overtone.shown import Drawing
from overtone.tap import Tap, probe
from overtone.tasks import (
    LOSS,
    PARTS,
    Metric,
    Place,
    Predictions,
    Task,
    count,
    from_arrays,
    joined,
    to_arrays,
)
from overtone.testing.require import CLOSE, made, require, same
from overtone.types import Output, described, shape_of
from overtone.views import VIEWS

BATCH = 8


def example() -> Recordings:
    """36 recordings of three people, whose labels 0, 1 and 2 may be read as classes or as numbers."""
    generator, time = np.random.default_rng(0), np.arange(32)
    labels = np.arange(36) % 3
    waves = [np.sin(time * (0.2 + 0.3 * label)) + 0.3 * generator.normal(size=(2, 32)) for label in labels]
    signals, people = [wave.astype(np.float32) for wave in waves], [f"p{n // 12}" for n in range(36)]
    return Recordings(signals, labels, people, ("0", "1", "2"), ("x", "y"), 10.0, "the example")


def check_task(
    kind: type[Task],
    settings: Mapping[str, Any] | None = None,
    recordings: Recordings | None = None,
    model: str = "dscnn-4",
) -> None:
    """Hold a task to its contract, on a few recordings and a small model.

    What it declares is well formed; its terms are those it declares, with a gradient; models are asked without targets;
    predictions are the same in parts, through a file and of an ensemble of one, and every metric comes out of them as a
    finite number; what chooses the epoch is known on a validation side; it learns from the training side alone; and a
    student file's header brings it back.

    Args:
        kind: the class, which can be imported.
        settings: as in a recipe.
        recordings: equally long ones of three groups or more, with labels as the task takes them, in whose last group,
            the test side, every metric is known; 36 recordings whose labels are 0, 1 or 2 unless given.
        model: as in a recipe, one that gives what the task takes.

    Raises:
        AssertionError: in one sentence on what is wrong and what the class should do.
    """
    try:
        check_class(kind, Task, getattr(kind, "__name__", str(kind)))
        _declared(kind)
        case = _Case(made(kind, Task, settings or {}), recordings or example(), model)
    except InputError as error:
        raise AssertionError(f"the example cannot be used: {error}") from error
    try:
        check_terms(case.task)
    except InputError as error:
        raise AssertionError(str(error)) from error
    _header(case)
    _training_side_only(case)
    _losses(case)
    predictions = _predicted(case)
    _scored(case, predictions)
    _same_scores(case, predictions)
    _for_people(case)


class _Case:
    """A task that knows a few windows, and a model that is not trained."""

    def __init__(self, given: Task, recordings: Recordings, model: str) -> None:
        self.name, self.given, self.recordings = type(given).__name__, given, recordings
        self.windows = self.labelled(recordings)
        self.fold = _fold(self.windows)
        self.windows.task.check(self.windows, [self.fold])
        self.samples = self.fitted(self.windows)
        self.task = self.samples.task
        self.train, self.test = (torch.from_numpy(side) for side in (self.fold.train, self.fold.test))
        self.batch = self.samples.batch(self.train[:BATCH], ["signal"])
        self.model = model
        self.tap = self.network()

    def labelled(self, recordings: Recordings) -> Windows:
        """As a study has them."""
        task, recordings_with_labels = self.given.labelled(recordings, {})
        windows = task.take(cut(recordings_with_labels, None, None, task))
        require(
            type(windows.task) is type(self.given),
            f"{self.name}.take must return the windows with the task in them, dataclasses.replace(windows, task=...); "
            f"got one of {type(windows.task).__name__}",
        )
        require(
            len(windows.x) == len(windows.y) == len(windows.group),
            f"{self.name}: window_targets and take must leave one target for each window, got {len(windows.y)} for "
            f"{len(windows.x)}",
        )
        return windows

    def fitted(self, windows: Windows) -> Samples:
        """As a fold's cells have them."""
        return Samples.fit(windows, self.fold, {"signal": VIEWS["signal"]()}, torch.device("cpu"))

    def network(self) -> Tap:
        """The model, tapped; the same weights each time."""
        torch.manual_seed(0)
        x = self.batch.input("signal")
        model: nn.Module = build(self.model, shape_of(x), self.task.outputs, ModelOptions(), self.task.plain)
        tap = Tap(model, task=self.task)
        probe(tap, x, [VIEWS["signal"].AXES])
        return tap

    def asked(self, index: Tensor) -> tuple[Output, Predictions]:
        """The model's output, and what is kept of it; no target is given to it."""
        (batch,) = self.samples.batches([index], ["signal"], targets=False)
        with torch.no_grad():
            output: Output = self.tap.eval()(batch.input("signal"))
        return output, self.task.predict(output)


def _fold(windows: Windows) -> Fold:
    """The last group is tested, the one before is the validation side."""
    names, number = windows.groups, windows.group
    require(len(names) >= 3, f"recordings of three groups or more are needed, got {len(names)}")
    val, test = len(names) - 2, len(names) - 1
    train, chosen, tested = (np.flatnonzero(side) for side in (number < val, number == val, number == test))
    return Fold(0, train, chosen, tested, names[:val], names[val:test], names[test:])


def _declared(kind: type[Task]) -> None:
    name, metrics = kind.__name__, getattr(kind, "METRICS", ())
    called = getattr(kind, "NAME", None)
    require(isinstance(called, str) and bool(called), f"{name} needs a NAME for messages; got {called!r}")
    require(
        isinstance(metrics, tuple) and bool(metrics) and all(isinstance(metric, Metric) for metric in metrics),
        f"{name}.METRICS must be a tuple of Metric, of which the first heads the table; got {metrics!r}",
    )


def _header(case: _Case) -> None:
    """What a student file keeps of it, before and after it has seen a training side."""
    for task in (case.windows.task, case.task):
        try:
            back = SeenTask.model_validate_json(SeenTask.of(task).model_dump_json()).task()
        except (InputError, ValueError) as error:
            raise AssertionError(f"{case.name} cannot be made again from a student file's header: {error}") from error
        require(
            back == task and type(back) is type(task),
            f"{case.name} is {back!r} after a student file's header and was {task!r}; keep what it knows in fields "
            "that JSON can hold, such as tuples of numbers and text",
        )
    keys = [metric.key for metric in case.task.metrics]
    require(
        len(set(keys)) == len(keys) and {metric.key for metric in type(case.task).METRICS} <= set(keys),
        f"{case.name}.metrics must hold those of METRICS, each key once; got {', '.join(keys)}",
    )


def _training_side_only(case: _Case) -> None:
    """With other labels on the other sides it must know the same."""
    labels = list(case.recordings.labels)
    for number, group in enumerate(case.recordings.groups):
        if group not in case.fold.train_groups:
            labels[number] = labels[case.recordings.groups.index(case.fold.train_groups[0])]
    changed = labels if isinstance(case.recordings.labels, list) else np.asarray(labels)
    other = case.fitted(case.labelled(replace(case.recordings, labels=changed))).task
    require(
        other == case.task,
        f"{case.name} knows something of the validation or test side's targets; what it learns of targets belongs into "
        "fit, which sees those of the training side",
    )


def _losses(case: _Case) -> None:
    name = case.name
    output: Output = case.tap.train()(case.batch.input("signal")).float()
    terms = case.task.losses(output, case.batch)
    require(
        tuple(terms) == case.task.terms,
        f"{name}.losses must return one value for each of its terms, {case.task.terms}, in order; got {tuple(terms)}",
    )
    for term, value in terms.items():
        fits = isinstance(value, Tensor) and value.dim() == 0 and value.dtype == torch.float32
        received = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        require(fits, f"{name}: the term {term} must be one number in float32, such as a mean; got {received}")
        require(bool(torch.isfinite(value)), f"{name}: the term {term} is {float(value.detach())} on the example")
        gradients = (
            torch.autograd.grad(value, list(case.tap.parameters()), retain_graph=True, allow_unused=True)
            if value.requires_grad
            else ()
        )
        require(
            any(x is not None and bool(x.any()) for x in gradients),
            f"{name}: the term {term} gives the model no gradient; compute it from its output, not detached",
        )
    _parts(case, output)
    scores = case.task.training_scores(output.map(Tensor.detach), case.batch)
    unknown = sorted(scores.keys() - {metric.key for metric in case.task.metrics})
    require(not unknown, f"{name}.training_scores gives {', '.join(unknown)}, which is none of its metrics")


def _parts(case: _Case, output: Output) -> None:
    """What methods may compare is there."""
    student, teacher, _ = case.task.compared(output, output, case.batch)
    known = {*PARTS, *(student.prediction.keys() & teacher.prediction.keys())}
    unknown = sorted(case.task.DISTILLABLE - known)
    require(
        not unknown,
        f"{case.name}.DISTILLABLE holds {unknown}, which is neither one of {', '.join(PARTS)} nor in the predictions "
        f"that compared gives ({', '.join(student.prediction)})",
    )


def _predicted(case: _Case) -> Predictions:
    """Of the test side, whole, in parts and again."""
    name, task = case.name, case.task
    output, whole = case.asked(case.test)
    task.check_output(output, len(case.test))
    require(
        bool(whole) and {len(values) for values in whole.values()} == {len(case.test)},
        f"{name}.predict must name tensors with a row, or lists with an element, for each of {len(case.test)} samples; "
        f"got { ({key: len(values) for key, values in whole.items()}) }",
    )
    parts = joined([case.asked(part)[1] for part in case.test.split(max(1, len(case.test) // 2))])
    require(
        _alike(whole, parts),
        f"{name} predicts other things of samples that are in another batch; in evaluation samples must not interact",
    )
    require(_alike(whole, case.asked(case.test)[1]), f"{name} predicts other things of the same samples; draw nothing")
    return whole


def _alike(first: Predictions, second: Predictions) -> bool:
    """Whether two predictions hold the same numbers up to rounding."""
    pairs = [(values, second[name]) for name, values in first.items()]
    return all(same(one, other) if isinstance(one, Tensor) else all(map(same, one, other)) for one, other in pairs)


def _scored(case: _Case, predictions: Predictions) -> None:
    name, task = case.name, case.task
    truth, scores = _scores(case, predictions)
    keys = [metric.key for metric in task.metrics]
    require(
        list(scores) == keys,
        f"{name}.scores must give every one of its metrics, {', '.join(keys)}, and no other; got {', '.join(scores)}",
    )
    _finite(name, "scores", scores)
    val = torch.from_numpy(case.fold.val)
    require(
        task.watched in (LOSS, *task.metrics),
        f"{name}.watched must be one of its metrics, or overtone.tasks.LOSS; got {task.watched!r}",
    )
    watched = task.on_validation(case.asked(val)[1], case.samples.truth(val), case.samples.context(val))
    require(
        task.watched.key in watched,
        f"{name}.on_validation must give {task.watched.key}, which watched says chooses the epoch; got "
        f"{', '.join(watched)}",
    )
    _finite(name, "on_validation", {task.watched.key: watched[task.watched.key]})
    details = task.details(predictions, truth, case.samples.context(case.test))
    try:
        kept = json.loads(json.dumps(details))
    except TypeError as error:
        raise AssertionError(
            f"{name}.details must give what JSON can hold, such as lists of numbers: {error}"
        ) from error
    for several in ([kept], [kept, kept]):
        shown = task.shown(several)
        require(
            isinstance(shown, Mapping) and all(isinstance(own, get_args(Drawing)) for own in shown.values()),
            f"{name}.shown must give objects of overtone.shown by name, such as {{'counts': Matrix(...)}}; got "
            f"{shown!r}",
        )


def _scores(case: _Case, predictions: Predictions) -> tuple[Any, dict[str, float]]:
    """The test side's truth, and its scores."""
    truth, context = case.samples.truth(case.test), case.samples.context(case.test)
    try:
        return truth, case.task.scores(predictions, truth, context)
    except (AttributeError, TypeError) as error:
        if context is None:
            raise AssertionError(
                f"{case.name}.scores fails without context ({error}); set CONTEXT = True if it needs one"
            ) from error
        raise


def _finite(name: str, what: str, numbers: Mapping[str, float]) -> None:
    for key, value in numbers.items():
        fits = isinstance(value, (float, int)) and bool(np.isfinite(value))
        require(fits, f"{name}.{what} must give finite numbers of Python; {key} is {value!r}")


def _same_scores(case: _Case, predictions: Predictions) -> None:
    """Through a file, as an ensemble of one, and again."""
    expected = _scores(case, predictions)[1]

    def equal(other: Predictions) -> bool:
        scores = _scores(case, other)[1]
        return scores.keys() == expected.keys() and all(
            abs(value - expected[key]) <= CLOSE * max(1.0, abs(expected[key])) for key, value in scores.items()
        )

    require(
        equal(predictions), f"{case.name}.scores gives other numbers when it is asked again; draw nothing at random"
    )
    try:
        back = from_arrays(to_arrays(predictions, "best"), "best")
    except (RuntimeError, TypeError) as error:
        raise AssertionError(
            f"{case.name}'s predictions cannot be written to a file of arrays ({error}); keep tensors, or lists of "
            "tensors with rows"
        ) from error
    require(
        count(back) == count(predictions) and equal(back),
        f"{case.name}'s predictions give other scores after a file of arrays; keep tensors, or lists of "
        "tensors with rows",
    )
    try:
        alone = case.task.ensemble([predictions])
    except TypeError as error:
        raise AssertionError(
            f"{case.name}.ensemble fails ({error}); lists of unequal length have no mean, so say what several models "
            "say together"
        ) from error
    require(equal(alone), f"{case.name}.ensemble of one model's predictions must score as that model does")


def _for_people(case: _Case) -> None:
    """What is said of one sample, and what is written of it."""
    name, task, some = case.name, case.task, case.test[:2]
    truths = case.windows.y[some.numpy()]
    called = task.called(truths[0])
    require(isinstance(called, str), f"{name}.called must say a sample's truth in words; got {called!r}")
    predictions = case.asked(some)[1]
    try:
        answers = task.answers(predictions)
    except InputError as error:
        raise AssertionError(str(error)) from error
    require(len(answers) == len(some), f"{name}.answers must give one for each of {len(some)} samples")
    try:
        json.dumps(answers)
    except TypeError as error:
        raise AssertionError(f"{name}.answers must give kinds that JSON has, such as lists: {error}") from error
    if type(task).write is Task.write:
        columns = task.columns()
        widths = {len(line) for answer in answers for line in task.lines(answer)}
        require(
            widths <= {len(columns)},
            f"{name}.lines must give a cell for each of its columns, {', '.join(columns)}; got {sorted(widths)}",
        )
    task.write(BytesIO(), [([Place(str(number), 0) for number in range(len(some))], predictions)])
    verdict = task.verdict(answers[0], truths[0].tolist())
    require(
        isinstance(verdict, tuple) and len(verdict) == 2 and isinstance(verdict[0], str),
        f"{name}.verdict must give a sentence and True, False or None; got {verdict!r}",
    )
    _asked(case, some)


def _asked(case: _Case, some: Tensor) -> None:
    """What saliency looks for has a gradient."""
    (batch,) = case.samples.batches([some], ["signal"], targets=False)
    output: Output = case.tap.eval()(batch.input("signal"))
    try:
        score = case.task.asked(output, torch.from_numpy(case.windows.y[some.numpy()]))
    except (InputError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise AssertionError(f"{case.name}.asked fails: {error}; give a scalar of the models' output") from error
    require(
        score.dim() == 0 and score.requires_grad,
        f"{case.name}.asked must give a scalar that depends on the output, whose gradient saliency shows; got "
        f"{described(score)}",
    )
