"""Methods by name, and presets: names of the literature that stand for a method with certain settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from torch import nn

from overtone.errors import InputError, nearest
from overtone.lookup import check_class, import_class
from overtone.methods.aekd import AEKD
from overtone.methods.at import AT
from overtone.methods.aver import Aver
from overtone.methods.base import Method, MethodConfig, pair_stages
from overtone.methods.ca_mkd import CAMKD
from overtone.methods.cam import CAM
from overtone.methods.crd import CRD
from overtone.methods.dist import Dist
from overtone.methods.dkd import DKD
from overtone.methods.ebkd import EBKD
from overtone.methods.evidence import Evidence
from overtone.methods.fam_layer import FamLayer
from overtone.methods.fam_review import FamReview
from overtone.methods.fitnet import FitNet
from overtone.methods.freekd import FreeKD
from overtone.methods.ft import FT
from overtone.methods.fused import Fused
from overtone.methods.hidden import Hidden
from overtone.methods.kd import KD
from overtone.methods.logit_std import LogitStd
from overtone.methods.mimic import Mimic
from overtone.methods.multi_teacher import MultiTeacherKD, average_kd
from overtone.methods.progressive import Progressive
from overtone.methods.pskd import PSKD
from overtone.methods.review import Review
from overtone.methods.rkd import RKD
from overtone.methods.simkd import SimKD
from overtone.methods.sp import SP
from overtone.methods.weighted import Weighted
from overtone.recipe import MethodSettings, WeightSettings, validation_message
from overtone.tasks import TASKS, Task
from overtone.types import DataInfo, Needs, Spec

_ALL: tuple[type[Method], ...] = (
    *(KD, DKD, Dist, LogitStd, Mimic),  # logits, each teacher by itself
    *(Aver, Weighted, EBKD, CAMKD, AEKD, PSKD, Fused),  # logits of several teachers, fused
    *(Hidden, RKD, CRD, SP),  # whole vectors, or relations inside the batch
    *(FitNet, AT, Review, FamLayer, FamReview, FreeKD, FT, SimKD),  # maps
    *(CAM, Evidence, Progressive),  # between modalities
)
METHODS: dict[str, type[Method]] = {method.NAME: method for method in _ALL}

Name = TypeVar("Name", bound="str | type[Method]")

RESERVED = ("none", "ensemble", *(term for task in TASKS.values() for term in task.TERMS))
"""Words for rows and terms that are no method's."""

ROW_KEYS = [name for name in MethodSettings.model_fields if name != "name"]
"""What a row may hold besides its method's own settings; offered where a key is unknown."""

PUBLISHED_WEIGHTS = "published weights"
"""Of a preset: its weights in a row with ``published: true``."""
EARLY, ANNEALED = "after Cho & Hariharan 2019 (ESKD)", "Jeon et al. 2024 (TPKD)"
PRESETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "eskd": ({"name": "kd", "checkpoint": "best"}, "kd from the early-stopped teacher (best on validation)", EARLY),
    "full_kd": ({"name": "kd", "checkpoint": "last"}, "kd from the fully trained teacher (last epoch)", EARLY),
    "base": ({"name": "weighted", "warm_start": False}, "weighted, student from scratch", ANNEALED),
    "ann": (
        {"name": "weighted", "warm_start": True},
        "weighted, student warm-started from its CE-trained twin",
        ANNEALED,
    ),
    "annsp": (
        {
            "name": "weighted",
            "warm_start": True,
            "weights": {"sp.gram": 700.0},  # beside lambda = 0.7, the values for GENEActiv
            PUBLISHED_WEIGHTS: {"sp.gram": 200.0},  # beside lambda = 0.99, those for PAMAP2
            "extras": [{"name": "sp", "teachers": "merged", "stages": "all"}],
        },
        "ann + similarity preserving against the merged teachers",
        ANNEALED,
    ),
}


def find(name: str | type[Method]) -> type[Method]:
    """A method's class by name: a built-in one's, or ``package.module:Class``; a class is its own name.

    Raises:
        InputError: for an unknown name (the nearest is given), or a class of one's own that is no complete method.
    """
    if isinstance(name, type) or ":" in name:
        where = f"method {said(name)!r}"
        kind: type[Method] = name if isinstance(name, type) else import_class(name, Method, "method")
        check_class(kind, Method, where)
        _check_own(kind, where)
        return kind
    if name in PRESETS:
        raise InputError(
            f"method {name!r} is a preset, which names a whole row: put it first, and other methods in extras"
        )
    if name not in METHODS:
        known = ["none", *METHODS, *PRESETS, "package.module:Class"]
        raise InputError(f"unknown method {name!r}; {nearest(name, known)}")
    return METHODS[name]


def said(name: str | type) -> str:
    """A method's name as messages say it."""
    return name if isinstance(name, str) else name.__name__


def _check_own(kind: type[Method], where: str) -> None:
    """Refuse a class of one's own whose name, settings or weights cannot be used.

    Raises:
        InputError: in one sentence that begins with ``where``.
    """
    if kind in METHODS.values():
        return
    name, config = getattr(kind, "NAME", None), getattr(kind, "Config", None)
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w-]*", name):
        raise InputError(
            f"{where} needs a NAME of letters, digits, underscores and dashes, which begins its terms; got {name!r}"
        )
    if name in RESERVED or name in METHODS or name in PRESETS or hasattr(nn.ModuleDict, name):
        raise InputError(f"{where}: NAME {name!r} is taken by Overtone; choose another")
    if not isinstance(config, type) or not issubclass(config, MethodConfig):
        got = config.__name__ if isinstance(config, type) else repr(config)
        raise InputError(f"{where}: its Config is no MethodConfig, whose fields are a method's settings; got {got}")
    if not isinstance(getattr(kind, "WEIGHTS", None), Mapping):
        raise InputError(f"{where} lacks WEIGHTS, the default weight of each term: {{'ce': 1.0, 'term': 1.0}}")


def check_count(name: str | type[Method], teachers: Sequence[str], shown: str | None = None) -> None:
    """Refuse fewer or more teachers than a method takes; ``shown`` is its name in the message, a preset's perhaps.

    Raises:
        InputError: with the teachers that were named.
    """
    least, most = find(name).TEACHERS
    shown = shown or said(name)
    if len(teachers) < least:
        what = "teacher" if least == 1 else "teachers"
        got = f"{len(teachers)} ({', '.join(teachers)})" if teachers else "none"
        raise InputError(f"method {shown!r} needs at least {least} {what}, got {got}")
    if most is not None and len(teachers) > most:
        raise InputError(
            f"method {shown!r} takes {most} teacher, got {len(teachers)} ({', '.join(teachers)}); use aver or weighted "
            "for several"
        )


def check_distillable(name: Name, config: MethodConfig, task: Task) -> None:
    """Refuse a method that compares what a task's outputs do not have, or reads classes where there are none.

    Raises:
        InputError: with methods that fit.
    """
    reads = find(name).READS
    if reads in task.DISTILLABLE:
        one_class = task.ONE_CLASS or task.COMPARES_CLASSES
        if not one_class and find(name).needs_classes(config):
            raise InputError(f"method {said(name)!r} reads each sample's class, and task {task.NAME} has none")
        return
    fit = [other for other, kind in METHODS.items() if kind.READS in task.DISTILLABLE]
    raise InputError(
        f"method {said(name)!r} compares {reads}, and task {task.NAME} has none; methods that fit: {', '.join(fit)}"
    )


def check_terms(task: Task, others: Sequence[str] = ()) -> None:
    """Refuse a task whose terms are called as a method, since the recipe's weights could not tell them apart.

    Args:
        task: with its terms.
        others: names of methods beside the built-in ones.

    Raises:
        InputError: names the term.
    """
    taken = {"none", "ensemble", *METHODS, *PRESETS, *others}
    for term in task.terms:
        if term in taken or not re.fullmatch(r"\w[\w-]*", term):
            why = "is a method's name" if term in taken else "is not made of letters, digits, underscores and dashes"
            raise InputError(f"task {task.NAME}: its term {term!r} {why}; call it something else")


def configure(name: str | type[Method], settings: dict[str, Any], known: Sequence[str] = ROW_KEYS) -> MethodConfig:
    """A method's validated settings; ``known`` are further keys of the same place, offered where one is unknown.

    Raises:
        InputError: for an unknown method, an unknown setting or a wrong value.
    """
    config = find(name).Config
    try:
        return config.model_validate(settings)
    except ValidationError as error:
        raise InputError(validation_message(error, config, f"method {said(name)!r}", list(known))) from error


def make(
    name: str | type[Method], config: MethodConfig, student: Spec, teachers: Mapping[str, Spec], data: DataInfo
) -> tuple[Method, Needs]:
    """A method's module, made for the part of the student that it trains, and what it reads.

    Raises:
        InputError: for a number of teachers that the method cannot take, a branch that the student does not have, or
            models that do not fit each other.
    """
    kind = find(name)
    check_count(name, list(teachers))
    branch = None if kind.BRANCH is None else config.branch or (kind.BRANCH if student.branches else None)
    if branch is not None and not student.branches and branch != "fused":
        raise InputError(
            f"method {said(name)!r}: branch {branch!r}: the student has no branches; a two_branch model has"
        )
    branch = None if branch == "fused" else branch
    part = student.branches[branch] if branch else student
    if student.branches and branch is None and kind.READS == "maps":
        raise InputError(
            f"method {said(name)!r} compares maps, and a two-branch student's are in its branches; add branch: signal "
            "or branch: image"
        )
    method = kind(config, part, teachers, data)
    method.branch, method.reads_classes = branch, kind.needs_classes(config)
    return method, kind.needs(config, part, teachers)


def keep(
    configs: Mapping[Name, MethodConfig],
    student: nn.Module,
    spec: Spec,
    teachers: Mapping[str, nn.Module],
    specs: Mapping[str, Spec],
) -> nn.Module:
    """The student with what its methods leave in it after training (see :meth:`Method.kept`); itself where none does.

    Raises:
        InputError: for two methods that both do, a number of teachers that one cannot take, or models that do not fit.
    """
    models = {}
    for name, config in configs.items():
        check_count(name, list(teachers))
        kept = find(name).kept(config, student, spec, teachers, specs)
        models.update({} if kept is None else {find(name).NAME: kept})
    if len(models) > 1:
        raise InputError(f"{' and '.join(models)} both leave parts in the student; take one of them")
    return next(iter(models.values()), student)


def default_weights(
    methods: Mapping[Name, MethodConfig], given: Mapping[str, WeightSettings], task: Task
) -> dict[str, WeightSettings]:
    """The methods' default weights, replaced where ``given`` has the term or the beginning of its name.

    Those of the task's own terms come from the first method, 1 without any. Weights of other tasks' terms are no
    method's.

    Raises:
        InputError: for a term of the task's that is called as one of the methods.
    """
    check_terms(task, [find(name).NAME for name in methods])
    of_tasks = {term for kind in TASKS.values() for term in kind.TERMS}
    defaults: dict[str, float | WeightSettings] = {}
    for name, config in methods.items():
        kind = find(name)
        weights = kind.default_weights(config)
        # A built-in method knows no stranger's task, so a term called as one of that task's is its own.
        others = of_tasks if kind in METHODS.values() else {*of_tasks, *task.terms, *type(task).TERMS}
        for term in task.terms:
            defaults.setdefault(term, weights.get(term, 1.0) if term in others else 1.0)
        defaults.update({f"{kind.NAME}.{term}": w for term, w in weights.items() if term not in others})
    for term in task.terms:
        defaults.setdefault(term, 1.0)
    kept = {t: w for t, w in defaults.items() if not any(t == key or t.startswith(f"{key}.") for key in given)}
    weighed = {t: w if isinstance(w, WeightSettings) else WeightSettings(value=w) for t, w in kept.items()}
    return {**weighed, **given}


__all__ = [
    "METHODS",
    "PRESETS",
    "PUBLISHED_WEIGHTS",
    "Method",
    "MethodConfig",
    "MultiTeacherKD",
    "average_kd",
    "check_count",
    "check_distillable",
    "check_terms",
    "configure",
    "default_weights",
    "find",
    "keep",
    "make",
    "pair_stages",
    "said",
]
