"""What no stage could do with a data set is refused before an image is read."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import encoded, picture, save, tar
from tiny import tiny

from stages.errors import InputError
from stages.params import DataParams
from stages.preprocess import preprocess
from stages.sources.parquet_columns import columns_of


def data(source: str, folder: Path, **changes: object) -> DataParams:
    at = {"data.source": source, "data.folder.path": str(folder)}
    return tiny(**{**at, "data.image_size": 8, **changes}).data


def write_parquet(folder: Path, attribute: str, classes: list[str]) -> None:
    features = {"label": {"names": classes, "_type": "ClassLabel"}}
    images = pa.array([encoded(picture(number)) for number in range(4)], pa.binary())
    table = pa.table({"image": images, "label": [0, 1, 0, 1], attribute: [True, False] * 2})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(about), save(folder / "a.parquet", b""))


def write_webdataset(folder: Path, attribute: str, classes: list[str]) -> None:
    members = {}
    for number in range(4):
        members[f"{number}.cls"] = f"{number % 2}".encode()
        members[f"{number}.json"] = json.dumps({attribute: True}).encode()
        members[f"{number}.png"] = encoded(picture(number))
    tar(folder / "a.tar", members)
    save(folder / "classes.txt", "\n".join(classes))


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
@pytest.mark.parametrize(
    ("attribute", "classes", "line"),
    [
        ("defective", ["ok", "defective"], "the attribute 'defective' and the class 'defective'"),
        ("Zoe\u0308", ["a", "Zo\u00eb"], r"the attribute 'Zoe\\u0308' and the class 'Zo\\xeb'"),
        ("__metadata__", ["a", "b"], "can be used, came the attribute '__metadata__'"),
    ],
    ids=["the same", "the same to the eye", "not ours"],
)
def test_an_attribute_and_a_class_of_one_name_are_refused(
    tmp_path: Path, name: str, attribute: str, classes: list[str], line: str
) -> None:
    write = {"parquet": write_parquet, "webdataset": write_webdataset}[name]
    write(tmp_path / "in", attribute, classes)
    with pytest.raises(InputError, match=line) as error:
        preprocess(data(name, tmp_path / "in"), 0, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_attributes_of_a_table_that_look_the_same_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", picture(0))
    save(tmp_path / "in" / "t.csv", "name,Zoe\u0308,Zo\u00eb\na.png,1,0\n")
    table = {"data.folder.attributes": "t.csv"}
    with pytest.raises(InputError, match=r"attribute 'Zoe\\u0308' and the attribute 'Zo\\xeb'"):
        preprocess(data("folder", tmp_path / "in", **table), 0, tmp_path / "out")


@pytest.mark.parametrize("name", ["", "a\x1b[2J", "a\nb", "\ud800", "x" * 201, "__metadata__"])
def test_a_name_that_is_no_line_of_text_is_refused(tmp_path: Path, name: str) -> None:
    write_webdataset(tmp_path / "in", name, ["a", "b"])
    with pytest.raises(InputError, match="1 to 200 letters in one line") as error:
        preprocess(data("webdataset", tmp_path / "in"), 0, tmp_path / "out")
    assert str(error.value).isprintable()
    assert str(error.value).isascii()


def test_columns_of_one_name_are_refused() -> None:
    schema = pa.schema([("image", pa.binary()), ("Hat", pa.bool_()), ("Hat", pa.bool_())])
    with pytest.raises(InputError, match=r"a.parquet: .* different names of columns, came 'Hat'"):
        columns_of("a.parquet", schema)
