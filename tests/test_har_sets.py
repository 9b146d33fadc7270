"""Published sets from their original files: ``har_files.py`` makes small ones, and says where
layouts were looked up."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import har_files
import numpy as np
import pytest
import yaml
from conftest import DATA
from har_files import load, recordings

from overtone import data
from overtone.data import split
from overtone.data.har import members as members_module
from overtone.data.har.pamap2 import HIGHEST, LOWEST, ORDER
from overtone.errors import InputError
from overtone.recipe import DataSettings, SplitSettings

PAGE = (Path(__file__).parents[1] / "docs" / "sets.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```yaml\n(.*?)```", PAGE.partition("## Images with boxes")[0], re.DOTALL)
NAMES = [yaml.safe_load(block)["data"]["name"] for block in RECIPES]


@pytest.mark.parametrize("block", RECIPES, ids=[f"{n}-{name}" for n, name in enumerate(NAMES)])
def test_the_page_s_recipes_load_as_they_stand(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = yaml.safe_load(block)
    lines = [line for line in block.splitlines() if not line.startswith("split:")]
    assert len(lines) <= 1 + 5
    har_files.MAKERS[given["data"]["name"]](tmp_path)
    monkeypatch.chdir(tmp_path)
    windows = data.load(DataSettings.model_validate(given["data"]))
    assert len(windows.groups) == (3 if given["data"]["name"] == "uci_har" else 2)
    assert len(windows.classes) >= 2
    if "split" in given:
        assert split(windows, SplitSettings.model_validate(given["split"]))


def test_every_set_is_on_the_page_and_in_the_list() -> None:
    assert set(NAMES) == set(har_files.MAKERS)
    for name in har_files.MAKERS:
        assert f"| `{name}` |" in PAGE
        assert data.SOURCES[name].SOURCE


FACTS: dict[str, tuple[float, int, tuple[str, ...], tuple[str, ...], tuple[int, ...]]] = {
    "uci_har": (50, 9, ("1", "2", "3"), ("WALKING", "WALKING_UPSTAIRS"), (12, 9, 128)),
    "pamap2": (100, 40, ("101", "102"), ("lying", "walking"), (4, 40, 512)),
    "mhealth": (50, 23, ("1", "2"), ("standing still", "walking"), (4, 23, 128)),
    "wisdm": (20, 3, ("6", "33"), ("Walking", "Jogging"), (4, 3, 200)),
    "wisdm2019": (20, 6, ("1600", "1601"), ("walking", "folding"), (4, 6, 200)),
    "daphnet": (64, 9, ("S01", "S02"), ("no freeze", "freeze"), (4, 9, 256)),
    "opportunity": (30, 77, ("S1", "S2"), ("stand", "walk"), (14, 77, 24)),
    "dsads": (25, 45, ("p1", "p2"), ("sitting", "playing basketball"), (12, 45, 125)),
    "sho": (50, 60, ("1", "2"), ("walking", "upstairs"), (4, 60, 128)),
    "hhar": (50, 3, ("a", "b"), ("stand", "walk"), (4, 3, 128)),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_a_set(name: str, tmp_path: Path) -> None:
    """Rate, channels, people and classes as published; how the small files are cut."""
    har_files.MAKERS[name](tmp_path)
    rate, channels, people, classes, shape = FACTS[name]
    windows = load(name, tmp_path)
    assert (windows.rate, len(windows.channels), windows.groups, windows.classes) == (
        rate,
        channels,
        tuple(f"{int(p):02d}" for p in people) if name == "uci_har" else people,
        (*classes, *windows.classes[2:]) if name == "uci_har" else classes,
    )
    assert windows.x.shape == shape
    assert len(set(windows.channels)) == channels
    assert windows.material.groups == "people"


@pytest.mark.parametrize("name", har_files.MAKERS)
def test_a_set_in_a_zip_is_the_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are zips, UCI's a zip of a zip; and ``OVERTONE_DATA`` finds them."""
    settings = {"positions": ["chest", "waist"]} if name == "realworld" else {}
    har_files.MAKERS[name](tmp_path / "plain")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "plain").rglob("*.*")):
            archive.write(file, file.relative_to(tmp_path / "plain"))
        archive.writestr("__MACOSX/._subject101.dat", "junk")
    plain = load(name, tmp_path / "plain", **settings)
    (tmp_path / f"{name}.zip").write_bytes(inner.getvalue())
    monkeypatch.setenv("OVERTONE_DATA", str(tmp_path))
    monkeypatch.setattr(members_module, "SPOOL_BYTES", 2**10)
    if name != "uci_har":
        assert data.load(DataSettings.model_validate({"name": name, **settings})).content == plain.content
    if name != "realworld":  # has zips in zips by itself, and the deepest are three
        (tmp_path / "twice.zip").write_bytes(har_files.zipped({"inner.zip": inner.getvalue(), "readme.txt": "x"}))
        assert load(name, tmp_path / "twice.zip", **settings).content == plain.content


@pytest.mark.parametrize("name", har_files.MAKERS)
def test_what_is_no_set_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not found \(looked: .*gone"):
        load(name, tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no file of the set|Nor is there 'UCI HAR Dataset'"):
        load(name, tmp_path)
    (tmp_path / "set.zip").write_bytes(b"PK\x03\x04 cut")
    if name != "realworld":  # opens only its own zips
        with pytest.raises(InputError, match=r"set.zip cannot be read, it is cut short or no zip"):
            load(name, tmp_path / "set.zip") if name != "uci_har" else load(name, tmp_path)


@pytest.mark.data
def test_the_text_folder_of_uci_har_is_its_npz(tmp_path: Path) -> None:
    """A few windows of it, written as the set writes them."""
    held = np.load(DATA / "uci_har" / "uci_har.npz")
    few = {side: slice(0, None, 200) for side in ("train", "test")}
    arrays = {name: held[name] for name in ("channels", "classes")}
    for side, rows in few.items():
        for what in ("X", "y", "subject"):
            arrays[f"{what}_{side}"] = held[f"{what}_{side}"][rows]
        root = tmp_path / "UCI HAR Dataset" / side
        for channel, name in enumerate(held["channels"]):
            signals = arrays[f"X_{side}"][:, channel].astype(np.float64)
            har_files.table(
                root / "Inertial Signals" / f"{name}_{side}.txt", [[f"{v:.7e}" for v in s] for s in signals]
            )
        har_files.table(root / f"y_{side}.txt", [[label + 1] for label in arrays[f"y_{side}"]])
        har_files.table(root / f"subject_{side}.txt", [[person] for person in arrays[f"subject_{side}"]])
    np.savez(tmp_path / "uci_har.npz", **arrays)
    assert load("uci_har", tmp_path / "uci_har.npz").content == load("uci_har", tmp_path / "UCI HAR Dataset").content


def test_uci_har_must_be_whole(tmp_path: Path) -> None:
    har_files.uci_har(tmp_path)
    inertial = tmp_path / "UCI HAR Dataset" / "train" / "Inertial Signals"
    file = inertial / "body_acc_y_train.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1][:700]]))
    with pytest.raises(InputError, match=r"1 row with another number of cells .*line 8 of .*body_acc_y_train.txt"):
        load("uci_har", tmp_path)
    file.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="files of the train side differ in length"):
        load("uci_har", tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=r"lacks body_acc_y_train.txt"):
        load("uci_har", tmp_path)


def test_pamap2_holds_the_heart_rate_bridges_losses_and_cuts_transients(tmp_path: Path) -> None:
    har_files.pamap2(tmp_path)
    found = recordings("pamap2", tmp_path)
    assert [signal.shape[1] for signal in found.signals] == [520, 520] * 2
    assert found.offset == [30, 560] * 2
    assert found.origin == [0, 0, 1, 1]
    rows = har_files.pamap2_rows(0)
    heart = found.signals[0][0]
    assert heart[0] == 100  # row 30, last measured in row 25
    assert heart[-1] == 105
    hand_x = found.signals[0][found.channels.index("hand_acc16_x")]
    before, after = float(rows[99][4]), float(rows[110][4])
    np.testing.assert_allclose(hand_x[70:80], before + (after - before) * np.arange(1, 11) / 11, rtol=1e-5)
    np.testing.assert_allclose(hand_x[:70], [float(row[4]) for row in rows[30:100]], rtol=1e-6)
    np.testing.assert_allclose(found.signals[0][found.channels.index("ankle_mag_z")][0], float(rows[30][49]), rtol=1e-6)
    notes = " ".join(found.notes)
    assert "80 samples of class '0, transient' cut out" in notes
    assert "were held, within 1 s" in notes
    assert "260 were interpolated, within 1 s" in notes


def test_pamap2_cuts_out_what_is_lost_for_longer(tmp_path: Path) -> None:
    rows = har_files.pamap2_rows(0)
    for row in rows[200:350]:
        row[3:20] = ["NaN"] * 17
    har_files.table(tmp_path / "Protocol" / "subject101.dat", rows[:400] + rows[490:])
    found = recordings("pamap2", tmp_path)
    # a loss; and a gap, behind which no heart rate is known for eight rows
    assert [signal.shape[1] for signal in found.signals] == [170, 50, 52, 520]
    assert any("split at 1 gap of more than 0.05 s" in note for note in found.notes)


def test_pamap2_s_published_windows_are_the_slow_loop_s(tmp_path: Path) -> None:
    files = {}
    for person in (0, 1):
        rows = har_files.pamap2_rows(person, ((0, 40), (24, 420), (9, 50), (1, 500), (0, 20), (3, 333)))
        files[str(101 + person)] = rows
        har_files.table(tmp_path / "Protocol" / f"subject{101 + person}.dat", rows)
    windows, labels, people = [], [], []
    for person, rows in files.items():
        kept, heart = [], 0.0
        for row in rows:
            if row[1] in ORDER:
                heart = heart if row[2] == "NaN" else float(row[2])
                numbers = [0.0 if cell == "NaN" else float(cell) for cell in row[3:]]
                units = [numbers[17 * unit + column] for unit in range(3) for column in range(13)]
                scaled = [
                    (v - low) / (high - low) for v, low, high in zip([heart, *units], LOWEST, HIGHEST, strict=True)
                ]
                kept.append((row[1], [0.99 if v > 1 else max(v, 0.0) for v in scaled]))
        kept = kept[::3]
        start = 22
        while start + 100 <= len(kept):
            if kept[start][0] == kept[start + 99][0]:
                windows.append([row for _, row in kept[start : start + 100]])
                labels.append(ORDER.index(kept[start][0]))
                people.append(person)
            start += 22
    found = load("pamap2", tmp_path, published=True)
    names = recordings("pamap2", tmp_path, published=True).classes
    assert len(names) == 12
    np.testing.assert_allclose(found.x, np.transpose(windows, (0, 2, 1)), atol=1e-6)
    assert [found.classes[label] for label in found.y] == [names[label] for label in labels]
    assert [found.groups[group] for group in found.group] == people
    assert found.rate == pytest.approx(100 / 3)
    assert found.stride == 22
    with pytest.raises(InputError, match="deals overlapping windows"):
        split(found, SplitSettings.model_validate({"by": "window", "scheme": "kfold", "test": 2, "val": 1}))


@pytest.mark.data(DATA / "pamap2")
def test_pamap2_s_published_counts() -> None:
    windows = load("pamap2", DATA / "pamap2", published=True)
    fold = split(windows, SplitSettings.model_validate({"test": 1, "val": 0}))[0]
    assert (fold.test_groups, len(fold.train), len(fold.test)) == (("101",), 25_223, 3_726)


DAMAGED = """33,Jogging,49105962326000,-0.6946377,12.680544,0.50395286;
33,Jogging,49106012271000,5.012288,11.264028,0.95342433;33,Jogging,49106062167000,4.903325,10.882658,-0.08172209;
33,Jogging,49106112305000,-0.61291564,18.496431,3.0237172,;

;
11,Walking,1867172313000,4.4,4.4,;
33,Jogging,49106162
33,Jogging,49106162290000,-1.1849703,12.108489,7.205164;
33,Jogging,49106162290000,-1.1849703,12.108489,7.205164;
33,Jogging,0,0,0,0.0;
33,Walking,49106212290000,1,2,3;
33,Walking,49106252290000,1,2,3;
33,Walking,49106262290000,1,2,?;
"""


def test_wisdm_s_damaged_rows(tmp_path: Path) -> None:
    (tmp_path / "WISDM_ar_v1.1_raw.txt").write_text(DAMAGED)
    found = recordings("wisdm", tmp_path)
    np.testing.assert_allclose(
        found.signals[0].T,
        [
            [-0.6946377, 12.680544, 0.50395286],
            [5.012288, 11.264028, 0.95342433],
            [4.903325, 10.882658, -0.08172209],
            [-0.61291564, 18.496431, 3.0237172],
            [-1.1849703, 12.108489, 7.205164],
        ],
        rtol=1e-6,
    )
    notes = " ".join(found.notes)
    assert "left out: 2 rows with another number of cells than the set's" in notes
    assert "/WISDM_ar_v1.1_raw.txt: '11,Walking,1867172313000,4.4,4.4'; line 7 of " in notes
    assert "1 sample left out with the time stamp of another one" in notes
    assert "split in 1 place where time stamps start anew" in notes
    assert "1 single sample between such places left out" in notes
    assert "1 values are missing (acc_z: 1" in notes
    assert found.classes == ("Walking", "Jogging")
    with pytest.raises(InputError, match=r"2 rows with .*line 6 of .*data.bad_rows: drop"):
        recordings("wisdm", tmp_path, bad_rows="refuse")


def test_bad_rows_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    har_files.mhealth(tmp_path)
    for number in (1, 2):
        file = tmp_path / "MHEALTHDATASET" / f"mHealth_subject{number}.log"
        lines = file.read_text().splitlines()
        lines[30 * number] = "1\t2\tcut"
        lines[40] = lines[40].replace("\t", "\toops", 1)
        file.write_text("\n".join(lines))
    with pytest.raises(
        InputError,
        match=r"4 rows with .*2 in MHEALTHDATASET/mHealth_subject1.log, 2 in .*subject2.log; line 31 of .*line 41 of",
    ):
        load("mhealth", tmp_path / "MHEALTHDATASET")
    found = recordings("mhealth", tmp_path, bad_rows="drop")
    assert any("4 rows with" in note for note in found.notes)
    assert [signal.shape[1] for signal in found.signals] == [10, 9, 319, 20, 19, 299]  # split where a row was lost


def test_wisdm2019_brings_sensors_onto_one_clock(tmp_path: Path) -> None:
    har_files.wisdm2019(tmp_path)
    found = recordings("wisdm2019", tmp_path, device="watch")
    assert found.channels[0] == "watch_accel_x"
    accel, gyro = har_files.values(215, 3, 0), har_files.values(215, 3, 1)
    step, late = 50_354_004e-9, 7e-3
    grid = (found.signals[0].shape[1] - 1) / 20
    # accel rows start 7 ms before gyro's first, so the first row of accel is outside what gyro covers
    times = step + np.arange(0, grid, 1 / 20)
    np.testing.assert_allclose(
        found.signals[0][0][: len(times)], np.interp(times, step * np.arange(215), accel[:, 0]), atol=1e-4
    )
    expected = np.interp(
        times, step * np.arange(215), np.interp(step * np.arange(215), late + step * np.arange(215), gyro[:, 0])
    )
    np.testing.assert_allclose(found.signals[0][3][: len(times)], expected, atol=1e-4)
    (tmp_path / "wisdm-dataset" / "raw" / "watch" / "gyro" / "data_1601_gyro_watch.txt").unlink()
    found = recordings("wisdm2019", tmp_path, device="watch")
    assert set(found.groups) == {"1600"}
    assert any("left out without accel and gyro at one time: 2 of 4 recordings" in note for note in found.notes)
    assert len(recordings("wisdm2019", tmp_path, device="watch", sensors=["accel"]).channels) == 3


def test_the_null_class_can_be_kept(tmp_path: Path) -> None:
    nulls = {"pamap2": "transient", "mhealth": "null", "daphnet": "not part of the experiment", "hhar": "null"}
    for name, null in nulls.items():
        har_files.MAKERS[name](tmp_path / name)
        assert null not in recordings(name, tmp_path / name).classes
        found = recordings(name, tmp_path / name, null_class="keep")
        assert null in found.classes
        assert len(found.signals) == 2  # nothing was cut out
    har_files.opportunity(tmp_path)
    assert recordings("opportunity", tmp_path, labels="gestures", null_class="drop").classes == ("open door 1",)


def test_missing_values_are_the_recipe_s(tmp_path: Path) -> None:
    """Unless given, what the set needs; then it holds for all channels, a held heart rate's limit included."""
    har_files.pamap2(tmp_path)
    with pytest.raises(InputError, match=r"values are missing \(heart_rate: 1964, 91 %\).*data.missing"):
        load("pamap2", tmp_path, missing="refuse")
    found = recordings("pamap2", tmp_path, missing={"fill": "interpolate", "limit": "0.05 s"})
    assert any("were held, within 0.05 s" in note for note in found.notes)
    assert max(signal.shape[1] for signal in found.signals) == 6  # five rows behind each of the heart rate
    har_files.wisdm(tmp_path)
    file = tmp_path / "WISDM_ar_v1.1" / "WISDM_ar_v1.1_raw.txt"
    lines = file.read_text().splitlines()
    lines[100] = lines[100].rpartition(",")[0] + ",NaN;"
    file.write_text("\n".join(lines))
    assert len(recordings("wisdm", tmp_path).signals) == 5
    assert len(recordings("wisdm", tmp_path, missing="interpolate").signals) == 4


def test_opportunity_s_labels_and_channels(tmp_path: Path) -> None:
    har_files.opportunity(tmp_path)
    found = recordings("opportunity", tmp_path, labels="gestures", channels="all")
    assert found.classes == ("null", "open door 1")
    assert len(found.channels) == 113
    first = (1000 * har_files.values(130, 242, 1)).astype(int)
    for column, name in (
        (1, "acc_RKN^_x"),
        (37, "BACK_acc_x"),
        (50, "RUA_acc_x"),
        (102, "L-SHOE_EuX"),
        (133, "R-SHOE_Compass"),
    ):
        np.testing.assert_allclose(found.signals[0][found.channels.index(name)], first[:, column - 1])
    lost = found.signals[0][found.channels.index("BACK_gyro_y"), 3]
    assert lost == pytest.approx((first[2, 40] + first[4, 40]) / 2)
    assert any("2 were interpolated" in note for note in found.notes)


def test_dsads_joins_neighbouring_files(tmp_path: Path) -> None:
    har_files.dsads(tmp_path)
    found = recordings("dsads", tmp_path)
    assert [signal.shape[1] for signal in found.signals] == [250, 125] * 4
    assert found.offset == [0, 375] * 4
    np.testing.assert_allclose(found.signals[0][:, 125:].T, har_files.values(125, 45, 112))


def test_unimib_of_both_editions(tmp_path: Path) -> None:
    from scipy.io import savemat

    har_files.unimib(tmp_path)
    windows = load("unimib", tmp_path, part="fall")
    assert windows.x.shape == (8, 3, 151)
    np.testing.assert_allclose(windows.x[1, 2], har_files.values(8, 453)[1, 302:], rtol=1e-6)
    assert windows.classes[windows.y[1]] == "FallingLeft"
    root = tmp_path / "UniMiB-SHAR" / "data"
    savemat(root / "fall_data.mat", {"fall_data": har_files.values(12, 51)})
    savemat(root / "fall_labels.mat", {"fall_labels": [[1 + n // 6, 1 + n // 3 % 2] for n in range(12)]})
    windows = load("unimib", tmp_path, part="fall")
    np.testing.assert_allclose(windows.x[1, 2], har_files.values(12, 51)[5], rtol=1e-6)
    savemat(root / "fall_data.mat", {"other": np.zeros((2, 2))})
    with pytest.raises(InputError, match=r"there is no variable 'fall_data'; .*known: other"):
        load("unimib", tmp_path, part="fall")
    savemat(root / "fall_data.mat", {"fall_data": np.zeros((5, 7))})
    with pytest.raises(InputError, match=r"must hold \(windows, 453\) numbers .* got \(5, 7\)"):
        load("unimib", tmp_path, part="fall")


def test_sho_reads_its_misspelt_label(tmp_path: Path) -> None:
    har_files.sho(tmp_path)
    found = recordings("sho", tmp_path)
    assert found.classes == ("walking", "upstairs")
    assert any("260 samples labelled 'upsatirs', read as 'upstairs'" in note for note in found.notes)
    assert found.channels[12] == "right_pocket_acc_x"
    np.testing.assert_allclose(found.signals[0][12], har_files.values(280, 60, 1)[:140, 12], rtol=1e-6)


def test_hhar_orders_samples_and_follows_its_clocks(tmp_path: Path) -> None:
    head = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt\n"
    stamps = [0, 10, 30, 20, 40, 40, 50, 60, 5, 15, 25]  # one late, one repeated; anew 10 s earlier at the end
    seconds = [stamp / 1000 + (10 if n < 8 else 0) for n, stamp in enumerate(stamps)]
    rows = [[n, n, round(1e9 * s), 100 * s, 0, 1, "a", "gear", "gear_1", "walk"] for n, s in enumerate(seconds)]
    har_files.table(tmp_path / "Watch_accelerometer.csv", rows, ",", head)
    found = recordings("hhar", tmp_path, devices="watches", rate=100)
    assert [signal.shape[1] for signal in found.signals] == [7, 3]
    np.testing.assert_allclose(found.signals[0][0], 1000 + np.arange(7), rtol=1e-6)
    notes = " ".join(found.notes)
    assert "1 sample put in order" in notes
    assert "1 sample left out with the time stamp of another one" in notes
    assert "split in 1 place where time stamps start anew" in notes


def test_recordings_that_are_too_slow_for_the_grid_are_left_out(tmp_path: Path) -> None:
    har_files.hhar(tmp_path)
    file = tmp_path / "Activity recognition exp" / "Phones_accelerometer.csv"
    slow = [[n, n, 10**9 * n // 5, 1.0, 2.0, 3.0, "c", "old", "old_1", "walk"] for n in range(40)]
    rows = "".join(",".join(map(str, row)) + "\n" for row in slow)
    file.write_text(file.read_text() + rows)
    found = recordings("hhar", tmp_path)
    assert set(found.groups) == {"a", "b"}
    assert any("1 recording left out with less than a quarter of 50 samples a second" in note for note in found.notes)


def test_realworld_reads_zips_in_zips_and_counts_what_is_lacking(tmp_path: Path) -> None:
    har_files.realworld(tmp_path)
    settings = {"positions": ["chest", "waist"], "sensors": ["acc", "gyr"]}
    found = recordings("realworld", tmp_path, **settings)
    assert len(found.names) == 6  # of each person: walking once, climbing down in two parts
    assert found.channels[:4] == ("acc_chest_x", "acc_chest_y", "acc_chest_z", "acc_waist_x")
    assert set(found.groups) == {"proband1", "proband2"}
    windows = load("realworld", tmp_path, **settings)
    assert windows.classes == ("walking", "climbingdown")
    assert windows.x.shape == (6, 12, 128)
    with pytest.raises(InputError, match=r"none of 6 recordings has all .*6 without acc at head.* data\.positions"):
        load("realworld", tmp_path)  # there is no head, no shin ...
    folder = tmp_path / "realworld2016_dataset" / "proband2" / "data"
    with zipfile.ZipFile(folder / "gyr_walking_csv.zip") as archive:
        archive.extractall(folder / "gyr_walking_csv")
    assert load("realworld", tmp_path, **settings).content == windows.content  # unpacked beside its zip: read once
    (folder / "gyr_walking_csv.zip").unlink()
    (folder / "gyr_walking_csv" / "Gyroscope_walking_waist.csv").unlink()
    told = " ".join(recordings("realworld", tmp_path, **settings).notes)
    assert "left out of 6 recordings: 1 without gyr at waist" in told
