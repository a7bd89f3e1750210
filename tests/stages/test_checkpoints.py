"""Checkpoints: one is left whatever ends a training, and those of abandoned ones are removed."""

import os
import re
import signal
import time
from pathlib import Path
from threading import Timer

import pytest
import torch

from glow import Glow, GlowConfig
from glow.trainer import TrainConfig, Trainer
from stages.checkpoints import CHECKPOINTS, FILE, KEPT, Checkpoints
from stages.curves import Curves
from stages.interrupt import deferred
from stages.validation import Validation

CPU = torch.device("cpu")
HOW = TrainConfig(
    steps=10,
    optimizer="adamax",
    learning_rate=0.01,
    warmup_steps=1,
    decay_steps=1,
    max_grad_norm=1.0,
    ema_decay=0.9,
)


@pytest.fixture
def trainer() -> Trainer:
    torch.manual_seed(0)
    glow = Glow(GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4))
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    return Trainer(glow, HOW, seed=0)


def test_a_signal_in_a_validation_leaves_a_checkpoint_at_once(
    trainer: Trainer, tmp_path: Path
) -> None:
    """And the validation is made by who goes on from it."""
    levels = torch.zeros(1_000_000, 3, 8, 8, dtype=torch.uint8)  # takes minutes
    trainer.step = 5
    checkpoints, curves = Checkpoints(tmp_path, 10.0), Curves(trainer.notes)
    with deferred() as interrupt:
        validation = Validation(
            trainer, curves, levels, None, seed=0, every=5, interrupt=interrupt
        )
        assert validation.due()
        Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        with pytest.raises(SystemExit) as stopped, checkpoints.left_by(trainer):
            validation.row()
    assert stopped.value.code == 143
    assert time.monotonic() - began < 20.0

    trainer.step = 0
    assert trainer.resume(tmp_path / FILE)
    curves = Curves(trainer.notes)
    assert (trainer.step, curves.rows) == (5, [])


def test_checkpoints_of_abandoned_trainings_are_removed(
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for age in range(KEPT + 2):
        with Checkpoints.open(f"training{age}", "code", 10.0, CPU) as checkpoints:
            checkpoints.save(trainer)
        os.utime(checkpoints.folder, (age, age))
    root = tmp_path / CHECKPOINTS
    kept = {f"training{age}-code" for age in range(1, KEPT + 2)}
    assert {path.name for path in root.iterdir() if path.is_dir()} == kept
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"removed .*/training0-code: \d+ MB of trainings that were stopped", line)


def test_a_training_that_never_saved_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), Checkpoints.open("a", "code", 10.0, CPU):
        raise KeyboardInterrupt
    assert list((tmp_path / CHECKPOINTS).iterdir()) == []
