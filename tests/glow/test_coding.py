"""`python -m glow compress` and `decompress`: no image is lost, and no file is believed."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coded import glow_of, levels_of
from PIL import Image
from typer.testing import CliRunner

from glow import load_glow, save_glow
from glow.apps.cli import app
from glow.apps.lossless import WrongImages, codec, decode, read_coded
from glow.apps.lossless.file import MAGIC


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model and five images of it."""
    glow = glow_of()
    save_glow(glow, tmp_path / "model")
    (tmp_path / "in").mkdir()
    for index, image in enumerate(levels_of(glow.config, 5)):
        pixels = (image << 3).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "in" / f"{index}.png")
    return tmp_path


def call(project: Path, command: str, *arguments: str, code: int = 0) -> str:
    options = ["--model", str(project / "model")]
    done = CliRunner().invoke(app, [command, *arguments, *options])
    assert done.exit_code == code, done.output
    if code:
        assert done.output.splitlines()[-1].startswith("error: "), done.output
    return done.output


def test_commands_bring_the_same_pictures_back(project: Path) -> None:
    packed, out = project / "images.glow", project / "out"
    assert "net" in call(project, "compress", str(project / "in"), "-o", str(packed))
    assert "5 images, bit for bit" in call(project, "decompress", str(packed), "-o", str(out))
    for file in sorted((project / "in").glob("*.png")):
        assert np.array_equal(
            np.asarray(Image.open(out / file.name)), np.asarray(Image.open(file))
        )
    assert len(list(out.iterdir())) == 5


def test_bad_images_are_refused(project: Path) -> None:
    def refused(image: Image.Image, message: str, **options: object) -> None:
        file = project / "bad.png"
        image.save(file, **options)
        assert message in call(project, "compress", str(file), "-o", "none.glow", code=2)

    black = Image.new("RGB", (8, 8))
    refused(Image.new("RGB", (9, 8)), "expected 8x8 RGB, as the model's images are, came 9x8 RGB")
    refused(Image.new("L", (8, 8)), "came 8x8 L")
    refused(Image.new("RGB", (8, 8), (255, 0, 0)), "--quantize drops")
    refused(black, "came one that is transparent or moves", transparency=(0, 0, 0))
    moves = {"save_all": True, "append_images": [Image.new("RGB", (8, 8), (8, 8, 8))]}
    refused(black, "came one that is transparent or moves", **moves)
    (project / "bad.png").write_bytes(b"no image")
    call(project, "compress", str(project / "bad.png"), code=2)
    (project / "empty").mkdir()
    call(project, "compress", str(project / "empty"), code=2)
    assert not Path("none.glow").exists()


def test_what_is_compressed_can_be_decompressed(project: Path) -> None:
    """Whatever the files are called; two of one name are refused before anything is written."""
    for name in ("a/x.png", "b/x.webp", "b/X.PNG", "c/x.y.png", "c/x.tar.png", "c/d\ne.PNG"):
        file = project / name
        file.parent.mkdir(exist_ok=True)
        kind = {"format": "WEBP", "lossless": True} if "webp" in name else {"format": "PNG"}
        Image.open(project / "in" / "0.png").save(file, **kind)
    packed = project / "images.glow"
    for same in (["a/x.png", "b/x.webp"], ["a/x.png", "b/X.PNG"], ["b"]):
        files = [str(project / name) for name in same]
        said = call(project, "compress", *files, "-o", str(packed), code=2)
        assert "several images are named" in said
        assert not packed.exists()
    call(project, "compress", str(project / "c"), "-o", str(packed))
    call(project, "decompress", str(packed), "-o", str(project / "out"))
    for name in ("x.y.png", "x.tar.png", "d\ne.png"):
        before, after = project / "in" / "0.png", project / "out" / name
        assert np.array_equal(np.asarray(Image.open(before)), np.asarray(Image.open(after)))


def test_images_of_one_channel_come_back(tmp_path: Path) -> None:
    glow = glow_of(channels=1)
    save_glow(glow, tmp_path / "model")
    (tmp_path / "in").mkdir()
    pixels = levels_of(glow.config, 1)[0, 0] << 3
    Image.fromarray(pixels).save(tmp_path / "in" / "0.png")
    packed = tmp_path / "images.glow"
    call(tmp_path, "compress", str(tmp_path / "in"), "-o", str(packed))
    call(tmp_path, "decompress", str(packed), "-o", str(tmp_path / "out"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "0.png")), pixels)


def test_nothing_is_replaced_unasked(project: Path) -> None:
    packed, image = project / "images.glow", project / "in" / "0.png"
    before = image.read_bytes()
    refusal = call(project, "compress", str(image), "-o", str(image), code=2)
    assert "expected a .glow file" in refusal
    call(project, "compress", str(project / "in"), "-o", str(packed))
    coded = packed.read_bytes()
    assert "--overwrite" in call(project, "compress", str(image), "-o", str(packed), code=2)
    assert packed.read_bytes() == coded

    where = str(project / "in")
    image.write_bytes(b"mine")
    assert "0.png is there" in call(project, "decompress", str(packed), "-o", where, code=2)
    assert image.read_bytes() == b"mine"
    call(project, "decompress", str(packed), "-o", where, "--overwrite")
    assert np.array_equal(
        np.asarray(Image.open(image)), np.asarray(Image.open(io.BytesIO(before)))
    )
    call(project, "compress", str(image), "-o", str(packed), "--overwrite")
    assert packed.read_bytes() != coded


def with_header(packed: Path, **changes: object) -> None:
    """Changes what a file says of itself; its words stay."""
    content = packed.read_bytes()
    start = len(MAGIC) + 4
    (length,) = struct.unpack("<I", content[len(MAGIC) : start])
    header = json.loads(content[start : start + length]) | changes
    described = json.dumps(header).encode()
    size = struct.pack("<I", len(described))
    packed.write_bytes(MAGIC + size + described + content[start + length :])


def named(first: str, n: int = 5) -> dict[str, Any]:
    return {"n_images": n, "names": [first, *(f"{i}.png" for i in range(1, n))]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_initial": 1 << 28}, "initial words do not go with"),
        ({"n_initial": 1 << 28, "n_untouched": (1 << 28) - 400}, "more than was tried"),
        ({"n_untouched": 1 << 28}, "initial words do not go with"),
        ({"threads": 4096}, "4096 threads, expected at most"),
        (named("0.png", 20_000), "too many for"),
        (named(".."), "expected the plain name of a PNG"),
        (named("../0.png"), "expected the plain name of a PNG"),
        (named("a\0.png"), "expected the plain name of a PNG"),
        (named(".bashrc"), "expected the plain name of a PNG"),
        (named("\ud800.png"), "expected the plain name of a PNG"),
        (named("x" * 252 + ".png"), "expected the plain name of a PNG"),
        (named("2.png"), "several images are named 2"),
        ({"torch_version": "x" * 10**6}, "expected a short text"),
        ({"n_images": "x" * 10**6}, "expected 1 to"),
    ],
    ids=range(14),
)
def test_a_header_is_held_against_the_words_and_the_model(
    project: Path, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed))
    with_header(packed, **changes)
    monkeypatch.setattr(codec, "_random_words", None)  # it would take memory
    refusal = call(project, "decompress", str(packed), "-o", str(project / "out"), code=2)
    assert said in refusal
    assert len(refusal) < 500
    assert not (project / "out").exists()


def test_decoding_ends_when_the_words_do(project: Path) -> None:
    """Whatever the header says: 100 images are far more than the words of 5 hold."""
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed), "--batch-size", "1")
    with_header(packed, n_images=100, names=[f"{i}.png" for i in range(100)])
    decoded: list[int] = []
    with pytest.raises(WrongImages, match="fewer images"):
        decode(load_glow(project / "model"), read_coded(packed).coded, advance=decoded.append)
    assert len(decoded) < 20


def test_files_that_are_damaged_or_hostile_are_refused(project: Path) -> None:
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed))
    whole = packed.read_bytes()
    (length,) = struct.unpack("<I", whole[len(MAGIC) : len(MAGIC) + 4])
    for damaged in (b"", b"PNG", whole[:8], whole[:40], whole[:-2], MAGIC + b"\xff" * 4):
        packed.write_bytes(damaged)
        call(project, "decompress", str(packed), code=2)
    for old, new in (
        (b'"0.png"', b'"../0.g'),
        (b'"n_images": 5', b'"n_images": 6'),
        (b'"n_images": 5', b'"n_images":-5'),
        (b'"threads"', b'"threadz"'),
    ):
        assert old in whole[: length + 20]
        packed.write_bytes(whole.replace(old, new[: len(old)].ljust(len(old))))
        call(project, "decompress", str(packed), code=2)
    packed.write_bytes(whole[:-8] + b"\x01\x02\x03\x04" + whole[-4:])
    call(project, "decompress", str(packed), "-o", str(project / "out"), code=1)
    assert not (project / "out").exists()
    packed.write_bytes(whole)
    assert len(read_coded(packed).names) == 5


def test_another_model_is_refused(project: Path) -> None:
    packed = project / "images.glow"
    call(project, "compress", str(project / "in"), "-o", str(packed))
    save_glow(glow_of(noise=0.06), project / "model")
    assert "another model" in call(project, "decompress", str(packed), code=2)
