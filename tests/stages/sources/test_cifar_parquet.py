"""CIFAR-10 as Hugging Face's hub has it: recognised by its images, whatever packs them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import encoded
from official import noise, read_all

from stages.errors import InputError
from stages.sources.arrays import ArraySource
from stages.sources.cifar import CIFAR
from stages.sources.published import Publication
from stages.sources.source import NOT_TEST, Pixels

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FILES = {"train-00000-of-00002": 4, "train-00001-of-00002": 3, "test-00000-of-00001": 2}
IMAGES = noise(sum(FILES.values()))
LABELS = [(7 * number) % 10 for number in range(len(IMAGES))]
ORDER = [7, 8, 0, 1, 2, 3, 4, 5, 6]  # by the names of the files


def publish(folder: Path, kind: str = "WEBP", column: str = "image") -> None:
    start = 0
    for name, count in FILES.items():
        rows = slice(start, start + count)
        write(folder / f"{name}.parquet", IMAGES[rows], LABELS[rows], kind=kind, column=column)
        start += count


def write(
    file: Path,
    images: Pixels | list[Any],
    labels: list[Any],
    *,
    classes: tuple[str, ...] = CIFAR["cifar10"].classes,
    kind: str = "WEBP",
    column: str = "image",
) -> None:
    rows = [image if image is None else {"bytes": _bytes(image, kind)} for image in images]
    features = {
        column: {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
    }
    table = pa.table({column: pa.array(rows, STRUCT), "label": pa.array(labels, pa.int64())})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(about), file)


def _bytes(image: Pixels | bytes, kind: str) -> bytes:
    return image if isinstance(image, bytes) else encoded(image, kind)


def digest(images: Pixels) -> str:
    each = sorted(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def official() -> Publication:
    """The data set, if these were its images."""
    return replace(
        CIFAR["cifar10"],
        counts={"train": 7, "test": 2},
        sha256={"train": digest(IMAGES[:7]), "test": digest(IMAGES[7:])},
    )


def source(folder: Path) -> ArraySource:
    return ArraySource(official(), folder, 32)


@pytest.mark.parametrize(("kind", "column"), [("WEBP", "image"), ("PNG", "img")])
def test_all_files_of_both_parts_are_read(tmp_path: Path, kind: str, column: str) -> None:
    publish(tmp_path / "plain_text", kind, column)
    (tmp_path / "README.md").write_text("not read")
    rows = source(tmp_path)
    entries = rows.entries()
    assert [entry.name for entry in entries[1:4]] == [
        *("test/0000001", "train/0000000", "train/0000001")
    ]
    assert [entry.split for entry in entries] == ["test"] * 2 + [NOT_TEST] * 7
    assert [entry.label for entry in entries] == [LABELS[number] for number in ORDER]
    assert rows.classes[9] == "truck"
    assert (read_all(rows) == IMAGES[ORDER]).all()


def test_images_are_decoded_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.published_parquet.AT_ONCE", 3)
    publish(tmp_path)
    assert (read_all(source(tmp_path)) == IMAGES[ORDER]).all()


def test_other_images_are_not_the_official_ones(tmp_path: Path) -> None:
    publish(tmp_path)
    foreign = IMAGES[4:7].copy()
    foreign[0, 0, 0, 0] ^= 1
    write(tmp_path / "train-00001-of-00002.parquet", foreign, LABELS[4:7])
    line = r"official images in the part train of CIFAR-10, sha256 .*, came others, .*; get them"
    with pytest.raises(InputError, match=line) as error:
        source(tmp_path).entries()
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"expected 7 images in the part train .* came 4;"):
        source(tmp_path).entries()
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"came no Parquet file with test in its name; get it"):
        source(tmp_path).entries()


def test_the_official_files_come_first(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match="came cifar-10-batches-py without data_batch_1"):
        source(tmp_path).entries()


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (noise(1, 16), [0], "row 0: expected 32 pixels, came 16x16"),
        ([IMAGES[0], None], [0, 1], "row 1 has no image"),
        ([b"no image"], [0], "row 0: expected .* came"),
        (IMAGES[:1], [10], "class number 10 of 10"),
        (IMAGES[:2], [1, None], "2 images, 1 labels"),
    ],
)
def test_rows_of_something_else(
    tmp_path: Path, images: Pixels | list[Any], labels: list[Any], line: str
) -> None:
    publish(tmp_path)
    write(tmp_path / "train-00000-of-00002.parquet", images, labels)
    with pytest.raises(InputError, match=rf"train-00000-of-00002.parquet: .*{line}.*get it") as e:
        source(tmp_path).entries()
    assert "\n" not in str(e.value)


def test_files_of_something_else(tmp_path: Path) -> None:
    publish(tmp_path)
    write(tmp_path / "test-00000-of-00001.parquet", IMAGES[:2], [0, 1], classes=("cat", "dog"))
    with pytest.raises(InputError, match=r"expected the classes airplane, .*, came cat, dog"):
        source(tmp_path).entries()
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InputError, match="expected a Parquet file of images, came a damaged"):
        source(tmp_path).entries()
    (tmp_path / "more.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"came also more.parquet, which is of no official part"):
        source(tmp_path).entries()


def test_the_content_of_other_versions_is_looked_at_too(tmp_path: Path) -> None:
    """The unpacked binary version has no md5 of its own."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    planes = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).reshape(len(IMAGES), -1)
    records = [bytes([label]) + row.tobytes() for label, row in zip(LABELS, planes, strict=True)]
    for number, rows in enumerate([records[:3], records[3:4], *([r] for r in records[4:7])], 1):
        (folder / f"data_batch_{number}.bin").write_bytes(b"".join(rows))
    (folder / "test_batch.bin").write_bytes(b"".join(records[7:]))
    assert (read_all(source(tmp_path)) == IMAGES).all()
    (folder / "test_batch.bin").write_bytes(records[7] + records[7])
    with pytest.raises(InputError, match=r"official images in the part test of CIFAR-10"):
        source(tmp_path).entries()
