"""CIFAR-10 at 8 bits in the minutes that are left: trained, and measured on all test images.

The images lie on the GPU; a step is one CUDA graph but for the update. How many steps fit is
measured after the graph is recorded, and again as it goes, so that the rates reach 0 at the end.
A loss that is not finite costs no more than the seconds since the last point of the curve: from
there it goes on at half the rates.
"""

from dataclasses import asdict, replace
from pathlib import Path

import report
import torch
from PIL import Image

from glow import Glow, GlowConfig, dequantize, quantize, save_glow
from glow.precision import Float32Products
from glow.trainer import TrainConfig, Trainer
from gpu_parts import evaluation
from gpu_parts.images import Splits, cifar10
from gpu_parts.race import Race
from gpu_parts.record import Record
from gpu_parts.settings import Settings, Speedrun

DRAWS = 4
GOAL = 3.35  # bits/dim, the paper's
FIRST_IMAGES = 1024  # that ActNorm is initialised from
DRY_SECONDS = 5.0
DRY = {"n_levels": 2, "depth": 1, "width": 8, "batch": 8}
TEMPERATURES = {"samples": 1.0, "samples-0.7": 0.7}
SIDE, GAP = 8, 2  # images and pixels of a grid


def run(settings: Settings, record: Record) -> None:
    """Trains, evaluates, samples."""
    how = replace(settings.speedrun, **DRY) if settings.dry else settings.speedrun
    splits = cifar10(settings)
    torch.backends.cudnn.benchmark = how.autotune
    trainer = trainer_of(how, splits)
    record.facts(
        device=report.device_name(),
        data=splits.about,
        how=asdict(how),
        goal=GOAL,
        parameters=len(trainer.weights),
    )
    # after it: the test images, DRAWS times, and as many training images as the curve has, once
    at_end = (DRAWS * len(splits.test) + len(splits.valid)) / len(splits.valid)
    # of what is outside the flow: Muon's products, for which others take bfloat16
    with Float32Products(trainer.weights, tf32=True):
        Race(trainer, how, splits, record, DRY_SECONDS if settings.dry else None).run(at_end)
    glow = trainer.ema_glow.eval()
    save_glow(glow, settings.out / "glow", about={"data": splits.about, **asdict(how)})
    test(glow, splits, how, record)
    torch.backends.cudnn.benchmark = False  # for the few images that follow
    for name, temperature in TEMPERATURES.items():
        grid(glow, settings.out / f"{name}.png", how.seed, temperature)


def trainer_of(how: Speedrun, splits: Splits) -> Trainer:
    """Ready for its first step."""
    config = GlowConfig(
        image_size=splits.train.shape[-1],
        n_levels=how.n_levels,
        depth=how.depth,
        hidden_channels=how.width,
        min_scale=how.min_scale,
    )
    torch.manual_seed(how.seed)
    glow = Glow(config).to(report.device())
    glow.initialize(dequantize(splits.train[:FIRST_IMAGES], config.n_bits))
    glow.set_precision(how.precision)  # type: ignore[arg-type]  # a text of the command line
    plan = TrainConfig(
        steps=10**6,
        optimizer=how.optimizer,  # type: ignore[arg-type]  # a text of the command line
        learning_rate=how.learning_rate,
        muon_learning_rate=how.muon_learning_rate,
        warmup_steps=100,
        decay_steps=0,
        max_grad_norm=50.0,
        ema_decay=how.ema,
    )
    return Trainer(glow, plan, seed=how.seed, graphs=how.graphs)


def test(glow: Glow, splits: Splits, how: Speedrun, record: Record) -> None:
    """Rows of the averaged weights: the test images, and some training ones beside them."""
    n = len(splits.valid)
    for name, levels, draws in (
        ("test", splits.test, DRAWS),
        ("held out", splits.valid, 1),
        ("trained on", splits.train[:n], 1),
    ):
        found = evaluation.mean_and_error(
            evaluation.bits(glow, levels, draws=draws, seed=how.seed)
        )
        record.row("bits_per_dim", images_of=name, draws=draws, **found)
    of_test, facts = record.rows("bits_per_dim")[0], record.content["facts"]
    record.headline(
        f"{of_test['bits_per_dim']} +- {of_test['standard_error']} bits/dim on {len(splits.test)} "
        f"test images x {DRAWS} draws, after {facts['seconds'] / 60:.1f} minutes "
        f"({facts['steps']} steps, {facts['images_per_second']} images/s)"
    )


def grid(glow: Glow, file: Path, seed: int, temperature: float) -> None:
    """Writes a square of samples as a PNG."""
    generator = torch.Generator(report.device()).manual_seed(seed)
    with glow.frozen():
        x = glow.sample(SIDE * SIDE, temperature=temperature, generator=generator)
    pixels = quantize(x, 8).cpu().permute(0, 2, 3, 1)
    side = pixels.shape[1]
    size = SIDE * (side + GAP) - GAP
    picture = Image.new("RGB", (size, size), "white")
    for number, image in enumerate(pixels.numpy()):
        row, column = divmod(number, SIDE)
        picture.paste(Image.fromarray(image), (column * (side + GAP), row * (side + GAP)))
    picture.save(file)
