"""The training loop: it learns, stops on NaN, resumes to the very same bytes."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from glow import Glow, GlowConfig, dequantize
from glow.schedule import TrainConfig
from glow.state import DamagedState
from glow.trainer import Batch, NonFiniteLoss, Trainer

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


@pytest.mark.parametrize("optimizer", ["adamax", "adamw", "muon"])
def test_bits_fall(optimizer: str) -> None:
    reports = list(trainer(30, optimizer=optimizer).train(batch_at))
    assert [report.step for report in reports] == list(range(1, 31))
    assert reports[-1].bits_per_dim < reports[0].bits_per_dim - 0.3


@pytest.mark.parametrize("stop", [1, 5, 9])
@pytest.mark.parametrize("optimizer", ["adamax", "adamw", "muon"])
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


def test_nothing_is_no_checkpoint_and_half_of_one_is_named(tmp_path: Path) -> None:
    fresh, file = trainer(3), tmp_path / "state"
    assert not fresh.resume(file)
    fresh.save(file)
    content = file.read_bytes()
    before = fresh.weights.detach().clone()
    for damaged in (b"", content[:5], content[:1000], content[:-1], b"x" * len(content)):
        file.write_bytes(damaged)
        with pytest.raises(DamagedState, match="state is damaged"):
            fresh.resume(file)
    assert fresh.step == 0
    assert torch.equal(fresh.weights, before)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    larger = Trainer(
        Glow(GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=3, hidden_channels=8)),
        TrainConfig(steps=3, **HOW),
        seed=0,
    )
    larger.save(tmp_path / "state")
    with pytest.raises(DamagedState, match="is of another model: its weights"):
        trainer(3).resume(tmp_path / "state")


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """As a disk on which so much is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    trained, file = trainer(3), tmp_path / "state"
    steps = trained.train(batch_at)
    next(steps)
    trained.save(file)
    before = file.read_bytes()
    next(steps)
    with files_up_to(len(before) // 2), pytest.raises(OSError, match=r"too large: '.*state'"):
        trained.save(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208 - hidden files, too
    trained.save(file)
    assert file.read_bytes() != before


def test_nan_stops_before_the_weights_change() -> None:
    broken = trainer(5)
    with torch.no_grad():
        broken.weights[0] = float("nan")
    before = broken.weights.detach().clone()
    with pytest.raises(NonFiniteLoss, match="at step 1"):
        list(broken.train(batch_at))
    assert torch.equal(broken.weights.nan_to_num(), before.nan_to_num())


def test_a_wish_to_stop_is_reported_with_the_step() -> None:
    wishes = iter([False, True, False])
    assert [report.stop for report in trainer(3).train(batch_at, lambda: next(wishes))] == [
        False,
        True,
        False,
    ]


def test_the_model_is_a_view_of_the_flat_weights() -> None:
    trained = trainer(3)
    list(trained.train(batch_at))
    flat = torch.cat([parameter.detach().flatten() for parameter in trained.glow.parameters()])
    assert torch.equal(flat, trained.weights)
    assert not torch.equal(trained.ema, trained.weights)
