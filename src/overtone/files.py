"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overtone.errors import InputError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Raises:
        InputError: where the place cannot be written (full or read-only disk, no permission).
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another folder with --out; what "
            "is finished is kept"
        ) from error


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays; equal arrays give equal bytes."""
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **arrays)
    write_atomic(path, held.getvalue())


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
