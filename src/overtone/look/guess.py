"""Which column is what: guessed from names and from what the columns hold. Every guess has its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from overtone.look.columns import FEW, Column
from overtone.look.words import speaks

MOST_CLASSES, MOST_UNNAMED = FEW, 20
"""Different values of a column that is taken for a label: where its name says so, and where it does not."""
LONG, VERY_LONG = 5.0, 20.0
"""Rows for which a label, and a code that is no signal, stay the same on average."""
MOSTLY = 0.9
HARDLY = 0.98
"""The share of missing values beyond which a column is none; one of 9 Hz beside others of 100 Hz is."""


@dataclass(frozen=True)
class Guess:
    """One thing that was guessed: what it is, which column, and why."""

    role: str
    column: str
    why: str


@dataclass
class Roles:
    """Which column is what.

    Attributes:
        time, label, group, recording: columns, None where there is none.
        numbers: the label is a real number.
        channels: signals.
        odd_clock: a column that looks like time in a form that is not read.
        neither: columns that are none of these, with the reason.
        guesses: all of it, with reasons.
    """

    time: Column | None = None
    label: Column | None = None
    group: Column | None = None
    recording: Column | None = None
    numbers: bool = False
    odd_clock: Column | None = None
    channels: list[Column] = field(default_factory=list)
    neither: dict[str, str] = field(default_factory=dict)
    guesses: list[Guess] = field(default_factory=list)

    def of(self, name: str) -> str:
        """What a column was taken as."""
        for role in ("time", "label", "group", "recording"):
            column: Column | None = getattr(self, role)
            if column is not None and column.name == name:
                return role
        return "channel" if any(channel.name == name for channel in self.channels) else "-"

    def why(self, role: str) -> str:
        """The reason for one."""
        return next((guess.why for guess in self.guesses if guess.role == role), "")

    def drop(self, role: str) -> None:
        """Takes a role back."""
        setattr(self, role, None)
        self.guesses = [guess for guess in self.guesses if guess.role != role]

    def take(self, role: str, column: Column | None, why: str) -> None:
        """Sets a role."""
        if column is not None:
            setattr(self, role, column)
            self.guesses.append(Guess(role, column.name, why))


def guess_roles(columns: Sequence[Column], named_outside: frozenset[str] = frozenset()) -> Roles:
    """What each column is.

    Args:
        columns: of one table.
        named_outside: roles that files' names tell, so that no unnamed column is taken for them.
    """
    roles = Roles()
    left = []
    for column in columns:
        if not len(column.known) or (column.missing + column.wrong) > HARDLY * len(column.values):
            roles.neither[column.name] = "empty" if not len(column.known) else "hardly ever filled"
        elif column.distinct == 1 and not _named(column):
            roles.neither[column.name] = f"constant ({column.labels[0]})" if not column.dates else "constant"
        else:
            left.append(column)
    roles.take("time", *_time(left, roles))
    for column in left:
        if column.clock_steps is not None:
            roles.odd_clock = column
            roles.neither[column.name] = "looks like time, but not in ISO 8601, so it is not used"
    left = _without(left, roles)
    _codes(left, roles, named_outside)
    _channels(_without(left, roles), roles)
    return roles


def _named(column: Column) -> bool:
    """A single person's number, or a single class, is worth telling."""
    return any(speaks(column.name, role) == 2 for role in ("label", "group", "recording"))


def _without(columns: Sequence[Column], roles: Roles) -> list[Column]:
    taken = (roles.time, roles.label, roles.group, roles.recording)
    return [c for c in columns if c.name not in roles.neither and not any(c is other for other in taken)]


def _time(columns: Sequence[Column], roles: Roles) -> tuple[Column | None, str]:
    """The column of time stamps; row numbers are none."""
    found: list[tuple[float, int, Column, str]] = []
    for place, column in enumerate(columns):
        if column.text or column.distinct < 2:
            continue
        named = speaks(column.name, "time")
        steps = np.diff(column.known)
        counts = column.whole and not column.dates and len(steps) > 0 and float((steps == 1).mean()) >= MOSTLY
        if counts and not named and column.rising >= MOSTLY:
            roles.neither[column.name] = "a row number"
        elif column.dates:
            found.append((10 * named + 5, -place, column, f"it holds dates, {100 * column.rising:.0f} % of them rise"))
        elif column.rising >= (0.2 if named else 0.95):
            why = f"{100 * column.rising:.0f} % of its numbers rise" + (" and its name says time" if named else "")
            found.append((10 * named + column.rising, -place, column, why))
    if not found:
        return None, ""
    best = max(found, key=lambda item: item[:2])
    for _, _, column, _ in found:
        if column is not best[2]:
            roles.neither[column.name] = "another column that rises like time"
    return best[2], best[3]


def _codes(columns: Sequence[Column], roles: Roles, outside: frozenset[str]) -> None:
    """Label, group and recording, those that their names tell first."""
    for role in ("label", "group", "recording"):
        free = _without(columns, roles)
        best = max((c for c in free if _may_be(c, role)), key=lambda c: _score(c, role), default=None)
        if best is not None and role not in outside:
            roles.take(role, best, _reason(best))
    if roles.label is not None and not roles.label.text and _real(roles.label):
        roles.numbers = True
    if roles.label is None and "label" not in outside:
        free = [c for c in _without(columns, roles) if c.codes and 2 <= c.distinct <= MOST_UNNAMED]
        free = [c for c in free if c.stretch >= LONG and not speaks(c.name, "index")]
        # Of two columns of codes the one that changes more rarely tells people or recordings from each other.
        best = max(free, key=lambda c: (c.recurs, c.text, -c.stretch), default=None)
        roles.take("label", best, _reason(best) if best is not None else "")
    if roles.group is None and "group" not in outside:
        longest = VERY_LONG if roles.label is None else max(LONG, 0.999 * roles.label.stretch)
        free = [c for c in _without(columns, roles) if c.codes and c.distinct >= 2 and c.stretch >= longest]
        best = max(free, key=lambda c: c.stretch, default=None)
        roles.take("group", best, _reason(best) if best is not None else "")
    for column in _without(columns, roles):
        if column.text:
            roles.neither[column.name] = "text"


def _may_be(column: Column, role: str) -> bool:
    sure = speaks(column.name, role)
    if column.dates or not sure or (role == "group" and speaks(column.name, "recording") == 2):
        return False
    if role == "label":
        return sure == 2 or (column.codes and column.distinct <= MOST_UNNAMED)
    if column.text or column.whole:
        return sure == 2 or (column.codes and column.stretch >= LONG)
    return False


def _score(column: Column, role: str) -> tuple[float, ...]:
    few = column.codes and column.distinct <= MOST_CLASSES
    return (speaks(column.name, role), few, column.distinct > 1, column.text, column.stretch)


def _real(column: Column) -> bool:
    return (not column.whole and column.distinct > 2) or column.distinct > MOST_CLASSES


def _reason(column: Column) -> str:
    many = f"{column.distinct} different " + ("names" if column.text else "numbers")
    many = many if column.distinct > 1 else f"always {column.labels[0]}"
    named = any(speaks(column.name, role) for role in ("label", "group", "recording"))
    stays = f", the same for {column.stretch:,.0f} rows on average" if column.stretch >= 2 else ""
    return ("its name, " if named else "") + many + stays


def _channels(columns: Sequence[Column], roles: Roles) -> None:
    """Numbers that are nothing else."""
    signals, rest = [], []
    for column in columns:
        if column.dates or column.text:
            roles.neither[column.name] = "text" if column.text else "dates"
        elif any(speaks(column.name, role) == 2 for role in ("label", "group", "recording", "index")) and column.whole:
            rest.append((column, "by its name no signal"))
        elif column.whole and column.distinct <= MOST_UNNAMED and column.stretch >= VERY_LONG:
            rest.append((column, "a code that rarely changes"))
        else:
            signals.append(column)
    roles.channels = signals or [column for column, _ in rest]
    if signals:
        roles.neither.update({column.name: why for column, why in rest})
    if roles.channels:
        real = sum(not column.whole for column in roles.channels)
        kind = "real numbers" if real == len(roles.channels) else "numbers that nothing else explains"
        roles.guesses.append(Guess("channels", ", ".join(c.name for c in roles.channels), kind))
