"""Which teacher is right where others are wrong."""

from __future__ import annotations

from collections.abc import Mapping

from overtone.explain import Agreement, agreement
from overtone.report.folder import Folder
from overtone.report.html import Html, note, scroll, section, tag
from overtone.study import RowKind


def agreements(folder: Folder) -> Html | None:
    """Which teacher is right where others are wrong; nothing with fewer than two teachers."""
    students = [row for row in folder.rows if row.kind == RowKind.METHOD]
    agreed = agreement(folder.out, [row.id for row in students], folder.damaged)
    if agreed is None:
        return None
    names = {row.id: f"{row.method} from {', '.join(row.teachers)}" if row.teachers else row.method for row in students}
    noun = f"{folder.noun}s"
    return section(
        "agreement",
        "Which teacher is right where others are wrong",
        note(
            f"Over {agreed.windows} test {noun}, {folder.at}: how many only one "
            f"teacher gets right, and what share of these the students get right. In all, {_in_all(agreed)}."
        ),
        scroll(_agreement_table(agreed, names, noun), "Agreement of teachers"),
    )


def _in_all(agreed: Agreement) -> str:
    """What each teacher gets right of everything."""
    pairs = zip(agreed.teachers, agreed.right, strict=True)
    return ", ".join(f"{name} gets {100 * right / agreed.windows:.0f} % right" for name, right in pairs)


def _agreement_table(agreed: Agreement, names: Mapping[str, str], noun: str) -> Html:
    heads = [*(f"only {name}" for name in agreed.teachers), "every teacher", "several, not all", "no teacher"]
    sizes = [*agreed.alone, agreed.all_right, agreed.some_right, agreed.none_right]
    kept = [n for n, head in enumerate(heads) if len(agreed.teachers) > 2 or head != "several, not all"]
    heads, sizes = [heads[n] for n in kept], [sizes[n] for n in kept]
    top = tag("tr", tag("th", "right in", scope="col"), *[tag("th", head, scope="col") for head in heads])

    def line(name: str, cells: list[str], kind: str | None = None) -> Html:
        return tag("tr", tag("th", name, scope="row"), *[tag("td", cell) for cell in cells], class_=kind)

    share = [f"{size} ({100 * size / agreed.windows:.0f} %)" for size in sizes]
    body = [line(noun, share, "sum")]
    for identity, right in agreed.students.items():
        counts = [right[n] for n in kept]
        cells = [f"{100 * r / size:.0f} %" if size else "–" for r, size in zip(counts, sizes, strict=True)]
        body.append(line(names[identity], cells))
    return tag("table", tag("thead", top), tag("tbody", *body), class_="plain")
