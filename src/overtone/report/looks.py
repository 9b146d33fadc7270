"""Where the models look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from overtone.explain import Explained
from overtone.report import marked, shown
from overtone.report.figures import Heat, figure_box, heat_image, heat_line, image_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, plural, section, tag
from overtone.report.plot import FloatArray, Panel
from overtone.report.shown import SIZE, SQUARE, time_axis

MAPS = {
    "cam": "class activation map",
    "grad-cam": "Grad-CAM",
    "attention": "attention",
}


def looks(folder: Folder, maps: Explained | None) -> Html:
    """The maps of a few test windows."""
    title = "Where the models look"
    if maps is None:
        return section(
            "looks",
            title,
            note("Nothing is collected yet; overtone explain DIR does it from the study’s models and data."),
        )
    models = note(f"Models of fold {maps.about['fold']}, seed {maps.about['seed']}, {folder.at}.")
    return section("looks", title, *_about(folder), *shown.meanings(maps), models, *samples(folder, maps))


def _about(folder: Folder) -> tuple[Html, ...]:
    return (
        note(
            f"Maps for {folder.study.task.asked} over what each model sees, brought to its size: ",
            tag("b", "class activation map"),
            ", what each position adds to it (red) or takes from it (blue); ",
            tag("b", "Grad-CAM"),
            ", where the gradient points at the deepest stage, or one stage earlier where a class activation map shows "
            "the deepest; ",
            tag("b", "attention"),
            " of models that pool by it. Each map has its own scale, so forms can be compared, sizes cannot. Of a "
            "two-branch student, a branch’s activation map is of its own head, Grad-CAM of the fused one.",
        ),
    )


def samples(folder: Folder, maps: Explained) -> list[Html]:
    """A part for every window; the first is open."""
    parts = []
    for number, sample in enumerate(maps.about["samples"]):
        name = str(sample["called"])
        whose = "" if folder.of_images else f", {folder.material.group} {sample['group']}"
        what = f"{sample['side']} {folder.noun} {sample['number']}{whose}"
        title = join(tag("b", name), tag("span", what, class_="sub"))
        found = [_found(maps, number)] if "pixels" in maps.arrays else []
        boxes = [_model(folder, maps, number, place, model) for place, model in enumerate(maps.about["models"])]
        boxes = [*found, *boxes]
        parts.append(details(title, *boxes, open_=number == 0))
    return parts


def _found(maps: Explained, number: int) -> Html:
    """One image with the boxes of the truth and of every model."""
    sample, models = maps.about["samples"][number], maps.about["models"]
    every = {"truth": sample["marks"], **{model["title"]: model["marks"][number] for model in models}}
    colours = marked.coloured(list(every.values()))
    figures = [
        figure_box(
            title,
            marked.photograph(
                maps.arrays["pixels"][number], sample["size"], [(*mark, colours[mark[1]]) for mark in marks]
            ),
            note(plural(len(marks), "box", "boxes")),
        )
        for title, marks in every.items()
    ]
    return tag("div", tag("h3", "What is found"), marked.key(colours), tag("div", *figures, class_="photographs"))


def _model(folder: Folder, maps: Explained, sample: int, place: int, model: Mapping[str, Any]) -> Html:
    """One model's maps of one window."""
    text, right = model["verdicts"][sample]
    head = tag("h3", model["title"], tag("span", model["model"], class_="sub"))
    verdict = tag("p", text, class_={True: "hit", False: "warn", None: None}[right])
    boxes = []
    for branch in model["branches"]:
        seen = maps.arrays[f"view/{branch['view']}"][sample]
        for kind in branch["maps"]:
            values = maps.arrays[f"{place}/{branch['name']}/{kind}"][sample]
            boxes.append(_box(folder, f"{MAPS[kind]} over {branch['view']}", seen, values, kind == "cam"))
    if f"{place}/cross" in maps.arrays:
        signal = maps.arrays[f"view/{model['branches'][0]['view']}"][sample]
        boxes += _pairs(folder, signal, maps.arrays[f"{place}/cross"][sample])
    alone, lines = shown.boxes(folder, maps, place, sample)
    return tag("div", head, verdict, tag("div", *boxes, *alone, class_="maps"), *lines, class_="look")


def _box(folder: Folder, title: str, seen: FloatArray, values: FloatArray, signed: bool) -> Html:
    """A map over what the model sees: a strip behind a signal, colours over a photograph, the map alone of others."""
    heat = Heat(values.astype(np.float64), signed)
    if not values.any():
        return figure_box(title, note(f"Nothing: no gradient speaks for {folder.study.task.asked}."))
    if values.ndim == 1:
        axis, end = time_axis(folder)
        return figure_box(title, heat_line(Panel(axis, "", title, SIZE), seen, heat, end))
    under = seen if folder.of_images else None
    return figure_box(title, heat_image(Panel("", "", title, SQUARE), under, heat, folder.of_images))


def _pairs(folder: Folder, signal: FloatArray, attention: FloatArray) -> list[Html]:
    """Attention between a signal's moments and an image's positions: the whole, and its sums over either side."""
    axis, end = time_axis(folder)
    over_time, over_image = attention.sum((1, 2)).astype(np.float64), attention.sum(0).astype(np.float64)
    lines = heat_line(Panel(axis, "", "over time", SIZE), signal, Heat(over_time, False), end)
    square = heat_image(Panel("", "", "over the image", SQUARE), None, Heat(over_image, False), False)
    return [
        figure_box("attention between the branches", _plane(attention)),
        figure_box("attention between the branches over time", lines),
        figure_box("attention between the branches over the image", square),
    ]


def _plane(attention: FloatArray) -> Html:
    """Attention over moments (up) and image positions (right): (T', H', W') as (T', H' W')."""
    heat = Heat(attention.reshape(len(attention), -1).astype(np.float64), signed=False)
    moments, positions = heat.values.shape
    panel = Panel("image position", "moment", "attention", SIZE)
    return image_panel(panel, heat.values, (0.0, positions, 0.0, moments), heat.colours, heat.span)
