"""What the flow says of a split: bits per image, their parts, bounds, and round trips."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize
from glow.parallel import add_up, rank, world_size


@dataclass(frozen=True)
class Likelihood:
    """Of N images under K draws of the dequantisation noise; all in bits per dimension, float64.

    Attributes:
        draws: (K, N), of each draw.
        log_dets: (L, N), what the steps of each level take off or add, mean over draws.
        log_priors: (L, N), what each level's latents cost, mean over draws.
        squared_norms: (L, N), ‖z‖² of each level's latents, mean over draws; no bits.
        n_dims: D.
    """

    draws: Tensor
    log_dets: Tensor
    log_priors: Tensor
    squared_norms: Tensor
    n_dims: int

    def cpu(self) -> "Likelihood":
        """The same in main memory."""
        parts = self.draws.cpu(), self.log_dets.cpu(), self.log_priors.cpu()
        return Likelihood(*parts, self.squared_norms.cpu(), n_dims=self.n_dims)

    @property
    def bits(self) -> Tensor:
        """Of each image, (N,): the mean over draws, an upper bound on what the image costs."""
        return self.draws.mean(dim=0)

    @property
    def non_finite(self) -> int:
        """Images with a draw that is not finite."""
        return int((~self.draws.isfinite()).any(dim=0).sum())

    def mean_and_error(self) -> tuple[float | None, float | None]:
        """Mean over images and its standard error; None where an image is not finite."""
        if self.non_finite:
            return None, None
        count = self.draws.shape[1]
        error = float(self.bits.std()) / math.sqrt(count) if count > 1 else 0.0
        return round(float(self.bits.mean()), 6), round(error, 6)

    def importance_weighted(self) -> dict[str, float | None]:
        """The bound -log2(mean_j 2^(-D b_j)) / D over k draws, for k = 1, 2, 4, ... K.

        With the uniform noise as proposal it falls with k towards the exact code length of the
        discrete image (Burda et al. 2016; Theis et al. 2016, section 3.1). It is averaged over
        the K // k groups of k draws, so that it falls for these very draws if K is a power of 2.
        """
        bounds: dict[str, float | None] = {}
        k = 1
        while k <= len(self.draws):
            groups = self.draws[: len(self.draws) // k * k].unflatten(0, (-1, k))
            log_density = -groups * self.n_dims * math.log(2)
            log2_mean = torch.logsumexp(log_density, dim=1) / math.log(2)
            bound = -(log2_mean - math.log2(k)) / self.n_dims
            bounds[str(k)] = None if self.non_finite else round(float(bound.mean()), 6)
            k *= 2
        return bounds

    def by_level(self) -> list[dict[str, float | None]]:
        """Mean parts, finest level first; with n_bits they add up to the bits per dimension."""
        return [
            {
                "log_det": None if self.non_finite else round(float(log_det.mean()), 6),
                "prior": None if self.non_finite else round(float(log_prior.mean()), 6),
            }
            for log_det, log_prior in zip(self.log_dets, self.log_priors, strict=True)
        ]


@torch.inference_mode()
def measure(
    glow: Glow,
    levels: Tensor,
    labels: Tensor | None,
    *,
    n_draws: int,
    batch_size: int,
    generator: torch.Generator,
    advance: Callable[[int], object] = lambda _: None,
) -> Likelihood:
    """The likelihood of images (N, C, H, W), uint8; every image once, none dropped.

    Several processes share the batches among them, and all return the same numbers, those of one.
    """
    config, count, device = glow.config, len(levels), generator.device
    to_bits = -1 / (config.n_dims * math.log(2))
    found = Likelihood(
        torch.zeros(n_draws, count, dtype=torch.float64, device=device),
        torch.zeros(config.n_levels, count, dtype=torch.float64, device=device),
        torch.zeros(config.n_levels, count, dtype=torch.float64, device=device),
        torch.zeros(config.n_levels, count, dtype=torch.float64, device=device),
        config.n_dims,
    )
    for number, start in enumerate(range(0, count, batch_size)):
        rows = slice(start, start + batch_size)
        batch = levels[rows].to(device)
        classes = None if labels is None else labels[rows].to(device)
        # noise belongs to images, so every process draws that of all and measures its own batches
        draws = [dequantize(batch, config.n_bits, generator) for _ in range(n_draws)]
        if number % world_size() == rank():
            said = [glow(x, classes) for x in draws]
            log_probs = torch.stack([one.log_prob for one in said]).double()
            found.draws[:, rows] = bits_per_dim(log_probs, config.n_dims, config.n_bits)
            log_dets = [torch.stack(one.log_dets).double() * to_bits for one in said]
            log_priors = [torch.stack(one.log_priors).double() * to_bits for one in said]
            found.log_dets[:, rows] = torch.stack(log_dets).mean(dim=0)
            found.log_priors[:, rows] = torch.stack(log_priors).mean(dim=0)
            norms = [one.latents.squared_norms() for one in said]
            found.squared_norms[:, rows] = torch.stack(norms).mean(dim=0)
        advance(len(batch) * n_draws)
    # the columns of other processes' images are zero, so that sums are the numbers themselves
    for part in (found.draws, found.log_dets, found.log_priors, found.squared_norms):
        add_up(part)
    return found.cpu()


@torch.inference_mode()
def reconstruction_error(glow: Glow, x: Tensor, labels: Tensor | None) -> float | None:
    """Max |x - decode(encode(x))|, in quantisation steps; None where it is not finite.

    Where it is below half of a step, the round trip returns the very pixels of an image in the
    middle of its bins.
    """
    error = float((glow.decode(glow.encode(x, labels), labels) - x).abs().max())
    return round(error * 2**glow.config.n_bits, 6) if math.isfinite(error) else None
