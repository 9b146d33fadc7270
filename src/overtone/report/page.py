"""The page: its parts in order, in one file that needs no network."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from overtone.files import write_atomic
from overtone.report import results, sections, training, views
from overtone.report.folder import Folder
from overtone.report.html import Html, join, tag

NAVIGATION = {
    "results": "Results",
    "cells": "Cells",
    "curves": "Training",
    "confusion": "Confusion",
    "window": "One window",
    "split": "Who is where",
    "environment": "What it ran on",
    "recipe": "Recipe",
}


def write_page(out: Path) -> Path:
    """Write ``report.html`` into a study's folder, finished or not.

    The page is made only from what is in the folder, and is the same for the same study but for seconds of training.

    Args:
        out: the folder.

    Returns:
        The page's path.

    Raises:
        InputError: if the folder holds no study or a damaged one, or cannot be written.
    """
    path = out / "report.html"
    write_atomic(path, page(Folder.read(out)))
    return path


def page(folder: Folder) -> Html:
    """The whole page."""
    name, about = str(folder.study["name"]), str(folder.study.get("about") or "")
    header = tag(
        "header",
        tag("p", "Overtone study", class_="kind"),
        tag("h1", name),
        tag("p", about, class_="about") if about else None,
        results.headline(folder),
        tag(
            "nav", [tag("a", text, href=f"#{key}") for key, text in NAVIGATION.items()], aria_label="Parts of the page"
        ),
    )
    parts = [
        results.table(folder),
        sections.cells(folder),
        training.curves(folder),
        training.confusions(folder),
        views.window(folder),
        sections.split(folder),
        sections.environment(folder),
        sections.recipe(folder),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{name} · Overtone study"),
        tag("style", Html((resources.files("overtone.report") / "page.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", header, "\n", tag("main", [join(part, "\n") for part in parts]))
    return join(Html("<!DOCTYPE html>\n"), tag("html", head, "\n", body, lang="en"), "\n")
