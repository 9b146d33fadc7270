"""A table, or a folder of tables, before any recipe: its form, its columns and what they are taken as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overtone.disk import in_units
from overtone.formats.cells import Decimal, doubtful, grouping
from overtone.formats.table import Read, Table, TextFormat, TextTable, open_table
from overtone.look.columns import Column, Scan, scan
from overtone.look.draft import Draft, Setting, Watch
from overtone.look.folders import Names, file_pattern, read_names
from overtone.look.guess import VERY_LONG, Guess, Roles, guess_roles
from overtone.look.kinds import Kind
from overtone.look.sample import Sample, sample_file, sample_folder, sample_parquet
from overtone.look.timing import Timing, look_at_time, nice
from overtone.look.words import speaks

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
SCANNED_FILES = 8
"""Of a folder, whose columns are looked at."""


def draft_table(kind: Kind, into: Path, watch: Watch) -> Draft:
    """One table.

    Raises:
        InputError: for one that cannot be read as a table.
    """
    draft = Draft(kind.path, kind)
    where = str(kind.path)
    parquet = kind.path.suffix.lower() in (".parquet", ".pq")
    sample = Sample(kind.path) if parquet else sample_file(kind.path, into)
    table = open_table(sample.path, where, TextFormat())
    if parquet:
        sample = sample_parquet(kind.path, into)
        table = open_table(sample.path, where, TextFormat())
    size = sample.path.stat().st_size
    scanned, decimal = _scanned(table, lambda done: watch("reading", done, size))
    draft.sample, draft.scan = sample, scanned
    draft.facts.append(("what", "Parquet table" if parquet else "text table"))
    _form(draft, table, kind.path.stat().st_size, round(scanned.rows / sample.share))
    roles = draft.roles = guess_roles(scanned.columns)
    parts = sample.parts(scanned.lines)
    _clock_tells_recording(roles, scanned)
    alone = roles.group is None and roles.recording is None
    if alone:  # the only recording; a folder's source takes its group from the file's name
        names = {"name": "folder", "path": str(kind.path.parent), "files": _escaped(kind.path.name)}
        draft.settings = {name: Setting(value) for name, value in names.items()}
        draft.settings["pattern"] = Setting("(?P<group>.+)", "no column tells people apart, so the file is one group")
    else:
        draft.settings = {"name": Setting("csv"), "path": Setting(str(kind.path))}
    _format_settings(draft, table, scanned.columns, decimal)
    _role_settings(draft, alone)
    _time_settings(draft, _recordings(roles, scanned.rows), parts)
    _missing_settings(draft, roles)
    _empty_settings(draft, roles)
    return draft


def draft_tables(kind: Kind, into: Path, watch: Watch) -> Draft:
    """A folder of tables, by the columns of some and the names of all.

    Raises:
        InputError: for tables that cannot be read.
    """
    draft = Draft(kind.path, kind)
    sample, chosen = sample_folder(kind.path, kind.files, into)
    count = min(SCANNED_FILES, len(chosen))
    looked = [chosen[number * len(chosen) // count] for number in range(count)]
    scans, tables, decimals = [], [], []
    for number, name in enumerate(looked):
        watch("reading tables", number, len(looked))
        table = open_table(sample.path / name, str(kind.path / name), TextFormat())
        scanned, decimal = _scanned(table, lambda done: None)
        scans.append(scanned)
        tables.append(table)
        decimals.append(decimal)
    first = tables[0]
    alike = [number for number, table in enumerate(tables) if table.names == first.names]
    scanned = _joined([scans[number] for number in alike])
    draft.sample, draft.scan = sample, scanned
    size = sum((kind.path / name).stat().st_size for name in kind.files)
    draft.facts.append(("what", f"folder of {len(kind.files):,} tables ({file_pattern(kind.files)})"))
    seen = sum((sample.path / looked[number]).stat().st_size for number in alike)
    held = sum((sample.path / name).stat().st_size for name in chosen)
    _form(draft, first, size, round(scanned.rows * held / max(seen, 1) / draft.share))
    if len(alike) < len(tables):
        draft.notes.append(f"{len(tables) - len(alike)} of {len(tables)} tables have other columns than {looked[0]}")
    roles = draft.roles = guess_roles(scanned.columns, frozenset({"group"}))
    names = read_names(kind.files, roles.label is not None and speaks(roles.label.name, "label") == 2)
    if names.labels and roles.label is not None:  # a column that is not called so
        roles.neither[roles.label.name] = "a code"
        roles.drop("label")
    draft.settings = {"name": Setting("folder"), "path": Setting(str(kind.path))}
    if (files := file_pattern(kind.files)) != "*.csv":
        draft.settings["files"] = Setting(files)
    _name_settings(draft, names)
    draft.parted = "" if names.people else "file"
    for table in (tables[number] for number in alike):
        first.bad.count += table.bad.count if table is not first else 0
    _format_settings(draft, first, scanned.columns, next((own for own in decimals if own is not None), None))
    _role_settings(draft, True)
    numbers = np.repeat(np.arange(len(alike)), [scans[number].rows for number in alike])
    _time_settings(draft, numbers, np.zeros_like(numbers))
    _missing_settings(draft, roles)
    _empty_settings(draft, roles)
    return draft


def _joined(scans: list[Scan]) -> Scan:
    """Several tables with the same columns as one."""
    columns = []
    for parts in zip(*(scanned.columns for scanned in scans), strict=True):
        names: dict[str, int] = {}
        text = any(part.text for part in parts)
        values = []
        for part in parts:
            if text:
                own = part.names or tuple(f"{value:g}" for value in part.values)
                number = np.asarray([names.setdefault(name, len(names)) for name in own], dtype=np.float64)
                values.append(number[part.values.astype(np.int64)] if part.text else number)
            else:
                values.append(part.values)
        dates = all(part.dates for part in parts)
        signs = next((part.signs for part in parts if part.signs is not None), None)
        missing, wrong = sum(part.missing for part in parts), sum(part.wrong for part in parts)
        columns.append(Column(parts[0].name, np.concatenate(values), tuple(names), dates, missing, wrong, signs))
    return Scan(tuple(columns), np.concatenate([scanned.lines for scanned in scans]), scans[0].first)


def _scanned(table: Table, read: Read) -> tuple[Scan, Setting | None]:
    """All of a table; and the decimal sign, where commas may be that or stand between thousands."""
    scanned = scan(table, read)
    signs = [column.signs for column in scanned.columns if column.signs is not None]
    unsure = doubtful(signs)
    if unsure is None:
        return scanned, None
    told = grouping(signs)
    if told is not None:
        return scan(table, read, "."), Setting(".", told)
    # Where cells are not separated by commas, a comma is mostly a decimal sign.
    likely: Decimal = "," if isinstance(table, TextTable) and table.delimiter != "," else "."
    why = f"{unsure[1]!r} could be read either way; the other of . and , if it is wrong"
    return scanned if likely == "," else scan(table, read, likely), Setting(likely, why)


def _escaped(name: str) -> str:
    """A file's name as a pattern that fits it alone."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


def _form(draft: Draft, table: Table, size: int, rows: int) -> None:
    """How the file is written."""
    about = "about " if draft.share < 1 else ""
    draft.facts.append(("size", f"{in_units(size)}, {about}{_many(rows, 'row')}, {_many(len(table.names), 'column')}"))
    if isinstance(table, TextTable):
        header = "a header" if table.header else "no header (columns are called 1, 2, 3 ...)"
        cells = DELIMITERS.get(table.delimiter, repr(table.delimiter))
        ends = ", records that end in ;" if table.record_ends else ""
        draft.facts.append(("written", f"{table.encoding.removesuffix('-sig')}, cells between {cells}{ends}, {header}"))
    if draft.share < 1:
        draft.facts.append(("looked at", f"{100 * draft.share:.2g} % of it, in parts spread over all of it"))
    if table.bad.count:
        draft.facts.append(("bad rows", f"{table.bad.count:,} of other lengths: {table.bad}"))


def _format_settings(draft: Draft, table: Table, columns: tuple[Column, ...], decimal: Setting | None) -> None:
    """What the reader has to be told of the file's form."""
    bad = table.bad.count + sum(column.wrong for column in columns)
    if bad or draft.share < 1:
        why = f"about {bad:,} rows cannot be read" if bad else "not all of the file was looked at, and loggers cut rows"
        draft.settings["bad_rows"] = Setting("drop", f"{why}; without this they are refused")
    if decimal is not None:
        draft.settings["decimal"] = decimal


def _role_settings(draft: Draft, group_known: bool) -> None:
    """Columns by name, or by number where the file has no names."""
    roles, scanned = draft.roles, draft.scan
    assert roles is not None
    assert scanned is not None
    settings = draft.settings
    if not roles.channels:
        draft.problems.append("no column of numbers is left for a signal; needed is one column for each sensor's axis")
    else:
        settings["channels"] = Setting(
            [_reference(draft, column) for column in roles.channels], f"{roles.why('channels')}; leave out what is none"
        )
    in_names = "pattern" in settings and "(?P<label>" in settings["pattern"].value
    if roles.label is not None:
        why = "; what is to be learned"
        settings["label"] = Setting(_reference(draft, roles.label), roles.why("label") + why)
        if roles.numbers:
            settings["task"] = Setting(
                "regression", f"{roles.label.distinct} different numbers; leave it out if they are classes"
            )
        elif roles.label.distinct < 2:
            draft.problems.append(
                f"column {roles.label.name!r} always holds {roles.label.labels[0]!r}: there is one class only, and "
                "nothing to tell it from; needed are recordings of at least two"
            )
    elif not in_names:
        draft.problems.append(
            "no column looks like a label, so there is nothing to learn; needed is a column that says what is done "
            "in each row, by any name (activity, label, class ...)"
            + (", or a part of the files' names" if draft.kind.name == "tables" else "")
        )
    if group_known:
        return
    group = roles.group or roles.recording
    assert group is not None
    if roles.group is None:
        why = f"{roles.why('recording')}; no column tells people apart"
        draft.parted = "recording"
    else:
        why = f"{roles.why('group')}; whose a sample is"
    settings["group"] = Setting(_reference(draft, group), why)
    if roles.group is not None and roles.recording is not None:
        if _belongs(roles.recording, roles.group):
            settings["recording"] = Setting(_reference(draft, roles.recording), roles.why("recording"))
        else:
            roles.neither[roles.recording.name] = "its numbers repeat for other people"
            draft.notes.append(
                f"{roles.recording.name!r} has the same names for several people, so one recording a person is read"
            )
            roles.recording = None


def _reference(draft: Draft, column: Column) -> Any:
    """A column's name, or its number where the file has no names."""
    assert draft.scan is not None
    names = [own.name for own in draft.scan.columns]
    numbered = names == [str(n + 1) for n in range(len(names))]
    return int(column.name) if numbered else column.name


def _belongs(recording: Column, group: Column) -> bool:
    """Whether every recording is of one group."""
    told = recording.filled & group.filled
    pairs = np.unique(np.stack([recording.values[told], group.values[told]]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0]))


def _name_settings(draft: Draft, names: Names) -> None:
    roles = draft.roles
    assert roles is not None
    why = f"group: {names.group}" + (f"; label: {names.label}" if names.label else "")
    draft.settings["pattern"] = Setting(names.pattern, f"{why}; a regular expression on the files' names")
    roles.guesses.insert(0, Guess("group", "files' names", names.group))
    if names.label:
        roles.guesses.insert(1, Guess("label", "files' names", names.label))


def _recordings(roles: Roles, rows: int) -> npt.NDArray[np.int64]:
    """Each row's recording by number."""
    column = roles.recording or roles.group
    if column is None:
        return np.zeros(rows, dtype=np.int64)
    _, numbers = np.unique(np.nan_to_num(column.values, nan=-1.0), return_inverse=True)
    return numbers.astype(np.int64)


def _clock_tells_recording(roles: Roles, scanned: Scan) -> None:
    """Takes a column of names or codes for the recording if it changes wherever the clock starts anew."""
    if roles.time is None or roles.recording is not None:
        return
    timing = look_at_time(roles.time, _recordings(roles, scanned.rows))
    if timing is None or not timing.restarts:
        return
    found = []
    for column in scanned.columns:
        role = roles.of(column.name)
        free = (role == "-" and column.codes) or (role == "channel" and column.whole and not column.recurs)
        if not free or column.missing or column.stretch < VERY_LONG:
            continue
        if roles.group is None or _belongs(column, roles.group):
            own = look_at_time(roles.time, _recordings(replace(roles, recording=column), scanned.rows))
            if own is not None and not own.backward:
                found.append(column)
    best = min(found, key=lambda column: column.distinct, default=None)
    if best is not None:
        roles.neither.pop(best.name, None)
        roles.channels = [column for column in roles.channels if column is not best]
        many = f"{best.distinct} different " + ("names" if best.text else "numbers")
        roles.take("recording", best, f"it changes wherever the clock starts anew, {many}")


def _timing(stamps: Column, recordings: npt.NDArray[np.int64], parts: npt.NDArray[np.int64]) -> Timing | None:
    """What time stamps tell, without a gap between parts of a file; of these too whether the clock goes back."""
    timing = look_at_time(stamps, recordings * (int(parts.max(initial=0)) + 1) + parts)
    whole = look_at_time(stamps, recordings)
    if timing is None or whole is None:
        return timing
    return replace(timing, backward=whole.backward, restarts=whole.restarts)


def _time_settings(draft: Draft, recordings: npt.NDArray[np.int64], parts: npt.NDArray[np.int64]) -> None:
    """Time stamps where they can be used; else the rate that they tell."""
    roles = draft.roles
    assert roles is not None
    if roles.time is None:
        _odd_clock(draft, roles)
        return
    kept = np.ones(len(recordings), dtype=bool)
    for column in (roles.group, roles.recording):
        kept &= True if column is None else column.filled
    stamps = replace(roles.time, values=np.where(kept, roles.time.values, np.nan))  # rows that will be left out
    timing = _timing(stamps, recordings, parts)
    if timing is None:
        roles.neither[roles.time.name] = "no time stamps that rise"
        roles.time = None
        return
    draft.timing = timing
    settings = draft.settings
    hertz = nice(timing.rate)
    if timing.backward:
        settings["rate"] = Setting(
            hertz,
            f"{timing.backward:,} of the stamps in {roles.time.name!r} are not later than the one before, so they are "
            "not used; Hz, by their median interval",
        )
        if timing.restarts:
            places = f"{timing.restarts:,} place{'s' * (timing.restarts > 1)}"
            draft.notes.append(
                f"recordings are not split where the clock in {roles.time.name!r} restarts ({places}), so windows may "
                "span two of them; data.recording names a column that tells them apart"
            )
        roles.neither[roles.time.name] = "looks like time, but does not always rise; only its rate is used"
        roles.drop("time")
        return
    settings["time"] = Setting(_reference(draft, roles.time), f"{roles.why('time')}")
    if timing.unit is not None:
        settings["time_unit"] = Setting(timing.unit, f"{timing.why}; s, ms, us or ns")
    if timing.resample:
        if timing.spread > 1.1:
            why = f"recordings' rates differ up to {timing.spread:.3g} times"
        else:
            why = f"{100 * timing.uneven:.2g} % of the intervals are uneven"
        settings["rate"] = Setting(hertz, f"{why}; Hz of the even grid that is made")
        settings["resample"] = Setting(True)


def _odd_clock(draft: Draft, roles: Roles) -> None:
    """The rate by the steps of times that are not in ISO 8601, where each row has its own."""
    column = roles.odd_clock
    if column is None or column.clock_steps is None:
        return
    forward = column.clock_steps[column.clock_steps > 0]
    advice = f"column {column.name!r} looks like time ({column.labels[0]}), but not in ISO 8601, so it is not used"
    if len(forward) >= 0.9 * len(column.clock_steps) and len(forward):
        hertz = nice(1 / float(np.median(forward)))
        draft.settings["rate"] = Setting(hertz, f"{advice}; Hz, by its median step")
        advice += f" but for the rate, {hertz:g} Hz by its steps"
    draft.notes.append(f"{advice}; gaps are not seen; rewrite it as 2024-05-01T13:45:00.250, or check data.rate")


def _missing_settings(draft: Draft, roles: Roles) -> None:
    lacking = [column for column in roles.channels if column.missing]
    if not lacking:
        return
    count, rows = sum(column.missing for column in lacking), len(lacking[0].values)
    worst = max(lacking, key=lambda column: column.missing)
    slow = worst.missing > 0.3 * rows
    draft.settings["missing"] = Setting(
        "hold" if slow else "interpolate",
        f"{count:,} values are missing, most in {worst.name} ({100 * worst.missing / rows:.2g} %); refuse, drop, hold "
        "or interpolate",
    )


def _empty_settings(draft: Draft, roles: Roles) -> None:
    """Rows that do not say whose or when they are."""
    used = {"group": roles.group, "recording": roles.recording, "time": roles.time}
    for role, column in used.items():
        lacking = 0 if column is None or role not in draft.settings else column.missing + column.wrong
        if lacking and column is not None and "bad_rows" not in draft.settings:
            draft.settings["bad_rows"] = Setting("drop", f"{column.name} is empty in {lacking:,} rows; refuse or drop")
