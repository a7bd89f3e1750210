"""Levels, pixels and bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glow import bits_per_dim, dequantize, quantize, to_levels, to_pixels

few = settings(max_examples=8, deadline=None, derandomize=True)
all_bits = pytest.mark.parametrize("n_bits", range(1, 9))


def all_levels(n_bits: int) -> torch.Tensor:
    return torch.arange(2**n_bits, dtype=torch.uint8)


def fixed_noise(monkeypatch: pytest.MonkeyPatch, u: float) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, u))


@all_bits
def test_a_density_of_one_costs_exactly_n_bits(n_bits: int) -> None:
    assert bits_per_dim(torch.zeros(3), 12, n_bits).tolist() == [n_bits] * 3


def test_a_density_of_one_level_costs_no_bits() -> None:
    """A uniform density on one bin of 2^n per dimension is certain of the image."""
    log_prob = torch.tensor([7 * 5 * math.log(2.0), 0.0, -7 * math.log(2.0)])
    torch.testing.assert_close(bits_per_dim(log_prob, 7, 5), torch.tensor([0.0, 5.0, 6.0]))


@few
@given(n_bits=st.integers(1, 8), seed=st.integers(0, 2**32), data=st.data())
def test_quantize_undoes_dequantize(n_bits: int, seed: int, data: st.DataObject) -> None:
    level = st.integers(0, 2**n_bits - 1)
    drawn = data.draw(st.lists(level, min_size=1, max_size=30))
    levels = torch.tensor(drawn, dtype=torch.uint8)
    x = dequantize(levels, n_bits, torch.Generator().manual_seed(seed))
    assert torch.equal(quantize(x, n_bits), levels)


@all_bits
@pytest.mark.parametrize("u", [0.0, 0.5, 0.999])
def test_quantize_undoes_dequantize_of_every_level(
    n_bits: int, u: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed_noise(monkeypatch, u)
    levels = all_levels(n_bits)
    x = dequantize(levels, n_bits)
    assert torch.equal(quantize(x, n_bits), levels)
    exact = (levels.double() + u) / 2**n_bits - 0.5
    torch.testing.assert_close(x.double(), exact, rtol=0, atol=1e-5)


@all_bits
def test_the_largest_noise_stays_in_its_level(
    n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed_noise(monkeypatch, 1 - 2**-24)  # the largest number that torch.rand draws
    levels = all_levels(n_bits)
    x = dequantize(levels, n_bits)
    assert float(x.max()) < 0.5
    assert torch.equal(quantize(x, n_bits), levels)


def test_dequantize_is_uniform_within_the_level_and_seeded() -> None:
    levels = torch.full((20_000,), 3, dtype=torch.uint8)
    x = dequantize(levels, 2, torch.Generator().manual_seed(0))
    assert x.dtype == torch.float32
    assert 0.25 <= float(x.min()) < 0.2501
    assert 0.4999 < float(x.max()) <= 0.5
    assert float(x.mean()) == pytest.approx(0.375, abs=0.002)
    assert float(x.std()) == pytest.approx(0.25 / math.sqrt(12), rel=0.02)
    assert torch.equal(x, dequantize(levels, 2, torch.Generator().manual_seed(0)))
    assert not torch.equal(x, dequantize(levels, 2, torch.Generator().manual_seed(1)))


@all_bits
def test_quantize_clips_what_is_outside_and_zeroes_what_is_no_number(n_bits: int) -> None:
    x = torch.tensor([-1e30, -0.6, -0.5, 0.5, 0.6, 1e30, math.nan, math.inf, -math.inf])
    top = 2**n_bits - 1
    levels = quantize(x, n_bits)
    assert levels.tolist() == [0, 0, 0, top, top, top, 0, 0, 0]
    assert levels.dtype == torch.uint8


@all_bits
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_levels_and_pixels_are_the_floor_of_a_division_and_a_product(
    n_bits: int, kind: str
) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    levels = to_levels(torch.from_numpy(pixels) if kind == "torch" else pixels, n_bits)
    back = to_pixels(levels, n_bits)
    width = 2 ** (8 - n_bits)
    assert np.asarray(levels).dtype == np.asarray(back).dtype == np.uint8
    expected = [math.floor(pixel / width) for pixel in range(256)]
    assert np.asarray(levels).flatten().tolist() == expected
    assert np.asarray(back).flatten().tolist() == [level * width for level in expected]
    assert np.array_equal(np.asarray(to_levels(back, n_bits)), np.asarray(levels))
