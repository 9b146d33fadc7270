"""Where the models look, and which teacher is right where others are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from overtone.explain import Agreement, Explained, agreement
from overtone.report.figures import (
    FloatArray,
    Heat,
    Line,
    Panel,
    figure_box,
    heat_image,
    heat_line,
    image_panel,
    legend,
    line_panel,
)
from overtone.report.folder import Folder
from overtone.report.html import Html, details, join, note, scroll, section, tag
from overtone.study import RowKind

LEVEL = {
    "before": "student",
    "into": "into frequency attention",
    "out": "out of frequency attention",
    "after": "behind the adapter",
    "teacher": "teacher",
}
SPECTRA = ("before", "after", "teacher")
SIZE, SQUARE, FILTER = (240, 180), (180, 180), (222, 210)
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
    models = note(f"Models of fold {found.about['fold']}, seed {found.about['seed']}, {folder.at}.")
    compared = _about_levels() if any(name.endswith("/map.before") for name in found.arrays) else None
    return section("looks", title, *_about(), compared, models, *samples(folder, found))


def _about() -> tuple[Html, ...]:
    return (
        note(
            "Maps for the true class over what each model sees, brought to its size: ",
            tag("b", "class activation map"),
            ", the share of each position in the class’ logit (red for, blue against); ",
            tag("b", "Grad-CAM"),
            ", where the gradient points at the deepest stage, or one stage earlier where a class activation map shows "
            "the deepest; ",
            tag("b", "attention"),
            " of models that pool by it. Each map has its own scale, so forms can be compared, sizes cannot. Of a "
            "two-branch student, a branch’s activation map is of its own head, Grad-CAM of the fused one.",
        ),
    )


def _about_levels() -> Html:
    return note(
        "Of methods that compare maps: each stage of the student, what its adapter makes of it, and the teacher’s "
        "stage, as mean magnitudes over channels; of ",
        tag("b", "frequency attention"),
        " also what goes into the module and what comes out of it. The distance between two radial spectra is the root "
        "mean square of their difference over the rings of frequency, relative to the teacher’s root mean square; of "
        "maps of other sizes, the student’s spectrum is interpolated at the teacher’s shares of Nyquist.",
    )


def samples(folder: Folder, found: Explained) -> list[Html]:
    """A part for every window; the first is open."""
    parts = []
    for number, sample in enumerate(found.about["samples"]):
        name = str(sample["called"])
        whose = "" if folder.of_images else f", person {sample['group']}"
        what = f"{sample['side']} {folder.noun} {sample['number']}{whose}"
        title = join(tag("b", name), tag("span", what, class_="sub"))
        boxes = [_model(folder, found, number, place, model) for place, model in enumerate(found.about["models"])]
        parts.append(details(title, *boxes, open_=number == 0))
    return parts


def _model(folder: Folder, found: Explained, sample: int, place: int, model: Mapping[str, Any]) -> Html:
    """One model's maps of one window."""
    said, right = model["verdicts"][sample]
    head = tag("h3", model["title"], tag("span", model["model"], class_="sub"))
    verdict = tag("p", said, class_={True: "hit", False: "warn", None: None}[right])
    boxes = []
    for branch in model["branches"]:
        seen = found.arrays[f"view/{branch['view']}"][sample]
        for kind in branch["maps"]:
            held = found.arrays[f"{place}/{branch['name']}/{kind}"][sample]
            identity = f"look-{sample}-{place}-{branch['name']}-{kind}"
            boxes.append(_box(folder, identity, f"{MAPS[kind]} over {branch['view']}", seen, held, kind == "cam"))
    if f"{place}/cross" in found.arrays:
        signal = found.arrays[f"view/{model['branches'][0]['view']}"][sample]
        boxes += _pairs(folder, f"cross-{sample}-{place}", signal, found.arrays[f"{place}/cross"][sample])
    own = {k: v[sample] for k, v in found.arrays.items() if k.startswith(f"{place}/visualisation/")}
    boxes += _evidence(f"own-{sample}-{place}", own, place)
    levels = _levels(folder, f"level-{sample}-{place}", own, place)
    return tag("div", head, verdict, tag("div", *boxes, class_="maps"), *levels, class_="look")


def _box(folder: Folder, identity: str, title: str, seen: FloatArray, held: FloatArray, signed: bool) -> Html:
    """A map over what the model sees: a strip behind a signal, colours over a photograph, the map alone of others."""
    heat = Heat(held.astype(np.float64), signed)
    if not held.any():
        return figure_box(title, note("Nothing: no gradient speaks for the class."))
    if held.ndim == 1:
        axis, end = _time(folder)
        return figure_box(title, heat_line(Panel(identity, axis, "", title, SIZE), seen, heat, end))
    under = seen if folder.of_images else None
    return figure_box(title, heat_image(Panel(identity, "", "", title, SQUARE), under, heat, folder.of_images))


def _time(folder: Folder) -> tuple[str, float]:
    rate = folder.study.data.rate
    return ("seconds", folder.length / rate) if rate else ("samples", float(folder.length))


def _pairs(folder: Folder, identity: str, signal: FloatArray, held: FloatArray) -> list[Html]:
    """Attention between a signal's moments and an image's positions: the whole, and its sums over either side."""
    axis, end = _time(folder)
    over_time, over_image = held.sum((1, 2)).astype(np.float64), held.sum(0).astype(np.float64)
    lines = heat_line(Panel(f"{identity}-t", axis, "", "over time", SIZE), signal, Heat(over_time, False), end)
    square = heat_image(Panel(f"{identity}-i", "", "", "over the image", SQUARE), None, Heat(over_image, False), False)
    return [
        figure_box(
            "attention between the branches", _plane(f"{identity}-p", "attention", held, Heat(held, False).span)
        ),
        figure_box("attention between the branches over time", lines),
        figure_box("attention between the branches over the image", square),
    ]


def _plane(identity: str, title: str, held: FloatArray, span: tuple[float, float]) -> Html:
    """Moments (up) by image positions (right): (T', H', W') as (T', H' W')."""
    heat = Heat(held.reshape(len(held), -1).astype(np.float64), signed=span[0] < 0, ends=span)
    moments, positions = heat.values.shape
    panel = Panel(identity, "image position", "moment", title, SIZE)
    return image_panel(panel, heat.values, (0.0, positions, 0.0, moments), heat.colours, heat.span)


def _evidence(identity: str, own: Mapping[str, FloatArray], place: int) -> list[Html]:
    """The target of the student's attention, that attention at the last epoch, and their difference."""
    key = f"{place}/visualisation/evidence."
    if f"{key}target" not in own:
        return []
    target, mine = own[f"{key}target"].astype(np.float64), own[f"{key}attention"].astype(np.float64)
    shown = {
        "evidence (target)": target,
        "student’s attention, last epoch": mine,
        "student minus target": mine - target,
    }
    most = float(max(target.max(), mine.max()))
    spans = [(0.0, most), (0.0, most), (-most, most)]  # one scale, or a map that did not follow would look as if it had
    return [
        figure_box(title, _plane(f"{identity}-{number}", title, held, span))
        for number, ((title, held), span) in enumerate(zip(shown.items(), spans, strict=True))
    ]


def _levels(folder: Folder, identity: str, own: Mapping[str, FloatArray], place: int) -> list[Html]:
    """What a method on maps compares, a line of boxes for each stage: maps, their spectra, and a learned filter."""
    prefix = f"{place}/visualisation/"
    names = [key.removeprefix(prefix).rpartition("/")[0] for key in own if key.endswith("map.before")]
    lines: list[Html] = []
    for number, level in enumerate(names):
        boxes = []
        for what, said in LEVEL.items():
            if f"{prefix}{level}/map.{what}" not in own:
                continue
            held = own[f"{prefix}{level}/map.{what}"].astype(np.float64)
            key = f"{identity}-{number}-{what}"
            if held.ndim == 1:
                axis, end = _time(folder)
                drawn = heat_line(Panel(key, axis, "", said, SIZE), None, Heat(held, False), end)
            else:
                drawn = heat_image(Panel(key, "", "", said, SQUARE), None, Heat(held, False), folder.of_images)
            boxes.append(figure_box(said, drawn))
        boxes.append(_spectra(f"{identity}-{number}-s", own, f"{prefix}{level}"))
        if f"{prefix}{level}/filter" in own:
            learned, mask = own[f"{prefix}{level}/filter"].astype(np.float64), own.get(f"{prefix}{level}/mask")
            boxes.append(_filter(f"{identity}-{number}-f", learned, mask))
        title = tag("h4", level.partition(".")[2].replace("/", ", "), tag("span", "mean magnitudes", class_="sub"))
        lines += [title, tag("div", *boxes, class_="maps")]
    return lines


def _spectra(identity: str, own: Mapping[str, FloatArray], level: str) -> Html:
    """Amplitude by frequency of three maps, from 0 to Nyquist, and how far the student's are from the teacher's."""
    lines = []
    for number, what in enumerate(SPECTRA):
        y = own[f"{level}/spectrum.{what}"].astype(np.float64)
        lines.append(Line(LEVEL[what], np.linspace(0, 1, len(y)), y, number))
    before, after, teacher = lines
    parted = f"From the teacher’s: student {_apart(before, teacher)}, behind the adapter {_apart(after, teacher)}."
    panel = Panel(identity, "share of Nyquist", "amplitude", "radial spectra", SIZE)
    return figure_box("radial spectra", legend(lines), line_panel(panel, lines), note(parted))


def _apart(mine: Line, teacher: Line) -> str:
    """The distance between two spectra: the root mean square difference, relative to the teacher's."""
    difference = np.interp(teacher.x, mine.x, mine.y) - teacher.y
    return f"{np.sqrt(np.mean(difference**2)) / max(float(np.sqrt(np.mean(teacher.y**2))), 1e-12):.0%}"


def _filter(identity: str, held: FloatArray, mask: FloatArray | None) -> Html:
    """The learned filter's magnitude with its mask on it: frequency 0 in the middle; what the mask removes is 0."""
    title = f"learned filter, magnitude {held.min():.2g} to {held.max():.2g}"
    if held.ndim == 1:
        x = 2 * (np.arange(len(held)) - len(held) // 2) / len(held)
        panel = Panel(identity, "share of Nyquist", "magnitude", title, SIZE)
        lines = [Line("mean magnitude", x, held, 0)]
        if mask is None:
            return figure_box(title, legend(lines), line_panel(panel, lines))
        lines.append(Line("mask", x, mask * held.max(), 1, dashed=True))
        said = note("The mask’s 0 to 1 is drawn as 0 to the largest magnitude.")
        return figure_box(title, legend(lines), line_panel(panel, lines), said)
    sides = [-(2 * (n // 2) + 1) / n for n in held.shape]  # a bin reaches half its width beyond its frequency
    extent = (sides[1], sides[1] + 2, sides[0], sides[0] + 2)
    panel = Panel(identity, "share of Nyquist", "share of Nyquist", title, FILTER)
    heat = Heat(held, False)
    if mask is None:
        return figure_box(title, image_panel(panel, held, extent, heat.colours, heat.span))
    passed = mask >= 0.5
    edge = "The mask lets every frequency pass." if passed.all() else "The line is the mask’s edge, where half passes."
    return figure_box(title, image_panel(panel, held, extent, heat.colours, heat.span, inside=passed), note(edge))


def agreements(folder: Folder) -> Html | None:
    """Which teacher is right where others are wrong; nothing with fewer than two teachers."""
    students = [row for row in folder.rows if row.kind == RowKind.METHOD]
    found = agreement(folder.out, [row.id for row in students], folder.damaged)
    if found is None:
        return None
    names = {row.id: f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method for row in students}
    noun = f"{folder.noun}s"
    return section(
        "agreement",
        "Which teacher is right where others are wrong",
        note(
            f"Over {found.windows} test {noun}, {folder.at}: how many only one "
            f"teacher gets right, and what share of these the students get right. In all, {_in_all(found)}."
        ),
        scroll(_agreement_table(found, names, noun), "Agreement of teachers"),
    )


def _in_all(found: Agreement) -> str:
    """What each teacher gets right of everything."""
    pairs = zip(found.teachers, found.right, strict=True)
    return ", ".join(f"{name} gets {100 * right / found.windows:.0f} % right" for name, right in pairs)


def _agreement_table(found: Agreement, names: Mapping[str, str], noun: str) -> Html:
    heads = [*(f"only {name}" for name in found.teachers), "every teacher", "several, not all", "no teacher"]
    sizes = [*found.alone, found.all_right, found.some_right, found.none_right]
    kept = [n for n, head in enumerate(heads) if len(found.teachers) > 2 or head != "several, not all"]
    heads, sizes = [heads[n] for n in kept], [sizes[n] for n in kept]
    top = tag("tr", tag("th", "right in", scope="col"), *[tag("th", head, scope="col") for head in heads])

    def line(name: str, cells: list[str], kind: str | None = None) -> Html:
        return tag("tr", tag("th", name, scope="row"), *[tag("td", cell) for cell in cells], class_=kind)

    share = [f"{size} ({100 * size / found.windows:.0f} %)" for size in sizes]
    body = [line(noun, share, "sum")]
    for identity, right in found.students.items():
        own = [right[n] for n in kept]
        cells = [f"{100 * r / size:.0f} %" if size else "–" for r, size in zip(own, sizes, strict=True)]
        body.append(line(names[identity], cells))
    return tag("table", tag("thead", top), tag("tbody", *body), class_="plain")
