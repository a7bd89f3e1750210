"""DVC stage `attributes`: a latent vector per attribute, and faces edited along it."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from safetensors.torch import save
from torch import Tensor

from glow import Glow, dequantize, read_about
from glow.atomic import write_atomically
from glow.attributes import AttributeStatistics
from stages import tracking
from stages.errors import run
from stages.figures import save_grid, to_bytes
from stages.labels import labels_of
from stages.outputs import fresh_folder, write_text
from stages.params import AttributesParams, load_params
from stages.progress import progress
from stages.shards import ShardSet
from stages.trained import load_model


@torch.inference_mode()
def _latents(
    glow: Glow, levels: Tensor, labels: Tensor | None, generator: torch.Generator
) -> Tensor:
    x = dequantize(levels.to(generator.device), glow.config.n_bits, generator)
    return glow.encode(x, labels).flatten()


def _labels(
    glow: Glow, shards: ShardSet, present: Tensor, generator: torch.Generator
) -> Tensor | None:
    labels = labels_of(glow.config.classes, shards.attribute_names, present)
    return None if labels is None else labels.to(generator.device)


def gather(
    glow: Glow, shards: ShardSet, how: AttributesParams, generator: torch.Generator
) -> AttributeStatistics:
    """The sums over the training images that the estimators need."""
    levels, attributes = shards.load("train", how.max_images)
    statistics = AttributeStatistics.empty(attributes.shape[1], glow.config.n_dims)
    with progress("attributes", len(levels), "images") as advance:
        batches = levels.split(how.batch_size), attributes.split(how.batch_size)
        for images, present in zip(*batches, strict=True):
            labels = _labels(glow, shards, present, generator)
            statistics.add(_latents(glow, images, labels, generator), present)
            advance(len(images))
    return statistics


def table(
    glow: Glow,
    shards: ShardSet,
    statistics: AttributeStatistics,
    vectors: Tensor,
    generator: torch.Generator,
    batch_size: int,
) -> pd.DataFrame:
    """A row per attribute; the probe is the projection on its vector, on validation images."""
    levels, present = shards.load("valid")
    parts = [
        _latents(glow, images, _labels(glow, shards, rows, generator), generator).cpu()
        for images, rows in zip(levels.split(batch_size), present.split(batch_size), strict=True)
    ]
    scores = torch.cat(parts).double() @ vectors.T
    guesses = scores > statistics.midpoints(vectors)
    positives = statistics.attributes.long()
    share = present.double().mean(dim=0)
    return pd.DataFrame(
        {
            "attribute": shards.attribute_names,
            "positives": positives,
            "negatives": statistics.count - positives,
            "norm": vectors.norm(dim=1),
            "probe_accuracy": (guesses == present).double().mean(dim=0),
            "majority_share": torch.maximum(share, 1 - share),
        }
    )


@torch.inference_mode()
def draw_edits(
    folder: Path,
    glow: Glow,
    shards: ShardSet,
    vectors: Tensor,
    how: AttributesParams,
    generator: torch.Generator,
) -> list[Path]:
    """A PNG per attribute: a face without it per row, from the test split, an alpha per column."""
    levels, present = shards.load("test")
    drawn = []
    for index, name in enumerate(shards.attribute_names):
        without = (~present[:, index]).nonzero()[: how.n_faces, 0]
        chosen = levels[without].to(generator.device)
        labels = _labels(glow, shards, present[without], generator)
        if not len(chosen):
            continue
        x = dequantize(chosen, glow.config.n_bits, generator)
        latents = glow.encode(x, labels)
        direction = latents.unflatten(vectors[index : index + 1].to(x))
        columns = [x] + [glow.decode(latents + alpha * direction, labels) for alpha in how.alphas]
        images = torch.stack([to_bytes(column, glow.config.n_bits) for column in columns], dim=1)
        drawn.append(folder / f"{name}.png")
        save_grid(drawn[-1], list(images))
    return drawn


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    vectors_file: Annotated[Path, typer.Argument(help="safetensors file to write")],
    csv: Annotated[Path, typer.Argument(help="CSV file to write, a row per attribute")],
    edits: Annotated[Path, typer.Argument(help="folder to write, a PNG per attribute")],
) -> None:
    """Find a latent vector per attribute and edit faces with it.

    Example: python -m stages.attributes data/shards models/glow models/attributes.safetensors
    results/attributes.csv results/attributes
    """
    params = load_params()
    how = params.attributes
    glow, data = load_model(model), ShardSet.open(shards)
    device = next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(params.seed)
    statistics = gather(glow, data, how, generator)
    vectors = statistics.vectors(how.estimator)
    by_name = dict(zip(data.attribute_names, vectors.float(), strict=True))
    vectors_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(vectors_file, save({name: row.clone() for name, row in by_name.items()}))
    frame = table(glow, data, statistics, vectors, generator, how.batch_size)
    write_text(csv, frame.to_csv(index=False, float_format="%.4f"))
    with fresh_folder(edits) as folder:
        drawn = draw_edits(folder, glow, data, vectors, how, generator)
    with tracking.same_run(read_about(model)["fingerprint"]) as tracked:
        accuracy = frame.set_index("attribute")["probe_accuracy"]
        tracked.metrics({f"probe_accuracy.{name}": value for name, value in accuracy.items()})
        tracked.artifact(csv)
        tracked.artifact(vectors_file)
        tracked.attribute_vectors(vectors_file)
        for file in drawn:
            tracked.image(edits / file.name, key=f"edit_{file.stem}")


if __name__ == "__main__":
    run(lambda: typer.run(command))
