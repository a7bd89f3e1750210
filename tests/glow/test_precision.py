"""Coarse products inside the networks: near the exact ones, and nowhere else."""

import logging
from pathlib import Path

import pytest
import torch
from live import Live
from small import images, new_glow
from torch import Tensor

from glow import Glow, GlowConfig, dequantize, load_glow, save_glow
from glow.precision import Float32Products, Precision
from glow.schedule import TrainConfig
from glow.trainer import Batch, Trainer

CONFIG = GlowConfig(image_size=16, n_bits=5, n_levels=2, depth=4, hidden_channels=32)
HOW = TrainConfig(
    steps=30,
    optimizer="adamax",
    learning_rate=1e-2,
    warmup_steps=2,
    decay_steps=4,
    max_grad_norm=50.0,
    ema_decay=0.9,
)
over_backprop = pytest.mark.parametrize("backprop", ["autograd", "balanced", "reversible"])


def model(precision: Precision, **changes: object) -> Glow:
    """In float32, no parameter zero."""
    glow = new_glow(GlowConfig(**{**vars(CONFIG), **changes}), noise=0.03).float().train()
    glow.set_precision(precision)
    return glow


def log_prob_and_gradient(sizes: dict[str, object], precision: Precision) -> tuple[Tensor, ...]:
    glow = model(precision, **sizes)
    x = images(glow.config, n=8).float()
    log_prob = glow.log_prob(x)
    log_prob.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in glow.parameters())
    return log_prob.detach(), torch.cat([p.grad.flatten() for p in glow.parameters()])


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@over_backprop
@pytest.mark.parametrize("side", [16, 32])
def test_bfloat16_is_near_float32(backprop: str, side: int) -> None:
    sizes = {"backprop": backprop, "image_size": side, "depth": 2 if side == 32 else 4}
    log_prob, gradient = log_prob_and_gradient(sizes, "float32")
    coarse, of_coarse = log_prob_and_gradient(sizes, "bfloat16")
    assert not torch.equal(coarse, log_prob)
    assert float((coarse - log_prob).abs().max()) < 1e-3 * float(log_prob.abs().max())
    assert apart(of_coarse, gradient) < 3e-2


@over_backprop
def test_what_is_recomputed_is_what_was_computed(backprop: str) -> None:
    sizes: dict[str, object] = {"backprop": backprop}
    log_prob, gradient = log_prob_and_gradient(sizes, "bfloat16")
    expected, by_autograd = log_prob_and_gradient({"backprop": "autograd"}, "bfloat16")
    assert torch.equal(log_prob, expected)
    assert apart(gradient, by_autograd) < 3e-2


def test_a_coarse_flow_is_inverted_as_exactly() -> None:
    glow, x = model("bfloat16"), images(CONFIG).float()
    with torch.no_grad():
        again = glow.decode(glow.encode(x))
    assert float((again - x).abs().max()) < 1e-4


def test_hidden_activations_take_half_of_the_memory() -> None:
    def kept(precision: Precision, n: int) -> int:
        glow, x = model(precision, hidden_channels=128), images(CONFIG, n).float()
        with Live() as live:
            log_prob = glow.log_prob(x)
        assert log_prob.requires_grad
        return live.now

    def for_images(precision: Precision) -> int:  # without what is kept of the parameters
        return kept(precision, 32) - kept(precision, 16)

    assert for_images("bfloat16") < 0.6 * for_images("float32")


def batch_at(step: int) -> Batch:
    """Images of one dark and one bright half, so that there is something to learn."""
    generator = torch.Generator().manual_seed(step)
    levels = torch.randint(0, 4, (8, 3, 16, 16), generator=generator, dtype=torch.uint8)
    levels[:, :, 8:] += 20
    return Batch(levels)


@over_backprop
def test_a_training_in_bfloat16_goes_as_in_float32(backprop: str) -> None:
    def train(precision: Precision) -> tuple[Trainer, list[float]]:
        torch.manual_seed(0)
        glow = Glow(GlowConfig(**{**vars(CONFIG), "backprop": backprop}))
        glow.initialize(dequantize(batch_at(0).levels, 5, torch.Generator().manual_seed(0)))
        glow.set_precision(precision)
        trainer = Trainer(glow, HOW, seed=0)
        return trainer, [report.bits_per_dim for report in trainer.train(batch_at)]

    _, fine = train("float32")
    trainer, coarse = train("bfloat16")
    assert coarse[-1] < coarse[0] - 0.3
    assert coarse[-1] == pytest.approx(fine[-1], abs=0.05)
    assert {level.steps.precision for level in trainer.glow.levels} == {"bfloat16"}
    assert {level.steps.precision for level in trainer.ema_glow.levels} == {"float32"}
    x = images(CONFIG).float()
    with torch.no_grad():
        averaged = trainer.ema_glow.log_prob(x)
        trainer.ema_glow.set_precision("bfloat16")
        assert not torch.equal(averaged, trainer.ema_glow.log_prob(x))


def test_precision_is_not_saved(tmp_path: Path) -> None:
    glow = model("bfloat16")
    save_glow(glow, tmp_path)
    assert "bfloat16" not in (tmp_path / "config.json").read_text()
    assert {level.steps.precision for level in load_glow(tmp_path).levels} == {"float32"}


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of float32, tf32, bfloat16"):
        model("float32").set_precision("fp8")


def test_a_model_without_such_steps_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model("bfloat16", conditioner="residual")
    assert "bfloat16 has no effect" in caplog.text
    caplog.clear()
    model("bfloat16")
    assert "no effect" not in caplog.text


@pytest.mark.parametrize("types", [{torch.float32}, {torch.float32, torch.bfloat16}])
def test_a_processor_without_bfloat16_is_warned_of(
    types: set[torch.dtype], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("glow.products._ONEDNN_TYPES", types)
    glow = Glow(GlowConfig(image_size=8, n_levels=1, depth=1, hidden_channels=8))
    with caplog.at_level(logging.WARNING):
        glow.set_precision("bfloat16")
    assert ("does not multiply bfloat16" in caplog.text) == (torch.bfloat16 not in types)
    caplog.clear()
    glow.set_precision("float32")
    assert not caplog.text


def test_tf32_is_no_change_without_a_gpu() -> None:
    expected = log_prob_and_gradient({}, "float32")
    for found, tensor in zip(log_prob_and_gradient({}, "tf32"), expected, strict=True):
        assert torch.equal(found, tensor)


class _OnGpu:
    """As much of a tensor as the switches ask for."""

    is_cuda = True


def switches() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


def test_torchs_switches_are_put_back() -> None:
    before, gpu = switches(), _OnGpu()
    with Float32Products(gpu, tf32=False):
        assert switches() == ("ieee", "ieee")
        with Float32Products(gpu, tf32=True):
            assert switches() == ("tf32", "tf32")
        assert switches() == ("ieee", "ieee")
    assert switches() == before
    with pytest.raises(KeyError), Float32Products(gpu, tf32=True):
        raise KeyError
    assert switches() == before
    with Float32Products(torch.zeros(()), tf32=True):
        assert switches() == before
