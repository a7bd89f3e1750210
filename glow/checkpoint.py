"""A trained Glow on disk: weights without pickle, config as JSON, in one folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from glow.atomic import write_atomically
from glow.config import GlowConfig
from glow.model import Glow

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_glow(glow: Glow, folder: Path | str, *, about: dict[str, Any] | None = None) -> None:
    """Writes `model.safetensors` and `config.json`, each at once or not at all.

    Args:
        glow: the model.
        folder: made if it is not there.
        about: what else to remember of it (fingerprint, data set), as JSON.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous().cpu() for name, tensor in glow.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(weights))
    described = json.dumps({"config": asdict(glow.config), "about": about or {}}, indent=2)
    write_atomically(folder / CONFIG, (described + "\n").encode())


def load_glow(folder: Path | str, *, device: str = "cpu") -> Glow:
    """Reads what `save_glow` wrote, ready to evaluate.

    Raises:
        ValueError: the folder is no Glow, or a damaged one; says what is wrong with it.
    """
    folder = Path(folder)
    described = _read_config(folder)
    try:
        glow = Glow(GlowConfig(**described["config"]))
        glow.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no {WEIGHTS}; it is not a complete model") from None
    except (SafetensorError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder} does not hold a Glow that fits its config: {reason}") from None
    return glow.to(device).eval()


def read_config(folder: Path | str) -> GlowConfig:
    """The config of a saved model, without its weights; ValueError where there is none."""
    try:
        return GlowConfig(**_read_config(Path(folder))["config"])
    except TypeError as error:
        raise ValueError(f"{Path(folder) / CONFIG} is not of this version: {error}") from None


def read_about(folder: Path | str) -> dict[str, Any]:
    """What `save_glow` was told to remember of the model."""
    about: dict[str, Any] = _read_config(Path(folder))["about"]
    return about


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        described: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no {CONFIG}; it is not a folder of save_glow") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from None
    if not isinstance(described, dict) or not {"config", "about"} <= described.keys():
        raise ValueError(f"{folder / CONFIG} lacks 'config' or 'about'; it is not of save_glow")
    return described
