"""What methods on activation maps share: which models have them, and whose axes mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from overtone.errors import InputError
from overtone.types import Spec

Time = Literal["mean", "diagonal"]


def check_map(method: str, spec: Spec, who: str) -> None:
    """Refuse a model without class activation maps.

    Raises:
        InputError: with the reason.
    """
    if spec.branches:
        raise InputError(f"{method}: {who} has two branches; name teachers that see one view")
    if not spec.has_cam:
        why = (
            "an average of its last map and one linear layer are not its head"
            if spec.has_head
            else "its last map and head are not known; built-in models have them"
        )
        raise InputError(f"{method}: {who} has no class activation maps: {why}")


def check_positions(method: str, name: str, teacher: Spec, student: Spec) -> None:
    """Refuse a teacher whose maps have other axes than the student's, so that positions mean different things.

    Raises:
        InputError: with both.
    """
    if teacher.dims != student.dims or teacher.axes != student.axes:
        teacher_axes, student_axes = (
            " and ".join(spec.axes) or f"of an input of shape {spec.input}" for spec in (teacher, student)
        )
        raise InputError(
            f"{method}: the last map of teacher {name!r} has the axes {teacher_axes}, the student's {student_axes}: a "
            "position in one is not a position in the other. Use a teacher that sees the student's view, or a method "
            "on logits or whole vectors (kd, hidden, rkd)"
        )


def onto(method: str, name: str, teacher: Spec, student: Spec, time: Time = "mean") -> Callable[[Tensor], Tensor]:
    """How a teacher's maps (B, C, ...) are brought to the student's axes; sizes are not changed.

    Args:
        method, name: the method and the teacher, for messages.
        teacher, student: their specs, with the meaning of their axes.
        time: from an image of two moments (a Gramian field) to time: the mean over one of them, or the diagonal.

    Raises:
        InputError: where the positions mean different things.
    """
    teacher_axes, student_axes = teacher.axes, student.axes
    if teacher_axes == student_axes or not (teacher_axes and student_axes):
        if teacher.dims != student.dims:
            raise InputError(
                f"{method}: teacher {name!r} has maps of {teacher.dims} axes, the student of {student.dims}, and it is "
                "not known what they mean; built-in views say so"
            )
        return lambda maps: maps
    if student_axes == ("time",) and len(teacher_axes) == 2 and teacher_axes[-1] == "time":
        if teacher_axes == ("time", "time") and time == "diagonal":
            return lambda maps: maps.diagonal(dim1=2, dim2=3)
        return lambda maps: maps.mean(2)
    lacks = " It has no time axis." if student_axes == ("time",) and "time" not in teacher_axes else ""
    raise InputError(
        f"{method}: the maps of teacher {name!r} have the axes {' and '.join(teacher_axes)}, the student's "
        f"{' and '.join(student_axes)}: a position in one is not a position in the other.{lacks} Use a teacher and a "
        "branch with the same view, or a method on logits or whole vectors (kd, hidden, rkd)"
    )
