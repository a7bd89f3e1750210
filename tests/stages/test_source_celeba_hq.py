"""The source `celeba_hq`: every published form of it, tied to CelebA's tables."""

import io
from pathlib import Path

import numpy as np
import pytest
from formats import by_name, encoded, folder, picture, pixels, save

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.celeba_hq import CelebaHqSource

IMAGES = {number: picture(number) for number in range(3)}
ORIGINALS = ["000031.jpg", "000017.jpg", "000059.jpg"]


def source(root: Path) -> CelebaHqSource:
    return CelebaHqSource(folder(root), 8, official=False)


def npy(array: object, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def write(root: Path, form: str) -> None:
    for number, image in IMAGES.items():
        planes = image.transpose(2, 0, 1)
        if form == "png":
            save(root / f"{number:05d}.png", image)
        elif form == "npy":
            save(root / f"imgHQ{number:05d}.npy", npy(planes[None]))
        elif form == "npy without a batch":
            save(root / f"imgHQ{number:05d}.npy", npy(planes if number else image))
        else:
            save(root / "CelebA-HQ-img" / f"{number}.jpg", encoded(image))
            save(root / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_hair.png", image)


def write_tables(root: Path, mapping: str) -> None:
    extra = ("proc_md5", "ab12") if mapping == "image_list.txt" else ("", "")
    rows = [
        f"{number}   {int(name[:6]) - 1}   {name} {extra[1]}"
        for number, name in enumerate(ORIGINALS)
    ]
    save(root / mapping, "\n".join([f"idx orig_idx orig_file {extra[0]}", *reversed(rows), ""]))
    save(
        root / "list_attr_celeba.txt",
        "4\nMale Young\n000017.jpg -1 1\n000018.jpg 1 1\n000031.jpg 1 -1\n000059.jpg -1 -1\n",
    )
    save(
        root / "list_eval_partition.txt",
        "000017.jpg 2\n000018.jpg 0\n000031.jpg 0\n000059.jpg 1\n",
    )


@pytest.mark.parametrize("form", ["png", "npy", "npy without a batch", "mask"])
def test_images_come_back_under_their_numbers(tmp_path: Path, form: str) -> None:
    write(tmp_path, form)
    faces = source(tmp_path)
    entries = by_name(faces)
    assert list(entries) == ["00000", "00001", "00002"]
    for name, entry in entries.items():
        assert (entry.split, entry.attributes) == (None, {})
        assert (pixels(faces, entry) == IMAGES[int(name)]).all()
    assert (faces.attribute_names, faces.classes) == ((), ())


@pytest.mark.parametrize("mapping", ["image_list.txt", "CelebA-HQ-to-CelebA-mapping.txt"])
def test_attributes_and_splits_are_those_of_the_original(tmp_path: Path, mapping: str) -> None:
    write(tmp_path, "png")
    write_tables(tmp_path, mapping)
    faces = source(tmp_path)
    entries = by_name(faces).values()
    assert [entry.split for entry in entries] == ["train", "test", "valid"]
    assert [list(entry.attributes.values()) for entry in entries] == [
        [True, False],
        [False, True],
        [False, False],
    ]
    assert faces.attribute_names == ("Male", "Young")


def test_its_own_attributes_need_no_mapping(tmp_path: Path) -> None:
    write(tmp_path, "mask")
    save(
        tmp_path / "CelebAMask-HQ-attribute-anno.txt",
        "3\nMale Young \n0.jpg  -1 1\n1.jpg  1 1\n2.jpg  1 -1\n",
    )
    faces = source(tmp_path)
    assert by_name(faces)["00002"].attributes == {"Male": True, "Young": False}
    assert faces.attribute_names == ("Male", "Young")


def test_a_table_without_a_mapping(tmp_path: Path) -> None:
    write(tmp_path, "png")
    write_tables(tmp_path, "image_list.txt")
    (tmp_path / "image_list.txt").unlink()
    with pytest.raises(InputError, match=r"came no image_list.txt; get it from https"):
        source(tmp_path).entries()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0 30 000031.jpg\n", r"came no row|line 1: expected the columns idx and orig_file"),
        ("idx orig_file\n0 000031.jpg\n1\n", "line 3: expected 2 columns, came 1"),
        ("idx orig_file\n0 000031.jpg\n1 000017.jpg\n", "a row for every image, came none for 2"),
        (
            "idx orig_file\n0 000031.jpg\n1 000017.jpg\n2 000999.jpg\n",
            "a row for every image, came none for 000999.jpg",
        ),
    ],
)
def test_mistakes_in_the_mapping(tmp_path: Path, text: str, line: str) -> None:
    write(tmp_path, "png")
    write_tables(tmp_path, "image_list.txt")
    (tmp_path / "image_list.txt").write_text(text)
    with pytest.raises(InputError, match=line):
        source(tmp_path).entries()


def test_the_whole_of_it_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected CelebA-HQ as 00000.png .* came no 00000.png"):
        source(tmp_path / "none").entries()
    write(tmp_path, "png")
    with pytest.raises(InputError, match="expected the 30000 images of CelebA-HQ, came 3"):
        CelebaHqSource(folder(tmp_path), 8).entries()
    write(tmp_path, "npy")
    with pytest.raises(
        InputError, match=r"expected every image once, came imgHQ00000.npy and 000"
    ):
        source(tmp_path).entries()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "came an empty file"),
        (b"no array", "expected a .npy file, came something else"),
        (npy(np.zeros((1, 3, 8, 8), np.float32)), "came float32 of"),
        (npy(np.zeros((3, 8), np.uint8)), r"came uint8 of \(3, 8\)"),
        (npy(np.zeros((3, 0, 8), np.uint8)), r"came uint8 of \(3, 0, 8\)"),
        (npy(np.array([{"a": 1}]), allow_pickle=True), "came object of"),
        (npy(np.zeros((3, 8, 8), np.uint8))[:-1], "expected 192 bytes, came 191"),
        (
            npy(np.zeros((3, 8, 8), np.uint8)).replace(b"(3, 8, 8)", b"(3, 9999999, 9999999)"),
            "came something else|came uint8 of",
        ),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, content: bytes, why: str) -> None:
    save(tmp_path / "imgHQ00000.npy", content)
    faces = source(tmp_path)
    with pytest.raises(UnreadableImage, match=why):
        faces.read(by_name(faces)["00000"])
