"""The page: its parts in order, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from overtone.explain import Explained, read
from overtone.files import write_atomic
from overtone.report import agreement, looks, results, sections, training, views
from overtone.report.drawn import drawn_by_task
from overtone.report.folder import Folder
from overtone.report.headline import headline
from overtone.report.html import Html, join, tag
from overtone.trust import Trust

NAVIGATION = {
    "results": "Results",
    "cells": "Cells",
    "curves": "Training",
    "agreement": "Agreement",
    "looks": "Where models look",
    "window": "One window",
    "split": "Who is where",
    "environment": "What it ran on",
    "recipe": "Recipe",
}


def write_page(out: Path, damaged: Mapping[str, str] | None = None, trust: Trust = False) -> Path:
    """Write ``report.html`` into a study's folder, finished or not.

    The page is made only from what is in the folder, and is the same for the same study but for seconds of training.

    Args:
        out: the folder.
        damaged: what is damaged, by cell; every cell's files are looked at unless given.
        trust: whether a task that is not built in may be imported.

    Returns:
        The page's path.

    Raises:
        InputError: if the folder holds no study or a damaged one, or cannot be written.
    """
    path = out / "report.html"
    write_atomic(path, page(Folder.read(out, damaged, trust)))
    return path


def write_explained(out: Path, maps: Explained, damaged: Mapping[str, str] | None = None) -> Path:
    """Write a page on where the models look in certain windows, ``explain-N.html`` by their numbers.

    Raises:
        InputError: as :func:`write_page`.
    """
    numbers = "-".join(str(sample["number"]) for sample in maps.about["samples"])
    path = out / f"explain-{numbers}.html"
    write_atomic(path, explain_page(Folder.read(out, damaged), maps))
    return path


def page(folder: Folder) -> Html:
    """The whole page."""
    name, about = folder.study.name, folder.study.about
    drawn = drawn_by_task(folder)
    contents = {
        "results": results.table(folder),
        "cells": sections.cells(folder),
        "curves": training.curves(folder),
        **drawn,
        "agreement": agreement.agreements(folder),
        "looks": looks.looks(folder, read(folder.out)),
        "window": views.window(folder),
        "split": sections.split(folder),
        "environment": sections.environment(folder),
        "recipe": sections.recipe(folder),
    }
    parts = {key: part for key, part in contents.items() if part is not None}
    titles = {**NAVIGATION, **({"window": "One image"} if folder.of_images else {})}
    header = tag(
        "header",
        tag("p", "Overtone study", class_="kind"),
        tag("h1", name),
        tag("p", about, class_="about") if about else None,
        headline(folder),
        tag(
            "nav",
            [tag("a", titles.get(key, key.capitalize()), href=f"#{key}") for key in parts],
            aria_label="Parts of the page",
        ),
    )
    return _whole(f"{name} · Overtone study", header, list(parts.values()))


def explain_page(folder: Folder, maps: Explained) -> Html:
    """A page of its own on where the models look in chosen windows."""
    name = folder.study.name
    header = tag("header", tag("p", "Overtone study", class_="kind"), tag("h1", f"Where the models of {name} look"))
    return _whole(f"{name} · where the models look", header, [looks.looks(folder, maps)])


def _whole(title: str, header: Html, parts: list[Html]) -> Html:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html((resources.files("overtone.report") / "page.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", header, "\n", tag("main", [join(part, "\n") for part in parts]))
    return join(Html("<!DOCTYPE html>\n"), tag("html", head, "\n", body, lang="en"), "\n")
