"""`python -m glow`: every example of every command's help works as it is written."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import NAMES, SIDE, refused, run
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from glow import Glow, GlowConfig, save_glow
from glow.apps.cli import app
from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.weights import save_of, weights_hash

ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[str]:
    """Those of every help, as a terminal of 80 columns shows them."""
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    commands = [c.callback.__name__ for c in app.registered_commands if c.callback]
    assert all(re.search(rf"^\W+{name}\b", listed, re.MULTILINE) for name in commands)
    found = []
    for name in commands:
        output = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).output
        lines = re.findall(r"^ *Example: (.*?) *$", output, re.MULTILINE)
        assert lines, f"{name} has no example"
        assert all(line.startswith(f"python -m glow {name}") for line in lines)
        if name != "editor":  # it does not end by itself: tests/glow/editor
            found += lines
    return found


@pytest.mark.parametrize("example", examples())
def test_an_example_of_the_help_works_as_it_is_written(example: str, here: Path) -> None:
    words = shlex.split(example)
    assert words[:3] == ["python", "-m", "glow"]
    if "compress" in example:
        pytest.importorskip("constriction")
    if "decompress" in example:
        run("compress", "faces/", "-o", "faces.glow")
    assert run(*words[3:])
    for file in here.rglob("*.png"):
        Image.open(file).load()


def test_describe_counts_the_parameters(here: Path) -> None:
    output = run("describe")
    assert "parameters: " in output
    assert "fingerprint: abc" in output


def test_describe_of_params_needs_no_trained_model(tmp_path: Path) -> None:
    preset = ROOT / "pipeline" / "presets" / "cifar10.yaml"
    assert "parameters: 44,619,156" in run("describe", "--params", str(preset))
    broken = tmp_path / "params.yaml"
    broken.write_text("model: [")
    for file in (broken, tmp_path / "none.yaml"):
        refused("describe", "--params", str(file))


def test_sample_draws_a_grid_that_the_seed_decides(here: Path) -> None:
    def drawn(seed: int) -> bytes:
        run("sample", "-n", "5", "--seed", str(seed), "-o", "drawn.png")
        assert Image.open("drawn.png").size == (3 * SIDE, 2 * SIDE)
        return Path("drawn.png").read_bytes()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_grid_and_a_folder_have_the_same_samples_in_any_number(here: Path) -> None:
    run("sample", "-n", "100", "-o", "grid.png")
    run("sample", "-n", "100", "-o", "each")
    files = sorted(Path("each").iterdir())
    assert [file.name for file in files] == [f"{number:05}.png" for number in range(100)]
    grid = np.asarray(Image.open("grid.png")).reshape(10, SIDE, 10, SIDE, 3).swapaxes(1, 2)
    assert np.array_equal(
        grid.reshape(100, SIDE, SIDE, 3), [np.asarray(Image.open(f)) for f in files]
    )


def test_samples_are_written_as_they_are_drawn(here: Path) -> None:
    """Memory holds a batch of them, so that a run that is stopped leaves those before it."""
    drawn: list[int] = []

    class Stopped(Exception):
        pass

    original = Glow.sample

    def stop_at_the_third(self: Glow, n: int, **how: object) -> torch.Tensor:
        if len(drawn) == 2:
            raise Stopped
        drawn.append(n)
        return original(self, n, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Glow, "sample", stop_at_the_third)
        result = CliRunner().invoke(app, ["sample", "-n", "1000000", "-o", "each"])
    assert isinstance(result.exception, Stopped)
    assert len(list(Path("each").iterdir())) == sum(drawn) == 128


def test_a_sample_that_is_among_the_images_has_the_distance_zero(here: Path) -> None:
    run("sample", "-n", "3", "-o", "seen")
    output = run("sample", "-n", "3", "--neighbours", "seen", "-o", "nearest.png")
    assert "median 0.0, least 0.0" in output
    pixels = np.asarray(Image.open("nearest.png"))
    half = (len(pixels) - 2) // 2
    assert np.array_equal(pixels[:half], pixels[half : 2 * half])
    assert "median 0.0" not in run("sample", "-n", "3", "--neighbours", "faces")


def test_reconstruct_brings_back_what_the_model_was_given(here: Path) -> None:
    output = run("reconstruct", "faces", "-o", "back")
    assert f"{len(NAMES)} of {len(NAMES)} images came back exactly" in output
    assert "largest difference of a pixel is 0" in output
    for name in NAMES:
        before, after = (Image.open(f"{folder}/{name}.png") for folder in ("faces", "back"))
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("kind", ["linear", "spherical", "norm"])
def test_a_morph_begins_and_ends_with_the_images(kind: str, here: Path) -> None:
    run("interpolate", "faces/a.png", "faces/b.png", "--kind", kind, "--steps", "5")
    tile = np.asarray(Image.open("morph.png"))[2:66, :, :]
    assert tile.shape == (64, 5 * 66 + 2, 3)
    for left, name in ((2, "a"), (2 + 4 * 66, "b")):
        shown = tile[::8, left : left + 64 : 8]
        assert np.array_equal(shown, np.asarray(Image.open(f"faces/{name}.png")))


def test_a_gif_goes_round_and_rests_at_the_images(here: Path) -> None:
    run("interpolate", "faces/a.png", "faces/b.png", "faces/c.png", "-o", "m.gif", "--steps", "4")
    with Image.open("m.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.size) == (9, 0, (128, 128))
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
    assert [i for i, duration in enumerate(durations) if duration > 100] == [0, 3, 6]


def test_an_edit_adds_the_vectors_and_none_of_it_is_the_image(here: Path) -> None:
    run("edit", "faces/a.png", "--add", "Smiling=1", "--add", "Beard=-0.5", "--steps", "3")
    strip = np.asarray(Image.open("edited.png"))[2:66:8]
    first, last = strip[:, 2:66:8], strip[:, 134:198:8]
    assert np.array_equal(first, np.asarray(Image.open("faces/a.png")))
    assert not np.array_equal(first, last)
    run("edit", "faces", "--add", "Smiling=1", "--add", "Beard=-0.5", "-o", "edited")
    assert np.array_equal(last, np.asarray(Image.open("edited/a.png")))
    assert run("edit") == "Beard\nEyeglasses\nSmiling\n"


def test_an_attribute_may_be_named_by_an_inequality(here: Path) -> None:
    """Its amount is behind the last sign of equality."""
    vectors = load_file("models/attributes.safetensors")
    run("edit", "faces/a.png", "--add", "Beard=-0.5")
    expected = Path("edited.png").read_bytes()
    named = save_of(weights_hash(Path("models/glow")), {"age>=40": vectors["Beard"]})
    Path("models/glow/attributes.safetensors").write_bytes(named)
    assert run("edit") == "age>=40\n"
    assert "age>=40 -0.5" in run("edit", "faces/a.png", "--add", "age>=40=-0.5")
    assert Path("edited.png").read_bytes() == expected


def test_an_edit_is_guided_where_there_is_a_guide(here: Path) -> None:
    names, n_dims = ("Beard", "Eyeglasses", "Smiling"), 3 * SIDE**2
    torch.manual_seed(1)
    guide = Guide(names, torch.randn(3, n_dims), image_size=SIDE, channels=3)
    weights = weights_hash(here / "models" / "glow")
    (here / "models" / "guide.safetensors").write_bytes(guide.to_bytes(weights=weights))
    effects = torch.randn(3, n_dims).double()
    no_pairs, none = torch.zeros(0, 2).long(), torch.zeros(3, 3).bool()
    means = Counterfactual(effects, torch.zeros(3), no_pairs, none, names)
    (here / "models" / "counterfactual.safetensors").write_bytes(means.to_bytes(weights=weights))
    edited = {}
    for method in ("guided", "counterfactual", "vector", ""):
        chosen = ("--method", method) if method else ()
        run("edit", "faces", "--add", "Smiling=1", *chosen, "-o", f"edited{method}")
        edited[method] = np.asarray(Image.open(f"edited{method}/a.png"))
    assert np.array_equal(edited[""], edited["guided"])
    assert len({image.tobytes() for image in edited.values()}) == 3
    taken = {}
    for method in ("guided", "vector"):
        run("edit", "faces", "--add", "Beard=-1", "--method", method, "-o", f"less{method}")
        taken[method] = Image.open(f"less{method}/a.png").tobytes()
    assert taken["guided"] == taken["vector"]


def scored(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_scores_are_sorted_and_those_of_an_image_alone(here: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save("faces/black.png")
    run("score", "faces", "-o", "all.csv", "--sheet", "sheet.png")
    rows = scored("all.csv")
    assert len(rows) == len(NAMES) + 1
    norms = [float(row["norm"]) for row in rows]
    assert norms == sorted(norms, reverse=True)
    bits = [float(row["bits_per_dim"]) for row in rows]
    nats = 3 * SIDE * SIDE * np.log(2) * (5 - np.array(bits))
    assert [float(row["log_prob"]) for row in rows] == pytest.approx(list(nats), abs=1e-2)
    run("score", "faces/a.png")
    (alone,) = scored("scores.csv")
    (among,) = (row for row in rows if row["file"] == "faces/a.png")
    assert float(alone["bits_per_dim"]) == pytest.approx(float(among["bits_per_dim"]), abs=1e-4)
    assert Path("scores.png").is_file()
    sheet = np.asarray(Image.open("sheet.png"))
    left = sheet.shape[1] - len(rows) * 66
    oddest = sheet[2:66:8, left : left + 64 : 8]
    assert np.array_equal(oddest, np.asarray(Image.open(rows[0]["file"])))


def test_held_out_images_make_scores_percentiles(here: Path) -> None:
    run("score", "faces", "--by", "bits_per_dim", "-o", "plain.csv")
    plain = scored("plain.csv")
    assert "typicality" not in plain[0]
    names = [name for name in plain[0] if name not in ("file", "log_prob")]
    bits = [float(row["bits_per_dim"]) for row in plain]
    assert bits == sorted(bits, reverse=True)
    held_out = [["valid", *(float(row[name]) - 1e-4 for name in names), 0.0] for row in plain[:3]]
    other = ["test", *(["nan"] * len(names)), 0.0]
    Path("results").mkdir()
    with Path("results/scores.csv").open("w", newline="") as stream:
        header = ["split", *names, "typicality"]
        csv.writer(stream).writerows([header, *held_out, other])
    run("score", "faces", "--by", "bits_per_dim", "-o", "with.csv")
    calibrated = scored("with.csv")
    above = [float(row["bits_per_dim_percentile"]) for row in calibrated]
    assert above == pytest.approx([75.0, 50.0, 25.0] + [0.0] * (len(calibrated) - 3))
    mean = float(np.mean(bits[:3])) - 1e-4
    assert [float(row["typicality"]) for row in calibrated] == pytest.approx(
        [abs(b - mean) for b in bits], abs=1e-5
    )


def test_a_model_with_classes_takes_one_by_name(here: Path) -> None:
    config = GlowConfig(
        image_size=SIDE, n_levels=2, depth=1, hidden_channels=4, n_bits=5, classes=("cat", "dog")
    )
    glow = Glow(config)
    with torch.no_grad():
        glow.top.class_mean[1] += 3.0
    save_glow(glow, "classes")
    for name in config.classes:
        run("sample", "--model", "classes", "--class", name, "-n", "4", "-o", f"{name}.png")
    assert Path("cat.png").read_bytes() != Path("dog.png").read_bytes()
    run("score", "faces", "--model", "classes", "--class", "dog")
    said = refused("score", "faces", "--model", "classes")
    assert "class is missing, expected one of cat, dog" in said
