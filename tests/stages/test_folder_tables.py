"""Tables beside a folder of images: what fits is read, what does not is named."""

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest
from folders import save, source

from stages.errors import InputError

HEADER = "name,Smiling,Hat\n"
CELEBA = "2\nSmiling Hat \na.png  1 -1\nb.png -1  1\n"


@pytest.mark.parametrize("text", [HEADER + "a.png,1,-1\nsub/b.png,0,1\n\n", CELEBA])
def test_attributes_and_splits_meet_their_images(tmp_path: Path, text: str) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "sub" / "b.png")
    (tmp_path / "t.txt").write_text(text)
    (tmp_path / "s.csv").write_text("name,split\r\nb.png,test\r\na.png,train\r\n")
    (tmp_path / "p.txt").write_text("b.png 2\na.png 0\n")
    for splits in ("s.csv", "p.txt"):
        images = source(tmp_path, attributes="t.txt", splits=splits, crop="tiles")
        assert images.attribute_names == ("Smiling", "Hat")
        first, *_, last = images.entries()
        assert (first.name, last.name) == ("a.png#0000", "sub/b.png#0003")
        assert (first.split, last.split) == ("train", "test")
        assert first.attributes == {"Smiling": True, "Hat": False}
        assert images.read(last).attributes == {"Smiling": False, "Hat": True}


@pytest.mark.parametrize(
    "text",
    [
        ",name,Smiling,Hat\n0,a.png,True,False\n7,b.png,,True\n",
        "Unnamed: 0,name,Smiling,Hat\n0,a.png,TRUE,0\n7,b.png,NaN,1\n",
        ",Smiling,Hat\na.png,1.0,0.0\nb.png,<NA>,1.0\n",
    ],
)
def test_tables_as_pandas_writes_them(tmp_path: Path, text: str) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "s.csv").write_text(",name,split\n0,a.png,train\n1,b.png,test\n")
    images = source(tmp_path, attributes="t.csv", splits="s.csv")
    assert images.attribute_names == ("Smiling", "Hat")
    first, second = images.entries()
    assert first.attributes == {"Smiling": True, "Hat": False}
    assert second.attributes == {"Hat": True}
    assert (first.split, second.split) == ("train", "test")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_match_however_their_accents_are_encoded(
    tmp_path: Path, forms: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]
) -> None:
    here, there = (normalize(form, "Zo\u00eb.png") for form in forms)
    save(tmp_path / "in" / here), save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"{HEADER}{there},1,0\na.png,0,0\n", encoding="utf-8")
    entries = source(tmp_path, attributes="t.csv").entries()
    assert [(entry.name, entry.attributes["Smiling"]) for entry in entries] == [
        ("a.png", False),
        (f"in/{here}", True),
    ]


def test_a_table_may_have_both_encodings_of_a_name(tmp_path: Path) -> None:
    names = [normalize(form, "Zo\u00eb.png") for form in ("NFD", "NFC")]
    rows = "".join(f"{name},{number},0\n" for number, name in enumerate(names))
    (tmp_path / "t.csv").write_text(HEADER + rows, encoding="utf-8")
    for name in names:
        save(tmp_path / name)
    entries = source(tmp_path, attributes="t.csv").entries()
    assert {entry.name: entry.attributes["Smiling"] for entry in entries} == {
        names[0]: False,
        names[1]: True,
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "came no row"),
        ("name,S,S\na.png,1,1\n", "line 1: .* came 'S' twice"),
        ("name,S,\na.png,1,1\n", "line 1: .* empty one in column 3"),
        (
            HEADER + "a.png,1,\nb.png,0,\n",
            "column Hat: expected a value for some image, came none",
        ),
        ("a.png,1,0\nb.png,0,0\n", "line 1: expected a header"),
        ("name;S\na.png;1\n", "line 1: expected a header"),
        (HEADER + "a.png,1,0\nb.png,1,2\n", "line 3, column Hat: expected 0, 1 .* came '2'"),
        (HEADER + "a.png,1\n", "line 2: expected 3 columns, came 2"),
        (HEADER + "a.png,1,1\na.png,1,1\n", "line 3: .* 'a.png' again after line 2"),
        (HEADER + "a.png,1,1\n", r"images without a row: 1 \(b/b.png\); add"),
        ("3" + CELEBA[1:], "line 1: expected 3 rows as it says, came 2"),
        (CELEBA.replace("-1  1", "1 x"), "line 4, column Hat: .* came 'x'"),
        (
            HEADER + "".join(f"{name}.png,1,1\n" for name in "abwxyz"),
            r"rows without an image: 4 \(w.png, x.png, y.png, ...\); add the images",
        ),
    ],
)
def test_mistakes_in_attributes(tmp_path: Path, text: str, line: str) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "b" / "b.png")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=line) as error:
        source(tmp_path, attributes="t.csv").entries()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.png,train\nb.png,test\n", "line 1: expected the header name,split"),
        ("name,split\na.png,dev\n", "line 2, column split: .* came 'dev'"),
        ("a.png 0\nb.png 3\n", "line 2, column split: .* came '3'"),
        ("name,split\na.png,test\n", "without a row: 1"),
    ],
)
def test_mistakes_in_splits(tmp_path: Path, text: str, line: str) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=line):
        source(tmp_path, splits="s.csv").entries()


def test_a_missing_table_and_an_ambiguous_name(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png"), save(tmp_path / "b" / "x.png")
    with pytest.raises(InputError, match=r"t.csv: expected a table, came no such file"):
        source(tmp_path, attributes="t.csv").entries()
    (tmp_path / "t.csv").write_text(HEADER + "x.png,1,1\n")
    with pytest.raises(InputError, match=r"same base name: 2 \(a/x.png, b/x.png\)"):
        source(tmp_path, attributes="t.csv").entries()
