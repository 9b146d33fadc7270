"""Tables as people have them: forms found or set, what is wrong counted, and prediction reading what training read."""

from __future__ import annotations

import math
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import har_files
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from overtone import data
from overtone.data import Windows
from overtone.data.resample import Stream, regular
from overtone.errors import InputError
from overtone.formats.cells import Signs, numbers
from overtone.formats.encodings import find_encoding
from overtone.formats.table import TextFormat, open_table
from overtone.models import build
from overtone.new_data import Columns, read_windows
from overtone.recipe import DataSettings
from overtone.student import Header, SeenView, load_student, read_header, save_student

SIGNAL = np.random.default_rng(0).normal(size=(240, 3)).round(4)
"""Two people, 60 samples of a class each, 20 samples a second."""
PEOPLE, CLASSES = [["ann", "bob"][s // 120] for s in range(240)], [["sit", "walk"][s // 60 % 2] for s in range(240)]


def load(path: Path, **given: Any) -> Windows:
    return data.load(DataSettings.model_validate({"name": "csv", "window": 20, **given, "path": str(path)}))


def refused(path: Path, **given: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(path, **given)
    return str(caught.value)


def long(path: Path, unit: float = 1.0, **places: list[str]) -> Path:
    """SIGNAL as a long table; some columns may be replaced."""
    columns = {
        "who": PEOPLE,
        "t": [f"{s % 120 / 20 / unit:.10g}" for s in range(240)],
        **{name: [f"{value:.4f}" for value in SIGNAL[:, c]] for c, name in enumerate(("x", "y", "z"))},
        "label": CLASSES,
        **places,
    }
    lines = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


LONG = {"group": "who", "channels": ["x", "y", "z"], "time": "t"}


# --- classic files of the field. Layouts as their sets' own descriptions have them; the numbers are made up.


def wisdm(path: Path, *changes: tuple[int, str]) -> Path:
    """WISDM 2011: user, activity, nanoseconds, x, y, z; no header, each record ends with a semicolon."""
    lines = [
        f"{p},{label},{s % 120 * 50_000_000},{x},{y},{z};"
        for s, (p, label, (x, y, z)) in enumerate(zip(PEOPLE, CLASSES, SIGNAL, strict=True))
    ]
    for number, line in changes:
        lines[number] = line
    path.write_text("\n".join(lines))
    return path


WISDM = {
    "columns": ["user", "activity", "time", "x", "y", "z"],
    "label": "activity",
    "group": "user",
    "channels": ["x", "y", "z"],
    "time": "time",
    "time_unit": "ns",
}


def test_the_long_table_is_what_the_others_are_held_to(tmp_path: Path) -> None:
    windows = load(long(tmp_path / "x.csv"), **LONG)
    assert (windows.x.shape, windows.classes, windows.groups) == ((12, 3, 20), ("sit", "walk"), ("ann", "bob"))
    np.testing.assert_allclose(windows.x[6], SIGNAL[120:140].T, atol=1e-6)


def test_wisdm(tmp_path: Path) -> None:
    expected = load(long(tmp_path / "x.csv"), **LONG).content
    path = wisdm(tmp_path / "raw.txt")
    assert load(path, **WISDM).content == expected
    by_number = {"label": 2, "group": 1, "channels": [4, 5, 6], "time": 3, "time_unit": "ns"}
    assert load(path, **by_number).channels == ("4", "5", "6")
    lines = path.read_text().splitlines()
    lines[7:9] = [lines[7] + lines[8]]  # two records on one line
    path.write_text("\n".join(lines))
    assert load(path, **WISDM).content == expected


def test_mhealth(tmp_path: Path) -> None:
    """Tab-separated, no header, the last of its columns the label; a file per person."""
    for person in ("ann", "bob"):
        own = [s for s in range(240) if PEOPLE[s] == person]
        text = "".join("\t".join([*map(str, SIGNAL[s]), str(int(CLASSES[s] == "walk"))]) + "\n" for s in own)
        (tmp_path / f"mHealth_{person}.log").write_text(text)
    given = {"name": "folder", "files": "*.log", "pattern": "mHealth_(?P<group>[a-z]+)", "rate": 20}
    windows = load(tmp_path, **given, channels=[1, 2, 3], label=4)
    np.testing.assert_array_equal(windows.x, load(long(tmp_path / "x.csv"), **LONG).x)
    assert windows.classes == ("0", "1")


def test_pamap2(tmp_path: Path) -> None:
    """Separated by blanks, no header, seconds, heart rate that is missing in nearly all rows."""
    lines = [
        f"{s % 120 / 20:.2f} {int(CLASSES[s] == 'walk')} {'70' if s % 10 == 0 else 'NaN'}  {x} {y} {z} "
        for s, (x, y, z) in enumerate(SIGNAL)
    ]
    for name, part in (("101", lines[:120]), ("102", lines[120:])):
        (tmp_path / f"subject{name}.dat").write_text("\n".join(part))
    given = {"name": "folder", "files": "*.dat", "pattern": "subject(?P<group>[0-9]+)", "time": 1, "label": 2}
    told = refused(tmp_path, **given, channels=[3, 4, 5, 6])
    assert (
        "216 values are missing (3: 216, 90 %); the first is in recording 'subject101.dat', channel '3', row 2" in told
    )
    windows = load(tmp_path, **given, channels=[3, 4, 5, 6], missing="hold")
    assert "216 values are missing (3: 216, 90 %); 216 were held, within 1 s" in windows.notes
    np.testing.assert_array_equal(windows.x[:, 1:], load(long(tmp_path / "x.csv"), **LONG).x)
    assert (windows.x[:, 0] == 70).all()


@pytest.mark.parametrize("cells", [["", "NA", "?"], ["nan", "null", " "], ["N/A", "NaN", "NULL"]])
def test_empty_cells_are_missing(cells: list[str], tmp_path: Path) -> None:
    x = [f"{value:.4f}" for value in SIGNAL[:, 0]]
    for row, cell in zip((31, 32, 90), cells, strict=True):
        x[row] = cell
    told = refused(long(tmp_path / "x.csv", x=x), **LONG)
    assert "3 values are missing (x: 3, 1.2 %); the first is in recording 'ann', channel 'x', row 33" in told
    windows = load(tmp_path / "x.csv", **LONG, missing="interpolate")
    ends = SIGNAL[30, 0], SIGNAL[33, 0]
    np.testing.assert_allclose(windows.x[1, 0, 11:13], np.interp([1, 2], [0, 3], ends), atol=1e-6)
    cut = load(tmp_path / "x.csv", **LONG, missing="drop")
    assert any("3 of 240 samples (1.2 %) were cut out" in note for note in cut.notes)
    assert sorted(zip(cut.recording.tolist(), cut.start.tolist(), strict=True))[:4] == [
        (0, 0),
        (0, 33),
        (0, 91),
        (1, 0),
    ]


# --- forms


@pytest.mark.parametrize(
    ("text", "names", "delimiter"),
    [
        ("a,b\n1,2\n", "a b", ","),
        ("a;b;\n1;2;\n3;4;\n", "a b", ";"),
        ("a,b\n1,2,\n", "a b", ","),
        ("a\tb\n1\t2\n", "a b", "\t"),
        ("acc x,acc 2\n1,2\n", "acc x|acc 2", ","),
        ("  1.0e+00  -2.0e+00\n  1.0e+00  2.0e+00\n", "1 2", " "),
        ("t ax\n0 1\n1 2\n", "t ax", " "),
        ("1,5;2,5\n3,5;4,5\n", "1 2", ";"),
        ("1,5 2,5\n3,5 4,5\n", "1 2", " "),
        ("0,1\n5,6\n7,8\n", "0 1", ","),  # numbers counted from 0 are names
        ("1,2\n5,6\n", "1 2", ","),
        ("1,3\n5,6\n", "1 2", ","),
        ("walk|1\nrun|2\n", "1 2", "|"),
        ("x\n1\n2\n", "x", ","),
    ],
)
def test_forms_are_found(text: str, names: str, delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    found = open_table(tmp_path / "x.csv", "x", TextFormat())
    assert found.names == tuple(names.split("|" if "|" in names else None))
    assert found.delimiter == delimiter  # type: ignore[attr-defined]
    rows = [row for block in found.blocks() for row in zip(*block.columns, strict=True)]
    header = found.header  # type: ignore[attr-defined]
    assert len(rows) == len(text.splitlines()) - header
    assert not found.bad.count


def test_forms_are_set(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("3:4\n1:2\n")
    found = open_table(tmp_path / "x.csv", "x", TextFormat(delimiter=":", header=True, columns=["a", "b"]))
    assert found.names == ("a", "b")
    assert [list(block.columns) for block in found.blocks()] == [[("1",), ("2",)]]
    for wrong, message in [
        ({"delimiter": "ab"}, "delimiter"),
        ({"delimiter": "a"}, "a comma, semicolon"),
        ({"encoding": "utf-88"}, "no encoding"),
        ({"columns": ["a", "a"]}, "two columns are called 'a'"),
        ({"bad_rows": "keep"}, "bad_rows"),
        ({"label": 0}, "columns are numbered from 1"),
        ({"label": 9}, "there is no label column 9; columns are numbered from 1 to 6"),
    ]:
        assert message in refused(long(tmp_path / "y.csv"), **{**LONG, **wrong})


KOREAN = "대상,t,x,y,z,라벨"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("시간,가속도x,라벨\n0,1,걷기\n", "cp949"),
        ("이름,x\n1,2\n", "cp949"),
        ("성별,x,y\n" + "1,2,3\n" * 500, "cp949"),
        ("時間,加速度,ラベル\n1,2,歩く\n", "cp932"),
        ("时间,加速度\n1,走路\n", "gb18030"),
        ("時間,加速度\n1,走路\n", "big5"),
        ("Größe,é,m/s²,°C\n1,2,3,4\n", "latin-1"),
        ("Ärger,Übung\n1,2\n", "latin-1"),
        ("who,t\né1,2\né2,3\n", "latin-1"),
        ("시간,°C\n1,2\n", "utf-8"),
    ],
)
def test_encodings_are_told_by_what_they_hold(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    assert find_encoding(tmp_path / "x.csv", "x") == encoding


def test_a_korean_table(tmp_path: Path) -> None:
    path = long(tmp_path / "x.csv")
    expected = load(path, **LONG)
    text = path.read_text().replace("who,t,x,y,z,label", KOREAN).replace("walk", "걷기").replace("sit", "앉기")
    path.write_bytes(text.encode("cp949"))
    given = {**LONG, "group": "대상", "label": "라벨"}
    windows = load(path, **given)
    assert windows.classes == ("걷기", "앉기")
    np.testing.assert_array_equal(windows.x, expected.x)
    note = "x.csv is no UTF-8 and was read as cp949 (Korean), which its bytes look like; data.encoding says otherwise"
    assert note in windows.notes
    assert load(path, **given, encoding="cp949").notes == ()
    assert "is not written in utf-8" in refused(path, **given, encoding="utf-8")


@pytest.mark.parametrize(
    ("decimal", "cell", "value"),
    [
        (".", "2,981", 2981),
        (",", "2,981", 2.981),
        (".", "1,234,567.5", 1234567.5),
        (",", "1.234.567,5", 1234567.5),
        (",", "1.234", 1234),
        (None, "1,234.5", 1234.5),
        (None, "1.234,5", 1234.5),
        (None, "0,125", 0.125),
        (None, "1,234,567", 1234567),
        (None, "-3,5e2", -350),
        (".", "2,98", None),
        (",", "1.5", None),
        (None, "12,34.5", None),
        (None, "1,2,3", None),
    ],
)
def test_decimal_signs(decimal: Any, cell: str, value: float | None) -> None:
    converted = numbers([cell, "7"], [2, 3], Signs("'x'", decimal))
    assert converted.wrong == ([0] if value is None else [])
    assert value is None or converted.values.tolist() == [value, 7]


@tried(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.none(), min_size=1, max_size=8), st.sampled_from(".,"))
def test_numbers_are_read_as_they_are_written(values: list[float | None], decimal: Any) -> None:
    cells = ["" if value is None else repr(value).replace(".", decimal) for value in values]
    converted = numbers(cells, range(len(cells)), Signs("'x'", decimal))
    expected = [math.nan if value is None else value for value in values]
    np.testing.assert_array_equal(converted.values, expected)
    assert not converted.wrong


def test_commas_that_may_be_either_are_refused(tmp_path: Path) -> None:
    whole = {name: [f"{s}" for s in range(240)] for name in ("t", "y", "z")}
    path = long(tmp_path / "x.csv", x=[f'"{1 + s % 9},{100 + s}"' for s in range(240)], **whole)
    told = refused(path, **LONG)
    assert "column 'x' (channel) holds '1,100' in row 2, and its every comma may be a decimal sign" in told
    assert told.endswith('set data.decimal: "." if 1,100 is 1100, or "," if it is 1.100')
    assert load(path, **LONG, decimal=".").x[0, 0, 0] == 1100


def test_a_decimal_point_elsewhere_makes_commas_group(tmp_path: Path) -> None:
    thousands = [f'"{1 + s % 9},{100 + s}"' if s % 3 == 0 else f"{s}" for s in range(240)]
    grouped = load(long(tmp_path / "x.csv", x=thousands), **LONG)
    assert grouped.x[0, 0, :4].tolist() == [1100, 1, 2, 4103]
    (note,) = grouped.notes
    assert "(1,100 in row 2 of 'x' (channel) is 1100), as '-0.1321' in row 2 of 'y' (channel) has a decimal" in note
    mixed = load(long(tmp_path / "x.csv", x=['"1,100"', "812.5"] * 120), **LONG)
    assert mixed.x[0, 0, :2].tolist() == [1100, 812.5]
    assert load(tmp_path / "x.csv", **LONG, decimal=".").notes == ()
    either = ["1.234", '"1,100"'] * 120  # a point that may group as well tells nothing
    told = refused(long(tmp_path / "x.csv", x=either, y=["1.234"] * 240, z=["1.234"] * 240), **{**LONG, "time": None})
    assert "which is no number beside others with a decimal point" in told


# --- lines before the table


def before(path: Path, text: str, body: str | None = None) -> Path:
    """The long table, or another, below some text."""
    path.write_text(text + (body if body is not None else long(path).read_text()))
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# Logger 3.1\n# rate, 20, Hz\n\n", 2),
        ("Device: ABC\nStart: 2024-05-01 10:00\nRate, 20 Hz\n", 3),
        ("\n\nDevice; ABC; 3\r\nRate: 20 Hz\n\n", 4),
        ("# made by a logger\nDevice: ABC\n", 2),
    ],
)
def test_lines_before_a_table_are_skipped_and_told(text: str, line: int, tmp_path: Path) -> None:
    expected = load(long(tmp_path / "x.csv"), **LONG)
    path = before(tmp_path / "x.csv", text)
    windows = load(path, **LONG)
    assert windows.content == expected.content
    assert f"the table in x.csv was taken to start below line {line}; before it stands '" in windows.notes[0]
    assert load(path, **LONG, skip=line).notes == ()
    lines = path.read_text().splitlines()
    lines[-1] = "ann,1"
    path.write_text("\n".join(lines))
    assert f"row {len(lines)} has 2 cells" in refused(path, **LONG)  # rows keep their lines in the file


@pytest.mark.parametrize("sign", [";", ",", "\t", "|"])
def test_a_line_that_names_the_delimiter(sign: str, tmp_path: Path) -> None:
    expected = load(long(tmp_path / "x.csv"), **LONG)
    body = long(tmp_path / "x.csv").read_text().replace(",", sign)
    windows = load(before(tmp_path / "x.csv", f"sep={sign}\r\n", body), **LONG)
    assert (windows.content, windows.notes) == (expected.content, ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# t,x\n0.5,1\n1.5,2\n", ("# t", "x")),  # names in a comment
        ("x,y\n1,0.5,2\n2,1.5,3\n", ("x", "y")),  # a name too few
        ("33\n33,1,2\n33,2,3\n", ("1", "2", "3")),  # a row that is cut
        ("#,x\n1,0.5\n2,1.5\n", ("#", "x")),
        ("x\n1\n2\n", ("x",)),
    ],
)
def test_rows_that_are_no_preamble_are_kept(text: str, names: tuple[str, ...], tmp_path: Path) -> None:
    path = before(tmp_path / "x.csv", text, "")
    table = open_table(path, "x", TextFormat())
    assert (table.names, table.notes) == (names, [])


def test_nothing_below_what_is_skipped(tmp_path: Path) -> None:
    assert "there is no row below line 500" in refused(long(tmp_path / "x.csv"), **LONG, skip=500)
    assert "there is no row below line 1" in refused(before(tmp_path / "x.csv", "sep=;\n", ""), **LONG)


# --- bad rows


def test_bad_rows_of_a_file(tmp_path: Path) -> None:
    expected = load(wisdm(tmp_path / "raw.txt"), **WISDM)
    faults = [(130, "bob,sit,500000000,1,2"), (131, "bob,sit,550000000,1,oops,3;"), (132, "bob,sit,,1,2,3;")]
    path = wisdm(tmp_path / "raw.txt", *faults)
    told = refused(path, **WISDM)
    assert "3 rows cannot be used: row 131 has 5 cells, data.columns names 6 (delimiter ',')" in told
    assert "column 'y' (channel) holds 'oops' in row 132, which is no number" in told
    assert "column 'time' (time) holds '' in row 133" in told
    assert "set data.bad_rows: drop" in told
    windows = load(path, **WISDM, bad_rows="drop")
    assert any(note.startswith("3 rows could not be used and were left out: row 131 has 5") for note in windows.notes)
    assert not any(str(tmp_path) in note for note in windows.notes)
    np.testing.assert_array_equal(windows.x[:6], expected.x[:6])
    assert windows.start[windows.recording == 1].tolist() == [
        13,
        33,
        73,
        93,
    ]  # behind the gap, and none in which the label changes


def test_bad_rows_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for person in ("ann", "bob", "cy"):
        lines = ["x,y", *(f"{s},{s}" for s in range(60))]
        if person != "bob":
            lines[5:7] = ["1,2,3", "a,b"]
        for label in ("sit", "walk"):
            (tmp_path / f"{person}_{label}.csv").write_text("\n".join(lines))
    given = {"name": "folder", "pattern": "(?P<group>[^_]+)_(?P<label>[^.]+)", "channels": ["x", "y"]}
    told = refused(tmp_path, **given)
    assert "8 rows in 4 of 6 files cannot be used: ann_sit.csv has 2 (row 6 has 3 cells, the header has 2" in told
    assert "cy_walk.csv has 2" in told
    windows = load(tmp_path, **given, bad_rows="drop")
    assert any(note.startswith("8 rows in 4 of 6 files could not be used and were left out") for note in windows.notes)
    (tmp_path / "cy_sit.csv").write_text("x,y\na,b\n")
    assert "cy_sit.csv: no row can be used: column 'x' (channel) holds 'a' in row 2" in refused(
        tmp_path, **given, bad_rows="drop"
    )


# --- time


@pytest.mark.parametrize(("name", "unit"), [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])
def test_units_of_time_are_proposed_and_never_filled_with_made_up_samples(
    name: str, unit: float, tmp_path: Path
) -> None:
    path = long(tmp_path / "x.csv", unit)
    given = {**LONG, "rate": 20, "resample": True}
    for settings in (given, LONG):
        assert f"{name} is likely: say data.time_unit: {name}" in refused(path, **settings)
    wrong = refused(path, **given, time_unit="s")
    assert f"{name} is likely (20 Hz)" in wrong
    assert "set data.resample: upsample" in wrong
    assert "values, more than" in refused(path, **{**given, "resample": "upsample", "rate": 1e9}, time_unit="s")
    expected = load(long(tmp_path / "s.csv"), **given)
    windows = load(path, **given, time_unit=name)
    np.testing.assert_allclose(windows.x, expected.x, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.001, 0.05, 1.0, 2.0])
def test_seconds_are_believed_where_they_may_be(seconds: float, tmp_path: Path) -> None:
    stamps = [f"{s % 120 * seconds:.10g}" for s in range(240)]
    assert load(long(tmp_path / "x.csv", t=stamps), **LONG).rate == pytest.approx(1 / seconds)


def test_little_upsampling_is_done_and_much_on_request() -> None:
    stream = Stream("r", np.arange(20) / 10, np.arange(20, dtype=np.float32)[:, None], np.zeros(20, np.int64))
    (stretch,), rate, _ = regular([stream], 40, True, "t")
    assert (rate, stretch.values.shape) == (40, (1, 77))
    with pytest.raises(InputError, match=r"recording 'r' has 10 Hz, so that 50 Hz would be 5 times as many.*upsample"):
        regular([stream], 50, True, "t")
    assert regular([stream], 50, "upsample", "t")[0][0].values.shape == (1, 96)


def test_dates_of_another_form_name_iso_8601(tmp_path: Path) -> None:
    told = refused(long(tmp_path / "x.csv", t=["1/5/2024 13:00"] * 240), **LONG)
    assert "holds '1/5/2024 13:00' in row 2, which is no time stamp (a number, or a date in ISO 8601" in told


# --- labels, folders, Parquet


def test_labels_that_mean_the_same(tmp_path: Path) -> None:
    label = [f"{int(name == 'walk')}{'.0' * (s % 2)}" for s, name in enumerate(CLASSES)]
    windows = load(long(tmp_path / "x.csv", label=label), **LONG)
    assert windows.classes == ("0", "1")
    assert any("labels that mean the same are one class: " in note for note in windows.notes)
    label = [f"b'{name}'" for name in CLASSES]
    assert load(long(tmp_path / "x.csv", label=label), **LONG).classes == ("sit", "walk")


def test_a_folder_for_a_file_and_a_file_for_a_folder(tmp_path: Path) -> None:
    path = long(tmp_path / "x.csv")
    assert "this is a folder; for one table per recording write name: folder" in refused(tmp_path, **LONG)
    assert "this is a file; for one long table write name: csv" in refused(path, name="folder", channels=["x"])
    assert "pattern of files below the folder" in refused(tmp_path, name="folder", channels=["x"], files="../*.csv")


def test_parquet(tmp_path: Path) -> None:
    arrow = import_module("pyarrow")
    from pyarrow import parquet

    stamps = np.datetime64("2024-05-01T13:00:00", "ms") + (np.arange(240) % 120) * np.timedelta64(50, "ms")
    columns = {"who": PEOPLE, "t": [s % 120 / 20 for s in range(240)], "date": stamps, "label": CLASSES}
    columns |= {name: SIGNAL[:, c] for c, name in enumerate(("x", "y", "z"))}
    columns["number"] = [int(name == "walk") for name in CLASSES]
    columns["hole"] = [None if s % 9 == 4 else float(s) for s in range(240)]
    path = tmp_path / "x.parquet"
    parquet.write_table(arrow.table(columns), path)
    expected = load(long(tmp_path / "x.csv"), **LONG)
    assert load(path, **LONG).content == expected.content
    np.testing.assert_array_equal(load(path, **{**LONG, "time": "date"}).x, expected.x)
    assert load(path, **LONG, label="number").classes == ("0", "1")
    assert "column 'label' (channel) holds 'sit' in row 1, which is no number" in refused(
        path, **{**LONG, "channels": ["label"]}
    )
    assert "27 values are missing (hole: 27" in refused(path, **{**LONG, "channels": ["x", "hole"]})
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut short or no Parquet file" in refused(path, **LONG)


def test_parquet_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.pq").write_bytes(b"PAR1")
    assert 'needs pyarrow: pip install "overtone[parquet]"' in refused(tmp_path / "x.pq", **LONG)


# --- prediction reads what training read


def student(path: Path, windows: Windows, settings: DataSettings) -> Path:
    """A student that knows its data, as a study writes it."""
    torch.manual_seed(0)
    shape = (len(windows.channels), *windows.size)
    header = Header(
        builder="dscnn-4",
        input_shape=shape,
        classes=windows.classes,
        channels=windows.channels,
        rate=windows.rate,
        window=windows.size[0],
        mean=(0.0,) * shape[0],
        std=(1.0,) * shape[0],
        views=[SeenView(type="signal", settings={}, state={})],
        data=data.remembered(settings),
    )
    save_student(path, build("dscnn-4", shape, len(windows.classes)).state_dict(), header)
    return path


def same_as_training(folder: Path, path: Path, **given: Any) -> int:
    """A student trained on a path evaluates the windows that it was trained on, without a further word; how many."""
    settings = DataSettings.model_validate({"name": "csv", "window": 20, **given, "path": str(path)})
    windows = data.load(settings)
    file = student(folder / "s.safetensors", windows, settings)
    assert str(folder) not in str(read_header(file).data)
    for labelled in (True, False):
        again = read_windows(path, load_student(file), Columns(), None, labelled).windows
        assert (again.channels, again.rate) == (windows.channels, windows.rate)
        if labelled:
            np.testing.assert_allclose(again.x, windows.x, atol=1e-5)
            np.testing.assert_array_equal(again.y, windows.y)
            np.testing.assert_array_equal(again.start, windows.start)
    return len(windows)


def test_prediction_reads_tables_as_training_did(tmp_path: Path) -> None:
    faults = [(130, "bob,sit,500000000,1,2"), (131, "bob,sit,550000000,1,?,3;")]
    path = wisdm(tmp_path / "raw.txt", *faults)
    assert same_as_training(tmp_path, path, **WISDM, bad_rows="drop", missing="hold")
    label = [f"{int(name == 'walk')}.0" for name in CLASSES]
    path = long(tmp_path / "x.csv", label=label)
    assert same_as_training(tmp_path, path, **LONG, rename={"0.0": "rest", "1.0": "walk"})
    path = long(tmp_path / "x.csv", label=[name if s % 120 else "" for s, name in enumerate(CLASSES)])
    assert same_as_training(tmp_path, path, **LONG, drop=[""])
    path.write_text(path.read_text().replace("who,t,x,y,z,label", KOREAN), encoding="cp949")
    assert same_as_training(tmp_path, path, **{**LONG, "group": 1, "label": 6, "channels": [3, 4, 5]}, drop=[""])


def test_prediction_reads_a_folder_as_training_did(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for person, label in (("ann", "sit"), ("ann", "walk"), ("bob", "sit"), ("bob", "walk")):
        rows = [SIGNAL[s] for s in range(240) if (PEOPLE[s], CLASSES[s]) == (person, label)]
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        (folder / f"{person}_{label}.txt").write_text(text)
    pattern = "(?P<group>[^_]+)_(?P<label>[^.]+)"
    given = {"name": "folder", "files": "*.txt", "pattern": pattern, "channels": [1, 2, 3], "rate": 20}
    assert same_as_training(tmp_path, folder, **given)
    one = load_student(tmp_path / "s.safetensors")
    windows = read_windows(folder / "bob_walk.txt", one, Columns(), None, labelled=True).windows
    assert windows.y.tolist() == [1, 1, 1]
    recordings = read_windows(folder, one, Columns(), None, labelled=False).recordings
    assert recordings == ("ann_sit.txt", "ann_walk.txt", "bob_sit.txt", "bob_walk.txt")


def test_prediction_proposes_units_as_well(tmp_path: Path) -> None:
    given = {**LONG, "name": "csv", "window": 20}
    path = long(tmp_path / "x.csv")
    settings = DataSettings.model_validate({**given, "path": str(path)})
    one = load_student(student(tmp_path / "s.safetensors", data.load(settings), settings))
    long(path, 1e-9)
    with pytest.raises(InputError, match=r"ns is likely: say --time-unit ns"):
        read_windows(path, one, Columns(), None, labelled=False)
    with pytest.raises(InputError, match=r"ns is likely \(20 Hz\): say --time-unit ns"):
        read_windows(path, one, Columns(time_unit="s"), None, labelled=False)
    assert len(read_windows(path, one, Columns(time_unit="ns"), None, labelled=False).windows) == 12


@pytest.mark.parametrize(
    ("unit", "said", "message"),
    [
        (1.0, "ms", r"0\.05 apart make 20,000 Hz in ms, and 20 Hz are wanted; s is likely \(20 Hz\): say {} s"),
        (1e-3, "us", r"50 apart make 20,000 Hz in us, and 20 Hz are wanted; ms is likely \(20 Hz\): say {} ms"),
        (1e-3, "s", r"50 apart make 0\.02 Hz in s, and 20 Hz are wanted; ms is likely \(20 Hz\): say {} ms"),
        (1e-9, "ms", r"5e\+07 apart make .* Hz in ms, and 20 Hz are wanted; ns is likely \(20 Hz\): say {} ns"),
    ],
)
def test_a_wrong_unit_is_refused_where_another_fits(unit: float, said: Any, message: str, tmp_path: Path) -> None:
    """Stamps that are too fast would leave a sample of a thousand, and nobody would notice."""
    path = long(tmp_path / "x.csv")
    settings = DataSettings.model_validate({**LONG, "name": "csv", "window": 20, "path": str(path)})
    one = load_student(student(tmp_path / "s.safetensors", data.load(settings), settings))
    long(path, unit)
    for labelled in (False, True):
        with pytest.raises(InputError, match=message.format("--time-unit")):
            read_windows(path, one, Columns(time_unit=said), None, labelled=labelled)
    wrong = refused(path, **LONG, time_unit=said, rate=20, resample=True)
    assert re.search(message.format("data.time_unit:"), wrong)
    if said == "s":  # on purpose
        assert len(load(path, **LONG, time_unit=said, rate=20, resample="upsample"))


def test_a_rate_that_no_other_unit_explains_is_brought_down(tmp_path: Path) -> None:
    """1,000 Hz in ms: seconds would make 1 Hz, which is no 20 Hz either."""
    times = [str(s % 120) for s in range(240)]
    windows = load(long(tmp_path / "x.csv", t=times), **LONG, time_unit="ms", rate=20, resample=True, window=1)
    assert windows.rate == 20


def test_a_clock_that_starts_again_asks_for_the_recordings_column(tmp_path: Path) -> None:
    stamps = [f"{s % 60 / 20:g}" for s in range(240)]
    path = long(tmp_path / "x.csv", t=stamps, block=[str(s // 60) for s in range(240)])
    wrong = refused(path, **LONG)
    assert "sort or remove them; or, as the clock goes back 1 time, name the column" in wrong
    assert wrong.endswith("data.recording")
    windows = load(path, **LONG, recording="block")
    assert len(windows.recordings or ()) == 4
    settings = DataSettings.model_validate({**LONG, "name": "csv", "window": 20, "path": str(path)})
    settings = settings.model_copy(update={"recording": "block"})
    one = load_student(student(tmp_path / "s.safetensors", windows, settings))
    with pytest.raises(InputError, match="--recording COLUMN"):
        read_windows(path, one, Columns(recording="who"), None, labelled=False)
    path = long(tmp_path / "z.csv", t=[f"{max(s % 120, 1) / 20:g}" for s in range(240)])
    assert refused(path, **LONG).endswith("sort or remove them")  # the same, and never back


def test_other_sources_read_their_own_files(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"channels": ["a", "b"], "classes": ["sit", "walk"]}
    for side in ("train", "test"):
        arrays[f"X_{side}"] = np.random.default_rng(0).normal(size=(3, 2, 8))
        arrays |= {f"y_{side}": np.arange(3) % 2, f"subject_{side}": np.arange(3)}
    np.savez(tmp_path / "uci_har.npz", **arrays)
    settings = DataSettings.model_validate({"name": "uci_har", "path": str(tmp_path)})
    windows = data.load(settings)
    one = load_student(student(tmp_path / "s.safetensors", windows, settings))
    again = read_windows(tmp_path, one, Columns(), None, labelled=True).windows
    np.testing.assert_array_equal(again.x, windows.x)
    np.testing.assert_array_equal(again.y, windows.y)


def test_a_published_set_s_student_takes_a_table_and_says_so(tmp_path: Path) -> None:
    har_files.wisdm(tmp_path)
    settings = DataSettings.model_validate({"name": "wisdm", "path": str(tmp_path), "window": 2})
    windows = data.load(settings)
    one = load_student(student(tmp_path / "s.safetensors", windows, settings))
    (tmp_path / "own.txt").write_text("1,Walking,0,1,2,3;\n")
    named = ", ".join(windows.channels)
    with pytest.raises(InputError, match=rf"own.txt.*; a table \(.csv or .parquet\) with the columns {named} can be"):
        read_windows(tmp_path / "own.txt", one, Columns(), None, labelled=False)
    (tmp_path / "own.csv").write_text("\n".join([",".join(windows.channels), *["1,2,3"] * 8]))
    assert len(read_windows(tmp_path / "own.csv", one, Columns(), None, labelled=False).windows) == 4


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"name": "ts", "test": "/etc/passwd"}, "names a place on disk (data.test), which is not read"),
        ({"name": "csv", "bad_rows": "keep"}, "data: bad_rows"),
        ({"name": "csv", "channels": 3}, "channels"),
        ({"time": "t"}, "name"),
        ({"name": "folder", "files": "/etc/*"}, "pattern of files below the folder"),
    ],
)
def test_headers_that_no_training_wrote(kept: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = DataSettings.model_validate({**LONG, "name": "csv", "path": str(long(tmp_path / "x.csv"))})
    path = student(tmp_path / "s.safetensors", load(tmp_path / "x.csv", **LONG), settings)
    header = read_header(path).model_copy(update={"data": kept})
    save_student(path, load_student(path).model.state_dict(), header)
    given = tmp_path / "x.csv" if kept.get("name") != "ts" else tmp_path / "x.ts"
    with pytest.raises(InputError) as caught:
        read_windows(given, load_student(path), Columns(), None, labelled=False)
    assert message in str(caught.value)


def test_a_source_of_somebody_s_own_needs_trust(tmp_path: Path) -> None:
    settings = DataSettings.model_validate({**LONG, "name": "csv", "path": str(long(tmp_path / "x.csv"))})
    windows = load(tmp_path / "x.csv", **LONG)
    path = student(tmp_path / "s.safetensors", windows, settings)
    header = read_header(path).model_copy(update={"data": {"name": "my_sources:Mine"}})
    save_student(path, load_student(path).model.state_dict(), header)
    with pytest.raises(InputError, match=r"my_sources:Mine, which would be imported .* --trust"):
        read_windows(tmp_path, load_student(path), Columns(), None, labelled=False)
    with pytest.raises(InputError, match="there is no module 'my_sources'"):
        read_windows(tmp_path, load_student(path), Columns(), None, labelled=False, trust=True)


# --- times


def test_the_form_of_time_stamps_is_said_once(tmp_path: Path) -> None:
    stamps = ["01/05/2024 10:01" if s % 40 == 0 else f"{s % 120 / 20}" for s in range(240)]
    told = refused(long(tmp_path / "x.csv", t=stamps), **LONG)
    assert told.count("ISO 8601") == 1
    assert told.count("which is no time stamp") == 3


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_of_parquet_are_seconds(unit: str, tmp_path: Path) -> None:
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    step = {"s": 1, "ms": 50, "us": 50_000, "ns": 50_000_000}[unit]
    columns = {name: SIGNAL[:, c] for c, name in enumerate(("x", "y", "z"))}
    durations = pyarrow.array([s % 120 * step for s in range(240)], pyarrow.duration(unit))
    parquet.write_table(
        pyarrow.table({"who": PEOPLE, "t": durations, **columns, "label": CLASSES}), tmp_path / "x.parquet"
    )
    assert load(tmp_path / "x.parquet", **LONG).rate == (1 if unit == "s" else 20)
    cut = pyarrow.array([None, *(s % 120 * step for s in range(1, 240))], pyarrow.duration(unit))
    parquet.write_table(pyarrow.table({"who": PEOPLE, "t": cut, **columns, "label": CLASSES}), tmp_path / "x.parquet")
    assert "column 't' (time) holds 'nan' in row 1" in refused(tmp_path / "x.parquet", **LONG)
