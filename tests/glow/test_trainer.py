"""The training loop: it learns, stops on NaN, resumes to the very same bytes."""

from pathlib import Path

import pytest
import torch

from glow import Glow, GlowConfig, dequantize
from glow.trainer import Batch, NonFiniteLoss, TrainConfig, Trainer

CONFIG = GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=2, hidden_channels=8)
HOW = {
    "optimizer": "adamax",
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "decay_steps": 4,
    "max_grad_norm": 50.0,
    "ema_decay": 0.9,
}


def batch_at(step: int) -> Batch:
    """Images of one dark and one bright half, so that there is something to learn."""
    generator = torch.Generator().manual_seed(step)
    levels = torch.randint(0, 4, (8, 3, 8, 8), generator=generator, dtype=torch.uint8)
    levels[:, :, 4:] += 20
    return Batch(levels)


def trainer(steps: int, **changes: object) -> Trainer:
    torch.manual_seed(0)
    glow = Glow(CONFIG)
    glow.initialize(dequantize(batch_at(0).levels, 5, torch.Generator().manual_seed(0)))
    return Trainer(glow, TrainConfig(steps=steps, **{**HOW, **changes}), seed=0)


@pytest.mark.parametrize("optimizer", ["adamax", "adamw"])
def test_bits_fall(optimizer: str) -> None:
    reports = list(trainer(30, optimizer=optimizer).train(batch_at))
    assert [report.step for report in reports] == list(range(1, 31))
    assert reports[-1].bits_per_dim < reports[0].bits_per_dim - 0.3


@pytest.mark.parametrize("stop", [1, 5, 9])
@pytest.mark.parametrize("optimizer", ["adamax", "adamw"])
def test_a_resumed_training_ends_in_the_same_weights(
    tmp_path: Path, stop: int, optimizer: str
) -> None:
    whole = trainer(10, optimizer=optimizer)
    list(whole.train(batch_at))
    first = trainer(10, optimizer=optimizer)
    for report in first.train(batch_at):
        if report.step == stop:
            break
    first.save(tmp_path / "state")
    second = trainer(10, optimizer=optimizer)
    assert second.resume(tmp_path / "state")
    list(second.train(batch_at))
    assert torch.equal(second.weights, whole.weights)
    assert torch.equal(second.ema, whole.ema)


def test_nothing_or_half_a_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    fresh = trainer(3)
    assert not fresh.resume(tmp_path / "state")
    fresh.save(tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(content[:1000])
    assert not fresh.resume(tmp_path / "state")
    assert fresh.step == 0


def test_nan_stops_before_the_weights_change() -> None:
    broken = trainer(5)
    with torch.no_grad():
        broken.weights[0] = float("nan")
    before = broken.weights.detach().clone()
    with pytest.raises(NonFiniteLoss, match="at step 1"):
        list(broken.train(batch_at))
    assert torch.equal(broken.weights.nan_to_num(), before.nan_to_num())


def test_the_model_is_a_view_of_the_flat_weights() -> None:
    trained = trainer(3)
    list(trained.train(batch_at))
    flat = torch.cat([parameter.detach().flatten() for parameter in trained.glow.parameters()])
    assert torch.equal(flat, trained.weights)
    assert not torch.equal(trained.ema, trained.weights)


def test_the_schedule_warms_up_and_decays() -> None:
    config = TrainConfig(steps=100, **{**HOW, "warmup_steps": 10, "decay_steps": 20})
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[10:80] == pytest.approx([1e-2] * 70)
    assert rates[99] < 1e-4
    assert rates[80:] == sorted(rates[80:], reverse=True)
