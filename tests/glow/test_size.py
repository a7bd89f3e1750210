"""The formulas of size.py count what a Glow has and does."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glow import Glow, GlowConfig
from glow.apps.params import config_of_params
from glow.size import count_parameters, multiplications

PRESETS = Path(__file__).resolve().parents[2] / "pipeline" / "presets"
CHOICES = {
    "coupling": ["additive", "affine"],
    "permutation": ["shuffle", "conv1x1", "conv1x1_lu"],
    "normalization": ["actnorm", "batchnorm", "none"],
    "conditioner": ["plain", "residual"],
    "checkerboard_depth": [0, 2],
}
COMBINATIONS = [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())]


def built(config: GlowConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Glow(config).parameters())


@pytest.mark.parametrize("choice", COMBINATIONS, ids=lambda c: "-".join(map(str, c.values())))
def test_parameters_of_every_choice(choice: dict[str, object]) -> None:
    for rest in (
        {},
        {"edge_bias": False, "conditioner_actnorm": False, "learn_top": False},
        {"classes": ("a", "b", "c")},
    ):
        config = GlowConfig(
            image_size=16, n_levels=3, depth=2, hidden_channels=7, **choice, **rest
        )
        assert count_parameters(config) == built(config)


@pytest.mark.parametrize("file", sorted(PRESETS.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_preset_builds_with_the_parameters_of_the_formula(file: Path) -> None:
    config = config_of_params(file)
    assert count_parameters(config) == built(config)


def test_cifar10_has_the_size_of_the_paper() -> None:
    """About 44 million parameters and 4.01 GMAC, in glow-reference of the authors' code."""
    config = config_of_params(PRESETS / "cifar10.yaml")
    assert count_parameters(config) == pytest.approx(44e6, rel=0.02)
    assert multiplications(config) == pytest.approx(4.01e9, rel=0.02)


@pytest.mark.parametrize("conditioner", ["plain", "residual"])
@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("checkerboard_depth", [0, 2])
def test_multiplications_are_those_that_torch_counts(
    conditioner: str, coupling: str, checkerboard_depth: int
) -> None:
    config = GlowConfig(
        image_size=8,
        n_levels=2,
        depth=2,
        hidden_channels=32,
        conditioner=conditioner,
        coupling=coupling,
        checkerboard_depth=checkerboard_depth,
    )
    glow, x = Glow(config).eval(), torch.zeros(64, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:  # with gradients: as it is defined
        glow.log_prob(x)
    counted = counter.get_total_flops() / len(x)
    assert 2 * multiplications(config) == pytest.approx(counted, rel=0.02)
