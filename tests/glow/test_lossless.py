"""Lossless coding: the very same images back, at the rate that the model promises."""

import numpy as np
import pytest
import torch
from coded import glow_of, levels_of
from hypothesis import given, settings
from hypothesis import strategies as st

from glow import bits_per_dim, dequantize
from glow.apps.lossless import WrongImages, code, decode
from glow.apps.lossless.integers import TriangularPair, scale, unscale
from glow.apps.lossless.stack import Stack
from glow.architecture import PERMUTATIONS


def words(n: int = 4000) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32)


@pytest.mark.proof
@pytest.mark.parametrize("coupling", ["additive", "affine"])
@pytest.mark.parametrize("permutation", PERMUTATIONS)
@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("learn_top", [True, False])
def test_images_come_back_at_the_rate_of_the_model(
    coupling: str, permutation: str, n_levels: int, *, learn_top: bool
) -> None:
    glow = glow_of(
        coupling=coupling, permutation=permutation, n_levels=n_levels, learn_top=learn_top
    )
    levels = levels_of(glow.config)
    coded = code(glow, levels, batch_size=7)
    assert np.array_equal(decode(glow, coded), levels)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        draws = [
            glow.log_prob(dequantize(torch.from_numpy(levels), 5, generator)) for _ in range(20)
        ]
    expected = bits_per_dim(torch.stack(draws), glow.config.n_dims, 5).mean()
    assert coded.net_bits / levels.size == pytest.approx(float(expected), abs=0.02)


@pytest.mark.parametrize(
    "changes", [{"n_bits": 1}, {"n_bits": 8}, {"channels": 1}, {"channels": 4}]
)
def test_other_bits_and_channels(changes: dict[str, int]) -> None:
    glow = glow_of(**changes)
    levels = levels_of(glow.config)
    assert np.array_equal(decode(glow, code(glow, levels, batch_size=20)), levels)


def test_latents_far_from_zero_are_coded_too() -> None:
    glow = glow_of()
    with torch.no_grad():
        glow.top.mean += 1000.0
    levels = levels_of(glow.config, 3)
    assert np.array_equal(decode(glow, code(glow, levels, batch_size=3)), levels)


def test_a_flow_that_is_not_finite_is_refused() -> None:
    glow = glow_of()
    with torch.no_grad():
        glow.top.mean += torch.inf
    with pytest.raises(ValueError, match="not finite"):
        code(glow, levels_of(glow.config, 3), batch_size=3)


@pytest.mark.parametrize(
    "changes", [{"classes": ("a", "b")}, {"checkerboard_depth": 1}, {"normalization": "none"}]
)
def test_a_model_that_cannot_code_is_refused(changes: dict[str, object]) -> None:
    glow = glow_of(**changes)
    with pytest.raises(ValueError, match="this model cannot code images"):
        code(glow, levels_of(glow.config, 3), batch_size=3)


def test_a_changed_word_is_noticed() -> None:
    glow = glow_of()
    coded = code(glow, levels_of(glow.config), batch_size=10)
    for index in (len(coded.words) - 2, len(coded.words) // 2, 20):
        damaged = coded.words.copy()
        damaged[index] ^= 1 << 7
        with pytest.raises(WrongImages):
            decode(glow, type(coded)(**{**vars(coded), "words": damaged}))


@pytest.mark.proof
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=20),
    log2=st.floats(-15, 15),
    seed=st.integers(0, 99),
)
def test_a_scale_is_undone_and_costs_its_logarithm(x: list[int], log2: float, seed: int) -> None:
    numbers = np.array(x, np.int64)
    by = np.exp2(log2 + np.random.default_rng(seed).uniform(-1, 1, len(x)))
    stack = Stack(words())
    z = scale(stack, numbers, by)
    error = np.abs(z - numbers * by)
    assert np.all(error <= np.abs(numbers * by) / 500 + 2 * np.maximum(by, 1) + 1)
    assert np.array_equal(unscale(stack, z, by), numbers)
    assert np.array_equal(stack.words(), words())


def test_many_scales_cost_their_log_det() -> None:
    by = np.exp(np.random.default_rng(0).normal(0, 1, 20_000))
    stack = Stack(words(100_000))
    before = stack.n_words
    scale(stack, np.random.default_rng(1).integers(-(2**20), 2**20, by.shape), by)
    bits = 32 * (stack.n_words - before)
    assert bits / len(by) == pytest.approx(-np.log2(by).mean(), abs=0.01)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_triangular_matrices_are_undone_exactly(channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    lower, upper = random.normal(0, 3, (2, channels, channels))
    pair = TriangularPair(np.tril(lower, -1), np.triu(upper, 1))
    x = random.integers(-(2**20), 2**20, (2, channels, 3, 2))
    z = pair.forward(x)
    assert np.array_equal(pair.inverse(z), x)
    eye = np.eye(channels)
    expected = np.einsum(
        "ij,bjhw->bihw", (eye + np.tril(lower, -1)) @ (eye + np.triu(upper, 1)), x
    )
    assert np.abs(z - expected).max() < 1e-3 * np.abs(expected).max() + 100


def test_normal_numbers_cost_their_entropy_and_come_back() -> None:
    bits = 15
    eps = np.random.default_rng(0).normal(0, 1, 50_000)
    eps[:3] = 40.0, -3000.0, 1e6
    values = np.rint(eps * 2**bits).astype(np.int64)
    stack = Stack(words(100))
    before = stack.n_words
    stack.push_normal(values, bits)
    rest = eps[3:]
    expected = (0.5 * rest**2 + 0.5 * np.log(2 * np.pi)).mean() / np.log(2) + bits
    assert 32 * (stack.n_words - before) / len(eps) == pytest.approx(expected, abs=0.01)
    assert np.array_equal(stack.pop_normal(values.shape, bits), values)
    assert np.array_equal(stack.words(), words(100))
