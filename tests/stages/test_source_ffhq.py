"""The source `ffhq`: both published sizes, in the split of its makers."""

from pathlib import Path

import pytest
from formats import by_name, folder, picture, pixels, save

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.ffhq import FfhqSource
from stages.sources.source import NOT_TEST

NUMBERS = (0, 1000, 59999, 60000, 69999)


def source(root: Path, size: int = 8) -> FfhqSource:
    return FfhqSource(folder(root), size, official=False)


def write(root: Path, name: str, side: int) -> None:
    for number in NUMBERS:
        file = root / name / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png"
        save(file, picture(number + side, side, side))


@pytest.mark.parametrize("name", ["thumbnails128x128", "images1024x1024"])
def test_the_first_60000_are_for_training(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, 8)
    save(tmp_path / name / "LICENSE.txt", "terms")
    faces = source(tmp_path)
    entries = by_name(faces)
    assert list(entries) == [f"{number:05d}" for number in NUMBERS]
    splits = [entry.split for entry in entries.values()]
    assert splits == [NOT_TEST, NOT_TEST, NOT_TEST, "test", "test"]
    for number, entry in zip(NUMBERS, entries.values(), strict=True):
        assert (pixels(faces, entry) == picture(number + 8, 8, 8)).all()
    assert (faces.attribute_names, faces.classes) == ((), ())


def test_the_better_size_is_read(tmp_path: Path) -> None:
    write(tmp_path, "thumbnails128x128", 8)
    write(tmp_path, "images1024x1024", 16)
    for size, place in ((128, "thumbnails128x128"), (129, "images1024x1024")):
        entry = by_name(source(tmp_path, size))["60000"]
        assert entry.place == f"{place}/60000/60000.png"


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected FFHQ as thumbnails128x128/00000/00000.png"):
        source(tmp_path).entries()
    write(tmp_path, "thumbnails128x128", 8)
    with pytest.raises(InputError, match="expected the 70000 images of FFHQ, came 5; get all"):
        FfhqSource(folder(tmp_path), 8).entries()
    faces = source(tmp_path)
    entry = by_name(faces)["00000"]
    file = tmp_path / entry.place
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UnreadableImage, match="came a damaged one"):
        faces.read(entry)
