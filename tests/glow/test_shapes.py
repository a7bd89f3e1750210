"""Shapes that nobody thought of: any batch, any sides, any channels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import assert_close, config_of, images, new_glow

from glow.architecture import build_levels

pytestmark = pytest.mark.proof

VARIANTS = [
    {},
    {"coupling": "additive", "permutation": "shuffle"},
    {"checkerboard_depth": 2, "conditioner": "residual", "permutation": "conv1x1"},
    {"edge_bias": False, "normalization": "none", "permutation": "reverse"},
]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.sampled_from([1, 2, 3, 5, 7]),
    channels=st.sampled_from([1, 3, 4]),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    variant=st.sampled_from(VARIANTS),
    seed=st.integers(0, 1000),
)
def test_a_level_is_exact_on_images_of_any_sides(
    n: int, channels: int, rows: int, columns: int, variant: dict[str, object], seed: int
) -> None:
    torch.manual_seed(seed)
    config = config_of(1, 2, channels, **variant)
    (level,) = build_levels(config)
    level.double()
    with torch.no_grad():
        for parameter in level.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(n, channels, 2 * rows, 2 * columns, dtype=torch.float64)
    z, log_det = level(x)
    back, log_det_back = level.inverse(z)
    assert z.shape == (n, 4 * channels, rows, columns)
    assert log_det.shape == (n,)
    assert_close(back, x, 1e-8)
    assert_close(log_det_back, -log_det, 1e-8)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: level(v[None])[0][0].flatten(), x[0]
    ).reshape(x[0].numel(), -1)
    assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[0], 1e-8)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 7),
    channels=st.sampled_from([1, 3, 4]),
    sizes=st.sampled_from([(1, 2), (1, 6), (2, 4), (2, 12), (3, 8)]),
    variant=st.sampled_from(VARIANTS),
    seed=st.integers(0, 1000),
)
def test_a_model_is_exact_on_batches_of_any_size(
    n: int, channels: int, sizes: tuple[int, int], variant: dict[str, object], seed: int
) -> None:
    config = config_of(*sizes, channels, **variant)
    glow, x = new_glow(config, seed), images(config, n, seed)
    assert_close(glow.decode(glow.encode(x)), x, 1e-8)
    assert_close(glow.log_prob(x)[-1:], glow.log_prob(x[-1:]), 1e-8)
