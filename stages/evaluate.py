"""DVC stage `evaluate`: bits per dimension of a trained Glow, and how odd each image is to it."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

from glow import Glow, dequantize, read_about
from glow.complexity import compressed_bits
from glow.parallel import rank
from glow.scores import Evidence, dims
from glow.weights import weights_hash
from stages import tracking
from stages.baselines import histogram_bits
from stages.distributed import process_group
from stages.errors import StageError, run
from stages.interrupt import exit_on_signals
from stages.labels import labels_of
from stages.launch import launch
from stages.likelihood import Likelihood, measure, reconstruction_error
from stages.likelihood_figures import save_extremes, save_histogram
from stages.outputs import fresh_folder, write_json, write_text
from stages.params import EvaluateParams, load_params
from stages.progress import progress
from stages.score_figures import save_ends, save_score_histograms
from stages.score_table import false_alarms, score_all, score_table
from stages.shards import SPLITS, ShardSet
from stages.trained import RAW, load_model
from stages.without_twins import without_twins

HELD_OUT = ("valid", "test")


@dataclass(frozen=True)
class Split:
    """A split in memory: levels (N, C, H, W), uint8, their labels and names."""

    levels: Tensor
    labels: Tensor | None
    names: list[str]

    @classmethod
    def load(cls, shards: ShardSet, name: str, limit: int | None, glow: Glow) -> "Split":
        """All of a split or its first images."""
        levels, present = shards.load(name, limit)
        labels = labels_of(glow.config.classes, shards.attribute_names, present)
        pairs = zip(shards.samples(name), levels, strict=False)
        return cls(levels, labels, [sample.name for sample, _ in pairs])


def evaluate(
    glow: Glow, raw: Glow, splits: dict[str, Split], how: EvaluateParams, seed: int
) -> tuple[dict[str, Any], dict[str, Likelihood]]:
    """The report, and the likelihood of every image under the averaged weights.

    Images that overflow are counted, never dropped: a mean over them is null.
    """
    device = next(glow.parameters()).device
    report: dict[str, Any] = {}
    found = {}
    total = sum(len(split.levels) for split in splits.values()) * (how.n_dequantizations + 1)
    with progress("evaluate", total, "draws") as advance:
        for name, split in splits.items():
            averaged, last = (
                measure(
                    model,
                    split.levels,
                    split.labels,
                    n_draws=n_draws,
                    batch_size=how.batch_size,
                    generator=torch.Generator(device).manual_seed(seed),
                    advance=advance,
                )
                for model, n_draws in ((glow, how.n_dequantizations), (raw, 1))
            )
            found[name] = averaged
            report[name] = _summary(averaged, last) | {
                "reconstruction_error_steps": _round_trip(glow, split, how.batch_size, seed)
            }
    report["gap"] = _gap(report["train"], report["test"])
    report["levels"] = found["test"].by_level()
    report["round_trip_steps"] = _round_trips_elsewhere(glow, splits["test"], how.batch_size, seed)
    return report, found


def _summary(averaged: Likelihood, raw: Likelihood) -> dict[str, Any]:
    bits, error = averaged.mean_and_error()
    raw_bits, raw_error = raw.mean_and_error()
    return {
        "bits_per_dim": bits,
        "standard_error": error,
        "n_images": averaged.draws.shape[1],
        "n_dequantizations": len(averaged.draws),
        "non_finite": averaged.non_finite,
        "importance_weighted": averaged.importance_weighted(),
        "raw_bits_per_dim": raw_bits,
        "raw_standard_error": raw_error,
        "raw_non_finite": raw.non_finite,
    }


def _gap(train: dict[str, Any], test: dict[str, Any]) -> dict[str, float | None]:
    """How much more the test images cost than the training images."""
    if train["bits_per_dim"] is None or test["bits_per_dim"] is None:
        return {"bits_per_dim": None, "standard_error": None}
    error = math.hypot(train["standard_error"], test["standard_error"])
    gap = test["bits_per_dim"] - train["bits_per_dim"]
    return {"bits_per_dim": round(gap, 6), "standard_error": round(error, 6)}


def _round_trip(glow: Glow, split: Split, n: int, seed: int) -> float | None:
    device = next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    x = dequantize(split.levels[:n].to(device), glow.config.n_bits, generator)
    return reconstruction_error(glow, x, _first(split, n, device))


@torch.inference_mode()
def _round_trips_elsewhere(glow: Glow, split: Split, n: int, seed: int) -> dict[str, float | None]:
    """Of what is no image of the data set: uniform noise, and the model's own samples."""
    device = next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    n = min(n, len(split.levels))
    labels = _first(split, n, device)
    shape = (n, *split.levels.shape[1:])
    noise = torch.rand(shape, generator=generator, device=device) - 0.5
    samples = glow.sample(n, generator=generator, labels=labels)
    return {
        "noise": reconstruction_error(glow, noise, labels),
        "samples": reconstruction_error(glow, samples, labels),
    }


def _first(split: Split, n: int, device: torch.device) -> Tensor | None:
    return None if split.labels is None else split.labels[:n].to(device)


def _evidence(glow: Glow, split: Split, found: Likelihood) -> Evidence:
    compressed = compressed_bits(split.levels)
    return Evidence(found.bits, compressed, found.squared_norms, dims(glow))


def _baselines(train: Tensor, test: Tensor, n_bits: int) -> dict[str, float]:
    return {
        "uniform": float(n_bits),
        "histogram": round(histogram_bits(train, test, n_bits, per_position=False), 4),
        "histogram_per_position": round(histogram_bits(train, test, n_bits, per_position=True), 4),
    }


def _table(report: dict[str, Any]) -> str:
    lines = [f"{name:<24}{bits:8.3f}" for name, bits in report["baselines"].items()]
    for split in SPLITS:
        about = report[split]
        numbers = f"  {about['non_finite']} of {about['n_images']} images are not finite"
        if about["bits_per_dim"] is not None:
            numbers = f"{about['bits_per_dim']:8.3f} +- {about['standard_error']:.3f}"
        lines.append(f"{'Glow, ' + split:<24}{numbers}")
        alone = about.get("without_twins")
        if alone and alone["bits_per_dim"] is not None and alone["n_images"] < about["n_images"]:
            numbers = f"{alone['bits_per_dim']:8.3f} +- {alone['standard_error']:.3f}"
            lines.append(f"{'  those without twins':<24}{numbers}")
    return "\n".join(["bits per dimension, lower is better", *lines])


def _numbers(value: Any, name: str) -> dict[str, float]:  # noqa: ANN401 - JSON
    """The report as flat metrics: evaluate/test_bits_per_dim, evaluate/baselines_uniform, ...

    MLflow charts what stands before the slash as a section, and valid_bits_per_dim of the training
    stays a curve without this number at its beginning.
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        prefix = name if name.endswith("/") else f"{name}_"
        parts = [_numbers(part, f"{prefix}{key}") for key, part in items]
        return {key: number for part in parts for key, number in part.items()}
    return {name: value} if isinstance(value, int | float) else {}


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    metrics: Annotated[Path, typer.Argument(help="JSON file to write")],
    likelihoods: Annotated[Path, typer.Argument(help="CSV file to write, a row per image")],
    scores: Annotated[Path, typer.Argument(help="CSV file to write, a row per held-out image")],
    figures: Annotated[Path, typer.Argument(help="folder to write PNGs to")],
) -> None:
    """Measure a trained Glow beside codes that know only histograms, in GLOW_NPROC processes.

    Example: python -m stages.evaluate data/shards models/glow results/evaluate.json
    results/likelihoods.csv results/scores.csv results/evaluate
    """
    params = load_params()
    data = ShardSet.open(shards)
    exit_on_signals()
    launch("stages.evaluate")
    with process_group():
        glow, raw = load_model(model, data), load_model(model / RAW, data)
        limits = {"train": params.evaluate.train_images}
        splits = {name: Split.load(data, name, limits.get(name), glow) for name in SPLITS}
        report, found = evaluate(glow, raw, splits, params.evaluate, params.seed)
        if rank() > 0:
            return
    test = splits["test"].levels
    report["baselines"] = _baselines(data.load("train")[0], test, data.n_bits)
    report["data"] = data.checksum
    for name in HELD_OUT:
        report[name] |= without_twins(data, name, splits[name].names, found[name])
    report["weights"] = weights_hash(model)
    scored = score_all({name: _evidence(glow, splits[name], found[name]) for name in HELD_OUT})
    report["false_alarms"] = false_alarms(scored["test"])
    oddness = score_table(scored, {name: splits[name].names for name in HELD_OUT})
    table = pd.concat(
        pd.DataFrame({"split": name, "name": splits[name].names, "bits_per_dim": of_split.bits})
        for name, of_split in found.items()
    )
    write_json(metrics, report)
    write_text(likelihoods, table.to_csv(index=False, float_format="%.6f"))
    write_text(scores, oddness.to_csv(index=False, float_format="%.6g"))
    with fresh_folder(figures) as folder:
        save_histogram(folder / "histogram.png", table)
        save_extremes(folder / "extremes.png", test, found["test"].bits, data.n_bits)
        save_score_histograms(folder / "scores.png", oddness)
        ends = folder / "oddest.png", folder / "typical.png"
        save_ends(*ends, test, scored["test"], data.n_bits)
    print(_table(report), file=sys.stderr)
    with tracking.same_run(read_about(model)["fingerprint"], weights=report["weights"]) as tracked:
        tracked.metrics(_numbers(report, "evaluate/"))
        tracked.artifact(metrics)
        tracked.artifact(likelihoods)
        tracked.artifact(scores)
        for name in ("histogram", "extremes"):
            tracked.image(figures / f"{name}.png", key=f"likelihood_{name}")
        for name in ("scores", "oddest", "typical"):
            tracked.image(figures / f"{name}.png", key=name)
    bad = {split: report[split]["non_finite"] for split in SPLITS if report[split]["non_finite"]}
    if bad:
        raise StageError(
            f"log-likelihoods that are not finite, by split: {bad}; see {likelihoods}"
        )


if __name__ == "__main__":
    run(lambda: typer.run(command))
