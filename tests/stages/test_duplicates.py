"""Twins: all that are there are found, and hordes of likes cost no more than a moment."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny import tiny

from stages.duplicates import KINDS, MAX_BITS, MAX_COLOR, count_duplicates, find_duplicates, table
from stages.looks import LOOK, looks
from stages.preprocess import preprocess
from stages.shards import SPLITS

Looks = NDArray[np.void]


def picture(seed: int) -> Image.Image:
    """A smooth one, as photographs are."""
    colors = np.random.default_rng(seed).integers(50, 200, (9, 9, 3), np.uint8)
    return Image.fromarray(colors).resize((48, 48), Image.Resampling.BICUBIC)


def look(image: Image.Image) -> Looks:
    return looks([np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS)) >> 3], 5)[0]


def compressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def by_hand(found: Looks, splits: NDArray[np.uint8]) -> set[tuple[int, int, int]]:
    """(image, split of its twin, kind), by comparing all with all that are told."""
    rows: dict[tuple[int, int], int] = {}
    n = len(found)
    told = [
        not any(
            found["content"][i] == found["content"][j] and splits[i] == splits[j] for j in range(i)
        )
        for i in range(n)
    ]
    for i in range(n):
        for j in range(n):
            if (splits[j], j) >= (splits[i], i):
                continue
            color = int(np.abs(found["colors"][i].astype(int) - found["colors"][j]).max())
            bits = int(np.bitwise_count(found["shape"][i] ^ found["shape"][j]))
            if found["content"][i] == found["content"][j]:
                rows[i, splits[j]] = 0
            elif bits <= MAX_BITS and color <= MAX_COLOR and told[i] and told[j]:
                rows.setdefault((i, splits[j]), 1)
    return {(image, split, kind) for (image, split), kind in rows.items()}


def test_all_are_found_that_comparing_each_with_each_finds() -> None:
    generator = np.random.default_rng(0)
    found = np.zeros(400, LOOK)
    found["content"] = generator.integers(0, 250, 400)
    twins = generator.integers(0, 100, 400)
    found["shape"] = generator.integers(0, 2**63, 100, np.uint64)[twins]
    for _ in range(3):
        flips = np.uint64(1) << generator.integers(0, 64, 400).astype(np.uint64)
        found["shape"] ^= flips
    found["colors"] = generator.integers(100, 105, (400, 48), np.uint8)
    splits = generator.integers(0, 3, 400).astype(np.uint8)
    rows = find_duplicates(found, splits)
    assert len(rows) > 200
    assert set(zip(rows["image"], splits[rows["twin"]], rows["kind"], strict=True)) == by_hand(
        found, splits
    )
    counts = count_duplicates(rows, splits, SPLITS)
    assert sum(n for of in counts.values() for n in of.values()) == len(rows)


def test_a_picture_compressed_or_scaled_anew_is_near_and_no_other_is() -> None:
    pictures = [picture(seed) for seed in range(60)]
    changed = [compressed(p, 90) for p in pictures[:20]]
    changed += [p.resize((200, 200)) for p in pictures[20:40]]
    changed += pictures[40:50]
    changed += [p.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for p in pictures[50:]]
    found = np.stack([look(image) for image in pictures + changed])
    splits = np.repeat(np.array([0, 2], np.uint8), 60)
    rows = find_duplicates(found, splits)
    told = set(zip(rows["image"], rows["twin"], strict=True))
    assert told <= {(60 + k, k) for k in range(50)}
    assert len(told) >= 48
    assert (rows["kind"][rows["image"] >= 100] == KINDS.index("identical")).all()
    assert (rows["kind"][rows["image"] < 80] == KINDS.index("near")).sum() > 15


@pytest.mark.timeout(60)
def test_a_horde_of_likes_costs_no_more_than_a_moment() -> None:
    found = np.zeros(20_000, LOOK)
    found["content"] = np.arange(20_000)
    rows = find_duplicates(found, np.zeros(20_000, np.uint8))
    assert rows["image"].nunique() == 19_999


def test_leaks_are_written_and_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [f"{index:02d}.png" for index in range(40)]
    for index, name in enumerate(names):
        picture(index).save(raw / name)
    picture(3).save(raw / "leak.png")
    picture(4).resize((96, 96)).save(raw / "larger.png")
    splits = ["test" if i == 39 else "valid" if i == 38 else "train" for i in range(40)]
    rows = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (raw / "splits.csv").write_text(
        "\n".join(["name,split", *rows, "leak.png,test", "larger.png,valid"])
    )
    changes = {"data.source": "folder", "data.folder.path": str(raw), "data.image_size": 32}
    data = tiny(**changes, **{"data.folder.splits": "splits.csv"}).data
    content = preprocess(data, 0, tmp_path / "shards")
    counts = content["duplicates"]
    assert counts["identical"]["test in train"] == 1
    assert counts["near"]["valid in train"] == 1
    assert sum(n for of in counts.values() for n in of.values()) == 2
    header, *lines = (tmp_path / "shards" / "duplicates.csv").read_text().splitlines()
    assert header == "image,split,twin,twin_split,kind,bits,color"
    assert lines[0] == "leak.png,test,03.png,train,identical,0,0"
    assert lines[1].startswith("larger.png,valid,04.png,train,near,")
    said = capfd.readouterr().err
    assert "warning: 1 of 2 test images have a twin among those trained on (1 identical" in said
    assert "flatters the number" in said


def test_a_table_without_twins_has_its_header() -> None:
    found = find_duplicates(np.zeros(0, LOOK), np.zeros(0, np.uint8))
    assert list(table(found, [], np.zeros(0, np.uint8), SPLITS).columns)[:2] == ["image", "split"]
