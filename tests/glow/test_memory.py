"""What training keeps for the way back, as the issue of it says: 3x32x32, width 128, batch 16."""

from functools import lru_cache

import pytest
import torch
from live import Live

from glow import Glow, GlowConfig
from glow.chain import Backprop


@lru_cache
def peak(backprop: Backprop, depth: int) -> int:
    """Bytes, above the parameters and their gradients."""
    torch.manual_seed(0)
    config = GlowConfig(
        image_size=32, n_levels=3, depth=depth, hidden_channels=128, backprop=backprop
    )
    glow, x = Glow(config), torch.rand(16, 3, 32, 32) - 0.5
    glow.initialize(x)
    glow.log_prob(x).sum().backward()
    with Live() as live:
        glow.log_prob(x).sum().backward()
    return live.peak


@pytest.mark.parametrize("depth", [4, 8, 16, 32])
def test_balanced_needs_half_of_the_memory_of_autograd(depth: int) -> None:
    assert peak("balanced", depth) <= 0.5 * peak("autograd", depth)


@pytest.mark.parametrize("depth", [8, 16, 64])
def test_the_memory_of_reversible_hardly_grows_with_depth(depth: int) -> None:
    assert peak("reversible", depth) <= 1.1 * peak("reversible", 4)


def test_that_of_autograd_does() -> None:
    assert peak("autograd", 16) > 3.5 * peak("autograd", 4)
