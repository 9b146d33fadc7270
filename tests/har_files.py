"""Small files in the layouts of published sets, made here; no row is anyone's.

Where the layouts were looked up, and what was tried on real rows (excerpts in public repositories; none are kept):

- UCI-HAR: the set's README (nine ``Inertial Signals`` files a side, 128 columns, blanks); the whole
  set written back as text.
- PAMAP2: ``DataCollectionDescription`` as several public readers quote it (54 columns, blanks, NaN); published windows:
  the preprocessing script of the PAMAP2 comparisons (ranges, order of classes).
- MHEALTH: the set's README (24 columns; tabs there, blanks in the excerpt); an excerpt of 36 rows a person.
- WISDM 2011: its ``raw_about`` text; the first rows; damaged rows as public readers list them one by one.
- WISDM 2019: its README and ``activity_key.txt``; one row quoted by a public reader.
- Daphnet: the set's README as public readers quote it (11 columns, milliseconds, classes 0 to 2).
- Opportunity: ``column_names.txt`` as two public readers list it (250 columns), codes of gestures and locomotion.
- DSADS: the set's page (45 columns of 5 units, commas, 125 rows a file).
- UniMiB SHAR: its README; the real files of its first edition (falls, 1,699 windows).
- SHO: two public readers (two header lines, 70 columns, the misspelt "upsatirs", time stamps such as 1.39E+12).
- HHAR: excerpts of all four files, 10,000 rows each (samples out of order, stamps that repeat and start anew, null).
- RealWorld: two public readers (zips of csv, zips in zips for activities of two parts, names of sensors).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from overtone import data
from overtone.data import Recordings, Windows
from overtone.recipe import DataSettings

PEOPLE = 2


def load(name: str, path: Path, **settings: Any) -> Windows:
    return data.load(DataSettings.model_validate({"name": name, "path": str(path), **settings}))


def recordings(name: str, path: Path, **settings: Any) -> Recordings:
    found = data.SOURCES[name].model_validate({"path": str(path), **settings}).load()
    assert isinstance(found, Recordings)
    return found


def values(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Numbers as they will be read back."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).round(3)


def table(path: Path, rows: list[list[Any]], delimiter: str = " ", head: str = "", end: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(delimiter.join(map(str, row)) + end + "\n" for row in rows))


def uci_har(folder: Path) -> None:
    for side, people in (("train", (1, 3)), ("test", (2,))):
        count = 4 * len(people)
        for seed, name in enumerate(f"{kind}_{a}" for kind in ("body_acc", "body_gyro", "total_acc") for a in "xyz"):
            rows = [[f"{v: .7e}" for v in row] for row in values(count, 128, seed)]
            table(folder / "UCI HAR Dataset" / side / "Inertial Signals" / f"{name}_{side}.txt", rows, "  ")
        table(folder / "UCI HAR Dataset" / side / f"y_{side}.txt", [[1 + n % 4 // 2] for n in range(count)])
        table(folder / "UCI HAR Dataset" / side / f"subject_{side}.txt", [[people[n // 4]] for n in range(count)])


def pamap2_rows(
    seed: int, runs: tuple[tuple[int, int], ...] = ((0, 30), (1, 520), (0, 10), (4, 520))
) -> list[list[Any]]:
    """100 Hz from 8.38 s on; the heart rate in every eleventh row, and ten rows that a unit lost."""
    labels = [label for label, count in runs for _ in range(count)]
    numbers = values(len(labels), 51, seed)
    rows = []
    for n, label in enumerate(labels):
        heart = 100 + n // 100 if n % 11 == 3 else "NaN"
        units = ["NaN" if 100 <= n < 110 and column < 17 else v for column, v in enumerate(numbers[n])]
        rows.append([f"{8.38 + n / 100:.2f}", label, heart, *units])
    return rows


def pamap2(folder: Path) -> None:
    for person in range(PEOPLE):
        table(folder / "PAMAP2_Dataset" / "Protocol" / f"subject{101 + person}.dat", pamap2_rows(person))


def mhealth(folder: Path) -> None:
    for person in range(1, 1 + PEOPLE):
        labels = [0] * 20 + [1] * 140 + [4] * 200
        rows = [[*row, label] for row, label in zip(values(360, 23, person), labels, strict=True)]
        table(folder / "MHEALTHDATASET" / f"mHealth_subject{person}.log", rows, "\t")


def wisdm(folder: Path) -> None:
    rows = []
    for person in (33, 6):
        for activity in ("Jogging", "Walking"):
            start = 49105962326000 + (activity == "Walking") * 10**12
            rows += [
                [person, activity, start + 50_000_000 * n, *map(float, row)]
                for n, row in enumerate(values(210, 3, person + 100 * (activity == "Walking")))
            ]
    table(folder / "WISDM_ar_v1.1" / "WISDM_ar_v1.1_raw.txt", rows, ",", end=";")


def wisdm2019(folder: Path) -> None:
    root = folder / "wisdm-dataset"
    table(root / "activity_key.txt", [["walking", "A"], ["jogging", "B"], ["folding", "S"]], " = ")
    for person in (1600, 1601):
        for device in ("phone", "watch"):
            for seed, sensor in enumerate(("accel", "gyro")):
                rows = []
                for letter in "AS":
                    start = 252207666810782 + (letter == "S") * 10**12 + 7_000_000 * seed
                    rows += [
                        [person, letter, start + 50_354_004 * n, *map(float, row)]
                        for n, row in enumerate(values(215, 3, seed + 100 * (person % 1600) + 10 * (letter == "S")))
                    ]
                table(root / "raw" / device / sensor / f"data_{person}_{sensor}_{device}.txt", rows, ",", end=";")


def daphnet(folder: Path) -> None:
    for person in range(1, 1 + PEOPLE):
        labels = [0] * 50 + [1] * 270 + [2] * 300
        rows = [
            [round(n * 15.625), *(1000 * row).astype(int), label]
            for n, (row, label) in enumerate(zip(values(620, 9, person), labels, strict=True))
        ]
        table(folder / "dataset_fog_release" / "dataset" / f"S0{person}R01.txt", rows)


def opportunity(folder: Path) -> None:
    for person in range(1, 1 + PEOPLE):
        rows = []
        for n, row in enumerate(values(130, 242, person)):
            locomotion, gesture = (1, 0) if n < 65 else (2, 406516)
            sensors = ["NaN" if n == 3 and column == 40 else int(1000 * v) for column, v in enumerate(row)]
            rows.append([round(n * 100 / 3), *sensors, locomotion, 0, 0, 0, 0, 0, gesture])
        table(folder / "OpportunityUCIDataset" / "dataset" / f"S{person}-ADL1.dat", rows)


def dsads(folder: Path) -> None:
    for activity in (1, 19):
        for person in (1, 2):
            for segment in (1, 2, 4):
                rows = values(125, 45, 100 * activity + 10 * person + segment).tolist()
                table(folder / "data" / f"a{activity:02d}" / f"p{person}" / f"s{segment:02d}.txt", rows, ",")


def unimib(folder: Path) -> None:
    from scipy.io import savemat

    root = folder / "UniMiB-SHAR" / "data"
    root.mkdir(parents=True)
    for part, classes in (("acc", 17), ("adl", 9), ("fall", 8)):
        labels = np.array([[1 + n % 2 * (classes - 1), 1 + n // 4, 1] for n in range(8)], dtype=np.float64)
        savemat(root / f"{part}_data.mat", {f"{part}_data": values(8, 453)})
        savemat(root / f"{part}_labels.mat", {f"{part}_labels": labels})


def sho(folder: Path) -> None:
    fields = ["time_stamp", *(f"{s}{axis}" for s in "ALGM" for axis in "xyz"), ""]
    head = "Left_pocket" + "," * 69 + "\n" + ",".join(fields * 5) + "\n"
    for person in range(1, 1 + PEOPLE):
        rows = []
        for n, row in enumerate(values(280, 60, person)):
            cells: list[Any] = []
            for place in range(5):
                cells += ["1.39E+12", *row[12 * place : 12 * place + 12], ""]
            cells[-1] = "walking" if n < 140 else "upstairs" if n < 150 else "upsatirs"
            rows.append(cells)
        table(folder / "DataSet" / f"Participant_{person}.csv", rows, ",", head)


def hhar(folder: Path) -> None:
    head = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt\n"
    for file, rate, device in (("Phones", 200, "nexus4"), ("Watch", 100, "gear")):
        for seed, sensor in enumerate(("accelerometer", "gyroscope")):
            rows = []
            for user in "ab":
                for n, row in enumerate(values(7 * rate, 3, seed)):
                    label = "stand" if n < 3 * rate else "null" if n < 4 * rate else "walk"
                    stamp = 1424696631913248572 + 10**9 // rate * n + 1_000_000 * seed
                    rows.append([n, 1424696633908 + n, stamp, *row, user, device, f"{device}_1", label])
            table(folder / "Activity recognition exp" / f"{file}_{sensor}.csv", rows, ",", head)


def zipped(files: dict[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def realworld(folder: Path, positions: tuple[str, ...] = ("chest", "waist")) -> None:
    """Walking in one part; climbing down in two, each a zip in the activity's zip."""
    for person in range(1, 1 + PEOPLE):
        root = folder / "realworld2016_dataset" / f"proband{person}" / "data"
        root.mkdir(parents=True)
        for short, long in (("acc", "acc"), ("gyr", "Gyroscope")):
            for activity, parts in (("walking", ("",)), ("climbingdown", ("_1", "_2"))):
                packed: dict[str, str | bytes] = {}
                for part in parts:
                    files: dict[str, str | bytes] = {"readMe": "frequency: 50 Hz"}
                    for seed, position in enumerate(positions):
                        start = 1435993000000 + 7 * seed + 10**7 * len(part) * int(part[-1:] or 0)
                        lines = [
                            f"{n},{start + 20 * n},{x},{y},{z}"
                            for n, (x, y, z) in enumerate(values(140, 3, seed + 10 * len(activity)), 1)
                        ]
                        text = "id,attr_time,attr_x,attr_y,attr_z\n" + "\n".join(lines)
                        files[f"{long}_{activity}{part}_{position}.csv"] = text
                    if part:
                        packed[f"{short}_{activity}{part}_csv.zip"] = zipped(files)
                    else:
                        packed = files
                (root / f"{short}_{activity}_csv.zip").write_bytes(zipped(packed))


MAKERS: dict[str, Callable[[Path], None]] = {
    "uci_har": uci_har,
    "pamap2": pamap2,
    "mhealth": mhealth,
    "wisdm": wisdm,
    "wisdm2019": wisdm2019,
    "daphnet": daphnet,
    "opportunity": opportunity,
    "dsads": dsads,
    "unimib": unimib,
    "sho": sho,
    "hhar": hhar,
    "realworld": realworld,
}
