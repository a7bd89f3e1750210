"""`python -m glow doctor` finds what is wrong with a model or a device, and nothing else."""

import re
from pathlib import Path

import pytest
import torch
from commands import run

from glow import load_glow, save_glow
from glow.level import Level


def test_doctor_is_content_with_a_good_model(here: Path) -> None:
    output = run("doctor", "faces")
    assert [line.split()[0] for line in output.splitlines()[1:-1]] == ["OK"] * 5
    assert output.endswith("all is well\n")


def wrong(*arguments: str) -> list[str]:
    """What the doctor finds wrong."""
    output = run("doctor", *arguments, code=1)
    return re.findall(r"^WRONG (.*?):", output, re.MULTILINE)


def test_doctor_finds_weights_that_are_no_numbers(here: Path) -> None:
    glow = load_glow("models/glow")
    with torch.no_grad():
        next(glow.parameters()).view(-1)[0] = torch.nan
    save_glow(glow, "broken")
    assert wrong("faces", "--model", "broken") == ["weights"]


def test_doctor_finds_an_inverse_that_loses_the_image(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Level.restore
    monkeypatch.setattr(Level, "restore", lambda self, z: original(self, z) + 0.05)
    assert wrong("faces") == ["round trip"]


def test_doctor_finds_a_layer_that_miscounts_its_volume(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Level.forward

    def miscounted(self: Level, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, log_det = original(self, x)
        return z, log_det * 1.01

    monkeypatch.setattr(Level, "forward", miscounted)
    assert wrong("faces") == ["log-det"]


def test_doctor_finds_a_device_whose_float32_is_coarse(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Level.forward

    def coarse(self: Level, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.dtype == torch.float32 and self.split is not None:
            x = (x * 16).round() / 16
        return original(self, x)

    monkeypatch.setattr(Level, "forward", coarse)
    assert "precision" in wrong("faces")
