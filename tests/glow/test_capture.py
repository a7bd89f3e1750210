"""What is replayed is what would have been run; on a CPU, with a stand-in for CUDA's graph."""

import gc
import logging
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glow import Glow, GlowConfig, capture, dequantize, trainer
from glow.capture import WARM_UP, Captured, obstacle
from glow.chain import Backprop
from glow.reversible import _Node
from glow.schedule import TrainConfig
from glow.trainer import Batch, Trainer

CONFIG = GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=2, hidden_channels=8)
HOW = TrainConfig(
    steps=8,
    optimizer="adamax",
    learning_rate=1e-2,
    warmup_steps=2,
    decay_steps=4,
    max_grad_norm=50.0,
    ema_decay=0.9,
)


CPU = torch.device("cpu")


class Recorder:
    """Counts what is run; records by keeping the function and its tensors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: str = "") -> None:
        self.error = error
        self.aside = self.recorded = self.replayed = 0
        monkeypatch.setattr(capture, "aside", self.run_aside)
        monkeypatch.setattr(capture, "recorded", self.record)

    def run_aside(self, work: Callable[[], None], device: torch.device) -> None:
        """As `aside`."""
        assert device == CPU
        self.aside += 1
        work()

    def record(self, work: Callable[[], None], device: torch.device) -> Callable[[], None]:
        """As `recorded`."""
        assert device == CPU
        self.recorded += 1
        if self.error:
            raise RuntimeError(self.error)

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def doubling(out: Tensor) -> Captured:
    def work(x: Tensor, labels: Tensor | None) -> None:
        out[: len(x)] = 2 * x if labels is None else x * labels

    return Captured(work, CPU)


def test_it_runs_records_once_and_replays_with_what_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, out = Recorder(monkeypatch), torch.zeros(3)
    captured = doubling(out)
    for number in range(10):
        captured(torch.full((3,), float(number)), None)
        assert out.tolist() == [2.0 * number] * 3
    assert (recorder.aside, recorder.recorded) == (WARM_UP, 1)
    assert recorder.replayed == 10 - WARM_UP


@pytest.mark.parametrize("backprop", ["autograd", "balanced"])
def test_no_node_of_a_step_outlives_it(
    monkeypatch: pytest.MonkeyPatch, backprop: Backprop
) -> None:
    """One that did would make a recorded step wait for the stream it was made on, and fail."""
    nodes = []
    run = _Node.forward

    def forward(ctx: object, *arguments: object) -> object:
        nodes.append(weakref.ref(ctx))
        return run(ctx, *arguments)

    monkeypatch.setattr(_Node, "forward", staticmethod(forward))
    torch.manual_seed(0)
    glow = Glow(replace(CONFIG, backprop=backprop))
    levels = torch.randint(0, 32, (4, 3, 8, 8), dtype=torch.uint8)
    glow.initialize(dequantize(levels, 5))
    steps = Trainer(glow, HOW, seed=0).train(lambda _: Batch(levels))
    next(steps)
    gc.disable()
    try:
        next(steps)
        assert nodes
        assert all(node() is None for node in nodes)
    finally:
        gc.enable()
        steps.close()


def test_inputs_of_another_shape_are_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, out = Recorder(monkeypatch), torch.zeros(3)
    captured = doubling(out)
    for _ in range(WARM_UP + 1):
        captured(torch.ones(3), None)
    captured(torch.full((2,), 4.0), None)
    assert out.tolist() == [8.0, 8.0, 2.0]
    captured(torch.ones(3), torch.full((3,), 5.0))
    assert out.tolist() == [5.0, 5.0, 5.0]
    assert recorder.replayed == 1


def test_inputs_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch)
    captured, batches = doubling(torch.zeros(1)), [torch.tensor([float(i)]) for i in range(9)]
    for batch in batches:
        captured(batch, None)
    assert [float(batch) for batch in batches] == list(range(9))


def train(*, graphs: bool, micro_batch: int | None = None, **changes: object) -> Trainer:
    torch.manual_seed(0)
    config = GlowConfig(**{**vars(CONFIG), **changes})
    glow = Glow(config)

    def batch_at(step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        levels = torch.randint(0, 32, (8, 3, 8, 8), generator=generator, dtype=torch.uint8)
        labels = levels[:, 0, 0, 0].long() % 2 if config.classes else None
        return Batch(levels, labels)

    first = batch_at(0).levels
    glow.initialize(dequantize(first, 5, torch.Generator().manual_seed(0)))
    for parameter in glow.parameters():
        if graphs:
            parameter.grad = torch.ones_like(parameter)  # as of a recording that failed halfway
    trained = Trainer(glow, HOW, seed=0, micro_batch=micro_batch, graphs=graphs)
    list(trained.train(batch_at))
    return trained


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 1},
        {"micro_batch": 3},
        {"classes": ("a", "b")},
        {"normalization": "batchnorm"},
    ],
    ids=["whole", "shallow", "parts", "classes", "batchnorm"],
)
@pytest.mark.parametrize("error", ["", "operation not permitted when stream is capturing"])
def test_a_training_ends_in_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    error: str,
) -> None:
    expected = train(graphs=False, **changes)
    recorder = Recorder(monkeypatch, error)
    monkeypatch.setattr(trainer, "obstacle", lambda *_: None)
    with caplog.at_level(logging.WARNING):
        found = train(graphs=True, **changes)
    assert torch.equal(found.weights, expected.weights)
    assert torch.equal(found.ema, expected.ema)
    for name, buffer in expected.glow.named_buffers():
        assert torch.equal(dict(found.glow.named_buffers())[name], buffer)
    assert recorder.recorded == 1
    assert recorder.replayed == (0 if error else HOW.steps - WARM_UP)
    said = [record.getMessage() for record in caplog.records]
    assert said == (
        [f"no CUDA graph of the training step, it runs without: {error}"] if error else []
    )


def test_on_a_cpu_a_line_says_that_it_has_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = train(graphs=True)
    (record,) = caplog.records
    assert "CUDA graphs have no effect on this training: it runs on a cpu" in record.getMessage()
    assert torch.equal(found.weights, train(graphs=False).weights)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backprop": "reversible"}, "backprop is reversible"),
        ({"backprop": "balanced"}, None),
        ({"permutation": "conv1x1"}, "permutation is conv1x1"),
        ({}, None),
    ],
)
def test_what_looks_at_numbers_is_not_recorded(
    changes: dict[str, object], why: str | None
) -> None:
    config = GlowConfig(**{**vars(CONFIG), **changes})
    found = obstacle(config, torch.device("cuda", 0))
    assert (found or "").startswith(why or "")
    assert (found is None) == (why is None)


class Elsewhere(TorchDispatchMode):
    """The devices of all that is computed, and what draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: set[str] = set()
        self.random: set[str] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 - torch's
        out = op(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.devices |= {tensor.device.type for tensor in tensors if tensor.numel()}
        if torch.Tag.nondeterministic_seeded in op.tags:
            self.random.add(str(op))
        return out


def differentiate_without_numbers(**changes: object) -> Elsewhere:
    config = GlowConfig(**{**vars(CONFIG), **changes})
    trained = Trainer(Glow(config).to("meta"), HOW, seed=0)
    labels = torch.zeros(4, dtype=torch.int64, device="meta") if config.classes else None
    noisy = torch.zeros(4, 3, 8, 8, device="meta")
    trained.glow.train()
    trained._differentiate(noisy, labels)  # caches are filled
    with Elsewhere() as seen:
        trained._differentiate(noisy, labels)
    return seen


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"coupling": "additive", "permutation": "shuffle"},
        {"classes": ("a", "b")},
        {"backprop": "balanced", "depth": 6},
        {"normalization": "batchnorm", "conditioner": "residual", "checkerboard_depth": 2},
        {"normalization": "none", "permutation": "reverse", "edge_bias": False},
    ],
    ids=["glow", "additive", "classes", "balanced", "realnvp", "nice"],
)
def test_what_is_recorded_needs_no_number_and_no_other_device(changes: dict[str, object]) -> None:
    seen = differentiate_without_numbers(**changes)
    assert seen.devices == {"meta"}
    assert not seen.random


def test_what_is_not_recorded_needs_numbers() -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        differentiate_without_numbers(backprop="reversible", depth=6)
