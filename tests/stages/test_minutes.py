"""The benchmark `minutes`: both models learn on one clock, by one rule, and divergence shows."""

import importlib
from types import ModuleType

import pytest
import torch
from tiny import ROOT, SMALL, tiny

from glow import dequantize
from stages.shards import ShardSet

pytest.importorskip("normflows", reason="comes with the extra `benchmark`")


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("minutes")


@pytest.mark.parametrize("who", ["glow", "normflows"])
def test_both_learn_in_the_time_they_are_given(
    minutes: ModuleType, shards: ShardSet, who: str
) -> None:
    task = minutes.task_of(tiny(**SMALL), shards.folder, 0, 1e-2, {"depth": 1, "width": 8})
    row, curve = minutes.run(minutes.Trial("avatars", who, task, 1.0, 0.25, 10))
    assert row["diverged_at_step"] is None
    assert 1.0 <= row["seconds"] < 2.0
    assert curve[-1]["valid_bits_per_dim"] < shards.n_bits
    assert row["test_bits_per_dim"] < shards.n_bits


@pytest.mark.parametrize("who", ["glow", "normflows"])
def test_divergence_is_recorded(minutes: ModuleType, shards: ShardSet, who: str) -> None:
    task = minutes.task_of(tiny(**SMALL), shards.folder, 0, 1e30, {"depth": 1, "width": 8})
    row, _ = minutes.run(minutes.Trial("avatars", who, task, 1.0, 0.25, 10))
    assert row["diverged_at_step"] > 1
    assert row["test_bits_per_dim"] is None


def test_one_rule_for_both(minutes: ModuleType, shards: ShardSet) -> None:
    class Uniform:
        def log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x))

    levels, _ = shards.load("test", 5)
    assert minutes.bits(Uniform(), levels, shards.n_bits, seed=0).tolist() == [5.0] * 5
    task = minutes.task_of(tiny(**SMALL), shards.folder, 0, 1e-2, {"depth": 1, "width": 8})
    for learner in minutes.LEARNERS.values():
        model = learner(task)
        x = dequantize(levels, shards.n_bits, torch.Generator().manual_seed(0))
        x = x.to(minutes.report.device())
        expected = shards.n_bits - model.log_prob(x) / x[0].numel() / torch.log(torch.tensor(2.0))
        found = minutes.bits(model, levels, shards.n_bits, seed=0)
        torch.testing.assert_close(found, expected.double().cpu(), rtol=1e-5, atol=1e-5)
