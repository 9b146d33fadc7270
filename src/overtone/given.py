"""What somebody's own training loop gives us, looked at: one sentence for what cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overtone.errors import InputError, nearest
from overtone.types import described, tensors_in

Kinds = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of each view of the example."""


def model_of(who: str, model: Any) -> nn.Module:
    """A model.

    Raises:
        InputError: for something else, a path or a class perhaps.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise InputError(f"{who} is a model, got the class {model.__name__}; make one of it first")
    what = f"{described(model)} {str(model)!r}" if isinstance(model, str) or hasattr(model, "__fspath__") else None
    hint = "; load it first: overtone.load_student(path) of a student file, or torch's load_state_dict" if what else ""
    raise InputError(f"{who} is a torch module, got {what or described(model)}{hint}")


def models_of(teachers: Any) -> dict[str, nn.Module]:
    """Teachers by name; one alone is called ``teacher``.

    Raises:
        InputError: for no teacher, several without names, a name that terms cannot be called by, or no model.
    """
    if isinstance(teachers, (Mapping, nn.ModuleDict)):
        named = dict(teachers.items())
    elif isinstance(teachers, (list, tuple, nn.ModuleList)):
        raise InputError(f"several teachers go by name, {{'one': model, ...}}, got {described(teachers)}")
    else:
        named = {"teacher": teachers}
    if not named:
        raise InputError("between needs a teacher, got none")
    if any(isinstance(x, Tensor) for x in named.values()):
        raise InputError("a teacher is a torch module, got weights by name; make its model and load_state_dict them")
    for name in named:
        if not isinstance(name, str) or "." in name or not name:
            raise InputError(
                f"a teacher's name is part of its terms' names, so it is not empty and holds no dot; got {name!r}"
            )
    return {name: model_of("the teacher" if name == "teacher" else f"teacher {name!r}", x) for name, x in named.items()}


def check_kind(what: str, value: Any, kind: type) -> None:
    """Refuse an argument of another class; None is no argument."""
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{what}: {kind.__name__} is needed, got {described(value)}")


def views_of(example: Any) -> dict[str, Tensor]:
    """The example's views by name; one alone is called ``x``.

    Raises:
        InputError: for what is no tensor, no view, no sample, or views of several sizes.
    """
    views = dict(example) if isinstance(example, Mapping) else {"x": example}
    if not views:
        raise InputError("the example holds no view")
    for name, x in views.items():
        check_tensor("the example" if name == "x" else f"the example's view {name!r}", x)
    check_sizes(views)
    return views


def check_tensor(what: str, x: Any) -> None:
    """Refuse what is no tensor with a batch, or holds complex numbers."""
    if not isinstance(x, Tensor):
        hint = "; torch.as_tensor makes one" if hasattr(x, "__array__") else ""
        raise InputError(f"{what} is a tensor (B, C, T) or (B, C, H, W), got {described(x)}{hint}")
    if x.dim() < 2 or x.is_complex():
        raise InputError(f"{what} is a tensor (B, C, T) or (B, C, H, W), got {described(x)}")


def check_sizes(views: Mapping[str, Tensor]) -> None:
    """Refuse views that hold different numbers of samples, or none."""
    sizes = {name: len(x) for name, x in views.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"views hold different numbers of samples: {', '.join(f'{n} {s}' for n, s in sizes.items())}")
    if 0 in sizes.values():
        raise InputError("a batch holds no sample")


def check_views(views: Mapping[str, Any], seen: Iterable[str], kinds: Kinds, model: nn.Module) -> None:
    """Refuse views that no model of the example's can take.

    Args:
        views: the batch's.
        seen: those that a model sees.
        kinds: the example's.
        model: the student, whose device the batch must be on.

    Raises:
        InputError: with what the example was.
    """
    used = {name: views[name] for name in dict.fromkeys(seen)}
    for name, x in used.items():
        what = "x" if len(kinds) == 1 else f"view {name!r}"
        check_tensor(what, x)
        shape, dtype = kinds[name]
        if x.dim() != len(shape) or x.shape[1] != shape[1]:
            alone = " (one sample is x.unsqueeze(0))" if x.dim() == len(shape) - 1 else ""
            raise InputError(
                f"{what} is (B, {', '.join(map(str, shape[1:]))}) as the example, got {described(x)}{alone}"
            )
        if not _taken(x, dtype, model):
            raise InputError(
                f"{what} is of {_name(dtype)} as the example, got {described(x)}; give x.to({dtype}), scaled alike"
            )
    check_sizes(used)
    check_device("x", next(iter(used.values())), model)


def check_device(what: str, x: Tensor, model: nn.Module) -> None:
    """Refuse an input that lies elsewhere than the student."""
    first = next(model.parameters(), None)
    if first is not None and first.device != x.device:
        raise InputError(f"{what} is on {x.device}, the student on {first.device}; move one to the other")


def check_labels(y: Any, index: Any, x: Tensor, classes: int) -> None:
    """Refuse class numbers or samples' numbers that cannot be.

    Whether classes are there is looked at on CPUs only: a GPU would have to be waited for, and says it by itself.

    Args:
        y: class numbers, (B,), or class probabilities, (B, C).
        index: the samples' numbers, (B,), or None.
        x: the student's view.
        classes: how many there are.
    """
    soft = isinstance(y, Tensor) and y.is_floating_point() and y.dim() == 2
    if soft and (tuple(y.shape) != (len(x), classes) or y.device != x.device):
        raise InputError(
            f"y of class probabilities is ({len(x)}, {classes}) on {x.device}, got {tuple(y.shape)} on {y.device}"
        )
    for what, numbers in (("index", index),) if soft else (("y", y), ("index", index)):
        if numbers is None and what == "index":
            continue
        if not isinstance(numbers, Tensor) or numbers.dtype != torch.int64 or numbers.dim() != 1:
            raise InputError(f"{what} is a tensor (B,) of int64, got {described(numbers)}{_hint(what, numbers)}")
        if len(numbers) != len(x):
            raise InputError(f"{what} has {len(numbers)} numbers for {len(x)} samples")
        if numbers.device != x.device:
            raise InputError(f"{what} is on {numbers.device}, x on {x.device}; move one to the other")
    if (
        not soft
        and y.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and bool(((y < 0) | (y >= classes)).any())
    ):
        wrong = int(y[(y < 0) | (y >= classes)][0])
        raise InputError(
            f"y holds {wrong}; classes count from 0, so the {classes} of the models are 0 to {classes - 1}"
        )


def check_apart(student: nn.Module, teachers: Mapping[str, nn.Module]) -> None:
    """Refuse a student that is frozen, or shares with a teacher what would be frozen with it."""
    parameters = set(student.parameters())
    trained = {x for x in student.modules() if isinstance(x, nn.modules.dropout._DropoutNd)}
    for name, teacher in teachers.items():
        if teacher is student:
            raise InputError(f"teacher {name!r} is the student itself; give another model or a copy")
        if parameters & set(teacher.parameters()) or trained & set(teacher.modules()):
            raise InputError(
                f"teacher {name!r} shares layers with the student, which would be frozen with it; give a copy "
                "(copy.deepcopy)"
            )
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        raise InputError("the student is frozen, no parameter needs a gradient; student.requires_grad_() frees it")


def misfit(who: str, model: nn.Module, x: Any, error: Exception) -> InputError:
    """Why a model may have failed at the example."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    tensors = list(tensors_in(x))[:2]
    example = " and ".join(described(part) for part in tensors)
    if first is not None and any(part.dtype != first.dtype for part in tensors):
        return InputError(
            f"{who} has weights of {_name(first.dtype)}, the example is {example}; give both one type, such as float()"
        )
    return InputError(f"{who} does not take the example, {example}: {type(error).__name__}: {error}")


def check_names(seen: Iterable[str], views: Mapping[str, Any], what: str) -> None:
    """Refuse a batch, or an example, without a view that is seen."""
    for name in seen:
        if name not in views:
            raise InputError(f"{what} {name!r}; {nearest(name, views)}")


def _taken(x: Tensor, dtype: torch.dtype, model: nn.Module) -> bool:
    """Whether a tensor has the example's type, the model's, or one that autocast takes."""
    if x.dtype == dtype:
        return True
    if not x.is_floating_point():
        return False
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return (first is not None and x.dtype == first.dtype) or (
        torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _hint(what: str, value: Any) -> str:
    if not isinstance(value, Tensor):
        return "; torch.as_tensor makes one" if hasattr(value, "__array__") or isinstance(value, (list, tuple)) else ""
    if what == "y" and value.dim() == 2:
        return "; of one-hot rows take y.argmax(1)"
    whole = not value.is_floating_point() and not value.is_complex()
    return f"; {what}.long() makes one" if value.dim() == 1 and whole else ""
