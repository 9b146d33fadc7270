"""A first look at somebody's data, before any recipe; and a recipe for them."""

from __future__ import annotations

from pathlib import Path

from overtone.errors import InputError
from overtone.look.draft import Draft, Trial, Watch, unwatched
from overtone.look.kinds import identify
from overtone.look.others import DRAFTS
from overtone.look.show import show_draft, show_trial
from overtone.look.tables import draft_table, draft_tables
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
        draft = draft_table(kind, into, watch)
    elif kind.name == "tables":
        draft = draft_tables(kind, into, watch)
    else:
        draft = DRAFTS[kind.name](kind)
    draft.notes[:0] = kind.notes
    return draft


def try_out(draft: Draft) -> Trial:
    """The data loaded by the draft's settings, with window and split found; see ``trial``."""
    from overtone.look.trial import try_out as tried  # sources need torch, which takes seconds to import

    return tried(draft)


def page(draft: Draft, trial: Trial, recipe: str | None) -> str:
    """The look as one HTML file."""
    from overtone.look.html import page as whole  # figures take a second to import

    return whole(draft, trial, recipe)


def recipe_for(draft: Draft, trial: Trial) -> str | None:
    """A recipe's text that was tried as ``overtone check`` does; None where there is none, and the draft says why."""
    from overtone.recipe import validate
    from overtone.recipe.text import parse
    from overtone.study import make_plan

    if draft.problems:
        return None
    text = write_recipe(draft, trial)
    tried = {**parse(text), "name": "look"}
    if draft.share < 1:  # parts of the data may make fewer windows than a batch of the whole
        tried["train"]["batch"] = 2
    try:
        recipe = validate(tried)
        if trial.windows is not None:
            make_plan(recipe, trial.windows)
    except InputError as error:
        draft.problems.append(str(error))
        return None
    return text


__all__ = ["Draft", "Trial", "describe", "page", "recipe_for", "show_draft", "show_trial", "try_out"]
