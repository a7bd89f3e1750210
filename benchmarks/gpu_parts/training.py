"""A few steps of training, as the timed parts want them."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from paper import SLOWLY
from torch import Tensor

from glow import Glow
from glow.precision import Precision
from glow.trainer import Batch, TrainConfig, Trainer

RECORDED_IN = 4  # the step that records a graph


@contextmanager
def training(
    glow: Glow,
    images: Tensor,
    *,
    precision: Precision = "float32",
    graphs: bool = False,
    autotune: bool = False,
    how: TrainConfig = SLOWLY,
) -> Iterator[Callable[[], object]]:
    """One step at a time, always on the same images.

    Args:
        glow: initialised; is trained.
        images: the batch, levels.
        precision: of the networks.
        graphs: whether as a CUDA graph.
        autotune: whether cuDNN tries its kernels first.
        how: to train.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = autotune
    glow.set_precision(precision)
    trainer = Trainer(glow, how, seed=0, graphs=graphs)
    steps = trainer.train(lambda _: Batch(images))
    try:
        yield lambda: next(steps)
    finally:
        steps.close()
        torch.backends.cudnn.benchmark = before


def trained(
    glow: Glow,
    images: Tensor,
    how: TrainConfig,
    *,
    graphs: bool = False,
    precision: Precision = "float32",
) -> Trainer:
    """After the steps of `how`, each on another 8 of the images, of a copy of the model."""
    model = copy.deepcopy(glow)
    model.set_precision(precision)
    trainer = Trainer(model, how, seed=0, graphs=graphs)

    def batch_at(step: int) -> Batch:
        start = 8 * step % (len(images) - 7)
        return Batch(images[start : start + 8])

    for _ in trainer.train(batch_at):
        pass
    return trainer
