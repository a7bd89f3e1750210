"""The source `webdataset`: samples of any tar that is honest, and lines for those that are not."""

import json
import tarfile
from pathlib import Path

import pytest
from formats import by_name, encoded, folder, picture, pixels, save, tar
from PIL import Image

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.source import NOT_TEST
from stages.sources.webdataset import WebdatasetSource

KINDS = {"jpg": "PNG", "png": "PNG", "webp": "WEBP"}


def source(root: Path, **changes: str) -> WebdatasetSource:
    return WebdatasetSource(folder(root, **changes), 8)


def image(number: int, kind: str = "png") -> bytes:
    return encoded(picture(number), KINDS[kind])


def about(**content: object) -> bytes:
    return json.dumps(content).encode()


def test_images_come_with_what_is_known_of_them(tmp_path: Path) -> None:
    tar(
        tmp_path / "faces-train-000000.tar",
        {
            "in/0.json": about(Smiling=True, Hat=0, Age=1, text="a", score=1.0),
            "in/0.jpg": image(0, "jpg"),
            "in/0.cls": b"1\n",
            "in/0.txt": b"a face",
            "in/0.seg.png": b"no image of ours",
            "1.PNG": image(1),
            "1.json": about(Hat=None, Smiling=False, Age=31, Old=True),
            "1.cls": b"-1\n",
            "notes.txt": b"no image",
        },
    )
    tar(
        tmp_path / "more" / "faces-test-000000.tar",
        {"1.webp": image(2, "webp"), "1.cls": b"1", "1.json": about(Smiling=1, Hat=0)},
    )
    shards = source(tmp_path)
    entries = by_name(shards)
    assert shards.attribute_names == ("Smiling", "Hat", "Old")
    assert shards.classes == ("class_0", "class_1")
    names = ["faces-train-000000.tar/in/0", "faces-train-000000.tar/1"]
    assert list(entries) == [*names, "more/faces-test-000000.tar/1"]
    labels = [(entry.split, entry.label) for entry in entries.values()]
    assert labels == [(NOT_TEST, 1), (NOT_TEST, None), ("test", 1)]
    assert [entry.attributes for entry in entries.values()] == [
        {"Smiling": True, "Hat": False},
        {"Smiling": False, "Old": True},
        {"Smiling": True, "Hat": False},
    ]
    for number, entry in enumerate(entries.values()):
        assert (pixels(shards, entry) == picture(number)).all()


def test_attributes_may_have_a_place_of_their_own(tmp_path: Path) -> None:
    members = {"0.json": about(attributes={"Hat": True}, other=True), "0.png": image(0)}
    tar(tmp_path / "a.tar", members)
    shards = source(tmp_path)
    assert [entry.attributes for entry in shards.entries()] == [{"Hat": True}]
    assert [entry.split for entry in shards.entries()] == [None]


def test_classes_have_the_names_of_a_file(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", {"0.cls": b"1", "0.png": image(0), "1.cls": b"0", "1.png": image(1)})
    save(tmp_path / "classes.txt", "cat\ndog\n")
    assert source(tmp_path).classes == ("cat", "dog")
    save(tmp_path / "classes.txt", "cat\n")
    with pytest.raises(InputError, match=r"different names of at least 2 classes, came 1"):
        source(tmp_path).entries()


def test_an_image_may_have_no_class(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", {"0.cls": b"1", "0.png": image(0), "1.png": image(1)})
    shards = source(tmp_path)
    assert [entry.label for entry in shards.entries()] == [1, None]
    assert (shards.classes, shards.attribute_names) == (("class_0", "class_1"), ())


def test_faces_of_celeba_can_be_cropped(tmp_path: Path) -> None:
    face = picture(0, 178, 218)
    tar(tmp_path / "a.tar", {"0.png": encoded(face)})
    shards = WebdatasetSource(folder(tmp_path, crop="celeba"), 148)
    assert (pixels(shards, shards.entries()[0]) == face[40:188, 15:163]).all()
    with pytest.raises(InputError, match=r"only data.source: folder cuts"):
        pixels(source(tmp_path, crop="tiles"), shards.entries()[0])


def test_names_may_have_dots_of_their_own(tmp_path: Path) -> None:
    members = [
        *("IMG_1.2024.jpg", "IMG_1.2025.json", "IMG_1.2025.jpg", "IMG_2.jpg", "v1.0.2.gif"),
        *("St.Gallen.jpg", "St.Gallen.json", "St.Moritz.bmp", "Mr. No.jpg"),
    ]
    contents = {
        name: about(Hat=True) if name.endswith(".json") else image(number)
        for number, name in enumerate(members)
    }
    tar(tmp_path / "a.tar", contents)
    shards = source(tmp_path)
    entries = by_name(shards)
    keys = ["IMG_1.2024", "IMG_1.2025", "IMG_2", "v1.0.2", "St.gallen", "St.moritz", "Mr. No"]
    assert list(entries) == [f"a.tar/{key}" for key in keys]
    numbers = [number for number, name in enumerate(members) if not name.endswith(".json")]
    for number, entry in zip(numbers, entries.values(), strict=True):
        assert (pixels(shards, entry) == picture(number)).all()
    assert shards.passed_over == {}


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    members = {"0.png": image(0), "0.seg.png": image(1), "0.txt": b"a face", "._0.png": b"macOS"}
    tar(tmp_path / "a.tar", {**members, "1.mp4": b"", "1.json": b"{}", "README": b""})
    tar(tmp_path / "b.tar.gz", {"0.png": image(0)})
    save(tmp_path / "classes.txt", "cat\n")
    shards = source(tmp_path)
    assert list(by_name(shards)) == ["a.tar/0"]
    counted = {".seg.png": 1, ".txt": 1, ".mp4": 1, ".json": 1, "none": 1, ".gz": 1}
    assert shards.passed_over == counted


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "member",
    [
        special("1.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("1.png", tarfile.LNKTYPE, "0.png"),
        special("1.png", tarfile.CHRTYPE),
        special("1.png", tarfile.FIFOTYPE),
        special("/1.png", tarfile.REGTYPE),
        special("../1.png", tarfile.REGTYPE),
        special("0.png", tarfile.REGTYPE),
    ],
    ids=["link", "hard link", "device", "pipe", "absolute", "outside", "twice"],
)
def test_a_tar_with_tricks_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    tar(tmp_path / "a.tar", {"0.png": image(0)}, member)
    with pytest.raises(InputError, match=r"a.tar: expected an uncompressed tar .* \(.*\); copy"):
        source(tmp_path).entries()


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"0.png": b"", "0.json": b"{"}, "0.json: expected JSON, came something else"),
        ({"0.png": b"", "0.json": b"[" * 100_000}, "0.json: expected JSON"),
        ({"0.png": b"", "0.json": b" " * (2**20 + 1)}, "0.json has 1048577 bytes, expected at mo"),
        ({"0.png": b"", "0.cls": b"cat"}, "0.cls: expected a number, came 'cat'"),
        ({"0.png": b"", "0.cls": b"--1"}, "0.cls: expected a number"),
        ({"0.png": b"", "0.jpg": b""}, "0: expected one image, came .png and .jpg"),
        ({"0.png": b"", "1.png": b"", "0.cls": b"1"}, "0 comes again after other keys"),
        ({"0.txt": b""}, "expected images in the shards, came none"),
    ],
)
def test_mistakes_in_shards(tmp_path: Path, members: dict[str, bytes], line: str) -> None:
    tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=line) as error:
        source(tmp_path).entries()
    assert "\n" not in str(error.value)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected WebDataset shards .* came none"):
        source(tmp_path / "none").entries()
    save(tmp_path / "a.tar.gz", b"")
    with pytest.raises(InputError, match=r"expected WebDataset shards .* came none"):
        source(tmp_path).entries()
    save(tmp_path / "a-train.tar", b"no tar" * 999)
    with pytest.raises(InputError, match="came a damaged or foreign one"):
        source(tmp_path).entries()
    save(tmp_path / "b.tar", b"")
    with pytest.raises(InputError, match=r"of every file or of none, came b.tar; rename"):
        source(tmp_path).entries()


def test_damaged_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"0.png": image(0), "1.png": b"", "2.png": b"no image", "3.png": image(0)[:50]}
    shard = tar(tmp_path / "a.tar", {**members, "4.png": image(4), "5.png": image(5)})
    shards = source(tmp_path)
    entries = by_name(shards)
    for number in (1, 2, 3):
        with pytest.raises(UnreadableImage):
            shards.read(entries[f"a.tar/{number}"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(UnreadableImage, match="expected a smaller image"):
        shards.read(entries["a.tar/0"])
    monkeypatch.setattr("stages.sources.pictures.MAX_BYTES", 10)
    with pytest.raises(UnreadableImage, match="bytes at most"):
        shards.read(entries["a.tar/0"])
    monkeypatch.undo()
    shard.write_bytes(shard.read_bytes()[: entries["a.tar/5"].place[1] + 9])
    with pytest.raises(UnreadableImage, match=r"expected \d+ bytes in .*a.tar, came 9"):
        shards.read(entries["a.tar/5"])
    with pytest.raises(InputError, match="came a damaged or foreign one"):
        shards.entries()
