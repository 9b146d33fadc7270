"""What surrounds every command: consoles, one message instead of a traceback, Ctrl-C, one run at a time in a folder."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from overtone.errors import InputError, OvertoneError, own_place, told
from overtone.streams import CUT_OFF, interrupted, leave, make_printable

DONE, SOME_FAILED, BAD_INPUT = 0, 1, 2


class _Console(Console):
    def on_broken_pipe(self) -> None:
        leave(CUT_OFF)  # `| head`: nobody reads any more


make_printable()
# Without a terminal there is no width to keep to, and a wide table is easier to read in a log.
# A name such as ":100:" is no emoji.
console = _Console(width=None if sys.stdout.isatty() else 140, emoji=False)
errors = _Console(stderr=True, emoji=False)


@contextlib.contextmanager
def one_message(debug: bool, torch_first: bool = True) -> Iterator[None]:
    """One message instead of a traceback, and the right exit code: 2 for what the user can mend, 1 for our mistakes.

    Torch, which takes seconds to import, comes first, while Ctrl-C ends the program at once; from then on it is an
    exception as ever. In the middle of an import that may come out as another one, or end the program by the signal. A
    command that has something to say before it needs torch calls :func:`import_torch` itself.
    """
    try:
        if torch_first:
            import torch  # noqa: F401
        if signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        interrupted()
    except (Exception, SystemExit) as error:
        if while_interrupted(error):
            interrupted()
        if isinstance(error, BrokenPipeError) and _is_cut_off():
            leave(CUT_OFF)
        if debug:
            traceback.print_exc()
        kind, message, code = said(error)
        errors.print(f"[bold red]{kind}:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
        raise typer.Exit(code) from None


def said(error: BaseException) -> tuple[str, str, int]:
    """What an error is called, its message and its exit code."""
    if isinstance(error, OvertoneError):
        return "error", str(error), BAD_INPUT
    if own_place(error):
        return "error", f"{told(error)}. This is in code of yours; --debug shows the traceback", BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        file = f"{str(error.filename)[:200]}: " if error.filename is not None else ""
        return "error", f"{file}{error.strerror}", BAD_INPUT
    if isinstance(error, MemoryError):
        return "error", f"this machine has too little memory for that ({told(error)})", BAD_INPUT
    return "internal error", f"{told(error)}. Please report it with what --debug shows", SOME_FAILED


def import_torch() -> None:
    """Import torch where something has to be put away on Ctrl-C, which is heard once the import is over."""
    if "torch" in sys.modules:
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def while_interrupted(error: BaseException) -> bool:
    """Whether an error is what some module made of Ctrl-C."""
    at: BaseException | None = error
    for _ in range(20):
        if at is None or isinstance(at, KeyboardInterrupt):
            break
        at = at.__cause__ or at.__context__
    return isinstance(at, KeyboardInterrupt)


def _is_cut_off() -> bool:
    """Whether it is our own output that nobody reads, and no other pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps other packages' warnings, which a user can do nothing about, off the display."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch|accelerate)(\..*)?")
        logging.getLogger("torch").setLevel(logging.ERROR)
        yield


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the study's folder against a second run; released by the system even if this process is killed."""
    from filelock import FileLock, Timeout

    if int(os.environ.get("RANK", "0")) > 0:  # the main process holds it for all
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another run is working in {folder}; wait for it or choose another --out") from None
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    try:
        yield
    finally:
        lock.release()
