"""The recipe: what is accepted, what is refused and how, weights over time, and text damaged at random."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overtone import recipe
from overtone.errors import InputError, nearest
from overtone.recipe import Recipe, WeightSettings

TEXT = """\
# A study like those that are shipped.
name: small
about: three teachers, a small student
data: {name: watch, window: 2 s, stride: 1 s}
split: {scheme: leave_groups_out, test: 2, val: 1, folds: [0, 2]}
views:
  gaf: {size: 32, kind: summation}
  pi: {size: 32, sigma: 1.5}
teachers:
  signal: {view: signal, model: wrn16-2, epochs: 10, checkpoint: best}
  gaf: {view: gaf, model: wrn16-1, epochs: 8, checkpoint: "epoch:5", train: {lr: 0.1}}
  pi:
    view: pi
    model: wrn10-1
    method: {name: kd, teachers: [signal], weights: {kl: 0.5}}
student: {view: signal, model: dscnn-8, epochs: 10, warm_start: true}
train: {batch: 64, optimizer: sgd, lr: 0.05, schedule: step, milestones: [4, 0.75], clip: 5.0, warmup: 1}
methods:
  - none
  - {name: kd, teachers: [signal], temperature: 4}
  - {name: aver, average: prob, weights: {ce: 0.3, kl: {value: 0.7, warmup: 3, until: 0.5}}}
  - name: [weighted, {name: sp, teachers: merged}]
    teacher_weights: {signal: 0.5, gaf: 0.3, pi: 0.2}
    weights: {sp.gram: {value: 200, from: 2}}
seeds: [0, 1]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def load_text(folder, text, overrides=()):
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return recipe.load(str(path), list(overrides))


def changed(path, value):
    """The recipe above with one value set (or, with ``...``, taken away); the path is dotted."""
    tree = yaml.safe_load(TEXT)
    *parents, last = path.split("|")
    at = tree
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return tree


# --- what is accepted


def test_a_recipe_says_what_was_written(file):
    found = recipe.load(file)
    assert found.name == "small"
    assert found.data.settings == {}
    assert (found.data.window, found.data.stride) == ("2 s", "1 s")
    assert found.views["pi"].settings == {"size": 32, "sigma": 1.5}
    assert found.teachers["gaf"].checkpoint == "epoch:5"
    assert found.teachers["pi"].method.weights["kl"] == WeightSettings(value=0.5)
    assert [row.name for row in found.methods] == ["none", "kd", "aver", "weighted"]
    assert found.methods[1].settings == {"temperature": 4}
    assert found.methods[3].extras[0].name == "sp"
    assert found.methods[3].extras[0].settings == {"teachers": "merged"}
    assert found.methods[3].settings == {"teacher_weights": {"signal": 0.5, "gaf": 0.3, "pi": 0.2}}
    assert found.methods[3].weights["sp.gram"].at(1, 10) == 0
    assert found.methods[3].weights["sp.gram"].at(2, 10) == 200
    assert found.train.milestones == [4, 0.75]
    assert [type(point) for point in found.train.milestones] == [int, float]


def test_a_recipe_survives_json(file):
    found = recipe.load(file)
    assert Recipe.model_validate(json.loads(found.model_dump_json(by_alias=True))) == found


def test_the_name_defaults_to_the_file(tmp_path):
    text = TEXT.replace("name: small\n", "", 1)
    assert load_text(tmp_path, text).name == "r"
    spaced = tmp_path / "my recipe (2).yaml"
    spaced.write_text(text)
    assert isinstance(recipe.load(str(spaced)), Recipe)


def test_the_schema_is_json():
    schema = Recipe.model_json_schema()
    assert {"data", "student", "methods"} <= set(schema["required"])
    assert json.dumps(schema)


# --- what is refused

UNKNOWN = [
    ("studnt", "unknown key 'studnt'; did you mean 'student'"),
    ("split|tst", "split.tst: unknown key 'tst'; did you mean 'test'"),
    ("train|learning_rate", "train.learning_rate: unknown key .* known: batch, optimizer, lr"),
    ("student|epoch", "student.epoch: unknown key 'epoch'; did you mean 'epochs'"),
    ("student|checkpoint", "student.checkpoint: unknown key"),
    ("teachers|gaf|chekpoint", "teachers.gaf.chekpoint: .*did you mean 'checkpoint'"),
    ("teachers|pi|method|weights|kl", r"teachers.pi.method.weights.kl.valu: .*did you mean 'value'"),
    ("methods|2|weights|kl", r"methods.2.weights.kl.valu: .*did you mean 'value'"),
]


@pytest.mark.parametrize(("path", "message"), UNKNOWN)
def test_an_unknown_key_names_the_nearest(path, message):
    value = {"value": 1, "valu": 1} if path.endswith("kl") else 1
    with pytest.raises(InputError, match=message):
        recipe.validate(changed(path, value))


WRONG = [
    ("train|batch", 0, "train.batch: .*a whole number of at least 1 is needed, got 0"),
    ("train|batch", "many", "train.batch: .*whole number.*got 'many'"),
    ("train|batch", 1.5, "train.batch: .*got 1.5"),
    ("train|batch", True, "train.batch: .*got True"),
    ("train|lr", -1, "train.lr: a number above 0 is needed, got -1"),
    ("train|lr", float("inf"), "train.lr: .*a finite number above 0 is needed, got inf"),
    ("train|lr", float("nan"), "train.lr: .*got nan"),
    ("train|weight_decay", float("inf"), "train.weight_decay: .*got inf"),
    ("train|momentum", 1, "train.momentum: a number of at least 0 and below 1 is needed, got 1"),
    ("train", {"optimizer": "adam", "nesterov": True}, "train: nesterov is .*, got optimizer adam, momentum 0.9"),
    ("train", {"momentum": 0, "nesterov": True}, "train: nesterov is .*leave it out.*, got optimizer sgd, momentum 0"),
    ("train|optimizer", "lion", "train.optimizer: .*'sgd', 'adam' or 'adamw' is needed, got 'lion'"),
    ("train|warmup", -1, "train.warmup: .*or a fraction from 0.0 to 1.0.* is needed, got -1"),
    ("train|warmup", 1.5, "train.warmup: a point in training .*got 1.5"),
    ("train|warmup", True, "train.warmup: a point in training .*got True"),
    ("train|warmup", "7.5", "train.warmup: .*got '?7.5"),
    ("train|warmup", "2e1", "train.warmup: .*got '?2"),
    ("train|milestones", [0.5, 2.5], "train.milestones.1: .*got 2.5"),
    ("student|epochs", 0, "student.epochs: .*got 0"),
    ("student|model", 3, "student.model: .*text is needed, got 3"),
    ("student|model", ..., "student.model: missing"),
    (
        "teachers|gaf|checkpoint",
        "epoch:0",
        "teachers.gaf.checkpoint: checkpoint is best, last or epoch:N, got 'epoch:0'",
    ),
    ("teachers|gaf|checkpoint", "epoch:²", "teachers.gaf.checkpoint: checkpoint is best, last or epoch:N, got"),
    ("teachers|gaf|checkpoint", "bst", "teachers.gaf.checkpoint: .*got 'bst'"),
    ("teachers|a.b", {"model": "wrn10-1"}, "cannot hold a dot, got 'a.b'"),
    ("methods|1|teachers", ["sgnal"], "method 'kd': unknown teacher 'sgnal'; did you mean 'signal'"),
    ("methods|1|teachers", ["pi", "pi"], r"a teacher is named twice: \['pi', 'pi'\]"),
    ("teachers|pi|method", {"name": "kd", "teachers": ["x"]}, "unknown teacher 'x'"),
    ("methods|1|weights", {"kl": -1}, "methods.1.weights.kl.value: .*got -1"),
    ("methods|1|weights", {"kl": {"value": 1, "until": 1.5}}, "methods.1.weights.kl.until: .*got 1.5"),
    ("methods|1|name", [], r"methods.1.name: .*text is needed, got \[\]"),
    ("methods", [], "methods: a list with at least 1 item is needed, got"),
    ("methods", ..., "methods: missing"),
    ("methods", {"kd": 1}, "methods: a list is needed, got"),
    ("data", "watch", "data: .*got 'watch'"),
    ("data|name", ..., "data.name: missing"),
    ("seeds", [0, 0], r"a seed is named twice: \[0, 0\]"),
    ("seeds", [-1], "seeds.0: .*got -1"),
    ("seeds", [], "seeds: .*at least 1 item"),
    ("split|scheme", "random", "split.scheme: .*got 'random'"),
    ("split|scheme", "holdout", r"scheme holdout needs test: \[names of groups\]"),
    ("split|test", ["p1"], "leave_groups_out needs test: a number"),
    ("split|test", 0, "split.test.*got 0"),
    ("views|gaf", 5, "views.gaf: .*got 5"),
    ("name", "a/b", "name: .*got 'a/b'"),
    ("name", "..", r"name: .*got '\.\.'"),
]


POINT = "a point in training (a whole number of epochs, or a fraction from 0.0 to 1.0) is needed"
COUNT = "a whole number of at least 1"
NONE = "a whole number of at least 0"
SLIPS = [
    ("split|test", 0.2, f"split.test: {COUNT} or a list of groups' names is needed, got 0.2"),
    ("split|test", True, f"split.test: {COUNT} or a list of groups' names is needed, got True"),
    ("split|test", [], "split.test: a list with at least 1 item is needed, got []"),
    ("split|test", [[1]], "split.test.0: a whole number or text is needed, got [1]"),
    ("split|val", "no", f"split.val: {NONE}, a fraction such as 0.2 or a list of groups' names is needed, got 'no'"),
    ("split|val", 1.5, f"split.val: {NONE}, a fraction such as 0.2 or a list of groups' names is needed, got 1.5"),
    ("split|folds", 0, "split.folds: a list of whole numbers of at least 0 is needed, got 0; write [0]"),
    ("split", "official", "split: a mapping such as {by: ..., scheme: ...} is needed, got 'official'"),
    ("seeds", 3, "seeds: a list of whole numbers of at least 0 is needed, got 3; write [3]"),
    ("seeds", [0.5], "seeds.0: a whole number of at least 0 is needed, got 0.5"),
    ("methods", "kd", "methods: a list is needed, got 'kd'; write [kd]"),
    ("methods|1|teachers", 5, "methods.1.teachers: a list of teachers' names is needed, got 5"),
    ("methods|1|weights", {"kd": "high"}, "methods.1.weights.kd.value: a number of at least 0 is needed, got 'high'"),
    ("methods|1|weights", 3, "methods.1.weights: a mapping from terms to weights (kd: 0.9) is needed, got 3"),
    ("methods|1|checkpoint", 5, "methods.1.checkpoint: best, last or epoch:N is needed, got 5"),
    ("methods|1|extras", "sp", "methods.1.extras: a list is needed, got 'sp'; write [sp]"),
    ("teachers", ["signal"], "teachers: a mapping from names (NAME: {model: ...}) is needed, got ['signal']"),
    ("student", "x-1", "student: a mapping such as {model: ...} is needed, got 'x-1'; write {model: x-1}"),
    ("teachers|gaf|at", ["layer1"], "teachers.gaf.at: a mapping from names (NAME: ...) is needed, got ['layer1']"),
    ("views|gaf|channels", "acc_*", "views.gaf.channels: a list of names is needed, got 'acc_*'; write [acc_*]"),
    ("student|epochs", 10.5, f"student.epochs: {COUNT} is needed, got 10.5"),
    ("student|warm_start", 3, "student.warm_start: true or false is needed, got 3"),
    ("train|warmup", 2.5, f"train.warmup: {POINT}, got 2.5"),
    ("train|warmup", [1], f"train.warmup: {POINT}, got [1]"),
    ("train|milestones", 5, "train.milestones: a list is needed, got 5; write [5]"),
    ("train|augment", {"jitter": 20}, "train.augment.jitter: a number from 0 to 10 is needed, got 20"),
    ("train|clip", "no", "train.clip: a number above 0 is needed, got 'no'"),
    ("data", "uci_har", "data: a mapping such as {name: ...} is needed, got 'uci_har'; write {name: uci_har}"),
    ("data|window", [1], "data.window: a length in samples (100) or in seconds ('2 s') is needed, got [1]"),
    ("about", [9] * 40, f"about: text is needed, got [{'9, ' * 18}9,..."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), SLIPS, ids=[f"{p}={v!r:.20}" for p, v, _ in SLIPS])
def test_a_slip_gets_one_line_in_plain_words(path, value, message):
    with pytest.raises(InputError) as caught:
        recipe.validate(changed(path, value))
    assert str(caught.value) == f"recipe: {message}"


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{p}={v!r:.20}" for p, v, _ in WRONG])
def test_a_wrong_type_or_range_is_refused(path, value, message):
    with pytest.raises(InputError, match=message):
        recipe.validate(changed(path, value))


def test_several_problems_are_told_at_once():
    tree = changed("train|batch", 0) | {"studnt": 1}
    with pytest.raises(InputError) as caught:
        recipe.validate(tree, "my.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "my.yaml: 2 problems"
    assert len(lines) == 3


@pytest.mark.parametrize("extras", [5, None, "sp", {"name": "sp"}])
def test_extras_beside_a_list_of_names_must_be_a_list(extras):
    tree = changed("methods", [{"name": ["kd", "sp"], "extras": extras}])
    with pytest.raises(InputError, match="extras"):
        recipe.validate(tree)


BROKEN = [
    ("", "a recipe is a mapping .*got an empty file"),
    ("# only a remark\n", "got an empty file"),
    ("watch", "a recipe is a mapping .*got str 'watch'"),
    ("- kd\n- aver\n", "a recipe is a mapping .*got list"),
    ("3", "got int '3'"),
    ("a: [1, 2\n", "not valid YAML"),
    ("a:\tb: c", "not valid YAML"),
    ("a: b\n---\nc: d\n", "not valid YAML"),
    (TEXT + "seeds: [3]\n", "key 'seeds' is given twice"),
    (TEXT.replace("{batch: 64,", "{batch: 64, batch: 32,"), "key 'batch' is given twice"),
    (TEXT.replace("pi:\n    view", "gaf:\n    view"), "key 'gaf' is given twice"),
    (b"\xff\xfe\x00", "cannot be read as text"),
    (TEXT.encode("utf-16"), "cannot be read as text"),
    (TEXT.replace("three", "drei für").encode("latin-1"), "cannot be read as text"),
    ("a: \0", "not valid YAML"),
    ("a: *b", "not valid YAML"),
    ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ("[1, 2]: 3", "not valid YAML"),
    ("1: 2", "1: Keys should be strings"),
    ("? !!set {a}\n: 1", "r.yaml"),
    ("about: 2024-13-45", "r.yaml"),
    ("about: 2024-01-01 25:00:00", "r.yaml"),
    ("about: 0x_", "r.yaml"),
    ("about: !!int x", "r.yaml"),
    ("about: !!bool x", "r.yaml"),
    ("about: !!timestamp x", "r.yaml"),
    ("about: " + "9" * 5000, "r.yaml"),
    ("about: " + "[" * 5000, "r.yaml"),
    ("about: " + "{a: " * 5000, "r.yaml"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=[repr(t)[-30:] for t, _ in BROKEN])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_text(tmp_path, text)
    assert "r.yaml" in str(caught.value)


def test_a_mapping_that_holds_itself_is_refused(tmp_path):
    text = TEXT.replace("data: {", "data: &loop {again: *loop, ")
    with pytest.raises(InputError, match=r"r\.yaml"):
        load_text(tmp_path, text)


def test_merge_keys_are_yaml_too(tmp_path):
    text = TEXT.replace("gaf: {view: gaf,", "gaf: {<<: {epochs: 4, view: pi}, view: gaf,").replace("epochs: 8, ", "")
    found = load_text(tmp_path, text).teachers["gaf"]
    assert (found.epochs, found.view) == (4, "gaf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wach", "unknown recipe 'wach'; .*known: .*or give a YAML file"),
        ("no/such.yaml", "'no/such.yaml' does not exist"),
        ("such.yml", "'such.yml' does not exist"),
        (".", "'.' is a folder"),
        ("", "''"),
        ("n" * 5000, "nnn"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        recipe.load(name)


def test_a_shipped_recipe_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe.loading, "shipped", lambda: {"watch": tmp_path / "watch.yaml"})
    (tmp_path / "watch.yaml").write_text(TEXT)
    assert recipe.load("watch") == recipe.load(str(tmp_path / "watch.yaml"))
    with pytest.raises(InputError, match="did you mean 'watch'"):
        recipe.load("wacth")


# --- --set


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.lr=0.2", "train|lr", 0.2),
        ("train.clip=null", "train|clip", None),
        ("seeds=[3, 4]", "seeds", [3, 4]),
        ("seeds.1=5", "seeds", [0, 5]),
        ("teachers.pi.train.lr=1.0", "teachers|pi|train", {"lr": 1.0}),
        ("methods.1.temperature=2", "methods|1|temperature", 2),
        ("methods.0=kd", "methods", ["kd", *yaml.safe_load(TEXT)["methods"][1:]]),
        ("about=a=b", "about", "a=b"),
        ("about=", "about", None),
        (" train.lr =0.2", "train|lr", 0.2),
        ("student={model: dscnn-4}", "student", {"model": "dscnn-4"}),
    ],
)
def test_set_changes_one_place(file, override, path, value):
    tree = changed(path, value)
    if value is None and path == "about":
        with pytest.raises(InputError, match=r"about: .*got None"):
            recipe.load(file, [override])
    else:
        assert recipe.load(file, [override]) == recipe.validate(tree)


def test_set_turns_a_short_method_into_a_mapping(file):
    found = recipe.load(file, ["methods.0.label=alone", "methods.0.warm_start=true"])
    assert (found.methods[0].name, found.methods[0].label, found.methods[0].warm_start) == ("none", "alone", True)


def test_later_settings_win(file):
    assert recipe.load(file, ["train.lr=0.2", "train.lr=0.3"]).train.lr == 0.3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr", "--set takes a.b=c, got 'train.lr'"),
        ("=3", "--set takes a.b=c"),
        ("train.lr=[", "--set 'train.lr=.': the value is not valid YAML"),
        ("train.lr={a: 1, a: 2}", "--set .*not valid YAML"),
        ("methods.9=kd", r"methods is a list of 4 \(0 to 3\), got '9'"),
        ("methods.-1=kd", "methods is a list of 4 .*got '-1'"),
        ("methods.x.temperature=2", "methods is a list of 4 .*got 'x'"),
        ("methods.²=kd", "methods is a list of 4 .*got '²'"),
        ("seeds.0.x=1", "seeds.0"),
        ("train.lr.x=1", "train.lr is a value, not a mapping"),
        ("trian.lr=1", "trian: unknown key 'trian'; did you mean 'train'"),
        ("train.lrr=1", "train.lrr: unknown key 'lrr'; did you mean 'lr'"),
        ("train..lr=1", "train.: unknown key ''"),
        ("train.lr=fast", "train.lr: .*got 'fast'"),
        ("about=2024-13-45", "--set"),
        ("about=!!int x", "--set"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(file, override, message):
    with pytest.raises(InputError, match=message):
        recipe.load(file, [override])


# --- weights over time


def over_time(epochs=10, **weight):
    settings = WeightSettings.model_validate({"value": 2.0, **weight})
    return [settings.at(epoch, epochs) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ({}, [2] * 10),
        ({"warmup": 4}, [0.5, 1, 1.5, *[2] * 7]),
        ({"warmup": 0.4}, [0.5, 1, 1.5, *[2] * 7]),
        ({"warmup": 0.0}, [2] * 10),
        ({"from": 4}, [0] * 3 + [2] * 7),
        ({"from": 0.3}, [0] * 3 + [2] * 7),
        ({"from": 1}, [2] * 10),
        ({"from": 1.0}, [0] * 10),
        ({"until": 4}, [2] * 4 + [0] * 6),
        ({"until": 0.4}, [2] * 4 + [0] * 6),
        ({"until": 1.0}, [2] * 10),
        ({"until": 0}, [0] * 10),
        ({"until": 99}, [2] * 10),
        ({"from": 3, "until": 0.6, "warmup": 4}, [0, 0, 1.5, 2, 2, 2, 0, 0, 0, 0]),
        ({"value": 0.0, "warmup": 3}, [0] * 10),
    ],
)
def test_a_weight_over_time(weight, expected):
    assert over_time(**weight) == expected


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.integers(1, 300))
def test_phases_that_meet_at_a_fraction_complement_each_other(point, epochs):
    before, after = over_time(epochs, until=point), over_time(epochs, **{"from": point})
    assert all(sorted(pair) == [0, 2] for pair in zip(before, after, strict=True))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300).flatmap(lambda epochs: st.tuples(st.integers(0, epochs), st.just(epochs))))
@example((29, 100))  # 0.29 * 100 is a little less than 29
def test_a_fraction_of_the_epochs_is_the_epoch_it_means(case):
    epoch, epochs = case
    assert over_time(epochs, until=epoch / epochs) == over_time(epochs, until=epoch)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.floats(0, 1) | st.integers(0, 60))
def test_a_warm_up_never_falls_and_never_exceeds_the_value(epochs, warmup):
    weights = over_time(epochs, warmup=warmup)
    assert weights == sorted(weights)
    assert all(0 < weight <= 2 for weight in weights)


# --- names


def test_nearest_lists_what_there_is():
    assert nearest("KD", ["aver", "kd"]) == "did you mean 'kd'? known: aver, kd"
    assert nearest("zzz", ["aver", "kd"]) == "known: aver, kd"
    assert nearest("x", []) == "known: none"


# --- text damaged at random


def recipe_or_error(path, overrides=()):
    """A recipe, or the text of the one kind of error that may come."""
    try:
        return recipe.load(str(path), list(overrides))
    except InputError as error:
        return str(error)


NASTY = [
    "2024-13-45", "0x_", "0b", "1_", "._", "!!int x", "!!bool q", "!!float z", "!!binary a", "&a *a", "*a", "<<: *a",
    "? !!set {a}", "!!omap [a]", "!!pairs [a]", "!!null x", "[[[", "{{", "- - -", "~", ".nan", "-.inf", "1e999",
    "12:99", "0o9", "'", '"', "|", ">", "%YAML 9", "---", "...", "\ufeff", "²", "\t", "\0", "\x85", "\u2028", "\r",
    "9" * 30, "-1", "true", "null", "[]", "{}", "[a, {b: c}]", "{name: kd}", "epoch:²", "name: [kd, sp]\n    extras: 5",
]  # fmt: skip


@st.composite
def damaged(draw):
    """The recipe above after a few edits: pieces cut out, doubled, swapped, or something nasty put in."""
    text = TEXT
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(len(text), start + draw(st.integers(0, 25)))
        kind = draw(st.sampled_from(["cut", "double", "nasty", "value", "characters", "lines"]))
        if kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "double":
            text = text[:end] + text[start:]
        elif kind == "nasty":
            text = text[:start] + draw(st.sampled_from(NASTY)) + text[end:]
        elif kind == "characters":
            text = text[:start] + draw(st.text(max_size=4)) + text[end:]
        elif kind == "value":
            colon = text.find(": ", start)
            stop = min((at for at in (text.find(c, colon + 2) for c in ",}\n") if at >= 0), default=len(text))
            if colon >= 0:
                text = text[: colon + 2] + draw(st.sampled_from(NASTY)) + text[stop:]
        else:
            lines = text.splitlines(keepends=True)
            moved = lines.pop(draw(st.integers(0, len(lines) - 1))) if lines else ""
            lines.insert(draw(st.integers(0, len(lines))), moved)
            text = "".join(lines)
    return text


@settings(max_examples=400, deadline=None)
@given(damaged())
@example(TEXT)
@example(TEXT.replace("about: three", "about: !!timestamp three"))
def test_damaged_text_gives_a_recipe_or_one_clear_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = recipe_or_error(path)
    assert isinstance(found, Recipe) or found.startswith(str(path))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_one_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bytes\.yaml"):
        recipe.load(str(path))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["train.lr", "methods.1.teachers", "data", "methods.3", "a.b.c", "", "seeds.0", "methods.²"]),
       st.sampled_from(NASTY) | st.text(max_size=10))  # fmt: skip
@example("train.lr", "1e999")
def test_any_setting_gives_a_recipe_or_one_clear_error(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "set.yaml"
    path.write_text(TEXT, encoding="utf-8")
    found = recipe_or_error(path, [f"{key}={value}"])
    assert isinstance(found, Recipe) or found.startswith((str(path), "--set"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"name": ["kd", "fam_layer"], "raidus": 0.2},
            "method 'kd': raidus: unknown key 'raidus' of kd; settings beside several names belong to the first, kd; "
            "did you mean 'radius' of fam_layer? write {name: kd, extras: [{name: fam_layer, radius: ...}]}; known: "
            "branch, temperature, reduction, label, ",
        ),
        ({"name": ["kd", "fam_layer"], "radius": 0.2}, "did you mean 'radius' of fam_layer? write {name: kd, "),
        ({"name": "kd", "extras": ["fam_layer"], "radius": 0.2}, "did you mean 'radius' of fam_layer? write {name: kd"),
        ({"name": ["annsp", "fam_layer"], "radius": 0.2}, "write {name: annsp, extras: [{name: fam_layer, radius:"),
        ({"name": ["kd", "fam_layer"], "temprature": 2}, "the first, kd; did you mean 'temperature'? known:"),
        ({"name": ["kd", "fam_layer"], "wieghts": {}}, "the first, kd; did you mean 'weights'? known:"),
        ({"name": ["kd", "fam_layer"], "zzzz": 2}, "belong to the first, kd; known: branch, temperature"),
        ({"name": "kd", "raidus": 0.2}, "method 'kd': raidus: unknown key 'raidus'; "),
        ({"name": ["kd", "fam_leyer"], "radius": 0.2}, "unknown method 'fam_leyer'"),
        (
            {"name": "kd", "extras": [{"name": "fam_layer", "raidus": 1}]},
            "method 'fam_layer': raidus: unknown key 'raidus'; did you mean 'radius'?",
        ),
    ],
)
def test_settings_beside_several_names(row, message):
    from overtone.recipe import MethodSettings
    from overtone.study.rows import resolve_row
    from overtone.tasks import Classification

    with pytest.raises(InputError) as caught:
        resolve_row(MethodSettings.model_validate(row), ["t"], Classification())
    assert message in str(caught.value)


def test_a_renamed_key_that_is_needed_is_told_once(tiny):
    old = {"name": "none", "reference": {"accuracy": 81.2, "source": "a paper"}}
    with pytest.raises(InputError) as told:
        recipe.validate({**tiny, "methods": [old]})
    assert str(told.value).endswith("reference.accuracy: the key 'accuracy' is called 'value' now")
    assert "problems" not in str(told.value)
