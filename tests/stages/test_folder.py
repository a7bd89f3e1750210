"""The source `folder`: every kind of image, every crop, and tables that fit or say why not."""

import pickle
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny import ROOT, tiny

from glow.apps.pictures import FORMATS, UnreadableImage
from stages.errors import InputError
from stages.listing import split_of
from stages.params import FolderParams, SplitParams
from stages.preprocess import preprocess
from stages.sources.folder import FolderSource
from stages.sources.source import Pixels

PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "bsds500"
HEADER = "name,Smiling,Hat\n"


def source(folder: Path, size: int = 8, **changes: Any) -> FolderSource:  # noqa: ANN401
    params = {"path": str(folder), "attributes": None, "splits": None, "crop": "center"}
    params |= {"tile_size": 4, "tile_scale": 1.0} | changes
    return FolderSource(FolderParams.model_validate(params), size)


def save(file: Path, image: Image.Image | None = None, **options: Any) -> Path:  # noqa: ANN401
    file.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 8), "red")).save(file, **options)
    return file


def pixels(folder: Path, name: str, **changes: Any) -> Pixels:  # noqa: ANN401
    images = source(folder, **changes)
    (entry,) = [entry for entry in images.entries() if entry.name == name]
    read = images.read(entry).pixels
    assert read.dtype == np.uint8
    return read


def numbered(width: int, height: int) -> Image.Image:
    """A pixel's red is its column, its green is its row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=-1))


def names(folder: Path, **changes: Any) -> list[str]:  # noqa: ANN401
    return [entry.name for entry in source(folder, **changes).entries()]


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGB", (200, 100, 50), "JPG", (200, 100, 50)),
        ("RGB", (200, 100, 50), "webp", (200, 100, 50)),
        ("RGBA", (10, 20, 30, 0), "png", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)),
        ("LA", (7, 0), "png", (255, 255, 255)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 0x1234, "png", (0x12, 0x12, 0x12)),
        ("CMYK", (0, 255, 255, 0), "jpeg", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], suffix: str, expected: tuple[int, ...]
) -> None:
    save(tmp_path / f"a.{suffix}", Image.new(mode, (20, 12), color))
    read = pixels(tmp_path, f"a.{suffix}")
    assert read.shape == (8, 8, 3)
    assert np.abs(read.astype(int) - expected).max() <= (0 if suffix == "png" else 3)


def test_a_transparent_palette_color_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    save(tmp_path / "opaque.png", image)
    save(tmp_path / "clear.png", image, transparency=1)
    assert (pixels(tmp_path, "opaque.png") == (9, 8, 7)).all()
    assert (pixels(tmp_path, "clear.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / "a.png", numbered(8, 8), exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (pixels(tmp_path, "a.png") == expected).all()


def test_center_is_the_largest_square(tmp_path: Path) -> None:
    save(tmp_path / "a.png", numbered(20, 8))
    save(tmp_path / "b.png", numbered(8, 21))
    assert (pixels(tmp_path, "a.png") == np.asarray(numbered(20, 8))[:, 6:14]).all()
    assert (pixels(tmp_path, "b.png") == np.asarray(numbered(8, 21))[6:14]).all()


def test_celeba_is_cropped_as_in_the_literature(tmp_path: Path) -> None:
    save(tmp_path / "a.png", numbered(178, 218))
    save(tmp_path / "b.png", numbered(218, 178))
    read = pixels(tmp_path, "a.png", crop="celeba", size=148)
    assert (read == np.asarray(numbered(178, 218))[40:188, 15:163]).all()
    with pytest.raises(UnreadableImage, match=r"expected 178x218 .* came 218x178"):
        pixels(tmp_path, "b.png", crop="celeba")


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "a.png", Image.fromarray(stripes))
    assert np.abs(pixels(tmp_path, "a.png")[:, 1:-1].astype(int) - 127).max() < 8


@pytest.mark.parametrize("kind", FORMATS)
def test_every_suffix_of_an_image_is_read(tmp_path: Path, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    for number, suffix in enumerate(FORMATS[kind]):
        save(tmp_path / f"{number}{suffix.upper()}", format=kind)
        save(tmp_path / f"{number}{suffix}", format=kind)
    images = source(tmp_path)
    entries = images.entries()
    assert len(entries) == 2 * len(FORMATS[kind])
    assert images.passed_over == {}
    for entry in entries:
        assert np.abs(images.read(entry).pixels.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_of_tiff_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white")
    full = Image.new("I;16", (8, 8), 0xFFFF) if mode == "I;16" else image.convert(mode)
    save(tmp_path / "a.tif", full)
    assert (pixels(tmp_path, "a.tif") == 255).all()


@pytest.mark.parametrize(("mode", "came"), [("F", "floating-point numbers"), ("I", "32")])
def test_numbers_of_an_unknown_scale_are_no_image(tmp_path: Path, mode: str, came: str) -> None:
    save(tmp_path / "a.tif", Image.new(mode, (8, 8), 2**20))
    with pytest.raises(UnreadableImage, match=f"expected 8 or 16 bits a channel, came {came}"):
        pixels(tmp_path, "a.tif")


def test_the_first_picture_of_several_is_read(tmp_path: Path) -> None:
    others = [Image.new("RGB", (8, 8), color) for color in ("blue", "green")]
    for suffix in ("gif", "tif", "webp", "png"):
        save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
        read = pixels(tmp_path, f"a.{suffix}")
        assert np.abs(read.astype(int) - (255, 0, 0)).max() < 8


def test_a_tile_of_a_tiff_is_no_bomb(tmp_path: Path) -> None:
    tags = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in {**tags, 325: 8}.items()]
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    (tmp_path / "a.tif").write_bytes(header + b"".join(entries) + bytes(4))
    with pytest.raises(UnreadableImage, match="expected a smaller image, came a huge one"):
        pixels(tmp_path, "a.tif")


def test_what_is_no_image_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        save(tmp_path / f"{number}.png", Image.new("RGB", (8, 8), (number, 0, 0)))
        (tmp_path / f"{number}.SVG").write_text("<svg/>")
    for name in ("README", "in/notes.txt", "a.jxl", ".hidden.txt", "t.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HEADER + "".join(f"{n}.png,1,0\n" for n in range(60)))
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


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_images_are_unreadable(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match=r"came a damaged one|came something else"):
        pixels(tmp_path, file.name)
    file.write_bytes(b"")
    with pytest.raises(UnreadableImage, match="came an empty file"):
        pixels(tmp_path, file.name)
    save(file, format="PPM")
    with pytest.raises(UnreadableImage, match="expected a PNG, JPEG, WebP, BMP, TIFF, GIF"):
        pixels(tmp_path, file.name)


@pytest.mark.parametrize("limit", [40, 20])  # beyond once the limit Pillow warns, twice it raises
def test_bombs_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImage, match="expected a smaller image"):
        pixels(tmp_path, "a.png")


def test_a_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="came no such folder; put your images there"):
        source(tmp_path / "none").entries()
    with pytest.raises(InputError, match=r"expected images .* came none"):
        source(tmp_path).entries()


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
