"""Progress of a cell on disk: one file that is replaced whole, never written in place."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from overtone.errors import InputError
from overtone.files import write_atomic

FILE = "progress.pt"
MAGIC = b"overtone1"
"""A file begins with it and with the hash of all that follows; one from before there were hashes with torch's own."""


def random_states() -> dict[str, Any]:
    """Every generator's state as plain values and tensors, readable with ``weights_only=True``."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put every generator back."""
    version, inner, gauss = states["python"]
    random.setstate((version, tuple(inner), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def save(path: Path, value: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    content = buffer.getvalue()
    write_atomic(path, MAGIC + hashlib.sha256(content).digest() + content)


def load(path: Path, key: str) -> dict[str, Any] | None:
    """Read a cell's checkpoint; None where there is none.

    Raises:
        InputError: for a damaged file, or one that belongs to another cell (another recipe).
    """
    if not path.exists():
        return None
    try:
        value = torch.load(io.BytesIO(_checked(path.read_bytes())), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything for a damaged file
        raise InputError(f"checkpoint {path} is damaged ({error}); delete it to train this cell anew") from error
    if not isinstance(value, dict) or value.get("key") != key:
        cell = value.get("key") if isinstance(value, dict) else None
        raise InputError(
            f"checkpoint {path} belongs to another recipe (cell {str(cell)[:12]}, expected {key[:12]}); delete it or "
            "choose another --out"
        )
    return value


def _checked(content: bytes) -> bytes:
    """What torch wrote into a checkpoint, if it still is that.

    Raises:
        ValueError: if it is not.
    """
    if content.startswith(b"PK"):
        return content
    start = len(MAGIC) + hashlib.sha256().digest_size
    if not content.startswith(MAGIC) or hashlib.sha256(content[start:]).digest() != content[len(MAGIC) : start]:
        raise ValueError("it is not what was written")
    return content[start:]
