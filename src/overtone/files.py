"""Names of files as users write them; writing so that nobody ever sees half of a file; removing what is ours alone."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from overtone.errors import InputError, close, few
from overtone.streams import CUT_OFF, leave

OPEN_ALREADY = re.compile(r"/dev/(fd/\d+|stdin|stdout|stderr)|/proc/(self|\d+)/fd/\d+")
"""Names of what a process has open."""
ODD = ((stat.S_ISDIR, "a folder"), (stat.S_ISBLK, "a disk"), (stat.S_ISSOCK, "a socket"))
"""What nothing can be written to."""
THROUGH = ((stat.S_ISCHR, "a device"), (stat.S_ISFIFO, "a named pipe"))
"""What is written to as it is, and never replaced by a file."""

VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


def expanded(path: str | Path, where: str) -> Path:
    """A path with ``~`` and variables of the environment (``$DATA``, ``${DATA}``) replaced by what they stand for.

    A name that holds a dollar sign and no variable that is set stays as it is where such a file exists.

    Args:
        path: as the user wrote it.
        where: what named it, for messages.

    Raises:
        InputError: for a variable that is not set, or a user who is not known.
    """
    written = str(path)
    unset = [name for name in map("".join, VARIABLE.findall(written)) if name not in os.environ]
    if unset and not os.path.lexists(written):
        raise InputError(
            f"{where}: {written}: the environment has no variable {unset[0]}; set it, or write the path without it"
        )
    filled = VARIABLE.sub(lambda match: os.environ.get(match[1] or match[2], match[0]), written)
    try:
        return Path(filled).expanduser()
    except RuntimeError as error:
        raise InputError(f"{where}: {written}: there is no such user; write the path without ~") from error


def no_file(path: Path, suffix: str = "") -> str:
    """Why no file can be read at a place, and what to do; what follows its name in a message.

    ``does not exist (looked from /home/me); did you mean 'a.csv'?``, ``is a folder; name a file in it (a.csv)``

    Args:
        path: the place.
        suffix: how names end of what is wanted.
    """
    if path.is_dir():
        inside = sorted(other.name for other in path.iterdir() if other.is_file() and other.name.endswith(suffix))
        return "is a folder; name a file in it" + (f" ({few(inside)})" if inside else "")
    return _absent(path, Path.is_file)


def no_folder(path: Path) -> str:
    """The same where a folder is needed."""
    return f"is a file; give a folder, such as {path.parent}" if path.is_file() else _absent(path, Path.is_dir)


def _absent(path: Path, kind: Callable[[Path], bool]) -> str:
    looked = f"looked from {Path.cwd()}"
    if path.exists():
        return "is a pipe or a device; write what comes from it to a file first"
    if path.parent.is_file():
        return f"does not exist: {path.parent} is a file"
    if not path.parent.is_dir():
        return f"does not exist: there is no folder {path.parent} ({looked})"
    near = close(path.name, (other.name for other in path.parent.iterdir() if kind(other)))
    return f"does not exist ({looked})" + (f"; did you mean {near!r}?" if near else "")


@contextlib.contextmanager
def replacing(path: Path, option: str = "--out") -> Iterator[BinaryIO]:
    """A file under a temporary name beside ``path``, renamed into place at the end; removed if that is not reached.

    A link at ``path`` is replaced by the file, and what it points to is left alone.

    Args:
        path: the place.
        option: that it was given by, for messages.

    Raises:
        InputError: where the place cannot be written (full or read-only disk, no permission, a folder or a device).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        if path.exists() and not path.is_symlink():
            _refuse(path, path.stat().st_mode, (*ODD, *THROUGH), option)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # never through a link that somebody put there
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritten(path, error, option) from error
        raise


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file whole, as :func:`replacing` does.

    Raises:
        InputError: where the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as file:
        file.write(data)


@dataclass(frozen=True)
class Out:
    """Where a command's one output goes, as its user named it.

    Attributes:
        path: the name.
        target: the file that is made or replaced, links followed; None for what is written through as it comes.
        standard: it is standard output, so that messages go elsewhere.
        option: that the name was given by, for messages.
    """

    path: Path
    target: Path | None
    standard: bool = False
    option: str = "--out"

    @classmethod
    def named(cls, path: Path, force: bool, inputs: Iterable[Path] = (), option: str = "--out") -> Out:
        """Look at what a name leads to; nothing is opened yet.

        ``-`` is standard output. Standard output by another name, other open files (``/dev/fd/3``), devices and named
        pipes are written through. A link to a file stays, and the file is replaced.

        Args:
            path: the name.
            force: replace a file that exists.
            inputs: files and folders that the command reads, which no force replaces.
            option: that the name was given by, for messages.

        Raises:
            InputError: for a file that exists, unless forced; for one of the inputs, or a file in one; for a folder, a
                disk, a socket, or a link that leads nowhere.
        """
        if str(path) == "-":
            if sys.__stdout__ is None:
                raise InputError(f"standard output is closed; choose another {option}")
            return cls(path, None, True, option)
        try:
            info = path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                raise InputError(f"{option} {path} is a link to what does not exist; name the file itself") from None
            return cls(path, path, False, option)
        except OSError as error:
            raise _unwritten(path, error, option) from error
        if _is_stdout(info):
            return cls(path, None, True, option)
        _refuse(path, info.st_mode, ODD, option)
        if not stat.S_ISREG(info.st_mode) or OPEN_ALREADY.fullmatch(str(path)):
            return cls(path, None, False, option)
        _spare(path, inputs, option)
        if not force:
            raise InputError(f"{path} exists; choose another {option}, or --force to replace it")
        return cls(path, path.resolve(), False, option)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """For writing; a file is there when all is written, and not before.

        The program ends where who reads standard output has enough, as ``head`` does.

        Raises:
            InputError: where it cannot be written.
        """
        if self.target is not None:
            with replacing(self.target, self.option) as file:
                yield file
            return
        try:
            if self.standard:
                yield sys.stdout.buffer
                sys.stdout.buffer.flush()
            else:  # at the end of an open file, as what else writes to it expects
                with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND), "wb") as file:
                    yield file
        except OSError as error:
            if self.standard and isinstance(error, BrokenPipeError):
                leave(CUT_OFF)
            raise _unwritten(self.path, error, self.option) from error


def _spare(path: Path, inputs: Iterable[Path], option: str) -> None:
    """Refuse to replace one of the inputs, or a file in a folder of them."""
    for source in inputs:
        if source.exists() and path.samefile(source):
            raise InputError(
                f"{option} {path} is what is read ({source}), which is never replaced; choose another {option}"
            )
        if source.is_dir() and source.resolve() in path.resolve().parents:
            raise InputError(
                f"{option} {path} is a file in what is read ({source}), none of which is replaced; "
                f"choose another {option}"
            )


def _is_stdout(info: os.stat_result) -> bool:
    try:
        return os.path.samestat(info, os.fstat(1))
    except OSError:  # it is closed
        return False


def _refuse(path: Path, mode: int, kinds: tuple[tuple[Any, str], ...], option: str = "--out") -> None:
    for fits, what in kinds:
        if fits(mode):
            raise InputError(f"cannot write {path}: it is {what}; choose another {option}")


def _unwritten(path: Path, error: OSError, option: str) -> InputError:
    name = "standard output" if str(path) == "-" else str(path)
    hint = "Choose a shorter name" if error.errno == errno.ENAMETOOLONG else f"Choose another place with {option}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"Free space or choose another place with {option}; what is finished is kept"
    return InputError(f"cannot write {name}: {error.strerror or error}. {hint}")


def remove(path: Path, within: Path) -> None:
    """Remove a file of ours, if it is there. A link is removed, and what it leads to never is.

    Args:
        path: what to remove; left alone where a folder on the way is a link.
        within: the folder above it that is ours; it may be a link itself.
    """
    above = [within / part for part in path.relative_to(within).parents if part != Path()]
    if not any(place.is_symlink() for place in above):
        path.unlink(missing_ok=True)


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: for a missing or damaged file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read, it is damaged or no JSON ({error})") from error
