"""Where the models look, and which teacher is right where others are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from overtone.explain import Agreement, Explained, agreement
from overtone.report.figures import FloatArray, Heat, Panel, figure_box, heat_image, heat_line
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, scroll, section, tag

SIZE = (240, 180)
MAPS = {
    "cam": "class activation map",
    "grad-cam": "Grad-CAM",
    "attention": "attention",
}


def looks(folder: Folder, found: Explained | None) -> Html:
    """The maps of a few test windows."""
    title = "Where the models look"
    if found is None:
        return section(
            "looks",
            title,
            note("Nothing is gathered yet; overtone explain DIR does it from the study’s models and data."),
        )
    return section("looks", title, *_about(), *samples(folder, found))


def _about() -> tuple[Html, ...]:
    return (
        note(
            "Maps for the true class over what each model sees, brought to its size: ",
            tag("b", "class activation map"),
            ", the share of each position in the class’ logit (red for, blue against); ",
            tag("b", "Grad-CAM"),
            " one stage earlier, where the gradient points; ",
            tag("b", "attention"),
            " of models that pool by it. Each map has its own scale, so forms can be compared, sizes cannot.",
        ),
    )


def samples(folder: Folder, found: Explained) -> list[Html]:
    """A part for every window; the first is open."""
    parts = []
    for number, sample in enumerate(found.about["samples"]):
        name = folder.classes[sample["label"]]
        whose = "" if folder.of_images else f", person {sample['group']}"
        title = join(tag("b", name), tag("span", f"test window {sample['number']}{whose}", class_="sub"))
        boxes = [_model(folder, found, number, place, model) for place, model in enumerate(found.about["models"])]
        parts.append(details(title, *boxes, open_=number == 0))
    return parts


def _model(folder: Folder, found: Explained, sample: int, place: int, model: Mapping[str, Any]) -> Html:
    """One model's maps of one window."""
    shares = np.asarray(model["probabilities"][sample])
    truth = found.about["samples"][sample]["label"]
    guess = int(shares.argmax())
    said = f"says {folder.classes[guess]}, {100 * shares[guess]:.0f} %"
    if guess != truth:
        said += f"; the truth {100 * shares[truth]:.0f} %"
    head = tag("h3", model["title"], tag("span", model["model"], class_="sub"))
    verdict = tag("p", said, class_="hit" if guess == truth else "warn")
    boxes = []
    for branch in model["branches"]:
        seen = found.arrays[f"view/{branch['view']}"][sample]
        for kind in branch["maps"]:
            held = found.arrays[f"{place}/{branch['name']}/{kind}"][sample]
            identity = f"look-{sample}-{place}-{branch['name']}-{kind}"
            boxes.append(_box(folder, identity, f"{MAPS[kind]} over {branch['view']}", seen, held))
    if f"{place}/cross" in found.arrays:
        boxes += _pairs(
            folder, f"cross-{sample}-{place}", "between the branches", found.arrays[f"{place}/cross"][sample]
        )
    own = {k: v[sample] for k, v in found.arrays.items() if k.startswith(f"{place}/picture/")}
    boxes += _evidence(folder, f"own-{sample}-{place}", own, place)
    return tag("div", head, verdict, tag("div", *boxes, class_="maps"), class_="look")


def _box(folder: Folder, identity: str, title: str, seen: FloatArray, held: FloatArray) -> Html:
    """A map over what the model sees: a strip behind a signal, colours over an image."""
    heat = Heat(held.astype(np.float64), signed=bool((held < 0).any()))
    if held.ndim == 1:
        axis, end = _time(folder)
        return figure_box(title, heat_line(Panel(identity, axis, "", title, SIZE), seen, heat, end))
    return figure_box(title, heat_image(Panel(identity, "", "", title, SIZE), seen, heat, folder.of_images))


def _time(folder: Folder) -> tuple[str, float]:
    data = folder.study["data"]
    return ("seconds", data["window"] / data["rate"]) if data["rate"] else ("samples", float(data["window"]))


def _pairs(folder: Folder, identity: str, what: str, held: FloatArray) -> list[Html]:
    """Attention between a signal's moments and an image's positions: the whole, and its sums over either side."""
    axis, end = _time(folder)
    whole = held.reshape(len(held), -1).astype(np.float64)  # (T', H' W')
    title = f"attention {what}"
    full = heat_image(Panel(f"{identity}-p", "image position", "moment", title, SIZE), None, Heat(whole, False), False)
    over_image = heat_image(
        Panel(f"{identity}-i", "", "", f"attention {what} over the image", SIZE),
        None,
        Heat(held.sum(0).astype(np.float64), False),
        False,
    )
    over_time = heat_line(
        Panel(f"{identity}-t", axis, "", f"attention {what} over time", SIZE),
        None,
        Heat(held.sum((1, 2)).astype(np.float64), False),
        end,
    )
    return [
        figure_box(title, full),
        figure_box(f"attention {what} over time", over_time),
        figure_box(f"attention {what} over the image", over_image),
    ]


def _evidence(folder: Folder, identity: str, own: Mapping[str, FloatArray], place: int) -> list[Html]:
    """The target of the student's attention, that attention at the last epoch, and their difference."""
    key = f"{place}/picture/evidence."
    if f"{key}target" not in own:
        return []
    target, mine = own[f"{key}target"].astype(np.float64), own[f"{key}attention"].astype(np.float64)
    shown = {
        "evidence (target)": target,
        "student’s attention, last epoch": mine,
        "student minus target": mine - target,
    }
    boxes = []
    for number, (title, held) in enumerate(shown.items()):
        flat = held.reshape(len(held), -1)
        panel = Panel(f"{identity}-{number}", "image position", "moment", title, SIZE)
        boxes.append(figure_box(title, heat_image(panel, None, Heat(flat, signed=number == 2), False)))
    return boxes


def agreements(folder: Folder) -> Html | None:
    """Which teacher is right where others are wrong; nothing with fewer than two teachers."""
    students = [row for row in folder.rows if row.kind == "method"]
    found = agreement(folder.out, [row.id for row in students])
    if found is None:
        return None
    names = {row.id: f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method for row in students}
    return section(
        "agreement",
        "Which teacher is right where others are wrong",
        note(
            f"Over {found.windows} test windows, at best: how many each teacher alone gets right, and what share of "
            "these the students get right."
        ),
        scroll(_agreement_table(found, names), "Agreement of teachers"),
    )


def _agreement_table(found: Agreement, names: Mapping[str, str]) -> Html:
    heads = [f"only {name}" for name in found.teachers] + ["every teacher", "no teacher"]
    sizes = [*found.alone, found.all_right, found.none_right]
    top = tag("tr", tag("th", "right in", scope="col"), *[tag("th", head, scope="col") for head in heads])

    def line(name: str, cells: list[str], kind: str | None = None) -> Html:
        return tag("tr", tag("th", name, scope="row"), *[tag("td", cell) for cell in cells], class_=kind)

    share = [f"{size} ({100 * size / found.windows:.0f} %)" for size in sizes]
    body = [line("windows", share, "sum")]
    for identity, right in found.students.items():
        cells = [f"{100 * r / size:.0f} %" if size else "–" for r, size in zip(right, sizes, strict=True)]
        body.append(line(names[identity], cells))
    return tag("table", tag("thead", top), tag("tbody", *body), class_="plain")
