"""Every command reads images by one way, and writes over nothing that is not its own."""

import shlex
from pathlib import Path

import pytest
from commands import refused, run
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def contents() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "sample -n 3 -o out",
        "sample -n 3 --temperature 0.5 --temperature 0.7 -o out",
        "reconstruct faces -o out",
        "edit faces --add Smiling=1 -o out",
        "compress faces -o out.glow",
        "decompress faces.glow -o out",
    ],
)
def test_nothing_is_replaced_unasked(command: str, here: Path) -> None:
    run("compress", "faces", "-o", "faces.glow")
    words = shlex.split(command)
    run(*words)
    written = contents()
    assert "--overwrite" in refused(*words)
    assert contents() == written
    run(*words, "--overwrite")
    assert contents() == written


def test_a_sheet_of_scores_replaces_only_the_sheet_before(here: Path) -> None:
    run("sample", "-n", "1", "-o", "faces.png")
    drawn = Path("faces.png").read_bytes()
    said = refused("score", "faces", "-o", "faces.csv")
    assert "faces.png is there already; --sheet names another picture" in said
    assert Path("faces.png").read_bytes() == drawn
    for _ in range(2):
        run("score", "faces", "-o", "scores.csv")
    run("score", "faces", "-o", "faces.csv", "--sheet", "faces.png")


@pytest.mark.parametrize(
    "command",
    [
        "score faces -o results/scores.csv",
        "score faces -o held-out.csv --calibration held-out.csv",
        "score face.png -o face.csv",
        "sample --neighbours faces -o faces/a.png",
        "compress face.png -o face.png",
        "interpolate faces -o faces/a.png",
    ],
)
def test_an_output_is_none_of_the_inputs(command: str, here: Path) -> None:
    for file in (Path("results/scores.csv"), Path("held-out.csv")):
        file.parent.mkdir(exist_ok=True)
        file.write_text("split,norm\nvalid,1.0\n")
    before = contents()
    assert refused(*shlex.split(command)).startswith("error: output is ")
    assert contents() == before


@pytest.mark.parametrize(
    "command",
    [
        "reconstruct IMAGE",
        "interpolate IMAGE face.png",
        "edit IMAGE --add Smiling=1",
        "score IMAGE",
        "doctor IMAGE",
        "compress IMAGE",
    ],
)
def test_no_command_opens_what_only_pillow_knows(command: str, here: Path) -> None:
    Image.open("face.png").save("pixmap.png", "PPM")
    said = run(*shlex.split(command.replace("IMAGE", "pixmap.png")), code=2)
    assert "pixmap.png: expected a PNG, JPEG" in said
    assert "came something else" in said


def test_images_are_opened_in_one_place() -> None:
    files = (ROOT / "glow").rglob("*.py")
    opening = {f.name for f in files if "Image.open(" in f.read_text(encoding="utf-8")}
    assert opening == {"pictures.py"}


def test_suffixes_are_seen_in_any_case_and_folders_are_no_images(here: Path) -> None:
    Path("many/folder.png").mkdir(parents=True)
    for name, at in (("a", "a.PNG"), ("b", "b.Png"), ("c", "c.png")):
        Path("many", at).write_bytes(Path("faces", f"{name}.png").read_bytes())
    for command in ("reconstruct many -o back", "edit many --add Beard=0 -o edited"):
        assert "many: passes over 1 of 4 files and folders, whose" in run(*shlex.split(command))
    run("compress", "many", "-o", "many.glow")
    run("decompress", "many.glow", "-o", "decoded")
    for folder in ("back", "edited", "decoded"):
        assert {file.name for file in Path(folder).iterdir()} == {"a.png", "b.png", "c.png"}


def test_temperatures_that_look_alike_have_folders_of_their_own(here: Path) -> None:
    run("sample", "-n", "2", "--temperature", "0.701", "--temperature", "0.702", "-o", "out")
    assert len(list(Path("out").glob("*/*.png"))) == 4


def test_the_longest_names_are_written_too(here: Path) -> None:
    """So long that nothing can be put before or behind them."""
    name = "\N{CJK UNIFIED IDEOGRAPH-5BEB}" * 83 + "x"  # 250 bytes
    Path("in").mkdir()
    Path("in", f"{name}.webp").write_bytes(Path("face.png").read_bytes())
    run("reconstruct", "in", "-o", "out")
    assert [file.stem for file in Path("out").iterdir()] == [name]
