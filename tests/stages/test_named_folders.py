"""Folders that name parts and classes, as ImageFolder and most downloads have them."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from formats import folder, picture, save
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, tiny

from stages.errors import InputError
from stages.preprocess import preprocess
from stages.shards import SPLITS, ShardSet
from stages.sources.folder import FolderSource
from stages.sources.named_folders import meaning_of
from stages.sources.parquet import ParquetSource
from stages.sources.source import NOT_TEST, Source

CIFAR = ROOT.parent / "shared" / "data" / "cifar10"


def meaning(*images: str, split_folders: bool = True, class_folders: bool = True) -> object:
    """Splits, classes and labels, each image in the order given."""
    found = meaning_of("raw", images, split_folders=split_folders, class_folders=class_folders)
    splits = [found.splits.get(image) for image in images]
    return splits, found.classes, [found.labels.get(image) for image in images]


@pytest.mark.parametrize(
    ("images", "splits", "classes", "labels"),
    [
        (["train/b/1", "train/a/1", "test/b/1"], [NOT_TEST] * 2 + ["test"], "ab", [1, 0, 1]),
        (["train/a/1", "val/b/1", "test/a/1"], ["train", "valid", "test"], "ab", [0, 1, 0]),
        (["Training/0/1", "Testing/1/1"], [NOT_TEST, "test"], "01", [0, 1]),
        (["x/train/00/1", "x/val/01/1"], [NOT_TEST, "test"], ("00", "01"), [0, 1]),
        (["in/a/train/1", "in/b/test/1"], [NOT_TEST, "test"], "ab", [0, 1]),
        (
            ["seg_train/seg_train/a/1", "seg_train/seg_train/b/1", "seg_test/seg_test/a/1"],
            [NOT_TEST] * 2 + ["test"],
            "ab",
            [0, 1, 0],
        ),
        (["train/train/1", "train/cat/1", "test/cat/1"], [NOT_TEST] * 2 + ["test"], 2, [1, 0, 0]),
        (["train/1", "test/1"], [NOT_TEST, "test"], (), [None] * 2),
        (["HR_train/1", "HR_valid/1"], [NOT_TEST, "test"], (), [None] * 2),
        (["train/a/1", "train/b/1", "test/1"], [NOT_TEST] * 2 + ["test"], "ab", [0, 1, None]),
        (["train/1", "test/a/1", "test/b/1"], [NOT_TEST] + ["test"] * 2, (), [None] * 3),
        (["x/a/1", "x/b/1", "x/2"], [None] * 3, (), [None] * 3),
        (["a/b/1", "a/2"], [None] * 2, (), [None] * 2),
        (["test/a/1", "val/b/1"], [None] * 2, "ab", [0, 1]),
        (["train/a/1", "train/b/1"], [None] * 2, "ab", [0, 1]),
        (["a/1", "b/c/1", "b/d/1"], [None] * 3, "ab", [0, 1, 1]),
        (["a/b/1", "a/c/1"], [None] * 2, "bc", [0, 1]),
        (["a/1", "b/1", "2"], [None] * 3, (), [None] * 3),
        (["a/1", "a/2"], [None] * 2, (), [None] * 2),
        (["train", "test"], [None] * 2, (), [None] * 2),
        (["2019-05/1", "2019-06/1"], [None] * 2, (), [None] * 2),
        (["00/1", "a7/1"], [None] * 2, (), [None] * 2),
        ([f"{n}/1" for n in range(1001)], [None] * 1001, (), [None] * 1001),
        ([], [], (), []),
    ],
)
def test_what_folders_say(
    images: list[str],
    splits: list[str | None],
    classes: str | tuple[str, ...] | int,
    labels: list[int | None],
) -> None:
    expected = ("cat", "train") if classes == 2 else tuple(classes)
    assert meaning(*images) == (splits, expected, labels)


def test_both_can_be_switched_off() -> None:
    images = ["train/a/1", "train/b/1", "test/a/1"]
    kept = [NOT_TEST, NOT_TEST, "test"]
    assert meaning(*images, class_folders=False) == (kept, (), [None] * 3)
    by_hash = [None] * 3
    assert meaning(*images, split_folders=False) == (by_hash, ("test", "train"), [1, 1, 0])
    assert meaning(*images, split_folders=False, class_folders=False) == (by_hash, (), [None] * 3)


@pytest.mark.parametrize("alone", ["ground_truth/a/1.png", "1.png"])
def test_images_beside_train_and_test_are_of_no_part(alone: str) -> None:
    images = ["test/a/1.png", "train/a/1.png", alone]
    with pytest.raises(InputError, match=rf"^raw: expected .*, came {alone}; move it, or set"):
        meaning(*images)
    assert meaning(*images, split_folders=False, class_folders=False)


names = st.sampled_from(["train", "test", "val", "cat", "dog", "07", "img"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(st.sets(paths, max_size=8).map(sorted))
def test_every_image_has_a_split_or_none_and_every_trained_one_a_label_or_none(
    images: list[str],
) -> None:
    try:
        found = meaning_of("raw", images, split_folders=True, class_folders=True)
    except InputError:
        return
    assert set(found.splits) in (set(), set(images))
    trained = {image for image in images if found.splits.get(image) not in ("valid", "test")}
    assert set(found.labels) <= set(images)
    assert trained <= set(found.labels) or not found.labels
    assert set(found.labels.values()) == set(range(len(found.classes)))
    assert "\n" not in found.line()


def test_parts_and_classes_reach_the_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        part, kind = ("test", "train")[number % 3 > 0], ("cat", "dog")[number % 2]
        save(tmp_path / "raw" / part / kind / f"{number}.png", picture(number))
    changes = {"data.source": "folder", "data.folder.path": str(tmp_path / "raw")}
    params = tiny(**changes, **{"data.image_size": 8, "data.split.valid": 0.2}).data
    content = preprocess(params, 0, tmp_path / "shards")
    assert content["classes"] == ["cat", "dog"]
    assert content["attributes"] == {"cat": 0.5, "dog": 0.5}
    shards = ShardSet(tmp_path / "shards", content)
    found = {split: [sample.name for sample in shards.samples(split)] for split in SPLITS}
    assert len(found["test"]) == 20
    assert all(name.startswith("test/") for name in found["test"])
    assert all(name.startswith("train/") for name in found["train"] + found["valid"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "folders in" in line]
    assert line.endswith(
        "raw: keeps their parts (test is test, train is train or valid): "
        "data.folder.split_folders; takes 2 classes (cat, dog): data.folder.class_folders"
    )


def test_a_table_of_splits_comes_before_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "train" / "a" / "1.png", picture(1))
    save(tmp_path / "test" / "b" / "2.png", picture(2))
    save(tmp_path / "s.csv", "name,split\n1.png,test\n2.png,train\n")
    images = FolderSource(folder(tmp_path, splits="s.csv", crop="tiles"), 8)
    known = {(entry.group, entry.split, entry.label) for entry in images.entries()}
    assert known == {("test/b/2.png", "train", 1), ("train/a/1.png", "test", 0)}
    assert images.classes == ("a", "b")
    assert "parts" not in capsys.readouterr().err


def test_a_folder_that_says_nothing_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "train.png", picture(1)), save(tmp_path / "test.png", picture(2))
    images = FolderSource(folder(tmp_path), 8)
    assert [(entry.split, entry.label) for entry in images.entries()] == [(None, None)] * 2
    assert (images.classes, capsys.readouterr().err) == ((), "")


def counts(source: Source) -> Counter[tuple[str | None, str]]:
    entries, classes = source.entries(), source.classes
    return Counter((entry.split, classes[entry.label or 0]) for entry in entries)


@pytest.mark.slow
def test_cifar10_as_a_folder_is_cifar10_as_parquet(tmp_path: Path) -> None:
    if not CIFAR.is_dir():
        pytest.skip("no CIFAR-10 in shared/data/cifar10")
    rows = ParquetSource(folder(CIFAR), 32)
    expected, classes = counts(rows), rows.classes
    for file in sorted(CIFAR.glob("*.parquet")):
        part = file.name.partition("-")[0]
        for row, about in enumerate(pq.read_table(file).to_pylist()):
            at = tmp_path / part / classes[about["label"]] / f"{file.stem}-{row:05d}.png"
            save(at, about["image"]["bytes"])
    images = FolderSource(folder(tmp_path), 32)
    assert counts(images) == expected
    assert images.classes == classes
    assert expected["test", "cat"] == 1000
    assert expected[NOT_TEST, "cat"] == 5000
