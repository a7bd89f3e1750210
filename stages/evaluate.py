"""DVC stage `evaluate`: bits per dimension of a trained Glow, per split and per image."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize, read_about
from stages import tracking
from stages.baselines import histogram_bits
from stages.errors import StageError, run
from stages.outputs import write_json, write_text
from stages.params import EvaluateParams, load_params
from stages.progress import progress
from stages.shards import SPLITS, ShardSet
from stages.trained import load_model


@torch.inference_mode()
def bits_of_images(
    glow: Glow, levels: Tensor, how: EvaluateParams, generator: torch.Generator
) -> Tensor:
    """Bits per dimension of each image, averaged over the dequantisation draws, float64 (N,)."""
    config = glow.config
    draws = []
    for _ in range(how.n_dequantizations):
        log_prob = glow.log_prob(dequantize(levels, config.n_bits, generator))
        draws.append(bits_per_dim(log_prob.double(), config.n_dims, config.n_bits))
    return torch.stack(draws).mean(dim=0)


@torch.inference_mode()
def reconstruction_error(glow: Glow, levels: Tensor, generator: torch.Generator) -> float:
    """Max |x - decode(encode(x))|, in quantisation steps: below 0.5 it returns the very pixels."""
    x = dequantize(levels, glow.config.n_bits, generator)
    error = (glow.decode(glow.encode(x)) - x).abs().max()
    return float(error) * 2**glow.config.n_bits


def evaluate(
    glow: Glow, shards: ShardSet, how: EvaluateParams, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The report and a row per image; images that overflow are counted, never dropped."""
    device = next(glow.parameters()).device
    loaded = {
        split: shards.load(split, how.train_images if split == "train" else None)[0]
        for split in SPLITS
    }
    total = sum(len(levels) for levels in loaded.values())
    report: dict[str, Any] = {}
    rows = []
    with progress("evaluate", total, "images") as advance:
        for split, levels in loaded.items():
            generator = torch.Generator(device).manual_seed(seed)
            parts = []
            for batch in levels.split(how.batch_size):
                parts.append(bits_of_images(glow, batch.to(device), how, generator).cpu())
                advance(len(batch))
            bits = torch.cat(parts)
            report[split] = _summary(bits, how.n_dequantizations)
            some = levels[: how.batch_size].to(device)
            error = reconstruction_error(glow, some, generator)
            report[split]["reconstruction_error_steps"] = round(error, 6)
            names = [s.name for s, _ in zip(shards.samples(split), bits, strict=False)]
            rows.append(pd.DataFrame({"split": split, "name": names, "bits_per_dim": bits}))
    train, test = shards.load("train")[0], loaded["test"]
    report["baselines"] = {
        "uniform": float(shards.n_bits),
        "histogram": round(histogram_bits(train, test, shards.n_bits, per_position=False), 4),
        "histogram_per_position": round(
            histogram_bits(train, test, shards.n_bits, per_position=True), 4
        ),
    }
    report["data"] = shards.checksum
    return report, pd.concat(rows)


def _summary(bits: Tensor, n_dequantizations: int) -> dict[str, Any]:
    error = float(bits.std()) / math.sqrt(len(bits)) if len(bits) > 1 else 0.0
    return {
        "bits_per_dim": round(float(bits.mean()), 6),
        "standard_error": round(error, 6),
        "n_images": len(bits),
        "n_dequantizations": n_dequantizations,
        "non_finite": int((~bits.isfinite()).sum()),
    }


def _table(report: dict[str, Any]) -> str:
    lines = [f"{name:<24}{bits:8.3f}" for name, bits in report["baselines"].items()]
    for split in SPLITS:
        about = report[split]
        error = f"{about['bits_per_dim']:8.3f} +- {about['standard_error']:.3f}"
        lines.append(f"{'Glow, ' + split:<24}{error}")
    return "\n".join(["bits per dimension, lower is better", *lines])


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    metrics: Annotated[Path, typer.Argument(help="JSON file to write")],
    likelihoods: Annotated[Path, typer.Argument(help="CSV file to write, a row per image")],
) -> None:
    """Measure a trained Glow beside codes that know only histograms.

    Example: python -m stages.evaluate data/shards models/glow results/evaluate.json
    results/likelihoods.csv
    """
    params = load_params()
    glow = load_model(model)
    data = ShardSet.open(shards)
    report, table = evaluate(glow, data, params.evaluate, params.seed)
    write_json(metrics, report)
    write_text(likelihoods, table.to_csv(index=False, float_format="%.6f"))
    print(_table(report), file=sys.stderr)
    with tracking.same_run(read_about(model)["fingerprint"]) as tracked:
        for split in SPLITS:
            tracked.metrics({f"{split}_{key}": value for key, value in report[split].items()})
        tracked.metrics({f"baseline_{k}": v for k, v in report["baselines"].items()})
        tracked.artifact(metrics)
        tracked.artifact(likelihoods)
    bad = {split: report[split]["non_finite"] for split in SPLITS if report[split]["non_finite"]}
    if bad:
        raise StageError(
            f"log-likelihoods that are not finite, by split: {bad}; see {likelihoods}"
        )


if __name__ == "__main__":
    run(lambda: typer.run(command))
