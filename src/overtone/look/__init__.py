"""A first look at somebody's data, before any recipe; and a recipe for them."""

from __future__ import annotations

from pathlib import Path

from overtone.look.draft import Draft, Watch, unwatched
from overtone.look.kinds import identify
from overtone.look.others import DRAFTS
from overtone.look.page import page
from overtone.look.show import show_draft, show_trial
from overtone.look.tables import draft_table, draft_tables
from overtone.look.trial import Trial, try_out
from overtone.look.writing import write_recipe


def describe(path: Path, into: Path, watch: Watch = unwatched) -> Draft:
    """What some data are, by their names and columns.

    Args:
        path: a file or folder.
        into: an empty folder, where parts of what is too large are put; needed as long as the draft is.
        watch: hears how far it is.

    Raises:
        InputError: for what cannot be looked at; it says what can be done with it.
    """
    kind = identify(path)
    if kind.name == "table":
        return draft_table(kind, into, watch)
    if kind.name == "tables":
        return draft_tables(kind, into, watch)
    return DRAFTS[kind.name](kind)


__all__ = ["Draft", "Trial", "describe", "page", "show_draft", "show_trial", "try_out", "write_recipe"]
