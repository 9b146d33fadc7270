"""The contract of methods."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from overtone.methods import Method
from overtone.tasks import DEFAULT, Task
from overtone.testing.case import PROGRESS, TEACHER, Case, Setting, make, part_of
from overtone.testing.graph import unseen
from overtone.testing.require import SMALL, require, same
from overtone.testing.resume import check_resumes
from overtone.types import Batch, Output, Step

SIZE = 8


def check_method(
    kind: type[Method] | str,
    settings: Mapping[str, Any] | None = None,
    teachers: Mapping[str, str] | None = None,
    compiled: bool = False,
    *,
    task: Task | None = None,
    labels: Sequence[Any] | None = None,
    model: str | None = None,
) -> None:
    """Hold a method to its contract: on a tiny student and tiny teachers, in a few steps of training.

    Its terms are those it declares, float32 scalars under autocast too; gradients reach the student and what it trains
    itself, and nothing that is no parameter of it; teachers stay outside; its state is all that it remembers; what its
    class says of it is true (``needs``, ``couples_batch``, ``has_memory_bank``, ``min_batch``, ``zero_when_equal``);
    training that is killed and resumed ends with the same numbers.

    Args:
        kind: the class, or a name as in a recipe.
        settings: as in a recipe.
        teachers: names of teachers with the view that each sees, ``signal`` or ``gaf``; what the class says that it
            takes unless given.
        compiled: also hold ``torch.compile`` (``aot_eager``) to the same numbers; takes seconds more.
        task: what student and teachers must do, such as ``Regression()``; classes unless given. It is told the windows'
            targets as in a study.
        labels: of recordings, as :class:`~overtone.data.Recordings` holds them, for a task that cannot read the numbers
            0 to 4; repeated as needed.
        model: of student and teachers, as in a recipe, for a task that needs another one.

    Raises:
        AssertionError: in one sentence on what is wrong and what the class should do.
        InputError: for a class that is no complete method, settings that it does not take, or a task whose outputs do
            not have what it compares.
    """
    settings = settings or {}
    on = Setting(DEFAULT if task is None else task, labels, model)
    case = make(kind, settings, teachers=teachers, on=on)
    batch = case.batch(SIZE)
    _terms(case, batch)
    _teachers_apart(case, batch)
    _facts(case, batch)
    _gradients(case, batch)
    _half_precision(case, batch)
    _repeatable(case, batch)
    if compiled:
        _compiled(case, batch)
    _state(case, make(case.kind, settings, seed=1, teachers=teachers, on=on), batch)
    if case.kind.zero_when_equal and case.task.plain and not case.kind.two_branches and not case.config.branch:
        student = model or TEACHER
        _zero_when_equal(make(case.kind, settings, student, teachers=teachers, on=on), batch)
    check_resumes(case.kind, settings, teachers, on)


def _step(case: Case, batch: Batch) -> Step:
    torch.manual_seed(0)
    step: Step = case.distillation(case.collated(batch), case.outputs(batch), PROGRESS)
    return step


def _values(case: Case, batch: Batch, outputs: Mapping[str, Output] | None = None) -> dict[str, Tensor]:
    """The method's terms on a batch, without gradient."""
    torch.manual_seed(0)
    given, seen = case.outputs(batch) if outputs is None else outputs, case.collated(batch)
    with torch.no_grad():
        student = case.mine(case.distillation.student(seen.input(case.distillation.view)))
        return case.method(*case.distillation.compared(student, given, seen), PROGRESS)


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(same(x, second[term]) for term, x in first.items())


def _terms(case: Case, batch: Batch) -> None:
    name, declared = case.kind.__name__, getattr(case.method, "terms", None)
    require(
        isinstance(declared, tuple) and bool(declared) and len(set(declared)) == len(declared),
        f"{name} must set terms, a tuple of its terms' names, each once, on the class or in __init__; got {declared!r}",
    )
    terms = _values(copy.deepcopy(case), batch)
    received: Any = tuple(terms) if isinstance(terms, Mapping) else type(terms).__name__
    require(
        received == declared,
        f"{name}.forward must return one value for each of its terms, in this order, {declared}; got {received}",
    )
    for term, value in terms.items():
        is_scalar = isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()
        received = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        require(
            is_scalar, f"{name}: the term {term} must be a tensor of one real number, such as a mean; got {received}"
        )
        require(bool(torch.isfinite(value)), f"{name}: the term {term} is {float(value)} on random windows")
    weights = case.kind.default_weights(case.config)
    for term in terms:
        require(
            any(term == key or term.startswith(f"{key}.") for key in weights),
            f"{name}: the term {term} has no default weight; WEIGHTS must hold it or the beginning of its name",
        )


def _facts(case: Case, batch: Batch) -> None:
    """What the class says of itself, in evaluation mode, where batch statistics stand still."""
    name = case.kind.__name__
    case.distillation.eval()
    before = copy.deepcopy(case.distillation.state_dict())
    whole, outputs = _values(case, batch), case.outputs(batch)
    after = case.distillation.state_dict()
    require(
        before.keys() == after.keys() and all(torch.equal(before[key], value) for key, value in after.items()),
        f"{name} changes its state in evaluation; banks and statistics move only where self.training is true",
    )
    try:
        enough = _equal(whole, _values(case, batch, case.read(outputs)))
    except Exception as error:
        raise AssertionError(
            f"{name} reads more of its teachers than needs() names, and memories of teachers keep only that; it names "
            f"{sorted(set().union(*case.needs.teachers.values()))}"
        ) from error
    require(
        enough, f"{name} gives other numbers where it gets only what needs() names of the teachers; name all it reads"
    )
    if case.task.plain and not case.kind.couples_samples(case.config):  # others may compare more of one sample
        halves = [_values(case, part_of(batch, rows)) for rows in (slice(0, SIZE // 2), slice(SIZE // 2, SIZE))]
        mean = {term: (halves[0][term] + halves[1][term]) / 2 for term in whole}
        require(
            _equal(whole, mean),
            f"{name}: a batch's terms are not the mean of its halves', so samples interact; say couples_batch = True, "
            "or take means over samples",
        )
    if not case.kind.has_memory_bank:
        other = replace(batch, index=batch.index.flip(0) + SIZE)
        require(
            _equal(whole, _values(case, other)),
            f"{name}'s numbers depend on which samples these are (batch.index); say has_memory_bank = True",
        )
    case.distillation.train()


def _gradients(case: Case, batch: Batch) -> None:
    name = case.kind.__name__
    step = _step(case, batch)
    tasks_own = case.distillation.task.terms
    values = {term: value for term, value in step.terms.items() if term.partition(".")[0] not in tasks_own}
    hidden = unseen([step.total, *values.values()], case.distillation)
    require(
        not hidden,
        f"{name} trains tensors of shapes {hidden} that are no parameters of it, so that no optimiser and no state "
        "holds them; keep modules and parameters as attributes, or in nn.ModuleList, nn.ModuleDict, nn.ParameterList",
    )
    total = torch.stack(list(values.values())).sum()
    require(
        total.requires_grad, f"{name}'s terms give no gradient; compute them from the student's output, not detached"
    )
    total.backward()
    _finite_gradients(case, name)
    reached = [p for p in case.distillation.student.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    require(bool(reached), f"{name}'s terms give the student no gradient; compute them from its output, not detached")
    for key, parameter in case.method.named_parameters():
        require(
            parameter.grad is not None,
            f"{name}: no term reaches its parameter {key}; use it in forward, or leave it out",
        )
    for parameter in case.distillation.parameters():
        parameter.grad = None


def _finite_gradients(case: Case, where: str) -> None:
    for key, parameter in case.distillation.named_parameters():
        finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
        require(finite, f"{where}: the gradient of {key} is not finite; keep roots and logarithms off 0")


def _teachers_apart(case: Case, batch: Batch) -> None:
    name = case.kind.__name__
    case.distillation(case.collated(batch), case.outputs(batch), PROGRESS)  # modules may be kept in forward
    parameters = {id(p) for p in case.distillation.parameters()}
    storages = {x.data_ptr() for x in case.distillation.state_dict().values()}
    for teacher in case.teachers.values():
        for key, parameter in teacher.tap.named_parameters():
            require(
                id(parameter) not in parameters and parameter.data_ptr() not in storages,
                f"{name} holds the parameter {key} of teacher {teacher.name!r}, which would be trained and saved with "
                "it; use a teacher's output, and keep no module of a teacher as an attribute",
            )
            require(
                parameter.grad is None and not parameter.requires_grad,
                f"{name} gives the parameter {key} of teacher {teacher.name!r} a gradient; teachers stay frozen",
            )


def _half_precision(case: Case, batch: Batch) -> None:
    name = case.kind.__name__
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = _step(case, batch)
    for term, value in step.terms.items():
        value = value.detach()
        require(value.dtype == torch.float32, f"{name}: under autocast the term {term} is {value.dtype}, not float32")
        require(bool(torch.isfinite(value)), f"{name}: under autocast the term {term} is {float(value)}")
    step.total.backward()
    _finite_gradients(case, f"{name}, under autocast")
    for parameter in case.distillation.parameters():
        parameter.grad = None


def _repeatable(case: Case, batch: Batch) -> None:
    """The same state and the same seed give the same numbers, with as few samples as the class allows too."""
    name = case.kind.__name__
    least = part_of(batch, slice(0, max(2, case.kind.min_batch)))
    for given in (batch, least):
        first, second = (_step(copy.deepcopy(case), given).terms for _ in range(2))
        require(
            all(bool(torch.isfinite(value)) for value in first.values()),
            f"{name}: not finite on a batch of {len(given.index)}; say how many samples it needs as min_batch",
        )
        require(
            all(torch.equal(value, second[term]) for term, value in first.items()),
            f"{name} gives other numbers for the same batch, state and seed; draw random numbers with torch only",
        )


def _state(case: Case, other: Case, batch: Batch) -> None:
    """``case`` has been trained on, ``other`` is new."""
    name = case.kind.__name__
    _step(case, batch)  # banks and statistics move
    problem = other.distillation.load_state_dict(case.distillation.state_dict(), strict=False)
    require(
        not problem.missing_keys and not problem.unexpected_keys,
        f"{name}'s state after a step has other keys than when it is made; make all parameters and buffers in __init__",
    )
    case.distillation.eval()
    other.distillation.eval()
    outputs = case.outputs(batch)
    require(
        _equal(_values(case, batch, outputs), _values(other, batch, outputs)),
        f"{name} gives other numbers after its state was saved and loaded; keep what it remembers in parameters or "
        "buffers (register_buffer)",
    )


def _zero_when_equal(case: Case, batch: Batch) -> None:
    tap = case.distillation.student.eval()
    with torch.no_grad():
        output = tap(batch.views["signal"])
    given = case.distillation.compared(output, dict.fromkeys(case.teachers, output), batch)
    for term, value in case.method(*given, PROGRESS).items():
        number = float(value.detach())
        require(
            abs(number) <= SMALL,
            f"{case.kind.__name__}: the term {term} is {number:.3g} for a student that gives what its teachers "
            "give; say zero_when_equal = False if that is meant",
        )


def _compiled(case: Case, batch: Batch) -> None:
    name, outputs = case.kind.__name__, case.outputs(batch)
    eager, twin = copy.deepcopy(case.distillation), copy.deepcopy(case.distillation)
    torch._dynamo.reset()
    steps = []
    for run in (eager, torch.compile(twin, backend="aot_eager")):
        torch.manual_seed(0)
        step = run(case.collated(batch), outputs, PROGRESS)
        step.total.backward()
        steps.append(step.total.detach())
    require(same(steps[0], steps[1], 1e-5), f"{name} gives {float(steps[1])} compiled and {float(steps[0])} eagerly")
    for (key, a), (_, b) in zip(eager.named_parameters(), twin.named_parameters(), strict=True):
        alike = (a.grad is None) == (b.grad is None) and (a.grad is None or b.grad is None or same(a.grad, b.grad))
        require(alike, f"{name}: the gradient of {key} is another one compiled")
