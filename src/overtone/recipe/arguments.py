"""What a model's ``arguments:`` may not be, whoever wrote them: whatever loads a file, fetches, or names weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

REFUSED = re.compile(
    r"pretrained(?!_window_sizes?$).*|weights.*|checkpoint|checkpoint_(path|file|url|dir)|ckpt.*|cache_dir|model_dir"
    r"|state_dict|hf_hub.*|hub_id|(.*_)?ur[il]",
    re.IGNORECASE,
)
"""Names of arguments by which torchvision, timm and others load or fetch weights. ``pretrained_window_size`` of Swin
transformers is a size."""
PLACE = re.compile(r"[a-z][a-z0-9+.-]+://|(hf[-_]hub|local-dir):", re.IGNORECASE)
"""How a text begins that names something to fetch."""


def check_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments.

    Raises:
        ValueError: for one that loads a file, fetches or names weights, at any depth. What it loads would be part of no
            cell's key, and in somebody else's student file it could be anything.
    """
    for name, value in _items(arguments):
        if isinstance(name, str) and REFUSED.fullmatch(name):
            raise ValueError(
                f"{name} would load or fetch weights, which arguments may not; give weights to a teacher by "
                f"pretrained: FILE; got {str(value)[:60]!r}"
            )
        if isinstance(value, str) and PLACE.match(value.strip()):
            raise ValueError(f"arguments may not name something to fetch; got {value[:60]!r}")
    return arguments


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every name and value in a mapping, at any depth; values of lists without a name."""
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for name, item in pairs:
        yield name, item
        if isinstance(item, (dict, list, tuple)):
            yield from _items(item)
