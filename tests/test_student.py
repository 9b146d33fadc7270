"""The student file: what is in it, that it gives the same numbers, and what is refused; files in general."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from overtone.errors import InputError
from overtone.files import read_json, write_atomic, write_json
from overtone.models import build
from overtone.student import Header, SeenView, load_student, make_view, read_header, save_student

CHANNELS, LENGTH, CLASSES = 3, 40, ("sit", "walk", "run")
STUDENTS = [
    ("signal", {}, "dscnn-4"),
    ("signal", {}, "wrn10-0.25"),
    ("gaf", {"size": 16}, "wrn10-0.25"),
    ("pi", {"size": 8, "kind": "gudhi"}, "wrn10-0.25"),
]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def windows(count=5, seed=1):
    return torch.randn(count, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(seed)) * 4 + 10


def trained(view_name="signal", chosen=None, builder="dscnn-4"):
    """A bare model with batch statistics of its own, its header, and how it is fed."""
    chosen = chosen or {}
    mean, std = (10.0,) * CHANNELS, (4.0, 3.0, 5.0)
    view = make_view(view_name, chosen)

    def standardised(x):
        return (x - torch.tensor(mean)[:, None]) / torch.tensor(std)[:, None]

    stored = view.prepare(standardised(windows(20, seed=0)))
    state = view.fit(stored)
    images = view.render(stored, state)
    torch.manual_seed(0)
    model = build(builder, images.shape[1:], len(CLASSES))
    model(images)  # batch statistics
    header = Header(
        builder=builder,
        input_shape=tuple(images.shape[1:]),
        classes=CLASSES,
        channels=("x", "y", "z"),
        rate=50.0,
        window=LENGTH,
        mean=mean,
        std=std,
        views=[SeenView(type=view_name, settings=chosen, state=state)],
    )
    return model.eval(), header, lambda x: view.render(view.prepare(standardised(x)), state)


@pytest.fixture
def saved(tmp_path):
    model, header, _ = trained()
    save_student(tmp_path / "student.safetensors", model.state_dict(), header)
    return tmp_path / "student.safetensors"


@pytest.mark.parametrize(("view", "chosen", "builder"), STUDENTS)
def test_a_reloaded_student_gives_equal_logits(tmp_path, view, chosen, builder):
    model, header, feed = trained(view, chosen, builder)
    path = tmp_path / "deep" / "er" / "student.safetensors"
    save_student(path, model.state_dict(), header)
    student = load_student(str(path))
    x = windows()
    with torch.no_grad():
        expected = model(feed(x))
        assert torch.equal(student(x), expected)
        assert torch.equal(student(x.double()), expected)
    assert torch.equal(student.predict(x), expected.softmax(1))
    assert not student.predict(x).requires_grad
    assert not student.training
    assert student.classes == CLASSES
    assert read_header(path) == header == student.header


@pytest.mark.parametrize(("view", "chosen", "builder"), STUDENTS)
def test_the_file_holds_the_bare_model_and_nothing_else(tmp_path, view, chosen, builder):
    model, header, _ = trained(view, chosen, builder)
    save_student(tmp_path / "s.safetensors", model.state_dict(), header)
    held = load_file(tmp_path / "s.safetensors")
    bare = build(builder, header.input_shape, len(CLASSES))
    assert held.keys() == bare.state_dict().keys()
    assert {key: (x.dtype, x.shape) for key, x in held.items()} == {
        key: (x.dtype, x.shape) for key, x in bare.state_dict().items()
    }
    bare.load_state_dict(held)  # plain torch, strictly
    assert all(torch.equal(x, model.state_dict()[key]) for key, x in bare.state_dict().items())
    assert names(tmp_path) == ["s.safetensors"]  # no temporary file stays


def test_equal_students_are_equal_bytes(tmp_path, saved):
    model, header, _ = trained()
    save_student(tmp_path / "again.safetensors", model.state_dict(), header)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    "shape", [(CHANNELS, LENGTH), (2, CHANNELS, LENGTH + 1), (2, LENGTH, CHANNELS), (2, 1, LENGTH), (2, 3, 4, 5)]
)
def test_windows_of_another_shape_are_refused(saved, shape):
    message = rf"this student takes .*\(B, 3, 40\).* channels x, y, z.*; got \({shape[0]}, "
    with pytest.raises(InputError, match=message):
        load_student(saved)(torch.zeros(shape))


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 1000, -1])
def test_a_cut_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[:kept])
    assert len(content) > 1001
    with pytest.raises(InputError, match=r"student\.safetensors cannot be read, it is cut short"):
        load_student(saved)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    with pytest.raises(InputError, match=r"foreign.safetensors does not exist"):
        load_student(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="is a safetensors file, but"):
        load_student(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="no safetensors file"):
        load_student(path)
    with pytest.raises(InputError):
        load_student(tmp_path)


SIGNAL = {"type": "signal", "settings": {}, "state": {}}


def test_a_file_from_before_models_with_two_branches_is_read(saved):
    held = json.loads(trained()[1].model_dump_json())
    (view,) = held.pop("views")
    del held["options"]
    old = {**held, "view": view["type"], "view_settings": view["settings"], "view_state": view["state"]}
    before = load_student(saved).predict(windows(3, seed=1))
    save_file(load_file(saved), saved, metadata={"overtone": json.dumps(old)})
    assert torch.equal(load_student(saved).predict(windows(3, seed=1)), before)


def broken(key, value):
    header = trained()[1].model_dump(mode="json")
    return json.dumps(header | {key: value})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "header was written by another version"),
        ("[]", "header was written by another version"),
        (broken("novelty", 1), "header was written by another version"),
        (broken("window", "long"), "header was written by another version"),
        (broken("builder", "wrn17-1"), "wrn17-1"),
        (broken("builder", "wrn10-0.25"), "its weights do not fit model 'wrn10-0.25'"),
        (
            broken("task", {"name": "classification", "facts": {"classes": ["a"]}}),
            "its weights do not fit model 'dscnn-4'",
        ),
        (broken("views", [SIGNAL | {"type": "gasf"}]), "student.safetensors: view: unknown view 'gasf'"),
        (broken("views", [SIGNAL | {"settings": {"size": 3}}]), "unknown key 'size'"),
        (broken("format", 99), "another version"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(saved, metadata, message):
    save_file(load_file(saved), saved, metadata={"overtone": metadata})
    with pytest.raises(InputError, match=message):
        load_student(saved)


def test_a_file_with_anything_more_is_refused(tmp_path):
    model, header, _ = trained()
    state = {**model.state_dict(), "adapter.weight": torch.zeros(3)}
    save_student(tmp_path / "s.safetensors", state, header)
    with pytest.raises(InputError, match=r"adapter\.weight"):
        load_student(tmp_path / "s.safetensors")


# --- files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n "a": "é",\n "b": 1\n}\n'
    assert read_json(path) == {"b": 1, "a": "é"}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*a.json: No space left on device.*--out"):
        write_atomic(path, "half")
    assert read_json(path) == {"b": 1, "a": "é"}
    assert names(tmp_path) == ["a.json"]


def test_what_is_no_path_and_no_number_is_told(saved):
    with pytest.raises(InputError, match="takes the path of a student file, got NoneType"):
        load_student(None)
    student = load_student(saved)
    for windows in (np.full((2, 3, 40), "a"), np.full((2, 3, 40), None)):
        with pytest.raises(InputError, match="windows are numbers, got an array of"):
            student(windows)


@pytest.mark.parametrize("place", ["file/below.json", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / place, b"x")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[1, 2"])
def test_json_that_cannot_be_read_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="does not exist" if content is None else "damaged or no JSON"):
        read_json(path)
