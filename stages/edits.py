"""How good edits are, by a judge: whether the attribute appears, what else changes, how far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from glow import Glow, Latents, dequantize, quantize
from glow.attributes import edit
from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.guided import guided_directions
from stages.figures import to_bytes
from stages.judge import Judge
from stages.labels import labels_of

COLUMNS = (
    "attribute",
    "estimator",
    "alpha",
    "success",
    "leakage",
    "rms_pixels",
    "rms_latents",
    "n",
)
SUCCESSES = (0.8, 0.9, 0.95)  # at which estimators are compared


@dataclass(frozen=True)
class Faces:
    """Encoded images: dequantised (N, C, H, W), marks (N, A), classes and latents."""

    x: Tensor
    present: Tensor
    labels: Tensor | None
    latents: Latents

    @classmethod
    @torch.inference_mode()
    def encode(
        cls,
        glow: Glow,
        levels: Tensor,
        present: Tensor,
        names: Sequence[str],
        generator: torch.Generator,
    ) -> "Faces":
        """Of levels (N, C, H, W); `names` are the attributes'."""
        x = dequantize(levels.to(generator.device), glow.config.n_bits, generator)
        labels = labels_of(glow.config.classes, names, present)
        labels = None if labels is None else labels.to(generator.device)
        return cls(x, present, labels, glow.encode(x, labels))

    def first(self, n: int) -> "Faces":
        """The first n, or all if there are fewer."""
        labels = None if self.labels is None else self.labels[:n]
        return Faces(self.x[:n], self.present[:n], labels, self.latents.images(slice(n)))

    @torch.inference_mode()
    def edited(self, glow: Glow, directions: Tensor, alpha: float) -> tuple[Tensor, Latents]:
        """Images with alpha times a direction for all, (D,), or for each, (N, D); and latents."""
        latents = edit(self.latents, directions, alpha)
        return glow.decode(latents, self.labels), latents


@dataclass(frozen=True)
class Directions:
    """Where each estimator moves images, to add an attribute.

    Attributes:
        vectors: by the name of the estimator, (A, D).
        counterfactual: of each image on its own.
        guide: of the guided edit, or none.
    """

    vectors: Mapping[str, Tensor]
    counterfactual: Counterfactual
    guide: Guide | None = None

    def of(self, glow: Glow, faces: Faces, attribute: int) -> dict[str, Tensor]:
        """By the name of the estimator, (D,) or (N, D)."""
        shared = {name: vectors[attribute] for name, vectors in self.vectors.items()}
        own = self.counterfactual.directions(faces.present, attribute)
        found = {**shared, "counterfactual": own}
        if self.guide is not None:
            found["guided"] = guided_directions(
                glow,
                self.guide,
                self.counterfactual,
                faces.latents,
                attribute,
                present=faces.present,
                labels=faces.labels,
            )
        return found


def judge_edits(
    glow: Glow,
    judge: Judge,
    faces: Sequence[Faces],
    attribute: int,
    directions: Directions,
    alphas: Sequence[float],
    guided_alphas: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """A row per estimator and alpha, for adding one attribute to images without it.

    success: share of the edited images that the judge gives the attribute.
    leakage: how often the judge's answer changes, over images and other attributes; without those
        that the edit cannot keep (`Counterfactual.undefined`), for every estimator alike.
    rms_pixels, rms_latents: root mean square change, in 1/255 and in units of the prior's
        standard deviation.

    Args:
        glow: the model.
        judge: of images.
        faces: batches of images without the attribute, that neither has been trained on.
        attribute: number of the one to add.
        directions: of the estimators.
        alphas: how far.
        guided_alphas: how far guided edits go, of which 1 is all; as the others, if none.
    """
    n_bits = glow.config.n_bits
    sums: dict[tuple[str, float], Tensor] = {}
    for part in faces:
        before = judge.sees(quantize(part.x, n_bits))
        kept = ~directions.counterfactual.undefined(part.present, attribute)
        pixels = to_bytes(part.x, n_bits).double()
        for name, direction in directions.of(glow, part, attribute).items():
            own = guided_alphas if name == "guided" and guided_alphas else alphas
            for alpha in own:
                x, latents = part.edited(glow, direction, alpha)
                after = judge.sees(quantize(x, n_bits))
                moved = (latents - part.latents).flatten().double()
                found = [
                    after[:, attribute].sum(),
                    ((after != before) & kept).sum(),
                    kept.sum(),
                    (to_bytes(x, n_bits).double() - pixels).square().mean(dim=(1, 2, 3)).sum(),
                    moved.square().mean(dim=1).sum(),
                    torch.tensor(len(x)),
                ]
                numbers = torch.stack([number.double().cpu() for number in found])
                sums[name, alpha] = sums.get((name, alpha), torch.zeros(6)) + numbers
    return [
        {
            "estimator": name,
            "alpha": alpha,
            "success": float(appeared / n),
            "leakage": float(changed / others),
            "rms_pixels": float((pixels / n).sqrt()),
            "rms_latents": float((latents / n).sqrt()),
            "n": int(n),
        }
        for (name, alpha), (appeared, changed, others, pixels, latents, n) in sums.items()
    ]


def at_success(rows: pd.DataFrame, success: float) -> tuple[float, float]:
    """Alpha and leakage where the success is first as wanted, or NaN where it never is.

    Between the alphas, and between none and the first, both are interpolated linearly.

    Args:
        rows: of `judge_edits`, of one estimator, by rising alpha.
        success: wanted, above 0.
    """
    before = (0.0, 0.0, 0.0)
    for alpha, found, leakage in rows[["alpha", "success", "leakage"]].itertuples(index=False):
        if found >= success:
            share = (success - before[1]) / (found - before[1])
            return (
                before[0] + share * (alpha - before[0]),
                before[2] + share * (leakage - before[2]),
            )
        before = (alpha, found, leakage)
    return float("nan"), float("nan")


def equal_success(edits: pd.DataFrame) -> pd.DataFrame:
    """A row per attribute: alpha and leakage of each estimator at equal successes."""
    rows: dict[Any, dict[str, float]] = {}
    for attribute, of_attribute in edits.groupby("attribute", sort=False):
        row = rows[attribute] = {}
        for estimator, of_both in of_attribute.groupby("estimator", sort=False):
            for success in SUCCESSES:
                alpha, leakage = at_success(of_both.sort_values("alpha"), success)
                row[f"alpha_{round(100 * success)}_{estimator}"] = alpha
                row[f"leakage_{round(100 * success)}_{estimator}"] = leakage
    return pd.DataFrame.from_dict(rows, orient="index")
