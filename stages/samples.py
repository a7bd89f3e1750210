"""DVC stage `samples`: grids by temperature, and interpolations between test images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize, interpolate, read_about
from glow.weights import weights_hash
from stages import tracking
from stages.charts import short
from stages.errors import run
from stages.figures import clipped_share, save_grid, square, to_bytes
from stages.labels import labels_of
from stages.outputs import fresh_folder, write_json
from stages.params import SamplesParams, load_params
from stages.progress import progress
from stages.shards import ShardSet
from stages.trained import load_model

ROW = 12  # images of a temperature in the grid that compares them
TOLD = ("depth", "n_levels", "hidden_channels", "coupling", "permutation", "n_bits")


@torch.inference_mode()
def draw(glow: Glow, n: int, temperature: float, seed: int, batch_size: int) -> Tensor:
    """N samples; the same noise at every temperature, so that columns can be compared."""
    device = next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    labels = classes_in_turn(glow, n)
    parts = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start)
        part = None if labels is None else labels[start : start + size]
        parts.append(glow.sample(size, temperature=temperature, generator=generator, labels=part))
    return torch.cat(parts)


def classes_in_turn(glow: Glow, n: int) -> Tensor | None:
    """Labels 0, 1, 2, ..., 0, 1, ... of n samples; None where the model has no classes."""
    if not glow.config.classes:
        return None
    device = next(glow.parameters()).device
    return torch.arange(n, device=device) % len(glow.config.classes)


def arranged(images: Tensor, classes: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """Rows of a grid about as wide as high, and what stands left of them: the class, if any.

    With more classes than half the images there is no order to be seen, and none is shown.

    Args:
        images: (N, C, H, W), of the classes in turn.
        classes: of the model.
    """
    in_turn = square(images)
    if not classes or 2 * len(classes) > len(images):
        return in_turn, []
    width = len(in_turn[0])
    rows: list[Tensor] = []
    labels: list[str] = []
    for label, name in enumerate(classes):
        of_class = images[label :: len(classes)].split(width)
        rows += of_class
        labels += [short(name)] + [""] * (len(of_class) - 1)
    return rows, labels


@torch.inference_mode()
def statistics(glow: Glow, x: Tensor) -> dict[str, float]:
    """Numbers of samples that change with temperature.

    Bits per dimension of the samples under the model, the share of clipped values, the mean
    distance of neighbouring pixels (sharpness) and the standard deviation over samples
    (diversity), the last two in units of the whole range.
    """
    config = glow.config
    log_prob = glow.log_prob(x, classes_in_turn(glow, len(x)))
    clipped = to_bytes(x, config.n_bits).float() / 256
    horizontal = (clipped[..., 1:] - clipped[..., :-1]).abs().mean()
    vertical = (clipped[..., 1:, :] - clipped[..., :-1, :]).abs().mean()
    return {
        "sample_bits_per_dim": float(bits_per_dim(log_prob, config.n_dims, config.n_bits).mean()),
        "clipped_share": clipped_share(x),
        "non_finite": float((~x.isfinite()).flatten(1).any(dim=1).sum()),
        "sharpness": float((horizontal + vertical) / 2),
        "diversity": float(clipped.std(dim=0, correction=0).mean()),
    }


@torch.inference_mode()
def draw_interpolations(
    file: Path, glow: Glow, shards: ShardSet, how: SamplesParams, seed: int
) -> None:
    """A row per pair of test images: the straight line between their latents.

    A test image that is the only one goes with a validation image. A model with classes sees both
    as of the first one's class.
    """
    device = next(glow.parameters()).device
    parts = [shards.load("test", 2 * how.n_interpolations)]
    if len(parts[0][0]) == 1:
        parts.append(shards.load("valid", 1))
    levels, present = (torch.cat(part) for part in zip(*parts, strict=True))
    generator = torch.Generator(device).manual_seed(seed)
    x = dequantize(levels.to(device), glow.config.n_bits, generator)
    labels = labels_of(glow.config.classes, shards.attribute_names, present)
    rows = []
    for pair in range(len(levels) // 2):
        label = None if labels is None else labels[2 * pair].to(device).expand(2)
        ends = glow.encode(x[2 * pair : 2 * pair + 2], label)
        start, end = ends.images(slice(0, 1)), ends.images(slice(1, 2))
        steps = how.interpolation_steps
        line = glow.decode(
            interpolate(start, end, steps), None if label is None else label[:1].expand(steps)
        )
        rows.append(to_bytes(line, glow.config.n_bits))
    save_grid(file, rows)


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    grids: Annotated[Path, typer.Argument(help="folder to write PNGs to")],
    metrics: Annotated[Path, typer.Argument(help="JSON file to write")],
) -> None:
    """Draw samples at every temperature, and interpolations.

    Example: python -m stages.samples data/shards models/glow results/samples results/samples.json
    """
    params = load_params()
    how = params.samples
    data = ShardSet.open(shards)
    glow = load_model(model, data)
    report: dict[str, Any] = {}
    rows, files = [], {}
    with (
        fresh_folder(grids) as folder,
        progress("samples", len(how.temperatures) * how.n_images, "images") as advance,
    ):
        for temperature in how.temperatures:
            x = draw(glow, how.n_images, temperature, params.seed, how.batch_size)
            images = to_bytes(x, glow.config.n_bits)
            files[temperature] = f"temperature-{temperature:.2f}.png"
            save_grid(folder / files[temperature], *arranged(images, glow.config.classes))
            rows.append(images[:ROW])
            numbers = statistics(glow, x)
            report[f"{temperature:g}"] = {k: round(v, 6) for k, v in numbers.items()}
            advance(how.n_images)
        labels = [f"T = {temperature:g}" for temperature in how.temperatures]
        save_grid(folder / "temperatures.png", rows, labels)
        draw_interpolations(folder / "interpolation.png", glow, data, how, params.seed)
    write_json(metrics, report)
    about = read_about(model)
    fingerprint, weights = about["fingerprint"], weights_hash(model)
    settings = {name: getattr(glow.config, name) for name in TOLD} | {"train_steps": about["step"]}
    training = {key: about[key] for key in ("valid_bits_per_dim",) if key in about}
    for temperature, file in files.items():
        name = f"depth {glow.config.depth}, T = {temperature:g}"
        with tracking.temperature_run(
            fingerprint, temperature, settings, weights=weights, name=name
        ) as tracked:
            tracked.metrics(report[f"{temperature:g}"] | training)
            tracked.image(grids / file, key="samples")
    with tracking.same_run(fingerprint, weights=weights) as tracked:
        tracked.image(grids / "temperatures.png", key="temperatures")
        tracked.image(grids / "interpolation.png", key="interpolation")


if __name__ == "__main__":
    run(lambda: typer.run(command))
