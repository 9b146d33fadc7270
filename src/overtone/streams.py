"""Standard output and errors as they are found: closed, cut off, or in an encoding without arrows."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

INTERRUPTED, CUT_OFF = 130, 141
"""Exit codes: 128 plus the signal that another program would have died of."""

PLAIN = {
    "←": "<-",
    "→": "->",
    "↔": "<->",
    "±": "+-",
    "×": "x",
    "·": "-",
    "•": "*",
    "…": "...",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "²": "^2",
    "µ": "u",
    "≤": "<=",
    "≥": ">=",
    "−": "-",
    "\xa0": " ",
    **dict.fromkeys("─━═╌╍╴╶╸╺╼╾", "-"),
    **dict.fromkeys("│┃║╎╏╵╷╹╻╽╿", "|"),
}
"""What stands for a sign that cannot be printed; corners of boxes are +, others their number, ``\\ud55c``."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or ("+" if "─" <= sign <= "╿" else _numbered(sign)) for sign in signs), error.end


def _numbered(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("overtone", _plain)


def make_printable() -> None:
    """Let nothing that is printed fail for its signs, nor for a stream that was closed before the start (``>&-``)."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (it lasts as long as we do)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="overtone")


def leave(code: int) -> NoReturn:
    """End at once. Interrupted in an import, or with a reader that has gone, Python may else end in another way."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def end_on_interrupt() -> None:
    """Answer Ctrl-C with :func:`interrupted`, unless it is ignored (a job in the background) or answered otherwise."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


def interrupted(*_: object) -> NoReturn:
    """Say so in one line and leave with 130: for Ctrl-C while modules are imported, where any code may be running."""
    with contextlib.suppress(OSError, ValueError):
        print("\nInterrupted.", file=sys.stderr)
    leave(INTERRUPTED)
