"""What methods show of themselves: typed objects, drawn under their own words whoever's they are."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import har_files
import numpy as np
import pytest
import torch
from matplotlib.ticker import LogLocator, MaxNLocator
from rich.console import Console
from test_report import Fake
from typer.testing import CliRunner

from overtone import data, methods, recipe
from overtone.cli import app
from overtone.data.base import Material
from overtone.explain import Explained, collect_explained, read
from overtone.files import write_npz
from overtone.methods.feature_maps import LevelMethod, _apart
from overtone.methods.frequency import FrequencyMethod, _filter
from overtone.methods.kd import KD
from overtone.overview import show_explained
from overtone.report import write_page
from overtone.report.figures import Line, line_panel
from overtone.report.folder import Folder
from overtone.report.looks import looks
from overtone.report.page import page
from overtone.report.plot import Axis as Ends
from overtone.report.plot import Panel, Plot
from overtone.shown import TIME, Axis, Curve, Heatmap, Image, Scalar, Shown, from_file, to_file

RECIPE = """
data: {{name: npz, path: {path}, rate: 50}}
split: {{scheme: leave_groups_out, test: 1, val: 1, folds: [0]}}
teachers:
  signal: {{view: signal, model: dscnn-4, epochs: 1}}
student: {{view: signal, model: dscnn-4, epochs: 2}}
train: {{batch: 16, threads: 1}}
methods:
  - {{name: stranger, teachers: [signal]}}
"""


class Stranger(KD):
    """A method that knows nothing of the page."""

    NAME: ClassVar[str] = "stranger"
    SHOWS: ClassVar[tuple[str, ...]] = ("how doubt wanders through the batch.",)

    def visualisations(self, student, teachers, batch) -> dict[str, Shown]:
        rows = len(batch.index)
        ramp = torch.arange(6.0).expand(rows, 6)
        plane = ramp.unflatten(1, (2, 3))
        captions = [f"of window {int(number)}" for number in batch.index]
        return {
            "doubt": Curve("doubt over time", {"teacher": ramp, "student": ramp / 2}, TIME, "doubt, bits", captions),
            "plane": Heatmap("doubt by depth", plane, Axis("depth", (1, 4)), Axis("class"), "bits", "read upwards"),
        }

    def scalars(self) -> dict[str, Scalar]:
        return {"tau": Scalar(4.0, "Temperature of doubt", "kelvin", "Warmer is <b>softer</b>.")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    generator = np.random.default_rng(0)
    y = np.arange(96) % 2
    x = generator.normal(size=(96, 2, 16)) + y[:, None, None]
    np.savez(folder / "mine.npz", X=x.astype(np.float32), y=y, group=np.arange(96) // 24)
    (folder / "mine.yaml").write_text(RECIPE.format(path=folder / "mine.npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "stranger", Stranger)
        words = ["run", str(folder / "mine.yaml"), "--out", str(folder / "out"), "--jobs", "1"]
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stdout + result.stderr
    return folder / "out"


def figures(page: str) -> dict[str, str]:
    """What stands below each caption."""
    return dict(re.findall("<figure><figcaption>(.*?)</figcaption>(.*?)</figure>", page, re.S))


def test_a_strangers_pictures_are_drawn_under_their_own_words(study: Path) -> None:
    page = write_page(study).read_text(encoding="utf-8")
    found = figures(page)
    first = read(study).about["samples"][0]["number"]
    curve = page[page.index("doubt over time") :]
    assert f"of window {first}" in curve
    assert "doubt, bits" in curve
    assert "seconds" in curve
    assert 'aria-label="doubt by depth: bits"' in found["doubt by depth"]
    assert "read upwards" in found["doubt by depth"]
    assert "<b>stranger</b>: how doubt wanders through the batch." in page
    tau = found["Temperature of doubt"]
    assert "kelvin" in tau
    assert "Warmer is &lt;b&gt;softer&lt;/b&gt;." in tau
    for word in ("frequency attention", "mean magnitudes", "evidence", "g1"):
        assert word not in page


def test_numbers_are_followed_by_name_and_told_by_the_result(study: Path) -> None:
    cell = next(path.parent for path in study.glob("cells/*/visualisations.npz"))
    rows = [json.loads(line) for line in (cell / "metrics.jsonl").read_text().splitlines()]
    assert [row["scalars"] for row in rows] == [{"stranger.tau": 4.0}] * 2
    told = json.loads((cell / "result.json").read_text())["scalars"]
    assert told == {"stranger.tau": Stranger.scalars(None)["tau"].about()}  # type: ignore[arg-type]


def test_the_terminal_draws_them_too(study: Path) -> None:
    shown = io.StringIO()
    show_explained(Console(file=shown, width=160), read(study), "window")
    lines = shown.getvalue().splitlines()
    (student,) = [line for line in lines if "doubt, student" in line]
    assert "▁▂▄▅▇█" in student
    assert student.split()[-2:] == ["0", "2.5"]
    (plane,) = [line for line in lines if " plane " in line]
    assert "2 x 3" in plane


def spoilt(about: dict, arrays: dict, how: str) -> None:
    plane = about["shown"][1]
    if how == "unknown kind":
        plane["kind"] = "hologram"
    elif how == "field":
        plane["colour"] = "red"
    elif how == "no kind":
        del plane["kind"]
    elif how == "array":
        del arrays["stranger.plane/values"]
    elif how == "shape":
        arrays["stranger.plane/values"] = arrays["stranger.plane/values"][..., 0]
    elif how == "not finite":
        arrays["stranger.plane/values"] = np.full_like(arrays["stranger.plane/values"], np.nan)
    elif how == "axis":
        plane["x"] = {"title": 3}
    elif how == "few samples":
        plane["span"] = {"array": "stranger.doubt/lines/teacher"}
    elif how == "words":
        plane["values"] = "none"


SPOILT = {
    "unknown kind": "This drawing cannot be read: this version knows no hologram.",
    "field": "This drawing cannot be read: damaged.",
    "no kind": "This drawing cannot be read: damaged.",
    "array": "This drawing cannot be read: damaged.",
    "shape": "This drawing cannot be read: doubt by depth: an array of 3 axes is needed",
    "not finite": "This drawing cannot be drawn: it has values that are not finite.",
    "axis": "This drawing cannot be drawn: its description is damaged.",
    "few samples": "This drawing cannot be read: doubt by depth: an array of shape",
    "words": "This drawing cannot be read: damaged.",
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_cannot_be_drawn_is_a_note_and_the_rest_is_drawn(study: Path, how: str) -> None:
    whole = read(study)
    about = json.loads(json.dumps(whole.about))
    place = next(n for n, model in enumerate(about["models"]) if model["shown"])
    prefix = f"{place}/shown/"
    arrays = {name.removeprefix(prefix): held for name, held in whole.arrays.items() if name.startswith(prefix)}
    spoilt(about["models"][place], arrays, how)
    others = {name: held for name, held in whole.arrays.items() if not name.startswith(prefix)}
    found = Explained(about, {**others, **{f"{prefix}{name}": held for name, held in arrays.items()}})
    page = looks(Folder.read(study), found)
    assert SPOILT[how] in page
    assert figures(page)["doubt over time"].count("<svg") >= 3  # two lines' names and the panel
    show_explained(Console(file=io.StringIO()), found, "window")


@pytest.mark.parametrize("content", ["text", "array", "older"])
def test_a_damaged_file_of_a_cell_is_a_note(study: Path, content: str) -> None:
    path = next(study.glob("cells/*/visualisations.npz"))
    kept = path.read_bytes()
    try:
        if content == "text":
            path.write_bytes(b"no archive")
        else:
            about = {"about": np.asarray("{]")} if content == "array" else {}
            write_npz(path, {**about, "index": np.arange(3), "fam.t/stage1/map.before": np.zeros((3, 4))})
        found = collected(study)
    finally:
        path.write_bytes(kept)
    page = looks(Folder.read(study), found)
    assert f"visualisations.npz of cell {path.parent.name} cannot be read, or is of another version." in page


def collected(study: Path) -> Explained:
    windows = data.load(recipe.load(str(study.parent / "mine.yaml")).data)
    numbers = [sample["number"] for sample in read(study).about["samples"]]
    return collect_explained(study, windows, numbers, {}, damaged=())


@pytest.mark.parametrize(
    "one",
    [
        Curve("c", {"a": torch.ones(2, 3), "array": np.ones((2, 5))}, Axis("x", (0, 1)), "y", ["p", "q"], ("a",)),
        Heatmap("h", torch.ones(2, 3, 4), TIME, Axis("y"), "z", span=np.zeros((2, 2)), area=torch.ones(2, 3, 4)),
        Image("i", torch.ones(2, 3).double(), "z"),
        Image("i", torch.ones(2, 3, 4), "z", "said"),
    ],
)
def test_an_object_comes_back_from_its_file(one: Shown) -> None:
    told, arrays = to_file({"method.a/b": one})
    (about,) = json.loads(json.dumps(told))
    back = from_file(about, arrays)
    assert type(back) is type(one)
    for name, value in vars(one).items():
        held = getattr(back, name)
        if name == "lines":
            assert list(held) == list(value)
            assert all(np.array_equal(held[line], np.asarray(value[line])) for line in value)
        elif hasattr(value, "shape"):
            assert np.array_equal(held, np.asarray(value))
        elif isinstance(value, Axis):
            assert (held.title, held.ends and tuple(held.ends)) == (value.title, value.ends)
        else:
            assert held == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curve("c", {}, TIME, "y"), "c: a curve needs a line"),
        (lambda: Curve("c", {"a": torch.ones(3)}, TIME, "y"), "c, line a: an array of 2 axes"),
        (lambda: Heatmap("h", torch.ones(2, 3), TIME, TIME, "z"), r"h: an array of 3 axes .* \(2, 3\)"),
        (lambda: Image("i", torch.ones(2, 3, 0), "z"), r"i: .* got shape \(2, 3, 0\)"),
    ],
)
def test_values_of_another_shape_are_refused_where_the_object_is_made(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def page_of(out: Path, shown: dict[str, Shown], meaning: dict[str, tuple[str, ...]]) -> str:
    """The part of the page about one model that shows these."""
    told, arrays = to_file(shown)
    model = {"title": "m", "model": "dscnn-8", "verdicts": [["says one, 50 %", True]], "branches": []}
    about = {
        "fold": 0,
        "seed": 0,
        "samples": [{"number": 3, "called": "one", "group": "p00", "side": "test"}],
        "models": [{**model, "shown": told, "meaning": meaning}],
    }
    return looks(Folder.read(Fake(out).write()), Explained(about, {f"0/shown/{k}": v for k, v in arrays.items()}))


@pytest.mark.parametrize("dims", [1, 2])
def test_levels_show_frequency_attention_its_mask_and_distances(tmp_path: Path, dims: int) -> None:
    size = (8,) * dims
    mask = torch.ones(1, *size)
    mask[(slice(None), *(slice(3, 6),) * dims)] = 0
    shown = {
        "fam.t/stage1/student": Image("student", torch.rand(1, *size), "mean magnitudes"),
        "fam.t/stage1/filter": _filter(mask * 0.25, mask),
    }
    meaning = {"fam": FrequencyMethod.SHOWS, "review": LevelMethod.SHOWS, "mine": "one text, no tuple"}
    page = page_of(tmp_path / "a", shown, meaning)
    assert list(figures(page)) == ["student", "learned filter, magnitude 0 to 0.25"]
    assert re.search("<h4>t, stage1<span[^>]*>mean magnitudes</span></h4>", page)
    assert ("The line is the mask’s edge" if dims == 2 else "The mask’s 0 to 1") in page
    assert ('class="edge"' in page) == (dims == 2)
    assert "<b>fam, review</b>: each stage of the student" in page
    assert "<b>mine</b>: one text, no tuple</p>" in page
    assert "<b>fam</b>: also what goes into frequency attention" in page
    everything = page_of(tmp_path / "b", {"fam.t/stage1/filter": _filter(mask, torch.ones(1, *size))}, {})
    assert ("The mask lets every frequency pass." in everything) == (dims == 2)


@pytest.mark.parametrize("group", [("machine", "machines"), ("person", "people")])
def test_groups_are_called_what_the_data_calls_them(tmp_path: Path, group: tuple[str, str]) -> None:
    out = Fake(tmp_path).write()
    study = json.loads((out / "study.json").read_text())
    study["data"]["material"] = asdict(Material(group=group[0], groups=group[1]))
    (out / "study.json").write_text(json.dumps(study))
    text = re.sub("<[^>]*>", " ", page(Folder.read(out)))
    assert f"4 {group[1]}" in text
    assert f"Scores on the test {group[1]}" in text
    assert f"Windows by {group[0]} and class" in text
    assert bool(re.search("person|people|nobody", text, re.I)) == (group[0] == "person")


def test_what_data_is_made_of_comes_from_its_source() -> None:
    made = {name: source.MATERIAL.groups for name, source in data.SOURCES.items()}
    people = {"watch", "uci_har", "sp_sw_har", *har_files.MAKERS}
    assert {name for name, groups in made.items() if groups == "people"} == people
    images = {"cifar10", "cifar100", "imagefolder", "imagenet", "boxes", "coco", "bccd"}
    assert {name for name, groups in made.items() if groups == "images"} == images


def test_values_lie_where_the_axes_say() -> None:
    x = Ends.over(0.0, 10.0, MaxNLocator(5))
    y = Ends.around(np.array([1.0, np.nan, 100.0, -3.0]), 0.5, LogLocator(10, subs=(1.0,), numticks=6), log=True)
    assert (y.low, y.high) == pytest.approx((0.1, 1000))  # half of two decades beyond either end
    plot = Plot(Panel("x", "y", "panel", (162, 150)), x, y)  # 100 by 100 between the margins
    along, up = plot.place(np.array([0.0, 5.0, 10.0]), np.array([0.1, 10.0, 1000.0]))
    assert along == pytest.approx([52, 102, 152])
    assert up == pytest.approx([110, 60, 10])
    assert (
        plot.path(np.array([0.0, 5.0, 5.0, 10.0]), np.array([10.0, 10.0, np.nan, 10.0]))
        == "M52.0 60.0L102.0 60.0M152.0 60.0"
    )
    drawn = plot.svg(grid=True)
    assert re.findall(">([^<]+)</text>", drawn) == [
        "0",
        "2",
        "4",
        "6",
        "8",
        "10",
        "0.1",
        "1",
        "10",
        "100",
        "1000",
        "x",
        "y",
    ]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([-0.25, 0.0, 0.25], ["−0.25", "0.00", "0.25"]),
        ([-5.6e-17, 0.1, 0.2], ["0.0", "0.1", "0.2"]),
        ([2.5, 5.0], ["2.5", "5.0"]),
        ([0.0, 2e6], ["0", "2e+06"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_ticks_have_the_digits_they_need(ticks: list[float], labels: list[str]) -> None:
    assert Ends(0.0, 1.0, np.asarray(ticks)).labels == labels


def test_a_line_without_a_finite_value_is_an_empty_panel() -> None:
    nothing = Line("a", np.arange(3.0), np.full(3, np.nan))
    assert "NaN" not in line_panel(Panel("x", "y", "panel"), [nothing])
    assert "nan" not in line_panel(Panel("x", "y", "panel"), [nothing])


def test_spectra_say_how_far_they_are_from_the_teachers() -> None:
    falling, flat = np.array([2.0, 1.0, 0.0]), np.ones(5)  # 2 - 2 x at a share x of Nyquist
    expected = np.sqrt(np.mean((np.array([2.0, 1.5, 1.0, 0.5, 0.0]) - 1) ** 2))
    assert _apart(falling, flat) == f"{expected:.0%}"
    assert _apart(np.array([1.0, 1.0, 1.0, 1.0, 2.0]), flat) == f"{np.sqrt(1 / 5):.0%}"
