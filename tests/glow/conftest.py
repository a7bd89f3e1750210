"""A place to call commands in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import NAMES, SIDE
from PIL import Image
from safetensors.torch import save_file

from glow import Glow, GlowConfig, dequantize, save_glow
from glow.apps.files import read_images
from glow.weights import KEY, weights_hash

ROOT = Path(__file__).resolve().parents[2]
LARGE = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user is after `dvc pull`, with images of any size: faces/, face.png and others."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    (folder / "faces").mkdir()
    for name in NAMES:
        pixels = random.integers(0, 256, (LARGE, LARGE + 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        square = Image.fromarray(pixels[:SIDE, :SIDE] & 0b11111000)
        square.save(folder / "faces" / f"{name}.png")
    config = GlowConfig(
        image_size=SIDE, n_levels=2, depth=2, hidden_channels=4, n_bits=5, min_scale=0.3
    )
    torch.manual_seed(0)
    glow = Glow(config)
    levels = read_images(sorted((folder / "faces").iterdir()), config)
    glow.initialize(dequantize(levels, 5))
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    save_glow(glow, folder / "models" / "glow", about={"fingerprint": "abc"})
    names = ("Smiling", "Beard", "Eyeglasses")
    vectors = {name: torch.randn(config.n_dims) for name in names}
    known = {KEY: weights_hash(folder / "models" / "glow")}
    save_file(vectors, folder / "models" / "attributes.safetensors", known)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In that place, which is left as it was."""
    monkeypatch.chdir(place)
    before = set(place.rglob("*"))
    yield place
    for path in sorted(set(place.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
