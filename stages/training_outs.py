"""What a training leaves: the model, its learning curves, and its last numbers."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from glow import save_glow
from glow.trainer import Trainer
from stages.curves import Curves
from stages.outputs import fresh_folder, write_json, write_text
from stages.trained import RAW


@dataclass(frozen=True)
class Outs:
    """What the stage writes."""

    model: Path
    metrics: Path
    curves: Path


def write(trainer: Trainer, curves: Curves, name: str, checksum: str, out: Outs) -> None:
    """The model with averaged weights, that with the last ones, its curves and last numbers."""
    last = {key: round(value, 6) for key, value in curves.rows[-1].items()}
    about = {
        "fingerprint": name,
        "data": checksum,
        "step": trainer.step,
        "valid_bits_per_dim": last["valid_bits_per_dim"],
    }
    with fresh_folder(out.model) as folder:
        save_glow(trainer.ema_glow, folder, about=about)
        save_glow(trainer.glow, folder / RAW, about=about)
    frame = pd.DataFrame(curves.rows).astype({"step": int})
    write_text(out.curves, frame.to_csv(index=False, float_format="%.6g"))
    write_json(
        out.metrics,
        {
            "bits_per_dim": last["bits_per_dim"],
            "valid_bits_per_dim": last["valid_bits_per_dim"],
            "steps": trainer.step,
            "parameters": len(trainer.weights),
        },
    )
