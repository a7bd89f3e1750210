"""`python -m glow`: every command's help has an example, and it works."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from glow import Glow, GlowConfig, save_glow
from glow.apps.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.manual_seed(0)
    config = GlowConfig(image_size=8, n_levels=2, depth=1, hidden_channels=4, n_bits=5)
    save_glow(Glow(config), tmp_path / "model", about={"fingerprint": "abc"})
    return str(tmp_path / "model")


def test_describe_counts_the_parameters(model: str) -> None:
    result = CliRunner().invoke(app, ["describe", "--model", model])
    assert result.exit_code == 0
    assert "parameters: " in result.output
    assert "fingerprint: abc" in result.output


def test_sample_draws_a_grid_that_the_seed_decides(model: str, tmp_path: Path) -> None:
    def drawn(seed: int) -> bytes:
        file = tmp_path / f"{seed}.png"
        options = ["-n", "5", "--seed", str(seed), "-o", str(file)]
        result = CliRunner().invoke(app, ["sample", "--model", model, *options])
        assert result.exit_code == 0, result.output
        assert Image.open(file).size == (24, 16)
        return file.read_bytes()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_folder_without_a_model_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["describe", "--model", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["describe", "sample"])
def test_help_has_an_example(command: str) -> None:
    assert f"python -m glow {command}" in CliRunner().invoke(app, [command, "--help"]).output


def test_describe_of_params_needs_no_trained_model(tmp_path: Path) -> None:
    preset = ROOT / "pipeline" / "presets" / "cifar10.yaml"
    result = CliRunner().invoke(app, ["describe", "--params", str(preset)])
    assert result.exit_code == 0
    assert "parameters: 44,619,156" in result.output
    broken = tmp_path / "params.yaml"
    broken.write_text("model: [")
    for file in (broken, tmp_path / "none.yaml"):
        result = CliRunner().invoke(app, ["describe", "--params", str(file)])
        assert result.exit_code == 2
        assert len(result.output.splitlines()) == 1
