"""The source `folder`: what it lists, and tiles."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from folders import names, numbered, pixels, save, source
from PIL import Image
from tiny import ROOT, tiny

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.listing import split_of
from stages.params import SplitParams
from stages.preprocess import preprocess

PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "bsds500"


def test_what_is_no_image_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        save(tmp_path / f"{number}.png", Image.new("RGB", (8, 8), (number, 0, 0)))
        (tmp_path / f"{number}.SVG").write_text("<svg/>")
    for name in ("README", "in/notes.txt", "a.jxl", ".hidden.txt", "t.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(
            "name,Smiling,Hat\n" + "".join(f"{n}.png,1,0\n" for n in range(60))
        )
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere").symlink_to("/etc")
    changes = {"data.source": "folder", "data.folder.path": str(tmp_path), "data.image_size": 8}
    data = tiny(**changes, **{"data.folder.attributes": "t.csv"}).data
    content = preprocess(data, 0, tmp_path / ".shards")
    assert content["passed_over"] == {".svg": 60, ".jxl": 1, ".txt": 1, "none": 1}
    linked = dict.fromkeys(("elsewhere", "linked"), "a linked folder, which is not entered")
    assert content["left_out"] == linked
    said = [line for line in capsys.readouterr().err.splitlines() if str(tmp_path) in line]
    assert ["2 left out" in said[0], "63 other files" in said[1]] == [True, True]
    assert "60 '.svg'" in said[1]
    assert len(said) == 2


def test_a_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "a.png").rename(tmp_path / "a.jxl")
    with pytest.raises(InputError, match=r"expected images \(.*\), came none but 1 '.jxl'"):
        source(tmp_path).entries()


def test_tiles_are_row_major_and_whole(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a#1.png", numbered(14, 9))
    assert names(tmp_path, crop="tiles") == [f"in/a#1.png#{i:04d}" for i in range(6)]
    read = pixels(tmp_path, "in/a#1.png#0004", crop="tiles", size=4)
    assert (read == np.asarray(numbered(14, 9))[4:8, 4:8]).all()
    assert len(names(tmp_path, crop="tiles", tile_scale=0.5)) == 1
    assert pixels(tmp_path, "in/a#1.png#0000", crop="tiles", tile_scale=0.5).shape == (8, 8, 3)


def test_photographs_are_split_one_by_one_whatever_marks_their_names_have(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / f"Scan #{number:05d}.png", numbered(12, 4))
        save(tmp_path / "C#" / f"{number}.png", numbered(12, 4))
    shares = SplitParams(valid=0.3, test=0.3)
    for crop in ("center", "tiles"):
        entries = source(tmp_path, crop=crop).entries()
        assert len({entry.name for entry in entries}) == len(entries)
        splits: dict[str, set[str]] = defaultdict(set)
        for entry in entries:
            splits[entry.name[: entry.name.index(".png")]].add(split_of(entry, shares))
        assert len(splits) == 120
        assert all(len(of_one) == 1 for of_one in splits.values())
        for folder in ("Scan", "C#"):
            of_folder = [of for name, of in splits.items() if name.startswith(folder)]
            assert set.union(*of_folder) == {"train", "valid", "test"}


def test_tiles_of_a_turned_photograph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", numbered(17, 4), exif=exif)
    tiles = source(tmp_path, crop="tiles")
    assert [tiles.read(entry).pixels.shape for entry in tiles.entries()] == [(8, 8, 3)] * 4


def test_tiles_that_cannot_be_read_are_reported_by_read(tmp_path: Path) -> None:
    save(tmp_path / "small.png", Image.new("RGB", (3, 9)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert names(tmp_path, crop="tiles") == ["bad.png#0000", "small.png#0000"]
    with pytest.raises(UnreadableImage, match="came something else"):
        pixels(tmp_path, "bad.png#0000", crop="tiles")
    with pytest.raises(UnreadableImage, match="tile 1 of 4x4, came 3x9 after scaling"):
        pixels(tmp_path, "small.png#0000", crop="tiles")


def test_listing_is_sorted_and_leaves_out_the_hidden(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", save(tmp_path / "outside.png")
    for name in ("b.PNG", "a/z.jpeg", ".hidden.png", ".git/c.png", "c.webp"):
        save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "out.png").symlink_to(outside)
    (folder / "within.png").symlink_to(folder / "b.PNG")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "round").symlink_to(folder)
    assert names(folder) == ["a/z.jpeg", "b.PNG", "c.webp", "within.png"]


def test_a_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="came no such folder; put your images there"):
        source(tmp_path / "none").entries()
    with pytest.raises(InputError, match=r"expected images .* came none"):
        source(tmp_path).entries()


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    images = pickle.loads(pickle.dumps(source(tmp_path)))
    assert images == source(tmp_path)
    assert images.read(images.entries()[0]).pixels.shape == (8, 8, 3)


def test_photographs_list_as_tiles() -> None:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("no photographs in shared/data/bsds500")
    images = source(PHOTOGRAPHS, size=32, crop="tiles", tile_size=32, tile_scale=0.5)
    entries = images.entries()
    assert len({entry.group for entry in entries}) == 300
    assert len(entries) == 300 * 35
    assert images.read(entries[-1]).pixels.shape == (32, 32, 3)
