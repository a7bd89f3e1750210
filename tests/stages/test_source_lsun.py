"""The source `lsun`: databases as LMDB writes them, and what is wrong with damaged ones."""

import builtins
import hashlib
from pathlib import Path

import lmdb
import pytest
from formats import by_name, encoded, folder, picture, pixels

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.lsun import LsunSource
from stages.sources.source import NOT_TEST


def key(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def write(root: Path, name: str, images: dict[str, bytes]) -> Path:
    (root / name).mkdir(parents=True)
    with lmdb.open(str(root / name), map_size=2**24) as database, database.begin(write=True) as t:
        for name_of, image in images.items():
            t.put(name_of.encode("latin-1"), image)
    return root / name


def numbers(*wanted: int) -> dict[str, bytes]:
    return {key(number): encoded(picture(number), "WEBP") for number in wanted}


def source(root: Path | str) -> LsunSource:
    return LsunSource(folder(root), 8)


def test_images_of_categories_come_back(tmp_path: Path) -> None:
    write(tmp_path, "bedroom_train_lmdb", numbers(0, 1, 2))
    write(tmp_path, "bedroom_val_lmdb", numbers(3))
    write(tmp_path, "church_outdoor_train_lmdb", numbers(4))
    write(tmp_path, "test_lmdb", numbers(5))
    rooms = source(tmp_path)
    assert rooms.classes == ("bedroom", "church_outdoor")
    entries = by_name(rooms)
    expected = {f"bedroom_train/{key(number)}": (number, NOT_TEST, 0) for number in range(3)}
    expected[f"bedroom_val/{key(3)}"] = (3, "test", 0)
    expected[f"church_outdoor_train/{key(4)}"] = (4, None, 1)
    assert entries.keys() == expected.keys()
    for name, (number, split, label) in expected.items():
        assert (entries[name].split, entries[name].label) == (split, label)
        assert (pixels(rooms, entries[name]) == picture(number)).all()
    assert len({id(entry.attributes) for entry in entries.values()}) == 1


def test_one_category_is_no_class(tmp_path: Path) -> None:
    write(tmp_path, "tower_train_lmdb", numbers(0, 1))
    rooms = source(tmp_path)
    assert rooms.classes == ()
    assert [entry.label for entry in rooms.entries()] == [None, None]


@pytest.mark.parametrize("content", [b"", b"no image", encoded(picture(0))[:60]])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "tower_train_lmdb", {"a": content})
    rooms = source(tmp_path)
    with pytest.raises(UnreadableImage):
        rooms.read(by_name(rooms)["tower_train/a"])


def test_a_database_that_lost_its_end(tmp_path: Path) -> None:
    """Which LMDB maps, so that reading it would end the process."""
    name = write(tmp_path, "tower_train_lmdb", numbers(*range(100)))
    file = name / "data.mdb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"expected \d+ bytes in data.mdb, came \d+; get it"):
        source(tmp_path).entries()


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"came no folder of this name; get it from https"):
        source(tmp_path / "none").entries()
    with pytest.raises(InputError, match=r"expected LSUN as bedroom_.* came no \*_train_lmdb/"):
        source(tmp_path).entries()
    with pytest.raises(InputError, match="expected LSUN on a disk"):
        source("s3://bucket/lsun").entries()
    (tmp_path / "a_train_lmdb").mkdir()
    (tmp_path / "a_train_lmdb/data.mdb").write_bytes(b"no database" * 999)
    with pytest.raises(InputError, match="expected an LMDB database, came a damaged or foreign"):
        source(tmp_path).entries()
    write(tmp_path, "empty/a_train_lmdb", {})
    with pytest.raises(InputError, match="expected images in LSUN, came none"):
        source(tmp_path / "empty").entries()
    write(tmp_path, "keys/a_train_lmdb", {"ä": b"a"})
    with pytest.raises(InputError, match="expected keys in ASCII"):
        source(tmp_path / "keys").entries()

    def without_lmdb(name: str, *more: object) -> object:
        if name == "lmdb":
            raise ImportError
        return real(name, *more)

    real = builtins.__import__
    write(tmp_path, "other/a_train_lmdb", numbers(0))
    monkeypatch.setattr(builtins, "__import__", without_lmdb)
    with pytest.raises(InputError, match=r"needs the package lmdb; pip install"):
        source(tmp_path / "other").entries()
