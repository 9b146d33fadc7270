"""The two errors a user sees as one message without a traceback, and "did you mean" for names."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path


class OvertoneError(Exception):
    """Base of every error that Overtone raises on purpose; the message says what was received and what to do."""


class InputError(OvertoneError):
    """What the user gave cannot be used: a recipe, a file, data (exit code 2)."""


class NotFiniteError(OvertoneError):
    """A loss, an activation or a gradient became NaN or infinite (the cell fails, the study goes on)."""


class FitError(OvertoneError):
    """What is fitted without a gradient raised, or said what cannot be (the cell fails, the study goes on)."""


def close(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like one that is not known, if any does."""
    lowered = {k.lower(): k for k in known}
    closest = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[closest[0]] if closest else None


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that lists the names there are, the closest first: ``did you mean 'kd'? known: aver, kd``."""
    known = [str(k) for k in known]
    closest = close(name, known)
    hint = f"did you mean {closest!r}? " if closest is not None else ""
    return f"{hint}known: {', '.join(known) if known else 'none'}"


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are: ``a, b, c and 3 more``."""
    rest = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + rest


FEW = 3
LONGEST = 500
"""Characters of somebody else's message that are shown."""


def told(error: BaseException) -> str:
    """An error that is none of ours as one line: its kind, its message, and its place where that is in a user's file.

    ``KeyError: 'x' (my_views.py, line 12)``
    """
    try:
        message = " ".join(str(error).split())
    except Exception:  # a class of the user's own may fail at that too
        message = "its message cannot be shown"
    message = message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."
    place = own_place(error)
    return f"{type(error).__name__}: {message}".removesuffix(": ") + (f" ({place})" if place else "")


def own_place(error: BaseException) -> str:
    """Where in a user's own code an error arose, ``my_views.py, line 12``; nothing where no such code took part."""
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed.add(Path(__file__).resolve().parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<"):  # the import machinery, a prompt
            continue
        path = Path(frame.filename).resolve()
        if not installed.intersection(path.parents):
            return f"{path.name}, line {frame.lineno}"
    return ""
