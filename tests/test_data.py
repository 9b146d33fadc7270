"""Data: sources, windows, splits and standardisation, on the real recordings and by property."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overtone.data import Recordings, Standardiser, cut, load, split
from overtone.data.split import doubts
from overtone.data.windows import in_samples
from overtone.engine import Samples
from overtone.errors import InputError
from overtone.recipe import DataSettings, SplitSettings
from overtone.views import VIEWS

few = settings(max_examples=60, deadline=None)


def recordings(lengths, groups=None, rate=10.0, channels=2):
    """Recordings whose every value says where it is: 10000 * recording + 1000 * channel + sample."""
    signals = [
        (10000 * n + 1000 * np.arange(channels)[:, None] + np.arange(length)).astype(np.float32)
        for n, length in enumerate(lengths)
    ]
    names = groups or [f"p{n}" for n in range(len(lengths))]
    labels = np.arange(len(lengths), dtype=np.int64) % 2
    return Recordings(signals, labels, names, ("a", "b"), tuple(f"c{i}" for i in range(channels)), rate, "data 'made'")


def people(count, each=2):
    """Windows of so many people, two recordings each."""
    return cut(recordings([20] * count * each, [f"p{n // each}" for n in range(count * each)]), 5, None)


def made_or_error(make, *args):
    """What a call makes, or the text of the one kind of error it may raise."""
    try:
        return make(*args)
    except InputError as error:
        return str(error)


# --- watch


@pytest.fixture(scope="module")
def watch():
    return load(DataSettings(name="watch"))


def test_watch_is_what_its_paper_says(watch):
    assert len(set(watch.recording.tolist())) == 140
    assert len(watch.groups) == 10
    assert len(watch.classes) == 7
    assert watch.x.shape[1:] == (len(watch.channels), 100) == (6, 100)
    assert watch.rate == 50.0
    assert watch.stride == 50
    assert watch.x.dtype == np.float32
    assert np.isfinite(watch.x).all()
    assert set(watch.y.tolist()) == set(range(7))
    pairs = zip(watch.recording.tolist(), watch.group.tolist(), watch.y.tolist(), strict=True)
    assert len(set(pairs)) == 140  # one person and one exercise per recording
    assert load(DataSettings(name="watch")).content == watch.content


def test_a_changed_watch_file_is_never_unpickled(tmp_path, monkeypatch):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "unpickled",)

    changed = tmp_path / "watch_dataset.npy"
    held = np.empty((), dtype=object)
    held[()] = Payload()
    np.save(changed, held, allow_pickle=True)
    monkeypatch.setattr("overtone.data.watch._locate", lambda: changed)
    with pytest.raises(InputError, match="is not the file Overtone knows"):
        load(DataSettings(name="watch"))
    assert not (tmp_path / "unpickled").exists()
    np.load(changed, allow_pickle=True)  # the payload works where it is let in
    assert (tmp_path / "unpickled").exists()


def test_watch_without_seglearn_says_what_to_install(monkeypatch):
    def gone(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", gone)
    with pytest.raises(InputError, match="pip install seglearn"):
        load(DataSettings(name="watch"))


def test_standardised_training_windows_have_mean_zero_and_spread_one(watch):
    fold = split(watch, SplitSettings(test=2, val=1))[0]
    x = torch.from_numpy(watch.x[fold.train]).double()
    x = Standardiser.fit(watch.x[fold.train])(x)
    torch.testing.assert_close(x.mean((0, 2)), torch.zeros(6).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(x.std((0, 2), unbiased=False), torch.ones(6).double(), rtol=1e-6, atol=0)


# --- windows


@few
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 40),
    st.none() | st.integers(1, 50),
)
def test_windows_are_the_slices_they_claim(lengths, size, stride):
    made = recordings(lengths)
    if max(lengths) < size:
        with pytest.raises(InputError, match=f"window of {size} samples is longer .* longest has {max(lengths)}"):
            cut(made, size, stride)
        return
    windows = cut(made, size, stride)
    step = stride or size
    places = list(zip(windows.recording.tolist(), windows.start.tolist(), strict=True))
    assert places == [(n, first) for n, t in enumerate(lengths) for first in range(0, t - size + 1, step)]
    for x, (number, first) in zip(windows.x, places, strict=True):
        assert np.array_equal(x, made.signals[number][:, first : first + size])
    assert windows.stride == step
    assert windows.y.tolist() == [made.labels[n] for n, _ in places]
    assert [windows.groups[g] for g in windows.group] == [made.groups[n] for n, _ in places]


def test_short_recordings_are_told():
    found = cut(recordings([4, 10, 3]), 5, None)
    assert found.notes == (
        "2 of 3 recordings are shorter than a window and were left out",
        "group p0, p2 has no window left and was left out",
    )
    assert found.groups == ("p1",)
    assert set(found.group) == {0}


def test_whole_recordings_must_be_equally_long():
    assert cut(recordings([7, 7]), None, None).x.shape == (2, 2, 7)
    with pytest.raises(InputError, match="recordings have 5 to 7 samples; set data"):
        cut(recordings([5, 7]), None, None)


def test_groups_are_in_natural_order():
    names = ["p10", "p2", "p1", "p2"]
    windows = cut(recordings([5] * 4, names), 5, None)
    assert windows.groups == ("p1", "p2", "p10")
    assert [windows.groups[g] for g in windows.group] == names


def test_names_that_sort_alike_keep_one_order():
    names = ["0" * zeros + "1" for zeros in range(9)]  # a set of texts has another order in every process
    assert cut(recordings([5] * 9, names), 5, None).groups == tuple(sorted(names))


@pytest.mark.parametrize("name", ["²", "p²", "", "٣", "p 01", "-1"])
def test_any_text_can_name_a_group(name):
    windows = cut(recordings([5, 5], [name, "other"]), 5, None)
    assert set(windows.groups) == {name, "other"}


@pytest.mark.parametrize(
    ("length", "samples"),
    [
        (100, 100),
        ("100", 100),
        ("100 samples", 100),
        ("1 sample", 1),
        ("2 s", 100),
        ("0.5s", 25),
        (" 1.5 seconds ", 75),
    ],
)
def test_lengths_in_samples_and_seconds(length, samples):
    assert in_samples(length, 50.0, "window") == samples


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("2 minutes", "samples .100. or seconds .'2 s'., got '2 minutes'"),
        ("", "got ''"),
        (-5, "got -5"),
        ("nan s", "got 'nan s'"),
        (0, "less than one sample"),
        ("0.001 s", "less than one sample"),
        ("2.5", "'2.5' is no whole number of samples; for seconds write '2.5 s'"),
        ("9" * 400, "data.window"),
        ("9" * 400 + " s", "data.window"),
    ],
)
def test_lengths_that_are_none(length, message):
    with pytest.raises(InputError, match=message):
        in_samples(length, 50.0, "window")


@pytest.mark.parametrize("part", ["x", "y", "group", "recording", "start", "classes", "rate"])
def test_the_content_hash_sees_every_part(part):
    windows = people(3)
    held = getattr(windows, part)
    changed = held.copy() if isinstance(held, np.ndarray) else {"classes": ("a", "c"), "rate": 11.0}[part]
    if isinstance(changed, np.ndarray):
        changed.flat[-1] += 1
    assert replace(windows, **{part: changed}).content != windows.content
    assert replace(windows).content == windows.content


# --- splits


@st.composite
def splits(draw):
    """A number of people and a split of any scheme that may or may not fit."""
    count = draw(st.integers(1, 9))
    names = [f"p{n}" for n in range(count)]
    val = draw(st.integers(1, 4) | st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    scheme = draw(st.sampled_from(["leave_groups_out", "kfold", "holdout"]))
    if scheme == "holdout":
        test = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    else:
        test = draw(st.integers(1, 5))
    return count, SplitSettings(scheme=scheme, test=test, val=val)


@settings(max_examples=150, deadline=None)
@given(splits())
def test_no_group_is_on_two_sides(case):
    count, chosen = case
    windows = people(count)
    folds = made_or_error(split, windows, chosen)
    if isinstance(folds, str):
        assert folds.startswith("split")  # too few people; never any other error, and never a wrong split
        return
    assert folds
    for fold in folds:
        sides = [(fold.train, fold.train_groups), (fold.val, fold.val_groups), (fold.test, fold.test_groups)]
        for index, groups in sides:
            assert len(index) > 0
            assert {windows.groups[g] for g in windows.group[index]} == set(groups)
        assert sorted(g for _, groups in sides for g in groups) == sorted(windows.groups)  # none twice, none lost
        assert sorted(n for index, _ in sides for n in index.tolist()) == list(range(len(windows)))
    tested = [group for fold in folds for group in fold.test_groups]
    assert len(set(tested)) == len(tested)
    if chosen.scheme != "holdout":
        assert sorted(tested) == sorted(windows.groups)


@few
@given(st.integers(3, 9), st.integers(1, 3), st.integers(1, 2), st.sampled_from(["leave_groups_out", "kfold"]))
def test_a_split_that_fits_is_made(count, test, val, scheme):
    size = test if scheme == "leave_groups_out" else -(-count // max(test, 2))
    chosen = SplitSettings(scheme=scheme, test=max(test, 2) if scheme == "kfold" else test, val=val)
    if size + val >= count:
        with pytest.raises(InputError, match="leaves none to train on"):
            split(people(count), chosen)
        return
    folds = split(people(count), chosen)
    assert len(folds) == (-(-count // size) if scheme == "leave_groups_out" else max(test, 2))
    assert all(len(fold.val_groups) == val for fold in folds)


def test_validation_depends_on_the_fold_only():
    windows = people(7)
    relabelled = replace(windows, y=windows.y[::-1].copy())
    more = people(7, each=5)
    folds = split(windows, SplitSettings(test=2, val=1))
    assert len({fold.val_groups for fold in folds}) == len(folds)  # every group serves in turn
    for fold in folds:
        for other in (windows, relabelled, more):
            (again,) = split(other, SplitSettings(test=2, val=1, folds=[fold.number]))
            assert (again.number, again.val_groups) == (fold.number, fold.val_groups)
            assert (again.train_groups, again.test_groups) == (fold.train_groups, fold.test_groups)


def test_numbers_name_groups_without_their_zeros():
    windows = cut(recordings([5] * 4, ["01", "02", "10", "11"]), 5, None)
    (fold,) = split(windows, SplitSettings(scheme="holdout", test=[2, "11"], val=["1"]))
    assert (fold.test_groups, fold.val_groups, fold.train_groups) == (("02", "11"), ("01",), ("10",))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"scheme": "kfold", "test": 6}, "6 folds need at least 6 groups, the data has 4: p0, p1, p2, p3"),
        ({"scheme": "kfold", "test": 1}, "at least 2 folds, got 1"),
        ({"test": 4}, "leaves none to train on"),
        ({"test": 1, "val": 3}, "leaves none to train on"),
        ({"test": 9}, "leaves none to train on"),
        ({"scheme": "holdout", "test": ["p7"]}, "split.test: unknown group 'p7'; did you mean"),
        ({"scheme": "holdout", "test": ["²"]}, "split.test: unknown group '²'"),
        ({"scheme": "holdout", "test": ["p1"], "val": ["x"]}, "split.val: unknown group 'x'"),
        ({"scheme": "holdout", "test": ["p1"], "val": ["p1"]}, r"\['p1'\] are in test and in val"),
        ({"folds": [0, 9]}, "there is no fold 9; this split has 4"),
        ({"scheme": "holdout", "test": [], "val": ["p1"]}, "test"),
        ({"scheme": "holdout", "test": ["p1"], "val": []}, "val"),
        ({"folds": []}, "folds"),
    ],
)
def test_a_split_that_cannot_be_is_refused(chosen, message):
    with pytest.raises((InputError, ValueError), match=message):  # a recipe turns its ValueError into an InputError
        split(people(4), SplitSettings(**chosen))


def cases(labels, test=4):
    """Windows that are each a group of their own, sorted by class as archives do; the last are the official test."""
    count = len(labels)
    made = recordings([5] * count, [f"case {n:02d}" for n in range(count)])
    official = [n >= count - test for n in range(count)]
    return cut(replace(made, labels=np.asarray(labels), classes=("a", "b", "c"), official_test=official), 5, None)


def labels_of(windows, index):
    return np.bincount(windows.y[index], minlength=len(windows.classes)).tolist()


def test_cases_of_their_own_validate_on_a_fifth_of_every_class():
    windows = cases([0] * 20 + [1] * 10 + [2] * 10 + [0, 0, 1, 2])
    official = SplitSettings(scheme="official")
    (fold,) = split(windows, official)
    assert labels_of(windows, fold.val) == [4, 2, 2]
    assert len(fold.test) == 4
    assert any(
        "20 % of the training groups (8) choose the best epoch" in text for text in doubts(windows, [fold], official)
    )
    (one,) = split(windows, SplitSettings(scheme="official", val=1))
    assert len(one.val) == 1
    assert not any("20 %" in text for text in doubts(windows, [one], SplitSettings(scheme="official", val=1)))


def test_people_still_validate_on_one_of_them():
    for chosen in (SplitSettings(test=2), SplitSettings(scheme="kfold", test=3)):
        assert [len(fold.val_groups) for fold in split(people(7), chosen)] == [1] * len(split(people(7), chosen))
    assert (
        split(people(7), SplitSettings(test=2))[0].val_groups
        == split(people(7), SplitSettings(test=2, val=1))[0].val_groups
    )


@few
@given(
    st.lists(st.integers(0, 2), min_size=3, max_size=30),
    st.floats(0.01, 0.99),
    st.integers(1, 3),
)
def test_a_fraction_validates_on_so_many_and_leaves_every_class_to_train(labels, share, tested):
    windows = cases(labels, 0)
    folds = made_or_error(split, windows, SplitSettings(test=tested, val=share))
    if isinstance(folds, str):
        return
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(windows)), fold.test)
        sizes = np.bincount(windows.y[rest], minlength=3)
        free = int(np.maximum(sizes - 1, 0).sum())
        wanted = max(1, int(np.floor(share * len(rest) + 0.5)))
        assert len(fold.val) == min(wanted, free) or free == 0
        if free:
            assert set(windows.y[fold.train]) == set(windows.y[rest])
        assert sorted([*fold.train, *fold.val, *fold.test]) == list(range(len(windows)))


@pytest.mark.parametrize("val", [0.2, 0.5])
def test_a_fraction_of_people(val):
    windows = people(10)
    folds = split(windows, SplitSettings(test=2, val=val))
    assert [len(fold.val_groups) for fold in folds] == [round(val * 8)] * 5
    for fold in folds:
        assert not set(fold.val_groups) & {*fold.test_groups, *fold.train_groups}


def test_tiny_sides_and_missing_classes_are_told():
    windows = cases([0] * 30 + [1] * 30 + [2] * 30, 0)
    named = {"test": [f"case {n:02d}" for n in range(25)], "val": [f"case {n}" for n in range(60, 65)]}
    chosen = SplitSettings(scheme="holdout", **named)
    assert doubts(windows, split(windows, chosen), chosen) == [
        "val has fewer than 20 windows in fold 0 (5): the best epoch is chosen almost by chance (see split.val)",
        "val has no window of some classes that are trained, in fold 0 (a, b)",
        "test has no window of some classes that are trained, in fold 0 (b, c)",
    ]
    many = people(8, each=1)
    found = doubts(many, split(many, SplitSettings()), SplitSettings())
    assert "fold 4 (4) and 3 more folds: a single window more or less" in found[1]


def test_a_sound_split_raises_no_doubts():
    windows = people(4, each=10)
    assert doubts(windows, split(windows, SplitSettings()), SplitSettings()) == []


# --- standardisation


def test_nothing_is_fitted_on_test_or_validation_windows():
    windows = people(5, each=4)
    noise = np.random.default_rng(0).normal(size=windows.x.shape).astype(np.float32)
    windows = replace(windows, x=noise)
    fold = split(windows, SplitSettings(test=1, val=1))[0]
    unseen = np.concatenate([fold.test, fold.val])
    x = noise.copy()
    x[unseen] = 1000 + 50 * x[unseen]
    small = {"gaf": {"size": 4}, "mtf": {"size": 4}, "recurrence": {"size": 4}, "spectrogram": {"length": 4}}
    views = {name: kind(**small.get(name, {})) for name, kind in VIEWS.items()}
    before, after = (Samples.fit(replace(windows, x=part), fold, views, torch.device("cpu")) for part in (noise, x))
    assert before.standardise == after.standardise
    train = torch.from_numpy(fold.train)
    for name in views:
        assert before.views[name].state == after.views[name].state
        assert torch.equal(before.batch(train, [name]).views[name], after.batch(train, [name]).views[name])
    assert before.standardise != Samples.fit(replace(windows, x=x * 2), fold, views, torch.device("cpu")).standardise


def test_a_flat_channel_keeps_its_scale():
    windows = np.random.default_rng(0).normal(size=(50, 2, 30)).astype(np.float32)
    windows[:, 1] = 0.1
    fitted = Standardiser.fit(windows)
    assert fitted.std[1] == 1.0
    assert torch.isfinite(fitted(torch.from_numpy(windows))).all()


# --- npz

X = np.random.default_rng(0).normal(size=(6, 2, 10))
GOOD = {"X": X, "y": [0, 1] * 3, "group": list("aabbcc")}


def saved(folder, save=np.savez, **arrays):
    path = folder / "mine.npz"
    save(path, **arrays)
    return path


def load_npz(path, **chosen):
    return load(DataSettings(name="npz", path=str(path), **chosen))


def test_npz_gives_its_recordings(tmp_path):
    path = saved(tmp_path, X=X, y=["sit", "run"] * 3, group=[10, 10, 9, 9, 8, 8])
    whole = load_npz(path)
    assert whole.x.shape == (6, 2, 10)
    assert np.array_equal(whole.x, X.astype(np.float32))
    assert whole.classes == ("run", "sit")
    assert [whole.classes[y] for y in whole.y] == ["sit", "run"] * 3
    assert whole.groups == ("8", "9", "10")
    pieces = load_npz(path, window="0.5 s", rate=10)
    assert pieces.x.shape == (12, 2, 5)
    assert np.array_equal(pieces.x[1], X[0, :, 5:].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": X[0]}, r"three axes \(N, C, T\), got shape \(2, 10\)"),
        ({"X": X.astype(str)}, "X must hold numbers"),
        ({"X": X.astype(complex)}, "X must hold numbers"),
        ({"y": [0, 1]}, r"equally long, got X \(6, 2, 10\), y \(2,\), group \(6,\)"),
        ({"group": list("ab")}, r"equally long.*group \(2,\)"),
        ({"y": [[0, 1]] * 3}, "equally long"),
        ({"y": [0, 0.5] * 3}, "class numbers or names, got fractions"),
        ({"y": [0, np.nan] * 3}, "fractions or NaN"),
        ({"y": [1] * 6}, r"at least two classes, got \['1'\]"),
        ({"X": X[:0], "y": [], "group": []}, "no recordings"),
        ({"X": X[:, :, :0]}, "recording 0 is empty"),
        ({"X": X[:, :0]}, "channel"),
        ({"X": X * 1e300}, "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_arrays_that_cannot_be_used_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_npz(saved(tmp_path, **{**GOOD, **changes}))


def test_values_that_are_not_finite_are_counted_and_the_first_is_placed(tmp_path):
    x = X.copy()
    x[3, 1, 4], x[3, 1, 7], x[5, 0, 0] = np.nan, np.inf, -np.inf
    message = "3 values are not finite; the first is nan in recording 3, channel 'channel 1', sample 4"
    with pytest.raises(InputError, match=message):
        load_npz(saved(tmp_path, **{**GOOD, "X": x}))


@pytest.mark.parametrize("name", ["X", "y", "group"])
def test_a_missing_array_names_the_nearest(tmp_path, name):
    arrays = {f"{key}s" if key == name else key: value for key, value in GOOD.items()}
    with pytest.raises(InputError, match=f"array '{name}' is missing; did you mean '{name}s'"):
        load_npz(saved(tmp_path, **arrays))


def test_objects_are_never_unpickled(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "unpickled",)

    held = np.array([Payload()] * 6, dtype=object)
    with pytest.raises(InputError, match="Python objects, which are never unpickled"):
        load_npz(saved(tmp_path, **{**GOOD, "group": held}))
    (tmp_path / "mine.npz").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match=r"mine\.npz"):
        load_npz(tmp_path / "mine.npz")
    assert not (tmp_path / "unpickled").exists()


def npz_bytes(save=np.savez):
    buffer = io.BytesIO()
    save(buffer, **GOOD)
    return buffer.getvalue()


def npy_bytes():
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty .0 bytes."),
        (npz_bytes()[:-1], "cut short or no .npz file"),
        (npz_bytes()[:100], "cut short or no .npz file"),
        (npz_bytes()[:1], "cut short or no .npz file"),
        (b"a,b,c\n1,2,3\n", "cut short or no .npz file"),
        (npy_bytes(), "single array; save X, y and group"),
        (npy_bytes()[:60], "single array|cut short or no .npz file"),
    ],
    ids=["0 bytes", "1 byte short", "head", "1 byte", "csv", "npy", "cut npy"],
)
def test_a_file_that_is_no_npz_is_told_apart(tmp_path, content, message):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_npz(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_but_never_a_traceback(tmp_path_factory, save, data):
    content = bytearray(npz_bytes(save))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    found = made_or_error(load_npz, path)
    assert str(path) in found if isinstance(found, str) else len(found) > 0


def test_a_zip_that_numpy_cannot_open_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("X.npy", b"no array")
        file.writestr("y.npy", b"")
        file.writestr("group.npy", npy_bytes()[:70])
    with pytest.raises(InputError, match=r"mine\.npz"):
        load_npz(path)


@pytest.mark.parametrize("what", ["encrypted", "compression", "stream"])
def test_archives_that_cannot_be_unpacked_are_refused(tmp_path, what):
    content = bytearray(npz_bytes(np.savez_compressed))
    central = content.index(b"PK\x01\x02")
    if what == "encrypted":
        content[6] |= 1
        content[central + 8] |= 1
    elif what == "compression":
        content[8], content[central + 10] = 99, 99
    else:
        first = 30 + len("X.npy") + int.from_bytes(content[28:30], "little")
        content[first : first + 40] = b"\xff" * 40
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_npz(path)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"name": "wach"}, "unknown data 'wach'; did you mean 'watch'"),
        ({"name": "npz"}, "path: missing"),
        ({"name": "npz", "path": "no/such.npz"}, "does not exist"),
        ({"name": "npz", "path": "x.npz", "rte": 5}, "unknown key 'rte'; did you mean 'rate'"),
        ({"name": "npz", "path": "x.npz", "rate": -5}, "rate: a number above 0 is needed, got -5"),
        ({"name": "npz", "path": "x.npz", "rate": "fast"}, "rate: a number above 0 is needed, got 'fast'"),
        ({"name": "watch", "path": "x.npz"}, "unknown key 'path'"),
        ({"name": "watch", "window": "2 h"}, "data.window: .*got '2 h'"),
        ({"name": "watch", "stride": 0}, "data.stride: 0 is less than one sample"),
        ({"name": "watch", "window": 10**6}, "longer than every recording"),
    ],
)
def test_data_settings_that_cannot_be_are_refused(chosen, message):
    with pytest.raises(InputError, match=message):
        load(DataSettings(**chosen))


def test_seconds_need_a_rate(tmp_path):
    with pytest.raises(InputError, match=r"data.window: '2 s' is in seconds, .*set data.rate"):
        load_npz(saved(tmp_path, **GOOD), window="2 s")
    with pytest.raises(InputError, match=r"data\.stride: '1 s' is in seconds"):
        load_npz(saved(tmp_path, **GOOD), window=5, stride="1 s")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        load_npz(tmp_path)
