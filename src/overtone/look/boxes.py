"""Pictures with boxes before any recipe: which format, which sides, how many boxes of each class, and how large."""

from __future__ import annotations

import numpy as np

from overtone.data.boxes.sources import Boxes, formats_in
from overtone.errors import InputError
from overtone.look.draft import Draft, Setting
from overtone.look.kinds import Kind
from overtone.tasks.boxes import AREA, CLASS, counts

NAMES = {"coco": "COCO JSON", "voc": "Pascal VOC XML", "yolo": "YOLO text"}
MOST_CLASSES = 20
"""Classes that are shown."""


def draft_boxes(kind: Kind) -> Draft:
    """A folder of pictures with boxes, or COCO's JSON file."""
    draft = Draft(kind.path, kind, [("what", f"pictures with boxes ({NAMES[next(iter(formats_in(kind.path)))]})")])
    draft.settings = {"name": Setting(Boxes.NAME), "path": Setting(str(kind.path))}
    try:
        windows = Boxes(path=kind.path).load()
    except InputError as error:
        draft.problems.append(str(error))
        return draft
    there = windows.y[:, 1:][windows.y[:, 1:, CLASS] >= 0]
    sizes, sides = windows.y[:, 0, 2:4], np.sqrt(there[:, AREA])
    found = counts(windows.y, len(windows.classes))
    if windows.official_test is not None:
        draft.facts.append(("tested", f"{int(windows.official_test.sum()):,} of {len(windows):,} pictures"))
    if len(windows.groups) > 1:
        own = np.bincount(windows.group)
        draft.facts.append(("sides", ", ".join(f"{name} {n:,}" for name, n in zip(windows.groups, own, strict=True))))
    draft.facts += [
        ("pictures", f"{len(windows):,}, {_span(sizes[:, 1])} wide and {_span(sizes[:, 0])} high, in pixels"),
        (
            "boxes",
            f"{len(there):,}, up to {int(found.sum(1).max())} in a picture; {int((found.sum(1) == 0).sum()):,} without",
        ),
        (
            "box sizes",
            f"{', '.join(f'{side:.0f}' for side in np.quantile(sides, (0.1, 0.5, 0.9)))} pixels (10, 50, 90 %)",
        ),
    ]
    totals = sorted(zip(found.sum(0).tolist(), windows.classes, strict=True), reverse=True)
    draft.facts += [(name, f"{total:,} boxes") for total, name in totals[:MOST_CLASSES]]
    if len(totals) > MOST_CLASSES:
        draft.facts.append(("", f"and {len(totals) - MOST_CLASSES} more classes"))
    draft.notes += windows.notes[1:]
    draft.problems.append(
        f"recipes for detection are not drafted; a recipe's data is {{name: {Boxes.NAME}, path: {kind.path}}}, and "
        "size, the pixels of a picture's shorter side (docs/images.md)"
    )
    return draft


def _span(values: np.typing.NDArray[np.float32]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
