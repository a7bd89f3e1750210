"""What models are trained on and measured with, on the GPU as levels of 8 bits."""

from dataclasses import dataclass

import numpy as np
import paper
import report
import torch
from torch import Tensor

from glow import GlowConfig
from gpu_parts.decoding import decoded, files_of
from gpu_parts.record import Skipped
from gpu_parts.settings import Settings

N_VALID = 1000  # of the training images; the curve is of them
DRY = (96, 32, 32)  # images in a dry run: to train on, for the curve, to test


@dataclass(frozen=True)
class Splits:
    """Levels (N, 3, 32, 32), uint8, on the device.

    Attributes:
        train: all others of the training images.
        valid: some of them, held out.
        test: the official ones.
        about: where they are from, for the JSON.
    """

    train: Tensor
    valid: Tensor
    test: Tensor
    about: str


def cifar10(settings: Settings) -> Splits:
    """As many of the files as there are; in a dry run a few images, smooth ones without files.

    Raises:
        Skipped: no folder was given, or it has no training or no test images.
    """
    n_train, n_valid, n_test = DRY if settings.dry else (None, N_VALID, None)
    if settings.cifar10 is None:
        if not settings.dry:
            raise Skipped("needs --cifar10, the folder of its Parquet files")
        model = GlowConfig(image_size=32)
        smooth = paper.levels(model, sum(DRY), torch.device("cpu")).numpy()
        train, test = smooth[:-n_test], smooth[-n_test:]
        about = "smooth pictures"
    else:
        files = {split: files_of(settings.cifar10, split) for split in ("train", "test")}
        if missing := [split for split, found in files.items() if not found]:
            raise Skipped(f"{settings.cifar10} has no {missing[0]}*.parquet")
        train = decoded(files["train"], None if n_train is None else n_train + n_valid)
        test = decoded(files["test"], n_test)
        about = f"CIFAR-10, {len(files['train'])} of its files of training images"
    # the files' order is of chance or by class; the held-out ones are any of them, the same always
    order = np.random.default_rng(0).permutation(len(train))
    device = report.device()
    return Splits(
        train=torch.from_numpy(train[order[n_valid:]]).to(device),
        valid=torch.from_numpy(train[order[:n_valid]]).to(device),
        test=torch.from_numpy(test).to(device),
        about=f"{about}: {len(train) - n_valid} to train on, {n_valid} for the curve",
    )


def some(settings: Settings, model: GlowConfig, n: int) -> Tensor:
    """N images for a model of any size: CIFAR-10's where they fit, else smooth ones."""
    files = files_of(settings.cifar10, "train") if settings.cifar10 else []
    if files and model.image_size == 32:
        pixels = torch.from_numpy(decoded(files[:1], n)) >> (8 - model.n_bits)
        return pixels.repeat(-(-n // len(pixels)), 1, 1, 1)[:n].to(report.device())
    return paper.levels(model, n, report.device())
