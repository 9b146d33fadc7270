"""Arrays in files: layouts, names, MATLAB's files of both kinds, and series of the archives."""

from __future__ import annotations

import socket
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mat_files import cell, new, old

from overtone import data
from overtone.errors import InputError
from overtone.models import build
from overtone.new_data import Columns, read_windows
from overtone.recipe import DataSettings
from overtone.student import Header, SeenView, load_student, save_student
from overtone.testing import check_source

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3, 20))
Y = np.array(["run", "walk"] * 6)
GROUP = np.repeat(["ann", "bob", "carl"], 4)


def loaded(**settings: Any) -> Any:
    return data.load(DataSettings(**settings))


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "a.npz", **{"X": X, "y": Y, "group": GROUP, **arrays})
    return path / "a.npz"


# --- npz


def test_layout_ntc(tmp_path: Path) -> None:
    plain = loaded(name="npz", path=npz(tmp_path))
    turned = loaded(name="npz", path=npz(tmp_path, X=X.transpose(0, 2, 1)), layout="NTC")
    np.testing.assert_array_equal(turned.x, plain.x)
    assert turned.content == plain.content
    assert not turned.notes


def test_many_more_channels_than_samples_are_refused_by_both_layouts(tmp_path: Path) -> None:
    path = npz(tmp_path, X=RNG.normal(size=(12, 128, 9)))
    with pytest.raises(InputError) as error:
        loaded(name="npz", path=path)
    assert str(error.value).endswith(
        "X would be read as 128 channels of 9 samples, which looks like 128 samples of 9 channels; set data.layout: "
        "NTC if it is that, or data.layout: NCT if it is as it would be read"
    )
    assert loaded(name="npz", path=path, layout="NTC").x.shape == (12, 9, 128)
    assert loaded(name="npz", path=path, layout="NCT").x.shape == (12, 128, 9)
    few = loaded(name="npz", path=npz(tmp_path, X=RNG.normal(size=(12, 15, 9))))
    assert few.notes == (
        "X was read as 15 channels of 9 samples; if it is 15 samples of 9 channels, set data.layout: NTC (NCT says "
        "that it is right)",
    )


@pytest.mark.parametrize(
    ("y", "classes", "note"),
    [
        (Y.astype("S"), ("run", "walk"), ""),
        (np.array([str(name.encode()) for name in Y]), ("run", "walk"), "b'run' as run, b'walk' as walk"),
        (np.array(["1", "1.0", "2", "2.00", "3", "1"] * 2), ("1", "2", "3"), "1.0 as 1, 2.00 as 2"),
        (np.array(["01", "1"] * 6), ("01", "1"), ""),  # a code is no number
        (np.array([1.0, 2.0] * 6), ("1", "2"), ""),
        (np.array(["1.0", "2.0"] * 6), ("1.0", "2.0"), ""),  # as ever
    ],
)
def test_labels_that_mean_the_same(tmp_path: Path, y: Any, classes: tuple[str, ...], note: str) -> None:
    windows = loaded(name="npz", path=npz(tmp_path, y=y, group=GROUP.astype("S")))
    assert windows.classes == classes
    assert windows.groups == ("ann", "bob", "carl")
    assert windows.notes == ((f"labels that mean the same are one class: {note}",) if note else ())


def test_arrays_of_other_names_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, labels=Y, who=GROUP)
    with pytest.raises(InputError) as error:
        loaded(name="npz", path=tmp_path / "a.npz")
    assert str(error.value).partition("a.npz: ")[2] == (
        "array 'X' is missing; did you mean 'x'? array 'y' is missing. array 'group' is missing. The file holds "
        "x (12, 3, 20), labels (12,), who (12,). Needed are X (N,C,T), y (N,) and group (N,); name what they are "
        "called in this file (data.x: NAME, data.y: NAME, data.group: NAME), or save them so: "
        "numpy.savez(path, X=..., y=..., group=...)"
    )


def test_arrays_named_by_the_recipe(tmp_path: Path) -> None:
    plain = loaded(name="npz", path=npz(tmp_path))
    np.savez(tmp_path / "b.npz", data=X, labels=Y, subjects=GROUP)
    names = {"x": "data", "y": "labels", "group": "subjects"}
    assert loaded(name="npz", path=tmp_path / "b.npz", **names).content == plain.content
    with pytest.raises(InputError, match=r"'who' is missing\..* Needed are data \(N,C,T\).*\(data\.group: NAME\)"):
        loaded(name="npz", path=tmp_path / "b.npz", **{**names, "group": "who"})


@pytest.mark.parametrize("labelled", [False, True])
def test_prediction_reads_the_arrays_that_training_named(labelled: bool, tmp_path: Path) -> None:
    header = Header(
        builder="dscnn-4",
        input_shape=(3, 20),
        classes=("run", "walk"),
        channels=("channel 0", "channel 1", "channel 2"),
        rate=None,
        window=20,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        views=[SeenView(type="signal", settings={}, state={})],
        data={"name": "npz", "x": "data", "y": "labels", "group": "subjects"},
    )
    save_student(tmp_path / "student.safetensors", build("dscnn-4", (3, 20), 2).state_dict(), header)
    student = load_student(tmp_path / "student.safetensors")
    np.savez(tmp_path / "new.npz", data=X, labels=Y)
    read = read_windows(tmp_path / "new.npz", student, Columns(), None, labelled).windows
    np.testing.assert_array_equal(read.x, X)
    with pytest.raises(InputError, match="array 'data' is missing"):
        read_windows(npz(tmp_path), student, Columns(), None, labelled)
    np.save(tmp_path / "lone.npy", X)
    with pytest.raises(InputError, match=r"this is a single array; save .*data=numpy\.load\('lone\.npy'\)"):
        read_windows(tmp_path / "lone.npy", student, Columns(), None, labelled)


# --- mat

WRITERS = [old, new]
UNEQUAL = [RNG.normal(size=(10 + n, 3)) for n in range(12)]


@pytest.mark.parametrize("write", WRITERS)
def test_mat_arrays_and_text(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a.mat"
    write(path, {"X": X, "y": cell(Y), "group": cell(GROUP)})
    plain = loaded(name="npz", path=npz(tmp_path))
    assert loaded(name="mat", path=path).content == plain.content
    write(path, {"sig": X.transpose(0, 2, 1), "lab": Y, "who": np.arange(12) // 4})  # a matrix of characters, numbers
    windows = loaded(name="mat", path=path, x="sig", y="lab", group="who", layout="NTC")
    np.testing.assert_array_equal(windows.x, plain.x)
    assert (windows.classes, windows.groups) == (("run", "walk"), ("0", "1", "2"))
    check_source(data.SOURCES["mat"], {"path": str(path), "x": "sig", "y": "lab", "group": "who", "layout": "NTC"})


@pytest.mark.parametrize("write", WRITERS)
def test_mat_structs_and_cells(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a.mat"
    write(path, {"acc": {"sig": cell(UNEQUAL), "lab": np.arange(12) % 2 + 1, "info": {"who": cell(GROUP)}}})
    named = {"name": "mat", "path": path, "x": "acc.sig", "y": "acc.lab", "group": "acc.info.who", "layout": "NTC"}
    windows = loaded(**named, window=10)
    assert windows.x.shape == (14, 3, 10)
    np.testing.assert_allclose(windows.x[0], UNEQUAL[0].T, rtol=1e-6)
    np.testing.assert_allclose(windows.x[13], UNEQUAL[11].T[:, 10:20], rtol=1e-6)
    long = loaded(**named, pad=True)
    assert long.x.shape == (12, 3, 21)
    np.testing.assert_allclose(long.x[0, :, 10:], np.repeat(UNEQUAL[0].T[:, -1:], 11, axis=1), rtol=1e-6)
    assert long.notes == (
        "11 of 12 recordings, of 10 samples or more, were padded at their end with their last values to 21 samples, "
        "the longest",
    )
    with pytest.raises(InputError, match=r"10 to 21 samples; set data.window, or data.pad: true"):
        loaded(**named)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"x": "acc"}, "'acc' is a struct; name one of its fields: acc."),
        ({"x": "acc.sigg"}, "'acc' has no field 'sigg'; did you mean 'sig'"),
        ({"x": "lab.x"}, "'lab' is no struct, so it has no field 'x'"),
        ({"x": "lba"}, r"there is no variable 'lba'; did you mean 'lab'\? known: .*lab \(1 x 12 .*\)"),
        ({"x": "lab"}, r"'lab' has the axes \(1, 12\); needed are three \(N, C, T\), or a cell"),
        ({"y": "acc.sig"}, "'acc.sig' holds an array for each recording; needed is one number or name"),
        ({"x": "nested"}, "cells within cells"),
        ({"x": "mixed"}, "both numbers and text"),
    ],
)
def test_mat_refuses(tmp_path: Path, write: Any, settings: dict[str, str], said: str) -> None:
    path = tmp_path / "a.mat"
    nested, mixed = cell([cell([X[0], X[1]])] * 12), cell(["a", X[0]] * 6)
    write(path, {"acc": {"sig": cell(UNEQUAL)}, "lab": np.arange(12), "nested": nested, "mixed": mixed})
    with pytest.raises(InputError, match=said):
        loaded(**{"name": "mat", "path": path, "x": "acc.sig", "y": "lab", "group": "lab", **settings})


def test_mat_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    h5py = import_module("h5py")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["X"] = X.T
    new(tmp_path / "a.mat", {"y": cell(Y), "group": cell(GROUP)})
    with h5py.File(tmp_path / "a.mat", "a") as file:
        file["X"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "X")
        file.create_virtual_dataset("V", h5py.VirtualLayout((20, 3, 12), "f8"))
        file.create_dataset("huge", shape=(2**20, 2**20), dtype="f8", chunks=(64, 64))
    for name, said in (("X", "another place or file"), ("V", "another file"), ("huge", "over 200 times as many")):
        with pytest.raises(InputError, match=said):
            loaded(name="mat", path=tmp_path / "a.mat", x=name)


def test_mat_files_are_read_as_scipy_reads_them(tmp_path: Path) -> None:
    """Every type of numbers, packed or not; text, empty values, cells and structs."""
    from scipy.io import loadmat, savemat

    from overtone.formats import mat5

    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    made: dict[str, Any] = {f"n{kind}": RNG.integers(0, 100, size=(3, 4, 5)).astype(kind) for kind in kinds}
    made |= {"text": np.array(["lang", "zu"]), "empty": np.zeros((0, 3)), "korean": "걷기", "one": 5.0, "flag": X > 0}
    path = tmp_path / "a.mat"
    for packed in (False, True):
        savemat(path, {**made, "s": {"inner": {"x": X}}, "c": cell(["ab", X[0], 3])}, do_compression=packed)
        there, wanted = mat5.variables(path), loadmat(path)
        assert set(there) == {*made, "s", "c"}
        for name in made:
            value = mat5.value(path, there[name])
            if np.asarray(wanted[name]).dtype.kind == "U":
                assert value.tolist() == [row.rstrip() for row in wanted[name]]
            else:
                np.testing.assert_array_equal(value, wanted[name])
                assert there[name].shape == wanted[name].shape
        np.testing.assert_array_equal(mat5.value(path, there["s"])["inner"][0]["x"][0], X)
        parts = mat5.value(path, there["c"])
        assert [parts[0].tolist(), parts[2].tolist()] == [["ab"], [[3]]]
        np.testing.assert_array_equal(parts[1], X[0])


def test_mat_files_of_the_other_order_of_bytes(tmp_path: Path) -> None:
    """Written by hand: a tag is type and length, and what is shorter than five bytes lies in its tag."""
    from overtone.formats import mat5

    def tagged(kind: int, content: bytes) -> bytes:
        if len(content) <= 4:
            return struct.pack(">HH", len(content), kind) + content.ljust(4, b"\0")
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = (6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 2, 3)), (1, b"X"), (3, struct.pack(">6h", *range(6)))
    matrix = b"".join(tagged(*part) for part in parts)
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + tagged(14, matrix))
    there = mat5.variables(tmp_path / "a.mat")
    assert (there["X"].kind, there["X"].shape) == ("double", (2, 3))
    assert mat5.value(tmp_path / "a.mat", there["X"]).tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("kind", ["function", "object", "sparse", "opaque"])
def test_mat_objects_are_not_made(tmp_path: Path, kind: str) -> None:
    """The class in a variable's flags says what it is; nothing else of it is looked at."""
    from scipy.io import savemat

    from overtone.formats import mat5

    path = tmp_path / "a.mat"
    savemat(path, {"X": X, "y": np.arange(12), "group": np.arange(12)})
    content = bytearray(path.read_bytes())
    content[mat5.HEADER + 16] = {name: number for number, name in mat5.CLASSES.items()}[kind]
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"neither numbers nor text \({kind}\); .*table2array|no variable 'X'"):
        loaded(name="mat", path=path)


def test_mat_objects_of_new_files_are_not_made(tmp_path: Path) -> None:
    new(tmp_path / "a.mat", {"X": X, "y": cell(Y), "group": cell(GROUP)})
    h5py = import_module("h5py")
    with h5py.File(tmp_path / "a.mat", "a") as file:
        file["X"].attrs["MATLAB_object_decode"] = 3
    with pytest.raises(InputError, match="neither numbers nor text"):
        loaded(name="mat", path=tmp_path / "a.mat")


def test_mat_needs_h5py_for_new_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new(tmp_path / "a.mat", {"X": X})
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install overtone\[mat\]; or save it in MATLAB with -v7"):
        loaded(name="mat", path=tmp_path / "a.mat")


# --- series


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "shape", "shortest"), [("JapaneseVowels", (640, 12, 29), 7), ("PickupGestureWiimoteZ", (100, 1, 361), 29)]
)
def test_series_of_unequal_length(name: str, shape: tuple[int, ...], shortest: int) -> None:
    """As aeon ships them: padded when used whole, and that told; cut with a window."""
    datasets = import_module("aeon.datasets")
    cases = [case for side in ("train", "test") for case in datasets.load_classification(name, split=side)[0]]
    whole = loaded(name=f"aeon:{name}")
    assert whole.x.shape == shape
    assert len(whole.notes) == 1
    assert f"of {shortest} samples or more, were padded" in whole.notes[0]
    for case, window in zip(cases, whole.x, strict=True):
        padding = np.repeat(case[:, -1:], shape[2] - case.shape[1], axis=1)
        np.testing.assert_allclose(window, np.concatenate([case, padding], axis=1), rtol=1e-6)
    parts = loaded(name=f"aeon:{name}", window=shortest)
    assert parts.x.shape == (sum(case.shape[1] // shortest for case in cases), shape[1], shortest)
    np.testing.assert_allclose(parts.x[0], cases[0][:, :shortest], rtol=1e-6)
    with pytest.raises(InputError, match=r"set data.window, or data.pad: true"):
        loaded(name=f"aeon:{name}", pad=False)


TS = """# made by a test
@problemName Mine
@timestamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true Run Banana
@data
1,2,3:4,5,6:Run
1,?,3,4:4,5,6,7:Banana
1,2,3,?,?:4,5,6,?,?:Run
1,2,3:4,5,6:banana
"""


def test_ts_files(tmp_path: Path) -> None:
    import_module("aeon")
    train, test = tmp_path / "My_TRAIN.ts", tmp_path / "My_TEST.ts"
    train.write_text(TS)
    test.write_text(TS.partition("?")[0].rpartition("\n")[0] + "\n1,2,3:4,5,6:Banana\n")
    windows = loaded(name="ts", path=train, test=test, missing="interpolate")
    assert windows.classes == ("Banana", "Run")
    assert windows.official_test is not None
    assert windows.official_test.tolist() == [False] * 4 + [True] * 2
    assert windows.x.shape == (6, 2, 4)
    assert windows.x[1].tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert windows.x[2].tolist() == [[1, 2, 3, 3], [4, 5, 6, 6]]
    assert windows.notes[0] == "1 of 6 series end in missing values, which were taken as their end"
    assert windows.notes[1].startswith("1 values are missing (channel 0: 1, 5.3 %); 1 were interpolated, within 10 sam")
    assert windows.notes[2].startswith("5 of 6 recordings, of 3 samples or more, were padded")
    with pytest.raises(InputError, match=r"Missing are 1 \(channel 0: 1\). Set data.missing: drop"):
        loaded(name="ts", path=train)
    numbers = TS.replace("@classLabel true Run Banana", "@targetLabel true")
    train.write_text(numbers.replace("Run", "1.5").replace("Banana", "2").replace("banana", "3"))
    with pytest.raises(InputError, match="it has no classes"):
        loaded(name="ts", path=train)


def test_arff_files(tmp_path: Path) -> None:
    import_module("aeon")
    path = tmp_path / "My.arff"
    rows = "\n".join(f"{n},{n + 1},{n + 2},{n % 2}" for n in range(8))
    path.write_text(f"@relation My\n@attribute a numeric\n@attribute target {{0,1}}\n@data\n{rows}\n")
    windows = loaded(name="ts", path=path)
    assert windows.x[3].tolist() == [[3, 4, 5]]
    assert windows.official_test is None
    assert len(windows.groups) == 8
    check_source(data.SOURCES["ts"], {"path": str(path)})
    with pytest.raises(InputError, match=r"'ts': .*My.csv: .csv is none of .ts and .arff"):
        loaded(name="ts", path=path.rename(tmp_path / "My.csv"))
