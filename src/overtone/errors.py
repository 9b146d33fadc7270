"""The two errors a user sees as one message without a traceback, and "did you mean" for names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OvertoneError(Exception):
    """Base of every error that Overtone raises on purpose; the message says what was received and what to do."""


class InputError(OvertoneError):
    """What the user gave cannot be used: a recipe, a file, data (exit code 2)."""


class NotFiniteError(OvertoneError):
    """A loss, an activation or a gradient became NaN or infinite (the cell fails, the study goes on)."""


def close(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like one that is not known, if any does."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that lists the names there are, the closest first: ``did you mean 'kd'? known: aver, kd``."""
    known = [str(k) for k in known]
    found = close(name, known)
    hint = f"did you mean {found!r}? " if found is not None else ""
    return f"{hint}known: {', '.join(known) if known else 'none'}"
