"""What was made with the weights of a model says so, and is refused beside others."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from commands import SIDE, refused, run
from safetensors.torch import load_file, save

from glow import load_glow, read_about, save_glow
from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.weights import KEY, says_weights, weights_hash

NAMES = ("Beard", "Smiling")
N_DIMS = 3 * SIDE**2
MODEL = Path("models/glow")
VECTORS = Path("models/attributes.safetensors")


def vectors(weights: str) -> bytes:
    return save({name: torch.ones(N_DIMS) for name in NAMES}, {KEY: weights})


def guide(weights: str) -> bytes:
    starts = torch.ones(len(NAMES), N_DIMS)
    return Guide(NAMES, starts, image_size=SIDE, channels=3).to_bytes(weights=weights)


def means(weights: str) -> bytes:
    n = len(NAMES)
    numbers = torch.ones(n, N_DIMS).double(), torch.zeros(n), torch.zeros(0, 2).long()
    own = Counterfactual(*numbers, torch.zeros(n, n).bool(), NAMES)
    return own.to_bytes(weights=weights)


FILES: Mapping[str, Callable[[str], bytes]] = {
    "attributes.safetensors": vectors,
    "guide.safetensors": guide,
    "counterfactual.safetensors": means,
}


@pytest.fixture
def trained_again(here: Path) -> Path:
    """A folder with the same model, but for its weights: its fingerprint is the same."""
    glow = load_glow(MODEL)
    with torch.no_grad():
        next(glow.parameters()).add_(0.01)
    save_glow(glow, here / "again" / "glow", about=read_about(MODEL))
    return here / "again" / "glow"


def test_models_of_one_fingerprint_are_told_apart_by_their_weights(trained_again: Path) -> None:
    assert read_about(trained_again) == read_about(MODEL)
    ours, theirs = weights_hash(MODEL), weights_hash(trained_again)
    assert ours != theirs
    assert f"weights: {theirs}\n" in run("describe", "--model", str(trained_again))
    save_glow(load_glow(MODEL), trained_again)
    assert weights_hash(trained_again) == ours


@pytest.mark.parametrize("made", [guide, means], ids=["guide", "means"])
def test_the_same_content_gives_the_same_bytes(made: Callable[[str], bytes]) -> None:
    torch.manual_seed(0)
    first = made("ab")
    for _ in range(8):  # one in two by chance
        torch.manual_seed(0)
        assert made("ab") == first


@pytest.mark.parametrize("name", FILES)
def test_what_was_found_with_other_weights_is_refused(name: str, trained_again: Path) -> None:
    edit = ("edit", "faces/a.png", "--add", "Smiling=1", "--model", str(trained_again))
    ours = weights_hash(trained_again)
    for file, made in FILES.items():
        (trained_again / file).write_bytes(made(ours))
    assert "warning" not in run(*edit)
    theirs = weights_hash(MODEL)
    (trained_again / name).write_bytes(FILES[name](theirs))
    said = refused(*edit)
    assert f"{name} was made with other weights ({theirs[:12]}) than the model's" in said
    (trained_again / name).write_bytes(b"no safetensors")
    assert f"{name} does not hold" in refused(*edit)


def test_a_file_that_does_not_say_of_which_weights_it_is_is_taken_with_a_warning(
    here: Path,
) -> None:
    content = VECTORS.read_bytes()
    try:
        assert says_weights(VECTORS, weights_hash(MODEL))
        VECTORS.write_bytes(save(load_file(VECTORS)))
        said = run("edit", "faces/a.png", "--add", "Smiling=1")
    finally:
        VECTORS.write_bytes(content)
    assert said.count("\n") == 2
    assert "warning: models/attributes.safetensors does not say which weights" in said


def test_percentiles_are_not_of_other_weights(here: Path) -> None:
    Path("results").mkdir()
    rows = "".join(f"valid,{i},1.0,1.0,1.0,1.0,1.0\n" for i in range(3))
    columns = "split,name,bits_per_dim,corrected_bits,typicality,norm,norm_fine\n"
    Path("results/scores.csv").write_text(columns + rows)
    Path("results/evaluate.json").write_text(json.dumps({"weights": "0" * 64}))
    said = run("score", "faces/a.png")
    assert "warning: results/scores.csv is of other weights" in said
    assert "percentile" not in Path("scores.csv").read_text()
    again = ("score", "faces/a.png", "--calibration", "results/scores.csv")
    assert "is of other weights than the model's" in refused(*again)
