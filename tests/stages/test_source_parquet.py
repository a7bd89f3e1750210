"""The source `parquet`: files as Hugging Face's datasets write them, and plainer ones."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import by_name, encoded, folder, picture, pixels, save
from PIL import Image

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError, StageError
from stages.sources.parquet import ParquetSource
from stages.sources.source import NOT_TEST, Entry

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "index": {"dtype": "int64", "_type": "Value"},
}


def source(root: Path, **changes: str) -> ParquetSource:
    return ParquetSource(folder(root, **changes), 8)


def images(*numbers: int) -> pa.Array:
    rows = [{"bytes": encoded(picture(number)), "path": f"{number}.png"} for number in numbers]
    return pa.array(rows, STRUCT)


def write(file: Path, columns: dict[str, Any], features: Any = None, rows: int = 2) -> Path:  # noqa: ANN401
    table = pa.table(columns)
    if features is not None:
        about = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(about)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=rows)
    return file


def test_files_of_the_hub(tmp_path: Path) -> None:
    for name, numbers in {
        "train-00000-of-00001": [0, 1, 2, 3, 4],
        "test-00000-of-00001": [5],
    }.items():
        columns = {"image": images(*numbers), "label": [number % 2 for number in numbers]}
        columns["index"] = numbers
        columns["Smiling"] = [number < 2 for number in numbers]
        columns["Hat"] = pa.array([None, *([True] * (len(numbers) - 1))], pa.bool_())
        write(tmp_path / "data" / f"{name}.parquet", columns, FEATURES)
    rows = source(tmp_path)
    entries = by_name(rows)
    assert (rows.classes, rows.attribute_names) == (("cat", "dog"), ("Smiling", "Hat"))
    assert list(entries)[1] == "data/train-00000-of-00001.parquet/0000000"
    for name, entry in entries.items():
        number = 5 if "test" in name else int(name.rpartition("/")[2])
        assert (entry.split, entry.label) == ("test" if number == 5 else NOT_TEST, number % 2)
        hat = {} if number in (0, 5) else {"Hat": True}
        assert entry.attributes == {"Smiling": number < 2} | hat
        assert (pixels(rows, entry) == picture(number)).all()


@pytest.mark.parametrize("name", ["jpg", "image"])
def test_plain_binary_without_names(tmp_path: Path, name: str) -> None:
    data = pa.array([encoded(picture(0)), encoded(picture(1))], pa.large_binary())
    write(tmp_path / "a.parquet", {name: data, "label": [2, 0]})
    rows = source(tmp_path)
    entries = rows.entries()
    assert rows.classes == ("class_0", "class_1", "class_2")
    assert [(entry.split, entry.label) for entry in entries] == [(None, 2), (None, 0)]
    assert (pixels(rows, entries[1]) == picture(1)).all()


@pytest.mark.parametrize("labels", [[0, -1], [0, None]])
def test_an_image_may_have_no_label(tmp_path: Path, labels: list[int]) -> None:
    write(tmp_path / "a.parquet", {"image": images(0, 1), "label": labels}, FEATURES)
    rows = source(tmp_path)
    assert [entry.label for entry in rows.entries()] == [0, None]
    assert rows.classes == ("cat", "dog")


def test_what_is_known_of_no_image_is_nothing(tmp_path: Path) -> None:
    hats = pa.array([None, None], pa.bool_())
    columns = {"image": images(0, 1), "label": [-1, -1], "Hat": hats}
    write(tmp_path / "a.parquet", columns, FEATURES)
    rows = source(tmp_path)
    assert [(entry.label, entry.attributes) for entry in rows.entries()] == [(None, {})] * 2
    assert (rows.classes, rows.attribute_names) == ((), ())


def test_all_three_official_splits_are_kept(tmp_path: Path) -> None:
    for name in ("train-0", "validation-0", "test-0"):
        write(tmp_path / f"{name}.parquet", {"image": images(0)})
    assert [entry.split for entry in source(tmp_path).entries()] == ["test", "train", "valid"]


def test_the_copy_of_the_images_has_no_name_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    write(tmp_path / "in" / "a.parquet", {"image": images(0, 1)})
    rows = source(tmp_path / "in")
    first = rows.entries()[0].place
    assert list(scratch.iterdir()) == []
    assert (pixels(rows, rows.entries()[1]) == picture(1)).all()
    assert first.process == os.getpid()
    with pytest.raises(
        InputError, match=r"expected the process .* to hold the images that it listed"
    ):
        rows.read(Entry("a", place=first._replace(process=2**22 + 1)))
    with pytest.raises(InputError, match="to hold the images that it listed"):
        rows.read(Entry("a", place=first._replace(descriptor=0)))


def test_a_full_disk(tmp_path: Path) -> None:
    from stages.sources.scratch import Scratch

    scratch = Scratch()
    scratch._file.close()
    scratch._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - its owner closes it
    with pytest.raises(StageError, match=r"No space left .* set TMPDIR to a folder on a larger"):
        scratch.add(b"image")


def test_damaged_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = encoded(picture(0))
    rows_of = [{"bytes": data} for data in (good, b"", b"no image", good[:50], None)]
    write(tmp_path / "a.parquet", {"image": pa.array([*rows_of, None], STRUCT)})
    rows = source(tmp_path)
    entries = rows.entries()
    for entry in entries[1:]:
        with pytest.raises(UnreadableImage):
            rows.read(entry)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(UnreadableImage, match="expected a smaller image"):
        rows.read(entries[0])


def read_all(rows: ParquetSource) -> None:
    for entry in rows.entries():
        rows.read(entry)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected Parquet files .* came none"):
        source(tmp_path).entries()
    file = write(tmp_path / "b.parquet", {"image": images(*range(9)), "label": [0] * 9}, rows=3)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        InputError, match=r"b.parquet: expected a Parquet file .* damaged"
    ) as error:
        source(tmp_path).entries()
    assert "\n" not in str(error.value)
    file.write_bytes(whole[:500] + bytes(500) + whole[1000:])  # in an image, or between
    with pytest.raises((InputError, UnreadableImage), match="damaged"):
        read_all(source(tmp_path))
    file.write_bytes(whole)
    write(tmp_path / "c.parquet", {"image": images(0)})
    with pytest.raises(InputError, match="expected the columns and classes of the files before"):
        source(tmp_path).entries()


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a"], "label": [0]},
        {"left": images(0), "right": images(1)},
        {"image": ["a.png"]},
    ],
)
def test_columns_that_hold_no_image(tmp_path: Path, columns: dict[str, Any]) -> None:
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match="expected one column of encoded images"):
        source(tmp_path).entries()


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": {"features": 1}}', b"[" * 100_000])
def test_foreign_metadata_tells_nothing(tmp_path: Path, metadata: bytes) -> None:
    table = pa.table({"image": images(0), "label": [0]})
    pq.write_table(
        table.replace_schema_metadata({b"huggingface": metadata}),
        save(tmp_path / "a.parquet", b""),
    )
    assert source(tmp_path).classes == ("class_0",)
