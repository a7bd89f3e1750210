"""Twins: the same photograph is found whatever was done to it, and likes are no twins."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from tiny import ROOT, tiny

from stages import neighbors
from stages.duplicates import KINDS, count_duplicates, find_duplicates, table
from stages.looks import LOOK, looks
from stages.preprocess import preprocess
from stages.shards import SPLITS

CIFAR = ROOT.parent / "shared" / "data" / "cifar10"
Looks = NDArray[np.void]
TRAIN, VALID, TEST = range(3)


def picture(seed: int, side: int = 96) -> Image.Image:
    """Noise of all scales, the coarse the strongest, as in photographs."""
    generator = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        noise = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) * (3 / cells)
    low, high = total.min(), total.max()
    return Image.fromarray((30 + 180 * (total - low) / (high - low)).astype(np.uint8))


def look(image: Image.Image, n_bits: int = 5) -> Looks:
    small = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))
    return looks([small >> (8 - n_bits)], n_bits)[0]


def compressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def cut(image: Image.Image) -> Image.Image:
    return image.crop((6, 2, 92, 91))


def tinted(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * [1.0, 0.85, 0.7]).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "scaled": lambda image: image.resize((40, 40)).resize((200, 200)),
    "compressed": lambda image: compressed(image.resize((32, 32)), 50),
    "cut": cut,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "tinted": tinted,
    "all at once": lambda image: compressed(tinted(cut(image)).resize((36, 36)), 70),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_photograph_that_was_changed_is_near_and_no_other_is(change: str) -> None:
    pictures = [picture(seed) for seed in range(80)]
    changed = [CHANGES[change](image) for image in pictures[:40]]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in pictures[40:]]
    found = np.stack([look(image) for image in pictures + changed + mirrored])
    rows, _ = find_duplicates(found, np.repeat(np.array([TRAIN, TEST], np.uint8), 80))
    told = set(zip(rows["image"], rows["twin"], strict=True))
    assert told <= {(80 + k, k) for k in range(40)}
    assert len(told) >= 39
    assert rows["likeness"].between(0.78, 1).all()


def test_near_twins_of_cifar10_are_found() -> None:
    if not CIFAR.is_dir():
        pytest.skip("no CIFAR-10 in shared/data/cifar10")
    import pyarrow.parquet

    twins = pd.read_csv(CIFAR / "twins.csv")
    wanted = set(twins["test"]) | set(twins["train"])
    names, found, splits = [], [], []
    for file in sorted(CIFAR.glob("*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(columns=["image"]):
            for number, image in enumerate(batch.column("image").to_pylist()):
                if image["path"] in wanted or number % 10 == 0:
                    pixels = np.asarray(Image.open(io.BytesIO(image["bytes"])))
                    found.append(looks([pixels], 8)[0])
                    names.append(image["path"])
                    splits.append(TEST if file.name.startswith("test") else TRAIN)
    assert len(names) > 6000
    rows, near_from = find_duplicates(np.stack(found), np.array(splits, np.uint8))
    across = rows[np.array(splits)[rows["image"]] > np.array(splits)[rows["twin"]]]
    told = {(names[image], names[twin]) for image, twin in across[["image", "twin"]].to_numpy()}
    pairs = set(zip(twins["test"], twins["train"], strict=True))
    assert len(told & pairs) >= 0.95 * len(pairs)
    assert len(told) < 1.5 * len(pairs)
    assert near_from == 0.78


def test_an_image_is_told_of_its_closest_twin_in_each_split() -> None:
    image = picture(0)
    others = [look(picture(seed)) for seed in range(1, 20)]
    twins = [look(compressed(image.resize((32, 32)), quality)) for quality in (30, 60, 90)]
    found = np.stack([*others, *twins, look(image), look(cut(image)), look(image)])
    splits = np.array([TRAIN] * 22 + [VALID, VALID, TEST], np.uint8)
    rows, _ = find_duplicates(found, splits)
    told = {
        (image, splits[twin]): (twin, KINDS[kind])
        for image, twin, kind in rows[["image", "twin", "kind"]].astype(int).to_numpy()
    }
    assert set(told) == {(20, 0), (21, 0), (22, 0), (23, 0), (23, 1), (24, 0), (24, 1)}
    assert told[22, TRAIN] == told[24, TRAIN] == (21, "near")
    assert told[24, VALID] == (22, "identical")
    counts = count_duplicates(rows, splits, SPLITS)
    assert sum(n for of in counts.values() for n in of.values()) == len(rows)


def test_identical_images_are_told_once() -> None:
    same = look(picture(0))
    found = np.stack([same, look(picture(1)), same, same, same])
    splits = np.array([TRAIN, TRAIN, TRAIN, TEST, TEST], np.uint8)
    rows, _ = find_duplicates(found, splits)
    assert rows[["image", "twin"]].to_numpy().tolist() == [[2, 0], [3, 0], [4, 0], [4, 3]]
    assert (rows["kind"] == KINDS.index("identical")).all()
    assert (rows["likeness"] == 1).all()


def test_seas_that_share_a_horizon_are_no_twins() -> None:
    found = []
    for seed in range(60):
        sea = np.full((32, 32, 3), 180.0)
        sea[17:] = 90
        waves = np.asarray(picture(seed, 32)) - 128.0
        found.append(looks([np.clip(sea + waves / 3, 0, 255).astype(np.uint8)], 8)[0])
    rows, _ = find_duplicates(np.stack(found), np.zeros(60, np.uint8))
    assert rows.empty


def test_where_all_are_alike_a_twin_must_be_more_so() -> None:
    base = np.asarray(picture(0, 32)).astype(int)
    found = []
    for seed in range(100):  # faces that differ in the mouth
        mouth = np.asarray(picture(1000 + seed, 8)).astype(int) - 128
        face = base.copy()
        face[18:26, 12:20] += mouth // 2
        found.append(looks([np.clip(face, 0, 255).astype(np.uint8)], 8)[0])
    found.append(looks([np.clip(base + 4, 0, 255).astype(np.uint8)], 8)[0])
    found.append(looks([np.clip(base, 0, 255).astype(np.uint8)], 8)[0])
    rows, near_from = find_duplicates(
        np.stack(found), np.repeat([0, 2], [101, 1]).astype(np.uint8)
    )
    assert near_from > 0.9
    assert len(rows) < 5
    assert (101, 100) in set(zip(rows["image"], rows["twin"], strict=True))


@pytest.mark.timeout(120)
def test_a_horde_of_likes_costs_no_more_than_a_moment() -> None:
    found = np.zeros(4_000, LOOK)
    found["content"] = np.arange(4_000)
    rows, _ = find_duplicates(found, np.zeros(4_000, np.uint8))
    assert rows.empty, "there is nothing to see in them"


def test_cells_find_what_comparing_with_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (4000, 8, 8, 3), np.uint8)
    twins = np.clip(colors[:500].astype(int) + 9, 0, 255).astype(np.uint8)
    colors, of = np.concatenate([colors, twins]), np.arange(4000, 4500)
    among = np.arange(4000)
    exact = [others[:, 0] for _, others in neighbors.neighbors(colors, among, of)]
    assert (np.concatenate(exact) == np.arange(500)).all()
    monkeypatch.setattr(neighbors, "LARGE", 1000)
    runs = [
        np.concatenate([others for _, others in neighbors.neighbors(colors, among, of)])
        for _ in range(2)
    ]
    assert (runs[0] == runs[1]).all()
    assert (runs[0][:, 0] == np.arange(500)).mean() > 0.95


def test_leaks_are_written_and_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [f"{index:02d}.png" for index in range(40)]
    for index, name in enumerate(names):
        picture(index).save(raw / name)
    picture(3).save(raw / "leak.png")
    cut(picture(4)).resize((120, 120)).save(raw / "larger.png")
    splits = ["test" if i == 39 else "valid" if i == 38 else "train" for i in range(40)]
    rows = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (raw / "splits.csv").write_text(
        "\n".join(["name,split", *rows, "leak.png,test", "larger.png,valid"])
    )
    changes = {"data.source": "folder", "data.folder.path": str(raw), "data.image_size": 32}
    data = tiny(**changes, **{"data.folder.splits": "splits.csv", "data.shard_size": 9}).data
    content = preprocess(data, 0, tmp_path / "shards")
    counts = content["duplicates"]
    assert content["near_from"] == 0.78
    assert counts["identical"]["test in train"] == 1
    assert counts["near"]["valid in train"] == 1
    assert sum(n for of in counts.values() for n in of.values()) == 2
    header, *lines = (tmp_path / "shards" / "duplicates.csv").read_text().splitlines()
    assert header == "image,split,twin,twin_split,kind,likeness"
    assert lines[0] == "leak.png,test,03.png,train,identical,1.0"
    assert lines[1].startswith("larger.png,valid,04.png,train,near,0.")
    said = capfd.readouterr().err
    assert "warning: 1 of 2 test images have a twin among those trained on (1 identical" in said
    assert "flatters the number" in said


def test_a_table_without_twins_has_its_header() -> None:
    found, _ = find_duplicates(np.zeros(0, LOOK), np.zeros(0, np.uint8))
    assert list(table(found, [], np.zeros(0, np.uint8), SPLITS).columns)[:2] == ["image", "split"]
