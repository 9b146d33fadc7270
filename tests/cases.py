"""Every method with settings worth checking; the contract suite and others make them on a tiny student."""

from __future__ import annotations

from typing import Any

from overtone.methods import METHODS
from overtone.testing.case import CHANNELS, CLASSES, IMAGE, LENGTH, PROGRESS, TWO_BRANCH, Case, batch_of, part_of
from overtone.testing.case import make as make_case

__all__ = [
    "CHANNELS",
    "CLASSES",
    "IMAGE",
    "LENGTH",
    "NAMES",
    "PROGRESS",
    "SETTINGS",
    "TWO_BRANCH",
    "Case",
    "batch_of",
    "make",
    "part_of",
    "teachers_of",
]

DEEPEST: dict[str, Any] = {"pairs": {"stage3": "stage3"}}
"""Embedding and one stage: forms of frequency attention need no more, nor does what takes long to compile."""
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("kd", {}),
    ("mimic", {}),
    ("aver", {"average": "loss"}),
    ("aver", {"average": "prob"}),
    ("aver", {"average": "logit"}),
    ("weighted", {"teacher_weights": {"signal": 3, "gaf": 1}}),
    ("weighted", {"published": True}),
    ("sp", {}),
    ("sp", {"stages": "all"}),
    ("sp", {"stages": "all", "teachers": "merged", "teacher_weights": {"signal": 1, "gaf": 2}}),
    ("dkd", {}),
    ("dist", {}),
    ("logit_std", {}),
    ("ebkd", {}),
    ("ebkd", {"published": True}),
    ("ca_mkd", {"features": False}),
    ("ca_mkd", {}),
    ("ca_mkd", {"published": True}),
    ("aekd", {}),
    ("hidden", {}),
    ("rkd", {}),
    ("crd", {"negatives": 8}),
    ("crd", {"positives": "relaxed"}),
    ("ft", {}),
    ("ft", {"rate": 2.0}),
    ("simkd", {}),
    ("simkd", {"reduction": 4}),
    ("fitnet", {}),
    ("at", {}),
    ("review", {}),
    ("fam_layer", {}),
    ("fam_layer", {"lift": "gramian", "distance": "hcl", "shape": "gaussian", **DEEPEST}),
    ("fam_layer", {"lift": "repeat", "distance": "spectrum", "transform": "dct", "form": "low_rank:2", **DEEPEST}),
    ("fam_layer", {"transform": "haar", "form": "depthwise", "attention": False, "final_relu": True, **DEEPEST}),
    ("fam_review", {}),
    ("fam_review", {"branches": "global", "published": True}),
    ("freekd", DEEPEST),
    ("pskd", {}),
    ("fused", {}),
    ("fused", {"fusion": "entropy", "average": "prob"}),
    ("cam", {}),
    ("cam", {"classes": "all"}),
    ("cam", {"branch": "signal", "time": "diagonal", "classes": "all", "normalise": True}),
    ("cam", {"branch": "image", "size": 3}),
    ("evidence", {}),
    ("evidence", {"fusion": "mean", "distance": "kl"}),
    ("evidence", {"fusion": "learned"}),
    ("progressive", {}),
    ("kd", {"branch": "fused"}),
    ("hidden", {"branch": "image"}),
    ("at", {"branch": "signal"}),
]
NAMES = [f"{name}-{'-'.join(f'{v}' for v in settings.values() if isinstance(v, str))}" for name, settings in SETTINGS]


def teachers_of(name: str, settings: dict[str, Any]) -> dict[str, str] | None:
    """Teachers and the views they see, where settings ask for one of an image beside that of a signal."""
    return {"signal": "signal", "gaf": "gaf"} if settings.get("time") == "diagonal" else None


def make(name: str, settings: dict[str, Any], student: str | None = None, seed: int = 0) -> Case:
    """Student, teachers and one method, seeded."""
    return make_case(METHODS[name], settings, student, seed, teachers_of(name, settings))
