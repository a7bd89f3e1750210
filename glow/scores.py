"""How odd images are to a model: the likelihood, and scores that hold where it misleads.

Every score is higher for odder images, (N,), float64. With b the bits per dimension of an image
under the model, D its dimensions and z_l its D_l standardised latents of level l:

- `bits_per_dim`, bits per dimension: b, exact. Low for simple images, also for those that are
  like none of the training set (Nalisnick et al. 2019, "Do deep generative models know what they
  don't know?").
- `corrected_bits`, bits per dimension: b - c, with c the size as a lossless WebP file (Serra et
  al. 2020, "Input complexity and out-of-distribution detection with likelihood-based generative
  models"; their S). High for what is costlier to the model than its complexity explains.
- `typicality`, bits per dimension: |b - mean b of the calibration images|, which is the distance
  of the log-likelihoods over D ln 2 (Nalisnick et al. 2019, "Detecting out-of-distribution inputs
  to deep generative models using typicality", for one image).
- `norm_1` to `norm_L`, standard deviations: |‖z_l‖² - D_l| / sqrt(2 D_l), finest level first.
  Under the model ‖z_l‖² is chi-square with D_l degrees of freedom, of which these are mean and
  standard deviation; so it sees images too smooth for their level as well as too rough ones.
- `norm`, standard deviations: the largest of them.

What is not finite counts as the oddest, infinity.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow.bits import bits_per_dim, dequantize
from glow.complexity import compressed_bits
from glow.model import Glow

Scores = dict[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What the scores of N images are made of; float64, on the CPU.

    Attributes:
        bits: bits per dimension under the model, (N,).
        compressed: likewise, as lossless files, (N,).
        squared_norms: of the latents of each level, (L, N).
        latent_dims: how many latents each level has, L numbers.
    """

    bits: Tensor
    compressed: Tensor
    squared_norms: Tensor
    latent_dims: list[int]

    @classmethod
    def of(cls, glow: Glow, levels: Tensor, measured: Tensor) -> "Evidence":
        """From images (N, C, H, W) and what `measure` found for them, (N, 1 + L)."""
        bits, *norms = measured.T
        return cls(bits, compressed_bits(levels), torch.stack(norms), dims(glow))


@torch.inference_mode()
def gather(
    glow: Glow,
    levels: Tensor,
    labels: Tensor | None = None,
    *,
    n_draws: int = 1,
    batch_size: int = 100,
    seed: int = 0,
) -> Evidence:
    """The evidence of images, the mean over draws of the dequantisation noise.

    Args:
        glow: the model, on any device.
        levels: (N, C, H, W), uint8, of as many bits as the model's.
        labels: (N,), of a model with classes.
        n_draws: of the noise.
        batch_size: images computed at once.
        seed: of the noise.
    """
    config, device = glow.config, next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    said = []
    with glow.frozen():
        for start in range(0, len(levels), batch_size):
            rows = slice(start, start + batch_size)
            classes = None if labels is None else labels[rows].to(device)
            batch = levels[rows].to(device)
            draws = [dequantize(batch, config.n_bits, generator) for _ in range(n_draws)]
            said.append(measure(glow, draws, classes))
    return Evidence.of(glow, levels, torch.cat(said).cpu())


def measure(glow: Glow, draws: Sequence[Tensor], labels: Tensor | None) -> Tensor:
    """Bits per dimension and squared norms of the levels' latents, (B, 1 + L), float64.

    Args:
        glow: the model.
        draws: the same images (B, C, H, W), each dequantised another time; the mean is taken.
        labels: (B,), of a model with classes.
    """
    said = [glow(x, labels) for x in draws]
    log_probs = torch.stack([one.log_prob for one in said]).double().mean(dim=0)
    norms = torch.stack([one.latents.squared_norms() for one in said]).mean(dim=0)
    bits = bits_per_dim(log_probs, glow.config.n_dims, glow.config.n_bits)
    return torch.cat([bits[None], norms]).T


def dims(glow: Glow) -> list[int]:
    """How many latents each level has, finest first."""
    return [math.prod(shape) for shape in glow.config.latent_shapes]


@dataclass(frozen=True)
class Calibration:
    """The scores of images known to be ordinary, valid data, that others are compared with.

    Attributes:
        mean_bits: mean of their bits per dimension.
        ordered: their scores, each ascending, (M,).
    """

    mean_bits: float
    ordered: Scores

    @classmethod
    def of(cls, ordinary: Evidence) -> "Calibration":
        """From the evidence of such images; ValueError where there are none."""
        mean = float(ordinary.bits.mean())
        return cls.of_scores(scores(ordinary, mean))

    @classmethod
    def of_scores(cls, ordinary: Mapping[str, Tensor]) -> "Calibration":
        """From their scores: of the rows of results/scores.csv whose split is valid."""
        count = len(ordinary["bits_per_dim"])
        if not count:
            raise ValueError("calibration has no images, expected at least one of the valid split")
        ordered = {name: _finite(of_images).sort().values for name, of_images in ordinary.items()}
        return cls(float(ordinary["bits_per_dim"].mean()), ordered)

    def scores(self, evidence: Evidence) -> Scores:
        """All scores of images, in the order of this module's docstring."""
        return scores(evidence, self.mean_bits)

    def percentiles(self, found: Mapping[str, Tensor]) -> Scores:
        """100 #{calibration images less odd} / (M + 1), of each score, (N,), in [0, 100).

        `1 - percentile / 100` is the p-value (1 + #{as odd or odder}) / (M + 1): of images like
        those of the calibration, at most a share a gets a p-value of a or less (Vovk et al. 2005).
        """
        return {
            name: torch.searchsorted(self.ordered[name], _finite(of_images)).double()
            * (100 / (len(self.ordered[name]) + 1))
            for name, of_images in found.items()
        }


def scores(evidence: Evidence, mean_bits: float) -> Scores:
    """All scores, `typicality` around `mean_bits`."""
    of_levels = torch.tensor(evidence.latent_dims, dtype=torch.float64)[:, None]
    norms = _finite((evidence.squared_norms - of_levels).abs() / (2 * of_levels).sqrt())
    found = {
        "bits_per_dim": evidence.bits,
        "corrected_bits": evidence.bits - evidence.compressed,
        "typicality": (evidence.bits - mean_bits).abs(),
        "norm": norms.amax(dim=0),
        **{f"norm_{level}": norm for level, norm in enumerate(norms, start=1)},
    }
    return {name: _finite(of_images) for name, of_images in found.items()}


def _finite(of_images: Tensor) -> Tensor:
    """Infinity where it is not a number."""
    return of_images.double().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
