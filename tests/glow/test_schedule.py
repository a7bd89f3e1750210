"""The schedule: a linear warm-up, a plateau, a cosine down to zero."""

import pytest

from glow.schedule import TrainConfig


def test_the_schedule_warms_up_and_decays() -> None:
    config = TrainConfig(
        steps=100,
        optimizer="adamax",
        learning_rate=1e-2,
        warmup_steps=10,
        decay_steps=20,
        max_grad_norm=50.0,
        ema_decay=0.9,
    )
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[10:80] == pytest.approx([1e-2] * 70)
    assert rates[99] < 1e-4
    assert rates[80:] == sorted(rates[80:], reverse=True)
