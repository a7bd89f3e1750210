"""Scores of every held-out image, calibrated on the valid split, as a table."""

from collections.abc import Mapping

import pandas as pd

from glow.scores import Calibration, Evidence, Scores

CALIBRATED_ON = "valid"
ALARM = 95.0  # percentile


def score_all(evidence: Mapping[str, Evidence]) -> dict[str, Scores]:
    """By split: every score of every image, and its percentile as `<score>_percentile`."""
    calibration = Calibration.of(evidence[CALIBRATED_ON])
    found = {split: calibration.scores(of_split) for split, of_split in evidence.items()}
    return {
        split: scores
        | {f"{name}_percentile": p for name, p in calibration.percentiles(scores).items()}
        for split, scores in found.items()
    }


def score_table(found: Mapping[str, Scores], names: Mapping[str, list[str]]) -> pd.DataFrame:
    """A row per image: split, name, then what `score_all` found."""
    return pd.concat(
        pd.DataFrame({"split": split, "name": names[split], **scores})
        for split, scores in found.items()
    )


def false_alarms(scores: Scores) -> dict[str, float]:
    """Share of images above the 95th percentile of each score: 0.05 if they are like valid."""
    percentiles = {k: v for k, v in scores.items() if k.endswith("_percentile")}
    return {
        name.removesuffix("_percentile"): round(float((of_images > ALARM).double().mean()), 6)
        for name, of_images in percentiles.items()
    }
