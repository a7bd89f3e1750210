"""What a training reports of the machine."""

import time

import pytest
import torch
from torch import Tensor

from glow import GlowConfig
from glow.precision import Precision
from glow.products import product
from glow.size import multiplications
from stages.speed import PEAK_SECONDS, Speed, peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(("backprop", "products"), [("autograd", 3), ("reversible", 4)])
def test_the_numbers_agree_with_each_other(
    monkeypatch: pytest.MonkeyPatch, backprop: str, products: int
) -> None:
    config = GlowConfig(image_size=8, n_levels=2, depth=2, hidden_channels=8, backprop=backprop)
    began = time.perf_counter()
    monkeypatch.setattr("stages.speed.PEAK_SECONDS", PEAK_SECONDS / 10)
    speed = Speed(config, batch_size=5, step=10, device=CPU)
    assert time.perf_counter() - began < 5
    speed.go_on(20)
    now = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now + 2.0)
    found = speed.metrics(24)
    assert found["images_per_second"] == pytest.approx(4 * 5 / 2.0, rel=0.01)
    flops = found["images_per_second"] * 2 * multiplications(config) * products
    assert found["tflops"] == pytest.approx(flops / 1e12)
    peak = found["tflops"] / found["utilisation"]
    assert 1e-3 < peak < 1e3, "10^12 FLOP/s of a processor"
    assert found["peak_memory_mb"] > 20


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_peak_is_that_of_the_products_of_training(
    monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    asked = []

    def noted(x: Tensor, matrix: Tensor) -> Tensor:
        asked.append((x.dtype, matrix.dtype))
        return product(x, matrix)

    monkeypatch.setattr("stages.speed.product", noted)
    monkeypatch.setattr("stages.speed.PEAK_SECONDS", PEAK_SECONDS / 10)
    monkeypatch.setenv("GLOW_PRECISION", precision)
    Speed(GlowConfig(image_size=8, n_levels=2, depth=1), batch_size=1, step=0, device=CPU)
    expected = torch.bfloat16 if precision == "bfloat16" else torch.float32
    assert set(asked) == {(expected, expected)}


def test_peak_memory_remembers_the_peak() -> None:
    before = peak_memory(CPU)
    block = torch.ones(60, 2**20, dtype=torch.uint8)
    assert int(block[:, 0].sum()) == 60
    del block
    assert peak_memory(CPU) >= before
