"""What the names of a folder's tables tell: whose each is, and what is done in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from overtone.look.words import speaks

PART = re.compile(r"[^/_\-. ]+")
GLUED = re.compile(r"([^\W\d_]+)(\d+)")
PERSON = frozenset(
    re.findall(r"\w+", "s p u subject subj sub person user participant id pid proband patient 대상자 피험자 참가자")
)


@dataclass(frozen=True)
class Names:
    """What files' names tell.

    Attributes:
        pattern: for ``data.pattern``.
        group, label: why a part of the name is taken so; no label where no part is.
        groups, labels: that come out.
        people: groups are people, as far as names tell; otherwise each is one file.
    """

    pattern: str
    group: str
    label: str
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    people: bool = False


@dataclass(frozen=True)
class _Part:
    """A part of all names, in one place: its texts, and whether letters before digits are taken alone."""

    place: int
    texts: tuple[str, ...]
    letters: bool = False

    @property
    def distinct(self) -> int:
        return len(set(self.texts))


def read_names(files: Sequence[str], label_known: bool) -> Names:
    """A pattern for the names of some tables, and what it finds.

    Args:
        files: paths below the folder, ``/`` between folders.
        label_known: whether a column of the tables holds the label, so that names need not.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in files]
    parts = _parts(stems)
    label = None if label_known else _label(parts, len(files))
    rest = [part for part in parts if label is None or part.place != label.place]
    group = _group(rest, len(files))
    if group is None:
        groups = tuple(sorted(set(files)))
        if label is None:
            return Names(r"(?P<group>.+)", "each file by itself, since no part of its name repeats", "", groups, ())
    places = {part.place: role for part, role in ((group, "group"), (label, "label")) if part is not None}
    pattern = _pattern(stems[0], places, label)
    if group is None:  # each file by itself, which the whole name tells
        pattern = rf"(?P<group>{pattern}.*)"
        why = "each file by itself, since no part of its name tells people"
    else:
        why = f"part {group.place + 1} of the file's name: {_some(group.texts)}"
        groups = tuple(sorted(set(group.texts)))
    told = "" if label is None else f"part {label.place + 1} of the file's name: {_some(label.texts)}"
    people = len(groups) < len(files) or (group is not None and _says_person(group))
    return Names(pattern, why, told, groups, () if label is None else tuple(sorted(set(label.texts))), people)


def _some(texts: Sequence[str]) -> str:
    names = sorted(set(texts))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _parts(stems: Sequence[str]) -> list[_Part]:
    """Parts that all names have in the same place, between the same signs."""
    split = [PART.findall(stem) for stem in stems]
    signs = [PART.split(stem) for stem in stems]
    count = min(map(len, split))
    while count and len({tuple(own[:count]) for own in signs}) > 1:
        count -= 1
    return [_Part(place, tuple(own[place] for own in split)) for place in range(count)]


def _label(parts: Sequence[_Part], files: int) -> _Part | None:
    """Words without digits (or before them) that occur in several files."""
    found = []
    for part in parts:
        if part.place == 0 and {speaks(text, "group") for text in part.texts} == {2}:
            continue
        if not any(re.search(r"\d", text) for text in part.texts):
            candidate = part
        elif all(GLUED.fullmatch(text) for text in part.texts):
            candidate = _Part(part.place, tuple(GLUED.sub(r"\1", text) for text in part.texts), letters=True)
        else:
            continue
        if 2 <= candidate.distinct <= max(2, files // 2):
            # Activities are said by longer words than people's initials, in fewer kinds than there are people.
            length = sum(map(len, set(candidate.texts))) / candidate.distinct
            found.append((not candidate.letters, length >= 3, -candidate.distinct, part.place, candidate))
    return max(found, key=lambda item: item[:4])[-1] if found else None


def _group(parts: Sequence[_Part], files: int) -> _Part | None:
    """People's numbers or names: a part that differs and repeats, or that says person."""
    found = []
    for part in parts:
        glued = [GLUED.fullmatch(text) for text in part.texts]
        person = _says_person(part)
        if part.distinct >= 2 and (part.distinct < files or person or len(parts) == 1):
            found.append((person, any(glued), part.distinct < files, -part.place, part))
    return max(found, key=lambda item: item[:4])[-1] if found else None


def _says_person(part: _Part) -> bool:
    glued = [GLUED.fullmatch(text) for text in part.texts]
    return all(match is not None and match[1].lower() in PERSON for match in glued)


def _pattern(stem: str, places: dict[int, str], label: _Part | None) -> str:
    """A regular expression by one of the names, up to the last part that tells something."""
    matches = list(PART.finditer(stem))[: max(places) + 1]
    text, end = "", 0
    for place, match in enumerate(matches):
        text += re.escape(stem[end : match.start()])
        glued = label is not None and place == label.place and label.letters
        inside = r"[^\W\d_]+" if glued else r"[^/_\-. ]+"
        text += f"(?P<{places[place]}>{inside})" if place in places else inside
        text += r"\d*" if glued else ""
        end = match.end()
    return text


def file_pattern(files: Sequence[str]) -> str:
    """What ``data.files`` says for these files."""
    suffix = Counter(PurePosixPath(name).suffix for name in files).most_common(1)[0][0]
    return f"**/*{suffix}" if any("/" in name for name in files) else f"*{suffix}"
