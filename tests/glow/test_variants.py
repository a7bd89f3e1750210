"""Every variant of the paper and its ancestors has the density that its Jacobian gives."""

from typing import Any

import pytest
import torch
from small import (
    assert_close,
    config_of,
    density_by_jacobian,
    images,
    new_glow,
    over_combinations,
    over_sizes,
)

pytestmark = pytest.mark.proof


VARIANTS: dict[str, dict[str, Any]] = {
    "NICE": {"coupling": "additive", "permutation": "reverse", "normalization": "none"},
    "RealNVP": {
        "checkerboard_depth": 2,
        "permutation": "reverse",
        "normalization": "batchnorm",
        "conditioner": "residual",
    },
    "RealNVP with ActNorm": {"checkerboard_depth": 3, "conditioner": "residual"},
    "additive checkerboard": {"checkerboard_depth": 2, "coupling": "additive"},
    "no extras": {"edge_bias": False, "conditioner_actnorm": False, "log_scale_factor": 1.0},
    "bounded": {"min_scale": 0.3},
    "classes": {"classes": ("a", "b", "c")},
    "classes without learned top": {"classes": ("a", "b"), "learn_top": False},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
@over_sizes
def test_every_variant_is_the_change_of_variables(
    n_levels: int, side: int, changes: dict[str, Any]
) -> None:
    config = config_of(n_levels, side, 1, depth=1, **changes)
    glow, x = new_glow(config).eval(), images(config, n=2)
    labels = torch.tensor([1, 0]) if config.classes else None
    assert_close(glow.log_prob(x, labels), density_by_jacobian(glow, x, labels), 1e-9)
    assert_close(glow.decode(glow.encode(x, labels), labels), x, 1e-9)


def test_classes_have_densities_of_their_own() -> None:
    config = config_of(classes=("a", "b"))
    glow, x = new_glow(config), images(config, n=1)
    first, second = (glow.log_prob(x, torch.tensor([label])) for label in (0, 1))
    assert abs(float((first - second).detach())) > 0.01
    drawn = [
        glow.sample(1, labels=torch.tensor([i]), generator=torch.Generator().manual_seed(0))
        for i in (0, 1)
    ]
    assert not torch.allclose(*drawn)
    for method in (glow.log_prob, glow.encode):
        with pytest.raises(ValueError, match="class-conditional, expected labels"):
            method(x)
    with pytest.raises(ValueError, match="has no classes"):
        new_glow(config_of()).log_prob(x, torch.tensor([0]))


def test_the_terms_of_all_levels_add_up_to_log_prob() -> None:
    config = config_of(3, 8, 3)
    said = new_glow(config)(images(config))
    assert len(said.log_dets) == len(said.log_priors) == 3
    assert_close(sum(said.log_dets) + sum(said.log_priors), said.log_prob, 1e-9)


def test_batch_normalisation_in_training_sees_the_batch_and_else_does_not() -> None:
    config = config_of(normalization="batchnorm")
    glow, x = new_glow(config), images(config, n=4)
    glow.initialize(x)
    alone = glow.eval().log_prob(x[:1])
    assert_close(glow.log_prob(x)[:1], alone, 1e-9)
    assert not torch.allclose(glow.train().log_prob(x[:2])[:1], alone)


@over_combinations
@pytest.mark.parametrize("learn_top", [True, False])
def test_log_prob_is_exact_for_every_kind_of_step(
    coupling: str, permutation: str, *, learn_top: bool
) -> None:
    config = config_of(coupling=coupling, permutation=permutation, learn_top=learn_top)
    glow, x = new_glow(config), images(config, n=1)
    assert_close(glow.log_prob(x), density_by_jacobian(glow, x), 1e-9)
    assert_close(glow.decode(glow.encode(x)), x, 1e-9)
