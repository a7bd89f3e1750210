"""The source `celeba`: zip and folder alike, checked against what CelebA is."""

import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from formats import by_name, encoded, folder, picture, pixels, save
from PIL import Image

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.celeba import CelebaSource

SIDE = 148  # of the crop: not resized
IMAGES = {f"00000{number}.jpg": picture(number, 178, 218) for number in (1, 2, 3)}


def source(root: Path, size: int = SIDE) -> CelebaSource:
    return CelebaSource(folder(root), size, official=False)


@pytest.fixture(params=["zip", "folder"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "list_attr_celeba.txt").write_text(
        "3\nSmiling Young \n000001.jpg -1  1\n000002.jpg  1 -1\n000003.jpg  1  1\n"
    )
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    for name, image in IMAGES.items():
        save(tmp_path / "img_align_celeba" / name, encoded(image, "PNG"))  # so that it is exact
    if request.param == "zip":
        pack(tmp_path)
    return tmp_path


def pack(root: Path, *more: str) -> None:
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("img_align_celeba")
        for name in IMAGES:
            archive.write(root / "img_align_celeba" / name, f"img_align_celeba/{name}")
        for name in more:
            archive.writestr(name, b"more")
    shutil.rmtree(root / "img_align_celeba")


def test_faces_come_cropped_with_attributes_and_splits(root: Path) -> None:
    faces = source(root)
    assert faces.attribute_names == ("Smiling", "Young")
    assert (faces.classes, "Ziwei Liu" in faces.credit) == ((), True)
    entries = by_name(faces)
    assert list(entries) == list(IMAGES)
    assert [entry.split for entry in entries.values()] == ["train", "valid", "test"]
    assert entries["000001.jpg"].attributes == {"Smiling": False, "Young": True}
    for name, entry in entries.items():
        assert (pixels(faces, entry) == IMAGES[name][40:188, 15:163]).all()
    assert pixels(source(root, 32), entries["000003.jpg"]).shape == (32, 32, 3)


def test_a_part_of_celeba_is_not_celeba(root: Path) -> None:
    with pytest.raises(InputError, match=r"expected the 202599 images of CelebA, came 3; get"):
        CelebaSource(folder(root), SIDE).entries()


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_missing_table(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(InputError, match=rf"CelebA as img_.* came no {name}; get it from https"):
        source(root).entries()


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"came no img_align_celeba.zip; get it from https"):
        source(tmp_path).entries()


def test_a_damaged_image_in_a_zip(root: Path) -> None:
    if not (root / "img_align_celeba.zip").exists():
        pack(root)
    archive = root / "img_align_celeba.zip"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    faces = source(root)
    with pytest.raises(UnreadableImage, match=r"expected a whole file in .*came a damaged one"):
        faces.read(by_name(faces)["000002.jpg"])


@pytest.mark.parametrize(
    "name", ["img_align_celeba/../../a.jpg", "/etc/passwd", "img_align_celeba/000001.jpg", "a.sh"]
)
def test_a_zip_with_other_paths_is_refused(root: Path, name: str) -> None:
    if (root / "img_align_celeba").exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a name comes twice
            pack(root, name)
        with pytest.raises(InputError, match=r"expected only files such as .* came '"):
            source(root).entries()


def test_what_is_no_zip(root: Path) -> None:
    shutil.rmtree(root / "img_align_celeba", ignore_errors=True)
    save(root / "img_align_celeba.zip", b"no archive" * 9)
    with pytest.raises(InputError, match="expected a zip archive, came a damaged or foreign file"):
        source(root).entries()


def test_a_bomb_in_a_zip(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = source(root)
    entry = by_name(faces)["000001.jpg"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match="expected a smaller image"):
        faces.read(entry)
    monkeypatch.setattr("stages.sources.pictures.MAX_BYTES", 1000)
    with pytest.raises(UnreadableImage, match="expected an image of 1000 bytes at most, came"):
        faces.read(entry)


def test_other_sizes_are_no_faces_of_celeba(root: Path) -> None:
    if (root / "img_align_celeba").exists():
        save(root / "img_align_celeba/000001.jpg", np.zeros((218, 170, 3), np.uint8))
        faces = source(root)
        with pytest.raises(UnreadableImage, match="expected 178x218 pixels"):
            faces.read(by_name(faces)["000001.jpg"])
