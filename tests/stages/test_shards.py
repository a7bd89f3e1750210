"""Shards: what was written is what is read, and damage is noticed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SMALL, tiny

from stages.errors import InputError
from stages.makers import processes
from stages.preprocess import preprocess
from stages.shards import SPLITS, Record, ShardSet, write_shard
from stages.sources.avatars import ATTRIBUTES


def a_copy(shards: ShardSet, folder: Path) -> ShardSet:
    shutil.copytree(shards.folder, folder, dirs_exist_ok=True)
    return ShardSet.open(folder)


def first_shard(shards: ShardSet) -> Path:
    return sorted((shards.folder / "train").glob("*.tar"))[0]


def test_every_image_is_in_one_split_once(shards: ShardSet) -> None:
    names = [sample.name for split in SPLITS for sample in shards.samples(split)]
    assert sorted(names) == [f"avatar-{index:08d}" for index in range(96)]
    assert sum(shards.count(split) for split in SPLITS) == 96


def test_levels_have_the_bits_they_say(shards: ShardSet) -> None:
    levels, attributes = shards.load("train")
    assert levels.shape == (shards.count("train"), 3, 8, 8)
    assert attributes.shape == (shards.count("train"), len(ATTRIBUTES))
    assert 16 < int(levels.max()) < 32


def test_the_same_bytes_from_any_number_of_processes(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "1")
    params = tiny(**SMALL)
    manifest = preprocess(params.data, params.seed, tmp_path)
    assert manifest == shards.manifest
    again = first_shard(ShardSet(tmp_path, manifest)).read_bytes()
    assert again == first_shard(shards).read_bytes()


def test_another_seed_gives_other_faces(shards: ShardSet, tmp_path: Path) -> None:
    params = tiny(**SMALL)
    assert preprocess(params.data, 1, tmp_path)["checksum"] != shards.checksum


def test_a_class_is_an_attribute_that_one_image_in_a_row_has(tmp_path: Path) -> None:
    records = [
        Record(f"{image}", np.full((4, 4, 3), image, np.uint8), {"Odd": image % 2 == 1}, image % 3)
        for image in range(5)
    ]
    about = write_shard(tmp_path / "train" / "train-000000.tar", records)
    manifest = {
        "image_size": 4,
        "attributes": {"Odd": 0.4, "ant": 0.4, "bee": 0.4, "cat": 0.2},
        "classes": ["ant", "bee", "cat"],
        "splits": {"train": {"count": 5, "shards": {"train-000000.tar": about}}},
    }
    shards = ShardSet(tmp_path, manifest)
    expected = [
        [image % 2 == 1, *(image % 3 == label for label in range(3))] for image in range(5)
    ]
    assert shards.load("train")[1].tolist() == expected
    assert [list(sample.attributes.values()) for sample in shards.samples("train")] == expected


def test_an_epoch_changes_the_order_and_nothing_else(shards: ShardSet) -> None:
    plain = [sample.name for sample in shards.samples("train")]
    orders = [[s.name for s in shards.samples("train", epoch_seed=f"0-{e}")] for e in range(8)]
    assert all(sorted(order) == sorted(plain) for order in orders)
    assert any(order != plain for order in orders)


def test_a_truncated_shard_is_named(shards: ShardSet, tmp_path: Path) -> None:
    broken = a_copy(shards, tmp_path)
    shard = first_shard(broken)
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{shard.name} (holds|is damaged)"):
        broken.load("train")


def test_a_corrupt_shard_is_named(shards: ShardSet, tmp_path: Path) -> None:
    broken = a_copy(shards, tmp_path)
    shard = first_shard(broken)
    shard.write_bytes(b"\xff" * shard.stat().st_size)
    with pytest.raises(InputError, match=shard.name):
        broken.load("train")


def test_a_missing_shard_is_named(shards: ShardSet, tmp_path: Path) -> None:
    broken = a_copy(shards, tmp_path)
    first_shard(broken).unlink()
    with pytest.raises(InputError, match="is missing; `dvc checkout"):
        broken.load("train")


def test_a_folder_without_shards_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dvc repro preprocess"):
        ShardSet.open(tmp_path)


def test_loading_gives_the_same_as_streaming(shards: ShardSet) -> None:
    levels, _ = shards.load("test", 5)
    streamed = [sample.levels for sample, _ in zip(shards.samples("test"), range(5), strict=False)]
    assert torch.equal(levels, torch.stack(streamed))


def test_a_number_of_workers_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "two")
    with pytest.raises(InputError, match=r"^GLOW_WORKERS is 'two', expected a number of proc"):
        processes(100)


@pytest.mark.parametrize("left", ["", "\0\0", "[]", "{}", '{"splits": {"train": 1}}'])
def test_a_damaged_dataset_json_is_named(tmp_path: Path, left: str) -> None:
    (tmp_path / "dataset.json").write_text(left)
    with pytest.raises(InputError, match=r"dataset\.json is damaged.*writes it anew"):
        ShardSet.open(tmp_path)
