"""What the page says of the model and of its data."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from glow import GlowConfig, read_about
from glow.apps.uploads import MAX_BYTES

EXAMPLES = 12
TEMPERATURE = 0.7  # the paper's choice
ALPHA = {"min": -2.0, "max": 2.0, "step": 0.05}


def about(
    model: Path,
    config: GlowConfig,
    weights: str,
    attributes: list[str],
    evaluation: Path,
    dataset: Path,
) -> dict[str, Any]:
    """Facts of the model, as JSON; those of another model's files are left out.

    Args:
        model: its folder.
        config: of the model.
        weights: the hash of its weights, by which the page knows what was saved with them.
        attributes: names of its vectors.
        evaluation: `results/evaluate.json`, if it is there.
        dataset: `data/shards/dataset.json`, if it is there.
    """
    known = read_about(model)
    checksum = known.get("data")
    evaluated = _same_data(evaluation, "data", checksum)
    same = evaluated.get("weights", weights) == weights  # an earlier version did not say
    return {
        "name": model.name,
        "fingerprint": known.get("fingerprint"),
        "weights": weights,
        "steps": known.get("step"),
        "image_size": config.image_size,
        "n_bits": config.n_bits,
        "n_levels": config.n_levels,
        "depth": config.depth,
        "hidden_channels": config.hidden_channels,
        "test": evaluated.get("test") if same else None,
        "data": _data(dataset, checksum),
        "attributes": attributes,
        "alpha": ALPHA,
        "classes": list(config.classes),
        "temperature": TEMPERATURE,
        "examples": examples(config),
        "max_bytes": MAX_BYTES,
    }


def examples(config: GlowConfig) -> list[dict[str, Any]]:
    """Faces to begin with, as `wishes.Drawn`."""
    faces = []
    for seed in range(EXAMPLES):
        classes = config.classes
        label = classes[seed % len(classes)] if classes else None
        faces.append({"seed": seed, "temperature": TEMPERATURE, "label": label})
    return faces


def _data(dataset: Path, checksum: object) -> dict[str, Any]:
    """Name, credit and number of training images; from credits.json where the shards are away."""
    described = _same_data(dataset, "checksum", checksum)
    if described:
        count = described["splits"]["train"]["count"]
        return {"source": described["source"], "credit": described["credit"], "count": count}
    credits = files("glow.apps.editor").joinpath("credits.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(credits).get(checksum, {})
    return found


def _same_data(file: Path, key: str, checksum: object) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return described if checksum and described[key] == checksum else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
