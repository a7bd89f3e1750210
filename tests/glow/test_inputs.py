"""Many images, some of them bad: those are reported and left out, and no work is lost."""

import csv
import os
import shlex
from pathlib import Path

import pytest
import torch
from commands import NAMES, SIDE, refused, run
from PIL import Image
from typer.testing import CliRunner

from glow import Glow
from glow.apps.cli import app

COMMANDS = {  # and what they write
    "score many -o out.csv": "out.csv",
    "reconstruct many -o out": "out/a.png",
    "reconstruct many -o out.png": "out.png",
    "edit many --add Smiling=1 -o out": "out/a.png",
    "edit many --add Smiling=1 -o out.png": "out.png",
    "interpolate many -o out.png": "out.png",
    "sample -n 2 --neighbours many -o out.png": "out.png",
    "compress many -o out.glow": "out.glow",
    "doctor many": "",
}


@pytest.fixture
def many(here: Path) -> Path:
    """The faces, with names of their own in a folder of their own."""
    Path("many").mkdir()
    for name in NAMES:
        Path("many", f"{name}.png").write_bytes(Path("faces", f"{name}.png").read_bytes())
    return Path("many")


def test_the_last_of_many_may_be_truncated(many: Path) -> None:
    for number in range(14):
        (many / f"more{number}.png").write_bytes((many / "a.png").read_bytes())
    (many / "other.png").write_bytes((many / "other.png").read_bytes()[:150])
    said = run("score", "many", "-o", "scores.csv", code=1)
    assert "error: many/other.png: expected a whole image" in said
    assert "scores.csv: 19 images" in said
    assert said.endswith("error: 1 of 20 images are left out\n")
    with Path("scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["file"]) for row in rows} == set(many.iterdir()) - {many / "other.png"}


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_images_are_reported_and_the_good_ones_used(command: str, many: Path) -> None:
    (many / "bad.png").write_bytes(b"no image")
    (many / "cut.png").write_bytes((many / "a.png").read_bytes()[:150])
    (many / "gone.png").symlink_to("nowhere.png")
    said = run(*shlex.split(command), code=1)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    names = [line.split(":")[1].strip() for line in errors[:-1]]
    assert names == ["many/bad.png", "many/cut.png", "many/gone.png"]
    assert errors[-1] == f"error: 3 of {len(NAMES) + 3} images are left out"
    assert Path(COMMANDS[command]).exists()
    if COMMANDS[command].startswith("out/"):
        assert {file.stem for file in Path("out").iterdir()} == set(NAMES)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_good_image_nothing_is_written(command: str, many: Path) -> None:
    for file in many.iterdir():
        file.write_bytes(b"no image")
    said = run(*shlex.split(command), code=2)
    assert said.endswith(f"error: none of the {len(NAMES)} images can be used\n")
    assert not list(Path().glob("out*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_names_need_not_be_unicode(command: str, many: Path) -> None:
    (many / "a.png").rename(many / os.fsdecode(b"caf\xe9.png"))
    run(*shlex.split(command))
    if command.startswith("score"):
        assert r"many/caf\xe9.png" in Path("out.csv").read_text(encoding="utf-8")
    if command.startswith("compress"):
        run("decompress", "out.glow", "-o", "out")
    if Path("out").is_dir():
        assert Path("out", os.fsdecode(b"caf\xe9.png")).is_file()
    (many / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    assert r"error: many/caf\xe9.png: " in run(*shlex.split(command), *over(command), code=1)


def over(command: str) -> list[str]:
    replaces = command.startswith("compress") or command.endswith("-o out")
    return ["--overwrite"] if replaces else []


def test_an_image_that_an_edit_loses_is_left_out(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the inverse overflows, as scales near zero make it do."""
    Image.new("RGB", (SIDE, SIDE)).save(many / "black.png")
    original = Glow.decode

    def overflows(self: Glow, *given: object) -> torch.Tensor:
        x = original(self, *given)
        x[x.flatten(1).amax(dim=1) < -0.4] = torch.nan
        return x

    monkeypatch.setattr(Glow, "decode", overflows)
    for at, suffix in (("out", ""), ("out.png", ".png")):
        said = run("edit", "many", "--add", "Beard=0", "-o", at, code=1)
        assert "error: many/black.png: expected latents near those of images" in said
        assert f"{at}: {len(NAMES)} images with Beard" in said
        assert Path(at).suffix == suffix
    assert {file.stem for file in Path("out").iterdir()} == set(NAMES)
    assert "method is" in refused("edit", "many", "--add", "Beard=1", "--method", "guided")


def test_a_name_is_one_line_whatever_is_in_it(many: Path) -> None:
    bad = many / "a\n\x1b[2Jb.png"
    bad.write_bytes(b"no image")
    said = run("score", "many", code=1)
    assert said.startswith(r"error: many/a\n\x1b[2Jb.png: expected")


def test_a_terminal_need_not_know_the_letters(many: Path) -> None:
    (many / "a.png").rename(many / "\N{CJK UNIFIED IDEOGRAPH-5BEB}.png")
    for file in set(many.iterdir()):
        file.rename(file.with_stem(f"\N{CJK UNIFIED IDEOGRAPH-5BEB}{file.stem}"))
    result = CliRunner(charset="ascii").invoke(app, ["score", "many"])
    assert result.exit_code == 0
    assert r"\u5beb" in result.output
