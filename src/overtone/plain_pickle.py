"""Reading pickles of plain values only: numbers, texts, lists, mappings and arrays of numbers."""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

from overtone.errors import InputError

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),  # protocol 5
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how old protocols write bytes
}
"""What building an array takes; anything else could run code, and is refused."""


def _no_bytes() -> bytes:
    """What Python 3 writes for empty bytes in protocol 2 is a call of ``bytes`` without arguments; none are taken."""
    return b""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("__builtin__", "bytes"):
            return _no_bytes
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data do not need")
        return super().find_class(module, name)


def read_plain(content: bytes, where: str) -> dict[str, Any]:
    """A mapping out of a pickle that holds nothing but plain values; keys come back as text.

    Raises:
        InputError: for a file that is cut short, that asks for anything that could run code, or that is no mapping.
    """
    try:
        mapping = _Plain(BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"{where}: cannot be read as plain data ({error})") from error
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: a mapping was expected, got {type(mapping).__name__}")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in mapping.items()}
