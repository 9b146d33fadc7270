"""Images with boxes: three formats that say the same, what is wrong with them told at once, and sizes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_image_files import draw
from typer.testing import CliRunner

from overtone import data
from overtone.cli import app
from overtone.data import Windows, split
from overtone.data.boxes.sources import Coco
from overtone.data.canvas import fitted
from overtone.engine.prefetch import read_ahead
from overtone.errors import InputError
from overtone.new_data import Columns, read_windows
from overtone.recipe import DataSettings, SplitSettings
from overtone.tasks import Detection
from overtone.tasks.boxes import unpacked

SIZES = {"a": (40, 30), "b": (24, 48), "c": (64, 64), "d": (32, 16)}  # width, height
SIDES = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
CLASSES = ("cat", "dog")
BOXES = {  # x, y, width, height, class; d has none
    "a": [(2, 3, 10, 12, "dog"), (20, 0, 20, 30, "cat")],
    "b": [(0, 8, 24, 16, "cat")],
    "c": [(16, 16, 32, 8, "dog"), (1, 2, 3, 4, "dog"), (32, 40, 16, 24, "cat")],
    "d": [],
}


def coco(root: Path, sides: dict[str, list[str]] = SIDES) -> Path:
    for side, names in sides.items():
        images, annotations = [], []
        for number, name in enumerate(names, 1):
            draw(root / side / f"{name}.png", SIZES[name], number)
            width, height = SIZES[name]
            images.append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
            for *box, kind in BOXES[name]:
                own = {
                    "id": len(annotations),
                    "image_id": number,
                    "bbox": box,
                    "category_id": {"cat": 3, "dog": 7}[kind],
                }
                annotations.append({**own, "area": box[2] * box[3], "iscrowd": 0, "segmentation": [[0.5] * 8]})
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{side}.json").write_text(json.dumps(content))
    return root


def xml(name: str, file: str) -> str:
    width, height = SIZES[name]
    things = "".join(
        f"<object><name>{kind}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for x, y, w, h, kind in BOXES[name]
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{file}</filename>{size}{things}</annotation>"


def voc(root: Path) -> Path:
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for side, names in SIDES.items():
        for number, name in enumerate(names, 1):
            draw(root / "JPEGImages" / f"{name}.png", SIZES[name], number)
            (root / "Annotations" / f"{name}.xml").write_text(xml(name, f"{name}.png"))
        (root / "ImageSets/Main" / f"{side}.txt").write_text("\n".join(names))
    (root / "ImageSets/Main/trainval.txt").write_text("a\nb\nc")  # with train there, it is no side
    (root / "ImageSets/Main/cat_train.txt").write_text("a 1\nb -1")
    return root


def voc_beside(root: Path) -> Path:
    """Each annotation beside its image, in folders of sides."""
    for side, names in SIDES.items():
        for number, name in enumerate(names, 1):
            draw(root / side / f"{name}.png", SIZES[name], number)
            (root / side / f"{name}.xml").write_text(xml(name, "of-another-machine.png"))
    return root


def lines(name: str) -> str:
    width, height = SIZES[name]
    return "".join(
        f"{CLASSES.index(kind)} {(x + w / 2) / width!r} {(y + h / 2) / height!r} {w / width!r} {h / height!r}\n"
        for x, y, w, h, kind in BOXES[name]
    )


def yolo(root: Path, image: str = "images/{side}", label: str = "labels/{side}", said: str = "images/{side}") -> Path:
    for side, names in SIDES.items():
        (root / label.format(side=side)).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names, 1):
            draw(root / image.format(side=side) / f"{name}.png", SIZES[name], number)
            if BOXES[name]:
                (root / label.format(side=side) / f"{name}.txt").write_text(lines(name))
    if said:
        places = "".join(f"{side}: {said.format(side=side)}\n" for side in SIDES)
        (root / "data.yaml").write_text(f"path: /content/nowhere\n{places}nc: 2\nnames: {{0: cat, 1: dog}}\n")
    else:
        (root / "classes.txt").write_text("cat\ndog\n")
    return root


def roboflow(root: Path) -> Path:
    return yolo(root, "{side}/images", "{side}/labels", "../{side}/images")


def yolo_folders(root: Path) -> Path:
    return yolo(root, said="")


def load(path: Path, name: str = "boxes", size: int = 32, max_size: int = 48, **settings: Any) -> Windows:
    values = {"name": name, "path": str(path), "size": size, "max_size": max_size, **settings}
    return data.load(DataSettings.model_validate(values))


def by_name(windows: Windows) -> dict[str, Any]:
    names = [Path(name).stem for name in windows.recordings]
    return {
        name: (x, np.sort(y[1:], 0), y[0], windows.groups[group])
        for name, x, y, group in zip(names, windows.x[:], windows.y, windows.group, strict=True)
    }


MAKERS = (coco, voc, voc_beside, yolo, roboflow, yolo_folders)


@pytest.mark.parametrize("make", MAKERS)
def test_formats_give_the_same(make: Callable[[Path], Path], tmp_path: Path) -> None:
    windows = load(make(tmp_path / "set"))
    assert windows.task.names == CLASSES
    assert windows.groups == ("val", "train", "test")
    assert isinstance(windows.task, Detection)
    assert windows.x.shape == (4, 3, 48, 48)
    assert windows.official_test is not None
    assert [windows.recordings[n][-5] for n in np.flatnonzero(windows.official_test)] == ["d"]
    kinds = {coco: "COCO JSON", voc: "Pascal VOC XML", voc_beside: "Pascal VOC XML"}
    assert windows.notes[0] == f"annotations: {kinds.get(make, 'YOLO text')}"
    found = by_name(windows)
    for name, (x, boxes, head, group) in found.items():
        width, height = SIZES[name]
        tall, wide = fitted(height, width, 32, 48)
        assert group == next(side for side, names in SIDES.items() if name in names)
        assert head[:4].tolist() == [tall, wide, height, width]
        expected = np.zeros((3, 7), dtype=np.float32)
        expected[:, 4] = -1
        for row, (left, top, w, h, kind) in zip(expected, BOXES[name], strict=False):
            edges = np.array([left, top, left + w, top + h])
            row[:4] = edges * [wide / width, tall / height, wide / width, tall / height]
            row[4], row[6] = CLASSES.index(kind), w * h
        assert np.allclose(boxes, np.sort(expected, 0), atol=1e-3)
        assert not x[:, tall:].any()
        assert not x[:, :, wide:].any()
    fold = split(windows, SplitSettings(scheme="official"))[0]
    assert (fold.train_groups, fold.val_groups, fold.test_groups) == (("train",), ("val",), ("test",))


def test_an_image_is_scaled_into_the_corner(tmp_path: Path) -> None:
    windows = load(coco(tmp_path))
    number = next(n for n, name in enumerate(windows.recordings) if name == "train/a.png")
    with Image.open(tmp_path / "train/a.png") as image:
        scaled = image.resize((43, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(windows.x[number][:, :32, :43], np.asarray(scaled).transpose(2, 0, 1))
    (batch,) = read_ahead(windows.files, [torch.tensor([number])], None, 0, pin=False)
    assert np.array_equal(batch[0].numpy(), windows.x[number])
    assert pickle.loads(pickle.dumps(windows.files))[number].shape == (3, 48, 48)
    assert np.array_equal(windows.sizes, windows.y[:, 0, :4])
    assert load(tmp_path, size=24).content != windows.content == load(tmp_path).content


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(16, 900), st.integers(0, 900))
def test_sizes_keep_within_bounds(height: int, width: int, size: int, more: int) -> None:
    tall, wide = fitted(height, width, size, size + more)
    assert 1 <= min(tall, wide) <= size
    assert max(tall, wide) <= size + more
    assert min(tall, wide) == size or max(tall, wide) == size + more
    assert abs(tall - wide * height / width) <= 0.5 + 0.5 * height / width or min(tall, wide) == 1


def test_two_sides_one_side_and_parts(tmp_path: Path) -> None:
    coco(tmp_path, {"train2017": ["a", "b"], "val2017": ["c", "d"]})
    for name in ("coco", "boxes"):
        windows = load(tmp_path, name)
        assert windows.groups == ("all images",)
        assert windows.official_test.tolist() == [False, False, True, True]
    fold = split(windows, SplitSettings(by="window", scheme="official", val=1))[0]
    assert [len(fold.train), len(fold.val), len(fold.test)] == [1, 1, 2]
    some = load(tmp_path, train_images=1, test_images=1)
    assert some.recordings == ("train2017/a.png", "val2017/c.png")
    alone = load(tmp_path / "annotations" / "instances_val2017.json")
    assert (alone.official_test, alone.recordings) == (None, ("c.png", "d.png"))
    assert [len(f.test) for f in split(alone, SplitSettings(by="window", scheme="kfold", test=2, val=0))] == [1, 1]


def test_other_annotations_are_told_and_can_be_named(tmp_path: Path) -> None:
    yolo(tmp_path)
    coco(tmp_path)
    assert load(tmp_path).notes[:2] == (
        "annotations: COCO JSON",
        "other annotations, not read (data.format names them instead of coco): 1 (yolo)",
    )
    assert load(tmp_path, format="yolo").notes[0] == "annotations: YOLO text"
    with pytest.raises(InputError, match=r"there is no annotation .\.xml. of an image"):
        load(tmp_path, format="voc")


def test_classes_are_chosen(tmp_path: Path) -> None:
    coco(tmp_path)
    windows = load(tmp_path, drop=["cat"])
    assert windows.task.names == ("dog",)
    assert "boxes of classes that were left out (cat): 3 of 6" in windows.notes
    assert len(windows) == 4  # b has no box left, and stays
    assert load(tmp_path, classes=["dog", "cat"]).task.names == ("dog", "cat")
    merged = load(tmp_path, rename={"cat": "pet", "dog": "pet"})
    assert (merged.task.names, int((merged.y[:, 1:, 4] == 0).sum())) == (("pet",), 6)
    with pytest.raises(InputError, match=r"data\.drop: there is no class 'cats'; did you mean 'cat'"):
        load(tmp_path, drop=["cats"])
    with pytest.raises(InputError, match="give one of them"):
        load(tmp_path, drop=["cat"], classes=["dog"])


# --- what is wrong with a set


def changed(root: Path, change: Callable[[dict[str, Any]], None], side: str = "train") -> Path:
    file = root / "annotations" / f"instances_{side}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return root


def one(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes the first annotation."""
    return lambda content: content["annotations"][0].update(values)


def again(what: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Repeats the first entry of a list, with changes."""
    return lambda content: content[what].append({**content[what][0], **values})


TOLD = {
    "beyond": (one(bbox=[-5, 3, 20, 12]), "boxes clipped that reached beyond their image: 1 (train/a.png)", 6),
    "huge": (one(bbox=[-1e30, 0, 2e30, 10**40]), "boxes clipped that reached beyond their image: 1 (train/a.png)", 6),
    "outside": (one(bbox=[90, 3, 20, 12]), "boxes left out that lay outside of their image: 1 (train/a.png)", 5),
    "no area": (one(bbox=[5, 3, 0, 12]), "boxes left out that had no area: 1 (train/a.png)", 5),
    "negative": (one(bbox=[5, 3, -4, 12]), "boxes left out that had no area: 1 (train/a.png)", 5),
    "thin": (one(bbox=[30, 3, 1e-9, 12]), "boxes left out that had no area: 1 (train/a.png)", 5),
    "rounded": (one(bbox=[-0.4, 3, 20, 12]), None, 6),
    "crowd": (one(iscrowd=1), None, 6),
    "no area stated": (one(area=None), None, 6),
    "stray": (one(image_id=99), "boxes left out whose image instances_train.json does not list: 1 (0)", 5),
    "box twice": (again("annotations"), "boxes that stand twice in instances_train.json, read once: 1 (0)", 6),
    "image twice": (again("images"), "images that instances_train.json lists twice, read once: 1 (a.png)", 6),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str, tmp_path: Path) -> None:
    change, note, boxes = TOLD[name]
    windows = load(changed(coco(tmp_path), change))
    assert windows.notes[1:] == (() if note is None else (note,))
    assert int((windows.y[:, 1:, 4] >= 0).sum()) == boxes
    for rows in torch.from_numpy(windows.y):
        truth = unpacked(rows)
        assert bool((truth.boxes[:, 2:] > truth.boxes[:, :2]).all())
        assert bool((truth.boxes >= 0).all())
        assert bool((truth.boxes <= torch.tensor([*truth.size[::-1], *truth.size[::-1]])).all())
        assert bool((truth.area > 0).all())
    assert int(windows.y[:, 1:, 5].sum()) == (name == "crowd")


WRONG = {
    "category": (one(category_id=99), "categories that instances_train.json does not define: 1 (0: 99)"),
    "nan": (one(bbox=[float("nan"), 0, 1, 1]), "bbox is not four finite numbers: 1 (0: [nan, 0, 1, 1])"),
    "infinite": (one(bbox=[0, 0, float("inf"), 1]), "bbox is not four finite numbers: 1"),
    "three": (one(bbox=[1, 2, 3]), "bbox is not four finite numbers: 1 (0: [1, 2, 3])"),
    "text": (one(bbox=["1", "2", "3", "4"]), "bbox is not four finite numbers: 1"),
    "no bbox": (lambda content: content["annotations"][0].pop("bbox"), "finite numbers: 1 (0: None)"),
    "annotation id": (again("annotations", bbox=[1, 1, 2, 2]), "annotation ids in instances_train.json that stand for"),
    "image id": (again("images", file_name="b.png"), "image ids in instances_train.json that stand for several"),
    "image twice": (again("images", id=9), "images that are listed twice: 1 (train/a.png)"),
    "missing": (again("images", id=9, file_name="e.png"), "listed images that are missing: 1 (train/e.png)"),
    "no name": (lambda content: content["images"][0].pop("file_name"), "images in instances_train.json without id or"),
    "size": (lambda c: c["images"][0].update(width=41), "train/a.png: 41 x 30 stated, 40 x 30 in the file"),
    "turned": (lambda c: c["images"][0].update(width=30, height=40), "in the file; EXIF may turn it"),
    "name twice": (again("categories", id=8), "two categories have the same name 'dog'"),
    "id twice": (again("categories", name="cow"), "two categories have the same id"),
    "no category": (lambda content: content.update(categories=[]), "there is no category in it"),
    "captions": (lambda content: content.pop("categories"), "lists of objects called images, annotations, categories"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    change, message = WRONG[name]
    with pytest.raises(InputError) as caught:
        load(changed(coco(tmp_path), change))
    assert message in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    coco(tmp_path)
    changed(tmp_path, one(category_id=99))
    changed(
        tmp_path, lambda content: [content["images"].append({"id": n, "file_name": f"{n}.png"}) for n in range(5, 10)]
    )
    whole = (tmp_path / "val/c.png").read_bytes()
    (tmp_path / "val/c.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    text = str(caught.value)
    assert "does not define: 1 (0: 99)" in text
    assert "listed images that are missing: 5 (train/5.png, train/6.png, train/7.png and 2 more)" in text
    assert "files that cannot be read as images: 1 (val/c.png: " in text
    assert text.endswith("Mend these, or take them out of the set")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
def test_a_file_that_is_cut_short_is_found(ending: str, tmp_path: Path) -> None:
    for side in SIDES:
        (tmp_path / side).mkdir(parents=True)
        draw(tmp_path / side / f"{side}{ending}", (64, 48), 1)
        (tmp_path / side / f"{side}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert len(load(tmp_path, format="yolo")) == 3
    file = tmp_path / "train" / f"train{ending}"
    content = file.read_bytes()
    file.write_bytes(content + b"\0\0 a camera's own")  # behind its end, as some write it
    assert len(load(tmp_path, format="yolo")) == 3
    for short in (content[:-40], content[: len(content) // 2], content[:20], b""):
        file.write_bytes(short)
        with pytest.raises(InputError, match=f"files that cannot be read as images: 1 .train/train{ending}: "):
            load(tmp_path, format="yolo")


def test_values_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    yolo_folders(tmp_path)
    Image.fromarray(np.full((30, 40), 4000, dtype=np.uint16)).save(tmp_path / "images/train/a.png")
    with pytest.raises(InputError, match=r"a.png: its values are no bytes .mode I;16.; save it with 8 bits"):
        load(tmp_path)


def test_exif_is_not_followed_and_that_is_told(tmp_path: Path) -> None:
    voc(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "JPEGImages/a.png") as image:
        image.save(tmp_path / "JPEGImages/a.png", exif=exif)
    windows = load(tmp_path)
    assert "images whose EXIF says that they be turned, which is not followed: 1 (JPEGImages/a.png)" in windows.notes
    assert by_name(windows)["a"][2][2:4].tolist() == [30, 40]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON, or is cut short"),
        ("[1, 2]", "is not COCO's JSON, which holds lists of objects called images, annotations, categories; got list"),
        ('{"shapes": []}', "got shapes"),
        ("[" * 100_000, "is no JSON, or is cut short"),
    ],
)
def test_json_of_another_kind(content: str, message: str, tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "annotations/instances_train.json").write_text(content)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


VOC_WRONG = {
    "cut short": (lambda text: text[:60], "files that are no XML, or are cut short: 1 (Annotations/a.xml: "),
    "entity": (lambda text: f'<!DOCTYPE a [<!ENTITY b "c">]>{text}', "a.xml: it defines entities"),
    "another": (lambda text: "<html></html>", "XML files that are no annotation of Pascal VOC: 1 (Annotations/a.xml"),
    "no number": (lambda text: text.replace("<xmin>3<", "<xmin>x<"), "bndbox is not four finite numbers: 1"),
    "nan": (lambda text: text.replace("<xmin>3<", "<xmin>nan<"), "bndbox is not four finite numbers: 1"),
    "no name": (lambda text: text.replace("<name>dog<", "<name> <"), "objects without a name: 1 (Annotations/a.xml)"),
}  # fmt: skip


@pytest.mark.parametrize("name", VOC_WRONG)
def test_what_is_refused_of_voc(name: str, tmp_path: Path) -> None:
    change, message = VOC_WRONG[name]
    file = voc(tmp_path) / "Annotations/a.xml"
    file.write_text(change(file.read_text()))
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


def test_files_that_voc_lists_and_that_are_missing(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "JPEGImages/b.png").unlink()
    (tmp_path / "ImageSets/Main/test.txt").write_text("d\ne\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert "annotations that test.txt lists and that are missing: 1 (e.xml)" in str(caught.value)
    assert "listed images that are missing: 1 (b.png)" in str(caught.value)


def test_what_voc_calls_difficult_is_ignored_like_a_crowd(tmp_path: Path) -> None:
    file = voc(tmp_path) / "Annotations/b.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    windows = load(tmp_path)
    assert int(windows.y[:, 1:, 5].sum()) == 1
    assert any(note.startswith("boxes marked difficult, treated like crowds") for note in windows.notes)


YOLO_WRONG = {
    "class": ("2 0.5 0.5 0.1 0.1", "lines of classes that are not defined (0 to 1 are): 1 (a.txt line 1: 2 0.5"),
    "fraction": ("0.5 0.5 0.5 0.1 0.1", "lines of classes that are not defined"),
    "pixels": ("0 20 15 10 10", "lines whose numbers are no shares of the image (0 to 1): 1"),
    "score": ("0 0.5 0.5 0.1 0.1 0.9", "lines that are not a class and four finite numbers"),
    "nan": ("0 nan 0.5 0.1 0.1", "lines that are not a class and four finite numbers"),
    "text": ("cat 0.5 0.5 0.1 0.1", "lines with a value that is no number: 1 (a.txt line 1: cat 0.5"),
}


@pytest.mark.parametrize("name", YOLO_WRONG)
def test_what_is_refused_of_yolo(name: str, tmp_path: Path) -> None:
    line, message = YOLO_WRONG[name]
    (yolo(tmp_path) / "labels/train/a.txt").write_text(line)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


def test_what_yolo_leaves_open(tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "labels/train/a.txt").write_text("1 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n")  # an outline
    (tmp_path / "labels/train/z.txt").write_text("1 0.1 0.1 0.5 0.1\n")
    windows = load(tmp_path)
    assert windows.notes[1:] == (
        "outlines of which the box around them was taken: 1 (a.txt)",
        "images without a file of labels, taken as images without boxes: 1 (images/test/d.png)",
        "files of labels without an image, left out: 1 (z.txt)",
        "classes without names (no data.yaml or classes.txt), called by their numbers: 2 (0, 1)",
    )
    tall, wide = fitted(30, 40, 32, 48)
    assert np.allclose(by_name(windows)["a"][1][-1, :4] / [wide, tall, wide, tall], [0.1, 0.1, 0.5, 0.6], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat, cat]\ntrain: images/train", "two classes are called 'cat'"),
        ("names: {1: cat, 2: dog}\ntrain: images/train", "names must number classes from 0 to 1"),
        ("names: [cat, dog]\ntrain: pictures", "sides that data.yaml names and that are missing: 1 (pictures)"),
        ("[cat, dog]", "must hold names, train and val; got list"),
        ("names: [cat", "cannot be read as YAML"),
    ],
)
def test_a_description_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (yolo(tmp_path) / "data.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


def test_places_that_hold_nothing_of_use(tmp_path: Path) -> None:
    draw(tmp_path / "only/a.png", (20, 20), 1)
    (tmp_path / "only/notes.md").write_text("")
    for path, name, message in (
        (tmp_path / "none", "boxes", "does not exist"),
        (tmp_path / "only", "boxes", "no annotations of a known format were found; read are COCO JSON"),
        (tmp_path / "only/notes.md", "boxes", "is neither a folder, nor COCO JSON"),
        (tmp_path / "only", "coco", "annotations/instances_train2017.json was not found (looked in: "),
        (tmp_path / "only", "bccd", "annotations/instances_train.json was not found (looked in: "),
    ):
        with pytest.raises(InputError) as caught:
            load(path, name)
        assert message in str(caught.value)
    coco(tmp_path / "set")
    (tmp_path / "set/annotations/instances_val.json").unlink()
    with pytest.raises(InputError, match=r"instances_val.json is missing; data 'boxes' reads one side alone"):
        load(tmp_path / "set", "bccd")
    with pytest.raises(InputError, match=r"max_size .48. is of the longer side, so at least size .64."):
        load(tmp_path / "set", size=64)
    changed(coco(tmp_path / "bare", {"train": ["d"]}), lambda content: None)
    with pytest.raises(InputError, match="no image in it has a box"):
        load(tmp_path / "bare")


# --- a student's images


def header(**settings: Any) -> Any:
    kept = {"name": "coco", "size": 32, "max_size": 48, **settings}
    task = SimpleNamespace(task=lambda: Detection(classes=("dog", "cat")))
    return SimpleNamespace(
        header=SimpleNamespace(data=kept, window=(48, 48), channels=("red", "green", "blue"), task=task)
    )


def test_a_student_reads_images_as_in_training(tmp_path: Path) -> None:
    coco(tmp_path)
    given_ = read_windows(tmp_path / "train", header(train_images=1), Columns(), None, labelled=False)
    assert given_.recordings == ("a.png", "b.png")
    trained = by_name(load(tmp_path))
    for name, (x, boxes, head, _) in by_name(given_.windows).items():
        tall, wide = (int(side) for side in head[:2])
        assert np.array_equal(x[:, :tall, :wide], trained[name][0][:, :tall, :wide])
        assert not len(boxes)
    alone = read_windows(tmp_path / "train/a.png", header(), Columns(), None, labelled=False)
    assert alone.windows.x.shape == (1, 3, 32, 43)
    (tmp_path / "train/b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"files that cannot be read as images: 1 .b.png"):
        read_windows(tmp_path / "train", header(), Columns(), None, labelled=False)


def test_a_student_is_scored_on_boxes_in_any_format_by_its_own_classes(tmp_path: Path) -> None:
    windows = read_windows(voc(tmp_path / "voc"), header(), Columns(), None, labelled=True).windows
    assert windows.classes == ("dog", "cat")
    names = [Path(name).stem for name in windows.recordings]
    assert sorted(windows.y[names.index("c"), 1:, 4].tolist()) == [0, 0, 1]
    file = tmp_path / "voc/Annotations/b.xml"
    file.write_text(file.read_text().replace("cat", "cow"))
    with pytest.raises(InputError, match="boxes are of class cow, which the student does not know"):
        read_windows(tmp_path / "voc", header(), Columns(), None, labelled=True)
    for settings in ({"rename": {"cow": "cat"}}, {"drop": ["cow"]}, {"classes": ["dog", "cat"]}):
        found = read_windows(tmp_path / "voc", header(**settings), Columns(), None, labelled=True).windows
        assert int((found.y[:, 1:, 4] >= 0).sum()) == (6 if "rename" in settings else 5)


@pytest.mark.parametrize("make", [coco, voc, roboflow])
def test_look_tells_boxes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["look", str(make(tmp_path / "set"))], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for fact in (
        "pictures with boxes (",
        "24 to 64 wide and 16 to 64 high",
        "6, up to 3 in a picture; 1 without",
        "3 boxes",
    ):
        assert fact in result.output
    assert "a recipe's data is {name: boxes, path: " in " ".join(result.output.split())


# --- real sets


@pytest.mark.data
def test_bccd() -> None:
    windows = data.load(DataSettings.model_validate({"name": "bccd", "size": 192}))
    assert windows.task.names == ("WBC", "RBC", "Platelets")
    assert windows.x.shape == (364, 3, 192, 256)
    images = dict(zip(windows.groups, np.bincount(windows.group).tolist(), strict=True))
    assert images == {"train": 205, "val": 87, "test": 72}
    there = (windows.y[:, 1:, 4] >= 0).sum(1)
    assert [int(there[windows.group == windows.groups.index(side)].sum()) for side in images] == [1138, 2805, 945]
    assert windows.notes == ("annotations: COCO JSON",)


@pytest.mark.data
def test_a_small_part_of_coco() -> None:
    windows = data.load(DataSettings.model_validate({"name": "coco", "path": str(DATA / "coco_mini"), "size": 320}))
    assert (len(windows.task.names), windows.task.names[:2], windows.task.names[-1]) == (
        80,
        ("person", "bicycle"),
        "toothbrush",
    )
    there = (windows.y[:, 1:, 4] >= 0).sum(1)
    test = windows.official_test
    assert [int((~test).sum()), int(there[~test].sum()), int(test.sum()), int(there[test].sum())] == [80, 739, 79, 624]
    assert Coco.TASK.NAME == "detection"
