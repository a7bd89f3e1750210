"""One real editor for all tests of it, with a small model of random weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from asking import Editor, running
from safetensors.torch import save_file

from glow import Glow, GlowConfig, save_glow
from glow.weights import KEY, weights_hash

LONG = "x" * 60
ATTRIBUTES = ("Curly_Hair", "Smiling", "constructor", "__proto__", "<b>x</b>", "a_b", "a b", LONG)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model whose images are of a useful contrast, with its vectors beside it."""
    folder = tmp_path_factory.mktemp("editor") / "glow"
    torch.manual_seed(0)
    glow = Glow(GlowConfig(image_size=16, n_levels=2, depth=2, hidden_channels=4, n_bits=5))
    glow.initialize(0.2 * torch.randn(16, 3, 16, 16))
    save_glow(glow, folder, about={"fingerprint": "abc", "data": "123", "step": 7})
    vectors = {name: torch.randn(glow.config.n_dims) for name in ATTRIBUTES}
    save_file(vectors, folder.parent / "attributes.safetensors", {KEY: weights_hash(folder)})
    return folder


@pytest.fixture(scope="session")
def facts(model: Path) -> Path:
    """A folder with what the pipeline says of the model's data."""
    (model.parent / "evaluate.json").write_text(
        json.dumps({"data": "123", "test": {"bits_per_dim": 1.25, "standard_error": 0.5}})
    )
    data = {"checksum": "123", "source": "folder", "credit": "by Ada"}
    data["splits"] = {"train": {"count": 4321}}
    (model.parent / "dataset.json").write_text(json.dumps(data))
    return model.parent


@pytest.fixture(scope="session")
def editor(model: Path, facts: Path) -> Iterator[Editor]:
    """A running one."""
    options = ["--evaluation", facts / "evaluate.json", "--dataset", facts / "dataset.json"]
    with running("--model", model, *options) as address:
        yield Editor(address)
