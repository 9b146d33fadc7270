"""The page of a study, made from folders that are written here file by file: no training, no data."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from overtone import recipe as recipes
from overtone.data.base import PEOPLE
from overtone.display import table
from overtone.errors import InputError
from overtone.report import write_page
from overtone.report.figures import Heat, heat_image, image_panel
from overtone.report.folder import Folder
from overtone.report.html import Html, escape, join, tag
from overtone.report.plot import Panel
from overtone.report.results import short
from overtone.report.sections import recipe_text
from overtone.study import Estimate, collect, write_tables
from overtone.study.records import FORMAT
from overtone.tasks import Classification
from overtone.views import VIEWS

HOSTILE = "<script>alert('x')</script> \"&$_{1}$ 걷기 \x1b[31m"
SECTIONS = ("results", "cells", "curves", "confusion", "agreement", "looks", "window", "split", "environment", "recipe")
VOID = {"br", "meta", "col", "img"}


@dataclass
class Fake:
    """A finished study's folder. Accuracies are made up, but the same at every call."""

    out: Path
    folds: int = 2
    seeds: tuple[int, ...] = (0, 1)
    classes: tuple[str, ...] = ("walk", "run", "sit")
    channels: tuple[str, ...] = ("ax", "ay", "az")
    people: int = 4
    teachers: tuple[str, ...] = ("signal", "gaf")
    methods: tuple[str, ...] = ("none", "kd", "aver")
    epochs: int = 3
    rate: float | None = 50.0
    about: str = "A made-up study."
    accuracy: dict[str, float] = field(default_factory=dict)

    def write(self) -> Path:
        """Everything that a study writes and that the page reads."""
        rows = [self.row(f"{name}-row", "method", name, self.of(name)) for name in self.methods]
        rows += [self.row(f"teacher-{name}", "teacher", f"teacher {name}", ()) for name in self.teachers]
        if len(self.teachers) > 1:
            rows.append(self.row("ensemble", "ensemble", "ensemble", self.teachers))
        cells = {
            key: {"title": f"{row['label']} · fold {cell['fold']} · seed {cell['seed']}", "needs": []}
            for row in rows
            for cell in row["cells"]
            for key in cell["keys"]
            if row["kind"] != "ensemble"
        }
        for row in rows:
            for cell in row["cells"]:
                for teacher in row["teachers"] if row["kind"] == "method" else ():
                    need = self.key(f"teacher-{teacher}", cell["fold"], cell["seed"])
                    cells[cell["keys"][0]]["needs"].append(need)
        for row in rows:
            if row["kind"] != "ensemble":
                for cell in row["cells"]:
                    self.cell(row, cell)
        self.put("study.json", self.study(rows, cells))
        self.example()
        return self.out

    def of(self, method: str) -> tuple[str, ...]:
        return () if method == "none" else self.teachers

    def key(self, row: str, fold: int, seed: int) -> str:
        return f"{sum(map(ord, row)):06x}{fold:03d}{seed:03d}"

    def row(self, identity: str, kind: str, label: str, teachers: tuple[str, ...]) -> dict[str, Any]:
        def keys(fold: int, seed: int) -> list[str]:
            ids = [f"teacher-{name}" for name in teachers] if kind == "ensemble" else [identity]
            return [self.key(name, fold, seed) for name in ids]

        return {
            "id": identity,
            "kind": kind,
            "label": label,
            "teachers": teachers,
            "student": "" if kind == "ensemble" else "wrn10-1" if kind == "teacher" else "dscnn-8",
            "checkpoints": [],
            "cells": [{"fold": f, "seed": s, "keys": keys(f, s)} for f in range(self.folds) for s in self.seeds],
        }

    def study(self, rows: list[dict[str, Any]], cells: dict[str, Any]) -> dict[str, Any]:
        groups = [f"p{n:02d}" for n in range(self.people)]
        sides = []
        for fold in range(self.folds):
            test, val = fold % self.people, (fold + 1) % self.people
            rest = [g for n, g in enumerate(groups) if n not in (test, val)]
            named = {"test": [groups[test]], "val": [groups[val]], "train": rest}
            sides.append({"number": fold} | {k: {"groups": g, "windows": 10 * len(g)} for k, g in named.items()})
        counts = [[g + c for c in range(len(self.classes))] for g in range(self.people)]
        return {
            "format": FORMAT,
            "task": {
                "name": "classification",
                "metrics": [asdict(metric) for metric in Classification.METRICS],
                "facts": {"classes": self.classes},
            },
            "name": "made-up",
            "about": self.about,
            "recipe": {
                "data": {"name": "npz", "path": "x.npz"},
                "methods": [{"name": name} for name in self.methods],
                "name": "made-up",
                "student": {"model": "dscnn-8"},
                "teachers": {n: {"model": "wrn10-1", "view": n} for n in sorted(self.teachers)},
                "views": {"image": {"type": "pi", "size": 8}},
            },
            "data": {
                "where": "x.npz",
                "material": asdict(PEOPLE),
                "content": "0123456789abcdef" * 4,
                "windows": 10 * self.people,
                "window": 40,
                "stride": 20,
                "rate": self.rate,
                "channels": self.channels,
                "groups": groups,
                "targets": {
                    "columns": self.classes,
                    "lines": counts,
                    "total": [sum(c) for c in zip(*counts, strict=True)],
                    "column": ["class", "classes"],
                    "counts": True,
                    "fact": "always guessing one would be right for 40 %",
                },
                "notes": ["two recordings were too short"],
            },
            "folds": sides,
            "views": {
                name: {"axes": kind.AXES, "shown": kind.SHOWN.model_dump()}
                for name, kind in {**VIEWS, "image": VIEWS["pi"]}.items()
            },
            "seeds": self.seeds,
            "rows": rows,
            "cells": cells,
        }

    def cell(self, row: dict[str, Any], cell: dict[str, Any]) -> None:
        key, count = cell["keys"][0], len(self.classes)
        accuracy = self.accuracy.get(row["label"], 0.5) + 0.01 * cell["fold"] + 0.003 * cell["seed"]
        scores = {"accuracy": accuracy, "macro_f1": accuracy - 0.1}
        confusion = (np.eye(count, dtype=int) * 7 + 1).tolist()
        result = {
            "key": key, "title": row["label"], "fold": cell["fold"], "seed": cell["seed"], "epochs": self.epochs,
            "best_epoch": 2, "val": {"best": accuracy, "last": accuracy}, "test": {"best": scores, "last": scores},
            "details": {w: {"confusion": confusion} for w in ("best", "last")}, "adapters": 0, "macs": 16496,
            "parameters": 1127 if row["kind"] == "method" else 28359,
        }  # fmt: skip
        self.put(f"cells/{key}/result.json", result)
        environment = {"torch": "2.11", "device": "cpu", "threads": 2, "processes": 1, "python": "3.11", "machine": "x"}
        self.put(f"cells/{key}/run.json", environment | {"seconds": 1.5})
        names = ["ce"] + [f"{row['label']}.kl.{teacher}" for teacher in row["teachers"]]
        lines = [
            {
                "epoch": epoch, "lr": 0.1, "total": 2.0 / epoch, "train": {"accuracy": 1 - 0.8 / epoch},
                "terms": {name: (n + 1) / epoch for n, name in enumerate(names)},
                "weights": {name: 1.0 if n == 0 else 0.5 for n, name in enumerate(names)},
                "val": {"accuracy": accuracy - 0.2 / epoch, "loss": 1.0, "macro_f1": 0.3},
            }
            for epoch in range(1, self.epochs + 1)
        ]  # fmt: skip
        self.text(f"cells/{key}/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        target = np.arange(count * 4) % count
        logits = np.eye(count, dtype=np.float32)[target]
        np.savez(
            self.out / f"cells/{key}/predictions.npz",
            index=target,
            target=target,
            **{"best.logits": logits, "last.logits": logits},
        )

    def example(self) -> None:
        wave = np.stack([np.sin(np.arange(40) / (3 + c)) for c in range(len(self.channels))]).astype(np.float32)
        gaf = wave[:, :8, None] * wave[:, None, :8]
        np.savez(
            self.out / "example.npz",
            **{"view.signal": wave, "view.gaf": gaf, "view.image": np.abs(gaf), "view.odd": gaf[0, 0],
               "view.spectrogram": np.abs(gaf)},
            window=wave, called=np.asarray(self.classes[1]),
            group=np.asarray("p00"), recording=np.asarray(3), start=np.asarray(50),
        )  # fmt: skip

    def put(self, name: str, value: Any) -> None:
        self.text(name, json.dumps(value, indent=1, sort_keys=True))

    def text(self, name: str, value: str) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value, encoding="utf-8")

    def drop(self, row: str, fold: int, seed: int, error: str | None = None) -> str:
        """Take a cell's result away, as if it had failed (with an error) or not run."""
        key = self.key(row, fold, seed)
        for path in (self.out / "cells" / key).iterdir():
            path.unlink()
        if error is not None:
            self.put(f"cells/{key}/error.json", {"title": row, "message": error, "traceback": f"Traceback\n{error}"})
        return key


class Reader(HTMLParser):
    """Checks that every element is closed, and collects what the page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join(" ".join(self.words).split())


def read(out: Path) -> Reader:
    return Reader(write_page(out).read_text(encoding="utf-8"))


def test_every_section_is_there_and_nothing_comes_from_outside(tmp_path: Path) -> None:
    page = read(Fake(tmp_path).write())
    assert [a["id"] for name, a in page.tags if name == "section"] == list(SECTIONS)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
        assert not [key for key in attributes if key.startswith("on")]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert used <= set(ids)


def test_text_is_escaped_wherever_it_comes_from(tmp_path: Path) -> None:
    fake = Fake(
        tmp_path,
        methods=("none", HOSTILE),
        classes=(HOSTILE, "b"),
        channels=(HOSTILE, "y"),
        about=HOSTILE,
        teachers=("gaf<b>", "signal"),
    )
    fake.write()
    fake.drop(f"{HOSTILE}-row", 0, 0, error=HOSTILE)
    page = read(tmp_path)
    assert not {name for name, _ in page.tags} & {"script"}
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in text
    shown = html.escape(HOSTILE.replace("\x1b", "\ufffd"))
    assert text.count(shown) > 8  # about, table, error, curves, confusion, window, recipe's neighbours ...


def test_the_same_study_gives_the_same_page(tmp_path: Path) -> None:
    first = write_page(Fake(tmp_path / "a").write()).read_bytes()
    second = write_page(Fake(tmp_path / "b").write()).read_bytes()
    assert first == second
    assert write_page(tmp_path / "a").read_bytes() == first


def test_headline_names_the_best_distilled_row_with_its_paired_difference(tmp_path: Path) -> None:
    text = read(Fake(tmp_path, accuracy={"kd": 0.6, "aver": 0.4, "teacher gaf": 0.8}).write()).text
    assert "2 folds · 2 seeds · 4 people" in text
    assert re.search(
        r"Best distilled row: kd from signal, gaf , 60.6 ± 0.7 % \(n = 2 folds of 2 seeds\), against the student alone",
        text,
    )
    assert "paired difference of +10.0 ± 0.0 points (n = 2 folds of 2 seeds, higher in 2 of 2)" in text
    assert "the best of 2 rows by this very number" in text
    assert "1 of them lie above" in text
    assert re.search(
        r"The best teacher alone, gaf , reaches 80.7 ± 0.7 % \(n = 2 folds of 2 seeds\) and has 25.2 times", text
    )


def test_a_miss_is_called_a_miss(tmp_path: Path) -> None:
    text = read(Fake(tmp_path, accuracy={"kd": 0.45, "aver": 0.5}).write()).text
    assert (
        "No distilled row beats the student alone ( none : 50.7 ± 0.7 %, n = 2 folds of 2 seeds). The nearest, aver"
        in text
    )
    assert "Best distilled row" not in text


def test_differences_use_common_folds_and_seeds_only(tmp_path: Path) -> None:
    fake = Fake(tmp_path, accuracy={"kd": 0.6}, methods=("none", "kd"))
    fake.write()
    fake.drop("none-row", 1, 0)
    fake.drop("none-row", 1, 1)
    text = read(tmp_path).text
    assert "points (n = 2 seeds of one split, higher in 2 of 2)" in text
    assert "2 of 4" in text  # the baseline's n in the table
    assert "± 0.0 n = 2 seeds of one split" in text  # the pairs of kd in the table


def test_failed_and_missing_cells_are_shown_with_what_to_do(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write()
    failed = fake.drop("teacher-gaf", 0, 0, error="CUDA out of memory; set train.batch lower")
    blocked = fake.drop("kd-row", 0, 0)
    waiting = fake.drop("none-row", 0, 1)
    stopped = fake.key("aver-row", 1, 1)
    (tmp_path / "cells" / stopped / "result.json").unlink()
    text = read(tmp_path).text
    assert "16 of 20 cells are done, 1 failed, 3 did not run to the end" in text
    assert "4 of 20 cells have no result" in text
    assert "CUDA out of memory; set train.batch lower" in text
    for key in (failed, blocked, waiting, stopped):
        assert f"overtone run RECIPE --out DIR --only {key}" in text
    assert "Not run: it needs teacher gaf · fold 0 · seed 0, which failed" in text
    assert "Not run yet." in text
    assert "Not finished" in text
    assert "3 of 4" in text


def test_rows_without_any_result(tmp_path: Path) -> None:
    fake = Fake(tmp_path, folds=1, seeds=(0,))
    fake.write()
    for row in ("none-row", "kd-row", "aver-row", "teacher-signal", "teacher-gaf"):
        fake.drop(row, 0, 0)
    text = read(tmp_path).text
    assert "No distilled row has a result yet" in text
    assert "no cell of this row is done" in text
    assert "No cell has run yet" in text


def test_one_fold_and_one_seed_have_no_spread(tmp_path: Path) -> None:
    text = read(Fake(tmp_path, folds=1, seeds=(3,), accuracy={"kd": 0.6}).write()).text
    headline = text[: text.index("Results ")]
    assert "±" not in headline
    assert "+10.0 points in one run, from which no spread can be told" in headline


def test_a_study_without_teachers_or_rate_or_example(tmp_path: Path) -> None:
    fake = Fake(tmp_path, teachers=(), methods=("none",), channels=("x",), rate=None)
    fake.write()
    (tmp_path / "example.npz").unlink()
    text = read(tmp_path).text
    assert "This study distils nothing" in text
    assert "no example window" in text


def test_views_are_drawn_by_their_type_and_at_most_six_channels(tmp_path: Path) -> None:
    page = read(Fake(tmp_path, channels=tuple(f"c{n}" for n in range(40))).write())
    labels = [a.get("aria-label") or "" for name, a in page.tags if name == "svg"]
    assert sum(label.startswith("gaf of channel") for label in labels) == 6
    assert sum(label.startswith("pi of channel") for label in labels) == 6  # the view named "image" is a pi
    assert "The first 6 of 40 channels." in page.text
    assert "The first 8 of 40 channels." in page.text
    assert "time, seconds" in page.text
    assert "persistence, pixels" in page.text
    assert "frequency, pixels" in page.text
    assert "of type odd" not in page.text


def test_each_channel_of_a_persistence_image_has_its_own_axes(tmp_path: Path) -> None:
    ranges = {"of all": [-1.0, 1.0, 0.0, 2.0], "of each": [[-1.0, 1.0, 0.0, 2.0], [-30.0, 50.0, 0.0, 70.0]]}
    ticks = {}
    for name, extent in ranges.items():
        fake = Fake(tmp_path / name, channels=("ax", "ay"))
        fake.write()
        with np.load(fake.out / "example.npz") as held:
            arrays = dict(held)
        np.savez(fake.out / "example.npz", **arrays, **{"extent.image": np.asarray(extent)})
        page = write_page(fake.out).read_text(encoding="utf-8")
        panels = re.findall(r"<svg[^>]*pi of channel.*?</svg>", page, flags=re.DOTALL)
        ticks[name] = [re.findall(r">\s*([−\d.]+)\s*<", panel) for panel in panels]
    assert ticks["of all"][0] == ticks["of all"][1] == ticks["of each"][0]
    assert "40" in ticks["of each"][1]
    assert "40" not in ticks["of each"][0]


def test_warnings_of_mixed_environments_and_notes_of_the_data(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write()
    run = tmp_path / "cells" / fake.key("kd-row", 0, 0) / "run.json"
    run.write_text(run.read_text().replace('"2.11"', '"2.12"'))
    text = read(tmp_path).text
    assert "different torch" in text
    assert "different instructions" not in text
    for number, instructions in ((0, "AVX2"), (1, "AVX512")):
        run = tmp_path / "cells" / fake.key("kd-row", number, 0) / "run.json"
        run.write_text(json.dumps({**json.loads(run.read_text()), "instructions": instructions}))
    assert 'different instructions: "AVX2", "AVX512"' in read(tmp_path).text
    assert "two recordings were too short" in text


def test_damaged_epochs_are_told_and_do_not_stop_the_page(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write()
    (tmp_path / "cells" / fake.key("kd-row", 0, 0) / "metrics.jsonl").write_text("{broken")
    text = read(tmp_path).text
    assert "Damaged: metrics.jsonl cannot be read. Run the study again" in text
    assert "1 of 20 cells has no result" in text or "19 of 20 cells are done" in text


def test_a_damaged_example_window_does_not_stop_the_page(tmp_path: Path) -> None:
    path = Fake(tmp_path).write() / "example.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert "no example window" in read(tmp_path).text


def test_no_study_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        write_page(tmp_path)


def test_confusion_is_summed_over_folds_and_seeds(tmp_path: Path) -> None:
    page = read(Fake(tmp_path, methods=("none",), teachers=()).write())
    assert "32 4 4" in page.text.replace("walk ", "")
    assert sum(name == "td" and (a.get("class") or "").endswith("hit") for name, a in page.tags) == 3


def test_recipe_on_the_page_is_the_study_again(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.write()
    page = read(tmp_path)
    text = recipe_text(Folder.read(tmp_path))
    assert " ".join(text.split()) in page.text
    again = recipes.validate(yaml.safe_load(text))
    assert again.model_dump(exclude_defaults=True)["student"] == {"model": "dscnn-8"}
    assert list(again.teachers) == ["signal", "gaf"]  # the order of the rows, not of the alphabet


def test_thirty_classes_and_fifty_runs_stay_small(tmp_path: Path) -> None:
    fake = Fake(
        tmp_path,
        folds=10,
        seeds=(0, 1, 2, 3, 4),
        people=10,
        classes=tuple(f"a long class name {n}" for n in range(30)),
        epochs=60,
    )
    assert write_page(fake.write()).stat().st_size < 3_000_000


def test_markup_escapes_by_default() -> None:
    assert tag("td", "<b>", Html("<i></i>"), None, 3, class_='a"b') == '<td class="a&quot;b">&lt;b&gt;<i></i>3</td>'
    assert tag("details", open_=False, hidden=True) == "<details hidden></details>"
    assert join(["a", ["&", Html("&amp;")]]) == "a&amp;&amp;"
    assert escape("\x00\x1b\n") == "\ufffd\ufffd\n"


@pytest.mark.parametrize(
    ("count", "text"), [(None, "–"), (7, "7"), (999, "999"), (1127, "1.13k"), (999_600, "1M"), (1_155_296, "1.16M")]
)
def test_counts_are_short(count: int | None, text: str) -> None:
    assert short(count).replace("\u202f", "") == text


def test_figures_of_the_table_are_those_of_the_study(tmp_path: Path) -> None:
    text = read(Fake(tmp_path, accuracy={"kd": 0.61}).write()).text
    figure = Estimate.of({0: [0.61, 0.613], 1: [0.62, 0.623]})
    assert figure is not None
    assert figure.text(Classification.METRICS[0]) in text


@pytest.mark.parametrize(
    ("values", "std", "counted"),
    [
        ({0: [0.5, 0.7], 1: [0.8, 0.8]}, 0.1414214, "n = 2 folds of 2 seeds"),  # of 0.6 and 0.8
        ({0: [0.5], 1: [0.7]}, 0.1414214, "n = 2 folds"),
        ({3: [0.5, 0.6, 0.7]}, 0.1, "n = 3 seeds of one split"),
        ({0: [0.5, 0.7], 1: [0.8]}, 0.1414214, "n = 2 folds of 2 seeds"),  # a fold counts once, whatever it has
        ({0: [0.5]}, None, "n = 1"),
    ],
)
def test_seeds_are_averaged_inside_a_fold(values: dict[int, list[float]], std: float | None, counted: str) -> None:
    figure = Estimate.of(values)
    assert figure is not None
    assert figure.counted == counted
    assert figure.std == (None if std is None else pytest.approx(std, abs=1e-6))
    assert figure.mean == pytest.approx(np.mean([np.mean(own) for own in values.values()]))


def test_the_files_beside_the_table_hold_what_it_is_made_of(tmp_path: Path) -> None:
    fake = Fake(tmp_path, accuracy={"kd": 0.6})
    fake.write()
    fake.drop("kd-row", 1, 1)
    write_tables(tmp_path, collect(tmp_path))
    with (tmp_path / "table.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["method"] == "kd")
    assert (row["folds"], row["seeds"], row["missing"]) == ("2", "2", "1")
    with (tmp_path / "cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [(c["fold"], c["seed"]) for c in cells if c["method"] == "none"] == [
        ("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")
    ]  # fmt: skip
    own: dict[str, list[float]] = {}
    for cell in cells:
        if cell["method"] == "kd":
            own.setdefault(cell["fold"], []).append(float(cell["accuracy_best"]))
    means = [np.mean(values) for values in own.values()]
    assert float(row["accuracy_best_mean"]) == pytest.approx(np.mean(means), abs=1e-6)
    assert float(row["accuracy_best_std"]) == pytest.approx(np.std(means, ddof=1), abs=1e-6)
    assert next(c for c in cells if c["method"] == "ensemble")["cells"].count("+") == 1


def test_a_study_of_an_earlier_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    out = Fake(tmp_path).write()
    held = json.loads((out / "study.json").read_text(encoding="utf-8"))
    del held["format"]
    (out / "study.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(InputError, match="was written by another version of Overtone; run the study again"):
        collect(out)


@pytest.mark.parametrize(
    ("folds", "seeds", "said"),
    [
        (1, (0, 1, 2), "± standard deviation over seeds of one split, not over people"),
        (2, (0,), "± standard deviation over folds."),
        (2, (0, 1), "± standard deviation over folds, seeds averaged inside each"),
    ],
)
def test_page_and_terminal_say_what_the_deviation_is_over(
    tmp_path: Path, folds: int, seeds: tuple[int, ...], said: str
) -> None:
    out = Fake(tmp_path, folds=folds, seeds=seeds).write()
    assert said in read(out).text
    shown = io.StringIO()
    Console(file=shown, width=140).print(table(collect(out), 140, Classification.METRICS, "people"))
    assert said.rstrip(".") in shown.getvalue()
    assert f"{folds} × {len(seeds)}" in shown.getvalue()


def test_a_teacher_that_no_seed_decides_counts_once_a_fold(tmp_path: Path) -> None:
    out = Fake(tmp_path, folds=1, seeds=(0, 1)).write()
    study = json.loads((out / "study.json").read_text(encoding="utf-8"))
    for cell in next(row for row in study["rows"] if row["id"] == "teacher-gaf")["cells"]:
        cell["keys"] = [Fake(tmp_path).key("teacher-gaf", 0, 0)]
    (out / "study.json").write_text(json.dumps(study), encoding="utf-8")
    rows = {row.id: row for row in collect(out)}
    assert (rows["teacher-gaf"].seeds, rows["teacher-signal"].seeds) == (1, 2)
    assert rows["teacher-gaf"].estimates.get(("accuracy", "best")) is not None
    assert rows["teacher-gaf"].estimates.get(("accuracy", "best")).std is None


def test_the_edge_of_an_area_is_drawn_between_its_pixels() -> None:
    inside = np.ones((4, 4), dtype=bool)
    inside[1:3, 2] = False
    panel = Panel("", "", "area", (120, 120))
    drawn = image_panel(panel, np.zeros((4, 4)), (0.0, 4.0, 0.0, 4.0), "YlOrRd", (0.0, 1.0), inside=inside)
    plain = image_panel(panel, np.zeros((4, 4)), (0.0, 4.0, 0.0, 4.0), "YlOrRd", (0.0, 1.0))
    path = re.search(r'class="edge" d="([^"]*)"', drawn)
    assert path is not None
    lines = [re.findall(r"[\d.]+", line) for line in path[1].split("M")[1:]]
    found = {tuple(round((float(v) - 10) / 25) for v in line) for line in lines}
    down = {(2, 3, 2, 2), (2, 2, 2, 1), (3, 3, 3, 2), (3, 2, 3, 1)}  # from (x, y) to (x, y), y downwards
    across = {(2, 3, 3, 3), (2, 1, 3, 1)}
    assert found == down | across
    assert 'class="edge"' not in plain


def pixels_of(drawn: str) -> np.ndarray:
    """The image of an ``<img>``, (H, W, 4) bytes."""
    found = re.search(r'src="data:image/png;base64,([^"]+)"', drawn)
    assert found is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA"))


def colour(name: str, share: float) -> np.ndarray:
    return np.asarray(mpl.colormaps[name](share)[:3]) * 255


@pytest.mark.parametrize("upright", [True, False])
def test_a_map_alone_is_a_picture_of_even_squares(upright: bool) -> None:
    values = np.array([[0.0, 1.0], [2.0, 4.0]])
    drawn = heat_image(Panel("", "", 'a "map"', (60, 40)), None, Heat(values, False), upright)
    ((name, attributes),) = Reader(drawn).tags
    assert (name, attributes["alt"], attributes["class"]) == ("img", 'a "map"', "panel")
    assert (attributes["width"], attributes["height"]) == ("60", "40")
    pixels = pixels_of(drawn).astype(float)
    assert pixels.shape == (40, 60, 4)
    alpha = np.zeros((40, 60))
    alpha[10:30, 10:50] = 255
    assert np.array_equal(pixels[..., 3], alpha)
    rows = values if upright else values[::-1]
    for row, column in np.ndindex(2, 2):
        square = pixels[10 + 10 * row : 20 + 10 * row, 10 + 20 * column : 30 + 20 * column, :3]
        assert np.abs(square - colour("YlOrRd", rows[row, column] / 4)).max() <= 1


def test_a_map_over_a_picture_is_smooth_and_lets_it_through() -> None:
    seen = np.stack([np.array([[0.0, 1.0], [1.0, 3.0]])] * 3) * np.array([1.0, 2.0, 3.0])[:, None, None]
    panel = Panel("", "", "map", (60, 60))
    flat = pixels_of(heat_image(panel, seen, Heat(np.full((3, 3), -2.0), True), True)).astype(float)
    for row, column, grey in ((0, 0, 0.0), (0, 1, 1 / 3), (1, 0, 1 / 3), (1, 1, 1.0)):
        square = flat[10 + 20 * row : 30 + 20 * row, 10 + 20 * column : 30 + 20 * column, :3]
        assert np.abs(square - (0.55 * colour("RdBu_r", 0.0) + 0.45 * 255 * grey)).max() <= 1
    even = heat_image(panel, np.ones((1, 2, 2)), Heat(np.array([[0.0, 1.0]]), False), True)
    line = pixels_of(even)[30, 10:50, 1].astype(int)
    assert (np.diff(line) <= 0).all()  # ever less green from yellow to red
    assert len(np.unique(line)) > 10


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome here: the page was not opened in a browser")
    return found


MEASURE = """<!DOCTYPE html><html><body style="margin:0">
<iframe style="border:0;width:{width}px;height:3000px" srcdoc="{page}"></iframe>
<script>
window.addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentDocument;
  inner.querySelectorAll("details").forEach(d => d.open = true);
  const root = inner.documentElement, found = [];
  for (const e of inner.querySelectorAll("svg text"))
    if (e.getBoundingClientRect().right > {width} && !e.closest(".scroll")) found.push(e.textContent);
  const out = document.createElement("p");
  out.id = "measured";
  out.textContent = [root.clientWidth, root.scrollWidth, root.scrollHeight > 3000, found.join("|")].join(" ");
  document.body.append(out);
}});
</script></body></html>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_browser_shows_the_page_without_sideways_scrolling(tmp_path: Path, width: int) -> None:
    browser = _chromium()
    classes = ("walking upstairs", "running", "sit", "lie", "stand")
    fake = Fake(tmp_path / "study", classes=classes, methods=("none", "kd", "an_endless_label" * 12))
    fake.write()
    fake.drop("kd-row", 0, 0, error="an endless message " * 30 + "x" * 300)
    page = write_page(tmp_path / "study").read_text(encoding="utf-8")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(MEASURE.format(width=width, page=html.escape(page)), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom",
            wrapper.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    measured = re.search(r'<p id="measured">(\d+) (\d+) (\w+) ([^<]*)</p>', done.stdout)
    assert measured, done.stderr[-2000:]
    inside, needed, tall, clipped = measured.groups()
    assert width - 20 <= int(inside) <= width
    assert int(needed) <= int(inside)
    assert tall == "true"
    assert not clipped
    assert "CONSOLE" not in done.stderr, done.stderr
