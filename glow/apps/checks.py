"""What must hold of a model that can be trusted, measured on some images."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize, quantize
from glow.bits import to_pixels
from glow.level import Level
from glow.prior import normal_log_density

MAX_CROP = 16  # pixels; the Jacobian of a crop has 3 * 256 rows then
ROWS = 64  # of it at once
ROUND_TRIP = 0.5  # of a level: with less, the middle of every bin comes back to its level
PRECISION = 1e-3  # bits per dimension: what is reported has three places or four
LOG_DET = 1e-6  # nats per dimension, in float64


@dataclass(frozen=True)
class Finding:
    """One check: its name, what was measured, and, where it is wrong, what that means."""

    name: str
    measured: str
    trouble: str | None = None


def finite_weights(glow: Glow) -> Finding:
    """Whether every weight is a number."""
    bad = [name for name, value in glow.state_dict().items() if not bool(value.isfinite().all())]
    trouble = "the model cannot be used: its training diverged, or the file is damaged"
    n = sum(value.numel() for value in glow.parameters())
    measured = f"NaN or infinite in {', '.join(bad[:3])}" if bad else f"{n:,}, all finite"
    return Finding("weights", measured, trouble if bad else None)


@torch.inference_mode()
def finite_likelihoods(glow: Glow, levels: Tensor, labels: Tensor | None) -> Finding:
    """Whether every image has a likelihood."""
    bits = _bits(glow, _noisy(glow, levels), labels)
    n_bad = int((~bits.isfinite()).sum())
    if n_bad:
        trouble = "these images lie so far outside the training data that the flow overflows"
        return Finding("likelihood", f"not finite for {n_bad} of {len(bits)} images", trouble)
    return Finding("likelihood", f"finite, mean {float(bits.mean()):.3f} bits/dim")


@torch.inference_mode()
def round_trip(glow: Glow, levels: Tensor, labels: Tensor | None) -> Finding:
    """Whether decode(encode(x)) is x, for x in the middle of its bins."""
    n_bits = glow.config.n_bits
    x = ((levels + 0.5) / 2**n_bits - 0.5).to(next(glow.parameters()))
    back = glow.decode(glow.encode(x, labels), labels)
    error = float(((back - x).abs() * 2**n_bits).max())
    difference = to_pixels(quantize(back, n_bits), n_bits).int() - to_pixels(levels, n_bits).int()
    exact = int((difference.flatten(1) == 0).all(dim=1).sum())
    measured = f"{exact} of {len(levels)} images exactly, largest error {error:.2g} of a level"
    if error < ROUND_TRIP:
        return Finding("round trip", measured)
    remedy = (
        "train with a min_scale such as 0.3, and without it trust no edit"
        if glow.config.coupling == "affine" and glow.config.min_scale == 0.0
        else "trust no edit of such images"
    )
    trouble = f"the inverse loses these images in float32, as scales come near zero; {remedy}"
    return Finding("round trip", measured, trouble)


@torch.inference_mode()
def precision(glow: Glow, levels: Tensor, labels: Tensor | None) -> Finding:
    """Whether float32 on this device gives the likelihoods of float64."""
    x = _noisy(glow, levels)
    exact = _bits(copy.deepcopy(glow).double(), x.double(), labels)
    difference = float((_bits(glow, x, labels) - exact).abs().max())
    measured = f"bits/dim in float32 and float64 differ by {difference:.1g} at most"
    if difference < PRECISION:
        return Finding("precision", measured)
    return Finding("precision", measured, "this device's float32 is too coarse for these images")


def log_det(glow: Glow, levels: Tensor, label: Tensor | None) -> Finding:
    """Whether log|det J| of an image's crop is that of the Jacobian by autograd, in float64.

    A flow of convolutions runs on a crop with the same weights. The side of the crop is that of
    one latent of the last level, or MAX_CROP; then the levels below that are left out.

    Args:
        glow: the model.
        levels: of one image, (1, C, H, W).
        label: its class, (1,).
    """
    exact = copy.deepcopy(glow).double().eval()
    n_levels = min(glow.config.n_levels, int(math.log2(MAX_CROP)))
    side = 2**n_levels
    start = (glow.config.image_size - side) // 2
    crop = _noisy(glow, levels)[..., start : start + side, start : start + side].double()

    jacobian = torch.cat(
        [
            _rows_of_jacobian(exact, crop, n_levels, label, rows)
            for rows in torch.arange(crop.numel(), device=crop.device).split(ROWS)
        ]
    )
    by_autograd = torch.linalg.slogdet(jacobian).logabsdet
    with torch.no_grad():
        by_flow = _map(exact, crop, n_levels, label)[1]
    difference = float((by_flow - by_autograd).abs())
    part = "" if n_levels == glow.config.n_levels else f", the first {n_levels} levels"
    measured = (
        f"{float(by_flow):.4f} nats, by autograd {float(by_autograd):.4f}, "
        f"of a crop of {side}x{side}{part}"
    )
    if difference < LOG_DET * crop.numel():
        return Finding("log-det", measured)
    return Finding("log-det", measured, "likelihoods are wrong; a layer miscounts its volume")


def _rows_of_jacobian(
    glow: Glow, crop: Tensor, n_levels: int, label: Tensor | None, rows: Tensor
) -> Tensor:
    """Some rows, (R, D): image i of a batch of equal ones gives the gradient of output rows[i]."""
    n = len(rows)
    x = crop.expand(n, -1, -1, -1).clone().requires_grad_()
    outputs, _ = _map(glow, x, n_levels, None if label is None else label.expand(n))
    (gradient,) = torch.autograd.grad(outputs.gather(1, rows[:, None]).sum(), x)
    return gradient.flatten(1)


def _map(glow: Glow, x: Tensor, n_levels: int, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Standardised latents of the first levels, (B, D), and log|det| of the map to them, (B,)."""
    latents, total = [], x.new_zeros(len(x))
    levels: list[Level] = list(glow.levels)[:n_levels]  # type: ignore[assignment]  # a ModuleList of Level
    for level in levels:
        x, term = level(x)
        total = total + term
        if level.split is not None:
            x, eps, log_prior = level.split(x)
            latents.append(eps)
            total = total + log_prior - _log_density(eps)
    if n_levels == glow.config.n_levels:
        x, log_prior = glow.top(x, labels)
        total = total + log_prior - _log_density(x)
    return torch.cat([latent.flatten(1) for latent in [*latents, x]], dim=1), total


def _log_density(eps: Tensor) -> Tensor:
    return normal_log_density(eps).flatten(1).sum(dim=1)


def _noisy(glow: Glow, levels: Tensor) -> Tensor:
    generator = torch.Generator(levels.device).manual_seed(0)
    return dequantize(levels, glow.config.n_bits, generator)


def _bits(glow: Glow, x: Tensor, labels: Tensor | None) -> Tensor:
    log_prob = glow.log_prob(x, labels).double()
    return bits_per_dim(log_prob, glow.config.n_dims, glow.config.n_bits)
